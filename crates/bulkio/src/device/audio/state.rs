//! What a PCM says of itself: [`RunState`], [`State`] after each exchange of pointers, [`PcmStatus`] with times, and [`Gap`] after an xrun.
//!
//! Frames are counted from the last `prepare` on, without wrapping. Times are those of the monotonic clock.

use std::fmt;
use std::time::Duration;

use super::abi::Time;

/// What a PCM does: `SNDRV_PCM_STATE_*` (include/uapi/sound/asound.h).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum RunState {
    /// Open, without a configuration.
    Open,
    /// Configured and stopped.
    Setup,
    /// Ready to start.
    Prepared,
    /// Running.
    Running,
    /// Stopped, since the ring was full (capture) or empty (playback).
    Xrun,
    /// Playing what is left.
    Draining,
    /// Stopped for a while.
    Paused,
    /// Stopped, since the machine slept.
    Suspended,
    /// The card is gone.
    Disconnected,
    /// A number that is not known here.
    Other(i32),
}

impl RunState {
    pub(super) const fn of(number: i32) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Setup,
            2 => Self::Prepared,
            3 => Self::Running,
            4 => Self::Xrun,
            5 => Self::Draining,
            6 => Self::Paused,
            7 => Self::Suspended,
            8 => Self::Disconnected,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Setup => "stopped",
            Self::Prepared => "ready",
            Self::Running => "running",
            Self::Xrun => "xrun",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Disconnected => "disconnected",
            Self::Other(number) => return write!(f, "state {number}"),
        })
    }
}

/// How far device and user are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// What the PCM does.
    pub state: RunState,
    /// Frames that the device is done with, since the last prepare.
    pub hw_frames: u64,
    /// Frames that the user is done with ([`Pcm::commit`](super::Pcm::commit)), since the last prepare.
    pub appl_frames: u64,
    /// Frames that the user may have: recorded and not committed (capture), or free to be filled (playback). More than the ring holds
    /// after an xrun.
    pub avail_frames: u64,
    /// When the device was seen there.
    pub at: Duration,
}

/// How a PCM stands, with times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcmStatus {
    /// What it does.
    pub state: RunState,
    /// When it started or stopped last.
    pub trigger_at: Duration,
    /// When this was asked.
    pub now: Duration,
    /// Frames between the user and the loudspeaker or microphone, where the driver knows more than the ring: its own queues, too.
    pub delay_frames: i64,
    /// The most frames that were available since the last time that this was asked: how near an xrun was.
    pub avail_max_frames: u64,
    /// Times that the input was louder than the converter can say, since the last time that this was asked.
    pub overrange: u64,
}

/// What is known of the sound that an xrun lost, or of the silence that it made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// What the PCM did before it was made ready: how it stopped.
    pub state: RunState,
    /// Frames from the last prepare to the stop, as the device counted.
    pub hw_frames: u64,
    /// Frames that the user was done with by then.
    pub appl_frames: u64,
    /// When the device stopped.
    pub stopped_at: Duration,
    /// When it ran again; `None` where it was not started.
    pub restarted_at: Option<Duration>,
}

impl Gap {
    /// Returns how long nothing was moved; `None` where it was not started, or the machine slept, since the clock of these times stood still
    /// meanwhile.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        if self.state == RunState::Suspended {
            return None;
        }
        self.restarted_at.map(|restarted| restarted.saturating_sub(self.stopped_at))
    }

    /// Returns how many frames that is at a rate, rounded; `None` as for [`duration`](Self::duration).
    #[must_use]
    pub fn frames(&self, rate_hz: u32) -> Option<u64> {
        let nanos = self.duration()?.as_nanos().saturating_mul(rate_hz.into()).saturating_add(500_000_000);
        u64::try_from(nanos / 1_000_000_000).ok()
    }
}

/// A time of the kernel; what cannot be one is zero.
pub(super) fn duration(time: Time) -> Duration {
    let (sec, nsec) = (u64::try_from(time.sec).unwrap_or(0), u32::try_from(time.nsec).unwrap_or(0));
    Duration::from_secs(sec).saturating_add(Duration::from_nanos(nsec.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_frames() {
        let mut gap = Gap {
            state: RunState::Xrun,
            hw_frames: 9,
            appl_frames: 4,
            stopped_at: Duration::from_millis(1500),
            restarted_at: None,
        };
        assert_eq!((gap.duration(), gap.frames(48_000)), (None, None));
        gap.restarted_at = Some(Duration::from_millis(1750));
        assert_eq!(gap.frames(48_000), Some(12_000));
        assert_eq!(gap.frames(44_101), Some(11_025));
        gap.state = RunState::Suspended;
        assert_eq!((gap.duration(), gap.frames(48_000)), (None, None), "the clock stood still");
    }

    #[test]
    fn states_are_the_kernels() {
        assert_eq!((RunState::of(4), RunState::of(99)), (RunState::Xrun, RunState::Other(99)));
        assert_eq!(duration(Time { sec: -1, nsec: 5 }), Duration::from_nanos(5));
    }
}
