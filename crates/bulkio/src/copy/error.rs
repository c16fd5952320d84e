//! How a copy fails: [`CopyError`] says what to do, [`CopyFailure`] adds how far it came.

use std::fmt;
use std::io;
use std::path::PathBuf;

use scatterlist::{StackError, Status};

use super::Report;
use crate::device::guard::Refusal;
use crate::device::{DirectRefused, PrepareError};
use crate::engine::{EngineError, FileError, SubmitReason, WaitError};
use crate::pages::PoolError;
use crate::probe::ProbeError;

/// One side of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Where bytes come from.
    Source,
    /// Where bytes go.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// What kind of failure it is, for exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureClass {
    /// Refused before anything was written.
    Refused,
    /// The transfer failed.
    Failed,
}

/// What went wrong in a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// An end was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An end could not be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// An option is out of range.
    #[error("the {what} is {value}; it must be from {min} to {max}")]
    Option {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The range starts past the end of the source.
    #[error("{} holds {len} bytes, so there is nothing at byte {skip}; choose a smaller --skip", .path.display())]
    SkipPastEnd {
        /// The source.
        path: PathBuf,
        /// Bytes that it holds.
        len: u64,
        /// Where the range was to start.
        skip: u64,
    },
    /// A stream has no positions.
    #[error("{} is a stream and cannot start at byte {seek}; leave --seek out", .path.display())]
    SeekOnStream {
        /// The destination.
        path: PathBuf,
        /// Where the range was to start.
        seek: u64,
    },
    /// Direct I/O was demanded and cannot be had.
    #[error("direct I/O is required, but not possible on the {side} {}: {why}; leave --direct require out", .path.display())]
    DirectRequired {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Why not.
        why: DirectRefused,
    },
    /// Direct I/O was demanded and the two positions do not agree.
    #[error(
        "direct I/O is required, but source byte {skip} and destination byte {seek} differ modulo {unit}, \
         so no memory suits both; choose --skip and --seek that agree modulo {unit}"
    )]
    DirectIncongruent {
        /// Start in the source.
        skip: u64,
        /// Start in the destination.
        seek: u64,
        /// What they would have to agree modulo.
        unit: u64,
    },
    /// No memory satisfies both ends.
    #[error("no memory suits both {} and {}: {why}", .source_path.display(), .destination_path.display())]
    Memory {
        /// The source.
        source_path: PathBuf,
        /// The destination.
        destination_path: PathBuf,
        /// The pair that cannot be met.
        why: StackError,
    },
    /// The pool of pages could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The engine could not be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be given to the engine.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel refused to wait.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A call on the destination failed.
    #[error("{}: {why}{}", .path.display(), advice(.why))]
    Prepare {
        /// The destination.
        path: PathBuf,
        /// The call.
        why: PrepareError,
    },
    /// A transfer failed.
    #[error(
        "{} {} failed at byte {at} ({len} bytes): {}",
        if *.side == Side::Source { "reading" } else { "writing" }, .path.display(), Reason(*.status)
    )]
    Transfer {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Byte of that side at which the failing transfer began.
        at: u64,
        /// Bytes that it was to move.
        len: u64,
        /// How it failed.
        status: Status,
    },
    /// A transfer could not be planned or submitted.
    #[error("{side} {}: {why}", .path.display())]
    Submit {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Why.
        why: SubmitReason,
    },
    /// The source ended before the bytes that it had at the start.
    #[error(
        "{} shrank while it was read: it held {expected} bytes at the start and ended at byte {at}; \
         the copy holds what was there",
        .path.display()
    )]
    SourceShrank {
        /// The source.
        path: PathBuf,
        /// Where it was to end.
        expected: u64,
        /// Where it ended.
        at: u64,
    },
    /// The destination device is full.
    #[error("{} is full: it holds {capacity} bytes and the source goes on", .path.display())]
    DestinationFull {
        /// The destination.
        path: PathBuf,
        /// Bytes that it holds.
        capacity: u64,
    },
    /// The reader of the destination stream went away.
    #[error("{} was closed by its reader after {bytes} bytes", .path.display())]
    Closed {
        /// The destination.
        path: PathBuf,
        /// Bytes that were taken before.
        bytes: u64,
    },
    /// Making the destination durable failed.
    #[error("making {} durable failed: {}; do not rely on the copy", .path.display(), Reason(*.status))]
    Flush {
        /// The destination.
        path: PathBuf,
        /// How.
        status: Status,
    },
    /// Reading ahead on a stream failed.
    #[error("cannot duplicate the descriptor of {what}: {errno}")]
    Descriptor {
        /// Which.
        what: &'static str,
        /// How.
        errno: rustix::io::Errno,
    },
}

/// A status in words.
struct Reason(Status);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status::Errno(number) = self.0 else { return self.0.fmt(f) };
        let Ok(raw) = i32::try_from(number) else { return self.0.fmt(f) };
        io::Error::from_raw_os_error(raw).fmt(f)
    }
}

fn advice(why: &PrepareError) -> &'static str {
    match why.errno {
        rustix::io::Errno::NOSPC => "; free some space or choose another destination. Nothing was copied",
        rustix::io::Errno::FBIG => "; the file system or a limit (ulimit -f) allows no file that long",
        _ => "",
    }
}

impl CopyError {
    /// Returns the kind of failure.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Refused(_)
            | Self::Probe(_)
            | Self::Option { .. }
            | Self::SkipPastEnd { .. }
            | Self::SeekOnStream { .. }
            | Self::DirectRequired { .. }
            | Self::DirectIncongruent { .. }
            | Self::Memory { .. } => FailureClass::Refused,
            _ => FailureClass::Failed,
        }
    }
}

/// A copy that failed, and how far it came.
#[derive(Debug)]
pub struct CopyFailure {
    /// What went wrong first.
    pub error: CopyError,
    /// What was done before; `None` when nothing was begun.
    pub report: Option<Box<Report>>,
}

impl From<CopyError> for CopyFailure {
    fn from(error: CopyError) -> Self {
        Self { error, report: None }
    }
}

impl fmt::Display for CopyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for CopyFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
