//! From a slot that is filled to every destination, and what becomes of each write.

use scatterlist::{Direction, Fault, Outcome, Position, Request, Status};

use super::super::CopyError;
use super::super::geometry::{Chunk, Laid};
use super::super::pipeline::state::Filled;
use super::super::pipeline::{Op, Pipeline, clear};
use super::{Handed, Peer, Queued};
use crate::engine::SubmitError;
use crate::pages::SlotShare;

impl Pipeline<'_> {
    pub(in super::super) fn write_more(&mut self) {
        // The marks are looked at whether or not there is room for a write: a pause begins with the last one before it.
        while self.may_write() && self.write_one() {}
    }

    /// Begins one write, or hands one chunk out where a destination has nothing left to begin; says whether there was one.
    fn write_one(&mut self) -> bool {
        let mut wants = false;
        for number in 0..self.state.writings.len() {
            if !self.has_place(number) {
                continue;
            }
            if let Some(queued) = self.state.writings.at_mut(number).queue.pop_front() {
                self.submit_write(number, queued);
                return true;
            }
            wants = true;
        }
        let filled = if wants { self.state.filled.pop_front() } else { None };
        filled.map(|filled| self.write(filled)).is_some()
    }

    /// Says whether a destination may have one more write in flight.
    fn has_place(&self, number: usize) -> bool {
        let writing = self.state.writings.at(number);
        // Others go on when a stream fails, so nothing may be cancelled behind the write that did: it has one at a time.
        let alone = writing.is_stream && self.state.writings.is_several();
        writing.in_flight < if alone { 1 } else { self.tuner.depth() }
    }

    /// Hands a chunk to all destinations that take it: its whole blocks from the slot; ragged ends are put aside.
    fn write(&mut self, filled: Filled) {
        let mut writes = std::mem::take(&mut self.state.handed);
        self.hand_out(filled, &mut writes);
        writes.clear();
        self.state.handed = writes;
    }

    fn hand_out(&mut self, filled: Filled, writes: &mut Vec<Handed>) {
        let Filled { chunk, mut slot, len } = filled;
        let mut hashed = 0;
        for number in 0..self.state.writings.len() {
            if self.state.writings.at(number).ended {
                continue;
            }
            let Some(len) = self.room(number, &chunk, len) else { continue };
            hashed = len.max(hashed);
            let destination = self.ends.destinations.at(number);
            // A rescue comes back to what lies behind a chunk, or has been there: only the end of the range is the end of the file.
            let ends_inside =
                self.state.rescue.is_some() && self.state.len != Some(chunk.at.saturating_add(len));
            let kept = destination.kept().filter(|_| !ends_inside);
            let geometry = &self.ends.geometry;
            let Laid { place, padding, aside } = geometry.laid(&chunk, len, destination.unit, kept);
            // Behind the bytes of the chunk nobody else has any.
            clear(&mut slot, place.slot_offset.saturating_add(place.len).saturating_sub(padding), padding);
            for place in aside {
                self.state.writings.at_mut(number).edges.put_aside(geometry, &slot, place);
            }
            if place.len == 0 {
                self.state.wrote(number, chunk.at, len);
            } else {
                writes.push(Handed { number, place, len, padding });
            }
        }
        if writes.is_empty() {
            return self.digest(chunk, hashed, slot);
        }
        let slot = match writes.first() {
            Some(&Handed { place, len, padding, .. }) if !self.state.writings.is_several() => {
                let Some(slot) = self.leave_out_zeros((chunk, len), slot, (place, padding)) else { return };
                slot
            }
            _ => slot,
        };
        let mut rest = Some(SlotShare::from(slot));
        let mut writes = writes.drain(..).peekable();
        while let Some(Handed { number, place, len, padding }) = writes.next()
            && let Some(whole) = rest.take()
        {
            let share = if writes.peek().is_some() {
                let (share, others) = whole.another();
                rest = Some(others);
                share
            } else {
                whole
            };
            let moved = place.len.saturating_sub(padding);
            let queued = Queued { chunk, len, place, moved, share };
            self.state.writings.at_mut(number).queue.push_back(queued);
        }
    }

    /// Returns how many of `len` bytes of a chunk a destination has room for; `None` where it is dropped.
    fn room(&mut self, number: usize, chunk: &Chunk, len: u64) -> Option<u64> {
        let device = self.device(Peer::Destination(number));
        let Some(capacity) = device.len_bytes().filter(|_| device.class().is_disk()) else {
            return Some(len);
        };
        let room = capacity.saturating_sub(self.ends.geometry.seek.saturating_add(chunk.at));
        if len <= room {
            return Some(len);
        }
        let path = device.path().to_owned();
        let at = chunk.at.saturating_add(room);
        self.fail(Peer::Destination(number), at, CopyError::DestinationFull { path, capacity });
        (!self.state.writings.at(number).ended).then_some(room)
    }

    fn submit_write(&mut self, number: usize, queued: Queued) {
        let Queued { chunk, len, place, moved, share } = queued;
        let peer = Peer::Destination(number);
        let device = self.device(peer);
        let position = if device.is_stream() { Position::Stream } else { Position::At(place.position) };
        let Some(lease) = self.lease(peer, share, place.slot_offset, place.len) else { return };
        let op = Op::Write { number, chunk, len, moved };
        let request = Request::new(lease, Direction::ToDevice, position, op);
        let writing = self.state.writings.at(number);
        let limits = match writing.bounce {
            None => device.limits(),
            Some(_) => device.routes().buffered_limits(),
        };
        if let Err(SubmitError { request, reason }) = self.engine.submit(writing.to, request, limits) {
            self.refused(peer, chunk.at, reason);
            let (lease, _) = request.into_parts();
            self.let_go(number, chunk, (len, 0), lease.into_owners().next());
            return;
        }
        let writing = self.state.writings.at_mut(number);
        writing.in_flight = writing.in_flight.saturating_add(1);
        writing.side.count_request(writing.in_flight);
    }

    /// The write of `len` bytes of a chunk is over, `moved` of them in the request.
    pub(in super::super) fn written(
        &mut self,
        number: usize,
        (chunk, len, moved): (Chunk, u64, u64),
        share: Option<SlotShare>,
        outcome: Outcome,
    ) {
        let writing = self.state.writings.at_mut(number);
        writing.in_flight = writing.in_flight.saturating_sub(1);
        writing.count(moved.min(outcome.done));
        let written = self.write_done(number, chunk, len, outcome);
        self.let_go(number, chunk, (len, written), share);
    }

    /// A destination is done with `len` bytes of a chunk, `written` of which it has. The last one to be so hands the slot on.
    fn let_go(&mut self, number: usize, chunk: Chunk, (len, written): (u64, u64), share: Option<SlotShare>) {
        let written = if self.state.is_elsewhere(number) { len } else { written };
        self.slot_written(chunk, written, share.and_then(SlotShare::into_slot));
    }

    /// Returns how many bytes of the chunk are written.
    fn write_done(&mut self, number: usize, chunk: Chunk, len: u64, outcome: Outcome) -> u64 {
        if outcome.fault.is_none() && outcome.done == outcome.asked {
            self.state.wrote(number, chunk.at, len);
            return len;
        }
        let geometry = &self.ends.geometry;
        let head = geometry.write(&chunk, len, self.ends.destinations.at(number).unit).head.len;
        let done = outcome.done.saturating_add(head).min(len);
        let at = geometry.seek.saturating_add(chunk.at);
        self.state.wrote(number, chunk.at, done);
        if self.state.writings.at(number).is_stream {
            self.end_stream(number);
        }
        let fault = outcome.fault.unwrap_or(Fault { at: outcome.done, status: Status::Short });
        if !self.state.is_own_end(fault.status) {
            let at_range = chunk.at.saturating_add(done);
            self.transfer_failed(Peer::Destination(number), at_range, at, outcome, fault);
        }
        done
    }

    /// Nothing may follow a gap in a stream.
    fn end_stream(&mut self, number: usize) {
        for queued in self.state.end_writing(number) {
            self.let_go(number, queued.chunk, (queued.len, 0), Some(queued.share));
        }
        if !self.state.writings.is_several() {
            self.state.stream_end = 0;
            self.state.filled.clear();
            self.engine.cancel();
        }
    }

    /// Records what ends the copy, or drops one of several destinations; `at` is a byte of the range.
    pub(in super::super) fn fail(&mut self, peer: Peer, at: u64, error: CopyError) {
        match peer {
            Peer::Destination(number) if self.state.writings.is_several() => {
                self.state.drop_destination(number, at, error);
                for queued in self.state.end_writing(number) {
                    self.let_go(number, queued.chunk, (queued.len, 0), Some(queued.share));
                }
            }
            _ => self.state.fail(at, error),
        }
    }
}
