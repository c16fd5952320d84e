//! The exit codes, in one table. `bulkio --help` prints the same.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done: every byte asked for is at the destination |
//! | 1 | the transfer failed; the message says at which byte |
//! | 2 | the command line cannot be understood |
//! | 3 | refused before anything was written |
//! | 4 | finished, but data was lost: frames dropped or damaged, xruns; the report lists them |
//! | 130, 143 | stopped by SIGINT, SIGTERM; the message says how many bytes are durable |

use std::process::ExitCode;

use bulkio::copy::FailureClass;

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Refused,
    /// A device with a clock lost something that the copy could do nothing about.
    Lost,
    /// Stopped by this signal.
    Signal(u8),
}

impl Exit {
    /// What becomes of it where something beside the copy failed as well: a success is none any more, what is worse stays.
    #[must_use]
    pub(crate) const fn and_failed(self) -> Self {
        match self {
            Self::Done | Self::Lost => Self::Failed,
            Self::Failed | Self::Usage | Self::Refused | Self::Signal(_) => self,
        }
    }

    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Lost => 4,
            Self::Signal(number) => SIGNAL_BASE.saturating_add(number),
        }
    }
}

/// The table as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0         done: every byte asked for is at the destination
  1         the transfer failed; the message says at which byte
  2         the command line cannot be understood
  3         refused before anything was written
  4         finished, but data was lost: frames dropped or damaged, xruns; the report lists them
  130, 143  stopped by SIGINT, SIGTERM; the message says how many bytes are durable";

/// Added to a signal's number, as shells do.
const SIGNAL_BASE: u8 = 128;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<FailureClass> for Exit {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Refused => Self::Refused,
            FailureClass::Failed => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worse_stays() {
        let codes =
            [Exit::Done, Exit::Lost, Exit::Refused, Exit::Signal(2)].map(|exit| exit.and_failed().code());
        assert_eq!(codes, [1, 1, 3, 130]);
        assert_eq!(Exit::Lost.code(), 4);
    }

    #[test]
    fn signals_end_as_shells_show_them() {
        assert_eq!((Exit::Signal(2).code(), Exit::Signal(15).code()), (130, 143));
    }
}
