//! The parts of a list's segments that lie in a range of its bytes.

use core::ops::Range;

use crate::{Segment, Segments};

/// Iterates over the parts of a list's segments that lie in bytes `range` of the list.
pub fn parts<S: Segments + ?Sized>(
    list: &S,
    range: Range<u64>,
) -> impl Iterator<Item = Segment<S::Addr>> + '_ {
    let mut before = 0_u64;
    list.segments().filter_map(move |segment| {
        let start = range.start.saturating_sub(before).min(segment.len());
        let end = range.end.saturating_sub(before).min(segment.len());
        before = before.saturating_add(segment.len());
        let len = end.checked_sub(start).filter(|len| *len > 0)?;
        let rest = if start == 0 { segment } else { segment.split(start)?.1 };
        Some(rest.head(len))
    })
}
