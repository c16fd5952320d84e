//! [`Door`]: a node of a SCSI device as a [`Transport`]. Which doors there are, and which of them copy:
//!
//! | door | pieces a command | the device reaches the memory itself |
//! |---|---|---|
//! | block node, `SG_IO` version 3 | 1024 | where address and length of each piece suit the queue, and joins its gap rule |
//! | `/dev/bsg`, `SG_IO` version 4 | 1 | the same |
//! | `/dev/sg`, `SG_IO` version 3 | 1, or 1024 that are copied | the same, if `allow_dio` of the module is 1 and there is one piece |
//!
//! `abi` has the records and the system call, `v3` and `v4` fill them in, `rule` says what the kernel maps, `gate` keeps within what
//! `/dev/sg` takes at a time, `signals` keeps that one from leaving a command behind. The sources are those of Linux: `include/scsi/sg.h`,
//! `include/uapi/linux/bsg.h`, `drivers/scsi/{scsi_ioctl,sg,scsi_bsg}.c`, `block/blk-map.c`.
#![expect(unsafe_code, reason = "implements Transport, whose promise is about raw memory")]

mod abi;
mod gate;
mod rule;
mod signals;
mod v3;
mod v4;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::NodeKind;
use super::transport::{Answer, Exchange, Transport};
use gate::Gate;
use signals::NoSignals;

pub use rule::MapRule;

/// Most pieces of a command that version 3 takes: `UIO_MAXIOV`, `include/uapi/linux/uio.h`.
pub const PIECES_MAX_V3: u64 = 1024;

/// How it is known whether the kernel maps the memory of a command, or copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// By the rule of the queue: block nodes and bsg, which map what they can and do not say.
    Rule(MapRule),
    /// `/dev/sg` is asked to map each command of one piece, and says whether it did.
    Asked,
    /// `/dev/sg` is not asked: it copies.
    Never,
}

/// An open node, and how commands go through it.
#[derive(Debug)]
pub struct Door {
    fd: Arc<OwnedFd>,
    kind: NodeKind,
    mapping: Mapping,
    gate: Gate,
}

impl Door {
    /// Makes a door of an open node of a kind.
    ///
    /// # Errors
    /// Hands the descriptor of a tape node back, which takes no commands.
    pub fn new(fd: Arc<OwnedFd>, kind: NodeKind, mapping: Mapping) -> Result<Self, Arc<OwnedFd>> {
        match kind {
            NodeKind::Tape => Err(fd),
            NodeKind::Block | NodeKind::Bsg | NodeKind::Generic => {
                Ok(Self { fd, kind, mapping, gate: Gate::new(gate::SG_COMMANDS_MAX) })
            }
        }
    }

    /// Returns the descriptor.
    #[must_use]
    pub const fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Returns the kind of node.
    #[must_use]
    pub const fn kind(&self) -> NodeKind {
        self.kind
    }

    /// Returns how many segments a command through `/dev/sg` may have (`SG_GET_SG_TABLESIZE`).
    ///
    /// # Errors
    /// The system's answer; a node of another kind does not know the question.
    pub fn sg_segments_max(&self) -> Result<u64, Errno> {
        abi::get_int(self.fd.as_fd(), abi::SG_GET_SG_TABLESIZE)
    }

    /// Returns how many bytes a command through `/dev/sg` may move (`BLKSECTGET`, which counts bytes on this kind of node).
    ///
    /// # Errors
    /// As [`sg_segments_max`](Self::sg_segments_max).
    pub fn sg_transfer_bytes_max(&self) -> Result<u64, Errno> {
        abi::get_int(self.fd.as_fd(), abi::BLKSECTGET)
    }

    /// Asks `/dev/sg` for a buffer of this many bytes to copy through, and returns what it gave. One command at a time uses it;
    /// others get memory of their own, or `ENOMEM`.
    ///
    /// # Errors
    /// As [`sg_segments_max`](Self::sg_segments_max).
    pub fn sg_reserve(&self, bytes: u32) -> Result<u64, Errno> {
        abi::set_int(self.fd.as_fd(), abi::SG_SET_RESERVED_SIZE, bytes)?;
        abi::get_int(self.fd.as_fd(), abi::SG_GET_RESERVED_SIZE)
    }
}

// SAFETY: `v3` and `v4` name the pieces of the exchange and places of their own stack to the kernel, nothing else. `SG_IO` of block nodes
// and of bsg waits for the command without heed to signals (`blk_execute_rq`). That of `/dev/sg` may end early: for a signal, which there is none
// of meanwhile but SIGKILL, after which nothing of this process runs and the kernel keeps the pages; and when the device is taken away or the
// process stopped. With `Mapping::Never` the command then has memory of the kernel; whoever chooses `Mapping::Asked` has promised the rest
// (`scsi_generic::SgDirect`).
unsafe impl Transport for Door {
    unsafe fn send(&self, exchange: &Exchange<'_>) -> Result<Answer, Errno> {
        let fd = self.fd.as_fd();
        if self.kind == NodeKind::Bsg {
            // SAFETY: the caller's promise.
            return unsafe { v4::send(fd, exchange, self.mapping) };
        }
        let generic = self.kind == NodeKind::Generic;
        let _pass = generic.then(|| self.gate.enter());
        let _quiet = if generic { Some(NoSignals::new()?) } else { None };
        // SAFETY: the caller's promise.
        unsafe { v3::send(fd, exchange, self.mapping) }
    }
}
