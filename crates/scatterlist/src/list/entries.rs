//! [`Entries`]: the segments of a chunk. The first few lie in the chunk itself, so short lists need no
//! allocation; the rest lie in a vector, whose room the fast path of an append tests with one compare.

use alloc::vec::Vec;

use super::Segment;
use crate::Addr;

/// Entries that fit without an allocation; one more segment, the open one, lies in the list itself.
const FEW: usize = 3;

/// A vector of segments that starts inside the structure.
///
/// # Invariants
/// 1. While `many` holds memory, every entry is in it and `few_len` is 0.
#[derive(Clone, Debug)]
pub(super) struct Entries<A: Addr> {
    many: Vec<Segment<A>>,
    few: [Segment<A>; FEW],
    few_len: usize,
}

impl<A: Addr> Entries<A> {
    pub(super) fn new() -> Self {
        Self { many: Vec::new(), few: [Segment::filler(); FEW], few_len: 0 }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Segment<A>] {
        if self.many.capacity() > 0 { &self.many } else { self.few.get(..self.few_len).unwrap_or_default() }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Segment<A>] {
        if self.many.capacity() > 0 {
            &mut self.many
        } else {
            self.few.get_mut(..self.few_len).unwrap_or_default()
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // (1): one of the two is 0.
        self.many.len().wrapping_add(self.few_len)
    }

    /// Entries for which memory is held outside the structure.
    pub(super) fn capacity(&self) -> usize {
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
        if self.many.capacity() == 0
            && let Some(place) = self.few.get_mut(self.few_len)
        {
            *place = segment;
            self.few_len = self.few_len.saturating_add(1);
        } else {
            if self.many.len() == self.many.capacity() {
                self.reserve(more);
            }
            self.many.push(segment);
        }
    }

    pub(super) fn pop(&mut self) {
        if self.many.capacity() > 0 {
            self.many.pop();
        } else {
            self.few_len = self.few_len.saturating_sub(1);
        }
    }

    /// Makes room for `more` entries, exactly.
    pub(super) fn reserve(&mut self, more: usize) {
        if self.many.capacity() > 0 {
            self.many.reserve_exact(more);
        } else if more > 0 && self.few_len.saturating_add(more) > FEW {
            self.many = Vec::with_capacity(self.few_len.saturating_add(more));
            self.many.extend_from_slice(self.few.get(..self.few_len).unwrap_or_default());
            self.few_len = 0;
        }
    }

    pub(super) fn extend_from_slice(&mut self, segments: &[Segment<A>]) {
        self.reserve(segments.len());
        if self.many.capacity() > 0 {
            self.many.extend_from_slice(segments);
        } else {
            for segment in segments {
                self.push(*segment, 1);
            }
        }
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
        self.few_len = self.few_len.min(len);
    }

    pub(super) fn shrink(&mut self) {
        self.many.shrink_to_fit();
    }
}
