//! What a rescue did, and what it could not.

use std::ops::Range;
use std::path::PathBuf;

use scatterlist::Status;

use crate::copy::map::{AreaStatus, RecoveryMap, RescuePhase};

/// Most ranges that a report lists; it counts all.
pub const LOST_RANGES_MAX: usize = 1000;

/// Bytes of the source that could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LostRange {
    /// The first, as a byte of the source.
    pub position: u64,
    /// How many.
    pub bytes: u64,
}

impl LostRange {
    pub(super) const fn of(area: &Range<u64>) -> Self {
        Self { position: area.start, bytes: area.end.saturating_sub(area.start) }
    }
}

/// A read that failed and was gone around. A later pass may still bring some of it, or all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct ReadFailure {
    /// The first byte that did not come, in the source.
    pub position: u64,
    /// How many did not come: of a long read, also those behind the bad ones.
    pub bytes: u64,
    /// What the copy was doing.
    pub phase: RescuePhase,
    /// In which pass of that, from 1.
    pub pass: u32,
    /// How it failed.
    pub status: Status,
    /// The same in words, the device's own where there are some.
    pub reason: String,
}

/// What a copy that keeps account of each area did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RescueReport {
    /// The map on disk, if there is one.
    pub map: Option<PathBuf>,
    /// Bytes that were copied before, by the map.
    pub resumed_bytes: u64,
    /// Bytes of the range that could not be read.
    pub lost_bytes: u64,
    /// In how many ranges they lie.
    pub lost_ranges: u64,
    /// The first [`LOST_RANGES_MAX`] of them, in the order of the source.
    pub lost: Vec<LostRange>,
    /// Bytes of the range that nobody has tried to read: the copy ended before.
    pub untried_bytes: u64,
    /// Bytes of lost ranges that were zeroed in the destination by this copy. A file that was empty has zeros there without that.
    pub zeroed_bytes: u64,
    /// Bytes of blocks that were bad when tried by themselves, and could be read later.
    pub healed_bytes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// The bytes of a block, the least that is read by itself.
    pub block_len: u64,
    /// The last phase that was begun.
    pub phase: RescuePhase,
}

/// How far a rescue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RescueProgress {
    /// What it does.
    pub phase: RescuePhase,
    /// Which pass of the phase, from 1.
    pub pass: u32,
    /// Bytes that could not be read so far.
    pub failed_bytes: u64,
}

/// The areas of `range` that failed and are not copied, each as long as it can be.
pub(super) fn lost_areas(map: &RecoveryMap, range: &Range<u64>) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    for (area, status) in map.areas() {
        let area = area.start.max(range.start)..area.end.min(range.end);
        if area.start >= area.end || matches!(status, AreaStatus::Good | AreaStatus::Untried) {
            continue;
        }
        match lost.last_mut() {
            Some(last) if last.end == area.start => last.end = area.end,
            _ => lost.push(area),
        }
    }
    lost
}
