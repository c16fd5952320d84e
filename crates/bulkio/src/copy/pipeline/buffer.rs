//! [`Buffering`]: memory between ends that are fast by turns, with watermarks.
//!
//! Whoever sets it wants the destination to run for long and to stand for long, not to start for every request: a network behind a pipe, a disk
//! that sleeps, a link that is shared. Writing begins when the buffer is full to one mark and pauses when it is empty to another; what
//! it pauses for is only ever a read that is in flight. Tapes have marks of their own (`tape`).

use super::super::CopyError;
use super::super::gate::{Gate, Marks};
use super::{EDGE_SLOTS, Pipeline};

/// Memory between both ends of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffering {
    /// Its bytes; two requests at least.
    pub len: u64,
    /// How full it is, in percent, when writing begins and goes on; with 0 whatever is there is written.
    pub start_percent: u8,
    /// How full it is, in percent, when writing pauses; less than [`start_percent`](Self::start_percent), or 0.
    pub pause_percent: u8,
}

/// What a buffer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Buffered {
    /// Its bytes: whole requests.
    pub len: u64,
    /// How often writing began.
    pub starts: u64,
    /// Most bytes that waited in it to be written.
    pub filled_max: u64,
}

/// The largest.
const LEN_MAX: u64 = 1 << 40;

/// The fewest slots: one is read into while another one is written from.
const SLOTS_MIN: u64 = 2;

impl Buffering {
    /// Makes a buffer of `len` bytes of which whatever is there is written.
    #[must_use]
    pub const fn of(len: u64) -> Self {
        Self { len, start_percent: 0, pause_percent: 0 }
    }

    pub(in super::super) fn check(&self) -> Result<(), CopyError> {
        let range = CopyError::check_option;
        range("buffer", self.len, 1, LEN_MAX)?;
        range("buffer's fill to start at, in percent", self.start_percent.into(), 0, 100)?;
        let pause_max = u64::from(self.start_percent).saturating_sub(1);
        range("buffer's fill to pause at, in percent", self.pause_percent.into(), 0, pause_max)
    }

    /// Returns how many slots it is.
    pub(in super::super) fn slots(&self, slot_len: u64) -> u64 {
        self.len.checked_div(slot_len).unwrap_or(0).max(SLOTS_MIN)
    }
}

/// The buffer of a running copy.
#[derive(Debug)]
pub(in super::super) struct Buffer {
    gate: Gate,
    slots: usize,
    slot_len: u64,
    filled_max: usize,
}

impl Buffer {
    /// Makes it of the slots that a pool has beside those for ragged ends.
    pub(in super::super) fn new(wanted: Buffering, pool_slots: usize, slot_len: u64) -> Self {
        let slots = pool_slots.saturating_sub(usize::try_from(EDGE_SLOTS).unwrap_or(1));
        let marks = Marks::new(slots, wanted.start_percent, wanted.pause_percent);
        Self { gate: Gate::new(marks), slots, slot_len, filled_max: 0 }
    }

    /// Returns its slots.
    pub(in super::super) const fn slots(&self) -> usize {
        self.slots
    }

    fn told(&self) -> Buffered {
        let bytes = |slots: usize| u64::try_from(slots).unwrap_or(u64::MAX).saturating_mul(self.slot_len);
        Buffered { len: bytes(self.slots), starts: self.gate.starts(), filled_max: bytes(self.filled_max) }
    }
}

impl Pipeline<'_> {
    /// Says whether what was read may be written now.
    pub(in super::super) fn may_write(&mut self) -> bool {
        // Without a read in flight nothing more comes before something is written: the source has ended, or there is no room.
        let is_all = self.state.reads == 0 || self.state.ends();
        let filled = self.state.waiting();
        self.buffer.as_mut().is_none_or(|buffer| {
            buffer.filled_max = buffer.filled_max.max(filled);
            buffer.gate.may_run(filled, is_all)
        })
    }

    /// Returns what the buffer did, where there is one.
    pub(in super::super) fn buffered(&self) -> Option<Buffered> {
        self.buffer.as_ref().map(Buffer::told)
    }
}
