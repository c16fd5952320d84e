//! Recipes for disks: what they find, and what has to be there behind them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{DISK, FAILING, Kept, LEN, STICK, Stage, bytes, disk, disk_with};
use crate::support::fill;

const NAMESPACE: &str = "/dev/nvme0n1";

/// The length of the image for a stick, which is shorter than that.
const IMAGE_LEN: usize = 12 << 20;

/// Sectors that cannot be read (Linux, drivers/scsi/scsi_debug.c: `OPT_MEDIUM_ERR_ADDR` and `OPT_MEDIUM_ERR_NUM`).
const BAD: std::ops::Range<usize> = 4660 * 512..4670 * 512;

/// Bytes of the stick that differ from the disk's.
const CHANGED: [usize; 4] = [5000, (2 << 20) - 1, 2 << 20, LEN - 1];

/// The content of each disk, by its seed.
const OF_DISK: u64 = 1;
const OF_STICK: u64 = 2;
const OF_IMAGE: u64 = 3;
const OF_FAILING: u64 = 4;
const OF_NAMESPACE: u64 = 5;

#[track_caller]
fn assert_is(found: &[u8], expected: &[u8], stage: &Stage<'_>) {
    let differs = found.iter().zip(expected).position(|(one, other)| one != other);
    let lens = (found.len(), expected.len());
    assert!(found == expected, "lengths {lens:?}, first difference {differs:?}: {}", stage.printed);
}

pub(super) fn source(_: &Path) -> Kept {
    disk_with(DISK, OF_DISK);
    None
}

pub(super) fn image(stage: &Stage<'_>) {
    assert_is(&stage.file("disk.img"), &bytes(OF_DISK, LEN), stage);
    let output = Command::new("sha256sum").arg(stage.folder.join("disk.img")).output().unwrap();
    let digest = String::from_utf8(output.stdout).unwrap();
    let digest = digest.split_ascii_whitespace().next().unwrap();
    assert_eq!(digest.len(), 64);
    assert!(stage.printed.contains(digest), "{digest} is not in {}", stage.printed);
    stage.assert_said("durable");
}

pub(super) fn both(folder: &Path) -> Kept {
    disk_with(STICK, OF_STICK);
    source(folder)
}

pub(super) fn stick_image(folder: &Path) -> Kept {
    fs::write(folder.join("stick.img"), bytes(OF_IMAGE, IMAGE_LEN)).unwrap();
    both(folder)
}

pub(super) fn stick(stage: &Stage<'_>) {
    let mut expected = bytes(OF_STICK, LEN);
    expected[..IMAGE_LEN].copy_from_slice(&bytes(OF_IMAGE, IMAGE_LEN));
    assert_is(&disk(STICK), &expected, stage);
    assert_is(&disk(DISK), &bytes(OF_DISK, LEN), stage);
    stage.assert_said(if stage.ours == Some(1) { "DISK6" } else { "verified 12582912 bytes, all equal" });
}

pub(super) fn several(stage: &Stage<'_>) {
    for (node, seed) in [(DISK, OF_DISK), (STICK, OF_STICK)] {
        let mut expected = bytes(seed, LEN);
        expected[..IMAGE_LEN].copy_from_slice(&bytes(OF_IMAGE, IMAGE_LEN));
        assert_is(&disk(node), &expected, stage);
        stage.assert_said(node);
    }
    stage.assert_said("all equal");
}

pub(super) fn compressed(stage: &Stage<'_>) {
    if stage.ours == Some(0) {
        let image = stage.folder.join("disk.img.gz");
        let output = Command::new("gunzip").arg("-c").arg(image).output().unwrap();
        assert_is(&output.stdout, &bytes(OF_DISK, LEN), stage);
    } else {
        assert_is(&disk(STICK), &bytes(OF_DISK, LEN), stage);
    }
}

pub(super) fn failing(_: &Path) -> Kept {
    disk_with(FAILING, OF_FAILING);
    None
}

pub(super) fn rescued(stage: &Stage<'_>) {
    let mut expected = bytes(OF_FAILING, LEN);
    expected[BAD].fill(0);
    assert_is(&stage.file("disk.img"), &expected, stage);
    let map = String::from_utf8(stage.file("disk.map")).unwrap();
    let areas = map.lines().filter(|line| !line.starts_with('#')).skip(1);
    let areas: Vec<Vec<&str>> = areas.map(|line| line.split_ascii_whitespace().collect()).collect();
    let hex = |number: usize| format!("0x{number:08X}");
    let (start, bad, rest) = (hex(BAD.start), hex(BAD.len()), hex(LEN - BAD.end));
    let expected = [["0x00000000", &start, "+"], [&start, &bad, "-"], [&hex(BAD.end), &rest, "+"]];
    assert_eq!(areas, expected, "{map}");
    stage.assert_said("data was lost: 5120 bytes in 1 range cannot be read");
}

pub(super) fn cloned(stage: &Stage<'_>) {
    assert_is(&disk(STICK), &bytes(OF_DISK, LEN), stage);
    stage.assert_said("all equal");
}

pub(super) fn by_scsi(stage: &Stage<'_>) {
    assert_is(&stage.file("disk.img"), &bytes(OF_DISK, LEN), stage);
    let way = match stage.ours {
        Some(0) => "source      /dev/sg1, scsi: 0 bytes direct, 16777216 bounced",
        _ => "source      /dev/sdb, scsi: 16777216 bytes direct, 0 bounced",
    };
    stage.assert_said(way);
}

pub(super) fn namespace(_: &Path) -> Kept {
    disk_with(NAMESPACE, OF_NAMESPACE);
    None
}

pub(super) fn by_nvme(stage: &Stage<'_>) {
    assert_is(&stage.file("disk.img"), &bytes(OF_NAMESPACE, LEN), stage);
    stage.assert_said("source      /dev/ng0n1, nvme: 16777216 bytes direct, 0 bounced");
}

pub(super) fn alike(folder: &Path) -> Kept {
    let mut content = bytes(OF_DISK, LEN);
    for at in CHANGED {
        content[at] ^= 0xff;
    }
    fill(Path::new(STICK), 0, &content);
    source(folder)
}

pub(super) fn differences(stage: &Stage<'_>) {
    match stage.ours {
        // The blocks of the stick have 512 bytes.
        Some(_) => {
            for line in [
                "512 bytes differ from byte 4608 of a and byte 4608 of b on",
                "1024 bytes differ from byte 2096640 of a and byte 2096640 of b on",
                "512 bytes differ from byte 16776704 of a and byte 16776704 of b on",
                "2048 bytes in 3 ranges, the first different byte is 5000 of /dev/sdb and 5000 of /dev/sdc",
            ] {
                stage.assert_said(line);
            }
        }
        None => {
            let places = stage.printed.lines().filter_map(|line| {
                let words: Vec<_> = line.split_ascii_whitespace().collect();
                (words.len() == 3).then(|| words[0].parse::<usize>().ok()).flatten()
            });
            assert_eq!(places.map(|at| at - 1).collect::<Vec<_>>(), CHANGED, "{}", stage.printed);
        }
    }
    assert_is(&disk(DISK), &bytes(OF_DISK, LEN), stage);
}

pub(super) fn part(stage: &Stage<'_>) {
    const PART_LEN: usize = 1_000_000;
    let mut expected = bytes(OF_STICK, LEN);
    expected[3_000_000..][..PART_LEN].copy_from_slice(&bytes(OF_DISK, LEN)[1 << 20..][..PART_LEN]);
    assert_is(&disk(STICK), &expected, stage);
    stage.assert_said("1000000 bounced: source byte 1048576 and destination byte 3000000 differ modulo 512");
    stage.assert_said("ragged end: the block is read, changed and written back");
}

pub(super) fn wiped(stage: &Stage<'_>) {
    let found = disk(STICK);
    assert_eq!(found.len(), LEN);
    if stage.ours == Some(0) {
        // Random bytes: each value is there about 65536 times, give or take 256.
        let mut counts = [0_usize; 256];
        found.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let usual = LEN / 256;
        assert!(counts.iter().all(|count| count.abs_diff(usual) < usual / 16), "{counts:?}");
        assert!(found != bytes(OF_STICK, LEN), "{}", stage.printed);
    } else {
        assert!(found.iter().all(|byte| *byte == 0), "{}", stage.printed);
        stage.assert_said("verified 16777216 bytes, all equal");
    }
}

pub(super) fn stick_and_image(folder: &Path) -> Kept {
    fs::write(folder.join("disk.img"), bytes(OF_IMAGE, IMAGE_LEN)).unwrap();
    both(folder)
}

pub(super) fn looked(stage: &Stage<'_>) {
    assert!(stage.printed.contains("16777216"), "the capacity is not in {}", stage.printed);
    assert_is(&disk(STICK), &bytes(OF_STICK, LEN), stage);
    let line = match stage.ours {
        Some(0) => "12582912 bytes (12.0 MiB), from byte 0 to byte 0",
        _ => "33554432",
    };
    stage.assert_said(line);
}
