//! Copies that are killed, at any moment, and gone on with.

use std::path::Path;
use std::time::{Duration, Instant};

use bulkio::copy::{AreaStatus, CopyOptions, End, RecoveryMap, Silent, copy};

use crate::faulty::{Child, Op, Rule, Seen};
use crate::or_skip;
use crate::support::{LEN, Patient, SECTOR, areas, content, place, skip_errors};

const KILLS: u64 = 20;

/// Reads of 32 KiB: the copy has 128 of them.
fn options(patient: &Patient, resume: bool) -> CopyOptions {
    CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..patient.with_map(skip_errors(), resume) }
}

#[test]
fn a_killed_copy_is_gone_on_with_and_reads_nothing_more_than_twice() {
    const NAME: &str = "killed::a_killed_copy_is_gone_on_with_and_reads_nothing_more_than_twice";
    if !Child::word().is_empty() {
        return in_the_child(Path::new(&Child::word()));
    }
    let mut random = 1_u64;
    for kill in 0..KILLS {
        let patient = or_skip!(NAME, Patient::new(512, &[]));
        std::os::unix::fs::symlink(patient.disk.node(), patient.path("disk")).unwrap();
        // A linear congruential generator: after how many reads the child is killed.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let reads_max = usize::try_from((random >> 33) % 128 + 1).unwrap();
        let file = patient.disk.file();
        let _ = file.take_seen();
        let Some(mut child) = Child::told(NAME, patient.path("").to_str().unwrap()) else { return };
        file.wait_seen_count(reads_max, is_long);
        child.kill();
        let _ = child.end();
        let first = sectors_read(&patient);
        let resume = patient.path("map").exists();
        if resume {
            // What the map says is copied is there.
            let (image, content) = (patient.image(), content());
            let good = areas(&patient.map(), AreaStatus::Good);
            for area in good.iter().map(place) {
                assert!(image[area.clone()] == content[area]);
            }
        }
        let report = patient.copy(&options(&patient, resume)).unwrap();
        let second = sectors_read(&patient);
        assert_eq!((report.bytes, report.interrupted), (LEN as u64, false));
        assert!(patient.image() == content(), "killed after {reads_max} reads");
        let is_twice = first.iter().zip(&second).all(|(first, second)| first + second <= 2);
        assert!(is_twice, "kill {kill}, after {reads_max} reads");
    }
}

/// Killed while the second half of the disk does not answer: the map on disk says what was copied before, and the rest is all that is read.
#[test]
fn the_map_of_a_killed_copy_says_what_is_copied() {
    const NAME: &str = "killed::the_map_of_a_killed_copy_says_what_is_copied";
    if !Child::word().is_empty() {
        return in_the_child(Path::new(&Child::word()));
    }
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    std::os::unix::fs::symlink(patient.disk.node(), patient.path("disk")).unwrap();
    let half = LEN as u64 / 2;
    let file = patient.disk.file();
    file.add(Rule::reads().touching(half..u64::MAX).hold());
    let _ = file.take_seen();
    let Some(mut child) = Child::told(NAME, patient.path("").to_str().unwrap()) else { return };
    let deadline = Instant::now() + Duration::from_secs(30);
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
    let report = patient.copy(&options(&patient, true)).unwrap();
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

/// How often each sector was read.
fn sectors_read(patient: &Patient) -> Vec<u32> {
    let mut reads = vec![0; LEN / 512];
    for seen in patient.disk.file().take_seen() {
        if is_long(&seen) {
            for sector in seen.at / SECTOR..(seen.at + seen.len) / SECTOR {
                reads[usize::try_from(sector).unwrap()] += 1;
            }
        }
    }
    reads
}

fn in_the_child(folder: &Path) {
    let map = bulkio::copy::MapOptions {
        path: folder.join("map"),
        resume: false,
        command: String::new(),
        every: Duration::ZERO,
    };
    let rescue = bulkio::copy::RescueOptions { map: Some(map), ..skip_errors() };
    let options =
        CopyOptions { block_len: (32 << 10).into(), depth: 2.into(), ..crate::support::with(rescue) };
    let (disk, image) = (folder.join("disk"), folder.join("image"));
    copy(End::Path(&disk), End::Path(&image), &options, &mut Silent).unwrap();
}
