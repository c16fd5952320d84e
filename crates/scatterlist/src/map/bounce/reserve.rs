//! [`Shape`]: how much memory one mapping can need at the worst, and the regions that are set aside for that.
//!
//! At the worst all bytes of a transfer are bounced, in as few pieces as the limits allow: so a mapping that finds the pool
//! short bounces as a whole, if need be, and a region of that size is always enough where that is legal at all.

use alloc::vec::Vec;

use super::BounceLayout;
use super::place::{Rules, Wanted};
use super::slots::{Run, Slots};
use crate::limits::{Hard, gcd, rem};

/// The runs of a region: like-sized, aligned to whatever a piece may have to keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    rules: Rules,
    /// Bytes of a run.
    run_len: u64,
    /// Runs of a region.
    runs: u64,
}

/// Runs for one mapping.
pub(super) type Region = Vec<Run>;

impl Shape {
    /// Returns the shape for transfers of `transfer_len` bytes; `None` where no run of a set would do.
    pub(super) fn new(hard: &Hard, layout: BounceLayout, transfer_len: u64) -> Option<Self> {
        let rules = Rules::new(hard, layout.slot_len);
        let page_mask = Some(hard.page_mask).filter(|mask| *mask < layout.set_len()).unwrap_or(0);
        let aligned = rules.aligned(page_mask);
        let (unit, gap_mask) = (hard.piece_len_align, hard.gap_mask);
        let whole_units = |len: u64| len.saturating_sub(rem(len, unit));
        let window = hard.boundary_mask.saturating_add(1);
        // A piece may start at any low bits that it keeps; one that follows another, at a gap granule.
        let before = rules.kept_mask.min(window.saturating_sub(1));
        let before_next = hard.bounce_offset_mask & !gap_mask & hard.boundary_mask;
        let longest = |before: u64| hard.segment_len_max.min(window.saturating_sub(before));
        // What the first piece holds at least, and each further one but the last.
        let first = whole_units(longest(before).saturating_sub(gap_mask));
        let next = whole_units(longest(before_next) & !gap_mask);
        let pieces =
            if transfer_len <= first { 1 } else { transfer_len.checked_div(next)?.checked_add(2)? };
        // A run has room for the longest piece, or is as long as a set allows and holds a part of it.
        let room = layout.map_len_max(aligned.kept_mask);
        let run_len = before.checked_add(hard.segment_len_max.min(transfer_len))?.min(window);
        if run_len <= room {
            return Some(Self { rules: aligned, run_len, runs: pieces });
        }
        // A piece that is longer than a run is cut, where a join falls on whole units of length wherever the piece may start.
        let granule = gcd(rules.join_mask.checked_add(1)?, unit.max(1));
        if rem(hard.addr_mask.checked_add(1)?, granule) != 0 {
            return None;
        }
        let lost = before.checked_add(rules.kept_mask | page_mask)?.checked_add(unit)?;
        let part = room.checked_sub(lost).filter(|part| *part > 0)?;
        let runs = pieces.checked_add(transfer_len.checked_div(part)?)?;
        Some(Self { rules: aligned, run_len: room, runs })
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { rules: &self.rules, len: self.run_len, bits: 0 }
    }

    /// Returns the bytes of `regions` regions.
    pub(super) fn bytes(&self, regions: u64, slot_len: u64) -> u64 {
        let run = self.wanted().slots().saturating_mul(slot_len);
        run.saturating_mul(self.runs).saturating_mul(regions)
    }

    /// Returns a region that has room for its runs and none yet, so that taking them allocates nothing.
    pub(super) fn empty_region(&self) -> Region {
        Region::with_capacity(usize::try_from(self.runs).unwrap_or(0))
    }

    /// Takes the runs of one region out of the free slots; what it took is back where that fails.
    pub(super) fn take(&self, mut region: Region, slots: &mut Slots) -> Option<Region> {
        for _ in 0..self.runs {
            match slots.take(&self.wanted()) {
                Some((run, _)) => region.push(run),
                None => {
                    region.into_iter().for_each(|run| slots.give_back(run));
                    return None;
                }
            }
        }
        Some(region)
    }
}
