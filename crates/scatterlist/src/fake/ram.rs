//! [`Ram`]: real bytes of the fake machine, known by raw pointers only.
//!
//! What leases name is read and written through addresses, by back ends and by the fake device, so no reference to the bytes is
//! ever made. Each access is checked against the length.
#![expect(unsafe_code, reason = "bytes that devices write have no reference; see the invariants of Ram")]

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use crate::CpuAddr;

/// Bytes keep the low bits of the addresses that they stand for, up to a page of this many bytes.
const PAGE: usize = 4096;

/// Real bytes.
///
/// # Invariants
/// 1. `pointer` is valid for `len` bytes, initialised, until this is dropped.
/// 2. No reference to the bytes is ever made.
/// 3. All accesses are of one thread: the type is neither `Send` nor `Sync`, for the sake of its pointer.
#[derive(Debug)]
pub(super) struct Ram {
    pointer: NonNull<u8>,
    len: usize,
    start: NonNull<u8>,
    layout: Layout,
}

impl Ram {
    /// Allocates `len` zeroed bytes that stand for addresses from `base` on; `None` where there are none.
    pub(super) fn new(base: u64, len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok().filter(|len| *len > 0)?;
        let low = usize::try_from(base).ok()? & PAGE.wrapping_sub(1);
        let layout = Layout::from_size_align(len.checked_add(low)?, PAGE).ok()?;
        // SAFETY: the layout is of one byte at least.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: `low` is less than the bytes of the layout.
        let pointer = unsafe { start.add(low) };
        // Exposes the provenance, for those who come by address.
        let _ = CpuAddr::from_ptr(pointer.as_ptr());
        Some(Self { pointer, len, start, layout })
    }

    /// Returns where the CPU sees the first byte.
    pub(super) fn cpu_addr(&self) -> CpuAddr {
        CpuAddr::from_ptr(self.pointer.as_ptr())
    }

    /// Returns the place of `len` bytes from `at` on.
    fn place(&self, at: usize, len: usize) -> Option<*mut u8> {
        let end = at.checked_add(len)?;
        (end <= self.len).then(|| self.pointer.as_ptr().wrapping_add(at))
    }

    /// Fills `into` from byte `at` on; says `false` past the end.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.place(at, into.len()) else { return false };
        // SAFETY: (1) `place` checked the range; (2) a reference is never to these bytes; (3).
        unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Stores `from` from byte `at` on; says `false` past the end.
    pub(super) fn write(&self, at: usize, from: &[u8]) -> bool {
        let Some(into) = self.place(at, from.len()) else { return false };
        // SAFETY: (1) `place` checked the range; (2) a reference is never to these bytes; (3).
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        true
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
