//! What keeps from overwriting the wrong disk: what is expected of it, and the question on a terminal.
//!
//! Terminals are pairs of pseudo terminals, also as that of a session of its own, disks loop devices. The serial numbers that they lack are in the lab.

mod common;
mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::{LoopDevice, storage_dir};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Ended, LIMIT, PROMPT, Running, bulkio, copy, feed, pattern, same, within};
use tempfile::TempDir;

const LEN: usize = 1 << 20;

/// A disk with a file system, or what looks like one, and something to copy to it.
struct Desk {
    disk: LoopDevice,
    folder: TempDir,
}

impl Desk {
    fn new() -> Result<Self, String> {
        let desk = Self { disk: LoopDevice::new(LEN as u64, 512)?, folder: storage_dir()? };
        fs::write(desk.folder.path().join("from"), pattern(5000, 1)).expect("the source");
        fs::write(desk.disk.node(), Self::before()).expect("the disk's old bytes");
        Ok(desk)
    }

    /// Linux, fs/xfs/libxfs/xfs_format.h: the mark of XFS, and a label.
    fn before() -> Vec<u8> {
        let mut bytes = pattern(LEN, 2);
        bytes[..4].copy_from_slice(b"XFSB");
        bytes[108..120].copy_from_slice(b"photos\0\0\0\0\0\0");
        bytes
    }

    #[track_caller]
    fn is_unchanged(&self) {
        same(&fs::read(self.disk.node()).expect("the disk"), &Self::before());
    }

    #[track_caller]
    fn is_overwritten(&self) {
        let mut expected = Self::before();
        expected[..5000].copy_from_slice(&pattern(5000, 1));
        same(&fs::read(self.disk.node()).expect("the disk"), &expected);
    }

    /// Starts a copy to the disk on a terminal.
    fn on_terminal(&self, flags: &[&str]) -> OnTerminal {
        OnTerminal::start(&self.folder.path().join("from"), self.disk.node(), flags)
    }
}

/// A copy whose standard input and standard error are a terminal.
struct OnTerminal {
    running: Running,
    typing: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl OnTerminal {
    fn start(from: &Path, to: &Path, flags: &[&str]) -> Self {
        let mut command = bulkio();
        command.arg("copy").arg(from).arg(to).args(flags);
        Self::start_on(command)
    }

    /// Starts a script for a shell whose session has the terminal: `$0` is the command, `$1` the source, `$2` the disk.
    fn session(script: &str, from: &Path, to: &Path) -> Self {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script]).arg(bulkio().get_program()).arg(from).arg(to);
        command.env_remove("BULKIO_ENGINE");
        Self::start_on(command)
    }

    fn start_on(mut command: Command) -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("granted");
        unlockpt(&ours).expect("unlocked");
        let name = ptsname(&ours, Vec::new()).expect("its name");
        let flag = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs: File = rustix::fs::open(name, flag, Mode::empty()).expect("the other side").into();
        command.stdin(theirs.try_clone().expect("a copy")).stderr(theirs).stdout(Stdio::null());
        let running = Running::start_on(&mut command);
        // It holds the other side open: with it gone, reading ends with an error.
        drop(command);
        let typing = File::from(ours);
        let (mut shown, screen) = (typing.try_clone().expect("a copy"), Arc::<Mutex<Vec<u8>>>::default());
        let into = Arc::clone(&screen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = shown.read(&mut buffer) {
                into.lock().expect("nobody panics with it").extend_from_slice(&buffer[..len]);
            }
        });
        Self { running, typing, screen, reader }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no reader panics")).into_owned()
    }

    /// Waits for the question, and returns what is shown before it.
    #[track_caller]
    fn asked(&self) -> String {
        let asked = within(LIMIT, || self.shown().contains("overwrite it? [y/N] ").then_some(()));
        assert!(asked.is_some(), "{}", self.shown());
        self.shown()
    }

    fn types(&mut self, answer: &str) {
        self.typing.write_all(answer.as_bytes()).expect("the terminal takes it");
    }

    /// Waits for the end, and for what was shown until then.
    fn ends(self) -> (Ended, String) {
        let Self { running, typing: _typing, screen, reader } = self;
        let ended = running.wait(LIMIT);
        // The reader may be behind. With nobody left on the other side it comes to an end.
        assert!(
            within(PROMPT, || reader.is_finished().then_some(())).is_some(),
            "the terminal is still used"
        );
        let shown = String::from_utf8_lossy(&screen.lock().expect("no reader panics")).into_owned();
        (ended, shown)
    }
}

#[test]
fn anything_but_yes_leaves_the_disk_as_it_is() {
    let test = "anything_but_yes_leaves_the_disk_as_it_is";
    let desk = or_skip!(test, Desk::new());
    for answer in ["n\n", "\n", "yes please\n", "\x04"] {
        let mut copy = desk.on_terminal(&[]);
        let shown = copy.asked();
        for part in [desk.disk.node().to_str().expect("text"), "1.0 MiB (1048576 bytes)", "XFS \"photos\""] {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
        copy.types(answer);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(3), "{answer:?}: {shown}");
        assert!(shown.contains("is left as it is: it holds XFS"), "{shown}");
        desk.is_unchanged();
    }
}

#[test]
fn a_yes_overwrites_the_disk() {
    let desk = or_skip!("a_yes_overwrites_the_disk", Desk::new());
    for answer in ["y\n", "Yes\n"] {
        fs::write(desk.disk.node(), Desk::before()).expect("the disk's old bytes");
        let mut copy = desk.on_terminal(&[]);
        copy.asked();
        copy.types(answer);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(0), "{shown}");
        desk.is_overwritten();
    }
}

#[test]
fn the_disk_is_held_while_somebody_thinks() {
    let desk = or_skip!("the_disk_is_held_while_somebody_thinks", Desk::new());
    let mut copy = desk.on_terminal(&[]);
    copy.asked();
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let claimed = rustix::fs::open(desk.disk.node(), flags, Mode::empty());
    assert_eq!(claimed.err(), Some(rustix::io::Errno::BUSY));
    copy.types("n\n");
    assert_eq!(copy.ends().0.status.code(), Some(3));
}

#[test]
fn a_signal_is_an_answer_too() {
    let desk = or_skip!("a_signal_is_an_answer_too", Desk::new());
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let copy = desk.on_terminal(&[]);
        copy.asked();
        copy.running.signal(signal);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(code), "{shown}");
        desk.is_unchanged();
    }
}

#[test]
fn nobody_is_asked_who_said_yes_or_reads_json() {
    let desk = or_skip!("nobody_is_asked_who_said_yes_or_reads_json", Desk::new());
    for flag in ["--yes", "-y", "--json"] {
        fs::write(desk.disk.node(), Desk::before()).expect("the disk's old bytes");
        let (ended, shown) = desk.on_terminal(&[flag]).ends();
        assert!(ended.status.success() && !shown.contains("overwrite it?"), "{flag}: {shown}");
        desk.is_overwritten();
    }
}

#[test]
fn an_empty_disk_and_a_file_are_never_in_the_way() {
    let desk = or_skip!("an_empty_disk_and_a_file_are_never_in_the_way", Desk::new());
    fs::write(desk.disk.node(), vec![0; LEN]).expect("zeros");
    let file = desk.folder.path().join("image");
    fs::write(&file, Desk::before()).expect("an image");
    for to in [desk.disk.node(), &file] {
        let (ended, shown) = OnTerminal::start(&desk.folder.path().join("from"), to, &[]).ends();
        assert!(ended.status.success() && !shown.contains("overwrite it?"), "{shown}");
        assert!(!shown.contains("overwrote"), "{shown}");
    }
    assert_eq!(fs::read(&file).expect("the file"), pattern(5000, 1));
}

#[test]
fn a_terminal_that_is_the_source_cannot_answer() {
    let desk = or_skip!("a_terminal_that_is_the_source_cannot_answer", Desk::new());
    let (ended, shown) = OnTerminal::start(Path::new("-"), desk.disk.node(), &[]).ends();
    assert_eq!(ended.status.code(), Some(3), "{shown}");
    assert!(shown.contains("--yes"), "{shown}");
    desk.is_unchanged();
}

/// A pipe is copied to the disk, in the foreground and in the background.
const PIPED: &str = r#"cat "$1" | "$0" copy - "$2""#;
const PIPED_BEHIND: &str = r#"set -m; cat "$1" | "$0" copy - "$2" & until jobs > "$1.jobs"; grep -q Stopped "$1.jobs"; do :; done; echo stopped > /dev/tty; fg"#;
/// Whoever fills the pipe has a question of its own.
const PIPED_ASKING: &str = r#"{ printf 'password? ' > /dev/tty; read -r word < /dev/tty; [ "$word" = secret ] && cat "$1"; } | "$0" copy - "$2""#;
/// Standard error goes elsewhere.
const LOGGED: &str = r#""$0" copy "$1" "$2" 2> /dev/null"#;

#[test]
fn who_sits_at_the_terminal_is_asked_although_a_pipe_is_copied() {
    let desk = or_skip!("who_sits_at_the_terminal_is_asked_although_a_pipe_is_copied", Desk::new());
    let from = desk.folder.path().join("from");
    for answer in ["n\n", "\n", "\x04"] {
        let mut copy = OnTerminal::session(PIPED, &from, desk.disk.node());
        assert!(copy.asked().contains("XFS \"photos\""), "{}", copy.shown());
        desk.is_unchanged();
        copy.types(answer);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(3), "{answer:?}: {shown}");
        assert!(shown.contains("is left as it is: it holds XFS"), "{shown}");
        desk.is_unchanged();
    }
    let mut copy = OnTerminal::session(PIPED, &from, desk.disk.node());
    copy.asked();
    copy.types("y\n");
    let (ended, shown) = copy.ends();
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    desk.is_overwritten();
}

#[test]
fn a_copy_in_the_background_waits_until_it_is_brought_to_the_front() {
    let test = "a_copy_in_the_background_waits_until_it_is_brought_to_the_front";
    let desk = or_skip!(test, Desk::new());
    let from = desk.folder.path().join("from");
    for (answer, code) in [("n\n", 3), ("y\n", 0)] {
        let mut copy = OnTerminal::session(PIPED_BEHIND, &from, desk.disk.node());
        let stopped = || copy.shown().contains("stopped").then_some(());
        assert!(within(LIMIT, stopped).is_some(), "{}", copy.shown());
        desk.is_unchanged();
        copy.asked();
        copy.types(answer);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(code), "{shown}");
    }
    desk.is_overwritten();
}

#[test]
fn whoever_fills_the_pipe_may_ask_first() {
    let desk = or_skip!("whoever_fills_the_pipe_may_ask_first", Desk::new());
    let from = desk.folder.path().join("from");
    let mut copy = OnTerminal::session(PIPED_ASKING, &from, desk.disk.node());
    let asked = || copy.shown().contains("password? ").then_some(());
    assert!(within(LIMIT, asked).is_some(), "{}", copy.shown());
    copy.types("secret\n");
    let shown = copy.asked();
    assert!(shown.contains("secret"), "the password was taken first: {shown}");
    desk.is_unchanged();
    copy.types("y\n");
    let (ended, shown) = copy.ends();
    assert_eq!(ended.status.code(), Some(0), "{shown}");
    desk.is_overwritten();
}

#[test]
fn who_keeps_a_log_is_asked_too() {
    let desk = or_skip!("who_keeps_a_log_is_asked_too", Desk::new());
    let from = desk.folder.path().join("from");
    for (answer, code) in [("n\n", 3), ("y\n", 0)] {
        let mut copy = OnTerminal::session(LOGGED, &from, desk.disk.node());
        copy.asked();
        desk.is_unchanged();
        copy.types(answer);
        let (ended, shown) = copy.ends();
        assert_eq!(ended.status.code(), Some(code), "{shown}");
    }
    desk.is_overwritten();
}

#[test]
fn without_a_terminal_it_says_what_it_overwrites_before_it_does() {
    let test = "without_a_terminal_it_says_what_it_overwrites_before_it_does";
    let desk = or_skip!(test, Desk::new());
    let (running, stdin) = Running::copy_fed([Path::new("-"), desk.disk.node()]);
    let said = || running.stderr_so_far().contains("XFS \"photos\"").then_some(());
    assert!(within(LIMIT, said).is_some(), "it says nothing");
    desk.is_unchanged();
    let feeder = feed(stdin, pattern(5000, 1));
    let ended = running.wait(LIMIT);
    feeder.join().expect("the feeder ends with its pipe");
    ended.exits(0).says(&["is about to be overwritten:", "note: overwrote: XFS"]);
    desk.is_overwritten();
    fs::write(desk.disk.node(), Desk::before()).expect("the disk's old bytes");
    let from = desk.folder.path().join("from");
    let quiet = |flag| copy([from.as_path(), desk.disk.node(), Path::new("--quiet"), Path::new(flag)]);
    quiet("--no-truncate").exits(0).says(&["is about to be overwritten:"]);
    for flag in ["--yes", "--json"] {
        fs::write(desk.disk.node(), Desk::before()).expect("the disk's old bytes");
        assert_eq!(quiet(flag).exits(0).stderr, "", "{flag}");
    }
}

#[test]
fn scripts_are_asked_nothing_and_told_what_was_overwritten() {
    let desk = or_skip!("scripts_are_asked_nothing_and_told_what_was_overwritten", Desk::new());
    let from = desk.folder.path().join("from");
    let ended = copy([from.as_path(), desk.disk.node()]);
    ended.exits(0).says(&["note: overwrote: XFS \"photos\""]);
    desk.is_overwritten();
    fs::write(desk.disk.node(), Desk::before()).expect("the disk's old bytes");
    let ended = copy([from.as_path(), desk.disk.node(), Path::new("--json")]);
    assert_eq!(ended.exits(0).json()["notes"][0], "overwrote: XFS \"photos\"", "{ended:#?}");
}

#[test]
fn a_disk_of_another_size_is_refused() {
    let desk = or_skip!("a_disk_of_another_size_is_refused", Desk::new());
    let from = desk.folder.path().join("from");
    let expect = |to: &Path, flag: &str, value: &str| {
        copy([from.as_os_str(), to.as_os_str(), flag.as_ref(), value.as_ref()])
    };
    let node = desk.disk.node();
    expect(node, "--expect-size", "2M").exits(3).says(&["its size is 1048576 bytes", "not 2097152 bytes"]);
    // A loop device has no serial number.
    expect(node, "--expect-serial", "S1").exits(3).says(&["its serial number is none", "not S1"]);
    desk.is_unchanged();
    expect(node, "--expect-size", "1M").exits(0);
    desk.is_overwritten();
    let file = desk.folder.path().join("file");
    for flag in ["--expect-size", "--expect-serial"] {
        expect(&file, flag, "5000").exits(3).says(&["is not the disk that was expected"]);
        assert!(!file.exists(), "a refused copy leaves no file");
        expect(Path::new("-"), flag, "5000").exits(3).says(&["standard output"]);
    }
    expect(node, "--expect-serial", " ").exits(2).says(&["no serial number"]);
}

#[test]
fn file_systems_of_real_tools_are_found() {
    let test = "file_systems_of_real_tools_are_found";
    let disk = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    fs::write(&from, pattern(1000, 1)).expect("the source");
    let cases: [(&str, &[&str], &str); 4] = [
        ("mkfs.ext2", &["-q", "-L", "two"], "ext2 \"two\""),
        ("mkfs.ext3", &["-q", "-L", "three"], "ext3 \"three\""),
        ("mkfs.ext4", &["-q", "-L", "four"], "ext4 \"four\""),
        ("mkswap", &["-L", "five"], "swap \"five\""),
    ];
    for (program, flags, expected) in cases {
        fs::write(disk.node(), vec![0; 1 << 20]).expect("zeros");
        match Command::new(program).args(flags).arg(disk.node()).output() {
            Ok(output) => assert!(output.status.success(), "{program}: {output:?}"),
            Err(error) => {
                common::skip(&format!("{test} ({program})"), &error.to_string());
                continue;
            }
        }
        let ended =
            copy([from.as_path(), disk.node(), Path::new("--json"), Path::new("--seek"), Path::new("8M")]);
        assert_eq!(ended.exits(0).json()["notes"][0], format!("overwrote: {expected}"), "{ended:#?}");
    }
}
