//! Why a probe has no answer.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;
use scatterlist::LimitsError;

/// What a probe was doing when the system refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Finding the path (an `O_PATH` open, which touches no device).
    Find,
    /// Asking for the file's record with `statx(2)`.
    Statx,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Find => "find",
            Self::Statx => "statx",
        })
    }
}

/// Why a probe has no answer. What a probe merely cannot *confirm* is no error: the limit then carries the
/// source [`Default`](scatterlist::Source::Default).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nothing has this name.
    #[error(
        "cannot {operation} {}: {errno}; check the spelling, and that the device is plugged in and has its node",
        .path.display()
    )]
    NotFound {
        /// The path asked for.
        path: PathBuf,
        /// What was being done.
        operation: Operation,
        /// The system's answer.
        errno: Errno,
    },
    /// The caller may not reach it.
    #[error(
        "cannot {operation} {}: {errno}; run as a user who may search every folder of that path",
        .path.display()
    )]
    Denied {
        /// The path asked for.
        path: PathBuf,
        /// What was being done.
        operation: Operation,
        /// The system's answer.
        errno: Errno,
    },
    /// Any other refusal.
    #[error(
        "cannot {operation} {}: {errno}; the same call fails outside of this program too (see statx(2), open(2))",
        .path.display()
    )]
    System {
        /// The path asked for.
        path: PathBuf,
        /// What was being done.
        operation: Operation,
        /// The system's answer.
        errno: Errno,
    },
    /// The kernel's answers contradict each other.
    #[error(
        "the limits that the kernel states for {} contradict each other: {source}; report this with the output of \
         `statx` and of the device's queue folder in /sys",
        .path.display()
    )]
    Contradiction {
        /// The path asked for.
        path: PathBuf,
        /// The contradiction, with its numbers.
        source: LimitsError,
    },
}

impl ProbeError {
    /// Sorts the system's answer into what the user can do about it.
    pub(super) fn of(path: PathBuf, operation: Operation, errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => {
                Self::NotFound { path, operation, errno }
            }
            Errno::ACCESS | Errno::PERM => Self::Denied { path, operation, errno },
            _ => Self::System { path, operation, errno },
        }
    }
}
