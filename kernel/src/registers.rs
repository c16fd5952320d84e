//! [`Registers`]: the registers of one device, wherever they are; [`Clock`], the time that drivers wait by.
//!
//! Drivers know no port and no mapped page: who finds a device makes a value of one of these for its driver. In tests a
//! fake device implements it.
#![expect(unsafe_code, reason = "a trait that promises what a device is told")]

/// Registers of one device, little-endian, at byte offsets from its first.
///
/// # Safety
/// 1. An access goes to a register of that device and to nothing else. What is no register reads as ones, and a write to it
///    has no effect.
/// 2. A write is seen by the device after every store to memory that came before it; a load of memory that comes after a read sees what the
///    device had stored when it answered.
/// 3. A value is made for the driver of that device and for nobody else, since a register may make the device reach memory:
///    making one is unsafe, or the device checks each access. See [`Hardware`](scatterlist::map::Hardware), promise 3.
pub unsafe trait Registers {
    /// Reads 8 bits.
    fn read8(&self, at: u64) -> u8;

    /// Writes 8 bits.
    fn write8(&self, at: u64, value: u8);

    /// Reads 16 bits.
    fn read16(&self, at: u64) -> u16;

    /// Writes 16 bits.
    fn write16(&self, at: u64, value: u16);

    /// Reads 32 bits.
    fn read32(&self, at: u64) -> u32;

    /// Writes 32 bits.
    fn write32(&self, at: u64, value: u32);

    /// Reads 64 bits.
    fn read64(&self, at: u64) -> u64;

    /// Writes 64 bits.
    fn write64(&self, at: u64, value: u64);
}

// SAFETY: every promise is passed on.
unsafe impl<T: Registers + ?Sized> Registers for &T {
    fn read8(&self, at: u64) -> u8 {
        (**self).read8(at)
    }

    fn write8(&self, at: u64, value: u8) {
        (**self).write8(at, value);
    }

    fn read16(&self, at: u64) -> u16 {
        (**self).read16(at)
    }

    fn write16(&self, at: u64, value: u16) {
        (**self).write16(at, value);
    }

    fn read32(&self, at: u64) -> u32 {
        (**self).read32(at)
    }

    fn write32(&self, at: u64, value: u32) {
        (**self).write32(at, value);
    }

    fn read64(&self, at: u64) -> u64 {
        (**self).read64(at)
    }

    fn write64(&self, at: u64, value: u64) {
        (**self).write64(at, value);
    }
}

/// Time.
pub trait Clock {
    /// Returns the nanoseconds since some moment. Never goes back.
    fn now_ns(&self) -> u64;

    /// Lets a little time pass: what a loop does that waits for a device.
    fn pause(&self);
}

impl<T: Clock + ?Sized> Clock for &T {
    fn now_ns(&self) -> u64 {
        (**self).now_ns()
    }

    fn pause(&self) {
        (**self).pause();
    }
}

/// Waits until `done` says so. Says `false` where it did not within `ns_max` nanoseconds.
pub fn wait_until<K: Clock + ?Sized>(clock: &K, ns_max: u64, mut done: impl FnMut() -> bool) -> bool {
    let start = clock.now_ns();
    loop {
        // Read before the last look: a wait that was itself delayed does not miss what happened meanwhile.
        let late = clock.now_ns().saturating_sub(start) >= ns_max;
        if done() {
            return true;
        }
        if late {
            return false;
        }
        clock.pause();
    }
}
