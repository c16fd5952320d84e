//! [`Slots`]: the memory of a copy, which grows with its depth.
//!
//! The first pool is registered with the engine; what comes later is not, since that would stop what is in flight. Contract: memory
//! that nobody fixed the size of stays below [`bytes_max`], and below it again after each growth.

use std::sync::Arc;

use crate::pages::{PagePool, PoolError, PoolOptions, Slot, memory_available};

/// The most memory of a copy whose depth nobody fixed.
const BYTES_MAX: u64 = 128 << 20;

/// The part of the memory that there is.
const AVAILABLE_PART: u64 = 8;

/// Slots of one length.
#[derive(Debug)]
pub(in super::super) struct Slots {
    slot_len: usize,
    first: Arc<PagePool>,
    more: Vec<PagePool>,
}

impl Slots {
    pub(in super::super) fn new(slot_len: usize, slots: usize) -> Result<Self, PoolError> {
        let first = Arc::new(PagePool::new(PoolOptions::uniform(slot_len, slots))?);
        Ok(Self { slot_len, first, more: Vec::new() })
    }

    /// Returns the pool that was there from the beginning.
    pub(in super::super) const fn first(&self) -> &Arc<PagePool> {
        &self.first
    }

    /// Makes this many slots of those there are.
    pub(in super::super) fn grow(&mut self, slots: usize) -> Result<(), PoolError> {
        let missing = slots.saturating_sub(self.len());
        if missing > 0 {
            self.more.push(PagePool::new(PoolOptions::uniform(self.slot_len, missing))?);
        }
        Ok(())
    }

    /// Takes a free slot, from the pools in the order in which they came.
    pub(in super::super) fn take(&self) -> Option<Slot> {
        self.pools().find_map(PagePool::take)
    }

    /// Returns how many slots there are.
    pub(in super::super) fn len(&self) -> usize {
        self.pools().map(PagePool::slots).fold(0, usize::saturating_add)
    }

    /// Returns how many of them somebody has.
    pub(in super::super) fn taken(&self) -> usize {
        let free = self.pools().map(PagePool::free_slots).fold(0, usize::saturating_add);
        self.len().saturating_sub(free)
    }

    /// Returns the bytes that were added.
    pub(in super::super) fn more_bytes(&self) -> u64 {
        self.more.iter().map(PagePool::bytes).fold(0, u64::saturating_add)
    }

    fn pools(&self) -> impl Iterator<Item = &PagePool> {
        std::iter::once(&*self.first).chain(&self.more)
    }
}

/// Returns the most memory that a copy takes by itself, in bytes: 128 MiB, or an eighth of what is available.
pub(in super::super) fn bytes_max() -> u64 {
    memory_available().map_or(BYTES_MAX, |bytes| (bytes / AVAILABLE_PART).min(BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_all_pools_are_slots() {
        let mut slots = Slots::new(4096, 3).expect("memory");
        slots.grow(5).expect("memory");
        slots.grow(4).expect("nothing to do");
        assert_eq!((slots.len(), slots.taken()), (5, 0));
        assert!(slots.more_bytes() >= 2 * 4096);
        let taken: Vec<Slot> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!((taken.len(), slots.taken()), (5, 5));
        drop(taken);
        assert_eq!(slots.taken(), 0);
        assert!(bytes_max() <= BYTES_MAX);
    }
}
