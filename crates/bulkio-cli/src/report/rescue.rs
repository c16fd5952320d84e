//! What could not be read, in a report.

use bulkio::copy::{Report, RescueReport};
use serde::Serialize;

use crate::size::human;

/// Most ranges that people read; programs get all that are listed.
const SHOWN_MAX: usize = 10;

#[derive(Serialize)]
pub(super) struct JsonRescue {
    map: Option<String>,
    resumed_bytes: u64,
    lost_bytes: u64,
    lost_ranges: u64,
    lost: Vec<JsonLost>,
    untried_bytes: u64,
    zeroed_bytes: u64,
    healed_bytes: u64,
    failed_reads: u64,
    block_bytes: u64,
}

#[derive(Serialize)]
struct JsonLost {
    position: u64,
    bytes: u64,
}

impl JsonRescue {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let rescue = report.rescue.as_ref()?;
        Some(Self {
            map: rescue.map.as_ref().map(|path| path.display().to_string()),
            resumed_bytes: rescue.resumed_bytes,
            lost_bytes: rescue.lost_bytes,
            lost_ranges: rescue.lost_ranges,
            lost: rescue
                .lost
                .iter()
                .map(|lost| JsonLost { position: lost.position, bytes: lost.bytes })
                .collect(),
            untried_bytes: rescue.untried_bytes,
            zeroed_bytes: rescue.zeroed_bytes,
            healed_bytes: rescue.healed_bytes,
            failed_reads: rescue.failed_reads,
            block_bytes: rescue.block_len,
        })
    }
}

/// Says in a few words what is lost; `None` where nothing is.
pub(super) fn lost(report: &Report) -> Option<String> {
    let RescueReport { lost_bytes, lost_ranges, untried_bytes, .. } = *report.rescue.as_ref()?;
    let ranges = if lost_ranges == 1 { "range" } else { "ranges" };
    let lost =
        (lost_bytes > 0).then(|| format!("{lost_bytes} bytes in {lost_ranges} {ranges} cannot be read"));
    let untried = (untried_bytes > 0).then(|| format!("{untried_bytes} bytes were not tried"));
    let parts: Vec<String> = lost.into_iter().chain(untried).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns the lines for people.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let Some(rescue) = &report.rescue else { return Vec::new() };
    let mut lines = Vec::new();
    if rescue.resumed_bytes > 0 {
        lines.push(format!("{} bytes were copied before, by the map", rescue.resumed_bytes));
    }
    if rescue.failed_reads > 0 {
        lines.push(format!(
            "{} reads failed, {} bytes were read after they had been bad, {} zeroed in the destination",
            rescue.failed_reads, rescue.healed_bytes, rescue.zeroed_bytes
        ));
    }
    for lost in rescue.lost.iter().take(SHOWN_MAX) {
        let last = lost.position.saturating_add(lost.bytes).saturating_sub(1);
        let block = |byte: u64| byte.checked_div(rescue.block_len).unwrap_or(0);
        lines.push(format!(
            "lost        {} at byte {}, blocks {} to {} of {} bytes",
            human(lost.bytes),
            lost.position,
            block(lost.position),
            block(last),
            rescue.block_len,
        ));
    }
    let more =
        rescue.lost_ranges.saturating_sub(u64::try_from(rescue.lost.len().min(SHOWN_MAX)).unwrap_or(0));
    if more > 0 {
        lines.push(format!("lost        {more} more ranges"));
    }
    if let Some(map) = &rescue.map {
        lines.push(format!("map         {}", map.display()));
    }
    lines
}
