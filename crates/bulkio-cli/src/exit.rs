//! The exit codes, in one table. `bulkio --help` prints the same.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done: every byte asked for is at the destination |
//! | 1 | the transfer failed; the message says at which byte |
//! | 2 | the command line cannot be understood |
//! | 3 | refused before anything was written |
//! | 130, 143 | stopped by SIGINT, SIGTERM; the message says how many bytes are durable |

use std::process::ExitCode;

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Done,
    Failed,
    Refused,
    /// Stopped by this signal.
    Signal(u8),
}

/// The table as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0         done: every byte asked for is at the destination
  1         the transfer failed; the message says at which byte
  2         the command line cannot be understood
  3         refused before anything was written
  130, 143  stopped by SIGINT, SIGTERM; the message says how many bytes are durable";

/// Added to a signal's number, as shells do.
const SIGNAL_BASE: u8 = 128;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 3,
            Exit::Signal(number) => SIGNAL_BASE.saturating_add(number),
        })
    }
}
