//! [`Segment`]: one run of contiguous bytes, sixteen bytes of memory.
//!
//! The top bit of the stored length says whether the segment may join what lies before; where it is clear, a merge
//! barrier stands. So a length is below 2^63, and a segment never reaches past the last address.

use core::fmt;
use core::num::NonZeroU64;

use crate::Addr;

/// One run of contiguous bytes: an address, a length of at least one byte, and a merge barrier.
///
/// Address first, then length: as descriptors of many formats have it, so that encoding them is one copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Segment<A: Addr> {
    addr: A,
    /// The length, and [`JOINS`] unless a barrier stands before it. Never 0, so an optional segment needs no more
    /// room than a segment.
    len_and_joins: NonZeroU64,
}

/// The bit that says: no barrier stands before this segment.
const JOINS: NonZeroU64 = match NonZeroU64::new(1 << 63) {
    Some(bit) => bit,
    None => NonZeroU64::MIN,
};

/// Why a run of bytes cannot be a [`Segment`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// No bytes.
    #[error("segment at {addr:#x} has length 0")]
    Empty {
        /// Its address.
        addr: u64,
    },
    /// Longer than [`Segment::LEN_MAX`].
    #[error("segment at {addr:#x} is {len} bytes long, the most is {max}", max = Segment::<crate::CpuAddr>::LEN_MAX)]
    TooLong {
        /// Its address.
        addr: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// It reaches past the last 64-bit address.
    #[error("segment at {addr:#x} of {len} bytes reaches past the last address")]
    Wraps {
        /// Its address.
        addr: u64,
        /// Its length in bytes.
        len: u64,
    },
}

impl<A: Addr> Segment<A> {
    /// The longest segment, in bytes.
    pub const LEN_MAX: u64 = JOINS.get() - 1;

    /// Returns the run of `len` bytes at `addr`.
    ///
    /// # Errors
    /// [`SegmentError`] when `len` is 0, above [`Self::LEN_MAX`], or reaches past the last address.
    #[inline]
    pub fn new(addr: A, len: u64) -> Result<Self, SegmentError> {
        let raw = addr.raw();
        if len == 0 {
            return Err(SegmentError::Empty { addr: raw });
        }
        if len > Self::LEN_MAX {
            return Err(SegmentError::TooLong { addr: raw, len });
        }
        if raw.checked_add(len).is_none() {
            return Err(SegmentError::Wraps { addr: raw, len });
        }
        Ok(Self::joining(addr, len))
    }

    /// A segment without a barrier, of a length that was checked.
    #[inline]
    fn joining(addr: A, len: u64) -> Self {
        Self { addr, len_and_joins: JOINS | len }
    }

    /// The same start and barrier, with another length, which was checked.
    #[inline]
    fn with_len(self, len: u64) -> Self {
        let segment = Self::joining(self.addr, len);
        if self.has_barrier() { segment.with_barrier() } else { segment }
    }

    /// The bytes from `start` to `end`, which lie further on by no more than [`Self::LEN_MAX`].
    #[cfg(feature = "alloc")]
    #[inline]
    pub(super) fn between(start: A, end: u64) -> Self {
        Self::joining(start, end.wrapping_sub(start.raw()))
    }

    /// The same length and barrier at another address, which the length does not carry past the last.
    #[inline]
    pub(crate) const fn moved<B: Addr>(self, addr: B) -> Segment<B> {
        Segment { addr, len_and_joins: self.len_and_joins }
    }

    /// A byte at address 0, for places that hold no segment yet.
    #[cfg(feature = "alloc")]
    pub(super) fn filler() -> Self {
        Self::joining(A::new(0), 1)
    }

    /// Returns the same bytes with a merge barrier before them: no list joins them to what lies before.
    #[inline]
    #[must_use]
    pub const fn with_barrier(self) -> Self {
        match NonZeroU64::new(self.len()) {
            Some(len_and_joins) => Self { addr: self.addr, len_and_joins },
            None => self,
        }
    }

    /// Says whether a merge barrier stands before these bytes.
    #[inline]
    #[must_use]
    pub const fn has_barrier(&self) -> bool {
        self.len_and_joins.get() & JOINS.get() == 0
    }

    /// Returns the address of the first byte.
    #[inline]
    #[must_use]
    pub const fn addr(&self) -> A {
        self.addr
    }

    /// Returns the length in bytes, at least 1.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len_and_joins.get() & Self::LEN_MAX
    }

    /// Returns `false`: a segment is never empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Returns the raw address just past the last byte.
    #[inline]
    #[must_use]
    pub fn end(&self) -> u64 {
        // `new` saw to it that this does not wrap.
        self.addr.raw().wrapping_add(self.len())
    }

    /// Returns both sides of a cut after `at` bytes, or `None` unless `0 < at < len`. The second side
    /// carries no barrier.
    #[inline]
    #[must_use]
    pub fn split(self, at: u64) -> Option<(Self, Self)> {
        let rest = self.len().checked_sub(at)?;
        if at == 0 || rest == 0 {
            return None;
        }
        let first = self.with_len(at);
        let second = Self::joining(A::new(self.addr.raw().wrapping_add(at)), rest);
        Some((first, second))
    }

    /// Returns the first `len` bytes, or all of them where there are no more.
    #[inline]
    #[must_use]
    pub fn head(self, len: u64) -> Self {
        self.split(len).map_or(self, |(head, _)| head)
    }

    /// Returns this segment longer by `next`, when `next` starts where it ends, carries no barrier, and
    /// the sum still is a segment.
    #[inline]
    #[must_use]
    pub fn joined(self, next: Self) -> Option<Self> {
        if next.addr.raw() != self.end() || next.has_barrier() {
            return None;
        }
        // Neither addend reaches 2^63.
        let len = self.len().wrapping_add(next.len());
        if len > Self::LEN_MAX {
            return None;
        }
        Some(self.with_len(len))
    }
}

impl<A: Addr> fmt::Debug for Segment<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let barrier = if self.has_barrier() { "|" } else { "" };
        write!(f, "{barrier}{:#x}+{:#x}", self.addr.raw(), self.len())
    }
}
