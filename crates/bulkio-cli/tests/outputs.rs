//! What is printed where, also when an output is closed or full, when a copy is ended before it has begun, and when
//! it is refused: a last object with `--json`, an exit code that fits, no panic.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use common::{LoopDevice, storage_dir};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use serde_json::Value;
use support::{Ended, LIMIT, PROMPT, Running, bulkio, copy, pattern, same, within};

/// The names of an object's fields, sorted.
fn names(object: &Value) -> Vec<String> {
    let mut names: Vec<_> = object.as_object().expect("an object").keys().cloned().collect();
    names.sort();
    names
}

/// A folder with a source of 5000 bytes.
fn folder() -> tempfile::TempDir {
    let folder = storage_dir().expect("a folder");
    fs::write(folder.path().join("from"), pattern(5000, 1)).expect("the source");
    folder
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (to, code) in [(to.as_path(), 0), (folder.path(), 3)] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = bulkio().arg("copy").args([&from, to]).stderr(writer).status().expect("it runs");
        assert_eq!(status.code(), Some(code), "to {}", to.display());
    }
    same(&fs::read(&to).expect("the destination"), &pattern(5000, 1));
}

#[test]
fn a_report_that_cannot_be_printed_is_a_failure() {
    let folder = folder();
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let output = bulkio()
        .args(["copy", "--json"])
        .args([folder.path().join("from"), folder.path().join("to")])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot print the report"), "{output:?}");
}

/// Starts a copy that waits for the other side of a named pipe.
fn waiting(folder: &Path) -> Running {
    let to = folder.join("pipe");
    rustix::fs::mkfifoat(CWD, &to, Mode::from_raw_mode(0o600)).expect("a named pipe");
    let running = Running::copy([folder.join("from").as_os_str(), to.as_os_str(), "--json".as_ref()]);
    let caught =
        || [Signal::INT, Signal::TERM, Signal::USR1].into_iter().all(|signal| running.catches(signal));
    assert!(within(LIMIT, || caught().then_some(())).is_some(), "it never listens");
    running
}

#[test]
fn a_copy_that_waits_for_its_ends_says_so_when_asked() {
    let folder = folder();
    let running = waiting(folder.path());
    running.signal(Signal::USR1);
    let said = || running.stderr_so_far().contains("opening source and destination").then_some(());
    assert!(within(LIMIT, said).is_some(), "{}", running.stderr_so_far());
    running.signal(Signal::TERM);
    running.wait(PROMPT).exits(143);
}

#[test]
fn every_end_of_a_copy_prints_a_report_with_the_same_fields() {
    let folder = folder();
    let from = folder.path().join("from");
    let json = Path::new("--json");
    let done = copy([from.as_path(), &folder.path().join("to"), json]);
    done.exits(0);
    let refused = copy([from.as_path(), folder.path(), json]);
    refused.exits(3);
    let failed = copy([from.as_path(), Path::new("/dev/full"), json]);
    failed.exits(1);
    let running = waiting(folder.path());
    running.signal(Signal::INT);
    let interrupted = running.wait(PROMPT);
    interrupted.exits(130);
    for ended in [&done, &refused, &failed, &interrupted] {
        // What never began has no other line.
        let lines = if ended.json()["source"].is_null() { 1 } else { 2 };
        assert_eq!(ended.stdout.lines().count(), lines, "{ended:#?}");
        assert_eq!(names(&ended.json()), names(&done.json()), "{ended:#?}");
    }
    for ended in [&refused, &interrupted] {
        assert_eq!((ended.number("bytes"), ended.number("durable_bytes")), (0, 0), "{ended:#?}");
        assert!(ended.json()["source"].is_null(), "{ended:#?}");
    }
    let flag = |ended: &Ended| ended.json()["interrupted"].as_bool();
    assert_eq!([&done, &refused, &failed, &interrupted].map(flag), [false, false, false, true].map(Some));
}

#[test]
fn a_forced_claim_is_said_also_when_quiet() {
    let name = "a_forced_claim_is_said_also_when_quiet";
    let device = or_skip!(name, LoopDevice::new(1 << 20, 512));
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let _claim = rustix::fs::open(device.node(), flags, Mode::empty()).expect("the claim");
    let folder = folder();
    let from = folder.path().join("from");
    let forced = copy([from.as_os_str(), device.node().as_os_str(), "--force".as_ref(), "--quiet".as_ref()]);
    forced.exits(0).says(&["bulkio: warning:", "in use"]);
}

#[test]
fn sizes_that_are_none_are_answered_by_name() {
    let folder = folder();
    let from = folder.path().join("from");
    let to = folder.path().join("to");
    for (size, part) in
        [("1.5M", "not whole"), ("4b", "2048 bytes"), ("7X", "'X' is no unit"), ("1_0", "'_0'")]
    {
        let ended = copy([from.as_os_str(), to.as_os_str(), "--count".as_ref(), size.as_ref()]);
        ended.exits(2).says(&[size, part]);
        assert!(ended.stderr.starts_with("bulkio: ") && !to.exists(), "{ended:#?}");
    }
}

#[test]
fn a_line_of_dd_is_answered_with_one_that_does_the_same() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let words = [format!("if={}", from.display()), format!("of={}", to.display())];
    let ended = copy(words.iter().map(String::as_str).chain(["skip=2", "count=3"]));
    let (from, to) = (from.display(), to.display());
    ended.exits(2).says(&[&format!("bulkio copy --skip 1024 --count 1536 {from} {to}")]);
}

#[test]
fn nothing_copied_past_the_end_leaves_a_kept_file_as_long_as_it_was() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&to, pattern(300, 2)).expect("the destination");
    let flags = ["--no-truncate", "--count", "0", "--seek", "9000"].map(Path::new);
    copy([from.as_path(), &to].into_iter().chain(flags)).exits(0);
    same(&fs::read(&to).expect("the destination"), &pattern(300, 2));
}
