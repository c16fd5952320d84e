//! [`Watch`]: who is told of what a device did, and of what somebody saw of the CPU.
//!
//! What stands in for a device ([`fake::Device`](crate::fake::Device)) tells a watch, and knows no back end; [`Checked`] is one.

use lock_api::RawMutex;

use super::backend::Checked;
use super::call::Touched;
use super::finding::{Finding, Place};
use crate::BusAddr;
use crate::map::Backend;

/// Is told of accesses. The place is that of the call that caused them.
pub trait Watch {
    /// The device is about to read or write `len` bytes. Returns what is wrong with that.
    fn device_access(&self, bus_addr: BusAddr, len: u64, writes: bool, place: Place) -> Option<Finding>;

    /// The CPU wrote memory while the device owned it: byte `offset`, counted from the address.
    fn cpu_wrote_while_device_owned(&self, at: Touched, offset: u64, place: Place);
}

impl<D: Backend, R: RawMutex> Watch for Checked<D, R> {
    fn device_access(&self, bus_addr: BusAddr, len: u64, writes: bool, place: Place) -> Option<Finding> {
        self.tell(|ledger| ledger.device_access_at(bus_addr, len, writes, place).first().copied())
    }

    fn cpu_wrote_while_device_owned(&self, at: Touched, offset: u64, place: Place) {
        self.tell(|ledger| ledger.cpu_wrote_at(at, offset, place));
    }
}
