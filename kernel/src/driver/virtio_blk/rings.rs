//! The memory of the queue: [`new_rings`] takes it, [`new_queue`] makes a queue of it.
//!
//! Virtual I/O Device (VIRTIO) Version 1.2, section 2.7. Memory that does not do is refused while it is idle. In flight it could not be
//! let go, though no device was ever told of it.

use alloc::vec::Vec;

use scatterlist::PhysAddr;
use scatterlist::desc::virtqueue::{QueueError, QueueSize, Rings, Slot, SplitQueue};
use scatterlist::map::{Coherent, CoherentLayout, DmaDevice, InFlight};

use super::error::StartError;

/// A ring that the device knows.
pub(super) type Ring<D> = InFlight<Coherent<D>>;
/// The driver's side of the queue.
pub(super) type Queue<D> = SplitQueue<Ring<D>, Vec<Slot>>;
/// What a queue is made of, and what is left of one whose device was reset.
pub(super) type Parts<D> = (Rings<Coherent<D>>, Vec<Slot>);

/// Takes coherent memory for a queue.
pub(super) fn new_rings<D>(device: &D, size: QueueSize) -> Result<Parts<D>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    // Alignments of section 2.7.
    let ring = |words: usize, align: u64| {
        let len = u64::try_from(words).unwrap_or(u64::MAX).saturating_mul(8);
        device.alloc_coherent(CoherentLayout::new(len, align)).map_err(StartError::Rings)
    };
    let rings = Rings {
        table: ring(size.table_words(), 16)?,
        available: ring(size.available_words(), 8)?,
        used: ring(size.used_words(), 8)?,
    };
    Ok((rings, alloc::vec![Slot::default(); usize::from(size.get())]))
}

/// Makes a queue that the device is to be told of.
pub(super) fn new_queue<D>(size: QueueSize, parts: Parts<D>) -> Result<Queue<D>, QueueError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let (rings, slots) = parts;
    let (rings, slots) = SplitQueue::new(size, rings, slots)?.into_parts();
    let Rings { table, available, used } = rings;
    let rings =
        Rings { table: table.into_flight(), available: available.into_flight(), used: used.into_flight() };
    // What was found good a moment ago is still.
    SplitQueue::new(size, rings, slots)
}

#[cfg(test)]
mod tests {
    use scatterlist::fake::FakeMemory;
    use scatterlist::map::{Direct, Offset};
    use scatterlist::{CacheCoherence, Limits};

    use super::*;

    #[test]
    fn rings_of_which_no_queue_can_be_made_are_given_back() {
        let memory = FakeMemory::<PhysAddr>::physical(CacheCoherence::Coherent, 0x10_0000, 64 << 10).unwrap();
        let device = Direct::new(&memory, Offset::NONE, &Limits::default()).unwrap();
        let (small, large) = (QueueSize::new(8).unwrap(), QueueSize::new(16).unwrap());
        let parts = new_rings(&&device, small).unwrap();
        assert!(memory.coherent_bytes() > 0);
        assert!(matches!(new_queue(large, parts), Err(QueueError::Slots { slots: 8, need: 16 })));
        assert_eq!((memory.coherent_bytes(), memory.findings().len()), (0, 0));
    }
}
