//! A copy that is told to stop in its middle, asked how far it is, or killed.
//!
//! The middle is exact: a named pipe has delivered so many bytes and then nothing, or has taken some and then none.
//! What the command says it has copied is compared with what arrived.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
#[path = "../../bulkio/tests/faulty/mod.rs"]
mod faulty;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{LoopDevice, storage_dir};
use faulty::{FaultyFs, Rule};
use rustix::process::Signal;
use support::{Fifo, LIMIT, PROMPT, Running, bulkio, copy, engines, mib, pattern, prefix, same, within};

fn start(from: &Path, to: &Path, engine: &str) -> Running {
    Running::copy([
        from.as_os_str(),
        to.as_os_str(),
        OsStr::new("--json"),
        OsStr::new("--engine"),
        OsStr::new(engine),
    ])
}

/// Stops a copy from a pipe that has delivered `len` bytes, and checks that the file has them all.
fn stopped_after(len: usize, signal: Signal, code: i32, engine: &str) {
    let folder = storage_dir().expect("a folder");
    let to = folder.path().join("to");
    let mut from = Fifo::to_write(folder.path().join("from"));
    let bytes = pattern(len, 1);
    let running = start(from.path(), &to, engine);
    from.deliver(&bytes);
    running.signal(signal);
    let ended = running.wait(PROMPT);
    ended.exits(code).says(&["stopped", &format!("{len} bytes"), "durable"]);
    same(&fs::read(&to).expect("the destination"), &bytes);
    assert_eq!(ended.json()["interrupted"], true, "{ended:#?}");
    let len = u64::try_from(len).expect("a small number");
    assert_eq!((ended.number("bytes"), ended.number("durable_bytes")), (len, len), "{ended:#?}");
}

#[test]
fn sigint_keeps_what_a_pipe_has_delivered() {
    for engine in engines("sigint_keeps_what_a_pipe_has_delivered") {
        stopped_after(mib(3), Signal::INT, 130, engine);
    }
}

#[test]
fn sigint_keeps_a_part_of_a_block_too() {
    for engine in engines("sigint_keeps_a_part_of_a_block_too") {
        stopped_after(mib(3) + 1001, Signal::INT, 130, engine);
        stopped_after(1, Signal::INT, 130, engine);
    }
}

#[test]
fn sigterm_is_told_apart() {
    for engine in engines("sigterm_is_told_apart") {
        stopped_after(mib(1), Signal::TERM, 143, engine);
    }
}

#[test]
fn a_terminal_that_goes_away_ends_a_copy_as_sigterm_does() {
    for engine in engines("a_terminal_that_goes_away_ends_a_copy_as_sigterm_does") {
        stopped_after(mib(1) + 7, Signal::HUP, 129, engine);
    }
}

/// Waits until every signal sent before is heard: those that come later are answered. Says whether they were.
fn hears(running: &Running) -> bool {
    (0..2).all(|_| {
        let before = running.stderr_so_far().lines().count();
        running.signal(Signal::USR1);
        within(PROMPT, || (running.stderr_so_far().lines().count() > before).then_some(())).is_some()
    })
}

#[test]
fn the_kernel_and_the_shell_may_both_say_that_the_terminal_is_gone() {
    let test = "the_kernel_and_the_shell_may_both_say_that_the_terminal_is_gone";
    let fs = or_skip!(test, FaultyFs::new(vec![Vec::new()]));
    let to = fs.file(0);
    // What is in flight stays there until the test has seen enough.
    to.add(Rule::writes().hold());
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    // More than may be in flight.
    let bytes = pattern(mib(72), 8);
    fs::write(&from, &bytes).expect("the source");
    let running = start(&from, &to.path(), "threads");
    to.wait_held(1);
    // Who ends the session says so, too.
    let heard = [Signal::HUP, Signal::HUP, Signal::HUP, Signal::TERM].into_iter().all(|signal| {
        running.signal(signal);
        hears(&running)
    });
    to.open_gate();
    let ended = running.wait(PROMPT);
    ended.exits(143).says(&["stopped: "]);
    assert!(heard && !ended.stderr.contains("at once"), "{ended:#?}");
    let len = usize::try_from(ended.number("durable_bytes")).expect("a small number");
    assert!(len > 0, "{ended:#?}");
    same(&to.content()[..len], &bytes[..len]);
}

#[test]
fn a_sighup_that_is_ignored_stays_ignored() {
    let folder = storage_dir().expect("a folder");
    let to = folder.path().join("to");
    let mut from = Fifo::to_write(folder.path().join("from"));
    let bytes = pattern(mib(2) + 3, 9);
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' HUP; exec "$0" copy --json "$@""#]).arg(bulkio().get_program());
    command.arg(from.path()).arg(&to).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::start_on(command.env_remove("BULKIO_ENGINE"));
    from.deliver(&bytes[..mib(1)]);
    assert!(running.catches(Signal::TERM) && !running.catches(Signal::HUP));
    running.signal(Signal::HUP);
    assert!(hears(&running), "{}", running.stderr_so_far());
    from.deliver(&bytes[mib(1)..]);
    from.close();
    let ended = running.wait(LIMIT);
    ended.exits(0);
    same(&fs::read(&to).expect("the destination"), &bytes);
    assert_eq!(ended.json()["interrupted"], false);
}

#[test]
fn sigint_before_the_first_byte_copies_none() {
    for engine in engines("sigint_before_the_first_byte_copies_none") {
        let folder = storage_dir().expect("a folder");
        let (from, to) = (Fifo::to_write(folder.path().join("from")), folder.path().join("to"));
        let running = start(from.path(), &to, engine);
        // The destination is created after the signals are caught.
        assert!(within(LIMIT, || to.exists().then_some(())).is_some());
        running.signal(Signal::INT);
        let ended = running.wait(PROMPT);
        ended.exits(130);
        assert_eq!(fs::metadata(&to).map_or(0, |to| to.len()), 0);
        assert_eq!(ended.number("bytes"), 0);
    }
}

#[test]
fn sigint_does_not_wait_for_a_reader_that_stands_still() {
    for engine in engines("sigint_does_not_wait_for_a_reader_that_stands_still") {
        for block in ["1M", "4096", "100000"] {
            let folder = storage_dir().expect("a folder");
            let from = folder.path().join("from");
            let bytes = pattern(mib(24), 2);
            fs::write(&from, &bytes).expect("the source");
            let mut to = Fifo::to_read(folder.path().join("to"));
            let running = Running::copy([
                from.as_os_str(),
                to.path().as_os_str(),
                OsStr::new("--json"),
                OsStr::new("--engine"),
                OsStr::new(engine),
                OsStr::new("--bs"),
                OsStr::new(block),
            ]);
            let mut received = to.receive(1000);
            running.signal(Signal::INT);
            let ended = running.wait(PROMPT);
            ended.exits(130).says(&["stopped"]);
            received.extend(to.drain());
            prefix(&received, &bytes);
            let told = usize::try_from(ended.number("bytes")).expect("a small number");
            assert_eq!(told, received.len(), "{engine}, blocks of {block}: {ended:#?}");
            ended.says(&[&format!("{told} bytes")]);
            assert_eq!(ended.json()["interrupted"], true);
            assert_eq!(ended.number("durable_bytes"), 0, "a pipe keeps nothing");
        }
    }
}

#[test]
fn sigint_while_a_named_pipe_waits_for_its_other_side() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &from, 0o600.into()).expect("a named pipe");
    let running = start(&from, &to, "auto");
    assert!(within(LIMIT, || running.catches(Signal::INT).then_some(())).is_some(), "it never listens");
    running.signal(Signal::INT);
    let ended = running.wait(PROMPT);
    ended.exits(130).says(&["stopped before the first byte"]);
    assert!(!to.exists(), "nothing was begun");
}

#[test]
fn sigint_keeps_what_a_disk_has_taken() {
    let test = "sigint_keeps_what_a_disk_has_taken";
    let disk = or_skip!(test, LoopDevice::new(8 << 20, 512));
    for engine in engines(test) {
        let folder = storage_dir().expect("a folder");
        let before = pattern(mib(8), 3);
        fs::write(disk.node(), &before).expect("the disk's old bytes");
        let mut from = Fifo::to_write(folder.path().join("from"));
        let bytes = pattern(mib(3) + 777, 4);
        let running = start(from.path(), disk.node(), engine);
        from.deliver(&bytes);
        running.signal(Signal::INT);
        let ended = running.wait(PROMPT);
        ended.exits(130);
        assert_eq!(ended.number("durable_bytes"), u64::try_from(bytes.len()).expect("a small number"));
        let after = fs::read(disk.node()).expect("the disk");
        same(&after[..bytes.len()], &bytes);
        same(&after[bytes.len()..], &before[bytes.len()..]);
    }
}

#[test]
fn sigusr1_says_how_far_it_is_and_stops_nothing() {
    for engine in engines("sigusr1_says_how_far_it_is_and_stops_nothing") {
        let folder = storage_dir().expect("a folder");
        let to = folder.path().join("to");
        let mut from = Fifo::to_write(folder.path().join("from"));
        let bytes = pattern(mib(5) + 3, 5);
        let running = start(from.path(), &to, engine);
        from.deliver(&bytes[..mib(3)]);
        // Read is not yet written: ask until it is.
        let told = within(LIMIT, || {
            running.signal(Signal::USR1);
            running.stderr_so_far().contains("3145728").then_some(())
        });
        assert!(told.is_some(), "{}", running.stderr_so_far());
        from.deliver(&bytes[mib(3)..]);
        from.close();
        let ended = running.wait(LIMIT);
        ended.exits(0).says(&["3145728 bytes"]);
        same(&fs::read(&to).expect("the destination"), &bytes);
        assert_eq!(ended.json()["interrupted"], false);
    }
}

/// Checks that it began, and said no more.
#[track_caller]
fn claims_nothing(ended: &support::Ended) {
    let events: Vec<_> = ended.stdout.lines().collect();
    assert!(matches!(events[..], [start] if start.contains("\"event\":\"start\"")), "{ended:#?}");
    assert_eq!(ended.stderr, "", "it claims something");
}

#[test]
fn sigkill_claims_nothing_and_the_next_run_works() {
    for engine in engines("sigkill_claims_nothing_and_the_next_run_works") {
        let folder = storage_dir().expect("a folder");
        let to = folder.path().join("to");
        let mut from = Fifo::to_write(folder.path().join("from"));
        let bytes = pattern(mib(6) + 5, 6);
        let running = start(from.path(), &to, engine);
        from.deliver(&bytes[..mib(4)]);
        running.signal(Signal::KILL);
        let ended = running.wait(PROMPT);
        assert_eq!(ended.status.code(), None, "{ended:#?}");
        claims_nothing(&ended);
        let whole = folder.path().join("whole");
        fs::write(&whole, &bytes).expect("the source");
        copy([&whole, &to]).exits(0);
        same(&fs::read(&to).expect("the destination"), &bytes);
    }
}

#[test]
fn sigkill_leaves_a_disk_free_for_the_next_run() {
    let test = "sigkill_leaves_a_disk_free_for_the_next_run";
    let disk = or_skip!(test, LoopDevice::new(8 << 20, 4096));
    for engine in engines(test) {
        let folder = storage_dir().expect("a folder");
        let mut from = Fifo::to_write(folder.path().join("from"));
        let bytes = pattern(mib(8), 7);
        let running = start(from.path(), disk.node(), engine);
        from.deliver(&bytes[..mib(4)]);
        running.signal(Signal::KILL);
        let ended = running.wait(PROMPT);
        claims_nothing(&ended);
        let whole = folder.path().join("whole");
        fs::write(&whole, &bytes).expect("the source");
        // Nobody may hold the disk any more: no --force here.
        copy([whole.as_path(), disk.node()]).exits(0);
        same(&fs::read(disk.node()).expect("the disk"), &bytes);
    }
}
