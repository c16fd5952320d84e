//! `bulkio plan`: what it says is what the copy then does, and saying it changes nothing.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

use common::{Data, LoopDevice, Mounted, bulkio, is_absent, json, number, said, succeed, work_dir};
use serde_json::Value;

const FROM: Data = Data(5);
const BEFORE: Data = Data(6);
const MIB: u64 = 1 << 20;

/// Plans, and checks the exit code.
#[track_caller]
fn plan(from: &Path, to: &Path, args: &[&str], code: i32) -> Output {
    let output = bulkio(["plan"]).arg(from).arg(to).args(args).output().expect("bulkio starts");
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    output
}

/// The object of a plan that refuses nothing.
#[track_caller]
fn planned(from: &Path, to: &Path, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let output = plan(from, to, &args, 0);
    assert!(output.stderr.is_empty(), "{}", said(&output));
    json(&output.stdout)
}

#[track_caller]
fn text(output: &Output, stderr: bool) -> String {
    String::from_utf8(if stderr { output.stderr.clone() } else { output.stdout.clone() }).expect("text")
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Checks that a copy reports what the plan said: bytes copied on the way by reason, requests, their length.
#[track_caller]
fn assert_comes_true(plan: &Value, report: &Value) {
    for side in ["source", "destination"] {
        assert_eq!(plan[side]["bounces"], report[side]["bounces"], "{side}\n{plan}\n{report}");
        assert_eq!(plan[side]["direct"], report[side]["direct"], "{side}\n{plan}\n{report}");
        assert_eq!(plan[side]["class"], report[side]["class"], "{side}\n{plan}\n{report}");
    }
    assert_eq!(plan["layout"]["block_bytes"], report["block_bytes"]);
    let edges = plan["layout"]["edges"].as_array().expect("a list").len() as u64;
    let requests = number(plan, "layout/requests");
    assert_eq!(number(report, "source/requests"), requests, "{plan}\n{report}");
    let writes = number(report, "destination/requests");
    assert!((requests - 1..=requests).contains(&(writes - edges)), "{plan}\n{report}");
}

#[test]
fn a_plan_comes_true_on_files() {
    let test_name = "a_plan_comes_true_on_files";
    for (len, args) in [
        (5 * MIB, &[][..]),
        (3 * MIB + 1, &["--bs", "64K"]),
        (3 * MIB, &["--skip", "1001", "--seek", "5097", "--no-truncate"]),
        (MIB + 7, &["--skip", "1"]),
        (MIB, &["--direct", "never"]),
    ] {
        let folder = or_skip!(test_name, work_dir());
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        FROM.store(&from, len);
        let found = planned(&from, &to, args);
        assert_eq!(found["destination"]["is_new"], true);
        assert!(is_absent(&to) && fs::read_dir(folder.path()).expect("it is there").count() == 1);
        let mut copy = bulkio(["copy", "--json"]);
        let output = succeed(copy.arg(&from).arg(&to).args(args));
        assert_comes_true(&found, &json(&output.stdout));
    }
}

#[test]
fn a_plan_comes_true_on_disks_of_both_block_sizes() {
    let test_name = "a_plan_comes_true_on_disks_of_both_block_sizes";
    for block in [512, 4096] {
        let from = or_skip!(test_name, LoopDevice::new(4 * MIB, block));
        let to = or_skip!(test_name, LoopDevice::new(6 * MIB, block));
        FROM.store(from.node(), 4 * MIB);
        BEFORE.store(to.node(), 6 * MIB);
        let args = ["--skip", "1001", "--seek", "1001", "--count", "3000000"];
        let found = planned(from.node(), to.node(), &args);
        assert_eq!(BEFORE.differs(to.node(), 6 * MIB), None, "a plan writes nothing");
        assert_eq!(number(&found, "destination/end_unit"), u64::from(block));
        assert_eq!(found["layout"]["edges"].as_array().map(Vec::len), Some(4), "{found}");
        let first = &found["layout"]["first"];
        assert_eq!((&first[0]["step"], &first[1]["step"]), (&"read".into(), &"write".into()));
        assert_eq!(number(&first[0], "position"), 1001 / u64::from(block) * u64::from(block));
        assert_eq!(number(&first[1], "aside"), u64::from(block) - 1001 % u64::from(block));
        let mut copy = bulkio(["copy", "--json"]);
        let output = succeed(copy.arg(from.node()).arg(to.node()).args(args));
        assert_comes_true(&found, &json(&output.stdout));
    }
}

#[test]
fn people_see_limits_side_by_side_and_why() {
    let test_name = "people_see_limits_side_by_side_and_why";
    let folder = or_skip!(test_name, work_dir());
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    FROM.store(&from, MIB + 1);
    let shown = text(&plan(&from, &to, &["--skip", "1"], 0), false);
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start));
    assert!(line("limit ").is_some_and(|line| line.ends_with("together")), "{shown}");
    let align = line("position_align ").unwrap_or_else(|| panic!("no position_align in {shown}"));
    assert!(align.contains("(statx, hard)") && align.ends_with("each its own"), "{shown}");
    assert!(line("addr_align ").is_some_and(|line| !line.ends_with("each its own")), "{shown}");
    assert!(line("1048576 bytes (1.0 MiB), from byte 1 to byte 0").is_some(), "{shown}");
    assert!(
        line("source: 1048576 bytes bounced: source byte 1 and destination byte 0 differ").is_some(),
        "{shown}"
    );
    assert!(line("destination: nothing is copied on the way").is_some(), "{shown}");
    assert_eq!(shown.matches("planning changes nothing there but sizes").count(), 2, "{shown}");
}

#[test]
fn what_refuses_is_part_of_the_plan() {
    let test_name = "what_refuses_is_part_of_the_plan";
    let folder = or_skip!(test_name, work_dir());
    let from = folder.path().join("from");
    FROM.store(&from, 2 * MIB);
    // Onto itself.
    let onto = plan(&from, &from, &[], 3);
    assert!(text(&onto, true).contains("would overwrite what is read"), "{}", said(&onto));
    assert!(text(&onto, false).contains("the copy would be refused"), "{}", said(&onto));
    assert_eq!(FROM.differs(&from, 2 * MIB), None);
    // Direct I/O that cannot be had: the rest is planned all the same, through the page cache.
    let required = plan(&from, Path::new("/dev/null"), &["--direct", "require", "--json"], 3);
    let found = json(&required.stdout);
    assert_eq!(found["refusals"].as_array().map(Vec::len), Some(1), "{found}");
    assert!(found["layout"].is_object(), "{found}");
    // A disk that is too small, and one that is in use.
    let small = or_skip!(test_name, LoopDevice::new(MIB, 512));
    let found = plan(&from, small.node(), &[], 3);
    assert!(text(&found, true).contains("1048576"), "{}", said(&found));
    let disk = or_skip!(test_name, LoopDevice::new(16 * MIB, 512));
    let _mounted = or_skip!(test_name, Mounted::ext4(disk.node()));
    let found = plan(&from, disk.node(), &["--json"], 3);
    assert!(text(&found, true).contains("is mounted at"), "{}", said(&found));
    assert!(json(&found.stdout)["layout"].is_object(), "{}", said(&found));
    planned(&from, disk.node(), &["--force"]);
}

#[test]
fn a_door_to_a_disk_in_use_and_another_disk_than_expected_refuse() {
    let test_name = "a_door_to_a_disk_in_use_and_another_disk_than_expected_refuse";
    let folder = or_skip!(test_name, work_dir());
    let from = folder.path().join("from");
    FROM.store(&from, MIB);
    let disk = or_skip!(test_name, LoopDevice::new(16 * MIB, 512));
    let door = or_skip!(test_name, LoopDevice::over(disk.node(), 0, 512));
    planned(&from, door.node(), &["--expect-size", "16M"]);
    let found = plan(&from, door.node(), &["--expect-size", "17M"], 3);
    assert!(text(&found, true).contains("is not the disk that was expected"), "{}", said(&found));
    let mounted = or_skip!(test_name, Mounted::ext4(disk.node()));
    let found = plan(&from, door.node(), &[], 3);
    assert!(text(&found, true).contains("is mounted at"), "{}", said(&found));
    drop(mounted);
    let to = folder.path().join("to");
    let found = plan(&from, &to, &["--expect-size", "16M"], 3);
    assert!(text(&found, true).contains("none that is fixed"), "{}", said(&found));
}

#[test]
fn a_file_system_without_unnamed_files_has_a_plan_that_says_so() {
    let test_name = "a_file_system_without_unnamed_files_has_a_plan_that_says_so";
    if !common::is_root() {
        return common::skip(test_name, "only root may write to the folder of /proc");
    }
    let folder = or_skip!(test_name, work_dir());
    let from = folder.path().join("from");
    FROM.store(&from, 3 * MIB);
    for args in [&[][..], &["--direct", "require"]] {
        let found = planned(&from, Path::new("/proc/bulkio-new"), args);
        assert_eq!(found["destination"]["is_new"], true);
        assert_eq!(found["destination"]["direct"], false);
        let notes = found["notes"].to_string();
        assert!(notes.contains("/proc/bulkio-new are not known") && notes.contains("page cache"), "{notes}");
    }
}

#[test]
fn what_cannot_be_planned_says_what_to_do() {
    let folder = work_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    FROM.store(&from, 10);
    for (from, to, says) in [
        (&folder.path().join("none"), &to, "does not exist"),
        (&from, &folder.path().join("none/to"), "a folder of its path is missing"),
        (&from, &"/dev/bulkio-cli-no-such-disk".into(), "check the device's name"),
        (&from, &folder.path().to_owned(), "is a directory"),
        (&"hw:9,9".into(), &to, "bulkio probe DEVICE --to OTHER"),
    ] {
        let refused = plan(from, to, &[], 3);
        assert!(text(&refused, true).contains(says) && refused.stdout.is_empty(), "{}", said(&refused));
    }
    assert!(is_absent(&to));
}

#[test]
fn a_plan_leaves_pipes_and_files_alone() {
    let folder = work_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("pipe"));
    FROM.store(&from, MIB);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &to,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    let before = fs::metadata(&from).expect("it is there").mtime_nsec();
    // Opening a pipe without another side would wait for ever.
    let found = planned(&from, &to, &[]);
    assert_eq!(
        (&found["destination"]["class"], &found["destination"]["direct"]),
        (&"pipe".into(), &false.into())
    );
    assert!(found["layout"]["first"][1]["position"].is_null(), "{found}");
    let found = planned(&to, &from, &[]);
    assert!(found["layout"]["bytes"].is_null() && found["layout"]["requests"].is_null(), "{found}");
    assert_eq!(fs::metadata(&from).expect("it is there").mtime_nsec(), before);
    assert_eq!(FROM.differs(&from, MIB), None);
}

#[test]
fn json_has_the_documented_fields() {
    let folder = work_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    FROM.store(&from, MIB + 1);
    let found = planned(&from, &to, &[]);
    let help = text(&succeed(&mut bulkio(["plan", "--help"])), false);
    let top = ["destination", "layout", "notes", "refusals", "source", "together"];
    assert_eq!(keys(&found), top);
    let side = [
        "bounces",
        "class",
        "direct",
        "direct_refused",
        "end_unit",
        "is_new",
        "len_bytes",
        "limits",
        "path",
        "splits_below",
        "start_unit",
    ];
    assert_eq!(keys(&found["source"]), side);
    let layout = [
        "block_bytes",
        "bytes",
        "depth",
        "depth_max",
        "edges",
        "first",
        "last",
        "pool_bytes",
        "requests",
        "seek",
        "skip",
    ];
    assert_eq!(keys(&found["layout"]), layout);
    let transfer = ["aside", "bytes", "calls", "cut", "direct", "padding", "position", "slot_offset", "step"];
    assert_eq!(keys(&found["layout"]["first"][0]), transfer);
    let call = ["bytes", "cut", "pieces", "position"];
    assert_eq!(keys(&found["layout"]["first"][0]["calls"][0]), call);
    assert_eq!(keys(&found["source"]["limits"][0]), ["force", "name", "neutral", "source", "value"]);
    for field in top.iter().chain(&side).chain(&layout).chain(&transfer).chain(&call) {
        assert!(help.contains(field), "{field} is not documented");
    }
}
