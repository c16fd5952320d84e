//! A sound card in memory, as the kernel shows one: a space of configurations, a ring that is a memfd, counters that a test turns.
//!
//! A [`FakeCard`] is a handle: tests keep one and turn the device behind the back of the [`Pcm`](super::Pcm) that has the other.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::abi::{
    HwParams, Param, RawStatus, SYNC_APPL, SYNC_AVAIL_MIN, SYNC_HWSYNC, SwParams, SyncPtr, Time,
};
use super::driver::{Driver, Op};
use super::format::SampleFormat;

/// The card and what was done to it.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) formats: Vec<SampleFormat>,
    pub(super) channels: (u32, u32),
    pub(super) rates: (u32, u32),
    /// Rates within the range that do not work.
    pub(super) rate_holes: Vec<u32>,
    pub(super) buffer_bytes_max: u32,
    /// The most that there is memory for.
    pub(super) memory_bytes: u32,
    /// A period is a multiple of this.
    pub(super) period_step: u32,
    pub(super) mmap: bool,
    pub(super) playback: bool,
    pub(super) state: i32,
    pub(super) hw_ptr: u64,
    pub(super) appl_ptr: u64,
    pub(super) avail_min: u64,
    pub(super) sw: SwParams,
    pub(super) buffer: u32,
    pub(super) calls: Vec<&'static str>,
    pub(super) now: Time,
    pub(super) trigger: Time,
    pub(super) gone: bool,
}

/// `SNDRV_PCM_STATE_*`.
pub(super) const SETUP: i32 = 1;
const PREPARED: i32 = 2;
pub(super) const RUNNING: i32 = 3;
pub(super) const XRUN: i32 = 4;
pub(super) const DRAINING: i32 = 5;
pub(super) const SUSPENDED: i32 = 7;

#[derive(Clone, Debug)]
pub(super) struct FakeCard {
    card: Arc<Mutex<Card>>,
    fd: Arc<OwnedFd>,
}

impl FakeCard {
    pub(super) fn new(playback: bool) -> Self {
        let file = rustix::fs::memfd_create("card", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
        let card = Card {
            formats: vec![SampleFormat::S16Le, SampleFormat::S24_3Le, SampleFormat::S32Le, SampleFormat::U8],
            channels: (1, 8),
            rates: (8_000, 96_000),
            rate_holes: Vec::new(),
            buffer_bytes_max: 2 << 20,
            memory_bytes: u32::MAX,
            period_step: 1,
            mmap: true,
            playback,
            state: 0,
            hw_ptr: 0,
            appl_ptr: 0,
            avail_min: 1,
            sw: SwParams::default(),
            buffer: 0,
            calls: Vec::new(),
            now: Time { sec: 100, nsec: 0 },
            trigger: Time::default(),
            gone: false,
        };
        Self { card: Arc::new(Mutex::new(card)), fd: Arc::new(file) }
    }

    pub(super) fn with(playback: bool, change: impl FnOnce(&mut Card)) -> Self {
        let fake = Self::new(playback);
        change(&mut fake.card());
        fake
    }

    pub(super) fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves frames, as the device would by the end of a period, and stops at the threshold.
    pub(super) fn turn(&self, frames: u64) {
        let mut card = self.card();
        let boundary = card.sw.boundary;
        card.hw_ptr = (card.hw_ptr + frames) % boundary;
        let (hw, appl) = if card.playback {
            (card.hw_ptr + u64::from(card.buffer), card.appl_ptr)
        } else {
            (card.hw_ptr, card.appl_ptr)
        };
        let avail = (hw + boundary - appl) % boundary;
        let (stop, buffer) = (card.sw.stop_threshold, u64::from(card.buffer));
        if card.state == RUNNING && avail >= stop {
            (card.state, card.trigger) = (XRUN, card.now);
        } else if card.state == DRAINING && avail >= buffer {
            (card.state, card.trigger) = (SETUP, card.now);
        }
    }

    /// Says whether the file would poll as ready.
    pub(super) fn is_ready(&self) -> bool {
        let card = self.card();
        let reach = card.hw_ptr + if card.playback { u64::from(card.buffer) } else { 0 };
        match card.state {
            PREPARED | RUNNING => reach - card.appl_ptr >= card.avail_min,
            DRAINING => false,
            _ => true,
        }
    }
}

impl Driver for FakeCard {
    fn refine(&mut self, params: &mut HwParams) -> Result<(), Errno> {
        let card = self.card();
        if card.gone {
            return Err(Errno::NODEV);
        }
        let keep = |ok: bool| if ok { Ok(()) } else { Err(Errno::INVAL) };
        keep(card.mmap && params.keep_formats(&card.formats))?;
        keep(params.narrow(Param::Channels, card.channels.0, card.channels.1))?;
        keep(params.narrow(Param::Rate, card.rates.0, card.rates.1))?;
        let rate = params.interval(Param::Rate).bounds();
        keep(rate.0 != rate.1 || !card.rate_holes.contains(&rate.0))?;
        let channels = params.interval(Param::Channels).bounds();
        let bytes = |format: &SampleFormat| format.bytes_per_sample();
        let frame_min = params.formats().iter().map(bytes).min().unwrap_or(1) * channels.0;
        let most = card.buffer_bytes_max / frame_min;
        keep(params.narrow(Param::BufferBytes, 64, card.buffer_bytes_max))?;
        keep(params.narrow(Param::BufferFrames, 32, most))?;
        keep(params.narrow(Param::PeriodFrames, 16, most / 2))?;
        let period = params.interval(Param::PeriodFrames).bounds();
        let buffer = params.interval(Param::BufferFrames).bounds();
        keep(period.0 <= buffer.1 / 2)?;
        keep(period.0 != period.1 || period.0.is_multiple_of(card.period_step))?;
        params.info = 1;
        Ok(())
    }

    fn set_hw(&mut self, params: &mut HwParams) -> Result<(), Errno> {
        self.refine(params)?;
        // As the kernel chooses: the longest ring, the shortest period.
        let buffer = params.interval(Param::BufferFrames).bounds().1;
        let period = params.interval(Param::PeriodFrames).bounds().0;
        *params = params.with_value(Param::BufferFrames, buffer).with_value(Param::PeriodFrames, period);
        let bytes =
            buffer * params.interval(Param::Channels).bounds().0 * params.formats()[0].bytes_per_sample();
        let mut card = self.card();
        if bytes > card.memory_bytes {
            return Err(Errno::NOMEM);
        }
        card.buffer = buffer;
        card.state = SETUP;
        rustix::fs::ftruncate(&self.fd, u64::from(bytes).next_multiple_of(4096))
    }

    fn set_sw(&mut self, params: &mut SwParams) -> Result<(), Errno> {
        let mut card = self.card();
        params.boundary = u64::from(card.buffer);
        while params.boundary < 1 << 40 {
            params.boundary *= 2;
        }
        card.sw = *params;
        Ok(())
    }

    fn sync(&mut self, sync: &mut SyncPtr) -> Result<(), Errno> {
        let mut card = self.card();
        card.calls.push("SYNC_PTR");
        if card.gone {
            return Err(Errno::NODEV);
        }
        if sync.flags & SYNC_HWSYNC != 0 {
            match card.state {
                PREPARED | RUNNING | DRAINING => {}
                XRUN => return Err(Errno::PIPE),
                SUSPENDED => return Err(Errno::STRPIPE),
                _ => return Err(Errno::BADFD),
            }
        }
        if sync.flags & SYNC_APPL == 0 {
            card.appl_ptr = sync.appl_ptr;
        }
        if sync.flags & SYNC_AVAIL_MIN == 0 {
            card.avail_min = sync.avail_min;
        }
        sync.state = card.state;
        sync.hw_ptr = card.hw_ptr;
        sync.appl_ptr = card.appl_ptr;
        sync.avail_min = card.avail_min;
        sync.tstamp = card.now;
        Ok(())
    }

    fn status(&mut self) -> Result<RawStatus, Errno> {
        let card = self.card();
        Ok(RawStatus {
            state: card.state,
            tstamp: card.now,
            trigger_tstamp: card.trigger,
            ..RawStatus::default()
        })
    }

    fn control(&mut self, op: Op) -> Result<(), Errno> {
        let mut card = self.card();
        card.calls.push(op.name());
        match op {
            Op::Prepare => {
                (card.state, card.hw_ptr, card.appl_ptr) = (PREPARED, 0, 0);
            }
            Op::Start if card.state != PREPARED => return Err(Errno::BADFD),
            Op::Start if card.playback && card.appl_ptr == card.hw_ptr => return Err(Errno::PIPE),
            Op::Start => (card.state, card.trigger) = (RUNNING, card.now),
            Op::Drop => card.state = SETUP,
            Op::Drain => {
                card.state = DRAINING;
                return Err(Errno::AGAIN);
            }
        }
        Ok(())
    }

    fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }
}
