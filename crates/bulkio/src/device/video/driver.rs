//! [`Driver`]: the kernel's interface to a grabber, one call each, with what comes back as plain values.
//!
//! [`Node`](super::node::Node) is the kernel, the tests' `fake` a device in memory. All logic is above: what to ask for (`negotiate`), which memory
//! works (`model`), who owns which buffer (`flight`, `capture`). Calls do not wait. The contract is that of the unsafe trait: memory that was queued is
//! written to until the driver says otherwise.
#![expect(unsafe_code, reason = "the driver's word is what frees memory")]

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use scatterlist::CpuAddr;

use super::facts::{FormatFacts, InputFacts};
use super::format::Plane;
use super::fourcc::FourCc;
use super::mapped::Region;
use super::model::MemoryModel;
use super::rate::Rate;

/// `VIDIOC_QUERYCAP`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Capability {
    /// The driver's name.
    pub(super) driver: String,
    /// The device's name.
    pub(super) card: String,
    /// Where it is plugged in.
    pub(super) bus: String,
    /// `V4L2_CAP_*` of this node.
    pub(super) caps: u32,
}

/// A format as `VIDIOC_G_FMT`, `_TRY_FMT` and `_S_FMT` speak of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pixels {
    pub(super) fourcc: FourCc,
    pub(super) width: u32,
    pub(super) height: u32,
    /// `enum v4l2_field`.
    pub(super) field: u32,
    pub(super) planes: Vec<Plane>,
}

/// What is wanted of a format; the driver chooses the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) fourcc: FourCc,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// One answer of `VIDIOC_ENUM_FRAMESIZES`: width and height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SizeAt {
    Discrete((u32, u32)),
    Steps { min: (u32, u32), max: (u32, u32), step: (u32, u32) },
}

/// One answer of `VIDIOC_ENUM_FRAMEINTERVALS`, as rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RateAt {
    Discrete(Rate),
    Steps { slowest: Rate, fastest: Rate },
}

/// What `VIDIOC_REQBUFS` gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Granted {
    /// Buffers, which may be more or fewer than asked.
    pub(super) count: u32,
    /// `V4L2_BUF_CAP_*`; zero before Linux 4.20.
    pub(super) supports: u32,
}

/// The memory of one plane that is queued.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// The driver's own.
    Own,
    /// Bytes of this process.
    Memory { addr: CpuAddr, len: u32 },
    /// A dma-buf, from its beginning.
    Shared { dmabuf: BorrowedFd<'a>, len: u32 },
}

/// One plane of a buffer that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Filled {
    /// Where the payload ends.
    pub(super) end: u32,
    /// Where it begins.
    pub(super) start: u32,
}

/// `VIDIOC_DQBUF`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dequeued {
    pub(super) index: u32,
    pub(super) planes: Vec<Filled>,
    pub(super) sequence: u32,
    pub(super) timestamp: Duration,
    /// `V4L2_BUF_FLAG_ERROR`.
    pub(super) is_error: bool,
}

/// The kernel's interface.
///
/// # Safety
/// An implementation writes to the memory of a buffer only from [`Driver::queue`] on until that buffer's index comes out of [`Driver::dequeue`], until
/// [`Driver::stream`] has been switched off or [`Driver::request`] has succeeded, or until [`Driver::close`] has answered `true`. A [`Region`] of
/// [`Driver::map`] stays mapped and readable for its life, and is written to in the same way.
pub(super) unsafe trait Driver: fmt::Debug + Send {
    /// Asks what the device is, and settles which kind of queue is used from now on.
    fn capability(&mut self) -> Result<Capability, Errno>;

    fn input(&mut self) -> Result<u32, Errno>;
    fn set_input(&mut self, input: u32) -> Result<(), Errno>;
    fn input_at(&mut self, index: u32) -> Result<InputFacts, Errno>;

    /// The format of this index, without its sizes.
    fn format_at(&mut self, index: u32) -> Result<FormatFacts, Errno>;
    fn size_at(&mut self, fourcc: FourCc, index: u32) -> Result<SizeAt, Errno>;
    fn rate_at(&mut self, fourcc: FourCc, size: (u32, u32), index: u32) -> Result<RateAt, Errno>;

    fn format(&mut self) -> Result<Pixels, Errno>;
    /// What the driver would make of it. Nothing changes.
    fn try_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno>;
    /// What the driver made of it.
    fn set_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno>;

    /// The rate; `None` where the device has none to tell.
    fn rate(&mut self) -> Result<Option<Rate>, Errno>;
    /// What the driver made of it; `None` where it has no rates to set.
    fn set_rate(&mut self, rate: Rate) -> Result<Option<Rate>, Errno>;

    /// Makes so many buffers for this kind of memory, in place of those that were; none with 0.
    fn request(&mut self, model: MemoryModel, count: u32) -> Result<Granted, Errno>;
    /// Maps all planes of a buffer of the driver's own.
    fn map(&mut self, index: u32) -> Result<Region, Errno>;

    /// Queues a buffer.
    ///
    /// # Safety
    /// The places stay valid, and nobody else reads or writes their bytes, until the trait's contract says that the device is done with them.
    /// After an error the buffer is not queued.
    unsafe fn queue(&mut self, model: MemoryModel, index: u32, places: &[Place<'_>]) -> Result<(), Errno>;

    /// Takes a filled buffer; `EAGAIN` where there is none yet.
    fn dequeue(&mut self, model: MemoryModel, planes: usize) -> Result<Dequeued, Errno>;

    fn stream(&mut self, on: bool) -> Result<(), Errno>;

    /// Closes the device for good. `true`: that ended everything that it did. All other calls answer `ENODEV` from now on.
    fn close(&mut self) -> bool;

    /// A descriptor that is ready for reading when a call of `dequeue` has something to say. It is not the device.
    fn watch(&self) -> &Arc<OwnedFd>;
}
