//! [`Hardware`]: says which memory a device still uses.
//!
//! The one place where the words of a device turn memory back into the CPU's: drivers implement it over their
//! completions, the fake device over its queue.
#![expect(unsafe_code, reason = "a trait that promises what a device leaves alone")]

use crate::{BusAddr, Segments};

/// Hardware, or what stands for it, that knows which memory it still uses.
///
/// # Safety
/// 1. [`Hardware::is_done_with`] says `true` only if the device uses neither the segments nor the descriptors that told it of them now, and
///    will not until it is told of them again.
/// 2. After [`Hardware::quiesce`] returns, the same holds; and also where it unwinds: the memory is let go all the same.
/// 3. What tells the device to use an address is unsafe to call, or sees to it that the address is mapped and in flight for as
///    long as the device uses it: it keeps the [`InFlight`](super::InFlight), or has each access checked. Only borrowing one is not
///    enough, since another device may say that it is done with it. A bus address is a number; this is where numbers become
///    accesses.
pub unsafe trait Hardware {
    /// Says whether the device is done with every byte of these segments.
    fn is_done_with<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> bool;

    /// Makes the device let go of these segments: waits for it, or stops it.
    fn quiesce<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S);
}
