//! [`PageTable`]: what turns the bus addresses of a device back into memory. [`LeafCursor`]: a place in it.
//!
//! A table is generic over what it maps to: physical memory in a kernel, CPU addresses where user space hands them to a
//! driver that pins and translates. Mapping goes through a cursor, which remembers the lowest level it stands in,
//! so that page after page costs no walk. Each call does all of what is asked, or nothing, and says why.
//! What a device may have cached goes away with [`flush`](PageTable::flush): once for a batch, by the caller.
#![expect(unsafe_code, reason = "a trait that promises what a device reaches")]

use crate::map::DmaDirection;
use crate::{Addr, BusAddr};

/// Where a bus address leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation<A: Addr> {
    /// The memory behind the address.
    pub target: A,
    /// Bytes from there to the end of the page.
    pub bytes: u64,
    /// Bytes of the page.
    pub page_bytes: u64,
    /// What the device may do there.
    pub access: DmaDirection,
}

/// What an [`unmap`](PageTable::unmap) took away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unmapped {
    /// Bytes that were mapped: whole pages, so perhaps more than asked. Holes do not count.
    pub bytes: u64,
    /// Bytes from the start asked for to the end of the last page: what to flush. 0 if nothing was mapped.
    pub span_bytes: u64,
}

/// Why nothing was mapped. The table translates as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageMapError {
    /// An address or length is not on the smallest page.
    #[error("{what} {value:#x} is not a multiple of {need}, the smallest page of the table")]
    Misaligned {
        /// `"bus address"`, `"target address"` or `"length"`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The smallest page in bytes.
        need: u64,
    },
    /// No bytes.
    #[error("0 bytes to map at bus address {iova:#x}")]
    Empty {
        /// The bus address.
        iova: u64,
    },
    /// The table does not reach that far.
    #[error("{bytes} bytes at bus address {iova:#x} reach past {last:#x}, the last address of the table")]
    OutOfRange {
        /// The bus address.
        iova: u64,
        /// Bytes to map.
        bytes: u64,
        /// The last address that the table translates.
        last: u64,
    },
    /// The memory reaches past the last address.
    #[error("{bytes} bytes at target address {target:#x} reach past the last address")]
    TargetWraps {
        /// The target address.
        target: u64,
        /// Bytes to map.
        bytes: u64,
    },
    /// Something is mapped there already.
    #[error(
        "{bytes} bytes at bus address {iova:#x}: in use, a page of {page_bytes} bytes is mapped at {page:#x}"
    )]
    AddressInUse {
        /// The bus address.
        iova: u64,
        /// Bytes to map.
        bytes: u64,
        /// The start of the first page in the way.
        page: u64,
        /// Its bytes.
        page_bytes: u64,
    },
    /// The table may not grow.
    #[error("the table has {tables} pages, no more than {tables_max} are allowed")]
    TablesMax {
        /// Table pages that there are.
        tables: u64,
        /// The most there may be.
        tables_max: u64,
    },
    /// No memory for a page of the table.
    #[error("no {bytes} bytes of memory for one more page of the table, which has {tables}")]
    NoMemory {
        /// Bytes of a table page.
        bytes: u64,
        /// Table pages that there are.
        tables: u64,
    },
}

/// Why nothing was unmapped. The table is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageUnmapError {
    /// An address or length is not on the smallest page.
    #[error("{what} {value:#x} is not a multiple of {need}, the smallest page of the table")]
    Misaligned {
        /// `"bus address"` or `"length"`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The smallest page in bytes.
        need: u64,
    },
    /// No bytes.
    #[error("0 bytes to unmap at bus address {iova:#x}")]
    Empty {
        /// The bus address.
        iova: u64,
    },
    /// The table does not reach that far.
    #[error("{bytes} bytes at bus address {iova:#x} reach past {last:#x}, the last address of the table")]
    OutOfRange {
        /// The bus address.
        iova: u64,
        /// Bytes to unmap.
        bytes: u64,
        /// The last address that the table translates.
        last: u64,
    },
    /// The range starts in the middle of a page.
    #[error("bus address {iova:#x} lies inside a page of {page_bytes} bytes at {page:#x}")]
    InsidePage {
        /// The bus address.
        iova: u64,
        /// The start of the page.
        page: u64,
        /// Its bytes.
        page_bytes: u64,
    },
}

/// A table from the bus addresses of a device to memory.
///
/// # Safety
/// 1. A device reaches what [`map`](Self::map) or the cursor was told, and nothing else, and only as `access` says.
/// 2. Where [`unmap`](Self::unmap) returns `Ok`, it took away every page that starts in the range, and its
///    [span](Unmapped::span_bytes) covers all of them. What it took away no device reaches after the next
///    [`flush`](Self::flush) of that span.
/// 3. A call that fails changes nothing; no call unwinds.
/// 4. [`translate`](Self::translate) says what a device reaches; [`page_sizes`](Self::page_sizes) and
///    [`iova_max`](Self::iova_max) do not change.
/// 5. Where the table is dropped, no device reaches anything through it any more.
pub unsafe trait PageTable {
    /// The kind of address that it maps to.
    type Target: Addr;
    /// A place in the table.
    type Cursor<'t>: LeafCursor<Target = Self::Target>
    where
        Self: 't;

    /// Returns the page sizes in bytes, as a bit mask: bit 12 stands for 4 KiB. Never 0.
    fn page_sizes(&self) -> u64;

    /// Returns the highest bus address that it translates.
    fn iova_max(&self) -> BusAddr;

    /// Starts mapping at `iova`, for a device that may do `access`.
    fn cursor(&mut self, iova: BusAddr, access: DmaDirection) -> Self::Cursor<'_>;

    /// Maps `bytes` of contiguous memory from `target` on, by the largest pages that fit.
    ///
    /// # Errors
    /// [`PageMapError`]; nothing is mapped then.
    fn map(
        &mut self,
        iova: BusAddr,
        target: Self::Target,
        bytes: u64,
        access: DmaDirection,
    ) -> Result<(), PageMapError> {
        self.cursor(iova, access).map(target, bytes)
    }

    /// Takes away every page that starts in the range. A page that reaches past its end goes as a whole, and
    /// counts as a whole. Holes are passed over. The device may go on using the pages until [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`PageUnmapError`], among others when the range starts inside a page; nothing is unmapped then.
    fn unmap(&mut self, iova: BusAddr, bytes: u64) -> Result<Unmapped, PageUnmapError>;

    /// Makes the device forget what it has cached of the range: one invalidation, which is waited for. Until then
    /// neither the addresses nor the memory behind them may be given to anybody else.
    fn flush(&mut self, iova: BusAddr, bytes: u64);

    /// Says where `iova` leads, or `None` where nothing is mapped.
    fn translate(&self, iova: BusAddr) -> Option<Translation<Self::Target>>;
}

/// A place in a [`PageTable`] where the next bytes are mapped.
pub trait LeafCursor {
    /// The kind of address that the table maps to.
    type Target: Addr;

    /// Returns the bus address that is mapped next.
    fn iova(&self) -> BusAddr;

    /// Maps `bytes` of contiguous memory from `target` on, by the largest pages that fit, and moves behind them.
    ///
    /// # Errors
    /// [`PageMapError`]; nothing is mapped then, and the cursor stands where it stood.
    fn map(&mut self, target: Self::Target, bytes: u64) -> Result<(), PageMapError>;

    /// Moves on by `bytes` and leaves a hole. Past the last address it stays there, and maps nothing more.
    fn skip(&mut self, bytes: u64);
}
