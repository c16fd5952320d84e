//! The exit codes, in one table ([`CODES`]), which `--help` and the manual page show.

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
    /// Two ends that were compared differ.
    Differ,
    /// One of several destinations failed, and the others are whole.
    Partial,
    /// Stopped by this signal.
    Signal(u8),
}

impl Exit {
    /// What becomes of it where something beside the copy failed as well: a success is none any more, what is worse stays.
    #[must_use]
    pub(crate) const fn and_failed(self) -> Self {
        match self {
            Self::Done | Self::Lost | Self::Differ | Self::Partial => Self::Failed,
            Self::Failed | Self::Usage | Self::Refused | Self::Signal(_) => self,
        }
    }

    /// The word for it in the report.
    pub(crate) const fn outcome(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage | Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Differ => "differ",
            Self::Partial => "partial",
            Self::Signal(_) => "stopped",
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
            Self::Differ => 5,
            Self::Partial => 6,
            Self::Signal(number) => SIGNAL_BASE.saturating_add(number),
        }
    }
}

/// The table: codes, and what each means.
pub(crate) const CODES: [(&str, &str); 8] = [
    ("0", "done: every byte asked for is at the destination"),
    (
        "1",
        "the transfer failed, perhaps after a part of it, or a digest or verification found wrong bytes; the message says where",
    ),
    ("2", "the command line cannot be understood"),
    ("3", "refused before anything was written"),
    (
        "4",
        "finished, but data was lost: blocks that cannot be read, frames dropped or damaged, xruns; the report lists them",
    ),
    ("5", "bulkio verify: the two ends differ; the result lists where"),
    (
        "6",
        "finished, but not everywhere: of several destinations at least one failed, and the others have every byte; the report says which and why",
    ),
    ("129, 130, 143", "stopped by SIGHUP, SIGINT, SIGTERM; the message says how many bytes are durable"),
];

/// The head of the table.
const HEAD: &str = "Exit codes:";

/// The table as `--help` shows it.
pub(crate) fn table() -> String {
    let lines = CODES.iter().map(|(code, meaning)| format!("\n  {code:<13} {meaning}"));
    std::iter::once(HEAD.to_owned()).chain(lines).collect()
}

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
        let codes = [Exit::Done, Exit::Lost, Exit::Partial, Exit::Refused, Exit::Signal(2)]
            .map(|exit| exit.and_failed().code());
        assert_eq!(codes, [1, 1, 1, 3, 130]);
        assert_eq!(Exit::Lost.code(), 4);
    }

    #[test]
    fn every_code_is_in_the_table() {
        let listed: Vec<&str> = CODES.iter().flat_map(|(code, _)| code.split(", ")).collect();
        let exits =
            [Exit::Done, Exit::Failed, Exit::Usage, Exit::Refused, Exit::Lost, Exit::Differ, Exit::Partial];
        for exit in exits.into_iter().chain([Exit::Signal(1), Exit::Signal(2), Exit::Signal(15)]) {
            assert!(listed.contains(&exit.code().to_string().as_str()), "{exit:?}");
        }
        assert!(table().starts_with("Exit codes:\n  0             done: ") && !table().ends_with('\n'));
    }

    #[test]
    fn signals_end_as_shells_show_them() {
        assert_eq!([1, 2, 15].map(|signal| Exit::Signal(signal).code()), [129, 130, 143]);
    }
}
