//! Who uses a block device: mounts, swap, and the devices made of it. The kernel says only "busy"; this names
//! the user, so that a person knows what to release.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};

use crate::probe::DeviceNumber;
use crate::probe::host::Host;
use crate::probe::mounts::{mounts, swaps};
use crate::probe::sysfs::BlockFolder;

/// One use of a block device, or of a partition of it, or of the disk that it is a partition of.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Claim {
    /// A file system on it is mounted.
    Mounted {
        /// The device's name (or number).
        device: String,
        /// Where.
        point: PathBuf,
    },
    /// The system swaps to it.
    Swap {
        /// The device's name (or number).
        device: String,
    },
    /// Another device is made of it (device mapper, md).
    Holder {
        /// The device's name (or number).
        device: String,
        /// The name of the device made of it.
        holder: String,
    },
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { device, point } => write!(f, "{device} is mounted at {}", point.display()),
            Self::Swap { device } => write!(f, "the system swaps to {device}"),
            Self::Holder { device, holder } => write!(f, "{holder} is made of {device}"),
        }
    }
}

/// All uses of a device that were found. Empty: the kernel says that there is one, but not whose (another
/// program holds the device exclusively, or the mount is in another namespace).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claims(Vec<Claim>);

impl Claims {
    /// Iterates over the uses that were found.
    pub fn iter(&self) -> impl Iterator<Item = &Claim> {
        self.0.iter()
    }

    /// Says whether no user could be found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the uses of another device.
    pub(super) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Finds who uses the device with this number.
    pub(super) fn find(host: &Host, number: DeviceNumber) -> Self {
        let mut claims = Vec::new();
        let related = Related::of(host, number);
        for mount in mounts(host) {
            // File systems on several disks number their files by a device of their own: the name is left.
            let device =
                related.name_of(mount.device).or_else(|| related.name_of(node_number(&mount.source)?));
            claims.extend(device.map(|device| Claim::Mounted { device, point: mount.point }));
        }
        for swap in swaps(host) {
            let device = node_number(&swap).and_then(|number| related.name_of(number));
            claims.extend(device.map(|device| Claim::Swap { device }));
        }
        for (device, folder) in &related.folders {
            let holders = folder.holders().into_iter().filter_map(|holder| holder.name());
            claims.extend(holders.map(|holder| Claim::Holder { device: device.clone(), holder }));
        }
        Self(claims)
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut claims = self.0.iter();
        match claims.next() {
            None => f.write_str(
                "another program holds it exclusively (see `fuser -v`), or it is mounted in another namespace",
            ),
            Some(first) => {
                write!(f, "{first}")?;
                claims.try_for_each(|claim| write!(f, ", {claim}"))
            }
        }
    }
}

/// A device with those whose use is also a use of it: its partitions, or its disk.
struct Related {
    numbers: Vec<(DeviceNumber, String)>,
    folders: Vec<(String, BlockFolder)>,
}

impl Related {
    fn of(host: &Host, number: DeviceNumber) -> Self {
        let Some(folder) = BlockFolder::find(host, number) else {
            return Self { numbers: vec![(number, number.to_string())], folders: Vec::new() };
        };
        let others = if folder.is_partition() { vec![folder.disk()] } else { folder.partitions() };
        let (mut numbers, mut folders) = (Vec::new(), Vec::new());
        for folder in std::iter::once(folder).chain(others) {
            let found = folder.number();
            let name = folder.name().or_else(|| Some(found?.to_string()));
            let name = name.unwrap_or_else(|| number.to_string());
            numbers.extend(found.map(|number| (number, name.clone())));
            folders.push((name, folder));
        }
        Self { numbers, folders }
    }

    fn name_of(&self, number: DeviceNumber) -> Option<String> {
        self.numbers.iter().find(|&&(found, _)| found == number).map(|(_, name)| name.clone())
    }
}

/// Returns the number of the block device that a node stands for. Only absolute names are looked at: what else
/// a mount may have come from (a server, a word) is no node.
pub(super) fn node_number(node: &Path) -> Option<DeviceNumber> {
    if !node.is_absolute() {
        return None;
    }
    let statx = rustix::fs::statx(CWD, node, AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS).ok()?;
    let is_block = FileType::from_raw_mode(statx.stx_mode.into()) == FileType::BlockDevice;
    is_block.then_some(DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::FakeHost;

    fn found(fake: &FakeHost, minor: u32) -> String {
        Claims::find(&fake.host, DeviceNumber { major: 8, minor }).to_string()
    }

    fn disk() -> FakeHost {
        let fake = FakeHost::new();
        let part = [("partition", "1"), ("start", "2048"), ("size", "8")];
        fake.device("8:0", "sda", &[]).device("8:1", "sda/sda1", &part).device("8:2", "sda/sda2", &part);
        fake.device("9:0", "md0", &[]);
        fake
    }

    #[test]
    fn a_disk_is_used_where_its_partitions_are_and_they_where_it_is() {
        let fake = disk();
        fake.proc("self/mountinfo", "20 1 8:1 / /mnt/a\\040b rw - ext4 /dev/sda1 rw\nnonsense");
        fake.stack("md0", "sda/sda2");
        assert_eq!(found(&fake, 0), "sda1 is mounted at /mnt/a b, md0 is made of sda2");
        assert_eq!(found(&fake, 1), "sda1 is mounted at /mnt/a b");
        assert_eq!(found(&fake, 2), "md0 is made of sda2");
        fake.proc("self/mountinfo", "20 1 8:0 / /mnt rw - ext4 /dev/sda rw");
        assert_eq!(found(&fake, 1), "sda is mounted at /mnt");
    }

    #[test]
    fn without_a_trace_the_message_says_where_else_to_look() {
        let fake = FakeHost::new();
        assert!(Claims::find(&fake.host, DeviceNumber { major: 8, minor: 0 }).is_empty());
        assert!(found(&fake, 0).contains("another program holds it exclusively"));
        fake.proc("self/mountinfo", "20 1 8:0 / /mnt rw - ext4 /dev/sda rw");
        assert_eq!(found(&fake, 0), "8:0 is mounted at /mnt");
    }

    #[test]
    fn only_nodes_of_block_devices_have_a_number() {
        assert_eq!(node_number(Path::new("/dev/null")), None);
        assert_eq!(node_number(Path::new("sda")), None);
        assert_eq!(node_number(Path::new("/nowhere")), None);
    }
}
