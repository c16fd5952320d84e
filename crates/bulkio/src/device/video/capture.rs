//! [`Capture`]: an open grabber and its stream.
//!
//! Frames are taken one by one, without waiting: [`Capture::fd`] says when to look. Which memory is filled is the model's affair: slots that the caller queues
//! under any free buffer, or the driver's own buffers, which are queued by themselves. The contract: memory that the device may write to is owned here
//! (`flight`); it comes out with a frame or with the end of the stream, and where that end cannot be had it is leaked.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::VideoOptions;
use super::dmabuf::{Share, Udmabuf};
use super::driver::Dequeued;
use super::error::VideoError;
use super::flight::{Flight, Held};
use super::format::{Format, Plane};
use super::frame::{Frame, FrameMemory, SharedSlot, Span, Spans};
use super::layout::Layout;
use super::model::{self, MemoryModel, ModelRefusal, ModelReport};
use super::negotiate::{self, Opened};
use super::own::Own;
use crate::pages::{PagePool, Slot};

/// An open grabber.
///
/// ```no_run
/// use std::path::Path;
///
/// use bulkio::device::video::{Capture, MemoryModel, VideoOptions};
///
/// let mut capture = Capture::open(Path::new("/dev/video0"), &VideoOptions::default())?;
/// println!("{}: {}", capture.card(), capture.format());
/// capture.start(MemoryModel::Mapped, 4, None)?;
/// capture.stream_on()?;
/// // Wait until capture.fd() can be read, then:
/// if let Some(frame) = capture.dequeue()? {
///     println!("frame {}: {} bytes", frame.sequence, frame.len);
///     capture.give_back(frame.memory)?;
/// }
/// # Ok::<(), bulkio::device::video::VideoError>(())
/// ```
#[derive(Debug)]
pub struct Capture {
    opened: Opened,
    format: Format,
    models: Vec<ModelReport>,
    stream: Option<Stream>,
}

/// Buffers, and what is where.
#[derive(Debug)]
struct Stream {
    model: MemoryModel,
    count: u32,
    layout: Layout,
    align: u64,
    memory: Memory,
    is_on: bool,
}

#[derive(Debug)]
enum Memory {
    /// Slots at the device.
    Slots(Flight),
    /// Slots at the device, that are dma-bufs: those of each slot by its index, made once.
    Shares { flight: Flight, udmabuf: Udmabuf, shares: HashMap<u32, Arc<Share>> },
    /// The driver's buffers.
    Own(Own),
}

impl Capture {
    /// Opens a grabber, and sets what the options name; what they leave open stays as the device has it. Then tries which kinds of memory work.
    ///
    /// # Errors
    /// [`VideoError`]: it is no grabber, is in use, or does not give what is asked for; the message has what it gives.
    pub fn open(path: &Path, options: &VideoOptions) -> Result<Self, VideoError> {
        Self::new(negotiate::open(path)?, options)
    }

    pub(super) fn new(mut opened: Opened, options: &VideoOptions) -> Result<Self, VideoError> {
        let format = opened.settle(options)?;
        let models = model::try_all(&mut *opened.driver, &format.planes);
        if models.iter().all(|report| report.refusal == Some(ModelRefusal::InUse)) {
            return Err(opened.fault("VIDIOC_REQBUFS", Errno::BUSY));
        }
        Ok(Self { opened, format, models, stream: None })
    }

    /// Says whether a path leads to a video node, by its class in sysfs, without opening it. Whether frames come out of it, only opening tells.
    #[must_use]
    pub fn is_capture(path: &Path) -> bool {
        negotiate::is_video(path)
    }

    /// Returns the node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.opened.path
    }

    /// Returns what frames are.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Returns the driver's name.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.opened.capability.driver
    }

    /// Returns the device's name.
    #[must_use]
    pub fn card(&self) -> &str {
        &self.opened.capability.card
    }

    /// Returns where the device is plugged in.
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.opened.capability.bus
    }

    /// Returns which kinds of memory work, the best first, and why the others do not.
    #[must_use]
    pub fn models(&self) -> &[ModelReport] {
        &self.models
    }

    /// Returns what came of trying a kind of memory.
    #[must_use]
    pub fn model(&self, model: MemoryModel) -> Option<&ModelReport> {
        self.models.iter().find(|report| report.model == model)
    }

    /// Returns what is ready for reading when [`Capture::dequeue`] has a frame or an error. It is not the device: it is good for waiting alone, and only
    /// while the stream is on and something is queued.
    #[must_use]
    pub fn fd(&self) -> &Arc<OwnedFd> {
        self.opened.driver.watch()
    }

    /// Makes buffers, as near to `buffers` as the driver likes, and returns how many there are. A stream that was there ends.
    ///
    /// With [`MemoryModel::DmaBuf`] the slots that will be queued are those of the pool `memory`, which has base pages ([`ModelReport::pages`]); else it is not
    /// needed.
    ///
    /// # Errors
    /// [`VideoError::Model`], [`VideoError::InUse`], [`VideoError::Disconnected`], [`VideoError::Call`].
    pub fn start(
        &mut self,
        model: MemoryModel,
        buffers: u32,
        memory: Option<&Arc<PagePool>>,
    ) -> Result<u32, VideoError> {
        self.end()?;
        let report = self.model(model);
        let (layout, align) = match report {
            Some(ModelReport { refusal: Some(refusal), .. }) => {
                return Err(self.refused(model, refusal.clone()));
            }
            Some(report) => (report.layout(&self.format.planes), report.align),
            None => return Err(self.refused(model, ModelRefusal::NotTaken)),
        };
        let udmabuf = match (model, memory) {
            (MemoryModel::DmaBuf, Some(pool)) if pool.page_len() > rustix::param::page_size() => {
                let page_len = u64::try_from(pool.page_len()).unwrap_or(u64::MAX);
                return Err(self.refused(model, ModelRefusal::LargePages { page_len }));
            }
            (MemoryModel::DmaBuf, Some(pool)) => {
                let opened = Udmabuf::open(pool);
                Some(opened.map_err(|errno| self.refused(model, ModelRefusal::NoUdmabuf { errno }))?)
            }
            (MemoryModel::DmaBuf, None) => {
                return Err(self.state("dma-bufs are made of a pool, and none is given"));
            }
            _ => None,
        };
        let granted = self.opened.driver.request(model, buffers.max(1));
        let count = granted.map_err(|errno| self.opened.fault("VIDIOC_REQBUFS", errno))?.count;
        let memory = match (model, udmabuf) {
            (MemoryModel::Mapped, _) => Memory::Own(self.map_all(count)?),
            (_, Some(udmabuf)) => {
                Memory::Shares { flight: Flight::new(model, count), udmabuf, shares: HashMap::new() }
            }
            _ => Memory::Slots(Flight::new(model, count)),
        };
        self.stream = Some(Stream { model, count, layout, align, memory, is_on: false });
        Ok(count)
    }

    fn map_all(&mut self, count: u32) -> Result<Own, VideoError> {
        let driver = &mut self.opened.driver;
        let regions: Result<Vec<_>, _> = (0..count).map(|index| driver.map(index)).collect();
        match regions {
            Ok(regions) => Ok(Own::new(regions)),
            Err(errno) => {
                // What was mapped is unmapped by now, so the buffers can go; where they do not, the next start says so.
                let _gone = driver.request(MemoryModel::Mapped, 0);
                Err(self.opened.fault("mmap", errno))
            }
        }
    }

    /// Returns how many buffers are not queued.
    #[must_use]
    pub fn free_indices(&self) -> u32 {
        match self.stream.as_ref().map(|stream| &stream.memory) {
            Some(Memory::Slots(flight) | Memory::Shares { flight, .. }) => flight.free(),
            Some(Memory::Own(own)) => own.free(),
            None => 0,
        }
    }

    /// Queues a slot: a frame will begin at byte `offset` of it, at 0 with dma-bufs. [`Capture::model`] says what the place must be a multiple of, and how much a
    /// frame takes. The slot is owned here until its frame comes out or the stream ends.
    ///
    /// # Errors
    /// The slot, and [`VideoError::Full`], [`VideoError::Slot`], [`VideoError::OtherPool`], [`VideoError::State`], [`VideoError::Model`],
    /// [`VideoError::Disconnected`], [`VideoError::Call`].
    pub fn queue(&mut self, slot: Slot, offset: u64) -> Result<(), (Slot, VideoError)> {
        let Self { opened, stream, .. } = self;
        let path = || opened.path.clone();
        let Some(stream) = stream else {
            let what = "a slot cannot be queued before the stream is started";
            return Err((slot, VideoError::State { path: path(), what }));
        };
        let (layout, align) = (&stream.layout, stream.align.max(1));
        let have = u64::try_from(slot.len()).unwrap_or(0).saturating_sub(offset);
        let is_placed = match stream.model {
            MemoryModel::DmaBuf => offset == 0,
            _ => offset.checked_rem(align) == Some(0),
        };
        if have < layout.len() || !is_placed {
            return Err((slot, VideoError::Slot { path: path(), need: layout.len(), align, have, offset }));
        }
        let (flight, share) = match &mut stream.memory {
            Memory::Own(_) => {
                let what = "the stream fills the driver's own memory, so no slot can be queued";
                return Err((slot, VideoError::State { path: path(), what }));
            }
            Memory::Slots(flight) => (flight, None),
            Memory::Shares { udmabuf, .. } if !udmabuf.owns(&slot) => {
                return Err((slot, VideoError::OtherPool { path: path() }));
            }
            Memory::Shares { flight, udmabuf, shares } => {
                if flight.free() == 0 {
                    return Err((slot, VideoError::Full { path: path(), count: stream.count }));
                }
                match share_of(&slot, layout, udmabuf, shares) {
                    Ok(share) => (flight, Some(share)),
                    Err(errno) => {
                        let refusal = ModelRefusal::Share { bytes: layout.len(), errno };
                        return Err((slot, VideoError::Model { path: path(), model: stream.model, refusal }));
                    }
                }
            }
        };
        let queued = flight.queue(&mut *opened.driver, layout, Held { slot, offset, share });
        queued.map_err(|(slot, errno)| match errno {
            None => (slot, VideoError::Full { path: path(), count: stream.count }),
            Some(errno) => (slot, opened.stream_fault("VIDIOC_QBUF", errno)),
        })
    }

    /// Starts the device. The driver's own buffers are queued first; of slots some must be queued already with some drivers.
    ///
    /// # Errors
    /// [`VideoError::State`], [`VideoError::InUse`], [`VideoError::Disconnected`], [`VideoError::Call`]. What is queued stays queued.
    pub fn stream_on(&mut self) -> Result<(), VideoError> {
        let Some(stream) = &mut self.stream else {
            return Err(self.state("a stream cannot be switched on before it is started"));
        };
        if let Memory::Own(own) = &mut stream.memory {
            let queued = own.queue(&mut *self.opened.driver, self.format.planes.len());
            queued.map_err(|errno| self.opened.stream_fault("VIDIOC_QBUF", errno))?;
        }
        self.opened.driver.stream(true).map_err(|errno| self.opened.fault("VIDIOC_STREAMON", errno))?;
        stream.is_on = true;
        Ok(())
    }

    /// Stops the device, and gives all slots that it has back to their pools. Frames that were not taken are lost.
    ///
    /// # Errors
    /// [`VideoError::Disconnected`]: the device is gone; the slots are back all the same. [`VideoError::Call`]: the device may still be writing, and the slots
    /// stay here.
    pub fn stream_off(&mut self) -> Result<(), VideoError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let driver = &mut *self.opened.driver;
        let stopped = driver.stream(false);
        // The driver answers nothing any more, but it goes on until the file is closed.
        let is_over = stopped.is_ok() || (stopped == Err(Errno::NODEV) && driver.close());
        if is_over {
            stream.release();
        }
        stopped.map_err(|errno| self.opened.fault("VIDIOC_STREAMOFF", errno))
    }

    /// Takes a frame, in the order in which the device filled them; `None` where there is none yet.
    ///
    /// # Errors
    /// [`VideoError::Stopped`], [`VideoError::Disconnected`]: nothing more comes. [`VideoError::State`], [`VideoError::Nonsense`],
    /// [`VideoError::Call`].
    pub fn dequeue(&mut self) -> Result<Option<Frame>, VideoError> {
        let planes = self.format.planes.len();
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_on) else {
            return Err(self.state("no frames come before the stream is switched on"));
        };
        if let Memory::Own(own) = &mut stream.memory {
            let queued = own.queue(&mut *self.opened.driver, planes);
            queued.map_err(|errno| self.opened.stream_fault("VIDIOC_QBUF", errno))?;
        }
        let found = match self.opened.driver.dequeue(stream.model, planes) {
            Ok(found) => found,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(self.opened.stream_fault("VIDIOC_DQBUF", errno)),
        };
        let index = found.index;
        let (count, frame) = (stream.count, stream.frame(found, &self.format.planes));
        let path = &self.opened.path;
        let nonsense = || VideoError::Nonsense { path: path.clone(), index, count };
        frame.map(Some).ok_or_else(nonsense)
    }

    /// Gives the memory of a frame back: a slot to its pool, a buffer of the driver's to the device.
    ///
    /// # Errors
    /// As [`Capture::dequeue`]; a buffer that could not be queued is queued with the next call.
    pub fn give_back(&mut self, memory: FrameMemory) -> Result<(), VideoError> {
        drop(memory);
        let planes = self.format.planes.len();
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_on) else { return Ok(()) };
        let Memory::Own(own) = &mut stream.memory else { return Ok(()) };
        let queued = own.queue(&mut *self.opened.driver, planes);
        queued.map_err(|errno| self.opened.stream_fault("VIDIOC_QBUF", errno))
    }

    /// Ends the stream and its buffers.
    fn end(&mut self) -> Result<(), VideoError> {
        self.stream_off()?;
        let Some(stream) = self.stream.take() else { return Ok(()) };
        let model = stream.model;
        // Mappings go before the buffers that they map. Frames outside keep theirs, and with them what lies beneath.
        drop(stream);
        let gone = self.opened.driver.request(model, 0);
        gone.map(drop).map_err(|errno| self.opened.fault("VIDIOC_REQBUFS", errno))
    }

    fn state(&self, what: &'static str) -> VideoError {
        VideoError::State { path: self.opened.path.clone(), what }
    }

    fn refused(&self, model: MemoryModel, refusal: ModelRefusal) -> VideoError {
        VideoError::Model { path: self.opened.path.clone(), model, refusal }
    }
}

/// Returns the dma-bufs of a slot, made where there are none yet.
fn share_of(
    slot: &Slot,
    layout: &Layout,
    udmabuf: &Udmabuf,
    shares: &mut HashMap<u32, Arc<Share>>,
) -> Result<Arc<Share>, Errno> {
    if let Some(share) = shares.get(&slot.index()) {
        return Ok(Arc::clone(share));
    }
    let share = Arc::new(udmabuf.share(slot, layout)?);
    shares.insert(slot.index(), Arc::clone(&share));
    Ok(share)
}

impl Stream {
    /// The device is done with everything.
    fn release(&mut self) {
        self.is_on = false;
        match &mut self.memory {
            Memory::Slots(flight) | Memory::Shares { flight, .. } => drop(flight.release()),
            Memory::Own(own) => own.release(),
        }
    }

    /// Makes a frame of what was dequeued; `None` where that was not queued.
    fn frame(&mut self, found: Dequeued, planes: &[Plane]) -> Option<Frame> {
        let (memory, places) = match &mut self.memory {
            Memory::Slots(flight) | Memory::Shares { flight, .. } => {
                let Held { slot, offset, share } = flight.take(found.index)?;
                let parts = self.layout.planes().iter();
                let places: Vec<_> =
                    parts.map(|(start, len)| (offset.saturating_add(*start), u64::from(*len))).collect();
                let memory = match share {
                    Some(share) => FrameMemory::Shared(SharedSlot::new(slot, share)),
                    None => FrameMemory::Slot(slot),
                };
                (memory, places)
            }
            Memory::Own(own) => {
                let (frame, parts) = own.take(found.index)?;
                let bytes = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
                let places = parts.into_iter().map(|(start, len)| (bytes(start), bytes(len))).collect();
                (FrameMemory::Mapped(frame), places)
            }
        };
        let mut spans = Spans::default();
        for ((filled, (start, room)), plane) in found.planes.iter().zip(places).zip(planes) {
            // Memory may be longer than the plane, by the rest of a page.
            let room = room.min(plane.size_bytes.into());
            let (first, end) = (u64::from(filled.start).min(room), u64::from(filled.end).min(room));
            spans.push(Span { offset: start.saturating_add(first), len: end.saturating_sub(first) });
        }
        Some(Frame {
            memory,
            spans,
            sequence: found.sequence,
            timestamp: found.timestamp,
            is_error: found.is_error,
            len: spans.len_bytes(),
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let Err(_failed) = self.end() else { return };
        // Closing ends what could not be switched off.
        if self.opened.driver.close()
            && let Some(stream) = &mut self.stream
        {
            stream.release();
        }
    }
}
