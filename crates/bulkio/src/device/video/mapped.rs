//! [`Region`]: the driver's own memory of one buffer, mapped into this process.
//!
//! Planes are mappings of their own; here they lie one behind the other in one range of addresses, each on a page, so that a frame is one range
//! whatever the model. [`MappedSet`] is what a stream and its frames share: the regions, and the buffers that were dropped and not given back.
#![expect(unsafe_code, reason = "mapping, unmapping and slicing a device's memory")]

use std::fmt;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use scatterlist::CpuAddr;

/// Memory of one buffer.
///
/// # Invariants
/// 1. `base .. base + len` is one range that [`Region::map`] reserved and that is unmapped when the region drops, and at no other time.
/// 2. Each plane lies in it at a multiple of the page, mapped for reading; what is not a plane's is not accessible.
/// 3. The device writes to it only while its buffer is queued: [`super::driver::Driver`]. A [`super::frame::MappedFrame`] exists only while it is not.
pub(super) struct Region {
    base: NonNull<u8>,
    len: usize,
    /// Where each plane begins, and its length in bytes.
    planes: Vec<(usize, usize)>,
}

// SAFETY: the range belongs to the process, not to a thread (invariant 1).
unsafe impl Send for Region {}
// SAFETY: a shared region gives shared slices only, of bytes that nobody changes meanwhile (invariant 3).
unsafe impl Sync for Region {}

impl Region {
    /// Maps planes of `fd`, each given by the offset that the driver names it by and its length in bytes.
    pub(super) fn map(fd: BorrowedFd<'_>, planes: &[(u32, u32)]) -> Result<Self, Errno> {
        let mut region = Self::reserve(planes.iter().map(|(_, len)| *len))?;
        for (index, (offset, _)) in planes.iter().enumerate() {
            region.place(index, Some((fd, u64::from(*offset))))?;
        }
        Ok(region)
    }

    /// Memory of no device, for tests.
    #[cfg(test)]
    pub(super) fn anonymous(planes: &[u32]) -> Result<Self, Errno> {
        let mut region = Self::reserve(planes.iter().copied())?;
        for index in 0..planes.len() {
            region.place(index, None)?;
        }
        Ok(region)
    }

    /// Takes addresses for planes of these lengths.
    fn reserve(lens: impl Iterator<Item = u32>) -> Result<Self, Errno> {
        let (page, mut len, mut planes) = (rustix::param::page_size(), 0_usize, Vec::new());
        for plane in lens {
            let plane = usize::try_from(plane).map_err(|_| Errno::NOMEM)?;
            let end = len.checked_add(plane).and_then(|end| end.checked_next_multiple_of(page));
            planes.push((len, plane));
            len = end.ok_or(Errno::NOMEM)?;
        }
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: the kernel picks addresses that are free; nothing is accessible there.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags)? };
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len, planes })
    }

    /// Maps one plane where it was planned.
    fn place(&mut self, index: usize, file: Option<(BorrowedFd<'_>, u64)>) -> Result<(), Errno> {
        let (start, len) = *self.planes.get(index).ok_or(Errno::INVAL)?;
        let at = self.base.as_ptr().wrapping_add(start).cast();
        let flags = MapFlags::FIXED;
        match file {
            Some((fd, offset)) => {
                let protection = ProtFlags::READ | ProtFlags::WRITE;
                // SAFETY: the pages at `at` are a part of the range that this region reserved (invariants 1 and 2), so no memory of anyone
                // else is replaced.
                unsafe { rustix::mm::mmap(at, len, protection, flags | MapFlags::SHARED, fd, offset)? };
            }
            None => {
                // SAFETY: as above.
                unsafe { rustix::mm::mmap_anonymous(at, len, ProtFlags::READ, flags | MapFlags::PRIVATE)? };
            }
        }
        Ok(())
    }

    /// Returns the address of the first plane.
    pub(super) fn addr(&self) -> CpuAddr {
        CpuAddr::from_ptr(self.base.as_ptr().cast_const())
    }

    /// Returns the length of the range in bytes.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns where each plane begins in the range, and its length in bytes.
    pub(super) fn planes(&self) -> &[(usize, usize)] {
        &self.planes
    }

    /// Borrows all bytes, gaps to the ends of pages included. The buffer must not be queued: only a frame asks.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the range is mapped and readable to its last page (invariants 1 and 2: planes follow each other page by page), its bytes are
        // plain, and nobody writes to them while a frame borrows the region (invariant 3).
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was reserved (invariant 1); slices borrowed from the region are gone.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of {} bytes: {unmapped:?}", self.len);
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("base", &self.base).field("len", &self.len).finish_non_exhaustive()
    }
}

/// The regions of a stream.
#[derive(Debug)]
pub(super) struct MappedSet {
    regions: Vec<Region>,
    /// Buffers whose frames were dropped: they may be queued again.
    dropped: Mutex<Vec<u32>>,
}

impl MappedSet {
    pub(super) fn new(regions: Vec<Region>) -> Self {
        let dropped = Mutex::new(Vec::with_capacity(regions.len()));
        Self { regions, dropped }
    }

    pub(super) fn get(&self, index: u32) -> Option<&Region> {
        self.regions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn drop_frame(&self, index: u32) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(index);
    }

    /// Takes the buffers whose frames were dropped.
    pub(super) fn take_dropped(&self) -> Vec<u32> {
        std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
