//! [`StreamCopy`]: what a copy from or to a device with a clock is asked to do.

use std::time::Duration;

use super::super::CopyError;
use crate::device::audio::{AudioOptions, SampleFormat};
use crate::device::video::{FourCc, MemoryModel, Rate};

/// What concerns video grabbers and sound devices. Where nothing is said, what the device stands at is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamCopy {
    /// What concerns grabbers.
    pub video: VideoCopy,
    /// What concerns sound.
    pub audio: AudioCopy,
    /// Frames to copy: pictures of a grabber, one sample of every channel of a sound device. All that come if `None`.
    pub frames: Option<u64>,
    /// How long to copy.
    pub duration: Option<Duration>,
    /// Bytes of memory that a grabber fills while the other end stands still.
    pub buffer_len: u64,
}

/// What concerns grabbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VideoCopy {
    /// Which input.
    pub input: Option<u32>,
    /// How pixels are laid out.
    pub format: Option<FourCc>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub rate: Option<Rate>,
    /// Whose memory the device fills: the best that it takes if `None`.
    pub memory: Option<MemoryModel>,
    /// Whether zeros follow each frame up to a block of the destination.
    pub pad: bool,
}

/// What concerns sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AudioCopy {
    /// What a sample is.
    pub sample: Option<SampleFormat>,
    /// Frames a second.
    pub rate_hz: Option<u32>,
    /// Samples of a frame.
    pub channels: Option<u32>,
    /// Frames after which the device interrupts.
    pub period_frames: Option<u32>,
    /// Frames that the device's ring holds.
    pub buffer_frames: Option<u32>,
    /// What is around the samples.
    pub container: Container,
}

/// What is around samples in a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Container {
    /// WAV where the name ends in `.wav`, nothing elsewhere.
    #[default]
    ByName,
    /// Nothing.
    Raw,
    /// A WAV header.
    Wav,
}

/// Bytes that a grabber may fill where nothing is said.
const BUFFER_LEN: u64 = 128 << 20;

/// The most memory for that: what one ring can register sixty times over.
const BUFFER_LEN_MAX: u64 = 64 << 30;

impl Default for StreamCopy {
    fn default() -> Self {
        Self {
            video: VideoCopy::default(),
            audio: AudioCopy::default(),
            frames: None,
            duration: None,
            buffer_len: BUFFER_LEN,
        }
    }
}

impl StreamCopy {
    pub(super) fn check(&self) -> Result<(), CopyError> {
        if !(1..=BUFFER_LEN_MAX).contains(&self.buffer_len) {
            let (value, max) = (self.buffer_len, BUFFER_LEN_MAX);
            return Err(CopyError::Option { what: "memory for a stream", value, min: 1, max });
        }
        if self.frames == Some(0) {
            return Err(CopyError::Option { what: "number of frames", value: 0, min: 1, max: u64::MAX });
        }
        if self.duration == Some(Duration::ZERO) {
            return Err(CopyError::Option { what: "duration", value: 0, min: 1, max: u64::MAX });
        }
        Ok(())
    }

    /// Says whether the memory for a stream is another than without a word.
    pub(super) const fn sets_buffer(&self) -> bool {
        self.buffer_len != BUFFER_LEN
    }

    /// Names an option that is set and that only a device with a clock understands.
    pub(in crate::copy) fn needs_device(&self) -> Option<&'static str> {
        let Self { video, audio, frames, duration, buffer_len } = *self;
        let set = [
            ("--frames", frames.is_some()),
            ("--duration", duration.is_some()),
            ("--stream-buffer", buffer_len != BUFFER_LEN),
        ];
        let set = set.into_iter().find(|(_, set)| *set).map(|(name, _)| name);
        set.or_else(|| video.needs_grabber()).or_else(|| audio.needs_sound())
    }
}

impl VideoCopy {
    /// Names an option that is set and that only a grabber understands.
    pub(super) fn needs_grabber(&self) -> Option<&'static str> {
        let set = [
            ("--input", self.input.is_some()),
            ("--format", self.format.is_some()),
            ("--size", self.size.is_some()),
            ("--fps", self.rate.is_some()),
            ("--memory", self.memory.is_some()),
            ("--pad-frames", self.pad),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }
}

impl AudioCopy {
    /// Returns what a sound device is asked for, beside blocks of `block_len` bytes at the other end.
    pub(super) const fn device_options(&self, block_len: u64) -> AudioOptions {
        let Self { sample, rate_hz, channels, period_frames, buffer_frames, .. } = *self;
        AudioOptions { sample, rate_hz, channels, period_frames, buffer_frames, block_len }
    }

    /// Names an option that is set and that only a sound device understands.
    pub(super) fn needs_sound(&self) -> Option<&'static str> {
        let set = [
            ("--sample", self.sample.is_some()),
            ("--rate", self.rate_hz.is_some()),
            ("--channels", self.channels.is_some()),
            ("--period", self.period_frames.is_some()),
            ("--ring", self.buffer_frames.is_some()),
            ("--container", self.container != Container::ByName),
        ];
        set.into_iter().find(|(_, set)| *set).map(|(name, _)| name)
    }
}
