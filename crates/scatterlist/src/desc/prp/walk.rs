//! [`walk`]: reads entries and lists as the controller does.
//!
//! A controller knows the length of the transfer and nothing of how the lists were made. Each step reads at
//! most one link and one entry, so a walk takes no more than one step a page of the transfer, whatever the
//! memory holds.

use super::{ENTRY_LEN, MemoryPage, OFFSET_ALIGN, Prps, Second};
use crate::desc::{BusRead, Unreadable, read_word};
use crate::{Addr as _, BusAddr, Segment};

/// The most entries of a transfer that is walked: 4 GiB in the smallest pages.
pub const ENTRIES_MAX: u64 = 1 << 20;

/// What a controller would not accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The first entry starts at a byte that none may.
    #[error("the first entry, {addr}, is not a multiple of {OFFSET_ALIGN}")]
    FirstMisaligned {
        /// Its address.
        addr: BusAddr,
    },
    /// A later entry does not start a page.
    #[error("entry {index}, {addr}, does not start a page of {page_len} bytes")]
    EntryMisaligned {
        /// Which entry, from 0.
        index: u64,
        /// Its address.
        addr: BusAddr,
        /// The memory page size in bytes.
        page_len: u64,
    },
    /// A list starts where none may.
    #[error("the list at {addr} does not start at a multiple of {need}")]
    ListMisaligned {
        /// Its address.
        addr: BusAddr,
        /// Bytes: an entry for the first list page, a page for a linked one.
        need: u64,
    },
    /// An entry reaches past the last address.
    #[error("entry {index}, {addr}, of {len} bytes reaches past the last address")]
    Wraps {
        /// Which entry, from 0.
        index: u64,
        /// Its address.
        addr: BusAddr,
        /// Its bytes.
        len: u64,
    },
    /// The transfer is too long to be walked.
    #[error("a transfer of {bytes} bytes has {entries} entries, at most {ENTRIES_MAX} are walked")]
    TooMany {
        /// Its bytes.
        bytes: u64,
        /// Its entries.
        entries: u64,
    },
    /// A list lies where the device cannot read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Walks the entries of a transfer of `len_bytes`, in order: one run of bus memory an entry. After an error it ends.
pub fn walk<R: BusRead + ?Sized>(bus: &R, page: MemoryPage, prps: Prps, len_bytes: u64) -> Walk<'_, R> {
    let second = prps.second(page, len_bytes);
    Walk { bus, page, prp1: prps.prp1(), second, index: 0, list: BusAddr::new(0), left: len_bytes }
}

/// The runs of memory that a controller transfers. See [`walk`].
#[derive(Debug)]
pub struct Walk<'a, R: ?Sized> {
    bus: &'a R,
    page: MemoryPage,
    prp1: BusAddr,
    second: Second,
    /// Which entry is next.
    index: u64,
    /// The slot to read next.
    list: BusAddr,
    left: u64,
}

impl<R: BusRead + ?Sized> Walk<'_, R> {
    fn step(&mut self) -> Result<Segment<BusAddr>, WalkError> {
        if let Second::List { entries, .. } = self.second
            && entries >= ENTRIES_MAX
        {
            return Err(WalkError::TooMany { bytes: self.left, entries: entries.saturating_add(1) });
        }
        let addr = self.entry()?;
        let offset = addr.raw() & self.page.mask();
        let index = self.index;
        if index == 0 {
            if offset & OFFSET_ALIGN.wrapping_sub(1) != 0 {
                return Err(WalkError::FirstMisaligned { addr });
            }
        } else if offset != 0 {
            return Err(WalkError::EntryMisaligned { index, addr, page_len: self.page.len() });
        }
        let len = self.page.len().saturating_sub(offset).min(self.left);
        let segment = Segment::new(addr, len).map_err(|_| WalkError::Wraps { index, addr, len })?;
        self.index = index.saturating_add(1);
        self.left = self.left.saturating_sub(len);
        Ok(segment)
    }

    /// Returns the next entry, which is there: bytes are left.
    fn entry(&mut self) -> Result<BusAddr, WalkError> {
        match (self.index, self.second) {
            (0, _) => return Ok(self.prp1),
            (_, Second::Unused) => return Ok(self.prp1),
            (_, Second::Page(addr)) => return Ok(addr),
            (1, Second::List { addr, .. }) => {
                if addr.raw() & ENTRY_LEN.wrapping_sub(1) != 0 {
                    return Err(WalkError::ListMisaligned { addr, need: ENTRY_LEN });
                }
                self.list = addr;
            }
            (_, Second::List { .. }) => {}
        }
        if self.page.slots_from(self.list.raw()) == 1 && self.left > self.page.len() {
            let next = BusAddr::new(read_word(self.bus, self.list)?);
            if next.raw() & self.page.mask() != 0 {
                return Err(WalkError::ListMisaligned { addr: next, need: self.page.len() });
            }
            self.list = next;
        }
        let entry = read_word(self.bus, self.list)?;
        // Wraps behind the last slot of all, where the entry was the last one too.
        self.list = BusAddr::new(self.list.raw().wrapping_add(ENTRY_LEN));
        Ok(BusAddr::new(entry))
    }
}

impl<R: BusRead + ?Sized> Iterator for Walk<'_, R> {
    type Item = Result<Segment<BusAddr>, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.left = 0;
        }
        Some(step)
    }
}

impl<R: BusRead + ?Sized> core::iter::FusedIterator for Walk<'_, R> {}
