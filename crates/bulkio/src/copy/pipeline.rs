//! The pipeline: reads and writes overlapped to a depth, through slots that both sides share.
//!
//! A chunk is read into a slot, then written from it; the slot is free again when the write is done. Twice as
//! many slots as the depth of a side, so both sides can be at full depth. Streams keep their order. On an
//! error or a stop nothing more is read, what is in flight ends, and what was written is made durable and told.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::{CpuAddr, Direction, Fault, Lease, Outcome, Position, Request, Status};

use super::beside::Beside;
use super::buffer::Buffer;
use super::digest::Digests;
use super::edges::Edges;
use super::ends::Ends;
use super::feed::Feed;
use super::geometry::{Chunk, Laid};
use super::narrow::FailedRead;
use super::options::{CopyOptions, Observer, Phase};
use super::report::{Report, SideReport};
use super::rescue::Rescue;
use super::slots::Slots;
use super::start::Start;
use super::state::{Filled, State};
use super::tuner::Tuner;
use super::{CopyError, CopyFailure, Side, digest, tuning};
use crate::device::{Class, Device};
use crate::engine::{
    Completion, Engine, EngineOptions, FileError, FileId, FileOptions, FixedRegion, SubmitReason,
};
use crate::pages::{Slot, SlotShare};

/// What a request in flight is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Read(Chunk),
    /// `len` bytes of the chunk are there, `moved` of them in this request, which may hold padding behind.
    Write {
        chunk: Chunk,
        len: u64,
        moved: u64,
    },
    /// One transfer that is waited for: a skipped part of a stream, a block with a ragged end.
    Single,
}

/// How long one wait lasts before the observer is asked again.
pub(super) const WAIT: Duration = Duration::from_millis(200);

/// How long a stopped copy waits for transfers in flight before it cancels them.
pub(super) const STOP_GRACE: Duration = Duration::from_millis(500);

/// Slots beyond those of chunks: a ragged end is read, changed and written back in one.
pub(super) const EDGE_SLOTS: u64 = 1;

pub(super) struct Pipeline<'a> {
    pub(super) ends: &'a Ends,
    pub(super) engine: Engine<SlotShare, Op>,
    pub(super) pool: Slots,
    pub(super) from: FileId,
    /// The best route to the destination, and the one through the page cache.
    pub(super) to: FileId,
    pub(super) to_buffered: FileId,
    pub(super) state: State,
    /// What is still to be read.
    pub(super) feed: Feed,
    pub(super) edges: Edges,
    /// The most that is left out behind a read that failed, in bytes.
    pub(super) leave_out_bound: u64,
    pub(super) tuner: Tuner,
    /// Where writing waits for watermarks.
    pub(super) buffer: Option<Buffer>,
    /// Makes digests of what is written, where some are wanted.
    pub(super) digesting: Option<Beside<Digests>>,
    /// Nothing more can be read before digests are made of what was written.
    pub(super) starved: bool,
    /// Why reads are copied on the way; `None` where they are direct.
    pub(super) read_bounce: Option<String>,
    pub(super) write_bounce: Option<String>,
    /// Chunks may be written in any order.
    any_order: bool,
}

pub(super) fn run(
    mut ends: Ends,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    let mut pipeline = Pipeline::new(&ends, options)?;
    pipeline.state.rescue = Rescue::open(&ends, options)?;
    pipeline.state.done = pipeline.state.written_bytes();
    let (state, slot_len) = (&pipeline.state, ends.geometry.slot_len);
    observer.started(&Start::of(
        &state.source,
        &state.destination,
        ends.len,
        slot_len,
        pipeline.tuner.depth(),
    ));
    // Both ends are open, which may have taken its time.
    pipeline.state.tell(observer, Phase::Copying, true);
    pipeline.skip_stream(options.skip, observer);
    if pipeline.state.ends() {
        // The destination is as it was; a created one goes with `ends`.
        return pipeline.report(false).ended(pipeline.state.take_error());
    }
    if let Err(error) = pipeline.prepare(options) {
        return pipeline.report(false).ended(Some(error));
    }
    if pipeline.state.rescue.is_some() {
        pipeline.rescue(options, observer);
    } else {
        pipeline.transfer(observer);
    }
    pipeline.narrow(observer);
    pipeline.write_edges(observer);
    let synced = pipeline.finish(options, observer);
    let digested = pipeline.take_digests();
    pipeline.save_last(synced || !options.sync, observer);
    let mut error = pipeline.state.take_error();
    let mut report = pipeline.report(synced);
    drop(pipeline);
    if let Some(digested) = digested {
        error = digest::conclude(digested, error, &ends, options, &mut report, observer);
    }
    if let Some(created) = ends.created.take() {
        created.keep();
    }
    report.ended(error)
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(ends: &'a Ends, options: &CopyOptions) -> Result<Self, CopyError> {
        let geometry = &ends.geometry;
        let tuner = tuning::tuner(ends, options);
        let digests = Digests::wanted(options.hash.map(|hash| hash.algorithm), options.verify);
        let slots = tuning::first_slots(ends, options, tuner.depth(), digests.is_some());
        let usable = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let pool = Slots::new(usable(geometry.slot_len), usable(slots))?;
        let buffer = options.buffer.map(|wanted| Buffer::new(wanted, pool.len(), geometry.slot_len));
        let mut engine = Engine::new(EngineOptions {
            kind: options.engine,
            // Both sides, and what is done beside: an end that is ragged, a flush for the map.
            depth: tuner.depth_max().saturating_mul(2).saturating_add(2),
            fixed: vec![FixedRegion::from_pool(Arc::clone(pool.first()))],
            commands: [&ends.source, &ends.destination].into_iter().any(|end| wants_command_ring(&**end)),
            // Tests tell direct from bounced by what was submitted.
            log: cfg!(test),
            ..EngineOptions::default()
        })?;
        let slots_max = tuning::slots_under_way(tuner.depth_max(), true).max(pool.len());
        let digesting = digests.map(|digests| digest::start(digests, slots_max, &mut engine)).transpose()?;
        let (source, destination) = (&*ends.source, &*ends.destination);
        let read_bounce = bounce_of(ends, Side::Source);
        let write_bounce = bounce_of(ends, Side::Destination);
        let read_buffered = read_bounce.is_some();
        let routes = source.routes();
        let from = match routes.direct() {
            Ok(direct) if !read_buffered => direct,
            _ => routes.buffered(),
        };
        let from = add(&mut engine, source, from)?;
        let routes = destination.routes();
        let to_buffered = add(&mut engine, destination, routes.buffered())?;
        let to = match routes.direct() {
            // A node for commands has one route.
            Ok(direct) if write_bounce.is_none() && destination.commands().is_none() => {
                engine.add_file(Arc::clone(direct))?
            }
            _ => to_buffered,
        };
        let side = |device: &dyn Device, direct: bool| {
            SideReport::new(device.path().display().to_string(), device.class().name(), direct)
        };
        Ok(Self {
            state: State::new(
                side(source, !read_buffered),
                side(destination, write_bounce.is_none()),
                ends.len,
                tuner.depth(),
            ),
            feed: Feed::whole(),
            edges: Edges::default(),
            leave_out_bound: 0,
            tuner,
            buffer,
            digesting,
            starved: false,
            any_order: !destination.is_stream(),
            ends,
            engine,
            pool,
            from,
            to,
            to_buffered,
            read_bounce,
            write_bounce,
        })
    }

    pub(super) fn prepare(&self, options: &CopyOptions) -> Result<(), CopyError> {
        let destination = &*self.ends.destination;
        let end = self.state.len.map(|len| options.seek.saturating_add(len));
        let failed = |why| CopyError::Prepare { path: destination.path().to_owned(), why };
        destination.prepare(options.seek, end, options.truncate).map_err(|why| {
            // What was reserved in part goes back.
            let _ = destination.settle_len(self.ends.kept_len, true);
            failed(why)
        })
    }

    /// The main loop: until everything is written, or nothing more can be.
    pub(super) fn transfer(&mut self, observer: &mut dyn Observer) {
        let mut stopped_at: Option<Instant> = None;
        loop {
            self.save_if_due();
            self.read_more();
            self.write_more();
            let is_saving = self.state.rescue.as_ref().is_some_and(Rescue::is_saving);
            if self.state.reads == 0 && self.state.writes == 0 && !is_saving && !self.is_starved() {
                return;
            }
            if self.state.ends() {
                let since = stopped_at.get_or_insert_with(Instant::now);
                // Writes to files and disks end by themselves, and must: what a pipe gave is nowhere else.
                if since.elapsed() >= STOP_GRACE && !is_saving && !(self.any_order && self.state.writes > 0) {
                    // Only what cannot end by itself is still there: a stream whose other side stands still.
                    self.engine.cancel();
                    // The bytes that a cancelled read had are written yet, and get the same time.
                    *since = Instant::now();
                }
            }
            let wait = if self.state.ends() { STOP_GRACE / 4 } else { WAIT };
            match self.engine.wait_or_wake(Some(wait)) {
                Ok(Some(completion)) => {
                    self.completed(completion);
                    self.tune();
                    self.state.tell(observer, Phase::Copying, false);
                }
                Ok(None) => self.state.tell(observer, Phase::Copying, !self.starved),
                Err(error) => {
                    self.state.fail(0, error.into());
                    return;
                }
            }
        }
    }

    /// The bytes of the range as far as they are known to be wanted.
    pub(super) fn bound(&self) -> Option<u64> {
        self.state.len.or(self.ends.len_max)
    }

    fn read_more(&mut self) {
        self.starved = false;
        while !self.state.ends() && self.state.reads < self.tuner.depth() {
            // Ragged ends are written when nothing is in flight, and a device that may be gone is asked then.
            if self.edges.is_full() || self.state.rescue.as_ref().is_some_and(Rescue::doubts) {
                return;
            }
            let bound = self.bound();
            if !self.feed.has_more(bound) || (!self.has_room() && !self.has_room_after_all()) {
                return;
            }
            let Some(chunk) = self.feed.next(&self.ends.geometry, bound) else { return };
            let Some(slot) = self.pool.take() else { return };
            let place = self.ends.geometry.read(&chunk);
            let position =
                if self.ends.source.is_stream() { Position::Stream } else { Position::At(place.position) };
            let Some(lease) = self.lease(slot, place.slot_offset, place.len) else { return };
            let request = Request::new(lease, Direction::FromDevice, position, Op::Read(chunk));
            let limits = match self.read_bounce {
                None => self.ends.source.limits(),
                Some(_) => self.ends.source.routes().buffered_limits(),
            };
            if let Err(refused) = self.engine.submit(self.from, request, limits) {
                self.refused(Side::Source, chunk.at, refused.reason);
                return;
            }
            self.state.reads = self.state.reads.saturating_add(1);
            self.state.source.count_request(self.state.reads);
        }
    }

    pub(super) fn lease(
        &mut self,
        slot: impl Into<SlotShare>,
        offset: u64,
        len: u64,
    ) -> Option<Lease<CpuAddr, SlotShare>> {
        match slot.into().into_lease(offset, len) {
            Ok(lease) => Some(lease),
            Err(error) => {
                // The geometry never asks for this; if it did, the copy must not go on.
                let why = SubmitReason::Empty { position: Position::At(error.offset) };
                self.refused(Side::Source, 0, why);
                None
            }
        }
    }

    pub(super) fn refused(&mut self, side: Side, at: u64, why: SubmitReason) {
        let path = self.device(side).path().to_owned();
        self.state.fail(at, CopyError::Submit { side, path, why });
    }

    pub(super) fn device(&self, side: Side) -> &'a dyn Device {
        match side {
            Side::Source => &*self.ends.source,
            Side::Destination => &*self.ends.destination,
        }
    }

    fn write_more(&mut self) {
        // The marks are looked at whether or not there is room for a write: a pause begins with the last one before it.
        while self.may_write()
            && self.state.writes < self.tuner.depth()
            && let Some(filled) = self.state.filled.pop_front()
        {
            self.write(filled);
        }
    }

    /// Submits the write of a chunk: its whole blocks from the slot; ragged ends are put aside.
    fn write(&mut self, filled: Filled) {
        let Filled { chunk, mut slot, mut len } = filled;
        let destination = &*self.ends.destination;
        if destination.class().is_disk()
            && let Some(capacity) = destination.len_bytes()
        {
            let room = capacity.saturating_sub(self.ends.geometry.seek.saturating_add(chunk.at));
            if len > room {
                let path = destination.path().to_owned();
                self.state.fail(chunk.at.saturating_add(room), CopyError::DestinationFull { path, capacity });
                len = room;
            }
        }
        // A rescue comes back to what lies behind a chunk, or has been there: only the end of the range is the end of the file.
        let ends_inside = self.state.rescue.is_some() && self.state.len != Some(chunk.at.saturating_add(len));
        let kept = kept_of(self.ends).filter(|_| !ends_inside);
        let Laid { place, padding, aside } = self.ends.geometry.laid(&chunk, len, kept);
        clear(&mut slot, place.slot_offset.saturating_add(place.len).saturating_sub(padding), padding);
        for place in aside {
            self.edges.put_aside(&self.ends.geometry, &slot, place);
        }
        let moved = place.len.saturating_sub(padding);
        if place.len == 0 {
            self.state.wrote(chunk.at, len);
            self.digest(chunk, len, slot);
            return;
        }
        let position = if destination.is_stream() { Position::Stream } else { Position::At(place.position) };
        let Some(lease) = self.lease(slot, place.slot_offset, place.len) else { return };
        let request = Request::new(lease, Direction::ToDevice, position, Op::Write { chunk, len, moved });
        let limits = match self.write_bounce {
            None => destination.limits(),
            Some(_) => destination.routes().buffered_limits(),
        };
        if let Err(refused) = self.engine.submit(self.to, request, limits) {
            self.refused(Side::Destination, chunk.at, refused.reason);
            return;
        }
        self.state.writes = self.state.writes.saturating_add(1);
        self.state.destination.count_request(self.state.writes);
    }

    pub(super) fn completed(&mut self, completion: Completion<SlotShare, Op>) {
        let (request, outcome) = match completion {
            Completion::Transfer { request, outcome, .. } => (request, outcome),
            Completion::Flush { fault, .. } => return self.flushed(fault),
            Completion::Ready { .. } => return,
        };
        let (lease, mut ops) = request.into_parts();
        let slot = lease.into_owners().next().and_then(SlotShare::into_slot);
        match (ops.next(), slot) {
            (Some(Op::Read(chunk)), Some(slot)) => {
                self.state.reads = self.state.reads.saturating_sub(1);
                self.read_done(chunk, slot, outcome);
            }
            (Some(Op::Write { chunk, len, moved }), slot) => {
                self.state.writes = self.state.writes.saturating_sub(1);
                let moved = moved.min(outcome.done);
                match &self.write_bounce {
                    None => self.state.destination.count_direct(moved),
                    Some(why) => self.state.destination.count_bounced(moved, why),
                }
                let written = self.write_done(chunk, len, outcome);
                if let Some(slot) = slot {
                    self.digest(chunk, written, slot);
                }
            }
            _ => {}
        }
    }

    fn read_done(&mut self, chunk: Chunk, slot: Slot, outcome: Outcome) {
        let geometry = &self.ends.geometry;
        let len = geometry.valid(&chunk, outcome.done);
        let end = chunk.at.saturating_add(len);
        if let Some(fault) = outcome.fault {
            // What came before the fault is good, and is written.
            let is_stopped = self.state.stopped && fault.status == Status::Cancelled;
            if !is_stopped && !self.goes_around(&chunk, len, fault.status) {
                let at = geometry.read(&chunk).position;
                self.transfer_failed(Side::Source, end, at, outcome, fault);
                self.state.read_failed(FailedRead { chunk, done: len });
            }
        } else if len < chunk.len {
            self.source_ended(end);
        } else if let Some(rescue) = &mut self.state.rescue {
            rescue.succeeded();
        }
        if len == 0 {
            self.state.stream_end = self.state.stream_end.min(chunk.number);
            return;
        }
        self.count_read(len);
        let filled = Filled { chunk, slot, len };
        if self.any_order {
            self.state.filled.push_back(filled);
            return;
        }
        if len < chunk.len {
            self.state.stream_end = self.state.stream_end.min(chunk.number);
        }
        self.state.early.insert(chunk.number, filled);
        // Nothing may follow a gap in a stream.
        while self.state.next_write <= self.state.stream_end
            && let Some(next) = self.state.early.remove(&self.state.next_write)
        {
            self.state.next_write = self.state.next_write.saturating_add(1);
            self.state.filled.push_back(next);
        }
    }

    pub(super) fn count_read(&mut self, bytes: u64) {
        match &self.read_bounce {
            None => self.state.source.count_direct(bytes),
            Some(why) => self.state.source.count_bounced(bytes, why),
        }
    }

    /// The source ended at byte `end` of the range, before the chunk did.
    fn source_ended(&mut self, end: u64) {
        match self.state.len {
            Some(len) if !self.ends.source.is_stream() && end < len => {
                let expected = self.ends.geometry.skip.saturating_add(len);
                let at = self.ends.geometry.skip.saturating_add(end);
                let path = self.ends.source.path().to_owned();
                self.state.fail(end, CopyError::SourceShrank { path, expected, at });
            }
            Some(_) => {}
            None => self.state.len = Some(end),
        }
    }

    /// Returns how many bytes of the chunk are written.
    fn write_done(&mut self, chunk: Chunk, len: u64, outcome: Outcome) -> u64 {
        if outcome.fault.is_none() && outcome.done == outcome.asked {
            self.state.wrote(chunk.at, len);
            return len;
        }
        let head = self.ends.geometry.write(&chunk, len).head.len;
        let done = outcome.done.saturating_add(head).min(len);
        self.state.wrote(chunk.at, done);
        if !self.any_order {
            // Nothing may follow a gap in a stream.
            self.state.stream_end = 0;
            self.state.filled.clear();
            self.engine.cancel();
        }
        let fault = outcome.fault.unwrap_or(Fault { at: outcome.done, status: Status::Short });
        if self.state.stopped && fault.status == Status::Cancelled {
            return done;
        }
        let at = self.ends.geometry.seek.saturating_add(chunk.at);
        self.transfer_failed(Side::Destination, chunk.at.saturating_add(done), at, outcome, fault);
        done
    }

    /// Records a failed transfer; `at` is a byte of the range, `position` where the request began on its side.
    pub(super) fn transfer_failed(
        &mut self,
        side: Side,
        at: u64,
        position: u64,
        outcome: Outcome,
        fault: Fault,
    ) {
        let error = CopyError::of_fault(side, self.device(side), position, outcome.asked, fault, at);
        self.state.fail(at, error);
    }
}

/// Says whether a ring can carry the commands of a device: NVMe's, while SCSI has only calls.
pub(super) fn wants_command_ring(device: &dyn Device) -> bool {
    device.class() == Class::Nvme
}

/// Adds a device by the way that its transfers go.
pub(super) fn add<O: 'static, C>(
    engine: &mut Engine<O, C>,
    device: &dyn Device,
    fd: &Arc<OwnedFd>,
) -> Result<FileId, FileError> {
    match device.commands() {
        None => engine.add_file(Arc::clone(fd)),
        Some(commands) => engine.add_commands(Arc::clone(fd), commands, FileOptions::default()),
    }
}

/// Why the bytes of one side are copied on the way; `None` where they move directly.
pub(super) fn bounce_of(ends: &Ends, side: Side) -> Option<String> {
    let device = match side {
        Side::Source => &ends.source,
        Side::Destination => &ends.destination,
    };
    let incongruent = ends.incongruent.as_ref().filter(|(found, _)| *found == side);
    let incongruent = incongruent.map(|(_, why)| why.clone());
    incongruent.or_else(|| device.routes().direct().err().map(|why| why.to_string()))
}

/// The length of a file up to which bytes stay; `None` where the destination is no file.
pub(super) fn kept_of(ends: &Ends) -> Option<u64> {
    (ends.destination.class() == Class::File).then_some(ends.kept_len)
}

/// Zeroes a part of a slot.
pub(super) fn clear(slot: &mut Slot, offset: u64, len: u64) {
    let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(len)).ok());
    if let Some(bytes) = range.and_then(|(from, to)| slot.as_mut_slice().get_mut(from..to)) {
        bytes.fill(0);
    }
}
