//! [`Lines`]: which cache lines have live mappings.
//!
//! When a device writes into a line, the CPU must neither write the line back nor keep an old copy, so nothing else
//! may be mapped in it. Lines that devices only read may be shared. Mappings that the device writes are kept apart
//! from those that it reads, so that the common sharing of the latter costs no look-up.

use alloc::vec::Vec;

use super::call::Span;
use super::spans::SpanIndex;
use crate::map::DmaDirection;

/// How many other mappings of one line a mapping that the device writes may have: the bound of Linux
/// (`kernel/dma/debug.c`, `ACTIVE_CACHELINE_MAX_OVERLAP`).
pub(super) const OVERLAPS_MAX: u64 = 7;

#[derive(Debug)]
pub(super) struct Lines {
    len: u64,
    written: SpanIndex,
    read: SpanIndex,
}

impl Lines {
    /// `len` is a power of two.
    pub(super) const fn new(len: u64) -> Self {
        Self { len, written: SpanIndex::new(), read: SpanIndex::new() }
    }

    pub(super) const fn line_len(&self) -> u64 {
        self.len
    }

    /// The whole lines that a mapping touches, in order and joined: within one mapping they may be shared.
    pub(super) fn of(&self, cpu: &[Span]) -> Vec<Span> {
        let mask = self.len.saturating_sub(1);
        let mut lines: Vec<(u64, u64)> = cpu
            .iter()
            .filter(|span| span.len != 0)
            .map(|span| (span.addr & !mask, span.last() | mask))
            .collect();
        lines.sort_unstable();
        let mut joined: Vec<Span> = Vec::new();
        for (first, last) in lines {
            match joined.last_mut() {
                Some(open) if first <= open.last().saturating_add(1) => {
                    open.len = len_of(open.addr, open.last().max(last));
                }
                _ => joined.push(Span::new(first, len_of(first, last))),
            }
        }
        joined
    }

    /// Returns the first line that another mapping must not have together with this one, and the other.
    pub(super) fn conflict(&self, lines: &[Span], direction: DmaDirection) -> Option<(u64, u64)> {
        let first_of = |index: &SpanIndex| {
            lines.iter().find_map(|span| {
                index
                    .touching(span.addr, span.last())
                    .map(|(start, _, owner)| (start.max(span.addr), owner.id))
                    .min()
            })
        };
        let written = first_of(&self.written);
        if direction == DmaDirection::ToDevice {
            return written;
        }
        [written, first_of(&self.read)].into_iter().flatten().min()
    }

    /// Returns a line that has most mappings that devices write, and how many; for a mapping that a device writes.
    pub(super) fn most_written(&self, lines: &[Span], direction: DmaDirection) -> Option<(u64, u64)> {
        if direction == DmaDirection::ToDevice {
            return None;
        }
        let mut edges: Vec<(u64, bool)> = Vec::new();
        for span in lines {
            for (start, end, _) in self.written.touching(span.addr, span.last()) {
                // At one address what ends there still counts: ends sort behind starts.
                edges.push((start.max(span.addr), false));
                edges.push((end.min(span.last()), true));
            }
        }
        edges.sort_unstable();
        let (mut open, mut most) = (0_u64, None);
        for (addr, ends) in edges {
            if ends {
                open = open.saturating_sub(1);
                continue;
            }
            open = open.saturating_add(1);
            if most.is_none_or(|(_, count)| open > count) {
                most = Some((addr, open));
            }
        }
        most
    }

    pub(super) fn insert(&mut self, lines: &[Span], direction: DmaDirection, id: u64) {
        self.index_mut(direction).insert_all(lines, id);
    }

    pub(super) fn remove(&mut self, lines: &[Span], direction: DmaDirection, id: u64) {
        self.index_mut(direction).remove_all(lines, id);
    }

    /// Iterates over the mappings with a byte in the line of `addr`.
    pub(super) fn containing(&self, addr: u64) -> impl Iterator<Item = u64> + '_ {
        self.written.containing(addr).chain(self.read.containing(addr)).map(|owner| owner.id)
    }

    fn index_mut(&mut self, direction: DmaDirection) -> &mut SpanIndex {
        match direction {
            DmaDirection::ToDevice => &mut self.read,
            DmaDirection::FromDevice | DmaDirection::Both => &mut self.written,
        }
    }
}

/// The whole 64-bit space is one byte longer than a length can say; that byte does not matter here.
const fn len_of(first: u64, last: u64) -> u64 {
    last.saturating_sub(first).saturating_add(1)
}
