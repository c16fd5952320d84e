//! How contiguous memory is in *physical* memory, and limits that make use of it.
//!
//! A device counts physical segments, a program sees addresses of its own. Where nothing is known, each page is a
//! segment: 128 segments are 512 KiB. A huge page is one. `pagemap` asks the kernel, `walk` adds up.
//!
//! **An answer is a hint, unless the memory stays where it is.** The kernel may move pages (compaction, migration
//! between nodes, splitting of transparent huge pages) at any moment while nobody has pinned them. It lasts for
//! hugetlb pages, and for memory that is registered with a ring or has a transfer in flight. A planner that builds
//! on a hint copes with the refusal of a request that has become too scattered (`EINVAL` of a passthrough): it
//! asks again, or plans with one segment a page. Files and block devices are no concern: their segment limits are
//! soft, since the kernel splits.
//!
//! Cited as: Documentation/admin-guide/mm/pagemap.rst, Documentation/admin-guide/mm/hugetlbpage.rst.

mod pagemap;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

use scatterlist::{Addr, CpuAddr, Force, LimitId, Limits, LimitsError, Segment, Segments, Source};

use self::walk::Walk;
use super::kind::{OsError, PageKind};
use super::{PagePool, Slot};

pub use self::pagemap::Pagemap;

/// How contiguous some memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contiguity {
    /// Most physically contiguous segments that the memory has.
    pub segments: u64,
    /// Length of the longest of these, in bytes.
    pub segment_len_max: u64,
    /// Within blocks of this many bytes, at multiples of it, the memory is contiguous, and equally aligned in
    /// physical memory: a power of two, at most [`BLOCK_LEN_MAX`]. This is what a planner counts by
    /// ([`LimitId::PageLen`]); blocks that happen to lie one after the other it counts apart.
    pub block_len: u64,
    /// How that is known.
    pub source: ContiguitySource,
}

/// The longest blocks that a [`Contiguity`] speaks of, in bytes: the longest huge page that machines commonly have.
pub const BLOCK_LEN_MAX: u64 = 1 << 30;

/// How it is known how contiguous memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContiguitySource {
    /// It is in hugetlb pages, which move as a whole if they move. Needs no privilege.
    HugePages,
    /// The kernel's page map said so when it was asked.
    Pagemap {
        /// Pages that were not in memory, each counted as a segment.
        pages_unknown: u64,
    },
    /// It is not: each page counts as a segment.
    Assumed {
        /// Why nothing is known.
        reason: NotKnown,
    },
}

/// Why the kernel does not say where pages lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotKnown {
    /// It hides the numbers from processes without the privilege.
    Hidden,
    /// The page map could not be read.
    Unreadable {
        /// Its error number, if there is one.
        errno: i32,
    },
}

impl fmt::Display for ContiguitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HugePages => f.write_str("hugetlb pages"),
            Self::Pagemap { pages_unknown: 0 } => f.write_str("/proc/self/pagemap"),
            Self::Pagemap { pages_unknown } => {
                write!(f, "/proc/self/pagemap; {pages_unknown} pages are not in memory")
            }
            Self::Assumed { reason } => write!(f, "one segment a page is assumed: {reason}"),
        }
    }
}

impl fmt::Display for NotKnown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Hidden => f.write_str("/proc/self/pagemap shows frames to CAP_SYS_ADMIN only"),
            Self::Unreadable { errno } => write!(f, "/proc/self/pagemap: {}", OsError(errno)),
        }
    }
}

impl Contiguity {
    /// Returns `limits` for a device that counts physical segments, with [`LimitId::PageLen`] at what is known of
    /// this memory: a plan by them never has more real segments than the device takes, as long as the memory
    /// stays where it is.
    ///
    /// Blocks are taken no longer than the longest segment and the segment boundary of the device (the hard
    /// ones), since a block that is one run of memory but several segments would be counted short. A page
    /// length that a descriptor format states is never raised: its entries are pages whatever the memory is.
    ///
    /// ```
    /// use bulkio::pages::{PagePool, Pagemap, PoolOptions};
    /// use scatterlist::plan::{Policy, plan};
    /// use scatterlist::{LimitId, Limits, Position, ScatterList, Segment};
    ///
    /// let device = Limits::builder().hard(LimitId::SegmentsMax, 128).build()?;
    /// let pool = PagePool::new(PoolOptions::uniform(2 << 20, 1))?;
    /// let slot = pool.take().expect("one is free");
    /// let limits = pool.contiguity(&slot, &Pagemap::open()).refine(&device)?;
    /// let list = ScatterList::from(Segment::new(slot.addr(), 2 << 20)?);
    /// // One request in a huge page; four where nothing is known of 512 pages of 4 KiB.
    /// let requests = plan(&list, Position::Stream, &limits, Policy::SplitOrError).count();
    /// assert!((1..=4).contains(&requests));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// None for limits that were built; the type leaves room for rules to come.
    pub fn refine(&self, limits: &Limits) -> Result<Limits, LimitsError> {
        let stated = limits.get(LimitId::PageLen);
        let format = match stated.source {
            Source::DescriptorFormat if stated.value != 0 => stated.value,
            _ => u64::MAX,
        };
        let boundary = match limits.hard_value(LimitId::SegmentBoundary) {
            0 => u64::MAX,
            boundary => boundary,
        };
        let longest = limits.hard_value(LimitId::SegmentLenMax);
        let page_len = power_of_two_within(self.block_len.min(format).min(boundary).min(longest));
        limits.to_builder().set(LimitId::PageLen, page_len, Source::Pages, Force::Hard).build()
    }
}

/// Returns the greatest power of two up to `value`, at least 1.
fn power_of_two_within(value: u64) -> u64 {
    1 << value.checked_ilog2().unwrap_or(0)
}

impl PagePool {
    /// Returns how contiguous a slot of this pool is.
    ///
    /// In a pool of hugetlb pages that needs no privilege and lasts; else the page map is asked, and what it says
    /// lasts while the pool is registered with a ring. Ask once for each slot, or for each pool of hugetlb pages.
    #[must_use]
    pub fn contiguity(&self, slot: &Slot, pagemap: &Pagemap) -> Contiguity {
        // Lossless: Linux has no lengths beyond 64 bits.
        let (addr, len) = (slot.addr(), slot.len() as u64);
        let (start, pool_len) = self.range();
        let inside = addr >= start && addr.raw() - start.raw() < pool_len;
        match (self.kind(), Segment::new(addr, len)) {
            (PageKind::HugeTlb { page_len }, Ok(segment)) if inside => {
                let mut walk = Walk::new(page_len as u64);
                walk.unknown(segment.addr().raw(), segment.len());
                walk.end(ContiguitySource::HugePages)
            }
            (_, segment) => pagemap.contiguity(segment.as_ref().map_or(&[][..], std::slice::from_ref)),
        }
    }
}

/// The runs of addresses of a list, neighbours joined as a planner joins them, as first byte and length.
fn runs<S: Segments<Addr = CpuAddr> + ?Sized>(list: &S) -> impl Iterator<Item = (u64, u64)> + '_ {
    let mut segments = list.segments().peekable();
    std::iter::from_fn(move || {
        let first = segments.next()?;
        let mut len = first.len();
        while let Some(next) =
            segments.next_if(|next| first.addr().raw().checked_add(len) == Some(next.addr().raw()))
        {
            len = len.saturating_add(next.len());
        }
        Some((first.addr().raw(), len))
    })
}
