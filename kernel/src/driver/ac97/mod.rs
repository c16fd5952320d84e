//! [`Ac97`]: playback on an AC'97 controller: a stream that is fed while it plays.
//!
//! Intel I/O Controller Hub 5 (ICH5) AC '97 Programmer's Reference Manual, chapter 3. Requests are prepared as they come, each as a whole
//! and of any length; their pieces go into the [ring](scatterlist::desc::ac97) as entries become free, and a request
//! comes back when its last entry has been played. The pages that the disk filled are the very pages that the entries name.
//! `registers` has the registers, `pieces` the format of a request.
#![expect(unsafe_code, reason = "takes back what the controller had; see the invariants of Ac97")]

mod error;
mod pieces;
mod registers;

pub use error::{PlayError, PollError, StartError};
pub use pieces::PieceError;
pub use registers::RegistersError;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use scatterlist::desc::ac97::{BufferRing, ENTRIES, Interrupts, ListError, SAMPLE_BYTES, limits};
use scatterlist::map::{Coherent, CoherentLayout, DmaDevice, InFlight, MapError, Prepared, prepare};
use scatterlist::{
    BusAddr, Complete, Direction, DmaTarget, Fault, Force, LimitId, Outcome, PhysAddr, Position, Request,
    Segment, Source, Status,
};

use super::bare::NoPool;
use crate::refused::Refused;
use crate::registers::{Clock, Registers};
use pieces::PieceFormat;
use registers::{BusMaster, Mixer, Progress, RATE_HZ};

/// Entries that are used at a time. One stays free, so that a current index before the oldest entry can only be an old one.
const QUEUED_MAX: u8 = ENTRIES.saturating_sub(1);

/// What the one who plays chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Samples of a frame.
    pub channels: u8,
    /// Frames a second.
    pub rate_hz: u32,
    /// The most requests that wait or play at a time.
    pub requests_max: usize,
    /// The codec's gain of PCM out (AC '97, section 5.7.2): what its register holds, left and right.
    pub pcm_out: PcmOut,
}

/// The codec's gain of PCM out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PcmOut {
    /// None: samples stay as they are.
    #[default]
    NoGain,
    /// The most. QEMU 7.2 takes the field for an attenuation (`hw/audio/ac97.c`), so that there it is this that leaves samples as they
    /// are.
    MostGain,
}

impl Default for Options {
    /// Two channels at the rate that every codec has; 32 requests.
    fn default() -> Self {
        Self { channels: 2, rate_hz: RATE_HZ, requests_max: 32, pcm_out: PcmOut::NoGain }
    }
}

/// The list, which the controller knows.
type Ring<D> = BufferRing<InFlight<Coherent<D>>>;
/// A request whose memory the controller knows, in part.
type Flight<D, O, C> = InFlight<Prepared<D, NoPool, O, C, Vec<Segment<BusAddr>>>>;

/// A request that waits or plays.
struct Playing<D: DmaDevice<Addr = PhysAddr>, O, C> {
    flight: Flight<D, O, C>,
    /// Pieces that went into the ring.
    fed: usize,
    /// Pieces that have been played.
    played: usize,
    /// Their bytes.
    played_bytes: u64,
}

impl<D: DmaDevice<Addr = PhysAddr>, O, C> Playing<D, O, C> {
    fn pieces(&self) -> &[Segment<BusAddr>] {
        self.flight.command()
    }

    /// Returns the next piece that goes into the ring, and whether it is the last.
    fn next(&self) -> Option<(Segment<BusAddr>, bool)> {
        let piece = self.pieces().get(self.fed)?;
        Some((*piece, self.fed.saturating_add(1) == self.pieces().len()))
    }
}

/// What the stream is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The engine does not run.
    Stopped,
    /// It runs, and more is promised.
    Playing,
    /// It runs, and what there is is all.
    Draining,
    /// It was told to stop, and did not confirm: it keeps what it has, and is given no more.
    Down,
}

/// A driver of PCM out. `D` is the bus, `N` the registers of the codec, `B` those of the engine, `K` the time, `O` owns the memory of
/// requests, `C` is told of their ends.
///
/// # Invariants
/// 1. The controller knows addresses only of the list that `ring` holds in flight, and of the requests in `stream`.
/// 2. A request leaves `stream` when the ring has given back all its entries, or after a reset that the engine confirmed.
///    The controller uses its memory no more then.
/// 3. The list is taken out of flight only after a reset that the engine confirmed.
pub struct Ac97<D, N, B, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    N: Registers,
    B: Registers,
    K: Clock,
    C: Complete,
{
    mixer: Mixer<N>,
    engine: BusMaster<B>,
    clock: K,
    target: DmaTarget<D, NoPool>,
    options: Options,
    /// `None` where the engine went down.
    ring: Option<Ring<D>>,
    /// In the order in which they play.
    stream: VecDeque<Playing<D, O, C>>,
    state: State,
    /// The engine came to the end of the last valid entry, and was given no other since.
    dry: bool,
    underruns: u64,
    fifo_errors: u64,
    entries: u64,
    bounced_bytes: u64,
}

impl<D, N, B, K, O, C> Ac97<D, N, B, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    N: Registers,
    B: Registers,
    K: Clock,
    C: Complete,
{
    /// Resets link, codec and engine, sets the rate and the volume (no attenuation).
    ///
    /// # Errors
    /// [`StartError`]: no codec, not this rate, or no memory for the list.
    ///
    /// # Safety
    /// `mixer` and `bus_master` are those of one controller, which reaches memory as `device` says, and nobody else uses them.
    pub unsafe fn new(
        mixer: N,
        bus_master: B,
        clock: K,
        device: D,
        options: Options,
    ) -> Result<Self, StartError> {
        let (mixer, engine) = (Mixer(mixer), BusMaster(bus_master));
        let target = target(device, options.channels)?;
        engine.pause();
        engine.cold_reset(&clock)?;
        engine.reset(&clock)?;
        mixer.reset();
        mixer.set_rate(options.rate_hz)?;
        mixer.set_pcm_out(options.pcm_out);
        mixer.set_volume(Some(0));
        let ring = new_ring(new_list(&target)?)?;
        engine.set_list(scatterlist::desc::DescriptorMemory::bus_addr(ring.memory()));
        let stream = VecDeque::with_capacity(options.requests_max);
        Ok(Self {
            mixer,
            engine,
            clock,
            target,
            options,
            ring: Some(ring),
            stream,
            state: State::Stopped,
            dry: false,
            underruns: 0,
            fifo_errors: 0,
            entries: 0,
            bounced_bytes: 0,
        })
    }

    /// Returns the target: what the memory of a request must be.
    pub const fn target(&self) -> &DmaTarget<D, NoPool> {
        &self.target
    }

    /// Returns the frames a second.
    pub const fn rate_hz(&self) -> u32 {
        self.options.rate_hz
    }

    /// Sets the attenuation of both channels in steps of 1.5 dB, at most 31; `None` is silence.
    pub fn set_volume(&self, steps: Option<u8>) {
        self.mixer.set_volume(steps);
    }

    /// Returns how many requests wait or play.
    pub fn pending(&self) -> usize {
        self.stream.len()
    }

    /// Returns how often the engine ran out of samples while more was promised: after [`play`](Self::play), until
    /// [`drain`](Self::drain) or [`stop`](Self::stop).
    pub const fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Returns how often the engine got samples from memory too late.
    pub const fn fifo_errors(&self) -> u64 {
        self.fifo_errors
    }

    /// Returns how many entries went into the ring.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns how many bytes went through other memory, because the controller could not use them where they are.
    pub const fn bounced_bytes(&self) -> u64 {
        self.bounced_bytes
    }

    /// Plays a request behind those before. It comes back from [`poll_with`](Self::poll_with) when its last sample has been fetched.
    ///
    /// # Errors
    /// The request back, with why. Where too many wait, that is backpressure: [`Retry::Later`](crate::refused::Retry::Later).
    pub fn play(
        &mut self,
        request: Request<PhysAddr, O, C>,
    ) -> Result<(), Refused<Request<PhysAddr, O, C>, PlayError>> {
        let refused = |request, error: PlayError| Err(Refused { request, retry: error.retry(), error });
        if self.ring.is_none() || self.state == State::Down {
            return refused(request, PlayError::Down);
        }
        if request.direction() != Direction::ToDevice {
            return refused(request, PlayError::Direction);
        }
        if request.position() != Position::Stream {
            return refused(request, PlayError::Position);
        }
        let (waiting, max) = (self.stream.len(), self.options.requests_max);
        if waiting >= max {
            return refused(request, PlayError::Full { waiting, max });
        }
        let prepared = match prepare(&self.target, request, &PieceFormat) {
            Ok(prepared) => prepared,
            Err(failed) => return refused(failed.request, PlayError::Prepare(failed.error)),
        };
        self.bounced_bytes = self.bounced_bytes.saturating_add(prepared.bounced_bytes());
        let flight = prepared.into_flight();
        self.stream.push_back(Playing { flight, fed: 0, played: 0, played_bytes: 0 });
        if self.state == State::Draining {
            self.state = State::Playing;
        }
        // What does not go in now does so at a poll, which says what is wrong.
        let _ = self.feed();
        Ok(())
    }

    /// Promises no more: what there is plays to its end, which is no underrun then.
    pub fn drain(&mut self) {
        if self.state == State::Playing {
            self.state = State::Draining;
        }
    }

    /// Takes what has been played, and feeds what waits: to be called before the ring is played. Returns how many
    /// requests came back, each with its outcome, which nobody has been told.
    ///
    /// # Errors
    /// [`PollError`]; nothing that may still play was given back.
    pub fn poll_with(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<usize, PollError> {
        if self.state == State::Down {
            return Err(PollError::Down);
        }
        let progress = self.engine.progress();
        if progress.fifo_error {
            self.fifo_errors = self.fifo_errors.saturating_add(1);
        }
        let mut ended = 0;
        if self.state != State::Stopped {
            self.dry |= progress.ran_dry;
            // A halt alone says nothing: an engine that was just told to run may not have begun.
            let halted = progress.halted && self.dry;
            ended = self.take(progress.current, halted, back)?;
            // What comes now starts it again, with the entry after the one that it stands on; or it did so already.
            if progress.ran_dry && (self.state == State::Playing || !self.stream.is_empty()) {
                self.underruns = self.underruns.saturating_add(1);
            }
        }
        self.feed()?;
        Ok(ended)
    }

    /// As [`poll_with`](Self::poll_with): the completions are told, and the memory goes to its owners.
    ///
    /// # Errors
    /// As there.
    pub fn poll(&mut self) -> Result<usize, PollError> {
        self.poll_with(&mut |request, outcome| drop(request.complete(outcome)))
    }

    /// Gives back what lies before the `current` entry, and that one too where the engine has `halted` at its end.
    fn take(
        &mut self,
        current: u8,
        halted: bool,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<usize, PollError> {
        let ring = self.ring.as_mut().ok_or(PollError::Down)?;
        // The engine stands where it halted, and what is behind that was given back: it has not gone on yet.
        let before = ring.oldest().wrapping_sub(1) & ENTRIES.wrapping_sub(1);
        if ring.queued() == 0 || current == before {
            return Ok(0);
        }
        let halted = halted && ring.last_valid() == Some(current);
        let played = ring.retire(current, halted)?;
        let mut ended = 0_usize;
        for _ in 0..played {
            let Some(first) = self.stream.front_mut() else { break };
            let len = first.pieces().get(first.played).map_or(0, Segment::len);
            first.played = first.played.saturating_add(1);
            first.played_bytes = first.played_bytes.saturating_add(len);
            if first.played < first.pieces().len() {
                continue;
            }
            let Some(done) = self.stream.pop_front() else { break };
            // SAFETY: (2) the ring has given back the last of its entries, and those before.
            let request = unsafe { done.flight.complete() }.unprepare();
            let outcome = Outcome::whole(request.len_bytes());
            back(request, outcome);
            ended = ended.saturating_add(1);
        }
        Ok(ended)
    }

    /// Puts pieces into the ring while there is room, and tells the engine.
    fn feed(&mut self) -> Result<(), PollError> {
        let ring = self.ring.as_mut().ok_or(PollError::Down)?;
        let mut last = None;
        let mut wrong = None;
        'ring: for playing in &mut self.stream {
            while let Some((piece, is_last)) = playing.next() {
                if ring.queued() >= QUEUED_MAX {
                    break 'ring;
                }
                let interrupts = if is_last { Interrupts::Last } else { Interrupts::Never };
                match ring.push([piece], interrupts, true) {
                    Ok(index) => {
                        last = Some(index);
                        self.entries = self.entries.saturating_add(1);
                    }
                    Err(error) => {
                        wrong = Some(error);
                        break 'ring;
                    }
                }
                playing.fed = playing.fed.saturating_add(1);
            }
        }
        if let Some(last) = last {
            self.dry = false;
            self.engine.set_last_valid(last);
            if self.state == State::Stopped {
                self.engine.run();
                self.state = State::Playing;
            }
        }
        wrong.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Stops at once. What waits or plays comes back cancelled, with the bytes that were played, exactly.
    ///
    /// # Errors
    /// [`StartError`]. Where the engine does not confirm, it keeps what it has, and nothing is played until another stop succeeds;
    /// where there is no list for it then, it is down, and has nothing.
    pub fn stop_with(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<(), StartError> {
        let list = match self.halt(back)? {
            Some(list) => list,
            None => new_list(&self.target)?,
        };
        let ring = new_ring(list)?;
        self.engine.set_list(scatterlist::desc::DescriptorMemory::bus_addr(ring.memory()));
        self.ring = Some(ring);
        Ok(())
    }

    /// As [`stop_with`](Self::stop_with): the completions are told, and the memory goes to its owners.
    ///
    /// # Errors
    /// As there.
    pub fn stop(&mut self) -> Result<(), StartError> {
        self.stop_with(&mut |request, outcome| drop(request.complete(outcome)))
    }

    /// Stops and resets the engine and takes everything back that it had, the list with it.
    fn halt(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<Option<Coherent<D>>, StartError> {
        self.engine.pause();
        let before = core::mem::replace(&mut self.state, State::Down);
        // What was played before an earlier stop that failed is counted, and nothing was since.
        if matches!(before, State::Playing | State::Draining) {
            // A pause halts in the middle of an entry: that one was not played to its end.
            let Progress { current, .. } = self.engine.progress();
            let left = u64::from(self.engine.samples_left()).saturating_mul(SAMPLE_BYTES);
            // An index that cannot be gives nothing back: then nothing more counts as played.
            let counted = self.take(current, false, back).is_ok();
            let ring = self.ring.as_ref().filter(|ring| ring.queued() > 0 && ring.oldest() == current);
            if let Some(first) = self.stream.front_mut().filter(|_| counted && ring.is_some()) {
                let len = first.pieces().get(first.played).map_or(0, Segment::len);
                first.played_bytes = first.played_bytes.saturating_add(len.saturating_sub(left));
            }
        }
        self.engine.reset(&self.clock)?;
        (self.state, self.dry) = (State::Stopped, false);
        while let Some(playing) = self.stream.pop_front() {
            // SAFETY: (2) the engine confirmed the reset.
            let request = unsafe { playing.flight.complete() }.unprepare();
            let (asked, done) = (request.len_bytes(), playing.played_bytes);
            let fault = (done < asked).then_some(Fault { at: done, status: Status::Cancelled });
            back(request, Outcome { asked, done, fault });
        }
        // SAFETY: (3) the engine confirmed the reset.
        Ok(self.ring.take().map(|ring| unsafe { ring.into_memory().complete() }))
    }
}

/// Takes coherent memory for a list.
fn new_list<D>(target: &DmaTarget<D, NoPool>) -> Result<Coherent<D>, MapError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let layout = CoherentLayout::new(u64::from(ENTRIES).saturating_mul(8), 8);
    target.device().alloc_coherent(layout)
}

/// Makes a ring of a list that the engine is to be told of. One that does not do is let go while it is idle: in flight it would leak.
fn new_ring<D>(list: Coherent<D>) -> Result<Ring<D>, ListError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let idle = BufferRing::new(list)?;
    BufferRing::new(idle.into_memory().into_flight())
}

/// Derives the target of the stream: by the rules for entries, and those of the bus.
fn target<D>(device: D, channels: u8) -> Result<DmaTarget<D, NoPool>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let bus = device.target();
    // A request is fed while it plays, so it may have more pieces than the ring has entries.
    let any = |id: LimitId| (id, id.neutral());
    let counts = [any(LimitId::SegmentsMax), any(LimitId::PiecesMax)];
    let entries = counts.into_iter().fold(limits(channels)?.to_builder(), |rules, (id, value)| {
        rules.set(id, value, Source::DescriptorFormat, Force::Soft)
    });
    let limits = entries.build()?.stack(bus.limits())?;
    Ok(bus.channel(&limits)?.with_pool(NoPool))
}

impl<D, N, B, K, O, C> Drop for Ac97<D, N, B, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    N: Registers,
    B: Registers,
    K: Clock,
    C: Complete,
{
    fn drop(&mut self) {
        // Where the engine does not confirm, all that it has stays in flight, which leaks it and says so.
        let halted = self.halt(&mut |request, outcome| drop(request.complete(outcome)));
        drop(halted);
    }
}

impl<D, N, B, K, O, C> fmt::Debug for Ac97<D, N, B, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    N: Registers,
    B: Registers,
    K: Clock,
    C: Complete,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ac97")
            .field("state", &self.state)
            .field("pending", &self.pending())
            .field("underruns", &self.underruns)
            .finish_non_exhaustive()
    }
}
