//! Block devices: disks, partitions, loop and RAM disks.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::retry_on_intr;

use super::{Class, Device, PrepareError, Routes, Zeroing};
use crate::probe::Probe;

/// A block device.
#[derive(Debug)]
pub struct Block {
    routes: Routes,
    probe: Probe,
    /// The claims on what it stands on, for as long as it is used.
    _below: Vec<OwnedFd>,
}

impl Block {
    pub(super) const fn new(routes: Routes, probe: Probe, below: Vec<OwnedFd>) -> Self {
        Self { routes, probe, _below: below }
    }
}

impl Device for Block {
    fn class(&self) -> Class {
        Class::Block
    }

    fn path(&self) -> &Path {
        &self.probe.path
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn len_bytes(&self) -> Option<u64> {
        self.probe.size
    }

    /// Linux keeps the promise of zeros for both, whatever the device says of what it discards (block/fops.c, `blkdev_fallocate`): a hole is
    /// punched by the device's own command for zeros or not at all, a zeroed range falls back to pages of zeros.
    fn zero(&self, at: u64, len: u64, how: Zeroing) -> Result<(), PrepareError> {
        let (operation, flags) = match how {
            Zeroing::Free => ("unmapping a range of the destination", FallocateFlags::PUNCH_HOLE),
            Zeroing::Write => ("zeroing a range of the destination", FallocateFlags::ZERO_RANGE),
        };
        // Through the descriptor with the claim: another one would be refused where the page cache holds dirty pages.
        let flags = flags | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| rustix::fs::fallocate(self.routes.holder(), flags, at, len))
            .map_err(|errno| PrepareError { operation, bytes: len, errno })
    }
}
