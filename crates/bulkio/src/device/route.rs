//! [`Routes`]: the two ways to the bytes of a file or disk, direct and through the page cache, and why the
//! direct one is not taken.
//!
//! Rule `no-silent-fallback`: whoever wanted direct I/O and does not get it finds a [`DirectRefused`] here.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use scatterlist::Limits;

use crate::probe::{DirectIo, Kind, NoDirectIo, Probe};

/// What the user wants of direct I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DirectMode {
    /// Wherever it works; the report says where it does not.
    #[default]
    Auto,
    /// On both sides, or an error.
    Require,
    /// Nowhere.
    Never,
}

/// Why a side does not use direct I/O.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DirectRefused {
    /// The user said so.
    NotWanted,
    /// Streams have none.
    Stream,
    /// The file system states that this file has none.
    FileSystem,
    /// The file system keeps files in memory and copies every byte, whatever the flags say.
    Memory,
    /// Opening with `O_DIRECT` failed.
    Open(Errno),
    /// The node takes commands, and copies what they move: why.
    Door(&'static str),
}

impl fmt::Display for DirectRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWanted => f.write_str("direct I/O was switched off"),
            Self::Stream => f.write_str("a stream is copied by the kernel"),
            Self::FileSystem => f.write_str("the file system has no direct I/O for this file"),
            Self::Memory => f.write_str("the file system keeps its files in memory"),
            Self::Open(errno) => write!(f, "opening for direct I/O failed: {errno}"),
            Self::Door(why) => f.write_str(why),
        }
    }
}

/// File systems that take `O_DIRECT` and copy all the same.
const MEMORY_FILE_SYSTEMS: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// The descriptors and limits of one end.
#[derive(Debug)]
pub struct Routes {
    /// The descriptor that holds the exclusive claim on a disk. It goes to no engine: a ring lets go of its
    /// files some time after it is closed, and the claim must end with the copy.
    claim: Option<Arc<OwnedFd>>,
    buffered: Arc<OwnedFd>,
    direct: Result<Arc<OwnedFd>, DirectRefused>,
    direct_limits: Limits,
    buffered_limits: Limits,
}

impl Routes {
    /// Opens the direct route beside `fd`, where `mode` and the kernel allow it.
    #[must_use]
    pub fn new(fd: Arc<OwnedFd>, probe: &Probe, mode: DirectMode, writes: bool) -> Self {
        let direct = open_direct(&fd, probe, mode, writes);
        let reopened = match probe.kind {
            Kind::BlockDevice(_) if writes => reopen(&fd, OFlags::WRONLY).ok(),
            _ => None,
        };
        let (claim, buffered) = match reopened {
            Some(beside) => (Some(fd), Arc::new(beside)),
            None => (None, fd),
        };
        Self {
            claim,
            buffered,
            direct,
            direct_limits: probe.limits,
            buffered_limits: *probe.buffered_limits(),
        }
    }

    /// Makes the one route of a stream.
    #[must_use]
    pub fn streamed(fd: Arc<OwnedFd>, probe: &Probe) -> Self {
        let limits = *probe.buffered_limits();
        Self {
            claim: None,
            buffered: fd,
            direct: Err(DirectRefused::Stream),
            direct_limits: limits,
            buffered_limits: limits,
        }
    }

    /// Makes the one route of a node that takes commands: there is no page cache beside it. `copies` says why the kernel copies
    /// all the same.
    #[must_use]
    pub fn commands(
        fd: Arc<OwnedFd>,
        claim: Option<OwnedFd>,
        limits: Limits,
        copies: Option<DirectRefused>,
    ) -> Self {
        Self {
            claim: claim.map(Arc::new),
            direct: match copies {
                None => Ok(Arc::clone(&fd)),
                Some(why) => Err(why),
            },
            buffered: fd,
            direct_limits: limits,
            buffered_limits: limits,
        }
    }

    /// Returns the descriptor for transfers through the page cache.
    #[must_use]
    pub const fn buffered(&self) -> &Arc<OwnedFd> {
        &self.buffered
    }

    /// Returns the descriptor that holds the claim on a disk, for calls that no engine carries; else that of [`buffered`](Self::buffered).
    pub(crate) fn holder(&self) -> &Arc<OwnedFd> {
        self.claim.as_ref().unwrap_or(&self.buffered)
    }

    /// Returns the descriptor for direct transfers, or why there is none.
    ///
    /// # Errors
    /// [`DirectRefused`], the reason.
    pub const fn direct(&self) -> Result<&Arc<OwnedFd>, DirectRefused> {
        match &self.direct {
            Ok(fd) => Ok(fd),
            Err(refused) => Err(*refused),
        }
    }

    /// Returns the limits of the best route there is.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        if self.direct.is_ok() { &self.direct_limits } else { &self.buffered_limits }
    }

    /// Returns the limits of transfers through the page cache.
    #[must_use]
    pub const fn buffered_limits(&self) -> &Limits {
        &self.buffered_limits
    }
}

fn open_direct(
    fd: &OwnedFd,
    probe: &Probe,
    mode: DirectMode,
    writes: bool,
) -> Result<Arc<OwnedFd>, DirectRefused> {
    if mode == DirectMode::Never {
        return Err(DirectRefused::NotWanted);
    }
    if let Kind::File(file) = &probe.kind
        && file.file_system.as_deref().is_some_and(|name| MEMORY_FILE_SYSTEMS.contains(&name))
    {
        return Err(DirectRefused::Memory);
    }
    match probe.direct {
        DirectIo::Unsupported { reason: NoDirectIo::NotStorage } => return Err(DirectRefused::Stream),
        DirectIo::Unsupported { .. } => return Err(DirectRefused::FileSystem),
        DirectIo::Supported | DirectIo::Unknown => {}
    }
    let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
    let opened = match reopen(fd, access | OFlags::DIRECT) {
        // A destination that may be written but not read: ragged ends then go through the page cache.
        Err(Errno::ACCESS) if writes => reopen(fd, OFlags::WRONLY | OFlags::DIRECT),
        other => other,
    };
    opened.map(Arc::new).map_err(DirectRefused::Open)
}

/// Opens the same file anew: flags must not change under whoever else holds the first description.
pub(crate) fn reopen(fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path: PathBuf = format!("/proc/self/fd/{}", fd.as_raw_fd()).into();
    rustix::fs::open(&path, flags | OFlags::CLOEXEC, Mode::empty())
}
