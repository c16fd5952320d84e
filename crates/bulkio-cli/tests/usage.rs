//! The command line: what is understood, what is answered otherwise, what is printed where, and the exit codes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::ffi::OsString;
use std::fs;
use std::process::{Command, Stdio};

use common::{LoopDevice, is_absent};
use serde_json::Value;
use support::{Running, assert_same, binary, bulkio, bulkio_with_input, fifo, pattern, work_dir};

fn text_of(words: &[OsString], code: i32) -> (String, String) {
    let ended = bulkio(words);
    ended.expect_code(code);
    (String::from_utf8(ended.stdout).unwrap(), ended.stderr)
}

#[test]
fn help_shows_the_exit_codes_and_the_json_fields() {
    for words in [words!["--help"].to_vec(), words!["copy", "--help"].to_vec()] {
        let (out, err) = text_of(&words, 0);
        assert!(out.contains("130, 143  stopped by SIGINT, SIGTERM") && err.is_empty(), "{out}{err}");
    }
    let (out, _) = text_of(&words!["copy", "--help"], 0);
    for part in ["--bs", "--no-truncate", "direct_bytes", "durable_bytes", "not blocks"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_exits_with_2_and_touches_nothing() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, b"data").unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--bs", "1.5M"], "1.5M"),
        (&["--bs", "1_000"], "1_000"),
        (&["--count", "5X"], "5X"),
        (&["--skip=-1"], "-1"),
        (&["--seek", "99999999999999999999"], "99999999999999999999"),
        (&["--depth", "many"], "many"),
        (&["--engine", "fast"], "fast"),
        (&["--direct", "yes"], "yes"),
        (&["--no-such-flag"], "--no-such-flag"),
    ];
    for (flags, part) in cases {
        let mut words = words!["copy", from, to].to_vec();
        words.extend(flags.iter().map(Into::into));
        let (out, err) = text_of(&words, 2);
        assert!(out.is_empty() && err.starts_with("bulkio: ") && err.contains(part), "{err}");
        assert!(is_absent(&to));
    }
    text_of(&words!["copy", from], 2);
    text_of(&words!["cp", from, to], 2);
    text_of(&words![], 2);
}

#[test]
fn operands_of_dd_are_answered_with_the_line_to_type() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data = pattern(10_000, 1);
    fs::write(&from, &data).unwrap();
    let (input, output) = (format!("if={}", from.display()), format!("of={}", to.display()));
    for first in [&["copy"][..], &[]] {
        let mut words: Vec<OsString> = first.iter().map(Into::into).collect();
        words.extend(words![input, output, "bs=1K", "skip=2", "count=3"]);
        let (_, err) = text_of(&words, 2);
        let line = format!("bulkio copy --skip 2048 --count 3072 {} {}", from.display(), to.display());
        assert!(err.contains(&line), "{err}");
        assert!(is_absent(&to));
    }
    bulkio(&words!["copy", "--skip", "2048", "--count", "3072", from, to]).expect_code(0);
    assert_same(&fs::read(&to).unwrap(), &data[2048..2048 + 3072], "what dd would have copied");
}

#[test]
fn sizes_take_suffixes() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data = pattern(3 << 20, 1);
    fs::write(&from, &data).unwrap();
    for (count, bytes) in [("1K", 1024), ("1kB", 1000), ("2MiB", 2 << 20), ("2MB", 2_000_000), ("7", 7)] {
        bulkio(&words!["copy", from, to, "--count", count]).expect_code(0);
        assert_same(&fs::read(&to).unwrap(), &data[..bytes], count);
    }
}

#[test]
fn the_report_for_people_is_on_standard_error_and_quiet_leaves_it_out() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(100_000, 1)).unwrap();
    let (out, err) = text_of(&words!["copy", from, to], 0);
    assert!(out.is_empty(), "{out}");
    for part in ["100000 bytes", "MiB/s", "durable", "engine", "pages", "requests", "bytes direct", "bounced"]
    {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(text_of(&words!["copy", from, to, "--quiet"], 0), (String::new(), String::new()));
    let (_, err) = text_of(&words!["copy", from, folder.path(), "--quiet"], 3);
    assert!(err.starts_with("bulkio: ") && err.lines().count() == 1, "{err}");
}

#[test]
fn the_object_is_all_there_is_on_standard_output() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data = pattern(100_000, 1);
    fs::write(&from, &data).unwrap();
    let ended = bulkio(&words!["copy", from, to, "--json"]);
    assert_eq!(ended.expect_code(0).json()["bytes"], 100_000);
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
    // The data has standard output for itself.
    let ended = bulkio(&words!["copy", from, "-", "--json"]);
    assert_eq!(ended.expect_code(0).json_on_stderr()["bytes"], 100_000);
    assert_same(&ended.stdout, &data, "standard output");
}

#[test]
fn an_empty_input_makes_an_empty_file_and_cuts_an_old_one() {
    let folder = work_dir();
    let to = folder.path().join("to");
    for _ in 0..2 {
        bulkio_with_input(&words!["copy", "-", to], b"").expect_code(0);
        assert_eq!(fs::metadata(&to).unwrap().len(), 0);
        fs::write(&to, pattern(5000, 1)).unwrap();
    }
    bulkio(&words!["copy", to, to.with_extension("none"), "--count", "0"]).expect_code(0);
    assert_eq!(fs::metadata(to.with_extension("none")).unwrap().len(), 0);
}

#[test]
fn nothing_copied_past_the_end_leaves_a_kept_file_as_long_as_it_was() {
    let folder = work_dir();
    let to = folder.path().join("to");
    let kept = pattern(5000, 1);
    fs::write(&to, &kept).unwrap();
    bulkio_with_input(&words!["copy", "-", to, "--seek", "9000", "--no-truncate"], b"").expect_code(0);
    assert_same(&fs::read(&to).unwrap(), &kept, "the file");
}

#[test]
fn two_copies_at_once_work_with_8_mib_of_locked_memory() {
    let folder = work_dir();
    let data = pattern(40 << 20, 1);
    let from = folder.path().join("from");
    fs::write(&from, &data).unwrap();
    let limited = |words: &[OsString], stdin: Stdio| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -l 8192 && exec \"$0\" \"$@\""]).arg(binary()).args(words);
        Running::spawn(command, stdin)
    };
    let first_to = folder.path().join("first");
    let mut first = limited(&words!["copy", "-", first_to, "--json"], Stdio::piped());
    let mut stdin = first.child.stdin.take().unwrap();
    use std::io::Write as _;
    // The first holds its pool, registered or not, while the second runs from end to end.
    stdin.write_all(&data[..20 << 20]).unwrap();
    let second_to = folder.path().join("second");
    let second = limited(&words!["copy", from, second_to, "--json"], Stdio::null()).end();
    stdin.write_all(&data[20 << 20..]).unwrap();
    drop(stdin);
    let first = first.end();
    for (ended, to) in [(first, first_to), (second, second_to)] {
        let report = ended.expect_code(0).json();
        let (pool, registered) =
            (report["pool_bytes"].as_u64().unwrap(), report["registered_bytes"].as_u64().unwrap());
        assert!(registered <= pool, "{report}");
        if !common::is_root() {
            assert!(registered <= 8 << 20, "{report}");
        }
        assert_same(&fs::read(to).unwrap(), &data, "the copy");
    }
}

fn limit<'a>(limits: &'a Value, name: &str) -> &'a Value {
    limits.as_array().unwrap().iter().find(|limit| limit["name"] == name).unwrap_or(&Value::Null)
}

#[test]
fn probe_prints_each_limit_with_its_source_and_force() {
    let folder = work_dir();
    let path = folder.path().join("file");
    fs::write(&path, pattern(10_000, 1)).unwrap();
    let object = bulkio(&words!["probe", path, "--json"]).expect_code(0).json();
    assert_eq!((&object["kind"], &object["size_bytes"]), (&"file".into(), &10_000.into()), "{object}");
    let pieces = limit(&object["limits"], "pieces_max");
    assert_eq!(
        (&pieces["value"], &pieces["source"], &pieces["force"]),
        (&1024.into(), &"interface".into(), &"hard".into())
    );
    let (out, err) = text_of(&words!["probe", path], 0);
    assert!(out.contains("pieces_max") && out.contains("interface") && err.is_empty(), "{out}{err}");
    assert!(!out.contains("addr_min"), "limits that say nothing are left out: {out}");
    let (all, _) = text_of(&words!["probe", path, "--all"], 0);
    assert!(all.contains("addr_min") && all.lines().count() > out.lines().count(), "{all}");
}

#[test]
fn probe_tells_devices_streams_and_nothing_apart() {
    let folder = work_dir();
    let pipe = folder.path().join("pipe");
    fifo(&pipe);
    let kind = |words: &[OsString]| bulkio(words).expect_code(0).json()["kind"].clone();
    assert_eq!(kind(&words!["probe", pipe, "--json"]), "pipe");
    assert_eq!(kind(&words!["probe", "/dev/null", "--json"]), "char");
    assert_eq!(kind(&words!["probe", folder.path(), "--json"]), "directory");
    let ended = bulkio(&words!["probe", folder.path().join("missing")]);
    assert!(ended.code() != Some(0) && ended.stderr.starts_with("bulkio: "), "{ended:?}");
}

#[test]
fn probe_knows_the_blocks_of_a_device() {
    for block in [512, 4096] {
        let device = or_skip!("probe_knows_the_blocks_of_a_device", LoopDevice::new(1 << 20, block));
        let object = bulkio(&words!["probe", device.node(), "--json"]).expect_code(0).json();
        assert_eq!(
            (&object["kind"], &object["size_bytes"]),
            (&"block".into(), &(1 << 20).into()),
            "{object}"
        );
        assert_eq!(limit(&object["limits"], "position_align")["value"], block, "{object}");
        assert_eq!(limit(&object["limits"], "capacity")["value"], 1 << 20, "{object}");
    }
}
