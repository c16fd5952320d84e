//! [`walk`]: reads descriptors and segments as the controller does.
//!
//! The data that the descriptors name must be exactly that of the command: a controller that takes more is an
//! option of the specification, and one that needs less reports a length error. A walk reads at most
//! [`DESCRIPTORS_MAX`] descriptors, so segments that point to each other end in an error.

use super::{DESCRIPTOR_LEN, Descriptor, Kind, SEGMENT_ALIGN};
use crate::desc::{BusRead, Unreadable};
use crate::{Addr as _, BusAddr, Segment};

/// The most descriptors that a walk reads, links and empty ones counted.
pub const DESCRIPTORS_MAX: u64 = 1 << 17;

/// What a controller would not accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A descriptor of a kind, or with a subtype, that a host's memory cannot be named by, or that this walk
    /// does not know.
    #[error(
        "descriptor {index} has type {kind:#x} and subtype {subtype:#x}: not one of data or of a segment"
    )]
    Unsupported {
        /// Which descriptor, from 0, which is that of the command.
        index: u64,
        /// Its type.
        kind: u8,
        /// Its subtype.
        subtype: u8,
    },
    /// Reserved bits are set.
    #[error("descriptor {index} has {bits:#x} in its reserved bytes")]
    Reserved {
        /// Which descriptor.
        index: u64,
        /// What stands there.
        bits: u32,
    },
    /// A pointer to a segment stands where none may: not last in its segment, or in the last segment.
    #[error("descriptor {index} points to a segment, with {left} descriptors left in its own (last: {last})")]
    Misplaced {
        /// Which descriptor.
        index: u64,
        /// Descriptors of its segment after it.
        left: u64,
        /// Whether its segment was said to be the last.
        last: bool,
    },
    /// A segment that is not the last ends without a pointer to the next.
    #[error("descriptor {index} ends a segment that is not the last, and is no pointer to the next")]
    Unlinked {
        /// Which descriptor.
        index: u64,
    },
    /// A segment starts or ends where none may.
    #[error("the segment at {addr} of {len} bytes: address a multiple of 8, length of 16 and not 0")]
    SegmentShape {
        /// Its address.
        addr: BusAddr,
        /// Its length in bytes.
        len: u32,
    },
    /// The descriptors name fewer or more bytes than the command transfers.
    #[error("the descriptors name {found} bytes, the command transfers {bytes}")]
    Length {
        /// Bytes of the command.
        bytes: u64,
        /// Bytes of the descriptors, as far as they were read.
        found: u64,
    },
    /// Data reaches past the last address.
    #[error("descriptor {index}, {addr}, of {len} bytes reaches past the last address")]
    Wraps {
        /// Which descriptor.
        index: u64,
        /// Its address.
        addr: BusAddr,
        /// Its bytes.
        len: u32,
    },
    /// There are too many descriptors.
    #[error("more than {DESCRIPTORS_MAX} descriptors")]
    TooMany,
    /// A segment lies where the device cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Walks the data of a command of `len_bytes` with `first` as its data pointer, in order: one run of bus memory
/// a descriptor. After an error it ends.
pub const fn walk<R: BusRead + ?Sized>(bus: &R, first: Descriptor, len_bytes: u64) -> Walk<'_, R> {
    Walk {
        bus,
        first: Some(first),
        bytes: len_bytes,
        found: 0,
        index: 0,
        next: 0,
        left: 0,
        last: true,
        done: false,
    }
}

/// The runs of memory that a controller transfers. See [`walk`].
#[derive(Debug)]
pub struct Walk<'a, R: ?Sized> {
    bus: &'a R,
    /// The descriptor of the command, until it is read.
    first: Option<Descriptor>,
    bytes: u64,
    found: u64,
    /// Which descriptor is next.
    index: u64,
    /// Where it lies, and how many are left of its segment.
    next: u64,
    left: u64,
    /// Its segment is the last.
    last: bool,
    done: bool,
}

impl<R: BusRead + ?Sized> Walk<'_, R> {
    fn step(&mut self) -> Result<Option<Segment<BusAddr>>, WalkError> {
        loop {
            let in_command = self.first.is_some();
            let Some(descriptor) = self.read()? else {
                return match (self.found, self.bytes) {
                    (found, bytes) if found == bytes => Ok(None),
                    (found, bytes) => Err(WalkError::Length { bytes, found }),
                };
            };
            let index = self.index;
            self.index = index.saturating_add(1);
            let (kind, subtype) = (descriptor.kind(), descriptor.subtype());
            if subtype != 0 {
                return Err(WalkError::Unsupported { index, kind: kind.value(), subtype });
            }
            if descriptor.reserved() != 0 {
                return Err(WalkError::Reserved { index, bits: descriptor.reserved() });
            }
            match kind {
                Kind::DataBlock => {
                    if self.left == 0 && !self.last {
                        return Err(WalkError::Unlinked { index });
                    }
                    if let Some(data) = self.data(index, descriptor)? {
                        return Ok(Some(data));
                    }
                }
                Kind::Segment | Kind::LastSegment => {
                    if !in_command && (self.last || self.left > 0) {
                        return Err(WalkError::Misplaced { index, left: self.left, last: self.last });
                    }
                    self.enter(descriptor)?;
                }
                _ => return Err(WalkError::Unsupported { index, kind: kind.value(), subtype }),
            }
        }
    }

    /// Reads the next descriptor, if there is one.
    fn read(&mut self) -> Result<Option<Descriptor>, WalkError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        if self.index >= DESCRIPTORS_MAX {
            return Err(WalkError::TooMany);
        }
        self.left = left;
        let mut bytes = [0; 16];
        self.bus.read(BusAddr::new(self.next), &mut bytes)?;
        // `enter` saw to it that the segment does not wrap; at its end this is not read any more.
        self.next = self.next.wrapping_add(DESCRIPTOR_LEN);
        Ok(Some(Descriptor::from_le_bytes(bytes)))
    }

    /// Takes a descriptor of data; `None` for an empty one, which is legal and moves nothing.
    fn data(&mut self, index: u64, data: Descriptor) -> Result<Option<Segment<BusAddr>>, WalkError> {
        let (addr, len) = (data.addr(), data.len());
        if len == 0 {
            return Ok(None);
        }
        let segment = Segment::new(addr, len.into()).map_err(|_| WalkError::Wraps { index, addr, len })?;
        // At most 2^17 lengths of 32 bits.
        self.found = self.found.saturating_add(len.into());
        if self.found > self.bytes {
            return Err(WalkError::Length { bytes: self.bytes, found: self.found });
        }
        Ok(Some(segment))
    }

    /// Turns to the segment that a descriptor points to.
    fn enter(&mut self, pointer: Descriptor) -> Result<(), WalkError> {
        let (addr, len) = (pointer.addr(), pointer.len());
        let bytes = u64::from(len);
        let misplaced = addr.raw() & SEGMENT_ALIGN.wrapping_sub(1) != 0;
        let ragged = bytes & DESCRIPTOR_LEN.wrapping_sub(1) != 0;
        if misplaced || ragged || len == 0 || addr.checked_add(bytes).is_none() {
            return Err(WalkError::SegmentShape { addr, len });
        }
        self.next = addr.raw();
        self.left = bytes.wrapping_shr(DESCRIPTOR_LEN.trailing_zeros());
        self.last = pointer.kind() == Kind::LastSegment;
        Ok(())
    }
}

impl<R: BusRead + ?Sized> Iterator for Walk<'_, R> {
    type Item = Result<Segment<BusAddr>, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step();
        self.done = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl<R: BusRead + ?Sized> core::iter::FusedIterator for Walk<'_, R> {}
