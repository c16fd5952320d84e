//! [`Node`]: a grabber behind V4L2, by ioctls on its node.
//!
//! The descriptor never leaves: what others wait for is an epoll set that holds it and no reference to it. So when the node is closed, the device
//! lets go of all memory at once, also where it was unplugged and `VIDIOC_STREAMOFF` is refused; the epoll set tells whether closing was the last
//! reference (proc(5), `/proc/self/fdinfo`: it lists the files that are still there).
#![expect(unsafe_code, reason = "an ioctl's argument type is known to its author alone")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};
use scatterlist::Addr;

use super::abi::{self, cap};
use super::driver::{Capability, Dequeued, Driver, Filled, Granted, Pixels, Place, RateAt, SizeAt, Wanted};
use super::facts::{FormatFacts, InputFacts, Sizes};
use super::format::Plane;
use super::fourcc::FourCc;
use super::mapped::Region;
use super::model::MemoryModel;
use super::rate::Rate;

/// An argument that is nothing but numbers.
///
/// # Safety
/// Every pattern of bits is a value, and none of its bytes is a pointer that the kernel follows in the calls it is used for.
unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ident)*) => {
        $(
            // SAFETY: a repr(C) struct of integers.
            unsafe impl Plain for abi::$name {}
        )*
    };
}

plain!(Capability FmtDesc FrmSize FrmIval Input FormatPix FormatMp StreamParm RequestBuffers);

// SAFETY: a number.
unsafe impl Plain for i32 {}

/// An open grabber.
#[derive(Debug)]
pub(super) struct Node {
    /// `None` once it is closed.
    fd: Option<OwnedFd>,
    /// An epoll set with `fd` in it, as long as there are buffers: without any, waiting for a frame would make the driver allocate buffers for `read(2)`, and
    /// everything else would be refused with `EBUSY` (vb2_core_poll, Linux, drivers/media/common/videobuf2/videobuf2-core.c).
    watch: Arc<OwnedFd>,
    is_watched: bool,
    /// Whether the queue is one of several planes.
    multi: bool,
}

/// Makes the call `OP` with `value` as its argument, again where a signal came before.
fn exchange<const OP: Opcode, T: Plain>(fd: BorrowedFd<'_>, value: &mut T) -> Result<(), Errno> {
    const {
        assert!(
            (OP >> 16) as usize & 0x3fff == size_of::<T>(),
            "the number of an ioctl has the size of its argument"
        )
    };
    rustix::io::retry_on_intr(|| {
        // SAFETY: the kernel reads and writes as many bytes as the number says, which is the size of `T`, and `T` is plain: whatever comes back
        // is a value.
        let updater = unsafe { Updater::<OP, T>::new(&mut *value) };
        // SAFETY: the updater borrows the argument for the length of the call; calls with plain arguments touch no other memory of this process.
        unsafe { ioctl(fd, updater) }
    })
}

impl Node {
    /// Opens a node, without waiting for anything.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { fd: Some(fd), watch: Arc::new(watch), is_watched: false, multi: false })
    }

    fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::NODEV)
    }

    fn buf_type(&self) -> u32 {
        if self.multi { abi::TYPE_CAPTURE_MPLANE } else { abi::TYPE_CAPTURE }
    }

    fn call<const OP: Opcode, T: Plain>(&self, mut value: T) -> Result<T, Errno> {
        exchange::<OP, T>(self.fd()?, &mut value)?;
        Ok(value)
    }

    /// Makes a call about a format, with the structure of this queue.
    fn format_call<const OP: Opcode>(&self, wanted: Option<Wanted>) -> Result<Pixels, Errno> {
        let wanted = wanted.unwrap_or(Wanted { fourcc: FourCc([0; 4]), width: 0, height: 0 });
        let FourCc(pixelformat) = wanted.fourcc;
        let (width, height) = (wanted.width, wanted.height);
        if self.multi {
            let pix = abi::PixMp { width, height, pixelformat, ..abi::PixMp::default() };
            let argument = abi::FormatMp { buf_type: self.buf_type(), gap: 0, pix, rest: [0; 1] };
            let abi::FormatMp { pix, .. } = self.call::<OP, _>(argument)?;
            let planes = pix.planes.iter().take(pix.num_planes.into());
            let plane = |plane: &abi::PlanePix| Plane {
                size_bytes: plane.sizeimage,
                stride_bytes: plane.bytesperline,
            };
            return Ok(Pixels {
                fourcc: FourCc(pix.pixelformat),
                width: pix.width,
                height: pix.height,
                field: pix.field,
                planes: planes.map(plane).collect(),
            });
        }
        let pix = abi::Pix { width, height, pixelformat, ..abi::Pix::default() };
        let argument = abi::FormatPix { buf_type: self.buf_type(), gap: 0, pix, rest: [0; 19] };
        let abi::FormatPix { pix, .. } = self.call::<OP, _>(argument)?;
        Ok(Pixels {
            fourcc: FourCc(pix.pixelformat),
            width: pix.width,
            height: pix.height,
            field: pix.field,
            planes: vec![Plane { size_bytes: pix.sizeimage, stride_bytes: pix.bytesperline }],
        })
    }

    fn rate_call<const OP: Opcode>(&self, rate: Option<Rate>) -> Result<Option<Rate>, Errno> {
        let argument = abi::StreamParm {
            buf_type: self.buf_type(),
            capability: 0,
            capturemode: 0,
            timeperframe: rate.map(Rate::time).unwrap_or_default(),
            extendedmode: 0,
            readbuffers: 0,
            reserved: [0; 4],
            rest: [0; 40],
        };
        let answer = self.call::<OP, _>(argument)?;
        let has_rate = answer.capability & abi::CAP_TIMEPERFRAME != 0;
        Ok(Rate::of_time(answer.timeperframe).filter(|_| has_rate))
    }

    /// Makes the call `OP` about one buffer, with its planes where the queue has several.
    ///
    /// # Safety
    /// What `buffer` and `planes` name as memory may be given to the device by this call.
    unsafe fn buffer_call<const OP: Opcode>(
        &self,
        mut buffer: abi::Buffer,
        planes: &mut [abi::Plane; abi::PLANES_MAX],
        count: usize,
    ) -> Result<abi::Buffer, Errno> {
        let fd = self.fd()?;
        buffer.buf_type = self.buf_type();
        let first = *planes.first().unwrap_or(&abi::Plane::default());
        if self.multi {
            buffer.length = u32::try_from(count.min(planes.len())).unwrap_or(0);
        } else {
            (buffer.place, buffer.length) = (first.place, first.length);
        }
        rustix::io::retry_on_intr(|| {
            let mut argument = buffer;
            if self.multi {
                argument.place = u64::try_from(planes.as_mut_ptr().expose_provenance()).unwrap_or(0);
            }
            // SAFETY: the number has the size of a struct v4l2_buffer, whose layout Buffer has; every pattern of bits is one. Its pointer leads to
            // the array `planes` with at least `length` elements, which outlives the call.
            let updater = unsafe { Updater::<OP, abi::Buffer>::new(&mut argument) };
            // SAFETY: as the caller promises.
            unsafe { ioctl(fd, updater)? };
            Ok(argument)
        })
    }

    /// Says whether the epoll set still knows the device's file.
    fn is_in_set(&self) -> Option<bool> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.watch.as_raw_fd())).ok()?;
        // Without this line it is not the text of an epoll set at all.
        text.contains("pos:").then(|| text.lines().any(|line| line.starts_with("tfd:")))
    }
}

const fn memory_of(model: MemoryModel) -> u32 {
    match model {
        MemoryModel::UserPointer => abi::MEMORY_USERPTR,
        MemoryModel::DmaBuf => abi::MEMORY_DMABUF,
        MemoryModel::Mapped => abi::MEMORY_MMAP,
    }
}

/// Text that ends at its first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).trim().to_owned()
}

// SAFETY: vb2 and the drivers beneath V4L2 fill a buffer between VIDIOC_QBUF and VIDIOC_DQBUF, VIDIOC_STREAMOFF, VIDIOC_REQBUFS or the release of the file
// (Documentation/userspace-api/media/v4l/vidioc-streamon.rst: what was queued is removed from the queues and unlocked). `close` says `true` only where the
// file was released by it.
unsafe impl Driver for Node {
    fn capability(&mut self) -> Result<Capability, Errno> {
        let found = self.call::<{ abi::QUERYCAP }, _>(abi::Capability::default())?;
        let has_own = found.capabilities & cap::DEVICE_CAPS != 0;
        let caps = if has_own { found.device_caps } else { found.capabilities };
        self.multi = caps & cap::VIDEO_CAPTURE == 0 && caps & cap::VIDEO_CAPTURE_MPLANE != 0;
        Ok(Capability {
            driver: text(&found.driver),
            card: text(&found.card),
            bus: text(&found.bus_info),
            caps,
        })
    }

    fn input(&mut self) -> Result<u32, Errno> {
        let input = self.call::<{ abi::G_INPUT }, _>(0_i32)?;
        u32::try_from(input).map_err(|_| Errno::INVAL)
    }

    fn set_input(&mut self, input: u32) -> Result<(), Errno> {
        let input = i32::try_from(input).map_err(|_| Errno::INVAL)?;
        self.call::<{ abi::S_INPUT }, _>(input).map(drop)
    }

    fn input_at(&mut self, index: u32) -> Result<InputFacts, Errno> {
        let found = self.call::<{ abi::ENUMINPUT }, _>(abi::Input { index, ..abi::Input::default() })?;
        Ok(InputFacts { index, name: text(&found.name), status: found.status })
    }

    fn format_at(&mut self, index: u32) -> Result<FormatFacts, Errno> {
        let argument = abi::FmtDesc { index, buf_type: self.buf_type(), ..abi::FmtDesc::default() };
        let found = self.call::<{ abi::ENUM_FMT }, _>(argument)?;
        Ok(FormatFacts {
            fourcc: FourCc(found.pixelformat),
            description: text(&found.description),
            compressed: found.flags & abi::FMT_COMPRESSED != 0,
            emulated: found.flags & abi::FMT_EMULATED != 0,
            sizes: Sizes::Unknown,
        })
    }

    fn size_at(&mut self, fourcc: FourCc, index: u32) -> Result<SizeAt, Errno> {
        let FourCc(pixelformat) = fourcc;
        let argument = abi::FrmSize { index, pixelformat, ..abi::FrmSize::default() };
        let found = self.call::<{ abi::ENUM_FRAMESIZES }, _>(argument)?;
        let [min_width, second, width_step, min_height, max_height, height_step] = found.numbers;
        if found.kind == abi::KIND_DISCRETE {
            return Ok(SizeAt::Discrete((min_width, second)));
        }
        let (min, max) = ((min_width, min_height), (second, max_height));
        Ok(SizeAt::Steps { min, max, step: (width_step.max(1), height_step.max(1)) })
    }

    fn rate_at(&mut self, fourcc: FourCc, size: (u32, u32), index: u32) -> Result<RateAt, Errno> {
        let FourCc(pixelformat) = fourcc;
        let (width, height) = size;
        let argument = abi::FrmIval { index, pixelformat, width, height, ..abi::FrmIval::default() };
        let found = self.call::<{ abi::ENUM_FRAMEINTERVALS }, _>(argument)?;
        let [first, second, _] = found.fractions;
        let shortest = Rate::of_time(first).ok_or(Errno::INVAL)?;
        if found.kind == abi::KIND_DISCRETE {
            return Ok(RateAt::Discrete(shortest));
        }
        // The least time is the fastest rate.
        Ok(RateAt::Steps { slowest: Rate::of_time(second).unwrap_or(shortest), fastest: shortest })
    }

    fn format(&mut self) -> Result<Pixels, Errno> {
        self.format_call::<{ abi::G_FMT }>(None)
    }

    fn try_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno> {
        self.format_call::<{ abi::TRY_FMT }>(Some(wanted))
    }

    fn set_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno> {
        self.format_call::<{ abi::S_FMT }>(Some(wanted))
    }

    fn rate(&mut self) -> Result<Option<Rate>, Errno> {
        self.rate_call::<{ abi::G_PARM }>(None)
    }

    fn set_rate(&mut self, rate: Rate) -> Result<Option<Rate>, Errno> {
        self.rate_call::<{ abi::S_PARM }>(Some(rate))
    }

    fn request(&mut self, model: MemoryModel, count: u32) -> Result<Granted, Errno> {
        if std::mem::take(&mut self.is_watched) {
            epoll::delete(&self.watch, self.fd()?)?;
        }
        let (buf_type, memory) = (self.buf_type(), memory_of(model));
        let argument = abi::RequestBuffers { count, buf_type, memory, ..abi::RequestBuffers::default() };
        let found = self.call::<{ abi::REQBUFS }, _>(argument)?;
        if found.count > 0 {
            epoll::add(&self.watch, self.fd()?, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            self.is_watched = true;
        }
        Ok(Granted { count: found.count, supports: found.capabilities })
    }

    fn map(&mut self, index: u32) -> Result<Region, Errno> {
        let mut planes = [abi::Plane::default(); abi::PLANES_MAX];
        let argument = abi::Buffer { index, memory: abi::MEMORY_MMAP, ..abi::Buffer::default() };
        // SAFETY: VIDIOC_QUERYBUF gives no memory to the device.
        let found = unsafe { self.buffer_call::<{ abi::QUERYBUF }>(argument, &mut planes, abi::PLANES_MAX)? };
        if !self.multi {
            return Region::map(self.fd()?, &[(first_half(found.place), found.length)]);
        }
        let count = usize::try_from(found.length).unwrap_or(0);
        let parts: Vec<_> =
            planes.iter().take(count).map(|plane| (first_half(plane.place), plane.length)).collect();
        Region::map(self.fd()?, &parts)
    }

    unsafe fn queue(&mut self, model: MemoryModel, index: u32, places: &[Place<'_>]) -> Result<(), Errno> {
        let mut planes = [abi::Plane::default(); abi::PLANES_MAX];
        if places.len() > planes.len() || (!self.multi && places.len() != 1) {
            return Err(Errno::INVAL);
        }
        for (plane, place) in planes.iter_mut().zip(places) {
            (plane.place, plane.length) = match *place {
                Place::Own => (0, 0),
                Place::Memory { addr, len } => (addr.raw(), len),
                Place::Shared { dmabuf, len } => (in_first_half(dmabuf.as_raw_fd()), len),
            };
        }
        let argument = abi::Buffer { index, memory: memory_of(model), ..abi::Buffer::default() };
        // SAFETY: the caller's promise for the places.
        unsafe { self.buffer_call::<{ abi::QBUF }>(argument, &mut planes, places.len()) }.map(drop)
    }

    fn dequeue(&mut self, model: MemoryModel, planes: usize) -> Result<Dequeued, Errno> {
        let mut filled = [abi::Plane::default(); abi::PLANES_MAX];
        let argument = abi::Buffer { memory: memory_of(model), ..abi::Buffer::default() };
        // SAFETY: VIDIOC_DQBUF gives no memory to the device.
        let found = unsafe { self.buffer_call::<{ abi::DQBUF }>(argument, &mut filled, abi::PLANES_MAX)? };
        let part = |plane: &abi::Plane| Filled { end: plane.bytesused, start: plane.data_offset };
        let parts = if self.multi {
            filled.iter().take(planes).map(part).collect()
        } else {
            vec![Filled { end: found.bytesused, start: 0 }]
        };
        let seconds = Duration::from_secs(u64::try_from(found.timestamp_s).unwrap_or(0));
        let micros = Duration::from_micros(u64::try_from(found.timestamp_us).unwrap_or(0));
        Ok(Dequeued {
            index: found.index,
            planes: parts,
            sequence: found.sequence,
            timestamp: seconds.saturating_add(micros),
            is_error: found.flags & abi::FLAG_ERROR != 0,
        })
    }

    fn stream(&mut self, on: bool) -> Result<(), Errno> {
        let (fd, buf_type) = (self.fd()?, i32::try_from(self.buf_type()).unwrap_or(0));
        rustix::io::retry_on_intr(|| {
            if on {
                // SAFETY: the call takes a pointer to an int, which the kernel only reads.
                let setter = unsafe { Setter::<{ abi::STREAMON }, i32>::new(buf_type) };
                // SAFETY: the setter owns the argument; what the device writes to from now on was queued under the promise of `queue`.
                unsafe { ioctl(fd, setter) }
            } else {
                // SAFETY: as above.
                let setter = unsafe { Setter::<{ abi::STREAMOFF }, i32>::new(buf_type) };
                // SAFETY: the setter owns the argument; the call touches no other memory of this process.
                unsafe { ioctl(fd, setter) }
            }
        })
    }

    fn close(&mut self) -> bool {
        match self.fd.take() {
            Some(fd) => {
                // A file that is not in the set cannot be told to have left it.
                let was_watched = self.is_in_set() == Some(true);
                drop(fd);
                // The last reference ends within the call that drops it. Others can have one for a moment only: a child that has not yet begun
                // its own program, somebody who looks into /proc. Then the set still has the file, and what is at the device is leaked.
                was_watched && self.is_in_set() == Some(false)
            }
            // A second call knows no more than the first.
            None => false,
        }
    }

    fn watch(&self) -> &Arc<OwnedFd> {
        &self.watch
    }
}

/// Returns the number of 32 bits that lies at the beginning of a union of 64.
#[expect(clippy::host_endian_bytes, reason = "a union of the kernel's, in memory as the machine has it")]
fn first_half(place: u64) -> u32 {
    let [a, b, c, d, ..] = place.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// Puts a descriptor at the beginning of a union of 64 bits.
#[expect(clippy::host_endian_bytes, reason = "a union of the kernel's, in memory as the machine has it")]
fn in_first_half(fd: i32) -> u64 {
    let [a, b, c, d] = fd.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}
