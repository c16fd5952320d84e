//! The probe's own descriptors: the same file opened once more, read-only, so that the caller's descriptor
//! keeps its position and flags. Only files and block devices come here: opening those has no side effect.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// One file, opened for direct reading if it can be, else for buffered reading if it can be.
#[derive(Debug)]
pub(super) struct Reopened {
    direct: Result<OwnedFd, Errno>,
    buffered: Option<OwnedFd>,
}

impl Reopened {
    /// Opens the file behind `fd`, which may be an `O_PATH` descriptor; `path` serves where `/proc` is not
    /// mounted, if it still leads to the same file.
    pub(super) fn open(fd: BorrowedFd<'_>, path: &Path, statx: &Statx) -> Self {
        let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let open = |flags| match open_quietly(&link, flags) {
            Err(Errno::NOENT | Errno::NOTDIR) => open_same(path, flags, statx),
            opened => opened,
        };
        let direct = open(OFlags::DIRECT);
        let buffered = if direct.is_err() { open(OFlags::empty()).ok() } else { None };
        Self { direct, buffered }
    }

    /// Returns the descriptor for direct reading, or why there is none.
    pub(super) fn direct(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.direct.as_ref().map(OwnedFd::as_fd).map_err(|&errno| errno)
    }

    /// Returns a descriptor for questions, if the file could be opened at all.
    pub(super) fn any(&self) -> Option<BorrowedFd<'_>> {
        self.direct.as_ref().ok().or(self.buffered.as_ref()).map(OwnedFd::as_fd)
    }

    /// Says whether the file opens, but not for direct I/O.
    pub(super) fn refuses_direct(&self) -> bool {
        matches!(self.direct, Err(Errno::INVAL)) && self.buffered.is_some()
    }
}

/// Opens for reading without waiting for a medium, and without touching the access time where that is allowed.
fn open_quietly(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may leave the access time alone.
        Err(Errno::PERM) => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        opened => opened,
    }
}

fn open_same(path: &Path, flags: OFlags, statx: &Statx) -> Result<OwnedFd, Errno> {
    // Looked at before it is opened: by now the name may lead to a FIFO.
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    if !same_file(&found, statx) {
        return Err(Errno::STALE);
    }
    let opened = open_quietly(path, flags)?;
    let found = rustix::fs::statx(&opened, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    if same_file(&found, statx) { Ok(opened) } else { Err(Errno::STALE) }
}

fn same_file(a: &Statx, b: &Statx) -> bool {
    let id = |s: &Statx| (s.stx_dev_major, s.stx_dev_minor, s.stx_ino, s.stx_mode);
    id(a) == id(b)
}
