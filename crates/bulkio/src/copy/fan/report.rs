//! [`DestinationReport`]: what became of one of several destinations.

use super::super::{Report, SideReport, Verified};

/// What became of one of several destinations.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DestinationReport {
    /// How its bytes moved.
    pub side: SideReport,
    /// Bytes written, from the start of the range without a gap.
    pub bytes: u64,
    /// Bytes of these that are durable; 0 where nobody asked, where it is a stream, or where it failed.
    pub durable_bytes: u64,
    /// Whether it was made durable.
    pub synced: bool,
    /// What was found when it was read back, where it was.
    pub verified: Option<Verified>,
    /// Why it was dropped; `None` where it was not.
    pub failed: Option<DestinationFailure>,
}

/// Why a destination was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DestinationFailure {
    /// Byte of the range up to which nothing is known to be wrong.
    pub at: u64,
    /// What went wrong, in words.
    pub message: String,
}

impl Report {
    /// Returns those of several destinations that failed.
    pub fn failed_destinations(&self) -> impl Iterator<Item = (&DestinationReport, &DestinationFailure)> {
        self.destinations.iter().filter_map(|one| one.failed.as_ref().map(|failed| (one, failed)))
    }
}
