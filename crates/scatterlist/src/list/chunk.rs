//! [`Chunk`]: up to [`CHUNK_SEGMENTS_MAX`] segments in one block of memory, with their own totals.
//!
//! The links of the chain. A chunk has room at its end (append) and may have room at its front (prepend):
//! entries before `start` are stale. Its totals include the join to the segment before its first. While a chunk is
//! filled, the count of segments in its totals lags behind; it is made when the chunk is sealed or split.

use super::entries::Entries;
use super::{Segment, Totals};
use crate::Addr;

/// Entries of a full chunk: 8 KiB of segments, so that links cost under half a byte a segment.
pub(super) const CHUNK_SEGMENTS_MAX: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Chunk<A: Addr> {
    entries: Entries<A>,
    start: usize,
    pub(super) totals: Totals,
}

impl<A: Addr> Chunk<A> {
    #[inline]
    pub(super) fn new() -> Self {
        Self { entries: Entries::new(), start: 0, totals: Totals::EMPTY }
    }

    pub(super) fn with_capacity(segments: usize) -> Self {
        let mut chunk = Self::new();
        chunk.entries.reserve(segments.min(CHUNK_SEGMENTS_MAX));
        chunk
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Segment<A>] {
        self.entries.as_slice().get(self.start..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.start)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= CHUNK_SEGMENTS_MAX
    }

    /// Entries for which memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    #[inline]
    pub(super) fn reserve(&mut self, segments: usize) {
        let room = CHUNK_SEGMENTS_MAX.saturating_sub(self.entries.len());
        self.entries.reserve(segments.min(room));
    }

    /// Adds an entry where there is memory for it, else says `false`: the fast path. The count of
    /// segments waits for [`Chunk::recount`], and the join before the entry is the caller's.
    #[inline]
    pub(super) fn push_within(&mut self, segment: Segment<A>) -> bool {
        let fits = self.entries.push_within(segment);
        if fits {
            self.totals.cover(segment);
            self.add_bytes(segment.len());
        }
        fits
    }

    /// As [`Chunk::push_within`], with the entry's totals left to [`Chunk::count`].
    #[inline]
    pub(super) fn store_within(&mut self, segment: Segment<A>) -> bool {
        self.entries.push_within(segment)
    }

    /// Adds the totals of entries that were stored, joins included. Their number waits for [`Chunk::recount`].
    pub(super) fn count(&mut self, totals: &Totals) {
        self.totals.widen(totals);
        self.add_bytes(totals.bytes);
    }

    /// Takes pages behind `open` while they join it or there is memory for another entry. Returns the segment that
    /// is open then, and the pages taken.
    #[inline]
    pub(super) fn take_pages(&mut self, open: Segment<A>, pages: &[A], page_len: u64) -> (Segment<A>, usize) {
        if pages.len() <= self.entries.room()
            && let Some((last, closed)) = pages.split_last()
            && let Some(bounds) = apart(open, closed, *last, page_len)
        {
            self.totals.cover(open);
            self.totals.widen(&bounds);
            let count = u64::try_from(closed.len()).unwrap_or(u64::MAX);
            self.add_bytes(open.len().wrapping_add(count.wrapping_mul(page_len)));
            self.entries.extend_pages(open, closed, page_len);
            return (Segment::between(*last, last.raw().wrapping_add(page_len)), pages.len());
        }
        let before = self.entries.len();
        let (open, taken) = self.entries.take_pages(open, pages, page_len);
        let added = self.entries.as_slice().get(before..).unwrap_or_default();
        let mut end = None;
        for segment in added {
            if let Some(end) = end {
                self.totals.join(end, segment.addr().raw());
            }
            self.totals.cover(*segment);
            self.totals.bytes = self.totals.bytes.wrapping_add(segment.len());
            end = Some(segment.end());
        }
        if let Some(end) = end {
            self.totals.join(end, open.addr().raw());
        }
        (open, taken)
    }

    /// As [`Chunk::push_within`], with more memory where there is none: half as much again, at least a dozen, at
    /// most a chunk's worth.
    pub(super) fn push(&mut self, segment: Segment<A>) {
        let len = self.entries.len();
        let room = CHUNK_SEGMENTS_MAX.saturating_sub(len);
        self.entries.push(segment, len.max(12).min(room).max(1));
        self.totals.cover(segment);
        self.add_bytes(segment.len());
    }

    #[inline]
    fn add_bytes(&mut self, len: u64) {
        // The list's own sum is checked before anything gets here.
        self.totals.bytes = self.totals.bytes.wrapping_add(len);
    }

    /// Brings the count of segments up to date.
    pub(super) fn recount(&mut self) {
        self.totals.segments = u64::try_from(self.len()).unwrap_or(u64::MAX);
    }

    /// Adds entries whose totals, joins included, the caller has.
    pub(super) fn extend(&mut self, segments: &[Segment<A>], totals: &Totals) {
        self.entries.extend_from_slice(segments);
        self.totals.merge(totals);
    }

    /// Adds an entry before the first. Returns `false`, unchanged, where the chunk has no room for it.
    pub(super) fn push_front(&mut self, segment: Segment<A>) -> bool {
        if self.start == 0 {
            let room = CHUNK_SEGMENTS_MAX.saturating_sub(self.entries.len());
            if room == 0 {
                return false;
            }
            // Amortised: as much room in front as there are entries, within a chunk's size.
            let pad = self.entries.len().clamp(1, room);
            self.entries.pad_front(segment, pad);
            self.start = pad;
        }
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.entries.as_mut_slice().get_mut(self.start) {
            *place = segment;
        }
        self.totals.add(segment);
        true
    }

    /// Removes the first entry. Bounds stay, counts are corrected.
    pub(super) fn pop_front(&mut self) -> Option<Segment<A>> {
        let first = self.as_slice().first().copied()?;
        self.start = self.start.saturating_add(1);
        self.less(first.len());
        Some(first)
    }

    /// Removes the last entry. Bounds stay, counts are corrected.
    pub(super) fn pop_back(&mut self) -> Option<Segment<A>> {
        let last = self.as_slice().last().copied()?;
        self.entries.pop();
        // The join before the entry stays an inner join of the list: the entry goes on as the open one.
        let gap_bits = self.totals.gap_bits;
        self.less(last.len());
        self.totals.gap_bits = gap_bits;
        Some(last)
    }

    /// Corrects the counts for one entry of `len` bytes that is gone.
    fn less(&mut self, len: u64) {
        if self.is_empty() {
            self.totals = Totals::EMPTY;
        } else {
            self.totals.bytes = self.totals.bytes.saturating_sub(len);
            self.totals.segments = self.totals.segments.saturating_sub(1);
        }
    }

    /// Gives back stale and unused room, where that is more than a sixteenth.
    pub(super) fn make_dense(&mut self) {
        if self.start > 0 {
            self.entries.drop_front(self.start);
            self.start = 0;
        }
        let unused = self.capacity().saturating_sub(self.entries.len());
        if unused.saturating_mul(16) > self.capacity() {
            self.entries.shrink();
        }
    }

    /// Removes everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.entries.truncate(0);
        self.start = 0;
        self.totals = Totals::EMPTY;
    }

    /// Returns the entry that holds byte `at` of the chunk, and the bytes before that entry. `at` lies
    /// within the chunk.
    fn find(&self, at: u64) -> (usize, u64) {
        let longest = self.totals.longest;
        if longest != 0 && self.totals.segments.checked_mul(longest) == Some(self.totals.bytes) {
            // All entries are of one length (`longest` bounds each, and the sum leaves no room for less).
            let index = at.checked_div(longest).unwrap_or(0);
            let before = index.saturating_mul(longest);
            return (usize::try_from(index).unwrap_or(usize::MAX), before);
        }
        let mut before = 0_u64;
        for (index, segment) in self.as_slice().iter().enumerate() {
            let end = before.saturating_add(segment.len());
            if at < end {
                return (index, before);
            }
            before = end;
        }
        (self.len(), before)
    }

    /// Splits after `at` bytes, `0 < at < bytes`: `self` keeps the front, the back is returned. Bounds of
    /// both are the whole's. The smaller side is the one that is copied.
    /// Says whether an entry was cut in two.
    pub(super) fn split_off(&mut self, at: u64) -> (Self, bool) {
        let whole = self.totals;
        let (index, before) = self.find(at);
        let within = at.saturating_sub(before);
        let cut = self.as_slice().get(index).and_then(|segment| segment.split(within));
        let front_entries = index.saturating_add(usize::from(cut.is_some()));
        let place = self.start.saturating_add(index);

        let mut back = Self::new();
        if index.saturating_mul(2) < self.len() {
            // The front is the smaller side: it moves out, and the rest stays where it is.
            let mut front = Self::new();
            front.entries.extend_from_slice(self.as_slice().get(..front_entries).unwrap_or_default());
            back = core::mem::replace(self, front);
            back.start = place;
        } else {
            back.entries.extend_from_slice(self.entries.as_slice().get(place..).unwrap_or_default());
            self.entries.truncate(self.start.saturating_add(front_entries));
        }
        if let Some((head, rest)) = cut {
            if let Some(last) = self.entries.as_mut_slice().last_mut() {
                *last = head;
            }
            let first = back.start;
            if let Some(first) = back.entries.as_mut_slice().get_mut(first) {
                *first = rest;
            }
        }
        let mut bounds = whole;
        if let Some((head, rest)) = cut {
            // A cut makes one new end, one new start and two new lengths.
            bounds.start_bits |= rest.addr().raw();
            bounds.len_bits |= head.len() | rest.len();
        }
        let count = |chunk: &Self| u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.totals = bounds.narrowed(at, count(self));
        back.totals = bounds.narrowed(whole.bytes.saturating_sub(at), count(&back));
        (back, cut.is_some())
    }
}

/// Returns the bounds of the `closed` pages and all joins from `open` to `last`, when no two of them touch and none
/// reaches past the last address. Scattered pages are the common case, and this loop stays in registers.
fn apart<A: Addr>(open: Segment<A>, closed: &[A], last: A, page_len: u64) -> Option<Totals> {
    let mut end = open.end();
    let (mut starts, mut ends) = (0, end);
    let (mut lowest, mut highest) = (u64::MAX, 0);
    let mut touch = false;
    for page in closed {
        let start = page.raw();
        touch |= start == end;
        // Judged by `highest` below.
        end = start.wrapping_add(page_len);
        starts |= start;
        ends |= end;
        lowest = lowest.min(start);
        highest = highest.max(start);
    }
    touch |= last.raw() == end;
    let start_max = u64::MAX.saturating_sub(page_len);
    if touch || highest.max(last.raw()) > start_max {
        return None;
    }
    let gap_bits = starts | ends | last.raw();
    if closed.is_empty() {
        return Some(Totals { gap_bits, ..Totals::EMPTY });
    }
    let addr_end = highest.saturating_add(page_len);
    let (longest, len_bits) = (page_len, page_len);
    Some(Totals {
        longest,
        addr_min: lowest,
        addr_end,
        start_bits: starts,
        len_bits,
        gap_bits,
        ..Totals::EMPTY
    })
}
