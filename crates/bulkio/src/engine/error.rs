//! The errors of the engine: one enum per operation, numbers in the variants.
//!
//! A refused submission gives its request back ([`SubmitError`]). A transfer that fails is not an error
//! here: it is an [`Outcome`](scatterlist::Outcome) with a fault.

use core::fmt;

use scatterlist::plan::PlanError;
use scatterlist::{CpuAddr, Position, Request};

use super::FileId;
use super::options::EngineChoice;
use super::report::{ChosenBy, EngineKind};

/// Why no engine could be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The depth is out of range.
    #[error("an engine of depth {depth}: the depth must be between 1 and {max}")]
    Depth {
        /// The depth that was asked for.
        depth: u32,
        /// The greatest depth.
        max: u32,
    },
    /// An engine does not work here, and it was demanded or was the last to try.
    #[error("the {kind} engine was chosen by {chosen_by}, but {reason}")]
    Unavailable {
        /// The kind of engine.
        kind: EngineKind,
        /// Who chose it.
        chosen_by: ChosenBy,
        /// What was tried and what to change, in one sentence.
        reason: String,
    },
    /// `BULKIO_ENGINE` names no engine.
    #[error("BULKIO_ENGINE is {value:?}, which is no engine: set it to {}", EngineChoice::NAMES.join(", "))]
    Environment {
        /// Its value.
        value: String,
    },
    /// Two options exclude each other.
    #[error("the option {option} cannot be had together with {with}")]
    Conflict {
        /// The option.
        option: &'static str,
        /// What it excludes.
        with: &'static str,
    },
}

/// Why a file cannot be added or removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The table of files is full.
    #[error("the engine holds {max} files, the most it takes")]
    Full {
        /// The number of files that the engine takes.
        max: usize,
    },
    /// No such file in this engine.
    #[error("{file:?} is not a file of this engine")]
    Unknown {
        /// The id that was given.
        file: FileId,
    },
    /// Requests are in flight on the file.
    #[error("{file:?} has {in_flight} requests in flight: wait for them before removing it")]
    Busy {
        /// The file.
        file: FileId,
        /// Its requests in flight, or done and not yet taken.
        in_flight: u32,
    },
    /// A polled engine takes files open with `O_DIRECT` only.
    #[error("the file is not open with O_DIRECT, and an engine with the option polled takes no other")]
    PolledNotDirect,
    /// The device behind the file has no queues for polling.
    #[error(
        "{device} cannot be polled: its queue/io_poll in sysfs {}, and an engine with the option polled needs 1. {}",
        io_poll.map_or_else(|| "cannot be read".to_owned(), |value| format!("is {value}")),
        if device.starts_with("nvme") {
            "Load the driver with queues for polling (nvme.poll_queues=N on the kernel's command line)"
        } else {
            "Its driver has no queues for polling, or was loaded without: make an engine without polled"
        }
    )]
    NotPolled {
        /// The name of the disk, or its number where sysfs does not know it.
        device: String,
        /// What `queue/io_poll` says, if it can be read.
        io_poll: Option<u64>,
    },
    /// A polled engine takes no commands of devices.
    #[error("the file takes commands of its device, which an engine with the option polled does not carry")]
    PolledCommands,
    /// Threads for the commands of a file could not be made ready.
    #[error(
        "making an eventfd for the commands of the file failed with errno {errno}: too many files may be open (ulimit -n)"
    )]
    Eventfd {
        /// The error number.
        errno: u32,
    },
    /// The system does not say what the file is.
    #[error("fstat failed with errno {errno}")]
    Stat {
        /// The error number.
        errno: u32,
    },
}

/// A request that was not submitted, and why. The request comes back unchanged.
pub struct SubmitError<O, C> {
    /// The request, unchanged.
    pub request: Request<CpuAddr, O, C>,
    /// Why it was refused.
    pub reason: SubmitReason,
}

/// Why a request or a flush was not submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitReason {
    /// The engine is full: take a completion first.
    #[error("{in_flight} requests are in flight, and the depth is {depth}: wait for one first")]
    Full {
        /// Requests in flight, or done and not yet taken.
        in_flight: u32,
        /// The most there can be.
        depth: u32,
    },
    /// No such file in this engine.
    #[error("{file:?} is not a file of this engine")]
    UnknownFile {
        /// The id that was given.
        file: FileId,
    },
    /// The request has no bytes.
    #[error("a request of no bytes at {position:?}")]
    Empty {
        /// Where it starts.
        position: Position,
    },
    /// The request reaches past the last position that a file can have.
    #[error("{bytes} bytes at {position:?} reach past the last position of a file, {max}")]
    Position {
        /// Where it starts.
        position: Position,
        /// Its bytes.
        bytes: u64,
        /// The last position of a file.
        max: u64,
    },
    /// A segment lies where no memory can be: a hole is not something to transfer.
    #[error("the segment at byte {at} of the request lies at address {addr:#x}, where no memory is")]
    NoMemory {
        /// Byte of the request at which it starts.
        at: u64,
        /// Its address.
        addr: u64,
    },
    /// The file takes commands of its device, and each has a position.
    #[error("{file:?} takes commands of its device, each at a position: a stream of {bytes} bytes has none")]
    StreamOfCommands {
        /// The file.
        file: FileId,
        /// The bytes of the request.
        bytes: u64,
    },
    /// The limits let more bytes into one command than it can be told.
    #[error(
        "one command at byte {at} of the request would move {bytes} bytes, and a command is told of {max} at most: set transfer_len_max"
    )]
    CommandTooLong {
        /// Byte of the request at which the command starts.
        at: u64,
        /// Its bytes.
        bytes: u64,
        /// The most bytes of a command.
        max: u64,
    },
    /// The limits let more pieces into one operation than the kernel takes.
    #[error("one operation at byte {at} has {pieces} pieces or more, the kernel takes {max}: set pieces_max")]
    TooManyPieces {
        /// Byte of the request at which the operation starts.
        at: u64,
        /// Pieces seen when it was given up.
        pieces: usize,
        /// The most that the kernel takes (`IOV_MAX`).
        max: usize,
    },
    /// The request cannot be planned within the limits without copying.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan asks for a bounce, which the engine does not do.
    #[error(
        "{bytes} bytes at byte {at} of the request would have to be copied, which the engine does not do"
    )]
    Bounce {
        /// Byte of the request at which the bounced piece starts.
        at: u64,
        /// Its bytes.
        bytes: u64,
    },
}

impl<O, C> fmt::Debug for SubmitError<O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError")
            .field("bytes", &self.request.len_bytes())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<O, C> fmt::Display for SubmitError<O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<O, C> core::error::Error for SubmitError<O, C> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// Why waiting failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Nothing is in flight: waiting would never end.
    #[error("nothing is in flight")]
    Idle,
    /// The kernel refused to take or to report operations.
    #[error("the kernel refused to go on: errno {errno}, with {operations} operations in flight")]
    Kernel {
        /// The error number.
        errno: u32,
        /// Operations in flight. Their memory stays owned by the engine.
        operations: u32,
    },
}
