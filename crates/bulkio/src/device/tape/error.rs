//! [`TapeError`]: why a call on a tape failed, where the tape stands, and what to do.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::drive::{BlockLimits, BlockMode, Op, Position};

/// Why a call on a tape failed. A call that was refused changed nothing on the tape.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The path leads to something else.
    #[error("{} is no tape drive; tape drives are character devices with major number 9, such as /dev/nst0", .path.display())]
    NotATape {
        /// The path.
        path: PathBuf,
    },
    /// The node cannot be opened.
    #[error("cannot open {}: {errno}", .path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The system's answer.
        errno: Errno,
    },
    /// The driver allows one user at a time.
    #[error("{} is in use: a tape drive has one user at a time; wait until the other program closes it", .path.display())]
    InUse {
        /// The node.
        path: PathBuf,
    },
    /// The path is a node that rewinds, and the one that does not is missing.
    #[error(
        "{} rewinds the tape each time it is closed, and {} beside it, which does not, is missing; make it, or ask for the \
         rewinding node",
        .path.display(), .sibling.display()
    )]
    Rewinds {
        /// The node.
        path: PathBuf,
        /// The node that was looked for.
        sibling: PathBuf,
    },
    /// There is no tape in the drive.
    #[error("there is no tape in {}; put one in", .path.display())]
    NoTape {
        /// The node.
        path: PathBuf,
    },
    /// The drive is busy loading, or failed.
    #[error("{} is not ready (status {flags:#010x}); try again when the tape is loaded", .path.display())]
    NotReady {
        /// The node.
        path: PathBuf,
        /// The driver's status, `mt_gstat`.
        flags: u32,
    },
    /// The tape may not be written.
    #[error("the tape in {} is write-protected, at {position}; nothing was written", .path.display())]
    WriteProtected {
        /// The node.
        path: PathBuf,
        /// Where it stands.
        position: Position,
    },
    /// Blocks of this length cannot be written in this mode.
    #[error(
        "{} takes {have}, and {need} bytes cannot be written like that, at {position}; set the mode with bulkio tape setblk, or \
         choose another length", .path.display()
    )]
    WrongBlockSize {
        /// The node.
        path: PathBuf,
        /// The mode.
        have: BlockMode,
        /// The bytes that were to be written.
        need: u64,
        /// Where the tape stands.
        position: Position,
    },
    /// The drive takes no blocks of this length.
    #[error("{} takes blocks of {limits}, not of {need}, at {position}; nothing was written", .path.display())]
    BlockLimits {
        /// The node.
        path: PathBuf,
        /// What it takes.
        limits: BlockLimits,
        /// The length that was wanted.
        need: u64,
        /// Where the tape stands.
        position: Position,
    },
    /// The blocks on the tape have another length than the fixed mode says.
    #[error(
        "the block at {position} of {} is {}, and the drive is set to {have} bytes; set it with bulkio tape setblk {} {}",
        .path.display(), found(*.need), .path.display(), .need.unwrap_or(0)
    )]
    OtherBlockSize {
        /// The node.
        path: PathBuf,
        /// The fixed length, in bytes.
        have: u32,
        /// The length of the block on the tape, where it could be found out.
        need: Option<u64>,
        /// Where the tape stands: before that block.
        position: Position,
    },
    /// A block is longer than what may be read.
    #[error("the block at {position} of {} is longer than {have} bytes, the most that is read; allow longer ones (--tape-block)", .path.display())]
    BlockTooLong {
        /// The node.
        path: PathBuf,
        /// The most that was asked for, in bytes.
        have: u64,
        /// Where the tape stands: before that block.
        position: Position,
    },
    /// The medium ends.
    #[error("the tape in {} ends at {position}: {len} bytes did not fit any more, and what is before is whole", .path.display())]
    EndOfMedium {
        /// The node.
        path: PathBuf,
        /// Where it ends: behind the last block that was written.
        position: Position,
        /// Bytes of the write that did not fit.
        len: u64,
    },
    /// The data ends.
    #[error("{op} in {} met the end of the data, at {position}", .path.display())]
    EndOfData {
        /// The node.
        path: PathBuf,
        /// What was to be done.
        op: Op,
        /// Where the tape stands.
        position: Position,
    },
    /// Reading failed.
    #[error("reading {len} bytes from {} failed at {position}: {errno}{}", .path.display(), hint(*.mode))]
    Read {
        /// The node.
        path: PathBuf,
        /// Where the tape stood.
        position: Position,
        /// Bytes that were asked for.
        len: u64,
        /// The mode: some drives call a block of another length than the fixed one a bad spot.
        mode: BlockMode,
        /// The driver's answer.
        errno: Errno,
    },
    /// Writing failed.
    #[error("writing {len} bytes to {} failed at {position}: {errno}", .path.display())]
    Write {
        /// The node.
        path: PathBuf,
        /// Where the tape stood.
        position: Position,
        /// Bytes of the block.
        len: u64,
        /// The driver's answer.
        errno: Errno,
    },
    /// A movement or setting failed.
    #[error("{op} ({count}) in {} failed: {errno}; the tape stands at {position}", .path.display())]
    Control {
        /// The node.
        path: PathBuf,
        /// What was to be done.
        op: Op,
        /// How many of them.
        count: u32,
        /// Where the tape stands.
        position: Position,
        /// The driver's answer.
        errno: Errno,
    },
    /// The driver does not say how things are.
    #[error("{} does not tell its {what}: {errno}", .path.display())]
    Ask {
        /// The node.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
        /// The driver's answer.
        errno: Errno,
    },
}

fn hint(mode: BlockMode) -> String {
    match mode {
        BlockMode::Variable => String::new(),
        BlockMode::Fixed(block) => format!(
            "; if the blocks there are not {block} bytes long, read them in variable mode (bulkio tape setblk DEV 0)"
        ),
    }
}

fn found(need: Option<u64>) -> String {
    need.map_or_else(|| "of another length".to_owned(), |need| format!("{need} bytes long"))
}

impl TapeError {
    /// Says whether it came before anything was moved: what the caller asked for cannot be.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotATape { .. }
                | Self::Open { .. }
                | Self::InUse { .. }
                | Self::Rewinds { .. }
                | Self::NoTape { .. }
                | Self::NotReady { .. }
                | Self::WriteProtected { .. }
                | Self::WrongBlockSize { .. }
                | Self::BlockLimits { .. }
        )
    }

    pub(super) fn open(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::BUSY => Self::InUse { path },
            Errno::NOMEDIUM => Self::NoTape { path },
            _ => Self::Open { path, errno },
        }
    }
}
