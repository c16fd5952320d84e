//! `MERGE`, `GAP` and `MAXSEG`: the predicates of the planner, one by one.

use scatterlist::plan::{gap_between, mergeable, segment_len_at};
use scatterlist::{Addr as _, LimitId, Limits, PhysAddr};

use super::fields::Fields;
use super::{Verdict, same, segment};

pub(super) fn merge(mut case: Fields, _page: u64) -> Verdict {
    let (a, b) = (case.pair("a")?, case.pair("b")?);
    let mask = case.number("seg_boundary_mask")?;
    let expected = case.flag("mergeable")?;
    case.finish()?;
    // A mask of all 64 bits is one window, which a boundary of 0 stands for.
    same("mergeable", &mergeable(segment(a.0, a.1)?, segment(b.0, b.1)?, mask.wrapping_add(1)), &expected)
}

pub(super) fn gap(mut case: Fields, _page: u64) -> Verdict {
    let (previous, next) = (case.pair("prev")?, case.number("next_addr")?);
    let mask = case.number("virt_boundary_mask")?;
    let expected = case.flag("gap")?;
    case.finish()?;
    let granule = mask.checked_add(1).ok_or("a gap boundary of 2^64 bytes cannot be expressed")?;
    same("gap", &gap_between(segment(previous.0, previous.1)?, PhysAddr::new(next), granule), &expected)
}

pub(super) fn maxseg(mut case: Fields, _page: u64) -> Verdict {
    let (mask, longest) = (case.number("seg_boundary_mask")?, case.number("max_segment_size")?);
    let (addr, expected) = (case.number("addr")?, case.number("max_len")?);
    case.finish()?;
    let mut limits = Limits::builder().hard(LimitId::SegmentBoundary, mask.wrapping_add(1));
    if longest != 0 {
        limits = limits.hard(LimitId::SegmentLenMax, longest);
    }
    let limits = limits.build().map_err(|error| error.to_string())?;
    same("max_len", &segment_len_at(PhysAddr::new(addr), u64::MAX, &limits), &expected)
}
