//! [`Entry`] and [`Completion`]: the two kinds of queue entries.
//!
//! NVM Express Base Specification 2.0, sections 3.3.3.1 (submission: 16 dwords, here 8 words) and 3.3.3.2 (completion: 4
//! dwords, here 2 words).

use crate::format::DataPointer;
use crate::status::DeviceStatus;

/// Words of a submission queue entry.
pub(crate) const ENTRY_WORDS: usize = 8;

/// A submission queue entry.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Entry {
    pub(crate) opcode: u8,
    pub(crate) command: u16,
    pub(crate) namespace: u32,
    pub(crate) data: DataPointer,
    /// CDW10 and CDW11, the first in the low half.
    pub(crate) cdw10: u64,
    /// CDW12 and CDW13.
    pub(crate) cdw12: u64,
}

impl Entry {
    /// Returns the words of the entry, in order.
    #[inline]
    pub(crate) fn words(&self) -> [u64; ENTRY_WORDS] {
        // PSDT, bits 15:14 of the first dword: 01b for an SGL with no metadata segment.
        let psdt: u64 = if self.data.is_sgl { 0b01 << 14 } else { 0 };
        let ids = u64::from(self.command).wrapping_shl(16) | u64::from(self.namespace).wrapping_shl(32);
        let [low, high] = self.data.words;
        [u64::from(self.opcode) | psdt | ids, 0, 0, low, high, self.cdw10, self.cdw12, 0]
    }
}

/// Two dwords as a word.
pub(crate) const fn dwords(low: u32, high: u32) -> u64 {
    #[expect(clippy::as_conversions, reason = "32 bits widened to 64")]
    let (low, high) = (low as u64, high as u64);
    low | high.wrapping_shl(32)
}

/// The second word of a completion queue entry: everything but the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// The head of the submission queue (SQHD).
    pub(crate) head: u16,
    /// The submission queue (SQID).
    pub(crate) queue: u16,
    /// The command (CID).
    pub(crate) command: u16,
    pub(crate) status: DeviceStatus,
}

impl Completion {
    /// The phase tag is bit 16 of the last dword.
    pub(crate) const PHASE: u64 = 1 << 48;

    #[inline]
    pub(crate) const fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
        Self {
            head: u16::from_le_bytes([a, b]),
            queue: u16::from_le_bytes([c, d]),
            command: u16::from_le_bytes([e, f]),
            status: DeviceStatus::from_field(u16::from_le_bytes([g, h]).wrapping_shr(1)),
        }
    }
}
