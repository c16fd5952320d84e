//! [`Slots`]: the memory of a copy, which grows with its depth.
//!
//! The first pool is registered with the engine; what comes later is not, since that would stop what is in flight. It is made on another thread:
//! a kernel that has to make room for large pages takes up to half a second. Contract: memory that nobody fixed the size of
//! stays below [`bytes_max`], and below it again after each growth.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

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
    /// What is being made.
    growing: Option<JoinHandle<Result<PagePool, PoolError>>>,
}

impl Slots {
    pub(in super::super) fn new(slot_len: usize, slots: usize) -> Result<Self, PoolError> {
        let first = Arc::new(PagePool::new(PoolOptions::uniform(slot_len, slots))?);
        Ok(Self { slot_len, first, more: Vec::new(), growing: None })
    }

    /// Returns the pool that was there from the beginning.
    pub(in super::super) const fn first(&self) -> &Arc<PagePool> {
        &self.first
    }

    /// Begins to make this many slots of those there are; [`grown`](Self::grown) says when they are.
    pub(in super::super) fn grow(&mut self, slots: usize) -> Result<(), PoolError> {
        let missing = slots.saturating_sub(self.len());
        if missing == 0 || self.growing.is_some() {
            return Ok(());
        }
        let options = PoolOptions::uniform(self.slot_len, missing);
        let make = {
            let options = options.clone();
            move || PagePool::new(options)
        };
        match thread::Builder::new().name("bulkio-memory".to_owned()).spawn(make) {
            Ok(growing) => self.growing = Some(growing),
            // It comes here, then, and what is in flight waits for it.
            Err(_) => self.more.push(PagePool::new(options)?),
        }
        Ok(())
    }

    /// Says whether memory is being made.
    pub(in super::super) const fn is_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// Takes the memory that is being made; `None` where it is not ready yet.
    pub(in super::super) fn grown(&mut self) -> Option<Result<(), PoolError>> {
        let made = self.growing.take_if(|growing| growing.is_finished())?.join();
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Some(made.map(|pool| self.more.push(pool)))
    }

    /// Waits for what is being made. That it could not be made does no harm any more.
    pub(in super::super) fn end_growth(&mut self) {
        if let Some(Ok(Ok(pool))) = self.growing.take().map(JoinHandle::join) {
            self.more.push(pool);
        }
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

impl Drop for Slots {
    fn drop(&mut self) {
        // No thread is left behind.
        self.end_growth();
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
        slots.grow(5).expect("a thread");
        while slots.is_growing() {
            slots.grown().transpose().expect("memory");
            thread::yield_now();
        }
        slots.grow(4).expect("nothing to do");
        assert!(!slots.is_growing() && slots.grown().is_none());
        assert_eq!((slots.len(), slots.taken()), (5, 0));
        assert!(slots.more_bytes() >= 2 * 4096);
        let taken: Vec<Slot> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!((taken.len(), slots.taken()), (5, 5));
        drop(taken);
        assert_eq!(slots.taken(), 0);
        assert!(bytes_max() <= BYTES_MAX);
    }
}
