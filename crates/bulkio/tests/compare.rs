//! Two ends held against each other: every range that differs is found, whatever lies where; lengths, bad blocks, stops.

mod common;
mod faulty;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bulkio::copy::{
    CompareOptions, Comparison, ComparisonFailure, Control, CopyError, DirectMode, End, EngineChoice,
    FailureClass, Observer, Progress, Silent, compare,
};
use common::{LoopDevice, storage_dir};
use faulty::{FaultyDisk, Rule};
use proptest::prelude::*;

const MIB: usize = 1 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

fn run(a: &Path, b: &Path, options: &CompareOptions) -> Result<Comparison, ComparisonFailure> {
    compare(End::Path(a), End::Path(b), options, &mut Silent)
}

fn options() -> CompareOptions {
    CompareOptions::default()
}

/// Holds what was found against the bytes: each different byte lies in a range, and each block of a range has one. Blocks are those of the second end,
/// which is compared from its byte `seek` on.
fn check(found: &Comparison, a: &[u8], b: &[u8], seek: u64, block_max: u64) {
    let len = a.len().min(b.len());
    assert_eq!(found.bytes, len as u64);
    let differs = |at: u64| a[at as usize] != b[at as usize];
    assert_eq!(found.first_difference, (0..len as u64).find(|at| differs(*at)));
    assert_eq!(found.ranges_count, found.ranges.len() as u64);
    let mut at = 0;
    for range in &found.ranges {
        assert!((at..range.at).all(|at| !differs(at)), "a difference before {range:?}");
        let end = range.at + range.len;
        let mut block = range.at;
        while block < end {
            // The first block may be cut by the start of the comparison, and the last by its end.
            let next = ((seek + block + 1).next_multiple_of(block_max) - seek).min(end);
            assert!((block..next).any(differs), "{range:?} has nothing from {block} on");
            block = next;
        }
        at = end;
    }
    assert!((at..len as u64).all(|at| !differs(at)), "a difference behind the last range");
    assert_eq!(found.has_same_len(), a.len() == b.len());
    assert_eq!(found.is_equal(), a == b);
}

#[test]
fn every_difference_is_found_whatever_lies_where() {
    let folder = storage_dir().unwrap();
    let (a_path, b_path) = (folder.path().join("a"), folder.path().join("b"));
    let start =
        || prop_oneof![2 => Just(0_usize), 1 => 0..9000_usize, 1 => (0..9_usize).prop_map(|n| n * 4096)];
    let block = prop_oneof![Just(1_u64), Just(5000), Just(65536), Just(1 << 20)];
    let engine = prop_oneof![3 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Threads)];
    let direct = prop_oneof![4 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)];
    let case = (
        (0..400_000_usize, prop_oneof![3 => Just(0_i64), 1 => -5000..5000_i64]),
        (start(), start()),
        prop_oneof![2 => Just(None), 1 => (0..300_000_u64).prop_map(Some)],
        prop::collection::vec((any::<prop::sample::Index>(), 1..9000_usize), 0..4),
        (block, 1..9_u32, engine, direct),
    );
    let config = ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let checked = runner.run(&case, |((len, longer), (skip, seek), count, flips, how)| {
        let a = bytes(len);
        let mut b = bytes(((len as i64) + longer).max(0) as usize);
        for (index, count) in flips {
            if !b.is_empty() {
                let at = index.index(b.len());
                let end = (at + count).min(b.len());
                b[at..end].iter_mut().for_each(|byte| *byte ^= 0x10);
            }
        }
        fs::write(&a_path, [&vec![1; skip][..], &a].concat()).unwrap();
        fs::write(&b_path, [&vec![2; seek][..], &b].concat()).unwrap();
        let (block_len, depth, engine, direct) = how;
        let (skip, seek) = (skip as u64, seek as u64);
        let options = CompareOptions { block_len, depth, skip, seek, count, engine, direct, ..options() };
        let found = run(&a_path, &b_path, &options).unwrap();
        let cut = |bytes: &[u8]| {
            bytes[..count.map_or(bytes.len(), |count| bytes.len().min(count as usize))].to_vec()
        };
        check(&found, &cut(&a), &cut(&b), seek, 4096);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn one_bit_in_a_long_file_with_holes_is_found() {
    const LEN: u64 = 256 << 20;
    let folder = storage_dir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for path in [&a, &b] {
        let file = File::create(path).unwrap();
        file.set_len(LEN).unwrap();
        for at in [0, 100 << 20, LEN - 4096] {
            file.write_all_at(&bytes(4096), at).unwrap();
        }
    }
    assert!(run(&a, &b, &options()).unwrap().is_equal());
    let at = (100 << 20) + 1234;
    let file = File::options().write(true).open(&b).unwrap();
    file.write_all_at(&[bytes(4096)[1234] ^ 0x80], at).unwrap();
    let found = run(&a, &b, &options()).unwrap();
    assert!(!found.is_equal() && found.has_same_len());
    let ranges: Vec<_> = found.ranges.iter().map(|range| (range.at, range.len)).collect();
    assert_eq!(ranges.len(), 1);
    assert!(ranges[0].0 <= at && at < ranges[0].0 + ranges[0].1 && ranges[0].1 <= 4096, "{ranges:?}");
    assert_eq!((found.first_difference, found.bytes), (Some(at), LEN));
}

#[test]
fn lengths_are_told_and_empty_files_are_equal() {
    let folder = storage_dir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, len) in [("empty", 0), ("also empty", 0), ("long", 3 * MIB + 1), ("short", 3 * MIB)] {
        fs::write(path(name), bytes(len)).unwrap();
    }
    assert!(run(&path("empty"), &path("also empty"), &options()).unwrap().is_equal());
    for (a, b) in [("long", "short"), ("short", "long"), ("long", "empty"), ("empty", "short")] {
        let found = run(&path(a), &path(b), &options()).unwrap();
        assert!(!found.has_same_len() && !found.is_equal() && found.ranges_count == 0, "{found:?}");
    }
    let part = CompareOptions { count: Some(3 * MIB as u64), ..options() };
    assert!(run(&path("long"), &path("short"), &part).unwrap().is_equal());
    let error = run(&path("long"), &path("short"), &CompareOptions { skip: 4 * MIB as u64, ..options() });
    let error = error.unwrap_err();
    assert!(matches!(error.error, CopyError::SkipPastEnd { .. }) && error.report.is_none(), "{error}");
    let error = run(&path("long"), &path("none"), &options()).unwrap_err();
    assert_eq!(error.error.class(), FailureClass::Refused);
    assert!(!path("none").exists());
}

#[test]
fn a_disk_is_compared_with_its_image_although_somebody_uses_it() {
    const NAME: &str = "a_disk_is_compared_with_its_image_although_somebody_uses_it";
    let folder = storage_dir().unwrap();
    let image = folder.path().join("image");
    for block in [512, 4096] {
        let disk = or_skip!(NAME, LoopDevice::new(5 * MIB as u64, block));
        fs::write(&image, bytes(5 * MIB)).unwrap();
        let mut file = File::options().write(true).open(disk.node()).unwrap();
        file.write_all(&bytes(5 * MIB)).unwrap();
        // Not synced: what waits in the page cache is what the disk holds.
        let found = run(disk.node(), &image, &options()).unwrap();
        assert!(found.is_equal() && found.a.side.direct_bytes == 5 * MIB as u64, "{found:?}");
        file.write_all_at(&[0xff; 512], 2 * MIB as u64).unwrap();
        let found = run(&image, disk.node(), &options()).unwrap();
        let ranges: Vec<_> = found.ranges.iter().map(|range| range.at).collect();
        assert_eq!(ranges, [2 * MIB as u64]);
    }
}

#[test]
fn a_block_that_cannot_be_read_ends_it_and_is_named() {
    const NAME: &str = "a_block_that_cannot_be_read_ends_it_and_is_named";
    let folder = storage_dir().unwrap();
    let image = folder.path().join("image");
    let mut other = bytes(4 * MIB);
    other[512] ^= 1;
    fs::write(&image, &other).unwrap();
    for (block, bad) in [(512_u32, 3 * MIB as u64 + 1024), (4096, 2 * MIB as u64 + 8192)] {
        let disk = or_skip!(NAME, FaultyDisk::new(bytes(4 * MIB), block));
        disk.file().add(Rule::reads().touching(bad..bad + 512).errno(libc::ENODATA));
        for both in [[disk.node(), &image], [&image, disk.node()]] {
            let direct = CompareOptions { direct: DirectMode::Require, ..options() };
            let failure = run(both[0], both[1], &direct).unwrap_err();
            let CopyError::Transfer { at, len, block: told, path, .. } = &failure.error else {
                panic!("{failure}")
            };
            assert_eq!((*at, *len, *told), (bad, block.into(), Some(u64::from(block))));
            assert_eq!(path, disk.node());
            assert!(failure.to_string().starts_with("reading "), "{failure}");
            // What was found before is told.
            let report = failure.report.unwrap();
            assert_eq!((report.ranges_count, report.first_difference), (1, Some(512)));
            assert!(report.bytes <= bad && report.bytes > 512);
        }
    }
}

#[test]
fn a_bad_block_with_no_difference_before_it_is_not_equal() {
    const NAME: &str = "a_bad_block_with_no_difference_before_it_is_not_equal";
    let folder = storage_dir().unwrap();
    let image = folder.path().join("image");
    fs::write(&image, bytes(4 * MIB)).unwrap();
    let disk = or_skip!(NAME, FaultyDisk::new(bytes(4 * MIB), 512));
    assert!(run(&image, disk.node(), &options()).unwrap().complete);
    let bad = 3 * MIB as u64 + 1024;
    disk.file().add(Rule::reads().touching(bad..bad + 512).errno(libc::ENODATA));
    for both in [[disk.node(), &image], [&image, disk.node()]] {
        let direct = CompareOptions { direct: DirectMode::Require, ..options() };
        let report = run(both[0], both[1], &direct).unwrap_err().report.unwrap();
        assert_eq!((report.ranges_count, report.interrupted), (0, false));
        assert!(!report.complete && !report.is_equal() && report.bytes <= bad, "{report:?}");
    }
}

/// Stops at once.
struct Stops;

impl Observer for Stops {
    fn progress(&mut self, _: &Progress) -> Control {
        Control::Stop
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn a_comparison_that_was_stopped_says_nothing_of_being_equal() {
    let folder = storage_dir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    for path in [&a, &b] {
        fs::write(path, bytes(3 * MIB)).unwrap();
    }
    let found = compare(End::Path(&a), End::Path(&b), &options(), &mut Stops).unwrap();
    assert!(found.interrupted && !found.is_equal() && found.bytes < 3 * MIB as u64, "{found:?}");
}
