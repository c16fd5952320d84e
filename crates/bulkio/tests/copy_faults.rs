//! Copies from a disk with bad blocks: the error names exactly these, and every good byte before them is in the copy.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

mod common;
mod faulty;

use std::fs;

use bulkio::copy::{CopyError, CopyFailure, CopyOptions, DirectMode, End, EngineChoice, Side, Silent, copy};
use common::storage_dir;
use faulty::{FaultyDisk, Rule};
use scatterlist::Status;

const LEN: usize = 4 << 20;

fn content() -> Vec<u8> {
    (0..LEN).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

/// Copies a disk whose sectors from one on cannot be read, and looks at what is told and what is there.
fn check(block: u32, first: u64, sectors: u64, options: &CopyOptions) -> Result<(), String> {
    let disk = FaultyDisk::new(content(), block)?;
    let bad = first * 512..(first + sectors) * 512;
    disk.file().add(Rule::reads().touching(bad.clone()).errno(libc::ENODATA));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("to");
    let copied = copy(End::Path(disk.node()), End::Path(&to), options, &mut Silent);
    let CopyFailure { error, report } = copied.unwrap_err();
    let block = u64::from(block);
    let start = (bad.start / block * block).max(options.skip);
    let range_end = options.count.map_or(u64::MAX, |count| options.skip + count);
    let end = bad.end.next_multiple_of(block).min(range_end);
    let CopyError::Transfer { side: Side::Source, at, len, status, block: told, .. } = error else {
        panic!("{error}");
    };
    let expected = (start, end, Status::Errno(libc::ENODATA.unsigned_abs()), Some(block));
    assert_eq!((at, at + len, status, told), expected, "{options:?}");
    let good = start - options.skip;
    assert_eq!(report.unwrap().bytes, good, "{options:?}");
    let place = |byte: u64| usize::try_from(byte).unwrap();
    assert!(fs::read(&to).unwrap() == content()[place(options.skip)..place(start)], "{options:?}");
    Ok(())
}

#[test]
fn bad_blocks_are_told_exactly_and_all_before_them_is_copied() {
    const NAME: &str = "bad_blocks_are_told_exactly_and_all_before_them_is_copied";
    for engine in [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads] {
        let options = CopyOptions { engine, direct: DirectMode::Require, ..CopyOptions::default() };
        // In the middle of a request, across two, at the very start, at the very end.
        for (first, sectors) in [(4660, 10), (2046, 4), (0, 3), (8191, 1)] {
            or_skip!(NAME, check(512, first, sectors, &options));
        }
        or_skip!(NAME, check(4096, 4660, 10, &options));
        let part = CopyOptions { skip: 512 * 7, count: Some(512 * 4656 + 100), ..options };
        or_skip!(NAME, check(512, 4660, 10, &part));
    }
}
