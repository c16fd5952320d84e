//! [`Watched`]: the registers of a virtio device, with an eye on what the device is told.
//!
//! A checker cannot see a real device work. But what it will do follows from what it was told: at each notification this walks
//! the rings as the device does, and tells the checker of every access that the descriptors ask for, before the device hears
//! of them. Offsets are those of Virtual I/O Device (VIRTIO) Version 1.2, section 4.2.2, table 4.1.
#![expect(unsafe_code, reason = "passes registers on")]

use alloc::string::{String, ToString as _};
use core::cell::{Cell, RefCell};

use scatterlist::desc::virtqueue::{DeviceRings, QueueSize, Side};
use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::map::checked::Checked;
use scatterlist::{Addr as _, BusAddr};

use crate::driver::{halves, word};
use crate::memory::KernelMemory;
use crate::registers::Registers;
use crate::scenario::stack::Plain;
use crate::scenario::told::read_as_device;

const QUEUE_SIZE: u64 = 0x038;
const QUEUE_NOTIFY: u64 = 0x050;
const QUEUE_TABLE: u64 = 0x080;
const QUEUE_TABLE_HIGH: u64 = 0x084;
const QUEUE_AVAILABLE: u64 = 0x090;
const QUEUE_AVAILABLE_HIGH: u64 = 0x094;

/// The registers.
pub(super) struct Watched<R> {
    registers: R,
    memory: &'static KernelMemory,
    device: &'static Checked<Plain>,
    size: Cell<u32>,
    table: Cell<u64>,
    available: Cell<u64>,
    /// The available index up to which requests were seen.
    seen: Cell<u16>,
    requests: Cell<u64>,
    /// The first walk that went wrong.
    wrong: RefCell<Option<String>>,
}

impl<R> Watched<R> {
    pub(super) const fn new(
        registers: R,
        memory: &'static KernelMemory,
        device: &'static Checked<Plain>,
    ) -> Self {
        Self {
            registers,
            memory,
            device,
            size: Cell::new(0),
            table: Cell::new(0),
            available: Cell::new(0),
            seen: Cell::new(0),
            requests: Cell::new(0),
            wrong: RefCell::new(None),
        }
    }

    /// Returns how many requests the device was told of, or what of them could not be followed.
    pub(super) fn requests(&self) -> Result<u64, String> {
        self.wrong.borrow_mut().take().map_or_else(|| Ok(self.requests.get()), Err)
    }

    /// Follows what was published since the last time.
    fn follow(&self) -> Result<(), String> {
        let size = u16::try_from(self.size.get()).map_err(|error| error.to_string())?;
        let rings = DeviceRings {
            size: QueueSize::new(size).map_err(|error| error.to_string())?,
            table: BusAddr::new(self.table.get()),
            available: BusAddr::new(self.available.get()),
        };
        let waiting = rings.waiting(self, self.seen.get()).map_err(|error| error.to_string())?;
        for _ in 0..waiting {
            let index = self.seen.get();
            let head = rings.head(self, index).map_err(|error| error.to_string())?;
            for run in rings.walk(self, head) {
                let run = run.map_err(|error| error.to_string())?;
                let (addr, writes) = (run.segment.addr(), run.side == Side::Writable);
                // What is wrong with it stays in the record.
                let _found = self.device.device_access(addr, run.segment.len(), writes);
            }
            self.seen.set(index.wrapping_add(1));
            self.requests.set(self.requests.get().saturating_add(1));
        }
        Ok(())
    }

    fn note(&self, at: u64, value: u32) {
        let low = |place: &Cell<u64>| place.set(word(value, halves(place.get())[1]));
        let high = |place: &Cell<u64>| place.set(word(halves(place.get())[0], value));
        match at {
            QUEUE_SIZE => self.size.set(value),
            QUEUE_TABLE => low(&self.table),
            QUEUE_TABLE_HIGH => high(&self.table),
            QUEUE_AVAILABLE => low(&self.available),
            QUEUE_AVAILABLE_HIGH => high(&self.available),
            QUEUE_NOTIFY => {
                if let Err(error) = self.follow() {
                    self.wrong.borrow_mut().get_or_insert(error);
                }
            }
            _ => {}
        }
    }
}

/// Reads of rings and tables are accesses of the device too.
impl<R> BusRead for Watched<R> {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        read_as_device(self.memory, addr, into)?;
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        let _found = self.device.device_access(addr, len, false);
        Ok(())
    }
}

// SAFETY: every promise is passed on; only what a driver writes is looked at.
unsafe impl<R: Registers> Registers for Watched<R> {
    fn read8(&self, at: u64) -> u8 {
        self.registers.read8(at)
    }

    fn write8(&self, at: u64, value: u8) {
        self.registers.write8(at, value);
    }

    fn read16(&self, at: u64) -> u16 {
        self.registers.read16(at)
    }

    fn write16(&self, at: u64, value: u16) {
        self.registers.write16(at, value);
    }

    fn read32(&self, at: u64) -> u32 {
        self.registers.read32(at)
    }

    fn write32(&self, at: u64, value: u32) {
        self.note(at, value);
        self.registers.write32(at, value);
    }

    fn read64(&self, at: u64) -> u64 {
        self.registers.read64(at)
    }

    fn write64(&self, at: u64, value: u64) {
        self.registers.write64(at, value);
    }
}
