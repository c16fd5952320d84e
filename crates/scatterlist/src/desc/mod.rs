//! Descriptors: what a device reads to find the memory of a transfer.
//!
//! One file a format, each with an **encoder** into memory that the caller provides (it allocates nothing), a **raw
//! view** with checked access, the **limits** that the format implies, so that a plan made for them always encodes,
//! and a **walker** that reads the bytes as the controller does. Shapes that look right can move the wrong bytes, so
//! encoders are tested by what the walker collects. A format without a consumer in this repository is not written.

pub mod ac97;
mod format;
pub mod prp;
pub mod sgl;
pub mod virtqueue;

pub use format::{DescriptorFormat, PrpFormat, SglFormat};

use crate::{Addr as _, BusAddr};

/// Memory that an encoder fills and a device reads: little-endian words of 8 bytes at one bus address.
///
/// Memory of a device is written by volatile stores, test memory by plain ones; an encoder knows neither.
pub trait DescriptorMemory {
    /// Returns the address of word 0 as the device sees it.
    fn bus_addr(&self) -> BusAddr;

    /// Returns how many words there are.
    fn len_words(&self) -> usize;

    /// Stores `word`, little-endian, at `index`; says `false`, storing nothing, past the end.
    fn put(&mut self, index: usize, word: u64) -> bool;

    /// Stores words from `index` on while there is room. Returns how many were stored.
    fn fill(&mut self, index: usize, words: impl Iterator<Item = u64>) -> usize
    where
        Self: Sized,
    {
        let mut stored = 0_usize;
        for word in words {
            if !self.put(index.saturating_add(stored), word) {
                break;
            }
            stored = stored.saturating_add(1);
        }
        stored
    }

    /// Stores pairs of words from `index` on while there is room for both. Returns how many pairs were stored.
    fn fill_pairs(&mut self, index: usize, pairs: impl Iterator<Item = [u64; 2]>) -> usize
    where
        Self: Sized,
    {
        let room = self.len_words().saturating_sub(index) >> 1;
        let mut stored = 0_usize;
        for [first, second] in pairs.take(room) {
            let at = index.saturating_add(stored.saturating_mul(2));
            self.put(at, first);
            self.put(at.saturating_add(1), second);
            stored = stored.saturating_add(1);
        }
        stored
    }
}

/// Plain memory as a device sees it at `bus_addr`: for tests, and for memory that is not the device's yet.
#[derive(Debug)]
pub struct PlainMemory<'a> {
    bus_addr: BusAddr,
    words: &'a mut [u64],
}

impl<'a> PlainMemory<'a> {
    /// Says where the device sees `words`.
    pub const fn new(bus_addr: BusAddr, words: &'a mut [u64]) -> Self {
        Self { bus_addr, words }
    }
}

impl DescriptorMemory for PlainMemory<'_> {
    fn bus_addr(&self) -> BusAddr {
        self.bus_addr
    }

    fn len_words(&self) -> usize {
        self.words.len()
    }

    #[inline]
    fn put(&mut self, index: usize, word: u64) -> bool {
        self.words.get_mut(index).is_some_and(|place| {
            *place = word.to_le();
            true
        })
    }

    #[inline]
    fn fill(&mut self, index: usize, words: impl Iterator<Item = u64>) -> usize {
        let places = self.words.get_mut(index..).unwrap_or_default();
        places.iter_mut().zip(words).map(|(place, word)| *place = word.to_le()).count()
    }

    #[inline]
    fn fill_pairs(&mut self, index: usize, pairs: impl Iterator<Item = [u64; 2]>) -> usize {
        let (places, _) = self.words.get_mut(index..).unwrap_or_default().as_chunks_mut();
        places.iter_mut().zip(pairs).map(|(place, pair)| *place = pair.map(u64::to_le)).count()
    }
}

/// Memory as a device reads it, by bus address: what a walker walks through.
pub trait BusRead {
    /// Fills `into` from `addr` on.
    ///
    /// # Errors
    /// [`Unreadable`] with the first address that the device cannot read.
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable>;
}

/// A bus address that the device cannot read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the device cannot read {addr}")]
pub struct Unreadable {
    /// The address.
    pub addr: BusAddr,
}

impl BusRead for PlainMemory<'_> {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        let start = addr.checked_offset_from(self.bus_addr).and_then(|at| usize::try_from(at).ok());
        let start = start.ok_or(Unreadable { addr })?;
        let words = self.words.iter().skip(start >> 3);
        let bytes = words.flat_map(|word| u64::from_le(*word).to_le_bytes()).skip(start & 7);
        let wanted = into.len();
        let read = into.iter_mut().zip(bytes).map(|(to, byte)| *to = byte).count();
        if read < wanted {
            let past = u64::try_from(read).ok().and_then(|read| addr.checked_add(read));
            return Err(Unreadable { addr: past.unwrap_or(addr) });
        }
        Ok(())
    }
}

/// Several memories that a device sees: a read is answered by the first that can.
impl<R: BusRead> BusRead for [R] {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        let mut answer = Err(Unreadable { addr });
        for memory in self {
            answer = memory.read(addr, into);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }
}

/// Reads a little-endian word as a device does.
fn read_word<R: BusRead + ?Sized>(bus: &R, addr: BusAddr) -> Result<u64, Unreadable> {
    let mut bytes = [0; 8];
    bus.read(addr, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
