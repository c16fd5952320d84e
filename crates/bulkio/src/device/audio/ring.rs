//! [`RingMemory`]: a PCM's ring, mapped; and [`RingRegion`], the owner of a lease over a part of it.
//!
//! The device moves samples in this memory whenever it likes, and a disk's transfer may do so at the same time. So nobody ever has a Rust
//! reference to its bytes: they are copied in and out through raw pointers, or leased by address. What two of them write at once comes
//! out as either. That the parts in use differ is for whoever counts frames (`pcm`): a matter of right sound, not of memory safety.
#![expect(
    unsafe_code,
    reason = "maps memory that a device uses, copies from and to it, and promises it to leases"
)]

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use scatterlist::{Addr, CpuAddr, Lease, ScatterList, Segment};

use super::name::Direction;

/// A mapped ring. It keeps the device's file open, so the memory stays what it is until the last owner is gone.
///
/// # Invariants
/// 1. `base .. base + mapped_len` is one readable and writable shared mapping of `file` from its byte 0, made by `RingMemory::map`,
///    never moved or re-protected, unmapped only when the `RingMemory` drops. `len` is at most `mapped_len`.
/// 2. The pages stay with the mapping: a sound driver lets nobody free or change a ring that is mapped (Linux, sound/core/pcm_native.c,
///    snd_pcm_hw_free and snd_pcm_hw_params with `mmap_count`: `EBADFD`), and a removed card's memory lives until its files are closed.
/// 3. No Rust reference to these bytes is ever made.
/// 4. Copies by this process are made one at a time, under `turn`. Into the ring of a capture none are made.
pub struct RingMemory {
    base: NonNull<u8>,
    len: usize,
    mapped_len: usize,
    file: Arc<OwnedFd>,
    direction: Direction,
    turn: Mutex<()>,
}

// SAFETY: the pointer is not tied to a thread: the mapping belongs to the process until the drop (invariant 1).
unsafe impl Send for RingMemory {}
// SAFETY: through a shared reference bytes are only copied, under a lock (invariant 4), or leased by address; no references (invariant 3).
unsafe impl Sync for RingMemory {}

impl RingMemory {
    /// Maps the first `len` bytes of a device's ring, with all their pages.
    pub(super) fn map(file: &Arc<OwnedFd>, len: usize, direction: Direction) -> Result<Arc<Self>, Errno> {
        let mapped_len = len.checked_next_multiple_of(rustix::param::page_size()).ok_or(Errno::OVERFLOW)?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: the kernel chooses a place that is free, so no memory of this process is replaced.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), mapped_len, protection, flags, file.as_fd(), 0) }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::FAULT)?;
        Ok(Arc::new(Self { base, len, mapped_len, file: Arc::clone(file), direction, turn: Mutex::new(()) }))
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub fn addr(&self) -> CpuAddr {
        CpuAddr::from_ptr(self.base.as_ptr())
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.len).unwrap_or(u64::MAX)
    }

    /// Returns `false`: no ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Returns the device's file.
    #[must_use]
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// The place of a byte, counted around the ring, and how many bytes follow up to the ring's end.
    fn place(&self, offset: u64) -> (usize, usize) {
        let at = offset.checked_rem(self.len()).and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        (at, self.len.saturating_sub(at))
    }

    /// Copies bytes out, from `offset` on and around the ring's end, at most the ring once; returns how many.
    pub fn copy_out(&self, offset: u64, into: &mut [u8]) -> usize {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, room) = self.place(offset);
        let whole = into.len().min(self.len);
        let (first, second) = into.split_at_mut(whole.min(room));
        let rest = whole.saturating_sub(first.len());
        // SAFETY: `at + first.len()` is at most `len`, within the mapping (invariant 1).
        let from = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: both are valid for first.len() bytes; a slice of the caller cannot lie in the mapping (invariant 3); no thread of this process
        // writes there now (invariant 4), and bytes that a device changes meanwhile come out as either.
        unsafe { ptr::copy_nonoverlapping(from, first.as_mut_ptr(), first.len()) };
        // SAFETY: as above, from the ring's start on; `rest` is at most the length of `second`, and of the ring.
        unsafe { ptr::copy_nonoverlapping(self.base.as_ptr(), second.as_mut_ptr(), rest) };
        whole
    }

    /// Copies bytes in, from `offset` on and around the ring's end, at most the ring once; returns how many. Into the ring of a capture, which
    /// is the device's to fill, none.
    pub fn copy_in(&self, offset: u64, from: &[u8]) -> usize {
        if self.direction == Direction::Capture {
            return 0;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, room) = self.place(offset);
        let whole = from.len().min(self.len);
        let (first, second) = from.split_at(whole.min(room));
        let rest = whole.saturating_sub(first.len());
        // SAFETY: `at + first.len()` is at most `len`, within the mapping (invariant 1).
        let into = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: both are valid for first.len() bytes; a slice of the caller cannot lie in the mapping (invariant 3); no thread of this process
        // reads or writes there now (invariant 4).
        unsafe { ptr::copy_nonoverlapping(first.as_ptr(), into, first.len()) };
        // SAFETY: as above, from the ring's start on; `rest` is at most the length of `second`, and of the ring.
        unsafe { ptr::copy_nonoverlapping(second.as_ptr(), self.base.as_ptr(), rest) };
        whole
    }

    /// Makes the owner of a part that does not go around the ring's end; `None` where the part is empty or reaches past it.
    #[must_use]
    pub fn region(self: &Arc<Self>, offset: u64, len: u64) -> Option<RingRegion> {
        let end = offset.checked_add(len)?;
        (len > 0 && end <= self.len()).then(|| RingRegion { ring: Arc::clone(self), offset, len })
    }
}

impl Drop for RingMemory {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping (invariant 1); every user of it holds an `Arc` of this, and nobody has a reference (invariant 3).
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped_len) };
        if let Err(errno) = unmapped {
            eprintln!("bulkio: a sound ring of {} bytes stays mapped: {errno}", self.mapped_len);
        }
    }
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory")
            .field("addr", &self.addr())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// A part of a ring: it keeps the ring, and shows no bytes. Dropped or forgotten in any order it frees nothing that is in use.
#[derive(Debug)]
pub struct RingRegion {
    ring: Arc<RingMemory>,
    offset: u64,
    len: u64,
}

impl RingRegion {
    /// Returns the address of the first byte.
    #[must_use]
    pub fn addr(&self) -> CpuAddr {
        CpuAddr::new(self.ring.addr().raw().saturating_add(self.offset))
    }

    /// Copies bytes out, from byte `at` of the region on; returns how many there were.
    pub fn copy_out(&self, at: u64, into: &mut [u8]) -> usize {
        let room = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX).min(into.len());
        into.get_mut(..room).map_or(0, |into| self.ring.copy_out(self.offset.saturating_add(at), into))
    }

    /// Returns the bytes where they lie.
    #[must_use]
    pub fn list(&self) -> ScatterList<CpuAddr> {
        Segment::new(self.addr(), self.len).map_or_else(|_| ScatterList::new(), ScatterList::from)
    }

    /// Returns the place of the first byte in the ring.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns `false`: no region is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Leases the region: a transfer reads from it or writes to it where it lies.
    #[must_use]
    pub fn into_lease(self) -> Lease<CpuAddr, Self> {
        let list = self.list();
        // SAFETY: (1) the bytes lie within the mapping, which the owner keeps (RingMemory, invariants 1 and 2); (2) nobody has a Rust reference to
        // them, and the owner shows none (invariant 3).
        unsafe { Lease::from_raw(list, self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(len: usize, direction: Direction) -> Arc<RingMemory> {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, len as u64).unwrap();
        RingMemory::map(&Arc::new(file), len, direction).unwrap()
    }

    #[test]
    fn copies_go_around_the_end() {
        let ring = ring(10_000, Direction::Playback);
        let bytes: Vec<u8> = (0..10_000_usize).map(|at| (at % 251) as u8).collect();
        assert_eq!(ring.copy_in(9_000, &bytes), 10_000);
        let mut back = vec![0; 10_000];
        assert_eq!(ring.copy_out(29_000, &mut back), 10_000);
        assert_eq!(back, bytes);
        assert_eq!(ring.copy_out(0, &mut back[..5]), 5);
        assert_eq!(back[..5], bytes[1_000..1_005]);
        assert_eq!(ring.copy_in(3, &vec![7; 20_000]), 10_000, "the ring once, and no more");
        assert_eq!(ring.copy_out(3, &mut []), 0);
    }

    #[test]
    fn regions_keep_the_ring_forgotten_ones_too() {
        let ring = ring(8192, Direction::Capture);
        assert_eq!(ring.copy_in(0, &[1]), 0);
        assert!(
            ring.region(0, 0).is_none()
                && ring.region(8192, 1).is_none()
                && ring.region(u64::MAX, 2).is_none()
        );
        let region = ring.region(4096, 4096).unwrap();
        assert_eq!(
            (region.addr().raw() - ring.addr().raw(), region.offset(), region.len()),
            (4096, 4096, 4096)
        );
        let lease = region.into_lease();
        assert_eq!(lease.list().len_bytes(), 4096);
        let forgotten = ring.region(0, 4096).unwrap().into_lease();
        let weak = Arc::downgrade(&ring);
        drop(ring);
        assert!(weak.upgrade().is_some());
        core::mem::forget(forgotten);
        drop(lease);
        assert!(weak.upgrade().is_some(), "what was forgotten keeps it for good");
    }
}
