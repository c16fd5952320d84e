//! Which failures are refusals: nothing was written.

use super::CopyError;

/// What kind of failure it is, for exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureClass {
    /// Refused before anything was written.
    Refused,
    /// The transfer failed.
    Failed,
}

impl CopyError {
    /// Returns the kind of failure.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Refused(_)
            | Self::Passthrough(_)
            | Self::NoCommands { .. }
            | Self::Probe(_)
            | Self::Option { .. }
            | Self::SkipPastEnd { .. }
            | Self::SeekOnStream { .. }
            | Self::CannotVerify { .. }
            | Self::DirectRequired { .. }
            | Self::DirectIncongruent { .. }
            | Self::CommandsIncongruent { .. }
            | Self::CommandsLayout { .. }
            | Self::DirectLayout { .. }
            | Self::TapeRefused(_)
            | Self::VideoRefused(_)
            | Self::AudioRefused(_)
            | Self::Wav { .. }
            | Self::StreamOption { .. }
            | Self::StreamUnfit { .. }
            | Self::StreamEnds { .. }
            | Self::StreamMemory { .. }
            | Self::NotPlanned { .. }
            | Self::TapeOption { .. }
            | Self::FanOutEnd { .. }
            | Self::FanOutOption { .. }
            | Self::TapeBytes { .. }
            | Self::TapeNotWhole { .. }
            | Self::TapeFilesToOne { .. }
            | Self::RescueKind { .. }
            | Self::RescueStream { .. }
            | Self::RescueDigest
            | Self::RescueSparse
            | Self::SparseDestination { .. }
            | Self::MapNeedsSync
            | Self::Map(_)
            | Self::MapItself { .. }
            | Self::MapLong { .. }
            | Self::MapAhead { .. }
            | Self::MapOther { .. }
            | Self::Memory { .. } => FailureClass::Refused,
            _ => FailureClass::Failed,
        }
    }
}
