//! A test once more in a process of its own: for what changes a process for good, kills it, or is said on standard
//! error.
//!
//! [`Child::of`] starts this test binary with one test and a mark in its environment. In that process it returns `None`,
//! and the test does there what it is about; the caller looks at how that ended.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The test that a child is for.
const MARK: &str = "BULKIO_TEST_CHILD";

/// What a child is told.
const WORD: &str = "BULKIO_TEST_WORD";

/// How long a child may take to say something or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that runs one test. Killed when it is dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    said: Receiver<String>,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// What it wrote to standard error and was not read before.
    pub said: String,
}

impl Child {
    /// Starts the test `name`, its full name as libtest lists it, in a process of its own; `None` in that process.
    pub fn of(name: &str) -> Option<Self> {
        Self::told(name, "")
    }

    /// The same, with a word that the child gets by [`Child::word`].
    pub fn told(name: &str, word: &str) -> Option<Self> {
        if std::env::var_os(MARK).is_some_and(|mark| mark == *name) {
            return None;
        }
        let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
        command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, name).env(WORD, word);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the test binary starts once more");
        let errors = process.stderr.take().expect("a pipe was asked for");
        // A thread of its own, so that a child that does not end cannot block its parent.
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = writeln!(std::io::stderr(), "  child: {line}");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Some(Self { process, said })
    }

    /// In a child, what it was told.
    pub fn word() -> String {
        std::env::var(WORD).unwrap_or_default()
    }

    /// Runs the test `name` in a process of its own and asserts that it passed; says `false` in that process.
    pub fn passes(name: &str) -> bool {
        let Some(child) = Self::of(name) else { return false };
        let ended = child.end();
        assert!(ended.status.success(), "in a process of its own: {}", ended.status);
        true
    }

    /// Waits until the child writes a line to standard error with `text` in it.
    ///
    /// # Panics
    /// If it ends first, or after a minute.
    pub fn wait_said(&self, text: &str) {
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return;
            }
        }
        panic!("the child did not say {text:?}");
    }

    /// Kills the child with a signal that it cannot catch.
    pub fn kill(&mut self) {
        self.process.kill().expect("the child can be killed");
    }

    /// Waits until the child has ended.
    ///
    /// # Panics
    /// After a minute.
    pub fn end(mut self) -> Ended {
        let handle = pidfd_open(Pid::from_child(&self.process), PidfdFlags::empty());
        let handle = handle.expect("a descriptor of the child");
        let timeout = Timespec::try_from(PATIENCE).expect("a time that fits");
        let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout));
        assert_eq!(ready, Ok(1), "the child did not end within {PATIENCE:?}");
        let status = self.process.wait().expect("the child is there");
        let mut said = String::new();
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            said.push_str(&line);
            said.push('\n');
        }
        Ended { status, said }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended, or there is nothing more to do about it.
        let _ = self.process.kill();
    }
}
