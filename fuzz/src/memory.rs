//! [`Memory`]: memory of any content, as a device reads it.
//!
//! A pointer made of random bytes leads nowhere nearly always. So the bytes are repeated over all addresses if the
//! input says so, and each word may be made to point into them. Reads are counted, and a walk that was promised to
//! end is one that ends before the reads do.

use std::cell::Cell;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::{Addr, BusAddr};

/// Most words of a memory.
const WORDS_MAX: usize = 128;

/// Memory at a bus address.
#[derive(Clone, Debug)]
pub struct Memory {
    addr: u64,
    bytes: Vec<u8>,
    /// The bytes are to be found again and again, at all addresses.
    repeated: bool,
    reads: Cell<u64>,
    reads_max: u64,
}

impl Memory {
    /// Reads one of up to 128 words, which ends at the latest after `reads_max` reads.
    ///
    /// # Errors
    /// When the bytes are used up.
    pub fn new(input: &mut Unstructured<'_>, addr: u64, reads_max: u64) -> Result<Self> {
        let repeated = input.arbitrary()?;
        let mut bytes = Vec::new();
        for _ in 0..input.int_in_range(1..=WORDS_MAX)? {
            let word = match input.int_in_range(0..=5)? {
                // A place in the memory itself: any word, or one that starts a page of all repetitions.
                0 => addr.wrapping_add(u64::from(input.arbitrary::<u8>()?) * 8),
                1 => addr.wrapping_add(u64::from(input.arbitrary::<u8>()?) << 12),
                // Two halves, each small: lengths, flags, indexes.
                2 => u64::from(input.arbitrary::<u8>()?) | u64::from(input.arbitrary::<u8>()?) << 32,
                3 => {
                    let (len, kind) =
                        (u64::from(input.arbitrary::<u16>()?), u64::from(input.arbitrary::<u8>()?));
                    len << 4 | kind << 60
                }
                _ => super::number(input)?,
            };
            bytes.extend(word.to_le_bytes());
        }
        Ok(Self { addr, bytes, repeated, reads: Cell::new(0), reads_max })
    }

    /// Takes bytes as they are, at `addr` only.
    #[must_use]
    pub const fn from_bytes(addr: u64, bytes: Vec<u8>) -> Self {
        Self { addr, bytes, repeated: false, reads: Cell::new(0), reads_max: u64::MAX }
    }

    /// Returns the same memory, of which nothing was read, and which may be read for ever.
    #[must_use]
    pub fn unbounded(&self) -> Self {
        Self { reads: Cell::new(0), reads_max: u64::MAX, ..self.clone() }
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns its bytes, to be changed as a device does.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Returns how often it was read.
    #[must_use]
    pub const fn reads(&self) -> u64 {
        self.reads.get()
    }
}

impl BusRead for Memory {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> std::result::Result<(), Unreadable> {
        self.reads.set(self.reads.get() + 1);
        let (start, count) = (addr.raw(), u64::try_from(into.len()).unwrap_or(u64::MAX));
        let held = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        let offset = start.wrapping_sub(self.addr);
        let inside = offset.checked_add(count).is_some_and(|end| end <= held);
        let wraps = start.checked_add(count).is_none();
        if self.reads.get() > self.reads_max || wraps || !(inside || self.repeated) {
            return Err(Unreadable { addr });
        }
        let at = usize::try_from(offset % held).unwrap_or(0);
        into.iter_mut().zip(self.bytes.iter().cycle().skip(at)).for_each(|(to, byte)| *to = *byte);
        Ok(())
    }
}
