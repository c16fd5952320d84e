//! Block devices as sysfs describes them: what a device number stands for (a disk, a partition, a loop
//! device), its queue attributes, what lies below it and above it.
//!
//! `/sys/dev/block/MAJOR:MINOR` leads to the folder of a disk, which has a `queue`, or of a partition, which
//! has a file `partition` and lies inside the folder of its disk (`Documentation/ABI/stable/sysfs-block`).

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::host::{Host, read_line, read_number};

/// sysfs counts sizes and starts in units of 512 bytes whatever the device's own block is
/// (`Documentation/ABI/stable/sysfs-block`, "size").
const SYSFS_SECTOR_BYTES: u64 = 512;

/// The number of a device: its major and minor part.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// Decodes the 32-bit form that the kernel hands out in ioctls (`new_encode_dev`, `linux/kdev_t.h`).
    pub(crate) const fn decode(encoded: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the masks keep at most 20 bits")]
        Self {
            major: ((encoded >> 8) & 0xfff) as u32,
            minor: ((encoded & 0xff) | ((encoded >> 12) & 0xf_ff00)) as u32,
        }
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A missing colon leaves an empty minor part, which is refused like any other bad number.
        let (major, minor) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

/// A partition's place on its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartitionSpan {
    pub(crate) start_bytes: u64,
    pub(crate) size_bytes: u64,
}

/// A block device's folder in sysfs, found by its number.
#[derive(Clone, Debug)]
pub(crate) struct BlockFolder {
    folder: PathBuf,
    host: Host,
}

impl BlockFolder {
    /// Finds the folder of a block device; `None` where sysfs does not know it or cannot be read.
    pub(crate) fn find(host: &Host, number: DeviceNumber) -> Option<Self> {
        // Resolved once: `..` and the names below must be those of the real folder, not of the link.
        let folder = fs::canonicalize(host.sys.join("dev/block").join(number.to_string())).ok()?;
        Some(Self { folder, host: host.clone() })
    }

    /// Returns the folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the device's name, as its node under `/dev` is called.
    pub(crate) fn name(&self) -> Option<String> {
        device_name(&self.folder)
    }

    /// Returns the device's number, as sysfs states it.
    pub(crate) fn number(&self) -> Option<DeviceNumber> {
        read_line(&self.folder.join("dev"))?.parse().ok()
    }

    /// Says whether this is a partition of a disk.
    pub(crate) fn is_partition(&self) -> bool {
        self.folder.join("partition").exists()
    }

    /// Returns a partition's place on its disk; `None` for a whole disk, or where sysfs does not say.
    pub(crate) fn partition_span(&self) -> Option<PartitionSpan> {
        if !self.is_partition() {
            return None;
        }
        let start = read_number(&self.folder.join("start"))?;
        let start_bytes = start.checked_mul(SYSFS_SECTOR_BYTES)?;
        Some(PartitionSpan { start_bytes, size_bytes: self.size_bytes()? })
    }

    /// Returns the size that sysfs states.
    pub(crate) fn size_bytes(&self) -> Option<u64> {
        read_number(&self.folder.join("size"))?.checked_mul(SYSFS_SECTOR_BYTES)
    }

    /// Returns the folder of the whole disk: itself, or the parent of a partition.
    pub(crate) fn disk(&self) -> Self {
        let folder = if self.is_partition() { self.folder.parent() } else { None };
        Self { folder: folder.unwrap_or(&self.folder).to_owned(), host: self.host.clone() }
    }

    /// Reads one number from the disk's queue folder.
    pub(crate) fn queue_number(&self, attribute: &str) -> Option<u64> {
        read_number(&self.disk().folder.join("queue").join(attribute))
    }

    /// Says whether the whole disk is a loop device with a file attached.
    pub(crate) fn is_loop(&self) -> bool {
        self.folder.join("loop").is_dir()
    }

    /// Returns the name that a loop device's backing file had when it was last looked up.
    pub(crate) fn loop_backing(&self) -> Option<PathBuf> {
        let name = read_line(&self.folder.join("loop/backing_file"))?;
        Some(PathBuf::from(name))
    }

    /// Returns where in its backing file a loop device starts.
    pub(crate) fn loop_offset_bytes(&self) -> Option<u64> {
        read_number(&self.folder.join("loop/offset"))
    }

    /// Lists the partitions of this disk.
    pub(crate) fn partitions(&self) -> Vec<Self> {
        let inside = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        inside
            .map(|entry| Self { folder: entry.path(), host: self.host.clone() })
            .filter(|found| found.is_partition())
            .collect()
    }

    /// Lists the devices that this one is made of (`slaves`: device mapper, md).
    pub(crate) fn slaves(&self) -> Vec<Self> {
        self.linked("slaves")
    }

    /// Lists the devices that are made of this one (`holders`).
    pub(crate) fn holders(&self) -> Vec<Self> {
        self.linked("holders")
    }

    fn linked(&self, kind: &str) -> Vec<Self> {
        let links = fs::read_dir(self.folder.join(kind)).into_iter().flatten().flatten();
        links
            .filter_map(|link| fs::canonicalize(link.path()).ok())
            .map(|folder| Self { folder, host: self.host.clone() })
            .collect()
    }
}

/// Turns a sysfs folder's name into the node's name: sysfs writes `!` where the node has `/`.
fn device_name(folder: &Path) -> Option<String> {
    Some(folder.file_name()?.to_str()?.replace('!', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_decode_and_parse() {
        // 259:70000 does not fit the eight bits of old minors.
        let big = DeviceNumber { major: 259, minor: 70_000 };
        let encoded = (u64::from(big.minor) & 0xff) | (259 << 8) | ((u64::from(big.minor) & !0xff) << 12);
        assert_eq!(DeviceNumber::decode(encoded), big);
        assert_eq!("259:70000".parse(), Ok(big));
        assert_eq!(big.to_string(), "259:70000");
        for garbage in ["", "259", ":", "259:", "a:b", "1:2:3", "-1:2", "99999999999:1"] {
            assert!(garbage.parse::<DeviceNumber>().is_err(), "{garbage}");
        }
    }
}
