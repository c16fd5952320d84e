//! The ioctls of magnetic tapes as typed calls.
//!
//! Numbers and layouts are those of `include/uapi/linux/mtio.h`. Each function makes one call on an open descriptor of a tape drive; another driver
//! answers `ENOTTY` or `EINVAL`, since the numbers carry the letter `m` and the size of their argument.
#![expect(unsafe_code, reason = "an ioctl's argument type is known to its author alone")]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use super::drive::{BlockMode, Op, Position, Status};

/// `struct mtop`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct MtOp {
    op: i16,
    count: i32,
}

const _: () = assert!(size_of::<MtOp>() == 8, "struct mtop is a short and an int");

/// `struct mtget`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct MtGet {
    kind: libc::c_long,
    resid: libc::c_long,
    dsreg: libc::c_long,
    gstat: libc::c_long,
    erreg: libc::c_long,
    fileno: i32,
    blkno: i32,
}

/// `struct mtpos`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct MtPos {
    blkno: libc::c_long,
}

/// `_IOW('m', 1, struct mtop)`.
const MTIOCTOP: Opcode = opcode::write::<MtOp>(b'm', 1);
/// `_IOR('m', 2, struct mtget)`.
const MTIOCGET: Opcode = opcode::read::<MtGet>(b'm', 2);
/// `_IOR('m', 3, struct mtpos)`.
const MTIOCPOS: Opcode = opcode::read::<MtPos>(b'm', 3);

/// `MT_ST_BLKSIZE_MASK`: the bits of `mt_dsreg` that hold the block length.
const BLOCK_MASK: u32 = 0x00ff_ffff;
/// `MT_ST_DENSITY_SHIFT`.
const DENSITY_SHIFT: u32 = 24;

/// Makes a movement or setting.
pub(super) fn control(fd: BorrowedFd<'_>, op: Op, count: u32) -> Result<(), Errno> {
    let count = i32::try_from(count).map_err(|_| Errno::INVAL)?;
    let argument = MtOp { op: op.number(), count };
    // SAFETY: (1) the opcode takes a pointer to a struct mtop, which the kernel only reads; (2) MtOp has its layout (repr(C), the same
    // fields, its size asserted above).
    let setter = unsafe { Setter::<MTIOCTOP, MtOp>::new(argument) };
    // SAFETY: the setter owns the argument for the length of the call; moving a tape touches no memory of this process.
    unsafe { ioctl(fd, setter) }
}

/// Returns what the driver knows.
pub(super) fn status(fd: BorrowedFd<'_>) -> Result<Status, Errno> {
    // SAFETY: (1) the opcode is a getter of a struct mtget; (2) MtGet has its layout (repr(C), the same fields; the size is part of the opcode,
    // and the driver refuses any other), and every bit pattern is a value of it.
    let getter = unsafe { Getter::<MTIOCGET, MtGet>::new() };
    // SAFETY: the getter owns the place that the kernel writes to, and the call has no other effect on this process.
    let found = unsafe { ioctl(fd, getter)? };
    Ok(decode(&found))
}

/// Returns the number of the block, as the drive counts.
pub(super) fn tell(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: (1) the opcode is a getter of a struct mtpos; (2) MtPos has its layout, and every bit pattern is a value of it.
    let getter = unsafe { Getter::<MTIOCPOS, MtPos>::new() };
    // SAFETY: the getter owns the place that the kernel writes to, and the call has no other effect on this process.
    let found = unsafe { ioctl(fd, getter)? };
    u64::try_from(found.blkno).map_err(|_| Errno::IO)
}

fn decode(found: &MtGet) -> Status {
    let register = low(found.dsreg);
    let known = |number: i32| u32::try_from(number).ok();
    let [density, ..] = (register >> DENSITY_SHIFT).to_le_bytes();
    let [first, second, ..] = low(found.erreg).to_le_bytes();
    Status {
        mode: BlockMode::of(register & BLOCK_MASK),
        density,
        position: Position { file: known(found.fileno), block: known(found.blkno) },
        // The driver puts the partition here.
        partition: u32::try_from(found.resid).unwrap_or(0),
        // MT_ST_SOFTERR_MASK: the low 16 bits.
        corrected_errors: u16::from_le_bytes([first, second]),
        flags: low(found.gstat),
    }
}

/// The low 32 bits of a register, which the kernel may have widened with its sign.
fn low(register: libc::c_long) -> u32 {
    u32::try_from(register & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_decoded() {
        let found = MtGet {
            kind: 0x72,
            resid: 1,
            // A density code with its top bit set, widened with its sign.
            dsreg: i64::from(i32::from_le_bytes([0x00, 0x02, 0x00, 0x8a])),
            gstat: 0x4500_0000,
            erreg: 0x0001_0007,
            fileno: 0,
            blkno: -1,
        };
        let status = decode(&found);
        assert_eq!((status.mode.bytes(), status.density), (512, 0x8a));
        assert_eq!(status.position, Position { file: Some(0), block: None });
        assert_eq!((status.partition, status.corrected_errors), (1, 7));
        assert!(status.is_online() && status.is_at_start() && status.is_write_protected());
        assert!(!status.has_no_tape() && !status.is_at_end_of_data());
    }

    #[test]
    fn opcodes_are_the_kernels() {
        // As strace and the header have them on 64 bits.
        assert_eq!(MTIOCTOP, 0x4008_6d01);
        assert_eq!(MTIOCGET, 0x8030_6d02);
        assert_eq!(MTIOCPOS, 0x8008_6d03);
    }

    #[test]
    fn what_is_no_tape_says_so() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let fd = std::os::fd::AsFd::as_fd(&null);
        assert_eq!(status(fd), Err(Errno::NOTTY));
        assert_eq!(tell(fd), Err(Errno::NOTTY));
        assert_eq!(control(fd, Op::Rewind, 1), Err(Errno::NOTTY));
    }
}
