//! Drivers. Each moves data by a request, a target, a pool and a descriptor encoder, and by nothing else.
//!
//! They are generic over the bus ([`DmaDevice`](scatterlist::map::DmaDevice)), where their registers are
//! ([`Registers`](crate::registers::Registers)), who owns the memory, and who is told; they know neither each other nor the machine.

pub mod ac97;
mod bare;
pub mod edu;
pub mod nvme;
pub mod virtio_blk;

pub use bare::{NoObject, NoPool};

/// Returns the low and the high half of a word.
pub(crate) const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Returns the word of a low and a high half.
pub(crate) const fn word(low: u32, high: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (low.to_le_bytes(), high.to_le_bytes());
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
