//! Character devices as sysfs describes them: which of the classes that we know a number belongs to, and the block device that
//! is the same disk.
//!
//! `/sys/dev/char/MAJOR:MINOR` leads to the folder of a device; its link `subsystem` names the class
//! (`Documentation/ABI/stable/sysfs-class-*`, `Documentation/driver-api/driver-model`). Nothing is opened here: `sg`, `bsg` and NVMe
//! generic nodes go past every check that the block node makes, so whoever writes to one holds its sibling.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::host::{Host, read_line};
use super::sysfs::DeviceNumber;
use crate::device::audio::node_parts;

/// The classes of character devices that this library knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CharClass {
    /// `/dev/sgN`: SCSI generic.
    ScsiGeneric,
    /// `/dev/bsg/H:C:T:L`: SCSI commands of version 4.
    Bsg,
    /// `/dev/ngXnY`: a namespace of an NVMe controller.
    NvmeGeneric,
    /// `/dev/videoN`: a node of V4L2, for frames in or out.
    Video,
    /// `/dev/snd/pcmCxDyc`, `/dev/snd/pcmCxDyp`: sound.
    Pcm,
    /// Any other.
    Other,
}

impl CharClass {
    /// Returns its stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScsiGeneric => "sg",
            Self::Bsg => "bsg",
            Self::NvmeGeneric => "nvme-generic",
            Self::Video => "video",
            Self::Pcm => "pcm",
            Self::Other => "char",
        }
    }

    /// Says whether its nodes take commands, in place of reads and writes.
    #[must_use]
    pub const fn takes_commands(self) -> bool {
        matches!(self, Self::ScsiGeneric | Self::Bsg | Self::NvmeGeneric)
    }
}

impl fmt::Display for CharClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A character device's folder in sysfs, found by its number.
#[derive(Clone, Debug)]
pub(crate) struct CharFolder {
    folder: PathBuf,
}

impl CharFolder {
    /// Finds the folder of a character device; `None` where sysfs does not know it or cannot be read.
    pub(crate) fn find(host: &Host, number: DeviceNumber) -> Option<Self> {
        let folder = fs::canonicalize(host.sys.join("dev/char").join(number.to_string())).ok()?;
        Some(Self { folder })
    }

    /// Returns the folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn name(&self) -> Option<&str> {
        self.folder.file_name()?.to_str()
    }

    /// Returns its class.
    pub(crate) fn class(&self) -> CharClass {
        let subsystem = fs::canonicalize(self.folder.join("subsystem")).ok();
        match subsystem.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()) {
            Some("scsi_generic") => CharClass::ScsiGeneric,
            Some("bsg") => CharClass::Bsg,
            Some("nvme-generic") => CharClass::NvmeGeneric,
            // The class has nodes for radio, teletext and parts of devices, too, by other names (drivers/media/v4l2-core/v4l2-dev.c,
            // __video_register_device).
            Some("video4linux") if self.is_named("video") => CharClass::Video,
            // Controls, sequencers and timers are of this class, too.
            Some("sound") if self.name().is_some_and(|name| node_parts(name).is_some()) => CharClass::Pcm,
            _ => CharClass::Other,
        }
    }

    /// Says whether the kernel's name of the device is `start` and a number.
    fn is_named(&self, start: &str) -> bool {
        let name = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(start).is_some_and(|rest| rest.parse::<u32>().is_ok())
    }

    /// Returns the number of the block device that is the same disk; `None` where there is none: no disk driver holds
    /// it, or it is no disk.
    pub(crate) fn block_sibling(&self) -> Option<DeviceNumber> {
        let number = |folder: &Path| read_line(&folder.join("dev"))?.parse().ok();
        if self.class() == CharClass::NvmeGeneric {
            // `ng0n1` and `nvme0n1` lie in one folder (drivers/nvme/host/core.c, nvme_add_ns_cdev).
            let name = self.name()?.strip_prefix("ng")?;
            return number(&self.folder.parent()?.join(format!("nvme{name}")));
        }
        let disks = fs::read_dir(self.folder.join("device/block")).ok()?;
        disks.flatten().find_map(|disk| number(&disk.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeHost;
    use super::*;

    #[test]
    fn siblings_and_classes_are_found() {
        let fake = FakeHost::new();
        fake.char_device("21:0", "scsi/0:0:0:0/sg0", "scsi_generic");
        fake.char_device("250:0", "nvme0/ng0n1", "nvme-generic");
        fake.char_device("9:128", "scsi/1:0:0:0/nst0", "scsi_tape");
        fake.char_device("81:0", "usb/1-1/video4linux/video0", "video4linux");
        fake.char_device("81:1", "usb/1-1/video4linux/vbi0", "video4linux");
        fake.char_device("116:2", "card0/pcmC0D1c", "sound").char_device("116:3", "card0/controlC0", "sound");
        fake.attributes("scsi/0:0:0:0/block/sda", &[("dev", "8:0")]);
        fake.attributes("nvme0/nvme0n1", &[("dev", "259:3")]);
        let devices = fake.host.sys.join("devices");
        std::os::unix::fs::symlink(devices.join("scsi/0:0:0:0"), devices.join("scsi/0:0:0:0/sg0/device"))
            .unwrap();
        let look = |major, minor| {
            let folder = CharFolder::find(&fake.host, DeviceNumber { major, minor }).unwrap();
            (folder.class(), folder.block_sibling())
        };
        assert_eq!(look(21, 0), (CharClass::ScsiGeneric, Some(DeviceNumber { major: 8, minor: 0 })));
        assert_eq!(look(250, 0), (CharClass::NvmeGeneric, Some(DeviceNumber { major: 259, minor: 3 })));
        assert_eq!(look(9, 128), (CharClass::Other, None));
        assert_eq!(look(81, 0), (CharClass::Video, None));
        assert_eq!(look(81, 1), (CharClass::Other, None));
        assert_eq!((look(116, 2).0, look(116, 3).0), (CharClass::Pcm, CharClass::Other));
        assert!(CharFolder::find(&fake.host, DeviceNumber { major: 1, minor: 3 }).is_none());
    }
}
