//! [`Entries`]: the segments of a chunk, in a vector whose room the fast path of an append tests with one compare.

use alloc::vec::Vec;

use super::Segment;
use crate::Addr;

/// The segments of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Entries<A: Addr> {
    many: Vec<Segment<A>>,
}

impl<A: Addr> Entries<A> {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { many: Vec::new() }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Segment<A>] {
        &self.many
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Segment<A>] {
        &mut self.many
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.many.len()
    }

    /// Entries for which memory is held.
    pub(super) const fn capacity(&self) -> usize {
        self.many.capacity()
    }

    /// Adds an entry where the vector has room for it, else says `false`: the fast path.
    #[inline]
    pub(super) fn push_within(&mut self, segment: Segment<A>) -> bool {
        let fits = self.many.len() < self.many.capacity();
        if fits {
            self.many.push(segment);
        }
        fits
    }

    /// Returns how many entries the vector takes without more memory.
    #[inline]
    pub(super) fn room(&self) -> usize {
        self.many.capacity().saturating_sub(self.many.len())
    }

    /// Adds `open` and an entry for each page, of which none touches another. There is [`Entries::room`] for them.
    #[inline]
    pub(super) fn extend_pages(&mut self, open: Segment<A>, pages: &[A], page_len: u64) {
        self.many.push(open);
        let page = |page: &A| Segment::between(*page, page.raw().wrapping_add(page_len));
        self.many.extend(pages.iter().map(page));
    }

    /// Takes pages behind `open` while they join it or the vector has room for it. Returns the segment that is open
    /// then, and the pages taken. `open` and all pages together are no longer than [`Segment::LEN_MAX`].
    ///
    /// The loop knows two addresses, where the open run starts and where it ends, and a vector of its own: it must
    /// stay in registers.
    #[inline]
    pub(super) fn take_pages(&mut self, open: Segment<A>, pages: &[A], page_len: u64) -> (Segment<A>, usize) {
        let mut many = core::mem::take(&mut self.many);
        let before = many.len();
        let start_max = u64::MAX.saturating_sub(page_len);
        let (mut start, mut end) = (open.addr(), open.end());
        let mut taken = pages.len();
        for (index, page) in pages.iter().enumerate() {
            if page.raw() > start_max {
                taken = index;
                break;
            }
            if page.raw() != end {
                if many.len() >= many.capacity() {
                    taken = index;
                    break;
                }
                many.push(Segment::between(start, end));
                start = *page;
            }
            // Checked against `start_max`.
            end = page.raw().wrapping_add(page_len);
        }
        let mut open_now = Segment::between(start, end);
        if open.has_barrier() {
            // It stands before the first run, closed or not.
            let first = many.get_mut(before).unwrap_or(&mut open_now);
            *first = first.with_barrier();
        }
        self.many = many;
        (open_now, taken)
    }

    /// Adds an entry, with memory for `more` where there is none.
    pub(super) fn push(&mut self, segment: Segment<A>, more: usize) {
        if self.many.len() == self.many.capacity() {
            self.many.reserve_exact(more);
        }
        self.many.push(segment);
    }

    pub(super) fn pop(&mut self) {
        self.many.pop();
    }

    /// Makes room for `more` entries, exactly.
    #[inline]
    pub(super) fn reserve(&mut self, more: usize) {
        if self.many.capacity() == 0 {
            // Making a vector is cheaper than growing one.
            self.many = Vec::with_capacity(more);
        } else {
            self.many.reserve_exact(more);
        }
    }

    pub(super) fn extend_from_slice(&mut self, segments: &[Segment<A>]) {
        self.many.reserve_exact(segments.len());
        self.many.extend_from_slice(segments);
    }

    /// Puts `count` copies of `segment` before the first entry.
    pub(super) fn pad_front(&mut self, segment: Segment<A>, count: usize) {
        let old = self.len();
        self.reserve(count);
        for _ in 0..count {
            self.push(segment, 1);
        }
        self.as_mut_slice().rotate_left(old);
    }

    /// Removes the first `count` entries.
    pub(super) fn drop_front(&mut self, count: usize) {
        let rest = self.len().saturating_sub(count);
        let all = self.as_mut_slice();
        all.rotate_left(count.min(all.len()));
        self.truncate(rest);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.many.truncate(len);
    }

    pub(super) fn shrink(&mut self) {
        self.many.shrink_to_fit();
    }
}
