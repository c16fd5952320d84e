//! [`ScatterList`]: an ordered list of segments of memory.
//!
//! A few segments lie in the structure itself, which is small, since requests and mappings carry lists by value; a longer
//! list is a [`Chain`] on the heap. What a few segments are worth in totals is counted when it is asked for.

use alloc::boxed::Box;
use core::fmt;
use core::ops::ControlFlow;

use super::chain::{Chain, Iter};
use super::{Segment, Segments, SelectError, SplitError, Totals};
use crate::Addr;

/// Segments that need no allocation.
const FEW: usize = 4;

/// What [`ScatterList::append`] did with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It made the last segment longer.
    Merged,
    /// It became a segment of its own.
    Added,
}

/// A list whose bytes would pass 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a list of {bytes} bytes cannot take {adding} more: the sum passes 64 bits")]
pub struct ListError {
    /// Bytes in the list.
    pub bytes: u64,
    /// Bytes that were to be added.
    pub adding: u64,
}

/// A linked scatterlist: an ordered chain of segments of memory.
///
/// Adjacent segments merge, except across a merge barrier ([`Segment::with_barrier`]).
///
/// ```
/// use scatterlist::{Addr, PhysAddr, ScatterList, Segment};
///
/// let mut list = ScatterList::new();
/// list.append(Segment::new(PhysAddr::new(0x1000), 4096)?)?;
/// list.append(Segment::new(PhysAddr::new(0x2000), 4096)?)?; // adjacent: merges
/// list.append(Segment::new(PhysAddr::new(0x9000), 512)?)?;
/// assert_eq!((list.len_bytes(), list.len_segments()), (8704, 2));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// 1. Where there is a chain it holds all segments, and `few_len` is 0.
#[derive(Clone)]
pub struct ScatterList<A: Addr> {
    few: [Segment<A>; FEW],
    few_len: usize,
    /// Bytes of everything.
    bytes: u64,
    chain: Option<Box<Chain<A>>>,
}

impl<A: Addr> ScatterList<A> {
    /// Returns an empty list. No allocation.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { few: [Segment::filler(); FEW], few_len: 0, bytes: 0, chain: None }
    }

    /// Returns the bytes of the list.
    #[inline]
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    fn few(&self) -> &[Segment<A>] {
        self.few.get(..self.few_len).unwrap_or_default()
    }

    /// Returns the number of segments.
    #[must_use]
    pub fn len_segments(&self) -> u64 {
        match &self.chain {
            None => u64::try_from(self.few_len).unwrap_or(u64::MAX),
            Some(chain) => chain.len_segments(),
        }
    }

    /// Says whether the list holds no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        // A segment holds a byte at least.
        self.bytes == 0
    }

    /// Returns the running totals.
    #[inline]
    #[must_use]
    pub fn totals(&self) -> Totals {
        match &self.chain {
            None => match self.few() {
                [one] => Totals::of_one(*one),
                few => Totals::of(few.iter().copied()),
            },
            Some(chain) => chain.totals(),
        }
    }

    /// Returns the last segment.
    #[inline]
    #[must_use]
    pub fn last(&self) -> Option<Segment<A>> {
        match &self.chain {
            None => self.few().last().copied(),
            Some(chain) => chain.last(),
        }
    }

    /// Returns the first segment.
    #[inline]
    #[must_use]
    pub fn first(&self) -> Option<Segment<A>> {
        match &self.chain {
            None => self.few().first().copied(),
            Some(chain) => chain.first(),
        }
    }

    /// Turns a few segments into a chain.
    #[cold]
    fn make_chain(&mut self) -> &mut Chain<A> {
        let Self { few, few_len, chain, .. } = self;
        let few = few.get(..core::mem::take(few_len)).unwrap_or_default();
        chain.get_or_insert_with(|| {
            let mut chain = Box::new(Chain::new());
            for segment in few {
                // Their bytes were added up before.
                let _ = chain.append(*segment);
            }
            chain
        })
    }

    /// Does something with the chain, which is made where there is none, and keeps the count of bytes.
    fn with_chain<T>(&mut self, work: impl FnOnce(&mut Chain<A>) -> T) -> T {
        let chain = self.make_chain();
        let done = work(chain);
        let bytes = chain.len_bytes();
        self.bytes = bytes;
        done
    }

    /// Adds a segment at the end. O(1).
    ///
    /// # Errors
    /// [`ListError`] when the bytes of the list would pass 64 bits; the list is unchanged.
    #[inline]
    pub fn append(&mut self, segment: Segment<A>) -> Result<Appended, ListError> {
        if let Some(chain) = &mut self.chain {
            let appended = chain.append(segment)?;
            self.bytes = self.bytes.wrapping_add(segment.len());
            return Ok(appended);
        }
        self.append_few(segment)
    }

    /// Makes a segment the first of an empty list that has no chain; says `false`, changing nothing, of another.
    #[inline]
    pub(crate) fn begin(&mut self, segment: Segment<A>) -> bool {
        let begins = self.is_empty() && self.chain.is_none();
        if begins {
            let [first, ..] = &mut self.few;
            *first = segment;
            self.few_len = 1;
            self.bytes = segment.len();
        }
        begins
    }

    /// Adds a segment behind a few others.
    fn append_few(&mut self, segment: Segment<A>) -> Result<Appended, ListError> {
        let Some(bytes) = self.bytes.checked_add(segment.len()) else {
            return Err(ListError { bytes: self.bytes, adding: segment.len() });
        };
        let last = self.few_len.checked_sub(1).and_then(|last| self.few.get_mut(last));
        if let Some(last) = last
            && let Some(joined) = last.joined(segment)
        {
            *last = joined;
            self.bytes = bytes;
            return Ok(Appended::Merged);
        }
        match self.few.get_mut(self.few_len) {
            Some(place) => {
                *place = segment;
                self.few_len = self.few_len.wrapping_add(1);
                self.bytes = bytes;
                Ok(Appended::Added)
            }
            None => self.with_chain(|chain| chain.append(segment)),
        }
    }

    /// Adds segments at the end, as [`append`](Self::append) does one by one.
    ///
    /// # Errors
    /// As there; the list holds the segments before the one at fault.
    #[inline]
    pub(crate) fn append_all(&mut self, segments: impl Iterator<Item = Segment<A>>) -> Result<(), ListError> {
        let mut segments = segments;
        while self.chain.is_none() {
            let Some(segment) = segments.next() else { return Ok(()) };
            self.append(segment)?;
        }
        self.with_chain(|chain| chain.append_all(segments))
    }

    /// Adds a segment at the front. O(1).
    ///
    /// A barrier on the present first segment keeps the two apart.
    ///
    /// # Errors
    /// [`ListError`] when the bytes of the list would pass 64 bits; the list is unchanged.
    pub fn prepend(&mut self, segment: Segment<A>) -> Result<Appended, ListError> {
        if self.chain.is_some() || self.few_len == FEW {
            return self.with_chain(|chain| chain.prepend(segment));
        }
        let Some(bytes) = self.bytes.checked_add(segment.len()) else {
            return Err(ListError { bytes: self.bytes, adding: segment.len() });
        };
        self.bytes = bytes;
        let len = self.few_len;
        if let Some(first) = self.few.first_mut().filter(|_| len > 0)
            && let Some(joined) = segment.joined(*first)
        {
            *first = joined;
            return Ok(Appended::Merged);
        }
        self.few.rotate_right(1);
        if let Some(first) = self.few.first_mut() {
            *first = segment;
        }
        self.few_len = len.wrapping_add(1);
        Ok(Appended::Added)
    }

    /// Makes room for `segments` more, so that appending them allocates nothing.
    #[inline]
    pub fn reserve(&mut self, segments: usize) {
        if self.chain.is_some() || segments > FEW.saturating_sub(self.few_len) {
            self.make_chain().reserve(segments);
        }
    }

    /// Removes every segment and keeps the memory for reuse.
    #[inline]
    pub fn clear(&mut self) {
        self.few_len = 0;
        self.bytes = 0;
        if let Some(chain) = &mut self.chain {
            chain.clear();
        }
    }

    /// Returns the bytes of heap memory that the list holds, links included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let held = |chain: &Chain<A>| chain.heap_bytes().saturating_add(size_of::<Chain<A>>());
        self.chain.as_deref().map_or(0, held)
    }

    /// Iterates over the segments, first to last.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> Iter<'_, A> {
        match &self.chain {
            None => Iter::of(self.few()),
            Some(chain) => chain.iter(),
        }
    }

    /// Moves all of `other` to the end of this list. O(1): at most one chunk's worth of entries moves.
    ///
    /// # Errors
    /// [`ListError`] when the bytes would pass 64 bits; both lists are unchanged.
    pub fn splice(&mut self, other: &mut Self) -> Result<(), ListError> {
        let Some(bytes) = self.bytes.checked_add(other.bytes) else {
            return Err(ListError { bytes: self.bytes, adding: other.bytes });
        };
        if self.is_empty() {
            core::mem::swap(self, other);
            return Ok(());
        }
        match &mut other.chain {
            Some(chain) => self.with_chain(|own| own.splice(chain))?,
            None => {
                for segment in other.few() {
                    self.append(*segment)?;
                }
            }
        }
        self.bytes = bytes;
        *other = Self::new();
        Ok(())
    }

    /// Splits the list after `at` bytes: this list keeps the first `at`, the rest is returned.
    ///
    /// Walks chunks, not segments, and writes at most one chunk. Totals of both sides are sound bounds, those of the whole.
    ///
    /// # Errors
    /// [`SplitError`] when `at` lies past the end; the list is unchanged.
    pub fn split_off(&mut self, at: u64) -> Result<Self, SplitError> {
        let bytes = self.bytes;
        if at > bytes {
            return Err(SplitError { bytes, at });
        }
        if at == 0 {
            return Ok(core::mem::take(self));
        }
        if self.chain.is_some() {
            let chain = self.with_chain(|chain| chain.split_off(at))?;
            return Ok(Self::from_chain(chain));
        }
        let (mut front, mut back) = (Self::new(), Self::new());
        for segment in self.few() {
            let left = at.saturating_sub(front.bytes);
            let (head, rest) = match segment.split(left) {
                Some((head, rest)) => (Some(head), Some(rest)),
                None if left == 0 => (None, Some(*segment)),
                None => (Some(*segment), None),
            };
            // There is room for as many as there were, and one was cut at most: it is in both.
            for (list, part) in [(&mut front, head), (&mut back, rest)] {
                if let Some(part) = part {
                    let _ = list.append(part);
                }
            }
        }
        *self = front;
        Ok(back)
    }

    /// Takes a chain; a few segments of it move into the structure.
    fn from_chain(chain: Chain<A>) -> Self {
        let bytes = chain.len_bytes();
        let mut list = Self::new();
        if usize::try_from(chain.len_segments()).is_ok_and(|count| count <= FEW) {
            for segment in chain.iter() {
                let _ = list.append(segment);
            }
        } else {
            list.chain = Some(Box::new(chain));
            list.bytes = bytes;
        }
        list
    }

    /// Builds a list from pages of `page_len` bytes each: `len` bytes from byte `offset` of the first page on.
    ///
    /// # Errors
    /// [`SelectError::PastEnd`] when the pages hold fewer bytes, [`SelectError::Page`] for a page that
    /// cannot be a segment.
    #[inline]
    pub fn from_pages(pages: &[A], page_len: u64, offset: u64, len: u64) -> Result<Self, SelectError> {
        let mut list = Self::new();
        list.append_pages(pages, page_len, offset, len)?;
        Ok(list)
    }

    /// Appends `len` bytes from byte `offset` of the first page on. Adjacent pages merge.
    ///
    /// # Errors
    /// As [`ScatterList::from_pages`]. After [`SelectError::Page`] the list holds the pages before the one at
    /// fault; after another error it is unchanged.
    #[inline]
    pub fn append_pages(
        &mut self,
        pages: &[A],
        page_len: u64,
        offset: u64,
        len: u64,
    ) -> Result<(), SelectError> {
        self.with_chain(|chain| chain.append_pages(pages, page_len, offset, len))
    }

    /// Builds a list from segments, in order.
    ///
    /// # Errors
    /// [`ListError`] when their bytes pass 64 bits.
    pub fn from_segments(segments: impl IntoIterator<Item = Segment<A>>) -> Result<Self, ListError> {
        let mut list = Self::new();
        list.append_all(segments.into_iter())?;
        Ok(list)
    }

    /// Builds a list of ranges `(offset, len)` of this one, in the given order; they may overlap. A merge
    /// barrier parts each range from the one before.
    ///
    /// # Errors
    /// [`SelectError`] for a range that is empty or reaches past the end.
    pub fn select(&self, ranges: &[(u64, u64)]) -> Result<Self, SelectError> {
        let bytes = self.len_bytes();
        let mut selected = Self::new();
        for (index, &(offset, len)) in ranges.iter().enumerate() {
            if len == 0 {
                return Err(SelectError::Empty { index, offset });
            }
            let past_end = SelectError::PastEnd { index, offset, len, bytes };
            let end = offset.checked_add(len).filter(|end| *end <= bytes).ok_or(past_end)?;
            let mut before = 0_u64;
            let mut first = true;
            for segment in self {
                let start = offset.saturating_sub(before).min(segment.len());
                let stop = end.saturating_sub(before).min(segment.len());
                before = before.saturating_add(segment.len());
                if start < stop {
                    let kept = segment.split(start).map_or(segment, |(_, rest)| rest);
                    let kept = kept.head(stop.saturating_sub(start));
                    selected.append(if first { kept.with_barrier() } else { kept })?;
                    first = false;
                }
                if before >= end {
                    break;
                }
            }
        }
        Ok(selected)
    }
}

impl<'a, A: Addr> IntoIterator for &'a ScatterList<A> {
    type Item = Segment<A>;
    type IntoIter = Iter<'a, A>;

    fn into_iter(self) -> Iter<'a, A> {
        self.iter()
    }
}

impl<A: Addr> Segments for ScatterList<A> {
    type Addr = A;
    type Iter<'a> = Iter<'a, A>;

    #[inline]
    fn segments(&self) -> Iter<'_, A> {
        self.iter()
    }

    #[inline]
    fn totals(&self) -> Option<Totals> {
        Some(Self::totals(self))
    }

    #[inline]
    fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    fn only(&self) -> Option<Segment<A>> {
        let [first, ..] = self.few;
        // A chain leaves no few.
        if self.few_len == 1 { Some(first) } else { None }
    }

    #[inline]
    fn visit_runs<B>(&self, mut visit: impl FnMut(&[Segment<A>]) -> ControlFlow<B>) -> ControlFlow<B> {
        match &self.chain {
            None => visit(self.few()),
            Some(chain) => chain.visit_runs(visit),
        }
    }
}

impl<A: Addr> Default for ScatterList<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Addr> From<Segment<A>> for ScatterList<A> {
    #[inline]
    fn from(segment: Segment<A>) -> Self {
        Self { few: [segment; FEW], few_len: 1, bytes: segment.len(), chain: None }
    }
}

impl<A: Addr> fmt::Debug for ScatterList<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<A: Addr> PartialEq for ScatterList<A> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.iter().eq(other.iter())
    }
}

impl<A: Addr> Eq for ScatterList<A> {}
