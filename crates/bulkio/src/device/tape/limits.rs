//! READ BLOCK LIMITS: which lengths of blocks the drive takes.
//!
//! The driver asks when it is opened and writes the answer to the kernel's log only; so it is asked again, by `SG_IO` on the tape's own node, which the
//! driver passes on for whoever has `CAP_SYS_RAWIO`. Anybody else does without the answer. The tape does not move.
#![expect(unsafe_code, reason = "an ioctl's argument type is known to its author alone")]

use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::ioctl::{Opcode, Updater, ioctl};

use super::drive::BlockLimits;

/// `SG_IO`, `include/scsi/sg.h`: a bare number.
const SG_IO: Opcode = 0x2285;

/// READ BLOCK LIMITS (SSC-3, 7.5): six bytes, all but the first zero.
const READ_BLOCK_LIMITS: u8 = 0x05;

/// Bytes of its answer.
const ANSWER_LEN: usize = 6;

/// Milliseconds that the drive has: it moves nothing.
const TIMEOUT_MS: u32 = 30_000;

/// `SG_DXFER_FROM_DEV`.
const FROM_DEVICE: i32 = -3;

/// `struct sg_io_hdr`, `include/scsi/sg.h`.
#[repr(C)]
#[derive(Debug)]
struct SgIo {
    interface: i32,
    direction: i32,
    command_len: u8,
    sense_len_max: u8,
    pieces: u16,
    len: u32,
    data: *mut u8,
    command: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack_id: i32,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    resid: i32,
    duration_ms: u32,
    info: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<SgIo>() == 88, "struct sg_io_hdr is 88 bytes");

/// Asks the drive; `None` where it cannot be asked, or does not know.
pub(super) fn ask(fd: BorrowedFd<'_>) -> Option<BlockLimits> {
    let command = [READ_BLOCK_LIMITS, 0, 0, 0, 0, 0];
    let mut answer = [0_u8; ANSWER_LEN];
    let mut io = SgIo {
        interface: 'S' as i32,
        direction: FROM_DEVICE,
        command_len: 6,
        sense_len_max: 0,
        pieces: 0,
        len: 6,
        data: answer.as_mut_ptr(),
        command: command.as_ptr(),
        sense: ptr::null_mut(),
        timeout_ms: TIMEOUT_MS,
        flags: 0,
        pack_id: 0,
        user: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_len: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: (1) SG_IO reads and writes a struct sg_io_hdr, whose layout SgIo has (repr(C), the same fields, its size asserted above);
    // (2) it is borrowed for the updater's life.
    let updater = unsafe { Updater::<SG_IO, SgIo>::new(&mut io) };
    // SAFETY: (1) the command is six bytes that outlive the call; (2) the kernel writes at most `len` bytes, six, to `data`, which has
    // as many; (3) it writes no sense data, since there is no room said to be for it; (4) the call waits for the command.
    unsafe { ioctl(fd, updater) }.ok()?;
    let good = io.status == 0 && io.host_status == 0 && io.driver_status == 0 && io.resid == 0;
    if good { decode(answer) } else { None }
}

/// Takes an answer apart; `None` where it states no longest block.
fn decode(answer: [u8; ANSWER_LEN]) -> Option<BlockLimits> {
    let [granularity, max_high, max, max_low, min_high, min_low] = answer;
    let len_max = u32::from_be_bytes([0, max_high, max, max_low]);
    let len_min = u32::from(u16::from_be_bytes([min_high, min_low]));
    // A power of two, in the low five bits.
    let granularity = 1_u32.checked_shl(u32::from(granularity & 0x1f)).unwrap_or(1);
    (len_max > 0 && len_min <= len_max).then_some(BlockLimits {
        len_min: len_min.max(1),
        len_max,
        granularity,
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let limits = |len_min, len_max, granularity| Some(BlockLimits { len_min, len_max, granularity });
        // The lab's drive, and an LTO drive.
        assert_eq!(decode([0, 0x10, 0, 0, 0, 4]), limits(4, 1 << 20, 1));
        assert_eq!(decode([0, 0x80, 0, 0, 0, 1]), limits(1, 8 << 20, 1));
        assert_eq!(decode([0xe9, 1, 0, 0, 2, 0]), limits(512, 65_536, 512));
        assert_eq!(decode([0, 0, 0, 0, 0, 1]), None);
        assert_eq!(decode([0, 0, 0, 1, 0xff, 0xff]), None);
    }

    #[test]
    fn what_is_no_drive_does_not_answer() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(ask(null.as_fd()), None);
    }
}
