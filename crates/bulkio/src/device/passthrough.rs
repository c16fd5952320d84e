//! Disks that take commands, as ends of a copy: SCSI through any of its doors, NVMe through its generic node.
//!
//! The classes stand for themselves and know nothing of copies; here is what both lack for one: the claim, which lies with the block node
//! of the same disk, and the page cache, which commands go past.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use scatterlist::Status;

use super::cached::{self, CacheError};
use super::guard::open_sibling;
use super::{Class, Device, DirectMode, DirectRefused, PrepareError, Routes, nvme, scsi, scsi_generic};
use crate::engine::CommandSet;
use crate::probe::{CharClass, Kind, Probe};

/// Why a node cannot be an end by commands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassthroughError {
    /// A SCSI disk that cannot be used.
    #[error(transparent)]
    Scsi(#[from] scsi_generic::OpenError),
    /// An NVMe namespace that cannot be used.
    #[error(transparent)]
    Nvme(#[from] nvme::OpenError),
    /// The node cannot be opened.
    #[error("opening {} for commands: {errno}", .path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The system's answer.
        errno: Errno,
    },
    /// What waits in the page cache of the same disk cannot be written out.
    #[error("{}: {why}", .path.display())]
    Cache {
        /// The node.
        path: PathBuf,
        /// Why not.
        why: CacheError,
    },
}

#[derive(Debug)]
enum Disk {
    Scsi(scsi_generic::Disk),
    Nvme(nvme::Namespace),
}

/// A disk that takes commands.
#[derive(Debug)]
pub struct Passthrough {
    disk: Disk,
    path: PathBuf,
    routes: Routes,
    /// The block node of the disk, for its cache; an error where there is one that cannot be opened.
    block: Result<Option<OwnedFd>, Errno>,
}

/// Says whether a path is a node that takes commands and nothing else.
#[must_use]
pub const fn takes_commands(probe: &Probe) -> bool {
    matches!(probe.kind, Kind::CharDevice { class, .. } if class.takes_commands())
}

impl Passthrough {
    /// Takes an open node; `claim` is the claim on its disk, where that is to be written.
    ///
    /// # Errors
    /// [`PassthroughError`]: it is no disk, its format is not one that is known, or it must not be written.
    pub fn new(
        fd: Arc<OwnedFd>,
        claim: Option<OwnedFd>,
        probe: &Probe,
        direct: DirectMode,
        writes: bool,
    ) -> Result<Self, PassthroughError> {
        let path = probe.path.clone();
        let (disk, limits, copies) = if is_nvme(probe) {
            let namespace = nvme::Namespace::over(Arc::clone(&fd), &path, writes)?;
            let limits = *namespace.limits();
            (Disk::Nvme(namespace), limits, None)
        } else {
            let options = scsi_generic::DiskOptions { writes, direct, ..Default::default() };
            let disk = scsi_generic::Disk::from_fd(Arc::clone(&fd), &path, &options)?;
            let (limits, copies) = (*disk.limits(), disk.direct().err());
            (Disk::Scsi(disk), limits, copies.map(|why| DirectRefused::Door(why.as_str())))
        };
        let block = match (&probe.kind, &claim) {
            (Kind::CharDevice { number, .. }, None) => open_sibling(*number),
            (_, Some(held)) => again(held),
            (_, None) => again(&fd),
        };
        Ok(Self { disk, path, routes: Routes::commands(fd, claim, limits, copies), block })
    }

    /// Opens a node for reading, to ask what it is.
    ///
    /// # Errors
    /// [`PassthroughError`].
    pub fn open(probe: &Probe) -> Result<Self, PassthroughError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&probe.path, flags, Mode::empty());
        let fd = opened.map_err(|errno| PassthroughError::Open { path: probe.path.clone(), errno })?;
        Self::new(Arc::new(fd), None, probe, DirectMode::Auto, false)
    }

    /// Writes out what waits in the page cache of the disk, and drops what lies there: before commands read or write it.
    ///
    /// # Errors
    /// [`PassthroughError::Cache`].
    pub fn settle_cache(&self) -> Result<(), PassthroughError> {
        let settled = match &self.block {
            Ok(None) => Ok(()),
            Ok(Some(block)) => cached::settle(block.as_fd()),
            Err(errno) => Err(CacheError(*errno)),
        };
        settled.map_err(|why| PassthroughError::Cache { path: self.path.clone(), why })
    }

    /// Returns what the disk says of itself, as names and words.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        match &self.disk {
            Disk::Scsi(disk) => scsi_facts(disk),
            Disk::Nvme(namespace) => nvme_facts(namespace),
        }
    }
}

fn scsi_facts(disk: &scsi_generic::Disk) -> Vec<(&'static str, String)> {
    let facts = disk.facts();
    let mut said = vec![
        ("vendor", facts.inquiry.vendor.clone()),
        ("model", facts.inquiry.product.clone()),
        ("revision", facts.inquiry.revision.clone()),
    ];
    said.extend(facts.serial.clone().map(|serial| ("serial", serial)));
    said.extend(facts.wwid.clone().map(|wwid| ("wwid", wwid)));
    said.push(("block bytes", format!("{}, physical {}", facts.block_bytes, facts.physical_block_bytes)));
    let protected = facts.is_write_protected.map(|protected| if protected { "yes" } else { "no" });
    said.push(("write-protected", protected.unwrap_or("it does not say").to_owned()));
    said.push(("door", disk.door().kind().to_string()));
    let moves = disk.direct().map_or_else(|why| why.to_string(), |()| "without a copy".to_owned());
    said.push(("transfers", moves));
    said
}

fn nvme_facts(namespace: &nvme::Namespace) -> Vec<(&'static str, String)> {
    let (controller, format) = (namespace.controller(), namespace.format());
    let has = |has: bool| if has { "yes" } else { "no" }.to_owned();
    vec![
        ("model", controller.model.clone()),
        ("serial", controller.serial.clone()),
        ("firmware", controller.firmware.clone()),
        ("namespace", namespace.id().to_string()),
        ("block device", namespace.block_sibling().name.clone()),
        ("block bytes", format.block_len.to_string()),
        ("write cache", has(controller.has_write_cache())),
        ("write zeroes", has(controller.has_write_zeroes())),
        ("deallocate", has(controller.has_deallocate())),
    ]
}

/// Shares an open block node.
fn again(held: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    rustix::io::fcntl_dupfd_cloexec(held, 0).map(Some)
}

fn is_nvme(probe: &Probe) -> bool {
    matches!(probe.kind, Kind::CharDevice { class: CharClass::NvmeGeneric, .. })
}

impl Device for Passthrough {
    fn class(&self) -> Class {
        match self.disk {
            Disk::Scsi(_) => Class::Scsi,
            Disk::Nvme(_) => Class::Nvme,
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn routes(&self) -> &Routes {
        &self.routes
    }

    fn len_bytes(&self) -> Option<u64> {
        Some(match &self.disk {
            Disk::Scsi(disk) => disk.len_bytes(),
            Disk::Nvme(namespace) => namespace.len_bytes(),
        })
    }

    fn commands(&self) -> Option<Arc<dyn CommandSet>> {
        Some(match &self.disk {
            Disk::Scsi(disk) => Arc::clone(disk.commands()) as _,
            Disk::Nvme(namespace) => namespace.commands(),
        })
    }

    fn copied(&self) -> Option<(u64, String)> {
        let Disk::Scsi(disk) = &self.disk else { return None };
        let bytes = disk.counts().copied_bytes;
        let door = disk.door().kind();
        (disk.direct().is_ok() && bytes > 0)
            .then(|| (bytes, format!("the kernel copied what the {door} node should have moved itself")))
    }

    fn is_bad_block(&self, status: Status) -> bool {
        match &self.disk {
            Disk::Scsi(_) => {
                scsi::ScsiStatus::of_fault(&status).is_some_and(scsi::ScsiStatus::is_medium_error)
            }
            Disk::Nvme(_) => {
                nvme::CommandStatus::from_status(status).is_some_and(nvme::CommandStatus::is_medium_error)
            }
        }
    }

    fn explain(&self, status: u32) -> Option<String> {
        let status = Status::Device(status);
        match &self.disk {
            Disk::Scsi(_) => scsi::ScsiStatus::of_fault(&status).map(|status| status.to_string()),
            Disk::Nvme(_) => nvme::CommandStatus::from_status(status).map(|status| status.to_string()),
        }
    }

    /// What the cache holds of the disk is older than what was written.
    fn settle_len(&self, _end: u64, _exact: bool) -> Result<(), PrepareError> {
        if let Ok(Some(block)) = &self.block {
            cached::drop_clean(block.as_fd());
        }
        Ok(())
    }
}
