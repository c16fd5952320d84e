//! One bad block in the middle: all bytes before it arrive, none behind it count, and the error says which call it was, what was
//! moved, and where the operation lies that failed.

use bulkio::direct::Moved;
use scatterlist::Direction::{FromDevice, ToDevice};

use crate::faulty::{FaultyDisk, FaultyFile, Op, Rule};
use crate::or_skip;
use crate::support::{
    Buffer, Failed, Kind, Place, SHAPES, Shape, block, content, each, failed, files, open, other,
};

/// Longer than one message of the kernel's.
const LEN: usize = 3 << 20;

const ASKED: usize = 5 << 19;

/// In the middle of a message, and of what is copied at a time.
const NEAR: usize = 1_700_000;

#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    kind: Kind,
    path: &'a std::path::Path,
    file: &'a FaultyFile,
    errno: i32,
}

impl Case<'_> {
    fn read(self, shape: Shape) {
        let file = self.kind.open(self.path);
        let block = block(&file);
        let (place, bad) = (shape.place(block, ASKED), NEAR / block * block);
        let mut buffer = Buffer::new(place);
        self.file.add(Rule::reads().touching(bad as u64..(bad + block) as u64).errno(self.errno));
        let error = file.read(buffer.get_mut(), place.offset as u64).unwrap_err();
        self.file.clear_rules();
        let expected = Failed { errno: self.errno, at: bad, bytes: block.max(512) };
        assert_eq!(failed(&error, FromDevice, place), expected, "{shape:?}: {error}");
        let done = bad - place.offset;
        assert!(buffer.get()[..done] == self.file.content()[place.offset..bad], "{shape:?}");
        buffer.assert_guarded();
        let Moved { ragged_bytes, misaligned_bytes, .. } = error.moved;
        let first = block - place.offset % block;
        let expected = match shape {
            Shape::Aligned => (0, 0),
            Shape::Congruent => (first, 0),
            Shape::Crooked => (first, done - first),
        };
        assert_eq!((ragged_bytes as usize, misaligned_bytes as usize), expected, "{shape:?}: {error}");
        // The same engine reads on.
        assert_eq!(file.read(buffer.get_mut(), place.offset as u64).unwrap().bytes, place.len as u64);
        assert!(buffer.get() == &self.file.content()[place.offset..place.offset + place.len]);
    }

    fn write(self, shape: Shape) {
        let file = self.kind.open(self.path);
        let block = block(&file);
        let (place, bad) = (shape.place(block, ASKED), NEAR / block * block);
        let (before, new) = (self.file.content(), other(LEN));
        let mut buffer = Buffer::new(place);
        let range = place.offset..place.offset + place.len;
        buffer.get_mut().copy_from_slice(&new[range.clone()]);
        self.file.add(Rule::writes().touching(bad as u64..(bad + block) as u64).errno(self.errno));
        let error = file.write(buffer.get(), place.offset as u64).unwrap_err();
        self.file.clear_rules();
        let Failed { errno, at, bytes } = failed(&error, ToDevice, place);
        assert_eq!(errno, self.errno, "{error}");
        assert!(at <= bad && bad < at + bytes && at + bytes <= range.end + block, "{shape:?}: {error}");
        // What counts as written is there, the bad block is not, and nothing outside of the call was changed.
        let after = self.file.content();
        let at = at.max(place.offset);
        assert!(after[..place.offset] == before[..place.offset] && after[range.end..] == before[range.end..]);
        assert!(after[place.offset..at] == new[place.offset..at], "{shape:?}");
        assert!(after[bad..bad + block] == before[bad..bad + block], "{shape:?}");
        self.file.overwrite(0, &before);
    }

    /// A write whose first or last block cannot be read.
    fn unreadable_edge(self, last: bool) {
        let file = self.kind.open(self.path);
        let block = block(&file);
        let place = Place { offset: 2 * block + 100, len: 6 * block, shift: 100 };
        let bad = if last { 8 * block } else { 2 * block };
        let before = self.file.content();
        let mut buffer = Buffer::new(place);
        buffer.get_mut().fill(9);
        self.file.take_seen();
        self.file.add(Rule::reads().touching(bad as u64..(bad + block) as u64).errno(self.errno));
        let error = file.write(buffer.get(), place.offset as u64).unwrap_err();
        self.file.clear_rules();
        // Nothing was moved, though the last block lies behind bytes that could have been written.
        assert_eq!(error.moved, Moved::default(), "{error}");
        let kind = error.kind.clone();
        let bulkio::direct::TransferErrorKind::Fault { at, bytes, done, .. } = kind else {
            panic!("{error}")
        };
        assert_eq!((at as usize, bytes as usize, done), (bad, block, 0), "{error}");
        assert_eq!(error.kind.errno(), Some(self.errno));
        assert_eq!((error.offset as usize, error.len as usize), (place.offset, place.len));
        assert!(self.file.content() == before, "something was written");
        let wrote = self.file.take_seen().iter().any(|seen| seen.op == Op::Write);
        assert!(!wrote, "an operation wrote");
        // The lock is free and the slots are back.
        assert_eq!(file.write(buffer.get(), place.offset as u64).unwrap().bytes, place.len as u64);
        assert!(self.file.content()[place.offset..place.offset + place.len] == *buffer.get());
        self.file.overwrite(0, &before);
    }

    fn all(self) {
        for shape in SHAPES {
            self.read(shape);
            self.write(shape);
        }
        for last in [false, true] {
            self.unreadable_edge(last);
        }
    }
}

#[test]
fn a_bad_block_of_a_file_is_found_exactly() {
    const NAME: &str = "errors::a_bad_block_of_a_file_is_found_exactly";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        for errno in [libc::EIO, libc::ENODATA] {
            Case { kind, path: &fs.file(0).path(), file: fs.file(0), errno }.all();
        }
    });
}

#[test]
fn a_bad_block_of_a_disk_is_found_exactly() {
    const NAME: &str = "errors::a_bad_block_of_a_disk_is_found_exactly";
    for size in [512, 4096] {
        let disk = or_skip!(NAME, FaultyDisk::new(content(LEN), size));
        each(NAME, |kind| {
            assert_eq!(block(&open(&kind.io(), disk.node())), size as usize);
            for errno in [libc::EIO, libc::ENODATA] {
                Case { kind, path: disk.node(), file: disk.file(), errno }.all();
            }
        });
    }
}

/// What fails at once for all of it (no such quota, no such space) is not narrowed down: it is not the fault of a block.
#[test]
fn an_error_that_is_no_blocks_is_not_tried_again() {
    const NAME: &str = "errors::an_error_that_is_no_blocks_is_not_tried_again";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let file = kind.open(fs.file(0).path());
        let place = Shape::Aligned.place(block(&file), 64 << 10);
        let mut buffer = Buffer::new(place);
        fs.file(0).take_seen();
        fs.file(0).add(Rule::reads().errno(libc::EPERM));
        let error = file.read(buffer.get_mut(), place.offset as u64).unwrap_err();
        fs.file(0).clear_rules();
        let expected = Failed { errno: libc::EPERM, at: place.offset, bytes: place.len };
        assert_eq!(failed(&error, FromDevice, place), expected);
        // A plain call that fails may be made once more by the engine.
        let tries = fs.file(0).take_seen().len();
        assert!(tries <= 2, "{tries} operations");
    });
}

/// A fault that does not come again: whatever the call then says is true, and nothing before the place is lost.
#[test]
fn a_fault_that_goes_away_costs_no_byte_before_it() {
    const NAME: &str = "errors::a_fault_that_goes_away_costs_no_byte_before_it";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let file = kind.open(fs.file(0).path());
        let block = block(&file);
        for shape in SHAPES {
            let (place, bad) = (shape.place(block, ASKED), NEAR / block * block);
            let mut buffer = Buffer::new(place);
            fs.file(0).add(Rule::reads().touching(bad as u64..(bad + block) as u64).errno(libc::EIO).once());
            let moved = match file.read(buffer.get_mut(), place.offset as u64) {
                Ok(moved) => {
                    assert_eq!(moved.bytes, place.len as u64, "{shape:?}");
                    moved
                }
                Err(error) => {
                    assert_eq!(error.kind.errno(), Some(libc::EIO), "{error}");
                    error.moved
                }
            };
            fs.file(0).clear_rules();
            let done = moved.bytes as usize;
            assert!(done > bad + block - place.offset, "{shape:?}: {moved}");
            assert!(buffer.get()[..done] == content(LEN)[place.offset..place.offset + done], "{shape:?}");
        }
    });
}

/// A file that grows does so in order: behind a fault nothing is written, so nobody takes a hole for bytes.
#[test]
fn a_file_that_grows_ends_where_the_fault_is() {
    const NAME: &str = "errors::a_file_that_grows_ends_where_the_fault_is";
    const SIZE: usize = 10_000;
    each(NAME, |kind| {
        for shape in SHAPES {
            let fs = or_skip!(NAME, files(SIZE));
            let file = kind.open(fs.file(0).path());
            let block = block(&file);
            let (place, bad) = (shape.place(block, ASKED), 300_000 / block * block);
            let mut buffer = Buffer::new(place);
            buffer.get_mut().copy_from_slice(&other(LEN)[place.offset..place.offset + place.len]);
            fs.file(0).add(Rule::writes().touching(bad as u64..(bad + block) as u64).errno(libc::ENOSPC));
            let error = file.write(buffer.get(), place.offset as u64).unwrap_err();
            fs.file(0).clear_rules();
            let Failed { errno, at, .. } = failed(&error, ToDevice, place);
            let (at, after) = (at.max(place.offset), fs.file(0).content());
            assert_eq!((errno, after.len()), (libc::ENOSPC, at.max(SIZE)), "{shape:?}: {error}");
            assert!(after[place.offset..at] == other(LEN)[place.offset..at]);
        }
    });
}
