//! Copies between files and tapes in memory, and from tape to tape.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::io::Errno;
use tempfile::TempDir;

use super::super::options::{Control, Progress, Silent};
use super::super::{CopyFailure, DirectMode, FailureClass};
use super::*;
use crate::device::tape::fake::{FakeTape, Mark, content};
use crate::device::tape::{Op, Position, TapeError};

/// A folder on a disk: a file system in memory would hide every rule of direct I/O.
fn folder() -> TempDir {
    let parents = [Path::new("/var/tmp").to_owned(), std::env::temp_dir()];
    parents.into_iter().find_map(|parent| tempfile::tempdir_in(parent).ok()).expect("a folder for files")
}

fn open(fake: &FakeTape, access: Access) -> TapeEnd<'static> {
    TapeEnd::Tape(Tape::new(Box::new(fake.clone()), Path::new("fake"), access).expect("a tape"))
}

fn to_tape(from: &Path, fake: &FakeTape, options: &CopyOptions) -> Result<Report, CopyFailure> {
    let from = TapeEnd::Other(End::Path(from));
    copy_between(from, open(fake, Access::Write), options, &mut Silent)
}

fn from_tape(fake: &FakeTape, to: &Path, options: &CopyOptions) -> Result<Report, CopyFailure> {
    copy_between(open(fake, Access::Read), TapeEnd::Other(End::Path(to)), options, &mut Silent)
}

fn between(from: &FakeTape, to: &FakeTape, options: &CopyOptions) -> Result<Report, CopyFailure> {
    copy_between(open(from, Access::Read), open(to, Access::Write), options, &mut Silent)
}

fn with(tape: TapeCopy) -> CopyOptions {
    CopyOptions { tape, ..CopyOptions::default() }
}

fn blocks_of(block_len: u32) -> CopyOptions {
    with(TapeCopy { block_len: Some(block_len), ..TapeCopy::default() })
}

/// The lengths of blocks, 0 for filemarks.
fn lengths(fake: &FakeTape) -> Vec<usize> {
    let len = |mark: &Mark| match mark {
        Mark::Record(bytes) => bytes.len(),
        Mark::Filemark => 0,
    };
    fake.state().marks.iter().map(len).collect()
}

/// The bytes of all blocks.
fn bytes_on(fake: &FakeTape) -> Vec<u8> {
    let bytes = |mark: &Mark| match mark {
        Mark::Record(bytes) => bytes.clone(),
        Mark::Filemark => Vec::new(),
    };
    fake.state().marks.iter().flat_map(bytes).collect()
}

fn file(folder: &TempDir, len: usize) -> (PathBuf, Vec<u8>) {
    let (path, bytes) = (folder.path().join("source"), content(7, len));
    std::fs::write(&path, &bytes).expect("a source");
    (path, bytes)
}

#[test]
fn a_file_becomes_blocks_with_a_filemark_behind() {
    let folder = folder();
    for (len, block) in [(1_000_000, 65_536), (3_000_000, 10_240), (0, 512), (100_001, 1000), (999, 1000)] {
        let (path, bytes) = file(&folder, len);
        let fake = FakeTape::default();
        let report = to_tape(&path, &fake, &blocks_of(block)).expect("a copy");
        let block = block as usize;
        let mut expected = vec![block; len / block];
        expected.extend(Some(len % block).filter(|ragged| *ragged > 0));
        expected.push(0);
        assert_eq!(lengths(&fake), expected);
        assert!(bytes_on(&fake) == bytes, "{len} in {block}");
        assert_eq!(fake.state().marks.last(), Some(&Mark::Filemark));
        assert_eq!((report.bytes, report.durable_bytes, report.synced), (len as u64, len as u64, true));
        let tape = report.destination.tape.expect("a tape");
        assert_eq!((tape.records, tape.filemarks), (len.div_ceil(block) as u64, 1));
        assert_eq!((tape.from, tape.to), (Position::START, Position::new(1, 0)));
        let moved = report.destination.direct_bytes + report.destination.bounced_bytes;
        assert_eq!(moved, len as u64);
        if block.is_multiple_of(512) {
            // Blocks that begin at multiples of 512 in slots that begin at pages.
            assert_eq!(report.destination.bounced_bytes, 0, "{:?}", report.destination.bounces);
        }
        let moved = report.source.direct_bytes + report.source.bounced_bytes;
        assert_eq!(moved, len as u64);
    }
}

#[test]
fn the_drives_own_block_length_is_used_and_another_one_refused() {
    let folder = folder();
    let (path, bytes) = file(&folder, 1 << 20);
    let fake = FakeTape::default();
    to_tape(&path, &fake, &CopyOptions::default()).expect("a copy");
    assert_eq!(lengths(&fake), [256 << 10, 256 << 10, 256 << 10, 256 << 10, 0]);
    let fixed = FakeTape::default();
    fixed.state().mode = 4096;
    let report = to_tape(&path, &fixed, &CopyOptions::default()).expect("a copy");
    assert_eq!(lengths(&fixed).len(), 257);
    assert!(bytes_on(&fixed) == bytes);
    assert!(report.destination.requests < 10, "several blocks a call: {}", report.destination.requests);

    let before = fixed.state().marks.clone();
    let failure = to_tape(&path, &fixed, &blocks_of(8192)).expect_err("another length");
    assert_eq!(failure.error.class(), FailureClass::Refused);
    let CopyError::TapeRefused(TapeError::WrongBlockSize { have, need, .. }) = failure.error else {
        panic!("{failure}")
    };
    assert_eq!((have, need), (BlockMode::of(4096), 8192));
    assert_eq!(fixed.state().marks, before);
}

#[test]
fn a_last_block_that_is_not_whole_is_refused_before_anything_is_written_or_padded() {
    let folder = folder();
    let (path, bytes) = file(&folder, 10_000);
    let fake = FakeTape::default();
    fake.state().mode = 4096;
    let failure = to_tape(&path, &fake, &CopyOptions::default()).expect_err("it leaves bytes over");
    let CopyError::TapeNotWhole { len: 10_000, block: 4096, ragged: 1808, .. } = failure.error else {
        panic!("{failure}")
    };
    assert!(fake.state().marks.is_empty());

    let padded = with(TapeCopy { pad: true, ..TapeCopy::default() });
    let report = to_tape(&path, &fake, &padded).expect("a copy");
    assert_eq!((lengths(&fake), report.bytes), (vec![4096, 4096, 4096, 0], 10_000));
    let written = bytes_on(&fake);
    assert!(written[..10_000] == bytes && written[10_000..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_stream_that_ends_within_a_block_is_told_and_what_is_before_is_whole() {
    let folder = folder();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let fake = FakeTape::default();
    fake.state().mode = 1000;
    let bytes = content(3, 70_500);
    let failure = thread::scope(|scope| {
        scope.spawn(|| {
            let mut pipe = std::fs::File::options().write(true).open(&path).expect("a reader");
            pipe.write_all(&bytes).expect("it reads all");
        });
        let options = CopyOptions { skip: 100, ..CopyOptions::default() };
        to_tape(&path, &fake, &options).expect_err("400 bytes are left")
    });
    assert!(matches!(failure.error, CopyError::TapeRagged { left: 400, block: 1000 }), "{failure}");
    assert!(bytes_on(&fake) == bytes[100..70_100]);
    assert_eq!(fake.state().marks.last(), Some(&Mark::Filemark));
}

#[test]
fn a_tape_file_becomes_a_file_whatever_its_blocks() {
    let folder = folder();
    let to = folder.path().join("copy");
    let many: Vec<usize> = (0..600).map(|number| 9000 + number * 7).collect();
    let cases: [&[usize]; 5] = [&[10_240; 500], &[1, 2, 3, 70_000], &many, &[1 << 20; 9], &[]];
    for lengths in cases {
        let fake = FakeTape::with_files(&[lengths, &[5]]);
        let report = from_tape(&fake, &to, &CopyOptions::default()).expect("a copy");
        let len: usize = lengths.iter().sum();
        let expected = &bytes_on(&fake)[..len];
        assert!(std::fs::read(&to).expect("a copy") == expected, "{} blocks", lengths.len());
        assert_eq!((report.bytes, report.durable_bytes), (len as u64, len as u64));
        let tape = report.source.tape.as_ref().expect("a tape");
        assert_eq!((tape.records, tape.filemarks, tape.to), (lengths.len() as u64, 1, Position::new(1, 0)));
        assert_eq!(report.source.direct_bytes + report.source.bounced_bytes, len as u64);
        let side = &report.destination;
        assert_eq!(side.direct_bytes + side.bounced_bytes, len as u64);
        if side.direct {
            // All but the last block of the file system.
            assert!(side.bounced_bytes < 4096, "{:?}", side.bounces);
        }
    }
}

#[test]
fn direct_io_that_cannot_be_had_is_refused_where_it_is_required() {
    let folder = folder();
    let (path, _) = file(&folder, 300_000);
    let required = |options: CopyOptions| CopyOptions { direct: DirectMode::Require, ..options };
    let fake = FakeTape::default();
    match to_tape(&path, &fake, &required(blocks_of(262_143))) {
        Err(failure) => assert_eq!(failure.error.class(), FailureClass::Refused, "{failure}"),
        Ok(report) => panic!("262143 and 512 have no common multiple of that size: {report:?}"),
    }
    assert!(fake.state().marks.is_empty());
    // The driver would copy most of these, wherever they come from.
    let failure = to_tape(&path, &fake, &required(blocks_of(1000))).expect_err("odd addresses");
    assert!(matches!(failure.error, CopyError::DirectLayout { side: Side::Destination, .. }), "{failure}");
    let never = CopyOptions { direct: DirectMode::Never, ..blocks_of(65_536) };
    let report = to_tape(&path, &fake, &never).expect("a copy");
    assert_eq!((report.source.direct_bytes, report.source.bounced_bytes), (0, 300_000));
}

#[test]
fn files_of_a_tape_become_files_with_numbers() {
    let folder = folder();
    let name = folder.path().join("tape");
    let fake = FakeTape::with_files(&[&[512, 100], &[], &[70_000; 3]]);
    let all = with(TapeCopy { files: TapeFiles::All, ..TapeCopy::default() });
    let report = from_tape(&fake, &name, &all).expect("a copy");
    let read = |number: u32| std::fs::read(folder.path().join(format!("tape.{number:04}")));
    let bytes = bytes_on(&fake);
    assert!(read(1).expect("a file") == bytes[..612]);
    assert!(read(2).expect("a file").is_empty());
    assert!(read(3).expect("a file") == bytes[612..]);
    assert!(read(4).is_err() && !name.exists());
    let tape = report.source.tape.expect("a tape");
    assert_eq!((tape.records, tape.filemarks, tape.at_end_of_data), (5, 3, true));
    assert_eq!((report.bytes, report.durable_bytes), (bytes.len() as u64, bytes.len() as u64));

    // Two of them, into a folder.
    let two = with(TapeCopy { files: TapeFiles::Count(2), ..TapeCopy::default() });
    let other = folder.path().join("folder");
    std::fs::create_dir(&other).expect("a folder");
    fake.state().rewind();
    from_tape(&fake, &other, &two).expect("a copy");
    let mut names: Vec<_> = std::fs::read_dir(&other)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert_eq!(names, ["file.0001", "file.0002"]);

    fake.state().rewind();
    let before = fake.state().reads;
    let failure = from_tape(&fake, &folder.path().join("tape.0001"), &two).expect_err("one file");
    assert!(matches!(failure.error, CopyError::TapeFilesToOne { .. }), "{failure}");
    assert_eq!(fake.state().reads, before, "the tape has not moved");
}

#[test]
fn tape_to_tape_keeps_every_block_and_filemark() {
    let many: Vec<usize> = (1..3000).map(|number| number % 700 + 1).collect();
    let files: [&[usize]; 5] = [&[262_144; 20], &[], &many, &[1 << 20], &[512]];
    let from = FakeTape::with_files(&files);
    let to = FakeTape::default();
    let small = TapeCopy { files: TapeFiles::All, buffer_len: 8 << 20, ..TapeCopy::default() };
    let report = between(&from, &to, &with(small)).expect("a copy");
    assert!(from.state().clone().marks == to.state().clone().marks, "{:?}", lengths(&to));
    let tape = report.destination.tape.as_ref().expect("a tape");
    let records: usize = files.iter().map(|file| file.len()).sum();
    assert_eq!((tape.records, tape.filemarks), (records as u64, 5));
    assert_eq!(tape.to, Position::new(5, 0));
    assert_eq!(report.source.tape.as_ref().map(|tape| tape.records), Some(records as u64));
    assert_eq!(report.bytes, bytes_on(&from).len() as u64);
    // Blocks begin at multiples of what the driver wants, whatever their lengths are.
    assert_eq!(report.destination.bounced_bytes, 0, "{:?}", report.destination.bounces);
    assert!(report.synced);
    // One file: the first, with its filemark.
    let (one, to) = (FakeTape::with_files(&files), FakeTape::default());
    between(&one, &to, &CopyOptions::default()).expect("a copy");
    assert_eq!(lengths(&to), [vec![262_144; 20], vec![0]].concat());
}

#[test]
fn blocks_that_a_fixed_mode_cannot_keep_end_the_copy_before_they_are_written() {
    let from = FakeTape::with_files(&[&[4096, 4096, 8192, 4096]]);
    let to = FakeTape::default();
    to.state().mode = 4096;
    let failure = between(&from, &to, &CopyOptions::default()).expect_err("8192 are another block");
    assert_eq!(failure.error.class(), FailureClass::Failed);
    let CopyError::Tape { side: Side::Destination, why } = &failure.error else { panic!("{failure}") };
    assert!(
        matches!(why, TapeError::WrongBlockSize { need: 8192, position, .. } if *position == Position::new(0, 2))
    );
    assert_eq!(lengths(&to), [4096, 4096, 0]);
    // Two fixed modes that differ are refused at once.
    let other = FakeTape::with_files(&[&[512]]);
    other.state().mode = 512;
    let empty = FakeTape::default();
    empty.state().mode = 4096;
    let failure = between(&other, &empty, &CopyOptions::default()).expect_err("no such block");
    assert_eq!(failure.error.class(), FailureClass::Refused);
    assert!(empty.state().marks.is_empty() && other.state().reads == 0);
}

#[test]
fn two_filemarks_in_a_row_end_a_tape_where_that_is_asked_for() {
    let from = FakeTape::with_files(&[&[100], &[200], &[], &[300]]);
    let to = FakeTape::default();
    let double = TapeCopy { files: TapeFiles::All, double_filemark_ends: true, ..TapeCopy::default() };
    between(&from, &to, &with(double)).expect("a copy");
    assert_eq!(lengths(&to), [100, 0, 200, 0, 0]);
}

#[test]
fn a_full_tape_is_told_with_its_place_and_what_is_before_is_whole() {
    let folder = folder();
    let (path, bytes) = file(&folder, 1_000_000);
    let fake = FakeTape::default();
    fake.state().warning_at = 300_000;
    fake.state().capacity = 400_000;
    let failure = to_tape(&path, &fake, &blocks_of(10_000)).expect_err("it does not fit");
    assert_eq!(failure.error.class(), FailureClass::Failed);
    let CopyError::Tape { side: Side::Destination, why } = &failure.error else { panic!("{failure}") };
    let end = TapeError::EndOfMedium { path: "fake".into(), position: Position::new(0, 31), len: 10_000 };
    assert_eq!(why, &end);
    let report = failure.report.expect("it began");
    assert_eq!((report.bytes, report.synced), (310_000, false));
    assert!(bytes_on(&fake) == bytes[..310_000]);
    assert_eq!(fake.state().marks.last(), Some(&Mark::Filemark), "the file is closed");
}

#[test]
fn a_bad_spot_on_the_source_is_told_and_all_before_it_is_kept() {
    let folder = folder();
    let to = folder.path().join("copy");
    let fake = FakeTape::with_files(&[&[10_000; 40]]);
    let mut tape = Tape::new(Box::new(fake.clone()), Path::new("fake"), Access::Read).expect("a tape");
    tape.forward_records(30).expect("thirty blocks");
    // The eleventh block from here is missing: the data ends without a filemark, which is an error.
    fake.state().marks.truncate(35);
    let source = TapeEnd::Tape(tape);
    let failure = copy_between(source, TapeEnd::Other(End::Path(&to)), &CopyOptions::default(), &mut Silent)
        .expect_err("a bad spot");
    let CopyError::Tape { side: Side::Source, why } = &failure.error else { panic!("{failure}") };
    assert!(
        matches!(why, TapeError::Read { position, errno: Errno::IO, .. } if *position == Position::new(0, 35))
    );
    assert!(std::fs::read(&to).expect("a copy") == bytes_on(&fake)[300_000..]);
    assert_eq!(failure.report.expect("it began").bytes, 50_000);
}

#[test]
fn a_write_that_fails_stops_the_other_side() {
    let folder = folder();
    let (path, _) = file(&folder, 1_000_000);
    let fake = FakeTape::default();
    fake.state().write_errors.push_back(Errno::IO);
    let failure = to_tape(&path, &fake, &blocks_of(1000)).expect_err("it fails");
    assert!(matches!(failure.error, CopyError::Tape { why: TapeError::Write { .. }, .. }), "{failure}");
    assert!(fake.state().marks.is_empty(), "no filemark where no file is");
    // And a destination that fails stops a tape that is read.
    let long = FakeTape::with_files(&[&[1 << 20; 64]]);
    let small = with(TapeCopy { buffer_len: 8 << 20, ..TapeCopy::default() });
    let failure = from_tape(&long, Path::new("/dev/full"), &small).expect_err("it is full");
    assert!(matches!(failure.error, CopyError::Transfer { side: Side::Destination, .. }), "{failure}");
    assert!(long.state().reads < 64);
}

#[test]
fn what_counts_bytes_is_refused_on_a_tape() {
    let folder = folder();
    let (path, _) = file(&folder, 1000);
    let fake = FakeTape::with_files(&[&[512]]);
    let seek = CopyOptions { seek: 512, ..CopyOptions::default() };
    let skip = CopyOptions { skip: 512, ..CopyOptions::default() };
    let count = CopyOptions { count: Some(1), ..CopyOptions::default() };
    let to = folder.path().join("copy");
    let refused = [
        to_tape(&path, &fake, &seek).expect_err("no bytes"),
        from_tape(&fake, &to, &skip).expect_err("no bytes"),
        from_tape(&fake, &to, &count).expect_err("no bytes"),
        between(&fake, &fake, &skip).expect_err("no bytes"),
    ];
    for failure in refused {
        assert!(matches!(failure.error, CopyError::TapeBytes { .. }), "{failure}");
    }
    assert!(!to.exists());
    let bad = TapeCopy { start_percent: 20, pause_percent: 20, ..TapeCopy::default() };
    let failure = to_tape(&path, &fake, &with(bad)).expect_err("no room between the marks");
    assert!(matches!(failure.error, CopyError::Option { value: 20, max: 19, .. }), "{failure}");
    let state = fake.state();
    assert_eq!((state.reads, state.writes), (0, 0));
}

#[test]
fn a_part_of_a_file_is_written_and_a_file_is_read_to_its_place() {
    let folder = folder();
    let (path, bytes) = file(&folder, 100_000);
    let fake = FakeTape::default();
    let part = CopyOptions { skip: 5001, count: Some(20_000), ..blocks_of(512) };
    let report = to_tape(&path, &fake, &part).expect("a copy");
    assert!(bytes_on(&fake) == bytes[5001..25_001]);
    assert!(report.source.bounces.iter().all(|(_, len)| *len > 0));
    fake.state().rewind();
    let into = CopyOptions { seek: 3, truncate: false, ..CopyOptions::default() };
    from_tape(&fake, &path, &into).expect("a copy");
    let mut found = vec![0; 100_000];
    std::fs::File::open(&path).expect("a file").read_exact_at(&mut found, 0).expect("its length stays");
    assert!(found[3..20_003] == bytes[5001..25_001] && found[20_003..] == bytes[20_003..]);
    assert!(found[..3] == bytes[..3]);
}

#[test]
fn a_tape_is_started_as_seldom_as_the_marks_allow() {
    let folder = folder();
    let (path, _) = file(&folder, 4 << 20);
    let fake = FakeTape::default();
    let options = CopyOptions { block_len: (1 << 16).into(), ..blocks_of(1 << 16) };
    let options = CopyOptions { tape: TapeCopy { buffer_len: 10 << 16, ..options.tape }, ..options };
    let report = to_tape(&path, &fake, &options).expect("a copy");
    let starts = report.destination.tape.expect("a tape").starts;
    // From 8 of 10 slots down to 2: at least 6 slots a run, but for the last.
    assert!((1..=64 / 6 + 1).contains(&starts), "{starts}");
}

/// Stops a copy at its first word.
struct Stopping;

impl Observer for Stopping {
    fn progress(&mut self, _: &Progress) -> Control {
        Control::Stop
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn a_stopped_copy_leaves_the_tape_in_order() {
    let folder = folder();
    let (path, bytes) = file(&folder, 4 << 20);
    let fake = FakeTape::default();
    let from = TapeEnd::Other(End::Path(&path));
    let report =
        copy_between(from, open(&fake, Access::Write), &blocks_of(4096), &mut Stopping).expect("a report");
    assert!(report.interrupted && report.bytes < 4 << 20);
    let written = bytes_on(&fake);
    assert!(written.len() as u64 == report.bytes && written == bytes[..written.len()]);
    let marks = fake.state().marks.clone();
    assert!(marks.is_empty() || marks.last() == Some(&Mark::Filemark));
    assert!(fake.state().controls.iter().all(|(op, _)| *op == Op::WriteFilemarks));
}
