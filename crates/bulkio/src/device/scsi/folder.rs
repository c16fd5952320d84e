//! [`Folder`]: a SCSI device in sysfs, and the nodes that lead to it.
//!
//! One device has up to four nodes: a block node or a tape node, `/dev/bsg/H:C:T:L`, `/dev/sgN`. Each is found from any other through the
//! folder of the device (`Documentation/ABI/testing/sysfs-bus-scsi`, its links `device` and `subsystem`). A node is named only if it
//! has the number that sysfs states: a name alone may be somebody else's (rule `no-guessing-on-media`).

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags, statx};

use crate::probe::DeviceNumber;
use crate::probe::host::{Host, read_line, read_number};
use crate::probe::sysfs::BlockFolder;

/// The kinds of nodes that a SCSI device may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NodeKind {
    /// A block device: `/dev/sdX`, `/dev/srN`.
    Block,
    /// Block SCSI generic, version 4 of the interface: `/dev/bsg/H:C:T:L`.
    Bsg,
    /// SCSI generic, version 3 of the interface: `/dev/sgN`.
    Generic,
    /// A tape: `/dev/stN`, `/dev/nstN`.
    Tape,
}

impl NodeKind {
    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Bsg => "bsg",
            Self::Generic => "sg",
            Self::Tape => "tape",
        }
    }

    /// Returns the folder of this kind below that of the device.
    const fn folder(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Bsg => "bsg",
            Self::Generic => "scsi_generic",
            Self::Tape => "scsi_tape",
        }
    }

    /// Returns where its nodes are, below `/dev`.
    const fn nodes(self) -> &'static str {
        match self {
            Self::Bsg => "bsg",
            Self::Block | Self::Generic | Self::Tape => "",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A node that leads to the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its path.
    pub path: PathBuf,
    /// Its number.
    pub number: DeviceNumber,
}

/// A SCSI device in sysfs.
#[derive(Clone, Debug)]
pub struct Folder {
    folder: PathBuf,
    host: Host,
}

impl Folder {
    /// Finds the device behind an open node and says of which kind the node is; `None` where it is no node of a SCSI device, or a
    /// partition, or sysfs does not say.
    pub fn of(node: impl AsFd) -> Option<(Self, NodeKind)> {
        let found = statx(node, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
        Self::find(&Host::default(), &found)
    }

    /// As [`of`](Self::of), by the path of a node, which is not opened.
    #[must_use]
    pub fn at(path: &Path) -> Option<(Self, NodeKind)> {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
        Self::find(&Host::default(), &found)
    }

    fn find(host: &Host, node: &Statx) -> Option<(Self, NodeKind)> {
        let number = DeviceNumber { major: node.stx_rdev_major, minor: node.stx_rdev_minor };
        let kind = FileType::from_raw_mode(u32::from(node.stx_mode));
        Self::by_number(host, kind == FileType::BlockDevice, number)
    }

    fn by_number(host: &Host, is_block: bool, number: DeviceNumber) -> Option<(Self, NodeKind)> {
        let class = if is_block { "dev/block" } else { "dev/char" };
        let node = host.sys.join(class).join(number.to_string());
        // A partition has no such link, since a command addresses the whole disk.
        let folder = fs::canonicalize(node.join("device")).ok()?;
        let subsystem = |folder: &Path| {
            let link = fs::canonicalize(folder.join("subsystem")).ok()?;
            Some(link.file_name()?.to_str()?.to_owned())
        };
        if subsystem(&folder)? != "scsi" {
            return None;
        }
        let kind = match subsystem(&node)?.as_str() {
            "block" => NodeKind::Block,
            "bsg" => NodeKind::Bsg,
            "scsi_generic" => NodeKind::Generic,
            "scsi_tape" => NodeKind::Tape,
            _ => return None,
        };
        Some((Self { folder, host: host.clone() }, kind))
    }

    /// Returns the address of the device: host, channel, target, unit.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.folder.file_name()?.to_str()
    }

    /// Says whether the kernel has given the device up: it was taken away, or put offline after faults (`include/scsi/scsi_device.h`,
    /// `enum scsi_device_state`, by the names of `drivers/scsi/scsi_sysfs.c`).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let state = read_line(&self.folder.join("state"));
        state.is_none_or(|state| {
            matches!(state.as_str(), "cancel" | "deleted" | "offline" | "transport-offline")
        })
    }

    /// Returns the node of a kind; `None` where there is none with the right number. Of the nodes of a tape it is the first
    /// by name, `nst` and `st` being many.
    #[must_use]
    pub fn node(&self, kind: NodeKind) -> Option<Node> {
        let (name, number) = self.entry(kind)?;
        let path = self.host.dev.join(kind.nodes()).join(name.replace('!', "/"));
        let found = statx(CWD, &path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
        let is_block = FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::BlockDevice;
        let found = DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
        (found == number && is_block == (kind == NodeKind::Block)).then_some(Node { path, number })
    }

    /// Returns the number of the node of a kind, whether or not it has a name below `/dev`.
    #[must_use]
    pub fn number(&self, kind: NodeKind) -> Option<DeviceNumber> {
        self.entry(kind).map(|(_, number)| number)
    }

    fn entry(&self, kind: NodeKind) -> Option<(String, DeviceNumber)> {
        let entries = fs::read_dir(self.folder.join(kind.folder())).ok()?;
        let entry = entries.flatten().min_by_key(fs::DirEntry::file_name)?;
        let number = read_line(&entry.path().join("dev"))?.parse().ok()?;
        Some((entry.file_name().to_str()?.to_owned(), number))
    }

    /// Reads a number from the queue of the device. Only that of a block node is shown, but it is the same for all.
    #[must_use]
    pub fn queue_number(&self, attribute: &str) -> Option<u64> {
        BlockFolder::find(&self.host, self.number(NodeKind::Block)?)?.queue_number(attribute)
    }

    /// Reads a number of the host adapter: `attribute` of `/sys/class/scsi_host/hostN`.
    #[must_use]
    pub fn host_number(&self, attribute: &str) -> Option<u64> {
        let host = self.address()?.split(':').next()?;
        read_number(&self.host.sys.join("class/scsi_host").join(format!("host{host}")).join(attribute))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::probe::fake::FakeHost;

    fn link(from: &Path, to: &Path) {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        symlink(from, to).unwrap();
    }

    /// A disk with three nodes, as sysfs has it.
    fn disk(fake: &FakeHost) -> PathBuf {
        let sys = &fake.host.sys;
        let device = sys.join("devices/host3/target3:0:0/3:0:0:1");
        for subsystem in ["bus/scsi", "class/block", "class/bsg", "class/scsi_generic"] {
            fs::create_dir_all(sys.join(subsystem)).unwrap();
        }
        let nodes = [
            ("block/sdb", "block", "8:16"),
            ("bsg/3:0:0:1", "bsg", "250:1"),
            ("scsi_generic/sg1", "scsi_generic", "21:1"),
        ];
        for (place, class, number) in nodes {
            let folder = device.join(place);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("dev"), format!("{number}\n")).unwrap();
            link(&device, &folder.join("device"));
            link(&sys.join("class").join(class), &folder.join("subsystem"));
            let by_number = if class == "block" { "dev/block" } else { "dev/char" };
            link(&folder, &sys.join(by_number).join(number));
        }
        link(&sys.join("bus/scsi"), &device.join("subsystem"));
        device
    }

    fn number(text: &str) -> DeviceNumber {
        text.parse().unwrap()
    }

    #[test]
    fn each_node_leads_to_the_others() {
        let fake = FakeHost::new();
        let device = disk(&fake);
        fs::create_dir_all(device.join("block/sdb/queue")).unwrap();
        fs::write(device.join("block/sdb/queue/max_segments"), "128\n").unwrap();
        let adapter = fake.host.sys.join("class/scsi_host/host3");
        fs::create_dir_all(&adapter).unwrap();
        fs::write(adapter.join("sg_tablesize"), "128\n").unwrap();
        let nodes = [
            (true, "8:16", NodeKind::Block),
            (false, "250:1", NodeKind::Bsg),
            (false, "21:1", NodeKind::Generic),
        ];
        for (is_block, own, kind) in nodes {
            let (folder, found) = Folder::by_number(&fake.host, is_block, number(own)).unwrap();
            assert_eq!((found, folder.address()), (kind, Some("3:0:0:1")));
            for (_, other, kind) in nodes {
                assert_eq!(folder.number(kind), Some(number(other)));
                // There are numbers, but no nodes of them.
                assert_eq!(folder.node(kind), None);
            }
            assert_eq!(folder.number(NodeKind::Tape), None);
            assert_eq!(folder.queue_number("max_segments"), Some(128));
            assert_eq!(folder.host_number("sg_tablesize"), Some(128));
        }
    }

    #[test]
    fn a_device_that_was_given_up_is_known() {
        let fake = FakeHost::new();
        let device = disk(&fake);
        let (folder, _) = Folder::by_number(&fake.host, true, number("8:16")).unwrap();
        for (state, gone) in [("running", false), ("blocked", false), ("cancel", true), ("offline", true)] {
            fs::write(device.join("state"), format!("{state}\n")).unwrap();
            assert_eq!(folder.is_gone(), gone, "{state}");
        }
        fs::remove_dir_all(&device).unwrap();
        assert!(folder.is_gone());
    }

    #[test]
    fn what_is_no_scsi_device_is_not_found() {
        let fake = FakeHost::new();
        let device = disk(&fake);
        assert!(Folder::by_number(&fake.host, true, number("8:17")).is_none());
        fs::remove_file(device.join("subsystem")).unwrap();
        link(&fake.host.sys.join("class/nvme"), &device.join("subsystem"));
        assert!(Folder::by_number(&fake.host, true, number("8:16")).is_none());
    }

    #[test]
    fn a_name_with_another_number_is_not_taken() {
        let fake = FakeHost::new();
        let device = disk(&fake);
        // A node that is there, by a number that it does not have.
        fs::remove_dir_all(device.join("scsi_generic")).unwrap();
        let place = device.join("scsi_generic/null");
        fs::create_dir_all(&place).unwrap();
        link(Path::new("/dev/null"), &fake.host.dev.join("null"));
        for (number, found) in [("1:3", true), ("1:5", false)] {
            fs::write(place.join("dev"), format!("{number}\n")).unwrap();
            let (folder, _) = Folder::by_number(&fake.host, true, self::number("8:16")).unwrap();
            assert_eq!(folder.node(NodeKind::Generic).is_some(), found, "{number}");
        }
    }
}
