//! [`CommandError`]: why a small command has no answer.

use rustix::io::Errno;

use super::sense::Sense;
use super::status::ScsiStatus;

/// Why a command that is no transfer has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The kernel did not take it.
    #[error("{command}: the kernel refused it: {errno}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// It failed.
    #[error("{command}, try {tries}: {status}")]
    Failed {
        /// The command.
        command: &'static str,
        /// How it failed.
        status: ScsiStatus,
        /// The device's sense data, if there was any.
        sense: Option<Sense>,
        /// Which try this was.
        tries: u32,
    },
    /// The answer is too short to be one.
    #[error("{command}: the device answered with {bytes} bytes, {need} are needed")]
    Short {
        /// The command.
        command: &'static str,
        /// How long the answer is.
        bytes: usize,
        /// How long it must be.
        need: usize,
    },
}

impl CommandError {
    /// Returns how the device failed the command, if it did.
    #[must_use]
    pub const fn status(&self) -> Option<ScsiStatus> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Says whether the device does not know the command.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Failed { status, .. } if status.is_unsupported())
    }
}
