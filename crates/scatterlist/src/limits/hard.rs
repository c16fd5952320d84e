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
    };

    pub(super) fn of(limits: &Limits) -> Self {
        let hard = |id: LimitId| limits.hard_value(id);
        let position_align = hard(LimitId::PositionAlign).max(1);
        Self {
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
        }
    }
}

/// Returns what every cut must be a multiple of, so that both sides keep all three granularities.
pub(super) fn cut_align(position: u64, total: u64, piece: u64) -> Option<u64> {
    lcm(lcm(position, total)?, piece)
}

/// Returns the greatest common divisor; that of 0 and a number is the number.
pub(super) const fn gcd(mut a: u64, mut b: u64) -> u64 {
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
