//! Standard output that is a disk: it came open, so none of the guard's checks was made when that happened, and it cannot be held.
//!
//! A shell opens `> /dev/sda` for whoever asks, mounted or not. The disk is to be named as the destination: then everything is checked.
//! Files, pipes and terminals are what standard output is for. A descriptor that cannot be looked at is refused, not guessed at.

use std::fs;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags};

use super::refusal::{Refusal, Role};
use crate::probe::DeviceNumber;
use crate::probe::chars::CharFolder;
use crate::probe::host::Host;

/// Refuses standard output where it is a block device, or a node that takes the commands of one.
///
/// # Errors
/// [`Refusal::StandardOutputDisk`], with the disk's name where `/proc` tells; [`Refusal::Open`], where the system does not say what it
/// is (statx).
pub fn check_standard_output(output: impl AsFd) -> Result<(), Refusal> {
    let output = output.as_fd();
    let statx = rustix::fs::statx(output, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|errno| Refusal::Open { path: "standard output".into(), role: Role::Destination, errno })?;
    let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
    let host = Host::default();
    let is_disk = match FileType::from_raw_mode(statx.stx_mode.into()) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => {
            CharFolder::find(&host, number).is_some_and(|folder| folder.class().takes_commands())
        }
        _ => false,
    };
    if !is_disk {
        return Ok(());
    }
    let link = host.proc.join("self/fd").join(output.as_raw_fd().to_string());
    Err(Refusal::StandardOutputDisk { number, node: fs::read_link(link).ok().filter(|node| is_name(node)) })
}

/// Says whether a link of `/proc` is a name that can be used: that of a node which is gone cannot.
fn is_name(node: &Path) -> bool {
    node.is_absolute() && node.exists()
}
