//! The block and loop ioctls that no crate offers in a safe form.
//!
//! Each function takes an open descriptor, asks the kernel one question and changes nothing. The numbers and
//! layouts are those of `include/uapi/linux/fs.h` (`BLK*`) and `include/uapi/linux/loop.h` (`LOOP_*`).
#![expect(unsafe_code, reason = "an ioctl's argument type is known to its author alone")]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

/// `_IOR(0x12, 114, size_t)`, `include/uapi/linux/fs.h`.
const BLKGETSIZE64: Opcode = opcode::read::<usize>(0x12, 114);

/// `0x4C05`, `include/uapi/linux/loop.h`: older than the `_IO` scheme, so a bare number.
const LOOP_GET_STATUS64: Opcode = opcode::none(0x4C, 0x05);

/// `struct loop_info64`, `include/uapi/linux/loop.h`, as words: `lo_device`, `lo_inode`, `lo_rdevice`,
/// `lo_offset`, then 200 bytes that nobody here reads.
type LoopInfo64 = [u64; 29];

const _: () = assert!(size_of::<LoopInfo64>() == 232, "struct loop_info64 is 232 bytes");

/// What a loop device stands on, as the kernel itself knows it (names may have changed since).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LoopStatus {
    /// The device (32-bit kernel encoding) that holds the backing file's inode.
    pub(crate) device: u64,
    /// The backing file's inode number.
    pub(crate) inode: u64,
    /// The device that the backing file *is*, if it is a device node; else 0.
    pub(crate) rdevice: u64,
    /// First byte of the backing file that the loop device shows.
    pub(crate) offset_bytes: u64,
}

/// Returns the size of an open block device in bytes.
pub(crate) fn block_size_bytes(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: (1) the opcode is a valid getter; (2) the kernel writes a u64 whatever size_t is
    // (block/ioctl.c, put_u64), which is the output type.
    let getter = unsafe { Getter::<BLKGETSIZE64, u64>::new() };
    // SAFETY: the getter owns the place that the kernel writes to, and BLKGETSIZE64 has no other effect; a
    // descriptor that is no block device answers ENOTTY.
    unsafe { ioctl(fd, getter) }
}

/// Returns what an open loop device stands on; `ENXIO` when nothing is attached.
pub(crate) fn loop_status(fd: BorrowedFd<'_>) -> Result<LoopStatus, Errno> {
    // SAFETY: (1) the opcode is a valid getter of loop devices; (2) the output type has the layout of
    // struct loop_info64 (its size is asserted above) and every bit pattern is a valid value of it.
    let getter = unsafe { Getter::<LOOP_GET_STATUS64, LoopInfo64>::new() };
    // SAFETY: the getter owns the place that the kernel writes to; the caller has checked that the descriptor
    // is a loop device (major 7), so no other driver can read the bare number as a command of its own.
    let info = unsafe { ioctl(fd, getter)? };
    let [device, inode, rdevice, offset_bytes, ..] = info;
    Ok(LoopStatus { device, inode, rdevice, offset_bytes })
}
