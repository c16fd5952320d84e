//! Which parts of a source file are data: [`find`] asks its file system (`SEEK_DATA`, `SEEK_HOLE`), [`Layout`] rounds the answers to what the
//! destination can leave out.
//!
//! Contract: what is no area is a hole, reads as zeros, and is whole blocks of the destination unless that is a file, where a hole may also begin or end
//! with the range. Positions are counted from the start of the range. The answer is of one moment: bytes that somebody writes into a
//! hole later are not seen, as with every copy of a file that changes.

use std::ops::Range;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::super::geometry::{down, up};
use crate::device::Device;

/// The shortest hole that is kept: reading less costs no more than the requests that it would cut.
pub(in super::super) const HOLE_LEN_MIN: u64 = 32 << 10;

/// Most areas that are kept apart: 1 MiB of memory.
pub(super) const AREAS_MAX: usize = 65_536;

/// How the range lies on both sides.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Layout {
    pub(super) skip: u64,
    pub(super) seek: u64,
    pub(super) len: u64,
    /// Holes begin and end at multiples of this in the destination.
    pub(super) grain: u64,
    /// But they may begin and end with the range: the destination is a file.
    pub(super) ragged: bool,
}

/// The data of a range.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Found {
    /// In order; none touches the next.
    pub(super) areas: Vec<Range<u64>>,
    /// Where the rest was taken for data, since there were too many areas.
    pub(super) cut_at: Option<u64>,
}

impl Layout {
    /// Adds data, which lies behind all before.
    fn add(&self, areas: &mut Vec<Range<u64>>, data: Range<u64>) {
        let grid = |at: u64| self.seek.saturating_add(at);
        let start = down(grid(data.start), self.grain).saturating_sub(self.seek);
        let end = up(grid(data.end), self.grain).saturating_sub(self.seek).min(self.len);
        let last = areas.last_mut();
        let before = last.as_ref().map_or(0, |last| last.end);
        let start = if start < before.saturating_add(HOLE_LEN_MIN) { before } else { start };
        match last {
            Some(last) if last.end == start => last.end = last.end.max(end),
            _ if start < end => areas.push(start..end),
            _ => {}
        }
    }

    /// Begins with what can be no hole.
    fn start(&self) -> Vec<Range<u64>> {
        let mut areas = Vec::new();
        let head = up(self.seek, self.grain).saturating_sub(self.seek).min(self.len);
        if !self.ragged && head > 0 {
            areas.push(0..head);
        }
        areas
    }

    /// Ends with what can be no hole.
    fn end(&self, areas: &mut Vec<Range<u64>>) {
        let last = areas.last().map_or(0, |last| last.end);
        let whole = down(self.seek.saturating_add(self.len), self.grain).saturating_sub(self.seek).max(last);
        let tail = if self.ragged { self.len } else { whole };
        let from = if tail.saturating_sub(last) < HOLE_LEN_MIN { last } else { tail };
        match areas.last_mut() {
            Some(area) if area.end == from => area.end = self.len,
            _ if from < self.len => areas.push(from..self.len),
            _ => {}
        }
    }
}

impl Found {
    /// Says whether there is no hole.
    pub(super) fn is_all(&self, len: u64) -> bool {
        self.areas.iter().eq(Some(&(0..len)))
    }

    /// Returns the bytes of the holes of a range of this length.
    pub(super) fn hole_bytes(&self, len: u64) -> u64 {
        self.holes(len).map(|hole| hole.end.saturating_sub(hole.start)).fold(0, u64::saturating_add)
    }

    /// Returns the holes of a range of this length.
    pub(super) fn holes(&self, len: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = std::iter::once(0).chain(self.areas.iter().map(|area| area.end));
        let ends = self.areas.iter().map(|area| area.start).chain(std::iter::once(len));
        starts.zip(ends).map(|(start, end)| start..end).filter(|hole| hole.start < hole.end)
    }
}

/// Asks the file system of a regular file for its data; `go_on` is asked now and then, and ends the search by `false`.
///
/// # Errors
/// The error number of a file system that does not say.
pub(in super::super) fn find(
    source: &dyn Device,
    layout: &Layout,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Found, Errno> {
    let fd = source.routes().buffered();
    // The descriptor is the copy's own, so nobody misses its offset.
    let mut ask = |from| rustix::fs::seek(fd, from);
    find_by(&mut ask, layout, go_on)
}

fn find_by(
    ask: &mut dyn FnMut(SeekFrom) -> Result<u64, Errno>,
    layout: &Layout,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Found, Errno> {
    let mut areas = layout.start();
    let mut cut_at = None;
    let end = layout.skip.saturating_add(layout.len);
    let mut position = layout.skip;
    while position < end && go_on() {
        let data = match ask(SeekFrom::Data(position)) {
            Ok(data) => data.max(position),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        if data >= end {
            break;
        }
        let hole = match ask(SeekFrom::Hole(data)) {
            // The file became shorter between the two questions; the reads will tell.
            Err(Errno::NXIO) => end,
            hole => hole?.min(end),
        };
        if hole <= data {
            return Err(Errno::IO);
        }
        let from_start = |position: u64| position.saturating_sub(layout.skip);
        layout.add(&mut areas, from_start(data)..from_start(hole));
        if areas.len() >= AREAS_MAX
            && let Some(last) = areas.last_mut()
        {
            cut_at = Some(last.start);
            last.end = layout.len;
            break;
        }
        position = hole;
    }
    layout.end(&mut areas);
    Ok(Found { areas, cut_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file system in memory with these data.
    fn answer(data: &[Range<u64>], len: u64, from: SeekFrom) -> Result<u64, Errno> {
        match from {
            SeekFrom::Data(at) => {
                let next = data.iter().find(|data| data.end > at).ok_or(Errno::NXIO)?;
                Ok(next.start.max(at))
            }
            SeekFrom::Hole(at) => {
                Ok(data.iter().find(|data| data.contains(&at)).map_or(at, |data| data.end).min(len))
            }
            _ => Err(Errno::INVAL),
        }
    }

    const UNIT: u64 = 1000;

    proptest! {
        /// Every byte of data is in an area, areas are in order and do not touch, holes are long and whole blocks.
        #[test]
        fn areas_hold_all_data(
            cuts in prop::collection::btree_set(1..900_u64, 0..12),
            skip in 0..100_000_u64,
            seek in 0..100_000_u64,
            len in 1..900_000_u64,
            grain in prop_oneof![Just(512_u64), Just(4096), Just(266_240)],
            ragged in any::<bool>(),
        ) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let data: Vec<Range<u64>> = cuts.chunks_exact(2).map(|pair| pair[0] * UNIT..pair[1] * UNIT).collect();
            let layout = Layout { skip, seek, len, grain, ragged };
            let found = find_by(&mut |from| answer(&data, 1_100_000, from), &layout, &mut || true).unwrap();
            prop_assert_eq!(found.cut_at, None);
            let mut behind = None;
            for area in &found.areas {
                prop_assert!(area.start < area.end && area.end <= len, "{:?}", found);
                prop_assert!(behind.is_none_or(|behind| behind < area.start), "{:?}", found);
                behind = Some(area.end);
            }
            for hole in found.holes(len) {
                prop_assert!(hole.end - hole.start >= HOLE_LEN_MIN, "{:?}", found);
                for (at, of_range) in [(hole.start, 0), (hole.end, len)] {
                    prop_assert!((seek + at) % grain == 0 || (ragged && at == of_range), "{:?}", found);
                }
                let in_source = skip + hole.start..skip + hole.end;
                prop_assert!(data.iter().all(|data| data.end <= in_source.start || in_source.end <= data.start));
            }
            let sum: u64 = found.areas.iter().chain(&found.holes(len).collect::<Vec<_>>()).map(|part| part.end - part.start).sum();
            prop_assert_eq!(sum, len);
        }
    }

    #[test]
    fn too_many_areas_are_cut_and_the_rest_is_data() {
        let step = 2 * HOLE_LEN_MIN;
        let len = (AREAS_MAX as u64 + 10) * step;
        let layout = Layout { skip: 0, seek: 0, len, grain: 4096, ragged: true };
        // A block of data in front of each hole.
        let mut ask = |from| match from {
            SeekFrom::Data(at) => Ok(at.next_multiple_of(step)),
            SeekFrom::Hole(at) => Ok(at + 4096),
            _ => Err(Errno::INVAL),
        };
        let found = find_by(&mut ask, &layout, &mut || true).unwrap();
        assert_eq!(found.areas.len(), AREAS_MAX);
        assert_eq!(found.cut_at, Some((AREAS_MAX as u64 - 1) * step));
        assert_eq!(found.areas.last().map(|area| area.end), Some(len));
    }

    #[test]
    fn a_file_system_that_does_not_say_or_lies_is_no_endless_loop() {
        let layout = Layout { skip: 0, seek: 0, len: 1 << 20, grain: 4096, ragged: true };
        let refused = find_by(&mut |_| Err(Errno::INVAL), &layout, &mut || true);
        assert_eq!(refused, Err(Errno::INVAL));
        let same = find_by(&mut |_| Ok(0), &layout, &mut || true);
        assert_eq!(same, Err(Errno::IO));
        let whole = find_by(
            &mut |from| Ok(if matches!(from, SeekFrom::Data(_)) { 0 } else { 1 << 20 }),
            &layout,
            &mut || true,
        );
        assert!(whole.unwrap().is_all(1 << 20));
    }
}
