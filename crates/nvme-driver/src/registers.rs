//! [`Registers`] and [`Interrupts`]: all that the driver needs of a platform.
//!
//! A kernel implements the first over the controller's register window (BAR 0 of a PCI function), the second over its clock
//! and whatever waits for an interrupt. The memory side is the platform's [`DmaDevice`](scatterlist::map::DmaDevice). No
//! bus is known here.
#![expect(unsafe_code, reason = "what is written to registers tells a device where to read and write memory")]

use alloc::sync::Arc;

/// The registers of one controller, at byte offsets from its first, little-endian.
///
/// # Safety
/// 1. An access reaches the register at that offset of one NVMe controller, as one access of its width or as two halves of
///    it, and nothing else. Past the registers that are mapped a read gives all ones and a write does nothing.
/// 2. The controller sees a write after every store to memory that came before it, to leased memory as to coherent; a load from coherent
///    memory that comes after a read sees what the controller had stored when it answered.
/// 3. Loads that an acquire fence parts see the controller's stores in their order: it is in the domain that the CPU's own fences order
///    (on ARM, the inner shareable one).
///
/// That nobody else writes these registers is promised by who makes the driver: [`Controller::new`](crate::Controller::new).
pub unsafe trait Registers {
    /// Reads 4 bytes. A controller that is gone reads as all ones.
    fn read32(&self, at: u64) -> u32;

    /// Reads 8 bytes.
    fn read64(&self, at: u64) -> u64;

    /// Writes 4 bytes.
    ///
    /// # Safety
    /// The memory that the controller uses because of this write is coherent memory or mapped, and stays so, in flight, until
    /// the controller has reported the command as done or is disabled.
    unsafe fn write32(&self, at: u64, value: u32);

    /// Writes 8 bytes.
    ///
    /// # Safety
    /// As [`Registers::write32`].
    unsafe fn write64(&self, at: u64, value: u64);
}

/// Time, and waiting for the controller.
pub trait Interrupts {
    /// Returns nanoseconds since some fixed moment; never less than before.
    fn now_ns(&self) -> u64;

    /// Returns when an interrupt of this vector may have come, or at `until_ns`. One that polls may return at once.
    ///
    /// The driver looks at its queue and waits then: an interrupt that came since the last wait for this vector returned makes it return
    /// at once, or what came between the look and the wait is lost.
    fn wait(&self, vector: u16, until_ns: u64);
}

macro_rules! by_pointer {
    ($pointer:ty) => {
        // SAFETY: every promise is passed on.
        unsafe impl<T: Registers + ?Sized> Registers for $pointer {
            fn read32(&self, at: u64) -> u32 {
                (**self).read32(at)
            }

            fn read64(&self, at: u64) -> u64 {
                (**self).read64(at)
            }

            unsafe fn write32(&self, at: u64, value: u32) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).write32(at, value) }
            }

            unsafe fn write64(&self, at: u64, value: u64) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).write64(at, value) }
            }
        }

        impl<T: Interrupts + ?Sized> Interrupts for $pointer {
            fn now_ns(&self) -> u64 {
                (**self).now_ns()
            }

            fn wait(&self, vector: u16, until_ns: u64) {
                (**self).wait(vector, until_ns);
            }
        }
    };
}

by_pointer!(&T);
by_pointer!(Arc<T>);
