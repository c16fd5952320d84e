//! What is refused before anything is written: exit status 3, a message that says what to do, and a
//! destination that is what it was.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use common::{LoopDevice, Mounted, is_absent};
use rustix::fs::{Mode, OFlags};
use support::{Ended, assert_same, bulkio, bulkio_with_input, pattern, work_dir};

/// Runs a copy that must be refused with this text in its message; `--force` must not help.
fn refused(words: &[OsString], part: &str) {
    let mut words = words.to_vec();
    words.insert(0, "copy".into());
    words.push("--json".into());
    check(&bulkio(&words), part);
    words.push("--force".into());
    check(&bulkio(&words), part);
}

fn check(ended: &Ended, part: &str) {
    ended.expect_code(3);
    assert!(ended.stderr.starts_with("bulkio: ") && ended.stderr.contains(part), "{}", ended.stderr);
    let report = ended.json();
    assert_eq!((&report["bytes"], &report["durable_bytes"]), (&0.into(), &0.into()), "{report}");
    assert!(report["error"].as_str().unwrap().contains(part), "{report}");
}

#[test]
fn a_missing_device_node_is_not_made_a_file() {
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern(5000, 1)).unwrap();
    let missing = Path::new("/dev/bulkio-test-no-such-disk");
    refused(&words![from, missing], "check the device's name");
    assert!(is_absent(missing));
}

#[test]
fn a_missing_source_leaves_no_destination_behind() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    refused(&words![from, to], "does not exist");
    assert!(is_absent(&to));
}

#[test]
fn directories_are_refused_at_both_ends() {
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, b"data").unwrap();
    refused(&words![from, folder.path()], "is a directory");
    let to = folder.path().join("to");
    refused(&words![folder.path(), to], "is a directory");
    assert!(is_absent(&to));
}

#[test]
fn a_file_is_not_copied_over_itself() {
    let folder = work_dir();
    let (from, link, soft) =
        (folder.path().join("from"), folder.path().join("link"), folder.path().join("soft"));
    let data = pattern(100_000, 1);
    fs::write(&from, &data).unwrap();
    fs::hard_link(&from, &link).unwrap();
    std::os::unix::fs::symlink(&from, &soft).unwrap();
    for other in [&from, &link, &soft] {
        refused(&words![from, other], "would overwrite what is read");
        refused(&words![from, other, "--no-truncate"], "would overwrite what is read");
        let ranges =
            words![from, other, "--no-truncate", "--skip", "1000", "--seek", "1999", "--count", "1000"];
        refused(&ranges, "would overwrite what is read");
    }
    assert_same(&fs::read(&from).unwrap(), &data, "the file");
}

#[test]
fn two_ranges_of_one_file_that_do_not_meet_are_fine() {
    let folder = work_dir();
    let from = folder.path().join("from");
    let data = pattern(100_000, 1);
    fs::write(&from, &data).unwrap();
    let words = words!["copy", from, from, "--no-truncate", "--seek", "50001", "--count", "50000"];
    // They must not be cut, either: the first part is still to be read.
    bulkio(&words[..words.len() - 2]).expect_code(3);
    bulkio(&words).expect_code(0);
    let mut expected = data[..50_001].to_vec();
    expected.extend_from_slice(&data[..50_000]);
    assert_same(&fs::read(&from).unwrap(), &expected, "the file");
}

#[test]
fn ranges_that_cannot_be_are_refused_before_the_destination_is_touched() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(5000, 1)).unwrap();
    let kept = pattern(300, 2);
    fs::write(&to, &kept).unwrap();
    refused(&words![from, to, "--skip", "5001"], "choose a smaller --skip");
    refused(&words![from, to, "--seek", "9223372036854775808"], "it must be from 0 to");
    refused(&words![from, to, "--depth", "1000000"], "the depth is 1000000");
    refused(&words![from, to, "--bs", "1T"], "the block length is 1099511627776");
    assert_same(&fs::read(&to).unwrap(), &kept, "the destination");
    let ended = bulkio(&words!["copy", from, "-", "--seek", "1"]);
    ended.expect_code(3);
    assert!(ended.stdout.is_empty() && ended.stderr.contains("leave --seek out"), "{}", ended.stderr);
}

#[test]
fn files_in_memory_have_no_direct_io() {
    let name = "files_in_memory_have_no_direct_io";
    let memory = Path::new("/dev/shm");
    const TMPFS_MAGIC: u64 = 0x0102_1994; // include/uapi/linux/magic.h
    if !rustix::fs::statfs(memory).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS_MAGIC)) {
        return common::skip(name, "/dev/shm is no tmpfs");
    }
    let in_memory = or_skip!(name, tempfile::TempDir::new_in(memory));
    let folder = work_dir();
    let (on_disk, from) = (folder.path().join("file"), in_memory.path().join("from"));
    fs::write(&on_disk, pattern(5000, 1)).unwrap();
    fs::write(&from, pattern(5000, 1)).unwrap();
    let to = in_memory.path().join("to");
    refused(&words![on_disk, to, "--direct", "require"], "direct I/O is required");
    assert!(is_absent(&to));
    refused(&words![from, on_disk, "--direct", "require"], "direct I/O is required");
    refused(&words!["-", on_disk, "--direct", "require"], "direct I/O is required");
    assert_same(&fs::read(&on_disk).unwrap(), &pattern(5000, 1), "the destination");
    let report = bulkio(&words!["copy", on_disk, to, "--json"]).expect_code(0).json();
    assert_eq!(report["destination"]["direct_bytes"], 0, "a copy in memory is none: {report}");
}

#[test]
fn a_mounted_disk_is_refused() {
    let name = "a_mounted_disk_is_refused";
    let device = or_skip!(name, LoopDevice::new(8 << 20, 512));
    let mounted = or_skip!(name, Mounted::ext4(device.node()));
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern(1 << 20, 1)).unwrap();
    rustix::fs::sync();
    let before = fs::read(device.backing()).unwrap();
    let ended = bulkio(&words!["copy", from, device.node(), "--json"]);
    check(&ended, &format!("is mounted at {}", mounted.path().display()));
    assert_same(&fs::read(device.backing()).unwrap(), &before, "the disk");
}

#[test]
fn a_claimed_disk_is_refused_until_the_claim_is_overruled() {
    let name = "a_claimed_disk_is_refused_until_the_claim_is_overruled";
    let device = or_skip!(name, LoopDevice::new(1 << 20, 512));
    let claim =
        rustix::fs::open(device.node(), OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty());
    let claim = claim.unwrap();
    let folder = work_dir();
    let from = folder.path().join("from");
    let data = pattern(5000, 1);
    fs::write(&from, &data).unwrap();
    check(&bulkio(&words!["copy", from, device.node(), "--json"]), "is in use");
    assert!(fs::read(device.node()).unwrap().iter().all(|byte| *byte == 0), "nothing was written");

    let forced = bulkio(&words!["copy", from, device.node(), "--json", "--force"]);
    forced.expect_code(0);
    assert!(
        forced.stderr.contains("bulkio: warning:") && forced.stderr.contains("in use"),
        "{}",
        forced.stderr
    );
    assert!(forced.json()["notes"][0].as_str().unwrap().contains("in use"), "{:?}", forced.json());
    assert_same(&fs::read(device.node()).unwrap()[..5000], &data, "the disk");
    drop(claim);
    // A process that another test is just starting holds the claim until its exec.
    let mut tries = 0;
    let released = loop {
        let ended = bulkio(&words!["copy", from, device.node()]);
        tries += 1;
        if ended.code() != Some(3) || tries == 50 {
            break ended;
        }
    };
    released.expect_code(0);
}

#[test]
fn a_disk_that_is_too_small_is_refused_whole() {
    let name = "a_disk_that_is_too_small_is_refused_whole";
    let device = or_skip!(name, LoopDevice::new(1 << 20, 4096));
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern((1 << 20) + 1, 1)).unwrap();
    refused(&words![from, device.node()], "1 bytes too few");
    refused(&words![from, device.node(), "--count", "1M", "--seek", "1"], "1 bytes too few");
    assert!(fs::read(device.node()).unwrap().iter().all(|byte| *byte == 0), "nothing was written");
    bulkio(&words!["copy", from, device.node(), "--count", "1M"]).expect_code(0);
    // A stream says only on the way that it is too long: what fits is there, and the copy failed.
    let ended = bulkio_with_input(&words!["copy", "-", device.node(), "--json"], &pattern((1 << 20) + 1, 5));
    assert_eq!(ended.expect_code(1).json()["bytes"], 1 << 20);
    assert!(ended.stderr.contains("is full"), "{}", ended.stderr);
    assert_same(&fs::read(device.node()).unwrap(), &pattern(1 << 20, 5), "the disk");
}

#[test]
fn a_loop_device_over_the_source_is_refused() {
    let name = "a_loop_device_over_the_source_is_refused";
    let folder = work_dir();
    let from = folder.path().join("from");
    let data = pattern(2 << 20, 1);
    fs::write(&from, &data).unwrap();
    let device = or_skip!(name, LoopDevice::over(&from, 0, 512));
    refused(&words![from, device.node()], "would overwrite what is read");
    refused(&words![device.node(), from], "would overwrite what is read");
    // The second half of the file through the device, from the first: no byte is both read and written.
    let second = LoopDevice::over(&from, 1 << 20, 512).unwrap();
    bulkio(&words!["copy", from, second.node(), "--count", "1M"]).expect_code(0);
    rustix::fs::sync();
    let expected = [&data[..1 << 20], &data[..1 << 20]].concat();
    assert_same(&fs::read(&from).unwrap(), &expected, "the file");
}
