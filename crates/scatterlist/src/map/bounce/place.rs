//! [`Rules`] and [`Wanted`]: where a run of bounce memory may lie, and where a long one may be cut.
//!
//! These are the promises of [`BouncedPiece`](crate::plan::BouncedPiece) in numbers. A piece is thought of as a run of addresses that starts at its
//! `start_bits`; its memory has the same low bits, crosses no boundary and touches no more pages than that run would.
//! Nothing here knows which slots are free.

use crate::limits::{Hard, rem};

/// What the limits of a mapping say about bounce memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Bytes of a slot, a power of two.
    slot_len: u64,
    /// The low bits that a run shares with what it stands for: gap granule, alignment, bits to preserve.
    pub(super) kept_mask: u64,
    /// Inner joins fall on multiples of this mask plus one.
    pub(super) join_mask: u64,
    boundary_mask: u64,
    page_mask: u64,
    piece_len_align: u64,
    addr_min: u64,
    addr_max: u64,
}

impl Rules {
    pub(super) fn new(hard: &Hard, slot_len: u64) -> Self {
        // All masks are of the form 2^n - 1, so their OR is the widest of them.
        let join_mask = hard.gap_mask | hard.addr_mask;
        Self {
            slot_len,
            kept_mask: join_mask | hard.bounce_offset_mask,
            join_mask,
            boundary_mask: hard.boundary_mask,
            page_mask: hard.page_mask,
            piece_len_align: hard.piece_len_align,
            addr_min: hard.addr_min,
            addr_max: hard.addr_max,
        }
    }

    /// The same rules for runs that start at multiples of `mask + 1` (a mask of low bits) too.
    pub(super) const fn aligned(self, mask: u64) -> Self {
        Self { kept_mask: self.kept_mask | mask, ..self }
    }

    const fn slot_mask(&self) -> u64 {
        self.slot_len.wrapping_sub(1)
    }

    /// Slots that `len` bytes fill, the last one maybe in part.
    pub(super) const fn slots(&self, len: u64) -> u64 {
        // A slot length is a power of two, so at least 1.
        len.div_ceil(self.slot_len)
    }

    /// Returns where in its first slot a run with these low bits starts.
    pub(super) const fn offset(&self, bits: u64) -> u64 {
        bits & self.kept_mask & self.slot_mask()
    }

    /// Returns the longest part, at most `most` bytes, after which a run with these low bits may be cut: on a page where
    /// that can be; 0 where there is none.
    pub(super) fn cut(&self, bits: u64, most: u64) -> u64 {
        let page_mask = if self.page_mask == u64::MAX { 0 } else { self.page_mask };
        match self.cut_at(bits, most, self.join_mask | page_mask) {
            0 => self.cut_at(bits, most, self.join_mask),
            cut => cut,
        }
    }

    fn cut_at(&self, bits: u64, most: u64, mask: u64) -> u64 {
        let down = |len: u64| (bits.saturating_add(len) & !mask).saturating_sub(bits);
        let unit = self.piece_len_align;
        let mut cut = down(most);
        // Each step that changes anything goes down by one unit at least; units that agree with the mask need one.
        while cut > 0 && rem(cut, unit) != 0 {
            cut = down(cut.saturating_sub(rem(cut, unit)));
        }
        cut
    }
}

/// A run of bounce memory that is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) rules: &'a Rules,
    /// Bytes, at least 1.
    pub(super) len: u64,
    /// The low bits of the address.
    pub(super) bits: u64,
}

impl Wanted<'_> {
    /// Returns how many slots the run takes.
    pub(super) fn slots(&self) -> u64 {
        self.rules.slots(self.rules.offset(self.bits).saturating_add(self.len))
    }

    /// Returns the first slot, from slot `from` of a set at `base` on, at which an address has the right low bits.
    pub(super) fn candidate(&self, base: u64, from: u64) -> Option<u64> {
        let Rules { slot_len, kept_mask, .. } = *self.rules;
        let high = kept_mask & !self.rules.slot_mask();
        let at = base.checked_add(from.checked_mul(slot_len)?)?;
        let ahead = (self.bits & high).wrapping_sub(at) & high;
        from.checked_add(ahead.checked_div(slot_len)?)
    }

    /// Returns the address of the data when the run's first slot is at `slot_addr`; `None` where the run would leave the
    /// window, cross a boundary or touch too many pages.
    pub(super) fn data_addr(&self, slot_addr: u64) -> Option<u64> {
        let rules = self.rules;
        let start = slot_addr.checked_add(rules.offset(self.bits))?;
        let last = start.checked_add(self.len.checked_sub(1)?)?;
        let within = start >= rules.addr_min && last <= rules.addr_max;
        let unbroken = start | rules.boundary_mask == last | rules.boundary_mask;
        let pages = self.pages(start) <= self.pages(self.bits);
        (within && unbroken && pages).then_some(start)
    }

    /// Says whether no run of a set from `base` to `end` can be in the window.
    pub(super) const fn out_of_window(&self, base: u64, end: u64) -> bool {
        end <= self.rules.addr_min || base > self.rules.addr_max
    }

    fn pages(&self, addr: u64) -> u64 {
        let mask = self.rules.page_mask;
        if mask == u64::MAX {
            return 1;
        }
        let span = (addr & mask).saturating_add(self.len).saturating_add(mask);
        span.checked_shr(mask.count_ones()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LimitId, Limits};

    fn rules(pairs: &[(LimitId, u64)]) -> Rules {
        let builder = pairs.iter().fold(Limits::builder(), |builder, &(id, value)| builder.hard(id, value));
        Rules::new(builder.build().expect("limits").hard(), 2048)
    }

    #[test]
    fn a_run_keeps_its_low_bits_across_slots() {
        let rules = rules(&[(LimitId::BounceOffsetMask, 4095)]);
        let wanted = Wanted { rules: &rules, len: 100, bits: 0x678 };
        // Slots 0 and 2 of a set at 0x10000 are at multiples of 4096, slot 1 is not.
        assert_eq!(wanted.candidate(0x10000, 0), Some(0));
        assert_eq!(wanted.candidate(0x10000, 1), Some(2));
        let wanted = Wanted { rules: &rules, len: 100, bits: 0xa78 };
        assert_eq!(wanted.candidate(0x10000, 0), Some(1));
        assert_eq!(wanted.data_addr(0x10800), Some(0x10a78));
    }

    #[test]
    fn cuts_fall_on_joins_and_units() {
        let plain = rules(&[]);
        assert_eq!(plain.cut(0, 1000), 1000);
        let gap = rules(&[(LimitId::GapBoundary, 4096)]);
        assert_eq!(gap.cut(4096 - 512, 10_000), 512 + 8192);
        assert_eq!(gap.cut(0, 4095), 0);
        let unit = rules(&[(LimitId::PieceLenAlign, 520), (LimitId::AddrAlign, 4)]);
        assert_eq!(unit.cut(0, 2100), 2080);
        let page = rules(&[(LimitId::PageLen, 4096)]);
        assert_eq!((page.cut(0, 5000), page.cut(0, 3000)), (4096, 3000));
    }

    #[test]
    fn no_run_crosses_a_boundary_or_touches_a_page_too_many() {
        let rules = rules(&[(LimitId::SegmentBoundary, 65536), (LimitId::PageLen, 4096)]);
        let wanted = Wanted { rules: &rules, len: 4096, bits: 0 };
        assert_eq!(wanted.data_addr(0x10000), Some(0x10000));
        assert_eq!(wanted.data_addr(0x10800), None);
        let wanted = Wanted { rules: &rules, len: 8192, bits: 2048 };
        assert_eq!(wanted.data_addr(0x1e800), None);
        assert_eq!(wanted.data_addr(0x10800), Some(0x10800));
    }
}
