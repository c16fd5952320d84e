//! [`CommandSet`]: transfers of a file that are commands of its device, in place of reads and writes.
//!
//! SCSI and NVMe nodes take no `read(2)`: each part of a planned request is one command, which nobody splits or repeats below.
//! A device class says how a part becomes a command; the engine keeps memory and file until the command is over, as it does
//! for every operation. A ring carries commands that it can (`IORING_OP_URING_CMD`), threads make a call for each of the others.
#![expect(unsafe_code, reason = "the trait's promise is about raw memory")]

use core::fmt;
use std::os::fd::BorrowedFd;

use scatterlist::Status;

use super::FlushKind;

/// What a command is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Reads from byte `position` of the device on.
    Read {
        /// In bytes.
        position: u64,
    },
    /// Writes from byte `position` of the device on.
    Write {
        /// In bytes.
        position: u64,
    },
    /// Makes durable what was written.
    Flush(FlushKind),
}

/// One command to make: a part that suits every hard limit of the request it comes from, or a flush.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// What to do.
    pub action: Action,
    /// The memory, in order; none for a flush. Plain addresses: the memory may be read or written by nobody but
    /// the device until the command is over.
    pub pieces: &'a [libc::iovec],
    /// The bytes of all pieces.
    pub bytes: u32,
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Bytes that were moved for certain, from the start of the command without a gap.
    pub bytes: u32,
    /// How it failed, if it did. [`Status::Device`] holds the device's own word in the encoding of its class.
    pub fault: Option<Status>,
}

/// A command as a ring takes it: the fields of `struct io_uring_sqe` for `IORING_OP_URING_CMD` (`include/uapi/linux/io_uring.h`).
#[derive(Clone, Copy, Debug)]
pub struct RingCommand {
    /// `cmd_op`.
    pub op: u32,
    /// `cmd`, 80 bytes in an entry of 128.
    pub command: [u8; 80],
    /// Whether the memory may be named as registered (`IORING_URING_CMD_FIXED`): it is one piece. Where this differs from command to
    /// command of one piece, counts of registered memory are too high.
    pub takes_fixed: bool,
}

/// How the transfers of a file become commands.
///
/// # Safety
/// [`execute`](Self::execute) and what [`ring`](Self::ring) encodes make the device read or write the pieces of the
/// command, nothing else in memory that it was not given, and nothing after the command is over.
pub unsafe trait CommandSet: fmt::Debug + Send + Sync {
    /// Makes the call and waits until the command is over. Called by many threads at once.
    ///
    /// # Safety
    /// The pieces are valid, and accessed by nobody else, until this returns.
    unsafe fn execute(&self, file: BorrowedFd<'_>, command: &Command<'_>) -> Ended;

    /// Encodes a command for a ring; `None` for one that a thread has to make a call for.
    ///
    /// The engine asks for a flush where a file is added, to say who carries its commands; each command is asked for by itself all the same.
    ///
    /// A command of one piece names its memory itself. One of several may name `command.pieces`, which then stay where they are
    /// until it is over.
    fn ring(&self, command: &Command<'_>) -> Option<RingCommand> {
        let _ = command;
        None
    }

    /// Says what the result of a command means that a ring carried: `res` of its completion, and the bytes that it asked for.
    /// One that the ring took back before it was begun (`ECANCELED`) is not asked about.
    fn ring_ended(&self, result: i32, bytes: u32) -> Ended {
        match result {
            0 => Ended { bytes, fault: None },
            1.. => Ended { bytes: 0, fault: Some(Status::Device(result.unsigned_abs())) },
            _ => Ended { bytes: 0, fault: Some(Status::Errno(result.unsigned_abs())) },
        }
    }
}
