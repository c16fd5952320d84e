//! [`SharedList`]: one list for all slices of a buffer of contiguous bus memory.
//!
//! Beside [`encode`](super::encode()): where a buffer lives long and is used by many commands, its list is
//! written once, and a command costs no store to memory at all.

use super::{ENTRY_LEN, EncodeError, MemoryPage, OFFSET_ALIGN, Prps};
use crate::desc::DescriptorMemory;
use crate::{Addr as _, BusAddr};

/// One list page that serves every transfer from or to a buffer of contiguous bus memory: made once, shared by all
/// commands, which then write no entry at all.
///
/// Slot `i` holds page `i + 1` of the buffer, so a slice that starts in page `k` points its second entry to slot `k`.
/// One list page is all: a link in its last slot would be data to a slice that ends there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedList {
    page: MemoryPage,
    buffer: BusAddr,
    bytes: u64,
    list: BusAddr,
}

impl SharedList {
    /// Writes the list of a buffer of `bytes` that starts a page.
    ///
    /// # Errors
    /// [`EncodeError`] when the buffer does not start a page or wraps, or the memory cannot hold its pages but
    /// the first.
    pub fn new<M: DescriptorMemory>(
        page: MemoryPage,
        buffer: BusAddr,
        bytes: u64,
        memory: &mut M,
    ) -> Result<Self, EncodeError> {
        let (addr, page_len) = (memory.bus_addr(), page.len());
        if buffer.raw() & page.mask() != 0 {
            return Err(EncodeError::Gap { at: 0, end: buffer, start: buffer, page_len });
        }
        if addr.raw() & ENTRY_LEN.wrapping_sub(1) != 0 {
            return Err(EncodeError::ListMisaligned { list: 0, addr, need: ENTRY_LEN });
        }
        if buffer.checked_add(bytes).is_none() {
            return Err(EncodeError::PastEnd { offset: buffer.raw(), len: bytes, bytes: u64::MAX });
        }
        let entries = page.entries(buffer.raw(), bytes).saturating_sub(1);
        let slots = page.slots_from(addr.raw()).min(u64::try_from(memory.len_words()).unwrap_or(u64::MAX));
        let full = EncodeError::NoRoom { entries, list: 0, lists: 1, slots };
        if entries > slots {
            return Err(full);
        }
        // Checked above: no page of the buffer wraps.
        let words = (1..=entries).map(|index| buffer.raw().wrapping_add(index.wrapping_mul(page_len)));
        let stored = memory.fill(0, words);
        if u64::try_from(stored) != Ok(entries) {
            return Err(full);
        }
        Ok(Self { page, buffer, bytes, list: addr })
    }

    /// Returns the entries for `len` bytes from byte `offset` of the buffer on. Writes nothing.
    ///
    /// # Errors
    /// [`EncodeError::PastEnd`], and [`EncodeError::Misaligned`] for an offset that is no multiple of 4.
    pub fn slice(&self, offset: u64, len: u64) -> Result<Prps, EncodeError> {
        let Self { page, buffer, bytes, list } = *self;
        if offset.checked_add(len).is_none_or(|end| end > bytes) {
            return Err(EncodeError::PastEnd { offset, len, bytes });
        }
        // Within the buffer, which does not wrap; and slots lie within a page.
        let start = buffer.raw().wrapping_add(offset);
        if start & OFFSET_ALIGN.wrapping_sub(1) != 0 {
            return Err(EncodeError::Misaligned { addr: BusAddr::new(start) });
        }
        let first = offset & !page.mask();
        let prp2 = match page.entries(start, len) {
            0 | 1 => 0,
            2 => buffer.raw().wrapping_add(first).wrapping_add(page.len()),
            _ => list.raw().wrapping_add(first.wrapping_shr(page.shift).wrapping_mul(ENTRY_LEN)),
        };
        Ok(Prps::new(start, prp2))
    }
}
