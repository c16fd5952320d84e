//! What goes between the host and the guest: the [`Plan`], a file that the guest reads, and [`Message`]s, which the guest writes
//! to its report port between the lines that the tests print.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::test::{Skip, skip_line};

/// The name of the virtio-serial port that the guest reports through.
pub(super) const PORT: &str = "lab.report";

/// A word of the kernel's command line by which the guest's program knows that it is in the guest.
pub(super) const MARK: &str = "bulkio_lab";

/// What the guest does, in this order.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Plan {
    /// The group, and the value of `BULKIO_LAB` for set-up and tests.
    pub(super) group: String,
    /// The host's folder that has one folder of modules for each kernel.
    pub(super) modules_folder: PathBuf,
    /// Modules to load, each with its parameters.
    pub(super) modules: Vec<String>,
    /// Folders at which the disk for test files is mounted, below the folders that the host has.
    pub(super) disk_at: Vec<PathBuf>,
    /// A shell script that makes the devices.
    pub(super) setup: String,
    /// The command, as `BULKIO_BIN` for tests.
    pub(super) command: PathBuf,
    pub(super) tests: Vec<PlannedTests>,
    /// A prompt in place of tests, with these rows and columns.
    pub(super) prompt: Option<(u16, u16)>,
}

/// One run of a test binary.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct PlannedTests {
    pub(super) title: String,
    pub(super) binary: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) limit_s: u64,
}

/// What the guest says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Message {
    /// The guest is there.
    Up,
    /// Devices are there, and what follows are tests.
    Ready,
    /// The lines that follow are of this test binary.
    Begin(String),
    /// A test did not run.
    Skipped(Skip),
    /// The binary ended well.
    Ended,
    /// The binary ended in another way.
    EndedBadly(String),
    /// Something that is no test went wrong.
    Fault(String),
    /// There is nothing more to do.
    Done,
}

const PREFIX: &str = "lab-guest: ";

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Up => f.write_str("up"),
            Self::Ready => f.write_str("ready"),
            Self::Begin(title) => write!(f, "begin {title}"),
            Self::Skipped(Skip { name, reason }) => write!(f, "skipped {name}: {reason}"),
            Self::Ended => f.write_str("ended"),
            Self::EndedBadly(how) => write!(f, "ended badly: {how}"),
            Self::Fault(what) => write!(f, "fault {}", what.replace('\n', " | ")),
            Self::Done => f.write_str("done"),
        }
    }
}

impl Message {
    /// Reads a line of the port; `None` where it is one of a test.
    pub(super) fn read(line: &str) -> Option<Self> {
        let text = line.strip_prefix(PREFIX)?;
        Some(match text {
            "up" => Self::Up,
            "ready" => Self::Ready,
            "ended" => Self::Ended,
            "done" => Self::Done,
            _ => {
                let (word, rest) = text.split_once(' ')?;
                match word {
                    "begin" => Self::Begin(rest.to_owned()),
                    "skipped" => Self::Skipped(skip_line(rest)?),
                    "ended" => Self::EndedBadly(rest.strip_prefix("badly: ")?.to_owned()),
                    "fault" => Self::Fault(rest.to_owned()),
                    _ => return None,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let skip = Skip { name: "a::b".into(), reason: "no disk: none".into() };
        for message in [
            Message::Up,
            Message::Ready,
            Message::Begin("bulkio probe".into()),
            Message::Skipped(skip),
            Message::Ended,
            Message::EndedBadly("exit status: 101".into()),
            Message::Fault("set-up failed".into()),
            Message::Done,
        ] {
            assert_eq!(Message::read(&message.to_string()), Some(message));
        }
        assert_eq!(Message::read("test a ... ok"), None);
        assert_eq!(Message::Fault("two\nlines".into()).to_string(), "lab-guest: fault two | lines");
    }
}
