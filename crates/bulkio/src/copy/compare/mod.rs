//! [`compare`]: two ends held against each other, and the ranges in which they differ.
//!
//! Both are read by direct I/O at a depth (`reading`), and compared on another core (`differences`). Nothing is opened for writing and no disk is
//! claimed. A pipe is read in order; of two ends of different lengths the common part is compared.

mod differences;
mod report;

use std::sync::atomic::AtomicU64;
use std::time::Instant;

pub(super) use differences::Differences;
pub use report::{Compared, Comparison, ComparisonFailure, DifferingRange};

use super::beside::Beside;
use super::options::{CopyOptions, End, Observer, Passthrough, Phase};
use super::pipeline::finish;
use super::reading::{How, Part, Reading, reference};
use super::watch::Watch;
use super::{CopyError, DirectMode, Side, ends};
use crate::device::Device;
use crate::engine::EngineChoice;

/// How two ends are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompareOptions {
    /// Bytes of one request, rounded up to what both ends need.
    pub block_len: u64,
    /// Requests in flight on each side; fewer where their memory would exceed 128 MiB, or an eighth of what is available.
    pub depth: u32,
    /// Bytes to leave out at the start of the first end.
    pub skip: u64,
    /// Bytes to leave out at the start of the second end.
    pub seek: u64,
    /// Most bytes to compare; all there are if `None`.
    pub count: Option<u64>,
    /// Which engine.
    pub engine: EngineChoice,
    /// What is wanted of direct I/O.
    pub direct: DirectMode,
    /// On which sides, the first being the source, a block device takes commands.
    pub passthrough: Passthrough,
}

impl Default for CompareOptions {
    fn default() -> Self {
        let copy = CopyOptions::default();
        Self {
            block_len: 1 << 20,
            depth: 8,
            skip: 0,
            seek: 0,
            count: None,
            engine: copy.engine,
            direct: copy.direct,
            passthrough: copy.passthrough,
        }
    }
}

impl CompareOptions {
    /// The options of a copy that opens one end as this comparison does: from `skip` on.
    fn opening(&self, skip: u64, commands: bool) -> CopyOptions {
        CopyOptions {
            skip,
            count: self.count,
            direct: self.direct,
            passthrough: Passthrough { source: commands, destination: false },
            ..CopyOptions::default()
        }
    }

    const fn how(&self) -> How {
        How { block_len: self.block_len, depth: self.depth, engine: self.engine }
    }
}

/// Compares two ends.
///
/// The observer hears of it as [`Phase::Verifying`], and can stop it.
///
/// ```
/// use bulkio::copy::{CompareOptions, End, Silent, compare};
///
/// # let folder = tempfile::tempdir()?;
/// # let (a, b) = (folder.path().join("a"), folder.path().join("b"));
/// std::fs::write(&a, [7; 10_000])?;
/// std::fs::write(&b, [7; 10_000])?;
/// let found = compare(End::Path(&a), End::Path(&b), &CompareOptions::default(), &mut Silent)?;
/// assert!(found.is_equal() && found.bytes == 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ComparisonFailure`]: an end was refused or could not be read, and what was compared before. That the ends differ is no error.
pub fn compare(
    a: End<'_>,
    b: End<'_>,
    options: &CompareOptions,
    observer: &mut dyn Observer,
) -> Result<Comparison, ComparisonFailure> {
    let CompareOptions { block_len, depth, skip, seek, count, .. } = *options;
    let (block_len, depth) = (block_len.into(), depth.into());
    CopyOptions { block_len, depth, skip, seek, count, ..CopyOptions::default() }.check()?;
    let (first, second) = (
        options.opening(options.skip, options.passthrough.source),
        options.opening(options.seek, options.passthrough.destination),
    );
    let (a, a_len) = open(a, &first)?;
    let (b, b_len) = open(b, &second)?;
    let parts = [
        Part { device: &*a, start: options.skip, len: a_len, len_max: options.count },
        Part { device: &*b, start: options.seek, len: b_len, len_max: options.count },
    ];
    let total = [a_len, b_len, options.count].into_iter().flatten().min();
    let done = AtomicU64::new(0);
    let mut watch = Watch::new(observer, &done, total);
    let compared = between(parts, &options.how(), &mut watch);
    watch.tell(Phase::Done, (0, 0));
    compared
}

fn open(end: End<'_>, options: &CopyOptions) -> Result<(Box<dyn Device>, Option<u64>), CopyError> {
    let device = ends::open_source_end(end, options)?;
    ends::require_direct_of(Side::Source, &*device, None, options)?;
    let len = ends::range_len(&*device, options)?;
    Ok((device, len))
}

/// Compares two ranges of open ends; the blocks are those of the second, or of the first where the second is a stream.
pub(super) fn between(
    parts: [Part<'_>; 2],
    how: &How,
    watch: &mut Watch<'_>,
) -> Result<Comparison, ComparisonFailure> {
    let [a, b] = parts;
    let mut reading = Reading::new(parts, how)?;
    watch.started = Instant::now();
    let blocks = reference(&parts).map_or((0, 1), |part| (part.start, part.block()));
    let differences = Differences::new(blocks.0, blocks.1);
    let beside = Beside::start("bulkio compare", differences, reading.slots(), reading.remote()?);
    let beside = beside.map_err(CopyError::NoThread)?;
    let read = reading.skip_streams(watch).and_then(|()| reading.run(&beside, watch));
    let found = beside.finish();
    let (error, found) = conclude(read, found);
    let complete = error.is_none() && reading.is_complete();
    // What was handed to a thread that panicked was perhaps not compared.
    let bytes = found.as_ref().map_or(0, |_| reading.front());
    let found = found.unwrap_or_else(|| Differences::new(0, 1));
    let elapsed = watch.started.elapsed();
    let side = |lane: usize, part: &Part<'_>| {
        let (len, seen) = reading.len_of(lane);
        let report = reading.side(lane).map(|side| finish::told(side, part.device));
        report.map(|side| Compared { side, start: part.start, len, seen })
    };
    let Some((a_side, b_side)) = side(0, &a).zip(side(1, &b)) else {
        return Err(CopyError::WorkThread.into());
    };
    let report = Comparison {
        bytes,
        elapsed,
        engine: reading.engine_report().clone(),
        block_len: reading.chunk_len(),
        depth: reading.depth(),
        interrupted: watch.stopped && !complete,
        complete,
        a: a_side,
        b: b_side,
        ranges: found.ranges,
        ranges_count: found.count,
        differing_bytes: found.bytes,
        first_difference: found.first,
    };
    match error {
        None => Ok(report),
        Some(error) => Err(ComparisonFailure { error, report: Some(Box::new(report)) }),
    }
}

/// Returns what went wrong, in reading or because the thread that compares panicked, and what it had found.
fn conclude<T>(read: Result<(), CopyError>, found: Option<T>) -> (Option<CopyError>, Option<T>) {
    match (read, found) {
        (Err(error), found) => (Some(error), found),
        (Ok(()), None) => (Some(CopyError::WorkThread), None),
        (Ok(()), found) => (None, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panicked_is_an_error() {
        assert!(matches!(conclude::<u8>(Ok(()), None), (Some(CopyError::WorkThread), None)));
        assert!(matches!(conclude(Ok(()), Some(7)), (None, Some(7))));
        let skipped = || CopyError::SkipPastEnd { path: "a".into(), len: 1, skip: 2 };
        assert!(matches!(conclude(Err(skipped()), Some(7)), (Some(CopyError::SkipPastEnd { .. }), Some(7))));
    }
}
