//! From any device to a tape: reads in order, several in flight, each a slot of whole tape blocks for the ring.

use std::collections::BTreeMap;

use scatterlist::{Direction, Fault, Limits, Position, Request, Status};

use super::super::geometry::up;
use super::super::options::Phase;
use super::super::pipeline::{WAIT, add, clear};
use super::super::watch::Watch;
use super::super::{CopyError, Side, SideReport};
use super::layout::Layout;
use super::ring::{Chunk, Item, Ring, Run, add_blocks};
use crate::device::Device;
use crate::engine::{Completion, Engine, FileId, SubmitReason};
use crate::pages::{PagePool, Slot};

/// What is read, and how.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    pub(super) source: &'a dyn Device,
    pub(super) engine: Engine<Slot, u64>,
    pub(super) pool: &'a PagePool,
    pub(super) ring: &'a Ring,
    pub(super) layout: Layout,
    /// Bytes of a tape block.
    pub(super) block: u64,
    /// Whether zeros fill the last block, and must where blocks have one length.
    pub(super) pad: bool,
    pub(super) fixed: bool,
    pub(super) skip: u64,
    /// Bytes to read, where that is known, and the most in any case.
    pub(super) len: Option<u64>,
    pub(super) len_max: Option<u64>,
    pub(super) depth: u32,
    pub(super) report: SideReport,
}

/// What has been read and what not yet.
#[derive(Debug)]
struct Reads {
    file: FileId,
    limits: Limits,
    next: u64,
    in_flight: u32,
    /// Chunks that were read before those in front of them.
    early: BTreeMap<u64, (Slot, u64)>,
    next_push: u64,
    /// Bytes that there are, known from the start or since the source ended.
    end: Option<u64>,
    error: Option<CopyError>,
}

impl Feed<'_> {
    /// Reads all and sends it, with a filemark behind. What was sent before an error is good.
    pub(super) fn run(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        let routes = self.source.routes();
        let (fd, limits) = match (routes.direct(), self.layout.unit) {
            (Ok(fd), Some(_)) => (fd, *routes.limits()),
            _ => (routes.buffered(), *routes.buffered_limits()),
        };
        let file = add(&mut self.engine, self.source, fd)?;
        self.skip_stream(file, limits, watch)?;
        let mut reads = Reads {
            file,
            limits,
            next: 0,
            in_flight: 0,
            early: BTreeMap::new(),
            next_push: 0,
            end: self.len,
            error: None,
        };
        loop {
            if !self.ring.is_stopped() && reads.error.is_none() {
                self.read_more(&mut reads);
            }
            let ends = self.ring.is_stopped() || reads.error.is_some();
            if reads.in_flight == 0 && (ends || self.is_over(&reads)) {
                break;
            }
            if watch.tell(Phase::Copying, (reads.in_flight, 0)) {
                self.ring.stop();
            }
            if ends && self.source.is_stream() {
                // The other side of a stream may stand still.
                self.engine.cancel();
            }
            if let Some(completion) = self.engine.wait_or_wake(Some(WAIT))? {
                self.completed(&mut reads, completion);
            }
        }
        if let Some(error) = reads.error {
            return Err(error);
        }
        self.ring.push(Item::Filemark);
        Ok(())
    }

    /// Bytes from the start of the range to the start of a chunk.
    const fn at(&self, chunk: u64) -> u64 {
        chunk.saturating_mul(self.layout.slot_len)
    }

    fn is_over(&self, reads: &Reads) -> bool {
        let end = reads.end.or(self.len_max);
        end.is_some_and(|end| self.at(reads.next) >= end)
    }

    fn read_more(&mut self, reads: &mut Reads) {
        while reads.in_flight < self.depth && !self.is_over(reads) {
            let Some(slot) = self.pool.take() else { return };
            let at = self.at(reads.next);
            let left = reads.end.or(self.len_max).map_or(u64::MAX, |end| end.saturating_sub(at));
            let len = up(left.min(self.layout.slot_len), self.layout.unit.map_or(1, |unit| unit.end));
            let position = if self.source.is_stream() {
                Position::Stream
            } else {
                Position::At(self.skip.saturating_add(at))
            };
            if let Err(error) = self.submit(reads.file, &reads.limits, slot, position, len, reads.next) {
                reads.error = Some(error);
                return;
            }
            reads.next = reads.next.saturating_add(1);
            reads.in_flight = reads.in_flight.saturating_add(1);
            self.report.count_request(reads.in_flight);
        }
    }

    fn submit(
        &mut self,
        file: FileId,
        limits: &Limits,
        slot: Slot,
        position: Position,
        len: u64,
        chunk: u64,
    ) -> Result<(), CopyError> {
        let refused =
            |why| CopyError::Submit { side: Side::Source, path: self.source.path().to_owned(), why };
        let lease = slot.into_lease(0, len).map_err(|_| refused(SubmitReason::Empty { position }))?;
        let request = Request::new(lease, Direction::FromDevice, position, chunk);
        let submitted = self.engine.submit(file, request, limits);
        submitted.map_err(|error| refused(error.reason))?;
        Ok(())
    }

    fn completed(&mut self, reads: &mut Reads, completion: Completion<Slot, u64>) {
        let Completion::Transfer { request, outcome, .. } = completion else { return };
        let (lease, mut chunks) = request.into_parts();
        reads.in_flight = reads.in_flight.saturating_sub(1);
        let (Some(chunk), Some(slot)) = (chunks.next(), lease.into_owners().next()) else { return };
        let at = self.at(chunk);
        let wanted = reads.end.or(self.len_max).map_or(u64::MAX, |end| end.saturating_sub(at));
        let wanted = wanted.min(self.layout.slot_len);
        let len = outcome.done.min(wanted);
        if let Some(fault) = outcome.fault {
            if !(self.ring.is_stopped() && fault.status == Status::Cancelled) {
                self.failed(reads, at, outcome.asked, fault);
            }
        } else if len < wanted {
            self.ended(reads, at.saturating_add(len));
        }
        self.count(len);
        reads.early.insert(chunk, (slot, len));
        self.push_ready(reads);
    }

    fn count(&mut self, len: u64) {
        match (&self.layout.bounce, self.source.routes().direct()) {
            (Some(why), _) => self.report.count_bounced(len, why),
            (None, Ok(_)) => self.report.count_direct(len),
            (None, Err(why)) => self.report.count_bounced(len, &why.to_string()),
        }
    }

    /// The first fault is the one that is told.
    fn failed(&self, reads: &mut Reads, at: u64, asked: u64, fault: Fault) {
        let position = self.skip.saturating_add(at).saturating_add(fault.at);
        let len = asked.saturating_sub(fault.at);
        let error = CopyError::transfer(Side::Source, self.source, position, len, fault.status);
        reads.error.get_or_insert(error);
    }

    fn ended(&self, reads: &mut Reads, end: u64) {
        match self.len {
            Some(len) if !self.source.is_stream() => {
                reads.error.get_or_insert(CopyError::SourceShrank {
                    path: self.source.path().to_owned(),
                    expected: self.skip.saturating_add(len),
                    at: self.skip.saturating_add(end),
                });
            }
            _ => reads.end = Some(reads.end.map_or(end, |known| known.min(end))),
        }
    }

    /// Sends the chunks that nothing is missing before.
    fn push_ready(&mut self, reads: &mut Reads) {
        while let Some((slot, len)) = reads.early.remove(&reads.next_push) {
            let whole = len == self.layout.slot_len;
            reads.next_push = reads.next_push.saturating_add(1);
            if let Err(error) = self.push(slot, len) {
                reads.error.get_or_insert(error);
            }
            if !whole {
                // Nothing may follow a gap.
                reads.next_push = u64::MAX;
            }
        }
    }

    fn push(&self, mut slot: Slot, len: u64) -> Result<(), CopyError> {
        let ragged = len.checked_rem(self.block).unwrap_or(0);
        let mut blocks: Vec<Run> = Vec::new();
        let whole = len.saturating_sub(ragged);
        if whole > 0 {
            let count = whole.checked_div(self.block).unwrap_or(0);
            add_blocks(&mut blocks, Run { at: 0, len: self.block, count });
        }
        let mut sent = len;
        if ragged > 0 && self.pad {
            let padding = self.block.saturating_sub(ragged);
            clear(&mut slot, len, padding);
            add_blocks(&mut blocks, Run { at: whole, len: self.block, count: 1 });
            sent = len.saturating_add(padding);
        } else if ragged > 0 && self.fixed {
            sent = whole;
        } else if ragged > 0 {
            add_blocks(&mut blocks, Run { at: whole, len: ragged, count: 1 });
        }
        if sent > 0 {
            self.ring.push(Item::Chunk(Chunk { slot, len: sent, blocks }));
        }
        if sent < len {
            return Err(CopyError::TapeRagged { left: ragged, block: self.block });
        }
        Ok(())
    }

    /// Reads the first bytes of a stream and drops them. A stream that ends before has nothing to copy.
    fn skip_stream(&mut self, file: FileId, limits: Limits, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        let mut left = if self.source.is_stream() { self.skip } else { 0 };
        while left > 0 {
            let Some(slot) = self.pool.take() else { return Ok(()) };
            let len = left.min(self.layout.slot_len);
            self.submit(file, &limits, slot, Position::Stream, len, 0)?;
            let outcome = loop {
                match self.engine.wait_or_wake(Some(WAIT))? {
                    Some(Completion::Transfer { outcome, .. }) => break outcome,
                    Some(Completion::Flush { .. } | Completion::Ready { .. }) => {}
                    None if watch.tell(Phase::Copying, (1, 0)) => self.engine.cancel(),
                    None => {}
                }
            };
            left = left.saturating_sub(outcome.done);
            if watch.stopped {
                self.ring.stop();
                return Ok(());
            }
            let path = || self.source.path().to_owned();
            let held = self.skip.saturating_sub(left);
            if let Some(fault) = outcome.fault {
                return Err(CopyError::transfer(Side::Source, self.source, held, left, fault.status));
            }
            if outcome.done < len {
                return Err(CopyError::SkipPastEnd { path: path(), len: held, skip: self.skip });
            }
        }
        Ok(())
    }
}
