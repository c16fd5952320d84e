//! The block device beside a node that takes commands: one disk, two nodes, and only the block node knows who uses it.
//!
//! `sg`, `bsg` and NVMe generic nodes can be opened and written to while the disk is mounted. So the sibling is asked, and held
//! exclusively for as long as the node is written to: nobody mounts it meanwhile.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::claim::{Claims, node_number};
use super::open::{ClaimPolicy, Warning};
use super::refusal::{Refusal, Role};
use crate::probe::DeviceNumber;
use crate::probe::chars::CharFolder;
use crate::probe::host::Host;
use crate::probe::sysfs::BlockFolder;

/// The block device of the disk that a node for commands stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sibling {
    pub(super) number: DeviceNumber,
    /// Its node, if there is one that stands for it.
    pub(super) node: Option<PathBuf>,
}

impl Sibling {
    /// Finds the sibling of a character device; `None` where it has none.
    pub(super) fn find(host: &Host, number: DeviceNumber) -> Option<Self> {
        Some(Self::of_block(host, CharFolder::find(host, number)?.block_sibling()?))
    }

    /// Finds the node of a block device.
    pub(super) fn of_block(host: &Host, number: DeviceNumber) -> Self {
        let name = BlockFolder::find(host, number).and_then(|folder| folder.name());
        let node = name.map(|name| host.dev.join(name)).filter(|node| node_number(node) == Some(number));
        Self { number, node }
    }

    /// Opens its node, which must still stand for it.
    pub(super) fn open(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        let node = self.node.as_ref().ok_or(Errno::NXIO)?;
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, node, flags, Mode::empty())?;
        let statx = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
        let is_block = FileType::from_raw_mode(statx.stx_mode.into()) == FileType::BlockDevice;
        if is_block && number == self.number { Ok(fd) } else { Err(Errno::NXIO) }
    }
}

/// Returns the block device of the disk that a node for commands stands for, open for reading; `None` where the disk has none.
///
/// # Errors
/// It has one that cannot be opened.
pub fn open_sibling(number: DeviceNumber) -> Result<Option<OwnedFd>, Errno> {
    Sibling::find(&Host::default(), number).map(|sibling| sibling.open(OFlags::empty())).transpose()
}

/// Takes the claim on the disk behind a node for commands, before that is written to. Where the disk has no block device, or
/// its use is overruled, the warning says so.
pub(super) fn hold(
    host: &Host,
    path: &Path,
    number: DeviceNumber,
    policy: ClaimPolicy,
) -> Result<(Option<OwnedFd>, Vec<Warning>), Refusal> {
    let path = path.to_owned();
    let Some(sibling) = Sibling::find(host, number) else {
        return Ok((None, vec![Warning::Unheld { path, why: "no driver makes a block device of it" }]));
    };
    if sibling.node.is_none() {
        let claims = Claims::find(host, sibling.number);
        return match policy {
            ClaimPolicy::Exclusive if claims.is_empty() => {
                Err(Refusal::NoBlockNode { path, number: sibling.number })
            }
            ClaimPolicy::Exclusive => Err(Refusal::Claimed { path, claims }),
            ClaimPolicy::Forced => {
                let why = "the node of its block device is missing";
                Ok((None, vec![Warning::Unheld { path, why }]))
            }
        };
    }
    match sibling.open(OFlags::EXCL) {
        Ok(fd) => Ok((Some(fd), Vec::new())),
        Err(Errno::BUSY) => {
            let claims = Claims::find(host, sibling.number);
            match policy {
                ClaimPolicy::Exclusive => Err(Refusal::Claimed { path, claims }),
                ClaimPolicy::Forced => Ok((None, vec![Warning::ClaimOverridden { path, claims }])),
            }
        }
        Err(errno) => {
            Err(Refusal::Open { path: sibling.node.unwrap_or(path), role: Role::Destination, errno })
        }
    }
}
