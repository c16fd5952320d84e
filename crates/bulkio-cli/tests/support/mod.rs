//! Running the real command beside a test that feeds it, reads from it and signals it.
//!
//! Nothing here waits without a limit: a command that hangs fails its test, and is killed when it goes out of scope.
//! Named pipes are opened so that neither side waits for the other, and move bytes only as the test asks.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Pid, Signal};

use crate::common::{skip, storage_dir};

/// More than anything here takes, less than anybody's patience.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How soon a stopped command must be gone.
pub const PROMPT: Duration = Duration::from_secs(10);

const MIB: usize = 1 << 20;

/// The command under test.
pub fn bulkio() -> Command {
    let binary = std::env::var_os("BULKIO_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_bulkio").into());
    let mut command = Command::new(binary);
    // What the user prefers is not what is tested.
    command.env_remove("BULKIO_ENGINE");
    command
}

/// Runs `bulkio copy` to its end.
pub fn copy<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    Running::copy(args).wait(LIMIT)
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Checks the exit status, and shows all that was said when it is another one.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Checks that the messages contain each of these.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    /// Returns the report, the last line of standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// Returns a number of the report.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        self.json()[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {self:#?}"))
    }
}

/// A command that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: [Arc<Mutex<Vec<u8>>>; 2],
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts `bulkio copy`, with nothing on standard input and both outputs collected.
    pub fn copy<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Self {
        Self::start(bulkio().arg("copy").args(args).stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Starts `bulkio copy` that reads standard input from the test.
    pub fn copy_fed<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> (Self, ChildStdin) {
        let mut running =
            Self::start(bulkio().arg("copy").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = running.child.stdin.take().expect("standard input is a pipe");
        (running, stdin)
    }

    /// Starts `bulkio copy` whose standard output the test reads.
    pub fn copy_read<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> (Self, ChildStdout) {
        let mut child = bulkio()
            .arg("copy")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        (Self::collect(child), stdout)
    }

    /// Starts a command whose standard streams the test has set.
    pub fn start_on(command: &mut Command) -> Self {
        Self::collect(command.spawn().expect("the command starts"))
    }

    fn start(command: &mut Command) -> Self {
        Self::collect(command.stderr(Stdio::piped()).spawn().expect("the command starts"))
    }

    fn collect(mut child: Child) -> Self {
        let said: [Arc<Mutex<Vec<u8>>>; 2] = Default::default();
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(gather(stdout, &said[0]));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(gather(stderr, &said[1]));
        }
        Self { child, said, readers }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the command is still there");
    }

    /// Says whether it has a handler for a signal by now.
    pub fn catches(&self, signal: Signal) -> bool {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let mask =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("the signals it catches");
        let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask");
        mask & 1 << (signal.as_raw() - 1) != 0
    }

    /// Says whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    /// Returns what it has printed on standard output so far.
    pub fn stdout_so_far(&self) -> String {
        String::from_utf8_lossy(&self.said[0].lock().expect("no reader panics")).into_owned()
    }

    /// Returns what it has said on standard error so far.
    pub fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.said[1].lock().expect("no reader panics")).into_owned()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> Ended {
        let ended = within(limit, || self.child.try_wait().expect("its status"));
        let Some(status) = ended else {
            panic!("still running after {limit:?}; it said: {}", self.stderr_so_far())
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ends with its pipe");
        }
        let text =
            |i: usize| String::from_utf8_lossy(&self.said[i].lock().expect("no reader panics")).into_owned();
        Ended { status, stdout: text(0), stderr: text(1) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gather(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len) = from.read(&mut buffer) {
            if len == 0 {
                return;
            }
            into.lock().expect("nobody panics with it").extend_from_slice(&buffer[..len]);
        }
    })
}

/// Asks until there is an answer, or `None` after `limit`.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Feeds everything to a pipe from a thread of its own. A reader that goes away ends it.
pub fn feed(mut pipe: ChildStdin, bytes: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        // The command may stop reading: that is often the point.
        let _ = pipe.write_all(&bytes);
    })
}

/// A named pipe, and the test's end of it.
#[derive(Debug)]
pub struct Fifo {
    path: PathBuf,
    end: File,
}

impl Fifo {
    /// Makes a named pipe that the test writes. It does not end before [`Fifo::close`].
    pub fn to_write(path: PathBuf) -> Self {
        Self::make(path, OFlags::RDWR)
    }

    /// Makes a named pipe that the test reads.
    pub fn to_read(path: PathBuf) -> Self {
        Self::make(path, OFlags::RDONLY)
    }

    fn make(path: PathBuf, access: OFlags) -> Self {
        rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a named pipe");
        // Neither waits for the other side: reading does not block, and who reads and writes is both sides.
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let end = rustix::fs::open(&path, flags, Mode::empty()).expect("the named pipe opens");
        Self { path, end: end.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes, and returns when the command has taken every byte.
    #[track_caller]
    pub fn deliver(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(ready(self.end.as_fd(), PollFlags::OUT), "nobody reads: {} bytes left", bytes.len());
            match self.end.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        let empty = || (rustix::io::ioctl_fionread(&self.end).expect("bytes in the pipe") == 0).then_some(());
        assert!(within(LIMIT, empty).is_some(), "the command does not take what is in the pipe");
    }

    /// Reads exactly `len` bytes.
    #[track_caller]
    pub fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            assert!(ready(self.end.as_fd(), PollFlags::IN), "nothing comes after {done} of {len} bytes");
            match self.end.read(&mut bytes[done..]) {
                Ok(0) => panic!("ended after {done} of {len} bytes"),
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        bytes
    }

    /// Reads until every writer is gone. One must have been there.
    #[track_caller]
    pub fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            assert!(ready(self.end.as_fd(), PollFlags::IN), "no end after {} bytes", bytes.len());
            match self.end.read(&mut buffer) {
                Ok(0) => return bytes,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads what is there, without waiting for more.
    pub fn drain_now(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.end.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        bytes
    }

    /// Ends the pipe.
    pub fn close(self) {}
}

fn ready(fd: BorrowedFd<'_>, flags: PollFlags) -> bool {
    let limit = Timespec::try_from(LIMIT).expect("a short time");
    poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&limit)).expect("poll") > 0
}

/// Bytes that repeat at no power of two, so that a misplaced block shows.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Checks equality without printing megabytes.
#[track_caller]
pub fn same(found: &[u8], expected: &[u8]) {
    let first = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!((found.len(), first), (expected.len(), None), "lengths, and the first byte that differs");
}

/// Checks that what was found is the beginning of what was expected.
#[track_caller]
pub fn prefix(found: &[u8], expected: &[u8]) {
    assert!(found.len() <= expected.len(), "{} bytes of {}", found.len(), expected.len());
    same(found, &expected[..found.len()]);
}

/// Returns the engines that work here. The one that does not is skipped by name.
pub fn engines(test: &str) -> Vec<&'static str> {
    let works = |engine: &&str| {
        let folder = storage_dir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "x").expect("a file");
        let ended = copy([from.as_os_str(), to.as_os_str(), "--engine".as_ref(), engine.as_ref()]);
        if !ended.status.success() {
            skip(&format!("{test} ({engine})"), ended.stderr.trim());
        }
        ended.status.success()
    };
    let engines: Vec<&str> = ["threads", "aio", "io_uring"].into_iter().filter(works).collect();
    assert!(engines.contains(&"threads"), "plain calls work everywhere");
    engines
}

/// Returns megabytes in bytes.
pub const fn mib(count: usize) -> usize {
    count * MIB
}
