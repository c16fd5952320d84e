//! Exit statuses, the same for every command.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done: everything that was asked for, durable unless `--no-sync` |
//! | 1 | failed: the transfer (or the probe) did not do all of it |
//! | 2 | usage: the command line was not understood, nothing was touched |
//! | 3 | refused: a check failed before anything was written |
//! | 130 | interrupted by SIGINT; the report says how many bytes are durable |
//! | 143 | terminated by SIGTERM; likewise |

use std::process::ExitCode;

use bulkio::copy::FailureClass;
use signal_hook::consts::SIGTERM;

/// The table above, for `--help`.
pub(crate) const HELP: &str = "\
Exit status:
  0    done, and durable unless --no-sync
  1    the transfer failed
  2    the command line was not understood; nothing was touched
  3    refused before anything was written
  130  interrupted by SIGINT; the report says how many bytes are durable
  143  terminated by SIGTERM; likewise";

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    Refused,
    /// By the signal with this number.
    Signal(i32),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            // Shells show death by a signal as 128 and its number.
            Self::Signal(number) => u8::try_from(number).unwrap_or(0).saturating_add(128),
        }
    }

    /// The stable name of what went wrong, as in JSON.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Signal(_) => "interrupted",
        }
    }

    /// The name of a signal that stops a copy.
    pub(crate) const fn signal_name(number: i32) -> &'static str {
        if number == SIGTERM { "SIGTERM" } else { "SIGINT" }
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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_exit_as_shells_show_them() {
        assert_eq!(Exit::Signal(2).status(), 130);
        assert_eq!(Exit::Signal(15).status(), 143);
        assert_eq!(Exit::Signal(i32::MAX).status(), 128);
    }

    #[test]
    fn help_names_every_status() {
        for status in
            [Exit::Done, Exit::Failed, Exit::Usage, Exit::Refused, Exit::Signal(2), Exit::Signal(15)]
        {
            assert!(HELP.contains(&format!("\n  {} ", status.status())), "{status:?}");
        }
    }
}
