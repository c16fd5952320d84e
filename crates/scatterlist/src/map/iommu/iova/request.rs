//! [`IovaRequest`], and why the allocator refuses one ([`IovaError`]) or does not take a range back ([`IovaFreeError`]).
//!
//! Everything here is bytes and inclusive limits, as a device states them; granules are inside the allocator.

/// What is asked of an [`IovaAllocator`](super::IovaAllocator): a length, and the rules of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IovaRequest {
    /// Bytes, rounded up to whole granules.
    pub bytes: u64,
    /// Highest address (inclusive) that the device reaches. Default: `u64::MAX`.
    pub limit: u64,
    /// The range starts at a multiple of this power of two, and at least at one of its size. Default: 1.
    pub align: u64,
    /// The range crosses no multiple of this power of two. Default: 0, none.
    pub boundary: u64,
}

impl IovaRequest {
    /// Asks for `bytes` anywhere.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, limit: u64::MAX, align: 1, boundary: 0 }
    }

    /// Asks for addresses up to `limit`, inclusive.
    #[must_use]
    pub const fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Asks for a start at a multiple of `align`.
    #[must_use]
    pub const fn align(self, align: u64) -> Self {
        Self { align, ..self }
    }

    /// Asks for a range that crosses no multiple of `boundary`.
    #[must_use]
    pub const fn boundary(self, boundary: u64) -> Self {
        Self { boundary, ..self }
    }
}

/// Why there is no allocator, or no range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IovaError {
    /// Something that must be a power of two is none.
    #[error("{what} is {value}, it must be a power of two of at least {min}")]
    NotPowerOfTwo {
        /// `"granule"`, `"align"` or `"boundary"`.
        what: &'static str,
        /// Its value in bytes.
        value: u64,
        /// The smallest power of two that is taken.
        min: u64,
    },
    /// The window of the allocator holds no whole granule.
    #[error("addresses {lowest:#x} to {highest:#x} hold no whole granule of {granule} bytes")]
    NoWindow {
        /// Lowest address.
        lowest: u64,
        /// Highest address, inclusive.
        highest: u64,
        /// The granule in bytes.
        granule: u64,
    },
    /// No bytes were asked for.
    #[error("0 bytes of bus addresses were asked for")]
    Empty,
    /// The range would cross the boundary wherever it lies.
    #[error("{bytes} bytes, in whole granules, always cross a multiple of {boundary}")]
    Boundary {
        /// Bytes in whole granules.
        bytes: u64,
        /// The boundary in bytes.
        boundary: u64,
    },
    /// Nothing that fits is free.
    #[error(
        "no {bytes} bytes of bus addresses at a multiple of {align} up to {limit:#x}: the largest aligned block \
         free there is {largest_free} bytes, of {free} free in all"
    )]
    Exhausted {
        /// Bytes asked for, in whole granules.
        bytes: u64,
        /// The alignment in bytes that was looked for.
        align: u64,
        /// Highest address asked for, inclusive.
        limit: u64,
        /// Bytes of the largest free power of two on its own alignment within the limit.
        largest_free: u64,
        /// Free bytes of the whole window.
        free: u64,
    },
    /// More ranges than can be numbered.
    #[error("{ranges} ranges are out, more cannot be told apart")]
    TooManyRanges {
        /// Ranges out.
        ranges: u64,
    },
}

/// Why a range is not taken back. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IovaFreeError {
    /// The range was given back already; perhaps somebody else has it now.
    #[error("{bytes} bytes at bus address {addr:#x} were given back already")]
    Twice {
        /// First address.
        addr: u64,
        /// Bytes.
        bytes: u64,
    },
    /// The range is not from this allocator.
    #[error("{bytes} bytes at bus address {addr:#x} were never handed out here")]
    Unknown {
        /// First address.
        addr: u64,
        /// Bytes.
        bytes: u64,
    },
}
