//! What cannot be read is found exactly, whatever the passes meet.

use std::fs;
use std::ops::Range;

use bulkio::copy::{
    AreaStatus, CopyError, CopyOptions, End, EngineChoice, LostBytes, OnError, RescueOptions, Side, Silent,
    copy,
};

use crate::common::{LoopDevice, Mounted};
use crate::faulty::Rule;
use crate::or_skip;
use crate::support::{LEN, Patient, content, lost, place, retry_errors, sectors, skip_errors, with, zeroed};

/// In the middle of a long read, across two, at the start, at the end, whole long reads, many small ones.
fn shapes() -> Vec<Vec<Range<u64>>> {
    let many = (0..40).map(|number| sectors(100 + number * 150, 1 + number % 3)).collect();
    vec![
        vec![sectors(4660, 10)],
        vec![sectors(2046, 4)],
        vec![sectors(0, 3), sectors(8191, 1)],
        vec![sectors(1000, 5000)],
        vec![sectors(10, 1), sectors(12, 1), sectors(600, 700), sectors(8000, 192)],
        many,
    ]
}

fn exact(options: &CopyOptions) -> Result<(), String> {
    for bad in shapes() {
        let patient = Patient::new(512, &bad)?;
        let report = patient.copy(options).unwrap_or_else(|failure| panic!("{bad:?}: {failure}"));
        assert_eq!(lost(&report), bad, "{options:?}");
        let rescue = report.rescue.unwrap();
        let bytes: u64 = bad.iter().map(|range| range.end - range.start).sum();
        assert_eq!((rescue.lost_bytes, rescue.untried_bytes, rescue.block_len), (bytes, 0, 512));
        assert_eq!((report.bytes, report.synced), (LEN as u64 - bytes, true));
        assert!(patient.image() == zeroed(&bad), "{bad:?}");
    }
    Ok(())
}

#[test]
fn exactly_the_bad_sectors_are_zero() {
    const NAME: &str = "passes::exactly_the_bad_sectors_are_zero";
    for engine in [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads] {
        or_skip!(NAME, exact(&CopyOptions { engine, ..with(skip_errors()) }));
    }
    let reverse = RescueOptions { reverse: true, ..skip_errors() };
    or_skip!(NAME, exact(&CopyOptions { block_len: (96 << 10).into(), depth: 3.into(), ..with(reverse) }));
}

#[test]
fn a_block_of_4096_bytes_is_lost_as_a_whole() {
    const NAME: &str = "passes::a_block_of_4096_bytes_is_lost_as_a_whole";
    let patient = or_skip!(NAME, Patient::new(4096, &[sectors(4661, 1)]));
    let report = patient.copy(&with(skip_errors())).unwrap();
    assert_eq!(lost(&report), [sectors(4656, 8)]);
    assert!(patient.image() == zeroed(&[sectors(4656, 8)]));
}

#[test]
fn a_part_of_a_disk_lands_where_it_belongs() {
    const NAME: &str = "passes::a_part_of_a_disk_lands_where_it_belongs";
    let bad = [sectors(0, 4), sectors(2000, 3), sectors(6000, 500)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    // Sectors that fill no block of the file, at places that do not fall together with its blocks.
    let range = 700_u64..3_000_100;
    let options = CopyOptions {
        skip: range.start,
        count: Some(range.end - range.start),
        seek: range.start + 4096 * 3,
        ..with(skip_errors())
    };
    let report = patient.copy(&options).unwrap();
    assert_eq!(lost(&report), [700..2048, sectors(2000, 3)]);
    let mut expected = vec![0; 4096 * 3 + 700];
    expected.extend_from_slice(&zeroed(&bad)[place(&range)]);
    assert!(patient.image() == expected);
}

#[test]
fn what_was_there_before_is_zeroed_or_stays() {
    const NAME: &str = "passes::what_was_there_before_is_zeroed_or_stays";
    let bad = [sectors(4661, 9), sectors(8000, 192)];
    for lost_bytes in [LostBytes::Zero, LostBytes::Keep] {
        let patient = or_skip!(NAME, Patient::new(512, &bad));
        fs::write(patient.path("image"), vec![0xee; LEN + 77]).unwrap();
        let rescue = RescueOptions { lost: lost_bytes, ..skip_errors() };
        let report = patient.copy(&CopyOptions { truncate: false, ..with(rescue) }).unwrap();
        assert_eq!(lost(&report), bad);
        let mut expected = zeroed(&bad);
        if lost_bytes == LostBytes::Keep {
            for range in &bad {
                expected[place(range)].fill(0xee);
            }
        }
        let zeroed = if lost_bytes == LostBytes::Zero { 201 * 512 } else { 0 };
        assert_eq!(report.rescue.unwrap().zeroed_bytes, zeroed);
        expected.extend([0xee; 77]);
        assert!(patient.image() == expected, "{lost_bytes:?}");
    }
}

#[test]
fn errors_that_go_away_are_healed_by_retries() {
    const NAME: &str = "passes::errors_that_go_away_are_healed_by_retries";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    // The long read, the piece, the block by itself, and a first retry fail.
    let bad = sectors(4660, 1);
    patient.disk.file().add(Rule::reads().touching(bad).times(4).errno(libc::ENODATA));
    patient.break_at(&[sectors(100, 2)]);
    let report = patient.copy(&with(retry_errors(3))).unwrap();
    assert_eq!(lost(&report), [sectors(100, 2)]);
    assert_eq!(report.rescue.unwrap().healed_bytes, 512);
    assert!(patient.image() == zeroed(&[sectors(100, 2)]));
}

#[test]
fn a_source_that_cannot_be_read_at_all_is_an_error() {
    const NAME: &str = "passes::a_source_that_cannot_be_read_at_all_is_an_error";
    let patient = or_skip!(NAME, Patient::new(512, &[sectors(0, LEN as u64 / 512)]));
    // Fewer reads than raise a doubt.
    let count = Some(4 << 10);
    let failure = patient.copy(&CopyOptions { count, ..with(skip_errors()) }).unwrap_err();
    assert!(matches!(failure.error, CopyError::Transfer { side: Side::Source, .. }), "{failure}");
    // It may be a cable: who goes on tries everything again.
    let rescue = failure.report.unwrap().rescue.unwrap();
    assert_eq!((rescue.lost_bytes, rescue.untried_bytes), (0, 4 << 10));
}

/// A drive that opens and fails every read is not worked through block by block.
#[test]
fn a_source_that_fails_everywhere_is_asked_a_few_times() {
    const NAME: &str = "passes::a_source_that_fails_everywhere_is_asked_a_few_times";
    for (count, reverse) in [(LEN as u64, false), (LEN as u64, true), (64 << 10, false)] {
        let patient = or_skip!(NAME, Patient::new(512, &[sectors(0, LEN as u64 / 512)]));
        let rescue = RescueOptions { reverse, ..retry_errors(3) };
        let options = CopyOptions { count: Some(count), ..small(patient.with_map(rescue, false)) };
        let _ = patient.disk.file().take_seen();
        let failure = patient.copy(&options).unwrap_err();
        let CopyError::SourceUnreadable { failures: 16, blocks: 16, .. } = failure.error else {
            panic!("{failure}")
        };
        let text = failure.to_string();
        assert!(text.contains("16 reads in a row failed, and so did 16 blocks all over the range"), "{text}");
        let reads = patient.disk.file().take_seen().len();
        assert!((32..64).contains(&reads), "{reads}");
        let rescue = failure.report.unwrap().rescue.unwrap();
        assert_eq!((rescue.lost_bytes, rescue.untried_bytes), (0, count));
        // Who goes on tries everything again.
        assert_eq!(patient.map().bytes_of(AreaStatus::Untried), LEN as u64);
        patient.disk.file().clear_rules();
        let report =
            patient.copy(&CopyOptions { count: None, ..small(patient.with_map(skip_errors(), true)) });
        assert_eq!((report.unwrap().bytes, patient.image() == content()), (LEN as u64, true));
    }
}

/// Many reads fail before the first is good: that something is good is found by blocks all over the disk.
#[test]
fn a_disk_that_is_bad_for_long_is_rescued_behind_that() {
    const NAME: &str = "passes::a_disk_that_is_bad_for_long_is_rescued_behind_that";
    // At the end, at the start, and all but one sixteenth in the middle.
    for bad in
        [vec![sectors(0, 6144)], vec![sectors(2048, 6144)], vec![sectors(0, 3904), sectors(4416, 3776)]]
    {
        let patient = or_skip!(NAME, Patient::new(512, &bad));
        let report = patient.copy(&small(with(skip_errors()))).unwrap();
        assert_eq!(lost(&report), bad);
        assert!(patient.image() == zeroed(&bad), "{bad:?}");
    }
}

/// What is good elsewhere says that the disk answers: a part of it may be bad from end to end.
#[test]
fn a_part_that_is_bad_from_end_to_end_is_worked_through() {
    const NAME: &str = "passes::a_part_that_is_bad_from_end_to_end_is_worked_through";
    let bad = sectors(4608, 1024);
    let patient = or_skip!(NAME, Patient::new(512, std::slice::from_ref(&bad)));
    patient.copy(&small(patient.with_map(skip_errors(), false))).unwrap();
    // All fails at the first try, but for one block.
    patient.disk.file().clear_rules();
    patient.break_at(&[sectors(4608, 700), sectors(5309, 323)]);
    let (start, len) = (bad.start, bad.end - bad.start);
    let options = CopyOptions {
        skip: start,
        seek: start,
        count: Some(len),
        truncate: false,
        ..small(patient.with_map(retry_errors(1), true))
    };
    let report = patient.copy(&options).unwrap();
    assert_eq!(lost(&report), [sectors(4608, 700), sectors(5309, 323)]);
    assert_eq!(patient.map().bytes_of(AreaStatus::Bad), len - 512);
    let mut expected = zeroed(std::slice::from_ref(&bad));
    expected[place(&sectors(5308, 1))].copy_from_slice(&content()[place(&sectors(5308, 1))]);
    assert!(patient.image() == expected);
}

/// Reads of 32 KiB: sixteen are an eighth of the disk.
fn small(options: CopyOptions) -> CopyOptions {
    CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..options }
}

/// A write that fails is no bad block of the source.
#[test]
fn a_destination_that_fails_ends_the_copy() {
    const NAME: &str = "passes::a_destination_that_fails_ends_the_copy";
    let patient = or_skip!(NAME, Patient::new(512, &[sectors(4660, 10)]));
    let target = or_skip!(NAME, crate::faulty::FaultyDisk::new(vec![0; LEN], 512));
    target.file().add(Rule::writes().touching(sectors(7000, 1)).errno(libc::EIO));
    let (from, to) = (patient.disk.node(), target.node());
    let options = with(RescueOptions { on_error: OnError::Skip, ..RescueOptions::default() });
    let failure = copy(End::Path(from), End::Path(to), &options, &mut Silent).unwrap_err();
    assert!(matches!(failure.error, CopyError::Transfer { side: Side::Destination, .. }), "{failure}");
    let report = failure.report.unwrap();
    let rescue = report.rescue.unwrap();
    assert!(report.bytes < LEN as u64 && rescue.untried_bytes > 0, "{} {rescue:?}", report.bytes);
    let (written, content) = (target.file().content(), content());
    let is_copied = |at: usize| written[at] == content[at] || written[at] == 0;
    assert!((0..LEN).step_by(512).all(is_copied));
}

/// Good sectors between bad ones share a block of the file with each other: none is written over by what fills up a block.
#[test]
fn sectors_that_share_a_block_of_the_file_stay_as_they_are() {
    const NAME: &str = "passes::sectors_that_share_a_block_of_the_file_stay_as_they_are";
    // 4660 is in the middle of a block of 4096 bytes, and 4664 begins one.
    let bad = [sectors(4660, 1), sectors(4663, 1), sectors(4668, 2), sectors(4671, 1)];
    for reverse in [false, true] {
        let patient = or_skip!(NAME, Patient::new(512, &bad));
        let disk = or_skip!(NAME, LoopDevice::new(32 << 20, 4096));
        let mounted = or_skip!(NAME, Mounted::ext4(disk.node()));
        let image = mounted.path().join("image");
        let options = with(RescueOptions { reverse, ..retry_errors(2) });
        let report = copy(End::Path(patient.disk.node()), End::Path(&image), &options, &mut Silent).unwrap();
        assert_eq!(lost(&report), bad);
        let (found, expected) = (fs::read(&image).unwrap(), zeroed(&bad));
        let wrong: Vec<usize> =
            (0..LEN / 512).filter(|n| found[n * 512..][..512] != expected[n * 512..][..512]).collect();
        assert!(wrong.is_empty() && found.len() == LEN, "sectors {wrong:?}");
        // The file may have been there before, and shorter.
        fs::write(&image, &expected[..4664 * 512]).unwrap();
        let options = CopyOptions { truncate: false, ..options };
        copy(End::Path(patient.disk.node()), End::Path(&image), &options, &mut Silent).unwrap();
        assert!(fs::read(&image).unwrap() == expected);
    }
}
