//! Whether a whole list fits a device, judged by its [`Totals`] alone: no walk, a few compares.

#[cfg(feature = "alloc")]
use super::why::{PlanError, is_whole, refusal};
use super::why::{Stop, Why};
use crate::limits::{Hard, rem};
use crate::{LimitId, Limits, Position, Totals};

/// Says whether every byte can go direct in one request. "No" may be too careful where the totals are
/// bounds; the planner then walks.
#[inline]
pub(super) fn fits(totals: &Totals, position: Position, limits: &Limits) -> bool {
    let hard = limits.hard();
    totals.bytes <= budget(position, hard)
        && totals.addr_min >= hard.addr_min
        && totals.addr_end.saturating_sub(1) <= hard.addr_max
        && totals.start_bits & hard.addr_mask == 0
        && totals.gap_bits & hard.gap_mask == 0
        && totals.segments <= hard.pieces_max
        && segments_max(totals, hard) <= hard.segments_max
        && totals.longest <= hard.segment_len_max
        && multiples(totals.len_bits, hard.piece_len_align)
        && within_boundary(totals, hard)
}

/// As [`fits`], with the limit that says no.
#[cfg_attr(not(feature = "alloc"), expect(dead_code, reason = "only requests and appenders ask this"))]
pub(crate) fn fits_whole(totals: &Totals, position: Position, limits: &Limits) -> Result<(), Why> {
    if fits(totals, position, limits) {
        return Ok(());
    }
    let hard = limits.hard();
    let room = budget(position, hard);
    let last = totals.addr_end.saturating_sub(1);
    let segments = segments_max(totals, hard);
    let stop = if totals.bytes > room {
        too_long(totals.bytes, room, hard)
    } else if totals.addr_min < hard.addr_min {
        Stop::new(LimitId::AddrMin, totals.addr_min, hard.addr_min)
    } else if last > hard.addr_max {
        Stop::new(LimitId::AddrMax, last, hard.addr_max)
    } else if totals.start_bits & hard.addr_mask != 0 {
        Stop::new(LimitId::AddrAlign, totals.start_bits, hard.addr_mask.saturating_add(1))
    } else if totals.gap_bits & hard.gap_mask != 0 {
        Stop::new(LimitId::GapBoundary, totals.gap_bits, hard.gap_mask.saturating_add(1))
    } else if totals.segments > hard.pieces_max {
        Stop::new(LimitId::PiecesMax, totals.segments, hard.pieces_max)
    } else if segments > hard.segments_max {
        Stop::new(LimitId::SegmentsMax, segments, hard.segments_max)
    } else if totals.longest > hard.segment_len_max {
        Stop::new(LimitId::SegmentLenMax, totals.longest, hard.segment_len_max)
    } else if !multiples(totals.len_bits, hard.piece_len_align) {
        Stop::new(LimitId::PieceLenAlign, totals.len_bits, hard.piece_len_align)
    } else {
        Stop::new(LimitId::SegmentBoundary, totals.addr_end, hard.boundary_mask.saturating_add(1))
    };
    Err(stop.why(limits))
}

/// Says whether `bytes` at `position` are one transfer by the rules for positions and sizes, whatever the memory.
#[cfg(feature = "alloc")]
#[inline]
pub(crate) fn fits_device(position: Position, bytes: u64, limits: &Limits) -> Result<(), PlanError> {
    if is_whole(position, bytes, limits) && bytes <= budget(position, limits.hard()) {
        return Ok(());
    }
    Err(misfit(position, bytes, limits))
}

/// Says which limit a transfer breaks that [`fits_device`] refuses.
#[cfg(feature = "alloc")]
#[cold]
fn misfit(position: Position, bytes: u64, limits: &Limits) -> PlanError {
    if !is_whole(position, bytes, limits) {
        return refusal(position, bytes, limits);
    }
    let hard = limits.hard();
    let why = too_long(bytes, budget(position, hard), hard).why(limits);
    PlanError::Refused { position, bytes, why }
}

fn too_long(bytes: u64, room: u64, hard: &Hard) -> Stop {
    let limit = if room < hard.transfer_len_max { LimitId::ChunkLen } else { LimitId::TransferLenMax };
    Stop::new(limit, bytes, room)
}

/// Bytes that one request may hold at `position`, by the size limits alone.
#[inline]
pub(super) fn budget(position: Position, hard: &Hard) -> u64 {
    match position {
        Position::At(at) if hard.chunk_len != 0 => hard.transfer_len_max.min(chunk_left(at, hard)),
        _ => hard.transfer_len_max,
    }
}

/// Bytes from `at` to the end of its chunk in device space.
#[inline(never)]
fn chunk_left(at: u64, hard: &Hard) -> u64 {
    let offset = rem(at, hard.chunk_len).saturating_add(rem(hard.position_offset, hard.chunk_len));
    hard.chunk_len.saturating_sub(rem(offset, hard.chunk_len))
}

/// An upper bound of the physical segments.
#[inline(always)]
fn segments_max(totals: &Totals, hard: &Hard) -> u64 {
    if hard.page_mask == u64::MAX || hard.segments_max == u64::MAX {
        return totals.segments;
    }
    let aligned = totals.start_bits & hard.page_mask == 0;
    let pages = totals.bytes.checked_shr(hard.page_mask.count_ones()).unwrap_or(0);
    let extra = if aligned && totals.len_bits & hard.page_mask == 0 {
        0
    } else if totals.gap_bits & hard.page_mask == 0 {
        // All inner joins fall on pages: it is one run, which has a page more at each end at most.
        if aligned { 1 } else { 2 }
    } else if aligned {
        // A piece of n bytes from the start of a page touches at most n / page + 1 pages, else one more.
        totals.segments
    } else {
        totals.segments.saturating_mul(2)
    };
    pages.saturating_add(extra)
}

/// Says whether every value whose bits are in `bits` is a multiple of `unit`: known only for powers of two.
#[inline]
const fn multiples(bits: u64, unit: u64) -> bool {
    unit == 1 || (unit.is_power_of_two() && bits & unit.wrapping_sub(1) == 0)
}

/// Says whether no segment can cross the boundary: all lie in one window, or all start at multiples of a
/// power of two that their lengths do not pass.
#[inline]
const fn within_boundary(totals: &Totals, hard: &Hard) -> bool {
    let mask = hard.boundary_mask;
    if mask == u64::MAX || totals.addr_min | mask == totals.addr_end.wrapping_sub(1) | mask {
        return true;
    }
    // Every start is a multiple of this power of two (0: of all of them).
    let alignment = totals.start_bits & totals.start_bits.wrapping_neg();
    let window = if alignment == 0 || alignment > mask { mask.wrapping_add(1) } else { alignment };
    totals.longest <= window
}
