//! The in-flight table: owns memory and file of every operation until its result has arrived.
//!
//! Above it the [`Engine`](super::Engine) puts requests in and takes completions out; below it a [`Backend`] gets
//! operations. A slot goes back only when nothing of it is with the back end, cancelled or not. Slots, vectors and
//! queues are reused: the steady state allocates nothing.
#![expect(unsafe_code, reason = "pushes operations; see the invariants of Table")]

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use scatterlist::{Addr, CpuAddr, Direction, Fault, Limits, Outcome, Position, Request, Status};

use super::backend::{Act, Backend, FlushKind, Memory, Operation, Reaped};
use super::error::SubmitReason;
use super::files::{File, FileId};
use super::fill::fill;
use super::log::{Journal, LogEntry, LoggedKind};
use super::part::{Next, Part, ResumeRule, ShortTransfer};
use super::{Completion, Token};

/// Vectors that a slot keeps memory for when it goes back.
const VECTORS_KEPT_MAX: usize = 1 << 14;

/// What a slot is for.
#[derive(Debug)]
enum Work<O, C> {
    Transfer(Request<CpuAddr, O, C>),
    Flush(FlushKind),
}

#[derive(Debug)]
struct Slot<O, C> {
    work: Option<Work<O, C>>,
    file: Option<Arc<OwnedFd>>,
    id: FileId,
    token: Token,
    direction: Direction,
    rule: ResumeRule,
    always_ready: bool,
    file_slot: Option<u32>,
    /// Stream transfers keep order within their lane; all others have none.
    lane: Option<u64>,
    parts: Vec<Part>,
    vectors: Vec<libc::iovec>,
    /// The first part that was never issued.
    next: usize,
    /// Operations with the back end.
    issued: u32,
    /// No further part is issued.
    stopped: bool,
    cancelled: bool,
    finished: bool,
}

/// The in-flight table.
///
/// # Invariants
/// 1. While an operation of a slot is with the back end (`Part::issued`), the slot holds the request that owns
///    the operation's memory and a share of its file.
/// 2. For as long, the slot's `vectors` keep their place, and those of the part keep their values.
/// 3. `issued` of a slot counts its parts with `Part::issued`, `issued` of the table those of all slots; the latter
///    is at most the number of slots.
/// 4. A key names the slot and the part; a part has one operation with the back end at most.
/// 5. A table dropped with operations with the back end leaks its slots.
#[derive(Debug)]
pub(super) struct Table<O, C> {
    slots: Vec<Slot<O, C>>,
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

const fn key(slot: u32, part: u32) -> u64 {
    // Widening, lossless.
    ((slot as u64) << 32) | part as u64
}

const fn unkey(key: u64) -> (usize, usize) {
    ((key >> 32) as usize, (key & 0xffff_ffff) as usize)
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

    /// Returns the bytes of memory that the table owns for the back end's sake.
    pub(super) fn issued_bytes(&self) -> u64 {
        let busy = self.slots.iter().filter(|slot| slot.issued > 0);
        busy.fold(0, |sum, slot| slot.asked().saturating_add(sum))
    }

    fn full(&self) -> SubmitReason {
        SubmitReason::Full { in_flight: self.in_flight(), depth: self.depth() }
    }

    /// Plans a request into a free slot.
    #[expect(clippy::result_large_err, reason = "the request comes back by value: no allocation to refuse")]
    pub(super) fn insert(
        &mut self,
        file: &File,
        id: FileId,
        request: Request<CpuAddr, O, C>,
        limits: &Limits,
    ) -> Result<Token, (Request<CpuAddr, O, C>, SubmitReason)> {
        let Some(&index) = self.free.last() else { return Err((request, self.full())) };
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err((request, self.full())) };
        slot.clear();
        if let Err(reason) = fill(&request, limits, &mut slot.parts, &mut slot.vectors) {
            slot.clear();
            return Err((request, reason));
        }
        slot.direction = request.direction();
        slot.rule = ResumeRule::new(limits, request.position(), file.short);
        slot.lane = (request.position() == Position::Stream).then(|| file.lane(id, request.direction()));
        slot.work = Some(Work::Transfer(request));
        Ok(self.occupy(index, file, id))
    }

    /// Puts a flush into a free slot.
    pub(super) fn insert_flush(
        &mut self,
        file: &File,
        id: FileId,
        kind: FlushKind,
    ) -> Result<Token, SubmitReason> {
        let Some(&index) = self.free.last() else { return Err(self.full()) };
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(self.full()) };
        slot.clear();
        slot.parts.push(Part::new(0, Position::Stream, 0));
        slot.direction = Direction::ToDevice;
        slot.lane = None;
        slot.work = Some(Work::Flush(kind));
        Ok(self.occupy(index, file, id))
    }

    /// Completes the last free slot's move into flight.
    fn occupy(&mut self, index: u32, file: &File, id: FileId) -> Token {
        self.token = self.token.wrapping_add(1);
        let token = Token(self.token);
        let mut waits = false;
        let lane = self.slots.get(index as usize).and_then(|slot| slot.lane);
        if lane.is_some() {
            waits = self.slots.iter().any(|slot| slot.lane == lane && slot.is_pending());
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.file = Some(Arc::clone(&file.fd));
            slot.id = id;
            slot.token = token;
            slot.always_ready = file.always_ready;
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
        if matches!(operation.act, Act::Transfer { memory: Memory::One { fixed: Some(_), .. }, .. }) {
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
        let next = part.advance(reaped.result, slot.direction, &slot.rule, cancelled, addr_at);
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
        let waiting = waiting.filter(|(_, slot)| slot.lane == lane && slot.is_pending() && !slot.stopped);
        if let Some((next, _)) = waiting.min_by_key(|(_, slot)| slot.token.0) {
            self.ready.push_back(next as u32);
        }
    }

    /// Asks that everything in flight end early; completions still come.
    pub(super) fn cancel(&mut self, backend: &mut Backend) {
        let mut idle = Vec::new();
        for (index, slot) in (0_u32..).zip(&mut self.slots) {
            if !slot.is_pending() || slot.cancelled {
                continue;
            }
            slot.cancelled = true;
            slot.stopped = true;
            if slot.issued == 0 {
                idle.push(index);
            }
            for (place, part) in (0_u32..).zip(&slot.parts) {
                if part.issued {
                    backend.cancel(key(index, place));
                }
            }
        }
        for index in idle {
            self.finish(index);
        }
    }

    /// Takes the next completion out and frees its slot.
    pub(super) fn take(&mut self) -> Option<Completion<O, C>> {
        let index = *self.done.front()?;
        let slot = self.slots.get_mut(index as usize)?;
        // Invariant 1: nothing of a done slot is with the back end.
        assert_eq!(slot.issued, 0, "a slot is done only after its last result");
        self.done.pop_front();
        let (token, file) = (slot.token, slot.id);
        let outcome = slot.outcome();
        let work = slot.work.take()?;
        let direction = slot.direction;
        slot.clear();
        slot.file = None;
        self.free.push(index);
        Some(match work {
            Work::Flush(kind) => Completion::Flush { token, file, kind, fault: outcome.fault },
            Work::Transfer(request) => {
                let stats = &mut self.journal.stats;
                let count = match direction {
                    Direction::FromDevice => &mut stats.read_bytes,
                    Direction::ToDevice => &mut stats.written_bytes,
                };
                *count = count.saturating_add(outcome.done);
                Completion::Transfer { token, file, request, outcome }
            }
        })
    }
}

impl<O, C> Slot<O, C> {
    const fn new() -> Self {
        Self {
            work: None,
            file: None,
            id: FileId { index: 0, generation: 0 },
            token: Token(0),
            direction: Direction::FromDevice,
            rule: ResumeRule { block: 1, addr_mask: 0, short: ShortTransfer::Resume },
            always_ready: false,
            file_slot: None,
            lane: None,
            parts: Vec::new(),
            vectors: Vec::new(),
            next: 0,
            issued: 0,
            stopped: false,
            cancelled: false,
            finished: false,
        }
    }

    /// Makes the slot ready for the next request, keeping its memory within bounds.
    fn clear(&mut self) {
        self.parts.clear();
        self.vectors.clear();
        self.vectors.shrink_to(VECTORS_KEPT_MAX);
        self.parts.shrink_to(VECTORS_KEPT_MAX);
        (self.next, self.lane) = (0, None);
        (self.stopped, self.cancelled, self.finished) = (false, false, false);
    }

    /// Says whether the slot is in flight and not finished.
    const fn is_pending(&self) -> bool {
        self.work.is_some() && self.file.is_some() && !self.finished
    }

    fn asked(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.at.saturating_add(part.len))
    }

    /// Sums the parts up: bytes done without a gap from the start, and the fault at the lowest offset.
    fn outcome(&self) -> Outcome {
        let (asked, mut done) = (self.asked(), 0_u64);
        for part in &self.parts {
            done = done.saturating_add(part.done);
            if part.done < part.len {
                break;
            }
        }
        let faults = self.parts.iter().filter_map(|part| part.fault);
        let first = faults.min_by_key(|(at, _)| *at).map(|(at, status)| Fault { at, status });
        let flush = matches!(self.work, Some(Work::Flush(_)));
        let cut = self.cancelled && (done < asked || (flush && self.next == 0));
        let cancelled = cut.then_some(Fault { at: done, status: Status::Cancelled });
        Outcome { asked, done, fault: first.or(cancelled) }
    }

    /// Makes the next operation of a part.
    fn operation(&self, index: u32, place: usize, backend: &Backend) -> Option<Operation> {
        let part = self.parts.get(place)?;
        let bytes = part.ask(&self.rule);
        let act = match self.work.as_ref()? {
            _ if part.polling => Act::Poll(self.direction),
            Work::Flush(kind) => Act::Flush(*kind),
            Work::Transfer(_) => {
                let vectors = self.vectors.get(part.vector..)?.get(..part.vectors)?;
                let memory = match vectors {
                    [one] => {
                        let addr = one.iov_base.cast::<u8>();
                        let fixed = backend.fixed_index(CpuAddr::from_ptr(addr).raw(), bytes);
                        Memory::One { addr, len: u32::try_from(bytes).ok()?, fixed }
                    }
                    many => Memory::Many { vectors: many.as_ptr(), count: u32::try_from(many.len()).ok()? },
                };
                Act::Transfer { direction: self.direction, memory, offset: part.offset() }
            }
        };
        Some(Operation {
            key: key(index, u32::try_from(place).ok()?),
            fd: self.file.as_ref()?.as_raw_fd(),
            file_slot: self.file_slot,
            always_ready: self.always_ready,
            bytes,
            act,
        })
    }

    /// Takes the vectors off a part that lie before its base, which was at `before`.
    fn trim(&mut self, place: usize, before: u64) {
        let Some(part) = self.parts.get_mut(place) else { return };
        let mut skip = part.base.saturating_sub(before);
        while skip > 0
            && let Some(vector) = self.vectors.get_mut(part.vector)
        {
            let len = vector.iov_len as u64;
            if skip < len {
                vector.iov_base = vector.iov_base.wrapping_byte_add(skip as usize);
                vector.iov_len = vector.iov_len.saturating_sub(skip as usize);
                break;
            }
            skip = skip.saturating_sub(len);
            part.vector = part.vector.saturating_add(1);
            part.vectors = part.vectors.saturating_sub(1);
        }
    }

    fn logged(&self, place: usize, operation: &Operation) -> LogEntry {
        let (token, file) = (self.token, self.id);
        let mut entry = LogEntry {
            token,
            file,
            kind: LoggedKind::Read,
            position: Position::Stream,
            pieces: Vec::new(),
            fixed: None,
        };
        match operation.act {
            Act::Flush(kind) => entry.kind = LoggedKind::Flush(kind),
            Act::Poll(_) => {}
            Act::Transfer { direction, memory, offset } => {
                if direction == Direction::ToDevice {
                    entry.kind = LoggedKind::Write;
                }
                entry.position = offset.map_or(Position::Stream, Position::At);
                if let Memory::One { fixed, .. } = memory {
                    entry.fixed = fixed;
                }
                let part = self.parts.get(place);
                let vectors = part.and_then(|part| self.vectors.get(part.vector..)?.get(..part.vectors));
                let piece = |vector: &libc::iovec| {
                    (CpuAddr::from_ptr(vector.iov_base.cast::<u8>()), vector.iov_len as u64)
                };
                entry.pieces = vectors.unwrap_or_default().iter().map(piece).collect();
            }
        }
        entry
    }
}
