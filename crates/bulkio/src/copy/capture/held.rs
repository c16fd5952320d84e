//! [`Held`]: what owns the memory of a write in flight: a device's bytes, or a slot that some of them were copied to.
#![expect(unsafe_code, reason = "the promise of Lease::from_raw for what a device filled")]

use scatterlist::{Addr, CpuAddr, Lease, ScatterList, Segment};

use crate::device::filled::Filled;
use crate::pages::Slot;

/// The owner of memory on its way to the destination.
#[derive(Debug)]
pub(super) enum Held<F> {
    /// The bytes where the device left them.
    Given(F),
    /// A copy.
    Slot(Slot),
}

/// Leases `len` bytes of what a device filled, from byte `at` on; gives it back where they are not there.
pub(super) fn lease_filled<F: Filled>(filled: F, at: u64, len: u64) -> Result<Lease<CpuAddr, Held<F>>, F> {
    let mut list = filled.list();
    let end = at.saturating_add(len);
    let mut is_cut = len > 0 && end <= list.len_bytes();
    if is_cut && end < list.len_bytes() {
        is_cut = list.split_off(end).is_ok();
    }
    if is_cut && at > 0 {
        match list.split_off(at) {
            Ok(rest) => list = rest,
            Err(_) => is_cut = false,
        }
    }
    if !is_cut {
        return Err(filled);
    }
    // SAFETY: the list is a part of the one of `filled`, whose bytes stay mapped while it exists and are written by no safe code
    // (contract of `Filled`); the lease owns it.
    Ok(unsafe { Lease::from_raw(list, Held::Given(filled)) })
}

/// Leases `len` bytes of a slot, from byte `at` on; gives it back where they are not there.
pub(super) fn lease_slot<F>(slot: Slot, at: u64, len: u64) -> Result<Lease<CpuAddr, Held<F>>, Slot> {
    let lease = slot.into_lease(at, len).map_err(|error| error.slot)?;
    let list = lease.list().clone();
    let Some(slot) = lease.into_owners().next() else { unreachable!("a lease has an owner") };
    // SAFETY: as the lease of the slot was: the bytes are the slot's, and the new lease owns it.
    Ok(unsafe { Lease::from_raw(list, Held::Slot(slot)) })
}

/// Bytes that were copied to a slot, on their way like those that a device filled.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) slot: Slot,
    pub(super) offset: u64,
    pub(super) len: u64,
}

// SAFETY: the slot has the exclusive right to its bytes and keeps them mapped at their address (its invariants 1 and 2); `Copied` gives
// no way to write them.
unsafe impl Filled for Copied {
    fn list(&self) -> ScatterList<CpuAddr> {
        let addr = self.slot.addr().raw().saturating_add(self.offset);
        let held = u64::try_from(self.slot.len()).unwrap_or(u64::MAX);
        let fits = self.offset.checked_add(self.len).is_some_and(|end| end <= held);
        let segment = Segment::new(CpuAddr::new(addr), self.len).ok().filter(|_| fits);
        segment.map_or_else(ScatterList::new, ScatterList::from)
    }

    fn len_bytes(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, into: &mut [u8]) {
        let start = usize::try_from(self.offset.saturating_add(at)).unwrap_or(usize::MAX);
        let end = start.saturating_add(into.len());
        if let Some(from) = self.slot.as_slice().get(start..end) {
            into.copy_from_slice(from);
        }
    }
}
