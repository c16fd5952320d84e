//! [`Mmio`] and [`Ports`]: registers in memory and behind I/O ports.
//!
//! An access outside of the registers, or at no multiple of its width, goes nowhere: it reads as ones. x86 itself keeps accesses to
//! registers in order with stores to memory; the fences are for the compiler, which moves plain stores past volatile ones.
#![expect(unsafe_code, reason = "volatile access to registers; ports")]

use core::sync::atomic::{Ordering, fence};

use scatterlist::{Addr as _, PhysAddr};
use x86_64::instructions::port::Port;

use crate::registers::Registers;

/// Registers in memory.
///
/// # Invariants
/// 1. `len` bytes at `base`, a multiple of 8, are registers of one device, mapped one to one, for as long as this lives.
#[derive(Clone, Copy, Debug)]
pub struct Mmio {
    base: u64,
    len: u64,
}

impl Mmio {
    /// Takes the registers at `base`.
    ///
    /// # Safety
    /// Invariant 1. This is for the driver of that device and for nobody else: promise 3 of [`Registers`].
    #[must_use]
    pub unsafe fn new(base: PhysAddr, len: u64) -> Self {
        Self { base: base.raw(), len }
    }

    /// Returns the registers before `end`.
    #[must_use]
    pub fn to(self, end: u64) -> Self {
        Self { len: self.len.min(end), ..self }
    }

    /// Where a register is; `None` where none can be.
    fn at<T>(&self, at: u64) -> Option<*mut T> {
        let addr = usize::try_from(self.base.checked_add(at)?).ok()?;
        is_within::<T>(at, self.len).then(|| core::ptr::with_exposed_provenance_mut(addr))
    }
}

/// Whether a register of this width can be at `at` in `len` bytes.
fn is_within<T>(at: u64, len: u64) -> bool {
    let size = u64::try_from(size_of::<T>()).unwrap_or(u64::MAX);
    at.checked_add(size).is_some_and(|end| end <= len) && at.is_multiple_of(size)
}

/// Volatile access of one width in memory.
macro_rules! mmio {
    ($read:ident, $write:ident, $word:ty) => {
        fn $read(&self, at: u64) -> $word {
            let Some(register) = self.at::<$word>(at) else { return <$word>::MAX };
            // SAFETY: (1); within, and aligned.
            let value = unsafe { register.read_volatile() };
            // What the device stored before it answered is loaded after this.
            fence(Ordering::Acquire);
            value
        }

        fn $write(&self, at: u64, value: $word) {
            if let Some(register) = self.at::<$word>(at) {
                // What the device may look at now has been stored before this.
                fence(Ordering::Release);
                // SAFETY: (1); within, and aligned.
                unsafe { register.write_volatile(value) };
            }
        }
    };
}

// SAFETY: (1) of `Mmio`, within which every access is; the fences keep the compiler's order and x86 its own; making one is unsafe.
unsafe impl Registers for Mmio {
    mmio!(read8, write8, u8);
    mmio!(read16, write16, u16);
    mmio!(read32, write32, u32);
    mmio!(read64, write64, u64);
}

/// Registers behind I/O ports.
///
/// # Invariants
/// 1. `len` ports from `base` on, a multiple of 4, are registers of one device, for as long as this lives.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    base: u16,
    len: u16,
}

impl Ports {
    /// Takes `len` registers from `base` on.
    ///
    /// # Safety
    /// As [`Mmio::new`].
    #[must_use]
    pub const unsafe fn new(base: u16, len: u16) -> Self {
        Self { base, len }
    }

    /// The port of a register; `None` where none can be.
    fn at<T>(&self, at: u64) -> Option<u16> {
        let port = self.base.checked_add(u16::try_from(at).ok()?)?;
        is_within::<T>(at, u64::from(self.len)).then_some(port)
    }
}

/// Access of one width by a port.
macro_rules! port {
    ($read:ident, $write:ident, $word:ty) => {
        fn $read(&self, at: u64) -> $word {
            let Some(port) = self.at::<$word>(at) else { return <$word>::MAX };
            // SAFETY: (1); within, and aligned.
            let value = unsafe { Port::new(port).read() };
            fence(Ordering::Acquire);
            value
        }

        fn $write(&self, at: u64, value: $word) {
            if let Some(port) = self.at::<$word>(at) {
                fence(Ordering::Release);
                // SAFETY: (1); within, and aligned.
                unsafe { Port::new(port).write(value) };
            }
        }
    };
}

// SAFETY: (1) of `Ports`, and as for `Mmio`; ports know no 64 bits, which are two accesses.
unsafe impl Registers for Ports {
    port!(read8, write8, u8);
    port!(read16, write16, u16);
    port!(read32, write32, u32);

    fn read64(&self, at: u64) -> u64 {
        let (low, high) = (self.read32(at), self.read32(at.saturating_add(4)));
        u64::from(high).wrapping_shl(32) | u64::from(low)
    }

    fn write64(&self, at: u64, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.write32(at, u32::from_le_bytes([a, b, c, d]));
        self.write32(at.saturating_add(4), u32::from_le_bytes([e, f, g, h]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_outside_of_the_registers_goes_nowhere() {
        let mut words = [0_u64; 4];
        let base = u64::try_from(core::ptr::from_mut(&mut words).expose_provenance()).unwrap();
        // SAFETY: memory of this test, of which the last word is not among the registers.
        let registers = unsafe { Mmio::new(PhysAddr::new(base), 24) };
        registers.write32(20, 0x1234_5678);
        assert_eq!((registers.read64(16), registers.read16(22)), (0x1234_5678_0000_0000, 0x1234));
        for at in [2, 21, 24, 28, u64::MAX] {
            registers.write32(at, 7);
            assert_eq!(registers.read32(at), u32::MAX);
        }
        registers.to(16).write8(16, 7);
        registers.write64(20, 7);
        assert_eq!(words, [0, 0, 0x1234_5678_0000_0000, 0]);
    }

    #[test]
    fn ports_end() {
        // SAFETY: no port is accessed.
        let ports = unsafe { Ports::new(0xc000, 64) };
        assert_eq!(
            (ports.at::<u32>(60), ports.at::<u32>(61), ports.at::<u32>(64)),
            (Some(0xc03c), None, None)
        );
        assert_eq!((ports.at::<u8>(63), ports.at::<u16>(63)), (Some(0xc03f), None));
    }
}
