//! [`InFlight`]: what a device holds.
//!
//! Bus addresses come out of an `InFlight` only, and the memory comes back out of it only when the device is done: by
//! [`InFlight::reclaim`] with the word of a [`Hardware`], or by the promise of unsafe code. Dropping one leaks what
//! it holds, on purpose, and says so.
#![expect(unsafe_code, reason = "turning back what a device held rests on a promise")]

use core::fmt;
use core::mem::ManuallyDrop;

use super::hardware::Hardware;

pub(super) mod sealed {
    use crate::{BusAddr, Segments};

    /// What a flight needs of what it holds. Out of reach, so that bus addresses come out of flights alone.
    pub trait Parts {
        /// How the bus segments are kept.
        type Bus: Segments<Addr = BusAddr> + ?Sized;

        /// Returns the bus segments.
        fn held_bus(&self) -> &Self::Bus;

        /// Says that it stays taken.
        fn say_leaked(&self);
    }
}

/// What can be given to a device: a [`Mapped`](super::Mapped), a [`Coherent`](super::Coherent), a
/// [`Prepared`](super::Prepared) request. Sealed.
pub trait Held: sealed::Parts {}

impl<T: sealed::Parts> Held for T {}

/// What a device holds.
///
/// ```compile_fail,E0382
/// # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset};
/// # use scatterlist::{Lease, Limits};
/// # let device = Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
/// let mut mapped = (&device).map(Lease::from_vec(vec![0; 512]).unwrap(), FromDevice).unwrap();
/// let flight = mapped.into_flight();
/// let mut byte = [0];
/// mapped.read_at(0, &mut byte).unwrap(); // the device holds it
/// ```
///
/// # Invariants
/// 1. From here on the device may use the bus segments, until it is known not to.
#[must_use = "dropping what a device holds leaks it"]
pub struct InFlight<T: Held>(ManuallyDrop<T>);

impl<T: Held> InFlight<T> {
    #[inline]
    pub(super) const fn new(held: T) -> Self {
        Self(ManuallyDrop::new(held))
    }

    /// Returns the bus segments: what the device is told.
    pub fn bus(&self) -> &T::Bus {
        self.0.held_bus()
    }

    /// Returns what is held, for those who know which parts of it the device leaves alone.
    pub(super) fn held(&self) -> &T {
        &self.0
    }

    pub(super) fn held_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// Says that it stays taken, and returns it all the same: for those who take out what the device does not know.
    pub(super) fn leak(self) -> ManuallyDrop<T> {
        let mut whole = ManuallyDrop::new(self);
        // SAFETY: `whole` is not dropped and not used again, so the value is taken once.
        let held = ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut whole.0) });
        held.say_leaked();
        held
    }

    /// Takes it back when `hardware` says that it is done.
    ///
    /// # Errors
    /// The same, still in flight.
    pub fn reclaim<H: Hardware + ?Sized>(self, hardware: &H) -> Result<T, Self> {
        if hardware.is_done_with(self.bus()) {
            // SAFETY: hardware keeps its promise 1.
            Ok(unsafe { self.complete() })
        } else {
            Err(self)
        }
    }

    /// Takes it back.
    ///
    /// # Safety
    /// The device does not use the bus segments any more: it said so by a completion, or it is dead (reset, switched
    /// off, cut off by its IOMMU).
    #[inline]
    pub unsafe fn complete(self) -> T {
        let mut whole = ManuallyDrop::new(self);
        // SAFETY: `whole` is not dropped and not used again, so the value is taken once.
        unsafe { ManuallyDrop::take(&mut whole.0) }
    }
}

impl<T: Held> Drop for InFlight<T> {
    fn drop(&mut self) {
        self.0.say_leaked();
    }
}

impl<T: Held + fmt::Debug> fmt::Debug for InFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&*self.0).finish()
    }
}
