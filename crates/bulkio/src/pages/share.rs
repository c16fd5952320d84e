//! [`SlotShare`]: a slot that several transfers may have at once.
#![expect(unsafe_code, reason = "the promise of Lease::from_raw")]

use std::sync::Arc;

use scatterlist::{CpuAddr, Lease, ScatterList};

use super::Slot;
use super::lease::segment;

/// A slot, or one of several holds on it. The slot is free when the last hold is gone.
///
/// # Invariants
/// 1. No hold shows the bytes, and none gives the slot back while there is another one. So what any of them has in flight nobody
///    reaches through a Rust reference.
#[derive(Debug)]
pub(crate) struct SlotShare(Hold);

#[derive(Debug)]
enum Hold {
    /// Nobody else has it; the ordinary case, which allocates nothing.
    Whole(Slot),
    Part(Arc<Slot>),
}

impl From<Slot> for SlotShare {
    fn from(slot: Slot) -> Self {
        Self(Hold::Whole(slot))
    }
}

/// A part of a slot that cannot be leased. The hold comes back.
#[derive(Debug)]
pub(crate) struct ShareLeaseError {
    pub(crate) share: SlotShare,
    pub(crate) offset: u64,
}

impl SlotShare {
    /// Makes one more hold.
    pub(crate) fn another(self) -> (Self, Self) {
        let slot = match self.0 {
            Hold::Whole(slot) => Arc::new(slot),
            Hold::Part(slot) => slot,
        };
        (Self(Hold::Part(Arc::clone(&slot))), Self(Hold::Part(slot)))
    }

    /// Gives the slot back, if this is the last hold on it.
    pub(crate) fn into_slot(self) -> Option<Slot> {
        match self.0 {
            Hold::Whole(slot) => Some(slot),
            Hold::Part(slot) => Arc::into_inner(slot),
        }
    }

    /// Leases `len` bytes from byte `offset` on. The hold travels with the lease as its owner.
    ///
    /// Two leases of one slot that overlap are for transfers to devices: what a device reads from a slot that another one writes is
    /// no undefined behaviour, but any mixture.
    ///
    /// # Errors
    /// [`ShareLeaseError`], when the part is empty or reaches past the slot.
    pub(crate) fn into_lease(self, offset: u64, len: u64) -> Result<Lease<CpuAddr, Self>, ShareLeaseError> {
        let slot = match &self.0 {
            Hold::Whole(slot) => slot,
            Hold::Part(slot) => &**slot,
        };
        let Ok(segment) = segment(slot, offset, len) else {
            return Err(ShareLeaseError { share: self, offset });
        };
        // SAFETY: the bytes lie within the slot, which keeps them mapped at this address, and which the hold keeps. By invariant 1
        // neither the owner nor another hold shows the bytes or gives the slot away while this one lives.
        Ok(unsafe { Lease::from_raw(ScatterList::from(segment), self) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{PagePool, PoolOptions};

    #[test]
    fn the_last_hold_gives_the_slot_back() {
        let pool = PagePool::new(PoolOptions::uniform(8192, 1)).expect("a pool");
        let share = SlotShare::from(pool.take().expect("a slot"));
        let (first, second) = share.another();
        let (second, third) = second.another();
        let leases = [first.into_lease(0, 8192), second.into_lease(4096, 4096)];
        assert!(third.into_slot().is_none());
        let mut came_back = 0;
        for lease in leases {
            let owner = lease.expect("a lease").into_owners().next().expect("its owner");
            came_back += usize::from(owner.into_slot().is_some());
        }
        assert_eq!((came_back, pool.free_slots()), (1, 1));
    }

    #[test]
    fn a_part_past_the_slot_comes_back() {
        let pool = PagePool::new(PoolOptions::uniform(4096, 1)).expect("a pool");
        let share = SlotShare::from(pool.take().expect("a slot"));
        let error = share.into_lease(4096, 1).expect_err("past its end");
        assert_eq!(error.offset, 4096);
        assert!(error.share.into_slot().is_some());
    }
}
