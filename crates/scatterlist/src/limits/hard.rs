//! [`Hard`]: what the planner obeys, and the arithmetic of granularities.

use super::{LimitId, Limits};

/// The values that the planner obeys, read off [`Limits`] once when they are built: soft limits stand at
/// their neutral value, masks instead of powers of two, so that a list that fits is planned in a few nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hard {
    pub(crate) addr_min: u64,
    pub(crate) addr_max: u64,
    pub(crate) addr_mask: u64,
    pub(crate) piece_len_align: u64,
    pub(crate) segments_max: u64,
    pub(crate) pieces_max: u64,
    pub(crate) segment_len_max: u64,
    /// Boundary minus one; `u64::MAX` when there is none.
    pub(crate) boundary_mask: u64,
    /// Boundary minus one; 0 when there is none.
    pub(crate) gap_mask: u64,
    /// Page length minus one; `u64::MAX` when addresses are the device's own.
    pub(crate) page_mask: u64,
    pub(crate) bounce_offset_mask: u64,
    pub(crate) copy_below: u64,
    /// The least common multiple of the granularities of position, whole and piece: cuts fall on it.
    pub(crate) cut_align: u64,
    pub(crate) position_align: u64,
    pub(crate) position_align_opt: u64,
    pub(crate) transfer_len_min: u64,
    pub(crate) transfer_len_max: u64,
    pub(crate) chunk_len: u64,
    pub(crate) position_offset: u64,
    pub(crate) capacity: u64,
    /// What a transfer of one run keeps that keeps every rule for memory, see [`Hard::takes`].
    run: Run,
}

/// Enough for one run of memory to keep every rule but those for its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    len_min: u64,
    /// 0 where only the planner can tell.
    len_max: u64,
    /// Low bits that neither its address nor its length has.
    mask: u64,
}

impl Run {
    /// Derives it from the other fields.
    fn of(hard: &Hard) -> Self {
        let pages = match hard.page_mask {
            u64::MAX => u64::MAX,
            // A run touches at most two pages more than its length holds.
            mask => hard.segments_max.saturating_sub(2).saturating_mul(mask.saturating_add(1)),
        };
        let powers = hard.piece_len_align.is_power_of_two() && hard.cut_align.is_power_of_two();
        let len_max = hard.transfer_len_max.min(hard.segment_len_max).min(pages);
        let units = hard.piece_len_align.saturating_sub(1) | hard.cut_align.saturating_sub(1);
        let plain = powers && hard.copy_below == 0;
        Self {
            len_min: hard.transfer_len_min,
            len_max: if plain { len_max } else { 0 },
            mask: hard.addr_mask | units,
        }
    }
}

impl Hard {
    pub(super) const NEUTRAL: Self = Self {
        addr_min: 0,
        addr_max: u64::MAX,
        addr_mask: 0,
        piece_len_align: 1,
        segments_max: u64::MAX,
        pieces_max: u64::MAX,
        segment_len_max: u64::MAX,
        boundary_mask: u64::MAX,
        gap_mask: 0,
        page_mask: u64::MAX,
        bounce_offset_mask: 0,
        copy_below: 0,
        cut_align: 1,
        position_align: 1,
        position_align_opt: 1,
        transfer_len_min: 0,
        transfer_len_max: u64::MAX,
        chunk_len: 0,
        position_offset: 0,
        capacity: u64::MAX,
        run: Run { len_min: 0, len_max: u64::MAX, mask: 0 },
    };

    /// Says that a run of memory is one transfer as it is, by the rules for memory and sizes. "No" means that the planner must tell.
    #[cfg_attr(not(feature = "alloc"), expect(dead_code, reason = "only what prepares requests asks this"))]
    #[inline]
    pub(crate) const fn takes(&self, addr: u64, len: u64) -> bool {
        let Run { len_min, len_max, mask } = self.run;
        // A segment has a byte, and does not wrap.
        let last = addr.wrapping_add(len).wrapping_sub(1);
        len >= len_min
            && len <= len_max
            && (addr | len) & mask == 0
            && addr >= self.addr_min
            && last <= self.addr_max
            && addr | self.boundary_mask == last | self.boundary_mask
    }

    pub(super) fn of(limits: &Limits) -> Self {
        let hard = |id: LimitId| limits.hard_value(id);
        let position_align = hard(LimitId::PositionAlign).max(1);
        let mut of = Self {
            run: Self::NEUTRAL.run,
            addr_min: hard(LimitId::AddrMin),
            addr_max: hard(LimitId::AddrMax),
            addr_mask: hard(LimitId::AddrAlign).saturating_sub(1),
            piece_len_align: hard(LimitId::PieceLenAlign).max(1),
            segments_max: hard(LimitId::SegmentsMax),
            pieces_max: hard(LimitId::PiecesMax),
            segment_len_max: hard(LimitId::SegmentLenMax),
            // Zero means none: the mask of "none" lets every address through.
            boundary_mask: hard(LimitId::SegmentBoundary).wrapping_sub(1),
            gap_mask: hard(LimitId::GapBoundary).saturating_sub(1),
            page_mask: hard(LimitId::PageLen).wrapping_sub(1),
            bounce_offset_mask: hard(LimitId::BounceOffsetMask),
            copy_below: limits.get(LimitId::CopyBelow).value,
            cut_align: cut_align(position_align, hard(LimitId::TotalLenAlign), hard(LimitId::PieceLenAlign))
                .unwrap_or(u64::MAX),
            position_align,
            // The physical block is a hint by nature; only its value matters here.
            position_align_opt: limits.get(LimitId::PositionAlignOpt).value.max(1),
            transfer_len_min: hard(LimitId::TransferLenMin),
            transfer_len_max: hard(LimitId::TransferLenMax),
            chunk_len: hard(LimitId::ChunkLen),
            position_offset: limits.get(LimitId::PositionOffset).value,
            capacity: hard(LimitId::Capacity),
        };
        of.run = Run::of(&of);
        of
    }
}

/// Returns what every cut must be a multiple of, so that both sides keep all three granularities.
pub(super) fn cut_align(position: u64, total: u64, piece: u64) -> Option<u64> {
    lcm(lcm(position, total)?, piece)
}

/// Returns the greatest common divisor; that of 0 and a number is the number.
pub(crate) const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        a = b;
        b = rest;
    }
    a
}

/// Returns the least common multiple, or `None` past 64 bits. Zero counts as one.
pub(super) fn lcm(a: u64, b: u64) -> Option<u64> {
    let (a, b) = (a.max(1), b.max(1));
    a.checked_div(gcd(a, b))?.checked_mul(b)
}

/// Returns `value % unit`, without a division for powers of two. A unit of 0 leaves 0.
#[inline]
pub(crate) const fn rem(value: u64, unit: u64) -> u64 {
    if unit.is_power_of_two() { value & unit.wrapping_sub(1) } else { rem_odd(value, unit) }
}

/// Out of line: the powers of two are the fast path of a plan.
#[inline(never)]
const fn rem_odd(value: u64, unit: u64) -> u64 {
    match value.checked_rem(unit) {
        Some(rest) => rest,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{Piece, Policy, plan};
    use crate::{Addr as _, BusAddr, Position, Segment};

    fn power(most: u32) -> impl Strategy<Value = u64> {
        (0..=most).prop_map(|shift| 1_u64 << shift)
    }

    fn or_none(value: impl Strategy<Value = u64>, none: u64) -> impl Strategy<Value = u64> {
        prop_oneof![2 => Just(none), 1 => value]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        /// What is taken without a plan is one direct piece of a plan.
        #[test]
        fn a_run_that_is_taken_fits_as_it_is(
            (addr, len) in (0..1_u64 << 20, prop_oneof![1..64_u64, 1..1_u64 << 18]),
            (min, max) in (or_none(0..1_u64 << 19, 0), or_none(1 << 19..1_u64 << 21, u64::MAX)),
            (align, piece, total) in (or_none(power(12), 1), or_none(1..600_u64, 1), or_none(1..600_u64, 1)),
            (segments, page) in (or_none(1..64_u64, u64::MAX), or_none(power(14), 0)),
            (longest, boundary, gap) in
                (or_none(1..1_u64 << 18, u64::MAX), or_none(power(18), 0), or_none(power(14), 0)),
            (shortest, most) in (or_none(1..2000_u64, 0), or_none(1..1_u64 << 18, u64::MAX)),
            (position, copy) in (or_none(power(12), 1), or_none(1..5000_u64, 0)),
        ) {
            let limits = Limits::builder()
                .hard(LimitId::AddrMin, min)
                .hard(LimitId::AddrMax, max)
                .hard(LimitId::AddrAlign, align)
                .hard(LimitId::PieceLenAlign, piece)
                .hard(LimitId::TotalLenAlign, total)
                .hard(LimitId::SegmentsMax, segments)
                .hard(LimitId::PageLen, page)
                .hard(LimitId::SegmentLenMax, longest)
                .hard(LimitId::SegmentBoundary, boundary)
                .hard(LimitId::GapBoundary, gap)
                .hard(LimitId::TransferLenMin, shortest)
                .hard(LimitId::TransferLenMax, most)
                .hard(LimitId::PositionAlign, position)
                .hard(LimitId::CopyBelow, copy)
                .build();
            let Ok(limits) = limits else { return Ok(()) };
            // Round figures are what limits are kept by.
            for (addr, len) in [(addr, len), (addr & !0xfff, len), (addr & !0xfff, len & !0xfff), (addr & !3, len & !3)] {
                let Ok(run) = Segment::new(BusAddr::new(addr), len) else { continue };
                if !limits.hard().takes(addr, len) {
                    continue;
                }
                let list = [run];
                let mut planned = plan(&list[..], Position::Stream, &limits, Policy::WholeOrError);
                let ready = planned.next().and_then(Result::ok);
                let pieces = ready.map(|ready| ready.pieces().collect::<std::vec::Vec<_>>());
                let whole = Piece::Direct(run);
                let direct = pieces.as_deref().is_some_and(|pieces| {
                    // A plan cuts a run into the segments that the device counts.
                    let bytes: u64 = pieces.iter().map(Piece::len_bytes).sum();
                    bytes == len && pieces.iter().all(|piece| matches!(piece, Piece::Direct(_)))
                });
                prop_assert!(direct, "{:?} {:?} {:?}", limits, whole, pieces);
            }
        }
    }
}
