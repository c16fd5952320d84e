//! What a disk is called by its maker: model and serial numbers, as sysfs tells them, whichever node of the disk is open.
//!
//! Neighbours: `expect` compares, the command shows. Nothing is asked of the device here: the kernel read its pages when it found the
//! disk. What sysfs does not say is left out, never made up.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, StatxFlags};

use crate::device::scsi::serial_of;
use crate::probe::DeviceNumber;
use crate::probe::chars::CharFolder;
use crate::probe::host::{Host, read_line};
use crate::probe::sysfs::BlockFolder;

/// Bytes before the serial number in page 80h (SPC-4, "Unit Serial Number VPD page").
const PAGE_HEADER_LEN: usize = 4;

/// Folders above a disk in which a USB device is looked for.
const PARENTS_MAX: usize = 16;

/// What the maker of a disk calls it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Identity {
    /// Vendor and model, as far as they are known.
    pub model: Option<String>,
    /// Its serial numbers and world-wide names, each once, the plainest first; empty where the disk has none.
    pub serials: Vec<String>,
}

impl Identity {
    /// Looks up the disk behind an open node: a block device, a partition of one, or a node that takes commands. Empty where it is
    /// no disk.
    #[must_use]
    pub fn of(fd: BorrowedFd<'_>) -> Self {
        Self::on(&Host::default(), fd)
    }

    fn on(host: &Host, fd: BorrowedFd<'_>) -> Self {
        let asked = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let Ok(statx) = asked else { return Self::default() };
        let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
        match FileType::from_raw_mode(statx.stx_mode.into()) {
            FileType::BlockDevice => Self::of_block(host, number),
            FileType::CharacterDevice => Self::of_char(host, number),
            _ => Self::default(),
        }
    }

    /// Returns where an open block device starts on its disk, if it is a partition.
    pub(crate) fn partition_start_bytes(fd: BorrowedFd<'_>) -> Option<u64> {
        let statx = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok()?;
        if FileType::from_raw_mode(statx.stx_mode.into()) != FileType::BlockDevice {
            return None;
        }
        let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
        BlockFolder::find(&Host::default(), number)?.partition_span().map(|span| span.start_bytes)
    }

    fn of_block(host: &Host, number: DeviceNumber) -> Self {
        let folder = BlockFolder::find(host, number).map(|folder| folder.disk());
        folder.map_or_else(Self::default, |folder| Self::read(folder.folder()))
    }

    fn of_char(host: &Host, number: DeviceNumber) -> Self {
        let Some(folder) = CharFolder::find(host, number) else { return Self::default() };
        match folder.block_sibling() {
            Some(sibling) => Self::of_block(host, sibling),
            None if folder.class().takes_commands() => Self::read(folder.folder()),
            None => Self::default(),
        }
    }

    /// Reads what the folder of a node and that of its device say.
    fn read(folder: &Path) -> Self {
        let device = fs::canonicalize(folder.join("device")).unwrap_or_else(|_| folder.to_owned());
        // Documentation/ABI/testing/sysfs-block-device, sysfs-class-nvme, stable/sysfs-block: virtio has `serial` beside the
        // queue, NVMe and MMC have it beside the device, SCSI keeps the page.
        let page = fs::read(device.join("vpd_pg80")).ok();
        let page = page.and_then(|page| serial_of(page.get(PAGE_HEADER_LEN..)?));
        let mut serials = Vec::new();
        let said = [folder.join("serial"), device.join("serial"), folder.join("wwid"), device.join("wwid")];
        let usb = usb_folder(&device).map(|usb| usb.join("serial"));
        for text in page.into_iter().chain(said.into_iter().chain(usb).filter_map(|file| read_line(&file))) {
            if !serials.contains(&text) {
                serials.push(text);
            }
        }
        let words = [device.join("vendor"), device.join("model"), device.join("name")];
        // A number of the bus (virtio, PCI) is no vendor.
        let is_word = |word: &String| !word.starts_with("0x");
        let words: Vec<_> = words.iter().filter_map(|file| read_line(file)).filter(is_word).collect();
        Self { model: (!words.is_empty()).then(|| words.join(" ")), serials }
    }
}

/// Finds the USB device that a disk is, where it is one: its serial number is the one that people see.
fn usb_folder(device: &Path) -> Option<PathBuf> {
    let parents = device.ancestors().take(PARENTS_MAX);
    parents.map(Path::to_owned).find(|folder| folder.join("idVendor").exists())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::probe::fake::FakeHost;

    fn number(text: &str) -> DeviceNumber {
        text.parse().unwrap()
    }

    /// A SCSI disk with a partition and a generic node.
    fn scsi() -> FakeHost {
        let fake = FakeHost::new();
        let device = "usb1/1-1/host0/0:0:0:0";
        fake.device("8:0", &format!("{device}/block/sda"), &[]);
        fake.device("8:1", &format!("{device}/block/sda/sda1"), &[("partition", "1")]);
        fake.char_device("21:0", &format!("{device}/scsi_generic/sg0"), "scsi_generic");
        fake.attributes(
            device,
            &[("vendor", "Make    "), ("model", "Drive 5"), ("wwid", "naa.5000c500a1b2c3d4")],
        );
        fake.attributes("usb1/1-1", &[("idVendor", "1234"), ("serial", "USB77")]);
        let folder = fake.host.sys.join("devices").join(device);
        for node in ["block/sda", "scsi_generic/sg0"] {
            symlink(&folder, folder.join(node).join("device")).unwrap();
        }
        fake
    }

    #[test]
    fn every_node_of_a_disk_has_its_numbers() {
        let fake = scsi();
        let device = fake.host.sys.join("devices/usb1/1-1/host0/0:0:0:0");
        fs::write(device.join("vpd_pg80"), b"\0\x80\0\x08  S12345").unwrap();
        let expected = Identity {
            model: Some("Make Drive 5".to_owned()),
            serials: ["S12345", "naa.5000c500a1b2c3d4", "USB77"].map(str::to_owned).to_vec(),
        };
        assert_eq!(Identity::of_block(&fake.host, number("8:0")), expected);
        assert_eq!(Identity::of_block(&fake.host, number("8:1")), expected);
        assert_eq!(Identity::of_char(&fake.host, number("21:0")), expected);
    }

    #[test]
    fn nvme_and_virtio_say_it_in_files_of_their_own() {
        let fake = FakeHost::new();
        fake.device("259:0", "nvme0/nvme0n1", &[("wwid", "eui.0123")]);
        fake.attributes("nvme0", &[("serial", "N1   "), ("model", "Fast  ")]);
        let devices = fake.host.sys.join("devices");
        symlink(devices.join("nvme0"), devices.join("nvme0/nvme0n1/device")).unwrap();
        fake.char_device("250:0", "nvme0/ng0n1", "nvme-generic");
        let expected = Identity {
            model: Some("Fast".to_owned()),
            serials: ["N1", "eui.0123"].map(str::to_owned).to_vec(),
        };
        assert_eq!(Identity::of_block(&fake.host, number("259:0")), expected);
        assert_eq!(Identity::of_char(&fake.host, number("250:0")), expected);
        fake.device("254:0", "virtio0/block/vda", &[("serial", "V1")]);
        fake.attributes("virtio0", &[("vendor", "0x1af4")]);
        symlink(devices.join("virtio0"), devices.join("virtio0/block/vda/device")).unwrap();
        let found = Identity::of_block(&fake.host, number("254:0"));
        assert_eq!((found.model, found.serials), (None, vec!["V1".to_owned()]));
        assert_eq!(Identity::of_block(&fake.host, number("7:0")), Identity::default());
    }
}
