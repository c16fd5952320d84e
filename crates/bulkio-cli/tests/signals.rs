//! Signals in the middle of a copy, at a moment that is known: the destination is a FIFO that is read step by
//! step, or the source one that is written step by step.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use support::{Running, assert_same, fifo, pattern, work_dir};

/// More than a pipe and the pool hold.
const LARGE: usize = 48 << 20;

const ENGINES: [&[&str]; 2] = [&[], &["--engine", "blocking"]];

/// Starts a copy of a file to a FIFO, and returns it with the open FIFO once it has begun and stands still.
fn copy_to_stalled_fifo(folder: &Path, data: &[u8], flags: &[&str]) -> (Running, File, Vec<u8>) {
    let (from, to) = (folder.join("from"), folder.join("to"));
    fs::write(&from, data).unwrap();
    fifo(&to);
    let mut words = words!["copy", from, to].to_vec();
    words.extend(flags.iter().map(Into::into));
    let running = Running::start(&words, Stdio::null());
    let mut reader = File::open(&to).unwrap();
    let mut first = vec![0; 100_000];
    reader.read_exact(&mut first).unwrap();
    (running, reader, first)
}

#[test]
fn a_signal_stops_a_copy_to_a_stalled_stream_and_counts_what_went_through() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for engine in ENGINES {
            let folder = work_dir();
            let data = pattern(LARGE, 1);
            let flags = [&["--json"], engine].concat();
            let (running, mut reader, mut read) = copy_to_stalled_fifo(folder.path(), &data, &flags);
            running.signal(signal);
            // Nobody reads meanwhile: it must end all the same.
            let ended = running.end();
            let report = ended.expect_code(code).json();
            assert_eq!(report["interrupted"], true, "{report}");
            assert!(ended.stderr.contains("bulkio: stopped: "), "{}", ended.stderr);
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(report["bytes"], read.len(), "{report}");
            assert_same(&read, &data[..read.len()], "what came out");
        }
    }
}

#[test]
fn a_signal_stops_a_copy_from_a_stalled_stream_and_what_came_is_durable() {
    for engine in ENGINES {
        let folder = work_dir();
        let to = folder.path().join("to");
        let data = pattern(20 << 20, 1);
        let words =
            [&words!["copy", "-", to, "--json"][..], &engine.iter().map(Into::into).collect::<Vec<_>>()];
        let mut running = Running::start(&words.concat(), Stdio::piped());
        let mut stdin = running.child.stdin.take().unwrap();
        stdin.write_all(&data).unwrap();
        running.signal(Signal::INT);
        let report = running.end().expect_code(130).json();
        drop(stdin);
        let bytes = usize::try_from(report["bytes"].as_u64().unwrap()).unwrap();
        // The pipe may hold the last of it, and a request that is not full was not begun to be written.
        assert!(bytes > 0 && bytes <= data.len(), "{report}");
        assert_eq!((&report["durable_bytes"], &report["synced"]), (&bytes.into(), &true.into()), "{report}");
        assert_same(&fs::read(&to).unwrap(), &data[..bytes], "the file");
    }
}

#[test]
fn the_message_of_a_stopped_copy_says_how_much_is_durable() {
    let folder = work_dir();
    let to = folder.path().join("to");
    let mut running = Running::start(&words!["copy", "-", to, "--quiet"], Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(&pattern(20 << 20, 1)).unwrap();
    running.signal(Signal::TERM);
    let ended = running.end();
    ended.expect_code(143);
    drop(stdin);
    let len = fs::metadata(&to).unwrap().len();
    let expected = format!("bulkio: stopped: {len} bytes are copied and durable");
    assert!(ended.stderr.contains(&expected), "{} {expected}", ended.stderr);
}

#[test]
fn sigusr1_prints_one_status_line_and_the_copy_goes_on() {
    for engine in ENGINES {
        let folder = work_dir();
        let data = pattern(LARGE, 1);
        let (running, mut reader, mut read) = copy_to_stalled_fifo(folder.path(), &data, engine);
        for _ in 0..2 {
            running.signal(Signal::USR1);
            let line = running.line_with("bulkio: copied ");
            assert!(line.contains(&format!(" of {LARGE} bytes in ")) && line.contains("MiB/s"), "{line}");
        }
        reader.read_to_end(&mut read).unwrap();
        let ended = running.end();
        ended.expect_code(0);
        assert_eq!(ended.stderr.matches("bulkio: ").count(), 2, "{}", ended.stderr);
        assert_same(&read, &data, "what came out");
    }
}

#[test]
fn a_copy_that_waits_for_its_destination_answers_signals() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, pattern(5000, 1)).unwrap();
    fifo(&to);
    let running = Running::start(&words!["copy", from, to, "--json"], Stdio::null());
    wait_until_signals_are_caught(&running);
    running.signal(Signal::USR1);
    running.line_with("opening source and destination");
    running.signal(Signal::INT);
    let ended = running.end();
    let report = ended.expect_code(130).json();
    assert_eq!((&report["interrupted"], &report["bytes"]), (&true.into(), &0.into()), "{report}");
    assert!(ended.stderr.contains("stopped before the first byte"), "{}", ended.stderr);
}

/// Waits until the command hears signals: before that they would kill it.
fn wait_until_signals_are_caught(running: &Running) {
    let status = format!("/proc/{}/status", running.child.id());
    loop {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        // Bit n - 1 is signal n, proc_pid_status(5): SIGINT, SIGUSR1, SIGTERM.
        let wanted = (1 << 1) | (1 << 9) | (1 << 14);
        if caught & wanted == wanted {
            return;
        }
        std::thread::yield_now();
    }
}
