//! Device classes: what a copy reads from and writes to.
//!
//! One trait, [`Device`]; one file or folder a class: [`mod@file`], [`block`], [`stream`]; [`scsi_generic`] and [`nvme`] are used by themselves too, and
//! `passthrough` makes ends of copies of them. Tapes have no bytes at positions but records in a row, so [`tape`] has an interface of its own, and so have
//! [`video`], which gives frames, and [`audio`], where devices keep their own time. A device
//! knows its limits, its size or that it
//! is a stream, and two routes to its bytes: direct, where the kernel allows it, and through the page
//! cache. [`guard`] refuses what must not be opened; `route` opens the second descriptor for direct I/O. Classes know the engine and the core, never
//! each other.

pub mod audio;
pub mod block;
mod cached;
pub mod file;
pub(crate) mod filled;
pub mod guard;
mod holder;
pub mod nvme;
mod passthrough;
mod route;
pub mod scsi;
pub mod scsi_generic;
pub mod stream;
pub mod tape;
pub mod video;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use scatterlist::{Limits, Status};

pub use holder::Holder;
pub use passthrough::{Passthrough, PassthroughError, takes_commands};
pub(crate) use route::reopen;
pub use route::{DirectMode, DirectRefused, Routes};

use crate::engine::CommandSet;
use crate::probe::{Kind, Probe};

/// The classes there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Class {
    /// A regular file.
    File,
    /// A block device: a disk, a partition, a loop or RAM disk.
    Block,
    /// A pipe, named or not.
    Pipe,
    /// A character device or terminal, read and written as a stream.
    Char,
    /// A SCSI disk, by commands.
    Scsi,
    /// A namespace of an NVMe controller, by commands.
    Nvme,
    /// A tape drive.
    Tape,
    /// A video grabber.
    Video,
    /// A sound device.
    Audio,
}

impl Class {
    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Block => "block",
            Self::Pipe => "pipe",
            Self::Char => "char",
            Self::Scsi => "scsi",
            Self::Nvme => "nvme",
            Self::Tape => "tape",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    /// Says whether it has a size that no write changes.
    #[must_use]
    pub const fn is_disk(self) -> bool {
        matches!(self, Self::Block | Self::Scsi | Self::Nvme)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An open end of a copy.
pub trait Device: fmt::Debug {
    /// Returns its class.
    fn class(&self) -> Class;

    /// Returns its name, for messages.
    fn path(&self) -> &Path;

    /// Returns the routes to its bytes.
    fn routes(&self) -> &Routes;

    /// Returns the bytes that it holds; `None` for a stream, and for files that do not say.
    fn len_bytes(&self) -> Option<u64>;

    /// Says whether it has no positions.
    fn is_stream(&self) -> bool {
        false
    }

    /// Returns the limits of the route that is taken.
    fn limits(&self) -> &Limits {
        self.routes().limits()
    }

    /// Returns how its transfers become commands; `None` where it takes reads and writes.
    fn commands(&self) -> Option<Arc<dyn CommandSet>> {
        None
    }

    /// Returns what the kernel copied on the way so far although it was asked not to: bytes, and why.
    fn copied(&self) -> Option<(u64, String)> {
        None
    }

    /// Says whether a read that ended so met blocks that cannot be read, while others can: it is worth to look which.
    fn is_bad_block(&self, status: Status) -> bool {
        // block/blk-core.c, blk_errors: a medium error is ENODATA; drivers that do not know better say EIO.
        [Errno::NODATA, Errno::IO]
            .into_iter()
            .any(|errno| status == Status::Errno(errno.raw_os_error().unsigned_abs()))
    }

    /// Says in words what a status of the device itself means.
    fn explain(&self, _status: u32) -> Option<String> {
        None
    }

    /// Makes ready for a write of bytes `start..end`: empties a file if `truncate`, then takes the space, size
    /// included, where that can be done. `end` is `None` where it is not known. Devices and streams have what they have.
    ///
    /// # Errors
    /// The call that failed, with its error number.
    fn prepare(&self, _start: u64, _end: Option<u64>, _truncate: bool) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Sets the length of what holds bytes up to `end`, where the class has one: `exact` cuts, else it only grows.
    ///
    /// # Errors
    /// The call that failed, with its error number.
    fn settle_len(&self, _end: u64, _exact: bool) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Makes bytes `at..at + len` read as zeros without any of them moving. Whole blocks, where the class has blocks.
    ///
    /// # Errors
    /// The call that failed, with its error number: what of the range is zero then is not known. A class that has no such call says
    /// so with `EOPNOTSUPP`.
    fn zero(&self, _at: u64, len: u64, _how: Zeroing) -> Result<(), PrepareError> {
        let operation = "zeroing a range of the destination without writing it";
        Err(PrepareError { operation, bytes: len, errno: Errno::OPNOTSUPP })
    }

    /// Makes the name itself durable, where there is one (the folder of a new file).
    ///
    /// # Errors
    /// The call that failed, with its error number.
    fn sync_name(&self) -> Result<(), PrepareError> {
        Ok(())
    }
}

/// How a range becomes zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zeroing {
    /// Its space is given back: a hole in a file, unmapped blocks of a disk that reads them as zeros.
    Free,
    /// It keeps its space, and zeros are written by the device or by the kernel.
    Write,
}

/// A call on a destination that failed before or after the bytes moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{operation} ({bytes} bytes): {errno}")]
pub struct PrepareError {
    /// What was to be done.
    pub operation: &'static str,
    /// The bytes that it was about.
    pub bytes: u64,
    /// How it failed.
    pub errno: Errno,
}

/// Makes the device of an open descriptor; `stream` reads or writes it from where it stands to its end,
/// whatever it is.
#[must_use]
pub fn device_of(
    fd: Arc<OwnedFd>,
    probe: Probe,
    mode: DirectMode,
    writes: bool,
    stream: bool,
) -> Box<dyn Device> {
    device_over(fd, probe, (mode, writes, stream), Vec::new())
}

/// The same, with the claims on what it stands on: a block device keeps them.
pub(crate) fn device_over(
    fd: Arc<OwnedFd>,
    probe: Probe,
    (mode, writes, stream): (DirectMode, bool, bool),
    below: Vec<OwnedFd>,
) -> Box<dyn Device> {
    let class = match probe.kind {
        Kind::File(_) => Class::File,
        Kind::BlockDevice(_) => Class::Block,
        Kind::Pipe => Class::Pipe,
        Kind::Tape(_) => Class::Tape,
        _ => Class::Char,
    };
    match class {
        Class::File if !stream => Box::new(file::File::new(Routes::new(fd, &probe, mode, writes), probe)),
        Class::Block if !stream => {
            Box::new(block::Block::new(Routes::new(fd, &probe, mode, writes), probe, below))
        }
        _ => Box::new(stream::Stream::new(Routes::streamed(fd, &probe), probe, class)),
    }
}
