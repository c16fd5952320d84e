//! [`Chain`]: the descriptor format of one virtio block request, for [`prepare`](scatterlist::map::prepare).
//!
//! A pool object is the frame of a request: its header, its status, and room for an indirect table. Encoding a request puts its
//! chain into the queue, which the device sees once the queue is published; the command is the head of the chain. Virtual I/O
//! Device (VIRTIO) Version 1.2, section 5.2.6.

use core::cell::{Cell, RefCell};
use core::iter::once;

use scatterlist::desc::virtqueue::{AddError, Frame, RingMemory, Slot, SplitQueue};
use scatterlist::desc::{DescriptorFormat, DescriptorMemory};
use scatterlist::plan::{Piece, Ready};
use scatterlist::{Addr as _, BusAddr, Direction, Segment, SegmentError, Segments};

/// Bytes of the header: type, a reserved word, the first sector.
const HEADER_BYTES: u64 = 16;
/// Bytes of the status.
const STATUS_BYTES: u64 = 1;
/// The word of the frame with the status.
const STATUS_WORD: usize = 2;
/// The word of the frame where the indirect table starts, at a multiple of 16 bytes.
const TABLE_WORD: usize = 4;
/// Bytes of a descriptor (section 2.7.5).
const DESCRIPTOR_BYTES: u64 = 16;

/// What stands around the data of each request.
pub(super) const FRAME: Frame = Frame { segments: 2, bytes: HEADER_BYTES.saturating_add(STATUS_BYTES) };

/// The status of a request that the device has not answered: none that it could give (section 5.2.6, 0 to 2).
pub(super) const UNANSWERED: u8 = 0xff;

/// Returns the bytes of a frame with room for an indirect table of `descriptors`.
pub(super) const fn frame_len(descriptors: u64) -> u64 {
    32_u64.saturating_add(descriptors.saturating_mul(DESCRIPTOR_BYTES))
}

/// What a request asks of the device (section 5.2.6, `VIRTIO_BLK_T_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Read,
    Write,
    Flush,
}

impl Operation {
    const fn code(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Flush => 4,
        }
    }
}

impl From<Direction> for Operation {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::FromDevice => Self::Read,
            Direction::ToDevice => Self::Write,
        }
    }
}

/// Why a request does not go into the queue. The queue is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The queue does not take it.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The pool has objects that are no frames.
    #[error("a frame of {words} words of 8 bytes is too short, it needs {need}")]
    Frame {
        /// The words that an object has.
        words: usize,
        /// The words that it needs.
        need: usize,
    },
    /// The frame is at an address that is none.
    #[error("the frame: {0}")]
    Addr(#[from] SegmentError),
}

impl ChainError {
    /// Says whether there may be room after a completion.
    pub(super) const fn is_full(&self) -> bool {
        matches!(self, Self::Add(AddError::QueueFull { .. }))
    }
}

/// The format of one request, over the queue that it goes into.
pub(super) struct Chain<'q, M> {
    queue: RefCell<&'q mut SplitQueue<M, alloc::vec::Vec<Slot>>>,
    operation: Operation,
    sector: u64,
    indirect: bool,
    /// Descriptors of data that were put into the queue.
    segments: Cell<u64>,
}

impl<'q, M: RingMemory> Chain<'q, M> {
    pub(super) const fn new(
        queue: &'q mut SplitQueue<M, alloc::vec::Vec<Slot>>,
        operation: Operation,
        sector: u64,
        indirect: bool,
    ) -> Self {
        Self { queue: RefCell::new(queue), operation, sector, indirect, segments: Cell::new(0) }
    }

    /// Returns how many descriptors of data went into the queue.
    pub(super) const fn segments(&self) -> u64 {
        self.segments.get()
    }

    /// Fills the frame and puts the chain around `data` into the queue. Returns its head.
    pub(super) fn add<F, P>(&self, frame: &mut F, data: P) -> Result<u16, ChainError>
    where
        F: DescriptorMemory,
        P: Iterator<Item = Piece<BusAddr>>,
    {
        let words = frame.len_words();
        let header = [u64::from(self.operation.code()), self.sector, u64::from(UNANSWERED)];
        if frame.fill(0, header.into_iter()) != header.len() {
            return Err(ChainError::Frame { words, need: TABLE_WORD });
        }
        let start = frame.bus_addr();
        let header = Piece::Direct(Segment::new(start, HEADER_BYTES)?);
        let after = BusAddr::new(start.raw().saturating_add(HEADER_BYTES));
        let status = Piece::Direct(Segment::new(after, STATUS_BYTES)?);
        let data = data.inspect(|_| self.segments.set(self.segments.get().saturating_add(1)));
        let mut queue = self.queue.borrow_mut();
        let mut table = Table { frame };
        // What the device reads stands before what it writes (section 2.7.4.2).
        let head = match (self.operation, self.indirect) {
            (Operation::Read, true) => queue.add_indirect(&mut table, once(header), data.chain(once(status))),
            (Operation::Read, false) => queue.add(once(header), data.chain(once(status))),
            (_, true) => queue.add_indirect(&mut table, once(header).chain(data), once(status)),
            (_, false) => queue.add(once(header).chain(data), once(status)),
        };
        Ok(head?)
    }
}

/// Returns the status that the device wrote into a frame.
pub(super) fn status<F: RingMemory>(frame: &F) -> u8 {
    let [status, ..] = frame.get(STATUS_WORD).unwrap_or(u64::MAX).to_le_bytes();
    status
}

impl<M: RingMemory> DescriptorFormat for Chain<'_, M> {
    type Command = u16;
    type Error = ChainError;

    fn objects_needed<S>(&self, _ready: &Ready<'_, S>, _object_words: usize) -> Result<usize, ChainError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        Ok(1)
    }

    fn encode<S, F>(&self, ready: &Ready<'_, S>, objects: &mut [F]) -> Result<u16, ChainError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        F: DescriptorMemory,
    {
        let [frame] = objects else { return Err(ChainError::Frame { words: 0, need: TABLE_WORD }) };
        self.add(frame, ready.pieces())
    }
}

/// The part of a frame that holds the indirect table.
struct Table<'f, F> {
    frame: &'f mut F,
}

impl<F: DescriptorMemory> DescriptorMemory for Table<'_, F> {
    fn bus_addr(&self) -> BusAddr {
        let offset = u64::try_from(TABLE_WORD).unwrap_or(0).saturating_mul(8);
        BusAddr::new(self.frame.bus_addr().raw().saturating_add(offset))
    }

    fn len_words(&self) -> usize {
        self.frame.len_words().saturating_sub(TABLE_WORD)
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        self.frame.put(index.saturating_add(TABLE_WORD), word)
    }
}
