//! The flags of devices with a clock: video grabbers, sound devices, and what concerns both.
//!
//! One struct a heading of the help. `values` reads what is typed; whether a device can do it, and whether there is such a device at all,
//! is the library's to say. The sidecar is the command's own affair: see `sidecar`.

use std::path::PathBuf;
use std::time::Duration;

use bulkio::copy::{self, AudioCopy, StreamCopy, VideoCopy};
use bulkio::device::audio::SampleFormat;
use bulkio::device::video::{FourCc, MemoryModel, Rate};
use clap::{Args, ValueEnum};

use super::values;
use crate::size;

/// All of them.
#[derive(Args, Debug)]
pub(super) struct StreamFlags {
    #[command(flatten)]
    clock: ClockFlags,
    #[command(flatten)]
    video: VideoFlags,
    #[command(flatten)]
    sound: SoundFlags,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Streams with a clock")]
struct ClockFlags {
    /// Frames to copy: pictures of a grabber, one sample of each channel of a sound device
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// How long to copy: 10s, 1.5s, 500ms, 2m, 1h; a number alone is seconds
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    duration: Option<Duration>,
    /// Memory that a grabber fills while the other end stands still
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "128M")]
    stream_buffer: u64,
    /// Write what the device does, frame by frame, to FILE as lines of JSON; DST.jsonl where DST is a file
    #[arg(long, value_name = "FILE", value_parser = values::sidecar, conflicts_with = "no_sidecar")]
    sidecar: Option<PathBuf>,
    /// Write no such file
    #[arg(long)]
    no_sidecar: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Video (what is not given stays as the device stands)")]
struct VideoFlags {
    /// How pixels are laid out, in four letters: YUYV, GREY, NV12, MJPG
    #[arg(long, value_name = "FOURCC", value_parser = values::fourcc)]
    format: Option<FourCc>,
    /// Width and height in pixels
    #[arg(long, value_name = "WxH", value_parser = values::size)]
    size: Option<(u32, u32)>,
    /// Frames a second: 25, 30000/1001 or 29.97
    #[arg(long, value_name = "N", value_parser = values::fps)]
    fps: Option<Rate>,
    /// Which input, from 0
    #[arg(long, value_name = "N")]
    input: Option<u32>,
    /// Whose memory the device fills: ours by its address (userptr) or exported (dmabuf), or the driver's (mmap); auto is the
    /// first that works
    #[arg(long, value_enum, default_value_t = Memory::Auto)]
    memory: Memory,
    /// Fill up each frame with zeros to a block of DST, so that all of them are written without a copy
    #[arg(long)]
    pad_frames: bool,
}

#[derive(Args, Debug)]
#[command(
    next_help_heading = "Sound (where nothing is given: S16_LE, 48000 Hz, 2 channels, or the nearest that the device has)"
)]
struct SoundFlags {
    /// Frames a second, such as 48000
    #[arg(long, value_name = "HZ", value_parser = values::rate_hz)]
    rate: Option<u32>,
    /// Samples of a frame
    #[arg(long, value_name = "N")]
    channels: Option<u32>,
    /// What a sample is: S16_LE, S24_3LE, S32_LE, FLOAT_LE
    #[arg(long, value_name = "FMT", value_parser = values::sample)]
    sample: Option<SampleFormat>,
    /// Frames after which the device interrupts
    #[arg(long, value_name = "FRAMES")]
    period: Option<u32>,
    /// Frames that the device's ring holds
    #[arg(long, value_name = "FRAMES")]
    ring: Option<u32>,
    /// What is around the samples in a file: nothing, a WAV header, or that where the name ends in .wav
    #[arg(long, value_enum, default_value_t = Container::Auto)]
    container: Container,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    Auto,
    Userptr,
    Dmabuf,
    Mmap,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Container {
    Auto,
    Raw,
    Wav,
}

/// Where the sidecar goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SidecarChoice {
    /// Beside a destination that is a file, nowhere else.
    Beside,
    /// There.
    At(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl StreamFlags {
    pub(super) fn options(&self) -> StreamCopy {
        StreamCopy {
            video: self.video.options(),
            audio: self.sound.options(),
            frames: self.clock.frames,
            duration: self.clock.duration,
            buffer_len: self.clock.stream_buffer,
        }
    }

    pub(super) fn sidecar(&self) -> SidecarChoice {
        match &self.clock.sidecar {
            _ if self.clock.no_sidecar => SidecarChoice::Nowhere,
            Some(path) => SidecarChoice::At(path.clone()),
            None => SidecarChoice::Beside,
        }
    }
}

impl VideoFlags {
    fn options(&self) -> VideoCopy {
        VideoCopy {
            input: self.input,
            format: self.format,
            size: self.size,
            rate: self.fps,
            memory: match self.memory {
                Memory::Auto => None,
                Memory::Userptr => Some(MemoryModel::UserPointer),
                Memory::Dmabuf => Some(MemoryModel::DmaBuf),
                Memory::Mmap => Some(MemoryModel::Mapped),
            },
            pad: self.pad_frames,
        }
    }
}

impl SoundFlags {
    fn options(&self) -> AudioCopy {
        AudioCopy {
            sample: self.sample,
            rate_hz: self.rate,
            channels: self.channels,
            period_frames: self.period,
            buffer_frames: self.ring,
            container: match self.container {
                Container::Auto => copy::Container::ByName,
                Container::Raw => copy::Container::Raw,
                Container::Wav => copy::Container::Wav,
            },
        }
    }
}
