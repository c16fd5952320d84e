//! [`FaultyDisk`]: a block device whose bytes are a [`FaultyFile`], and so late, short or broken on demand.
//!
//! # What the kernel does in between
//! As seen with Linux 6.18; `tests/faults` holds the engines against it. Requests of the block layer arrive: an operation may be cut anywhere.
//! Neighbours are not merged (`queue/nomerges`), since one fault would fail them all.
//!
//! - Under `O_DIRECT` an operation succeeds or fails as a whole, whatever was moved, for every engine. `EIO`, `ENODATA`, `ENOSPC` and `EAGAIN` arrive as they are;
//!   `EINTR` becomes `EIO`. The driver goes on by itself after a short read, and makes `EIO` of a short write and of a read of nothing. **A short
//!   read must be a multiple of 512 bytes**: after any other, the driver puts the rest in the wrong place.
//! - Through the page cache a failed read is tried again page by page, and stops before the page that stays bad. A failed write is found
//!   by the flush, as `EIO`.
//! - Nothing is interrupted or cancelled: the result comes with the answer.
//! - Others may look at a new disk (udev): call [`FaultyFile::take_seen`] first, and aim rules at ranges.

use std::path::Path;

use super::fs::{FaultyFile, FaultyFs};
use crate::common::LoopDevice;

/// A loop device over a file of a [`FaultyFs`]. Its gate is opened when it is dropped, or it could not be taken down.
#[derive(Debug)]
pub struct FaultyDisk {
    // Dropped in this order: the device ends before what is beneath it.
    device: LoopDevice,
    fs: FaultyFs,
}

impl FaultyDisk {
    /// Makes a disk with this content, a multiple of the block size in bytes.
    pub fn new(content: Vec<u8>, logical_block_size: u32) -> Result<Self, String> {
        let fs = FaultyFs::new(vec![content])?;
        let device = LoopDevice::direct_over(&fs.file(0).path(), logical_block_size)?;
        let merges = format!("/sys/block/{}/queue/nomerges", device.name());
        std::fs::write(&merges, "2").map_err(|error| format!("{merges}: {error}"))?;
        Ok(Self { device, fs })
    }

    /// Returns the device's node.
    pub fn node(&self) -> &Path {
        self.device.node()
    }

    /// Returns the loop device.
    pub fn device(&self) -> &LoopDevice {
        &self.device
    }

    /// Returns the file with its bytes, for faults.
    pub fn file(&self) -> &FaultyFile {
        self.fs.file(0)
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.file().clear_rules();
        self.file().open_gate();
    }
}
