//! [`VideoError`]: why a call on a grabber failed, what it has instead, and what to do.

use std::path::PathBuf;

use rustix::io::Errno;

use super::facts::{InputFacts, Rates, Sizes, join};
use super::fourcc::FourCc;
use super::model::{MemoryModel, ModelRefusal};
use super::rate::Rate;
use crate::device::holder::{Holder, list};

/// Why a call on a grabber failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// The path leads to something that gives no video.
    #[error("{} is no video grabber: it is {what}", .path.display())]
    NotCapture {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The node cannot be opened.
    #[error("cannot open {}: {errno}", .path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The system's answer.
        errno: Errno,
    },
    /// The driver has no queue of buffers.
    #[error("{} ({driver}) gives frames by read(2) only, and streaming (V4L2_CAP_STREAMING) is needed", .path.display())]
    NoStreaming {
        /// The node.
        path: PathBuf,
        /// The driver.
        driver: String,
    },
    /// There is no such input.
    #[error("{} has no input {wanted}: {errno}; it has {}", .path.display(), join(.known))]
    Input {
        /// The node.
        path: PathBuf,
        /// The input that was asked for.
        wanted: u32,
        /// Those that it has.
        known: Vec<InputFacts>,
        /// The driver's answer.
        errno: Errno,
    },
    /// The device does not have the pixel format.
    #[error("{} does not give {wanted}; it gives {}", .path.display(), join(.known))]
    Format {
        /// The node.
        path: PathBuf,
        /// The format that was asked for.
        wanted: FourCc,
        /// Those that it has.
        known: Vec<FourCc>,
    },
    /// The device does not have the size.
    #[error(
        "{} does not give {}x{} in {fourcc}; the nearest is {}x{}, and it gives {known}",
        .path.display(), .wanted.0, .wanted.1, .nearest.0, .nearest.1
    )]
    Size {
        /// The node.
        path: PathBuf,
        /// The pixel format.
        fourcc: FourCc,
        /// The width and height that were asked for, in pixels.
        wanted: (u32, u32),
        /// What the driver would make of them.
        nearest: (u32, u32),
        /// The sizes that it has in that format.
        known: Sizes,
    },
    /// The device does not have the rate.
    #[error(
        "{} does not give {wanted} frames per second at {}x{} in {fourcc}; the driver makes it {}, and it gives {known}",
        .path.display(), .size.0, .size.1, .got.map_or_else(|| "none".to_owned(), |rate| rate.to_string())
    )]
    Rate {
        /// The node.
        path: PathBuf,
        /// The pixel format.
        fourcc: FourCc,
        /// The width and height, in pixels.
        size: (u32, u32),
        /// The rate that was asked for.
        wanted: Rate,
        /// What the driver made of it.
        got: Option<Rate>,
        /// The rates that it has at that size.
        known: Rates,
    },
    /// Somebody else uses the device.
    #[error("{} is in use ({call}): {} has it open; a grabber gives frames to one user at a time", .path.display(), list(.holders))]
    InUse {
        /// The node.
        path: PathBuf,
        /// The call that was refused.
        call: &'static str,
        /// Who has it open, as far as can be seen.
        holders: Vec<Holder>,
    },
    /// Frames cannot go to memory of this kind.
    #[error("{} does not fill {model}: {refusal}", .path.display())]
    Model {
        /// The node.
        path: PathBuf,
        /// The kind of memory.
        model: MemoryModel,
        /// Why not.
        refusal: ModelRefusal,
    },
    /// A slot cannot take a frame at this place.
    #[error(
        "a frame of {} needs {need} bytes of a slot, at a multiple of {align} bytes, and there are {have} bytes from byte {offset} on",
        .path.display()
    )]
    Slot {
        /// The node.
        path: PathBuf,
        /// Bytes that a frame takes.
        need: u64,
        /// What its place must be a multiple of, in bytes.
        align: u64,
        /// Bytes of the slot behind the place.
        have: u64,
        /// The place in the slot, in bytes.
        offset: u64,
    },
    /// The slot is of another pool than that which the stream was started with.
    #[error("{} was started with one pool, and a slot of another cannot be shared with it", .path.display())]
    OtherPool {
        /// The node.
        path: PathBuf,
    },
    /// All buffers are queued.
    #[error("all {count} buffers of {} are queued", .path.display())]
    Full {
        /// The node.
        path: PathBuf,
        /// How many there are.
        count: u32,
    },
    /// The call does not fit the state of the stream.
    #[error("{}: {what}", .path.display())]
    State {
        /// The node.
        path: PathBuf,
        /// What was wrong.
        what: &'static str,
    },
    /// The device is gone.
    #[error("{} is gone: the device was unplugged, or its driver let it go ({call})", .path.display())]
    Disconnected {
        /// The node.
        path: PathBuf,
        /// The call that was refused.
        call: &'static str,
    },
    /// The device gave up in the middle of a stream.
    #[error("{} stopped with an error: {errno} ({call}); nothing more comes until the stream is started again", .path.display())]
    Stopped {
        /// The node.
        path: PathBuf,
        /// The call that said so.
        call: &'static str,
        /// The driver's answer.
        errno: Errno,
    },
    /// The driver gave back what it was not given.
    #[error("the driver of {} gave back buffer {index}, and it has {count}, of which that one is not queued", .path.display())]
    Nonsense {
        /// The node.
        path: PathBuf,
        /// The buffer.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// A call failed.
    #[error("{call} on {} failed: {errno}", .path.display())]
    Call {
        /// The node.
        path: PathBuf,
        /// The call, by the name that the kernel's documentation has for it.
        call: &'static str,
        /// The driver's answer.
        errno: Errno,
    },
}

impl VideoError {
    /// Says whether it came before any frame was asked for: what the caller wants cannot be.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NotCapture { .. }
                | Self::Open { .. }
                | Self::NoStreaming { .. }
                | Self::Input { .. }
                | Self::Format { .. }
                | Self::Size { .. }
                | Self::Rate { .. }
                | Self::InUse { .. }
                | Self::Model { .. }
        )
    }
}
