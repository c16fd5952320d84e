//! What became of each of several destinations, in a report.

use std::fmt::Write as _;

use bulkio::copy::{DestinationReport, Report};
use serde::Serialize;

use super::digest::JsonVerified;
use super::{JsonSide, side_json};

#[derive(Serialize)]
pub(super) struct JsonDestination<'a> {
    side: JsonSide<'a>,
    bytes: u64,
    durable_bytes: u64,
    synced: bool,
    /// `null` where nothing was read back.
    verified: Option<JsonVerified>,
    /// Byte of the range up to which nothing is known to be wrong; `null` where it did not fail.
    failed_at: Option<u64>,
    error: Option<&'a str>,
}

impl<'a> JsonDestination<'a> {
    /// `None` where there is one.
    pub(super) fn all(report: &'a Report) -> Option<Vec<Self>> {
        let several = !report.destinations.is_empty();
        several.then(|| report.destinations.iter().map(Self::of).collect())
    }

    fn of(destination: &'a DestinationReport) -> Self {
        let failed = destination.failed.as_ref();
        Self {
            side: side_json(&destination.side),
            bytes: destination.bytes,
            durable_bytes: destination.durable_bytes,
            synced: destination.synced,
            verified: destination.verified.as_ref().map(JsonVerified::of),
            failed_at: failed.map(|failed| failed.at),
            error: failed.map(|failed| &*failed.message),
        }
    }
}

/// Says how one of several destinations ended, for people.
pub(super) fn line(destination: &DestinationReport) -> String {
    let bytes = destination.bytes;
    match (&destination.failed, destination.synced) {
        (Some(failed), _) => {
            let at = failed.at;
            format!("FAILED at byte {at} of the range, {bytes} bytes were written: {}", failed.message)
        }
        (None, true) => format!("{bytes} bytes, durable"),
        (None, false) => format!("{bytes} bytes, not synced"),
    }
}

/// Says which of several destinations failed although the copy did not; `None` where none did.
pub(crate) fn failed_line(report: &Report) -> Option<String> {
    let failed: Vec<&str> = report.failed_destinations().map(|(failed, _)| &*failed.side.path).collect();
    if failed.is_empty() {
        return None;
    }
    let mut text = format!("{} of {} destinations failed:", failed.len(), report.destinations.len());
    for path in failed {
        let _ = write!(text, " {path}");
    }
    Some(text + "; the report says why")
}
