//! What the opener of a disk may choose, and why a door copies.
#![expect(unsafe_code, reason = "a promise about raw memory")]

use std::fmt;
use std::time::Duration;

use crate::device::DirectMode;
use crate::device::scsi::folder::NodeKind;

/// How long a command may take where nobody says otherwise: as long as those of the kernel's own driver, `SD_TIMEOUT` of `drivers/scsi/sd.h`.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which node of a device commands go through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DoorChoice {
    /// The node that was named.
    #[default]
    Named,
    /// The best that the device has: the block node, which takes many pieces a command without a copy, then bsg, then `/dev/sg`.
    Auto,
    /// The node of this kind, whichever was named.
    Only(NodeKind),
}

/// How a disk is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskOptions {
    /// Whether it is to be written.
    pub writes: bool,
    /// Which node to use.
    pub door: DoorChoice,
    /// What is wanted of direct transfers: [`DirectMode::Require`] refuses a door that copies, [`DirectMode::Never`] is taken as
    /// [`DirectMode::Auto`], since most doors cannot be told to copy.
    pub direct: DirectMode,
    /// How long a read or write may take before the kernel aborts it; a flush may take twice as long.
    pub timeout: Duration,
    /// Whether `/dev/sg` may lend the memory itself to the device, where its module allows it; without this it copies.
    pub sg_direct: Option<SgDirect>,
}

/// The promise that lets `/dev/sg` lend memory to a device.
///
/// A call through `/dev/sg` can end while its command goes on: when the device is taken away (`ENODEV`), and when the process is stopped, traced
/// or frozen, where the kernel calls again and leaves the first command behind (Linux, drivers/scsi/sg.c, `sg_ioctl_common`). What the kernel
/// copies is safe from that; memory that the device reaches itself is not. The block node and bsg have no such end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SgDirect(());

impl SgDirect {
    /// Makes the promise.
    ///
    /// # Safety
    /// For as long as commands through the disk are under way, and for the longest time that the kernel may take to end one that was left
    /// behind, the device stays, the process is neither stopped nor traced nor frozen; or no memory of these commands is used for anything
    /// else until the process ends.
    #[must_use]
    pub const unsafe fn promise() -> Self {
        Self(())
    }
}

impl Default for DiskOptions {
    /// The node that was named, for reading, 30 s a command.
    fn default() -> Self {
        Self {
            writes: false,
            door: DoorChoice::Named,
            direct: DirectMode::Auto,
            timeout: TIMEOUT,
            sg_direct: None,
        }
    }
}

/// Why the kernel copies what goes through a door.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CopyReason {
    /// The parameter `allow_dio` of the module `sg` is 0.
    NotAllowed,
    /// Whether it is cannot be read.
    Unknown,
    /// A command may outlive its call, and nobody has promised what that takes: [`SgDirect`].
    MayOutlive,
}

impl CopyReason {
    /// Returns the reason in words, and what to do about it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => {
                "/dev/sg copies: /sys/module/sg/parameters/allow_dio is 0, 1 lets the device reach the memory itself \
                 (or use the disk's block or bsg node)"
            }
            Self::MayOutlive => {
                "/dev/sg copies: its commands may outlive their calls, when a device is taken away or the process is stopped, so no \
                 memory is lent to them (use the disk's block or bsg node)"
            }
            Self::Unknown => {
                "/dev/sg may copy: /sys/module/sg/parameters/allow_dio cannot be read (or use the disk's block or bsg node)"
            }
        }
    }
}

impl fmt::Display for CopyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
