//! What a device behind an IOMMU needs: bus addresses, a table that turns them back into memory, and the rule that
//! lays a list out.
//!
//! - [`iova`]: [`IovaAllocator`], which hands out ranges of bus addresses.
//! - [`page_table`]: [`PageTable`] and [`LeafCursor`], what a table must do.
//! - [`table`]: [`FourLevelTable`], a real one, for tests, examples and machines without hardware tables.
//! - [`layout`]: [`Layout`], a whole list in one range: bytes to reserve, pages to map, bus segments that come out.
//!
//! None of them knows the others; [`Iommu`], the back end, ties them together.

mod backend;
pub mod iova;
pub mod layout;
pub mod page_table;
pub mod table;

pub use backend::{Iommu, IommuMapping};
pub use iova::{IovaAllocator, IovaError, IovaFreeError, IovaRange, IovaRequest};
pub use layout::{Layout, LayoutError, LayoutRules, Placed};
pub use page_table::{LeafCursor, PageMapError, PageTable, PageUnmapError, Translation, Unmapped};
pub use table::{FourLevelTable, TableError};

/// `value` rounded down to a multiple of `align`, a power of two.
#[inline]
const fn align_down(value: u64, align: u64) -> u64 {
    value & !align.wrapping_sub(1)
}

/// `value` rounded up to a multiple of `align`, a power of two; `None` past 64 bits.
#[inline]
const fn align_up(value: u64, align: u64) -> Option<u64> {
    match value.checked_add(align.wrapping_sub(1)) {
        Some(raised) => Some(align_down(raised, align)),
        None => None,
    }
}

/// Whether `value` is a multiple of `align`, a power of two.
#[inline]
const fn is_aligned(value: u64, align: u64) -> bool {
    value & align.wrapping_sub(1) == 0
}
