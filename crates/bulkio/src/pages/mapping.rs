//! The memory itself: a sealed memfd, mapped once, and the disjoint [`Span`]s it is cut into.
//!
//! The file of `pages` that touches bytes: it makes and unmaps mappings, and turns a `Span` into slices. (Unsafe
//! besides are the promise of `lease` and the calls of `numa`, which change no contents.)
//! Its types are private to `pages`; all that their safe functions allow is sound, whatever the callers do.
//! The contract: a byte of a mapping belongs to one `Span` at most, so owning the `Span` is owning the bytes.
//!
//! Cited as: memfd_create(2), fcntl(2) "File Sealing", mmap(2), madvise(2).
#![expect(unsafe_code, reason = "mapping, unmapping and slicing shared memory")]

use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::PagePool;

/// `MADV_COLLAPSE` of `<asm-generic/mman-common.h>` (Linux 6.1); not every libc names it.
const MADV_COLLAPSE: libc::c_int = 25;

/// Which system call refused, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallError {
    /// The call, as its manual page names it.
    pub(super) call: &'static str,
    /// What it answered.
    pub(super) errno: Errno,
}

/// Makes the mapper of an [`Errno`] for one `call`.
fn failed(call: &'static str) -> impl Fn(Errno) -> CallError {
    move |errno| CallError { call, errno }
}

/// Which file the memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// Pages of 2 MiB from the hugetlb pool.
    HugeTlb,
    /// Ordinary shared memory, mapped at a multiple of `align` (a power of two).
    Shared {
        /// Alignment of the first byte, in bytes.
        align: NonZeroUsize,
    },
}

/// A sealed memfd and the one mapping of it.
///
/// # Invariants
/// 1. `base .. base + len` is one readable and writable shared mapping of `file` from its byte 0. It is made
///    by [`Mapping::new`], never moved or re-protected, and unmapped only when the `Mapping` drops.
/// 2. `file` is `len` bytes long and sealed against shrinking, so every byte of the mapping stays within it.
///    A fresh byte reads as zero: there are no uninitialised ones.
/// 3. Each byte belongs to at most one [`Span`]: [`Mapping::cut`] is the only maker of spans, takes the
///    mapping by value, refuses places that overlap, and a `Span` cannot be cloned.
/// 4. Nothing but its span reaches a byte: no pointer leaves except as an address, whose user answers for its
///    own `unsafe`, and `file` leaves only through the unsafe [`PagePool::as_fd`]. A forked child does not
///    inherit the mapping (`MADV_DONTFORK`).
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    file: OwnedFd,
}

// SAFETY: the pointer is not tied to a thread: the mapping belongs to the process until the drop (invariant
// 1), and the bytes behind it are reached through spans alone (invariants 3 and 4).
unsafe impl Send for Mapping {}
// SAFETY: through a shared `Mapping` no byte is read or written; the calls it offers (populate, collapse) do
// not change contents and the kernel serialises them (invariants 1 and 4).
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes a memfd of `len` bytes, seals it against shrinking, and maps it.
    ///
    /// The pages are not populated yet. `len` is a multiple of the page size of `backing`.
    pub(super) fn new(len: NonZeroUsize, backing: Backing) -> Result<Self, CallError> {
        let file = create(backing)?;
        // Lossless: Linux has no pointers beyond 64 bits.
        rustix::fs::ftruncate(&file, len.get() as u64).map_err(failed("ftruncate"))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK).map_err(failed("fcntl(F_ADD_SEALS)"))?;
        let start = match backing {
            // The kernel aligns hugetlb mappings by itself.
            Backing::HugeTlb => map(ptr::null_mut(), len, MapFlags::SHARED, file.as_fd())?,
            Backing::Shared { align } => map_aligned(len, align, file.as_fd())?,
        };
        let base = NonNull::new(start).ok_or(CallError { call: "mmap", errno: Errno::FAULT })?;
        let mapping = Self { base, len: len.get(), file };
        mapping.advise(0, mapping.len, Advice::LinuxDontFork).map_err(failed("madvise(MADV_DONTFORK)"))?;
        Ok(mapping)
    }

    /// Returns the address of the first byte, as a number.
    pub(super) fn start(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the first byte as a pointer that is only good for its address and provenance.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Allocates every page of `offset .. offset + len`, so that no later access can fail.
    pub(super) fn populate(&self, offset: usize, len: usize) -> Result<(), CallError> {
        let populated = rustix::io::retry_on_intr(|| self.advise(offset, len, Advice::LinuxPopulateWrite));
        match populated {
            // Before Linux 5.14. Pages of the file are enough: a fault on them allocates page tables only.
            Err(Errno::INVAL) => rustix::io::retry_on_intr(|| {
                rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset as u64, len as u64)
            })
            .map_err(failed("fallocate")),
            other => other.map_err(failed("madvise(MADV_POPULATE_WRITE)")),
        }
    }

    /// Asks for no huge pages here, whatever the system's default.
    pub(super) fn refuse_huge(&self) -> Result<(), Errno> {
        self.advise(0, self.len, Advice::LinuxNoHugepage)
    }

    /// Gathers the first `len` bytes into huge pages. `Ok` means that all of them are in huge pages now.
    pub(super) fn collapse(&self, len: usize) -> Result<(), Errno> {
        let len = len.min(self.len);
        // SAFETY: the range lies inside the mapping and stays mapped during the call (Mapping invariant 1);
        // collapsing moves the bytes to other physical memory and changes neither contents nor addresses.
        let answer = unsafe { libc::madvise(self.base.as_ptr().cast(), len, MADV_COLLAPSE) };
        if answer == 0 {
            return Ok(());
        }
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
    }

    /// Gives one of three harmless pieces of `advice` for `offset .. offset + len`: don't-fork, populate,
    /// no-huge.
    fn advise(&self, offset: usize, len: usize, advice: Advice) -> Result<(), Errno> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(Errno::INVAL);
        }
        let start = self.base.as_ptr().wrapping_add(offset).cast();
        // SAFETY: the range lies inside the mapping (checked above; Mapping invariant 1) and none of the
        // callers in this file passes advice that discards contents.
        unsafe { rustix::mm::madvise(start, len, advice) }
    }

    /// Cuts spans out of the mapping, at `places` in ascending order, of which there are `count` (a hint).
    ///
    /// Gives the mapping back, to be kept for its addresses, and the spans in order. Returns `None` when places
    /// overlap, are out of order, or do not fit.
    pub(super) fn cut(
        self,
        count: usize,
        places: impl Iterator<Item = Place>,
    ) -> Option<(Arc<Self>, Vec<Span>)> {
        let mapping = Arc::new(self);
        let mut spans = Vec::with_capacity(count);
        let mut cut_to = 0;
        for Place { offset, len, index, class } in places {
            let end = offset.checked_add(len).filter(|end| *end <= mapping.len)?;
            if offset < cut_to {
                return None;
            }
            cut_to = end;
            let base = NonNull::new(mapping.base.as_ptr().wrapping_add(offset))?;
            spans.push(Span { base, len, index, class, _mapping: Arc::clone(&mapping) });
        }
        Some((mapping, spans))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping made by `new` (Mapping invariant 1). No span is left,
        // since each keeps the mapping alive (Span invariant 2), so no slice is left either (Mapping
        // invariant 4).
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "munmap of {} bytes: {unmapped:?}", self.len);
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("base", &self.base).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Where a span lies in its mapping, and what its owners call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// First byte, from the start of the mapping.
    pub(super) offset: usize,
    /// Length in bytes.
    pub(super) len: usize,
    /// Number of the slot.
    pub(super) index: u32,
    /// Number of its class.
    pub(super) class: u32,
}

/// The exclusive right to the bytes of one part of a [`Mapping`].
///
/// # Invariants
/// 1. `base .. base + len` lies inside the mapping, and no other span overlaps it (Mapping invariant 3).
/// 2. The mapping outlives the span, and every slice borrows from the span.
/// 3. Whoever has the kernel or a device touch the bytes does so by an `unsafe` act of its own, and owns the
///    span meanwhile (it is moved into the request in flight), so that no safe code can call `as_slice` on
///    it.
pub(super) struct Span {
    base: NonNull<u8>,
    len: usize,
    index: u32,
    class: u32,
    _mapping: Arc<Mapping>,
}

// SAFETY: a span is an owned buffer in the process's memory, tied to no thread (Mapping invariant 1).
unsafe impl Send for Span {}
// SAFETY: a shared span gives shared slices only, of plain bytes (Span invariant 1).
unsafe impl Sync for Span {}

impl Span {
    /// Returns the number that the span was cut with.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Returns the class that the span was cut with.
    pub(super) fn class(&self) -> u32 {
        self.class
    }

    /// Returns the length in bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the first byte as a pointer that is only good for its address and provenance.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// Borrows the bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `base` is valid for reads of `len` initialised bytes (Mapping invariants 1 and 2; Span 1
        // and 2); none of them changes during the borrow of the span (Span invariants 1 and 3; Mapping
        // invariant 4).
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// Borrows the bytes for writing.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and the exclusive borrow of the only span of these bytes makes this the
        // only access to them (Span invariants 1 and 3; Mapping invariant 4).
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl PagePool {
    /// Returns the memfd behind the pool, to export it to a device that speaks dma-buf, or to another
    /// process.
    ///
    /// Its size is [`PagePool::bytes`]; a slot begins at the byte that is the distance of its address from the
    /// start of [`PagePool::range`]. It is sealed against shrinking and not against writing, as
    /// `/dev/udmabuf` demands.
    ///
    /// # Safety
    /// The descriptor is a second way to the bytes of every [`Slot`](super::Slot), and everything made from
    /// it is another: duplicates, mappings, dma-bufs, a `File` that reads or writes it. From this call until
    /// all of these are gone the caller sees to it that
    /// 1. nothing changes a byte of a slot while safe code holds a slice of it, and nothing reads a byte
    ///    while safe code holds a mutable one;
    /// 2. no hole is punched into the file (the seal does not forbid it): a page would lose its contents, and
    ///    with no memory left the next access would end the process by `SIGBUS`.
    #[must_use]
    pub unsafe fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.mapping.file.as_fd()
    }
}

/// Makes the empty memfd for `backing`.
fn create(backing: Backing) -> Result<OwnedFd, CallError> {
    let huge = match backing {
        Backing::HugeTlb => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
        Backing::Shared { .. } => MemfdFlags::empty(),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | huge;
    let name = c"bulkio-pool";
    // Where sysctl vm.memfd_noexec is 2 only a memfd that says it is not executable is allowed; before Linux
    // 6.3 the flag is unknown.
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
    .map_err(failed("memfd_create"))
}

/// Maps `len` bytes of `file` wherever the kernel likes, or over a reservation at `start` of the caller's
/// own.
fn map(
    start: *mut u8,
    len: NonZeroUsize,
    flags: MapFlags,
    file: BorrowedFd<'_>,
) -> Result<*mut u8, CallError> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: without `MAP_FIXED` the kernel picks addresses that are free; with it (`map_aligned` alone) the
    // range is a reservation that this file made and nothing else uses, so no memory of anyone is replaced.
    let mapped = unsafe { rustix::mm::mmap(start.cast(), len.get(), protection, flags, file, 0) };
    mapped.map(<*mut _>::cast).map_err(failed("mmap"))
}

/// Maps `len` bytes of `file` at a multiple of `align`.
///
/// Reserves `align` bytes more than needed, maps inside, and gives the two ends back.
fn map_aligned(len: NonZeroUsize, align: NonZeroUsize, file: BorrowedFd<'_>) -> Result<*mut u8, CallError> {
    let too_long = CallError { call: "mmap", errno: Errno::NOMEM };
    let reserved_len = len.get().checked_add(align.get()).ok_or(too_long)?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: the kernel picks addresses that are free; nothing is accessible there.
    let reserved =
        unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), reserved_len, ProtFlags::empty(), flags) };
    let reserved: *mut u8 = reserved.map_err(failed("mmap"))?.cast();
    let head_len = reserved.addr().next_multiple_of(align.get()) - reserved.addr();
    let start = reserved.wrapping_add(head_len);
    // On failure the reservation stays, deliberately: older kernels may have unmapped a part of it by then
    // and another thread may be there now. It costs addresses, not memory.
    let start = map(start, len, MapFlags::SHARED | MapFlags::FIXED, file)?;
    let tail = start.wrapping_add(len.get());
    unreserve(reserved, head_len);
    unreserve(tail, align.get() - head_len);
    Ok(start)
}

/// Gives back `len` unused bytes at the start or the end of a reservation of [`map_aligned`].
fn unreserve(start: *mut u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the range is a part of a reservation that this file made, never accessible and known to nobody
    // else.
    let unmapped = unsafe { rustix::mm::munmap(start.cast(), len) };
    debug_assert!(unmapped.is_ok(), "munmap of {len} reserved bytes: {unmapped:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(places: &[(usize, usize)]) -> Option<Vec<usize>> {
        let page_len = NonZeroUsize::new(rustix::param::page_size()).unwrap();
        let len = page_len.checked_mul(NonZeroUsize::new(4).unwrap()).unwrap();
        let mapping = Mapping::new(len, Backing::Shared { align: page_len }).unwrap();
        let places = places.iter().map(|&(offset, pages)| Place {
            offset: offset * page_len.get(),
            len: pages * page_len.get(),
            index: 0,
            class: 0,
        });
        let (_mapping, spans) = mapping.cut(places.len(), places)?;
        Some(spans.iter().map(Span::len).collect())
    }

    #[test]
    fn places_that_overlap_or_reach_out_are_not_cut() {
        assert!(cut(&[(0, 1), (1, 1), (3, 1)]).is_some());
        assert!(cut(&[(0, 4)]).is_some());
        for places in [&[(0, 2), (1, 2)][..], &[(1, 1), (0, 1)], &[(0, 1), (0, 1)], &[(3, 2)], &[(5, 1)]] {
            assert_eq!(cut(places), None, "{places:?}");
        }
    }
}
