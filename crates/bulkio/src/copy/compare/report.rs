//! What a comparison found: [`Comparison`].

use std::fmt;
use std::time::Duration;

use super::super::{CopyError, SideReport};
use crate::engine::EngineReport;

/// Bytes that differ, in whole blocks of the second end (of the first, where that is a stream), but for the ends of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DifferingRange {
    /// Where it begins, counted from the start of the range that is compared.
    pub at: u64,
    /// Its bytes.
    pub len: u64,
}

/// One end of a comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Compared {
    /// How it was read.
    pub side: SideReport,
    /// Byte at which its range starts.
    pub start: u64,
    /// Bytes of its range; `None` where its end was not seen.
    pub len: Option<u64>,
    /// Bytes of its range that were read: it has at least so many.
    pub seen: u64,
}

/// What a comparison found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Comparison {
    /// Bytes compared, from the start of the range on.
    pub bytes: u64,
    /// Time that it took.
    pub elapsed: Duration,
    /// The engine, and what it could not have.
    pub engine: EngineReport,
    /// Bytes of one request.
    pub block_len: u64,
    /// Requests in flight on each side, at most.
    pub depth: u32,
    /// Whether the observer stopped it before the end.
    pub interrupted: bool,
    /// Whether everything that both ranges have was compared, and nothing failed.
    pub complete: bool,
    /// The first end.
    pub a: Compared,
    /// The second end.
    pub b: Compared,
    /// The first ranges that differ, neighbouring blocks as one; at most 256.
    pub ranges: Vec<DifferingRange>,
    /// How many there are.
    pub ranges_count: u64,
    /// The bytes of all of them, whole blocks.
    pub differing_bytes: u64,
    /// The first byte that differs, counted from the start of the range.
    pub first_difference: Option<u64>,
}

impl Comparison {
    /// Says whether both ranges end at the same byte, as far as that is known.
    #[must_use]
    pub fn has_same_len(&self) -> bool {
        match (self.a.len, self.b.len) {
            (Some(a), Some(b)) => a == b,
            // Who goes on past the end of the other is longer.
            (Some(end), None) => self.b.seen <= end,
            (None, Some(end)) => self.a.seen <= end,
            (None, None) => true,
        }
    }

    /// Says whether all was compared, no byte differs, and both are of one length.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.complete && self.ranges_count == 0 && self.has_same_len()
    }
}

/// A comparison that failed, and how far it came.
#[derive(Debug)]
pub struct ComparisonFailure {
    /// What went wrong.
    pub error: CopyError,
    /// What was compared before; `None` where nothing was begun.
    pub report: Option<Box<Comparison>>,
}

impl From<CopyError> for ComparisonFailure {
    fn from(error: CopyError) -> Self {
        Self { error, report: None }
    }
}

impl fmt::Display for ComparisonFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for ComparisonFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
