//! [`OpenError`]: why a disk cannot be used by commands. Every check comes before anything is written.

use std::path::PathBuf;

use rustix::io::Errno;
use scatterlist::LimitsError;

use super::options::CopyReason;
use crate::device::scsi::folder::NodeKind;
use crate::device::scsi::{CommandError, PeripheralType};

/// Why a disk cannot be used by commands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is no node of a SCSI device.
    #[error(
        "{} is no node of a SCSI device: a whole disk (/dev/sdX), /dev/bsg/H:C:T:L or /dev/sgN is needed; commands to a \
         partition would address the whole disk",
        .path.display()
    )]
    NotScsi {
        /// The path.
        path: PathBuf,
    },
    /// The device has no node of the kind that is needed.
    #[error("{}: the device has no {kind} node below /dev with the number that sysfs states; load its module (sd_mod, sg)", .path.display())]
    NoDoor {
        /// The path.
        path: PathBuf,
        /// The kind of node that is needed.
        kind: NodeKind,
    },
    /// The node could not be opened.
    #[error("opening {} {}: {errno}", .path.display(), if *.writes { "for writing" } else { "for reading" })]
    Open {
        /// The node.
        path: PathBuf,
        /// Whether for writing.
        writes: bool,
        /// The system's answer.
        errno: Errno,
    },
    /// A command that asks for facts failed.
    #[error("{}: {source}", .path.display())]
    Command {
        /// The node.
        path: PathBuf,
        /// Which command, and how it failed.
        source: CommandError,
    },
    /// The device is no disk.
    #[error("{} is {kind}, and a disk is needed", .path.display())]
    NotADisk {
        /// The node.
        path: PathBuf,
        /// What it is.
        kind: PeripheralType,
    },
    /// Its blocks have no length, or there are none.
    #[error("{} states {blocks} blocks of {block_bytes} bytes: at least one of each is needed", .path.display())]
    Capacity {
        /// The node.
        path: PathBuf,
        /// Its blocks.
        blocks: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// Its blocks carry checksums.
    #[error(
        "{} is formatted with protection information of type {protection}: blocks of {block_bytes} bytes have 8 more that \
         this library does not move; format it without (sg_format --fmtpinfo=0)",
        .path.display()
    )]
    Protected {
        /// The node.
        path: PathBuf,
        /// The type of protection: 1 to 3 of SBC-3, "Protection types".
        protection: u8,
        /// Bytes of a block without it.
        block_bytes: u32,
    },
    /// It is to be written, and is write-protected.
    #[error("{} is write-protected, as its mode header states: remove the protection, or open it for reading", .path.display())]
    WriteProtected {
        /// The node.
        path: PathBuf,
    },
    /// Direct transfers were demanded, and the door copies.
    #[error("{}: direct transfers were demanded, but {reason}", .path.display())]
    Copies {
        /// The node.
        path: PathBuf,
        /// Why it copies.
        reason: CopyReason,
    },
    /// The limits that the device and the kernel state contradict each other.
    #[error("the limits of {} contradict each other: {source}", .path.display())]
    Limits {
        /// The node.
        path: PathBuf,
        /// The contradiction, with its numbers.
        source: LimitsError,
    },
}
