//! Block devices: disks, partitions, loop and RAM disks.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Class, Device, Routes};
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
}
