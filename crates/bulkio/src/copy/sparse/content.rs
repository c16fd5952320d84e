//! Zeros by content: what was read is searched for runs of zeros, which are not written.
//!
//! A chunk that holds such runs becomes several writes from one slot (`SlotShare`), one for each part between them; it is handed on for its digest when
//! the last of them is done. Runs are whole blocks of the destination, of [`HOLE_LEN_MIN`] bytes at least unless they are all of a request, so a run that
//! lies across two requests may leave its ends written.

use std::ops::Range;

use super::super::fan::Queued;
use super::super::geometry::{Chunk, Place, up};
use super::super::pipeline::Pipeline;
use super::HOLE_LEN_MIN;
use crate::pages::{Slot, SlotShare};

/// A chunk that is written in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    chunk: Chunk,
    /// Bytes from its start on of which no write failed.
    good: u64,
}

/// Compared with, a part at a time: the library does that faster than any loop.
static ZEROS: [u8; 4096] = [0; 4096];

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|part| ZEROS.get(..part.len()) == Some(part))
}

/// Returns the runs of zeros in bytes that lie at this position of the destination, as parts of the bytes.
pub(super) fn runs(bytes: &[u8], position: u64, grain: u64) -> Vec<Range<u64>> {
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let head = up(position, grain).saturating_sub(position);
    let mut runs: Vec<Range<u64>> = Vec::new();
    let blocks = usize::try_from(head).ok().and_then(|head| bytes.get(head..)).unwrap_or_default();
    let mut at = head;
    for block in blocks.chunks_exact(usize::try_from(grain).unwrap_or(usize::MAX)) {
        let end = at.saturating_add(grain);
        if is_zero(block) {
            match runs.last_mut() {
                Some(run) if run.end == at => run.end = end,
                _ => runs.push(at..end),
            }
        }
        at = end;
    }
    runs.retain(|run| run.end.saturating_sub(run.start) >= HOLE_LEN_MIN.min(len));
    runs
}

/// Returns the part of a slot that a place names.
fn bytes_of(slot: &Slot, place: Place) -> &[u8] {
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let end = place.slot_offset.saturating_add(place.len);
    slot.as_slice().get(index(place.slot_offset)..index(end)).unwrap_or_default()
}

impl Pipeline<'_> {
    /// Leaves zeros out of the write of a chunk: makes holes of them, and puts the parts between them into the queue. Gives the slot back where there is
    /// nothing to leave out. `padding` are zeros at the end of the place that are no part of the chunk.
    pub(in super::super) fn leave_out_zeros(
        &mut self,
        (chunk, len): (Chunk, u64),
        slot: Slot,
        (place, padding): (Place, u64),
    ) -> Option<Slot> {
        let Some(grain) = self.holes.content_grain() else { return Some(slot) };
        let runs = runs(bytes_of(&slot, place), place.position, grain);
        let made = self.make_holes_of(&runs, place, padding);
        if made.is_empty() {
            return Some(slot);
        }
        // What is put aside at both ends counts as written, as always.
        let start = place.position.saturating_sub(self.ends.geometry.seek);
        let valid = place.len.saturating_sub(padding);
        self.state.wrote(0, chunk.at, start.saturating_sub(chunk.at));
        let behind = start.saturating_add(valid);
        self.state.wrote(0, behind, chunk.at.saturating_add(len).saturating_sub(behind));

        let mut share = SlotShare::from(slot);
        let mut parts = Vec::new();
        for part in super::left_of(&made, place.len) {
            let offset = place.slot_offset.saturating_add(part.start);
            let part_len = part.end.saturating_sub(part.start);
            let moved = part.end.min(valid).saturating_sub(part.start);
            let at = start.saturating_add(part.start);
            let place = Place {
                position: place.position.saturating_add(part.start),
                slot_offset: offset,
                len: part_len,
            };
            let chunk = Chunk { number: chunk.number, at, len: moved, slot_offset: offset };
            let (one, other) = share.another();
            share = other;
            parts.push(Queued { chunk, len: moved, place, moved, share: one });
        }
        if let Some(slot) = share.into_slot() {
            // Nothing but zeros.
            self.digest(chunk, len, slot);
            return None;
        }
        self.holes.splits.insert(chunk.number, Split { chunk, good: len });
        self.state.writings.first_mut().queue.extend(parts);
        None
    }

    /// Makes holes of runs of a place, as far as the destination takes them; returns those that are.
    fn make_holes_of(&mut self, runs: &[Range<u64>], place: Place, padding: u64) -> Vec<Range<u64>> {
        let valid = place.len.saturating_sub(padding);
        let mut made = Vec::new();
        for run in runs {
            let (mut at, end) = (run.start, run.end.min(valid));
            while at < end {
                let from = place.position.saturating_add(at).saturating_sub(self.ends.geometry.seek);
                let done = self.zero_everywhere(from, end.saturating_sub(at));
                if done == 0 {
                    break;
                }
                self.holes.report.found_bytes = self.holes.report.found_bytes.saturating_add(done);
                at = at.saturating_add(done);
            }
            // The end of a run that is made up to its last valid byte holds padding, which needs no writing either.
            let at = if at >= end { run.end } else { at };
            if at > run.start {
                made.push(run.start..at);
            }
        }
        made
    }

    /// Records that a write is done which left `written` bytes of its chunk at the destination, and hands the slot on when nobody has it any more.
    pub(in super::super) fn slot_written(&mut self, chunk: Chunk, written: u64, slot: Option<Slot>) {
        let Some(split) = self.holes.splits.get_mut(&chunk.number) else {
            if let Some(slot) = slot {
                self.digest(chunk, written, slot);
            }
            return;
        };
        if written < chunk.len {
            let good = chunk.at.saturating_add(written).saturating_sub(split.chunk.at);
            split.good = split.good.min(good);
        }
        let Split { chunk: whole, good } = *split;
        if let Some(slot) = slot {
            self.holes.splits.remove(&chunk.number);
            self.digest(whole, good, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn found(position: u64, len: u64, grain: u64, ones: &[u64]) -> Vec<(u64, u64)> {
        let mut bytes = vec![0; len as usize];
        ones.iter().for_each(|at| bytes[*at as usize] = 1);
        runs(&bytes, position, grain).into_iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn runs_are_long_whole_blocks_of_the_destination() {
        assert_eq!(found(0, 128 * KIB, 4096, &[]), [(0, 128 * KIB)]);
        assert_eq!(found(0, 128 * KIB, 4096, &[64 * KIB]), [(0, 64 * KIB), (68 * KIB, 128 * KIB)]);
        assert_eq!(found(0, 128 * KIB, 4096, &[64 * KIB - 1]), [(0, 60 * KIB), (64 * KIB, 128 * KIB)]);
        // The ones leave one run that is long enough.
        assert_eq!(
            found(0, 128 * KIB, 4096, &[20 * KIB, 60 * KIB, 100 * KIB]),
            [(24 * KIB, 60 * KIB), (64 * KIB, 100 * KIB)]
        );
        // Blocks are those of the destination.
        assert_eq!(found(512, 128 * KIB, 4096, &[]), [(3584, 3584 + 124 * KIB)]);
        // All of a short request.
        assert_eq!(found(0, 8 * KIB, 4096, &[]), [(0, 8 * KIB)]);
        assert_eq!(found(0, 8 * KIB, 4096, &[5 * KIB]), []);
        assert_eq!(found(0, 100, 4096, &[]), []);
        assert_eq!(found(0, 0, 4096, &[]), []);
    }

    #[test]
    fn the_last_byte_of_a_block_counts() {
        for len in [1, 63, 4096, 4097, 266_240] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            bytes[len - 1] = 0x80;
            assert!(!is_zero(&bytes));
        }
    }
}
