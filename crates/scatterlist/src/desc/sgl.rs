//! NVMe scatter gather lists (SGL): a transfer as descriptors of 16 bytes, each a run of memory.
//!
//! One descriptor lies in the command. For more, it points to a segment of descriptors; what a segment cannot
//! hold goes on in the next one, to which its last descriptor points. The pointer to the last segment says that
//! it is that. Specification: NVM Express Base Specification 2.0, section 4.1.2 ("Scatter Gather List (SGL)").
//! Beside it: the encoder and the count of what it needs in `encode`, the walker in `walk`, metadata pointers
//! in `metadata`.

mod encode;
mod metadata;
mod walk;

pub(super) use encode::encode_run;
pub use encode::{EncodeError, encode, segments_needed};
pub use metadata::{MetadataError, metadata_contiguous, metadata_limits, metadata_segment};
pub use walk::{DESCRIPTORS_MAX, Walk, WalkError, walk};

use crate::{Addr as _, BusAddr, Force, LimitId, Limits, LimitsError, Source};

/// Bytes of a descriptor, NVM Express Base Specification 2.0, section 4.1.2.1.
pub(super) const DESCRIPTOR_LEN: u64 = 16;

/// Words of a descriptor.
pub(super) const DESCRIPTOR_WORDS: usize = 2;

/// A segment starts at a multiple of this, same section.
const SEGMENT_ALIGN: u64 = 8;

/// The length field has 32 bits, same section.
const LEN_MAX: u64 = 0xffff_ffff;

/// Where in the second word the type stands: the high nibble of byte 15, same section.
const KIND_SHIFT: u32 = 60;

/// What a controller demands of the addresses and lengths of data (SGLS, bits 1:0 of the identify data).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Granularity {
    /// Any byte (01b).
    #[default]
    Byte,
    /// Multiples of 4 bytes (10b).
    Dword,
}

/// Returns the limits that the format implies for commands that hold at most `descriptors` descriptors of data
/// ([`descriptors_max`]): a plan made for them, or for stricter ones, always encodes.
///
/// # Errors
/// [`LimitsError::Zero`] for no descriptors at all.
pub fn limits(descriptors: u64, granularity: Granularity) -> Result<Limits, LimitsError> {
    let format = |limits: crate::LimitsBuilder, id, value| {
        limits.set(id, value, Source::DescriptorFormat, Force::Hard)
    };
    let unit: u64 = match granularity {
        Granularity::Byte => 1,
        Granularity::Dword => 4,
    };
    let limits = format(Limits::builder(), LimitId::SegmentsMax, descriptors);
    let limits = format(limits, LimitId::SegmentLenMax, LEN_MAX & !unit.wrapping_sub(1));
    if unit == 1 {
        return limits.build();
    }
    format(format(limits, LimitId::AddrAlign, unit), LimitId::PieceLenAlign, unit).build()
}

/// Returns how many descriptors of data fit a chain of `segments` list memories of `descriptors` each, and the
/// command. Each segment but the last gives one descriptor to the link.
#[must_use]
pub const fn descriptors_max(descriptors: u64, segments: u64) -> u64 {
    let Some(further) = segments.checked_sub(1) else { return 1 };
    let in_chain = match descriptors.checked_sub(1) {
        None => 0,
        Some(each) => descriptors.saturating_add(further.saturating_mul(each)),
    };
    if in_chain == 0 { 1 } else { in_chain }
}

/// What a descriptor is: NVM Express Base Specification 2.0, section 4.1.2.1, SGL descriptor type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A run of data (0h).
    DataBlock,
    /// Bytes that a read drops (1h).
    BitBucket,
    /// A segment that another one follows (2h).
    Segment,
    /// The last segment (3h).
    LastSegment,
    /// A run of data with a key, for fabrics (4h).
    KeyedDataBlock,
    /// Data that the transport carries (5h).
    TransportDataBlock,
    /// Another value of the field.
    Other(u8),
}

impl Kind {
    /// Returns the value of the field, 4 bits.
    #[must_use]
    pub const fn value(self) -> u8 {
        match self {
            Self::DataBlock => 0x0,
            Self::BitBucket => 0x1,
            Self::Segment => 0x2,
            Self::LastSegment => 0x3,
            Self::KeyedDataBlock => 0x4,
            Self::TransportDataBlock => 0x5,
            Self::Other(value) => value & 0xf,
        }
    }

    /// Returns what the value of the field, of which the low 4 bits count, stands for.
    #[must_use]
    pub const fn from_value(value: u8) -> Self {
        match value & 0xf {
            0x0 => Self::DataBlock,
            0x1 => Self::BitBucket,
            0x2 => Self::Segment,
            0x3 => Self::LastSegment,
            0x4 => Self::KeyedDataBlock,
            0x5 => Self::TransportDataBlock,
            other => Self::Other(other),
        }
    }
}

/// One descriptor: the data pointer (DPTR) of commands that use SGLs, and the element of a segment. A raw view: every
/// value of its bits can be held.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Descriptor {
    // Two words and no array of them: so it stays in registers.
    low: u64,
    high: u64,
}

impl Descriptor {
    /// Makes a descriptor of subtype 0 (the address is an address).
    #[must_use]
    pub fn new(kind: Kind, addr: BusAddr, len: u32) -> Self {
        let kind = u64::from(kind.value()).wrapping_shl(KIND_SHIFT);
        Self { low: addr.raw(), high: kind | u64::from(len) }
    }

    /// Takes the two words of a descriptor.
    #[must_use]
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self { low, high }
    }

    /// Reads a descriptor from memory: bytes 24 to 39 of a command, or an element of a segment.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        #[expect(clippy::as_conversions, reason = "each half of 128 bits")]
        Self { low: both as u64, high: both.wrapping_shr(64) as u64 }
    }

    /// Returns the bytes of the descriptor.
    #[must_use]
    pub const fn to_le_bytes(self) -> [u8; 16] {
        #[expect(clippy::as_conversions, reason = "64 bits widened to 128")]
        let both = self.low as u128 | (self.high as u128).wrapping_shl(64);
        both.to_le_bytes()
    }

    /// Returns the two words.
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        [self.low, self.high]
    }

    /// Returns what the descriptor is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        let [.., last] = self.high.to_le_bytes();
        Kind::from_value(last >> 4)
    }

    /// Returns how the address is to be read: 0 for an address, 1 for an offset, others of the transport.
    #[must_use]
    pub const fn subtype(self) -> u8 {
        let [.., last] = self.high.to_le_bytes();
        last & 0xf
    }

    /// Returns the address: of data, or of a segment.
    #[must_use]
    pub fn addr(self) -> BusAddr {
        BusAddr::new(self.low)
    }

    /// Returns the length in bytes: of data, or of a segment.
    #[must_use]
    pub const fn len(self) -> u32 {
        let [a, b, c, d, ..] = self.high.to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Says whether the length is 0.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the three reserved bytes between length and type; 0 in the kinds that an encoder writes.
    #[must_use]
    pub const fn reserved(self) -> u32 {
        let [_, _, _, _, a, b, c, _] = self.high.to_le_bytes();
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// The raw view of a segment: descriptors in memory.
#[derive(Clone, Copy, Debug)]
pub struct SegmentView<'a> {
    bytes: &'a [u8],
}

impl<'a> SegmentView<'a> {
    /// Views bytes. Those behind the last whole descriptor are not part of it.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Returns how many descriptors there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.as_chunks::<16>().0.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns descriptor `index`, `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Descriptor> {
        self.bytes.as_chunks().0.get(index).copied().map(Descriptor::from_le_bytes)
    }
}
