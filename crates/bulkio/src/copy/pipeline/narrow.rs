//! A failed read, narrowed: which blocks cannot be read, and what lies before them.
//!
//! A request that meets a bad block fails as a whole, or up to an unknown place; the blocks before the bad one are good, and belong
//! into the copy. When all else has ended, the failed request is read again in halves down to the block; what is good is written,
//! and the run of bad blocks is followed to its end, within the range and a bound. The error then names exactly these bytes.

use scatterlist::{Direction, Outcome, Position, Status};

use super::super::fan::Peer;
use super::super::geometry::{Chunk, Place};
use super::super::options::Observer;
use super::super::{CopyError, Side};
use super::Pipeline;
use super::single::Single;
use super::state::Filled;
use crate::pages::Slot;

/// Most blocks of a bad run that are tried: each may cost a drive seconds.
const BAD_BLOCKS_MAX: u64 = 64;

/// A read that failed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct FailedRead {
    pub(in super::super) chunk: Chunk,
    /// Bytes of the chunk that are good for certain.
    pub(in super::super) done: u64,
}

impl Pipeline<'_> {
    /// Narrows the failed read that is furthest in front, if bad blocks are why.
    pub(in super::super) fn narrow(&mut self, observer: &mut dyn Observer) {
        let Some(failed) = self.state.failed_read.take() else { return };
        let source = &*self.ends.source;
        if self.state.stopped || source.is_stream() {
            return;
        }
        let Some(CopyError::Transfer { side: Side::Source, status, .. }) = self.state.first_error() else {
            return;
        };
        if !source.is_bad_block(*status) {
            return;
        }
        let block = self.ends.geometry.block();
        let Some(good) = self.first_bad(failed, block, observer) else { return };
        let start = failed.chunk.at.saturating_add(good);
        let position = self.ends.geometry.skip.saturating_add(start);
        let Some(end) = self.bad_end(position, block, observer) else { return };
        self.state.found_bad(start, position, end.saturating_sub(position), block);
    }

    /// Returns the byte of the failed request's chunk at which its first bad block begins; `None` where everything can be read after all, or
    /// nothing more can be done.
    fn first_bad(&mut self, failed: FailedRead, block: u64, observer: &mut dyn Observer) -> Option<u64> {
        let chunk = failed.chunk;
        let (mut good, mut bad) = (failed.done, chunk.len);
        // Where a device names the block, it is the one behind what was done.
        let mut next = good.saturating_add(self.rest_of_block(&chunk, good, block)).min(bad);
        let mut failed = false;
        while good < bad && !(failed && bad <= good.saturating_add(self.rest_of_block(&chunk, good, block))) {
            if self.state.stopped {
                return None;
            }
            match self.read_again(&chunk, good, next, observer)? {
                Ok(()) => (good, failed) = (next, false),
                Err(done) => (good, bad, failed) = (good.saturating_add(done), next, true),
            }
            next = self.middle(&chunk, good, bad, block);
        }
        (good < bad).then_some(good)
    }

    /// Returns the byte of the source at which the bad blocks end that one at `position` begins, as far as the range and patience go.
    fn bad_end(&mut self, position: u64, block: u64, observer: &mut dyn Observer) -> Option<u64> {
        let range_end = self.ends.geometry.skip.saturating_add(self.bound().unwrap_or(u64::MAX));
        let before = position.checked_rem(block).unwrap_or(0);
        let mut end = position.saturating_sub(before).saturating_add(block);
        for _ in 1..BAD_BLOCKS_MAX {
            if end >= range_end || self.state.stopped {
                break;
            }
            let slot = self.spare_slot()?;
            let place = Place { position: end, slot_offset: 0, len: block };
            let (_, outcome) = self.read_place(place, slot, observer)?;
            // A good block behind the bad ones is not copied: the copy ends here. So does the source.
            if outcome.done > 0 || outcome.fault.is_none() {
                break;
            }
            end = end.saturating_add(block);
        }
        Some(end.min(range_end))
    }

    /// Returns the bytes from byte `at` of a chunk to the end of its block.
    fn rest_of_block(&self, chunk: &Chunk, at: u64, block: u64) -> u64 {
        let position = self.ends.geometry.skip.saturating_add(chunk.at).saturating_add(at);
        block.saturating_sub(position.checked_rem(block).unwrap_or(0))
    }

    /// Returns the end of a block in the middle of a range, or the end of the range where that lies in its first block.
    fn middle(&self, chunk: &Chunk, good: u64, bad: u64, block: u64) -> u64 {
        let first = self.rest_of_block(chunk, good, block);
        if bad <= good.saturating_add(first) {
            return bad;
        }
        let blocks = bad.saturating_sub(good).saturating_sub(first).div_ceil(block);
        good.saturating_add(first).saturating_add(blocks.saturating_div(2).saturating_mul(block)).min(bad)
    }

    /// Reads bytes `from..to` of a chunk again and writes what is good. The bytes that were good, where not all were; `None`
    /// where nothing more can be done.
    fn read_again(
        &mut self,
        chunk: &Chunk,
        from: u64,
        to: u64,
        observer: &mut dyn Observer,
    ) -> Option<Result<(), u64>> {
        let part = part(chunk, from, to);
        let slot = self.spare_slot()?;
        let (slot, outcome) = self.read_place(self.ends.geometry.read(&part), slot, observer)?;
        let done = self.ends.geometry.valid(&part, outcome.done);
        let whole = done == part.len;
        if done > 0 {
            self.count_read(done);
            self.state.filled.push_back(Filled { chunk: part, slot, len: done });
            self.transfer(observer);
            // What could not be written must not be taken for copied, and nothing may follow it.
            if !self.state.is_written(part.at.saturating_add(done)) {
                return None;
            }
        }
        Some(if whole { Ok(()) } else { Err(done) })
    }

    /// Reads a part of the source; `None` where nothing more can be done.
    pub(in super::super) fn read_place(
        &mut self,
        place: Place,
        slot: Slot,
        observer: &mut dyn Observer,
    ) -> Option<(Slot, Outcome)> {
        let Place { position, slot_offset, len } = place;
        let (peer, direction, position) = (Peer::Source, Direction::FromDevice, Position::At(position));
        let single = Single { peer, file: self.from, direction, position, slot_offset, len };
        let read = self.transfer_one(slot, single, observer)?;
        let cancelled = read.1.fault.is_some_and(|fault| fault.status == Status::Cancelled);
        (!cancelled).then_some(read)
    }
}

/// Returns bytes `from..to` of a chunk as a chunk of their own.
const fn part(chunk: &Chunk, from: u64, to: u64) -> Chunk {
    Chunk {
        number: chunk.number,
        at: chunk.at.saturating_add(from),
        len: to.saturating_sub(from),
        slot_offset: chunk.slot_offset.saturating_add(from),
    }
}
