//! The depth of a running copy: what the tuner hears, and the memory that it gets.
//!
//! Twice as many slots as the depth of a side are under way, so that both sides can be at full depth, and thrice where digests are made; one
//! more stays for the ragged ends.
//! Memory is added where a greater depth is tried, and not given back before the end.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::CopyOptions;
use super::super::ends::Ends;
use super::super::report::Report;
use super::super::setting::Setting;
use super::buffer::Buffer;
use super::slots::bytes_max;
use super::tuner::{DEPTH_START, Sample, Tuner};
use super::{EDGE_SLOTS, Pipeline};
use crate::engine::Stats;

/// Times that a queue must fit into the range: a shorter copy is over before a deeper queue has paid for its memory.
const RANGE_PART: u64 = 4;

/// Makes the tuner of a copy.
pub(in super::super) fn tuner(ends: &Ends, options: &CopyOptions) -> Tuner {
    let slot_len = ends.geometry.slot_len;
    if let Setting::Fixed(depth) = options.depth {
        return Tuner::fixed(depth, slot_len);
    }
    let by_memory = depth_in(bytes_max(), slot_len, options.hash.is_some() || options.verify);
    let by_len = ends.len.or(ends.len_max).and_then(|len| len.checked_div(slot_len));
    let by_len = by_len.map_or(u64::MAX, |chunks| (chunks / RANGE_PART).max(DEPTH_START.into()));
    let depth_max = u32::try_from(by_memory.min(by_len)).unwrap_or(u32::MAX);
    if ends.source.is_stream() && ends.destinations.iter().all(|end| end.device.is_stream()) {
        // The kernel moves them one transfer after the other.
        return Tuner::fixed(DEPTH_START.min(depth_max.max(1)), slot_len);
    }
    Tuner::searching(depth_max, slot_len)
}

/// Returns the depth whose slots, and those of the edges, fit into this much memory.
fn depth_in(memory: u64, slot_len: u64, digests: bool) -> u64 {
    let each = u64::try_from(slots_under_way(1, digests)).unwrap_or(u64::MAX);
    let slots = memory.checked_div(slot_len).map_or(each, |slots| slots.saturating_sub(EDGE_SLOTS));
    slots.checked_div(each).unwrap_or(1)
}

/// Returns the most slots that are under way at a depth: those of both sides, and as many again as one side has where digests are made.
pub(in super::super) fn slots_under_way(depth: u32, digests: bool) -> usize {
    let times = if digests { 3 } else { 2 };
    usize::try_from(depth).unwrap_or(usize::MAX).saturating_mul(times)
}

/// Returns how many slots a copy begins with: no more than it has chunks.
pub(in super::super) fn first_slots(ends: &Ends, options: &CopyOptions, depth: u32, digests: bool) -> u64 {
    let chunks = match ends.len.or(ends.len_max) {
        Some(len) => len.div_ceil(ends.geometry.slot_len).saturating_add(1),
        None => u64::MAX,
    };
    let under_way = match &options.buffer {
        Some(buffer) => buffer.slots(ends.geometry.slot_len),
        None => u64::try_from(slots_under_way(depth, digests)).unwrap_or(u64::MAX),
    };
    chunks.min(under_way).saturating_add(EDGE_SLOTS)
}

impl Pipeline<'_> {
    /// Returns how many slots may be under way: those of the buffer, where there is one, else what the depth needs.
    fn slots_wanted(&self) -> usize {
        let by_depth = || slots_under_way(self.tuner.depth(), self.digesting.is_some());
        self.buffer.as_ref().map_or_else(by_depth, Buffer::slots)
    }

    /// Says whether one more chunk may be under way.
    pub(in super::super) fn has_room(&self) -> bool {
        let edges = usize::try_from(EDGE_SLOTS).unwrap_or(1);
        let most = self.slots_wanted();
        self.pool.taken() < most.min(self.pool.len().saturating_sub(edges))
    }

    /// Lets the tuner hear how far the copy is, and gets memory for the depth that it wants.
    pub(in super::super) fn tune(&mut self) {
        let at = self.state.started.elapsed();
        if !self.tuner.listens(at) {
            return;
        }
        // The depth that there is memory for is not the one that is to be tried.
        let grown = self.pool.grown();
        if self.pool.is_growing() {
            return;
        }
        let under_way = u32::try_from(self.pool.taken()).unwrap_or(u32::MAX);
        // Holes and what the kernel copied were done before, and say nothing of a depth.
        let unmoved = self.holes.made_bytes().saturating_add(self.offload.bytes());
        let Stats { operations, operations_at_once, .. } = self.engine.stats();
        // A stream moves one transfer after the other: that nothing is left behind one says nothing of a queue.
        let has_stream =
            self.ends.source.is_stream() || self.ends.destinations.iter().any(|end| end.device.is_stream());
        let at_once = if has_stream { 0 } else { operations_at_once };
        let done = self.state.done().saturating_sub(unmoved);
        let sample = Sample { at, done, under_way, operations, at_once, busy: busy_time() };
        let edges = usize::try_from(EDGE_SLOTS).unwrap_or(1);
        let memory = match grown {
            Some(memory) => {
                self.tuner.settle(&sample);
                memory
            }
            None if self.tuner.hear(&sample) => self.pool.grow(self.slots_wanted().saturating_add(edges)),
            None => return,
        };
        if let Err(why) = memory {
            let depth = self.pool.len().saturating_sub(edges) / slots_under_way(1, self.digesting.is_some());
            let wanted = self.tuner.depth();
            self.tuner.bound(u32::try_from(depth).unwrap_or(u32::MAX));
            self.state.notes.push(format!("there is no memory for a depth of {wanted}: {why}"));
        }
        self.state.depth = self.tuner.depth();
    }

    /// Adds to a report what was found, and the memory that was added.
    pub(in super::super) fn tell_tuned(&self, report: &mut Report) {
        report.tuned = self.tuner.tuned();
        report.depth = report.tuned.map_or(report.depth, |tuned| tuned.depth);
        let more = self.pool.more_bytes();
        if more == 0 {
            return;
        }
        report.pool_bytes = report.pool_bytes.saturating_add(more);
        if report.registered_reason.is_empty() {
            report.registered_reason = format!(
                "{more} bytes came later, for a deeper queue, when registering would have stopped what was in flight"
            );
        }
    }
}

/// Returns the processor time of this thread.
fn busy_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_the_greatest_depth_fit_into_the_memory_with_digests_too() {
        const MEMORY: u64 = 128 << 20;
        for slot_len in [4096, 1 << 20, (1 << 20) + 4096, 5 << 20] {
            for digests in [false, true] {
                let bytes = |depth: u64| {
                    let depth = u32::try_from(depth).expect("a depth");
                    let slots = u64::try_from(slots_under_way(depth, digests)).expect("a small number");
                    (slots + EDGE_SLOTS) * slot_len
                };
                let depth = depth_in(MEMORY, slot_len, digests);
                assert!(depth > 0 && bytes(depth) <= MEMORY, "{depth} of {slot_len}, {digests}");
                assert!(
                    bytes(depth + 1) > MEMORY,
                    "{depth} of {slot_len}, {digests}: less than there is room for"
                );
            }
        }
        assert_eq!(depth_in(4096, 1 << 20, true), 0, "the tuner takes one all the same");
    }
}
