//! The errors of `direct`: [`OpenError`], [`TransferError`] and what an `Io` or a driver refuses.
//!
//! A transfer that fails says which call it was, how many bytes were moved all the same, and at which position of the file or
//! device the failing operation began (rule `errors-carry-numbers`). Both turn into [`io::Error`] with a fitting kind.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use scatterlist::{Direction, LimitsError, Status};

use super::{File, Moved};
use crate::device::DirectRefused;
use crate::device::guard::Refusal;
use crate::engine::EngineError;
use crate::pages::PoolError;
use crate::probe::ProbeError;

/// Why no context for direct I/O could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// An option is out of range.
    #[error("{option} is {value}: it must be between {min} and {max}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
    },
    /// There is no engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There are no pages to copy through.
    #[error(transparent)]
    Pages(#[from] PoolError),
    /// The driver's thread could not be started.
    #[error("the thread of the driver cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// Why a file or device cannot be opened for direct I/O.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is missing, in use, or may not be opened.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It does not say what it can take.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Its limits contradict those of this library.
    #[error("{}: {error}", .path.display())]
    Limits {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        #[source]
        error: LimitsError,
    },
    /// It has no positions.
    #[error("{} is a {what}: direct I/O needs a regular file or a block device", .path.display())]
    NotPositioned {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Neither reading nor writing was asked for, or truncating or creating without writing.
    #[error("{}: {what}", .path.display())]
    Access {
        /// The path.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// Direct I/O was demanded, and there is none.
    #[error("{}: direct I/O was demanded, but {refused}", .path.display())]
    NoDirect {
        /// The path.
        path: PathBuf,
        /// Why not.
        refused: DirectRefused,
    },
    /// Its blocks are longer than the pages to copy through.
    #[error(
        "{} has blocks of {block_bytes} bytes; ragged ends are copied through slots of {slot_bytes} bytes: make bounce_len larger",
        .path.display()
    )]
    Block {
        /// The path.
        path: PathBuf,
        /// Length of a block.
        block_bytes: u64,
        /// Length of a slot.
        slot_bytes: u64,
    },
    /// A new length could not be set.
    #[error("{}: setting the length to {bytes} bytes: {errno}", .path.display())]
    Truncate {
        /// The path.
        path: PathBuf,
        /// The length.
        bytes: u64,
        /// How it failed.
        errno: Errno,
    },
    /// There is nothing to do I/O with.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// A file that cannot be given to a driver. It comes back unchanged.
#[derive(Debug, thiserror::Error)]
#[error(
    "copies of {} are up to {file_bytes} bytes long, and a slot of this driver has {driver_bytes}: make the driver's bounce_len as long \
     as that of the file's Io",
    .file.path().display()
)]
#[non_exhaustive]
pub struct DriverFileError {
    /// The file.
    pub file: File,
    /// The longest operation that is copied for the file, in bytes.
    pub file_bytes: u64,
    /// Length of the driver's slots, in bytes.
    pub driver_bytes: u64,
}

/// A transfer that did not do all that was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} {len} bytes at {offset} of {}: {kind}", verb(*.direction), .path.display())]
pub struct TransferError {
    /// The file or device.
    pub path: PathBuf,
    /// Whether it was a read or a write.
    pub direction: Direction,
    /// Where the call began.
    pub offset: u64,
    /// Bytes that were asked for.
    pub len: u64,
    /// What was moved all the same, from the first byte on.
    pub moved: Moved,
    /// What went wrong.
    pub kind: TransferErrorKind,
}

/// What went wrong in a transfer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferErrorKind {
    /// An operation failed.
    #[error("{} in the operation on the {bytes} bytes at {at}; {done} bytes were moved before", shown(*.status))]
    Fault {
        /// How it failed.
        status: Status,
        /// Position in the file or device at which the failing operation began.
        at: u64,
        /// Bytes of that operation: the fault is somewhere in them.
        bytes: u64,
        /// Bytes of the call that were moved, from the first one on.
        done: u64,
    },
    /// Making it durable failed: what was written before may be lost.
    #[error("making it durable: {}", shown(*.status))]
    Flush {
        /// How it failed.
        status: Status,
    },
    /// It ends past the last position that the file or device can have.
    #[error("it ends past the last position {max}")]
    Position {
        /// The last position.
        max: u64,
    },
    /// It was not opened for reading.
    #[error("it was not opened for reading")]
    NotReadable,
    /// It was not opened for writing.
    #[error("it was not opened for writing")]
    NotWritable,
    /// An operation was refused before it began.
    #[error("the {bytes} bytes at {at}: {reason}")]
    Refused {
        /// Position at which it was to begin.
        at: u64,
        /// Its bytes.
        bytes: u64,
        /// What refused it, with the numbers.
        reason: String,
    },
    /// The file is used with an [`Io`](super::Io) whose slots are shorter than its operations that are copied.
    #[error(
        "its copied operations are {needed} bytes long, the slots of this Io {there}: open it with this Io"
    )]
    Slots {
        /// Bytes of its longest copied operation.
        needed: u64,
        /// Bytes of a slot.
        there: u64,
    },
    /// This thread has channels in use, in scopes, and there is no other: waiting would be for ever.
    #[error(
        "all {channels_max} channels are in use, {held} of them by this thread: raise channels_max, or leave a scope first"
    )]
    NoChannel {
        /// Channels that there are.
        channels_max: usize,
        /// Those that this thread has.
        held: usize,
    },
    /// There is no engine for it.
    #[error("{error}")]
    Engine {
        /// Why not.
        error: EngineError,
    },
    /// A write to a part of its bytes was given up while the kernel still had it ([`IoOptions::drain_max`](super::IoOptions::drain_max)),
    /// and may still reach them: no other write of this process is safe there, nor a new length.
    #[error(
        "the bytes from {start} up to {end} are lost: a write there was given up before the device was done with it"
    )]
    RangeLost {
        /// Position of the first byte that is lost, for this process, for good.
        start: u64,
        /// Position behind the last one.
        end: u64,
    },
    /// The driver that this file belongs to has ended; nothing was begun.
    #[error("its driver has ended")]
    Closed,
    /// A panic of the library ended the driver while this was under way. Nothing reaches the memory any more; what was moved is not known.
    #[error("its driver broke down; what was moved is not known")]
    Broken,
}

impl TransferErrorKind {
    /// Returns the error number of the system that stands for it, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Fault { status: Status::Errno(number), .. }
            | Self::Flush { status: Status::Errno(number) } => i32::try_from(*number).ok(),
            Self::Fault { status: Status::Cancelled, .. } => Some(libc::ECANCELED),
            Self::Fault { .. } | Self::Flush { .. } => Some(libc::EIO),
            Self::Position { .. } | Self::Refused { .. } | Self::Slots { .. } => Some(libc::EINVAL),
            Self::NoChannel { .. } => Some(libc::EDEADLK),
            Self::NotReadable | Self::NotWritable => Some(libc::EBADF),
            Self::RangeLost { .. } => Some(libc::EIO),
            Self::Engine { .. } | Self::Closed | Self::Broken => None,
        }
    }
}

impl From<TransferError> for io::Error {
    /// Keeps the whole error inside; the kind is that of its error number.
    fn from(error: TransferError) -> Self {
        let kind = match error.kind.errno() {
            Some(errno) => Self::from_raw_os_error(errno).kind(),
            None => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match &error {
            OpenError::Refused(refusal) => refusal_kind(refusal),
            OpenError::Truncate { errno, .. } => Self::from(*errno).kind(),
            OpenError::NoDirect { .. } => io::ErrorKind::Unsupported,
            OpenError::NotPositioned { .. } | OpenError::Access { .. } | OpenError::Block { .. } => {
                io::ErrorKind::InvalidInput
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<IoError> for io::Error {
    fn from(error: IoError) -> Self {
        Self::other(error)
    }
}

fn refusal_kind(refusal: &Refusal) -> io::ErrorKind {
    match refusal {
        Refusal::Missing { .. } | Refusal::MissingDeviceNode { .. } => io::ErrorKind::NotFound,
        Refusal::Exists { .. } => io::ErrorKind::AlreadyExists,
        Refusal::Claimed { .. } | Refusal::ClaimedForGood { .. } => io::ErrorKind::ResourceBusy,
        Refusal::Open { errno, .. } => io::Error::from(*errno).kind(),
        _ => io::ErrorKind::InvalidInput,
    }
}

/// An error number in the system's words.
fn shown(status: Status) -> String {
    match status {
        Status::Errno(number) => io::Error::from_raw_os_error(number.cast_signed()).to_string(),
        other => other.to_string(),
    }
}

const fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::FromDevice => "reading",
        Direction::ToDevice => "writing",
    }
}
