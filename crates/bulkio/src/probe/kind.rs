//! What a path is: a file on which file system, a disk, a partition, a loop device, a stream.

use std::path::PathBuf;

use rustix::fs::{FileType, Statx, StatxFlags};

use super::chars::{CharClass, CharFolder};
use super::host::Host;
use super::mounts;
use super::sysfs::{BlockFolder, DeviceNumber};

/// What a path or an open file is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File(File),
    /// A block device.
    BlockDevice(BlockDevice),
    /// A pipe, named or not.
    Pipe,
    /// A tape drive.
    Tape(TapeNode),
    /// A character device.
    CharDevice {
        /// Its number.
        number: DeviceNumber,
        /// Its class, as far as this library knows it.
        class: CharClass,
    },
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// Something that this version does not know.
    Other,
}

/// A regular file, and where it lives.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct File {
    /// The file system's name as in `/proc/mounts`; `None` where the mount cannot be seen.
    pub file_system: Option<String>,
    /// Where that file system is mounted.
    pub mount_point: Option<PathBuf>,
    /// The device that the file system numbers its files by.
    pub device: DeviceNumber,
    /// The inode number.
    pub inode: u64,
    /// The name of the block device that holds the file system, when it is on exactly one.
    pub block_device: Option<String>,
}

/// A block device.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BlockDevice {
    /// Its number.
    pub number: DeviceNumber,
    /// Its name under `/dev`; `None` where sysfs cannot be read.
    pub name: Option<String>,
    /// The name of the whole disk, its own if it is no partition.
    pub disk_name: Option<String>,
    /// First byte on the disk, when it is a partition.
    pub partition_start: Option<u64>,
    /// The file behind it, when it (or its disk) is a loop device: the name that the kernel knows.
    pub loop_backing: Option<PathBuf>,
}

/// A node of a tape drive: major 9 (Linux, Documentation/admin-guide/devices.txt, "9 char").
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TapeNode {
    /// Its number.
    pub number: DeviceNumber,
    /// Which drive: the number in its name.
    pub drive: u32,
    /// Whether the tape is rewound when this node is closed.
    pub rewinds: bool,
}

impl TapeNode {
    /// The major number of tape drives.
    pub const MAJOR: u32 = 9;

    /// The bit of the minor number of nodes that do not rewind.
    pub const KEEPS_POSITION: u32 = 0x80;

    /// Takes a number apart: five bits of the drive, two of a mode, one that says whether it keeps its position, and what is above belongs
    /// to the drive again (Linux, drivers/scsi/st.c, `TAPE_NR`).
    #[must_use]
    pub const fn of(number: DeviceNumber) -> Self {
        let drive = (number.minor & 0x1f) | ((number.minor & !0xff) >> 3);
        Self { number, drive, rewinds: number.minor & Self::KEEPS_POSITION == 0 }
    }
}

pub(super) fn file(host: &Host, statx: &Statx) -> File {
    let device = DeviceNumber { major: statx.stx_dev_major, minor: statx.stx_dev_minor };
    let known = statx.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    let mount = mounts::mounts(host).into_iter().find(|mount| known && mount.id == statx.stx_mnt_id);
    let (file_system, mount_point) = mount.map(|mount| (mount.file_system, mount.point)).unzip();
    let block_device = BlockFolder::find(host, device).and_then(|folder| folder.name());
    File { file_system, mount_point, device, inode: statx.stx_ino, block_device }
}

pub(super) fn block_device(number: DeviceNumber, folder: Option<&BlockFolder>) -> BlockDevice {
    BlockDevice {
        number,
        name: folder.and_then(BlockFolder::name),
        disk_name: folder.and_then(|folder| folder.disk().name()),
        partition_start: folder.and_then(|folder| Some(folder.partition_span()?.start_bytes)),
        loop_backing: folder.and_then(|folder| folder.disk().loop_backing()),
    }
}

pub(super) fn stream_kind(host: &Host, file_type: FileType, statx: &Statx) -> Kind {
    match file_type {
        FileType::Fifo => Kind::Pipe,
        FileType::CharacterDevice => {
            let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
            if number.major == TapeNode::MAJOR {
                return Kind::Tape(TapeNode::of(number));
            }
            let class = CharFolder::find(host, number).map_or(CharClass::Other, |folder| folder.class());
            Kind::CharDevice { number, class }
        }
        FileType::Directory => Kind::Directory,
        FileType::Socket => Kind::Socket,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_tape_drives_are_taken_apart() {
        let of = |minor| {
            let node = TapeNode::of(DeviceNumber { major: TapeNode::MAJOR, minor });
            (node.drive, node.rewinds)
        };
        // st0, st1, nst0, nst1, nst3 in its third mode, nst32.
        assert_eq!([of(0), of(1), of(128), of(129)], [(0, true), (1, true), (0, false), (1, false)]);
        assert_eq!(of(128 + 96 + 3), (3, false));
        assert_eq!(of(256 + 128), (32, false));
    }
}
