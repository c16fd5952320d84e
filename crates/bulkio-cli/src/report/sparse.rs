//! What became of holes and zeros, and what the file system copied by itself, in a report.

use bulkio::copy::{OffloadKind, Report};
use serde::Serialize;

use crate::size::human;

#[derive(Serialize)]
pub(super) struct JsonSparse {
    /// Of the range.
    bytes: u64,
    kept_bytes: u64,
    punched_bytes: u64,
    discarded_bytes: u64,
    zeroed_bytes: u64,
    found_bytes: u64,
    filled_bytes: u64,
}

impl JsonSparse {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let sparse = report.sparse.as_ref()?;
        Some(Self {
            bytes: sparse.bytes,
            kept_bytes: sparse.kept_bytes,
            punched_bytes: sparse.punched_bytes,
            discarded_bytes: sparse.discarded_bytes,
            zeroed_bytes: sparse.zeroed_bytes,
            found_bytes: sparse.found_bytes,
            filled_bytes: sparse.filled_bytes,
        })
    }
}

#[derive(Serialize)]
pub(super) struct JsonOffload {
    kind: &'static str,
    bytes: u64,
}

impl JsonOffload {
    pub(super) fn of(report: &Report) -> Option<Self> {
        report.offload.map(|offload| Self { kind: offload.kind.name(), bytes: offload.bytes })
    }
}

/// Returns the line for people on what the file system copied.
pub(super) fn offload_line(report: &Report) -> Option<String> {
    report.offload.map(|offload| {
        let how = match offload.kind {
            OffloadKind::Reflink => "as shared blocks",
            _ => "by the kernel alone",
        };
        format!("offload     {} bytes {how}", offload.bytes)
    })
}

/// Returns the line for people, where zeros were left out.
pub(super) fn line(report: &Report) -> Option<String> {
    let sparse = report.sparse.as_ref()?;
    let ways = [
        (sparse.kept_bytes, "left as holes"),
        (sparse.punched_bytes, "punched"),
        (sparse.discarded_bytes, "discarded"),
        (sparse.zeroed_bytes, "zeroed"),
        (sparse.filled_bytes, "in holes written all the same"),
    ];
    let ways = ways.into_iter().filter(|(bytes, _)| *bytes > 0);
    let ways: Vec<String> = ways.map(|(bytes, how)| format!("{} {how}", human(bytes))).collect();
    let how = if ways.is_empty() { String::new() } else { format!(": {}", ways.join(", ")) };
    let all =
        if report.destinations.is_empty() || how.is_empty() { "" } else { ", of all destinations together" };
    Some(format!("sparse      {} bytes of zeros not written{how}{all}", sparse.bytes))
}
