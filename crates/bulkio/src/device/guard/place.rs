//! One end of a copy, reduced to what tells it from another: the inode of a file, the number of a block
//! device. Names do not count: links, renames and second nodes all lead to the same place.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};

use super::claim::node_number;
use super::refusal::{Refusal, Role};
use super::sibling::Sibling;
use crate::probe::DeviceNumber;
use crate::probe::host::Host;
use crate::probe::ioctl::{self, LoopStatus};
use crate::probe::mounts::mounts;
use crate::probe::sysfs::BlockFolder;

/// One end of a copy, as [`check_overlap`](super::check_overlap) compares it.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    pub(super) layer: Option<Layer>,
}

/// One storage in the stack below an end.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    File {
        device: DeviceNumber,
        inode: u64,
        /// The mount that it was reached through, if that is known.
        mount_id: Option<u64>,
    },
    Block {
        number: DeviceNumber,
        /// What the loop device stands on, if it was asked already.
        backing: Option<LoopStatus>,
    },
}

impl Place {
    /// Looks at an open file; `path` is its name for messages. Streams (pipes, character devices) are places
    /// that nothing overlaps.
    ///
    /// # Errors
    /// [`Refusal::Open`], when the kernel does not say what the descriptor is.
    pub fn of(fd: BorrowedFd<'_>, path: &Path) -> Result<Self, Refusal> {
        Self::on(&Host::default(), fd, path)
    }

    fn on(host: &Host, fd: BorrowedFd<'_>, path: &Path) -> Result<Self, Refusal> {
        let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let statx = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, asked).map_err(|errno| Refusal::Open {
            path: path.to_owned(),
            role: Role::Source,
            errno,
        })?;
        let layer = match FileType::from_raw_mode(statx.stx_mode.into()) {
            FileType::RegularFile => Some(Layer::File {
                device: DeviceNumber { major: statx.stx_dev_major, minor: statx.stx_dev_minor },
                inode: statx.stx_ino,
                mount_id: (statx.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(statx.stx_mnt_id),
            }),
            FileType::BlockDevice => {
                let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
                let is_loop = BlockFolder::find(host, number).is_some_and(|folder| folder.disk().is_loop());
                // A partition of a loop device passes the question on to its disk.
                let backing = if is_loop { ioctl::loop_status(fd).ok() } else { None };
                Some(Layer::Block { number, backing })
            }
            FileType::CharacterDevice => {
                // A node for commands is the disk.
                let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
                let sibling = Sibling::find(host, number);
                sibling.map(|sibling| Layer::Block { number: sibling.number, backing: None })
            }
            _ => None,
        };
        Ok(Self { path: path.to_owned(), layer })
    }

    /// Returns the name that this place was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn made_up(path: &str, layer: Layer) -> Self {
        Self { path: PathBuf::from(path), layer: Some(layer) }
    }
}

/// Returns the block device that holds a file's file system, if it is on one.
pub(super) fn device_below(host: &Host, device: DeviceNumber, mount_id: Option<u64>) -> Option<DeviceNumber> {
    if BlockFolder::find(host, device).is_some() {
        return Some(device);
    }
    // A device number of the file system's own (btrfs): what was mounted tells.
    let found = mounts(host).into_iter().find(|mount| match mount_id {
        Some(id) => mount.id == id,
        None => mount.device == device,
    })?;
    node_number(&found.source)
}

/// Returns the storage that a loop device stands on, and where in it the device starts.
pub(super) fn loop_backing(
    host: &Host,
    disk: &BlockFolder,
    known: Option<LoopStatus>,
) -> Option<(Layer, u64)> {
    if !disk.is_loop() {
        return None;
    }
    if let Some(status) = known.or_else(|| ask_node(host, disk)) {
        let layer = match status.rdevice {
            0 => Layer::File {
                device: DeviceNumber::decode(status.device),
                inode: status.inode,
                mount_id: None,
            },
            rdevice => Layer::Block { number: DeviceNumber::decode(rdevice), backing: None },
        };
        return Some((layer, status.offset_bytes));
    }
    // Without permission to ask the device, the name that the kernel knows is the next best.
    let name = disk.loop_backing()?;
    let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let statx = rustix::fs::statx(CWD, &name, AtFlags::empty(), asked).ok()?;
    let layer = match FileType::from_raw_mode(statx.stx_mode.into()) {
        FileType::BlockDevice => Layer::Block {
            number: DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor },
            backing: None,
        },
        _ => Layer::File {
            device: DeviceNumber { major: statx.stx_dev_major, minor: statx.stx_dev_minor },
            inode: statx.stx_ino,
            mount_id: None,
        },
    };
    Some((layer, disk.loop_offset_bytes().unwrap_or(0)))
}

/// Asks a loop device found in sysfs, through its node, if the node is indeed that device.
fn ask_node(host: &Host, disk: &BlockFolder) -> Option<LoopStatus> {
    let node = host.dev.join(disk.name()?);
    if node_number(&node)? != disk.number()? {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, &node, flags, Mode::empty()).ok()?;
    let statx = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
    let opened = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
    if disk.number() != Some(opened) {
        return None;
    }
    ioctl::loop_status(fd.as_fd()).ok()
}
