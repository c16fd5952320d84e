//! Whether a device of which reads fail answers at all: what a device that is gone cannot read is not bad.
//!
//! A block that could be read before must be readable. Where none could be, blocks all over the range are tried, once: a device that opens and fails
//! every read would be worked through block by block otherwise.

use std::ops::Range;

use rustix::fs::{Advice, fadvise};
use scatterlist::Status;

use super::{FAILURES_MAX, Rescue};
use crate::copy::CopyError;
use crate::copy::options::{Observer, Phase};
use crate::copy::pipeline::Pipeline;

/// So many blocks are tried all over the range.
const SPREAD: u64 = 16;

/// So many blocks that could be read must fail where only a few reads failed before.
const WITNESSES_MIN: usize = 2;

impl Rescue {
    /// Says whether so much has failed in a row that the device must be asked whether it answers.
    pub(in crate::copy) fn doubts(&self) -> bool {
        self.suspects.len() >= FAILURES_MAX
    }

    /// Blocks that could be read: the last one that answered, the first and the last of all, and one in the middle. A device of which all fail is gone.
    fn witnesses(&self) -> Vec<Range<u64>> {
        let good = self.areas_of(super::AreaStatus::Good);
        let front = |area: &Range<u64>| area.start..area.end.min(area.start.saturating_add(self.block_len));
        let back = |area: &Range<u64>| area.end.saturating_sub(self.block_len).max(area.start)..area.end;
        let last = self.answered.clone();
        let places =
            [last, good.last().map(back), good.first().map(front), good.get(good.len() / 2).map(front)];
        let mut found = Vec::with_capacity(places.len());
        for place in places.into_iter().flatten() {
            if !found.contains(&place) {
                found.push(place);
            }
        }
        found
    }

    /// Says whether something could be read, be it elsewhere and long ago.
    fn has_good(&self) -> bool {
        self.map.areas_of(super::AreaStatus::Good).next().is_some()
    }

    /// Blocks at equal distances, from the last of the range to the first.
    fn spread(&self) -> Vec<Range<u64>> {
        let Range { start, end } = self.range;
        let last = end.saturating_sub(1);
        let step = last.saturating_sub(start).checked_div(SPREAD.saturating_sub(1)).unwrap_or(0);
        let block = |number: u64| {
            let place = last.saturating_sub(step.saturating_mul(number)).max(start);
            let first = place.saturating_sub(place.checked_rem(self.block_len).unwrap_or(0));
            let behind = first.saturating_add(self.block_len).min(end);
            first.max(start).saturating_sub(start)..behind.saturating_sub(start)
        };
        let mut blocks: Vec<_> = (0..SPREAD).map(block).collect();
        blocks.dedup();
        blocks
    }
}

/// What blocks said for their device.
enum Said {
    /// This one could be read.
    Readable(Range<u64>),
    /// None could be; the last, and how it failed.
    Failed(Range<u64>, Status),
    /// Nothing, for the copy ends.
    Over,
}

impl Pipeline<'_> {
    /// Asks a device of which much failed in a row whether it answers. Says whether to go on.
    pub(super) fn answers_if_doubted(&mut self, observer: &mut dyn Observer) -> bool {
        !self.state.rescue.as_ref().is_some_and(Rescue::doubts) || self.answers(observer)
    }

    /// Asks it also when a pass is over, about whatever failed last: a device may go away when little is left.
    pub(super) fn answers_at_end(&mut self, observer: &mut dyn Observer) -> bool {
        self.state.rescue.as_ref().is_none_or(|rescue| rescue.suspects.is_empty()) || self.answers(observer)
    }

    fn answers(&mut self, observer: &mut dyn Observer) -> bool {
        let Some(rescue) = &self.state.rescue else { return true };
        // More may have been in flight.
        let failures = rescue.suspects.len().min(FAILURES_MAX);
        let witnesses = rescue.witnesses();
        let has_witness = !witnesses.is_empty();
        if !rescue.doubts() && witnesses.len() < WITNESSES_MIN {
            // A few failures, and nothing that tells: one weak block is no verdict.
            return true;
        }
        if !has_witness && rescue.has_good() {
            // Only a bad part is tried, of a source that could be read elsewhere.
            self.with_rescue(|rescue| rescue.suspects.clear());
            return true;
        }
        let blocks = if has_witness { witnesses } else { rescue.spread() };
        let (source, skip) = (&*self.ends.source, self.ends.geometry.skip);
        match self.ask(&blocks, observer) {
            Said::Readable(block) => {
                self.with_rescue(|rescue| {
                    rescue.suspects.clear();
                    rescue.answered = Some(block);
                });
                true
            }
            Said::Failed(block, status) => {
                let error = if has_witness {
                    CopyError::source_gone(source, skip.saturating_add(block.start), failures, status)
                } else {
                    CopyError::source_unreadable(source, failures, blocks.len(), status)
                };
                self.state.fail(block.start, error);
                false
            }
            Said::Over => false,
        }
    }

    /// Reads blocks until one is good.
    fn ask(&mut self, blocks: &[Range<u64>], observer: &mut dyn Observer) -> Said {
        let mut said = Said::Over;
        for block in blocks {
            self.state.tell(observer, Phase::Copying, false);
            if self.state.ends() {
                return Said::Over;
            }
            self.forget_cached(block);
            let Some((_, outcome)) = self.read_piece(block, observer) else { return Said::Over };
            match outcome.fault {
                None => return Said::Readable(block.clone()),
                Some(fault) => said = Said::Failed(block.clone(), fault.status),
            }
        }
        said
    }

    /// Drops what the page cache holds of a block, which would answer for a device that is gone.
    fn forget_cached(&self, block: &Range<u64>) {
        if self.read_bounce.is_some() {
            let at = self.ends.geometry.skip.saturating_add(block.start);
            let len = std::num::NonZeroU64::new(block.end.saturating_sub(block.start));
            // It is a wish; at worst the question is asked in vain.
            let _ = fadvise(self.ends.source.routes().buffered(), at, len, Advice::DontNeed);
        }
    }
}
