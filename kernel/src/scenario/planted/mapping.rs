//! Mistakes of a driver that maps, and of one that takes coherent memory.
#![expect(unsafe_code, reason = "the mistakes that safe code cannot make")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::panic::Location;

use scatterlist::map::checked::{Checked, Finding, LedgerOptions, Region, RegionTable};
use scatterlist::map::{
    Backend as _, CoherentLayout, DmaDevice as _, DmaDirection, FromDevice, RawCoherent, ToDevice,
};
use scatterlist::{
    Addr as _, BusAddr, CpuAddr, Lease, LimitId, Limits, PhysAddr, ScatterList, Segment, Segments as _,
};

use super::raw::Raw;
use super::{Bench, Failure, ended, failure};
use crate::memory::{Buffer, Choice, FRAME_LEN, Owner};
use crate::scenario::stack;

/// The bytes at `addr` as memory of this machine, which is mapped one to one; the stack is.
fn physical(addr: usize, len: u64) -> Result<Segment<PhysAddr>, Failure> {
    Ok(Segment::new(PhysAddr::new(u64::try_from(addr)?), len)?)
}

/// Lets the device read a variable of the function that maps it.
pub(super) fn the_stack(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let command = [0x5a_u8; 64];
    let variable = physical(core::ptr::from_ref(&command).addr(), 64)?;
    // Where the variable is, the stack is; the rest of it may be anywhere.
    let stack = RegionTable::new().with(Region::Stack, variable.addr().raw(), variable.len());
    let plain = stack::plain(bench.machine, &stack::no_limits())?;
    let checked = Checked::new(plain, |_: &[Finding]| {}).with_regions(stack);
    let device: &Checked<stack::Plain> = Box::leak(Box::new(checked));
    // SAFETY: none; the variable goes when the function does, whoever holds the lease. This is the mistake.
    let lease = unsafe { Lease::from_raw(ScatterList::from(variable), core::hint::black_box(command)) };
    let mapped = device.map(lease, ToDevice).map_err(|failed| Failure::from(failed.error))?;
    drop(mapped.unmap());
    Ok(ended(device))
}

/// Tells a device that takes 4 KiB in a segment of 8 KiB, as they were mapped.
pub(super) fn too_long_a_segment(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let limits = Limits::builder().hard(LimitId::SegmentLenMax, FRAME_LEN).build()?;
    let plain = stack::plain(bench.machine, &limits)?;
    // This driver plans nothing.
    let checked = Checked::new(plain, |_: &[Finding]| {}).without_planner();
    let device: &Checked<stack::Plain> = Box::leak(Box::new(checked));
    let mapped = device.map(run(bench)?, ToDevice).map_err(|failed| Failure::from(failed.error))?;
    let flight = mapped.into_flight();
    for segment in flight.bus().segments() {
        let _found = device.device_access(segment.addr(), segment.len(), false);
    }
    // SAFETY: what is a device here has read it.
    drop(unsafe { flight.complete() }.unmap());
    Ok(ended(device))
}

/// Two frames in a row.
fn run(bench: &Bench<'_>) -> Result<Lease<PhysAddr, Owner>, Failure> {
    let len = FRAME_LEN.saturating_mul(2);
    Ok(Buffer::contiguous(bench.machine.memory, len, 0, Choice::ANY)?.lease()?)
}

/// Maps one frame for nine devices that write it, each without handing the caches over, as if that made it right.
pub(super) fn nine_times_the_same(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let target = device.target();
    let first = bench.lease(FRAME_LEN)?;
    let mut mapped = Vec::new();
    for _ in 0..9 {
        let list = first.list().segments().next().map(ScatterList::from);
        let list = list.ok_or_else(|| failure("a lease of nothing"))?;
        // SAFETY: none; the leases share their bytes, which is the mistake.
        let again = unsafe { Lease::from_raw(list, Owner::clone(first.owner())) };
        mapped.push(target.map_unsynced(again, FromDevice).map_err(|failed| Failure::from(failed.error))?);
    }
    drop(mapped);
    Ok(ended(device))
}

/// Keeps three mappings where the record has room for two.
pub(super) fn more_than_the_record_holds(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let plain = stack::plain(bench.machine, &stack::no_limits())?;
    let options = LedgerOptions { spans_max: 4, ..Checked::<_>::options_for(&plain) };
    let checked: Checked<stack::Plain> = Checked::with_options(plain, options, |_: &[Finding]| {})?;
    let device: &Checked<stack::Plain> = Box::leak(Box::new(checked));
    let mut mapped = Vec::new();
    for _ in 0..3 {
        let lease = bench.lease(FRAME_LEN)?;
        mapped.push(device.map(lease, FromDevice).map_err(|failed| Failure::from(failed.error))?);
    }
    drop(mapped);
    Ok(ended(device))
}

/// Drops what it gave to the device. The frame stays taken for good.
pub(super) fn drops_a_flight(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let lease = bench.lease(FRAME_LEN)?;
    drop(device.map(lease, FromDevice).map_err(|failed| Failure::from(failed.error))?.into_flight());
    Ok(ended(device))
}

/// Asks for more coherent memory than there is, does not look, and frees the address that stands for the failure.
pub(super) fn frees_what_it_was_refused(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let layout = CoherentLayout::new(1 << 40, FRAME_LEN);
    if device.raw_alloc_coherent(layout, Location::caller()).is_ok() {
        return Err(failure("this machine has a terabyte in a row"));
    }
    let none = RawCoherent { cpu: CpuAddr::new(0), addr: PhysAddr::new(0), layout };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_free_coherent(none, BusAddr::new(u64::MAX)) };
    Ok(ended(device))
}

/// Frees as coherent memory what it had mapped.
pub(super) fn frees_what_was_mapped(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let raw = Raw::map(device, bench.lease(FRAME_LEN)?, DmaDirection::Both)?;
    let list = raw.list();
    let (Some(memory), Some(bus)) = (list.first(), raw.bus().first()) else {
        return Err(failure("a mapping of nothing"));
    };
    let layout = CoherentLayout::new(FRAME_LEN, FRAME_LEN);
    let cpu = device.cpu_addr(memory.addr(), FRAME_LEN).ok_or_else(|| failure("memory that nobody sees"))?;
    let wrong = RawCoherent { cpu, addr: memory.addr(), layout };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_free_coherent(wrong, bus.addr()) };
    // The record has closed the case: unmapping it now would be another mistake.
    drop(raw);
    Ok(ended(device))
}
