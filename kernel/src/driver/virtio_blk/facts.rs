//! [`Facts`]: what a virtio block device says of itself, and the [`Options`] of who drives it; together the limits of its
//! requests. Virtual I/O Device (VIRTIO) Version 1.2, sections 5.2.3 and 5.2.4.

use scatterlist::desc::virtqueue::{QueueSize, Shape, limits};
use scatterlist::{Force, LimitId, Limits, LimitsError, Source, StackError};

use super::chain::FRAME;
use super::transport::{Transport, TransportError, feature};
use crate::driver::word;
use crate::registers::Registers;

/// The unit of positions and of the capacity, whatever the block size (section 5.2.6).
pub(super) const SECTOR_LEN: u64 = 512;

/// Feature bits of a block device (section 5.2.3).
mod bit {
    pub(super) const SIZE_MAX: u64 = 1 << 1;
    pub(super) const SEG_MAX: u64 = 1 << 2;
    pub(super) const RO: u64 = 1 << 5;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const FLUSH: u64 = 1 << 9;
}

/// Offsets in the configuration (section 5.2.4).
mod field {
    pub(super) const CAPACITY_LOW: u64 = 0;
    pub(super) const CAPACITY_HIGH: u64 = 4;
    pub(super) const SIZE_MAX: u64 = 8;
    pub(super) const SEG_MAX: u64 = 12;
    pub(super) const BLK_SIZE: u64 = 20;
}

/// What the one who drives the device chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The most descriptors of the queue, a power of two. The device may allow fewer.
    pub queue_size_max: u16,
    /// Whether indirect tables are used, where the device offers them. Without, each segment takes a descriptor of the queue.
    pub indirect: bool,
    /// The most segments of one request that has an indirect table. The table of each takes 16 bytes a segment.
    pub segments_max: u16,
    /// The most requests at a time.
    pub requests_max: u16,
}

impl Default for Options {
    /// 128 descriptors and as many requests; indirect tables of up to 126 segments, which with their frame are 2 KiB.
    fn default() -> Self {
        Self { queue_size_max: 128, indirect: true, segments_max: 126, requests_max: 128 }
    }
}

/// What the device says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    features: u64,
    queue_size: QueueSize,
    capacity_sectors: u64,
    size_max: Option<u32>,
    seg_max: Option<u32>,
    block_len: u32,
}

impl Facts {
    /// Agrees on features with a device that was reset, and reads its configuration.
    pub(super) fn read<R: Registers>(
        transport: &Transport<R>,
        options: Options,
    ) -> Result<Self, TransportError> {
        let indirect = if options.indirect { feature::INDIRECT_DESC } else { 0 };
        let wanted = bit::SIZE_MAX | bit::SEG_MAX | bit::RO | bit::BLK_SIZE | bit::FLUSH | indirect;
        let features = transport.negotiate(wanted, feature::VERSION_1)?;
        let [low, high, size_max, seg_max, blk_size] = transport.config([
            field::CAPACITY_LOW,
            field::CAPACITY_HIGH,
            field::SIZE_MAX,
            field::SEG_MAX,
            field::BLK_SIZE,
        ])?;
        let max = transport.queue_size_max(0)?;
        // A power of two, at most what either side allows: 2^15 at most, so it is a size.
        let most = u16::try_from(max).unwrap_or(QueueSize::MAX).min(options.queue_size_max.max(1));
        let size = 1_u16.checked_shl(most.max(1).ilog2()).unwrap_or(1);
        let queue_size = QueueSize::new(size).map_err(|_| TransportError::NoQueue { queue: 0 })?;
        let given = |bit: u64, value: u32| (features & bit != 0).then_some(value);
        Ok(Self {
            features,
            queue_size,
            capacity_sectors: word(low, high),
            size_max: given(bit::SIZE_MAX, size_max),
            seg_max: given(bit::SEG_MAX, seg_max),
            block_len: given(bit::BLK_SIZE, blk_size).unwrap_or(512),
        })
    }

    /// Returns the features that both sides agreed on, as bits.
    #[must_use]
    pub const fn features(&self) -> u64 {
        self.features
    }

    /// Returns the size of the queue.
    #[must_use]
    pub const fn queue_size(&self) -> QueueSize {
        self.queue_size
    }

    /// Returns the bytes that the device holds.
    #[must_use]
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_sectors.saturating_mul(SECTOR_LEN)
    }

    /// Returns the bytes of a block.
    #[must_use]
    pub const fn block_len(&self) -> u32 {
        self.block_len
    }

    /// Says whether the device can only be read.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.features & bit::RO != 0
    }

    /// Says whether the device may keep written bytes in a cache until it is told to flush.
    #[must_use]
    pub const fn has_flush(&self) -> bool {
        self.features & bit::FLUSH != 0
    }

    /// Says whether requests have indirect tables.
    #[must_use]
    pub const fn has_indirect(&self) -> bool {
        self.features & feature::INDIRECT_DESC != 0
    }

    /// Returns where the descriptors of a request stand.
    pub(super) fn shape(&self, options: Options) -> Shape {
        if !self.has_indirect() {
            return Shape::Direct;
        }
        let device = u64::from(self.seg_max.unwrap_or(u32::MAX));
        let segments = u64::from(options.segments_max.max(1)).min(device);
        let chain = segments.saturating_add(FRAME.segments).min(u64::from(self.queue_size.get()));
        Shape::Indirect { descriptors: chain }
    }

    /// Returns what a request may be: by the queue, and by what the device says.
    pub(super) fn limits(&self, options: Options) -> Result<Limits, FactsError> {
        let queue = limits(self.queue_size, self.shape(options), FRAME)?;
        let (len, unit) = (u64::from(self.block_len), SECTOR_LEN);
        if len == 0 || !len.is_multiple_of(unit) {
            return Err(FactsError::BlockLen { len, unit });
        }
        // A block size is more than advice: QEMU fails what is no multiple of it (section 5.2.5 leaves it open).
        let set = [
            (LimitId::SegmentsMax, self.seg_max.map(u64::from)),
            (LimitId::PiecesMax, self.seg_max.map(u64::from)),
            (LimitId::SegmentLenMax, self.size_max.map(u64::from)),
            (LimitId::PositionAlign, Some(len)),
            (LimitId::Capacity, Some(self.capacity_bytes())),
        ];
        let set = set.into_iter().filter_map(|(id, value)| Some((id, value?)));
        let device = set.fold(Limits::builder(), |rules, (id, value)| {
            rules.set(id, value, Source::Identify, Force::Hard)
        });
        Ok(device.build()?.stack(&queue)?)
    }
}

/// What the device says cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// Blocks that are not whole sectors.
    #[error("blocks of {len} bytes are not whole sectors of {unit}")]
    BlockLen {
        /// Bytes of a block.
        len: u64,
        /// Bytes of a sector.
        unit: u64,
    },
    /// A limit by itself.
    #[error("what the device says cannot be: {0}")]
    Limits(#[from] LimitsError),
    /// Its limits and those of the queue.
    #[error("what the device says does not go with its queue: {0}")]
    Stack(#[from] StackError),
}
