//! [`Piece`]: a frame on its way: in the memory that the grabber filled, or copied out of it.
#![expect(unsafe_code, reason = "the promise of Filled for a grabber's frame")]

use scatterlist::{Addr, CpuAddr, ScatterList, Segment};

use super::held::Copied;
use crate::device::filled::Filled;
use crate::device::video::{Frame, FrameMemory, Spans};
use crate::pages::Slot;

/// A frame's bytes.
#[derive(Debug)]
pub(super) enum Piece {
    /// Where the grabber left them.
    Frame(FramePiece),
    /// A copy.
    Copied(Copied),
}

/// The memory of a frame, and where its planes lie.
#[derive(Debug)]
pub(super) struct FramePiece {
    memory: FrameMemory,
    spans: Spans,
    len: u64,
}

impl Piece {
    pub(super) fn frame(frame: Frame) -> Self {
        let Frame { memory, spans, len, .. } = frame;
        Self::Frame(FramePiece { memory, spans, len })
    }
}

impl FramePiece {
    pub(super) const fn len_bytes(&self) -> u64 {
        self.len
    }

    pub(super) fn into_memory(self) -> FrameMemory {
        self.memory
    }

    /// Copies the frame to a slot, from byte `offset` on, and gives its memory back; without a copy where the slot is too short.
    pub(super) fn copy_to(self, mut slot: Slot, offset: u64) -> (Copied, FrameMemory) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        let room = slot.as_mut_slice().get_mut(start..).and_then(|room| room.get_mut(..len));
        let mut copied = 0;
        if let Some(room) = room {
            self.read_at(0, room);
            copied = self.len;
        }
        (Copied { slot, offset, len: copied }, self.memory)
    }
}

// SAFETY: a frame's memory is owned here, so that the device does not write to it and its slot or mapping stays where it is (FrameMemory);
// nothing but `read_at` looks at its bytes, and nothing writes them.
unsafe impl Filled for Piece {
    fn list(&self) -> ScatterList<CpuAddr> {
        let frame = match self {
            Self::Copied(copied) => return copied.list(),
            Self::Frame(frame) => frame,
        };
        let held = frame.memory.len_bytes();
        let segments = frame.spans.iter().filter(|span| span.len > 0).filter_map(|span| {
            let fits = span.offset.checked_add(span.len).is_some_and(|end| end <= held);
            let start = frame.memory.addr().checked_add(span.offset).filter(|_| fits)?;
            Segment::new(start, span.len).ok()
        });
        ScatterList::from_segments(segments).unwrap_or_default()
    }

    fn len_bytes(&self) -> u64 {
        match self {
            Self::Copied(copied) => copied.len_bytes(),
            Self::Frame(frame) => frame.len,
        }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) {
        match self {
            Self::Copied(copied) => copied.read_at(at, into),
            Self::Frame(frame) => frame.read_at(at, into),
        }
    }
}

impl FramePiece {
    fn read_at(&self, at: u64, into: &mut [u8]) {
        // Where a dma-buf cannot be made ready for the CPU, its pages are this process's own all the same.
        let synced = self.memory.as_slice();
        let bytes = synced.as_deref().unwrap_or_else(|_| self.memory.bytes());
        let (mut skip, mut into) = (at, into);
        for span in self.spans.iter() {
            if skip >= span.len {
                skip = skip.saturating_sub(span.len);
                continue;
            }
            let start = usize::try_from(span.offset.saturating_add(skip)).unwrap_or(usize::MAX);
            let len = usize::try_from(span.len.saturating_sub(skip)).unwrap_or(usize::MAX).min(into.len());
            let (here, rest) = into.split_at_mut(len);
            if let Some(from) = bytes.get(start..).and_then(|from| from.get(..len)) {
                here.copy_from_slice(from);
            }
            (skip, into) = (0, rest);
        }
    }
}
