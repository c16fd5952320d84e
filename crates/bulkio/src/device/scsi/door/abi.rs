//! The records and requests of `SG_IO`, as the kernel has them: `include/scsi/sg.h` (version 3) and `include/uapi/linux/bsg.h` (version 4).
//!
//! The C library's copy of the first lacks what came after 2.6, so all of it is here.
#![expect(unsafe_code, reason = "ioctls on raw records")]

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `include/scsi/sg.h`; bsg has the same number.
const SG_IO: c_uint = 0x2285;
/// `include/scsi/sg.h`.
pub(super) const SG_GET_RESERVED_SIZE: c_uint = 0x2272;
/// `include/scsi/sg.h`.
pub(super) const SG_SET_RESERVED_SIZE: c_uint = 0x2275;
/// `include/scsi/sg.h`.
pub(super) const SG_GET_SG_TABLESIZE: c_uint = 0x227f;
/// `_IO(0x12, 103)`, `include/uapi/linux/fs.h`.
pub(super) const BLKSECTGET: c_uint = 0x1267;

/// `interface_id` of version 3.
pub(super) const INTERFACE_V3: c_int = b'S' as c_int;
/// `SG_DXFER_NONE`.
pub(super) const DXFER_NONE: c_int = -1;
/// `SG_DXFER_TO_DEV`.
pub(super) const DXFER_TO_DEV: c_int = -2;
/// `SG_DXFER_FROM_DEV`.
pub(super) const DXFER_FROM_DEV: c_int = -3;
/// `SG_FLAG_DIRECT_IO`.
pub(super) const FLAG_DIRECT_IO: c_uint = 1;
/// `SG_INFO_DIRECT_IO_MASK`.
pub(super) const INFO_DIRECT_IO_MASK: c_uint = 6;
/// `SG_INFO_DIRECT_IO`.
pub(super) const INFO_DIRECT_IO: c_uint = 2;

/// `guard` of version 4.
pub(super) const GUARD_V4: i32 = b'Q' as i32;

/// `struct sg_io_hdr`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SgIoV3 {
    pub(super) interface_id: c_int,
    pub(super) dxfer_direction: c_int,
    pub(super) cmd_len: u8,
    pub(super) mx_sb_len: u8,
    pub(super) iovec_count: u16,
    pub(super) dxfer_len: c_uint,
    pub(super) dxferp: *mut c_void,
    pub(super) cmdp: *const u8,
    pub(super) sbp: *mut u8,
    /// Milliseconds.
    pub(super) timeout: c_uint,
    pub(super) flags: c_uint,
    pub(super) pack_id: c_int,
    pub(super) usr_ptr: *mut c_void,
    pub(super) status: u8,
    pub(super) masked_status: u8,
    pub(super) msg_status: u8,
    pub(super) sb_len_wr: u8,
    pub(super) host_status: u16,
    pub(super) driver_status: u16,
    pub(super) resid: c_int,
    pub(super) duration: c_uint,
    pub(super) info: c_uint,
}

/// `struct sg_io_v4`.
#[repr(C)]
#[derive(Default, Debug)]
pub(super) struct SgIoV4 {
    pub(super) guard: i32,
    pub(super) protocol: u32,
    pub(super) subprotocol: u32,
    pub(super) request_len: u32,
    pub(super) request: u64,
    pub(super) request_tag: u64,
    pub(super) request_attr: u32,
    pub(super) request_priority: u32,
    pub(super) request_extra: u32,
    pub(super) max_response_len: u32,
    pub(super) response: u64,
    pub(super) dout_iovec_count: u32,
    pub(super) dout_xfer_len: u32,
    pub(super) din_iovec_count: u32,
    pub(super) din_xfer_len: u32,
    pub(super) dout_xferp: u64,
    pub(super) din_xferp: u64,
    /// Milliseconds.
    pub(super) timeout: u32,
    pub(super) flags: u32,
    pub(super) usr_ptr: u64,
    pub(super) spare_in: u32,
    pub(super) driver_status: u32,
    pub(super) transport_status: u32,
    pub(super) device_status: u32,
    pub(super) retry_delay: u32,
    pub(super) info: u32,
    pub(super) duration: u32,
    pub(super) response_len: u32,
    pub(super) din_resid: i32,
    pub(super) dout_resid: i32,
    pub(super) generated_tag: u64,
    pub(super) spare_out: u32,
    pub(super) padding: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SgIoV3>() == 88, "struct sg_io_hdr is 88 bytes");
const _: () = assert!(size_of::<SgIoV4>() == 160, "struct sg_io_v4 is 160 bytes");

/// Sends a command of version 3.
///
/// # Safety
/// Command, sense buffer and data of the record are valid for what it says of them until this returns, the data accessed by nobody else.
pub(super) unsafe fn sg_io_v3(fd: BorrowedFd<'_>, record: &mut SgIoV3) -> Result<(), Errno> {
    // SAFETY: the caller's promise; the record is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SG_IO.into(), &raw mut *record) })
}

/// Sends a command of version 4.
///
/// # Safety
/// As [`sg_io_v3`].
pub(super) unsafe fn sg_io_v4(fd: BorrowedFd<'_>, record: &mut SgIoV4) -> Result<(), Errno> {
    // SAFETY: the caller's promise; the record is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SG_IO.into(), &raw mut *record) })
}

/// Asks a question whose answer is an `int`.
pub(super) fn get_int(fd: BorrowedFd<'_>, request: c_uint) -> Result<u64, Errno> {
    let mut number: c_int = 0;
    // SAFETY: those that ask write an int (`drivers/scsi/sg.c`), the block node's BLKSECTGET an unsigned short
    // (`block/ioctl.c`); the place has room for both.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), &raw mut number) })?;
    u64::try_from(number).map_err(|_| Errno::RANGE)
}

/// Sets an `int`.
pub(super) fn set_int(fd: BorrowedFd<'_>, request: c_uint, number: u32) -> Result<(), Errno> {
    let number = c_int::try_from(number).unwrap_or(c_int::MAX);
    // SAFETY: SG_SET_RESERVED_SIZE, the only request that is made, reads an int; the number is one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), &raw const number) })
}

fn check(answer: c_int) -> Result<(), Errno> {
    if answer >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
