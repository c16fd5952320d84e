//! Operations that come out short, are interrupted or refused for now: the call knows nothing of it. The right bytes, all of
//! them, each counted once.

use std::io::IoSliceMut;

use bulkio::engine::EngineKind;
use scatterlist::Direction::{self, FromDevice, ToDevice};

use crate::faulty::{Answer, FaultyFile, FaultyFs, FsOptions, Op, Rule};
use crate::or_skip;
use crate::support::{Buffer, Kind, Place, SHAPES, Shape, block, content, each, files, other};

const LEN: usize = 1 << 18;

/// Does one call on an open file under rules and looks at everything that it promises.
fn run(kind: Kind, file: &FaultyFile, shape: Shape, direction: Direction, rule: impl Fn(usize) -> Rule) {
    let direct = kind.open(file.path());
    let block = block(&direct);
    let place = shape.place(block, 40 * block);
    let range = place.offset..place.offset + place.len;
    let mut buffer = Buffer::new(place);
    let mut whole = content(LEN);
    file.overwrite(0, &whole);
    file.take_seen();
    file.add(rule(block));
    let moved = match direction {
        FromDevice => direct.read(buffer.get_mut(), place.offset as u64),
        ToDevice => {
            buffer.get_mut().copy_from_slice(&other(LEN)[range.clone()]);
            whole[range.clone()].copy_from_slice(buffer.get());
            direct.write(buffer.get(), place.offset as u64)
        }
    };
    file.clear_rules();
    shape.assert_counts(moved.expect("it is tried again"), place.len, block);
    buffer.assert_guarded();
    assert!(buffer.get() == &whole[range], "{shape:?} {direction:?}: the bytes of the call");
    assert!(file.content() == whole, "{shape:?} {direction:?}: the bytes of the file");
}

#[test]
fn short_reads_go_on() {
    const NAME: &str = "completions::short_reads_go_on";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        for shape in SHAPES {
            run(kind, fs.file(0), shape, FromDevice, |block| Rule::reads().short(block as u32 + 100));
            let seen = fs.file(0).take_seen();
            assert!(seen.len() > 20, "{shape:?}: {} operations", seen.len());
        }
    });
}

/// Where the kernel sends an operation in one piece and waits for it; else it makes an error of what is short.
#[test]
fn short_writes_go_on() {
    const NAME: &str = "completions::short_writes_go_on";
    let in_turn = FsOptions { async_direct: false };
    let fs = or_skip!(NAME, FaultyFs::with(in_turn, vec![content(LEN)]));
    each(NAME, |kind| {
        if kind.engine == EngineKind::Uring {
            return;
        }
        for shape in SHAPES {
            run(kind, fs.file(0), shape, ToDevice, |block| Rule::writes().short(block as u32 + 100));
            let seen = fs.file(0).take_seen();
            assert!(seen.iter().filter(|seen| seen.op == Op::Write).count() > 20, "{shape:?}: {seen:?}");
        }
    });
}

#[test]
fn interrupted_and_refused_for_now_is_tried_again() {
    const NAME: &str = "completions::interrupted_and_refused_for_now_is_tried_again";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        for errno in [libc::EINTR, libc::EAGAIN] {
            for shape in SHAPES {
                for direction in [FromDevice, ToDevice] {
                    run(kind, fs.file(0), shape, direction, |_| Rule::any().errno(errno).times(5));
                    let seen = fs.file(0).take_seen();
                    let refused = seen.iter().filter(|seen| seen.answer == Answer::Errno(errno)).count();
                    assert_eq!(refused, 5, "{shape:?} {direction:?}");
                }
            }
        }
    });
}

/// The write part alone, so that reading the blocks at the ends is not what meets the fault.
#[test]
fn an_interrupted_write_of_ragged_blocks_is_tried_again() {
    const NAME: &str = "completions::an_interrupted_write_of_ragged_blocks_is_tried_again";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        for shape in SHAPES {
            run(kind, fs.file(0), shape, ToDevice, |_| Rule::writes().errno(libc::EINTR).times(3));
        }
    });
}

/// The end of the file is found where it is, also when answers on the way are short.
#[test]
fn the_end_of_a_file_is_exact_behind_short_answers() {
    const NAME: &str = "completions::the_end_of_a_file_is_exact_behind_short_answers";
    const END: usize = 100_777;
    let fs = or_skip!(NAME, files(END));
    each(NAME, |kind| {
        let file = kind.open(fs.file(0).path());
        let block = block(&file);
        for shape in SHAPES {
            let place = shape.place(block, 40 * block);
            let mut buffer = Buffer::new(place);
            fs.file(0).add(Rule::reads().short(block as u32 + 100).times(7));
            let moved = file.read(buffer.get_mut(), place.offset as u64).unwrap();
            fs.file(0).clear_rules();
            let there = END.saturating_sub(place.offset).min(place.len);
            assert_eq!(moved.bytes, there as u64, "{shape:?}");
            assert!(buffer.get()[..there] == content(END)[place.offset..place.offset + there]);
            buffer.assert_guarded();
        }
    });
}

/// One piece among others that does not suit its position: it alone is copied, and counted once however often answers are short.
#[test]
fn a_crooked_piece_among_others_is_the_only_one_that_counts() {
    const NAME: &str = "completions::a_crooked_piece_among_others_is_the_only_one_that_counts";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let file = kind.open(fs.file(0).path());
        let block = block(&file);
        let (long, short) = (8 * block, 2 * block);
        let mut buffers = [(long, 0), (short, 1), (long, 0)].map(|(len, shift)| {
            let place = Place { offset: 0, len, shift };
            Buffer::new(place)
        });
        fs.file(0).add(Rule::reads().short(block as u32 + 100));
        let mut slices = buffers.each_mut().map(|buffer| IoSliceMut::new(buffer.get_mut()));
        let moved = file.read_vectored(&mut slices, block as u64).unwrap();
        fs.file(0).clear_rules();
        let counts = (moved.bytes, moved.misaligned_bytes, moved.bounced_bytes());
        assert_eq!(counts, ((2 * long + short) as u64, short as u64, short as u64), "{moved}");
        let got = buffers.each_ref().map(Buffer::get).concat();
        assert!(got == content(LEN)[block..block + got.len()]);
        buffers.iter().for_each(Buffer::assert_guarded);
    });
}
