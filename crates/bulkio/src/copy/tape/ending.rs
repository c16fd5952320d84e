//! The end of a copy with a tape: both sides' outcomes become one report, and the error that is told.

use super::super::options::{CopyOptions, Phase};
use super::super::report::Closing;
use super::super::watch::Watch;
use super::super::{CopyError, CopyFailure, Report, Side, SideReport};
use super::side::Ended;
use crate::device::tape::TapeError;
use crate::engine::EngineReport;
use crate::pages::PagePool;

/// What the report has beside both sides.
pub(super) struct Summary<'a> {
    pub(super) engine: EngineReport,
    pub(super) pool: &'a PagePool,
    pub(super) block_len: u64,
    pub(super) synced: bool,
    pub(super) notes: Vec<String>,
}

/// The end of the side opposite to `ended`: a device's, or another tape's.
pub(super) type Other = Result<Result<(), CopyError>, Option<TapeError>>;

/// Makes the report, and the error where there is one. `tape` is the side of `ended`, `other` is the other one.
pub(super) fn finish(
    watch: &mut Watch<'_>,
    options: &CopyOptions,
    summary: Summary<'_>,
    (other, other_end): (SideReport, Other),
    tape: Side,
    ended: Ended,
) -> Result<Report, CopyFailure> {
    watch.tell(Phase::Done, (0, 0));
    let Ended { report, error, notes, .. } = ended;
    let tape_error = error.map(|why| CopyError::Tape { side: tape, why });
    let other_error = match other_end {
        Ok(end) => end.err(),
        Err(error) => error.map(|why| CopyError::Tape { side: Side::Source, why }),
    };
    // What stopped the other side is told: a stop is no error of its own.
    let error = tape_error.or(other_error);
    let (source, destination) = if tape == Side::Source { (report, other) } else { (other, report) };
    let Summary { engine, pool, block_len, synced, notes: mut all_notes } = summary;
    all_notes.extend(notes);
    let bytes = watch.done_bytes();
    let report = Closing {
        bytes,
        elapsed: watch.started.elapsed(),
        engine,
        pool,
        block_len,
        depth: options.plain_depth(),
        synced,
        interrupted: watch.stopped && error.is_none() && watch.total_bytes != Some(bytes),
        source,
        destination,
        destinations: Vec::new(),
        notes: all_notes,
        rescue: None,
    };
    report.report().ended(error)
}
