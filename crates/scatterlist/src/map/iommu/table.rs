//! [`FourLevelTable`]: a page table of four levels in ordinary memory, 48 bits of bus address.
//!
//! 512 entries of 8 bytes a level; pages of 4 KiB, 2 MiB and 1 GiB, or fewer sizes if so made. It is the shape of the tables that x86 and ARM
//! hardware walks, without a hardware: entries hold the number of a table page, not its address. It is there for tests, for examples, and for
//! devices whose translation is software.
//!
//! Table pages that have become empty stay where they are, so that ranges that come and go cost no allocation. At each
//! flush, after the invalidation, the oldest ones beyond [`EMPTY_TABLES_MAX`] are freed: so no more than that are left, and the
//! tables above them. A larger page may take the place of empty ones at once. The number of table pages is bounded by
//! what the table was made with.
#![expect(unsafe_code, reason = "promises what a device reaches")]

mod store;

use core::marker::PhantomData;

use self::store::{EMPTY, Store, Walk, fan_index, level_bytes};
use super::page_table::{LeafCursor, PageMapError, PageTable, PageUnmapError, Translation, Unmapped};
use super::{align_down, is_aligned};
use crate::map::DmaDirection;
use crate::{Addr, BusAddr, PhysAddr};

pub use self::store::{EMPTY_TABLES_MAX, TABLE_BYTES};

/// The page sizes that a table of this shape can have: 4 KiB, 2 MiB, 1 GiB.
pub const PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

/// The last bus address: 48 bits.
const IOVA_LAST: u64 = (1 << 48) - 1;

/// The bits of an entry that are no address. The low bits of a page are free for them.
const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;

/// Why there is no table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// No page size, or one that a table of this shape has not.
    #[error("page sizes {page_sizes:#x} are none of {possible:#x}")]
    PageSizes {
        /// The bit mask that was asked for.
        page_sizes: u64,
        /// The bit mask that is possible.
        possible: u64,
    },
}

/// A table of four levels that maps to addresses of kind `A`.
#[derive(Debug)]
pub struct FourLevelTable<A: Addr = PhysAddr> {
    store: Store,
    page_sizes: u64,
    page_min: u64,
    flushes: u64,
    target: PhantomData<A>,
}

impl<A: Addr> FourLevelTable<A> {
    /// Makes an empty table with all its page sizes, of up to `tables_max` table pages of 4 KiB.
    #[must_use]
    pub fn new(tables_max: u32) -> Self {
        Self::made(PAGE_SIZES, tables_max)
    }

    /// Makes an empty table with some of its page sizes, a bit mask.
    ///
    /// # Errors
    /// [`TableError::PageSizes`] unless the mask is a part of [`PAGE_SIZES`], and not 0.
    pub fn with_page_sizes(page_sizes: u64, tables_max: u32) -> Result<Self, TableError> {
        if page_sizes == 0 || page_sizes & !PAGE_SIZES != 0 {
            return Err(TableError::PageSizes { page_sizes, possible: PAGE_SIZES });
        }
        Ok(Self::made(page_sizes, tables_max))
    }

    fn made(page_sizes: u64, tables_max: u32) -> Self {
        let page_min = 1_u64.wrapping_shl(page_sizes.trailing_zeros());
        Self { store: Store::new(tables_max), page_sizes, page_min, flushes: 0, target: PhantomData }
    }

    /// Returns how often [`flush`](PageTable::flush) was called.
    #[must_use]
    pub const fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Returns how many table pages there are, empty ones among them.
    #[must_use]
    pub const fn tables(&self) -> u64 {
        self.store.tables()
    }

    /// Returns each page that is mapped: its bus address, and where it leads. Walks the whole table.
    pub fn pages(&self) -> impl Iterator<Item = (BusAddr, Translation<A>)> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let (page, walk) = self.store.first_page(at, IOVA_LAST)?;
            at = page.saturating_add(level_bytes(walk.level));
            Some((BusAddr::new(page), translation(walk, page)))
        })
    }

    /// The largest page that fits at both addresses, and the level of its entry.
    fn level_for(&self, iova: u64, target: u64, bytes: u64) -> Option<u32> {
        let fits = |level: &u32| {
            let page = level_bytes(*level);
            self.page_sizes & page != 0 && bytes >= page && is_aligned(iova | target, page)
        };
        [2, 1, 0].into_iter().find(fits)
    }

    fn check(&self, iova: u64, target: u64, bytes: u64) -> Result<(), PageMapError> {
        for (what, value) in [("bus address", iova), ("target address", target), ("length", bytes)] {
            if !is_aligned(value, self.page_min) {
                return Err(PageMapError::Misaligned { what, value, need: self.page_min });
            }
        }
        if bytes == 0 {
            return Err(PageMapError::Empty { iova });
        }
        if last_of(iova, bytes).is_none_or(|last| last > IOVA_LAST) {
            return Err(PageMapError::OutOfRange { iova, bytes, last: IOVA_LAST });
        }
        if last_of(target, bytes).is_none() {
            return Err(PageMapError::TargetWraps { target, bytes });
        }
        Ok(())
    }

    /// Maps a checked range where nothing is mapped, or nothing of it.
    fn map_range(&mut self, iova: u64, target: u64, bytes: u64, flags: u64) -> Result<(), PageMapError> {
        self.check(iova, target, bytes)?;
        // The sums below stay within the ranges that were checked.
        let last = iova.wrapping_add(bytes).wrapping_sub(1);
        if let Some((page, walk)) = self.store.first_page(iova, last) {
            return Err(PageMapError::AddressInUse {
                iova,
                bytes,
                page,
                page_bytes: level_bytes(walk.level),
            });
        }
        let (mut at, mut to, mut left) = (iova, target, bytes);
        while let Some(level) = self.level_for(at, to, left) {
            let table = match self.store.table_at(at, level) {
                Ok(table) => table,
                Err(error) => {
                    if at > iova {
                        self.store.clear(iova, at.wrapping_sub(1));
                    }
                    return Err(error);
                }
            };
            let page = level_bytes(level);
            let filled =
                self.store.fill(table, at, level, left.wrapping_shr(page.trailing_zeros()), to | flags);
            let done = filled.saturating_mul(page);
            if done == 0 {
                break;
            }
            at = at.wrapping_add(done);
            to = to.wrapping_add(done);
            left = left.saturating_sub(done);
        }
        Ok(())
    }
}

// SAFETY: (1) an entry is what it was given; `translate`, by which software reaches through the table, reads
// entries; (2) an entry that is gone translates to nothing, flushed or not; (3) each call checks the whole range first;
// (4) it is the entries; (5) only the owner of the table translates.
unsafe impl<A: Addr> PageTable for FourLevelTable<A> {
    type Target = A;
    type Cursor<'t> = TableCursor<'t, A>;

    fn page_sizes(&self) -> u64 {
        self.page_sizes
    }

    fn iova_max(&self) -> BusAddr {
        BusAddr::new(IOVA_LAST)
    }

    #[inline]
    fn cursor(&mut self, iova: BusAddr, access: DmaDirection) -> TableCursor<'_, A> {
        let read = if access.device_reads() { READ } else { 0 };
        let write = if access.device_writes() { WRITE } else { 0 };
        let mut cursor = TableCursor { at: iova.raw(), flags: read | write, leaf: NO_LEAF, table: self };
        cursor.find_leaf();
        cursor
    }

    fn unmap(&mut self, iova: BusAddr, bytes: u64) -> Result<Unmapped, PageUnmapError> {
        let iova = iova.raw();
        for (what, value) in [("bus address", iova), ("length", bytes)] {
            if !is_aligned(value, self.page_min) {
                return Err(PageUnmapError::Misaligned { what, value, need: self.page_min });
            }
        }
        if bytes == 0 {
            return Err(PageUnmapError::Empty { iova });
        }
        let last = match last_of(iova, bytes) {
            Some(last) if last <= IOVA_LAST => last,
            _ => return Err(PageUnmapError::OutOfRange { iova, bytes, last: IOVA_LAST }),
        };
        if let Some(unmapped) = self.store.clear_within_leaf(iova, last) {
            return Ok(unmapped);
        }
        let walk = self.store.walk(iova);
        let page_bytes = level_bytes(walk.level);
        if walk.entry != EMPTY && !is_aligned(iova, page_bytes) {
            let page = align_down(iova, page_bytes);
            return Err(PageUnmapError::InsidePage { iova, page, page_bytes });
        }
        Ok(self.store.clear(iova, last))
    }

    fn flush(&mut self, _iova: BusAddr, _bytes: u64) {
        // Nobody caches entries of this table.
        self.flushes = self.flushes.wrapping_add(1);
        self.store.trim();
    }

    fn translate(&self, iova: BusAddr) -> Option<Translation<A>> {
        let iova = iova.raw();
        if iova > IOVA_LAST {
            return None;
        }
        let walk = self.store.walk(iova);
        (walk.entry != EMPTY).then(|| translation(walk, iova))
    }
}

/// What the entry of a page says about an address inside the page.
fn translation<A: Addr>(walk: Walk, iova: u64) -> Translation<A> {
    let page_bytes = level_bytes(walk.level);
    let offset = iova & page_bytes.wrapping_sub(1);
    let access = match (walk.entry & READ != 0, walk.entry & WRITE != 0) {
        (true, true) => DmaDirection::Both,
        (true, false) => DmaDirection::ToDevice,
        _ => DmaDirection::FromDevice,
    };
    let target = A::new(align_down(walk.entry, page_bytes) | offset);
    Translation { target, bytes: page_bytes.wrapping_sub(offset), page_bytes, access }
}

/// The last address of a range of at least one byte.
#[inline]
const fn last_of(start: u64, bytes: u64) -> Option<u64> {
    start.checked_add(bytes.wrapping_sub(1))
}

/// No table of the lowest level.
const NO_LEAF: u32 = u32::MAX;

/// A place in a [`FourLevelTable`].
#[derive(Debug)]
pub struct TableCursor<'t, A: Addr> {
    table: &'t mut FourLevelTable<A>,
    at: u64,
    flags: u64,
    /// The table of the lowest level around `at`, if the cursor knows it and 4 KiB pages may be made.
    leaf: u32,
}

impl<A: Addr> TableCursor<'_, A> {
    /// Takes over the lowest table that the table remembers.
    #[inline]
    fn find_leaf(&mut self) {
        self.leaf = match self.table.store.recent(self.at) {
            Some(leaf) if self.table.page_min == level_bytes(0) => leaf,
            _ => NO_LEAF,
        };
    }

    /// Maps one page into the lowest table that the cursor knows.
    #[inline]
    fn put_page(&mut self, target: u64) -> bool {
        let put = self.leaf != NO_LEAF
            && is_aligned(self.at | target, level_bytes(0))
            && self.table.store.put_page(self.leaf, fan_index(self.at, 0), target | self.flags);
        if put {
            self.at = self.at.wrapping_add(level_bytes(0));
            if is_aligned(self.at, level_bytes(1)) {
                self.find_leaf();
            }
        }
        put
    }

    #[cold]
    fn map_range(&mut self, target: u64, bytes: u64) -> Result<(), PageMapError> {
        if bytes == level_bytes(0) && self.table.page_min == bytes && self.at <= IOVA_LAST {
            self.leaf = self.table.store.lowest_at(self.at).unwrap_or(NO_LEAF);
            if self.put_page(target) {
                return Ok(());
            }
        }
        let mapped = self.table.map_range(self.at, target, bytes, self.flags);
        if mapped.is_ok() {
            self.at = self.at.wrapping_add(bytes);
        }
        self.find_leaf();
        mapped
    }
}

impl<A: Addr> LeafCursor for TableCursor<'_, A> {
    type Target = A;

    fn iova(&self) -> BusAddr {
        BusAddr::new(self.at)
    }

    #[inline]
    fn map(&mut self, target: A, bytes: u64) -> Result<(), PageMapError> {
        if bytes == level_bytes(0) && self.put_page(target.raw()) {
            return Ok(());
        }
        self.map_range(target.raw(), bytes)
    }

    fn skip(&mut self, bytes: u64) {
        self.at = self.at.saturating_add(bytes);
        self.find_leaf();
    }
}
