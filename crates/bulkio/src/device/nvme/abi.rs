//! The ioctls of an NVMe namespace: `include/uapi/linux/nvme_ioctl.h`, `drivers/nvme/host/ioctl.c`.
//!
//! A command goes in as bytes of `command`. What comes back is the word of the device or an error number of the kernel, kept apart. What a caller
//! may name without a promise has a function of its own here.
#![expect(unsafe_code, reason = "ioctls on raw addresses")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::ioctl::{Opcode, opcode};
use scatterlist::Status;

use super::command::{Asked, Blocks, COMMAND_LEN, Passthru, RANGE_LEN, RING_COMMAND_LEN};

/// `_IO('N', 0x40)`.
const ID: Opcode = opcode::none(b'N', 0x40);
/// `_IOWR('N', 0x47, struct nvme_passthru_cmd64)`.
const ADMIN64: Opcode = opcode::read_write::<[u8; COMMAND_LEN]>(b'N', 0x47);
/// `_IOWR('N', 0x48, struct nvme_passthru_cmd64)`.
const IO64: Opcode = opcode::read_write::<[u8; COMMAND_LEN]>(b'N', 0x48);
/// `_IOWR('N', 0x49, struct nvme_passthru_cmd64)`: the address is that of a vector, the length its entries (Linux 5.18).
const IO64_VEC: Opcode = opcode::read_write::<[u8; COMMAND_LEN]>(b'N', 0x49);

/// `NVME_URING_CMD_IO`: `_IOWR('N', 0x80, struct nvme_uring_cmd)`.
pub(super) const RING_IO: Opcode = opcode::read_write::<[u8; RING_COMMAND_LEN]>(b'N', 0x80);
/// `NVME_URING_CMD_IO_VEC`: `_IOWR('N', 0x81, struct nvme_uring_cmd)`.
pub(super) const RING_IO_VEC: Opcode = opcode::read_write::<[u8; RING_COMMAND_LEN]>(b'N', 0x81);

/// Which queue a command goes to, and what its address means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Door {
    /// The admin queue; the address is that of the data.
    Admin,
    /// An I/O queue; the address is that of the data.
    Io,
    /// An I/O queue; the address is that of a vector.
    IoVector,
}

/// Makes a command and waits until it is over.
///
/// # Safety
/// The memory that the command names is valid for what it does, and accessed by nobody else until this returns.
pub(super) unsafe fn call(file: BorrowedFd<'_>, door: Door, command: &Passthru) -> Result<(), Status> {
    let opcode = match door {
        Door::Admin => ADMIN64,
        Door::Io => IO64,
        Door::IoVector => IO64_VEC,
    };
    let mut bytes = command.bytes();
    // SAFETY: the kernel reads and writes the command in place; the caller's promise for what it names.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(opcode), bytes.as_mut_ptr()) };
    match returned {
        0 => Ok(()),
        // The status field of the completion, without the phase bit.
        1.. => Err(Status::Device(returned.unsigned_abs())),
        _ => {
            Err(Status::Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO).unsigned_abs()))
        }
    }
}

/// Returns the identifier of the namespace behind a node.
pub(super) fn namespace_id(file: BorrowedFd<'_>) -> Result<u32, Status> {
    // SAFETY: it takes no memory. The caller knows that the node is one of NVMe.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(ID)) };
    match u32::try_from(returned) {
        Ok(id) => Ok(id),
        Err(_) => {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
            Err(Status::Errno(errno.unsigned_abs()))
        }
    }
}

/// Bytes of every identify data structure: Base section 5.17.
pub(super) const IDENTIFY_LEN: usize = 4096;

/// Asks for an identify data structure.
pub(super) fn identify(
    file: BorrowedFd<'_>,
    nsid: u32,
    asked: Asked,
) -> Result<Box<[u8; IDENTIFY_LEN]>, Status> {
    let mut data = Box::new([0_u8; IDENTIFY_LEN]);
    let addr = data.as_mut_ptr().expose_provenance() as u64;
    let command = Passthru::identify(nsid, asked).with_data(addr, IDENTIFY_LEN as u32);
    // SAFETY: identify fills that many bytes, and the data is borrowed for the call.
    unsafe { call(file, Door::Admin, &command) }?;
    Ok(data)
}

/// Deallocates the blocks of ranges, at most 256; no ranges are no command.
pub(super) fn deallocate(file: BorrowedFd<'_>, nsid: u32, ranges: &[[u8; RANGE_LEN]]) -> Result<(), Status> {
    let Some(less_one) = ranges.len().checked_sub(1) else { return Ok(()) };
    let less_one = u8::try_from(less_one).map_err(|_| Status::Errno(libc::EINVAL.unsigned_abs()))?;
    let bytes = u32::try_from(size_of_val(ranges)).map_err(|_| Status::Errno(libc::EINVAL.unsigned_abs()))?;
    let addr = ranges.as_ptr().expose_provenance() as u64;
    let command = Passthru::deallocate(nsid, less_one).with_data(addr, bytes);
    // SAFETY: the command reads as many ranges as it names, which are borrowed for the call.
    unsafe { call(file, Door::Io, &command) }
}

/// Makes durable what was written.
pub(super) fn flush(file: BorrowedFd<'_>, nsid: u32) -> Result<(), Status> {
    // SAFETY: a flush names no memory.
    unsafe { call(file, Door::Io, &Passthru::flush(nsid)) }
}

/// Writes zeros to blocks; `deallocates` lets the controller give them up for that.
pub(super) fn write_zeroes(
    file: BorrowedFd<'_>,
    nsid: u32,
    blocks: Blocks,
    deallocates: bool,
) -> Result<(), Status> {
    // SAFETY: write zeroes names no memory.
    unsafe { call(file, Door::Io, &Passthru::write_zeroes(nsid, blocks, deallocates)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers as `<linux/nvme_ioctl.h>` makes them, from a C compiler on x86-64.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn ioctl_numbers() {
        assert_eq!([ID, ADMIN64, IO64, IO64_VEC], [0x4e40, 0xc050_4e47, 0xc050_4e48, 0xc050_4e49]);
        assert_eq!([RING_IO, RING_IO_VEC], [0xc048_4e80, 0xc048_4e81]);
    }
}
