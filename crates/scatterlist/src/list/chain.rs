//! [`Chain`]: a singly walked chain of chunks of segments, for lists of more than a few.
//!
//! Append, prepend and splice are O(1), splitting walks chunks and writes at most one. The last segment
//! stays **open** outside the chunks, since it may still grow; so totals are exact while a list grows. Chunks
//! inside the chain are dense and two neighbours hold more than one chunk's worth together, so memory per segment stays
//! under 17 bytes at scale.

use alloc::collections::{LinkedList, linked_list};
use core::ops::ControlFlow;

use super::chunk::{CHUNK_SEGMENTS_MAX, Chunk};
use super::scatter_list::{Appended, ListError};
use super::{Segment, Totals};
use crate::Addr;

/// The segments of a long list.
#[derive(Clone)]
pub(super) struct Chain<A: Addr> {
    /// Dense chunks, first to last.
    pub(super) chain: LinkedList<Chunk<A>>,
    /// The chunk that is being filled.
    pub(super) tail: Chunk<A>,
    /// The last segment, still open.
    pub(super) open: Option<Segment<A>>,
    /// Bounds over `chain`, and what a split left of them; counts are not kept.
    pub(super) bounds: Totals,
    /// Bytes of everything.
    pub(super) bytes: u64,
    /// Segments of `chain`: an append changes what is outside it only, and has no count to keep.
    sealed: u64,
    /// Empty chunks whose memory is kept for reuse.
    spare: LinkedList<Chunk<A>>,
}

impl<A: Addr> Chain<A> {
    /// Returns an empty list. No allocation.
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            chain: LinkedList::new(),
            tail: Chunk::new(),
            open: None,
            bounds: Totals::EMPTY,
            bytes: 0,
            sealed: 0,
            spare: LinkedList::new(),
        }
    }

    /// Returns the bytes of the list.
    #[inline]
    pub(super) const fn len_bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of segments.
    pub(super) fn len_segments(&self) -> u64 {
        self.sealed.wrapping_add(self.unsealed())
    }

    /// Segments outside the chain.
    fn unsealed(&self) -> u64 {
        let tail = u64::try_from(self.tail.len()).unwrap_or(u64::MAX);
        tail.wrapping_add(u64::from(self.open.is_some()))
    }

    /// Corrects the count of the chain, so that the list has `count` segments.
    pub(super) fn set_len_segments(&mut self, count: u64) {
        self.sealed = count.wrapping_sub(self.unsealed());
    }

    /// Returns the running totals.
    #[inline]
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.tail.totals;
        // Also without a chain: after a split its bounds may be all that knows of a join.
        totals.widen(&self.bounds);
        if let Some(open) = self.open {
            totals.add(open);
        }
        totals.narrowed(self.bytes, self.len_segments())
    }

    /// Returns the last segment.
    #[inline]
    pub(super) const fn last(&self) -> Option<Segment<A>> {
        self.open
    }

    /// Returns the first segment.
    pub(super) fn first(&self) -> Option<Segment<A>> {
        let chunk = self.chain.front().unwrap_or(&self.tail);
        chunk.as_slice().first().or_else(|| self.tail.as_slice().first()).copied().or(self.open)
    }

    /// Adds a segment at the end. O(1).
    ///
    /// # Errors
    /// [`ListError`] when the bytes of the list would pass 64 bits; the list is unchanged.
    #[inline]
    pub(super) fn append(&mut self, segment: Segment<A>) -> Result<Appended, ListError> {
        let Some(bytes) = self.bytes.checked_add(segment.len()) else {
            return Err(ListError { bytes: self.bytes, adding: segment.len() });
        };
        self.bytes = bytes;
        if let Some(open) = self.open {
            if let Some(joined) = open.joined(segment) {
                self.open = Some(joined);
                return Ok(Appended::Merged);
            }
            self.tail.totals.join(open.end(), segment.addr().raw());
            if !self.tail.push_within(open) {
                self.push_beyond(open);
            }
        }
        self.open = Some(segment);
        Ok(Appended::Added)
    }

    /// Adds segments at the end, as [`append`](Self::append) does one by one.
    ///
    /// # Errors
    /// As there; the list holds the segments before the one at fault.
    pub(super) fn append_all(&mut self, segments: impl Iterator<Item = Segment<A>>) -> Result<(), ListError> {
        let mut segments = segments;
        let Some(mut open) = self.open.or_else(|| segments.next()) else { return Ok(()) };
        let mut bytes = if self.open.is_some() { self.bytes } else { open.len() };
        // The loop knows the open segment and totals of its own: it must stay in registers.
        let mut totals = Totals::EMPTY;
        let mut result = Ok(());
        for segment in segments {
            let Some(sum) = bytes.checked_add(segment.len()) else {
                result = Err(ListError { bytes, adding: segment.len() });
                break;
            };
            bytes = sum;
            if let Some(joined) = open.joined(segment) {
                open = joined;
                continue;
            }
            totals.join(open.end(), segment.addr().raw());
            if self.tail.store_within(open) {
                totals.add(open);
            } else {
                self.tail.count(&totals);
                totals = Totals::EMPTY;
                self.push_beyond(open);
            }
            open = segment;
        }
        self.tail.count(&totals);
        (self.open, self.bytes) = (Some(open), bytes);
        result
    }

    /// Adds a segment at the front. O(1).
    ///
    /// A barrier on the present first segment keeps the two apart.
    ///
    /// # Errors
    /// [`ListError`] when the bytes of the list would pass 64 bits; the list is unchanged.
    pub(super) fn prepend(&mut self, segment: Segment<A>) -> Result<Appended, ListError> {
        let Some(first) = self.first() else { return self.append(segment) };
        let Some(bytes) = self.bytes.checked_add(segment.len()) else {
            return Err(ListError { bytes: self.bytes, adding: segment.len() });
        };
        self.bytes = bytes;
        let mut count = self.len_segments();
        let (segment, answer) = match segment.joined(first) {
            Some(joined) => {
                self.pop_first();
                (joined, Appended::Merged)
            }
            None => {
                // Each segment holds a byte at least, so the count stays below the bytes.
                count = count.wrapping_add(1);
                (segment, Appended::Added)
            }
        };
        let Some(next) = self.first() else {
            self.open = Some(segment);
            self.sealed = 0;
            return Ok(answer);
        };
        let in_chain = !self.chain.is_empty();
        let chunk = self.chain.front_mut().unwrap_or(&mut self.tail);
        chunk.totals.join(segment.end(), next.addr().raw());
        if chunk.push_front(segment) {
            if in_chain {
                self.bounds.widen(&chunk.totals);
            }
        } else {
            self.bounds.widen(&chunk.totals);
            let mut front = Chunk::new();
            front.push(segment);
            front.recount();
            self.bounds.widen(&front.totals);
            self.chain.push_front(front);
        }
        self.set_len_segments(count);
        Ok(answer)
    }

    /// Takes the first segment out of the storage; the counts of the list are left to the caller.
    pub(super) fn pop_first(&mut self) {
        if let Some(front) = self.chain.front_mut() {
            front.pop_front();
            if front.is_empty() {
                self.chain.pop_front();
            }
        } else if self.tail.pop_front().is_none() {
            self.open = None;
        }
    }

    /// Closes a segment for which the tail has no memory at hand: a full tail is sealed, another one gets more.
    #[cold]
    pub(super) fn push_beyond(&mut self, segment: Segment<A>) {
        if self.tail.is_full() {
            self.seal_tail();
        }
        self.tail.push(segment);
    }

    /// Moves the tail chunk, made dense, to the end of the chain. Memory for the next one comes from the spare chunks.
    pub(super) fn seal_tail(&mut self) {
        if self.tail.is_empty() {
            self.bounds.widen(&self.tail.totals);
            self.tail.totals = Totals::EMPTY;
            return;
        }
        self.tail.recount();
        self.sealed = self.sealed.wrapping_add(self.tail.totals.segments);
        self.bounds.widen(&self.tail.totals);
        if self.spare.is_empty() {
            let mut full = core::mem::replace(&mut self.tail, Chunk::new());
            full.make_dense();
            let was_full = full.is_full();
            self.chain.push_back(full);
            if was_full {
                self.tail.reserve(CHUNK_SEGMENTS_MAX);
            }
        } else {
            let rest = self.spare.split_off(1);
            let mut node = core::mem::replace(&mut self.spare, rest);
            if let Some(empty) = node.front_mut() {
                core::mem::swap(empty, &mut self.tail);
                empty.make_dense();
            }
            self.chain.append(&mut node);
        }
    }

    /// Makes room for `segments` more, so that appending them allocates nothing.
    pub(super) fn reserve(&mut self, segments: usize) {
        self.tail.reserve(segments);
        let mut held: usize = self.spare.iter().map(Chunk::capacity).sum();
        held = held.saturating_add(self.tail.capacity().saturating_sub(self.tail.len()));
        while held < segments {
            self.spare.push_back(Chunk::with_capacity(CHUNK_SEGMENTS_MAX));
            held = held.saturating_add(CHUNK_SEGMENTS_MAX);
        }
    }

    /// Removes every segment and keeps the memory for reuse.
    pub(super) fn clear(&mut self) {
        if !self.chain.is_empty() {
            self.chain.append(&mut self.spare);
            core::mem::swap(&mut self.chain, &mut self.spare);
            for chunk in &mut self.spare {
                chunk.clear();
            }
        }
        self.tail.clear();
        self.open = None;
        self.bounds = Totals::EMPTY;
        self.bytes = 0;
        self.sealed = 0;
    }

    /// Returns the bytes of heap memory that the list holds, links included.
    pub(super) fn heap_bytes(&self) -> usize {
        let chunks = self.chain.iter().chain(&self.spare);
        let entry = size_of::<Segment<A>>();
        let links = chunks.clone().count().saturating_mul(
            // A link is the chunk's own record and two pointers.
            size_of::<Chunk<A>>().saturating_add(size_of::<usize>().saturating_mul(2)),
        );
        let entries: usize = chunks.map(Chunk::capacity).sum();
        entries.saturating_add(self.tail.capacity()).saturating_mul(entry).saturating_add(links)
    }

    /// Iterates over the segments, first to last.
    #[inline]
    pub(super) fn iter(&self) -> Iter<'_, A> {
        let mut chunks = self.chain.iter();
        let first = chunks.next().unwrap_or(&self.tail);
        let tail = if self.chain.is_empty() { &[][..] } else { self.tail.as_slice() };
        Iter { entries: first.as_slice().iter(), chunks, tail, open: self.open }
    }

    /// Hands every segment to `visit`, as [`Segments::visit_runs`](super::Segments::visit_runs) does.
    #[inline]
    pub(super) fn visit_runs<B>(
        &self,
        mut visit: impl FnMut(&[Segment<A>]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for chunk in &self.chain {
            visit(chunk.as_slice())?;
        }
        visit(self.tail.as_slice())?;
        visit(self.open.as_slice())
    }
}

/// Iterates over the segments of a [`ScatterList`](super::ScatterList).
#[derive(Clone, Debug)]
pub struct Iter<'a, A: Addr> {
    entries: core::slice::Iter<'a, Segment<A>>,
    chunks: linked_list::Iter<'a, Chunk<A>>,
    tail: &'a [Segment<A>],
    open: Option<Segment<A>>,
}

impl<'a, A: Addr> Iter<'a, A> {
    /// Iterates over a few segments that are in no chain.
    #[inline]
    pub(super) fn of(few: &'a [Segment<A>]) -> Self {
        Self { entries: few.iter(), chunks: linked_list::Iter::default(), tail: &[], open: None }
    }
}

impl<A: Addr> Iterator for Iter<'_, A> {
    type Item = Segment<A>;

    #[inline]
    fn next(&mut self) -> Option<Segment<A>> {
        loop {
            if let Some(segment) = self.entries.next() {
                return Some(*segment);
            }
            if let Some(chunk) = self.chunks.next() {
                self.entries = chunk.as_slice().iter();
            } else if self.tail.is_empty() {
                return self.open.take();
            } else {
                self.entries = core::mem::take(&mut self.tail).iter();
            }
        }
    }
}

impl<A: Addr> core::iter::FusedIterator for Iter<'_, A> {}
