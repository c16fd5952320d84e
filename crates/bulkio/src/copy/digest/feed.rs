//! From the pipeline to the thread that makes digests, and slots back.

use super::super::CopyError;
use super::super::beside::Beside;
use super::super::geometry::Chunk;
use super::super::options::{Observer, Phase};
use super::super::pipeline::{Op, Pipeline, WAIT};
use super::{Digested, Digests, Piece, Written};
use crate::engine::Engine;
use crate::pages::{Slot, SlotShare};

/// Starts the thread; it wakes `engine` when slots come back that are waited for.
pub(in super::super) fn start(
    digests: Digests,
    slots_max: usize,
    engine: &mut Engine<SlotShare, Op>,
) -> Result<Beside<Digests>, CopyError> {
    let remote = engine.remote().map_err(CopyError::Wake)?;
    Beside::start("bulkio hash", digests, slots_max, remote).map_err(CopyError::NoThread)
}

impl Pipeline<'_> {
    /// Hands a chunk on of which `len` bytes are written; without digests its slot is free at once.
    pub(in super::super) fn digest(&self, chunk: Chunk, len: u64, slot: Slot) {
        if let Some(digesting) = &self.digesting {
            let piece = Piece { at: chunk.at, len, slot, slot_offset: chunk.slot_offset };
            digesting.push((chunk.at, Written::Piece(piece)));
        }
    }

    /// Says that the destination has this many zeros at byte `at` of the range.
    pub(in super::super) fn digest_zeros(&self, at: u64, len: u64) {
        if let Some(digesting) = self.digesting.as_ref().filter(|_| len > 0) {
            digesting.push((at, Written::Zeros(len)));
        }
    }

    /// Says whether one more chunk may be under way, once more after the thread that makes digests was told to wake this one.
    pub(in super::super) fn has_room_after_all(&mut self) -> bool {
        let Some(digesting) = &self.digesting else { return false };
        digesting.wants_slots();
        self.starved = !self.has_room();
        !self.starved
    }

    /// Says whether nothing is in flight because written chunks wait for their digests: then slots come back, and wake the engine.
    pub(in super::super) fn is_starved(&self) -> bool {
        let Some(digesting) = self.digesting.as_ref().filter(|_| self.starved) else {
            return false;
        };
        if digesting.is_idle() && !self.has_room() {
            // Nothing is under way any more: what is waited for was lost, and never comes.
            digesting.skip_gap();
        }
        true
    }

    /// Takes a slot for a single transfer, while no chunk is in flight.
    pub(in super::super) fn spare_slot(&self) -> Option<Slot> {
        self.pool.take().or_else(|| {
            self.digesting.as_ref()?.settle();
            self.pool.take()
        })
    }

    /// Ends the thread, and returns what it made: `None` where nothing was wanted, or where it panicked, which is then recorded.
    pub(in super::super) fn take_digests(&mut self, observer: &mut dyn Observer) -> Option<Digested> {
        let digesting = self.digesting.take()?;
        // Only zeros that nobody read can keep it busy for long.
        while !digesting.settle_for(WAIT) {
            self.state.tell(observer, Phase::Flushing, true);
            self.holes.hurry(self.state.ends());
        }
        let digested = digesting.finish().map(Digests::finish);
        if digested.is_none() {
            self.state.fail(self.state.front(), CopyError::WorkThread);
        }
        digested
    }
}
