//! Copies against the plainest model there is: two byte vectors.
//!
//! Random ranges, sizes, request lengths, depths and engines, between files and loop devices of both block
//! sizes. After each copy the whole destination is compared, so a byte written outside the range shows; the
//! counts of the report must add up, and aligned ranges must not be bounced.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkio::copy::{CopyOptions, DirectMode, End, EngineChoice, Report, Silent, copy};
use common::{LoopDevice, storage_dir};
use proptest::prelude::*;

/// Bytes that differ from place to place, and from those of another seed.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[derive(Clone, Debug)]
struct Case {
    source_len: usize,
    destination_len: usize,
    options: CopyOptions,
}

fn case() -> impl Strategy<Value = Case> {
    let len = || {
        prop_oneof![
            Just(0_usize),
            Just(1),
            Just(511),
            Just(512),
            Just(513),
            Just(4095),
            Just(4096),
            Just(4097),
            0..20_000_usize,
            0..300_000_usize,
        ]
    };
    let start = || prop_oneof![3 => Just(0_u64), 1 => 0..9000_u64, 1 => (0..20_u64).prop_map(|n| n * 512), 1 => (0..5_u64).prop_map(|n| n * 4096)];
    let engine = prop_oneof![3 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Threads)];
    let block = prop_oneof![Just(1_u64), Just(512), Just(4096), Just(5000), Just(65536), Just(1 << 20)];
    let count = prop_oneof![2 => Just(None), 1 => (0..100_000_u64).prop_map(Some), 1 => Just(Some(4096))];
    let direct = prop_oneof![4 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)];
    (len(), len(), start(), start(), count, block, 1..9_u32, engine, direct, any::<bool>()).prop_map(
        |(source_len, destination_len, skip, seek, count, block_len, depth, engine, direct, truncate)| {
            let options = CopyOptions {
                block_len: block_len.into(),
                depth: depth.into(),
                skip: skip.min(source_len as u64),
                seek,
                count,
                engine,
                direct,
                truncate,
                sync: false,
                force: false,
                ..CopyOptions::default()
            };
            Case { source_len, destination_len, options }
        },
    )
}

/// What the destination must hold, and the bytes copied.
fn expected(source: &[u8], mut destination: Vec<u8>, options: &CopyOptions, is_file: bool) -> (Vec<u8>, u64) {
    let rest = &source[options.skip as usize..];
    let range = &rest[..rest.len().min(options.count.map_or(usize::MAX, |count| count as usize))];
    let seek = options.seek as usize;
    if is_file && options.truncate {
        destination.resize(if seek > 0 { seek } else { 0 }, 0);
    }
    let end = seek + range.len();
    if destination.len() < end && (!range.is_empty() || options.truncate && is_file) {
        destination.resize(end, 0);
    }
    if !range.is_empty() {
        destination[seek..end].copy_from_slice(range);
    }
    (destination, range.len() as u64)
}

fn check_report(report: &Report, bytes: u64, case: &Case, block: u64) {
    assert_eq!(report.bytes, bytes, "{case:?}");
    for side in [&report.source, &report.destination] {
        assert_eq!(side.direct_bytes + side.bounced_bytes, bytes, "{side:?} {case:?}");
        assert_eq!(side.bounces.iter().map(|(_, bytes)| bytes).sum::<u64>(), side.bounced_bytes);
        let congruent = case.options.skip % block == case.options.seek % block;
        if side.direct && congruent {
            assert!(side.bounced_bytes < 2 * block, "{side:?} {case:?}");
            if case.options.seek.is_multiple_of(block) && bytes.is_multiple_of(block) {
                assert_eq!(side.bounced_bytes, 0, "{side:?} {case:?}");
            }
        }
    }
}

fn run_file(folder: &Path, case: &Case) {
    let source = pattern(case.source_len, 1);
    let destination = pattern(case.destination_len, 2);
    let (from, to) = (folder.join("from"), folder.join("to"));
    fs::write(&from, &source).unwrap();
    fs::write(&to, &destination).unwrap();
    let (expected, bytes) = expected(&source, destination, &case.options, true);
    let report = copy(End::Path(&from), End::Path(&to), &case.options, &mut Silent).unwrap();
    assert!(fs::read(&to).unwrap() == expected, "contents differ: {case:?}");
    check_report(&report, bytes, case, 512);
    let moved = report.source.direct && bytes >= 512;
    assert!(!moved || report.source.direct_bytes > 0 || report.source.bounced_bytes > 0, "{report:?}");
}

#[test]
fn files() {
    let folder = storage_dir().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&case(), |case| {
            run_file(folder.path(), &case);
            Ok(())
        })
        .unwrap();
}

/// Writes bytes to a device and drops what the page cache holds of it.
fn fill(node: &Path, bytes: &[u8]) {
    let mut file = fs::File::options().write(true).open(node).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

const DEVICE_LEN: usize = 400_000 / 4096 * 4096;

fn devices(test_name: &str, from_block: Option<u32>, to_block: Option<u32>) {
    let folder = storage_dir().unwrap();
    let device = |block: Option<u32>| match block {
        None => Ok(None),
        Some(block) => LoopDevice::new(DEVICE_LEN as u64, block).map(Some),
    };
    let from_device = or_skip!(test_name, device(from_block));
    let to_device = or_skip!(test_name, device(to_block));
    let node = |device: &Option<LoopDevice>, name: &str| -> PathBuf {
        device.as_ref().map_or_else(|| folder.path().join(name), |device| device.node().to_owned())
    };
    let (from, to) = (node(&from_device, "from"), node(&to_device, "to"));
    let block = u64::from(from_block.unwrap_or(512).max(to_block.unwrap_or(512)));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&case(), |case| {
            let mut case = case;
            if from_device.is_some() {
                case.source_len = DEVICE_LEN;
                case.options.count = Some(case.options.count.unwrap_or(100_001).min(200_000));
            }
            if to_device.is_some() {
                case.destination_len = DEVICE_LEN;
            }
            let source = pattern(case.source_len, 1);
            let destination = pattern(case.destination_len, 2);
            if from_device.is_some() {
                fill(&from, &source)
            } else {
                fs::write(&from, &source).unwrap()
            }
            if to_device.is_some() {
                fill(&to, &destination)
            } else {
                fs::write(&to, &destination).unwrap()
            }
            let (expected, bytes) = expected(&source, destination, &case.options, to_device.is_none());
            let report = copy(End::Path(&from), End::Path(&to), &case.options, &mut Silent).unwrap();
            let mut found = vec![0; expected.len()];
            fs::File::open(&to).unwrap().read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected, "contents differ: {case:?}");
            if to_device.is_none() {
                assert_eq!(fs::metadata(&to).unwrap().len(), expected.len() as u64);
            }
            check_report(&report, bytes, &case, block);
            Ok(())
        })
        .unwrap();
}

#[test]
fn file_to_loop_512() {
    devices("file_to_loop_512", None, Some(512));
}

#[test]
fn file_to_loop_4096() {
    devices("file_to_loop_4096", None, Some(4096));
}

#[test]
fn loop_512_to_file() {
    devices("loop_512_to_file", Some(512), None);
}

#[test]
fn loop_4096_to_file() {
    devices("loop_4096_to_file", Some(4096), None);
}

#[test]
fn loop_512_to_loop_4096() {
    devices("loop_512_to_loop_4096", Some(512), Some(4096));
}

#[test]
fn loop_4096_to_loop_512() {
    devices("loop_4096_to_loop_512", Some(4096), Some(512));
}
