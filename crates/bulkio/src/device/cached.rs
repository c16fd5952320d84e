//! What the page cache holds of a disk whose bytes move by commands: the block node beside the node for commands.
//!
//! Commands go past the cache. What was written through the block node and waits there would be missed by a read, and would
//! overwrite what a command wrote before; what was read there is stale afterwards. So it is written out first, and dropped
//! at the end.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::Advice;
use rustix::io::Errno;

/// A call on the page cache of a disk that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheError(pub Errno);

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writing out what waits in the page cache of its block device failed: {}", self.0)
    }
}

impl std::error::Error for CacheError {}

/// Writes out what waits in the cache of a block device, and drops what it holds.
///
/// # Errors
/// [`CacheError`] where the writes fail.
pub(super) fn settle(block: BorrowedFd<'_>) -> Result<(), CacheError> {
    rustix::fs::fsync(block).map_err(CacheError)?;
    drop_clean(block);
    Ok(())
}

/// Drops what the cache holds of a block device and need not be written.
pub(super) fn drop_clean(block: BorrowedFd<'_>) {
    // Advice: the kernel drops what nobody has mapped. There is nothing to do about the rest.
    let _ = rustix::fs::fadvise(block.as_fd(), 0, None, Advice::DontNeed);
}
