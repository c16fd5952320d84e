//! [`Bounce`]: one operation with pieces that must go through other memory.
//!
//! The planner says which pieces of an operation go where they are and which do not; here the latter get a place in a slot.
//! The slot is aligned to a page, and what is laid into it to every granularity of the limits, so it suits any position.
#![expect(unsafe_code, reason = "names bytes of the slot that travels with them")]

use scatterlist::plan::{Piece, Why};
use scatterlist::{CpuAddr, LimitId, Limits};

use super::memory::Memory;
use crate::pages::Slot;

/// The memory of an operation that is copied, and what stands for it.
#[derive(Debug)]
pub(super) struct Bounce {
    slot: Slot,
    /// What is copied from or to: the operation's memory as the caller gave it.
    origin: Memory,
    copies: Vec<Copied>,
    pub(super) why: Option<Why>,
}

/// Bytes of an operation that lie in its slot.
#[derive(Clone, Copy, Debug)]
struct Copied {
    /// Where they belong, counted from the start of the operation.
    at: u64,
    slot_at: u64,
    len: u64,
}

impl Bounce {
    /// Lays the pieces that cannot go where they are into `slot`, and returns the operation's memory.
    ///
    /// Where alignment would spread them over more than the slot, the whole operation goes through it: `slot` holds the
    /// longest one.
    ///
    /// # Errors
    /// The slot, if not even that fits, which the limits of bounced plans rule out.
    pub(super) fn new(
        origin: Memory,
        pieces: &[Piece<CpuAddr>],
        slot: Slot,
        limits: &Limits,
    ) -> Result<(Self, Memory), Slot> {
        let why = pieces.iter().find_map(|piece| match piece {
            Piece::Bounce(bounce) => Some(bounce.why),
            Piece::Direct(_) => None,
        });
        let slot_len = u64::try_from(slot.len()).unwrap_or(u64::MAX);
        let len = origin.len();
        let all = || (len <= slot_len).then(|| vec![Copied { at: 0, slot_at: 0, len }]);
        let Some(copies) = lay_out(pieces, slot_len, limits).or_else(all) else { return Err(slot) };
        let bounce = Self { slot, origin, copies, why };
        match bounce.operation(pieces) {
            Some(memory) => Ok((bounce, memory)),
            None => Err(bounce.slot),
        }
    }

    /// Joins the slot's pieces and the direct ones, in order.
    fn operation(&self, pieces: &[Piece<CpuAddr>]) -> Option<Memory> {
        let part = |copied: &Copied| {
            // SAFETY: the slot travels with the operation's completion, and is looked at when that came back.
            unsafe { Memory::of_slot(&self.slot, copied.slot_at, copied.len) }.ok()
        };
        if let [all] = &*self.copies
            && all.len == self.origin.len()
        {
            return part(all);
        }
        let mut memory = Memory::empty();
        let mut copies = self.copies.iter();
        for piece in pieces {
            match piece {
                Piece::Direct(segment) => memory.append(*segment),
                Piece::Bounce(_) => memory.join(part(copies.next()?)?),
            }
        }
        Some(memory)
    }

    /// Copies the caller's bytes into the slot, before a write.
    pub(super) fn fill(&mut self) {
        for copied in &self.copies {
            if let Some(bytes) = range(self.slot.as_mut_slice(), *copied, u64::MAX) {
                self.origin.read_at(copied.at, bytes);
            }
        }
    }

    /// Copies what was read, the first `done` bytes of the operation, to where it belongs. Returns the bytes copied.
    pub(super) fn empty(&mut self, done: u64) -> u64 {
        let mut sum = 0;
        for copied in &self.copies {
            let valid = done.saturating_sub(copied.at);
            if let Some(bytes) = range(self.slot.as_mut_slice(), *copied, valid) {
                self.origin.write_at(copied.at, bytes);
                sum += bytes.len() as u64;
            }
        }
        sum
    }

    /// Returns how many of the first `done` bytes of the operation lie in the slot.
    pub(super) fn copied_bytes(&self, done: u64) -> u64 {
        self.copies
            .iter()
            .fold(0, |sum, copied| sum.saturating_add(done.saturating_sub(copied.at).min(copied.len)))
    }

    /// Gives the slot and the caller's memory of the operation back.
    pub(super) fn into_parts(self) -> (Slot, Memory) {
        (self.slot, self.origin)
    }
}

/// Returns the place of copied bytes in the slot, at most the first `valid`.
fn range(slot: &mut [u8], copied: Copied, valid: u64) -> Option<&mut [u8]> {
    let start = usize::try_from(copied.slot_at).ok()?;
    let len = usize::try_from(copied.len.min(valid)).ok()?;
    slot.get_mut(start..)?.get_mut(..len).filter(|bytes| !bytes.is_empty())
}

/// Gives each bounced piece a place; `None` where they do not fit.
fn lay_out(pieces: &[Piece<CpuAddr>], slot_len: u64, limits: &Limits) -> Option<Vec<Copied>> {
    let align = [LimitId::AddrAlign, LimitId::PieceLenAlign, LimitId::GapBoundary]
        .into_iter()
        .map(|limit| limits.hard_value(limit))
        .fold(1, u64::max);
    let (mut at, mut slot_at) = (0_u64, 0_u64);
    let mut copies = Vec::new();
    for piece in pieces {
        let len = piece.len_bytes();
        if matches!(piece, Piece::Bounce(_)) {
            if slot_at.checked_add(len)? > slot_len {
                return None;
            }
            copies.push(Copied { at, slot_at, len });
            slot_at = slot_at.checked_add(len)?.checked_next_multiple_of(align)?;
        }
        at = at.checked_add(len)?;
    }
    Some(copies)
}
