//! What goes wrong on the way: full disks, sources that shrink, destinations that fail, readers that go away,
//! kills. The copy says so, exits with 1, and never claims a byte that is not there.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{LoopDevice, Mounted, is_absent};
use rustix::process::Signal;
use support::{Ended, Running, assert_same, binary, bulkio, bulkio_with_input, fifo, pattern, work_dir};

/// More than a pipe, the pool and the page cache's patience hold.
const LARGE: usize = 48 << 20;

/// Checks a failed copy: exit 1, a message, and a JSON object with it.
#[track_caller]
fn failed(ended: &Ended, part: &str) -> serde_json::Value {
    ended.expect_code(1);
    assert!(ended.stderr.contains("bulkio: ") && ended.stderr.contains(part), "{}", ended.stderr);
    let report = ended.json();
    assert!(report["error"].as_str().unwrap().contains(part), "{report}");
    report
}

#[test]
fn a_file_system_without_room_for_the_reservation_fails_before_a_byte_moves() {
    let name = "a_file_system_without_room_for_the_reservation_fails_before_a_byte_moves";
    let device = or_skip!(name, LoopDevice::new(16 << 20, 512));
    let mounted = or_skip!(name, Mounted::ext4(device.node()));
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern(LARGE, 1)).unwrap();
    let to = mounted.path().join("to");
    let report = failed(&bulkio(&words!["copy", from, to, "--json"]), "No space left");
    assert_eq!(report["bytes"], 0, "{report}");
    assert!(is_absent(&to) || fs::metadata(&to).unwrap().len() == 0, "nothing looks like a copy");
    // What was reserved on the way is free again.
    let small = pattern(8 << 20, 2);
    fs::write(&from, &small).unwrap();
    let again = mounted.path().join("again");
    bulkio(&words!["copy", from, again]).expect_code(0);
    assert_same(&fs::read(&again).unwrap(), &small, "a copy that fits");
}

#[test]
fn a_file_system_that_fills_up_on_the_way_keeps_what_was_written() {
    let name = "a_file_system_that_fills_up_on_the_way_keeps_what_was_written";
    let device = or_skip!(name, LoopDevice::new(16 << 20, 512));
    let mounted = or_skip!(name, Mounted::ext4(device.node()));
    let to = mounted.path().join("to");
    let data = pattern(LARGE, 1);
    // A stream does not say how long it is, so nothing can be reserved.
    let ended = bulkio_with_input(&words!["copy", "-", to, "--json"], &data);
    let report = failed(&ended, "No space left");
    let bytes = usize::try_from(report["bytes"].as_u64().unwrap()).unwrap();
    assert!(bytes > 0 && bytes < LARGE, "{report}");
    assert_same(&fs::read(&to).unwrap(), &data[..bytes], "the file holds what is claimed, and no more");
    assert_eq!(report["durable_bytes"], bytes, "{report}");
}

/// Starts a copy of a file to a FIFO, and returns it with the open FIFO once it has begun and stands still.
fn copy_to_stalled_fifo(folder: &Path, data: &[u8], flags: &[&str]) -> (Running, File, Vec<u8>) {
    let (from, to) = (folder.join("from"), folder.join("to"));
    fs::write(&from, data).unwrap();
    fifo(&to);
    let mut words = words!["copy", from, to, "--json"].to_vec();
    words.extend(flags.iter().map(Into::into));
    let running = Running::start(&words, Stdio::null());
    let mut reader = File::open(&to).unwrap();
    let mut first = vec![0; 100_000];
    reader.read_exact(&mut first).unwrap();
    (running, reader, first)
}

#[test]
fn a_source_that_shrinks_is_an_error_and_not_a_short_copy() {
    for flags in [&[][..], &["--direct", "never"], &["--engine", "blocking"]] {
        let folder = work_dir();
        let data = pattern(LARGE, 1);
        let (running, mut reader, mut read) = copy_to_stalled_fifo(folder.path(), &data, flags);
        // Beyond what has been read ahead.
        let end = LARGE - (4 << 20) - 4321;
        File::options().write(true).open(folder.path().join("from")).unwrap().set_len(end as u64).unwrap();
        reader.read_to_end(&mut read).unwrap();
        let report = failed(&running.end(), "shrank while it was read");
        assert_eq!(report["bytes"], end, "{report}");
        assert_same(&read, &data[..end], "what came out");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_copy() {
    for flags in [&[][..], &["--engine", "blocking"]] {
        let folder = work_dir();
        let (running, reader, _) = copy_to_stalled_fifo(folder.path(), &pattern(LARGE, 1), flags);
        drop(reader);
        let report = failed(&running.end(), "was closed by its reader");
        assert!(report["bytes"].as_u64().unwrap() < LARGE as u64, "{report}");
    }
}

#[test]
fn standard_output_closed_by_its_reader_ends_the_copy() {
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern(LARGE, 1)).unwrap();
    let mut child = Command::new(binary())
        .args(words!["copy", from, "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("bulkio: standard output was closed by its reader"), "{text}");
}

#[test]
fn a_destination_that_takes_nothing_fails() {
    let folder = work_dir();
    let from = folder.path().join("from");
    fs::write(&from, pattern(3 << 20, 1)).unwrap();
    let report = failed(&bulkio(&words!["copy", from, "/dev/full", "--json"]), "No space left");
    assert_eq!(
        (&report["bytes"], &report["destination"]["direct_bytes"]),
        (&0.into(), &0.into()),
        "{report}"
    );
    assert_eq!(report["destination"]["bounced_bytes"], 0, "{report}");
}

#[test]
fn a_disk_whose_writes_begin_to_fail_is_no_success() {
    let name = "a_disk_whose_writes_begin_to_fail_is_no_success";
    let small = or_skip!(name, LoopDevice::new(16 << 20, 512));
    let mounted = or_skip!(name, Mounted::ext4(small.node()));
    let backing = mounted.path().join("backing");
    File::create(&backing).unwrap().set_len(64 << 20).unwrap();
    let folder = work_dir();
    let from = folder.path().join("from");
    let data = pattern(LARGE, 1);
    fs::write(&from, &data).unwrap();
    for flags in [&[][..], &["--direct", "never"], &["--engine", "blocking"]] {
        // The file system below has room for a part of what the device promises.
        let device = or_skip!(name, LoopDevice::over(&backing, 0, 512));
        let mut words = words!["copy", from, device.node(), "--json"].to_vec();
        words.extend(flags.iter().map(Into::into));
        let report = failed(&bulkio(&words), "");
        let durable = usize::try_from(report["durable_bytes"].as_u64().unwrap()).unwrap();
        assert!(durable < LARGE, "{report}");
        let found = fs::read(device.node()).unwrap();
        assert_same(&found[..durable], &data[..durable], "what is claimed to be durable");
    }
}

#[test]
fn a_limit_on_file_sizes_is_reported_and_does_not_kill() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(3 << 20, 1)).unwrap();
    for source in [from.as_path(), Path::new("/dev/stdin")] {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(binary());
        command.args(words!["copy", source, to, "--json", "--no-truncate"]);
        let ended = Running::spawn(command, File::open(&from).unwrap().into()).end();
        let report = failed(&ended, "File too large");
        let bytes = usize::try_from(report["bytes"].as_u64().unwrap()).unwrap();
        assert_same(&fs::read(&to).unwrap_or_default()[..bytes], &pattern(3 << 20, 1)[..bytes], "the part");
    }
}

#[test]
fn a_killed_copy_claims_nothing_and_the_next_one_works() {
    let folder = work_dir();
    let to = folder.path().join("to");
    let data = pattern(LARGE, 1);
    let mut running = Running::start(&words!["copy", "-", to, "--json"], Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    // What does not fit into the pipe has been read when this returns.
    stdin.write_all(&data[..LARGE / 2]).unwrap();
    running.signal(Signal::KILL);
    let ended = running.end();
    assert_eq!(ended.status.signal(), Some(9));
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty(), "{ended:?}");
    drop(stdin);
    let report = bulkio_with_input(&words!["copy", "-", to, "--json"], &data).expect_code(0).json();
    assert_eq!(report["durable_bytes"], LARGE, "{report}");
    assert_same(&fs::read(&to).unwrap(), &data, "the copy");
}

#[test]
fn a_killed_copy_lets_go_of_its_disk() {
    let name = "a_killed_copy_lets_go_of_its_disk";
    let device = or_skip!(name, LoopDevice::new(LARGE as u64, 512));
    let data = pattern(LARGE, 1);
    let mut running = Running::start(&words!["copy", "-", device.node(), "--json"], Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(&data[..LARGE / 2]).unwrap();
    let meanwhile = bulkio_with_input(&words!["copy", "-", device.node()], b"x");
    meanwhile.expect_code(3);
    running.signal(Signal::KILL);
    assert_eq!(running.end().status.signal(), Some(9));
    drop(stdin);
    bulkio_with_input(&words!["copy", "-", device.node()], &data).expect_code(0);
    assert_same(&fs::read(device.node()).unwrap(), &data, "the disk");
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(5000, 1)).unwrap();
    for (words, code) in [(words!["copy", from, to], 0), (words!["copy", from, folder.path()], 3)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = Command::new(binary()).args(words).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_a_failure() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(5000, 1)).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(binary())
        .args(words!["copy", from, to, "--json"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot print the report"));
}
