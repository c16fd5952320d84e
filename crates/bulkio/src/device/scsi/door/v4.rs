//! Version 4 of `SG_IO`: `/dev/bsg`. One piece a command: the kernel refuses vectors.
#![expect(unsafe_code, reason = "names the memory of an exchange to the kernel")]

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::super::status::{HostStatus, SamStatus};
use super::super::transport::{Answer, DataDirection, Exchange, Moved, SENSE_BYTES_MAX, SenseBytes};
use super::Mapping;
use super::abi::{self, SgIoV4};

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
    let data = match exchange.pieces {
        [] => 0,
        [one] => address(one.iov_base),
        _ => return Err(Errno::OPNOTSUPP),
    };
    let mut record = SgIoV4 {
        guard: abi::GUARD_V4,
        request_len: u32::try_from(cdb.len()).map_err(|_| Errno::TOOBIG)?,
        request: address(cdb.as_ptr()),
        max_response_len: u32::try_from(sense.len()).unwrap_or(0),
        response: address(sense.as_mut_ptr()),
        timeout: u32::try_from(exchange.timeout.as_millis()).unwrap_or(u32::MAX),
        ..SgIoV4::default()
    };
    match exchange.direction {
        DataDirection::None => {}
        DataDirection::FromDevice => (record.din_xferp, record.din_xfer_len) = (data, exchange.bytes),
        DataDirection::ToDevice => (record.dout_xferp, record.dout_xfer_len) = (data, exchange.bytes),
    }
    // SAFETY: the command and the sense buffer live until the end of this function; the data is the caller's promise.
    unsafe { abi::sg_io_v4(fd, &mut record) }?;
    let byte = |word: u32| u8::try_from(word & 0xff).unwrap_or(u8::MAX);
    let residual = match exchange.direction {
        DataDirection::ToDevice => record.dout_resid,
        DataDirection::None | DataDirection::FromDevice => record.din_resid,
    };
    let sense_len = usize::try_from(record.response_len).unwrap_or(0);
    let direct = matches!(mapping, Mapping::Rule(rule) if rule.maps(exchange.pieces));
    Ok(Answer {
        status: SamStatus(byte(record.device_status)),
        host: HostStatus(byte(record.transport_status)),
        driver: byte(record.driver_status),
        residual_bytes: u32::try_from(residual).unwrap_or(0).min(exchange.bytes),
        sense: SenseBytes::new(sense.get(..sense_len).unwrap_or(&sense)),
        moved: Moved::of(exchange.bytes, direct),
    })
}

/// The number that the kernel takes for a place: it gets at the memory through this alone.
fn address<T>(place: *const T) -> u64 {
    // Lossless: Linux has no pointers beyond 64 bits.
    place.expose_provenance() as u64
}
