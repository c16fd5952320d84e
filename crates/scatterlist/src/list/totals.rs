//! [`Totals`]: what one record says about a whole list, so that most questions need no walk.
//!
//! The same record that a device's limits are compared with. Every field is a **sound bound**: exact for a
//! list that only grew, never too favourable after a split.

use super::Segment;
use crate::Addr;

/// The running totals of a list of segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Totals {
    /// Bytes in the list. Always exact.
    pub bytes: u64,
    /// Segments in the list. Always exact.
    pub segments: u64,
    /// Bytes of the longest segment.
    pub longest: u64,
    /// Lowest address.
    pub addr_min: u64,
    /// Highest address just past a segment.
    pub addr_end: u64,
    /// The OR of every start address: its low zero bits are the common alignment.
    pub start_bits: u64,
    /// The OR of every length: its low zero bits are the common granularity.
    pub len_bits: u64,
    /// The gap mask: the OR of "end of one, start of the next" over every inner join. Its low zero bits
    /// say on which granules all inner joins fall.
    pub gap_bits: u64,
}

impl Totals {
    /// The totals of no segments.
    pub const EMPTY: Self = Self {
        bytes: 0,
        segments: 0,
        longest: 0,
        addr_min: u64::MAX,
        addr_end: 0,
        start_bits: 0,
        len_bits: 0,
        gap_bits: 0,
    };

    /// Returns the totals of one segment.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn of_one<A: Addr>(segment: Segment<A>) -> Self {
        let (start, len) = (segment.addr().raw(), segment.len());
        Self {
            bytes: len,
            segments: 1,
            longest: len,
            addr_min: start,
            addr_end: segment.end(),
            start_bits: start,
            len_bits: len,
            gap_bits: 0,
        }
    }

    /// Adds one segment, without the join before it.
    #[inline]
    pub(crate) fn add<A: Addr>(&mut self, segment: Segment<A>) {
        let (start, len) = (segment.addr().raw(), segment.len());
        // The list refuses a segment that would carry its bytes past 64 bits, before it gets here.
        self.bytes = self.bytes.wrapping_add(len);
        self.segments = self.segments.wrapping_add(1);
        self.longest = self.longest.max(len);
        self.addr_min = self.addr_min.min(start);
        self.addr_end = self.addr_end.max(segment.end());
        self.start_bits |= start;
        self.len_bits |= len;
    }

    /// Widens the bounds to one segment; the counts are left alone.
    ///
    /// Branches, not `max`: a record is rarely broken, and a bound that stands needs no store.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn cover<A: Addr>(&mut self, segment: Segment<A>) {
        let (start, len, end) = (segment.addr().raw(), segment.len(), segment.end());
        if len > self.longest {
            self.longest = len;
        }
        if start < self.addr_min {
            self.addr_min = start;
        }
        if end > self.addr_end {
            self.addr_end = end;
        }
        self.start_bits |= start;
        self.len_bits |= len;
    }

    /// Adds the join between a segment that ends at `end` and one that starts at `start`.
    #[inline]
    pub(crate) const fn join(&mut self, end: u64, start: u64) {
        self.gap_bits |= end | start;
    }

    /// Adds another record's totals, without the join between the two.
    #[cfg(feature = "alloc")]
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.segments = self.segments.wrapping_add(other.segments);
        self.widen(other);
    }

    /// Returns the bounds of `self`, with other exact counts: what stays known after a split.
    #[cfg(feature = "alloc")]
    #[inline]
    #[must_use]
    pub(crate) const fn narrowed(mut self, bytes: u64, segments: u64) -> Self {
        if segments == 0 {
            return Self::EMPTY;
        }
        self.bytes = bytes;
        self.segments = segments;
        self
    }

    /// Widens the bounds to those of `other`, counts apart.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn widen(&mut self, other: &Self) {
        self.longest = self.longest.max(other.longest);
        self.addr_min = self.addr_min.min(other.addr_min);
        self.addr_end = self.addr_end.max(other.addr_end);
        self.start_bits |= other.start_bits;
        self.len_bits |= other.len_bits;
        self.gap_bits |= other.gap_bits;
    }

    /// Walks `segments` and returns their exact totals.
    pub fn of<A: Addr>(segments: impl IntoIterator<Item = Segment<A>>) -> Self {
        let mut totals = Self::EMPTY;
        let mut end = None;
        for segment in segments {
            if let Some(end) = end {
                totals.join(end, segment.addr().raw());
            }
            totals.add(segment);
            end = Some(segment.end());
        }
        totals
    }
}
