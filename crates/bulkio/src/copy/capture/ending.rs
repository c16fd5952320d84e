//! The end of a copy from a device with a clock: the destination is settled, both sides become one report, and one error is told.

use super::super::options::{CopyOptions, Phase};
use super::super::report::Closing;
use super::super::watch::Watch;
use super::super::{CopyError, CopyFailure, Report, SideReport};
use super::report::StreamReport;
use super::settle::Patch;
use super::sink::Sink;
use crate::device::filled::Filled;
use crate::pages::PagePool;

/// How the device's side ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) side: SideReport,
    pub(super) report: StreamReport,
    pub(super) error: Option<CopyError>,
    pub(super) notes: Vec<String>,
    /// Whether all that was asked for came: a stop after that interrupted nothing.
    pub(super) all: bool,
}

/// Settles the destination, with `patch` over what is there, and makes the report.
pub(super) fn finish<F: Filled, M>(
    mut sink: Sink<F, M>,
    ended: Ended,
    patch: impl FnOnce(u64) -> Patch,
    pool: &PagePool,
    options: &CopyOptions,
    watch: &mut Watch<'_>,
) -> Result<Report, CopyFailure> {
    let synced = sink.finish(options, patch, watch);
    watch.tell(Phase::Done, (0, 0));
    let Ended { mut side, report, error, notes, all } = ended;
    side.stream = Some(report);
    let engine = sink.engine.report().clone();
    let bytes = sink.whole_bytes();
    let (destination, sink_error) = sink.into_report();
    let error = error.or(sink_error);
    let report = Closing {
        bytes,
        elapsed: watch.started.elapsed(),
        engine,
        pool,
        block_len: u64::try_from(pool.slot_len()).unwrap_or(u64::MAX),
        depth: options.plain_depth(),
        synced,
        interrupted: watch.stopped && error.is_none() && !all,
        source: side,
        destination,
        destinations: Vec::new(),
        notes,
        rescue: None,
    };
    report.report().ended(error)
}
