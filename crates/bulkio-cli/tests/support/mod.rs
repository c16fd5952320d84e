//! What the command's tests share: running the real binary to its end or step by step, data that tells every
//! block from every other, and ends of all kinds to copy between.
//!
//! Contract: no test hangs (a watchdog ends what runs too long, and the test then fails by its exit status),
//! and none waits for time to pass: they wait for bytes, lines and exits.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

pub mod ends;
pub mod residency;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long one run of the command may take on a slow machine under load.
const RUN_MAX: Duration = Duration::from_secs(120);

/// The bytes of each kind of edge: none, around a sector, around a page, around a request.
pub const EDGE_SIZES: [usize; 10] = [0, 1, 511, 512, 513, 4095, 4096, 4097, (1 << 20) - 1, (1 << 20) + 1];

/// Returns the command under test.
pub fn binary() -> PathBuf {
    std::env::var_os("BULKIO_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_bulkio").into()).into()
}

/// Returns a new folder in `TMPDIR` if that is set and on a disk, else where the library's tests work.
pub fn work_dir() -> TempDir {
    const TMPFS_MAGIC: u64 = 0x0102_1994; // include/uapi/linux/magic.h
    if let Some(parent) = std::env::var_os("TMPDIR").map(PathBuf::from)
        && rustix::fs::statfs(&parent).is_ok_and(|fs| u64::try_from(fs.f_type) != Ok(TMPFS_MAGIC))
        && let Ok(folder) = TempDir::new_in(&parent)
    {
        return folder;
    }
    crate::common::storage_dir().expect("a folder on a disk")
}

/// Returns bytes that differ from block to block, and from those of another seed.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len.next_multiple_of(512));
    let mut random = Random::new(seed);
    let block: Vec<u8> = (0..512).map(|_| random.next().to_le_bytes()[7]).collect();
    let mut number = seed.rotate_left(40);
    while bytes.len() < len {
        let start = bytes.len();
        bytes.extend_from_slice(&block);
        bytes[start..start + 8].copy_from_slice(&number.to_le_bytes());
        number = number.wrapping_add(1);
    }
    bytes.truncate(len);
    bytes
}

/// Numbers that are the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// xorshift64, Marsaglia 2003.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }
}

/// Fails with the first byte that differs, not with megabytes of text.
#[track_caller]
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found == expected {
        return;
    }
    let place = found.iter().zip(expected).position(|(a, b)| a != b);
    panic!("{what}: {} bytes instead of {}, first difference at {place:?}", found.len(), expected.len());
}

/// How a run of the command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// The exit status; `None` when a signal killed the command.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code(), Some(code), "{}; standard error: {}", self.status, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// The one object on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = String::from_utf8(self.stdout.clone()).expect("standard output is text");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} {}", self.stderr))
    }

    /// The object on the last line of standard error, where standard output carries the data.
    #[track_caller]
    pub fn json_on_stderr(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.stderr))
    }
}

/// Runs `bulkio` with these words to its end.
pub fn bulkio<W: AsRef<OsStr>>(words: &[W]) -> Ended {
    Running::start(words, Stdio::null()).end()
}

/// Runs `bulkio` with these words and this standard input to its end.
pub fn bulkio_with_input<W: AsRef<OsStr>>(words: &[W], input: &[u8]) -> Ended {
    let mut running = Running::start(words, Stdio::piped());
    let mut stdin = running.child.stdin.take().expect("a pipe");
    thread::scope(|scope| {
        scope.spawn(move || {
            // The command may end before it has read everything, and says so itself.
            let _ = stdin.write_all(input);
        });
        running.end()
    })
}

/// A command that runs, its outputs being collected.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<String>>,
    lines: mpsc::Receiver<String>,
    watchdog: mpsc::Sender<()>,
}

impl Running {
    pub fn start<W: AsRef<OsStr>>(words: &[W], stdin: Stdio) -> Self {
        let mut command = Command::new(binary());
        command.args(words);
        Self::spawn(command, stdin)
    }

    pub fn spawn(mut command: Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (mut out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).expect("standard output is read");
            bytes
        });
        let (line_sender, lines) = mpsc::channel();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            for line in std::io::BufRead::lines(std::io::BufReader::new(err)) {
                let line = line.expect("standard error is text");
                text += &line;
                text.push('\n');
                // Nobody may be waiting for lines.
                let _ = line_sender.send(line);
            }
            text
        });
        let (watchdog, ended) = mpsc::channel::<()>();
        let pid = pid_of(&child);
        thread::spawn(move || {
            if ended.recv_timeout(RUN_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Self { child, stdout: Some(stdout), stderr: Some(stderr), lines, watchdog }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid_of(&self.child), signal).expect("the command still runs");
    }

    /// Waits for a line on standard error that contains a text.
    #[track_caller]
    pub fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(RUN_MAX).unwrap_or_else(|_| panic!("no line with {part}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    pub fn end(mut self) -> Ended {
        let stdout = self.stdout.take().expect("not ended yet").join().expect("standard output was read");
        let stderr = self.stderr.take().expect("not ended yet").join().expect("standard error was read");
        let status = self.child.wait().expect("the command ends");
        let _ = self.watchdog.send(());
        Ended { status, stdout, stderr }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("not zero")
}

/// Makes a FIFO.
pub fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
}

/// Words of a command line from texts and paths.
#[macro_export]
macro_rules! words {
    ($($word:expr),* $(,)?) => { [$(std::ffi::OsString::from(&$word)),*] };
}
