//! `ADDR`: whether a device reaches memory, through the back end that decides it.
#![expect(unsafe_code, reason = "leases over addresses that nobody ever reads")]

use scatterlist::map::{Direct, DmaDevice as _, HeapMemory, MapError, Offset, ToDevice};
use scatterlist::{Addr as _, CpuAddr, Lease, LimitId, Limits, ScatterList, Segment};

use super::fields::Fields;
use super::{Verdict, same};

pub(super) fn addr(mut case: Fields, _page: u64) -> Verdict {
    let (mask, bus_limit) = (case.number("mask")?, case.number("bus_limit")?);
    let (addr, size) = (case.number("addr")?, case.number("size")?);
    let expected = case.flag("expect")?;
    case.finish()?;
    // Zero means that there is no such limit.
    let given = [mask, bus_limit].into_iter().filter(|limit| *limit != 0);
    let addr_max = given.min().unwrap_or(u64::MAX);
    let limits = Limits::builder().hard(LimitId::AddrMax, addr_max).build().map_err(|e| e.to_string())?;
    let device = Direct::new(HeapMemory::default(), Offset::NONE, &limits).map_err(|e| e.to_string())?;
    let device = &device;
    let last = addr.checked_add(size.saturating_sub(1));
    let Some(last) = last.filter(|_| size > 0) else {
        // No bytes, or bytes past the last address: there is nothing that anybody could reach.
        return same("reachable", &false, &expected);
    };
    // A segment ends before the last address, which is no memory of any machine. A run that includes it is asked for
    // without it, and the limit for the rest.
    let whole = last < u64::MAX;
    let Ok(run) = Segment::new(CpuAddr::new(addr), if whole { size } else { size - 1 }) else {
        return same("reachable", &(last <= addr_max), &expected);
    };
    // SAFETY: nobody reads or writes there: the device is coherent, and only asked whether it reaches.
    let lease = unsafe { Lease::from_raw(ScatterList::from(run), ()) };
    let reached = match device.map(lease, ToDevice) {
        Ok(_) => whole || addr_max == u64::MAX,
        Err(failed) if matches!(failed.error, MapError::OutOfReach { .. }) => false,
        Err(failed) => return Err(failed.error.to_string()),
    };
    same("reachable", &reached, &expected)
}
