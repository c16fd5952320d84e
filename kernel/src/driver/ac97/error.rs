//! Errors of the driver: one enum for bringing the controller up, one for a request, one for what plays.

use scatterlist::desc::ac97::{CurrentError, ListError, PushError};
use scatterlist::map::{MapError, PrepareError, TargetError};
use scatterlist::{LimitsError, StackError};

use super::pieces::PieceError;
use super::registers::RegistersError;
use crate::refused::Retry;

/// Why the controller is not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The codec or the engine.
    #[error(transparent)]
    Registers(#[from] RegistersError),
    /// The number of channels.
    #[error("the channels: {0}")]
    Channels(#[from] LimitsError),
    /// The limits of the bus and those of the list together.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no memory for the list.
    #[error("the list: {0}")]
    Memory(#[from] MapError),
    /// The memory of the list does not do.
    #[error(transparent)]
    List(#[from] ListError),
}

/// Why a request is not played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// It reads.
    #[error("a loudspeaker gives nothing back")]
    Direction,
    /// It has a position.
    #[error("a stream has no positions")]
    Position,
    /// As many requests as may wait are waiting.
    #[error("{waiting} requests are waiting, {max} may")]
    Full {
        /// How many are.
        waiting: usize,
        /// How many may.
        max: usize,
    },
    /// The engine is down: it did not stop when it was told to.
    #[error("the engine is down")]
    Down,
    /// It breaks a limit, or something is short.
    #[error(transparent)]
    Prepare(#[from] PrepareError<PieceError>),
}

impl PlayError {
    /// Says whether the same request may be taken later.
    pub(super) const fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } | Self::Prepare(PrepareError::Map(MapError::Shortage { .. })) => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// What is wrong with the controller: it has to be [stopped](super::Ac97::stop).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// It says that it plays what is not queued.
    #[error(transparent)]
    Current(#[from] CurrentError),
    /// A piece of a request is no entry. The limits of the target should have kept it away.
    #[error("a piece is no entry: {0}")]
    Piece(#[from] PushError),
    /// The engine is down.
    #[error("the engine is down")]
    Down,
}
