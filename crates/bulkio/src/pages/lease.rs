//! From slots to leases: the promise that connects pages with requests.
#![expect(unsafe_code, reason = "the promise of Lease::from_raw")]

use scatterlist::{Addr, CpuAddr, Lease, ScatterList, Segment, SegmentError};

use super::Slot;

/// A part of a slot that cannot be leased. The slot comes back.
#[derive(Debug, thiserror::Error)]
#[error("cannot lease {len} bytes at byte {offset} of a slot of {} bytes", .slot.len())]
pub struct LeaseError {
    /// The slot, unchanged.
    pub slot: Slot,
    /// Where the part was to start.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl Slot {
    /// Leases `len` bytes from byte `offset` on. The slot travels with the lease as its owner, so nobody else
    /// touches its bytes until it comes back.
    ///
    /// # Errors
    /// [`LeaseError`] with the slot, when the part is empty or reaches past the slot.
    pub fn into_lease(self, offset: u64, len: u64) -> Result<Lease<CpuAddr, Self>, LeaseError> {
        let Ok(segment) = segment(&self, offset, len) else {
            return Err(LeaseError { slot: self, offset, len });
        };
        // SAFETY: the bytes lie within the slot, which by its invariants 1 and 2 has the exclusive right to them
        // and keeps them mapped at this address; the lease owns the slot.
        Ok(unsafe { Lease::from_raw(ScatterList::from(segment), self) })
    }
}

/// Names `len` bytes of a slot from byte `offset` on.
pub(super) fn segment(slot: &Slot, offset: u64, len: u64) -> Result<Segment<CpuAddr>, SegmentError> {
    let addr = slot.addr().raw();
    let wraps = SegmentError::Wraps { addr, len };
    let end = offset.checked_add(len).ok_or(wraps)?;
    if end > u64::try_from(slot.len()).unwrap_or(u64::MAX) {
        return Err(wraps);
    }
    Segment::new(CpuAddr::new(addr.checked_add(offset).ok_or(wraps)?), len)
}
