//! [`DeviceMemory`] and [`Resolve`]: how the fake device gets from a bus address to bytes.
//!
//! Implemented by memories and by innermost back ends; called by the [`Bus`](super::Bus), which has checked that the address is
//! mapped.
#![expect(unsafe_code, reason = "numbers become accesses here")]

use alloc::sync::Arc;

use crate::map::{Backend, Direct, HeapMemory, Memory};
use crate::{Addr, BusAddr, CpuAddr};

/// Memory as a device reads and writes it. The methods provided go to where the CPU sees the bytes, so a memory of your own
/// is one by `impl DeviceMemory for MyMemory {}`.
pub trait DeviceMemory: Memory {
    /// Fills `into` from `addr` on; says `false` where there is no such memory.
    ///
    /// # Safety
    /// The bytes are mapped for a device that reads, or are coherent memory, and nobody writes them on another thread.
    unsafe fn device_read(&self, addr: Self::Addr, into: &mut [u8]) -> bool {
        let Some(from) = place(self, addr, into.len()) else { return false };
        // SAFETY: the caller says that the bytes are valid; being a device's they are behind no reference.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr().cast_const(), into.as_mut_ptr(), into.len()) };
        true
    }

    /// Stores `from` from `addr` on; says `false`, storing nothing, where there is no such memory.
    ///
    /// # Safety
    /// The bytes are mapped for a device that writes, or are coherent memory, and nobody uses them on another thread.
    unsafe fn device_write(&self, addr: Self::Addr, from: &[u8]) -> bool {
        let Some(into) = place(self, addr, from.len()) else { return false };
        // SAFETY: the caller says that the bytes are valid; being a device's they are behind no reference.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), into.as_ptr(), from.len()) };
        true
    }

    /// Is told that a device owns `len` bytes at `addr` from now on.
    fn handed_over(&self, _addr: Self::Addr, _len: u64) {}

    /// Is told that the CPU owns `len` bytes at `addr` again.
    fn taken_back(&self, _addr: Self::Addr, _len: u64) {}
}

fn place<M: Memory + ?Sized>(memory: &M, addr: M::Addr, len: usize) -> Option<CpuAddr> {
    memory.cpu_addr(addr, u64::try_from(len).ok()?)
}

impl DeviceMemory for HeapMemory {}

/// A back end beneath which there is only memory, and which knows where its bus addresses lead.
///
/// # Safety
/// For a bus address that is mapped, or of coherent memory, [`Resolve::resolve`] returns what [`Backend`] promises the device
/// reaches there.
pub unsafe trait Resolve: Backend {
    /// The memory beneath.
    type Memory: DeviceMemory<Addr = Self::Addr>;

    /// Returns the memory beneath.
    fn memory(&self) -> &Self::Memory;

    /// Returns the address of memory that `bus` leads to, and how many bytes from there on are one run, at most `len` and at
    /// least 1; `None` where it leads nowhere.
    fn resolve(&self, bus: BusAddr, len: u64) -> Option<(Self::Addr, u64)>;
}

// SAFETY: an offset, both ways.
unsafe impl<M: DeviceMemory> Resolve for Direct<M> {
    type Memory = M;

    fn memory(&self) -> &M {
        Self::memory(self)
    }

    fn resolve(&self, bus: BusAddr, len: u64) -> Option<(M::Addr, u64)> {
        let last = len.checked_sub(1)?;
        let addr = self.list_addr(bus)?;
        addr.checked_add(last)?;
        Some((addr, len))
    }
}

macro_rules! by_pointer {
    ($pointer:ty) => {
        impl<M: DeviceMemory + ?Sized> DeviceMemory for $pointer {
            unsafe fn device_read(&self, addr: Self::Addr, into: &mut [u8]) -> bool {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).device_read(addr, into) }
            }

            unsafe fn device_write(&self, addr: Self::Addr, from: &[u8]) -> bool {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).device_write(addr, from) }
            }

            fn handed_over(&self, addr: Self::Addr, len: u64) {
                (**self).handed_over(addr, len);
            }

            fn taken_back(&self, addr: Self::Addr, len: u64) {
                (**self).taken_back(addr, len);
            }
        }

        // SAFETY: every promise is passed on.
        unsafe impl<M: Resolve + ?Sized> Resolve for $pointer {
            type Memory = M::Memory;

            fn memory(&self) -> &Self::Memory {
                (**self).memory()
            }

            fn resolve(&self, bus: BusAddr, len: u64) -> Option<(Self::Addr, u64)> {
                (**self).resolve(bus, len)
            }
        }
    };
}

by_pointer!(&M);
by_pointer!(Arc<M>);
