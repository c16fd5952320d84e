//! Who uses the disks that loop devices stand on, at any depth below a destination: a loop device over a disk is one more door to it,
//! and the kernel's claim on the loop device says nothing of that disk.
//!
//! What stacked devices (device mapper, md) are made of they hold themselves, so that it is only walked through: with the stack's
//! claim nobody else has it. What a loop device stands on is asked, and held exclusively where it can be. Contract: what cannot be
//! followed to its end is refused, what cannot be held is told.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::claim::Claims;
use super::overlap::LAYERS_MAX;
use super::place::{Layer, loop_backing};
use super::refusal::Refusal;
use super::sibling::Sibling;
use crate::probe::DeviceNumber;
use crate::probe::host::Host;
use crate::probe::ioctl;
use crate::probe::sysfs::BlockFolder;

/// What is done about the disks below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// They are held exclusively.
    Take,
    /// They are only looked at.
    Leave,
}

/// The disks that loop devices stand on below a block device.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Who uses them, as far as it can be found.
    pub(super) claims: Claims,
    /// Whether one of them is in use, by whomever.
    pub(super) in_use: bool,
    /// Whether one of them could not be opened, so that it is not held.
    pub(super) unheld: bool,
    /// The claims on them.
    pub(super) held: Vec<OwnedFd>,
}

impl Below {
    /// Follows a block device down; nothing is found where there is no loop device, or those there are stand on files. `fd` is the
    /// device, if it is open.
    ///
    /// # Errors
    /// [`Refusal::TooDeep`], where there are more than [`LAYERS_MAX`] devices.
    pub(super) fn find(
        host: &Host,
        path: &Path,
        (number, fd): (DeviceNumber, Option<BorrowedFd<'_>>),
        hold: Hold,
    ) -> Result<Self, Refusal> {
        let mut below = Self::default();
        let (mut asked, mut seen, mut open) = (Vec::new(), vec![number], vec![number]);
        let is_loop = BlockFolder::find(host, number).is_some_and(|folder| folder.disk().is_loop());
        let mut known = fd.filter(|_| is_loop).and_then(|fd| ioctl::loop_status(fd).ok());
        while let Some(number) = open.pop() {
            let Some(disk) = BlockFolder::find(host, number).map(|folder| folder.disk()) else { continue };
            let mut next: Vec<_> = disk.slaves().into_iter().filter_map(|slave| slave.number()).collect();
            if let Some((Layer::Block { number, .. }, _)) = loop_backing(host, &disk, known.take()) {
                if !asked.contains(&number) {
                    asked.push(number);
                    below.ask(host, number, hold);
                }
                next.push(number);
            }
            for number in next {
                if seen.contains(&number) {
                    continue;
                }
                if seen.len() >= LAYERS_MAX {
                    return Err(Refusal::TooDeep { path: path.to_owned(), layers_max: LAYERS_MAX });
                }
                seen.push(number);
                open.push(number);
            }
        }
        Ok(below)
    }

    /// Finds who uses one disk, and holds it.
    fn ask(&mut self, host: &Host, number: DeviceNumber, hold: Hold) {
        let claims = Claims::find(host, number);
        self.in_use |= !claims.is_empty();
        self.claims.add(claims);
        if hold == Hold::Leave {
            return;
        }
        match Sibling::of_block(host, number).open(OFlags::EXCL) {
            Ok(fd) => self.held.push(fd),
            Err(Errno::BUSY) => self.in_use = true,
            Err(_) => self.unheld = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};

    use super::*;
    use crate::probe::fake::FakeHost;

    fn find(fake: &FakeHost, minor: u32) -> Result<Below, Refusal> {
        let number = DeviceNumber { major: 253, minor };
        Below::find(&fake.host, Path::new("dm"), (number, None), Hold::Take)
    }

    #[test]
    fn a_stack_over_a_loop_over_a_mounted_disk_is_a_door_to_it() {
        let fake = FakeHost::new();
        let node = fake.host.dev.join("backing");
        let number = rustix::fs::makedev(8, 0);
        let mode = Mode::from_raw_mode(0o600);
        if let Err(errno) = rustix::fs::mknodat(CWD, &node, FileType::BlockDevice, mode, number) {
            eprintln!("skipped a_stack_over_a_loop_over_a_mounted_disk_is_a_door_to_it: a node: {errno}");
            return;
        }
        let name = node.to_str().unwrap();
        fake.device("8:0", "sda", &[]).device("7:0", "loop0", &[("loop/backing_file", name)]);
        fake.device("253:0", "dm-0", &[]).device("253:1", "dm-1", &[]);
        fake.stack("dm-1", "dm-0").stack("dm-0", "loop0");
        let free = find(&fake, 1).unwrap();
        // Nobody uses it; that its own node is missing is told. What the stack holds is not in use by somebody else.
        assert!(!free.in_use && free.claims.is_empty() && free.unheld, "{free:?}");
        fake.proc("self/mountinfo", "20 1 8:0 / /mnt rw - ext4 /dev/sda rw");
        let used = find(&fake, 1).unwrap();
        assert!(used.in_use);
        assert_eq!(used.claims.to_string(), "sda is mounted at /mnt");
        // The disk itself stands on nothing.
        let sda = DeviceNumber { major: 8, minor: 0 };
        let below = Below::find(&fake.host, Path::new("sda"), (sda, None), Hold::Take).unwrap();
        assert!(!below.in_use && !below.unheld && below.held.is_empty());
    }

    #[test]
    fn what_is_too_deep_is_refused_and_what_goes_in_circles_ends() {
        let fake = FakeHost::new();
        for minor in 0..=LAYERS_MAX {
            fake.device(&format!("253:{minor}"), &format!("dm-{minor}"), &[]);
        }
        for minor in 0..LAYERS_MAX {
            fake.stack(&format!("dm-{minor}"), &format!("dm-{}", minor + 1));
        }
        let refused = find(&fake, 0).unwrap_err();
        assert!(matches!(refused, Refusal::TooDeep { layers_max: LAYERS_MAX, .. }), "{refused}");
        assert!(find(&fake, 1).is_ok());
        let fake = FakeHost::new();
        fake.device("253:0", "dm-0", &[]).device("253:1", "dm-1", &[]);
        fake.stack("dm-0", "dm-1").stack("dm-1", "dm-0");
        assert!(find(&fake, 0).is_ok());
    }
}
