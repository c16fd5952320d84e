//! Version 3 of `SG_IO`: block nodes and `/dev/sg`.
#![expect(unsafe_code, reason = "names the memory of an exchange to the kernel")]

use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::io::Errno;

use super::super::status::{HostStatus, SamStatus};
use super::super::transport::{Answer, DataDirection, Exchange, Moved, SENSE_BYTES_MAX, SenseBytes};
use super::Mapping;
use super::abi::{self, SgIoV3};

/// Sends a command.
///
/// # Safety
/// As [`Transport::send`](super::super::transport::Transport::send).
pub(super) unsafe fn send(
    fd: BorrowedFd<'_>,
    exchange: &Exchange<'_>,
    mapping: Mapping,
) -> Result<Answer, Errno> {
    let cdb = exchange.cdb.as_bytes();
    let mut sense = [0_u8; SENSE_BYTES_MAX];
    let (dxferp, iovec_count) = match exchange.pieces {
        [] => (ptr::null_mut(), 0),
        [one] => (one.iov_base, 0),
        // The kernel only reads the vector.
        many => (many.as_ptr().cast_mut().cast(), u16::try_from(many.len()).map_err(|_| Errno::TOOBIG)?),
    };
    // With more than one piece `/dev/sg` copies, asked or not.
    let asks = mapping == Mapping::Asked && exchange.pieces.len() == 1;
    let mut record = SgIoV3 {
        interface_id: abi::INTERFACE_V3,
        dxfer_direction: match exchange.direction {
            DataDirection::None => abi::DXFER_NONE,
            DataDirection::FromDevice => abi::DXFER_FROM_DEV,
            DataDirection::ToDevice => abi::DXFER_TO_DEV,
        },
        cmd_len: u8::try_from(cdb.len()).map_err(|_| Errno::TOOBIG)?,
        mx_sb_len: u8::try_from(sense.len()).unwrap_or(u8::MAX),
        iovec_count,
        dxfer_len: exchange.bytes,
        dxferp,
        cmdp: cdb.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: u32::try_from(exchange.timeout.as_millis()).unwrap_or(u32::MAX),
        flags: if asks { abi::FLAG_DIRECT_IO } else { 0 },
        pack_id: 0,
        usr_ptr: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: the command and the sense buffer live until the end of this function; the data is the caller's promise.
    unsafe { abi::sg_io_v3(fd, &mut record) }?;
    let direct = match mapping {
        Mapping::Rule(rule) => rule.maps(exchange.pieces),
        Mapping::Asked => record.info & abi::INFO_DIRECT_IO_MASK == abi::INFO_DIRECT_IO,
        Mapping::Never => false,
    };
    Ok(Answer {
        status: SamStatus(record.status),
        host: HostStatus(u8::try_from(record.host_status).unwrap_or(u8::MAX)),
        driver: u8::try_from(record.driver_status & 0xff).unwrap_or(0),
        residual_bytes: u32::try_from(record.resid).unwrap_or(0).min(exchange.bytes),
        sense: SenseBytes::new(sense.get(..usize::from(record.sb_len_wr)).unwrap_or(&[])),
        moved: Moved::of(exchange.bytes, direct),
    })
}
