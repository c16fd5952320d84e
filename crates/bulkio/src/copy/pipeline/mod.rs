//! The pipeline: reads and writes overlapped to a depth, through slots that both sides share.
//!
//! A chunk is read into a slot, then written from it (`fan`); the slot is free again when the last write is done. Twice as
//! many slots as the depth of a side, so both sides can be at full depth. Streams keep their order. On an
//! error or a stop nothing more is read, what is in flight ends, and what was written is made durable and told.
//!
//! Its parts: what is to be read (`feed`), the memory (`slots`, `buffer`), the depth (`tuner` thinks, `tuning` does), what a running copy knows (`state`),
//! and around the loop one transfer at a time (`single`): a failed read (`narrow`), ragged ends (`edges`), the end (`finish`).

pub(super) mod buffer;
pub(super) mod edges;
pub(super) mod feed;
pub(super) mod finish;
pub(super) mod narrow;
pub(super) mod single;
pub(super) mod slots;
pub(super) mod state;
pub(super) mod tuner;
pub(super) mod tuning;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::{CpuAddr, Direction, Fault, Lease, Outcome, Position, Request};

use self::buffer::Buffer;
use self::feed::Feed;
use self::narrow::FailedRead;
use self::slots::Slots;
use self::state::{Filled, State};
use self::tuner::Tuner;
use super::beside::Beside;
use super::digest::Digests;
use super::ends::Ends;
use super::fan::{Peer, Writing};
use super::geometry::Chunk;
use super::offload::Offloading;
use super::options::{CopyOptions, Observer, Phase};
use super::report::{Report, SideReport};
use super::rescue::Rescue;
use super::sparse::Holes;
use super::start::{Start, StartEnd};
use super::{CopyError, CopyFailure, digest};
use crate::device::{Class, Device};
use crate::engine::{
    Completion, Engine, EngineOptions, FileError, FileId, FileOptions, FixedRegion, SubmitReason,
};
use crate::pages::{ShareLeaseError, Slot, SlotShare};

/// What a request in flight is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Read(Chunk),
    /// To destination `number`. `len` bytes of the chunk are there, `moved` of them in this request, which may hold padding behind.
    Write {
        number: usize,
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
    pub(super) state: State,
    /// What is still to be read.
    pub(super) feed: Feed,
    /// What needs not be read, since it is zeros.
    pub(super) holes: Holes,
    /// What the file system copies by itself.
    pub(super) offload: Offloading,
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
    pipeline.state.writings.first_mut().done = pipeline.state.written_bytes();
    let (state, slot_len) = (&pipeline.state, ends.geometry.slot_len);
    let others: Vec<_> = state.writings.iter().skip(1).map(|writing| StartEnd::of(&writing.side)).collect();
    let sides = (&state.source, &state.writings.first().side);
    let depth = pipeline.tuner.depth();
    observer.started(&Start { others: &others, ..Start::of(sides.0, sides.1, ends.len, slot_len, depth) });
    // Both ends are open, which may have taken its time.
    pipeline.state.tell(observer, Phase::Copying, true);
    pipeline.skip_stream(options.skip, observer);
    pipeline.find_holes(options, observer);
    pipeline.plan_offload(options);
    if pipeline.state.ends() {
        // The destination is as it was; a created one goes with `ends`.
        return pipeline.report().ended(pipeline.state.take_error());
    }
    if let Err(error) = pipeline.prepare(options) {
        pipeline.state.tell_news(observer);
        return pipeline.report().ended(Some(error));
    }
    pipeline.reflink();
    pipeline.make_holes(observer);
    pipeline.copy_in_kernel(observer);
    pipeline.reserve_rest(options);
    if pipeline.state.rescue.is_some() {
        pipeline.rescue(options, observer);
    } else {
        pipeline.transfer(observer);
    }
    pipeline.check_source();
    pipeline.narrow(observer);
    pipeline.write_edges(observer);
    pipeline.check_whole();
    pipeline.finish(options, observer);
    let synced = pipeline.state.is_synced();
    let digested = pipeline.take_digests(observer);
    pipeline.save_last(synced || !options.sync, observer);
    pipeline.pool.end_growth();
    let mut error = pipeline.state.take_error();
    let mut report = pipeline.report();
    let began: Vec<bool> = pipeline.state.writings.iter().map(|writing| writing.began).collect();
    drop(pipeline);
    if let Some(digested) = digested {
        error = digest::conclude(digested, error, &ends, options, &mut report, observer);
    }
    for (destination, _) in ends.destinations.iter_mut().zip(began).filter(|(_, began)| *began) {
        if let Some(created) = destination.created.take() {
            created.keep();
        }
    }
    report.ended(error)
}

impl<'a> Pipeline<'a> {
    pub(super) fn new(ends: &'a Ends, options: &CopyOptions) -> Result<Self, CopyError> {
        // Memory takes its time, too.
        let started = Instant::now();
        let geometry = &ends.geometry;
        let tuner = tuning::tuner(ends, options);
        let digests = Digests::wanted(options.hash.map(|hash| hash.algorithm), options.verify);
        let slots = tuning::first_slots(ends, options, tuner.depth(), digests.is_some());
        let usable = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let pool = Slots::new(usable(geometry.slot_len), usable(slots))?;
        let buffer = options.buffer.map(|wanted| Buffer::new(wanted, pool.len(), geometry.slot_len));
        let devices =
            || std::iter::once(&*ends.source).chain(ends.destinations.iter().map(|end| &*end.device));
        let sides = u32::try_from(ends.destinations.len()).unwrap_or(u32::MAX).saturating_add(1);
        let mut engine = Engine::new(EngineOptions {
            kind: options.engine,
            // All sides, and what is done beside: an end that is ragged, a flush for the map.
            depth: tuner.depth_max().saturating_mul(sides).saturating_add(sides),
            fixed: vec![FixedRegion::from_pool(Arc::clone(pool.first()))],
            commands: devices().any(wants_command_ring),
            // Tests tell direct from bounced by what was submitted.
            log: cfg!(test),
            ..EngineOptions::default()
        })?;
        let slots_max = tuning::slots_under_way(tuner.depth_max(), true).max(pool.len());
        let holes = Holes::new(digests.as_ref());
        let digesting = digests.map(|digests| digest::start(digests, slots_max, &mut engine)).transpose()?;
        let source = &*ends.source;
        let read_bounce = ends.read_bounce();
        let routes = source.routes();
        let from = match routes.direct() {
            Ok(direct) if read_bounce.is_none() => direct,
            _ => routes.buffered(),
        };
        let from = add(&mut engine, source, from)?;
        let writings = ends.destinations.try_map(|end| Writing::open(end, &mut engine))?;
        let side = side_of(source, read_bounce.is_none());
        Ok(Self {
            state: State::new(side, writings, ends.len, tuner.depth(), started),
            feed: Feed::whole(),
            holes,
            offload: Offloading::default(),
            leave_out_bound: 0,
            tuner,
            buffer,
            digesting,
            starved: false,
            any_order: !ends.destinations.iter().any(|end| end.device.is_stream()),
            ends,
            engine,
            pool,
            from,
            read_bounce,
        })
    }

    /// Makes every destination ready. One of several that cannot be is dropped.
    pub(super) fn prepare(&mut self, options: &CopyOptions) -> Result<(), CopyError> {
        let end = self.state.len.map(|len| options.seek.saturating_add(len));
        let ends = self.ends;
        for (number, destination) in ends.destinations.iter().enumerate() {
            let areas = if self.offload.is_wanted() { Some(&[][..]) } else { self.holes.areas() };
            let prepared = match areas {
                Some(areas) => self.reserve(&*destination.device, areas, options),
                None => destination.device.prepare(options.seek, end, options.truncate),
            };
            match prepared {
                Ok(()) => self.state.writings.at_mut(number).began = true,
                Err(why) => {
                    // What was reserved in part goes back.
                    let _ = destination.device.settle_len(destination.kept_len, true);
                    let path = destination.path().to_owned();
                    self.fail(Peer::Destination(number), 0, CopyError::Prepare { path, why });
                }
            }
        }
        self.state.take_error().map_or(Ok(()), Err)
    }

    /// The main loop: until everything is written, or nothing more can be.
    pub(super) fn transfer(&mut self, observer: &mut dyn Observer) {
        let mut stopped_at: Option<Instant> = None;
        loop {
            self.save_if_due();
            self.read_more();
            self.write_more();
            let is_saving = self.state.rescue.as_ref().is_some_and(Rescue::is_saving);
            if self.state.reads == 0 && self.state.writes() == 0 && !is_saving && !self.is_starved() {
                // What was read may have been nothing but zeros, which are in flight nowhere.
                if self.may_read() && self.has_room() {
                    continue;
                }
                return;
            }
            if self.state.ends() {
                let since = stopped_at.get_or_insert_with(Instant::now);
                // Writes to files and disks end by themselves, and must: what a pipe gave is nowhere else.
                if since.elapsed() >= STOP_GRACE && !is_saving && !self.state.has_sure_writes() {
                    // Only what cannot end by itself is still there: a stream whose other side stands still.
                    self.engine.cancel();
                    self.state.cancelled = true;
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

    /// Says whether something is left that may be read now.
    fn may_read(&self) -> bool {
        // Ragged ends are written when nothing is in flight, and a device that may be gone is asked then.
        !self.state.ends()
            && !self.state.writings.iter().any(|writing| writing.edges.is_full())
            && !self.state.rescue.as_ref().is_some_and(Rescue::doubts)
            && self.feed.has_more(self.bound())
    }

    fn read_more(&mut self) {
        self.starved = false;
        while self.may_read() && self.state.reads < self.tuner.depth() {
            if !self.has_room() && !self.has_room_after_all() {
                return;
            }
            let bound = self.bound();
            let Some(chunk) = self.feed.next(&self.ends.geometry, bound) else { return };
            let Some(slot) = self.pool.take() else { return };
            let place = self.ends.geometry.read(&chunk);
            let position =
                if self.ends.source.is_stream() { Position::Stream } else { Position::At(place.position) };
            let Some(lease) = self.lease(Peer::Source, slot, place.slot_offset, place.len) else {
                return;
            };
            let request = Request::new(lease, Direction::FromDevice, position, Op::Read(chunk));
            let limits = match self.read_bounce {
                None => self.ends.source.limits(),
                Some(_) => self.ends.source.routes().buffered_limits(),
            };
            if let Err(refused) = self.engine.submit(self.from, request, limits) {
                self.refused(Peer::Source, chunk.at, refused.reason);
                return;
            }
            self.state.reads = self.state.reads.saturating_add(1);
            self.state.source.count_request(self.state.reads);
        }
    }

    pub(super) fn lease(
        &mut self,
        peer: Peer,
        slot: impl Into<SlotShare>,
        offset: u64,
        len: u64,
    ) -> Option<Lease<CpuAddr, SlotShare>> {
        match slot.into().into_lease(offset, len) {
            Ok(lease) => Some(lease),
            Err(ShareLeaseError { share, offset }) => {
                // The geometry never asks for this; if it did, the copy must not go on.
                drop(share);
                let why = SubmitReason::Empty { position: Position::At(offset) };
                self.refused(peer, 0, why);
                None
            }
        }
    }

    pub(super) fn refused(&mut self, peer: Peer, at: u64, why: SubmitReason) {
        let path = self.device(peer).path().to_owned();
        self.fail(peer, at, CopyError::Submit { side: peer.side(), path, why });
    }

    pub(super) fn device(&self, peer: Peer) -> &'a dyn Device {
        match peer {
            Peer::Source => &*self.ends.source,
            Peer::Destination(number) => &*self.ends.destinations.at(number).device,
        }
    }

    pub(super) fn completed(&mut self, completion: Completion<SlotShare, Op>) {
        let (request, outcome) = match completion {
            Completion::Transfer { request, outcome, .. } => (request, outcome),
            Completion::Flush { fault, .. } => return self.flushed(fault),
            Completion::Ready { .. } => return,
        };
        let (lease, mut ops) = request.into_parts();
        let share = lease.into_owners().next();
        match ops.next() {
            Some(Op::Read(chunk)) => {
                self.state.reads = self.state.reads.saturating_sub(1);
                if let Some(slot) = share.and_then(SlotShare::into_slot) {
                    self.read_done(chunk, slot, outcome);
                }
            }
            Some(Op::Write { number, chunk, len, moved }) => {
                self.written(number, (chunk, len, moved), share, outcome);
            }
            Some(Op::Single) | None => {}
        }
    }

    fn read_done(&mut self, chunk: Chunk, slot: Slot, outcome: Outcome) {
        let geometry = &self.ends.geometry;
        let len = geometry.valid(&chunk, outcome.done);
        let end = chunk.at.saturating_add(len);
        if let Some(fault) = outcome.fault {
            // What came before the fault is good, and is written.
            if !self.state.is_own_end(fault.status) && !self.goes_around(&chunk, len, fault.status) {
                let at = geometry.read(&chunk).position;
                self.transfer_failed(Peer::Source, end, at, outcome, fault);
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

    /// Records a failed transfer; `at` is a byte of the range, `position` where the request began on its side.
    pub(super) fn transfer_failed(
        &mut self,
        peer: Peer,
        at: u64,
        position: u64,
        outcome: Outcome,
        fault: Fault,
    ) {
        let error = CopyError::of_fault(peer.side(), self.device(peer), position, outcome.asked, fault, at);
        self.fail(peer, at, error);
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

/// Begins the report on one side.
pub(super) fn side_of(device: &dyn Device, direct: bool) -> SideReport {
    SideReport::new(device.path().display().to_string(), device.class().name(), direct)
}

/// Zeroes a part of a slot.
pub(super) fn clear(slot: &mut Slot, offset: u64, len: u64) {
    let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(len)).ok());
    if let Some(bytes) = range.and_then(|(from, to)| slot.as_mut_slice().get_mut(from..to)) {
        bytes.fill(0);
    }
}
