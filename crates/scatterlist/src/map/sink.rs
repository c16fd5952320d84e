//! [`BusSink`]: where the bus segments of a mapping go; [`BusSlots`], one over a slice, where there is no allocator.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use super::error::{MapError, Resource};
use crate::{BusAddr, Segment};

/// Takes the bus segments of a mapping, in order.
pub trait BusSink {
    /// Takes the next segment.
    ///
    /// # Errors
    /// [`MapError::Shortage`] where there is no room for it.
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError>;

    /// Takes segments, one after the other.
    ///
    /// # Errors
    /// As [`BusSink::put`]; those before are taken.
    fn put_all(&mut self, segments: impl Iterator<Item = Segment<BusAddr>>) -> Result<(), MapError> {
        let mut segments = segments;
        segments.try_for_each(|segment| self.put(segment))
    }

    /// Is told that about so many segments come, to make room at once. What comes may be more or less.
    #[inline]
    fn expect(&mut self, _segments: u64) {}
}

#[cfg(feature = "alloc")]
impl BusSink for crate::ScatterList<BusAddr> {
    #[inline]
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError> {
        if self.begin(segment) {
            return Ok(());
        }
        self.append(segment).map(|_| ()).map_err(|error| MapError::TooLong { bytes: error.bytes })
    }

    #[inline]
    fn put_all(&mut self, segments: impl Iterator<Item = Segment<BusAddr>>) -> Result<(), MapError> {
        self.append_all(segments).map_err(|error| MapError::TooLong { bytes: error.bytes })
    }

    #[inline]
    fn expect(&mut self, segments: u64) {
        self.reserve(usize::try_from(segments).unwrap_or(0));
    }
}

/// Hands segments on and remembers them, joined as sinks join them: for back ends that wrap another.
#[cfg(feature = "alloc")]
pub(crate) struct Recorder<'a, K: ?Sized> {
    sink: &'a mut K,
    bus: Vec<Segment<BusAddr>>,
}

#[cfg(feature = "alloc")]
impl<'a, K: BusSink + ?Sized> Recorder<'a, K> {
    pub(crate) const fn new(sink: &'a mut K) -> Self {
        Self { sink, bus: Vec::new() }
    }

    pub(crate) fn into_segments(self) -> Vec<Segment<BusAddr>> {
        self.bus
    }
}

#[cfg(feature = "alloc")]
impl<K: BusSink + ?Sized> BusSink for Recorder<'_, K> {
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError> {
        self.sink.put(segment)?;
        let joined = self.bus.last().and_then(|last| last.joined(segment));
        match self.bus.last_mut().zip(joined) {
            Some((last, joined)) => *last = joined,
            None => self.bus.push(segment),
        }
        Ok(())
    }

    fn expect(&mut self, segments: u64) {
        self.sink.expect(segments);
    }
}

/// A sink over a slice of the caller's.
#[derive(Debug)]
pub struct BusSlots<'a> {
    slots: &'a mut [Segment<BusAddr>],
    len: usize,
}

impl<'a> BusSlots<'a> {
    /// Starts with no segment; what `slots` hold is overwritten.
    pub const fn new(slots: &'a mut [Segment<BusAddr>]) -> Self {
        Self { slots, len: 0 }
    }

    /// Returns the segments so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Segment<BusAddr>] {
        self.slots.get(..self.len).unwrap_or_default()
    }
}

impl BusSink for BusSlots<'_> {
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError> {
        let last = self.len.checked_sub(1).and_then(|last| self.slots.get_mut(last));
        if let Some(last) = last
            && let Some(joined) = last.joined(segment)
        {
            *last = joined;
            return Ok(());
        }
        let have = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        let place = self.slots.get_mut(self.len).ok_or(MapError::Shortage {
            what: Resource::Slots,
            need: have.saturating_add(1),
            have,
        })?;
        *place = segment;
        self.len = self.len.saturating_add(1);
        Ok(())
    }
}
