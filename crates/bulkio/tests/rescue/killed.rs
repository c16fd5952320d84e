//! Copies that are killed, at any moment, and gone on with.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkio::copy::{AreaStatus, CopyOptions, End, RecoveryMap, RescueOptions, RescuePhase, Silent, copy};

use crate::faulty::{Child, Op, Rule, Seen};
use crate::or_skip;
use crate::support::{
    LEN, Patient, SECTOR, areas, content, lost, place, retry_errors, sectors, skip_errors, zeroed,
};

const KILLS: u64 = 20;

/// Reads of 32 KiB: the copy has 128 of them.
fn options(patient: &Patient, rescue: RescueOptions, resume: bool) -> CopyOptions {
    CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..patient.with_map(rescue, resume) }
}

/// In the middle of a long read, across two, and alone: each leaves a part of a long read to be trimmed.
fn bad() -> [Range<u64>; 3] {
    [sectors(1000, 2), sectors(4668, 10), sectors(7000, 1)]
}

/// Killed after any read: a long one, a piece, a block by itself, one of a bad block again.
#[test]
fn a_killed_copy_is_gone_on_with_and_reads_nothing_again_that_its_map_has() {
    const NAME: &str = "killed::a_killed_copy_is_gone_on_with_and_reads_nothing_again_that_its_map_has";
    if !Child::word().is_empty() {
        return in_the_child(Path::new(&Child::word()), retry_errors(2));
    }
    // How many reads there are.
    let whole = or_skip!(NAME, Patient::new(512, &bad()));
    let _ = whole.disk.file().take_seen();
    whole.copy(&options(&whole, retry_errors(2), false)).unwrap();
    let reads = whole.disk.file().take_seen().iter().filter(|seen| seen.op == Op::Read).count();
    let (mut random, mut late, mut resumed) = (1_u64, 0, 0);
    for kill in 0..KILLS {
        let patient = or_skip!(NAME, Patient::new(512, &bad()));
        std::os::unix::fs::symlink(patient.disk.node(), patient.path("disk")).unwrap();
        // A linear congruential generator: after how many reads the child is killed, within its part of all of them.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = reads.saturating_sub(20) / usize::try_from(KILLS).unwrap();
        let within = usize::try_from(random >> 33).unwrap() % part;
        let reads_max = part * usize::try_from(kill).unwrap() + within + 1;
        let file = patient.disk.file();
        let _ = file.take_seen();
        let Some(mut child) = Child::told(NAME, patient.path("").to_str().unwrap()) else { return };
        file.wait_seen_count(reads_max, |seen| seen.op == Op::Read);
        child.kill();
        let _ = child.end();
        let first = reads_of(&patient);
        let mut good = Vec::new();
        let resume = patient.path("map").exists();
        if resume {
            // What the map says is copied is there.
            let (image, content, map) = (patient.image(), content(), patient.map());
            good = areas(&map, AreaStatus::Good);
            for area in good.iter().map(place) {
                assert!(image[area.clone()] == content[area]);
            }
            late += u32::from(!matches!(map.stands().0, RescuePhase::Copying));
            resumed += u32::from(!good.is_empty());
        }
        let report = patient.copy(&options(&patient, retry_errors(2), resume)).unwrap();
        let second = reads_of(&patient);
        assert_eq!((lost(&report).as_slice(), report.interrupted), (&bad()[..], false));
        assert!(patient.image() == zeroed(&bad()), "killed after {reads_max} reads");
        // Nothing that is copied is read again: by blocks alone, where the device is asked whether it answers.
        let is_again = |seen: &Seen| good.iter().any(|area| touches(seen, area));
        let again: Vec<&Seen> = second.iter().filter(|seen| is_again(seen)).collect();
        assert!(again.iter().all(|seen| !is_long(seen)), "killed after {reads_max} reads: {again:?}");
        assert!(again.len() <= ASKED_MAX, "killed after {reads_max} reads: {again:?}");
        // And nothing else a third time, but around what is bad.
        let times = sectors_of(first.iter().chain(&second).filter(|seen| is_long(seen)));
        let is_near = |sector: u64| bad().iter().any(|bad| near(bad).contains(&(sector * SECTOR)));
        let is_twice = times.iter().zip(0..).all(|(times, sector)| *times <= 2 || is_near(sector));
        assert!(is_twice, "kill {kill}, after {reads_max} reads");
    }
    assert!(
        late >= 5 && resumed >= 10,
        "{late} of {KILLS} kills came behind long reads, {resumed} behind a map"
    );
}

/// Reads of blocks that are copied: three at the end of each pass that failed somewhere (two of long reads, trimming, scraping, two of retries), and those
/// by which a disk is opened.
const ASKED_MAX: usize = 6 * 3 + 4;

fn touches(seen: &Seen, area: &Range<u64>) -> bool {
    seen.at < area.end && area.start < seen.at + seen.len
}

/// The long reads of which one holds this.
fn near(bad: &Range<u64>) -> Range<u64> {
    let long = 32 << 10;
    bad.start / long * long..bad.end.next_multiple_of(long)
}

/// Killed while the second half of the disk does not answer: the map on disk says what was copied before, and the rest is all that is read.
#[test]
fn the_map_of_a_killed_copy_says_what_is_copied() {
    const NAME: &str = "killed::the_map_of_a_killed_copy_says_what_is_copied";
    if !Child::word().is_empty() {
        return in_the_child(Path::new(&Child::word()), skip_errors());
    }
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    std::os::unix::fs::symlink(patient.disk.node(), patient.path("disk")).unwrap();
    let half = LEN as u64 / 2;
    let file = patient.disk.file();
    file.add(Rule::reads().touching(half..u64::MAX).hold());
    let _ = file.take_seen();
    let Some(mut child) = Child::told(NAME, patient.path("").to_str().unwrap()) else { return };
    let deadline = Instant::now() + Duration::from_secs(60);
    let map = patient.path("map");
    let copied = || {
        let text = std::fs::read_to_string(&map).unwrap_or_default();
        RecoveryMap::from_text(&text).map_or(0, |map| map.bytes_of(AreaStatus::Good))
    };
    while copied() < half {
        assert!(Instant::now() < deadline, "the map says that {} bytes are copied", copied());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill();
    file.open_gate();
    let _ = child.end();
    assert_eq!(copied(), half);
    assert!(patient.image()[..LEN / 2] == content()[..LEN / 2]);
    let _ = sectors_read(&patient);
    let report = patient.copy(&options(&patient, skip_errors(), true)).unwrap();
    assert_eq!((report.bytes, report.rescue.unwrap().resumed_bytes), (LEN as u64, half));
    let read = sectors_read(&patient);
    assert!(
        read[..LEN / 1024].iter().all(|times| *times == 0)
            && read[LEN / 1024..].iter().all(|times| *times == 1)
    );
    assert!(patient.image() == content());
}

fn is_long(seen: &Seen) -> bool {
    // The disk is asked for its first blocks by whoever opens it.
    seen.op == Op::Read && seen.len > 4096
}

/// All reads since the last look.
fn reads_of(patient: &Patient) -> Vec<Seen> {
    let seen = patient.disk.file().take_seen().into_iter();
    seen.filter(|seen| seen.op == Op::Read).collect()
}

/// How often each sector was read in long reads.
fn sectors_read(patient: &Patient) -> Vec<u32> {
    sectors_of(reads_of(patient).iter().filter(|seen| is_long(seen)))
}

fn sectors_of<'a>(seen: impl Iterator<Item = &'a Seen>) -> Vec<u32> {
    let mut reads = vec![0; LEN / 512];
    for seen in seen {
        for sector in seen.at / SECTOR..(seen.at + seen.len) / SECTOR {
            reads[usize::try_from(sector).unwrap()] += 1;
        }
    }
    reads
}

fn in_the_child(folder: &Path, rescue: RescueOptions) {
    let map = bulkio::copy::MapOptions {
        path: folder.join("map"),
        resume: false,
        command: String::new(),
        every: Duration::ZERO,
    };
    let rescue = RescueOptions { map: Some(map), ..rescue };
    let options =
        CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..crate::support::with(rescue) };
    let (disk, image) = (folder.join("disk"), folder.join("image"));
    copy(End::Path(&disk), End::Path(&image), &options, &mut Silent).unwrap();
}
