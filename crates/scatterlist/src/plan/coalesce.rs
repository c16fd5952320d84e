//! [`coalesce`]: the merge optimisation of block devices, for any list and any limits; and the predicates
//! that it and the planner share.

use super::cursor::Cursor;
use crate::limits::Hard;
use crate::{Addr, Limits, Segment, Segments};

/// Says whether `b` can be one segment with `a`: adjacent, and in the same window of `boundary` bytes (a
/// power of two; 0 means none).
#[must_use]
pub fn mergeable<A: Addr>(a: Segment<A>, b: Segment<A>, boundary: u64) -> bool {
    let mask = boundary.wrapping_sub(1);
    let last = b.end().saturating_sub(1);
    a.end() == b.addr().raw() && (a.addr().raw() | mask) == (last | mask)
}

/// Says whether the join between a segment and a next start leaves a gap on a device whose inner joins fall
/// on multiples of `granule` (a power of two; 0 means no rule).
#[must_use]
pub fn gap_between<A: Addr>(previous: Segment<A>, next: A, granule: u64) -> bool {
    (previous.end() | next.raw()) & granule.saturating_sub(1) != 0
}

/// Returns how long a segment that starts at `addr` may get, at most `len` bytes: within the longest
/// segment and the segment boundary of `limits`, hard or soft.
#[must_use]
pub fn segment_len_at<A: Addr>(addr: A, len: u64, limits: &Limits) -> u64 {
    let longest = limits.get(crate::LimitId::SegmentLenMax).value;
    let boundary = limits.get(crate::LimitId::SegmentBoundary).value;
    len.min(longest).min(to_boundary(addr.raw(), boundary.wrapping_sub(1)))
}

/// Bytes from `addr` to the next boundary; `u64::MAX` where there is none.
#[inline]
fn to_boundary(addr: u64, boundary_mask: u64) -> u64 {
    boundary_mask.wrapping_sub(addr & boundary_mask).saturating_add(1)
}

/// Returns how many of `len` bytes at `addr` the longest segment and the boundary allow.
#[inline]
pub(super) fn longest_len(addr: u64, len: u64, hard: &Hard) -> u64 {
    len.min(hard.segment_len_max).min(to_boundary(addr, hard.boundary_mask))
}

/// Returns how many of `len` bytes at `addr` make one legal segment. Cuts fall on pages and gap granules
/// where the limits have such; the result is at least 1 for a non-empty run and valid limits.
#[inline]
pub(super) fn legal_len(addr: u64, len: u64, hard: &Hard) -> u64 {
    let legal = longest_len(addr, len, hard);
    if legal == len {
        return len;
    }
    let page = if hard.page_mask == u64::MAX { 0 } else { hard.page_mask };
    let granule = page | hard.gap_mask | hard.addr_mask;
    // The masks are of the form 2^n - 1, so their OR is the widest of them.
    let end = addr.saturating_add(legal);
    let rounded = (end & !granule).saturating_sub(addr);
    if rounded > 0 { rounded } else { legal }
}

/// Cuts and merges a list into segments that each keep the hard limits on one segment: the longest, the
/// boundary, pages.
///
/// Counts, gaps and sizes of the whole are the planner's ([`plan`](crate::plan::plan)); this is the list that
/// a driver without a planner would build.
pub fn coalesce<'a, S: Segments + ?Sized>(
    list: &'a S,
    limits: &'a Limits,
) -> Coalesced<S::Iter<'a>, S::Addr> {
    Coalesced { cursor: Cursor::new(list.segments()), hard: *limits.hard() }
}

/// The legal segments of a list, in order. See [`coalesce`].
#[derive(Clone, Debug)]
pub struct Coalesced<I, A: Addr> {
    cursor: Cursor<I, A>,
    hard: Hard,
}

impl<A: Addr, I: Iterator<Item = Segment<A>>> Iterator for Coalesced<I, A> {
    type Item = Segment<A>;

    fn next(&mut self) -> Option<Segment<A>> {
        let rest = self.cursor.rest()?;
        let len = legal_len(rest.addr().raw(), rest.len(), &self.hard);
        self.cursor.advance(len);
        Some(rest.head(len))
    }
}
