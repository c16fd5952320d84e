//! [`Flight`]: the slots that a device fills, by the index of the buffer that each was queued under.
//!
//! A slot is owned here from the call that queues it until the device is done with it, so nobody looks at its bytes meanwhile. What is
//! still here when the table drops is leaked, and said so: the device may be writing to it. Which slot goes under which index is free; the index that had the
//! same slot last is taken where it can be, since then the kernel need not pin the pages again.
#![expect(unsafe_code, reason = "gives a slot's memory to a device")]

use std::sync::Arc;

use rustix::io::Errno;
use scatterlist::Addr;

use super::abi::PLANES_MAX;
use super::dmabuf::Share;
use super::driver::{Driver, Place};
use super::layout::Layout;
use super::model::MemoryModel;
use crate::pages::Slot;

/// A slot at a device.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) slot: Slot,
    /// Where the frame begins, in bytes.
    pub(super) offset: u64,
    pub(super) share: Option<Arc<Share>>,
}

/// One buffer of the driver's.
#[derive(Debug, Default)]
struct Entry {
    held: Option<Held>,
    /// The slot that it had last, and where the frame began.
    last: Option<(u32, u64)>,
}

/// What is queued.
///
/// # Invariants
/// 1. A slot that was given to the device is in `entries` until [`Driver`]'s contract says that the device is done with it. Only then do
///    [`Flight::take`] and [`Flight::release`] let it go, whose callers have that from the driver.
/// 2. Nobody reads or writes the bytes of a slot in `entries`.
#[derive(Debug)]
pub(super) struct Flight {
    model: MemoryModel,
    entries: Vec<Entry>,
    queued: u32,
}

impl Flight {
    pub(super) fn new(model: MemoryModel, count: u32) -> Self {
        Self { model, entries: (0..count).map(|_| Entry::default()).collect(), queued: 0 }
    }

    /// Returns how many buffers are not queued.
    pub(super) fn free(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX).saturating_sub(self.queued)
    }

    /// Chooses the index for a slot.
    fn index_for(&self, key: (u32, u64)) -> Option<usize> {
        let free = |(_, entry): &(usize, &Entry)| entry.held.is_none();
        let mut all = self.entries.iter().enumerate().filter(free);
        let same = all.clone().find(|(_, entry)| entry.last == Some(key));
        // A buffer that never had a slot costs nobody its pages.
        let fresh = || all.clone().find(|(_, entry)| entry.last.is_none());
        same.or_else(fresh).or_else(|| all.next()).map(|(index, _)| index)
    }

    /// Queues a frame of this layout that begins at byte `offset` of the slot. The slot comes back where it cannot be queued; `None` says that all buffers
    /// are queued.
    pub(super) fn queue(
        &mut self,
        driver: &mut dyn Driver,
        layout: &Layout,
        held: Held,
    ) -> Result<(), (Slot, Option<Errno>)> {
        let end = held.offset.checked_add(layout.len());
        if end.is_none_or(|end| end > u64::try_from(held.slot.len()).unwrap_or(0)) {
            return Err((held.slot, Some(Errno::INVAL)));
        }
        let key = (held.slot.index(), held.offset);
        let Some(index) = self.index_for(key) else { return Err((held.slot, None)) };
        let Some(entry) = self.entries.get_mut(index) else { return Err((held.slot, None)) };
        let mut places = [Place::Own; PLANES_MAX];
        let count = match &held.share {
            Some(share) => {
                let shared = share.planes().map(|(dmabuf, len)| Place::Shared { dmabuf, len });
                places.iter_mut().zip(shared).map(|(to, place)| *to = place).count()
            }
            None => {
                let start = held.slot.addr().checked_add(held.offset);
                let planes = layout.planes().iter();
                let memory = planes.filter_map(|(offset, len)| {
                    Some(Place::Memory { addr: start?.checked_add(*offset)?, len: *len })
                });
                places.iter_mut().zip(memory).map(|(to, place)| *to = place).count()
            }
        };
        let places = places.get(..count).unwrap_or_default();
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        // SAFETY: the places lie within the slot (the sum was checked, and a share covers bytes of its slot alone). The slot stays mapped, and from here on
        // is owned by this table until the device is done with it (invariants 1 and 2).
        let queued = unsafe { driver.queue(self.model, number, places) };
        if let Err(errno) = queued {
            return Err((held.slot, Some(errno)));
        }
        (entry.last, entry.held) = (Some(key), Some(held));
        self.queued = self.queued.saturating_add(1);
        Ok(())
    }

    /// Takes a slot that the driver gave back: it has just dequeued `index`.
    pub(super) fn take(&mut self, index: u32) -> Option<Held> {
        let held = self.entries.get_mut(usize::try_from(index).ok()?)?.held.take()?;
        self.queued = self.queued.saturating_sub(1);
        Some(held)
    }

    /// Takes all slots: the driver has said that the device is done with all of them.
    pub(super) fn release(&mut self) -> Vec<Slot> {
        self.queued = 0;
        self.entries.iter_mut().filter_map(|entry| Some(entry.held.take()?.slot)).collect()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (mut slots, mut bytes) = (0_u32, 0_u64);
        for held in self.entries.iter_mut().filter_map(|entry| entry.held.take()) {
            slots = slots.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(held.slot.len()).unwrap_or(0));
            std::mem::forget(held);
        }
        if slots > 0 {
            eprintln!("bulkio: a grabber may still write to {slots} slots ({bytes} bytes): they are leaked");
        }
    }
}
