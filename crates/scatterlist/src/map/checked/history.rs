//! [`History`]: the mappings that were unmapped last, so that a finding can say when an address was last good.
//!
//! Bounded in mappings by the options and in segments by a constant; the oldest go first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::call::Span;
use super::finding::Freed;

/// Most segments, of either side, that the mappings remembered have together.
const SPANS_MAX: usize = 8_192;

#[derive(Debug)]
pub(super) struct History {
    gone: VecDeque<Gone>,
    freed_max: usize,
    spans: usize,
}

#[derive(Debug)]
struct Gone {
    freed: Freed,
    cpu: Vec<Span>,
    bus: Vec<Span>,
}

impl Gone {
    fn spans(&self) -> usize {
        self.cpu.len().saturating_add(self.bus.len())
    }
}

impl History {
    pub(super) const fn new(freed_max: usize) -> Self {
        Self { gone: VecDeque::new(), freed_max, spans: 0 }
    }

    pub(super) fn push(&mut self, freed: Freed, cpu: Vec<Span>, bus: Vec<Span>) {
        let gone = Gone { freed, cpu, bus };
        self.spans = self.spans.saturating_add(gone.spans());
        self.gone.push_back(gone);
        while self.gone.len() > self.freed_max || self.spans > SPANS_MAX {
            let Some(gone) = self.gone.pop_front() else { break };
            self.spans = self.spans.saturating_sub(gone.spans());
        }
    }

    /// Returns the mapping that had the byte of the bus at `addr` last.
    pub(super) fn last_at(&self, addr: u64) -> Option<Freed> {
        self.last(addr, |gone| &gone.bus)
    }

    /// Returns the mapping that had the byte of memory at `addr` last.
    pub(super) fn last_at_cpu(&self, addr: u64) -> Option<Freed> {
        self.last(addr, |gone| &gone.cpu)
    }

    fn last(&self, addr: u64, side: impl Fn(&Gone) -> &[Span]) -> Option<Freed> {
        let found = self.gone.iter().rev().find(|gone| side(gone).iter().any(|span| span.contains(addr)));
        found.map(|gone| gone.freed)
    }
}
