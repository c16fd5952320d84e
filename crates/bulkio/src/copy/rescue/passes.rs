//! The passes of a rescue: what is read next.
//!
//! A drive that fails may fail for good at any moment, and each bad block costs seconds. So large good areas come first: long reads from one
//! end to the other, leaving out more and more behind each failure; then from the other end what was left out. Only then come the edges of
//! what failed, the blocks between bad edges, and at last bad blocks again, the other way each time. Every block is read at most
//! twice before that: once in a long read and once by itself or in a piece.

use std::ops::Range;

use super::piece::Tried;
use super::{AreaStatus, OnError};
use crate::copy::map::RescuePhase;
use crate::copy::options::{CopyOptions, Observer};
use crate::copy::pipeline::Pipeline;
use crate::copy::pipeline::feed::Feed;
use crate::copy::{CopyError, Side};

/// The most that is left out behind a failure, as a part of the range: a hundredth.
const LEAVE_OUT_SHARE: u64 = 100;

/// Bytes of the pieces in which the edges of a failed read are looked for, before single blocks.
const PIECE_LEN: u64 = 64 << 10;

/// Which way a pass goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Forwards,
    Backwards,
}

impl Way {
    const fn back(self) -> Self {
        match self {
            Self::Forwards => Self::Backwards,
            Self::Backwards => Self::Forwards,
        }
    }

    fn feed(self, areas: Vec<Range<u64>>) -> Feed {
        match self {
            Self::Forwards => Feed::forwards(areas),
            Self::Backwards => Feed::backwards(areas),
        }
    }
}

impl Pipeline<'_> {
    /// Moves everything that can be read.
    pub(in crate::copy) fn rescue(&mut self, options: &CopyOptions, observer: &mut dyn Observer) {
        let wanted = &options.rescue;
        // Each pass has its own.
        self.feed = Feed::nothing();
        if wanted.on_error == OnError::Stop {
            // Nothing is gone around, so all that is not copied is read, and the first error ends it.
            self.with_rescue(|rescue| {
                rescue.reset(&[AreaStatus::Untrimmed, AreaStatus::Unscraped, AreaStatus::Bad])
            });
        }
        let way = if wanted.reverse { Way::Backwards } else { Way::Forwards };
        if self.sweeps(way, observer) && wanted.on_error != OnError::Stop {
            let retries = if wanted.on_error == OnError::Retry { wanted.retries } else { 0 };
            let _ = self.trims(observer) && self.scrapes(observer) && self.retries(way, retries, observer);
        }
        if self.state.ends() {
            self.end_rescue();
        } else {
            self.refuse_nothing_read();
        }
        self.state.tell_news(observer);
        for lost in self.state.rescue.as_ref().map(super::Rescue::lost).unwrap_or_default() {
            observer.lost(&lost);
        }
        if !self.state.ends() {
            self.fill_lost(wanted.lost, options.truncate, observer);
        }
        if !self.state.ends() {
            self.with_rescue(|rescue| {
                let position = rescue.map.stands().2;
                rescue.stand(RescuePhase::Finished, 1, position);
            });
        }
    }

    /// Reads all that nobody has tried, in long reads: a first time leaving out what lies behind failures, then all.
    fn sweeps(&mut self, way: Way, observer: &mut dyn Observer) -> bool {
        let (mut way, mut pass) = (way, 1_u32);
        loop {
            let areas = self.areas_of(AreaStatus::Untried);
            let Some(first) = areas.first() else { return true };
            // Only the first pass leaves something out, so the second leaves nothing; more come where a device that did not answer does again.
            let share = if pass == 1 { self.leave_out_max() } else { 0 };
            self.leave_out_bound = share;
            self.stand(RescuePhase::Copying, pass, first.start);
            if !self.sweep(way.feed(areas), observer) {
                return false;
            }
            (way, pass) = (way.back(), pass.saturating_add(1));
        }
    }

    fn leave_out_max(&self) -> u64 {
        // Whole slots, so that every pass cuts at the same places.
        let slot_len = self.ends.geometry.slot_len;
        let slots = self.state.len.unwrap_or(0).saturating_div(LEAVE_OUT_SHARE).checked_div(slot_len);
        slots.unwrap_or(0).max(1).saturating_mul(slot_len)
    }

    /// Reads what a feed gives, at full depth. Says whether all of it was tried.
    fn sweep(&mut self, feed: Feed, observer: &mut dyn Observer) -> bool {
        self.feed = feed;
        loop {
            self.transfer(observer);
            self.write_edges(observer);
            if self.state.ends() || !self.answers_if_doubted(observer) {
                return false;
            }
            if self.feed.is_empty() {
                return self.answers_at_end(observer);
            }
        }
    }

    /// Finds the edges of what failed in long reads.
    fn trims(&mut self, observer: &mut dyn Observer) -> bool {
        for area in self.areas_of(AreaStatus::Untrimmed) {
            self.stand(RescuePhase::Trimming, 1, area.start);
            let (mut area, block_len) = (area, self.block_len());
            let is_bad = |pipeline: &Self, at| pipeline.is_failed(at);
            if !area.start.checked_sub(1).is_some_and(|before| is_bad(self, before)) {
                let Some(at) = self.good_end(&area, Way::Forwards, block_len, observer) else { return false };
                area.start = at;
            }
            if area.start < area.end && !is_bad(self, area.end) {
                let Some(at) = self.good_end(&area, Way::Backwards, block_len, observer) else {
                    return false;
                };
                area.end = at;
            }
            self.with_rescue(|rescue| rescue.trimmed(&area));
        }
        self.answers_at_end(observer)
    }

    /// Says whether byte `at` of the range is known to be bad or to lie between bad edges.
    fn is_failed(&self, at: u64) -> bool {
        let status = self.state.rescue.as_ref().and_then(|rescue| {
            let at = rescue.range.start.saturating_add(at);
            rescue.map.status_at(at).filter(|_| at < rescue.range.end)
        });
        matches!(status, Some(AreaStatus::Bad | AreaStatus::Unscraped))
    }

    /// Reads from one edge of an area inwards, in pieces and then in blocks, to the first block that is bad; where the untried rest of the
    /// area begins (or ends) behind that block. `None` where nothing more can be done.
    fn good_end(
        &mut self,
        area: &Range<u64>,
        way: Way,
        block_len: u64,
        observer: &mut dyn Observer,
    ) -> Option<u64> {
        let mut rest = area.clone();
        let mut step = PIECE_LEN.max(block_len);
        while rest.start < rest.end {
            let piece = self.piece_at(&rest, way, step);
            match self.try_piece(&piece, AreaStatus::Untrimmed, observer) {
                Tried::Over => return None,
                Tried::Good => take(&mut rest, &piece, way),
                Tried::Failed { good } => {
                    let failed = piece.start.saturating_add(good)..piece.end;
                    if way == Way::Forwards {
                        rest.start = failed.start;
                    }
                    if step > block_len {
                        step = block_len;
                        continue;
                    }
                    self.with_rescue(|rescue| {
                        let failed = rescue.of_source(&failed);
                        rescue.map.set(failed, AreaStatus::Bad);
                    });
                    take(&mut rest, &piece, way);
                    break;
                }
            }
        }
        Some(if way == Way::Forwards { rest.start } else { rest.end })
    }

    /// Reads block by block what lies between bad edges.
    fn scrapes(&mut self, observer: &mut dyn Observer) -> bool {
        let areas = self.areas_of(AreaStatus::Unscraped);
        self.blocks(areas, (RescuePhase::Scraping, 1), Way::Forwards, observer)
    }

    /// Tries bad blocks again.
    fn retries(&mut self, way: Way, retries: u32, observer: &mut dyn Observer) -> bool {
        let mut way = way;
        for pass in 1..=retries {
            let areas = self.areas_of(AreaStatus::Bad);
            if areas.is_empty() {
                return true;
            }
            if !self.blocks(areas, (RescuePhase::Retrying, pass), way, observer) {
                return false;
            }
            way = way.back();
        }
        true
    }

    /// Reads areas block by block; what fails is bad.
    fn blocks(
        &mut self,
        areas: Vec<Range<u64>>,
        (phase, pass): (RescuePhase, u32),
        way: Way,
        observer: &mut dyn Observer,
    ) -> bool {
        let areas: Box<dyn Iterator<Item = Range<u64>>> = match way {
            Way::Forwards => Box::new(areas.into_iter()),
            Way::Backwards => Box::new(areas.into_iter().rev()),
        };
        let block_len = self.block_len();
        for area in areas {
            let mut rest = area;
            while rest.start < rest.end {
                let piece = self.piece_at(&rest, way, block_len);
                self.stand(phase, pass, piece.start);
                if self.try_piece(&piece, AreaStatus::Bad, observer) == Tried::Over {
                    return false;
                }
                take(&mut rest, &piece, way);
            }
        }
        self.answers_at_end(observer)
    }

    /// The copy ends early. What a device that went away could not read is not the medium's fault, and is tried again by who goes on.
    fn end_rescue(&mut self) {
        let is_reading = matches!(
            self.state.first_error(),
            Some(CopyError::SourceGone { .. } | CopyError::Transfer { side: Side::Source, .. })
        );
        if is_reading {
            self.with_rescue(super::Rescue::acquit);
        }
        if let Some(CopyError::SourceUnreadable { .. }) = self.state.first_error() {
            self.forget_failures();
        }
    }

    /// A source of which nothing at all can be read is no source with bad blocks.
    fn refuse_nothing_read(&mut self) {
        let Some(rescue) = &self.state.rescue else { return };
        let Some((failed, status)) = rescue.first_failure.clone().filter(|_| rescue.good_bytes() == 0) else {
            return;
        };
        let len = failed.end.saturating_sub(failed.start);
        let error = CopyError::transfer(Side::Source, &*self.ends.source, failed.start, len, status);
        self.state.fail(0, error);
        self.forget_failures();
    }

    /// Nothing was read, so perhaps it is not the medium at all: who goes on tries everything again.
    fn forget_failures(&mut self) {
        self.with_rescue(|rescue| {
            rescue.reset(&[AreaStatus::Untrimmed, AreaStatus::Unscraped, AreaStatus::Bad]);
            let first = rescue.first_failure.as_ref().map_or(rescue.range.start, |(failed, _)| failed.start);
            rescue.stand(RescuePhase::Copying, 1, first);
        });
    }
}

/// Takes a piece from the edge of a rest.
fn take(rest: &mut Range<u64>, piece: &Range<u64>, way: Way) {
    match way {
        Way::Forwards => rest.start = piece.end,
        Way::Backwards => rest.end = piece.start,
    }
}

impl Pipeline<'_> {
    /// The piece of about `len` bytes at the edge of an area; it ends at a multiple of that in the source, and lies within one slot.
    fn piece_at(&self, area: &Range<u64>, way: Way, len: u64) -> Range<u64> {
        let skip = self.ends.geometry.skip;
        let len = len.max(1);
        match way {
            Way::Forwards => {
                let next = skip.saturating_add(area.start).saturating_add(1).checked_next_multiple_of(len);
                let end = next.map_or(area.end, |next| next.saturating_sub(skip)).min(area.end);
                area.start..end.min(self.ends.geometry.next_cut(area.start))
            }
            Way::Backwards => {
                let last = skip.saturating_add(area.end).saturating_sub(1);
                let start = last.saturating_sub(last.checked_rem(len).unwrap_or(0)).saturating_sub(skip);
                start.max(area.start).max(self.ends.geometry.last_cut(area.end))..area.end
            }
        }
    }
}
