//! Which pages a pool asks for, which it got, and why not better ones.
//!
//! Pages decide how many pieces a transfer has: a huge page is one physical segment of 2 MiB, 4 KiB pages may
//! all be apart. So the answer is part of every report (rule `no-silent-fallback`), each [`Refusal`] with the
//! numbers that let a user change it.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::numa::NodeError;

/// Length of the hugetlb pages that pools use, in bytes.
pub(super) const HUGETLB_PAGE_LEN: usize = 2 << 20;

/// The pages that a pool should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PageKindRequest {
    /// The best there is: hugetlb pages, else transparent huge pages, else the machine's base pages.
    ///
    /// A pool of less than one huge page stays with base pages without trying.
    #[default]
    Auto,
    /// hugetlb pages of 2 MiB, or an error.
    Huge,
    /// Shared memory gathered into transparent huge pages for the most part, or an error.
    Transparent,
    /// The machine's base pages, even where huge ones could be had.
    Small,
}

/// The pages that a pool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageKind {
    /// All of it in pages of the hugetlb pool: physically contiguous for `page_len` bytes, never swapped.
    HugeTlb {
        /// Length of a page, in bytes.
        page_len: usize,
    },
    /// Most of it in transparent huge pages at the time the pool was made. The kernel may split them later,
    /// so a planner must not count on it.
    Transparent {
        /// Length of a huge page, in bytes.
        page_len: usize,
        /// How much of the pool is in huge pages, in bytes.
        bytes: u64,
    },
    /// The machine's base pages.
    Small {
        /// Length of a page, in bytes.
        page_len: usize,
    },
}

impl PageKind {
    /// Returns the length of the pages that back all of the pool, or most of it, in bytes.
    #[must_use]
    pub fn page_len(self) -> usize {
        match self {
            Self::HugeTlb { page_len } | Self::Transparent { page_len, .. } | Self::Small { page_len } => {
                page_len
            }
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HugeTlb { page_len } => write!(f, "hugetlb {}", PageLen(page_len)),
            Self::Transparent { .. } => f.write_str("transparent huge"),
            Self::Small { page_len } => write!(f, "{}", PageLen(page_len)),
        }
    }
}

/// Prints a page size as people say it: `4 KiB`, `2 MiB`.
struct PageLen(usize);

impl fmt::Display for PageLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            len if len >= 1 << 20 && len % (1 << 20) == 0 => write!(f, "{} MiB", len >> 20),
            len if len % (1 << 10) == 0 => write!(f, "{} KiB", len >> 10),
            len => write!(f, "{len} bytes"),
        }
    }
}

/// Why a pool did not get a better kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The pool is shorter than one huge page.
    TooSmall {
        /// Length of the pool, in bytes.
        bytes: u64,
        /// Length of a huge page, in bytes.
        page_len: usize,
    },
    /// hugetlb pages could not be had.
    HugeTlb {
        /// The call that refused.
        call: &'static str,
        /// Its error number.
        errno: i32,
        /// How many pages of 2 MiB the pool needs.
        pages: u64,
        /// How many the system has in all, if it says.
        pages_total: Option<u64>,
        /// How many of these are neither used nor reserved, if it says.
        pages_free: Option<u64>,
    },
    /// hugetlb pages could be had, but not on the memory node demanded.
    HugeTlbNode(NodeError),
    /// The kernel names no transparent huge pages.
    NoTransparent,
    /// Too little of the memory could be gathered into huge pages.
    Collapse {
        /// What `MADV_COLLAPSE` answered, or `None` when it claimed success.
        errno: Option<i32>,
        /// How much is in huge pages, in bytes; `None` when `/proc/self/smaps` could not be read.
        bytes_huge: Option<u64>,
        /// Length of the pool, in bytes.
        bytes: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooSmall { bytes, page_len } => {
                write!(f, "the pool of {bytes} bytes is less than one huge page ({})", PageLen(page_len))
            }
            Self::HugeTlb { call, errno, pages, pages_total, pages_free } => {
                write!(f, "hugetlb: {call} for {pages} pages of 2 MiB: {}; ", OsError(errno))?;
                match (pages_total, pages_free) {
                    (None, _) => write!(f, "the system has no huge pages of 2 MiB"),
                    (Some(0), _) => write!(f, "vm.nr_hugepages is 0: raise it to at least {pages}"),
                    (Some(total), Some(free)) => {
                        write!(f, "{free} of {total} are free: raise vm.nr_hugepages to at least ")?;
                        write!(f, "{}", total.saturating_add(pages.saturating_sub(free)))
                    }
                    (Some(total), None) => write!(f, "the system has {total}: raise vm.nr_hugepages"),
                }
            }
            Self::HugeTlbNode(error) => write!(f, "hugetlb: {error}"),
            Self::NoTransparent => f.write_str(
                "transparent: the kernel has none (/sys/kernel/mm/transparent_hugepage/hpage_pmd_size)",
            ),
            Self::Collapse { errno, bytes_huge, bytes } => {
                f.write_str("transparent: madvise(MADV_COLLAPSE)")?;
                if let Some(errno) = errno {
                    write!(f, ": {}", OsError(errno))?;
                }
                match bytes_huge {
                    Some(huge) => write!(f, "; {huge} of {bytes} bytes are in huge pages")?,
                    None => write!(f, "; /proc/self/smaps does not say how many of {bytes} bytes are huge")?,
                }
                match errno.map(Errno::from_raw_os_error) {
                    Some(Errno::INVAL) => f.write_str(
                        ": it needs Linux 6.1, and /sys/kernel/mm/transparent_hugepage/shmem_enabled not \
                         to be deny",
                    ),
                    Some(Errno::NOMEM) => f.write_str(": free memory is in small fragments"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Prints an error number as the system words it.
pub(super) struct OsError(pub(super) i32);

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}
