//! [`MemoryModel`]: whose memory a grabber fills, and which of them works, by trying each.
//!
//! The bits that `VIDIOC_REQBUFS` returns say what the queue knows, not what the allocator beneath takes: so one buffer of each kind is made and queued
//! without starting the device, then all is undone. For the driver's own memory the question is whether the kernel can pin it for another device.

use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use super::abi;
use super::dmabuf::Udmabuf;
use super::driver::Driver;
use super::flight::{Flight, Held};
use super::format::Plane;
use super::layout::Layout;
use crate::engine::{Pinnable, pinnable};
use crate::pages::{PageKindRequest, PagePool, PoolOptions};

/// The finest place in a slot that is tried for a frame, in bytes: a line of most caches. A driver that takes less does not prove that its device does.
const ALIGN_LEAST: u64 = 64;

/// Whose memory frames are captured to, the best first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryModel {
    /// Slots of a pool, by address (`V4L2_MEMORY_USERPTR`).
    UserPointer,
    /// Slots of a pool, by dma-buf (`V4L2_MEMORY_DMABUF`).
    DmaBuf,
    /// Memory of the driver, mapped (`V4L2_MEMORY_MMAP`).
    Mapped,
}

impl MemoryModel {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::UserPointer, Self::DmaBuf, Self::Mapped];

    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserPointer => "user pointers",
            Self::DmaBuf => "dma-buf",
            Self::Mapped => "mapped",
        }
    }

    /// Says whether frames lie in slots of a pool.
    #[must_use]
    pub const fn takes_slots(self) -> bool {
        matches!(self, Self::UserPointer | Self::DmaBuf)
    }

    const fn bit(self) -> u32 {
        match self {
            Self::UserPointer => abi::SUPPORTS_USERPTR,
            Self::DmaBuf => abi::SUPPORTS_DMABUF,
            Self::Mapped => abi::SUPPORTS_MMAP,
        }
    }
}

impl fmt::Display for MemoryModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a kind of memory does not work.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelRefusal {
    /// The queue does not know it.
    #[error("the driver's queue does not take them")]
    NotTaken,
    /// Somebody else uses the queue.
    #[error("not tried: the device is in use")]
    InUse,
    /// The driver refused buffers.
    #[error("the driver makes no buffers of that kind (VIDIOC_REQBUFS): {errno}")]
    Request {
        /// Its answer.
        errno: Errno,
    },
    /// There is no memory to try with.
    #[error("there is no memory for a frame of {bytes} bytes: {reason}")]
    Memory {
        /// Bytes that were wanted.
        bytes: u64,
        /// Why not.
        reason: String,
    },
    /// `/dev/udmabuf` cannot be opened.
    #[error(
        "/dev/udmabuf cannot be opened: {errno}; it makes pages of this process known to other devices (CONFIG_UDMABUF)"
    )]
    NoUdmabuf {
        /// The system's answer.
        errno: Errno,
    },
    /// `/dev/udmabuf` makes no dma-buf of the pages.
    #[error(
        "/dev/udmabuf shares no {bytes} bytes: {errno}; /sys/module/udmabuf/parameters/size_limit_mb says how many MiB it shares at a time"
    )]
    Share {
        /// Bytes of a frame.
        bytes: u64,
        /// Its answer.
        errno: Errno,
    },
    /// The pool has large pages.
    #[error(
        "the pool has pages of {page_len} bytes, and Linux 6.12, for one, fills the wrong ones where a dma-buf is made of large pages; make the pool of base \
         pages (PageKindRequest::Small)"
    )]
    LargePages {
        /// The pool's pages, in bytes.
        page_len: u64,
    },
    /// The driver refused the memory.
    #[error("the driver takes no pages of this process (VIDIOC_QBUF): {errno}")]
    Queue {
        /// Its answer.
        errno: Errno,
    },
    /// The driver's memory cannot be mapped.
    #[error("the driver's memory cannot be mapped: {errno}")]
    Map {
        /// The answer.
        errno: Errno,
    },
}

/// What came of trying one kind of memory.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ModelReport {
    /// The kind.
    pub model: MemoryModel,
    /// Why it does not work; `None` where it does.
    pub refusal: Option<ModelRefusal>,
    /// What the place of a frame in a slot must be a multiple of, in bytes: the finest that the driver took.
    pub align: u64,
    /// Bytes of a slot that a frame takes, from its place on.
    pub room_bytes: u64,
    /// Which pages a pool must have for it. Dma-bufs are made of base pages alone: of larger ones, `/dev/udmabuf` of Linux 6.12 hands the first page of each to
    /// drivers that map them, over and over (`vmap_udmabuf`, drivers/dma-buf/udmabuf.c), so frames would land in other slots.
    pub pages: PageKindRequest,
    /// Whether the planes lie one behind the other, without gaps.
    pub together: bool,
    /// Whether other devices take the memory without a copy; `None` where that cannot be asked.
    pub pinnable: Option<bool>,
}

impl ModelReport {
    /// Says whether frames can be captured to it.
    #[must_use]
    pub const fn works(&self) -> bool {
        self.refusal.is_none()
    }

    /// Says whether frames can be captured to it and handed on without a copy.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.works() && self.pinnable == Some(true)
    }

    fn refused(model: MemoryModel, refusal: ModelRefusal) -> Self {
        Self {
            model,
            refusal: Some(refusal),
            align: 1,
            room_bytes: 0,
            pages: PageKindRequest::Auto,
            together: false,
            pinnable: None,
        }
    }

    /// Returns where the planes of a frame lie.
    pub(super) fn layout(&self, planes: &[Plane]) -> Layout {
        let together = self.together && self.model != MemoryModel::DmaBuf;
        if together { Layout::together(planes) } else { Layout::on_pages(planes, page_len()) }
    }
}

pub(super) fn page_len() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Tries all kinds of memory on a device that is not streaming, for frames of these planes.
pub(super) fn try_all(driver: &mut dyn Driver, planes: &[Plane]) -> Vec<ModelReport> {
    let one = |model| {
        let tried = try_one(driver, model, planes);
        tried.unwrap_or_else(|refusal| ModelReport::refused(model, refusal))
    };
    MemoryModel::ALL.into_iter().map(one).collect()
}

fn try_one(
    driver: &mut dyn Driver,
    model: MemoryModel,
    planes: &[Plane],
) -> Result<ModelReport, ModelRefusal> {
    let granted = driver.request(model, 1).map_err(|errno| match errno {
        Errno::BUSY => ModelRefusal::InUse,
        Errno::INVAL => ModelRefusal::NotTaken,
        errno => ModelRefusal::Request { errno },
    })?;
    let tried = if granted.supports != 0 && granted.supports & model.bit() == 0 {
        Err(ModelRefusal::NotTaken)
    } else {
        match model {
            MemoryModel::UserPointer => try_addresses(driver, granted.count, planes),
            MemoryModel::DmaBuf => try_shares(driver, granted.count, planes),
            MemoryModel::Mapped => try_mapping(driver),
        }
    };
    // The trial's buffers go whatever came of it; what was queued is gone already.
    driver.request(model, 0).map_err(|errno| ModelRefusal::Request { errno })?;
    tried
}

/// Takes one slot of memory for trials.
fn memory(bytes: u64, pages: PageKindRequest) -> Result<Arc<PagePool>, ModelRefusal> {
    let refused = |reason: String| ModelRefusal::Memory { bytes, reason };
    let len = usize::try_from(bytes.max(1)).map_err(|error| refused(error.to_string()))?;
    let pool = PagePool::new(PoolOptions::uniform(len, 1).with_kind(pages))
        .map_err(|error| refused(error.to_string()))?;
    Ok(Arc::new(pool))
}

/// Queues one frame and takes it back.
fn try_queue(
    driver: &mut dyn Driver,
    flight: &mut Flight,
    layout: &Layout,
    held: Held,
    model: MemoryModel,
) -> Result<(), Errno> {
    let queued = flight.queue(driver, layout, held);
    // Switching off what was never switched on takes back what is queued.
    let emptied = driver.stream(false).or_else(|_| driver.request(model, 0).map(drop));
    if emptied.is_ok() {
        drop(flight.release());
    }
    match queued {
        Ok(()) => emptied,
        Err((_slot, errno)) => Err(errno.unwrap_or(Errno::INVAL)),
    }
}

fn try_addresses(driver: &mut dyn Driver, count: u32, planes: &[Plane]) -> Result<ModelReport, ModelRefusal> {
    let model = MemoryModel::UserPointer;
    let page = u64::from(page_len());
    let (together, paged) = (Layout::together(planes), Layout::on_pages(planes, page_len()));
    let pool = memory(paged.len().saturating_add(page), PageKindRequest::Auto)?;
    let mut flight = Flight::new(model, count);
    let mut refusal = ModelRefusal::Queue { errno: Errno::INVAL };
    for (layout, is_together) in [(&together, true), (&paged, planes.len() <= 1)] {
        let mut align = ALIGN_LEAST.min(page);
        while align <= page {
            let Some(slot) = pool.take() else {
                return Err(refusal);
            };
            let held = Held { slot, offset: align, share: None };
            match try_queue(driver, &mut flight, layout, held, model) {
                Ok(()) => {
                    return Ok(ModelReport {
                        model,
                        refusal: None,
                        align,
                        room_bytes: layout.len(),
                        pages: PageKindRequest::Auto,
                        together: is_together,
                        pinnable: Some(true),
                    });
                }
                Err(errno) => refusal = ModelRefusal::Queue { errno },
            }
            align = align.saturating_mul(2);
        }
    }
    Err(refusal)
}

fn try_shares(driver: &mut dyn Driver, count: u32, planes: &[Plane]) -> Result<ModelReport, ModelRefusal> {
    let model = MemoryModel::DmaBuf;
    let layout = Layout::on_pages(planes, page_len());
    let pool = memory(layout.len(), PageKindRequest::Small)?;
    let udmabuf = Udmabuf::open(&pool).map_err(|errno| ModelRefusal::NoUdmabuf { errno })?;
    let bytes = layout.len();
    let slot =
        pool.take().ok_or_else(|| ModelRefusal::Memory { bytes, reason: "none is free".to_owned() })?;
    let share = udmabuf.share(&slot, &layout).map_err(|errno| ModelRefusal::Share { bytes, errno })?;
    let held = Held { slot, offset: 0, share: Some(Arc::new(share)) };
    let mut flight = Flight::new(model, count);
    let queued = try_queue(driver, &mut flight, &layout, held, model);
    queued.map_err(|errno| ModelRefusal::Queue { errno })?;
    Ok(ModelReport {
        model,
        refusal: None,
        align: page_len().into(),
        room_bytes: bytes,
        pages: PageKindRequest::Small,
        together: planes.len() <= 1,
        pinnable: Some(true),
    })
}

fn try_mapping(driver: &mut dyn Driver) -> Result<ModelReport, ModelRefusal> {
    let region = driver.map(0).map_err(|errno| ModelRefusal::Map { errno })?;
    let answer = match pinnable(region.addr()) {
        Pinnable::Yes => Some(true),
        Pinnable::No(_) => Some(false),
        Pinnable::Unknown(_) => None,
    };
    Ok(ModelReport {
        model: MemoryModel::Mapped,
        refusal: None,
        align: 1,
        room_bytes: u64::try_from(region.len()).unwrap_or(u64::MAX),
        pages: PageKindRequest::Auto,
        together: region.planes().len() <= 1,
        pinnable: answer,
    })
}
