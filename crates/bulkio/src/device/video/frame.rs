//! [`Frame`]: what a grabber filled, and [`FrameMemory`], which owns the bytes.
//!
//! Frames lie in a slot of a pool or in memory of the driver's; either way they are [`Spans`] of one range of addresses, one for each plane. As long as the memory is
//! owned here the device does not write to it; it goes on to another device as a lease, and back to the grabber or the pool.
#![expect(unsafe_code, reason = "the promise of Lease::from_raw")]

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use scatterlist::{Addr, CpuAddr, Lease, ScatterList, Segment};

use super::abi::PLANES_MAX;
use super::dmabuf::Share;
use super::mapped::{MappedSet, Region};
use crate::pages::Slot;

/// A part of a frame's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Where it begins, in bytes from the first of the memory.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The bytes of a frame: one span for each plane, in order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Spans {
    spans: [Span; PLANES_MAX],
    count: usize,
}

impl Spans {
    pub(super) fn push(&mut self, span: Span) {
        if let Some(place) = self.spans.get_mut(self.count) {
            *place = span;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Returns the bytes of all.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.iter().fold(0, |sum, span| sum.saturating_add(span.len))
    }

    /// Returns all as one span, where they lie one behind the other.
    #[must_use]
    pub fn contiguous(&self) -> Option<Span> {
        let mut parts = self.iter().filter(|span| span.len > 0);
        let mut whole = *parts.next()?;
        for part in parts {
            if whole.offset.checked_add(whole.len) != Some(part.offset) {
                return None;
            }
            whole.len = whole.len.checked_add(part.len)?;
        }
        Some(whole)
    }
}

impl Deref for Spans {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        self.spans.get(..self.count).unwrap_or_default()
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A frame.
#[derive(Debug)]
#[non_exhaustive]
pub struct Frame {
    /// Its memory.
    pub memory: FrameMemory,
    /// Where its planes lie in the memory.
    pub spans: Spans,
    /// The number that the driver gave it: [`Sequence`](super::Sequence).
    pub sequence: u32,
    /// When it was taken, by `CLOCK_MONOTONIC` with nearly all drivers.
    pub timestamp: Duration,
    /// Whether the driver says that the bytes may be wrong (`V4L2_BUF_FLAG_ERROR`).
    pub is_error: bool,
    /// Bytes of all spans.
    pub len: u64,
}

/// A slot that is also a dma-buf.
#[derive(Debug)]
pub struct SharedSlot {
    slot: Slot,
    share: Arc<Share>,
}

/// A buffer of the driver's own, mapped. Dropped, it may be filled again.
///
/// # Invariants
/// 1. At most one exists for a buffer of a set, and none while that buffer is queued.
pub struct MappedFrame {
    set: Arc<MappedSet>,
    index: u32,
}

/// What owns the bytes of a frame. Dropped, a slot is free in its pool, and a mapped buffer is queued again with the next call of
/// [`Capture`](super::Capture).
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameMemory {
    /// A slot that was filled by address.
    Slot(Slot),
    /// A slot that was filled as a dma-buf.
    Shared(SharedSlot),
    /// Memory of the driver.
    Mapped(MappedFrame),
}

/// Memory that cannot be leased. It comes back.
#[derive(Debug, thiserror::Error)]
#[error("cannot lease {len} bytes at byte {offset} of a frame's memory of {} bytes", .memory.len_bytes())]
pub struct FrameLeaseError {
    /// The memory, unchanged.
    pub memory: FrameMemory,
    /// Where the part was to start, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The caches could not be made ready for the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the CPU cannot read a dma-buf (DMA_BUF_IOCTL_SYNC): {errno}")]
pub struct SyncError {
    /// The kernel's answer.
    pub errno: Errno,
}

/// The memory of a frame while it is leased: an owner that shows nothing.
#[derive(Debug)]
pub struct LeasedFrame(FrameMemory);

impl LeasedFrame {
    /// Gives the memory back.
    #[must_use]
    pub fn into_memory(self) -> FrameMemory {
        self.0
    }
}

impl SharedSlot {
    pub(super) fn new(slot: Slot, share: Arc<Share>) -> Self {
        Self { slot, share }
    }
}

impl MappedFrame {
    /// Makes the frame of a buffer that was just dequeued, or that never was queued and is not known outside (invariant 1).
    pub(super) fn new(set: Arc<MappedSet>, index: u32) -> Self {
        Self { set, index }
    }

    fn region(&self) -> Option<&Region> {
        self.set.get(self.index)
    }
}

impl Drop for MappedFrame {
    fn drop(&mut self) {
        self.set.drop_frame(self.index);
    }
}

impl fmt::Debug for MappedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedFrame").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Bytes of a frame that the CPU reads. Dropped, the reading is over.
#[derive(Debug)]
pub struct FrameBytes<'a> {
    bytes: &'a [u8],
    share: Option<&'a Share>,
}

impl Deref for FrameBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for FrameBytes<'_> {
    fn drop(&mut self) {
        // Nothing was written, so nothing is lost where this fails.
        let _ended = self.share.map(|share| share.sync(true));
    }
}

impl FrameMemory {
    /// Returns the address of the first byte.
    #[must_use]
    pub fn addr(&self) -> CpuAddr {
        match self {
            Self::Slot(slot) | Self::Shared(SharedSlot { slot, .. }) => slot.addr(),
            Self::Mapped(frame) => frame.region().map_or(CpuAddr::new(0), Region::addr),
        }
    }

    /// Returns the length in bytes: the whole slot, or all planes of a mapped buffer with the rests of their pages.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        let len = match self {
            Self::Slot(slot) | Self::Shared(SharedSlot { slot, .. }) => slot.len(),
            Self::Mapped(frame) => frame.region().map_or(0, Region::len),
        };
        u64::try_from(len).unwrap_or(u64::MAX)
    }

    /// Borrows all bytes for the CPU; a frame's are those of its spans.
    ///
    /// # Errors
    /// [`SyncError`], for dma-bufs.
    pub fn as_slice(&self) -> Result<FrameBytes<'_>, SyncError> {
        match self {
            Self::Slot(slot) => Ok(FrameBytes { bytes: slot.as_slice(), share: None }),
            Self::Shared(SharedSlot { slot, share }) => {
                share.sync(false).map_err(|errno| SyncError { errno })?;
                Ok(FrameBytes { bytes: slot.as_slice(), share: Some(share) })
            }
            Self::Mapped(frame) => {
                Ok(FrameBytes { bytes: frame.region().map_or(&[], Region::as_slice), share: None })
            }
        }
    }

    /// Borrows all bytes as they are, where caches need no word: those of a dma-buf are ordinary pages of this process.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Slot(slot) | Self::Shared(SharedSlot { slot, .. }) => slot.as_slice(),
            Self::Mapped(frame) => frame.region().map_or(&[], Region::as_slice),
        }
    }

    /// Returns the slot, where the memory is one. The CPU reads the frame of a dma-buf by [`FrameMemory::as_slice`], which sees to the caches; other devices need
    /// no such thing.
    #[must_use]
    pub fn into_slot(self) -> Option<Slot> {
        match self {
            Self::Slot(slot) | Self::Shared(SharedSlot { slot, .. }) => Some(slot),
            Self::Mapped(_) => None,
        }
    }

    /// Leases `len` bytes from byte `offset` on, to hand them to another device.
    ///
    /// # Errors
    /// [`FrameLeaseError`] with the memory, when the part is empty or reaches past the memory.
    pub fn into_lease(self, offset: u64, len: u64) -> Result<Lease<CpuAddr, LeasedFrame>, FrameLeaseError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len_bytes());
        let start = end.and_then(|_| self.addr().checked_add(offset));
        let Some(segment) = start.and_then(|start| Segment::new(start, len).ok()) else {
            return Err(FrameLeaseError { memory: self, offset, len });
        };
        // SAFETY: the bytes lie within the memory that the owner has: a slot, which has the exclusive right to them and keeps them mapped, or a mapped
        // buffer, whose set keeps them mapped and which is not queued while the owner lives (invariant 1 of MappedFrame; Region). LeasedFrame
        // shows no bytes.
        Ok(unsafe { Lease::from_raw(ScatterList::from(segment), LeasedFrame(self)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{PagePool, PoolOptions};

    fn spans(parts: &[(u64, u64)]) -> Spans {
        let mut spans = Spans::default();
        parts.iter().for_each(|(offset, len)| spans.push(Span { offset: *offset, len: *len }));
        spans
    }

    #[test]
    fn planes_that_follow_each_other_are_one_span() {
        let whole = spans(&[(512, 1000), (1512, 24), (1536, 0), (1536, 10)]);
        assert_eq!((whole.contiguous(), whole.len_bytes()), (Some(Span { offset: 512, len: 1034 }), 1034));
        assert_eq!(spans(&[(0, 100), (4096, 100)]).contiguous(), None);
        assert_eq!(spans(&[]).contiguous(), None);
        assert_eq!(spans(&[(0, 1); 9]).len(), PLANES_MAX);
    }

    #[test]
    fn memory_is_leased_and_comes_back() {
        let pool = PagePool::new(PoolOptions::uniform(4096, 1)).expect("a pool");
        let memory = FrameMemory::Slot(pool.take().expect("a slot"));
        let error = memory.into_lease(1, 4096).expect_err("too long");
        assert_eq!(error.to_string(), "cannot lease 4096 bytes at byte 1 of a frame's memory of 4096 bytes");
        let error = error.memory.into_lease(0, 0).expect_err("nothing");
        let lease = error.memory.into_lease(512, 1024).expect("a lease");
        assert_eq!((lease.list().len_bytes(), pool.free_slots()), (1024, 0));
        drop(lease.into_owners().next().map(LeasedFrame::into_memory));
        assert_eq!(pool.free_slots(), 1);
    }

    #[test]
    fn a_mapped_frame_that_drops_is_told() {
        let region = Region::anonymous(&[5000, 100]).expect("memory");
        assert_eq!((region.len(), region.planes()), (12_288, &[(0, 5000), (8192, 100)][..]));
        let set = Arc::new(MappedSet::new(vec![region]));
        let memory = FrameMemory::Mapped(MappedFrame::new(Arc::clone(&set), 0));
        assert_eq!(memory.as_slice().expect("bytes").len(), 12_288);
        let lease = memory.into_lease(8192, 4096).expect("a lease");
        assert_eq!(set.take_dropped(), []);
        drop(lease);
        assert_eq!(set.take_dropped(), [0]);
    }
}
