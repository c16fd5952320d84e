//! [`RecoveryMap`]: which parts of a source are copied, which cannot be read, and which are still to be tried.
//!
//! The map covers the source from its first byte on, without a gap, in areas of one status each. `text` reads and writes it as
//! GNU ddrescue's mapfile, so that either program goes on where the other ended; `ends` is a comment of our own, which says which ends it is of; `file`
//! keeps it on disk. Nothing is read from a device here.

mod ends;
mod file;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

pub(super) use ends::{MapEnd, MapEnds};
pub(super) use file::MapFile;
pub use file::MapFileError;
pub use text::MapTextError;

/// Most areas of a map that is read: 64 MiB of memory and more than a terabyte in which every other megabyte is bad.
pub const AREAS_MAX: usize = 1 << 20;

/// What is known of an area of the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AreaStatus {
    /// Nobody has tried to read it.
    Untried,
    /// A long read of it failed; its good edges are not found yet.
    Untrimmed,
    /// Its edges are bad; what is good inside is not found yet.
    Unscraped,
    /// Every block of it was tried by itself and failed.
    Bad,
    /// It is copied.
    Good,
}

impl AreaStatus {
    /// Returns its character in the text.
    #[must_use]
    pub const fn character(self) -> char {
        match self {
            Self::Untried => '?',
            Self::Untrimmed => '*',
            Self::Unscraped => '/',
            Self::Bad => '-',
            Self::Good => '+',
        }
    }

    /// Returns the status that a character of the text means.
    #[must_use]
    pub const fn of_character(character: char) -> Option<Self> {
        Some(match character {
            '?' => Self::Untried,
            '*' => Self::Untrimmed,
            '/' => Self::Unscraped,
            '-' => Self::Bad,
            '+' => Self::Good,
            _ => return None,
        })
    }
}

impl fmt::Display for AreaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Untried => "not tried",
            Self::Untrimmed => "failed, not trimmed",
            Self::Unscraped => "failed, not scraped",
            Self::Bad => "bad",
            Self::Good => "copied",
        })
    }
}

/// What a rescue is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RescuePhase {
    /// Reads what nobody has tried, in long reads.
    Copying,
    /// Finds the edges of what failed.
    Trimming,
    /// Reads block by block what lies between bad edges.
    Scraping,
    /// Tries bad blocks again.
    Retrying,
    /// All passes are over.
    Finished,
}

impl RescuePhase {
    /// Returns its character in the text.
    #[must_use]
    pub const fn character(self) -> char {
        match self {
            Self::Copying => '?',
            Self::Trimming => '*',
            Self::Scraping => '/',
            Self::Retrying => '-',
            Self::Finished => '+',
        }
    }
}

impl fmt::Display for RescuePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Copying => "copying what was not tried",
            Self::Trimming => "finding the edges of what failed",
            Self::Scraping => "reading block by block between bad edges",
            Self::Retrying => "trying bad blocks again",
            Self::Finished => "finished",
        })
    }
}

/// The state of every byte of a source.
///
/// ```
/// use bulkio::copy::{AreaStatus, RecoveryMap};
///
/// let mut map = RecoveryMap::new(4096);
/// map.set(0..1024, AreaStatus::Good);
/// map.set(1024..1536, AreaStatus::Bad);
/// assert_eq!(map.bytes_of(AreaStatus::Untried), 2560);
/// let text = map.to_text("bulkio copy --map map /dev/sdb image");
/// assert_eq!(RecoveryMap::from_text(&text)?, map);
/// # Ok::<(), bulkio::copy::MapTextError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryMap {
    /// Where each area starts; it ends where the next one does. No two neighbours have one status.
    starts: BTreeMap<u64, AreaStatus>,
    len: u64,
    /// Where the work stood, for who reads the file.
    position: u64,
    phase: RescuePhase,
    pass: u32,
}

impl RecoveryMap {
    /// Makes the map of a source of `len` bytes of which nothing is tried.
    #[must_use]
    pub fn new(len: u64) -> Self {
        let starts = if len > 0 { BTreeMap::from([(0, AreaStatus::Untried)]) } else { BTreeMap::new() };
        Self { starts, len, position: 0, phase: RescuePhase::Copying, pass: 1 }
    }

    /// Returns the bytes that it covers, from byte 0 of the source on.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Returns how many areas there are.
    #[must_use]
    pub fn len_areas(&self) -> usize {
        self.starts.len()
    }

    /// Returns where the work stands.
    #[must_use]
    pub const fn stands(&self) -> (RescuePhase, u32, u64) {
        (self.phase, self.pass, self.position)
    }

    /// Notes what is being done: the phase, its pass from 1, and the byte of the source.
    pub fn stand(&mut self, phase: RescuePhase, pass: u32, position: u64) {
        (self.phase, self.pass, self.position) = (phase, pass.max(1), position);
    }

    /// Returns the areas in the order of the source.
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = (Range<u64>, AreaStatus)> + '_ {
        self.starts.iter().map(|(start, status)| (*start..self.end_of(*start), *status))
    }

    /// Returns the areas of one status.
    pub fn areas_of(&self, status: AreaStatus) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.areas().filter(move |(_, found)| *found == status).map(|(area, _)| area)
    }

    /// Returns how many bytes have a status.
    #[must_use]
    pub fn bytes_of(&self, status: AreaStatus) -> u64 {
        self.areas_of(status).map(|area| area.end.saturating_sub(area.start)).fold(0, u64::saturating_add)
    }

    /// Returns the status of a byte; `None` past the end.
    #[must_use]
    pub fn status_at(&self, byte: u64) -> Option<AreaStatus> {
        if byte >= self.len {
            return None;
        }
        self.starts.range(..=byte).next_back().map(|(_, status)| *status)
    }

    /// Sets the status of a range, as far as the map covers it.
    pub fn set(&mut self, range: Range<u64>, status: AreaStatus) {
        let Range { start, end } = range.start..range.end.min(self.len);
        if start >= end {
            return;
        }
        let behind = self.status_at(end);
        let before = start.checked_sub(1).and_then(|last| self.status_at(last));
        let within: Vec<u64> = self.starts.range(start..end).map(|(start, _)| *start).collect();
        for start in within {
            self.starts.remove(&start);
        }
        if before != Some(status) {
            self.starts.insert(start, status);
        }
        match behind {
            Some(behind) if behind != status => {
                self.starts.insert(end, behind);
            }
            Some(_) => {
                self.starts.remove(&end);
            }
            None => {}
        }
    }

    /// Covers more of the source, not tried yet.
    pub fn grow(&mut self, len: u64) {
        let old = self.len;
        if len > old {
            self.len = len;
            if self.starts.values().next_back() != Some(&AreaStatus::Untried) {
                self.starts.insert(old, AreaStatus::Untried);
            }
        }
    }

    fn end_of(&self, start: u64) -> u64 {
        let behind = start.saturating_add(1);
        self.starts.range(behind..).next().map_or(self.len, |(next, _)| *next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUSES: [AreaStatus; 5] = [
        AreaStatus::Untried,
        AreaStatus::Untrimmed,
        AreaStatus::Unscraped,
        AreaStatus::Bad,
        AreaStatus::Good,
    ];

    proptest! {
        /// Beside one status a byte, and back from its text.
        #[test]
        fn a_map_is_one_status_a_byte(
            len in 0..300_u64,
            sets in prop::collection::vec((0..330_u64, 0..120_u64, 0..5_usize), 0..20),
        ) {
            let mut map = RecoveryMap::new(len);
            let mut plain = vec![AreaStatus::Untried; len as usize];
            for (start, bytes, status) in sets {
                map.set(start..start + bytes, STATUSES[status]);
                for at in start.min(len)..(start + bytes).min(len) {
                    plain[at as usize] = STATUSES[status];
                }
            }
            for (at, status) in plain.iter().enumerate() {
                prop_assert_eq!(map.status_at(at as u64), Some(*status));
            }
            prop_assert_eq!(map.status_at(len), None);
            let mut at = 0;
            let mut last = None;
            for (area, status) in map.areas() {
                prop_assert_eq!(area.start, at);
                prop_assert!(area.end > area.start && last != Some(status));
                (at, last) = (area.end, Some(status));
            }
            prop_assert_eq!(at, len);
            for status in STATUSES {
                let bytes = plain.iter().filter(|found| **found == status).count() as u64;
                prop_assert_eq!(map.bytes_of(status), bytes);
            }
            if len > 0 {
                prop_assert_eq!(RecoveryMap::from_text(&map.to_text("a command")), Ok(map.clone()));
            }
            let grown = { let mut grown = map.clone(); grown.grow(len + 7); grown };
            prop_assert_eq!(grown.status_at(len + 6), Some(AreaStatus::Untried));
            prop_assert_eq!(grown.len_bytes(), len + 7);
        }
    }
}
