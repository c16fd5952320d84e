//! [`Bounce`]: copies what a device cannot use where it is, through a pool of memory that it can.
//!
//! Wraps any back end: [`Direct`](super::Direct), an IOMMU, a checker. A list is planned against the limits of its mapping
//! ([`Policy::WholeOrBounce`](crate::plan::Policy)); what the planner leaves where it is stays there, the rest gets runs of the pool, and the combined list is
//! mapped beneath in one call. Nothing bounces that need not, and every byte that does is counted.
//!
//! Old bytes reach no device: the pool is cleared when it is made and each run when it comes back, so free slots hold
//! zeros, and no two mappings share a slot. The original bytes are copied in for every direction, so that what a device
//! does not write stays as it was.
//!
//! `slots` keeps which memory is free, `place` where a run may lie, `draft` turns a plan into a list,
//! `reserve` sets memory aside, `device` touches the memory: the one file with unsafe code.

mod device;
mod draft;
mod place;
mod pool;
mod reserve;
mod slots;

pub use device::{Bounce, BounceMapping};

/// How a pool of bounce memory is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BounceLayout {
    /// Bytes of a slot, a power of two. A mapping takes whole slots. Raised to the
    /// [granule](super::Backend::granule_len) of the device beneath, so that it sees no slot of another mapping.
    pub slot_len: u64,
    /// Slots of a set. No run is longer than a set: bigger sets are for longer runs.
    pub set_slots: u64,
}

impl Default for BounceLayout {
    /// Slots of 2 KiB in sets of 128, as in Linux (`kernel/dma/swiotlb.c`, `IO_TLB_SIZE` and `IO_TLB_SEGSIZE`).
    fn default() -> Self {
        Self { slot_len: 2048, set_slots: 128 }
    }
}

impl BounceLayout {
    /// Returns the bytes of a set.
    #[must_use]
    pub const fn set_len(&self) -> u64 {
        self.slot_len.saturating_mul(self.set_slots)
    }

    /// Returns the longest piece that one run is sure to hold while nothing else is in the pool, when its address must
    /// keep the low bits `min_align_mask` (2^n - 1) of the original's.
    #[must_use]
    pub fn map_len_max(&self, min_align_mask: u64) -> u64 {
        let lost = min_align_mask.checked_next_multiple_of(self.slot_len).unwrap_or(u64::MAX);
        self.set_len().saturating_sub(lost)
    }
}

/// Why memory cannot be a pool of bounce memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BounceError {
    /// A layout that divides nothing.
    #[error(
        "slots of {slot_len} bytes in sets of {set_slots}: the first must be a power of two, the second at least 1, a set below 2^63 bytes"
    )]
    Layout {
        /// Bytes of a slot.
        slot_len: u64,
        /// Slots of a set.
        set_slots: u64,
    },
    /// The device beneath does not reach the memory.
    #[error(
        "{len} bytes of bounce memory at {addr:#x} are out of the device's reach: it reaches {min:#x} to {max:#x}"
    )]
    OutOfReach {
        /// Where the segment starts.
        addr: u64,
        /// Its bytes.
        len: u64,
        /// The lowest address in reach.
        min: u64,
        /// The highest address in reach.
        max: u64,
    },
    /// The CPU does not see the memory, so nothing can be copied there.
    #[error("the CPU does not see {len} bytes of bounce memory at {addr:#x} as one run")]
    NotVisible {
        /// Where they start.
        addr: u64,
        /// How many.
        len: u64,
    },
    /// Some of the memory is in the list twice.
    #[error("{len} bytes of bounce memory at {addr:#x} are, in part or as a whole, in the list already")]
    Twice {
        /// Where they start.
        addr: u64,
        /// How many.
        len: u64,
    },
    /// No segment of the memory holds a whole slot.
    #[error("{bytes} bytes of bounce memory hold no slot: a slot is {slot_len} bytes at a multiple of that")]
    NoSlot {
        /// Bytes given.
        bytes: u64,
        /// Bytes of a slot.
        slot_len: u64,
    },
}

/// A bounce device that could not be made: what was given comes back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BounceFailed<D, T> {
    /// The device beneath.
    pub inner: D,
    /// The lease of the pool's memory.
    pub memory: T,
    /// Why.
    #[source]
    pub error: BounceError,
}
