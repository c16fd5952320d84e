//! Whose memory a grabber fills, and how much there is: the best kind that the destination can take from where it is.

use std::sync::Arc;

use super::super::CopyError;
use super::super::ends::target::Target;
use super::super::options::CopyOptions;
use super::sink::add_slots;
use crate::device::video::{Capture, MemoryModel};
use crate::pages::{PageKindRequest, PagePool, PoolOptions};

/// The fewest slots: one that is filled, one that is written, and two between.
const SLOTS_MIN: u64 = 4;

/// The most: past that a list of them takes longer than a frame.
const SLOTS_MAX: u64 = 4096;

/// The most that become dma-bufs: each is a descriptor, of which a process has 1024 where nobody said otherwise (`ulimit -n`).
const SHARED_SLOTS_MAX: u64 = 256;

/// Buffers that the grabber has at a time. What waits for the destination is in slots of ours.
const DEVICE_BUFFERS: u32 = 32;

/// Memory, ready to be filled.
pub(super) struct Memory {
    pub(super) pool: Arc<PagePool>,
    pub(super) model: MemoryModel,
    /// Buffers that the grabber has at a time.
    pub(super) device_buffers: u32,
    /// Frames that there is memory for.
    pub(super) buffers: u32,
    /// Why better kinds are not used.
    pub(super) refused: Vec<String>,
    /// Why frames are copied out of it, if they are.
    pub(super) copies: Option<String>,
    /// What a frame's place must be a multiple of, by address.
    pub(super) align: u64,
}

/// Chooses the kind of memory, makes the pool, and has the grabber make its buffers.
pub(super) fn choose(
    capture: &mut Capture,
    target: &Target,
    options: &CopyOptions,
) -> Result<Memory, CopyError> {
    let mut refused = Vec::new();
    let wanted = options.stream.video.memory;
    let kinds = MemoryModel::ALL.into_iter().filter(|model| wanted.is_none_or(|wanted| wanted == *model));
    let mut last = None;
    for model in kinds {
        match prepare(capture, model, target, options) {
            Ok(memory) => return Ok(Memory { refused, ..memory }),
            Err(CopyError::Video(error)) => {
                refused.push(format!("{}: {error}", model.name()));
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (wanted, last) {
        (Some(_), Some(error)) => Err(CopyError::VideoRefused(error)),
        _ => Err(CopyError::StreamMemory { path: capture.path().to_owned(), refused: refused.join("; ") }),
    }
}

fn prepare(
    capture: &mut Capture,
    model: MemoryModel,
    target: &Target,
    options: &CopyOptions,
) -> Result<Memory, CopyError> {
    let frame_len = capture.format().frame_len;
    let report = capture.model(model).cloned();
    let (room, align) = report.as_ref().map_or((frame_len, 1), |report| (report.room_bytes, report.align));
    // A frame begins where its middle needs no copy, which may be anywhere in a block.
    let slot_len = room.max(frame_len).saturating_add(target.unit);
    let most = if model == MemoryModel::DmaBuf { SHARED_SLOTS_MAX } else { SLOTS_MAX };
    let slots = options.stream.buffer_len.checked_div(slot_len).unwrap_or(0).clamp(SLOTS_MIN, most);
    let usable = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let copies = match &report {
        Some(report) if model == MemoryModel::Mapped && report.pinnable != Some(true) => {
            Some(unpinnable(report.pinnable))
        }
        _ => None,
    };
    // Memory of the driver that can be written from where it is needs no other.
    let own = model.takes_slots() || copies.is_some();
    let frames = if own { slots } else { 1 };
    let pages = report.as_ref().map_or(PageKindRequest::Auto, |report| report.pages);
    let pool = PoolOptions::uniform(usable(slot_len), usable(frames)).with_kind(pages);
    let pool = Arc::new(PagePool::new(add_slots(pool, target.unit, frame_len, options.plain_depth()))?);
    let buffers = match model {
        MemoryModel::Mapped if copies.is_none() => u32::try_from(slots).unwrap_or(u32::MAX),
        _ => DEVICE_BUFFERS.min(u32::try_from(slots).unwrap_or(u32::MAX)),
    };
    let got = capture.start(model, buffers, Some(&pool)).map_err(CopyError::Video)?;
    if model.takes_slots()
        && let Some(slot) = pool.take()
    {
        // The first one, for the first frame: memory that a trial took may be another kind than this.
        capture.queue(slot, 0).map_err(|(_, error)| CopyError::Video(error))?;
    }
    let buffers = if own { u32::try_from(slots).unwrap_or(u32::MAX) } else { got };
    Ok(Memory { pool, model, device_buffers: got, buffers, refused: Vec::new(), copies, align })
}

fn unpinnable(pinnable: Option<bool>) -> String {
    match pinnable {
        Some(_) => "memory of the driver, which the kernel cannot pin for direct I/O (EFAULT)".to_owned(),
        None => "memory of the driver, and without io_uring nobody says whether it can be pinned".to_owned(),
    }
}

/// Says whose memory it is.
pub(super) fn words(model: MemoryModel, copied: bool) -> &'static str {
    match (model, copied) {
        (MemoryModel::UserPointer, _) => "our pages, by address (user pointers)",
        (MemoryModel::DmaBuf, _) => "our pages, as dma-bufs",
        (MemoryModel::Mapped, false) => "the driver's pages, mapped",
        (MemoryModel::Mapped, true) => "the driver's pages, mapped, and copied",
    }
}
