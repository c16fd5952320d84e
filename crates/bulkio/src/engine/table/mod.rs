//! The in-flight table: owns memory and file of every operation until its result has arrived.
//!
//! Above it the [`Engine`](super::Engine) puts requests in and takes completions out; below it a [`Backend`] gets
//! operations. A slot goes back only when nothing of it is with the back end, cancelled or not. Slots, vectors and
//! queues are reused: the steady state allocates nothing. `slot` makes operations of parts and sums their results up.
#![expect(unsafe_code, reason = "pushes operations; see the invariants of Table")]

mod slot;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::FileType;
use scatterlist::{CpuAddr, Direction, Limits, Outcome, Position, Request, Status};

use super::backend::{Act, Answer, Backend, FlushKind, Reaped};
use super::commands::Ended;
use super::error::SubmitReason;
use super::files::{Carrier, File, FileId};
use super::fill::fill;
use super::log::Journal;
use super::part::{Next, Part, ResumeRule};
use super::{Completion, Token};
use slot::{Slot, key, unkey};

/// The in-flight table.
///
/// # Invariants
/// 1. While an operation of a slot is with the back end (`Part::issued`), the slot holds the request that owns
///    the operation's memory and a share of its file, and of its commands where it has such.
/// 2. For as long, the slot's `vectors` keep their place, and those of the part keep their values.
/// 3. `issued` of a slot counts its parts with `Part::issued`, `issued` of the table those of all slots; the latter
///    is at most the number of slots.
/// 4. A key names the slot and the part; a part has one operation with the back end at most.
/// 5. A table dropped with operations with the back end leaks its slots.
#[derive(Debug)]
pub(super) struct Table<O, C> {
    slots: Vec<Slot<O, C>>,
    /// Slots that are free, and clear.
    free: Vec<u32>,
    /// Slots with parts to issue.
    ready: VecDeque<u32>,
    /// Slots whose completion has not been taken.
    done: VecDeque<u32>,
    issued: u32,
    token: u64,
    pub(super) journal: Journal,
}

impl<O, C> Drop for Table<O, C> {
    fn drop(&mut self) {
        if self.issued > 0 {
            core::mem::forget(core::mem::take(&mut self.slots));
        }
    }
}

/// How a command ended that was never begun.
const CANCELLED: Ended = Ended { bytes: 0, fault: Some(Status::Cancelled) };

/// Most bytes that a [`Command`](super::Command) can be told of.
const COMMAND_BYTES_MAX: u64 = u32::MAX as u64;

/// Says whether a regular file has bytes behind `end`.
fn is_longer(file: &OwnedFd, end: u64) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && u64::try_from(stat.st_size).is_ok_and(|size| size > end)
    })
}

impl<O, C> Table<O, C> {
    pub(super) fn new(depth: u32, log: bool) -> Self {
        let slots = (0..depth).map(|_| Slot::new()).collect();
        let queue = || VecDeque::with_capacity(depth as usize);
        Self {
            slots,
            free: (0..depth).rev().collect(),
            ready: queue(),
            done: queue(),
            issued: 0,
            token: 0,
            journal: Journal::new(log),
        }
    }

    pub(super) fn room(&self) -> u32 {
        self.free.len() as u32
    }

    pub(super) fn depth(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.depth().saturating_sub(self.room())
    }

    /// Returns the operations with the back end.
    pub(super) const fn issued(&self) -> u32 {
        self.issued
    }

    /// Counts results behind which the back end has nothing left.
    pub(super) fn count_at_once(&mut self, results: usize) {
        let count = &mut self.journal.stats.operations_at_once;
        *count = count.saturating_add(u64::try_from(results).unwrap_or(u64::MAX));
    }

    /// Returns the bytes of memory that the table owns for the back end's sake.
    pub(super) fn issued_bytes(&self) -> u64 {
        let busy = self.slots.iter().filter(|slot| slot.issued > 0);
        busy.fold(0, |sum, slot| slot.asked().saturating_add(sum))
    }

    fn full(&self) -> SubmitReason {
        SubmitReason::Full { in_flight: self.in_flight(), depth: self.depth() }
    }

    /// Plans a request into the slot that [`insert`](Self::insert) puts it in next.
    pub(super) fn plan(
        &mut self,
        file: &File,
        id: FileId,
        request: &Request<CpuAddr, O, C>,
        limits: &Limits,
    ) -> Result<(), SubmitReason> {
        let takes_commands = file.commands.is_some();
        if takes_commands && request.position() == Position::Stream {
            return Err(SubmitReason::StreamOfCommands { file: id, bytes: request.len_bytes() });
        }
        let Some(slot) = self.free.last().and_then(|index| self.slots.get_mut(*index as usize)) else {
            return Err(self.full());
        };
        let mut planned = fill(request, limits, &mut slot.parts, &mut slot.vectors);
        if takes_commands
            && planned.is_ok()
            && let Some(part) = slot.parts.iter().find(|part| part.len > COMMAND_BYTES_MAX)
        {
            let (at, bytes) = (part.at, part.len);
            planned = Err(SubmitReason::CommandTooLong { at, bytes, max: COMMAND_BYTES_MAX });
        }
        if planned.is_err() {
            slot.clear();
        }
        planned
    }

    /// Takes a request into flight that was planned last.
    pub(super) fn insert(
        &mut self,
        file: &File,
        id: FileId,
        request: Request<CpuAddr, O, C>,
        limits: &Limits,
    ) -> Token {
        let token = self.upcoming();
        let index = self.free.last().copied().unwrap_or_default();
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.direction = request.direction();
            slot.rule = ResumeRule::new(limits, request.position(), file.short);
            slot.lane = (request.position() == Position::Stream).then(|| file.lane(id, request.direction()));
            let outcome = Outcome { asked: 0, done: 0, fault: None };
            slot.work = Some(Completion::Transfer { token, file: id, request, outcome });
        }
        self.occupy(index, file, id)
    }

    /// Puts a flush into a free slot.
    pub(super) fn insert_flush(
        &mut self,
        file: &File,
        id: FileId,
        kind: FlushKind,
    ) -> Result<Token, SubmitReason> {
        let token = self.upcoming();
        let flush = Completion::Flush { token, file: id, kind, fault: None };
        self.insert_without_bytes(file, id, flush, Direction::ToDevice)
    }

    /// Puts a watch into a free slot.
    pub(super) fn insert_watch(
        &mut self,
        file: &File,
        id: FileId,
        direction: Direction,
    ) -> Result<Token, SubmitReason> {
        let token = self.upcoming();
        let watch = Completion::Ready { token, file: id, direction, fault: None };
        self.insert_without_bytes(file, id, watch, direction)
    }

    fn insert_without_bytes(
        &mut self,
        file: &File,
        id: FileId,
        work: Completion<O, C>,
        direction: Direction,
    ) -> Result<Token, SubmitReason> {
        let Some(&index) = self.free.last() else { return Err(self.full()) };
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(self.full()) };
        slot.parts.push(Part::new(0, Position::Stream, 0));
        slot.direction = direction;
        slot.lane = None;
        slot.work = Some(work);
        Ok(self.occupy(index, file, id))
    }

    /// Returns the number of the next submission.
    const fn upcoming(&self) -> Token {
        Token(self.token.wrapping_add(1))
    }

    /// Completes the last free slot's move into flight.
    fn occupy(&mut self, index: u32, file: &File, id: FileId) -> Token {
        let token = self.upcoming();
        self.token = token.0;
        let mut waits = false;
        let lane = self.slots.get(index as usize).and_then(|slot| slot.lane);
        if lane.is_some() {
            let others = (0_u32..).zip(&self.slots).filter(|(other, _)| *other != index);
            waits = others.into_iter().any(|(_, slot)| slot.lane == lane && slot.is_pending());
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            // Ids are not used twice, so it is the same file: its share is still here.
            if slot.id != id || slot.file.is_none() {
                slot.file = Some(Arc::clone(&file.fd));
                slot.commands.clone_from(&file.commands);
            }
            slot.id = id;
            slot.token = token;
            slot.always_ready = file.always_ready;
            slot.direct = file.direct;
            slot.pipe = file.pipe;
            slot.carrier = file.carrier;
            slot.file_slot = file.slot;
        }
        self.free.pop();
        self.journal.stats.requests = self.journal.stats.requests.saturating_add(1);
        if !waits {
            self.ready.push_back(index);
        }
        token
    }

    /// Issues parts while there is room at the back end.
    pub(super) fn pump(&mut self, backend: &mut Backend) {
        while self.issued < self.depth() {
            let Some(&index) = self.ready.front() else { break };
            let Some(slot) = self.slots.get_mut(index as usize) else { break };
            let part = slot.next;
            if slot.stopped || part >= slot.parts.len() {
                self.ready.pop_front();
                continue;
            }
            slot.next = slot.next.saturating_add(1);
            if slot.lane.is_some() || slot.next == slot.parts.len() {
                self.ready.pop_front();
            }
            self.issue(index, part, backend);
        }
    }

    fn issue(&mut self, index: u32, place: usize, backend: &mut Backend) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let Some(operation) = slot.operation(index, place, backend) else { return };
        let Some(part) = slot.parts.get_mut(place) else { return };
        part.issued = true;
        slot.issued = slot.issued.saturating_add(1);
        self.issued = self.issued.saturating_add(1);
        let stats = &mut self.journal.stats;
        stats.operations = stats.operations.saturating_add(1);
        let fixed = match operation.act {
            Act::Transfer { .. } if operation.carrier == Carrier::Aio => {
                stats.operations_aio = stats.operations_aio.saturating_add(1);
                None
            }
            Act::Transfer { memory, .. } => memory.fixed(),
            Act::Command(issue) => {
                stats.operations_commands = stats.operations_commands.saturating_add(1);
                issue.fixed
            }
            Act::Flush(_) | Act::Poll(_) => None,
        };
        if fixed.is_some() {
            stats.operations_fixed = stats.operations_fixed.saturating_add(1);
        }
        if !part.polling {
            self.journal.enter(|| slot.logged(place, &operation));
        }
        // SAFETY: (1) the slot holds request and file, and `take` gives neither out while `issued` counts this
        // part; (2) vectors are added only to a free slot and trimmed only in `settle`, after the result;
        // (4) the callers issue parts that are not with the back end. A file's slot of the registered
        // files stays as it is while requests are in flight on it, see `Files::remove`.
        unsafe { backend.push(operation) };
    }

    /// Takes a result: the part goes on, or is over, and with the last one the slot is done.
    pub(super) fn settle(&mut self, reaped: Reaped, backend: &mut Backend) {
        let (index, place) = unkey(reaped.key);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let cancelled = slot.cancelled;
        let Some(part) = slot.parts.get_mut(place).filter(|part| part.issued) else { return };
        part.issued = false;
        slot.issued = slot.issued.saturating_sub(1);
        self.issued = self.issued.saturating_sub(1);
        let (before, vectors) = (*part, &slot.vectors);
        let addr_at = |at| before.addr_at(vectors, at);
        let mut next = match (reaped.answer, &slot.commands) {
            (Answer::Kernel(result), None) => {
                part.advance(result, slot.direction, &slot.rule, cancelled, addr_at)
            }
            (answer, commands) => {
                let ended = match (answer, commands) {
                    (Answer::Ended(ended), _) => ended,
                    // Taken back before it was begun.
                    (Answer::Kernel(result), _) if result == -libc::ECANCELED => CANCELLED,
                    (Answer::Kernel(result), Some(set)) => set.ring_ended(result, part.command_bytes()),
                    (Answer::Kernel(_), None) => CANCELLED,
                };
                part.end(ended, slot.rule.short);
                Next::Over
            }
        };
        if next == Next::Over
            && slot.commands.is_none()
            && let Some(end) = part.doubtful_end(slot.direction, &slot.rule)
            && slot.file.as_ref().is_some_and(|file| is_longer(file, end))
        {
            next = part.doubt();
        }
        if next == Next::Over {
            slot.stopped |= part.done < part.len || part.fault.is_some();
        } else {
            slot.trim(place, before.base);
            let stats = &mut self.journal.stats;
            stats.operations_resumed = stats.operations_resumed.saturating_add(1);
            self.issue(index as u32, place, backend);
            return;
        }
        let more = slot.next < slot.parts.len() && !slot.stopped;
        if slot.issued == 0 && !more {
            self.finish(index as u32);
        } else if slot.lane.is_some() && more {
            self.ready.push_front(index as u32);
        }
    }

    /// Puts a slot with nothing left to do among the done ones, and lets the next of its lane go.
    fn finish(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        slot.finished = true;
        self.done.push_back(index);
        let lane = slot.lane;
        if slot.next < slot.parts.len() {
            self.ready.retain(|ready| *ready != index);
        }
        if lane.is_none() {
            return;
        }
        let waiting = self.slots.iter().enumerate();
        let waiting = waiting.filter(|(_, slot)| slot.lane == lane && slot.is_pending());
        // The one that is over may have waited behind others: then the first of the lane is under way already.
        if let Some((next, slot)) = waiting.min_by_key(|(_, slot)| slot.token.0)
            && slot.next == 0
            && !self.ready.contains(&(next as u32))
        {
            self.ready.push_back(next as u32);
        }
    }

    /// Asks that everything in flight end early; completions still come.
    pub(super) fn cancel(&mut self, backend: &mut Backend) {
        for index in 0..self.depth() {
            self.cancel_slot(index, backend);
        }
    }

    /// Asks that one request or flush end early; says whether it is in flight.
    pub(super) fn cancel_one(&mut self, token: Token, backend: &mut Backend) -> bool {
        let place = self.slots.iter().position(|slot| slot.token == token && slot.is_pending());
        let Some(index) = place.and_then(|place| u32::try_from(place).ok()) else { return false };
        self.cancel_slot(index, backend);
        true
    }

    /// Asks that the requests end early whose completions `is_meant` picks.
    pub(super) fn cancel_where(&mut self, is_meant: impl Fn(&C) -> bool, backend: &mut Backend) {
        for index in 0..self.slots.len() {
            let work = self.slots.get(index).and_then(|slot| slot.work.as_ref());
            let Some(Completion::Transfer { request, .. }) = work else { continue };
            if request.completion().is_some_and(&is_meant) {
                self.cancel_slot(index as u32, backend);
            }
        }
    }

    fn cancel_slot(&mut self, index: u32, backend: &mut Backend) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if !slot.is_pending() || slot.cancelled {
            return;
        }
        slot.cancelled = true;
        slot.stopped = true;
        for (place, part) in (0_u32..).zip(&slot.parts) {
            if part.issued {
                backend.cancel(key(index, place));
            }
        }
        if slot.issued == 0 {
            self.finish(index);
        }
    }

    /// Says whether there is a completion to take.
    pub(super) fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// Returns the file of the next completion.
    pub(super) fn file_to_take(&self) -> Option<FileId> {
        let index = *self.done.front()?;
        self.slots.get(index as usize).map(|slot| slot.id)
    }

    /// Takes the next completion out and frees its slot.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Completion<O, C>> {
        let index = *self.done.front()?;
        let slot = self.slots.get_mut(index as usize)?;
        // Invariant 1: nothing of a done slot is with the back end.
        assert_eq!(slot.issued, 0, "a slot is done only after its last result");
        self.done.pop_front();
        let over = slot.outcome();
        match &mut slot.work {
            Some(Completion::Transfer { outcome, .. }) => {
                *outcome = over;
                let stats = &mut self.journal.stats;
                let count = match slot.direction {
                    Direction::FromDevice => &mut stats.read_bytes,
                    Direction::ToDevice => &mut stats.written_bytes,
                };
                *count = count.saturating_add(over.done);
            }
            Some(Completion::Flush { fault, .. } | Completion::Ready { fault, .. }) => *fault = over.fault,
            None => {}
        }
        // The share of the file stays for the next request, which is most often one for the same.
        slot.clear();
        self.free.push(index);
        slot.work.take()
    }

    /// Gives up the shares of a file that nothing is in flight on.
    pub(super) fn let_go(&mut self, id: FileId) {
        for slot in &mut self.slots {
            if slot.id == id && slot.work.is_none() {
                slot.file = None;
                slot.commands = None;
            }
        }
    }
}
