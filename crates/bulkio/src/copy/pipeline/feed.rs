//! [`Feed`]: which parts of the range are still to be read, and in which order.
//!
//! An ordinary copy has one area, the whole range; one that goes around bad places, or goes on where another ended, has those that a map
//! leaves. The pipeline asks for the next chunk; nothing is opened or moved here.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::geometry::{Chunk, Geometry};

/// What is still to be read.
#[derive(Clone, Debug)]
pub(in super::super) struct Feed {
    /// In the order in which they are read; counted from the start of the range.
    areas: VecDeque<Range<u64>>,
    /// Each area from its end to its start.
    backwards: bool,
    /// The number of the next chunk.
    number: u64,
}

impl Feed {
    /// The whole range, whose end only the bound tells.
    pub(in super::super) fn whole() -> Self {
        Self::forwards(Some(0..u64::MAX))
    }

    /// Nothing.
    pub(in super::super) const fn nothing() -> Self {
        Self { areas: VecDeque::new(), backwards: false, number: 0 }
    }

    /// These areas, in this order, each from its start to its end.
    pub(in super::super) fn forwards(areas: impl IntoIterator<Item = Range<u64>>) -> Self {
        let areas = areas.into_iter().filter(|area| area.start < area.end).collect();
        Self { areas, ..Self::nothing() }
    }

    /// These areas, the last first, each from its end to its start.
    pub(in super::super) fn backwards(
        areas: impl IntoIterator<Item = Range<u64>, IntoIter: DoubleEndedIterator>,
    ) -> Self {
        Self { backwards: true, ..Self::forwards(areas.into_iter().rev()) }
    }

    /// Takes the next chunk; `bound` is the length of the range, where it is known.
    pub(in super::super) fn next(&mut self, geometry: &Geometry, bound: Option<u64>) -> Option<Chunk> {
        while let Some(area) = self.areas.front_mut() {
            let end = bound.map_or(area.end, |bound| area.end.min(bound));
            if area.start >= end {
                self.areas.pop_front();
                continue;
            }
            let chunk = if self.backwards {
                let chunk = geometry.chunk(self.number, geometry.last_cut(end).max(area.start), end)?;
                area.end = chunk.at;
                chunk
            } else {
                let chunk = geometry.chunk(self.number, area.start, end)?;
                area.start = chunk.at.saturating_add(chunk.len);
                chunk
            };
            self.number = self.number.saturating_add(1);
            return Some(chunk);
        }
        None
    }

    /// Returns where what is read next begins, and how much of it lies in a row.
    pub(in super::super) fn front(&mut self, bound: Option<u64>) -> Option<(u64, u64)> {
        let len = |area: &Range<u64>| {
            bound.map_or(area.end, |bound| area.end.min(bound)).saturating_sub(area.start)
        };
        while self.areas.front().is_some_and(|area| len(area) == 0) {
            self.areas.pop_front();
        }
        self.areas.front().map(|area| (area.start, len(area)))
    }

    /// Returns the areas that are left before byte `bound` of the range.
    pub(in super::super) fn areas(&self, bound: Option<u64>) -> Vec<Range<u64>> {
        let end = |area: &Range<u64>| bound.map_or(area.end, |bound| area.end.min(bound));
        let areas = self.areas.iter().map(|area| area.start..end(area));
        areas.filter(|area| area.start < area.end).collect()
    }

    /// Says whether nothing is left.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.areas.iter().all(|area| area.start >= area.end)
    }

    /// Says whether something is left before byte `bound` of the range.
    pub(in super::super) fn has_more(&self, bound: Option<u64>) -> bool {
        let end = |area: &Range<u64>| bound.map_or(area.end, |bound| area.end.min(bound));
        self.areas.iter().any(|area| area.start < end(area))
    }

    /// Leaves out the next `len` bytes of the area that is being read; what is left out, which may be less.
    pub(in super::super) fn leave_out(&mut self, len: u64) -> Option<Range<u64>> {
        let area = self.areas.front_mut()?;
        let left = len.min(area.end.saturating_sub(area.start));
        let out = if self.backwards {
            let from = area.end.saturating_sub(left);
            from..core::mem::replace(&mut area.end, from)
        } else {
            let to = area.start.saturating_add(left);
            core::mem::replace(&mut area.start, to)..to
        };
        Some(out).filter(|out| out.start < out.end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::copy::geometry::Unit;

    proptest! {
        /// Either way the chunks are the areas exactly, and none crosses a cut.
        #[test]
        fn chunks_are_the_areas(
            starts in prop::collection::btree_set(0..60_000_u64, 0..8),
            seek in 0..20_000_u64,
            backwards in any::<bool>(),
            bound in prop_oneof![Just(None), (0..70_000_u64).prop_map(Some)],
        ) {
            let unit = Unit { start: 512, end: 512 };
            let geometry = Geometry::new(seek, seek, unit, unit, 8192, None).expect("fits");
            let starts: Vec<u64> = starts.into_iter().collect();
            let areas: Vec<Range<u64>> = starts.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
            let mut feed = if backwards { Feed::backwards(areas.clone()) } else { Feed::forwards(areas.clone()) };
            let mut covered = vec![0_u8; 60_000];
            let mut last = None;
            while let Some(chunk) = feed.next(&geometry, bound) {
                prop_assert!(chunk.len > 0);
                prop_assert_eq!(chunk.slot_offset % 512, (seek + chunk.at) % 512);
                prop_assert!(chunk.slot_offset + chunk.len <= geometry.slot_len);
                prop_assert_eq!((seek + chunk.at) / geometry.slot_len, (seek + chunk.at + chunk.len - 1) / geometry.slot_len);
                let in_order = last.is_none_or(|last| backwards == (chunk.at < last));
                prop_assert!(in_order, "{:?} behind {:?}", chunk, last);
                last = Some(chunk.at);
                for at in chunk.at..chunk.at + chunk.len {
                    covered[at as usize] += 1;
                }
            }
            for (at, times) in covered.into_iter().enumerate() {
                let at = at as u64;
                let wanted = bound.is_none_or(|bound| at < bound) && areas.iter().any(|area| area.contains(&at));
                prop_assert_eq!(times, u8::from(wanted), "byte {}", at);
            }
        }
    }

    #[test]
    fn the_front_goes_over_what_is_left_out_and_ends_at_the_bound() {
        let mut feed = Feed::forwards([0..100, 200..300, 900..u64::MAX]);
        assert_eq!(feed.front(Some(1000)), Some((0, 100)));
        feed.leave_out(60);
        assert_eq!(feed.front(Some(1000)), Some((60, 40)));
        feed.leave_out(40);
        assert_eq!(feed.front(Some(1000)), Some((200, 100)));
        feed.leave_out(100);
        assert_eq!((feed.front(Some(1000)), feed.front(Some(900))), (Some((900, 100)), None));
    }

    #[test]
    fn what_is_left_out_is_not_read() {
        let unit = Unit { start: 512, end: 512 };
        let geometry = Geometry::new(0, 0, unit, unit, 4096, None).expect("fits");
        let mut feed = Feed::forwards(Some(0..20_480));
        assert_eq!(feed.next(&geometry, None).map(|chunk| chunk.at), Some(0));
        assert_eq!(feed.leave_out(8192), Some(4096..12_288));
        assert_eq!(feed.next(&geometry, None).map(|chunk| chunk.at), Some(12_288));
        assert_eq!(feed.leave_out(u64::MAX), Some(16_384..20_480));
        assert_eq!((feed.leave_out(1), feed.next(&geometry, None)), (None, None));
        let mut feed = Feed::backwards(Some(0..20_480));
        assert_eq!(feed.next(&geometry, None).map(|chunk| chunk.at), Some(16_384));
        assert_eq!(feed.leave_out(8192), Some(8192..16_384));
        assert_eq!(feed.next(&geometry, None).map(|chunk| chunk.at), Some(4096));
    }
}
