//! [`Layout`]: how a list lies in one range of bus addresses.
//!
//! Linux's rule (drivers/iommu/dma-iommu.c): each segment starts on a granule, but for its offset inside one, which it
//! keeps; padding goes before a segment that would cross the segment boundary; neighbours become one bus segment
//! if the first ends and the second starts on a granule, no boundary lies between, and the sum is within the longest segment.
//!
//! Nothing is allocated. The list is read when the layout is made, to know what to reserve and whether it can be, and
//! again to map ([`Layout::placed`]) and to tell the device ([`Layout::bus_segments`]).

use super::{align_down, align_up, is_aligned};
use crate::{Addr, BusAddr, Segment, Segments};

/// The numbers that a layout obeys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayoutRules {
    /// Bytes of the smallest page of the table, a power of two.
    pub granule: u64,
    /// No bus segment crosses a multiple of this power of two; 0 for none.
    pub boundary: u64,
    /// Bytes of the longest bus segment that may be made by joining.
    pub segment_len_max: u64,
}

/// Why a list has no layout, or does not fit its rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A rule is not a power of two.
    #[error("{what} is {value}, it must be a power of two")]
    NotPowerOfTwo {
        /// `"granule"` or `"boundary"`.
        what: &'static str,
        /// Its value in bytes.
        value: u64,
    },
    /// In whole granules the list is longer than 64 bits can tell.
    #[error(
        "segment {index} at {addr:#x} of {bytes} bytes: the list takes more than 2^64 bytes of bus addresses"
    )]
    TooLong {
        /// The segment where the sum passes 64 bits, counted from 0.
        index: u64,
        /// Its address.
        addr: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// The range does not start on a granule.
    #[error("bus address {base:#x} is not a multiple of the granule, {granule}")]
    Base {
        /// The start of the range.
        base: u64,
        /// The granule in bytes.
        granule: u64,
    },
    /// The range reaches past the last address.
    #[error("{bytes} bytes at bus address {base:#x} reach past the last address")]
    Wraps {
        /// The start of the range.
        base: u64,
        /// The bytes to reserve.
        bytes: u64,
    },
    /// A segment crosses the boundary wherever it is laid.
    #[error("segment {index} at {addr:#x} of {bytes} bytes always crosses a multiple of {boundary}")]
    CrossesBoundary {
        /// The segment, counted from 0.
        index: u64,
        /// Its address.
        addr: u64,
        /// Its bytes.
        bytes: u64,
        /// The boundary in bytes.
        boundary: u64,
    },
    /// A segment is longer than a bus segment may be.
    #[error("segment {index} at {addr:#x} is {bytes} bytes long, the longest may be {segment_len_max}")]
    SegmentTooLong {
        /// The segment, counted from 0.
        index: u64,
        /// Its address.
        addr: u64,
        /// Its bytes.
        bytes: u64,
        /// The most bytes.
        segment_len_max: u64,
    },
}

/// Whole granules of memory, and where in the range they go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed<A: Addr> {
    /// Bytes from the start of the range, on a granule.
    pub offset: u64,
    /// The memory, on a granule.
    pub target: A,
    /// Bytes, whole granules.
    pub bytes: u64,
}

/// A list in one range of bus addresses, wherever that range will be.
#[derive(Debug)]
pub struct Layout<'l, S: Segments + ?Sized> {
    list: &'l S,
    rules: LayoutRules,
    reserve_bytes: u64,
    unfit: Option<LayoutError>,
}

impl<'l, S: Segments + ?Sized> Layout<'l, S> {
    /// Lays out `list`. Reads it once.
    ///
    /// # Errors
    /// [`LayoutError::NotPowerOfTwo`] for a rule, [`LayoutError::TooLong`] for a list past 64 bits.
    pub fn new(list: &'l S, rules: LayoutRules) -> Result<Self, LayoutError> {
        let LayoutRules { granule, boundary, .. } = rules;
        if !granule.is_power_of_two() {
            return Err(LayoutError::NotPowerOfTwo { what: "granule", value: granule });
        }
        if boundary != 0 && !boundary.is_power_of_two() {
            return Err(LayoutError::NotPowerOfTwo { what: "boundary", value: boundary });
        }
        let mut layout = Self { list, rules, reserve_bytes: 0, unfit: None };
        for (index, segment) in (0_u64..).zip(list.segments()) {
            let (addr, bytes) = (segment.addr().raw(), segment.len());
            let too_long = LayoutError::TooLong { index, addr, bytes };
            let spot = rules.spot(layout.reserve_bytes, &segment).ok_or(too_long)?;
            layout.reserve_bytes = spot.end;
            if layout.unfit.is_none() {
                layout.unfit = rules.unfit(index, &segment);
            }
        }
        Ok(layout)
    }

    /// Returns the bytes of bus addresses to reserve, padding included: whole granules. They must start at a multiple of their
    /// number rounded up to a power of two, or of the boundary if that is less.
    #[must_use]
    pub const fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Says whether each bus segment obeys the rules. Segments are joined and moved, never cut: one that is too long by
    /// itself is laid out as it is. A list that was planned for the device has none.
    ///
    /// # Errors
    /// [`LayoutError::CrossesBoundary`] or [`LayoutError::SegmentTooLong`] for the first segment that cannot obey.
    pub const fn obeys_rules(&self) -> Result<(), LayoutError> {
        match self.unfit {
            Some(unfit) => Err(unfit),
            None => Ok(()),
        }
    }

    /// Returns what to map, segment by segment. Between two may be padding, which stays unmapped.
    pub fn placed(&self) -> impl Iterator<Item = Placed<S::Addr>> {
        let rules = self.rules;
        self.list.segments().scan(0, move |reserved, segment| {
            let spot = rules.spot(*reserved, &segment)?;
            *reserved = spot.end;
            let target = S::Addr::new(align_down(segment.addr().raw(), rules.granule));
            Some(Placed { offset: spot.start, target, bytes: spot.end.wrapping_sub(spot.start) })
        })
    }

    /// Returns what the device is told, when the range starts at `base`.
    ///
    /// # Errors
    /// [`LayoutError::Base`] if `base` is not on a granule, [`LayoutError::Wraps`] if the range reaches past the last address.
    pub fn bus_segments(&self, base: BusAddr) -> Result<BusSegments<'l, S>, LayoutError> {
        let base = base.raw();
        if !is_aligned(base, self.rules.granule) {
            return Err(LayoutError::Base { base, granule: self.rules.granule });
        }
        if base.checked_add(self.reserve_bytes).is_none() {
            return Err(LayoutError::Wraps { base, bytes: self.reserve_bytes });
        }
        Ok(BusSegments { segments: self.list.segments(), rules: self.rules, base, reserved: 0, open: None })
    }
}

/// Where one segment goes: its granules, as offsets in the range.
#[derive(Clone, Copy)]
struct Spot {
    start: u64,
    end: u64,
}

impl LayoutRules {
    /// The place of `segment` behind `reserved` bytes; `None` past 64 bits.
    #[inline]
    fn spot<A: Addr>(&self, reserved: u64, segment: &Segment<A>) -> Option<Spot> {
        let offset = self.in_granule(segment.addr().raw());
        let bytes = align_up(offset.checked_add(segment.len())?, self.granule)?;
        let padding = match align_up(reserved, self.boundary.max(1)) {
            Some(next) if self.boundary > self.granule => next.wrapping_sub(reserved),
            // Past the last boundary there is none to cross.
            _ => 0,
        };
        let start = if padding < bytes { reserved.wrapping_add(padding) } else { reserved };
        Some(Spot { start, end: start.checked_add(bytes)? })
    }

    #[inline]
    const fn in_granule(&self, addr: u64) -> u64 {
        addr & self.granule.wrapping_sub(1)
    }

    /// Why `segment` breaks a rule wherever it is laid.
    fn unfit<A: Addr>(&self, index: u64, segment: &Segment<A>) -> Option<LayoutError> {
        let &Self { granule, boundary, segment_len_max } = self;
        let (addr, bytes) = (segment.addr().raw(), segment.len());
        // Laid at the start of a boundary's block, if granules do not part that.
        let offset = addr & granule.min(boundary).wrapping_sub(1);
        if boundary != 0 && offset.saturating_add(bytes) > boundary {
            return Some(LayoutError::CrossesBoundary { index, addr, bytes, boundary });
        }
        (bytes > segment_len_max).then_some(LayoutError::SegmentTooLong {
            index,
            addr,
            bytes,
            segment_len_max,
        })
    }
}

/// The bus segments of a [`Layout`] at a base, joined where the rules allow.
#[derive(Clone, Debug)]
pub struct BusSegments<'l, S: Segments + ?Sized + 'l> {
    segments: S::Iter<'l>,
    rules: LayoutRules,
    base: u64,
    reserved: u64,
    /// The bus segment that the next one may join.
    open: Option<Segment<BusAddr>>,
}

impl<'l, S: Segments + ?Sized + 'l> Iterator for BusSegments<'l, S> {
    type Item = Segment<BusAddr>;

    fn next(&mut self) -> Option<Segment<BusAddr>> {
        let rules = self.rules;
        for segment in self.segments.by_ref() {
            let Some(spot) = rules.spot(self.reserved, &segment) else { break };
            self.reserved = spot.end;
            let at = self.base.saturating_add(spot.start);
            let start = at.saturating_add(rules.in_granule(segment.addr().raw()));
            let Ok(next) = Segment::new(BusAddr::new(start), segment.len()) else { break };
            let on_boundary = rules.boundary != 0 && is_aligned(start, rules.boundary);
            let on_granule = is_aligned(start, rules.granule);
            let joined = self.open.filter(|_| on_granule && !on_boundary).and_then(|open| open.joined(next));
            let joined = joined.filter(|joined| joined.len() <= rules.segment_len_max);
            let done = if joined.is_some() { None } else { self.open };
            self.open = Some(joined.unwrap_or(next));
            if done.is_some() {
                return done;
            }
        }
        self.open.take()
    }
}
