//! Tape drives (tgt behind iSCSI and `st`): what is written is there, block by block; copies keep blocks and filemarks; whatever is in the way is told
//! with its place.
//!
//! tgt 1.0.85 answers a read after the end of the data with zeros, and garbles reads of more than a block and less than two: so nothing here
//! reads to the end of the data, and last blocks are short. What it cannot do at all (tell, early warning) is tested over a tape in memory
//! (`device::tape` and `copy::tape`).

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkio::copy::{
    CopyError, CopyFailure, CopyOptions, End, FailureClass, Report, Side, Silent, TapeCopy, TapeFiles, copy,
};
use bulkio::device::tape::{Access, BlockMode, Position, Record, Tape, TapeError, TapeOptions};
use bulkio::probe::{Kind, probe_path};
use rustix::io::Errno;
use scatterlist::LimitId;

use crate::or_skip;
use crate::support::{content, in_lab};

/// Two drives with tapes of 100 MB, one with 2 MB, and one whose tape is protected and taken out.
const FIRST: &str = "/dev/nst0";
const SECOND: &str = "/dev/nst1";
const SMALL: &str = "/dev/nst2";
const OTHER: &str = "/dev/nst3";
/// The logical unit of the last (lab/tape.sh).
const OTHER_UNIT: &str = "4";

fn open(node: &str, access: Access) -> Tape {
    let options = TapeOptions { access, ..TapeOptions::default() };
    Tape::open(Path::new(node), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes a tape ready: rewound, in the mode of blocks of `block` bytes.
pub(crate) fn ready(node: &str, block: u32) {
    let mut tape = open(node, Access::Read);
    tape.rewind().unwrap();
    tape.set_mode(BlockMode::of(block)).unwrap();
}

/// Writes files of blocks by plain calls, a filemark behind each, from the beginning.
pub(crate) fn fill(node: &str, files: &[Vec<Vec<u8>>]) {
    ready(node, 0);
    for blocks in files {
        // Closing writes the filemark.
        let mut tape = File::options().write(true).open(node).unwrap();
        for block in blocks {
            assert_eq!(tape.write(block).unwrap(), block.len());
        }
    }
    open(node, Access::Read).rewind().unwrap();
}

/// Reads the blocks of `files` files by plain calls, `None` for filemarks, from the beginning. The longest block is told: the emulated drive garbles
/// what is read with a little more room.
pub(crate) fn dump(node: &str, files: usize, longest: usize) -> Vec<Option<Vec<u8>>> {
    ready(node, 0);
    let mut tape = File::open(node).unwrap();
    let (mut bytes, mut found, mut left) = (vec![0; longest], Vec::new(), files);
    while left > 0 {
        let len = tape.read(&mut bytes).unwrap();
        found.push((len > 0).then(|| bytes[..len].to_vec()));
        left -= usize::from(len == 0);
    }
    found
}

/// Blocks of `len` bytes that hold `bytes`, the last one shorter.
pub(crate) fn blocks(bytes: &[u8], len: usize) -> Vec<Vec<u8>> {
    bytes.chunks(len).map(<[u8]>::to_vec).collect()
}

fn run(from: &str, to: &str, tape: TapeCopy) -> Result<Report, CopyFailure> {
    let options = CopyOptions { tape: TapeCopy { buffer_len: 16 << 20, ..tape }, ..CopyOptions::default() };
    copy(End::Path(Path::new(from)), End::Path(Path::new(to)), &options, &mut Silent)
}

fn of_blocks(block_len: u32) -> TapeCopy {
    TapeCopy { block_len: Some(block_len), ..TapeCopy::default() }
}

fn folder() -> tempfile::TempDir {
    // On the lab's disk: the root is an overlay in memory.
    tempfile::tempdir().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What the driver counted of the last use of a drive: requests, and those by direct I/O.
///
/// Linux, drivers/scsi/st.c, `st_flush`: a line at close, where the debug flag is set.
pub(crate) fn counted(drive: &str) -> (u64, u64) {
    let output = Command::new("dmesg").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rfind(|line| line.contains(drive) && line.contains("Number of r/w requests"));
    let line = line.unwrap_or_else(|| panic!("no count of {drive}"));
    let mut numbers = line
        .split_once("requests")
        .unwrap()
        .1
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

pub(crate) fn debug(on: bool) {
    fs::write("/sys/bus/scsi/drivers/st/debug_flag", if on { "1" } else { "0" }).unwrap();
}

fn tgtadm(parameter: &str) {
    let words = ["--lld", "iscsi", "--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun"];
    let output =
        Command::new("tgtadm").args(words).args([OTHER_UNIT, "--params", parameter]).output().unwrap();
    assert!(output.status.success(), "{parameter}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_probe_of_a_drive_opens_nothing_and_names_the_drivers_rules() {
    const NAME: &str = "tape::a_probe_of_a_drive_opens_nothing_and_names_the_drivers_rules";
    or_skip!(NAME, in_lab("tape"));
    // A drive has one user at a time, and that is this one.
    let _tape = open(FIRST, Access::Read);
    let probe = probe_path(Path::new(FIRST)).unwrap();
    let Kind::Tape(node) = &probe.kind else { panic!("{:?}", probe.kind) };
    assert_eq!((node.drive, node.rewinds), (0, false));
    assert_eq!(probe.limits.get(LimitId::SegmentsMax).value, 256);
    assert_eq!(probe.limits.get(LimitId::PiecesMax).value, 1);
}

#[test]
fn the_node_that_rewinds_stands_for_the_one_that_does_not() {
    const NAME: &str = "tape::the_node_that_rewinds_stands_for_the_one_that_does_not";
    or_skip!(NAME, in_lab("tape"));
    fill(FIRST, &[blocks(&content(2000), 1000)]);
    let mut tape = open("/dev/st0", Access::Read);
    let limits = tape.block_limits().expect("root may ask the drive");
    assert_eq!((limits.len_min, limits.len_max), (4, 1 << 20));
    assert_eq!((tape.path(), tape.notes().len()), (Path::new(FIRST), 1));
    tape.forward_records(1).unwrap();
    let busy = Tape::open(Path::new(FIRST), &TapeOptions::default()).expect_err("one user at a time");
    assert_eq!(busy, TapeError::InUse { path: FIRST.into() });
    drop(tape);
    assert_eq!(open(FIRST, Access::Read).position(), Position::new(0, 1), "it was not rewound");
    drop(Tape::open(Path::new("/dev/st0"), &TapeOptions { rewinding: true, ..TapeOptions::default() }));
    assert_eq!(open(FIRST, Access::Read).position(), Position::START, "the other one rewinds");
    let none = Tape::open(Path::new("/dev/null"), &TapeOptions::default()).expect_err("no tape");
    assert_eq!(none, TapeError::NotATape { path: "/dev/null".into() });
}

#[test]
fn records_are_written_read_and_found_by_position() {
    const NAME: &str = "tape::records_are_written_read_and_found_by_position";
    or_skip!(NAME, in_lab("tape"));
    ready(FIRST, 0);
    let mut tape = open(FIRST, Access::Write);
    let bytes = content(1 << 20);
    for (file, lengths) in [(0, &[10_240, 512, 4][..]), (1, &[65_536][..]), (2, &[1 << 20, 100][..])] {
        for len in lengths {
            assert_eq!(tape.write(&bytes[..*len]).unwrap().bytes, *len);
        }
        tape.write_filemarks(1, file != 1).unwrap();
        assert_eq!(tape.position(), Position::new(file + 1, 0));
        assert_eq!(tape.status().unwrap().position, Position::new(file + 1, 0), "the driver counts alike");
    }
    assert!(matches!(tape.tell(), Err(TapeError::Ask { .. })), "the emulated drive cannot tell");
    tape.rewind().unwrap();
    assert!(tape.status().unwrap().is_at_start());
    tape.forward_files(2).unwrap();
    let mut memory = vec![0; 1 << 20];
    let read = tape.read(&mut memory).unwrap();
    assert!(matches!(read, Record::Data { bytes, records: 1, .. } if bytes == 1 << 20));
    assert!(memory == bytes);
    assert_eq!(tape.position(), Position::new(2, 1));
    tape.back_files(2).unwrap();
    assert_eq!(tape.position().file, Some(0), "before the first filemark");
    tape.forward_files(1).unwrap();
    assert_eq!(tape.position(), Position::new(1, 0));
    // What is read after spacing back over a filemark is the emulated drive's own affair: it stands a block too far back.
    tape.rewind().unwrap();
    tape.forward_records(3).unwrap();
    tape.back_records(1).unwrap();
    assert_eq!(tape.position(), Position::new(0, 2));
    let read = tape.read(&mut memory).unwrap();
    assert!(matches!(read, Record::Data { bytes: 4, .. }), "{read:?}");
    assert!(memory[..4] == bytes[..4]);
    // A block longer than the memory is not lost.
    tape.rewind().unwrap();
    assert!(matches!(tape.read(&mut [0; 512]).unwrap(), Record::NeedsRoom { .. }));
    assert!(matches!(tape.read(&mut memory).unwrap(), Record::Data { bytes: 10_240, .. }));
    tape.forward_records(2).unwrap();
    assert_eq!(tape.read(&mut memory).unwrap(), Record::Filemark);
    assert_eq!(tape.position(), Position::new(1, 0));
    let past = tape.forward_files(7).expect_err("the end");
    assert!(matches!(past, TapeError::Control { .. } | TapeError::EndOfData { .. }), "{past}");
    // After closing there are three filemarks, and none was added.
    drop(tape);
    let found = dump(FIRST, 3, 1 << 20);
    let lengths: Vec<_> = found.iter().map(|block| block.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(lengths, [10_240, 512, 4, 0, 65_536, 0, 1 << 20, 100, 0]);
}

#[test]
fn a_short_read_is_discovered_and_repeated() {
    const NAME: &str = "tape::a_short_read_is_discovered_and_repeated";
    or_skip!(NAME, in_lab("tape"));
    let bytes = content(900_000);
    // The second file has blocks longer than twice those of the first.
    fill(FIRST, &[blocks(&bytes[..50_000], 10_000), blocks(&bytes, 300_000)]);
    let mut tape = open(FIRST, Access::Read);
    let mut memory = vec![0; 1 << 20];
    let mut found = Vec::new();
    let mut filemarks = 0;
    while filemarks < 2 {
        match tape.read(&mut memory).unwrap() {
            Record::Data { bytes, .. } => found.extend_from_slice(&memory[..bytes]),
            Record::Filemark => filemarks += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(found == [&bytes[..50_000], &bytes].concat());
}

#[test]
fn three_files_go_to_disk_and_back_to_a_second_tape_at_the_same_places() {
    const NAME: &str = "tape::three_files_go_to_disk_and_back_to_a_second_tape_at_the_same_places";
    or_skip!(NAME, in_lab("tape"));
    let bytes = content(5_000_000);
    // Lengths, blocks: whole ones, a short one at the end, one that no disk has.
    let files = [(3_072_000, 10_240_u32), (2_000_000, 262_144), (700_123, 777)];
    let data: Vec<_> =
        files.iter().map(|&(len, block)| blocks(&bytes[..len], usize::try_from(block).unwrap())).collect();
    fill(FIRST, &data);
    let folder = folder();
    let name = folder.path().join("tape");
    let three = TapeCopy { files: TapeFiles::Count(3), ..TapeCopy::default() };
    let report = run(FIRST, text(&name), three).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.bytes, files.iter().map(|(len, _)| *len as u64).sum::<u64>());
    let tape = report.source.tape.as_ref().unwrap();
    assert_eq!(tape.records, data.iter().map(|blocks| blocks.len() as u64).sum::<u64>());
    assert_eq!((tape.filemarks, tape.to), (3, Position::new(3, 0)));

    ready(SECOND, 0);
    for (number, &(len, block)) in (1..).zip(&files) {
        let file = folder.path().join(format!("tape.{number:04}"));
        assert!(fs::read(&file).unwrap() == bytes[..len], "file {number}");
        let report = run(text(&file), SECOND, of_blocks(block)).unwrap_or_else(|failure| panic!("{failure}"));
        let tape = report.destination.tape.unwrap();
        assert_eq!((tape.from, tape.to), (Position::new(number - 1, 0), Position::new(number, 0)));
        assert!(report.synced);
    }
    assert!(dump(FIRST, 3, 262_144) == dump(SECOND, 3, 262_144), "the tapes differ");
}

#[test]
fn tape_to_tape_keeps_blocks_and_filemarks() {
    const NAME: &str = "tape::tape_to_tape_keeps_blocks_and_filemarks";
    or_skip!(NAME, in_lab("tape"));
    let bytes = content(3_000_000);
    let mixed: Vec<_> = (0..200).map(|number| bytes[number * 100..][..4000 + number * 31].to_vec()).collect();
    fill(FIRST, &[blocks(&bytes, 65_536), mixed, blocks(&bytes[..512], 512)]);
    ready(SECOND, 0);
    let three = TapeCopy { files: TapeFiles::Count(3), ..TapeCopy::default() };
    let (report, (requests, direct)) = counting(FIRST, SECOND, three, "st1");
    // Whatever their lengths are, blocks begin where the drivers want them.
    assert_eq!((report.source.bounced_bytes, report.destination.bounced_bytes), (0, 0));
    assert_eq!((requests, direct), (report.destination.requests, report.destination.requests));
    let (from, to) = (report.source.tape.unwrap(), report.destination.tape.unwrap());
    assert_eq!((from.records, from.filemarks), (to.records, to.filemarks));
    assert_eq!((from.to, to.to), (Position::new(3, 0), Position::new(3, 0)));
    assert!(dump(FIRST, 3, 65_536) == dump(SECOND, 3, 65_536), "the tapes differ");
    // To itself it cannot be copied.
    let failure = run("/dev/st0", FIRST, three).expect_err("one drive");
    assert!(matches!(failure.error, CopyError::TapeRefused(TapeError::InUse { .. })), "{failure}");
}

#[test]
fn fixed_blocks_are_written_padded_and_read_several_at_a_time() {
    const NAME: &str = "tape::fixed_blocks_are_written_padded_and_read_several_at_a_time";
    or_skip!(NAME, in_lab("tape"));
    let folder = folder();
    let (file, back) = (folder.path().join("file"), folder.path().join("back"));
    let bytes = content(1_000_000);
    fs::write(&file, &bytes).unwrap();
    ready(SECOND, 4096);
    let failure = run(text(&file), SECOND, TapeCopy::default()).expect_err("no whole blocks");
    assert_eq!(failure.error.class(), FailureClass::Refused);
    assert!(matches!(failure.error, CopyError::TapeNotWhole { block: 4096, ragged: 576, .. }), "{failure}");
    let failure = run(text(&file), SECOND, of_blocks(512)).expect_err("another length");
    assert!(matches!(failure.error, CopyError::TapeRefused(TapeError::WrongBlockSize { need: 512, .. })));
    assert_eq!(open(SECOND, Access::Read).position(), Position::START, "nothing has moved");

    let padded = TapeCopy { pad: true, ..TapeCopy::default() };
    let report = run(text(&file), SECOND, padded).unwrap_or_else(|failure| panic!("{failure}"));
    let tape = report.destination.tape.unwrap();
    assert_eq!((tape.block_len, tape.records, report.bytes), (4096, 245, 1_000_000));
    assert!(report.destination.requests < 10, "{}", report.destination.requests);
    open(SECOND, Access::Read).rewind().unwrap();
    let report = run(SECOND, text(&back), TapeCopy::default()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.bytes, 245 * 4096);
    let found = fs::read(&back).unwrap();
    assert!(found[..bytes.len()] == bytes && found[bytes.len()..].iter().all(|byte| *byte == 0));

    // Blocks of another length: the emulated drive calls them a bad spot, where others say what they are.
    ready(SECOND, 2048);
    let failure = run(SECOND, text(&back), TapeCopy::default()).expect_err("other blocks");
    let CopyError::Tape { side: Side::Source, why } = &failure.error else { panic!("{failure}") };
    assert!(
        matches!(why, TapeError::Read { position, errno: Errno::IO, .. } if *position == Position::START),
        "{why}"
    );
    assert!(why.to_string().contains("bulkio tape setblk DEV 0"), "{why}");
    ready(SECOND, 0);
}

#[test]
fn the_end_of_the_medium_is_told_and_what_is_before_is_whole() {
    const NAME: &str = "tape::the_end_of_the_medium_is_told_and_what_is_before_is_whole";
    const BLOCK: usize = 65_536;
    or_skip!(NAME, in_lab("tape"));
    let folder = folder();
    let file = folder.path().join("file");
    let bytes = content(4 << 20);
    fs::write(&file, &bytes).unwrap();
    ready(SMALL, 0);
    let failure = run(text(&file), SMALL, of_blocks(65_536)).expect_err("2 MB");
    assert_eq!(failure.error.class(), FailureClass::Failed);
    let CopyError::Tape { side: Side::Destination, why } = &failure.error else { panic!("{failure}") };
    let TapeError::EndOfMedium { position, len, .. } = why else { panic!("{why}") };
    let blocks = position.block.unwrap();
    assert_eq!((position.file, *len), (Some(0), BLOCK as u64));
    let report = failure.report.unwrap();
    assert_eq!((report.bytes, report.synced), (u64::from(blocks) * BLOCK as u64, false));
    assert_eq!(report.destination.tape.unwrap().records, u64::from(blocks));
    // By plain calls: so many blocks, whole.
    ready(SMALL, 0);
    let mut tape = File::open(SMALL).unwrap();
    let mut block = vec![0; BLOCK];
    for at in 0..usize::try_from(blocks).unwrap() {
        assert_eq!(tape.read(&mut block).unwrap(), BLOCK, "block {at}");
        assert!(block == bytes[at * BLOCK..][..BLOCK], "block {at}");
    }
}

#[test]
fn a_protected_tape_is_refused_and_stays_as_it_was() {
    const NAME: &str = "tape::a_protected_tape_is_refused_and_stays_as_it_was";
    or_skip!(NAME, in_lab("tape"));
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, content(10_000)).unwrap();
    fill(OTHER, &[blocks(&content(3000), 1000)]);
    open(OTHER, Access::Read).forward_records(2).unwrap();
    tgtadm("readonly=1");
    let failure = run(text(&file), OTHER, TapeCopy::default()).expect_err("protected");
    let refused = TapeError::WriteProtected { path: OTHER.into(), position: Position::new(0, 2) };
    let CopyError::TapeRefused(why) = &failure.error else { panic!("{failure}") };
    assert_eq!(why, &refused);
    assert_eq!(failure.error.class(), FailureClass::Refused);
    assert!(open(OTHER, Access::Read).status().unwrap().is_write_protected());
    let found = dump(OTHER, 1, 1000);
    tgtadm("readonly=0");
    let expected: Vec<_> = blocks(&content(3000), 1000).into_iter().map(Some).chain([None]).collect();
    assert!(found == expected);
}

#[test]
fn a_drive_without_a_tape_says_so() {
    const NAME: &str = "tape::a_drive_without_a_tape_says_so";
    or_skip!(NAME, in_lab("tape"));
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, content(10_000)).unwrap();
    fill(OTHER, &[blocks(&content(3000), 1000)]);
    let mut held = open(OTHER, Access::Read);
    held.offline().unwrap();
    // The driver keeps to what it was told, whatever the emulated drive does.
    assert_eq!(held.rewind().expect_err("no tape"), TapeError::NoTape { path: OTHER.into() });
    assert_eq!(
        held.read(&mut vec![0; 1 << 20]).expect_err("no tape"),
        TapeError::NoTape { path: OTHER.into() }
    );
    drop(held);
    tgtadm("online=0");
    let failures =
        [run(text(&file), OTHER, TapeCopy::default()), run(OTHER, text(&file), TapeCopy::default())];
    tgtadm("online=1");
    for failure in failures {
        let failure = failure.expect_err("no tape");
        assert_eq!(failure.error.class(), FailureClass::Refused);
        let CopyError::TapeRefused(why) = &failure.error else { panic!("{failure}") };
        assert_eq!(why, &TapeError::NoTape { path: OTHER.into() });
    }
    assert!(fs::read(&file).unwrap() == content(10_000), "the destination is as it was");
    let expected: Vec<_> = blocks(&content(3000), 1000).into_iter().map(Some).chain([None]).collect();
    assert!(dump(OTHER, 1, 1000) == expected, "the tape is as it was");
}

/// Copies with the driver's debug flag set, and returns what it counted of the drive.
fn counting(from: &str, to: &str, tape: TapeCopy, drive: &str) -> (Report, (u64, u64)) {
    debug(true);
    let report = run(from, to, tape);
    let counts = counted(drive);
    debug(false);
    (report.unwrap_or_else(|failure| panic!("{failure}")), counts)
}

#[test]
fn what_the_report_calls_direct_is_what_the_driver_counts_as_direct() {
    const NAME: &str = "tape::what_the_report_calls_direct_is_what_the_driver_counts_as_direct";
    or_skip!(NAME, in_lab("tape"));
    let folder = folder();
    let file = folder.path().join("file");
    let back: PathBuf = folder.path().join("back");
    // Blocks at aligned addresses; blocks of which one in 64 is; blocks of 256 pages, the most.
    for (block, len) in [(65_536_u64, 4_000_000_u64), (1000, 400_000), (1 << 20, 8 << 20)] {
        let whole = len / block * block;
        fs::write(&file, content(usize::try_from(whole).unwrap())).unwrap();
        ready(FIRST, 0);
        let blocks = of_blocks(u32::try_from(block).unwrap());
        let (report, (requests, direct)) = counting(text(&file), FIRST, blocks, "st0");
        let side = &report.destination;
        assert_eq!(requests, side.requests, "writes of {block}");
        assert_eq!(direct * block, side.direct_bytes, "writes of {block}: {:?}", side.bounces);
        assert_eq!(side.direct_bytes + side.bounced_bytes, whole);
        assert_eq!(side.bounced_bytes == 0, block != 1000);

        open(FIRST, Access::Read).rewind().unwrap();
        let (report, (requests, direct)) = counting(FIRST, text(&back), TapeCopy::default(), "st0");
        let side = &report.source;
        assert!(fs::read(&back).unwrap() == fs::read(&file).unwrap(), "blocks of {block}");
        assert!(side.requests <= requests, "the filemark takes a read, too");
        // The reads that met the filemark or went back are the driver's, and not of bytes.
        let others = requests - side.requests;
        let range = direct.saturating_sub(others)..=direct;
        assert!(range.contains(&(side.direct_bytes / block)), "reads of {block}: {direct} of {requests}");
    }
}

#[test]
fn errors_of_the_other_side_leave_the_tape_in_order() {
    const NAME: &str = "tape::errors_of_the_other_side_leave_the_tape_in_order";
    or_skip!(NAME, in_lab("tape"));
    let bytes = content(2_000_000);
    fill(FIRST, &[blocks(&bytes, 10_000)]);
    let failure = run(FIRST, "/dev/full", TapeCopy::default()).expect_err("it is full");
    let CopyError::Transfer { side: Side::Destination, status, .. } = &failure.error else {
        panic!("{failure}")
    };
    assert_eq!(*status, scatterlist::Status::Errno(Errno::NOSPC.raw_os_error().unsigned_abs()));
    // It can be used again.
    let found = dump(FIRST, 1, 10_000);
    assert_eq!(found.len(), 201);
}
