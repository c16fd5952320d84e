//! Which blocks of a mebibyte differ: the source is read again and compared, where that can be done.

use super::super::compare::{DifferingRange, between};
use super::super::digest::{Checked, Run};
use super::super::ends::Ends;
use super::super::options::CopyOptions;
use super::super::reading::{How, Part};
use super::super::watch::Watch;
use crate::device::Device;

/// Returns the ranges that differ, counted from the start of the range: blocks where the source has them still, else whole runs.
pub(super) fn locate(
    ends: &Ends,
    destination: &dyn Device,
    checked: &Checked,
    options: &CopyOptions,
    how: &How,
    watch: &mut Watch<'_>,
) -> Vec<DifferingRange> {
    let mut ranges = Vec::new();
    for run in &checked.bad {
        let found = blocks(ends, destination, run, options, how, watch);
        for range in found.unwrap_or_else(|| vec![DifferingRange { at: run.at, len: run.len() }]) {
            join(&mut ranges, range);
        }
    }
    ranges
}

/// Returns the blocks of a run that differ from the source; `None` where that cannot say which.
fn blocks(
    ends: &Ends,
    destination: &dyn Device,
    run: &Run,
    options: &CopyOptions,
    how: &How,
    watch: &mut Watch<'_>,
) -> Option<Vec<DifferingRange>> {
    let source = &*ends.source;
    if source.is_stream() || watch.stopped {
        return None;
    }
    let part = |device, start: u64| {
        let start = start.saturating_add(run.at);
        Part { device, start, len: Some(run.len()), len_max: None }
    };
    let parts = [part(source, options.skip), part(destination, options.seek)];
    let how = How { block_len: how.block_len.min(run.len()), ..*how };
    let found = between(parts, &how, watch).ok()?;
    // A source that changed meanwhile may agree with anything, and a list that is cut names too little.
    let whole = found.ranges_count > 0
        && found.bytes == run.len()
        && u64::try_from(found.ranges.len()) == Ok(found.ranges_count);
    let ranges = found.ranges.into_iter();
    whole.then(|| {
        ranges.map(|range| DifferingRange { at: range.at.saturating_add(run.at), ..range }).collect()
    })
}

/// Adds a range, to the one before where they touch.
fn join(ranges: &mut Vec<DifferingRange>, range: DifferingRange) {
    match ranges.last_mut() {
        Some(last) if last.at.saturating_add(last.len) == range.at => {
            last.len = last.len.saturating_add(range.len);
        }
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Vec::new();
        for (at, len) in [(0, 512), (512, 512), (2048, 1), (2049, 4)] {
            join(&mut ranges, DifferingRange { at, len });
        }
        let found: Vec<_> = ranges.iter().map(|range| (range.at, range.len)).collect();
        assert_eq!(found, [(0, 1024), (2048, 5)]);
    }
}
