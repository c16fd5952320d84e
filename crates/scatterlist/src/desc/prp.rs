//! NVMe physical region pages (PRP): a transfer as pages of the controller's memory page size.
//!
//! The first entry may start inside a page, at a multiple of 4 bytes; every other starts one; every piece but
//! the last ends at the end of a page. Two entries lie in the command; for more, the second points to a list,
//! whose pages are chained: the last slot of a page is a link if more than one entry is left for it, and data
//! if it is the last one. Specification: NVM Express Base Specification 2.0, section 4.1.1 ("Physical Region
//! Page Entry and List"). Beside it: the encoder and the count of what it needs in `encode`, the walker in
//! `walk`, lists made once in `shared`.

mod encode;
mod shared;
mod walk;

pub(super) use encode::encode_run;
pub use encode::{EncodeError, encode, lists_needed};
pub use shared::SharedList;
pub use walk::{ENTRIES_MAX, Walk, WalkError, walk};

use crate::{Addr as _, BusAddr, Force, LimitId, Limits, LimitsError, Source};

/// Bytes of an entry, NVM Express Base Specification 2.0, section 4.1.1.
const ENTRY_LEN: u64 = 8;

/// The offset of the first entry is a multiple of this, same section.
const OFFSET_ALIGN: u64 = 4;

/// Most slots of a list page: those of the largest memory page.
const SLOTS_MAX: u64 = MemoryPage::LEN_MAX / ENTRY_LEN;

/// The memory page size of a controller (CC.MPS).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryPage {
    shift: u32,
}

/// A memory page size that no controller can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a memory page of {len} bytes: it must be a power of two from {} to {}",
    MemoryPage::LEN_MIN,
    MemoryPage::LEN_MAX
)]
pub struct MemoryPageError {
    /// The size in bytes.
    pub len: u64,
}

impl MemoryPage {
    /// The smallest: NVM Express Base Specification 2.0, section 3.1.3.5, CC.MPS (2 ^ (12 + MPS) bytes).
    pub const LEN_MIN: u64 = 1 << 12;

    /// The largest: CC.MPS has 4 bits.
    pub const LEN_MAX: u64 = 1 << 27;

    /// Takes a size in bytes.
    ///
    /// # Errors
    /// [`MemoryPageError`] unless it is a power of two from [`Self::LEN_MIN`] to [`Self::LEN_MAX`].
    pub const fn new(len: u64) -> Result<Self, MemoryPageError> {
        if !len.is_power_of_two() || len < Self::LEN_MIN || len > Self::LEN_MAX {
            return Err(MemoryPageError { len });
        }
        Ok(Self { shift: len.trailing_zeros() })
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        1_u64.wrapping_shl(self.shift)
    }

    /// Returns `false`: a page has bytes.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Returns how many entries a list page holds.
    #[must_use]
    pub const fn slots(self) -> u64 {
        self.len().wrapping_shr(ENTRY_LEN.trailing_zeros())
    }

    const fn mask(self) -> u64 {
        self.len().wrapping_sub(1)
    }

    /// Returns the slots from `addr` to the end of its page.
    const fn slots_from(self, addr: u64) -> u64 {
        let bytes = self.len().wrapping_sub(addr & self.mask());
        bytes.wrapping_shr(ENTRY_LEN.trailing_zeros())
    }

    /// Returns how many pages `len` bytes at `addr` touch, where they are one run.
    #[inline]
    const fn entries(self, addr: u64, len: u64) -> u64 {
        let offset = addr & self.mask();
        match offset.checked_add(len) {
            // Rounded up; the sum of the two parts cannot pass 64 bits.
            Some(span) => {
                span.wrapping_shr(self.shift).wrapping_add(if span & self.mask() == 0 { 0 } else { 1 })
            }
            None => u64::MAX,
        }
    }

    /// Returns how many entries a chain of `lists` list pages holds, of which the first has `first_slots` slots and
    /// the others are whole pages. Each but the last gives one slot to a link.
    #[must_use]
    pub const fn list_entries(self, first_slots: u64, lists: u64) -> u64 {
        match lists.checked_sub(1) {
            None => 0,
            Some(further) => {
                let each = self.slots().wrapping_sub(1);
                first_slots.saturating_add(further.saturating_mul(each))
            }
        }
    }
}

/// Returns the limits that the format implies for commands whose list memory holds `list_entries` entries
/// ([`MemoryPage::list_entries`]): a plan made for them, or for stricter ones, always encodes.
///
/// # Errors
/// None of these can contradict each other; the error is that of the builder.
pub fn limits(page: MemoryPage, list_entries: u64) -> Result<Limits, LimitsError> {
    let format = |id, value| (id, value, Source::DescriptorFormat, Force::Hard);
    [
        format(LimitId::AddrAlign, OFFSET_ALIGN),
        format(LimitId::GapBoundary, page.len()),
        format(LimitId::PageLen, page.len()),
        // Two entries lie in the command; a list takes the place of the second.
        format(LimitId::SegmentsMax, list_entries.saturating_add(1).max(2)),
    ]
    .into_iter()
    .fold(Limits::builder(), |limits, (id, value, source, force)| limits.set(id, value, source, force))
    .build()
}

/// The two entries of a command: the data pointer (DPTR) of commands that use PRPs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Prps {
    prp1: u64,
    prp2: u64,
}

impl Prps {
    /// Takes the two entries as they are: bytes 24 to 31 and 32 to 39 of a command.
    #[must_use]
    pub const fn new(prp1: u64, prp2: u64) -> Self {
        Self { prp1, prp2 }
    }

    /// Reads them from the bytes of the data pointer.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        #[expect(clippy::as_conversions, reason = "each half of 128 bits")]
        Self { prp1: both as u64, prp2: both.wrapping_shr(64) as u64 }
    }

    /// Returns the bytes of the data pointer.
    #[must_use]
    pub const fn to_le_bytes(self) -> [u8; 16] {
        #[expect(clippy::as_conversions, reason = "64 bits widened to 128")]
        let both = self.prp1 as u128 | (self.prp2 as u128).wrapping_shl(64);
        both.to_le_bytes()
    }

    /// Returns the first entry: where the transfer starts.
    #[must_use]
    pub fn prp1(self) -> BusAddr {
        BusAddr::new(self.prp1)
    }

    /// Returns the second entry: 0, a page of data or a list, which the length of the transfer tells.
    #[must_use]
    pub fn prp2(self) -> BusAddr {
        BusAddr::new(self.prp2)
    }

    /// Returns what the controller takes the second entry for in a transfer of `len_bytes`.
    #[must_use]
    pub fn second(self, page: MemoryPage, len_bytes: u64) -> Second {
        match page.entries(self.prp1, len_bytes) {
            0 | 1 => Second::Unused,
            2 => Second::Page(self.prp2()),
            entries => Second::List { addr: self.prp2(), entries: entries.wrapping_sub(1) },
        }
    }
}

/// What the second entry of a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Second {
    /// Not used: the first page holds all bytes.
    Unused,
    /// The second page of data.
    Page(BusAddr),
    /// A list.
    List {
        /// Where it starts.
        addr: BusAddr,
        /// How many pages of data it lists.
        entries: u64,
    },
}

/// The raw view of one list page, from an address in it to its end.
#[derive(Clone, Copy, Debug)]
pub struct ListPage<'a> {
    bytes: &'a [u8],
    slots: u64,
}

/// One slot of a list page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// A page of data.
    Data(BusAddr),
    /// The next list page.
    Link(BusAddr),
}

impl<'a> ListPage<'a> {
    /// Views `bytes`, which the device sees at `addr`. What lies past the end of the page is not part of it.
    ///
    /// # Errors
    /// [`WalkError::ListMisaligned`] when a list cannot start at `addr`.
    pub fn new(page: MemoryPage, addr: BusAddr, bytes: &'a [u8]) -> Result<Self, WalkError> {
        if addr.raw() & ENTRY_LEN.wrapping_sub(1) != 0 {
            return Err(WalkError::ListMisaligned { addr, need: ENTRY_LEN });
        }
        Ok(Self { bytes, slots: page.slots_from(addr.raw()) })
    }

    /// Returns how many slots there are, up to the end of the page or of the bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        let held = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.slots.min(held.wrapping_shr(ENTRY_LEN.trailing_zeros()))
    }

    /// Says whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the slot `index` of a list that has `entries` entries from this page's first slot on; `None` past
    /// the last of them, and past the bytes.
    #[must_use]
    pub fn get(&self, index: u64, entries: u64) -> Option<Slot> {
        let left = entries.checked_sub(index).filter(|left| *left > 0)?;
        if index >= self.len() {
            return None;
        }
        let (words, _) = self.bytes.as_chunks();
        let addr = BusAddr::new(u64::from_le_bytes(*words.get(usize::try_from(index).ok()?)?));
        let at_end = index.saturating_add(1) == self.slots;
        Some(if at_end && left > 1 { Slot::Link(addr) } else { Slot::Data(addr) })
    }
}
