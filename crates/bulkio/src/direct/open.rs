//! [`File`] and [`OpenOptions`]: opening for direct I/O, shaped like the standard library's.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;
use scatterlist::Limits;

use super::file::{Inner, Target};
use super::io::Io;
use super::range_lock::{Lost, Owner, WouldDeadlock};
use super::{OpenError, wait};
use crate::device::guard::{
    Access, ClaimPolicy, Create, DestinationOptions, Refusal, open_destination, open_source,
};
use crate::device::{DirectMode, DirectRefused, Routes};
use crate::probe::{Kind, Probe, probe_fd};
use std::os::fd::{AsFd, OwnedFd};

/// How a file or device is opened. As the standard library's options, and what direct I/O adds.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    truncate: bool,
    direct: DirectMode,
    claim: ClaimPolicy,
    io: Option<Io>,
}

impl OpenOptions {
    /// Opens nothing yet: neither for reading nor for writing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens for reading.
    #[must_use]
    pub fn read(mut self, read: bool) -> Self {
        self.read = read;
        self
    }

    /// Opens for writing. A block device is then claimed: one that is mounted, or in use otherwise, is refused.
    #[must_use]
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// Creates a missing file. Takes writing.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Creates the file, and refuses one that exists. Takes writing.
    #[must_use]
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Empties a file. Takes writing.
    #[must_use]
    pub fn truncate(mut self, truncate: bool) -> Self {
        self.truncate = truncate;
        self
    }

    /// Demands direct I/O, or does without it. By default it is used where it works, and [`File::direct`] tells.
    #[must_use]
    pub fn direct(mut self, mode: DirectMode) -> Self {
        self.direct = mode;
        self
    }

    /// Says what to do about a disk in use; by default it is refused.
    #[must_use]
    pub fn claim(mut self, claim: ClaimPolicy) -> Self {
        self.claim = claim;
        self
    }

    /// Chooses the engines and pages, instead of those that all of the process shares.
    #[must_use]
    pub fn io(mut self, io: &Io) -> Self {
        self.io = Some(io.clone());
        self
    }

    /// Opens a regular file or a block device.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way: something missing, in use or not permitted, something without positions (a pipe, a
    /// terminal, a directory), or direct I/O that was demanded and is not there.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File, OpenError> {
        let path = path.as_ref();
        let access = |what| Err(OpenError::Access { path: path.to_owned(), what });
        if !self.read && !self.write {
            return access("it is to be opened neither for reading nor for writing");
        }
        if !self.write && (self.create || self.create_new || self.truncate) {
            return access("creating and truncating take writing");
        }
        let io = match &self.io {
            Some(io) => io.clone(),
            None => Io::process()?,
        };
        let fd = self.descriptor(path)?;
        let probe = probe_fd(fd.as_fd(), path)?;
        if !matches!(probe.kind, Kind::File(_) | Kind::BlockDevice(_)) {
            return Err(OpenError::NotPositioned { path: path.to_owned(), what: what(&fd) });
        }
        let file = File { inner: Arc::new(self.inner(fd, &probe, &io)?), io };
        if self.truncate && matches!(probe.kind, Kind::File(_)) {
            let errno = |errno| OpenError::Truncate { path: path.to_owned(), bytes: 0, errno };
            file.truncate(0).map_err(errno)?;
        }
        Ok(file)
    }

    fn inner(&self, fd: OwnedFd, probe: &Probe, io: &Io) -> Result<Inner, OpenError> {
        let routes = Routes::new(Arc::new(fd), probe, self.direct, self.write);
        if let (DirectMode::Require, Err(refused)) = (self.direct, routes.direct()) {
            return Err(OpenError::NoDirect { path: probe.path.clone(), refused });
        }
        let bounce_len = u64::try_from(io.bounce_len()).unwrap_or(u64::MAX);
        Inner::new(probe, routes, (self.read, self.write), bounce_len)
    }

    fn descriptor(&self, path: &Path) -> Result<OwnedFd, Refusal> {
        if !self.write {
            return Ok(open_source(path)?.fd);
        }
        let create = match (self.create_new, self.create) {
            (true, _) => Create::Always,
            (false, true) => Create::IfMissing,
            (false, false) => Create::Never,
        };
        let mut options = DestinationOptions { claim: self.claim, create, access: Access::ReadWrite };
        match open_destination(path, &options) {
            // A file that may be written and not read: ragged ends then go through the page cache.
            Err(Refusal::Open { errno: Errno::ACCESS, .. }) if !self.read => {
                options.access = Access::Write;
                Ok(open_destination(path, &options)?.fd)
            }
            opened => Ok(opened?.fd),
        }
    }
}

fn what(fd: &OwnedFd) -> &'static str {
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Fifo) => "pipe",
        Ok(FileType::CharacterDevice) => "character device",
        Ok(FileType::Socket) => "socket",
        Ok(FileType::Directory) => "directory",
        _ => "stream",
    }
}

/// An open file or block device whose transfers go past the page cache, for memory of any address and length at any offset.
///
/// It may be shared between threads: every call takes what it needs of an engine for itself, and writes that touch the same blocks go
/// one after the other.
#[derive(Debug)]
pub struct File {
    pub(super) inner: Arc<Inner>,
    pub(super) io: Io,
}

impl File {
    /// Opens for reading.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().read(true).open(path)
    }

    /// Opens for writing: creates a missing file, and empties one that is there. A block device is neither.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::options().write(true).create(true).truncate(true).open(path)
    }

    /// Starts with options that open nothing.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Says whether transfers go past the page cache.
    ///
    /// # Errors
    /// Why they do not.
    pub fn direct(&self) -> Result<(), DirectRefused> {
        self.inner.direct()
    }

    /// Returns what the file takes, with the source of each limit.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.inner.best_limits()
    }

    /// Returns the path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    /// Returns the engines and pages that it uses.
    #[must_use]
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// Asks for the size, in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn len(&self) -> std::io::Result<u64> {
        let errno = |number: u32| std::io::Error::from_raw_os_error(number.cast_signed());
        self.inner.size().map_err(errno)
    }

    /// Says whether it holds no bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_empty(&self) -> std::io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the length of a regular file, in bytes. Waits for writes of this process to it that are under way.
    ///
    /// # Errors
    /// What the system says; a device has the length that it has. `EDEADLK` where a scope of this thread has writes to it under way;
    /// `EIO` where a write to it was given up and may still happen ([`TransferErrorKind::RangeLost`](super::TransferErrorKind::RangeLost)).
    pub fn set_len(&self, len: u64) -> std::io::Result<()> {
        Ok(self.truncate(len)?)
    }

    fn truncate(&self, len: u64) -> Result<(), Errno> {
        let lock = self.inner.locks().lock(0, u64::MAX, Owner::this_thread(u64::MAX), wait::waker);
        let lock = lock.map_err(|WouldDeadlock| Errno::DEADLK)?;
        wait::until(|| lock.is_held() != Ok(false));
        // A write that was given up could make it longer again, any time.
        lock.is_held().map_err(|Lost { .. }| Errno::IO)?;
        rustix::fs::ftruncate(self.inner.descriptor(Target::Cached), len)
    }

    /// Makes what was written durable, and the metadata that is needed to read it back (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. After an error the data may be lost, and writing it again is the only remedy.
    pub fn sync_data(&self) -> std::io::Result<()> {
        Ok(rustix::fs::fdatasync(self.inner.descriptor(Target::Cached))?)
    }

    /// Makes what was written durable, and all metadata (`fsync`).
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    pub fn sync_all(&self) -> std::io::Result<()> {
        Ok(rustix::fs::fsync(self.inner.descriptor(Target::Cached))?)
    }
}
