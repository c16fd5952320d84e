//! [`FakeBus`]: how the fake controller reaches memory.
#![expect(unsafe_code, reason = "numbers become accesses here")]

use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::fake::{Device, Resolve};
use scatterlist::{Addr as _, BusAddr, CpuAddr};

/// How the fake controller reaches memory: it reads as [`BusRead`] says, and writes.
pub trait FakeBus: BusRead {
    /// Writes `from` from `addr` on; says `false` where the bus refuses.
    fn write(&self, addr: BusAddr, from: &[u8]) -> bool;
}

/// The fake machine's device: each access is checked against what is mapped.
impl<D: Resolve> FakeBus for Device<'_, D> {
    fn write(&self, addr: BusAddr, from: &[u8]) -> bool {
        Device::write(self, addr, from).is_ok()
    }
}

/// Real memory, where bus addresses are the CPU's: for threads, and to measure without a machine in between.
#[derive(Debug)]
pub struct HeapBus(());

impl HeapBus {
    /// Trusts whoever drives the controller.
    ///
    /// # Safety
    /// Every address that the controller is told is of memory that stays in flight until the controller has reported the
    /// command as done or is disabled, which is what [`Registers`](crate::Registers) demands of those who write to it. Queues
    /// are polled by the thread on which the controller acts for them.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

impl BusRead for HeapBus {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        let from = CpuAddr::new(addr.raw()).as_ptr();
        // SAFETY: the promise of `new`: the memory is in flight, so it is valid and behind no reference.
        unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), into.as_mut_ptr(), into.len()) };
        Ok(())
    }
}

impl FakeBus for HeapBus {
    fn write(&self, addr: BusAddr, from: &[u8]) -> bool {
        let into = CpuAddr::new(addr.raw()).as_ptr();
        // SAFETY: the promise of `new`: the memory is in flight, so it is valid and behind no reference.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        true
    }
}
