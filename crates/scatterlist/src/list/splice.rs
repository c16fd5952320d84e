//! Joining two chains and splitting one: [`Chain::splice`] and [`Chain::split_off`].
//!
//! Splice keeps the two promises of the chain at the seam: chunks inside are dense, and small neighbours are
//! poured together. It moves at most one chunk's worth of entries, whatever the lengths.

use super::chain::Chain;
use super::chunk::{CHUNK_SEGMENTS_MAX, Chunk};
use super::{ListError, Totals};
use crate::Addr;

/// A split position that lies past the end of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot split a list of {bytes} bytes at byte {at}")]
pub struct SplitError {
    /// Bytes in the list.
    pub bytes: u64,
    /// The position that was asked for.
    pub at: u64,
}

impl<A: Addr> Chain<A> {
    /// Moves all of `other` to the end of this list. O(1): at most one chunk's worth of entries moves.
    ///
    /// # Errors
    /// [`ListError`] when the bytes would pass 64 bits; both lists are unchanged.
    pub(super) fn splice(&mut self, other: &mut Self) -> Result<(), ListError> {
        let Some(bytes) = self.bytes.checked_add(other.bytes) else {
            return Err(ListError { bytes: self.bytes, adding: other.bytes });
        };
        let Some(first) = other.first() else { return Ok(()) };
        let Some(open) = self.open else {
            core::mem::swap(self, other);
            return Ok(());
        };
        self.bytes = bytes;
        // Both counts are below the bytes, whose sum was just checked.
        let mut count = self.len_segments().wrapping_add(other.len_segments());
        let mut open = open;
        let mut first = Some(first);
        if let Some(joined) = first.and_then(|first| open.joined(first)) {
            count = count.saturating_sub(1);
            open = joined;
            other.pop_first();
            first = other.first();
        }
        if let Some(first) = first {
            // The seam: the open segment closes, and its join counts with its chunk.
            self.tail.totals.join(open.end(), first.addr().raw());
            if !self.tail.push_within(open) {
                self.push_beyond(open);
            }
            self.open = other.open.take();
            self.take_chunks(other);
        } else {
            self.open = Some(open);
        }
        self.set_len_segments(count);
        *other = Self::new();
        Ok(())
    }

    /// Moves the closed segments of `other` behind those of this list.
    fn take_chunks(&mut self, other: &mut Self) {
        let small = usize::try_from(other.len_segments()).is_ok_and(|count| count <= CHUNK_SEGMENTS_MAX / 2);
        if other.chain.is_empty() || small {
            for chunk in &other.chain {
                self.pour(chunk);
            }
            self.pour(&other.tail);
            return;
        }
        if let Some(front) = other.chain.front_mut() {
            if front.len().saturating_add(self.tail.len()) <= CHUNK_SEGMENTS_MAX {
                self.tail.extend(front.as_slice(), &front.totals);
                other.chain.pop_front();
            } else {
                front.make_dense();
            }
        }
        self.seal_tail();
        self.chain.append(&mut other.chain);
        self.bounds.widen(&other.bounds);
        self.tail = core::mem::replace(&mut other.tail, Chunk::new());
    }

    /// Copies a chunk's entries to the tail, sealing it where it fills up.
    fn pour(&mut self, chunk: &Chunk<A>) {
        let entries = chunk.as_slice();
        let room = CHUNK_SEGMENTS_MAX.saturating_sub(self.tail.len());
        match entries.split_at_checked(room) {
            Some((head, rest)) if !rest.is_empty() => {
                self.tail.extend(head, &Totals::of(head.iter().copied()));
                // The joins of the whole chunk, its first among them: a sound bound for either part.
                self.tail.totals.gap_bits |= chunk.totals.gap_bits;
                self.seal_tail();
                self.tail.extend(rest, &Totals::of(rest.iter().copied()));
                self.tail.totals.gap_bits |= chunk.totals.gap_bits;
            }
            _ => self.tail.extend(entries, &chunk.totals),
        }
    }

    /// Splits the list after `at` bytes: this list keeps the first `at`, the rest is returned.
    ///
    /// Walks chunks, not segments, and writes at most one chunk. Totals of both sides are sound bounds, those of the whole.
    ///
    /// # Errors
    /// [`SplitError`] when `at` lies past the end; the list is unchanged.
    pub(super) fn split_off(&mut self, at: u64) -> Result<Self, SplitError> {
        let Some(rest_bytes) = self.bytes.checked_sub(at) else {
            return Err(SplitError { bytes: self.bytes, at });
        };
        if at == 0 {
            return Ok(core::mem::replace(self, Self::new()));
        }
        let mut back = Self::new();
        if rest_bytes == 0 {
            return Ok(back);
        }
        let whole = self.len_segments();
        let closed_bytes = self.bytes.saturating_sub(self.open.map_or(0, |open| open.len()));
        back.open = self.open.take();
        let front = match at.checked_sub(closed_bytes) {
            // In the open segment: all chunks stay.
            Some(within) => match back.open.and_then(|open| open.split(within)) {
                Some((head, rest)) => {
                    (self.open, back.open) = (Some(head), Some(rest));
                    Front { segments: whole, cut: true }
                }
                None => Front { segments: whole.saturating_sub(1), cut: false },
            },
            None => self.split_chunks(at, &mut back),
        };
        if self.open.is_none() {
            self.reopen();
        }
        self.bytes = at;
        self.set_len_segments(front.segments);
        back.bytes = rest_bytes;
        back.set_len_segments(whole.saturating_add(u64::from(front.cut)).saturating_sub(front.segments));
        Ok(back)
    }

    /// Splits the closed segments after `at` bytes, a position before their end.
    fn split_chunks(&mut self, at: u64, back: &mut Self) -> Front {
        let mut before = 0_u64;
        let mut segments = 0_u64;
        let mut index = 0_usize;
        for chunk in &self.chain {
            let end = before.saturating_add(chunk.totals.bytes);
            if at < end {
                break;
            }
            before = end;
            segments = segments.saturating_add(chunk.totals.segments);
            index = index.saturating_add(1);
        }
        let within = at.saturating_sub(before);
        back.bounds = self.bounds;
        let cut_chunk = if index < self.chain.len() {
            back.chain = self.chain.split_off(index);
            core::mem::swap(&mut back.tail, &mut self.tail);
            back.chain.pop_front()
        } else {
            self.tail.recount();
            Some(core::mem::replace(&mut self.tail, Chunk::new()))
        };
        let Some(mut chunk) = cut_chunk else { return Front { segments, cut: false } };
        let mut cut = false;
        let rest = if within == 0 {
            core::mem::replace(&mut chunk, Chunk::new())
        } else {
            let (rest, inside) = chunk.split_off(within);
            cut = inside;
            rest
        };
        segments = segments.saturating_add(chunk.totals.segments);
        // A cut makes a new end and a new start, which the bounds of what was must cover too.
        back.bounds.widen(&rest.totals);
        if back.tail.is_empty() && back.chain.is_empty() {
            back.tail = rest;
        } else {
            back.chain.push_front(rest);
        }
        self.tail = chunk;
        Front { segments, cut }
    }

    /// Takes the last closed segment out as the open one.
    fn reopen(&mut self) {
        if self.tail.is_empty()
            && let Some(last) = self.chain.pop_back()
        {
            self.tail = last;
        }
        self.open = self.tail.pop_back();
    }
}

/// What a split left in the front list.
struct Front {
    segments: u64,
    /// Whether a segment was cut in two.
    cut: bool,
}
