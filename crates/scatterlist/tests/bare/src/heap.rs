//! The simplest allocator: it goes up through a fixed piece of memory and takes nothing back.
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

const LEN_BYTES: usize = 1 << 20;

#[global_allocator]
static HEAP: Heap = Heap { bytes: Bytes(UnsafeCell::new([0; LEN_BYTES])), used: AtomicUsize::new(0) };

#[repr(align(4096))]
struct Bytes(UnsafeCell<[u8; LEN_BYTES]>);

/// # Invariants
/// 1. Bytes below `used` were handed out, once; those above were not.
struct Heap {
    bytes: Bytes,
    used: AtomicUsize,
}

// SAFETY: (1) no two callers get the same bytes, and the heap itself touches none.
unsafe impl Sync for Heap {}

// SAFETY: (1) each piece is within the memory, aligned, and given to one caller.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start: *mut u8 = self.bytes.0.get().cast();
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let end = used.checked_next_multiple_of(layout.align())?.checked_add(layout.size())?;
            (end <= LEN_BYTES && layout.align() <= align_of::<Bytes>()).then_some(end)
        });
        match taken {
            // It fitted a moment ago, so nothing wraps: the piece starts at `used`, rounded up.
            Ok(used) => start.wrapping_add(used.next_multiple_of(layout.align())),
            Err(_) => null_mut(),
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}
