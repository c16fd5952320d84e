//! Memory registered once so that transfers from and to it are cheaper: [`FixedRegion`] names it, [`Fixed`] finds the
//! registered buffer of an address, [`SharedRegistration`] lends it to another ring.
//!
//! A transfer goes through one registered buffer. How much of what was named is registered, `setup` decides.
#![expect(unsafe_code, reason = "the promise of FixedRegion::new")]

use core::any::Any;
use core::fmt;
use std::sync::Arc;

use io_uring::IoUring;
use scatterlist::{Addr, CpuAddr};

use crate::pages::PagePool;

/// The longest buffer that io_uring registers, in bytes (`io_uring_register(2)`).
const BUFFER_LEN_MAX: u64 = 1 << 30;

/// Most registered buffers of a ring: `IORING_MAX_REG_BUFFERS` of `io_uring/rsrc.c`.
pub(super) const BUFFERS_MAX: usize = 1 << 14;

/// What keeps memory mapped.
type Keeper = Arc<dyn Any + Send + Sync>;

/// Memory to register with the engine once, so that transfers from and to it are cheaper.
#[derive(Clone)]
pub struct FixedRegion {
    /// Start and length of each buffer.
    buffers: Vec<(CpuAddr, u64)>,
    keeper: Keeper,
}

impl FixedRegion {
    /// Names a region of `len` bytes at `start`, in buffers of 1 GiB.
    ///
    /// # Safety
    /// As long as `keeper` lives, the region stays mapped as it is now: the same pages at the same addresses.
    /// (A registration holds the pages themselves: transfers through an address that was mapped anew
    /// would miss the new memory.)
    #[must_use]
    pub unsafe fn new(start: CpuAddr, len: u64, keeper: Arc<dyn Any + Send + Sync>) -> Self {
        Self { buffers: vec![(start, len)], keeper }.with_buffer_len(BUFFER_LEN_MAX)
    }

    /// Names all slots of a pool, one buffer for each of [`PagePool::ranges`]: no slot lies across two.
    #[must_use]
    pub fn from_pool(pool: Arc<PagePool>) -> Self {
        // A pool keeps its one mapping as it is until the pool itself is dropped.
        Self { buffers: pool.ranges().map(|range| (range.addr, range.len)).collect(), keeper: pool }
    }

    /// Cuts the buffers into shorter ones of `len` bytes each, at most 1 GiB.
    ///
    /// A transfer goes through one buffer: memory that lies across two is not taken as registered.
    #[must_use]
    pub fn with_buffer_len(self, len: u64) -> Self {
        let len_max = len.clamp(1, BUFFER_LEN_MAX);
        let mut buffers = Vec::new();
        for (start, len) in self.buffers {
            let mut at = 0;
            while at < len
                && let Some(start) = start.checked_add(at)
            {
                let piece = len.saturating_sub(at).min(len_max);
                buffers.push((start, piece));
                at = at.saturating_add(piece);
            }
        }
        Self { buffers, keeper: self.keeper }
    }

    /// Returns the buffers that it is registered in: the address of the first byte, and the length in bytes.
    pub fn buffers(&self) -> impl Iterator<Item = (CpuAddr, u64)> + '_ {
        self.buffers.iter().copied()
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.buffers.iter().fold(0, |sum, (_, len)| len.saturating_add(sum))
    }
}

impl fmt::Debug for FixedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedRegion({} bytes in {} buffers)", self.len_bytes(), self.buffers.len())
    }
}

/// One registered buffer.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    start: u64,
    end: u64,
    index: u16,
}

/// The registered buffers of a ring, by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed {
    buffers: Arc<[Buffer]>,
}

impl Fixed {
    /// Takes the buffers that are registered, in the order of their indices.
    pub(super) fn new(registered: &[(CpuAddr, u64)]) -> Self {
        let indices = 0_u16..;
        let mut buffers: Vec<Buffer> = indices
            .zip(registered)
            .map(|(index, (start, len))| Buffer {
                start: start.raw(),
                end: start.raw().saturating_add(*len),
                index,
            })
            .collect();
        buffers.sort_by_key(|buffer| buffer.start);
        Self { buffers: buffers.into() }
    }

    /// Returns whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Returns the bytes of all buffers.
    fn len_bytes(&self) -> u64 {
        self.buffers.iter().fold(0, |sum, buffer| buffer.end.saturating_sub(buffer.start).saturating_add(sum))
    }

    /// Returns the registered buffer that holds all of these bytes.
    pub(super) fn index_of(&self, addr: u64, len: u64) -> Option<u16> {
        self.buffer_of(addr, len).map(|buffer| buffer.index)
    }

    /// Returns the registered buffer that holds all of these vectors.
    pub(super) fn index_of_all(&self, vectors: &[libc::iovec]) -> Option<u16> {
        let (first, rest) = vectors.split_first()?;
        let buffer = self.buffer_of(first.iov_base as u64, first.iov_len as u64)?;
        let inside = |vector: &libc::iovec| {
            let start = vector.iov_base as u64;
            start >= buffer.start && start.saturating_add(vector.iov_len as u64) <= buffer.end
        };
        rest.iter().all(inside).then_some(buffer.index)
    }

    fn buffer_of(&self, addr: u64, len: u64) -> Option<&Buffer> {
        let after = self.buffers.partition_point(|buffer| buffer.start <= addr);
        let buffer = self.buffers.get(after.checked_sub(1)?)?;
        (addr.checked_add(len)? <= buffer.end).then_some(buffer)
    }
}

/// A registration that rings clone.
///
/// # Invariants
/// 1. The memory that is registered with `ring` stays mapped while the ring lives: `regions` are dropped after it.
struct Donor {
    /// A ring that does nothing but hold the registration; how it failed where there is none.
    ring: Result<IoUring, String>,
    fixed: Fixed,
    regions: Vec<FixedRegion>,
}

/// The registered memory of an engine, for other engines to use
/// ([`EngineOptions::share`](super::EngineOptions::share)): the memory is pinned once.
///
/// It may go to any thread, and outlives the engine that it came from. It keeps the memory mapped and pinned, and a
/// small ring of its own open, which holds the registration.
#[derive(Clone)]
pub struct SharedRegistration(Arc<Donor>);

impl SharedRegistration {
    pub(super) fn new(ring: Result<IoUring, String>, fixed: Fixed, regions: Vec<FixedRegion>) -> Self {
        Self(Arc::new(Donor { ring, fixed, regions }))
    }

    pub(super) fn ring(&self) -> Result<&IoUring, &str> {
        self.0.ring.as_ref().map_err(String::as_str)
    }

    pub(super) fn fixed(&self) -> &Fixed {
        &self.0.fixed
    }

    /// Returns the bytes that are registered.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.0.fixed.len_bytes()
    }

    pub(super) fn regions(&self) -> &[FixedRegion] {
        &self.0.regions
    }
}

impl fmt::Debug for SharedRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedRegistration({} bytes)", self.len_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_an_address_holds_all_of_it() {
        let registered = [(0x9000, 0x1000), (0x1000, 0x2000), (0x3000, 0x1000)];
        let fixed = Fixed::new(&registered.map(|(start, len)| (CpuAddr::new(start), len)));
        assert_eq!(
            [0x1000, 0x2fff, 0x3000, 0x9fff].map(|addr| fixed.index_of(addr, 1)),
            [1, 1, 2, 0].map(Some)
        );
        assert_eq!([0xfff, 0x4000, 0x8fff, 0xa000].map(|addr| fixed.index_of(addr, 1)), [None; 4]);
        // Across two buffers, even where one follows the other.
        assert_eq!((fixed.index_of(0x2800, 0x800), fixed.index_of(0x2800, 0x801)), (Some(1), None));
        assert_eq!(fixed.index_of(u64::MAX, 2), None);
        let vector =
            |addr: usize, iov_len| libc::iovec { iov_base: core::ptr::without_provenance_mut(addr), iov_len };
        assert_eq!(fixed.index_of_all(&[vector(0x1000, 16), vector(0x2ff0, 16)]), Some(1));
        assert_eq!(fixed.index_of_all(&[vector(0x1000, 16), vector(0x2ff0, 17)]), None);
        assert_eq!((fixed.index_of_all(&[]), Fixed::default().index_of(0, 1)), (None, None));
    }
}
