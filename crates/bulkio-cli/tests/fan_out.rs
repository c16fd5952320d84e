//! Copies to several destinations: what is told of each, for people and for programs, and the exit code.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use common::{LoopDevice, is_absent, storage_dir};
use serde_json::{Value, json};
use support::{Ended, Fifo, LIMIT, Running, bulkio, copy, mib, pattern, same};

const LEN: usize = (3 << 20) + 700;

/// A source in a folder, and names beside it.
fn folder(names: &[&str]) -> (tempfile::TempDir, PathBuf, Vec<PathBuf>) {
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    fs::write(&from, pattern(LEN, 1)).expect("the source");
    let to = names.iter().map(|name| folder.path().join(name)).collect();
    (folder, from, to)
}

fn run(from: &Path, to: &[&Path], options: &[&str]) -> Ended {
    let ends = std::iter::once(from).chain(to.iter().copied()).map(Path::as_os_str);
    copy(ends.chain(options.iter().map(OsStr::new)))
}

/// The lines of a copy; each is as the schema says.
#[track_caller]
fn events(ended: &Ended) -> Vec<Value> {
    let schema = bulkio().arg("schema").output().expect("the command starts");
    let schema = serde_json::from_slice(&schema.stdout).expect("one object");
    let schema = jsonschema::draft202012::new(&schema).expect("a schema");
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    for line in &lines {
        assert!(schema.is_valid(line), "{line}");
    }
    lines
}

#[test]
fn all_that_is_well_is_told_of_each() {
    let (_folder, from, to) = folder(&["one", "two", "three"]);
    let to: Vec<&Path> = to.iter().map(PathBuf::as_path).collect();
    let ended = run(&from, &to, &["--json", "--verify", "--hash", "blake3"]);
    ended.exits(0);
    let lines = events(&ended);
    let named: Vec<Value> = to.iter().map(|path| json!({"path": path.to_str(), "class": "file"})).collect();
    assert_eq!((&lines[0]["destination"], &lines[0]["destinations"]), (&named[0], &json!(named)));
    let end = lines.last().expect("an end");
    assert_eq!(
        (end["outcome"].as_str(), &end["error"], &end["verified"]),
        (Some("done"), &Value::Null, &Value::Null)
    );
    let found = end["destinations"].as_array().expect("a list");
    assert_eq!((found.len(), &found[0]["side"]), (3, &end["destination"]));
    for (path, found) in to.iter().zip(found) {
        same(&fs::read(path).expect("a copy"), &pattern(LEN, 1));
        assert_eq!(found["side"]["path"].as_str(), path.to_str());
        assert_eq!(
            (found["bytes"].as_u64(), found["durable_bytes"].as_u64()),
            (Some(LEN as u64), Some(LEN as u64))
        );
        assert_eq!((&found["synced"], &found["verified"]["equal"]), (&json!(true), &json!(true)));
        assert!(found["failed_at"].is_null() && found["error"].is_null(), "{found}");
    }
    // To one there is no list.
    let ended = run(&from, &to[..1], &["--json"]);
    let lines = events(&ended);
    assert!(lines.iter().all(|line| line["destinations"].is_null()), "{ended:#?}");
    // For people, one block each.
    let ended = run(&from, &to, &["--verify"]);
    ended.exits(0);
    for path in &to {
        let name = format!("  destination {}, file: ", path.display());
        assert_eq!(ended.stderr.matches(&name).count(), 1, "{ended:#?}");
    }
    assert_eq!(
        ended.stderr.matches(&format!("              {LEN} bytes, durable\n")).count(),
        3,
        "{ended:#?}"
    );
    assert_eq!(ended.stderr.matches(", all equal; read back directly").count(), 3, "{ended:#?}");
}

#[test]
fn one_that_fails_has_its_own_exit_code() {
    let (_folder, from, to) = folder(&["one", "two"]);
    let full = Path::new("/dev/full");
    let ended = run(&from, &[&to[0], full, &to[1]], &["--json"]);
    ended.exits(6).says(&["1 of 3 destinations failed: /dev/full", "2 of 3 destinations are left"]);
    let lines = events(&ended);
    assert_eq!(lines.iter().filter(|line| line["event"] == "warning").count(), 1, "{ended:#?}");
    let end = lines.last().expect("an end");
    assert_eq!((end["outcome"].as_str(), end["exit_code"].as_u64()), (Some("partial"), Some(6)));
    assert!(end["error"].as_str().is_some_and(|error| error.contains("/dev/full")), "{end}");
    assert_eq!((end["bytes"].as_u64(), end["durable_bytes"].as_u64()), (Some(LEN as u64), Some(LEN as u64)));
    let found = end["destinations"].as_array().expect("a list");
    assert_eq!((found[1]["failed_at"].as_u64(), found[1]["durable_bytes"].as_u64()), (Some(0), Some(0)));
    assert!(found[1]["error"].as_str().is_some_and(|error| error.contains("No space left")), "{end}");
    for (number, path) in [(0, &to[0]), (2, &to[1])] {
        assert_eq!(found[number]["durable_bytes"].as_u64(), Some(LEN as u64), "{end}");
        same(&fs::read(path).expect("a copy"), &pattern(LEN, 1));
    }
    let ended = run(&from, &[full, &to[0]], &[]);
    ended.exits(6).says(&[
        "FAILED at byte 0 of the range, 0 bytes were written: writing /dev/full",
        &format!("{LEN} bytes, durable"),
    ]);
    // Quiet is not silent about it.
    let ended = run(&from, &[full, &to[0]], &["-q"]);
    ended.exits(6).says(&["1 of 2 destinations failed"]);
    // With none left it is a failure like any other.
    let (_reader, pipe) = closed_pipe(&to[1].with_file_name("pipe"));
    let ended = run(&from, &[full, &pipe], &["--json"]);
    ended.exits(1);
    let end = events(&ended).pop().expect("an end");
    assert_eq!(end["outcome"], "failed");
    assert!(
        end["destinations"].as_array().is_some_and(|all| all.iter().all(|one| !one["error"].is_null())),
        "{end}"
    );
}

/// A pipe whose reader goes away once it is opened.
fn closed_pipe(path: &Path) -> (std::thread::JoinHandle<()>, PathBuf) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("a named pipe");
    let name = path.to_owned();
    let reader = std::thread::spawn(move || drop(fs::File::open(name).expect("a reader")));
    (reader, path.to_owned())
}

#[test]
fn standard_output_may_be_one_of_them() {
    let (_folder, from, to) = folder(&["one"]);
    let args = [from.as_os_str(), to[0].as_os_str(), OsStr::new("-"), OsStr::new("--json")];
    let output = bulkio().arg("copy").args(args).output().expect("the command starts");
    assert!(output.status.success(), "{output:?}");
    same(&output.stdout, &pattern(LEN, 1));
    same(&fs::read(&to[0]).expect("a copy"), &pattern(LEN, 1));
    let events = String::from_utf8(output.stderr).expect("text");
    let end: Value = serde_json::from_str(events.lines().last().expect("a line")).expect("an object");
    assert_eq!(end["destinations"].as_array().map(Vec::len), Some(2), "{end}");
    run(&from, &[Path::new("-"), Path::new("-")], &[]).exits(3).says(&["are one destination"]);
}

#[test]
fn refusals_name_both_and_create_nothing() {
    let name = "refusals_name_both_and_create_nothing";
    let (_folder, from, to) = folder(&["one", "two"]);
    let disk = or_skip!(name, LoopDevice::new(4 << 20, 512));
    let node = disk.node();
    run(&from, &[&to[0], node, node], &[])
        .exits(3)
        .says(&["would change the same bytes twice", "the disk loop"]);
    let ended = run(&from, &[&to[0], &to[1]], &["--on-error", "skip"]);
    ended.exits(3).says(&["--on-error", "there are 2"]);
    run(&from, &[&to[0], node], &["--expect-size", "4M"]).exits(3).says(&["name one disk"]);
    assert!(is_absent(&to[0]) && is_absent(&to[1]));
    let ends = [from.as_os_str(), to[0].as_os_str(), to[1].as_os_str()];
    let plan = bulkio().arg("plan").args(ends).output().expect("the command starts");
    assert_eq!(plan.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&plan.stderr).contains("one destination"), "{plan:?}");
}

#[test]
fn a_pipe_to_several_and_a_signal() {
    let (folder, _, to) = folder(&["one", "two"]);
    let mut source = Fifo::to_write(folder.path().join("source"));
    let running = Running::copy([
        source.path(),
        &to[0],
        &to[1],
        Path::new("--json"),
        Path::new("--bs"),
        Path::new("64K"),
    ]);
    source.deliver(&pattern(mib(1), 1));
    let written = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == pattern(mib(1), 1));
    let came = support::within(LIMIT, || (written(&to[0]) && written(&to[1])).then_some(()));
    assert!(came.is_some(), "what came is written at once");
    running.signal(rustix::process::Signal::INT);
    let ended = running.wait(LIMIT);
    ended.exits(130);
    for path in &to {
        ended.says(&[&format!("{} bytes of {} are durable", mib(1), path.display())]);
    }
    let end = events(&ended).pop().expect("an end");
    assert_eq!((end["durable_bytes"].as_u64(), &end["synced"]), (Some(1 << 20), &json!(true)));
}
