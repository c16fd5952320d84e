//! A copy of a disk with bad sectors, by the command: its lines are as the schema says, and flags that would do nothing are refused.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
#[path = "../../bulkio/tests/faulty/mod.rs"]
mod faulty;
mod lines;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use common::storage_dir;
use faulty::{FaultyDisk, Op, Rule};
use lines::ends;
use serde_json::{Value, json};
use support::{LIMIT, Running, bulkio, copy, mib, pattern, same, within};

const SECTOR: usize = 512;

/// The first bad bytes of the disk, and the next.
const BAD: [std::ops::Range<usize>; 2] = [100 * SECTOR..102 * SECTOR, 5000 * SECTOR..5001 * SECTOR];

/// A disk where `BAD` cannot be read.
fn broken() -> Result<FaultyDisk, String> {
    let disk = FaultyDisk::new(pattern(mib(4), 3), 512)?;
    for range in BAD {
        let range = range.start as u64..range.end as u64;
        disk.file().add(Rule::reads().touching(range).errno(libc::ENODATA));
    }
    Ok(disk)
}

#[test]
fn lost_bytes_are_lines_as_the_schema_says() {
    let disk = or_skip!("lost_bytes_are_lines_as_the_schema_says", broken());
    let folder = storage_dir().expect("a folder");
    let to = folder.path().join("to");
    let args = |what| {
        [
            disk.node().as_os_str(),
            to.as_os_str(),
            OsStr::new("--json"),
            OsStr::new("--on-error"),
            OsStr::new(what),
        ]
    };
    for what in ["skip", "retry"] {
        let ended = copy(args(what));
        let lines = ends(&ended, 4, "lost");
        let lost: Vec<&Value> = lines.iter().filter(|line| line["event"] == "lost").collect();
        let expected = BAD.map(|range| {
            json!({"event": "lost", "position": range.start, "bytes": range.len(), "reason": "unreadable"})
        });
        assert_eq!(lost, expected.iter().collect::<Vec<_>>(), "{ended:#?}");
        let rescue = &ended.json()["rescue"];
        assert_eq!((&rescue["lost_bytes"], &rescue["lost_ranges"]), (&json!(1536), &json!(2)), "{ended:#?}");
        assert_eq!(rescue["lost"][1], json!({"position": BAD[1].start, "bytes": 512}), "{ended:#?}");
        assert!(rescue["failed_reads"].as_u64().is_some_and(|reads| reads > 0), "{ended:#?}");
        failures(&lines, rescue);
        let mut expected = pattern(mib(4), 3);
        for range in BAD {
            expected[range].fill(0);
        }
        same(&fs::read(&to).expect("the destination"), &expected);
    }
    // Without it the copy ends there: nothing is lost, and nothing keeps account.
    let lines = ends(&copy(args("stop")), 1, "failed");
    let events = |event| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((events("lost"), events("error"), events("end")), (0, 0, 1), "{lines:?}");
    assert!(lines.iter().all(|line| line["rescue"].is_null()), "{lines:?}");
}

/// Asserts that every read that failed is a line, before any that tells what is lost, and that each bad sector was told by itself.
fn failures(lines: &[Value], rescue: &Value) {
    let first_lost = lines.iter().position(|line| line["event"] == "lost").expect("a line");
    let errors: Vec<&Value> = lines[..first_lost].iter().filter(|line| line["event"] == "error").collect();
    let all = lines.iter().filter(|line| line["event"] == "error").count() as u64;
    assert_eq!((errors.len() as u64, Some(all)), (all, rescue["failed_reads"].as_u64()), "{lines:#?}");
    let range = |line: &Value| {
        let start = line["position"].as_u64().expect("a number") as usize;
        start..start + line["bytes"].as_u64().expect("a number") as usize
    };
    for line in &errors {
        let failed = range(line);
        assert!(BAD.iter().any(|bad| failed.start < bad.end && bad.start < failed.end), "{line}");
        assert_eq!(line["reason"], "No data available (os error 61)", "{line}");
    }
    assert_eq!((&errors[0]["phase"], &errors[0]["pass"]), (&json!("copying"), &json!(1)), "{errors:?}");
    for sector in BAD.into_iter().flat_map(|bad| bad.step_by(SECTOR)) {
        let alone = errors.iter().any(|line| range(line) == (sector..sector + SECTOR));
        assert!(alone, "sector at {sector}: {errors:#?}");
    }
}

#[test]
fn progress_says_what_a_rescue_is_doing() {
    let disk = or_skip!("progress_says_what_a_rescue_is_doing", broken());
    // What is tried again waits, so that there is time for a line.
    let first = BAD[0].start as u64..BAD[0].end as u64;
    let folder = storage_dir().expect("a folder");
    let to = folder.path().join("to");
    let running = {
        let edges = Rule::reads().touching(first.clone()).after(1).hold();
        disk.file().add(edges);
        Running::copy([disk.node(), &to, Path::new("--json"), Path::new("--on-error"), Path::new("skip")])
    };
    let told = || running.stdout_so_far().contains("\"phase\":\"trimming\"").then_some(());
    assert!(within(LIMIT, told).is_some(), "{}", running.stdout_so_far());
    disk.file().open_gate();
    let ended = running.wait(LIMIT);
    let lines = ends(&ended, 4, "lost");
    let rescue = lines.iter().find(|line| line["rescue"]["phase"] == "trimming").map(|line| &line["rescue"]);
    let rescue = rescue.expect("a line");
    assert_eq!(rescue["pass"], 1, "{ended:#?}");
    assert!(rescue["failed_bytes"].as_u64().is_some_and(|bytes| bytes >= 1536), "{ended:#?}");
    assert!(disk.file().seen().iter().any(|seen| seen.op == Op::Read && first.contains(&seen.at)));
}

#[test]
fn flags_that_would_do_nothing_are_refused() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(1000, 1)).expect("the source");
    let run = |command: &str, flags: &[&str]| {
        let mut process = bulkio();
        process.arg(command).args([&from, &to]).args(flags);
        process.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        Running::start_on(process.stderr(std::process::Stdio::piped())).wait(LIMIT)
    };
    for (flags, says) in [
        (&["--retries", "5"][..], "--retries 5 needs --on-error retry: --on-error stop "),
        (&["--retries=3", "--on-error", "skip"], "--retries 3 needs --on-error retry: --on-error skip "),
        (&["--lost", "keep"], "--lost keep needs --on-error skip or --on-error retry: --on-error stop "),
        (&["--lost", "keep", "--reverse"], "--lost keep needs --on-error skip"),
    ] {
        for command in ["copy", "plan"] {
            let ended = run(command, flags);
            ended.exits(2).says(&["bulkio: ", says, &format!("Usage: bulkio {command}")]);
            assert!(ended.stdout.is_empty() && !to.exists(), "{ended:#?}");
        }
    }
    for flags in [
        &["--on-error", "retry", "--retries", "5", "--lost", "keep"][..],
        &["--on-error", "skip", "--lost", "zero"],
        &["--on-error", "stop", "--lost", "zero"],
        &["--on-error", "skip", "--retries", "0"],
        &["--on-error", "stop"],
    ] {
        run("copy", flags).exits(0);
    }
}
