//! A pool in parts that io_uring can register.
//!
//! One registered buffer is at most 1 GiB, and one request uses one buffer: so no slot may lie across two.

use std::num::NonZeroUsize;

use scatterlist::{Addr, CpuAddr};

/// The longest buffer that io_uring registers, in bytes, and so the longest slot
/// (`io_uring_registered_buffers(7)`: 1 GiB).
pub const REGISTERED_LEN_MAX: usize = 1 << 30;

/// Some consecutive slots of a pool: one registered buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolRange {
    /// Address of the first byte.
    pub addr: CpuAddr,
    /// Length in bytes, at most [`REGISTERED_LEN_MAX`].
    pub len: u64,
    /// Index of the first slot.
    pub first_slot: u32,
    /// Number of slots.
    pub slots: u32,
}

/// Returns how many of `slots` slots go into one range.
pub(super) fn slots_per_range(slot_len: NonZeroUsize, slots: u32) -> u32 {
    let fit = u32::try_from(REGISTERED_LEN_MAX / slot_len).unwrap_or(u32::MAX);
    fit.min(slots).max(1)
}

/// Cuts `slots` slots that begin at `start` into ranges. The end of the last slot must be an address.
pub(super) fn ranges(
    start: CpuAddr,
    slot_len: NonZeroUsize,
    slots: u32,
) -> impl Iterator<Item = PoolRange> + Clone {
    let step = slots_per_range(slot_len, slots);
    // Lossless: Linux has no lengths beyond 64 bits.
    let slot_len = slot_len.get() as u64;
    (0..slots.div_ceil(step)).filter_map(move |number| {
        let first_slot = number * step;
        let slots = step.min(slots - first_slot);
        let addr = start.checked_add(u64::from(first_slot) * slot_len)?;
        Some(PoolRange { addr, len: u64::from(slots) * slot_len, first_slot, slots })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(slot_len: usize, slots: u32) -> Vec<(u64, u64, u32, u32)> {
        let slot_len = NonZeroUsize::new(slot_len).unwrap();
        ranges(CpuAddr::new(0x1000), slot_len, slots)
            .map(|range| (range.addr.raw() - 0x1000, range.len, range.first_slot, range.slots))
            .collect()
    }

    #[test]
    fn no_slot_lies_across_two_ranges() {
        const MIB: u64 = 1 << 20;
        assert_eq!(cut(4096, 6), [(0, 6 * 4096, 0, 6)]);
        assert_eq!(cut(1 << 30, 2), [(0, 1024 * MIB, 0, 1), (1024 * MIB, 1024 * MIB, 1, 1)]);
        // Three slots of 300 MiB make 900; a fourth would lie across the limit.
        assert_eq!(
            cut(300 << 20, 7),
            [(0, 900 * MIB, 0, 3), (900 * MIB, 900 * MIB, 3, 3), (1800 * MIB, 300 * MIB, 6, 1)]
        );
        assert_eq!(cut(1 << 20, 2048).len(), 2);
    }
}
