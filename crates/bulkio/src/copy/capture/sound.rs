//! From a sound device to any other: one loop on one thread, over one place to wait.
//!
//! The device fills its ring by itself. What it is done with is handed to the [`Sink`] where it lies, in long pieces: the ring is the memory of the writes, and is
//! the device's again, in order, as they end. The ring is all that waits for a destination that stands still; where it runs over, the frames before are whole,
//! the gap is told, and the recording goes on behind it. Frames are copied out of the ring where its memory cannot be pinned, or does not lie as the
//! blocks of the destination do.
//!
//! `region` is a piece, `chunks` how long one is, `ending` the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scatterlist::Direction;

use super::super::ends::target::Target;
use super::super::options::{CopyOptions, End, Observer, Phase};
use super::super::watch::Watch;
use super::super::wav::WavHeader;
use super::super::{CopyError, CopyFailure, Report, SideReport};
use super::checks;
use super::chunks::{Chunks, Released};
use super::container::{header, patch};
use super::ending::{self, Ended};
use super::held::Copied;
use super::region::{Piece, RingPiece};
use super::report::{Loss, LossReason, StreamEvent, StreamProgress, StreamReport};
use super::sink::{Event, Sink, add_slots};
use super::video::STALL_MAX;
use crate::device::Class;
use crate::device::audio::{self, AudioError, Params, Pcm, PcmName, Pinned, RunState};
use crate::pages::{PagePool, PoolOptions};

/// How long one wait lasts before the observer is asked again.
const WAIT: Duration = Duration::from_millis(200);

/// How often the clock of the device is told.
const CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Slots that frames are copied to, where they are.
const COPY_SLOTS: usize = 4;

/// Frames of the file up to the end of a piece.
type Mark = u64;

/// Copies from a sound device.
pub(super) fn copy(
    source: &Path,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    checks::source(source, options)?;
    checks::no_video(options)?;
    let name = PcmName::of_path(source).map_err(CopyError::AudioRefused)?;
    let mut notes = Vec::new();
    let target = Target::open(destination, options, observer, &mut notes)?;
    checks::takes_streams(source, &*target.device)?;
    let is_stream = target.device.is_stream();
    let wanted = &options.stream.audio;
    let audio = wanted.device_options(target.unit);
    let pcm = Pcm::open(&name, audio::Direction::Capture, &audio).map_err(CopyError::AudioRefused)?;
    notes.extend(pcm.notes().iter().cloned());
    let params = *pcm.params();
    let frames = frames_of(options, &params);
    if frames == Some(0) {
        return Err(CopyError::Option { what: "number of frames", value: 0, min: 1, max: u64::MAX }.into());
    }
    let header = header(destination, &target, options, &params, frames)?;
    let room = header.as_ref().map(|header| header.data_len_max().checked_div(params.frame_len).unwrap_or(0));

    let chunks = Chunks::new(&params, target.unit, is_stream);
    let piece_len_max = chunks.len_max();
    let slot_len = usize::try_from(piece_len_max.saturating_add(target.unit)).unwrap_or(usize::MAX);
    let pool = add_slots(
        PoolOptions::uniform(slot_len, COPY_SLOTS),
        target.unit,
        piece_len_max,
        options.plain_depth(),
    );
    let pool = Arc::new(PagePool::new(pool).map_err(CopyError::from)?);
    let copies = copies(pcm.pinned(), target.unit);
    checks::direct(source, copies.as_deref(), options)?;
    let sink = Sink::new(target, Arc::clone(&pool), piece_len_max, options)?;

    let done_bytes = AtomicU64::new(0);
    let total = frames.map(|frames| frames.saturating_mul(params.frame_len));
    let mut watch = Watch::new(observer, &done_bytes, total);
    let report = stream_report(&params, copies.as_deref());
    let side = SideReport::new(source.display().to_string(), Class::Audio.name(), copies.is_none());
    let mut run = Run {
        sink,
        pool: Arc::clone(&pool),
        options,
        report,
        side,
        params,
        chunks,
        asked: frames,
        frames: frames.map_or(room, |frames| Some(room.map_or(frames, |room| frames.min(room)))),
        copies,
        released: Released::default(),
        hw: 0,
        taken: 0,
        done: 0,
        stopped: false,
        expected: 0,
        told: 0,
        blocked: false,
        pressed: false,
        losses: Vec::new(),
        notes,
        clock: None,
        error: None,
        pcm,
    };
    // Before anything is written.
    run.start(header.as_ref(), &mut watch)?;
    watch.begin(&run.side, &run.sink.report, options.plain_block_len(), options.plain_depth());
    run.transfer(&mut watch, &done_bytes);
    run.end(&mut watch, &done_bytes);
    let all = frames.is_some_and(|frames| frames == run.report.frames);
    if frames.is_none() && room == Some(run.done) && run.error.is_none() {
        let (path, data_len) =
            (run.sink.target.device.path().to_owned(), run.done.saturating_mul(params.frame_len));
        run.fail(CopyError::WavFull { path, data_len });
    }
    let Run { sink, report, side, error, pcm, notes, .. } = run;
    drop(pcm);
    let start = options.seek;
    let ended = Ended { side, report, error, notes, all };
    let patch = |end: u64| patch(header.as_ref(), start, end);
    ending::finish(sink, ended, patch, &pool, options, &mut watch)
}

/// How many frames are wanted.
pub(super) fn frames_of(options: &CopyOptions, params: &Params) -> Option<u64> {
    let by_time = options.stream.duration.map(|duration| {
        let nanos = duration.as_nanos().saturating_mul(params.rate_hz.into());
        u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX)
    });
    [options.stream.frames, by_time].into_iter().flatten().min()
}

/// Why frames are copied out of the ring, if all of them are.
fn copies(pinned: Pinned, unit: u64) -> Option<String> {
    match pinned {
        Pinned::Yes => None,
        // Writes through the page cache, and to pipes, take any memory.
        _ if unit == 1 => None,
        pinned => Some(pinned.to_string()),
    }
}

/// Begins the report of a sound device; `copies` is why its ring is copied from or to.
pub(super) fn stream_report(params: &Params, copies: Option<&str>) -> StreamReport {
    StreamReport {
        format: in_words(params),
        memory: format!("ring of the device, {} bytes", params.ring_len),
        memory_reason: copies.unwrap_or_default().to_owned(),
        frame_len: params.frame_len,
        buffers: params.ring_len,
        ..StreamReport::default()
    }
}

/// A configuration in the words of a report.
pub(super) fn in_words(params: &Params) -> String {
    let Params { sample, rate_hz, channels, .. } = params;
    let plural = if *channels == 1 { "" } else { "s" };
    format!("{sample} {rate_hz} Hz {channels} channel{plural}")
}

struct Run<'a> {
    pcm: Pcm,
    sink: Sink<Piece, Mark>,
    pool: Arc<PagePool>,
    options: &'a CopyOptions,
    report: StreamReport,
    side: SideReport,
    params: Params,
    chunks: Chunks,
    /// Frames that were asked for.
    asked: Option<u64>,
    /// Frames to record: those, or as many as a header can say.
    frames: Option<u64>,
    /// Why frames are copied out of the ring, if all of them are.
    copies: Option<String>,
    /// What came back from the destination, in the order of the ring.
    released: Released,
    /// Frames that the device is done with, since it was prepared.
    hw: u64,
    /// Frames that were handed out, since then.
    taken: u64,
    /// Frames that were handed out, in all.
    done: u64,
    /// The device stands still, and what it left is handed out.
    stopped: bool,
    /// Frames that it woke us for.
    expected: u64,
    /// Frames that it knows to be its own again.
    told: u64,
    /// There was no slot to copy to.
    blocked: bool,
    /// The ring is so short that pieces are as long as what is there.
    pressed: bool,
    /// Losses that are told when the frames before them are.
    losses: Vec<Loss>,
    notes: Vec<String>,
    /// When its clock was told last.
    clock: Option<Instant>,
    error: Option<CopyError>,
}

impl Run<'_> {
    fn fail(&mut self, error: CopyError) {
        self.error.get_or_insert(error);
    }

    /// Starts the device, and makes the destination ready when that has worked.
    fn start(&mut self, header: Option<&WavHeader>, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        let begun = self.pcm.start().and_then(|()| self.pcm.status());
        let begun = begun.map_err(CopyError::AudioRefused)?;
        self.sink.watch(Arc::clone(self.pcm.fd()), Direction::FromDevice)?;
        self.sink.begin(self.options)?;
        if let Some(header) = header {
            self.sink.put_bytes(header.bytes(), 0)?;
        }
        watch.observer().event(&StreamEvent::Started {
            device: &self.side.path,
            format: &self.report.format,
            memory: &self.report.memory,
            frame_len: self.report.frame_len,
            time: begun.trigger_at,
        });
        Ok(())
    }

    fn transfer(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        let mut last = Instant::now();
        let mut event = Event::Ready;
        while !self.has_all() && !self.sink.failed() {
            self.tell(watch, done_bytes, Phase::Copying);
            if watch.stopped {
                return;
            }
            let before = self.hw;
            match self.turn(event, watch) {
                Ok(next) => event = next,
                Err(error) => return self.fail(error),
            }
            // What is not there because the destination has no room does not count.
            if self.hw != before || self.stopped || !self.sink.has_room() {
                last = Instant::now();
            }
            let waited = last.elapsed();
            if waited >= STALL_MAX {
                let path = self.pcm.path().to_owned();
                return self.fail(CopyError::StreamStalled { path, waited, frames: self.done });
            }
        }
    }

    /// One turn: asks the device, where it is ready or nobody waits for that, hands out what is there, waits.
    fn turn(&mut self, event: Event, watch: &mut Watch<'_>) -> Result<Event, CopyError> {
        self.give_back();
        // What came back is told with that; where much was out, at once.
        let much = self.pressed
            || self.is_all_out()
            || self.taken.saturating_sub(self.told) > u64::from(self.params.buffer_frames / 2);
        let news = self.released.upto() > self.told;
        // Where nothing happened it is asked, too: a piece may take longer than anybody waits for a sign of life.
        if !self.stopped && (event != Event::Written || (much && news) || !self.sink.has_room()) {
            self.ask(watch)?;
        }
        self.blocked = false;
        self.hand_out(self.stopped || self.pressed)?;
        if self.stopped && self.is_empty() {
            self.recover()?;
            return Ok(Event::Ready);
        }
        if self.has_all() {
            return Ok(Event::Nothing);
        }
        // A device that stands still is always ready, and one is that nobody has memory for.
        let has_work = !self.stopped && !self.blocked && !self.is_all_out() && self.sink.has_room();
        self.sink.wait(has_work, WAIT)
    }

    /// Says whether all frames that are wanted have been handed out.
    fn has_all(&self) -> bool {
        self.frames.is_some_and(|frames| self.done >= frames)
    }

    /// Says whether everything that the device left was handed out, and came back.
    fn is_empty(&self) -> bool {
        self.taken >= self.hw && self.released.upto() >= self.taken
    }

    /// Frames that are still wanted.
    fn wanted(&self) -> u64 {
        self.frames.map_or(u64::MAX, |frames| frames.saturating_sub(self.done))
    }

    /// The most frames that may lie in the ring for the device to wake us in time: a period before it stops.
    fn reach(&self) -> u64 {
        self.pcm.stop_threshold().saturating_sub(self.params.period_frames.into()).max(1)
    }

    /// Says whether so much of the ring is on its way that the device has no new frames to wake us for.
    fn is_all_out(&self) -> bool {
        self.taken.saturating_sub(self.told) >= self.reach()
    }

    /// Asks the device how far it is, and says when it is to wake us: when there is a piece beside what is handed out, and beside the one
    /// that it woke us for, which is handed out next.
    fn ask(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        self.told = self.released.upto();
        let out = self.taken.saturating_sub(self.told);
        let next = self.expected.saturating_add(self.chunks.frames()).min(self.wanted()).max(1);
        self.expected = self.chunks.frames();
        // In a ring of few periods there is no time for long pieces: what is there is taken.
        let wake_at = out.saturating_add(next).min(self.reach());
        self.pressed = wake_at < out.saturating_add(next);
        let state = self.pcm.update(wake_at.saturating_sub(1)).map_err(CopyError::Audio)?;
        self.hw = self.hw.max(state.hw_frames);
        let waiting = state.avail_frames.saturating_mul(self.params.frame_len);
        self.report.waiting_max = self.report.waiting_max.max(waiting);
        if state.state != RunState::Running {
            self.stopped = true;
            self.skip(state.avail_frames, state.at);
        } else if self.clock.is_none_or(|told| told.elapsed() >= CLOCK_EVERY) {
            self.clock = Some(Instant::now());
            let frames = self.done.saturating_add(self.hw.saturating_sub(self.taken));
            watch.observer().event(&StreamEvent::Clock { frames, time: state.at });
        }
        Ok(())
    }

    /// Leaves out what the device wrote over: more was in the ring than it holds.
    fn skip(&mut self, avail_frames: u64, now: Duration) {
        if avail_frames <= self.params.buffer_frames.into() {
            return;
        }
        let first = self.hw.saturating_sub(self.params.buffer_frames.into());
        let damaged = first.min(self.taken).saturating_sub(self.released.upto());
        if damaged > 0 {
            let upto = self.done.saturating_sub(self.taken.saturating_sub(first.min(self.taken)));
            self.notes.push(format!(
                "the device wrote over up to {damaged} frames before frame {upto} while they were on their way: they may be damaged"
            ));
        }
        let (skipped, sequence) = (first.saturating_sub(self.taken), self.taken);
        self.released.put(self.taken, skipped);
        self.taken = self.taken.saturating_add(skipped);
        if skipped > 0 {
            let (at_frame, count) = (self.done, Some(skipped));
            self.lose(Loss { reason: LossReason::Dropped, at_frame, sequence, count, time: now });
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.report.lose(loss);
        self.losses.push(loss);
    }

    /// Hands out what is there, as the destination has room: whole pieces, or the `rest` too.
    fn hand_out(&mut self, rest: bool) -> Result<(), CopyError> {
        while self.sink.has_room() {
            let there = self.hw.saturating_sub(self.taken).min(self.wanted());
            let offset = self.pcm.offset_of(self.taken);
            let last = rest || there == self.wanted();
            let Some(frames) = self.chunks.next(there, offset, last) else { break };
            if !self.put(offset, frames) {
                self.blocked = true;
                break;
            }
            self.give_back();
        }
        Ok(())
    }

    /// Hands frames to the destination; says whether there was memory for it.
    fn put(&mut self, offset: u64, frames: u64) -> bool {
        let len = frames.saturating_mul(self.params.frame_len);
        let Some(region) = self.pcm.ring().region(offset, len) else { return false };
        let why = match &self.copies {
            Some(why) => Some(why.as_str()),
            None if self.sink.suits(region.addr()) => None,
            None if self.report.xruns > 0 => {
                Some("behind an xrun the ring does not lie as the destination's blocks do")
            }
            None => Some("the ring does not lie as the destination's blocks do"),
        };
        let mark = self.done.saturating_add(frames);
        if let Some(why) = why {
            let place = self.sink.offset_for(0);
            let room = usize::try_from(len.saturating_add(place)).unwrap_or(usize::MAX);
            let Some(mut slot) = self.pool.take_len(room) else { return false };
            let start = usize::try_from(place).unwrap_or(usize::MAX);
            let into = slot.as_mut_slice().get_mut(start..room).unwrap_or_default();
            region.copy_out(0, into);
            self.side.count_bounced(len, why);
            self.released.put(self.taken, frames);
            self.sink.put(Copied { slot, offset: place, len }.into(), mark, false);
        } else {
            self.side.count_direct(len);
            self.sink.put(Piece::Ring(RingPiece { region, frame: self.taken, frames }), mark, false);
        }
        self.side.count_request(self.sink.writes());
        self.taken = self.taken.saturating_add(frames);
        self.done = mark;
        true
    }

    /// Gives frames back to the device that were written.
    fn give_back(&mut self) {
        while let Some(piece) = self.sink.take_returned() {
            if let Piece::Ring(RingPiece { frame, frames, .. }) = piece {
                self.released.put(frame, frames);
            }
        }
        let frames = self.released.take();
        self.pcm.commit(frames);
    }

    /// Has the device go on, once the ring is empty, and tells what was lost.
    fn recover(&mut self) -> Result<(), CopyError> {
        let gap = self.pcm.recover(true).map_err(CopyError::Audio)?;
        let count = gap.frames(self.params.rate_hz);
        let loss =
            Loss { reason: LossReason::Xrun, at_frame: self.done, sequence: 0, count, time: gap.stopped_at };
        self.lose(loss);
        (self.hw, self.taken, self.expected, self.told) = (0, 0, 0, 0);
        self.stopped = false;
        self.released = Released::default();
        Ok(())
    }

    /// Tells what is new.
    fn tell(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64, phase: Phase) {
        while let Some(frames) = self.sink.take_passed() {
            self.report.frames = frames;
        }
        let frames = self.report.frames;
        let told = self.losses.iter().take_while(|loss| loss.at_frame <= frames).count();
        for loss in self.losses.drain(..told) {
            watch.observer().event(&StreamEvent::Lost(loss));
        }
        done_bytes.store(frames.saturating_mul(self.params.frame_len), Ordering::Relaxed);
        let waiting = self.hw.saturating_sub(self.released.upto());
        watch.stream = Some(StreamProgress {
            frames,
            frames_total: self.asked,
            lost: 0,
            xruns: self.report.xruns,
            waiting: waiting.saturating_mul(self.params.frame_len),
            buffers: self.report.buffers,
            latency: self.sink.latency,
        });
        watch.tell(phase, (0, self.sink.writes()));
    }

    /// Stops the device, and writes what it recorded up to then.
    fn end(&mut self, watch: &mut Watch<'_>, done_bytes: &AtomicU64) {
        if !self.has_all()
            && !self.stopped
            && !self.sink.failed()
            && let Err(error) = self.ask(watch)
        {
            self.fail(error);
        }
        if let Err(error) = self.sink.unwatch() {
            self.fail(error);
        }
        let stood_still = self.pcm.status().map(|status| status.trigger_at);
        match self.pcm.drop_now() {
            Ok(()) | Err(AudioError::Gone { .. }) => {}
            Err(error) => self.fail(CopyError::Audio(error)),
        }
        while self.taken < self.hw && !self.has_all() && !self.sink.failed() && !self.sink.hurry(watch) {
            self.tell(watch, done_bytes, Phase::Copying);
            let turned = self.hand_out(true).and_then(|()| {
                if self.taken < self.hw && self.sink.writes() > 0 {
                    self.sink.wait(false, WAIT)
                } else {
                    Ok(Event::Nothing)
                }
            });
            self.give_back();
            if let Err(error) = turned {
                self.fail(error);
                break;
            }
        }
        if self.stopped && !self.has_all() {
            // It ran over before the end, and nobody knows what it would have recorded since.
            let (at_frame, time) = (self.done, stood_still.unwrap_or_default());
            self.lose(Loss { reason: LossReason::Xrun, at_frame, sequence: 0, count: None, time });
        }
        self.sink.write_rest(watch);
        self.give_back();
        self.tell(watch, done_bytes, Phase::Copying);
        self.report.latency_max = self.sink.latency_max;
        // What came behind a fault is in the report, but no event has a place for it.
        for loss in std::mem::take(&mut self.losses) {
            watch.observer().event(&StreamEvent::Lost(loss));
        }
        watch.observer().event(&self.report.end());
    }
}
