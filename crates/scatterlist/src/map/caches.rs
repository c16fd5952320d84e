//! [`Caches`]: the care that the CPU's caches need around a transfer, part by part. A coherent device needs none.
//!
//! Shared by the back ends beneath which there is only memory.
#![expect(unsafe_code, reason = "passes on the promise of Memory::invalidate")]

use core::ops::Range;

use super::memory::Memory;
use super::parts::parts;
use crate::{CacheCoherence, Limits, Segments};

/// The caches between a memory and a device.
pub(crate) struct Caches<'a, M> {
    /// `None` where the device sees what the CPU sees.
    memory: Option<&'a M>,
}

impl<'a, M: Memory> Caches<'a, M> {
    /// Looks at how coherent the device is by its `limits`.
    pub(crate) fn of(memory: &'a M, limits: &Limits) -> Self {
        let synced = limits.memory().coherence() == CacheCoherence::Synced;
        Self { memory: synced.then_some(memory) }
    }

    /// Makes the device see what the CPU wrote to bytes `range` of a list.
    pub(crate) fn clean<S>(&self, list: &S, range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        let Some(memory) = self.memory else { return };
        for part in parts(list, range) {
            memory.clean(part.addr(), part.len());
        }
    }

    /// The same for one run.
    pub(crate) fn clean_run(&self, addr: M::Addr, len: u64) {
        if let Some(memory) = self.memory {
            memory.clean(addr, len);
        }
    }

    /// Makes the CPU see what the device wrote to bytes `range` of a list.
    ///
    /// # Safety
    /// The list is leased, and stores of the CPU to the range that were not cleaned are not wanted any more.
    pub(crate) unsafe fn invalidate<S>(&self, list: &S, range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        let Some(memory) = self.memory else { return };
        for part in parts(list, range) {
            // SAFETY: the caller's promise.
            unsafe { memory.invalidate(part.addr(), part.len()) };
        }
    }
}
