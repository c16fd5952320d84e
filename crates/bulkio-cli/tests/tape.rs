//! `bulkio tape` and the flags of tapes, where there is no drive: what is refused, how, and with which exit code. Drives are in the lab.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs;

use common::storage_dir;
use serde_json::Value;
use support::bulkio;

fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = bulkio().args(arguments).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_no_tape_drive_is_refused_by_every_command() {
    let commands: [&[&str]; 8] = [
        &["status", "/dev/null"],
        &["status", "--json", "/dev/null"],
        &["rewind", "/dev/null"],
        &["fsf", "/dev/null", "3"],
        &["weof", "/dev/null"],
        &["setblk", "/dev/null", "64K"],
        &["offline", "/dev/null"],
        &["load", "/dev/null"],
    ];
    for command in commands {
        let (code, out, err) = said(&[&["tape"], command].concat());
        assert_eq!((code, out.as_str()), (Some(3), ""), "{command:?}: {err}");
        assert!(err.starts_with("bulkio: /dev/null is no tape drive"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    let (code, _, err) = said(&["tape", "status", "/dev/no-such-drive"]);
    assert_eq!(code, Some(3));
    assert!(err.contains("/dev/no-such-drive") && err.contains("No such file"), "{err}");
}

#[test]
fn help_says_which_node_to_use() {
    let (code, out, _) = said(&["tape", "--help"]);
    assert_eq!(code, Some(0));
    for word in ["fsf", "bsf", "weof", "eod", "setblk", "/dev/nst0", "rewinds"] {
        assert!(out.contains(word), "{word} in {out}");
    }
    let (code, _, err) = said(&["tape", "setblk", "/dev/null", "8G"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("pass 32 bits"), "{err}");
}

#[test]
fn flags_of_tapes_are_refused_where_there_is_none() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, vec![7; 100_000]).expect("a source");
    for flags in [&["--tape-block", "10240"][..], &["--all"], &["--files", "2"], &["--tape-pad"]] {
        let output = bulkio().arg("copy").args(flags).args([&from, &to]).output().expect("it runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{err}");
        assert!(err.contains(flags[0]) && err.contains("tape drive"), "{err}");
        assert!(!to.exists());
    }
    let output = bulkio().args(["copy", "--json"]).args([&from, &to]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let report: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("an object");
    assert!(report["source"]["tape"].is_null() && report["destination"]["tape"].is_null());
    let (code, _, err) = said(&["copy", "--all", "--files", "2", "a", "b"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("--all") && err.contains("--files"), "{err}");
}
