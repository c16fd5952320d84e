//! [`RingMemory`]: memory that driver and device share, and the order in which each sees the other's stores.

use core::sync::atomic::{Ordering, fence};

use super::super::{DescriptorMemory, PlainMemory};
use super::{QueueError, QueueSize};

/// Memory that a driver and a device read and write while the other may do so too.
///
/// Each load and store moves one whole word of 8 bytes at once: an index of 16 bits is never seen half written.
/// The barriers are those of the CPU among its own kind, which is what a device made of software on the same
/// machine needs. Where the device is behind a bus that does not take part in that (`VIRTIO_F_ORDER_PLATFORM`,
/// section 6), the memory puts its platform's barrier for devices in their place.
pub trait RingMemory: DescriptorMemory {
    /// Loads the word at `index`, or says `None` past the end.
    fn get(&self, index: usize) -> Option<u64>;

    /// Earlier stores are seen before later ones. Stands between descriptors and the available index.
    fn write_barrier(&self) {
        fence(Ordering::Release);
    }

    /// Earlier loads are done before later ones. Stands between the used index and the element that it counts.
    fn read_barrier(&self) {
        fence(Ordering::Acquire);
    }

    /// Earlier stores are seen before later loads. Stands between the available index and the used flags.
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl RingMemory for PlainMemory<'_> {
    fn get(&self, index: usize) -> Option<u64> {
        self.words.get(index).copied().map(u64::from_le)
    }
}

/// The three parts of a split queue, each at an address that the transport tells the device.
#[derive(Clone, Copy, Debug)]
pub struct Rings<M> {
    /// The descriptor table, aligned to 16 bytes: [`QueueSize::table_words`]. The device only reads it.
    pub table: M,
    /// The available ring: [`QueueSize::available_words`]. The device only reads it.
    pub available: M,
    /// The used ring: [`QueueSize::used_words`]. The device writes it.
    pub used: M,
}

impl<M: RingMemory> Rings<M> {
    /// Checks sizes and alignment and sets every word to 0.
    pub(super) fn clear(&mut self, size: QueueSize) -> Result<(), QueueError> {
        let parts = [
            ("descriptor table", &mut self.table, size.table_words(), 16),
            ("available ring", &mut self.available, size.available_words(), 2),
            ("used ring", &mut self.used, size.used_words(), 4),
        ];
        for (part, memory, need, align) in parts {
            let (addr, words) = (memory.bus_addr(), memory.len_words());
            // Alignments by section 2.7, table "Virtqueue Part".
            if crate::Addr::raw(addr).checked_rem(align) != Some(0) {
                return Err(QueueError::Misaligned { part, addr, align });
            }
            if words < need || memory.fill(0, core::iter::repeat_n(0, need)) != need {
                return Err(QueueError::Memory { part, words, need });
            }
        }
        Ok(())
    }
}
