//! From a grabber to any device: one loop on one thread, over one place to wait.
//!
//! Each turn takes a filled frame, gives the grabber another piece of memory at once, and hands frames to the [`Sink`] as it has room. There is more
//! memory than the grabber has buffers: what stands between is how long the destination may stand still before frames are lost. Frames that the
//! grabber dropped or damaged are counted by its own numbers, and are not in the destination: no hole, no half frame.
//!
//! `memory` chooses whose memory is filled; how it ends is in `ending`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scatterlist::Direction;

use super::super::ends::target::Target;
use super::super::options::{CopyOptions, End, Observer, Phase};
use super::super::watch::Watch;
use super::super::{CopyError, CopyFailure, Report, SideReport};
use super::checks;
use super::ending::{self, Ended};
use super::memory::{self, Memory};
use super::piece::Piece;
use super::report::{Loss, LossReason, StreamEvent, StreamProgress, StreamReport};
use super::sink::{Event, Sink};
use crate::device::Class;
use crate::device::filled::Filled as _;
use crate::device::video::{Capture, Format, FrameMemory, Sequence, VideoOptions};
use crate::pages::PagePool;

/// How long one wait lasts before the observer is asked again.
const WAIT: Duration = Duration::from_millis(200);

/// How long a grabber may give nothing: far longer than any picture takes, and short enough for a job that nobody watches.
pub(super) const STALL_MAX: Duration = Duration::from_secs(10);

/// How much later than by the frames' own clock a copy of a given time ends by ours.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// How often in a row a grabber may refuse memory.
const REFUSALS_MAX: u32 = 16;

/// What is known of a frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    sequence: u64,
    time: Duration,
    position: u64,
    len: u64,
}

/// A frame that waits for the destination.
#[derive(Debug)]
struct Waiting {
    piece: Piece,
    sequence: u64,
    time: Duration,
}

/// Copies from a grabber.
pub(super) fn copy(
    source: &Path,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    checks::source(source, options)?;
    checks::no_sound(options)?;
    let wanted = &options.stream.video;
    let video =
        VideoOptions { input: wanted.input, format: wanted.format, size: wanted.size, rate: wanted.rate };
    let mut notes = Vec::new();
    // Before the grabber is set to anything.
    let target = Target::open(destination, options, observer, &mut notes)?;
    checks::takes_streams(source, &*target.device)?;
    let mut capture = Capture::open(source, &video).map_err(CopyError::VideoRefused)?;
    let frame_len = capture.format().frame_len;
    let (frames, compressed) = (options.stream.frames, capture.format().compressed);
    let total = frames.filter(|_| !compressed).map(|frames| frames.saturating_mul(frame_len));
    let padded = if wanted.pad { frame_len.checked_next_multiple_of(target.unit) } else { None };
    checks::fits(
        &target,
        options,
        total.and(frames).map(|frames| frames.saturating_mul(padded.unwrap_or(frame_len))),
    )?;
    let Memory { pool, model, device_buffers, buffers, refused, copies, align } =
        memory::choose(&mut capture, &target, options)?;
    checks::direct(source, copies.as_deref(), options)?;
    let sink = Sink::new(target, Arc::clone(&pool), frame_len, options)?;

    let done_bytes = AtomicU64::new(0);
    let mut watch = Watch::new(observer, &done_bytes, total);
    let report = StreamReport {
        format: capture.format().to_string(),
        memory: memory::words(model, copies.is_some()).to_owned(),
        memory_reason: refused.join("; "),
        frame_len: if compressed { 0 } else { frame_len },
        buffers: u64::from(buffers),
        ..StreamReport::default()
    };
    let side = SideReport::new(source.display().to_string(), Class::Video.name(), copies.is_none());
    let mut run = Run {
        sink,
        pool: Arc::clone(&pool),
        options,
        report,
        side,
        waiting: VecDeque::new(),
        losses: VecDeque::new(),
        sequence: Sequence::new(),
        frame_len,
        frames,
        copies,
        takes_slots: model.takes_slots(),
        align,
        device_buffers,
        whole_len: least_len(capture.format()),
        accepted: 0,
        first: None,
        refusals: 0,
        in_device: u32::from(model.takes_slots()),
        began: None,
        error: None,
        capture,
    };
    // Before anything is written.
    run.start(&mut watch)?;
    watch.begin(&run.side, &run.sink.report, options.plain_block_len(), options.plain_depth());
    run.transfer(&mut watch, &done_bytes);
    run.end(&mut watch, &done_bytes);
    let Run { sink, report, side, error, capture, frames, .. } = run;
    drop(capture);
    let all = frames == Some(report.frames);
    let ended = Ended { side, report, error, notes, all };
    ending::finish(sink, ended, |_| Vec::new(), &pool, options, &mut watch)
}

/// The fewest bytes of a frame that is whole, as far as the format says: all lines of the first plane. Drivers may want more memory than they ever
/// fill.
fn least_len(format: &Format) -> u64 {
    let plane = format.planes.first().filter(|_| !format.compressed);
    plane.map_or(1, |plane| u64::from(plane.stride_bytes).saturating_mul(format.height.into()).max(1))
}

/// The clock that grabbers tell times by.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

struct Run<'a> {
    capture: Capture,
    sink: Sink<Piece, Mark>,
    pool: Arc<PagePool>,
    options: &'a CopyOptions,
    report: StreamReport,
    side: SideReport,
    waiting: VecDeque<Waiting>,
    /// Losses that are told when the frames before them are.
    losses: VecDeque<Loss>,
    sequence: Sequence,
    frame_len: u64,
    frames: Option<u64>,
    /// Why frames are copied out of the grabber's memory, where they are.
    copies: Option<String>,
    /// Whether the grabber fills slots of the pool.
    takes_slots: bool,
    /// Buffers that it has.
    device_buffers: u32,
    /// What a frame's place must be a multiple of.
    align: u64,
    /// The bytes of a whole frame: as many as any had so far.
    whole_len: u64,
    /// Frames taken for the destination.
    accepted: u64,
    /// When the first frame was taken, by its own clock.
    first: Option<Duration>,
    /// And by ours.
    began: Option<Instant>,
    refusals: u32,
    /// Frames that the grabber has memory for now.
    in_device: u32,
    error: Option<CopyError>,
}

impl Run<'_> {
    fn fail(&mut self, error: CopyError) {
        self.error.get_or_insert(error);
    }

    /// Starts the grabber, and makes the destination ready when that has worked.
    fn start(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        let refused = |error| match error {
            CopyError::Video(error) => CopyError::VideoRefused(error),
            other => other,
        };
        self.refill().map_err(refused)?;
        self.capture.stream_on().map_err(CopyError::VideoRefused)?;
        if !self.takes_slots {
            // The driver has queued all of its own by itself.
            self.in_device = self.device_buffers;
        }
        self.sink.watch(Arc::clone(self.capture.fd()), Direction::FromDevice)?;
        self.sink.begin(self.options)?;
        watch.observer().event(&StreamEvent::Started {
            device: &self.side.path,
            format: &self.report.format,
            memory: &self.report.memory,
            frame_len: self.report.frame_len,
            time: now(),
        });
        Ok(())
    }

    fn transfer(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        let mut last = Instant::now();
        while !self.has_all() && !self.sink.failed() {
            self.tell(watch, done_bytes, Phase::Copying);
            if watch.stopped {
                return;
            }
            let has_work = self.in_device > 0;
            let turned = self.sink.wait(has_work, WAIT).and_then(|event| {
                if event == Event::Ready && self.take_frame()? {
                    last = Instant::now();
                }
                self.give_back()?;
                self.drain()?;
                self.refill()
            });
            if let Err(error) = turned {
                return self.fail(error);
            }
            if self.is_starved() {
                // It cannot be expected to give anything: memory waits for the destination.
                last = Instant::now();
            }
            let waited = last.elapsed();
            if waited >= STALL_MAX {
                let path = self.capture.path().to_owned();
                return self.fail(CopyError::StreamStalled { path, waited, frames: self.accepted });
            }
        }
    }

    /// Says whether all frames that are wanted have been taken.
    fn has_all(&self) -> bool {
        self.frames.is_some_and(|frames| self.accepted >= frames)
    }

    /// Says whether the grabber has less memory than it could have, and there is none for it.
    fn is_starved(&self) -> bool {
        if self.takes_slots { self.capture.free_indices() > 0 } else { self.in_device < self.device_buffers }
    }

    /// Gives memory of the grabber's back to it, or a slot to the pool.
    fn return_memory(&mut self, memory: FrameMemory) -> Result<(), CopyError> {
        self.capture.give_back(memory).map_err(CopyError::Video)?;
        self.in_device = self.in_device.saturating_add(u32::from(!self.takes_slots));
        Ok(())
    }

    /// Says whether the time that was asked for is over with a frame taken at `time`. A grabber whose clock stands still is not believed.
    fn is_over(&mut self, time: Duration) -> bool {
        let first = *self.first.get_or_insert(time);
        let began = *self.began.get_or_insert_with(Instant::now);
        self.options.stream.duration.is_some_and(|duration| {
            time.saturating_sub(first) >= duration || began.elapsed() >= duration.saturating_add(CLOCK_SLACK)
        })
    }

    /// Takes one frame of the grabber, which should have one; says whether it had.
    fn take_frame(&mut self) -> Result<bool, CopyError> {
        let Some(frame) = self.capture.dequeue().map_err(CopyError::Video)? else { return Ok(false) };
        self.in_device = self.in_device.saturating_sub(1);
        let missing = u64::from(self.sequence.next(frame.sequence));
        let sequence = u64::from(frame.sequence);
        let time = frame.timestamp;
        if self.is_over(time) {
            self.frames = Some(self.accepted);
            return self.return_memory(frame.memory).map(|()| true);
        }
        let at_frame = self.accepted;
        if missing > 0 {
            let first = u64::from(frame.sequence.wrapping_sub(u32::try_from(missing).unwrap_or(0)));
            self.lose(Loss {
                reason: LossReason::Dropped,
                at_frame,
                sequence: first,
                count: Some(missing),
                time,
            });
        }
        if frame.is_error || frame.len < self.whole_len {
            let reason = if frame.is_error { LossReason::Errored } else { LossReason::Short };
            self.lose(Loss { reason, at_frame, sequence, count: Some(1), time });
            return self.return_memory(frame.memory).map(|()| true);
        }
        if !self.capture.format().compressed {
            self.whole_len = self.whole_len.max(frame.len);
        }
        if self.copies.is_none() {
            self.side.count_direct(frame.len);
        }
        self.side.count_request(self.in_device);
        self.accepted = self.accepted.saturating_add(1);
        let piece = self.copied(Piece::frame(frame), self.waiting_bytes())?;
        self.waiting.push_back(Waiting { piece, sequence, time });
        self.drain().map(|()| true)
    }

    fn lose(&mut self, loss: Loss) {
        self.report.lose(loss);
        self.losses.push_back(loss);
    }

    /// Hands frames that wait to the destination, as it has room.
    fn drain(&mut self) -> Result<(), CopyError> {
        let pad = self.options.stream.video.pad;
        while self.sink.has_room()
            && let Some(waiting) = self.waiting.pop_front()
        {
            let Waiting { piece, sequence, time } = waiting;
            let piece = match self.copied(piece, 0)? {
                // No slot is free to copy it to.
                piece @ Piece::Frame(_) if self.copies.is_some() => {
                    self.waiting.push_front(Waiting { piece, sequence, time });
                    break;
                }
                piece => piece,
            };
            let len = piece.len_bytes();
            let mark = Mark { sequence, time, position: self.sink.position(), len };
            self.sink.put(piece, mark, pad);
        }
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        self.report.waiting_max =
            self.report.waiting_max.max(waiting.saturating_add(self.sink.writes().into()));
        Ok(())
    }

    /// Copies a frame out of memory that nothing but the CPU can read, as soon as there is a slot for it; until then it stays where it is. It
    /// goes `ahead` bytes behind the next one.
    fn copied(&mut self, piece: Piece, ahead: u64) -> Result<Piece, CopyError> {
        let Some(why) = &self.copies else { return Ok(piece) };
        let Piece::Frame(frame) = piece else { return Ok(piece) };
        let Some(slot) = self.pool.take() else { return Ok(Piece::Frame(frame)) };
        let (len, offset) = (frame.len_bytes(), self.sink.offset_for(ahead));
        self.side.count_bounced(len, why);
        let (copy, memory) = frame.copy_to(slot, offset);
        self.return_memory(memory)?;
        Ok(Piece::Copied(copy))
    }

    fn waiting_bytes(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.piece.len_bytes()).fold(0, u64::saturating_add)
    }

    /// Returns where in its slot the next frame should begin, so that the destination takes it from there.
    fn place(&self) -> u64 {
        if self.options.stream.video.pad {
            return 0;
        }
        let ahead = self.frame_len.saturating_mul(self.in_device.into()).saturating_add(self.waiting_bytes());
        let place = self.sink.offset_for(ahead);
        // One that the grabber does not take is of no use: the frame is copied later, and counted.
        if place.checked_rem(self.align) == Some(0) { place } else { 0 }
    }

    /// Gives memory back that was written, to the pool or to the grabber.
    fn give_back(&mut self) -> Result<(), CopyError> {
        while let Some(piece) = self.sink.take_returned() {
            if let Piece::Frame(frame) = piece {
                self.return_memory(frame.into_memory())?;
            }
        }
        Ok(())
    }

    /// Gives the grabber all the memory that it takes.
    fn refill(&mut self) -> Result<(), CopyError> {
        while self.takes_slots && !self.has_all() && self.capture.free_indices() > 0 {
            let Some(slot) = self.pool.take() else { return Ok(()) };
            let place = self.place();
            match self.capture.queue(slot, place) {
                Ok(()) => {
                    self.in_device = self.in_device.saturating_add(1);
                    self.refusals = 0;
                }
                Err((slot, error)) => {
                    drop(slot);
                    self.refusals = self.refusals.saturating_add(1);
                    if self.refusals >= REFUSALS_MAX || self.in_device == 0 {
                        return Err(CopyError::Video(error));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tells what is new.
    fn tell(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64, phase: Phase) {
        self.tell_events(watch);
        done_bytes.store(self.sink.whole_bytes(), Ordering::Relaxed);
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        watch.stream = Some(StreamProgress {
            frames: self.report.frames,
            frames_total: self.frames,
            lost: self.report.dropped.saturating_add(self.report.errored),
            xruns: 0,
            waiting: waiting.saturating_add(self.sink.writes().into()),
            buffers: self.report.buffers,
            latency: self.sink.latency,
        });
        watch.tell(phase, (self.in_device, self.sink.writes()));
    }

    fn tell_events(&mut self, watch: &mut Watch<'_>) {
        let observer = watch.observer();
        loop {
            while let Some(loss) = self.losses.front()
                && loss.at_frame <= self.report.frames
            {
                observer.event(&StreamEvent::Lost(*loss));
                self.losses.pop_front();
            }
            let Some(mark) = self.sink.take_passed() else { return };
            let Mark { sequence, time, position, len } = mark;
            observer.event(&StreamEvent::Frame { index: self.report.frames, sequence, time, position, len });
            self.report.frames = self.report.frames.saturating_add(1);
        }
    }

    /// Ends the stream, and writes what was taken.
    fn end(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        if let Err(error) = self.sink.unwatch() {
            self.fail(error);
        }
        if let Err(error) = self.capture.stream_off() {
            self.fail(CopyError::Video(error));
        }
        self.in_device = 0;
        while !self.waiting.is_empty() && !self.sink.failed() && !self.sink.hurry(watch) {
            self.tell(watch, done_bytes, Phase::Copying);
            let turned = self.drain().and_then(|()| {
                if self.waiting.is_empty() { Ok(Event::Nothing) } else { self.sink.wait(false, WAIT) }
            });
            if let Err(error) = turned {
                self.fail(error);
                break;
            }
            while self.sink.take_returned().is_some() {}
        }
        self.sink.write_rest(watch);
        while self.sink.take_returned().is_some() {}
        self.tell(watch, done_bytes, Phase::Copying);
        self.report.latency_max = self.sink.latency_max;
        // What came behind a fault is in the report, but no event has a place for it.
        for loss in std::mem::take(&mut self.losses) {
            watch.observer().event(&StreamEvent::Lost(loss));
        }
        watch.observer().event(&self.report.end());
    }
}
