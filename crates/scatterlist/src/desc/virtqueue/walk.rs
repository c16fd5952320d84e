//! [`DeviceRings`]: the queue as its device reads it, through [`BusRead`]: a walker for tests, models and fuzzers.
//!
//! It trusts nothing. A chain is bounded by the queue size, so that a loop ends as an error; each run comes with
//! the direction that its descriptor states.

use super::super::{BusRead, Unreadable};
use super::format::{CHAIN_BYTES_MAX, DESCRIPTOR_BYTES};
use super::{Descriptor, QueueSize, Side};
use crate::{Addr, BusAddr, Segment, SegmentError};

/// What a driver told a device of a queue: its size and where the parts are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeviceRings {
    /// The queue size.
    pub size: QueueSize,
    /// The descriptor table.
    pub table: BusAddr,
    /// The available ring.
    pub available: BusAddr,
}

/// What a driver put into the available ring that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The device cannot read the ring.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A part of the ring lies past the last address.
    #[error("the ring at {addr} reaches past the last address")]
    Wraps {
        /// Where the ring starts.
        addr: BusAddr,
    },
    /// The available index went further than the ring is long.
    #[error("the available index is {index}, {seen} was seen, and the queue has {size} entries")]
    IndexJump {
        /// The index that the driver wrote.
        index: u16,
        /// The index up to which the device has read.
        seen: u16,
        /// The queue size.
        size: u16,
    },
}

/// Why a chain cannot be followed further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The device cannot read a descriptor.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A descriptor lies past the last address.
    #[error("descriptor {index} of the table at {table} lies past the last address")]
    Wraps {
        /// Where the table starts.
        table: BusAddr,
        /// The descriptor.
        index: u16,
    },
    /// The head or a successor is not in the table.
    #[error("descriptor {index} is not in the table of {entries}")]
    OutOfRange {
        /// The descriptor.
        index: u16,
        /// The entries of the table.
        entries: u32,
    },
    /// The chain has more descriptors than the queue: it is too long, or a loop.
    #[error("the chain from {head} goes on after {max} descriptors: it loops or is too long")]
    TooLong {
        /// Its head.
        head: u16,
        /// The queue size.
        max: u16,
    },
    /// The chain holds too many bytes.
    #[error("the chain from {head} holds at least {bytes} bytes, the most is {max}")]
    TooManyBytes {
        /// Its head.
        head: u16,
        /// Its bytes so far.
        bytes: u64,
        /// The most.
        max: u64,
    },
    /// An indirect descriptor stands in an indirect table (section 2.7.5.3.1).
    #[error("descriptor {index} of an indirect table is indirect")]
    IndirectInIndirect {
        /// The descriptor.
        index: u16,
    },
    /// An indirect descriptor goes on (section 2.7.5.3.1).
    #[error("descriptor {index} is indirect and goes on at {next}")]
    IndirectGoesOn {
        /// The descriptor.
        index: u16,
        /// Its successor.
        next: u16,
    },
    /// An indirect table is not a whole number of descriptors, at least one.
    #[error("descriptor {index} is an indirect table of {len} bytes, it must be a multiple of 16 and not 0")]
    IndirectLen {
        /// The descriptor.
        index: u16,
        /// The bytes of the table.
        len: u32,
    },
    /// What the device reads stands after what it writes (section 2.7.4.2).
    #[error("descriptor {index} is to be read and stands after one that is to be written")]
    ReadAfterWrite {
        /// The descriptor.
        index: u16,
    },
    /// The memory of a descriptor is none: no bytes, or past the last address.
    #[error("descriptor {index}: {error}")]
    Segment {
        /// The descriptor.
        index: u16,
        /// What is wrong with it.
        error: SegmentError,
    },
}

/// One run of memory of a request, in the order of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// The memory.
    pub segment: Segment<BusAddr>,
    /// Whether the device reads or writes it.
    pub side: Side,
}

impl DeviceRings {
    /// Returns how many requests the driver has published after the index `seen`.
    ///
    /// # Errors
    /// [`RingError`] where the index cannot be read or went too far.
    pub fn waiting<B: BusRead + ?Sized>(&self, bus: &B, seen: u16) -> Result<u16, RingError> {
        let index = self.available_field(bus, 1)?;
        let (waiting, size) = (index.wrapping_sub(seen), self.size.get());
        if waiting > size { Err(RingError::IndexJump { index, seen, size }) } else { Ok(waiting) }
    }

    /// Returns the head at a running index of the available ring. It is checked by the walk.
    ///
    /// # Errors
    /// [`RingError`] where it cannot be read.
    pub fn head<B: BusRead + ?Sized>(&self, bus: &B, index: u16) -> Result<u16, RingError> {
        self.available_field(bus, u64::from(self.size.wrap(index)).saturating_add(2))
    }

    /// Walks the chain from `head` on, indirect tables included. After an error the walk ends.
    pub fn walk<'a, B: BusRead + ?Sized>(&self, bus: &'a B, head: u16) -> Walk<'a, B> {
        let (table, entries) = (self.table, self.size.get());
        Walk {
            bus,
            max: entries,
            head,
            table,
            entries: u32::from(entries),
            next: Some(head),
            indirect: false,
            left: entries,
            bytes: 0,
            written: false,
        }
    }

    fn available_field<B: BusRead + ?Sized>(&self, bus: &B, field: u64) -> Result<u16, RingError> {
        let addr = self.available.checked_add(field.saturating_mul(2));
        let addr = addr.ok_or(RingError::Wraps { addr: self.available })?;
        let mut bytes = [0; 2];
        bus.read(addr, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }
}

/// The runs of one request. See [`DeviceRings::walk`].
#[derive(Debug)]
pub struct Walk<'a, B: ?Sized> {
    bus: &'a B,
    max: u16,
    head: u16,
    table: BusAddr,
    entries: u32,
    next: Option<u16>,
    indirect: bool,
    /// Descriptors with memory that the chain may still have.
    left: u16,
    bytes: u64,
    written: bool,
}

impl<B: BusRead + ?Sized> Walk<'_, B> {
    fn read(&self, index: u16) -> Result<Descriptor, WalkError> {
        if u32::from(index) >= self.entries {
            return Err(WalkError::OutOfRange { index, entries: self.entries });
        }
        let offset = u64::from(index).saturating_mul(DESCRIPTOR_BYTES);
        let addr = self.table.checked_add(offset).ok_or(WalkError::Wraps { table: self.table, index })?;
        let mut bytes = [0; 16];
        self.bus.read(addr, &mut bytes)?;
        Ok(Descriptor::from_bytes(bytes))
    }

    fn run(&mut self, index: u16) -> Result<Run, WalkError> {
        let mut index = index;
        let mut descriptor = self.read(index)?;
        if descriptor.has(Descriptor::INDIRECT) {
            // Its write flag means nothing (section 2.7.5.3.2).
            if self.indirect {
                return Err(WalkError::IndirectInIndirect { index });
            }
            if let Some(next) = descriptor.next() {
                return Err(WalkError::IndirectGoesOn { index, next });
            }
            let Descriptor { addr, len, .. } = descriptor;
            self.entries = match len.checked_div(16) {
                Some(entries) if entries > 0 && len.checked_rem(16) == Some(0) => entries,
                _ => return Err(WalkError::IndirectLen { index, len }),
            };
            (self.table, self.indirect, index) = (addr, true, 0);
            descriptor = self.read(index)?;
            if descriptor.has(Descriptor::INDIRECT) {
                return Err(WalkError::IndirectInIndirect { index });
            }
        }
        self.left = self.left.checked_sub(1).ok_or(WalkError::TooLong { head: self.head, max: self.max })?;
        let side = descriptor.side();
        if self.written && side == Side::Readable {
            return Err(WalkError::ReadAfterWrite { index });
        }
        self.written = side == Side::Writable;
        let segment = Segment::new(descriptor.addr, u64::from(descriptor.len))
            .map_err(|error| WalkError::Segment { index, error })?;
        self.bytes = self.bytes.saturating_add(segment.len());
        if self.bytes > CHAIN_BYTES_MAX {
            let (head, bytes) = (self.head, self.bytes);
            return Err(WalkError::TooManyBytes { head, bytes, max: CHAIN_BYTES_MAX });
        }
        self.next = descriptor.next();
        Ok(Run { segment, side })
    }
}

impl<B: BusRead + ?Sized> Iterator for Walk<'_, B> {
    type Item = Result<Run, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next.take()?;
        Some(self.run(index))
    }
}

impl<B: BusRead + ?Sized> core::iter::FusedIterator for Walk<'_, B> {}
