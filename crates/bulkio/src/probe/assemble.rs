//! From what the kernel said to [`Limits`]: which answer becomes which limit, with which source and force,
//! and the stated defaults where nobody answered. Pure: everything it needs is in [`Facts`].

use scatterlist::{Force, Limit, LimitId, Limits, LimitsBuilder, LimitsError, Source};

use super::pieces::PieceProbe;
use super::sysfs::BlockFolder;

/// Most pieces that one `preadv2` takes: `UIO_MAXIOV`, `include/uapi/linux/uio.h`.
const PIECES_MAX: u64 = 1024;

/// Most bytes that one `read` or `write` moves: `MAX_RW_COUNT`, `INT_MAX` rounded down to a page,
/// `include/linux/fs.h`.
const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;

/// Alignment of memory, position and length where nobody states one: no common device has larger blocks.
pub const DEFAULT_ALIGN_BYTES: u64 = 4096;

/// Length of a good transfer where nobody states one.
pub const DEFAULT_TRANSFER_BYTES: u64 = 1 << 20;

/// sysfs counts `chunk_sectors` in units of 512 bytes (`Documentation/ABI/stable/sysfs-block`).
const SYSFS_SECTOR_BYTES: u64 = 512;

/// The limits of the device's queue, as sysfs states them: all of them soft, because the kernel splits for
/// them. Kept whole here, also where a hard limit of the same name stands in [`Limits`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueLimits(Vec<(LimitId, Limit)>);

impl QueueLimits {
    /// Iterates over the limits that sysfs states, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (LimitId, Limit)> + '_ {
        self.0.iter().copied()
    }

    /// Returns one limit, if sysfs states it.
    #[must_use]
    pub fn get(&self, id: LimitId) -> Option<Limit> {
        self.iter().find(|&(found, _)| found == id).map(|(_, limit)| limit)
    }

    /// Says whether sysfs stated nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the queue folder of a device's disk. What is missing, or is no value that such a limit can have,
    /// is left out.
    pub(super) fn read(folder: &BlockFolder) -> Self {
        let mut found = Vec::new();
        let mut add = |id, value: Option<u64>| {
            let soft = |value| Limit { value, source: Source::Sysfs, force: Force::Soft };
            found.extend(value.filter(|&value| value != 0).map(|value| (id, soft(value))));
        };
        let number = |attribute| folder.queue_number(attribute);
        // A mask of 0 means no rule; adding one to it gives the granule, or 1.
        let granule = |attribute| {
            let granule = number(attribute)?.checked_add(1)?;
            granule.is_power_of_two().then_some(granule)
        };
        let transfer_max = number("max_sectors_kb").and_then(|kb| kb.checked_mul(1024));
        add(LimitId::SegmentsMax, number("max_segments"));
        add(LimitId::SegmentLenMax, number("max_segment_size"));
        add(LimitId::GapBoundary, granule("virt_boundary_mask").filter(|&granule| granule > 1));
        add(LimitId::AddrAlign, granule("dma_alignment"));
        add(LimitId::TransferLenMax, transfer_max);
        let optimal = number("optimal_io_size").filter(|&bytes| bytes != 0);
        add(LimitId::TransferLenOpt, optimal.or(transfer_max));
        let chunk = number("chunk_sectors").and_then(|sectors| sectors.checked_mul(SYSFS_SECTOR_BYTES));
        add(LimitId::ChunkLen, chunk);
        add(LimitId::PositionAlignOpt, number("physical_block_size"));
        Self(found)
    }
}

/// One value with the place that it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stated {
    pub(super) value: u64,
    pub(super) source: Source,
}

impl Stated {
    pub(super) const fn new(value: u64, source: Source) -> Self {
        Self { value, source }
    }

    /// Returns the larger of two statements; the first when they agree.
    pub(super) fn larger(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.value > a.value { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// The block that direct I/O works in, and the alignment of its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DirectFacts {
    pub(super) block: Stated,
    pub(super) mem_align: Stated,
    pub(super) pieces: PieceProbe,
}

impl DirectFacts {
    /// Fills what nobody stated with the stated defaults.
    pub(super) fn with_defaults(block: Option<Stated>, mem_align: Option<Stated>) -> Self {
        let block = block.unwrap_or(Stated::new(DEFAULT_ALIGN_BYTES, Source::Default));
        // Before kernels stated it, memory had to be aligned to the block.
        let default = block.value.max(DEFAULT_ALIGN_BYTES).checked_next_power_of_two();
        let default = Stated::new(default.unwrap_or(DEFAULT_ALIGN_BYTES), Source::Default);
        let pieces = PieceProbe::NotTried(super::NotTried::NoDirectIo);
        Self { block, mem_align: mem_align.unwrap_or(default), pieces }
    }

    /// Returns the granularity of each piece: what a real read proved, else a block.
    fn piece_len_align(&self) -> Stated {
        let block = self.block.value;
        match self.pieces {
            PieceProbe::Accepted { .. } => Stated::new(self.mem_align.value.min(block), Source::ProbingRead),
            PieceProbe::Refused { .. } => Stated::new(block, Source::ProbingRead),
            PieceProbe::Inconclusive | PieceProbe::NotTried(_) => Stated::new(block, Source::Default),
        }
    }
}

/// What is special about a block device, against a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeviceFacts {
    pub(super) physical_block: Option<Stated>,
    pub(super) capacity: Option<Stated>,
    pub(super) partition_start: Option<u64>,
}

/// Everything that the limits of storage follow from.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    /// `None`: direct I/O is refused, only the page cache's rules are left.
    pub(super) direct: Option<DirectFacts>,
    /// `None`: a file.
    pub(super) device: Option<DeviceFacts>,
    pub(super) queue: &'a QueueLimits,
}

/// Returns the limits of a call that moves bytes, whatever it moves them from.
pub(super) fn interface_limits() -> LimitsBuilder {
    Limits::builder().set(LimitId::PiecesMax, PIECES_MAX, Source::Interface, Force::Hard).set(
        LimitId::TransferLenMax,
        TRANSFER_BYTES_MAX,
        Source::Interface,
        Force::Hard,
    )
}

/// Returns the limits of a file or a block device.
pub(super) fn storage_limits(facts: &Facts<'_>) -> Result<Limits, LimitsError> {
    let mut builder = interface_limits();
    let mut taken = vec![LimitId::PiecesMax, LimitId::TransferLenMax];
    let mut set = |id, stated: Stated, force| {
        builder = builder.set(id, stated.value, stated.source, force);
        taken.push(id);
    };
    if let Some(direct) = &facts.direct {
        set(LimitId::AddrAlign, direct.mem_align, Force::Hard);
        set(LimitId::PositionAlign, direct.block, Force::Hard);
        set(LimitId::TotalLenAlign, direct.block, Force::Hard);
        set(LimitId::PieceLenAlign, direct.piece_len_align(), Force::Hard);
    }
    if let Some(device) = &facts.device {
        if let Some(physical) = device.physical_block.filter(|stated| stated.value != 0) {
            set(LimitId::PositionAlignOpt, physical, Force::Soft);
        }
        if let Some(capacity) = device.capacity {
            set(LimitId::Capacity, capacity, Force::Hard);
        }
        if let Some(start) = device.partition_start {
            set(LimitId::PositionOffset, Stated::new(start, Source::Sysfs), Force::Hard);
        }
    }
    for (id, limit) in facts.queue.iter() {
        // Chunks are counted in device space, which the positions of a file have no relation to.
        let foreign = id == LimitId::ChunkLen && facts.device.is_none();
        // What goes through the page cache lies in the kernel's own memory when it reaches the queue.
        let foreign = foreign || (id.is_memory() && facts.direct.is_none());
        if !foreign && !taken.contains(&id) {
            builder = builder.set(id, limit.value, limit.source, limit.force);
            taken.push(id);
        }
    }
    for (id, value) in
        [(LimitId::PositionAlignOpt, DEFAULT_ALIGN_BYTES), (LimitId::TransferLenOpt, DEFAULT_TRANSFER_BYTES)]
    {
        if !taken.contains(&id) {
            builder = builder.set(id, value, Source::Default, Force::Soft);
        }
    }
    builder.build()
}
