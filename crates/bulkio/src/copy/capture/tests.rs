//! The sink over files: every byte is there, in order, and counted once; what is moved by direct I/O and what is not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::super::DirectMode;
use super::super::ends::target::Target;
use super::super::options::{CopyOptions, End, Silent};
use super::super::watch::Watch;
use super::held::Copied;
use super::sink::{Sink, add_slots};
use crate::pages::{PagePool, PoolOptions};

const PIECE_MAX: usize = 5000;

fn folder() -> tempfile::TempDir {
    ["/var/tmp".into(), std::env::temp_dir()]
        .into_iter()
        .find_map(|parent| tempfile::tempdir_in(parent).ok())
        .expect("a folder for files")
}

struct Written {
    bytes: Vec<u8>,
    file: Vec<u8>,
    report: crate::copy::SideReport,
    passed: Vec<usize>,
    whole: u64,
    unit: u64,
}

/// Sends pieces of these lengths through a sink to a file; `offset` says where a piece begins in its slot.
fn run(
    lens: &[usize],
    options: &CopyOptions,
    pad: bool,
    offset: impl Fn(&Sink<Copied, usize>) -> u64,
) -> Written {
    let folder = folder();
    let path = folder.path().join("to");
    std::fs::write(&path, [9; 20]).expect("a file that is there already");
    let written = run_to(&path, lens, options, pad, offset);
    Written { file: std::fs::read(&path).expect("a copy"), ..written }
}

fn run_to(
    path: &Path,
    lens: &[usize],
    options: &CopyOptions,
    pad: bool,
    offset: impl Fn(&Sink<Copied, usize>) -> u64,
) -> Written {
    let target = Target::open(End::Path(path), options, &mut Silent, &mut Vec::new()).expect("a target");
    let pool = PoolOptions::uniform(PIECE_MAX + 4096, 4);
    let pool = PagePool::new(add_slots(pool, target.unit, PIECE_MAX as u64, options.plain_depth()));
    let pool = Arc::new(pool.expect("a pool"));
    let mut sink = Sink::new(target, Arc::clone(&pool), PIECE_MAX as u64, options).expect("a sink");
    sink.begin(options).expect("a destination that is ready");
    let (done, mut observer) = (AtomicU64::new(0), Silent);
    let mut watch = Watch::new(&mut observer, &done, None);
    let (mut bytes, mut passed) = (Vec::new(), Vec::new());
    let mut returned = 0;
    let unit = sink.unit;
    for (number, len) in lens.iter().enumerate() {
        while !sink.has_room() || pool.free_slots_of(PIECE_MAX + 4096) == 0 {
            sink.wait(false, Duration::from_secs(20)).expect("a write ends");
            while sink.take_returned().is_some() {
                returned += 1;
            }
        }
        let mut slot = pool.take_len(PIECE_MAX + 4096).expect("one is free");
        let offset = offset(&sink);
        let piece: Vec<u8> = (0..*len).map(|at| (at * 7 + number * 31 + 1) as u8).collect();
        slot.as_mut_slice()[offset as usize..][..*len].copy_from_slice(&piece);
        bytes.extend(&piece);
        if pad {
            bytes.resize(bytes.len().next_multiple_of(unit as usize), 0);
        }
        sink.put(Copied { slot, offset, len: *len as u64 }, number, pad);
    }
    sink.write_rest(&mut watch);
    while sink.take_returned().is_some() {
        returned += 1;
    }
    while let Some(mark) = sink.take_passed() {
        passed.push(mark);
    }
    assert_eq!(returned, lens.len(), "every piece comes back");
    assert_eq!(pool.free_slots(), pool.slots(), "and every slot");
    sink.finish(options, |_| Vec::new(), &mut watch);
    let whole = sink.whole_bytes();
    let (report, error) = sink.into_report();
    assert!(error.is_none(), "{error:?}");
    Written { bytes, file: Vec::new(), report, passed, whole, unit }
}

fn options() -> CopyOptions {
    CopyOptions { depth: 3.into(), ..CopyOptions::default() }
}

/// Lengths all over, many of them no multiple of anything.
fn lens() -> Vec<usize> {
    (0..60).map(|step| 1 + (step * 7919) % (PIECE_MAX - 1)).collect()
}

#[test]
fn pieces_of_any_length_become_one_run_of_bytes() {
    for direct in [DirectMode::Auto, DirectMode::Never] {
        let options = CopyOptions { direct, ..options() };
        let written = run(&lens(), &options, false, |sink| sink.offset_for(0));
        assert!(written.file == written.bytes, "{} and {} bytes", written.file.len(), written.bytes.len());
        assert_eq!(written.passed, (0..60).collect::<Vec<_>>());
        let report = &written.report;
        assert_eq!(report.direct_bytes + report.bounced_bytes, written.bytes.len() as u64, "{report:?}");
        assert_eq!(written.whole, written.bytes.len() as u64);
        if report.direct {
            // Only edges are copied: fewer than two blocks a piece.
            assert!(report.bounced_bytes < 60 * 2 * written.unit, "{report:?}");
        } else {
            assert_eq!(report.direct_bytes, 0);
        }
    }
}

#[test]
fn memory_that_lies_elsewhere_is_copied_and_counted() {
    let written = run(&lens(), &options(), false, |sink| sink.offset_for(0) ^ 1);
    assert!(written.file == written.bytes);
    let report = &written.report;
    assert_eq!(report.direct_bytes + report.bounced_bytes, written.bytes.len() as u64, "{report:?}");
    if report.direct {
        assert_eq!(report.direct_bytes, 0, "{report:?}");
        assert!(report.bounces.iter().any(|(why, _)| why.contains("addr_align")), "{report:?}");
    }
}

#[test]
fn whole_blocks_are_not_copied_at_all() {
    let written = run(&[4096; 20], &options(), false, |sink| sink.offset_for(0));
    assert!(written.file == written.bytes);
    if written.report.direct && 4096 % written.unit == 0 {
        assert_eq!((written.report.direct_bytes, written.report.bounced_bytes), (20 * 4096, 0));
    }
}

#[test]
fn padded_pieces_begin_at_blocks() {
    let written = run(&[1000, 4096, 1, 513, 4999], &options(), true, |sink| sink.offset_for(0));
    assert!(written.file == written.bytes);
    assert_eq!(written.whole, written.bytes.len() as u64);
}

#[test]
fn what_a_file_keeps_stays() {
    let folder = folder();
    let path = folder.path().join("to");
    std::fs::write(&path, vec![9; 10_000]).expect("a file");
    let options = CopyOptions { truncate: false, ..options() };
    let written = run_to(&path, &[700, 800], &options, false, |sink| sink.offset_for(0));
    let file = std::fs::read(&path).expect("a copy");
    assert_eq!(file.len(), 10_000);
    assert!(file[..1500] == written.bytes[..] && file[1500..].iter().all(|byte| *byte == 9));
}
