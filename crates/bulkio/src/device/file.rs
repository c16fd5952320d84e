//! Regular files.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::io::retry_on_intr;

use super::{Class, Device, PrepareError, Routes, Zeroing};
use crate::probe::Probe;

/// A regular file.
#[derive(Debug)]
pub struct File {
    routes: Routes,
    probe: Probe,
}

impl File {
    pub(super) const fn new(routes: Routes, probe: Probe) -> Self {
        Self { routes, probe }
    }

    fn size(&self, bytes: u64) -> Result<u64, PrepareError> {
        let stat = rustix::fs::fstat(self.routes.buffered()).map_err(|errno| PrepareError {
            operation: "asking the file for its size",
            bytes,
            errno,
        })?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }
}

impl Device for File {
    fn class(&self) -> Class {
        Class::File
    }

    fn path(&self) -> &Path {
        &self.probe.path
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Files of size 0 may have contents all the same (`/proc`), so they do not say.
    fn len_bytes(&self) -> Option<u64> {
        self.probe.size.filter(|size| *size > 0)
    }

    /// Reserving takes the space before the first byte moves: a full disk shows at once, and writes into reserved space
    /// cost half the CPU time of writes that grow the file.
    fn prepare(&self, start: u64, end: Option<u64>, truncate: bool) -> Result<(), PrepareError> {
        let file = self.routes.buffered();
        if truncate {
            // Like dd: what lies before `start` stays.
            let operation = "truncating the destination";
            let errno = |errno| PrepareError { operation, bytes: start, errno };
            if self.size(start)? > start || start > 0 {
                rustix::fs::ftruncate(file, start).map_err(errno)?;
            }
        }
        let Some(len) = end.and_then(|end| end.checked_sub(start)).filter(|len| *len > 0) else {
            return Ok(());
        };
        match retry_on_intr(|| rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), start, len)) {
            // The file system has no reservations: its writes will tell.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => {
                let operation = "reserving space for the destination";
                Err(PrepareError { operation, bytes: len, errno })
            }
        }
    }

    fn settle_len(&self, end: u64, exact: bool) -> Result<(), PrepareError> {
        let size = self.size(end)?;
        if size < end || (exact && size > end) {
            let operation = "setting the length of the destination";
            rustix::fs::ftruncate(self.routes.buffered(), end).map_err(|errno| PrepareError {
                operation,
                bytes: end,
                errno,
            })?;
        }
        Ok(())
    }

    fn zero(&self, at: u64, len: u64, how: Zeroing) -> Result<(), PrepareError> {
        let (operation, flags) = match how {
            Zeroing::Free => ("punching a hole into the destination", FallocateFlags::PUNCH_HOLE),
            Zeroing::Write => ("zeroing a range of the destination", FallocateFlags::ZERO_RANGE),
        };
        let flags = flags | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| rustix::fs::fallocate(self.routes.buffered(), flags, at, len))
            .map_err(|errno| PrepareError { operation, bytes: len, errno })
    }

    fn sync_name(&self) -> Result<(), PrepareError> {
        let operation = "making the name of the destination durable";
        let errno = |errno| PrepareError { operation, bytes: 0, errno };
        // The folder of the file itself, not of a link to it.
        let Ok(path) = self.probe.path.canonicalize() else { return Ok(()) };
        let Some(folder) = path.parent() else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::empty()) {
            Ok(folder) => rustix::fs::fsync(folder).map_err(errno),
            // Without the right to read the folder there is no way to it; the file itself is durable.
            Err(Errno::ACCESS) => Ok(()),
            Err(error) => Err(errno(error)),
        }
    }
}
