//! Whether a file can be used with completions that are asked for (`EngineOptions::polled`).
//!
//! A device without queues for polling takes such a request and answers `EOPNOTSUPP`, or waits for its interrupt all the
//! same, so it is refused before, by what its queue says in sysfs (`Documentation/ABI/stable/sysfs-block`, "io_poll").

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};

use super::error::FileError;
use crate::probe::DeviceNumber;
use crate::probe::host::Host;
use crate::probe::sysfs::BlockFolder;

/// Checks that a file is open with `O_DIRECT` and that the device behind it has queues for polling.
pub(super) fn check(fd: &OwnedFd) -> Result<(), FileError> {
    let failed = |errno: rustix::io::Errno| FileError::Stat { errno: errno.raw_os_error().unsigned_abs() };
    let flags = rustix::fs::fcntl_getfl(fd).map_err(failed)?;
    if !flags.contains(OFlags::DIRECT) {
        return Err(FileError::PolledNotDirect);
    }
    let stat = rustix::fs::fstat(fd).map_err(failed)?;
    let device = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => stat.st_rdev,
        _ => stat.st_dev,
    };
    let number = DeviceNumber { major: rustix::fs::major(device), minor: rustix::fs::minor(device) };
    let folder = BlockFolder::find(&Host::default(), number);
    let name = folder.as_ref().and_then(|folder| folder.disk().name()).unwrap_or_else(|| number.to_string());
    match folder.and_then(|folder| folder.queue_number("io_poll")) {
        Some(1..) => Ok(()),
        io_poll => Err(FileError::NotPolled { device: name, io_poll }),
    }
}
