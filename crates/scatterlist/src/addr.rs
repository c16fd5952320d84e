//! Addresses as three distinct numbers: [`CpuAddr`], [`PhysAddr`], [`BusAddr`].
//!
//! They never mix, have no operators, and do only checked arithmetic: code that plans a transfer cannot
//! overflow and cannot hand a CPU address to a device. An address is a plain number; safe code may build any.
//! What makes memory reachable for a device is a [`Lease`](crate::Lease), not an address.

use core::fmt;
use core::hash::Hash;

mod sealed {
    pub trait Sealed {}
}

/// An address of one kind: a 64-bit byte address with checked arithmetic only.
///
/// Sealed: the three kinds are [`CpuAddr`], [`PhysAddr`] and [`BusAddr`].
pub trait Addr:
    sealed::Sealed + Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + Unpin + 'static
{
    /// The lower-case name of the kind, for messages: `"cpu"`, `"physical"` or `"bus"`.
    const KIND: &'static str;

    /// Wraps a raw byte address.
    fn new(raw: u64) -> Self;

    /// Returns the raw byte address.
    fn raw(self) -> u64;

    /// Returns the address `bytes` further on, or `None` past the end of the 64-bit space.
    fn checked_add(self, bytes: u64) -> Option<Self> {
        self.raw().checked_add(bytes).map(Self::new)
    }

    /// Returns how many bytes this address lies after `base`, or `None` when it lies before it.
    fn checked_offset_from(self, base: Self) -> Option<u64> {
        self.raw().checked_sub(base.raw())
    }
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl sealed::Sealed for $name {}

        impl Addr for $name {
            const KIND: &'static str = $kind;

            #[inline]
            fn new(raw: u64) -> Self {
                Self(raw)
            }

            #[inline]
            fn raw(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, " address {:#x}"), self.0)
            }
        }
    };
}

address! {
    /// An address as the CPU's load and store instructions see it (virtual, where there is an MMU).
    CpuAddr, "cpu"
}
address! {
    /// An address of physical memory.
    PhysAddr, "physical"
}
address! {
    /// An address as a device on its bus sees it (after any IOMMU or bridge offset).
    BusAddr, "bus"
}

impl CpuAddr {
    /// Returns the address of `pointer` and exposes its provenance, so that [`CpuAddr::as_ptr`] can
    /// give a usable pointer back.
    #[must_use]
    pub fn from_ptr<T>(pointer: *const T) -> Self {
        #[expect(clippy::as_conversions, reason = "usize to u64 is lossless on every supported target")]
        Self(pointer.expose_provenance() as u64)
    }

    /// Returns a pointer to this address, with the provenance that [`CpuAddr::from_ptr`] exposed.
    ///
    /// Returns a null pointer when the address does not fit a pointer of this machine.
    #[must_use]
    pub fn as_ptr(self) -> *mut u8 {
        usize::try_from(self.0).map_or(core::ptr::null_mut(), core::ptr::with_exposed_provenance_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_checked() {
        assert_eq!(PhysAddr::new(0x1000).checked_add(0x200), Some(PhysAddr::new(0x1200)));
        assert_eq!(PhysAddr::new(u64::MAX).checked_add(1), None);
        assert_eq!(BusAddr::new(8).checked_offset_from(BusAddr::new(9)), None);
        assert_eq!(BusAddr::new(9).checked_offset_from(BusAddr::new(8)), Some(1));
    }

    #[test]
    fn cpu_address_keeps_its_pointer() {
        let byte = 7_u8;
        let address = CpuAddr::from_ptr(&raw const byte);
        assert_eq!(address.as_ptr().cast_const(), &raw const byte);
    }
}
