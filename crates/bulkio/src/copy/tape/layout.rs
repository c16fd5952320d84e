//! How bytes lie in slots, where one side has tape blocks and the other blocks of its own. Pure arithmetic.
//!
//! A slot holds whole tape blocks, since a block is written from one piece of memory, and whole blocks of the source too, where that is read
//! directly: multiples of both.

use super::super::geometry::{Unit, lcm};

/// The longest slot: what a few of are a buffer of ordinary size.
const SLOT_LEN_MAX: u64 = 16 << 20;

/// Fewest slots: one at each side, and something between.
const SLOTS_MIN: u64 = 4;

/// Most slots.
const SLOTS_MAX: u64 = 1 << 16;

/// The layout of the slots between a source and a tape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) slot_len: u64,
    /// Alignment of direct reads; `None` where they go through the page cache.
    pub(super) unit: Option<Unit>,
    /// Why they do, where they could be direct but for the layout.
    pub(super) bounce: Option<String>,
}

impl Layout {
    /// Lays out tape blocks of `block` bytes over a source that is read from byte `skip` on, directly in units of `unit` if there is one, in slots
    /// of about `len`.
    pub(super) fn new(block: u64, unit: Option<Unit>, skip: u64, len: u64) -> Self {
        let buffered = |bounce| Self::of(block, None, bounce, len);
        let Some(unit) = unit else { return buffered(None) };
        if skip.checked_rem(unit.start) != Some(0) {
            return buffered(Some(format!("source byte {skip} is no multiple of {}", unit.start)));
        }
        let common = lcm(unit.start, unit.end).and_then(|own| lcm(own, block));
        match common.filter(|common| *common <= SLOT_LEN_MAX) {
            Some(common) => Self::of(common, Some(unit), None, len),
            None => buffered(Some(format!(
                "tape blocks of {block} bytes and blocks of {} bytes have no common multiple up to {SLOT_LEN_MAX}",
                unit.start
            ))),
        }
    }

    fn of(base: u64, unit: Option<Unit>, bounce: Option<String>, len: u64) -> Self {
        let times = len.checked_div(base).unwrap_or(1).max(1);
        Self { slot_len: base.saturating_mul(times), unit, bounce }
    }
}

/// Returns how many slots make a buffer of `buffer_len` bytes, or hold `len` where that is less.
pub(super) fn slots(slot_len: u64, buffer_len: u64, len: Option<u64>) -> usize {
    let slots = buffer_len.checked_div(slot_len).unwrap_or(0);
    let needed = len.map_or(u64::MAX, |len| len.div_ceil(slot_len.max(1)).saturating_add(1));
    usize::try_from(slots.min(needed).clamp(SLOTS_MIN, SLOTS_MAX)).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: Unit = Unit { start: 512, end: 512 };
    const PAGE: Unit = Unit { start: 4096, end: 4096 };
    const MIB: u64 = 1 << 20;

    #[test]
    fn slots_are_multiples_of_both_blocks() {
        let slot = |block, unit| Layout::new(block, Some(unit), 0, MIB).slot_len;
        assert_eq!(slot(262_144, PAGE), MIB);
        assert_eq!(slot(10_240, SECTOR), 102 * 10_240);
        // 20,480 is the least common multiple of 10,240 and 4096.
        assert_eq!(slot(10_240, PAGE), 51 * 20_480);
        assert_eq!(slot(1000, PAGE), 2 * 512_000);
        assert_eq!(slot(3 * MIB, PAGE), 3 * MIB);
        assert_eq!(Layout::new(777, None, 5, MIB).slot_len, MIB / 777 * 777);
    }

    #[test]
    fn what_has_no_common_multiple_goes_through_the_page_cache_and_says_why() {
        let layout = Layout::new(262_143, Some(PAGE), 0, MIB);
        assert_eq!((layout.slot_len, layout.unit), (4 * 262_143, None));
        assert!(layout.bounce.is_some_and(|why| why.contains("262143") && why.contains("4096")));
        let layout = Layout::new(262_144, Some(PAGE), 100, MIB);
        assert_eq!(layout.bounce.as_deref(), Some("source byte 100 is no multiple of 4096"));
        assert_eq!(Layout::new(262_144, Some(PAGE), 8192, MIB).bounce, None);
    }

    #[test]
    fn the_buffer_is_as_large_as_said_and_no_larger_than_needed() {
        assert_eq!(slots(MIB, 64 * MIB, None), 64);
        assert_eq!(slots(MIB, 64 * MIB, Some(10 * MIB)), 11);
        assert_eq!(slots(MIB, 1, None), 4);
        assert_eq!(slots(1, u64::MAX, None), 1 << 16);
    }
}
