//! Numbers and records of the format: [`QueueSize`], [`Descriptor`], where each field lies.

use super::QueueError;
use crate::BusAddr;

/// Bytes of a descriptor (section 2.7.5, `struct virtq_desc`).
pub(super) const DESCRIPTOR_BYTES: u64 = 16;
/// Words of a descriptor.
pub(super) const DESCRIPTOR_WORDS: usize = 2;
/// Most bytes of one chain (section 2.7.5.2).
pub(super) const CHAIN_BYTES_MAX: u64 = 1 << 32;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (section 2.7.6).
pub(super) const AVAILABLE_NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY` (section 2.7.8).
pub(super) const USED_NO_NOTIFY: u16 = 1;

/// How many descriptors the table has, and entries each ring: a power of two up to 32768 (section 2.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QueueSize(u16);

impl QueueSize {
    /// The largest queue (section 2.7).
    pub const MAX: u16 = 32768;

    /// Takes the number that driver and device agreed on.
    ///
    /// # Errors
    /// [`QueueError::Size`] unless it is a power of two up to [`QueueSize::MAX`].
    pub const fn new(size: u16) -> Result<Self, QueueError> {
        // A power of two in 16 bits is at most 32768.
        if size.is_power_of_two() { Ok(Self(size)) } else { Err(QueueError::Size { size, max: Self::MAX }) }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the words of 8 bytes that the descriptor table takes; it is aligned to 16 bytes.
    #[must_use]
    pub fn table_words(self) -> usize {
        usize::from(self.0).saturating_mul(DESCRIPTOR_WORDS)
    }

    /// Returns the words of 8 bytes that the available ring takes: flags, index, the entries and the event field.
    #[must_use]
    pub fn available_words(self) -> usize {
        // Four fields of 16 bits to a word.
        usize::from(self.0).saturating_add(3).div_ceil(4)
    }

    /// Returns the words of 8 bytes that the used ring takes: flags, index, the elements and the event field.
    #[must_use]
    pub fn used_words(self) -> usize {
        usize::from(self.0).saturating_add(1)
    }

    /// Returns the place in a ring of a running index.
    pub(super) const fn wrap(self, index: u16) -> u16 {
        index & self.0.wrapping_sub(1)
    }
}

/// Which way the bytes of a descriptor go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The device reads them.
    Readable,
    /// The device writes them.
    Writable,
}

/// One entry of the descriptor table or of an indirect table (section 2.7.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Descriptor {
    /// Where the memory, or the indirect table, is.
    pub addr: BusAddr,
    /// Its length in bytes.
    pub len: u32,
    /// [`Descriptor::NEXT`], [`Descriptor::WRITE`], [`Descriptor::INDIRECT`]; other bits have no meaning.
    pub flags: u16,
    /// The entry that goes on, where [`Descriptor::NEXT`] is set.
    pub next: u16,
}

impl Descriptor {
    /// `VIRTQ_DESC_F_NEXT`: the chain goes on at `next`.
    pub const NEXT: u16 = 1;
    /// `VIRTQ_DESC_F_WRITE`: the device writes, else it reads.
    pub const WRITE: u16 = 2;
    /// `VIRTQ_DESC_F_INDIRECT`: the memory holds a table of descriptors.
    pub const INDIRECT: u16 = 4;

    /// Says whether all bits of `flag` are set.
    #[must_use]
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag == flag
    }

    /// Returns the entry that goes on, or `None` at the end of a chain.
    #[must_use]
    pub const fn next(&self) -> Option<u16> {
        if self.has(Self::NEXT) { Some(self.next) } else { None }
    }

    /// Returns which way the bytes go.
    #[must_use]
    pub const fn side(&self) -> Side {
        if self.has(Self::WRITE) { Side::Writable } else { Side::Readable }
    }

    /// Returns the same entry, going on at `next`.
    #[must_use]
    pub(super) const fn linked(mut self, next: u16) -> Self {
        self.flags |= Self::NEXT;
        self.next = next;
        self
    }

    /// Returns the entry as two little-endian words.
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        let [l0, l1, l2, l3] = self.len.to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        let [n0, n1] = self.next.to_le_bytes();
        [crate::Addr::raw(self.addr), u64::from_le_bytes([l0, l1, l2, l3, f0, f1, n0, n1])]
    }

    /// Reads the entry from two little-endian words. Every pattern of bits is an entry.
    #[must_use]
    pub fn from_words([addr, rest]: [u64; 2]) -> Self {
        let [l0, l1, l2, l3, f0, f1, n0, n1] = rest.to_le_bytes();
        Self {
            addr: crate::Addr::new(addr),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }

    /// Reads the entry from its 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        // Sixteen bytes are two groups of eight.
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
        Self::from_words([word(0), word(1)])
    }
}

/// Returns one of the four 16-bit fields of a word.
pub(super) fn field(word: u64, index: usize) -> u16 {
    let bytes = word.to_le_bytes();
    let (fields, _) = bytes.as_chunks::<2>();
    fields.get(index).map_or(0, |field| u16::from_le_bytes(*field))
}

/// Returns the two 32-bit halves of a word, the low one first.
pub(super) const fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
