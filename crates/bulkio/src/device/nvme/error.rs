//! Why a namespace cannot be opened, and why a command without a transfer failed. What a transfer met is the fault of its outcome; see
//! [`CommandStatus`].

use std::path::PathBuf;

use rustix::io::Errno;
use scatterlist::{LimitsError, Status};

use super::identify::FormatError;
use super::status::CommandStatus;

/// Why a namespace cannot be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The node cannot be opened.
    #[error("opening {} failed: {errno}; a generic node takes what its owner and group may do, so root by default", .path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The error number.
        errno: Errno,
    },
    /// The node is none of an NVMe namespace.
    #[error("{} is no generic node of an NVMe namespace: those are the character devices /dev/ngXnY", .path.display())]
    NotGeneric {
        /// The path.
        path: PathBuf,
    },
    /// The device does not say what it is.
    #[error("asking {} for {what} failed: {why}", .path.display())]
    Asked {
        /// The node.
        path: PathBuf,
        /// What it was asked for.
        what: &'static str,
        /// How it failed.
        why: CommandFault,
    },
    /// What it says of its namespace makes no sense.
    #[error("{}: {source}", .path.display())]
    Format {
        /// The node.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// Each block comes with metadata, which has no place in a transfer.
    #[error(
        "{} has format {index}: each block of {block_len} bytes comes with {metadata_len} bytes of metadata, and only \
         formats without are read and written here; see nvme-format(1) for changing it, which erases all data",
        .path.display()
    )]
    Metadata {
        /// The node.
        path: PathBuf,
        /// Which of the namespace's formats it is.
        index: u8,
        /// Bytes of a block.
        block_len: u64,
        /// Bytes of metadata with each block.
        metadata_len: u16,
    },
    /// Blocks are protected by information that commands would have to carry.
    #[error("{} has protection information of type {protection}, and only formats without are read and written here", .path.display())]
    Protection {
        /// The node.
        path: PathBuf,
        /// The type.
        protection: u8,
    },
    /// sysfs does not state what the driver takes.
    #[error(
        "sysfs states no queue/{attribute} for {name}, the block device of {}, and a command past it is refused or copied: \
         mount /sys, or use a kernel that states it (Linux 5.19 or newer)",
        .path.display()
    )]
    NoQueue {
        /// The node.
        path: PathBuf,
        /// The block device.
        name: String,
        /// What is missing.
        attribute: &'static str,
    },
    /// What controller and driver state contradicts itself.
    #[error("the limits of {} contradict each other: {source}", .path.display())]
    Contradiction {
        /// The node.
        path: PathBuf,
        /// The contradiction, with its numbers.
        source: LimitsError,
    },
}

/// How a command failed: by the word of the device, or before it came there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandFault {
    /// The controller ended it with this status.
    #[error("{0}")]
    Device(CommandStatus),
    /// The kernel refused or gave up: an error number.
    #[error("{}", Errno::from_raw_os_error(i32::try_from(*.0).unwrap_or(libc::EIO)))]
    Kernel(u32),
}

impl CommandFault {
    pub(super) const fn of(status: Status) -> Self {
        match (CommandStatus::from_status(status), status) {
            (Some(status), _) => Self::Device(status),
            (None, Status::Errno(errno)) => Self::Kernel(errno),
            // A call ends with one of the two.
            (None, _) => Self::Kernel(libc::EIO.unsigned_abs()),
        }
    }
}

/// Why a command that moves no data failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The namespace was opened for reading only.
    #[error("{what} on {}, which is open for reading only", .path.display())]
    ReadOnly {
        /// The command.
        what: &'static str,
        /// The node.
        path: PathBuf,
    },
    /// The controller does not have the command.
    #[error("the controller of {} has no {what}: its ONCS is {oncs:#06x}, which must have bit {bit}", .path.display())]
    Unsupported {
        /// The command.
        what: &'static str,
        /// The node.
        path: PathBuf,
        /// Its optional commands.
        oncs: u16,
        /// The bit that says that it has the command.
        bit: u8,
    },
    /// The range is not of whole blocks.
    #[error(
        "{what} of {bytes} bytes at {position}: both must be multiples of the block of {block_len} bytes"
    )]
    Unaligned {
        /// The command.
        what: &'static str,
        /// Where it starts, in bytes.
        position: u64,
        /// Its bytes.
        bytes: u64,
        /// Bytes of a block.
        block_len: u64,
    },
    /// The range ends past the namespace.
    #[error("{what} of {bytes} bytes at {position}: the namespace ends at {capacity}")]
    PastEnd {
        /// The command.
        what: &'static str,
        /// Where it starts, in bytes.
        position: u64,
        /// Its bytes.
        bytes: u64,
        /// Bytes of the namespace.
        capacity: u64,
    },
    /// The command failed. What comes before `position` is done.
    #[error("{what} of {bytes} bytes at {position} failed: {why}")]
    Failed {
        /// The command.
        what: &'static str,
        /// Where the failing command starts, in bytes.
        position: u64,
        /// Its bytes.
        bytes: u64,
        /// How it failed.
        why: CommandFault,
    },
}
