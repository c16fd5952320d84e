//! A copy that keeps account of each area of the source: it goes around what cannot be read, comes back to find exactly which blocks
//! those are, and can be ended at any moment and gone on with.
//!
//! [`Rescue`] is the account. `start` opens the map and checks that it fits both ends; `passes` decide what is read next: long reads of
//! everything first, then the edges of what failed, then single blocks, then those again; `piece` moves one piece; `doubt` asks whether
//! the source answers at all; `saving` keeps the map on
//! disk, which never says that a byte is copied before it is durable; `fill` zeroes what is lost.

mod doubt;
mod fill;
mod options;
mod passes;
mod piece;
mod report;
mod saving;
mod start;

use std::ops::Range;

use rustix::io::Errno;
use scatterlist::Status;

pub use options::{LostBytes, MapOptions, OnError, RescueOptions};
pub use report::{LOST_RANGES_MAX, LostRange, ReadFailure, RescueProgress, RescueReport};
pub(super) use start::check_kind;

use super::map::{AREAS_MAX, AreaStatus, RecoveryMap, RescuePhase};
use super::options::Observer;
use crate::device::Device;
use report::lost_areas;
use saving::Saver;

/// So many reads in a row fail before the device is asked whether it answers at all.
const FAILURES_MAX: usize = 16;

/// The account of a copy.
#[derive(Debug)]
pub(super) struct Rescue {
    map: RecoveryMap,
    /// The range, in bytes of the source.
    range: Range<u64>,
    /// Whether what cannot be read is gone around.
    skips: bool,
    saver: Option<Saver>,
    /// Whether something was done since a save began.
    has_news: bool,
    /// What failed since a read succeeded.
    suspects: Vec<Range<u64>>,
    /// A block that could be read when the device was asked last, in bytes of the copied range.
    answered: Option<Range<u64>>,
    /// What the first pass leaves out behind the next failure.
    leave_out: u64,
    resumed_bytes: u64,
    zeroed_bytes: u64,
    healed_bytes: u64,
    failed_reads: u64,
    /// Those of them that nobody was told of.
    untold: Vec<ReadFailure>,
    /// A flush failed, so it is not known any more what is durable.
    flush_failed: bool,
    block_len: u64,
    /// The first read that failed, as a byte of the source.
    first_failure: Option<(Range<u64>, Status)>,
}

impl Rescue {
    /// A range from bytes of the copied range to bytes of the source.
    fn of_source(&self, range: &Range<u64>) -> Range<u64> {
        let place = |at: u64| self.range.start.saturating_add(at);
        place(range.start)..place(range.end)
    }

    /// The areas of a status within the range, in bytes of the copied range.
    fn areas_of(&self, status: AreaStatus) -> Vec<Range<u64>> {
        let place = |at: u64| at.clamp(self.range.start, self.range.end).saturating_sub(self.range.start);
        let areas = self.map.areas_of(status).map(|area| place(area.start)..place(area.end));
        areas.filter(|area| area.start < area.end).collect()
    }

    fn bytes_of(&self, status: AreaStatus) -> u64 {
        let areas = self.areas_of(status).into_iter();
        areas.map(|area| area.end.saturating_sub(area.start)).fold(0, u64::saturating_add)
    }

    /// Bytes of the range that are copied.
    pub(super) fn good_bytes(&self) -> u64 {
        self.bytes_of(AreaStatus::Good)
    }

    /// Says whether byte `at` of the copied range is copied.
    pub(super) fn is_good(&self, at: u64) -> bool {
        self.map.status_at(self.range.start.saturating_add(at)) == Some(AreaStatus::Good)
    }

    /// Records that a part of the copied range is written.
    pub(super) fn wrote(&mut self, range: &Range<u64>) {
        let range = self.of_source(range);
        if self.map.status_at(range.start) == Some(AreaStatus::Bad) {
            self.healed_bytes = self.healed_bytes.saturating_add(range.end.saturating_sub(range.start));
        }
        self.map.set(range, AreaStatus::Good);
        self.has_news = true;
    }

    /// Records that a part that was taken for written is not.
    pub(super) fn unwrote(&mut self, range: &Range<u64>) {
        let range = self.of_source(range);
        self.map.set(range, AreaStatus::Untried);
        self.has_news = true;
    }

    /// Records a read that brought all it was asked for.
    pub(super) fn succeeded(&mut self) {
        self.suspects.clear();
        self.leave_out = 0;
    }

    /// Records a part of the copied range that could not be read, with the reason in words.
    fn failed(&mut self, range: &Range<u64>, status: Status, reason: String, as_what: AreaStatus) {
        let range = self.of_source(range);
        let (phase, pass, _) = self.map.stands();
        let LostRange { position, bytes } = LostRange::of(&range);
        self.untold.push(ReadFailure { position, bytes, phase, pass, status, reason });
        self.failed_reads = self.failed_reads.saturating_add(1);
        self.first_failure.get_or_insert_with(|| (range.clone(), status));
        self.suspects.push(range.clone());
        self.map.set(range, as_what);
        self.has_news = true;
    }

    /// Tells the observer of the reads that failed since.
    pub(super) fn tell(&mut self, observer: &mut dyn Observer) {
        for failure in self.untold.drain(..) {
            observer.read_failed(&failure);
        }
    }

    /// Says whether a read that failed so is gone around.
    pub(super) fn goes_around(&self, device: &dyn Device, status: Status) -> bool {
        // block/blk-core.c, blk_errors: a link, a target, a time-out, a checksum.
        let passing = [Errno::NOLINK, Errno::REMOTEIO, Errno::TIMEDOUT, Errno::ILSEQ];
        let is_passing =
            passing.into_iter().any(|errno| status == Status::Errno(errno.raw_os_error().unsigned_abs()));
        self.skips && (is_passing || device.is_bad_block(status))
    }

    /// What has one of these statuses is to be tried again from the beginning.
    fn reset(&mut self, statuses: &[AreaStatus]) {
        for status in statuses {
            for area in self.areas_of(*status) {
                let area = self.of_source(&area);
                self.map.set(area, AreaStatus::Untried);
            }
        }
    }

    /// The edges of an area are found; what is still unknown lies between bad ones.
    fn trimmed(&mut self, area: &Range<u64>) {
        for rest in self.areas_of(AreaStatus::Untrimmed) {
            let rest = rest.start.max(area.start)..rest.end.min(area.end);
            if rest.start < rest.end {
                let rest = self.of_source(&rest);
                self.map.set(rest, AreaStatus::Unscraped);
            }
        }
    }

    /// Says whether the map has as many areas as one that is read may have.
    pub(super) fn is_full(&self) -> bool {
        // One failure makes two more at most.
        self.map.len_areas() >= AREAS_MAX.saturating_sub(2)
    }

    /// All that is lost, however much it is.
    fn lost(&self) -> Vec<LostRange> {
        lost_areas(&self.map, &self.range).iter().map(LostRange::of).collect()
    }

    /// What failed since a read succeeded was not the medium's fault.
    fn acquit(&mut self) {
        for range in core::mem::take(&mut self.suspects) {
            self.map.set(range, AreaStatus::Untried);
        }
    }

    pub(super) fn progress(&self) -> RescueProgress {
        let (phase, pass, _) = self.map.stands();
        let lost = lost_areas(&self.map, &self.range).into_iter();
        let failed_bytes = lost.map(|area| area.end.saturating_sub(area.start)).fold(0, u64::saturating_add);
        RescueProgress { phase, pass, failed_bytes }
    }

    pub(super) fn report(&self) -> RescueReport {
        let lost = lost_areas(&self.map, &self.range);
        RescueReport {
            map: self.saver.as_ref().map(|saver| saver.path().to_owned()),
            resumed_bytes: self.resumed_bytes,
            lost_bytes: lost.iter().map(|area| LostRange::of(area).bytes).fold(0, u64::saturating_add),
            lost_ranges: u64::try_from(lost.len()).unwrap_or(u64::MAX),
            lost: lost.iter().take(LOST_RANGES_MAX).map(LostRange::of).collect(),
            untried_bytes: self.bytes_of(AreaStatus::Untried),
            zeroed_bytes: self.zeroed_bytes,
            healed_bytes: self.healed_bytes,
            failed_reads: self.failed_reads,
            block_len: self.block_len,
            phase: self.map.stands().0,
        }
    }

    /// Where the destination ends, in bytes of the range. With a map all of it has its place, for who goes on.
    pub(super) fn reach(&self) -> u64 {
        if self.saver.is_some() || self.map.stands().0 == RescuePhase::Finished {
            return self.range.end.saturating_sub(self.range.start);
        }
        self.areas_of(AreaStatus::Good).last().map_or(0, |area| area.end)
    }

    /// Says whether all passes are over, or everything is copied.
    pub(super) fn is_over(&self) -> bool {
        let (start, end) = (self.range.start, self.range.end);
        self.map.stands().0 == RescuePhase::Finished || self.good_bytes() == end.saturating_sub(start)
    }

    /// Notes what is done from now on.
    fn stand(&mut self, phase: RescuePhase, pass: u32, position: u64) {
        self.map.stand(phase, pass, position);
        self.has_news = true;
    }
}
