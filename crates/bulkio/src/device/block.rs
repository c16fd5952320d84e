//! Block devices: disks, partitions, loop and RAM disks.

use std::path::Path;

use super::{Class, Device, Routes};
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
}
