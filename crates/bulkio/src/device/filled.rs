//! [`Filled`]: memory that a device filled, on its way to somewhere else.
//!
//! A grabber's frame and a part of a sound device's ring are both such memory: bytes that lie still while somebody owns the value, that direct
//! I/O can take from where they are, and that the CPU can copy where it must.
#![expect(unsafe_code, reason = "an unsafe trait: its addresses are given to the kernel")]

use scatterlist::{CpuAddr, ScatterList};

/// Memory that a device filled.
///
/// # Safety
/// While the value exists, wherever it is moved, every byte of [`list`](Self::list) stays mapped and readable at its address, no safe code
/// writes it or holds a reference to it, and the list stays the same. A device that breaks its own rules may change the bytes, so
/// [`read_at`](Self::read_at) makes no reference either where memory is shared with one.
pub(crate) unsafe trait Filled: 'static {
    /// Returns where the bytes lie, in order.
    fn list(&self) -> ScatterList<CpuAddr>;

    /// Returns how many there are.
    fn len_bytes(&self) -> u64;

    /// Copies bytes from `at` on; as many as `into` has, and they are there.
    fn read_at(&self, at: u64, into: &mut [u8]);
}
