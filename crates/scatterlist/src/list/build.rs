//! Pages at the end of a chain, many at a time; [`SelectError`], why ranges cannot be selected.

use super::chain::Chain;
use super::{ListError, Segment, SegmentError};
use crate::Addr;

/// Why ranges cannot be selected from a list or from pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// A range holds no bytes.
    #[error("range {index} at byte {offset} has length 0")]
    Empty {
        /// Which range, from 0.
        index: usize,
        /// Where it starts.
        offset: u64,
    },
    /// A range reaches past the end.
    #[error("range {index} of {len} bytes at byte {offset} reaches past the end at {bytes}")]
    PastEnd {
        /// Which range, from 0.
        index: usize,
        /// Where it starts.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The bytes there are.
        bytes: u64,
    },
    /// The page size is 0, or a page reaches past the last address.
    #[error(transparent)]
    Page(#[from] SegmentError),
    /// The sum of all ranges passes 64 bits.
    #[error(transparent)]
    TooLong(#[from] ListError),
}

/// Returns quotient and remainder, without a division for powers of two. By 0: 0 and 0.
fn div_rem(value: u64, unit: u64) -> (u64, u64) {
    if unit.is_power_of_two() {
        (value.wrapping_shr(unit.trailing_zeros()), value & unit.wrapping_sub(1))
    } else {
        (value.checked_div(unit).unwrap_or(0), value.checked_rem(unit).unwrap_or(0))
    }
}

impl<A: Addr> Chain<A> {
    /// Appends `len` bytes from byte `offset` of the first page on. Adjacent pages merge.
    ///
    /// # Errors
    /// After [`SelectError::Page`] the list holds the pages before the one at
    /// fault; after another error it is unchanged.
    #[inline]
    pub(super) fn append_pages(
        &mut self,
        pages: &[A],
        page_len: u64,
        offset: u64,
        len: u64,
    ) -> Result<(), SelectError> {
        let count = u64::try_from(pages.len()).unwrap_or(u64::MAX);
        let bytes = count.saturating_mul(page_len);
        if len == 0 {
            return Ok(());
        }
        if offset.checked_add(len).is_none_or(|end| end > bytes) {
            return Err(SelectError::PastEnd { index: 0, offset, len, bytes });
        }
        if self.bytes.checked_add(len).is_none() {
            return Err(ListError { bytes: self.bytes, adding: len }.into());
        }
        let (skip, within) = div_rem(offset, page_len);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let Some((first, rest)) = pages.get(skip..).and_then(<[A]>::split_first) else { return Ok(()) };
        let here = page_len.saturating_sub(within).min(len);
        let wraps = SegmentError::Wraps { addr: first.raw(), len: page_len };
        let first = Segment::new(first.checked_add(within).ok_or(wraps)?, here)?;
        self.tail.reserve(pages.len());
        self.append(first)?;
        let (whole, last) = div_rem(len.saturating_sub(here), page_len);
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        let (whole, rest) = rest.split_at_checked(whole).unwrap_or((rest, &[]));
        if self.bytes.saturating_add(len) <= Segment::<A>::LEN_MAX {
            self.append_whole(first, whole, page_len)?;
        } else {
            for page in whole {
                self.append(Segment::new(*page, page_len)?)?;
            }
        }
        if let Some(page) = rest.first().filter(|_| last > 0) {
            self.append(Segment::new(*page, last)?)?;
        }
        Ok(())
    }

    /// Appends whole pages behind `open`, which is the list's last segment or its end. No run of them can be too
    /// long for a segment.
    #[inline]
    fn append_whole(&mut self, open: Segment<A>, pages: &[A], page_len: u64) -> Result<(), SegmentError> {
        let mut open = self.open.unwrap_or(open);
        let mut rest = pages;
        let result = loop {
            let (now, taken) = self.tail.take_pages(open, rest, page_len);
            open = now;
            self.count_pages(taken, page_len);
            rest = rest.get(taken..).unwrap_or_default();
            let Some((page, others)) = rest.split_first() else { break Ok(()) };
            // The tail has no memory for `open`, or this is no page.
            let next = match Segment::new(*page, page_len) {
                Ok(next) => next,
                Err(error) => break Err(error),
            };
            self.tail.totals.join(open.end(), page.raw());
            self.push_beyond(open);
            self.count_pages(1, page_len);
            open = next;
            rest = others;
        };
        self.open = Some(open);
        result
    }

    /// Counts pages whose bytes are known to fit.
    fn count_pages(&mut self, pages: usize, page_len: u64) {
        let pages = u64::try_from(pages).unwrap_or(u64::MAX);
        self.bytes = self.bytes.wrapping_add(pages.wrapping_mul(page_len));
    }
}
