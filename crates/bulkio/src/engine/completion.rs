//! What comes out of an engine: a [`Completion`] under the [`Token`] of its submission.

use scatterlist::{CpuAddr, Direction, Fault, Outcome, Request};

use super::{FileId, FlushKind};

/// The number of a submission, never used twice by one engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub(super) u64);

/// A request, a flush or a watch that is over.
#[derive(Debug)]
pub enum Completion<O, C> {
    /// A transfer is over; its request, and with it the memory, comes back.
    Transfer {
        /// The number it was submitted under.
        token: Token,
        /// The file.
        file: FileId,
        /// The request, for [`Request::complete`] or to take apart.
        request: Request<CpuAddr, O, C>,
        /// Bytes done without a gap from the start, and the fault at the lowest offset. A read that met the
        /// end of its file has fewer bytes done than asked, and no fault.
        outcome: Outcome,
    },
    /// A flush is over.
    Flush {
        /// The number it was submitted under.
        token: Token,
        /// The file.
        file: FileId,
        /// What was flushed.
        kind: FlushKind,
        /// How it failed, if it did.
        fault: Option<Fault>,
    },
    /// A watch is over: the file is ready, or has an error or a hang-up to tell.
    Ready {
        /// The number it was submitted under.
        token: Token,
        /// The file.
        file: FileId,
        /// For what it was watched.
        direction: Direction,
        /// Why it is not known whether the file is ready: the watch was cancelled, most likely.
        fault: Option<Fault>,
    },
}

impl<O, C> Completion<O, C> {
    /// Returns the number that it was submitted under.
    #[must_use]
    pub const fn token(&self) -> Token {
        match self {
            Self::Transfer { token, .. } | Self::Flush { token, .. } | Self::Ready { token, .. } => *token,
        }
    }

    /// Returns the file.
    #[must_use]
    pub const fn file(&self) -> FileId {
        match self {
            Self::Transfer { file, .. } | Self::Flush { file, .. } | Self::Ready { file, .. } => *file,
        }
    }

    /// Returns how it failed, if it did.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Transfer { outcome, .. } => outcome.fault,
            Self::Flush { fault, .. } | Self::Ready { fault, .. } => *fault,
        }
    }
}
