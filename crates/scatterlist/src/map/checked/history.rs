//! [`History`]: the mappings that were unmapped last, so that a finding can say when an address was last good.
//!
//! Bounded in mappings by the options and in segments by a constant; the oldest go first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::call::Span;
use super::finding::Freed;

/// Most bus segments that the mappings remembered have together.
const SPANS_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct History {
    freed: VecDeque<(Freed, Vec<Span>)>,
    freed_max: usize,
    spans: usize,
}

impl History {
    pub(super) const fn new(freed_max: usize) -> Self {
        Self { freed: VecDeque::new(), freed_max, spans: 0 }
    }

    pub(super) fn push(&mut self, freed: Freed, bus: Vec<Span>) {
        self.spans = self.spans.saturating_add(bus.len());
        self.freed.push_back((freed, bus));
        while self.freed.len() > self.freed_max || self.spans > SPANS_MAX {
            let Some((_, bus)) = self.freed.pop_front() else { break };
            self.spans = self.spans.saturating_sub(bus.len());
        }
    }

    /// Returns the mapping that had the byte at `addr` last.
    pub(super) fn last_at(&self, addr: u64) -> Option<Freed> {
        let found = self.freed.iter().rev().find(|(_, bus)| bus.iter().any(|span| span.contains(addr)));
        found.map(|(freed, _)| *freed)
    }
}
