//! The lines of `--json`: each is as the schema says, the last is the end, and progress comes once a second.
//!
//! The schema is what `bulkio schema` prints. Every way in which a copy ends is here; what of them needs a disk that fails is in `rescued`, a
//! tape or a device with a clock in the lab.

mod common;
mod lines;
mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::{LoopDevice, storage_dir};
use lines::{ends, valid};
use rustix::process::Signal;
use support::{Fifo, LIMIT, PROMPT, Running, bulkio, copy, mib, pattern, within};

#[test]
fn a_copy_that_ends_well_starts_and_ends() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(mib(3) + 1, 1)).expect("the source");
    for quiet in [&[] as &[&str], &["--quiet"]] {
        let ended = copy(
            [from.as_os_str(), to.as_os_str(), "--json".as_ref()]
                .into_iter()
                .chain(quiet.iter().map(AsRef::as_ref)),
        );
        let lines = ends(&ended, 0, "done");
        assert_eq!(lines.len(), 2, "{ended:#?}");
        let start = &lines[0];
        assert_eq!(start["source"]["path"].as_str(), from.to_str());
        assert_eq!(start["destination"], serde_json::json!({"path": to.to_str(), "class": "file"}));
        assert_eq!((start["total_bytes"].as_u64(), start["depth"].as_u64()), (Some(3_145_729), Some(8)));
        assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn holes_and_what_the_kernel_copied_are_in_the_end() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(mib(1), 1)).expect("the source");
    let source = fs::File::options().write(true).open(&from).expect("the source");
    source.set_len(u64::try_from(mib(3)).expect("a small number")).expect("a hole behind it");
    for (flag, field) in [("--no-sync", "sparse"), ("--sparse=always", "sparse"), ("--offload", "offload")] {
        let ended = copy([from.as_os_str(), to.as_os_str(), "--json".as_ref(), flag.as_ref()]);
        let lines = ends(&ended, 0, "done");
        assert!(lines.last().is_some_and(|end| end[field].is_object()), "{ended:#?}");
    }
}

#[test]
fn a_refusal_is_one_line() {
    let folder = storage_dir().expect("a folder");
    let missing = folder.path().join("missing");
    let ended = copy([missing.as_path(), Path::new("to"), Path::new("--json")]);
    assert_eq!(ends(&ended, 3, "refused").len(), 1, "{ended:#?}");
}

#[test]
fn an_error_ends_what_was_started() {
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    fs::write(&from, pattern(mib(1), 1)).expect("the source");
    let ended = copy([from.as_path(), Path::new("/dev/full"), Path::new("--json")]);
    let lines = ends(&ended, 1, "failed");
    assert_eq!(lines.len(), 2, "{ended:#?}");
    assert!(lines[1]["error"].as_str().is_some_and(|error| error.contains("/dev/full")), "{ended:#?}");
}

#[test]
fn a_warning_is_a_line() {
    let name = "a_warning_is_a_line";
    let device = or_skip!(name, LoopDevice::new(1 << 20, 512));
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::EXCL | rustix::fs::OFlags::CLOEXEC;
    let _claim = rustix::fs::open(device.node(), flags, rustix::fs::Mode::empty()).expect("the claim");
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    fs::write(&from, pattern(1000, 1)).expect("the source");
    let ended = copy([from.as_path(), device.node(), Path::new("--json"), Path::new("--force")]);
    let lines = ends(&ended, 0, "done");
    assert!(lines[0]["text"].as_str().is_some_and(|text| text.contains("in use")), "{ended:#?}");
    ended.says(&["bulkio: warning: "]);
}

#[test]
fn progress_comes_once_a_second_and_a_signal_ends_it() {
    let folder = storage_dir().expect("a folder");
    let mut from = Fifo::to_write(folder.path().join("from"));
    let to = folder.path().join("to");
    let running = Running::copy([from.path(), &to, Path::new("--json"), Path::new("--quiet")]);
    from.deliver(&pattern(mib(1), 1));
    let progress = |text: &str| text.lines().filter(|line| line.contains("\"event\":\"progress\"")).count();
    let came = within(LIMIT, || (progress(&running.stdout_so_far()) >= 3).then_some(()));
    assert!(came.is_some(), "{}", running.stdout_so_far());
    running.signal(Signal::INT);
    let ended = running.wait(PROMPT);
    let lines = ends(&ended, 130, "stopped");
    let lines: Vec<_> = lines.iter().filter(|line| line["event"] == "progress").collect();
    let seconds: Vec<f64> = lines.iter().map(|line| line["seconds"].as_f64().expect("a time")).collect();
    assert!(seconds[0] >= 0.9 && seconds.windows(2).all(|pair| pair[1] - pair[0] >= 0.99), "{seconds:?}");
    assert_eq!(lines[2]["done_bytes"].as_u64(), Some(1 << 20), "{ended:#?}");
    assert_eq!((&lines[2]["phase"], lines[2]["total_bytes"].is_null()), (&"copying".into(), true));
    assert!(lines.iter().all(|line| line["rescue"].is_null()), "{ended:#?}");
}

#[test]
fn a_terminal_that_goes_away_leaves_an_end() {
    let folder = storage_dir().expect("a folder");
    let mut from = Fifo::to_write(folder.path().join("from"));
    let to = folder.path().join("to");
    let running = Running::copy([from.path(), &to, Path::new("--json")]);
    from.deliver(&pattern(mib(1), 1));
    running.signal(Signal::HUP);
    let ended = running.wait(PROMPT);
    let lines = ends(&ended, 129, "stopped");
    assert_eq!(lines.last().and_then(|end| end["durable_bytes"].as_u64()), Some(1 << 20), "{ended:#?}");
}

#[test]
fn a_signal_before_the_first_byte_and_a_second_one_end_it_too() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &from, 0o600.into()).expect("a named pipe");
    let running = Running::copy([from.as_path(), &to, Path::new("--json")]);
    assert!(within(LIMIT, || running.catches(Signal::TERM).then_some(())).is_some(), "it never listens");
    running.signal(Signal::TERM);
    assert_eq!(ends(&running.wait(PROMPT), 143, "stopped").len(), 1);
    let running = Running::copy([from.as_path(), &to, Path::new("--json")]);
    assert!(within(LIMIT, || running.catches(Signal::HUP).then_some(())).is_some(), "it never listens");
    running.signal(Signal::HUP);
    assert_eq!(ends(&running.wait(PROMPT), 129, "stopped").len(), 1);

    // A copy that cannot stop: a destination that takes nothing, with a block that must go there whole.
    let from = folder.path().join("bytes");
    fs::write(&from, pattern(mib(8), 1)).expect("the source");
    let to = Fifo::to_read(folder.path().join("pipe"));
    let running = Running::copy([from.as_path(), to.path(), Path::new("--json")]);
    let began = || running.stdout_so_far().contains("\"event\":\"start\"").then_some(());
    assert!(within(LIMIT, began).is_some(), "it never begins");
    for _ in 0..2 {
        running.signal(Signal::INT);
    }
    ends(&running.wait(PROMPT), 130, "stopped");
}

#[test]
fn events_go_to_standard_error_where_data_is_on_standard_output() {
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    let bytes = pattern(mib(1) + 7, 1);
    fs::write(&from, &bytes).expect("the source");
    let mut command = bulkio();
    let output = command
        .args(["copy", "--json"])
        .arg(&from)
        .arg("-")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(output.status.success() && output.stdout == bytes);
    let lines = valid(&String::from_utf8(output.stderr).expect("text"), 0);
    assert_eq!((lines.len(), &lines[0]["destination"]["class"]), (2, &"pipe".into()), "{lines:?}");
}

#[test]
fn a_reader_that_goes_away_stops_no_copy_and_is_told() {
    let folder = storage_dir().expect("a folder");
    let mut from = Fifo::to_write(folder.path().join("from"));
    let to = folder.path().join("to");
    let (running, stdout) = Running::copy_read([from.path(), &to, Path::new("--json")]);
    drop(stdout);
    let bytes = pattern(mib(2), 1);
    from.deliver(&bytes);
    from.close();
    running.wait(LIMIT).exits(1).says(&["cannot print the report"]);
    assert_eq!(fs::read(&to).expect("the destination"), bytes);
}

/// Signals a command whose events nobody reads until it is gone, and returns what is in the pipe behind what was there before.
fn ends_unread(room: usize, wait_for: impl Fn(&Path) -> bool) -> String {
    const PAGE: usize = 4096;
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(mib(1), 1)).expect("the source");
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    assert_eq!(rustix::pipe::fcntl_setpipe_size(&write, PAGE).expect("its size"), PAGE);
    let before = PAGE - room;
    assert_eq!(rustix::io::write(&write, &vec![b' '; before]).expect("room for this"), before);
    let mut running = Running::start_on(
        bulkio()
            .args(["copy", "--json"])
            .args([&from, &to])
            .stdin(Stdio::null())
            .stdout(Stdio::from(write))
            .stderr(Stdio::piped()),
    );
    let waits = || (running.catches(Signal::INT) && wait_for(&to)).then_some(());
    assert!(within(LIMIT, waits).is_some(), "it never comes so far");
    // The first asks it to stop, the next one ends it.
    let gone = within(PROMPT, || {
        let gone = running.has_ended();
        if !gone {
            running.signal(Signal::INT);
        }
        gone.then_some(())
    });
    assert!(gone.is_some(), "it waits for its reader for ever");
    running.wait(PROMPT).exits(130);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(read), &mut rest).expect("text");
    rest.split_off(before)
}

#[test]
fn a_reader_that_stands_still_does_not_outlive_a_second_signal() {
    // Not even the first line fits.
    assert_eq!(ends_unread(0, Path::exists), "");
    // All is copied, and the last line does not fit.
    let is_copied = |to: &Path| fs::metadata(to).is_ok_and(|to| to.len() == 1 << 20);
    let lines = ends_unread(600, is_copied);
    assert!(lines.starts_with("{\"event\":\"start\"") && lines.lines().count() == 1, "{lines}");
}

#[test]
fn a_command_line_that_cannot_be_understood_has_no_line() {
    let ended = copy(["--json", "--no-such-flag", "a", "b"]);
    ended.exits(2);
    assert_eq!(ended.stdout, "", "{ended:#?}");
}
