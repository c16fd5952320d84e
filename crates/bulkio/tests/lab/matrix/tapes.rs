//! Tapes to every class and back, and to each other: one tape file, in variable and in fixed mode. The driver's own counter says how many of its
//! requests moved without a copy.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bulkio::copy::{CopyOptions, End, Passthrough as Sides, Report, SideReport, Silent, TapeCopy, copy};

use super::{
    Devices, Drain, Kind, LEN, Place, check_kernel, check_sums, contents, drop_cached, feed, opening, put,
};
use crate::or_skip;
use crate::oracle::MappedMemory;
use crate::support::in_lab;
use crate::tape::{counted, debug, dump, ready};

const FROM: &str = "/dev/nst0";
const TO: &str = "/dev/nst1";

/// How a tape is used: 0 is variable mode, with blocks of [`BLOCK`] bytes.
const MODES: [u32; 2] = [0, 4096];
const BLOCK: usize = 64 << 10;

/// Bytes of a tape file: whole blocks in both modes, and in variable mode also a last block that is no whole sectors.
const WHOLE: usize = 1 << 20;
const ODD: usize = 1_000_003;

fn lens(mode: u32) -> &'static [usize] {
    if mode == 0 { &[WHOLE, ODD] } else { &[WHOLE] }
}

const fn block_of(mode: u32) -> usize {
    if mode == 0 { BLOCK } else { mode as usize }
}

/// Writes one tape file from the beginning, and rewinds.
fn record(node: &str, mode: u32, bytes: &[u8]) {
    ready(node, mode);
    let mut tape = File::options().write(true).open(node).unwrap();
    for block in bytes.chunks(BLOCK) {
        assert_eq!(tape.write(block).unwrap(), block.len());
    }
    // Closing writes the filemark.
    drop(tape);
    ready(node, mode);
}

/// What all of these copies are asked, in a mode of the tape.
fn options(mode: u32, passthrough: Sides) -> CopyOptions {
    let block_len = (mode == 0).then_some(u32::try_from(BLOCK).unwrap());
    CopyOptions {
        block_len: super::REQUEST.into(),
        depth: 4.into(),
        passthrough,
        tape: TapeCopy { block_len, buffer_len: 4 << 20, ..TapeCopy::default() },
        ..CopyOptions::default()
    }
}

fn run(from: &Path, to: &Path, options: &CopyOptions) -> Report {
    copy(End::Path(from), End::Path(to), options, &mut Silent)
        .unwrap_or_else(|failure| panic!("{} to {}: {failure}", from.display(), to.display()))
}

/// Checks what is said of a tape against the driver's count of its last use.
fn check_tape(side: &SideReport, drive: &str, what: &str) {
    let (requests, direct) = counted(drive);
    let tape = side.tape.as_ref().unwrap_or_else(|| panic!("{what}: {side:?}"));
    assert!(tape.records > 0 && tape.filemarks == 1, "{what}: {tape:?}");
    // Reads that meet a filemark, or blocks longer than the memory, are the driver's too, and bring no bytes.
    let others =
        requests.checked_sub(side.requests).unwrap_or_else(|| panic!("{what}: {requests}, {side:?}"));
    if side.bounced_bytes == 0 {
        let range = direct.saturating_sub(others)..=direct;
        assert!(range.contains(&side.requests), "{what}: {direct} of {requests} direct, {side:?}");
    } else {
        assert!(direct < requests, "{what}: {side:?}");
    }
}

fn to_device(mode: u32, to: &Place, mapped: &MappedMemory) {
    for &len in lens(mode) {
        let what = format!("tape in mode {mode} to {:?}, {len} bytes", to.kind);
        let bytes = contents();
        record(FROM, mode, &bytes[..len]);
        let seek = if to.kind == Kind::Pipe { 0 } else { 8192 };
        if to.kind != Kind::Pipe {
            put(to, &[0x5a; LEN]);
            drop_cached(to);
        }
        let opened = opening(to, mapped);
        mapped.take();
        let drain = Drain::of(to);
        debug(true);
        let sides = Sides { source: false, destination: to.kind == Kind::SgIo };
        let options = CopyOptions { seek: seek as u64, truncate: false, ..options(mode, sides) };
        let report = run(Path::new(FROM), &to.node, &options);
        debug(false);
        let mapped_bytes = mapped.take().iter().sum::<u64>() - opened;
        check_sums(&report.source, len, &what);
        check_sums(&report.destination, len, &what);
        check_tape(&report.source, "st0", &what);
        if len == WHOLE {
            check_kernel(&[(to, &report.destination)], mapped_bytes, &what);
        }
        super::check_contents(to, &bytes[..len], seek, drain.map(Drain::end), &what);
    }
}

fn from_device(from: &Place, mode: u32, mapped: &MappedMemory) {
    for &len in lens(mode) {
        let what = format!("{:?} to tape in mode {mode}, {len} bytes", from.kind);
        let bytes = contents();
        ready(TO, mode);
        if from.kind != Kind::Pipe {
            drop_cached(from);
        }
        let opened = opening(from, mapped);
        mapped.take();
        let feeder = feed(from);
        debug(true);
        let sides = Sides { source: from.kind == Kind::SgIo, destination: false };
        let options = CopyOptions { count: Some(len as u64), ..options(mode, sides) };
        let report = run(&from.node, Path::new(TO), &options);
        debug(false);
        feeder.map(|feeder| feeder.join().unwrap());
        let mapped_bytes = mapped.take().iter().sum::<u64>() - opened;
        check_sums(&report.source, len, &what);
        check_sums(&report.destination, len, &what);
        check_tape(&report.destination, "st1", &what);
        if len == WHOLE {
            check_kernel(&[(from, &report.source)], mapped_bytes, &what);
        }
        check_written(&bytes[..len], mode, &what);
    }
}

/// The second tape holds one file of these bytes, in blocks of its mode.
fn check_written(bytes: &[u8], mode: u32, what: &str) {
    let blocks = dump(TO, 1, block_of(mode));
    let expected = bytes.chunks(block_of(mode)).map(|block| Some(block.to_vec()));
    assert!(blocks == expected.chain([None]).collect::<Vec<_>>(), "{what}: blocks differ");
}

#[test]
fn tapes_to_every_class_and_back() {
    const NAME: &str = "matrix::tapes::tapes_to_every_class_and_back";
    or_skip!(NAME, in_lab("matrix"));
    let devices = Devices::new();
    let mapped = MappedMemory::watch();
    std::fs::write("/sys/module/sg/parameters/allow_dio", "1").unwrap();
    for kind in super::KINDS {
        let (source, destination) = (devices.place(kind, 0), devices.place(kind, 1));
        if kind != Kind::Pipe {
            put(&source, contents());
        }
        for mode in MODES {
            to_device(mode, &destination, &mapped);
            from_device(&source, mode, &mapped);
        }
    }
    for (from, to) in [(0, 0), (4096, 4096), (4096, 0)] {
        let what = format!("tape in mode {from} to tape in mode {to}");
        let bytes = &contents()[..WHOLE];
        record(FROM, from, bytes);
        ready(TO, to);
        debug(true);
        let options = CopyOptions { truncate: false, ..options(from, Sides::default()) };
        let report = run(Path::new(FROM), Path::new(TO), &options);
        debug(false);
        check_tape(&report.source, "st0", &what);
        check_tape(&report.destination, "st1", &what);
        // Blocks stay as they are.
        check_written(bytes, from, &what);
    }
}
