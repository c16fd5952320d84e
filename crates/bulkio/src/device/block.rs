//! Block devices: disks, partitions, loop and RAM disks.

use std::path::Path;

use super::{Class, Device, PrepareError, Routes};
use crate::probe::Probe;

/// A block device.
#[derive(Debug)]
pub struct Block {
    routes: Routes,
    probe: Probe,
}

impl Block {
    pub(super) const fn new(routes: Routes, probe: Probe) -> Self {
        Self { routes, probe }
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

    /// A device has its size and its space.
    fn prepare(&self, _: u64, _: Option<u64>, _: bool) -> Result<(), PrepareError> {
        Ok(())
    }

    fn settle_len(&self, _: u64, _: bool) -> Result<(), PrepareError> {
        Ok(())
    }

    fn sync_name(&self) -> Result<(), PrepareError> {
        Ok(())
    }
}
