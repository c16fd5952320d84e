//! [`Job`]: one transfer of any bytes at any position, as the operations that it takes.
//!
//! A state machine that never waits: [`Job::step`] issues an operation or says what it waits for, [`Job::completed`] takes the
//! result of one. The channel drives many at once. A read goes over whole blocks into the caller's memory, with the ragged ends in slots
//! of their own. A write locks its blocks, reads the ragged ones, changes them and writes everything in whole blocks; what would make a
//! file too long by that goes through the page cache, last.
//!
//! Here is what the channel sees and the order of the phases; `edges`, `body` and `stops` are the parts.

mod body;
mod edges;
mod stops;

use std::sync::Arc;

use scatterlist::{Direction, Outcome, Status};

use super::bounce::Bounce;
use super::cover::{Cover, EdgeWay};
use super::file::{Inner, Target};
use super::memory::Memory;
use super::range_lock::{Lost, RangeLock, WouldDeadlock};
use super::{Moved, TransferError, TransferErrorKind};
use crate::engine::FlushKind;
use crate::pages::Slot;
use edges::Edge;
use stops::{Cause, Fault, Later, Stop};

/// What an operation of a job is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::direct) enum Role {
    /// Reads a first or last block that a write covers in part.
    Edge,
    /// Moves whole blocks, or anything on the route through the page cache.
    Body,
}

/// What an operation's completion brings back to its job.
#[derive(Debug)]
pub(in crate::direct) struct Tag {
    pub(in crate::direct) job: u32,
    pub(in crate::direct) role: Role,
    pub(in crate::direct) position: u64,
    pub(in crate::direct) bounce: Option<Box<Bounce>>,
}

/// An operation to submit.
#[derive(Debug)]
pub(in crate::direct) struct Operation {
    pub(in crate::direct) direction: Direction,
    pub(in crate::direct) target: Target,
    pub(in crate::direct) position: u64,
    pub(in crate::direct) memory: Memory,
    pub(in crate::direct) role: Role,
    pub(in crate::direct) bounce: Option<Box<Bounce>>,
    /// Whether the job has nothing to overlap it with.
    pub(in crate::direct) alone: bool,
}

/// What a job wants a slot for, with the bytes that it must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::direct) enum Want {
    /// A ragged end: kept until the job is over.
    Block(u64),
    /// One operation.
    Operation(u64),
}

/// What a job gets from its channel.
pub(in crate::direct) trait Supplies {
    /// Takes a slot.
    fn take(&mut self, want: Want) -> Option<Slot>;
    /// Gives a slot back.
    fn give(&mut self, slot: Slot);
    /// Locks a range of a file, or joins the queue for it.
    fn lock(&mut self, file: &Inner, start: u64, end: u64) -> Result<RangeLock, WouldDeadlock>;
}

/// What a job wants.
#[derive(Debug)]
pub(in crate::direct) enum Step {
    /// Submit this, within these limits.
    Issue(Operation),
    /// One of its own operations must end first.
    Wait,
    /// Flush the file; this ends it.
    Flush(FlushKind),
    /// Its range is locked by somebody else.
    Locked,
    /// There is no slot: somebody else's operation must end first.
    Starved,
    /// It is over.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Flush(FlushKind),
    Lock,
    Prepare,
    Edges,
    Head,
    Body,
    Tail,
    Done,
}

/// One transfer.
#[derive(Debug)]
pub(in crate::direct) struct Job {
    pub(in crate::direct) file: Arc<Inner>,
    direction: Direction,
    asked: u64,
    cover: Cover,
    target: Target,
    phase: Phase,
    flush: bool,
    lock: Option<RangeLock>,
    head: Option<Edge>,
    tail: Option<Edge>,
    /// What has not been issued, and where it goes.
    rest: Memory,
    position: u64,
    /// The longest operation, where a fault is being narrowed down.
    step_max: Option<u64>,
    /// What comes when `rest` is done.
    later: Vec<Later>,
    /// One operation at a time: a file that grows, grows in order. Asked when it matters.
    serial: Option<bool>,
    in_flight: u32,
    /// Operations of `rest` that ended early, and those behind it that have not been looked at.
    stops: Vec<Stop>,
    others: Vec<Stop>,
    /// Where the job ends.
    stop: Option<Stop>,
    /// Bytes that were copied, by the position of their operation.
    copied: Vec<(u64, u64)>,
    cancelled: bool,
    moved: Moved,
}

impl Job {
    /// Makes the job that moves all of `memory`, which is not empty, from or to `offset`.
    pub(in crate::direct) fn new(
        file: Arc<Inner>,
        direction: Direction,
        offset: u64,
        memory: Memory,
    ) -> Result<Self, TransferErrorKind> {
        let (target, block) = file.route();
        let asked = memory.len();
        let cover = file.cover(direction, offset, asked, block)?;
        let phase = if direction == Direction::ToDevice { Phase::Lock } else { Phase::Prepare };
        let Some(cover) = cover else {
            let nothing = Cover { start: offset, end: offset, lo: offset, hi: offset };
            return Ok(Self::at_rest(file, direction, nothing, target, memory));
        };
        let mut memory = memory;
        // A read past the end of a device has less to do than was asked.
        let memory = memory.take_front(cover.end.saturating_sub(cover.start));
        Ok(Self { phase, asked, ..Self::at_rest(file, direction, cover, target, memory) })
    }

    /// Makes the job that makes a file durable.
    pub(in crate::direct) fn flush(file: Arc<Inner>, kind: FlushKind) -> Self {
        let cover = Cover { start: 0, end: 0, lo: 0, hi: 0 };
        let (target, _) = file.route();
        Self {
            phase: Phase::Flush(kind),
            flush: true,
            ..Self::at_rest(file, Direction::ToDevice, cover, target, Memory::empty())
        }
    }

    fn at_rest(file: Arc<Inner>, direction: Direction, cover: Cover, target: Target, memory: Memory) -> Self {
        Self {
            file,
            direction,
            asked: memory.len(),
            cover,
            target,
            phase: Phase::Done,
            flush: false,
            lock: None,
            head: None,
            tail: None,
            rest: memory,
            position: cover.start,
            step_max: None,
            later: Vec::new(),
            serial: None,
            in_flight: 0,
            stops: Vec::new(),
            others: Vec::new(),
            stop: None,
            copied: Vec::new(),
            cancelled: false,
            moved: Moved::default(),
        }
    }

    /// Says whether there is nothing to move.
    pub(in crate::direct) fn is_empty(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Says whether it has nothing more to issue.
    pub(in crate::direct) fn is_ending(&self) -> bool {
        self.cancelled || self.phase == Phase::Done
    }

    /// Stops issuing; what is in flight still comes back.
    pub(in crate::direct) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Keeps its range locked for good: it is given up, and what it has in flight may still happen.
    pub(in crate::direct) fn lose(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.lose();
        }
    }

    /// Returns the next thing that the job wants.
    pub(in crate::direct) fn step(&mut self, supplies: &mut dyn Supplies) -> Step {
        loop {
            if self.cancelled && self.phase != Phase::Done && !self.is_all_issued() {
                if self.in_flight > 0 {
                    return Step::Wait;
                }
                self.end_cancelled();
            }
            match self.phase {
                Phase::Flush(kind) if self.in_flight == 0 => {
                    self.in_flight = 1;
                    return Step::Flush(kind);
                }
                Phase::Flush(_) => return Step::Wait,
                Phase::Lock => match self.lock(supplies) {
                    Ok(true) => self.phase = Phase::Prepare,
                    Ok(false) => return Step::Locked,
                    Err(cause) => self.give_up(cause),
                },
                Phase::Prepare => {
                    if !self.prepare(supplies) {
                        return Step::Starved;
                    }
                }
                Phase::Edges => match self.next_edge() {
                    Some(step) => return step,
                    None => self.edges_read(),
                },
                Phase::Head | Phase::Tail => match self.next_cached() {
                    Some(step) => return step,
                    None if self.settle_stops() => self.phase = Phase::Done,
                    None => self.phase = if self.phase == Phase::Head { Phase::Body } else { Phase::Done },
                },
                Phase::Body => match self.next_body(supplies) {
                    Some(step) => return step,
                    None if self.go_on() => {}
                    None => self.phase = self.after_body(),
                },
                Phase::Done => return Step::Over,
            }
        }
    }

    /// Ends a job that got no slots although nobody has any: a bound is wrong, which is said and not waited out.
    pub(in crate::direct) fn starve(&mut self) {
        self.give_up(Cause::Status(Status::Errno(libc::ENOBUFS.unsigned_abs())));
    }

    /// Ends a job that has moved nothing, and has nothing in flight.
    fn give_up(&mut self, cause: Cause) {
        let (at, bytes) = (self.cover.start, self.cover.end.saturating_sub(self.cover.start));
        let fault = Some(Fault { cause, at, bytes });
        self.stop = Some(Stop { position: at, fault, memory: Memory::empty() });
        self.phase = Phase::Done;
    }

    /// Says whether there is nothing left that a cancellation could keep from being issued.
    fn is_all_issued(&self) -> bool {
        match self.phase {
            Phase::Body => self.rest.is_empty() && self.later.is_empty(),
            Phase::Tail => self.tail.as_ref().is_none_or(|tail| tail.way != EdgeWay::Cache || tail.asked),
            _ => false,
        }
    }

    fn end_cancelled(&mut self) {
        let moved_to = match self.phase {
            Phase::Body | Phase::Tail => {
                let stops = self.stops.iter().chain(&self.others);
                stops.map(|stop| stop.position).fold(self.position, u64::min)
            }
            _ => self.cover.start,
        };
        let fault = Some(Fault { cause: Cause::Status(Status::Cancelled), at: moved_to, bytes: 0 });
        self.stop = Some(Stop { position: moved_to, fault, memory: Memory::empty() });
        self.phase = if self.phase == Phase::Body { self.after_body() } else { Phase::Done };
    }

    /// Locks the range of a write; false where somebody else has it.
    fn lock(&mut self, supplies: &mut dyn Supplies) -> Result<bool, Cause> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => {
                let (lo, hi) = self.file.lock_range(&self.cover);
                let deadlock = Status::Errno(libc::EDEADLK.unsigned_abs());
                supplies.lock(&self.file, lo, hi).map_err(|WouldDeadlock| Cause::Status(deadlock))?
            }
        };
        let held = lock.is_held().map_err(Cause::Lost)?;
        self.lock = Some(lock);
        Ok(held)
    }

    /// Takes the result of an operation; `memory` is what it moved. A slot that is free now comes back.
    pub(in crate::direct) fn completed(
        &mut self,
        tag: Tag,
        outcome: Outcome,
        memory: Memory,
    ) -> Option<Slot> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Outcome { asked, done, fault } = outcome;
        let mut origin = memory;
        let mut free = None;
        if let Some(mut bounce) = tag.bounce {
            let copied = match self.direction {
                Direction::FromDevice => bounce.empty(done),
                Direction::ToDevice => bounce.copied_bytes(done),
            };
            self.copied.push((tag.position, copied));
            self.moved.why = self.moved.why.or(bounce.why);
            let (slot, memory) = bounce.into_parts();
            (free, origin) = (Some(slot), memory);
        }
        let cause = fault.map(|fault| Cause::Status(fault.status));
        self.ended(tag.role, tag.position, (asked, done), cause, origin);
        free
    }

    /// Takes an operation back that the engine did not take.
    pub(in crate::direct) fn refused(&mut self, tag: Tag, memory: Memory, reason: String) -> Option<Slot> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let asked = memory.len();
        self.ended(tag.role, tag.position, (asked, 0), Some(Cause::Refused(reason)), Memory::empty());
        tag.bounce.map(|bounce| bounce.into_parts().0)
    }

    fn ended(
        &mut self,
        role: Role,
        position: u64,
        (asked, done): (u64, u64),
        cause: Option<Cause>,
        mut memory: Memory,
    ) {
        let at = position.saturating_add(done);
        let fault = cause.map(|cause| Fault { cause, at, bytes: asked.saturating_sub(done) });
        match (role, fault) {
            // Nothing is written yet.
            (Role::Edge, Some(fault)) => {
                let position = self.cover.start;
                self.stops.push(Stop { position, fault: Some(fault), memory: Memory::empty() });
            }
            (Role::Edge, None) => self.clear_edge(position, done),
            (Role::Body, None) if done >= asked => {}
            (Role::Body, fault) => {
                drop(memory.take_front(done));
                self.stops.push(Stop { position: at, fault, memory });
            }
        }
    }

    /// Takes the result of a flush.
    pub(in crate::direct) fn flushed(&mut self, fault: Option<Status>) {
        self.in_flight = 0;
        self.phase = Phase::Done;
        if let Some(status) = fault {
            self.give_up(Cause::Status(status));
        }
    }

    /// Takes a flush back that the engine did not take.
    pub(in crate::direct) fn flush_refused(&mut self, reason: String) {
        self.in_flight = 0;
        self.phase = Phase::Done;
        let fault = Some(Fault { cause: Cause::Refused(reason), at: 0, bytes: 0 });
        self.stop = Some(Stop { position: 0, fault, memory: Memory::empty() });
    }

    fn after_body(&mut self) -> Phase {
        if self.direction == Direction::FromDevice {
            let end = self.end();
            for edge in [&mut self.head, &mut self.tail].into_iter().flatten() {
                let done = edge.done(end);
                edge.give(done);
            }
            return Phase::Done;
        }
        if self.stop.is_some() { Phase::Done } else { Phase::Tail }
    }

    /// Returns the position up to which everything is moved, while nothing is in flight.
    fn end(&self) -> u64 {
        self.stop.as_ref().map_or(self.cover.end, |stop| stop.position)
    }

    /// Takes the slots out, once it is over.
    pub(in crate::direct) fn take_slots(&mut self) -> impl Iterator<Item = Slot> {
        [&mut self.head, &mut self.tail].into_iter().flatten().filter_map(|edge| edge.slot.take())
    }

    /// Says what became of it, once it is over.
    pub(in crate::direct) fn finish(self) -> Result<Moved, TransferError> {
        let end = self.end();
        let mut moved = self.moved;
        moved.bytes = self.cover.done_at(end);
        if self.target == Target::Cached {
            moved.cached_bytes = moved.bytes;
        }
        for edge in [&self.head, &self.tail].into_iter().flatten() {
            let done = edge.done(end);
            match edge.way {
                EdgeWay::Cache => moved.cached_bytes = moved.cached_bytes.saturating_add(done),
                _ => moved.ragged_bytes = moved.ragged_bytes.saturating_add(done),
            }
        }
        // Operations past a fault copied bytes that do not count as moved.
        let copied = self.copied.iter().filter(|(position, _)| *position < end);
        moved.misaligned_bytes = copied.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let Some(fault) = self.stop.and_then(|stop| stop.fault) else { return Ok(moved) };
        let Fault { cause, at, bytes } = fault;
        let kind = match cause {
            Cause::Status(status) if self.flush => TransferErrorKind::Flush { status },
            Cause::Status(status) => TransferErrorKind::Fault { status, at, bytes, done: moved.bytes },
            Cause::Refused(reason) => TransferErrorKind::Refused { at, bytes, reason },
            Cause::Lost(Lost { start, end }) => TransferErrorKind::RangeLost { start, end },
        };
        Err(self.file.transfer_error(self.direction, self.cover.start, self.asked, moved, kind))
    }
}
