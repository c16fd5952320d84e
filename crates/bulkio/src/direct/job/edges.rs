//! The ragged ends of a job: how they go, their blocks, and the bytes of the caller in them.
#![expect(unsafe_code, reason = "names bytes of slots that the job keeps")]

use scatterlist::{Direction, Status};

use super::super::cover::{EdgeWay, edge_ways};
use super::super::file::Target;
use super::super::memory::Memory;
use super::{Cause, Job, Operation, Phase, Role, Step, Supplies, Want};
use crate::pages::Slot;

/// A first or last block of which only a part belongs to the transfer.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) way: EdgeWay,
    /// The caller's bytes of that block.
    pub(super) memory: Memory,
    pub(super) len: u64,
    /// Where they lie in the block.
    pub(super) at: u64,
    /// Where the block starts.
    pub(super) block: u64,
    /// The whole block, unless it goes through the page cache.
    pub(super) slot: Option<Slot>,
    /// Whether its block has been asked for.
    pub(super) asked: bool,
}

impl Job {
    /// Cuts the memory at the ragged ends and finds out how these go. False where a slot is missing.
    pub(super) fn prepare(&mut self, supplies: &mut dyn Supplies) -> bool {
        if self.target == Target::Cached {
            self.phase = Phase::Body;
            return true;
        }
        let block = self.file.block();
        let (head_len, tail_len) = (self.cover.head_len(block), self.cover.tail_len(block));
        let way = |len: u64| if len > 0 { EdgeWay::Modify } else { EdgeWay::None };
        let mut ways = (way(head_len), way(tail_len));
        if self.direction == Direction::ToDevice && (head_len > 0 || tail_len > 0) {
            match self.file.size() {
                Ok(size) => {
                    ways = edge_ways(&self.cover, block, size, self.file.is_edge_readable());
                    self.serial = Some(self.cover.end > size);
                }
                Err(errno) => {
                    self.give_up(Cause::Status(Status::Errno(errno)));
                    return true;
                }
            }
        }
        let mut slots = [None, None];
        for (slot, way) in slots.iter_mut().zip([ways.0, ways.1]) {
            if way == EdgeWay::Modify {
                *slot = supplies.take(Want::Block(block));
                if slot.is_none() {
                    // Both or none: whoever keeps one and waits for the other may wait for its like.
                    slots.into_iter().flatten().for_each(|slot| supplies.give(slot));
                    return false;
                }
            }
        }
        self.cut(ways, head_len, tail_len, slots);
        self.phase = match self.direction {
            Direction::FromDevice => Phase::Body,
            Direction::ToDevice => Phase::Edges,
        };
        true
    }

    /// Takes the ragged ends off the memory, and puts their blocks in their place where they have slots.
    fn cut(&mut self, ways: (EdgeWay, EdgeWay), head_len: u64, tail_len: u64, slots: [Option<Slot>; 2]) {
        let block = self.file.block();
        let mut user = core::mem::replace(&mut self.rest, Memory::empty());
        let [head_slot, tail_slot] = slots;
        self.position = self.cover.lo;
        if head_len > 0 {
            let (lo, at) = (self.cover.lo, self.cover.start.saturating_sub(self.cover.lo));
            let memory = user.take_front(head_len);
            let edge =
                Edge { way: ways.0, memory, len: head_len, at, block: lo, slot: head_slot, asked: false };
            match edge.whole(block) {
                Some(whole) => self.rest.join(whole),
                None => self.position = lo.saturating_add(block),
            }
            self.head = Some(edge);
        }
        let middle_len = user.len().saturating_sub(tail_len);
        self.rest.join(user.take_front(middle_len));
        if tail_len > 0 {
            let lo = self.cover.hi.saturating_sub(block);
            let edge = Edge {
                way: ways.1,
                memory: user,
                len: tail_len,
                at: 0,
                block: lo,
                slot: tail_slot,
                asked: false,
            };
            if let Some(whole) = edge.whole(block) {
                self.rest.join(whole);
            }
            self.tail = Some(edge);
        }
    }

    /// Reads the blocks that are to be changed, both at once.
    pub(super) fn next_edge(&mut self) -> Option<Step> {
        let block = self.file.block();
        let blocks = [&self.head, &self.tail].into_iter().flatten().filter(|edge| edge.slot.is_some());
        let alone = blocks.count() == 1;
        let edges = [&mut self.head, &mut self.tail];
        for edge in edges.into_iter().flatten() {
            if edge.asked || !self.stops.is_empty() {
                continue;
            }
            let Some(memory) = edge.whole(block) else { continue };
            edge.asked = true;
            self.in_flight = self.in_flight.saturating_add(1);
            return Some(Step::Issue(Operation {
                direction: Direction::FromDevice,
                target: Target::Direct,
                position: edge.block,
                memory,
                role: Role::Edge,
                bounce: None,
                alone,
            }));
        }
        (self.in_flight > 0).then_some(Step::Wait)
    }

    /// Changes the blocks that were read.
    pub(super) fn edges_read(&mut self) {
        if self.settle_stops() {
            self.phase = Phase::Done;
            return;
        }
        for edge in [&mut self.head, &mut self.tail].into_iter().flatten() {
            edge.change();
        }
        self.phase = Phase::Head;
    }

    /// Writes a ragged end through the page cache, straight from the caller's memory.
    pub(super) fn next_cached(&mut self) -> Option<Step> {
        let edge = if self.phase == Phase::Head { &mut self.head } else { &mut self.tail };
        if let Some(edge) = edge
            && edge.way == EdgeWay::Cache
            && !edge.asked
            && self.stops.is_empty()
        {
            edge.asked = true;
            self.in_flight = self.in_flight.saturating_add(1);
            let memory = edge.memory.take_front(edge.len);
            return Some(Step::Issue(Operation {
                direction: Direction::ToDevice,
                target: Target::Cached,
                position: edge.block.saturating_add(edge.at),
                memory,
                role: Role::Body,
                bounce: None,
                alone: true,
            }));
        }
        (self.in_flight > 0).then_some(Step::Wait)
    }

    /// Past the end of a file there are zeros.
    pub(super) fn clear_edge(&mut self, position: u64, done: u64) {
        let edges = [&mut self.head, &mut self.tail];
        let edge = edges.into_iter().flatten().find(|edge| edge.block == position);
        let slot = edge.and_then(|edge| edge.slot.as_mut());
        if let Some(bytes) =
            slot.and_then(|slot| slot.as_mut_slice().get_mut(usize::try_from(done).unwrap_or(0)..))
        {
            bytes.fill(0);
        }
    }
}

impl Edge {
    /// Names the whole block in its slot; `None` where it has none.
    pub(super) fn whole(&self, block: u64) -> Option<Memory> {
        let slot = self.slot.as_ref()?;
        // SAFETY: the job keeps its edges until it is over, and looks into their slots only while nothing is in flight.
        unsafe { Memory::of_slot(slot, 0, block) }.ok()
    }

    /// Puts the caller's bytes into the block.
    fn change(&mut self) {
        let Self { memory, slot: Some(slot), at, len, .. } = self else { return };
        if let Some(bytes) = part(slot.as_mut_slice(), *at, *len) {
            memory.read_at(0, bytes);
        }
    }

    /// Gives the caller its bytes of the block, the first `done` of them.
    pub(super) fn give(&mut self, done: u64) {
        let Self { memory, slot: Some(slot), at, len, .. } = self else { return };
        if let Some(bytes) = part(slot.as_mut_slice(), *at, done.min(*len)) {
            memory.write_at(0, bytes);
        }
    }

    /// Returns how many of the caller's bytes lie before `end`.
    pub(super) fn done(&self, end: u64) -> u64 {
        end.saturating_sub(self.block.saturating_add(self.at)).min(self.len)
    }
}

fn part(bytes: &mut [u8], at: u64, len: u64) -> Option<&mut [u8]> {
    bytes.get_mut(usize::try_from(at).ok()?..)?.get_mut(..usize::try_from(len).ok()?)
}
