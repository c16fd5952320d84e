//! [`Coherent`]: memory that CPU and device see alike, for rings and descriptors.
//!
//! The device may read or write it at any time, so the CPU touches it by volatile loads and stores of whole words
//! only, never through a reference.
#![expect(
    unsafe_code,
    reason = "volatile access to memory that a device shares; see the invariants of Coherent"
)]

use core::fmt;
use core::panic::Location;

use super::backend::Backend;
use super::error::MapError;
use super::flight::InFlight;
use super::flight::sealed::Parts;
use super::memory::{CoherentLayout, Leak, RawCoherent};
use crate::desc::DescriptorMemory;
use crate::desc::virtqueue::RingMemory;
use crate::{BusAddr, LimitId, Segment};

mod sealed {
    pub trait Sealed {}
}

/// A word that one load or store moves: `u8`, `u16`, `u32`, `u64`. Sealed.
pub trait Word: sealed::Sealed + Copy {
    /// Turns the word from or to little-endian.
    #[must_use]
    fn little_endian(self) -> Self;
}

macro_rules! word {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            #[inline]
            fn little_endian(self) -> Self {
                self.to_le()
            }
        }
    )*};
}

word!(u8, u16, u32, u64);

/// Coherent memory. Zeroed when it is made.
///
/// # Invariants
/// 1. `raw` and `bus` came from one `raw_alloc_coherent` of `device` and are given back once, when this is dropped; the
///    memory is aligned to 8 bytes at least.
/// 2. Whoever tells hardware of `bus` keeps this until the hardware has let go, or makes it an [`InFlight`].
pub struct Coherent<D: Backend> {
    device: D,
    raw: RawCoherent<D::Addr>,
    bus: [Segment<BusAddr>; 1],
}

// SAFETY: the memory is owned and plain; loads take a shared reference and stores an exclusive one, so threads do not
// race with each other.
unsafe impl<D: Backend + Send> Send for Coherent<D> {}

// SAFETY: as above: a shared reference only loads.
unsafe impl<D: Backend + Sync> Sync for Coherent<D> {}

impl<D: Backend> Coherent<D> {
    /// Allocates. Alignments below 8 bytes, and below what the device needs of addresses, are raised to that.
    pub(crate) fn new(
        device: D,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<Self, MapError> {
        let CoherentLayout { len, align, .. } = layout;
        if len == 0 || !align.is_power_of_two() {
            return Err(MapError::Layout { len, align });
        }
        let needed = device.reach().bus().hard_value(LimitId::AddrAlign);
        let layout = CoherentLayout { align: align.max(8).max(needed), ..layout };
        let (raw, bus) = device.raw_alloc_coherent(layout, place)?;
        match Segment::new(bus, len) {
            Ok(segment) => Ok(Self { device, raw, bus: [segment] }),
            Err(_) => {
                // SAFETY: allocated just now, and told to nobody.
                unsafe { device.raw_free_coherent(raw, bus) };
                Err(MapError::TooLong { bytes: len })
            }
        }
    }

    /// Returns the bytes of the memory, as asked for; a back end may have allocated more.
    pub const fn len_bytes(&self) -> u64 {
        let [segment] = &self.bus;
        segment.len()
    }

    /// Returns where the device sees it. An address alone reaches nothing; see invariant 2.
    pub const fn bus_addr(&self) -> BusAddr {
        let [segment] = &self.bus;
        segment.addr()
    }

    /// Returns the place of a word, which must be aligned to its own size.
    fn place<T: Word>(&self, at: u64) -> Result<*mut T, MapError> {
        let size = u64::try_from(size_of::<T>()).unwrap_or(u64::MAX);
        let end = at.saturating_add(size);
        if end > self.len_bytes() || at & size.wrapping_sub(1) != 0 {
            return Err(MapError::OutOfRange { start: at, end, bytes: self.len_bytes() });
        }
        let offset = usize::try_from(at).unwrap_or(usize::MAX);
        Ok(self.raw.cpu.as_ptr().wrapping_add(offset).cast())
    }

    /// Loads the little-endian word at byte `at`.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`] past the end, or where `at` is not a multiple of the word's size.
    #[inline]
    pub fn load<T: Word>(&self, at: u64) -> Result<T, MapError> {
        let place = self.place::<T>(at)?;
        // SAFETY: (1) within the memory, and aligned: checked by `place`.
        Ok(unsafe { place.read_volatile() }.little_endian())
    }

    /// Stores a word, little-endian, at byte `at`.
    ///
    /// # Errors
    /// As [`Coherent::load`].
    #[inline]
    pub fn store<T: Word>(&mut self, at: u64, word: T) -> Result<(), MapError> {
        // SAFETY: no other thread has a reference.
        unsafe { self.store_shared(at, word) }
    }

    /// Stores words one after the other, from byte `at` on.
    ///
    /// # Errors
    /// As [`Coherent::load`]; nothing is stored then.
    #[inline]
    pub fn store_all<T: Word, const N: usize>(&mut self, at: u64, words: [T; N]) -> Result<(), MapError> {
        let size = u64::try_from(size_of::<[T; N]>()).unwrap_or(u64::MAX);
        let end = at.saturating_add(size);
        if end > self.len_bytes() {
            return Err(MapError::OutOfRange { start: at, end, bytes: self.len_bytes() });
        }
        let first = self.place::<T>(at)?;
        for (index, word) in words.into_iter().enumerate() {
            let place = first.wrapping_add(index);
            // SAFETY: (1) within the memory: all of it was checked above, and aligned like the first; no other thread has a
            // reference.
            unsafe { place.write_volatile(word.little_endian()) };
        }
        Ok(())
    }

    /// As [`Coherent::store`], for the owner of a part.
    ///
    /// # Safety
    /// No other thread loads or stores the word meanwhile.
    #[inline]
    pub(super) unsafe fn store_shared<T: Word>(&self, at: u64, word: T) -> Result<(), MapError> {
        let place = self.place::<T>(at)?;
        // SAFETY: (1) within the memory, and aligned: checked by `place`; the caller keeps other threads away.
        unsafe { place.write_volatile(word.little_endian()) };
        Ok(())
    }

    /// Gives the memory to a device. It can still be loaded from and stored to.
    pub const fn into_flight(self) -> InFlight<Self> {
        InFlight::new(self)
    }
}

impl<D: Backend> InFlight<Coherent<D>> {
    /// Returns where the device sees it.
    pub fn bus_addr(&self) -> BusAddr {
        self.held().bus_addr()
    }

    /// As [`Coherent::load`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn load<T: Word>(&self, at: u64) -> Result<T, MapError> {
        self.held().load(at)
    }

    /// As [`Coherent::store`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn store<T: Word>(&mut self, at: u64, word: T) -> Result<(), MapError> {
        self.held_mut().store(at, word)
    }

    /// As [`Coherent::store_all`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn store_all<T: Word, const N: usize>(&mut self, at: u64, words: [T; N]) -> Result<(), MapError> {
        self.held_mut().store_all(at, words)
    }
}

impl<D: Backend> Parts for Coherent<D> {
    type Bus = [Segment<BusAddr>];

    fn held_bus(&self) -> &Self::Bus {
        &self.bus
    }

    fn say_leaked(&self) {
        let first = Some(self.bus_addr());
        self.device.leaked(Leak { what: "coherent memory", bytes: self.len_bytes(), first });
    }
}

impl<D: Backend> DescriptorMemory for Coherent<D> {
    fn bus_addr(&self) -> BusAddr {
        Coherent::bus_addr(self)
    }

    fn len_words(&self) -> usize {
        usize::try_from(self.len_bytes() / 8).unwrap_or(usize::MAX)
    }

    #[inline]
    fn put(&mut self, index: usize, word: u64) -> bool {
        let at = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(8);
        self.store(at, word).is_ok()
    }
}

impl<D: Backend> RingMemory for Coherent<D> {
    #[inline]
    fn get(&self, index: usize) -> Option<u64> {
        self.load(u64::try_from(index).ok()?.checked_mul(8)?).ok()
    }
}

impl<D: Backend> DescriptorMemory for InFlight<Coherent<D>> {
    fn bus_addr(&self) -> BusAddr {
        self.held().bus_addr()
    }

    fn len_words(&self) -> usize {
        self.held().len_words()
    }

    #[inline]
    fn put(&mut self, index: usize, word: u64) -> bool {
        self.held_mut().put(index, word)
    }
}

/// A ring that the device knows: dropping it leaks it.
impl<D: Backend> RingMemory for InFlight<Coherent<D>> {
    #[inline]
    fn get(&self, index: usize) -> Option<u64> {
        self.held().get(index)
    }
}

impl<D: Backend> Drop for Coherent<D> {
    fn drop(&mut self) {
        // SAFETY: (1) given back once; (2) no hardware has it.
        unsafe { self.device.raw_free_coherent(self.raw, self.bus_addr()) };
    }
}

impl<D: Backend> fmt::Debug for Coherent<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coherent").field("bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}
