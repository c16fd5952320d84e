//! Errors of the driver: one enum for bringing the device up, one for a request, one for what comes back.

use scatterlist::desc::virtqueue::{QueueError, UsedError};
use scatterlist::map::{MapError, PoolError, PrepareError, TargetError};

use super::chain::ChainError;
use super::facts::FactsError;
use super::transport::TransportError;
use crate::block::Retry;

/// Why the device is not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The transport, or what the device does with it.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What the device says of itself.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The limits of the bus and the device together.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The pool of frames.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// There is no memory for the rings.
    #[error("the rings: {0}")]
    Rings(#[source] MapError),
    /// The memory of the rings does not do.
    #[error("the rings: {0}")]
    Queue(#[from] QueueError),
    /// After a reset the device is another.
    #[error("after its reset the device says other things of itself: {capacity} bytes, {was} before")]
    Changed {
        /// Its capacity in bytes.
        capacity: u64,
        /// What it was.
        was: u64,
    },
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// A write to a device that can only be read.
    #[error("the device can only be read")]
    ReadOnly,
    /// A request for a stream.
    #[error("a request of a block device needs a position")]
    NoPosition,
    /// The device is down: a reset failed.
    #[error("the device is down")]
    Down,
    /// It breaks a limit, something is short, or the queue is full.
    #[error(transparent)]
    Prepare(#[from] PrepareError<ChainError>),
}

impl SubmitError {
    /// Says whether the same request may be taken later.
    pub(super) const fn retry(&self) -> Retry {
        match self {
            Self::Prepare(PrepareError::Map(MapError::Shortage { .. })) => Retry::Later,
            Self::Prepare(PrepareError::Encode(chain)) if chain.is_full() => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// What is wrong with the device. It needs a [reset](super::VirtioBlk::reset).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// It gave back what it does not have.
    #[error(transparent)]
    Used(#[from] UsedError),
    /// It gave back a request that is not in the driver's table. A bug of the driver.
    #[error("request {head} is not in the table")]
    Unknown {
        /// Its head.
        head: u16,
    },
    /// It is down: a reset failed.
    #[error("the device is down")]
    Down,
}
