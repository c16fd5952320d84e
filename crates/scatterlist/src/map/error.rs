//! [`MapError`] and [`TargetError`]: why memory is not mapped, and why a target cannot be; [`Resource`], what ran short.

use core::fmt;

use crate::LimitId;
use crate::plan::PlanError;

/// What a mapping can run short of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of bounce memory in one run.
    BounceMemory,
    /// Bytes of bus addresses in one run.
    BusAddresses,
    /// Entries of a page table.
    PageTable,
    /// Objects of a pool.
    PoolObjects,
    /// Entries on the heap for what a request holds.
    Heap,
    /// Segments that the caller's slice holds.
    Slots,
    /// Mappings that a target keeps a reserve for.
    Reserve,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BounceMemory => "bytes of bounce memory in one run",
            Self::BusAddresses => "bytes of bus addresses in one run",
            Self::PageTable => "page table entries",
            Self::PoolObjects => "pool objects",
            Self::Heap => "entries on the heap",
            Self::Slots => "segment slots",
            Self::Reserve => "reserved mappings",
        })
    }
}

/// Why memory could not be mapped. Nothing is mapped then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The device does not reach the memory, and nothing here bounces.
    #[error("{len} bytes at {addr:#x} are out of the device's reach: it reaches {min:#x} to {max:#x}")]
    OutOfReach {
        /// Where the segment starts, in the list's addresses.
        addr: u64,
        /// Its bytes.
        len: u64,
        /// The lowest address in reach.
        min: u64,
        /// The highest address in reach.
        max: u64,
    },
    /// The memory breaks a limit of the device.
    #[error("the memory breaks a limit of the device: {0}")]
    Limit(#[source] PlanError),
    /// Something is used up, or too small. The same mapping may succeed later.
    #[error("{need} {what} are needed, {have} are there")]
    Shortage {
        /// What there is too little of.
        what: Resource,
        /// How much is needed.
        need: u64,
        /// How much there is.
        have: u64,
    },
    /// The CPU does not see memory that has to be copied.
    #[error("the CPU does not see {len} bytes at {addr:#x}, which must be copied")]
    NotVisible {
        /// Where they start.
        addr: u64,
        /// How many.
        len: u64,
    },
    /// A list of no bytes.
    #[error("a list of no bytes cannot be mapped")]
    Empty,
    /// The bus segments pass 64 bits.
    #[error("bus segments of {bytes} bytes and more pass 64 bits")]
    TooLong {
        /// Bytes so far.
        bytes: u64,
    },
    /// A range that is not within the mapping.
    #[error("bytes {start} to {end} are not within a mapping of {bytes} bytes")]
    OutOfRange {
        /// First byte of the range.
        start: u64,
        /// Byte just past the range.
        end: u64,
        /// Bytes that are mapped.
        bytes: u64,
    },
    /// There is no coherent memory that the device could use.
    #[error("no coherent memory of {len} bytes at a multiple of {align}, up to address {addr_max:#x}")]
    NoCoherent {
        /// Bytes asked for.
        len: u64,
        /// Alignment asked for.
        align: u64,
        /// The highest address that would do, in the memory's own addresses.
        addr_max: u64,
    },
    /// A page table maps only multiples of its smallest page.
    #[error("{value:#x} is not a multiple of {need}, the smallest page")]
    Misaligned {
        /// The address or length.
        value: u64,
        /// The smallest page in bytes.
        need: u64,
    },
    /// A layout that no memory can have.
    #[error(
        "coherent memory of {len} bytes at a multiple of {align} cannot be: {align} must be a power of two and {len} at least 1"
    )]
    Layout {
        /// Bytes asked for.
        len: u64,
        /// Alignment asked for.
        align: u64,
    },
    /// The address is in use already.
    #[error("{len} bytes of bus addresses at {bus:#x} are mapped already")]
    InUse {
        /// Where they start.
        bus: u64,
        /// How many.
        len: u64,
    },
    /// A device of a test refuses on demand.
    #[error("the device refuses mapping {count}, as it was told to")]
    Refused {
        /// Which mapping since it was made, from 1.
        count: u64,
    },
}

/// A target that cannot be built over a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A channel that would be looser than what it is derived from.
    #[error("{limit} of {value} ({force}) is looser than the parent's {parent} ({parent_force})", force = force.name(), parent_force = parent_force.name())]
    Looser {
        /// The limit.
        limit: LimitId,
        /// The value asked for.
        value: u64,
        /// Its force.
        force: crate::Force,
        /// The parent's value.
        parent: u64,
        /// The parent's force.
        parent_force: crate::Force,
    },
    /// Limits that cannot be met together.
    #[error(transparent)]
    Stack(#[from] crate::StackError),
    /// Limits that are none.
    #[error(transparent)]
    Limits(#[from] crate::LimitsError),
    /// The device's bus cannot keep a limit for memory anywhere.
    #[error("{limit} of {need} cannot be kept behind {what} {value:#x}")]
    Bus {
        /// The limit.
        limit: LimitId,
        /// Its value.
        need: u64,
        /// What of the bus is in the way.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// No bus address is left between what the device reaches and what the page table translates.
    #[error("no page of {granule} bytes lies between bus addresses {min:#x} and {max:#x}")]
    Window {
        /// The lowest address of both.
        min: u64,
        /// The highest address of both.
        max: u64,
        /// The smallest page in bytes.
        granule: u64,
    },
    /// A reserve that the device cannot set aside.
    #[error("a reserve for {transfers} transfers of {len} bytes needs {need} {what}, {have} are there")]
    Reserve {
        /// Transfers at a time.
        transfers: u32,
        /// Bytes of each.
        len: u64,
        /// What there is too little of.
        what: Resource,
        /// How much is needed.
        need: u64,
        /// How much there is.
        have: u64,
    },
}
