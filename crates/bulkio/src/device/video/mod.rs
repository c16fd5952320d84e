//! Video grabbers: cameras, capture cards and everything else that gives frames through V4L2, `/dev/videoN`.
//!
//! [`Capture`] opens one, settles what frames are (`negotiate`), and takes frames one by one into memory of a [`MemoryModel`]: slots of a pool, by address or
//! by dma-buf, or the driver's own. [`describe`] says what a grabber can do. Beneath is the trait `driver::Driver`, one call each: `node` is the kernel, the
//! tests' `fake` a device in memory. `flight` and `own` hold what the device may write to.
//!
//! Contract: frames are what was asked for or the call fails; nothing waits; memory at the device is owned here until the driver gave it back, and is leaked where it
//! does not.

mod abi;
mod capture;
mod dmabuf;
mod driver;
mod error;
mod facts;
#[cfg(test)]
mod fake;
mod flight;
mod format;
mod fourcc;
mod frame;
mod layout;
mod mapped;
mod model;
mod negotiate;
mod node;
mod own;
mod rate;
mod sequence;
#[cfg(test)]
mod tests;

pub use capture::Capture;
pub use error::VideoError;
pub use facts::{FormatFacts, InputFacts, Rates, SizeFacts, Sizes, VideoFacts, describe};
pub use format::{Field, Format, Plane};
pub use fourcc::{FourCc, FourCcError};
pub use frame::{
    Frame, FrameBytes, FrameLeaseError, FrameMemory, LeasedFrame, MappedFrame, SharedSlot, Span, Spans,
    SyncError,
};
pub use model::{MemoryModel, ModelRefusal, ModelReport};
pub use rate::{Rate, RateError};
pub use sequence::Sequence;

/// What is wanted of a grabber; `None`: as the device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VideoOptions {
    /// The input, by its number.
    pub input: Option<u32>,
    /// The pixel format.
    pub format: Option<FourCc>,
    /// Width and height, in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub rate: Option<Rate>,
}
