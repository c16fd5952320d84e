//! One piece: read, and written if it is good.

use std::ops::Range;

use scatterlist::{Outcome, Status};

use super::{AreaStatus, Rescue};
use crate::copy::error::{self, CopyError};
use crate::copy::fan::Peer;
use crate::copy::geometry::Chunk;
use crate::copy::map::{AREAS_MAX, RescuePhase};
use crate::copy::options::{Observer, Phase};
use crate::copy::pipeline::Pipeline;
use crate::copy::pipeline::state::Filled;
use crate::pages::Slot;

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tried {
    /// It is copied.
    Good,
    /// It could not be read behind the first so many bytes, which are copied.
    Failed { good: u64 },
    /// Nothing more can be done; the error is recorded, or the copy was stopped.
    Over,
}

impl Pipeline<'_> {
    /// Reads a piece of the range, in bytes of it, and writes what is good; what is not becomes `as_what`.
    pub(super) fn try_piece(
        &mut self,
        piece: &Range<u64>,
        as_what: AreaStatus,
        observer: &mut dyn Observer,
    ) -> Tried {
        self.state.tell(observer, Phase::Copying, false);
        if self.state.ends() {
            return Tried::Over;
        }
        let Some(chunk) = self.ends.geometry.chunk(0, piece.start, piece.end) else { return Tried::Over };
        let Some((slot, outcome)) = self.read_chunk(&chunk, observer) else { return Tried::Over };
        let good = self.ends.geometry.valid(&chunk, outcome.done);
        if good > 0 {
            self.count_read(good);
            self.state.filled.push_back(Filled { chunk, slot, len: good });
        }
        // Also where nothing is to be written: the map may be due.
        self.transfer(observer);
        self.write_edges(observer);
        if self.state.failed() {
            return Tried::Over;
        }
        if good == chunk.len {
            self.with_rescue(Rescue::succeeded);
            return Tried::Good;
        }
        let status = outcome.fault.map_or(Status::Short, |fault| fault.status);
        let failed = piece.start.saturating_add(good)..piece.end;
        let source = &*self.ends.source;
        if !self.state.rescue.as_ref().is_some_and(|rescue| rescue.goes_around(source, status)) {
            let at = self.ends.geometry.read(&chunk).position;
            let fault = scatterlist::Fault { at: outcome.done, status };
            self.transfer_failed(Peer::Source, failed.start, at, outcome, fault);
            return Tried::Over;
        }
        let reason = error::reason(source, status);
        self.with_rescue(|rescue| rescue.failed(&failed, status, reason, as_what));
        if self.refuses_full_map(failed.start) {
            return Tried::Over;
        }
        if self.answers_if_doubted(observer) { Tried::Failed { good } } else { Tried::Over }
    }

    /// Reads a piece, for nothing but the answer.
    pub(super) fn read_piece(
        &mut self,
        piece: &Range<u64>,
        observer: &mut dyn Observer,
    ) -> Option<(Slot, Outcome)> {
        let chunk = self.ends.geometry.chunk(0, piece.start, piece.end)?;
        self.read_chunk(&chunk, observer)
    }

    fn read_chunk(&mut self, chunk: &Chunk, observer: &mut dyn Observer) -> Option<(Slot, Outcome)> {
        let slot = self.pool.take()?;
        self.read_place(self.ends.geometry.read(chunk), slot, observer)
    }

    pub(super) fn with_rescue(&mut self, change: impl FnOnce(&mut Rescue)) {
        if let Some(rescue) = &mut self.state.rescue {
            change(rescue);
        }
    }

    /// The areas of a status, in bytes of the range.
    pub(super) fn areas_of(&self, status: AreaStatus) -> Vec<Range<u64>> {
        self.state.rescue.as_ref().map_or_else(Vec::new, |rescue| rescue.areas_of(status))
    }

    pub(super) fn block_len(&self) -> u64 {
        self.state.rescue.as_ref().map_or(1, |rescue| rescue.block_len)
    }

    /// Notes what is done from now on, at byte `at` of the range.
    pub(super) fn stand(&mut self, phase: RescuePhase, pass: u32, at: u64) {
        self.with_rescue(|rescue| rescue.stand(phase, pass, rescue.range.start.saturating_add(at)));
    }

    /// Ends a copy whose map has as many areas as can be read again.
    fn refuses_full_map(&mut self, at: u64) -> bool {
        let is_full = self.state.rescue.as_ref().is_some_and(Rescue::is_full);
        if is_full {
            self.state.fail(at, CopyError::MapFull { max: AREAS_MAX });
        }
        is_full
    }

    /// Goes around a long read that failed behind `good` bytes of its chunk, if that is what is wanted.
    pub(in crate::copy) fn goes_around(&mut self, chunk: &Chunk, good: u64, status: Status) -> bool {
        let source = &*self.ends.source;
        let Some(rescue) = &mut self.state.rescue else { return false };
        if !rescue.goes_around(source, status) {
            return false;
        }
        let failed = chunk.at.saturating_add(good)..chunk.at.saturating_add(chunk.len);
        rescue.failed(&failed, status, error::reason(source, status), AreaStatus::Untrimmed);
        let is_full = rescue.is_full();
        // Out of a bad area as fast as possible: twice as far each time.
        let out =
            rescue.leave_out.saturating_mul(2).max(self.ends.geometry.slot_len).min(self.leave_out_bound);
        rescue.leave_out = out;
        if is_full && self.refuses_full_map(failed.start) {
            return true;
        }
        if out > 0 {
            // It stays untried, for the next pass.
            let _ = self.feed.leave_out(out);
        }
        true
    }
}
