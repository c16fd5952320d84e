//! [`Player`]: plays a source, one loop on one thread over one place to wait.
//!
//! The source is read straight into the ring where its blocks lie as the ring does and the ring can be pinned; else into a slot, and copied once, counted.
//! What was read is the device's in the order of the file. It starts when the ring is nearly full or all is read, and at the end plays what is left. A ring
//! that runs dry is told with its frame, filled, and started again: no frame is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use scatterlist::{Addr as _, CpuAddr, Direction, Fault, Lease, Outcome, Position, Request, Status};

use super::super::options::Phase;
use super::super::watch::Watch;
use super::super::{CopyError, Side, SideReport};
use super::chunks::{Chunks, Released};
use super::playback::Reader;
use super::region::Room;
use super::report::{Loss, LossReason, StreamEvent, StreamProgress, StreamReport};
use super::video::STALL_MAX;
use crate::device::audio::{AudioError, Params, Pcm, RunState};
use crate::engine::{Completion, Engine, FileId, SubmitReason, Token};
use crate::pages::PagePool;

/// How long one wait lasts before the observer is asked again.
const WAIT: Duration = Duration::from_millis(200);

/// How often in a row a device may stop before it played a frame; the error that comes then says it in words.
const DRY_MAX: u32 = 8;

/// How often the clock of the device is told.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Memory for a read, and the bytes in front of what is wanted.
type Leased = (Lease<CpuAddr, Room>, u64);

/// A read in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    /// The first frame, counted since the device was prepared, and how many.
    frame: u64,
    frames: u64,
    /// Byte of the source at which the read begins.
    at: u64,
    /// Bytes in front of the frames, up to the block's start.
    lead: u64,
    begun: Instant,
}

/// A running playback.
pub(super) struct Player {
    pub(super) pcm: Pcm,
    pub(super) engine: Engine<Room, Op>,
    pub(super) pool: Arc<PagePool>,
    pub(super) reader: Reader,
    /// The device, as the engine knows it, and the watch of it.
    pub(super) to: FileId,
    pub(super) token: Option<Token>,
    pub(super) source: SideReport,
    pub(super) side: SideReport,
    pub(super) report: StreamReport,
    pub(super) params: Params,
    pub(super) chunks: Chunks,
    pub(super) depth: u32,
    /// Frames to play, where that is known.
    pub(super) frames: Option<u64>,
    /// Frames that were asked of the source, since the device was prepared.
    pub(super) asked: u64,
    /// What was read, in the order of the ring.
    pub(super) released: Released,
    /// Frames that the device was given before it ran dry, if it did.
    pub(super) committed: u64,
    /// Frames that the device is done with, since then.
    pub(super) hw: u64,
    pub(super) reads: u32,
    /// Frames played before it was prepared the last time.
    pub(super) base: u64,
    pub(super) started: bool,
    pub(super) draining: bool,
    pub(super) finished: bool,
    /// The device ran dry, and the reads in flight are waited for.
    pub(super) underrun: bool,
    /// How often it was started again since a frame was played.
    pub(super) dry: u32,
    /// What was read straight into the ring, and may not be played yet: the first frame and how many.
    pub(super) in_place: Vec<(u64, u64)>,
    pub(super) losses: Vec<Loss>,
    pub(super) clock: Option<Instant>,
    pub(super) error: Option<CopyError>,
}

impl Player {
    fn fail(&mut self, error: CopyError) {
        self.error.get_or_insert(error);
    }

    /// Plays all.
    pub(super) fn run(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        if let Err(error) = self.play(watch, done_bytes) {
            self.fail(error);
        }
        if let Err(error) = self.unwatch() {
            self.fail(error);
        }
        match self.pcm.drop_now() {
            Ok(()) | Err(AudioError::Gone { .. }) => {}
            Err(error) => self.fail(CopyError::Audio(error)),
        }
        self.tell(watch, done_bytes);
        watch.observer().event(&self.report.end());
    }

    fn play(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) -> Result<(), CopyError> {
        watch.observer().event(&StreamEvent::Started {
            device: &self.side.path,
            format: &self.report.format,
            memory: &self.report.memory,
            frame_len: self.report.frame_len,
            time: self.pcm.status().map_err(CopyError::AudioRefused)?.now,
        });
        let (mut last, mut most) = (Instant::now(), 0);
        loop {
            self.tell(watch, done_bytes);
            if watch.stopped || self.finished {
                return Ok(());
            }
            self.ask(watch)?;
            if self.finished {
                return Ok(());
            }
            if self.underrun {
                if self.reads == 0 {
                    self.recover()?;
                }
            } else {
                self.read_more()?;
            }
            self.begin_or_end()?;
            self.wait()?;
            // A source that is slow, such as a pipe, is no fault of the device.
            if self.played() > most || self.reads > 0 {
                (last, most) = (Instant::now(), self.played());
            }
            let waited = last.elapsed();
            if waited >= STALL_MAX {
                let (path, frames) = (self.pcm.path().to_owned(), self.played());
                return Err(CopyError::StreamStalled { path, waited, frames });
            }
        }
    }

    /// Frames that were played, in all.
    fn played(&self) -> u64 {
        self.base.saturating_add(self.hw.min(self.committed))
    }

    /// Says whether all of the source was asked for.
    fn has_all(&self) -> bool {
        self.error.is_some()
            || self.frames.is_some_and(|frames| self.base.saturating_add(self.asked) >= frames)
    }

    /// Gives the device what was read, and asks it how far it is.
    fn ask(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        // What is given to a device that has stopped already is not played.
        let in_time = self.committed;
        if !self.underrun {
            self.give();
        }
        let out = self.asked.saturating_sub(self.released.upto());
        let wake_after = if self.has_all() {
            u64::MAX / 4
        } else {
            out.saturating_add(self.chunks.frames()).saturating_sub(1)
        };
        let state = self.pcm.update(wake_after).map_err(CopyError::Audio)?;
        self.hw = state.hw_frames;
        let waiting = state.appl_frames.saturating_sub(state.hw_frames).saturating_mul(self.params.frame_len);
        self.report.waiting_max = self.report.waiting_max.max(waiting);
        match state.state {
            RunState::Prepared => {}
            RunState::Running | RunState::Draining => {
                if self.clock.is_none_or(|told| told.elapsed() >= CLOCK_EVERY) {
                    self.clock = Some(Instant::now());
                    let frames = self.played();
                    watch.observer().event(&StreamEvent::Clock { frames, time: state.at });
                }
            }
            RunState::Disconnected => {
                return Err(CopyError::Audio(AudioError::Gone { path: self.pcm.path().to_owned() }));
            }
            // All that it had was played. One that stopped before goes on with the rest.
            RunState::Setup if self.draining && self.hw >= self.committed => self.finished = true,
            _ if self.underrun => {}
            _ => (self.underrun, self.committed) = (true, in_time),
        }
        Ok(())
    }

    /// Gives the device what was read.
    fn give(&mut self) {
        let frames = self.released.take();
        self.pcm.commit(frames);
        self.committed = self.released.upto();
    }

    /// Reads as much as there is room for.
    fn read_more(&mut self) -> Result<(), CopyError> {
        while !self.has_all() && self.reads < self.depth {
            let buffer = u64::from(self.params.buffer_frames);
            let room = self.hw.saturating_add(buffer).saturating_sub(self.asked);
            let left = self
                .frames
                .map_or(u64::MAX, |frames| frames.saturating_sub(self.base.saturating_add(self.asked)));
            let offset = self.pcm.offset_of(self.asked);
            // The first filling goes up to the ring's end, whatever is left there.
            let rest = left <= room || !self.started;
            let Some(frames) = self.chunks.next(room.min(left), offset, rest) else { break };
            if !self.read(offset, frames)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads frames to a place of the ring; says whether there was memory for it.
    fn read(&mut self, offset: u64, frames: u64) -> Result<bool, CopyError> {
        let frame_len = self.params.frame_len;
        let mut frames = frames;
        let at =
            self.reader.start.saturating_add(self.base.saturating_add(self.asked).saturating_mul(frame_len));
        let over = |bytes: u64| bytes.checked_rem(self.reader.unit).unwrap_or(0);
        let suits = |addr: CpuAddr| addr.raw().checked_rem(self.reader.align) == Some(0) && over(at) == 0;
        // What is left of a block behind is read on its own.
        let whole = self.chunks.whole(frames);
        let region = self.pcm.ring().region(offset, whole.saturating_mul(frame_len));
        let region = region.filter(|region| self.reader.copies.is_none() && suits(region.addr()));
        let (lease, lead) = match region {
            Some(region) => {
                frames = whole;
                (Room::ring(region), 0)
            }
            None => match self.slot_for(at, frames.saturating_mul(frame_len))? {
                Some(found) => found,
                None => return Ok(false),
            },
        };
        let op = Op { frame: self.asked, frames, at: at.saturating_sub(lead), lead, begun: Instant::now() };
        let position = if self.reader.is_stream { Position::Stream } else { Position::At(op.at) };
        let request = Request::new(lease, Direction::FromDevice, position, op);
        let submitted = self.engine.submit(self.reader.file, request, &self.reader.limits);
        submitted.map_err(|error| self.refused(error.reason))?;
        self.asked = self.asked.saturating_add(frames);
        self.reads = self.reads.saturating_add(1);
        self.source.count_request(self.reads);
        Ok(true)
    }

    /// Leases a slot for bytes that cannot be read to the ring, with the rest of their blocks; `None` where there is none now.
    fn slot_for(&self, at: u64, len: u64) -> Result<Option<Leased>, CopyError> {
        let unit = self.reader.unit.max(1);
        let lead = at.checked_rem(unit).unwrap_or(0);
        let all = lead.saturating_add(len).checked_next_multiple_of(unit).unwrap_or(u64::MAX);
        let Some(slot) = self.pool.take_len(usize::try_from(all).unwrap_or(usize::MAX)) else {
            return Ok(None);
        };
        let lease = Room::slot(slot, all);
        let empty = SubmitReason::Empty { position: Position::At(at) };
        lease.map(|lease| Some((lease, lead))).map_err(|_| self.refused(empty))
    }

    fn refused(&self, why: SubmitReason) -> CopyError {
        CopyError::Submit { side: Side::Source, path: self.reader.device.path().to_owned(), why }
    }

    /// Starts the device when the ring is nearly full or all is read; has it play the rest when all is given.
    fn begin_or_end(&mut self) -> Result<(), CopyError> {
        let given = self.released.upto();
        let is_full = || given.saturating_add(self.chunks.frames()) > u64::from(self.params.buffer_frames);
        let all_read = self.has_all() && self.reads == 0;
        if !self.started && !self.underrun {
            if given == 0 && all_read {
                self.finished = true;
                return Ok(());
            }
            if all_read || is_full() {
                self.give();
                self.pcm.start().map_err(CopyError::Audio)?;
                self.started = true;
            }
        }
        if self.started && all_read && !self.draining && !self.underrun {
            let in_time = self.committed;
            self.give();
            match self.pcm.drain().map_err(CopyError::Audio)? {
                RunState::Xrun => (self.underrun, self.committed) = (true, in_time),
                _ => self.draining = true,
            }
        }
        Ok(())
    }

    /// Waits for a read, or for the device where it has something to say.
    fn wait(&mut self) -> Result<(), CopyError> {
        // One that is not started, or has no room for more while a slot is waited for, would be ready at once.
        let reading = !self.has_all() && self.reads < self.depth;
        let has_work = self.started && !self.underrun && !self.finished && (self.draining || reading);
        if has_work && self.token.is_none() {
            let watch = self.engine.watch(self.to, Direction::ToDevice);
            let path = self.pcm.path().to_owned();
            self.token =
                Some(watch.map_err(|why| CopyError::Submit { side: Side::Destination, path, why })?);
        }
        if self.finished || self.engine.in_flight() == 0 {
            return Ok(());
        }
        if let Some(over) = self.engine.wait_timeout(WAIT)? {
            self.completed(over);
        }
        while let Some(over) = self.engine.poll()? {
            self.completed(over);
        }
        Ok(())
    }

    fn completed(&mut self, over: Completion<Room, Op>) {
        let (request, outcome) = match over {
            Completion::Ready { .. } => {
                self.token = None;
                return;
            }
            Completion::Transfer { request, outcome, .. } => (request, outcome),
            _ => return,
        };
        let (lease, mut ops) = request.into_parts();
        self.reads = self.reads.saturating_sub(1);
        let Some(op) = ops.next() else { return };
        self.report.latency_max = self.report.latency_max.max(op.begun.elapsed());
        let Some(room) = lease.into_owners().next() else { return };
        self.read_done(op, outcome, &room);
    }

    /// Takes what was read: whole frames of it.
    fn read_done(&mut self, op: Op, outcome: Outcome, room: &Room) {
        let frame_len = self.params.frame_len;
        let got = outcome.done.saturating_sub(op.lead).min(op.frames.saturating_mul(frame_len));
        let frames = got.checked_div(frame_len).unwrap_or(0);
        let bytes = frames.saturating_mul(frame_len);
        match &self.reader.refused {
            None => self.source.count_direct(bytes),
            Some(why) => {
                let why = why.clone();
                self.source.count_bounced(bytes, &why);
            }
        }
        match room {
            Room::Ring(region) => {
                self.side.count_direct(bytes.min(region.len()));
                let played = self.hw.min(self.committed);
                self.in_place.retain(|(frame, frames)| frame.saturating_add(*frames) > played);
                self.in_place.push((op.frame, frames));
            }
            Room::Slot(slot) => {
                let from = usize::try_from(op.lead).unwrap_or(usize::MAX);
                let upto = from.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
                let read = slot.as_slice().get(from..upto).unwrap_or_default();
                self.pcm.ring().copy_in(self.pcm.offset_of(op.frame), read);
                let why = self.reader.copies.clone();
                let why = why.unwrap_or_else(|| "the source's blocks do not lie as the ring does".to_owned());
                self.side.count_bounced(bytes, &why);
            }
        }
        self.released.put(op.frame, frames);
        if frames < op.frames {
            self.ended(op, outcome, frames, got.saturating_sub(bytes));
        }
    }

    /// The source ended, or failed: nothing behind it is played. `over` bytes behind the last frame are no whole one.
    fn ended(&mut self, op: Op, outcome: Outcome, frames: u64, over: u64) {
        let end = self.base.saturating_add(op.frame).saturating_add(frames);
        let was_known = self.frames;
        self.frames = Some(self.frames.map_or(end, |known| known.min(end)));
        let device = &*self.reader.device;
        let error = match outcome.fault {
            Some(Fault { status: Status::Short, .. }) | None
                if self.reader.is_stream || was_known.is_none() =>
            {
                if over == 0 {
                    return;
                }
                let (frame_len, format) = (self.params.frame_len, self.report.format.clone());
                CopyError::SoundRagged {
                    path: device.path().to_owned(),
                    frames: end,
                    over,
                    frame_len,
                    format,
                }
            }
            Some(fault) if fault.status != Status::Short => {
                let bytes = end.saturating_mul(self.params.frame_len);
                CopyError::of_fault(Side::Source, device, op.at, outcome.asked, fault, bytes)
            }
            _ => {
                let expected = was_known.unwrap_or(end).saturating_mul(self.params.frame_len);
                let expected = expected.saturating_add(self.reader.start);
                let (path, at) = (device.path().to_owned(), op.at.saturating_add(outcome.done));
                CopyError::SourceShrank { path, expected, at }
            }
        };
        self.error.get_or_insert(error);
    }

    /// Has the device go on after it ran dry, with what was read behind that.
    fn recover(&mut self) -> Result<(), CopyError> {
        let given = self.released.upto();
        let played = self.hw.min(self.committed);
        self.dry = if played > 0 { 0 } else { self.dry.saturating_add(1) };
        if self.dry >= DRY_MAX {
            let call = "SNDRV_PCM_IOCTL_START (8 times in a row, without a frame played since)";
            let path = self.pcm.path().to_owned();
            return Err(CopyError::Audio(AudioError::Call { path, call, errno: Errno::PIPE }));
        }
        // What was not played yet lies where it was to be played; the ring begins anew.
        let len = given.saturating_sub(played).saturating_mul(self.params.frame_len);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.pcm.ring().copy_out(self.pcm.offset_of(played), &mut bytes);
        let gap = self.pcm.recover(false).map_err(CopyError::Audio)?;
        self.pcm.ring().copy_in(self.pcm.offset_of(0), &bytes);
        // What was copied into the ring is counted as that already.
        let behind = |(frame, frames): (u64, u64)| {
            frame.saturating_add(frames).min(given).saturating_sub(frame.max(played))
        };
        let moved = self.in_place.drain(..).map(behind).fold(0, u64::saturating_add);
        let moved = moved.saturating_mul(self.params.frame_len);
        self.side.direct_bytes = self.side.direct_bytes.saturating_sub(moved);
        self.side.count_bounced(moved, "moved within the ring, which ran dry");
        self.base = self.base.saturating_add(played);
        let loss = Loss {
            reason: LossReason::Xrun,
            at_frame: self.base,
            sequence: 0,
            count: None,
            time: gap.stopped_at,
        };
        self.report.lose(loss);
        self.losses.push(loss);
        self.released = Released::default();
        self.released.put(0, given.saturating_sub(played));
        self.asked = given.saturating_sub(played);
        (self.hw, self.committed) = (0, 0);
        (self.started, self.draining, self.underrun) = (false, false, false);
        Ok(())
    }

    /// Tells what is new.
    fn tell(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        self.report.frames = self.played();
        for loss in self.losses.drain(..) {
            watch.observer().event(&StreamEvent::Lost(loss));
        }
        done_bytes.store(self.report.frames.saturating_mul(self.params.frame_len), Ordering::Relaxed);
        let waiting = self.released.upto().saturating_sub(self.hw).saturating_mul(self.params.frame_len);
        watch.stream = Some(StreamProgress {
            frames: self.report.frames,
            frames_total: self.frames,
            lost: 0,
            xruns: self.report.xruns,
            waiting,
            buffers: self.report.buffers,
            latency: self.report.latency_max,
        });
        watch.tell(Phase::Copying, (self.reads, 0));
    }

    /// Waits for the reads in flight, and watches the device no more, so that it can be closed.
    fn unwatch(&mut self) -> Result<(), CopyError> {
        if let Some(token) = self.token {
            self.engine.cancel_request(token);
        }
        if self.reader.is_stream {
            // The other side of a stream may stand still.
            self.engine.cancel();
        }
        while self.engine.in_flight() > 0 {
            if let Some(over) = self.engine.wait_timeout(WAIT)? {
                match over {
                    Completion::Ready { .. } => self.token = None,
                    // What is read now is not played any more.
                    _ => self.reads = self.reads.saturating_sub(1),
                }
            }
        }
        self.engine.remove_file(self.to)?;
        Ok(())
    }
}
