//! The map on disk: what it says is true, and a copy is gone on with from it.

use std::fs;
use std::time::Duration;

use bulkio::copy::{
    AreaStatus, Control, CopyError, CopyOptions, End, MapOptions, Observer, OnError, Progress, RescueOptions,
    RescuePhase, copy,
};

use crate::faulty::{Op, Rule, Seen};
use crate::or_skip;
use crate::support::{
    LEN, Patient, SECTOR, areas, content, lost, retry_errors, sectors, skip_errors, with, zeroed,
};

#[test]
fn the_map_says_what_is_copied_and_what_is_bad() {
    const NAME: &str = "maps::the_map_says_what_is_copied_and_what_is_bad";
    let bad = [sectors(4660, 10), sectors(7000, 1)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    let report = patient.copy(&patient.with_map(skip_errors(), false)).unwrap();
    assert_eq!(report.rescue.unwrap().map, Some(fs::canonicalize(patient.path("map")).unwrap()));
    let map = patient.map();
    assert_eq!(areas(&map, AreaStatus::Bad), bad);
    assert_eq!(map.bytes_of(AreaStatus::Good), LEN as u64 - 11 * 512);
    assert_eq!((map.len_bytes(), map.stands().0), (LEN as u64, RescuePhase::Finished));
    assert!(fs::read_to_string(patient.path("map")).unwrap().contains("# Command line: a test\n"));
}

/// Going on reads only what is not copied yet.
#[test]
fn going_on_reads_only_what_is_left() {
    const NAME: &str = "maps::going_on_reads_only_what_is_left";
    let bad = [sectors(4660, 10)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    patient.copy(&patient.with_map(skip_errors(), false)).unwrap();
    patient.disk.file().clear_rules();
    let _ = patient.disk.file().take_seen();
    // Nothing is untried, so nothing is read without retries.
    let report = patient.copy(&patient.with_map(skip_errors(), true)).unwrap();
    assert_eq!(lost(&report), bad);
    assert_eq!(report.rescue.unwrap().resumed_bytes, LEN as u64 - 10 * 512);
    assert!(patient.image() == zeroed(&bad));
    let asked = |patient: &Patient| {
        let reads = patient.reads_of_sectors();
        let sectors =
            reads.iter().enumerate().filter(|(_, times)| **times > 0).map(|(sector, _)| sector as u64);
        sectors.collect::<Vec<u64>>()
    };
    // The engine asks how the disk answers when it opens it.
    let sectors = asked(&patient);
    assert!(sectors.iter().all(|sector| *sector < 16));
    let report = patient.copy(&patient.with_map(retry_errors(1), true)).unwrap();
    assert_eq!((lost(&report).len(), report.bytes), (0, LEN as u64));
    let sectors = asked(&patient);
    assert!(sectors.iter().all(|sector| *sector < 16 || (4660..4670).contains(sector)), "{sectors:?}");
    assert!(patient.image() == content());
    assert_eq!(patient.map().bytes_of(AreaStatus::Good), LEN as u64);
}

/// Stops after some progress.
struct StopAt(u64);

impl Observer for StopAt {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.done_bytes >= self.0 { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn a_copy_that_was_stopped_is_gone_on_with() {
    const NAME: &str = "maps::a_copy_that_was_stopped_is_gone_on_with";
    let patient = or_skip!(NAME, Patient::new(512, &[sectors(1000, 2)]));
    let mut resume = false;
    for stop_at in [0, 1 << 20, 2 << 20] {
        let options = CopyOptions {
            block_len: (64 << 10).into(),
            depth: 2.into(),
            ..patient.with_map(skip_errors(), resume)
        };
        let (from, to) = (End::Path(patient.disk.node()), patient.path("image"));
        let report = copy(from, End::Path(&to), &options, &mut StopAt(stop_at)).unwrap();
        if report.interrupted {
            let rescue = report.rescue.unwrap();
            assert!(rescue.untried_bytes + rescue.lost_bytes > 0 && rescue.phase != RescuePhase::Finished);
        }
        for area in areas(&patient.map(), AreaStatus::Good) {
            let area = crate::support::place(&area);
            assert!(patient.image()[area.clone()] == content()[area]);
        }
        resume = true;
    }
    let report = patient.copy(&patient.with_map(skip_errors(), true)).unwrap();
    assert_eq!(lost(&report), [sectors(1000, 2)]);
    assert!(!report.interrupted && patient.image() == zeroed(&[sectors(1000, 2)]));
}

/// A map that was finished, of a part or without retries, is not finished for who wants more: a stop before anything was read interrupts that.
#[test]
fn a_stop_of_what_was_finished_before_is_an_interruption() {
    const NAME: &str = "maps::a_stop_of_what_was_finished_before_is_an_interruption";
    let bad = [sectors(1000, 2)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    let part = |resume| CopyOptions { count: Some(1 << 20), ..patient.with_map(skip_errors(), resume) };
    patient.copy(&part(false)).unwrap();
    let stopped = |options: &CopyOptions| {
        assert_eq!(patient.map().stands().0, RescuePhase::Finished);
        let (from, to) = (End::Path(patient.disk.node()), patient.path("image"));
        copy(from, End::Path(&to), options, &mut StopAt(0)).unwrap().interrupted
    };
    // Nothing is left of this part.
    assert!(!stopped(&part(true)));
    assert!(stopped(&patient.with_map(skip_errors(), true)));
    patient.copy(&patient.with_map(skip_errors(), true)).unwrap();
    assert!(!stopped(&patient.with_map(skip_errors(), true)));
    assert!(stopped(&patient.with_map(retry_errors(1), true)));
    let report = patient.copy(&patient.with_map(retry_errors(1), true)).unwrap();
    assert_eq!((lost(&report).as_slice(), report.interrupted), (&bad[..], false));
}

/// A device that is away fails every read. That is not the medium's fault: when it is back, all of it is read.
#[test]
fn a_device_that_went_away_and_came_back_is_read_whole() {
    const NAME: &str = "maps::a_device_that_went_away_and_came_back_is_read_whole";
    let bad = [sectors(500, 3)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    let file = patient.disk.file();
    file.add(Rule::reads().touching(0..u64::MAX).after(60).errno(libc::EIO));
    let small = |options| CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..options };
    let failure = patient.copy(&small(patient.with_map(skip_errors(), false))).unwrap_err();
    let CopyError::SourceGone { failures: 16, .. } = failure.error else { panic!("{failure}") };
    assert!(failure.to_string().contains("does not answer any more: 16 reads in a row failed"), "{failure}");
    let map = patient.map();
    assert!(map.bytes_of(AreaStatus::Untried) > 0 && map.bytes_of(AreaStatus::Good) > 0);
    assert_eq!(map.bytes_of(AreaStatus::Bad), 0, "{map:?}");
    file.clear_rules();
    patient.break_at(&bad);
    let report = patient.copy(&small(patient.with_map(skip_errors(), true))).unwrap();
    assert_eq!(lost(&report), bad);
    assert!(patient.image() == zeroed(&bad));
}

/// A device that goes away when fewer blocks are left than raise a doubt.
#[test]
fn a_device_that_goes_away_at_the_end_has_no_more_bad_blocks() {
    const NAME: &str = "maps::a_device_that_goes_away_at_the_end_has_no_more_bad_blocks";
    // Between them lie seven that are good, and are read by themselves at last.
    let bad = [sectors(4660, 1), sectors(4668, 1)];
    let one = |options| CopyOptions { block_len: (32 << 10).into(), depth: 1.into(), ..options };
    let healthy = or_skip!(NAME, Patient::new(512, &bad));
    let _ = healthy.disk.file().take_seen();
    healthy.copy(&one(healthy.with_map(skip_errors(), false))).unwrap();
    let seen = healthy.disk.file().take_seen();
    let is_scraped = |seen: &Seen| (seen.op, seen.at, seen.len) == (Op::Read, 4661 * SECTOR, SECTOR);
    let before = seen.iter().position(is_scraped).unwrap();

    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let file = patient.disk.file();
    file.add(Rule::reads().after(before as u64).errno(libc::EIO));
    patient.break_at(&bad);
    let failure = patient.copy(&one(patient.with_map(skip_errors(), false))).unwrap_err();
    let CopyError::SourceGone { failures, .. } = failure.error else { panic!("{failure}") };
    assert!((7..16).contains(&failures), "{failures}");
    let map = patient.map();
    assert_eq!(map.status_at(4660 * SECTOR), Some(AreaStatus::Bad));
    assert_eq!(map.status_at(4661 * SECTOR), Some(AreaStatus::Untried), "{map:?}");
    assert!(map.bytes_of(AreaStatus::Bad) <= 2 * SECTOR, "{map:?}");
    file.clear_rules();
    patient.break_at(&bad);
    let report = patient.copy(&one(patient.with_map(skip_errors(), true))).unwrap();
    assert_eq!(lost(&report), bad);
    assert!(patient.image() == zeroed(&bad));
}

/// Without going around anything, a map still says how far it came.
#[test]
fn a_map_serves_a_copy_that_stops_at_errors() {
    const NAME: &str = "maps::a_map_serves_a_copy_that_stops_at_errors";
    let patient = or_skip!(NAME, Patient::new(512, &[sectors(4660, 10)]));
    let stops = RescueOptions { on_error: OnError::Stop, ..RescueOptions::default() };
    let failure = patient.copy(&patient.with_map(stops.clone(), false)).unwrap_err();
    let CopyError::Transfer { at, len, .. } = failure.error else { panic!("{failure}") };
    assert_eq!(at..at + len, sectors(4660, 10));
    let map = patient.map();
    assert_eq!(map.status_at(4659 * 512), Some(AreaStatus::Good));
    assert_eq!(map.status_at(4660 * 512), Some(AreaStatus::Untried));
    patient.disk.file().clear_rules();
    let report = patient.copy(&patient.with_map(stops, true)).unwrap();
    assert_eq!(report.bytes, LEN as u64);
    assert!(patient.image() == content());
}

/// What could not be made durable is not in the map. A disk tells that once, and the next flush succeeds.
#[test]
fn a_flush_that_fails_leaves_the_map_behind() {
    const NAME: &str = "maps::a_flush_that_fails_leaves_the_map_behind";
    or_skip!(NAME, a_failed_flush(Rule::syncs().errno(libc::EIO), MapOptions::EVERY));
    or_skip!(NAME, a_failed_flush(Rule::syncs().once().errno(libc::EIO), Duration::ZERO));
}

fn a_failed_flush(rule: Rule, every: Duration) -> Result<(), String> {
    let patient = Patient::new(512, &[])?;
    let target = crate::faulty::FaultyDisk::new(vec![0; LEN], 512)?;
    target.file().add(rule);
    let map = MapOptions { path: patient.path("map"), resume: false, command: String::new(), every };
    let rescue = RescueOptions { map: Some(map), ..skip_errors() };
    let options = CopyOptions { block_len: (64 << 10).into(), ..with(rescue) };
    let (from, to) = (End::Path(patient.disk.node()), End::Path(target.node()));
    struct Warned(Vec<String>);
    impl Observer for Warned {
        fn progress(&mut self, _: &Progress) -> Control {
            Control::Go
        }

        fn warning(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
    }
    let mut warned = Warned(Vec::new());
    let failure = copy(from, to, &options, &mut warned).unwrap_err();
    assert!(matches!(failure.error, CopyError::Flush { .. }), "{failure}");
    assert_eq!(patient.map().bytes_of(AreaStatus::Good), 0);
    assert!(warned.0.iter().any(|text| text.contains("the map stays as it was")), "{:?}", warned.0);
    Ok(())
}
