//! [`Pcm`]: an open PCM with its configuration, its ring and its two counters.
//!
//! The kernel's counters wrap at a boundary and begin anew with each `prepare`; here they are whole numbers since then. Device and user share the
//! ring by them alone: capture frames from `appl_frames` up to `hw_frames` are the user's, playback frames from `appl_frames` up to
//! `hw_frames` plus the ring. [`Pcm::update`] exchanges them in one call, and says from how many frames on the file polls as ready.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::AudioOptions;
use super::abi::{
    PROTO_TSTAMP_TYPE, SYNC_APPL, SYNC_AVAIL_MIN, SYNC_HWSYNC, SwParams, SyncPtr, TSTAMP_ENABLE,
    TSTAMP_MONOTONIC,
};
use super::driver::{Driver, Op};
use super::error::AudioError;
use super::format::SampleFormat;
use super::name::{Direction, PcmName};
use super::negotiate::{Negotiation, uneven};
use super::node::Node;
use super::ring::RingMemory;
use super::state::{Gap, PcmStatus, RunState, State, duration};
use crate::engine;
use crate::probe::host::Host;

/// The configuration of an open PCM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    /// The format of a sample.
    pub sample: SampleFormat,
    /// Frames in a second, in Hz.
    pub rate_hz: u32,
    /// Samples in a frame.
    pub channels: u32,
    /// Bytes in a frame.
    pub frame_len: u64,
    /// Frames between two wakes.
    pub period_frames: u32,
    /// Frames in the ring.
    pub buffer_frames: u32,
    /// Bytes in the ring.
    pub ring_len: u64,
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sample, rate_hz, channels, period_frames, buffer_frames, .. } = self;
        write!(
            f,
            "{sample}, {rate_hz} Hz, {channels} channels, periods of {period_frames} frames, ring of {buffer_frames}"
        )
    }
}

/// Whether the ring can be the memory of a direct transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Pinned {
    /// The kernel pins it.
    Yes,
    /// The kernel refuses, with this error number.
    No(u32),
    /// There is no way to ask, with this error number.
    Unknown(u32),
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = |number: &u32| Errno::from_raw_os_error(i32::try_from(*number).unwrap_or(libc::EIO));
        match self {
            Self::Yes => f.write_str("the kernel can pin the ring, so transfers use it where it lies"),
            Self::No(number) => {
                write!(f, "the kernel cannot pin the ring ({}), so its bytes are copied once", errno(number))
            }
            Self::Unknown(number) => {
                write!(f, "whether the kernel can pin the ring is not known ({})", errno(number))
            }
        }
    }
}

/// A counter of the kernel, unwrapped.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    /// The kernel's number at the last prepare.
    origin: u64,
    /// Frames since then.
    frames: u64,
}

impl Counter {
    fn at(origin: u64) -> Self {
        Self { origin, frames: 0 }
    }

    /// The kernel's number.
    fn raw(&self, boundary: u64) -> u64 {
        let sum = u128::from(self.origin).saturating_add(self.frames.into());
        u64::try_from(sum.checked_rem(boundary.into()).unwrap_or(0)).unwrap_or(0)
    }

    /// Takes over the kernel's number. One that is a little behind, as some drivers' are for a moment, is no lap of the boundary.
    fn follow(&mut self, raw: u64, boundary: u64) {
        let before = self.raw(boundary);
        let ahead = if raw >= before {
            raw.saturating_sub(before)
        } else {
            boundary.saturating_sub(before).saturating_add(raw)
        };
        if ahead <= boundary / 2 {
            self.frames = self.frames.saturating_add(ahead);
        } else {
            self.frames = self.frames.saturating_sub(boundary.saturating_sub(ahead));
        }
    }
}

/// An open PCM.
///
/// ```no_run
/// use bulkio::device::audio::{AudioOptions, Direction, Pcm};
///
/// let mut pcm = Pcm::open(&"hw:0,1".parse()?, Direction::Capture, &AudioOptions::default())?;
/// println!("{}; {}", pcm.params(), pcm.pinned());
/// pcm.start()?;
/// let state = pcm.update(0)?;
/// println!("{} frames are there", state.avail_frames);
/// # Ok::<(), bulkio::device::audio::AudioError>(())
/// ```
#[derive(Debug)]
pub struct Pcm {
    driver: Box<dyn Driver>,
    path: PathBuf,
    direction: Direction,
    params: Params,
    ring: Arc<RingMemory>,
    pinned: Pinned,
    boundary: u64,
    hw: Counter,
    appl: Counter,
    notes: Vec<String>,
}

impl Pcm {
    /// Opens a PCM, agrees on a configuration, maps the ring, and makes all ready to start.
    ///
    /// # Errors
    /// [`AudioError`]: no such device, in use (with who has it), or it does not have what is asked for (with what it has).
    pub fn open(name: &PcmName, direction: Direction, options: &AudioOptions) -> Result<Self, AudioError> {
        let host = Host::default();
        let path = name.node_on(&host, direction)?;
        let (node, _) = Node::open(&host, name, direction, &path)?;
        Self::over(Box::new(node), &path, direction, options)
    }

    /// Takes an open driver.
    pub(super) fn over(
        mut driver: Box<dyn Driver>,
        path: &Path,
        direction: Direction,
        options: &AudioOptions,
    ) -> Result<Self, AudioError> {
        let failed = |call, errno| AudioError::Call { path: path.to_owned(), call, errno };
        let agreed = Negotiation { driver: &mut *driver, path, direction }.agree(options)?;
        let frame_len = u64::from(agreed.sample.bytes_per_sample()).saturating_mul(agreed.channels.into());
        let params = Params {
            sample: agreed.sample,
            rate_hz: agreed.rate_hz,
            channels: agreed.channels,
            frame_len,
            period_frames: agreed.period_frames,
            buffer_frames: agreed.buffer_frames,
            ring_len: frame_len.saturating_mul(agreed.buffer_frames.into()),
        };
        let mut notes = agreed.notes.clone();
        notes.extend(uneven(&agreed, frame_len, options.block_len));
        let mut wishes = wishes(&params, direction);
        driver.set_sw(&mut wishes).map_err(|errno| failed("SNDRV_PCM_IOCTL_SW_PARAMS", errno))?;
        let ring_len = usize::try_from(params.ring_len).map_err(|_| failed("mmap", Errno::OVERFLOW))?;
        let ring =
            RingMemory::map(driver.fd(), ring_len, direction).map_err(|errno| failed("mmap", errno))?;
        let pinned = match engine::pinnable(ring.addr()) {
            engine::Pinnable::Yes => Pinned::Yes,
            engine::Pinnable::No(number) => Pinned::No(number),
            engine::Pinnable::Unknown(number) => Pinned::Unknown(number),
        };
        let mut pcm = Self {
            driver,
            path: path.to_owned(),
            direction,
            params,
            ring,
            pinned,
            boundary: wishes.boundary.max(1),
            hw: Counter::default(),
            appl: Counter::default(),
            notes,
        };
        pcm.prepare()?;
        Ok(pcm)
    }

    /// Returns the configuration.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Returns which way the sound goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns the node that is open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says whether the ring can be the memory of a direct transfer.
    #[must_use]
    pub const fn pinned(&self) -> Pinned {
        self.pinned
    }

    /// Returns what the user should know about the configuration.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the file: it polls as readable (capture) or writable (playback) as [`update`](Self::update) says.
    #[must_use]
    pub fn fd(&self) -> &Arc<OwnedFd> {
        self.driver.fd()
    }

    /// Returns the ring.
    #[must_use]
    pub fn ring(&self) -> Arc<RingMemory> {
        Arc::clone(&self.ring)
    }

    /// Returns the place in the ring, in bytes, of a frame that is counted from the last prepare on.
    #[must_use]
    pub fn offset_of(&self, frame: u64) -> u64 {
        // The boundary is a multiple of the ring.
        let frame = u128::from(self.appl.origin).saturating_add(frame.into());
        let place = frame.checked_rem(self.params.buffer_frames.into()).unwrap_or(0);
        u64::try_from(place).unwrap_or(0).saturating_mul(self.params.frame_len)
    }

    fn failed(&self, call: &'static str, errno: Errno) -> AudioError {
        let path = self.path.clone();
        match errno {
            Errno::NODEV | Errno::NXIO => AudioError::Gone { path },
            errno => AudioError::Call { path, call, errno },
        }
    }

    fn control(&mut self, op: Op) -> Result<(), AudioError> {
        self.driver.control(op).map_err(|errno| self.failed(op.name(), errno))
    }

    /// Stops what runs, forgets what is in the ring, and begins to count anew.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn prepare(&mut self) -> Result<(), AudioError> {
        self.control(Op::Prepare)?;
        let mut sync = SyncPtr { flags: SYNC_APPL | SYNC_AVAIL_MIN, ..SyncPtr::default() };
        self.driver.sync(&mut sync).map_err(|errno| self.failed("SYNC_PTR", errno))?;
        // Both are at the same place now.
        (self.hw, self.appl) = (Counter::at(sync.hw_ptr), Counter::at(sync.hw_ptr));
        Ok(())
    }

    /// Starts the device. Playback begins with what was committed, and there must be some.
    ///
    /// # Errors
    /// [`AudioError::Call`]: not prepared, or (`EPIPE`) nothing to play; [`AudioError::Gone`].
    pub fn start(&mut self) -> Result<(), AudioError> {
        self.tell()?;
        self.control(Op::Start)
    }

    /// Stops the device at once. What is in the ring stays there until the next prepare.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn drop_now(&mut self) -> Result<(), AudioError> {
        self.control(Op::Drop)
    }

    /// Has the device play what was committed and stop then. It returns at once: the end is when the file polls as ready and
    /// [`update`](Self::update) says [`RunState::Setup`]. What is free behind the end is filled with silence before, since a device may
    /// run on to the end of its period. A capture stops at once.
    ///
    /// A playback that has run dry does not play what was committed too late: nothing is done then, and [`RunState::Xrun`] is returned, else what
    /// the PCM does now.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn drain(&mut self) -> Result<RunState, AudioError> {
        if self.direction == Direction::Playback {
            let state = self.update(0)?;
            if state.state == RunState::Xrun {
                return Ok(RunState::Xrun);
            }
            let free = state.avail_frames.min(u64::from(self.params.period_frames).saturating_mul(2));
            self.silence(state.appl_frames, free.min(self.params.buffer_frames.into()));
        }
        match self.driver.control(Op::Drain) {
            // The file is not waited for: it goes on by itself.
            Ok(()) | Err(Errno::AGAIN) => {
                let state = self.update(u64::MAX / 4)?;
                // It ran dry meanwhile, and is stopped, with frames that it did not play.
                let is_left = self.direction == Direction::Playback && state.hw_frames < state.appl_frames;
                Ok(if is_left && state.state == RunState::Setup { RunState::Xrun } else { state.state })
            }
            Err(errno) => Err(self.failed(Op::Drain.name(), errno)),
        }
    }

    /// Fills frames of the ring with silence. They are the user's: not committed yet.
    pub fn silence(&self, frame: u64, frames: u64) {
        let sample = self.params.sample;
        let sample_len = usize::try_from(sample.bytes_per_sample()).unwrap_or(1);
        let sample = sample.silence();
        let sample = sample.get(..sample_len).unwrap_or(&sample);
        let ends = self.params.frame_len.saturating_mul(frames.min(self.params.buffer_frames.into()));
        // A few samples at a time, so that no memory is needed for a long silence.
        let chunk = sample.repeat(512);
        let (mut at, mut left) = (self.offset_of(frame), usize::try_from(ends).unwrap_or(0));
        while left > 0 {
            let part = chunk.get(..left.min(chunk.len())).unwrap_or(&chunk);
            let done = self.ring.copy_in(at, part);
            if done == 0 {
                break;
            }
            at = at.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            left = left.saturating_sub(done);
        }
    }

    /// Exchanges counters with the device, in one call. From now on the file polls as ready when more than `wake_after_frames` are
    /// available, or the PCM stops: who has handed out frames that are not committed yet gives their number, so that these do not count.
    ///
    /// The device looks at its counters at the end of each period. An xrun is a state, no error.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn update(&mut self, wake_after_frames: u64) -> Result<State, AudioError> {
        let appl_ptr = self.appl.raw(self.boundary);
        let avail_min = wake_after_frames.saturating_add(1);
        let ask = |flags| SyncPtr { flags, appl_ptr, avail_min, ..SyncPtr::default() };
        let mut sync = ask(SYNC_HWSYNC);
        match self.driver.sync(&mut sync) {
            Ok(()) => {}
            // Stopped: the driver does not look where the device is (Linux, sound/core/pcm_native.c, snd_pcm_hwsync), and tells all else.
            Err(Errno::PIPE | Errno::BADFD | Errno::STRPIPE) => {
                sync = ask(0);
                let told = self.driver.sync(&mut sync);
                told.map_err(|errno| match errno {
                    Errno::BADFD => AudioError::Gone { path: self.path.clone() },
                    errno => self.failed("SYNC_PTR", errno),
                })?;
            }
            Err(errno) => return Err(self.failed("SYNC_PTR", errno)),
        }
        self.hw.follow(sync.hw_ptr, self.boundary);
        Ok(self.state_of(&sync))
    }

    fn state_of(&self, sync: &SyncPtr) -> State {
        let (hw_frames, appl_frames) = (self.hw.frames, self.appl.frames);
        let reach = match self.direction {
            Direction::Capture => hw_frames,
            Direction::Playback => hw_frames.saturating_add(self.params.buffer_frames.into()),
        };
        State {
            state: RunState::of(sync.state),
            hw_frames,
            appl_frames,
            avail_frames: reach.saturating_sub(appl_frames),
            at: duration(sync.tstamp),
        }
    }

    /// Tells the device the user's counter.
    fn tell(&mut self) -> Result<(), AudioError> {
        let appl_ptr = self.appl.raw(self.boundary);
        let mut sync = SyncPtr { flags: SYNC_AVAIL_MIN, appl_ptr, ..SyncPtr::default() };
        self.driver.sync(&mut sync).map_err(|errno| self.failed("SYNC_PTR", errno))
    }

    /// Takes frames off those that are available: they are the device's again to record into, or to play. It is told with the next
    /// [`update`](Self::update), [`start`](Self::start) or [`drain`](Self::drain).
    pub fn commit(&mut self, frames: u64) {
        self.appl.frames = self.appl.frames.saturating_add(frames);
    }

    /// Asks for state and times.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn status(&mut self) -> Result<PcmStatus, AudioError> {
        let raw = self.driver.status().map_err(|errno| self.failed("SNDRV_PCM_IOCTL_STATUS", errno))?;
        Ok(PcmStatus {
            state: RunState::of(raw.state),
            trigger_at: duration(raw.trigger_tstamp),
            now: duration(raw.tstamp),
            delay_frames: raw.delay,
            avail_max_frames: raw.avail_max,
            overrange: raw.overrange,
        })
    }

    /// Makes a PCM that stopped (an xrun, or the machine slept) ready again, and starts it if `restart`; a playback is filled before it is
    /// started. What lies in the ring is lost, so a capture is emptied before. Frames are counted anew from here on.
    ///
    /// # Errors
    /// [`AudioError::Call`], [`AudioError::Gone`].
    pub fn recover(&mut self, restart: bool) -> Result<Gap, AudioError> {
        let stopped = self.status()?;
        let (hw_frames, appl_frames) = (self.hw.frames, self.appl.frames);
        self.prepare()?;
        let mut restarted_at = None;
        if restart {
            self.start()?;
            restarted_at = Some(self.status()?.trigger_at);
        }
        let PcmStatus { state, trigger_at: stopped_at, .. } = stopped;
        Ok(Gap { state, hw_frames, appl_frames, stopped_at, restarted_at })
    }
}

impl Pcm {
    /// Returns how many frames may lie in the ring before the device stops by itself.
    pub(crate) fn stop_threshold(&self) -> u64 {
        wishes(&self.params, self.direction).stop_threshold
    }
}

impl Drop for Pcm {
    fn drop(&mut self) {
        // Whoever still holds the ring keeps the file open, and the device should not run for nobody. A device that is gone, or stopped
        // already, may refuse; there is nothing that could be done then.
        let _ = self.driver.control(Op::Drop);
    }
}

/// When the device wakes, starts and stops.
///
/// A capture stops a period before its ring is full: a device looks at its counters at the end of each period only, and must not have written over
/// what was not taken by then. So what was recorded before an xrun is whole. A playback stops when it has nothing more.
fn wishes(params: &Params, direction: Direction) -> SwParams {
    let (buffer, period) = (u64::from(params.buffer_frames), u64::from(params.period_frames));
    let spare = if direction == Direction::Capture && buffer / period.max(1) >= 4 { period } else { 0 };
    SwParams {
        tstamp_mode: TSTAMP_ENABLE,
        period_step: 1,
        avail_min: 1,
        xfer_align: 1,
        // Only by hand.
        start_threshold: u64::from(u32::MAX),
        stop_threshold: buffer.saturating_sub(spare),
        proto: PROTO_TSTAMP_TYPE,
        tstamp_type: TSTAMP_MONOTONIC,
        ..SwParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_unwrap() {
        let boundary = 1 << 62;
        let mut counter = Counter::at(boundary - 10);
        counter.follow(boundary - 4, boundary);
        assert_eq!(counter.frames, 6);
        counter.follow(20, boundary);
        assert_eq!((counter.frames, counter.raw(boundary)), (30, 20));
        counter.follow(18, boundary);
        assert_eq!(counter.frames, 28, "a little behind is no lap");
    }
}
