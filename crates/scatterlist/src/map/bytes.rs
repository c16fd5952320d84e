//! Copies between slices and the memory of a list, part by part.
#![expect(unsafe_code, reason = "the memory of a list is known by its addresses only")]

use core::ops::Range;

use super::backend::Backend;
use super::error::MapError;
use super::parts::parts;
use crate::{Addr, CpuAddr, Segment, Segments};

/// Checks that `range` lies within a list of `bytes`.
pub(crate) const fn within(range: &Range<u64>, bytes: u64) -> Result<(), MapError> {
    if range.start <= range.end && range.end <= bytes {
        return Ok(());
    }
    Err(MapError::OutOfRange { start: range.start, end: range.end, bytes })
}

/// Finds where the CPU sees `segment`.
pub(crate) fn visible<D: Backend>(device: &D, segment: Segment<D::Addr>) -> Result<CpuAddr, MapError> {
    let (addr, len) = (segment.addr(), segment.len());
    device.cpu_addr(addr, len).ok_or(MapError::NotVisible { addr: addr.raw(), len })
}

/// Copies bytes of a list, from `at` on, to `into`.
///
/// # Safety
/// The bytes are valid memory that nobody writes meanwhile through a Rust reference, and `into` is none of it.
pub(crate) unsafe fn copy_out<D, S>(device: &D, list: &S, at: u64, into: &mut [u8]) -> Result<(), MapError>
where
    D: Backend,
    S: Segments<Addr = D::Addr> + ?Sized,
{
    let range = range(at, into.len(), list.bytes())?;
    let mut rest = into;
    for part in parts(list, range) {
        let from = visible(device, part)?;
        let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
        let Some((here, after)) = rest.split_at_mut_checked(len) else { break };
        // SAFETY: `from` is where the CPU sees this part, which the caller says is valid and apart from `into`.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr().cast_const(), here.as_mut_ptr(), len) };
        rest = after;
    }
    Ok(())
}

/// Copies `from` to bytes of a list, from `at` on.
///
/// # Safety
/// The bytes are valid memory that nobody uses meanwhile through a Rust reference, and `from` is none of it.
pub(crate) unsafe fn copy_in<D, S>(device: &D, list: &S, at: u64, from: &[u8]) -> Result<(), MapError>
where
    D: Backend,
    S: Segments<Addr = D::Addr> + ?Sized,
{
    let range = range(at, from.len(), list.bytes())?;
    let mut rest = from;
    for part in parts(list, range) {
        let into = visible(device, part)?;
        let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
        let Some((here, after)) = rest.split_at_checked(len) else { break };
        // SAFETY: `into` is where the CPU sees this part, which the caller says is valid and apart from `from`.
        unsafe { core::ptr::copy_nonoverlapping(here.as_ptr(), into.as_ptr(), len) };
        rest = after;
    }
    Ok(())
}

/// The range of `len` bytes from `at` on, checked against the bytes of the list.
fn range(at: u64, len: usize, bytes: u64) -> Result<Range<u64>, MapError> {
    let end = u64::try_from(len).ok().and_then(|len| at.checked_add(len));
    let range = at..end.unwrap_or(u64::MAX);
    within(&range, bytes)?;
    Ok(range)
}
