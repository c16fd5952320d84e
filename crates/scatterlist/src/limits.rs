//! What a device can take: [`MemoryLimits`] (rules for the memory) and [`DeviceLimits`] (rules for the
//! position and size of a transfer), together [`Limits`].
//!
//! Every limit is named by a [`LimitId`] and carries its [`Source`] (who said so) and its [`Force`]
//! (whether breaking it fails, or someone below splits). [`LimitsBuilder::build`] validates; [`stack`](Limits::stack)
//! gives one record that satisfies two, or says which pair cannot be met. The planner reads nothing else
//! about a device.

mod build;
mod hard;
mod stack;

pub use build::{LimitsBuilder, LimitsError};
#[cfg(feature = "alloc")]
pub(crate) use hard::gcd;
pub(crate) use hard::{Hard, rem};
pub use stack::StackError;

use core::fmt;

/// The name of one limit. Lengths, alignments and positions are bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum LimitId {
    /// Lowest address that the device reaches. Neutral: 0.
    AddrMin,
    /// Highest address (inclusive) that the device reaches. Neutral: `u64::MAX`.
    AddrMax,
    /// Highest address (inclusive) that coherent memory may have. Neutral: `u64::MAX`.
    CoherentAddrMax,
    /// Every piece starts at a multiple of this (a power of two). Neutral: 1.
    AddrAlign,
    /// Every piece is a multiple of this long. Neutral: 1.
    PieceLenAlign,
    /// The whole transfer is a multiple of this long. Neutral: 1.
    TotalLenAlign,
    /// Most physically contiguous segments in one transfer. Neutral: `u64::MAX`.
    SegmentsMax,
    /// Most pieces (entries of the interface's vector, such as iovecs) in one transfer. Neutral: `u64::MAX`.
    PiecesMax,
    /// Longest segment. Neutral: `u64::MAX`.
    SegmentLenMax,
    /// No segment crosses a multiple of this (a power of two). Neutral: 0, none.
    SegmentBoundary,
    /// Every piece but the first starts, and every piece but the last ends, at a multiple of this (a power
    /// of two): the virt boundary of Linux, the page rule of NVMe PRPs. Neutral: 0, none.
    GapBoundary,
    /// Memory is known to be contiguous for the device only within naturally aligned blocks of this size (a
    /// power of two): a piece counts one segment for each block it touches, and long segments are cut at
    /// multiples of it. Neutral: 0, addresses are the device's own and each piece is one segment.
    PageLen,
    /// The low address bits (a mask `2^n - 1`) that a bounce buffer must share with what it stands for. Those below
    /// [`AddrAlign`](Self::AddrAlign) are zero in the buffer, whatever they were. Neutral: 0.
    BounceOffsetMask,
    /// Pieces shorter than this are copied even where they need not be, because mapping them costs more. A
    /// policy, counted like any bounce. Neutral: 0, off.
    CopyBelow,
    /// Every transfer starts at a multiple of this position, and its length is one too. Neutral: 1.
    PositionAlign,
    /// Transfers that the size limits cut should end at a multiple of this position (a physical block).
    /// Neutral: 1.
    PositionAlignOpt,
    /// Shortest transfer. Neutral: 0.
    TransferLenMin,
    /// Longest transfer. Neutral: `u64::MAX`.
    TransferLenMax,
    /// The transfer length that suits the device best, a hint for producers. Neutral: 0, unknown.
    TransferLenOpt,
    /// No transfer crosses a multiple of this in device space (any size, not only powers of two). Neutral: 0,
    /// none.
    ChunkLen,
    /// Where position 0 lies within the chunks: a partition's own start on its disk. Neutral: 0.
    PositionOffset,
    /// Bytes that the device holds; no transfer ends past it. Neutral: `u64::MAX`.
    Capacity,
}

const MEMORY_COUNT: usize = 14;
const DEVICE_COUNT: usize = 8;

impl LimitId {
    /// The limits that rule memory, in the order of [`MemoryLimits::iter`].
    pub const MEMORY: [Self; MEMORY_COUNT] = [
        Self::AddrMin,
        Self::AddrMax,
        Self::CoherentAddrMax,
        Self::AddrAlign,
        Self::PieceLenAlign,
        Self::TotalLenAlign,
        Self::SegmentsMax,
        Self::PiecesMax,
        Self::SegmentLenMax,
        Self::SegmentBoundary,
        Self::GapBoundary,
        Self::PageLen,
        Self::BounceOffsetMask,
        Self::CopyBelow,
    ];

    /// The limits that rule positions and sizes, in the order of [`DeviceLimits::iter`].
    pub const DEVICE: [Self; DEVICE_COUNT] = [
        Self::PositionAlign,
        Self::PositionAlignOpt,
        Self::TransferLenMin,
        Self::TransferLenMax,
        Self::TransferLenOpt,
        Self::ChunkLen,
        Self::PositionOffset,
        Self::Capacity,
    ];

    /// Returns the value that stands for "no rule".
    #[must_use]
    pub const fn neutral(self) -> u64 {
        match self {
            Self::AddrMax
            | Self::CoherentAddrMax
            | Self::SegmentsMax
            | Self::PiecesMax
            | Self::SegmentLenMax
            | Self::TransferLenMax
            | Self::Capacity => u64::MAX,
            Self::AddrAlign
            | Self::PieceLenAlign
            | Self::TotalLenAlign
            | Self::PositionAlign
            | Self::PositionAlignOpt => 1,
            Self::AddrMin
            | Self::SegmentBoundary
            | Self::GapBoundary
            | Self::PageLen
            | Self::BounceOffsetMask
            | Self::CopyBelow
            | Self::TransferLenMin
            | Self::TransferLenOpt
            | Self::ChunkLen
            | Self::PositionOffset => 0,
        }
    }

    /// Returns the stable snake_case name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddrMin => "addr_min",
            Self::AddrMax => "addr_max",
            Self::CoherentAddrMax => "coherent_addr_max",
            Self::AddrAlign => "addr_align",
            Self::PieceLenAlign => "piece_len_align",
            Self::TotalLenAlign => "total_len_align",
            Self::SegmentsMax => "segments_max",
            Self::PiecesMax => "pieces_max",
            Self::SegmentLenMax => "segment_len_max",
            Self::SegmentBoundary => "segment_boundary",
            Self::GapBoundary => "gap_boundary",
            Self::PageLen => "page_len",
            Self::BounceOffsetMask => "bounce_offset_mask",
            Self::CopyBelow => "copy_below",
            Self::PositionAlign => "position_align",
            Self::PositionAlignOpt => "position_align_opt",
            Self::TransferLenMin => "transfer_len_min",
            Self::TransferLenMax => "transfer_len_max",
            Self::TransferLenOpt => "transfer_len_opt",
            Self::ChunkLen => "chunk_len",
            Self::PositionOffset => "position_offset",
            Self::Capacity => "capacity",
        }
    }

    /// Says whether this limit rules memory (and not positions and sizes).
    #[must_use]
    pub const fn is_memory(self) -> bool {
        self.slot() < MEMORY_COUNT
    }

    /// The index of the memory limits first, then of the device limits.
    const fn slot(self) -> usize {
        #[expect(clippy::as_conversions, reason = "a fieldless enum's discriminant")]
        {
            self as usize
        }
    }
}

impl fmt::Display for LimitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who stated a limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Source {
    /// Nobody: the stated default of this library.
    #[default]
    Default,
    /// The user of the library or of the command.
    User,
    /// The file's own `statx(2)` record.
    Statx,
    /// A real read that was tried.
    ProbingRead,
    /// The queue directory of the device in sysfs.
    Sysfs,
    /// An ioctl on the open device.
    Ioctl,
    /// A constant of the kernel interface that carries the transfer.
    Interface,
    /// The device's own identify data.
    Identify,
    /// A SCSI vital product data page.
    Vpd,
    /// The format of the descriptors that the device reads.
    DescriptorFormat,
    /// What is known of the pages that back the memory: their kind, or the kernel's page map.
    Pages,
}

impl Source {
    /// Returns the stable snake_case name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::User => "user",
            Self::Statx => "statx",
            Self::ProbingRead => "probing_read",
            Self::Sysfs => "sysfs",
            Self::Ioctl => "ioctl",
            Self::Interface => "interface",
            Self::Identify => "identify",
            Self::Vpd => "vpd",
            Self::DescriptorFormat => "descriptor_format",
            Self::Pages => "pages",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happens to a transfer that breaks a limit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Force {
    /// Someone below splits it: the limit shapes sizes, the planner never cuts for it.
    Soft,
    /// It is refused: the planner keeps every request within it.
    #[default]
    Hard,
}

impl Force {
    /// Returns the stable snake_case name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for Force {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One limit: its value, who stated it, and what happens to a transfer that breaks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// The value, in the unit that [`LimitId`] states.
    pub value: u64,
    /// Who stated it.
    pub source: Source,
    /// What happens to a transfer that breaks it.
    pub force: Force,
}

impl Limit {
    const fn neutral(id: LimitId) -> Self {
        Self { value: id.neutral(), source: Source::Default, force: Force::Soft }
    }
}

/// Whether the device sees the CPU's writes without being told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum CacheCoherence {
    /// Device and CPU see each other's writes.
    #[default]
    Coherent,
    /// The CPU's caches must be synchronised around each transfer.
    Synced,
    /// There is nothing to synchronise with: memory for the device must be mapped uncached.
    Uncached,
}

/// How the memory of a bounce buffer is mapped for the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BounceMemory {
    /// Ordinary cached memory, synchronised where the device needs it.
    WriteBack,
    /// Uncached memory: two orders of magnitude slower to copy through, the last resort.
    Uncached,
}

/// The rules for the memory of a transfer: where it may lie and how it may be cut up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLimits {
    limits: [Limit; MEMORY_COUNT],
    coherence: CacheCoherence,
}

/// The rules for the position and the size of a transfer on its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceLimits {
    limits: [Limit; DEVICE_COUNT],
}

impl MemoryLimits {
    /// Iterates over every limit with its name.
    pub fn iter(&self) -> impl Iterator<Item = (LimitId, Limit)> + '_ {
        LimitId::MEMORY.into_iter().zip(self.limits)
    }

    /// Returns whether the device sees the CPU's writes without being told.
    #[must_use]
    pub const fn coherence(&self) -> CacheCoherence {
        self.coherence
    }

    /// Returns how bounce buffers for this memory must be mapped: write-back wherever the caches can be
    /// synchronised.
    #[must_use]
    pub const fn bounce_memory(&self) -> BounceMemory {
        match self.coherence {
            CacheCoherence::Coherent | CacheCoherence::Synced => BounceMemory::WriteBack,
            CacheCoherence::Uncached => BounceMemory::Uncached,
        }
    }
}

impl DeviceLimits {
    /// Iterates over every limit with its name.
    pub fn iter(&self) -> impl Iterator<Item = (LimitId, Limit)> + '_ {
        LimitId::DEVICE.into_iter().zip(self.limits)
    }
}

/// What a device can take: the rules for memory and the rules for positions and sizes.
///
/// Built by [`Limits::builder`], which validates; combined by [`Limits::stack`].
///
/// ```
/// use scatterlist::{Force, LimitId, Limits, Source};
///
/// let nvme = Limits::builder()
///     .set(LimitId::GapBoundary, 4096, Source::DescriptorFormat, Force::Hard)
///     .set(LimitId::TransferLenMax, 512 << 10, Source::Identify, Force::Hard)
///     .set(LimitId::PositionAlign, 512, Source::Identify, Force::Hard)
///     .build()?;
/// assert_eq!(nvme.get(LimitId::TransferLenMax).value, 524_288);
/// # Ok::<(), scatterlist::LimitsError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    memory: MemoryLimits,
    device: DeviceLimits,
    hard: Hard,
}

impl Default for Limits {
    /// No rule at all.
    fn default() -> Self {
        Self::from_records(
            MemoryLimits { limits: LimitId::MEMORY.map(Limit::neutral), coherence: CacheCoherence::Coherent },
            DeviceLimits { limits: LimitId::DEVICE.map(Limit::neutral) },
        )
    }
}

impl Limits {
    /// Starts with no rule at all.
    #[must_use]
    pub fn builder() -> LimitsBuilder {
        LimitsBuilder::from_limits(Self::default())
    }

    /// Starts from these limits, to change some.
    #[must_use]
    pub fn to_builder(self) -> LimitsBuilder {
        LimitsBuilder::from_limits(self)
    }

    /// Returns one limit by name.
    #[must_use]
    pub fn get(&self, id: LimitId) -> Limit {
        let slot = id.slot();
        let found = match slot.checked_sub(MEMORY_COUNT) {
            None => self.memory.limits.get(slot),
            Some(slot) => self.device.limits.get(slot),
        };
        found.copied().unwrap_or(Limit::neutral(id))
    }

    /// Returns the value of a limit that is hard; where it is soft, the value that stands for "no rule".
    #[must_use]
    pub fn hard_value(&self, id: LimitId) -> u64 {
        let limit = self.get(id);
        if limit.force == Force::Hard { limit.value } else { id.neutral() }
    }

    /// Returns the rules for memory.
    #[must_use]
    pub const fn memory(&self) -> &MemoryLimits {
        &self.memory
    }

    /// Returns the rules for positions and sizes.
    #[must_use]
    pub const fn device(&self) -> &DeviceLimits {
        &self.device
    }

    /// Returns the rules for memory alone: positions and sizes are free.
    #[must_use]
    pub fn memory_only(&self) -> Self {
        Self::from_records(self.memory, Self::default().device)
    }

    /// Returns these rules with pieces below `len` bytes copied: 0 for none, `u64::MAX` for all.
    pub(crate) fn with_copy_below(&self, len: u64) -> Self {
        let mut memory = self.memory;
        if let Some(limit) = memory.limits.get_mut(LimitId::CopyBelow.slot()) {
            limit.value = len;
        }
        Self::from_records(memory, self.device)
    }

    /// Iterates over every limit with its name, those of memory first.
    pub fn iter(&self) -> impl Iterator<Item = (LimitId, Limit)> + '_ {
        self.memory.iter().chain(self.device.iter())
    }

    /// Returns what the planner obeys: the value of each hard limit, soft ones at their neutral value.
    pub(crate) const fn hard(&self) -> &Hard {
        &self.hard
    }

    fn from_records(memory: MemoryLimits, device: DeviceLimits) -> Self {
        let mut limits = Self { memory, device, hard: Hard::NEUTRAL };
        limits.hard = Hard::of(&limits);
        limits
    }

    fn set_unchecked(&mut self, id: LimitId, limit: Limit) {
        let slot = id.slot();
        let place = match slot.checked_sub(MEMORY_COUNT) {
            None => self.memory.limits.get_mut(slot),
            Some(slot) => self.device.limits.get_mut(slot),
        };
        if let Some(place) = place {
            *place = limit;
        }
    }
}
