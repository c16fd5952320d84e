//! A borrowed slice of segments is planned: cut at the segment limit, bounced where no cut helps, refused with a reason.

use scatterlist::plan::{Piece, PlanError, Policy, plan};
use scatterlist::{Addr as _, LimitId, Limits, PhysAddr, Position, Segment};

use crate::{Checked, check};

/// Every second page of memory, from the first on.
pub(crate) fn page(index: u64) -> Result<Segment<PhysAddr>, u8> {
    Segment::new(PhysAddr::new((2 * index + 1) << 12), 4096).map_err(|_| 1)
}

pub(crate) fn check_all() -> Checked {
    let pages = [page(0)?, page(1)?, page(2)?, page(3)?, page(4)?, page(5)?, page(6)?];
    let limits = Limits::builder().hard(LimitId::SegmentsMax, 3).build().map_err(|_| 2)?;

    let mut lengths = [0; 4];
    let mut places = lengths.iter_mut();
    let mut at = 0;
    for ready in plan(&pages[..], Position::At(0), &limits, Policy::SplitOrError) {
        let ready = ready.map_err(|_| 3)?;
        check(4, ready.position() == Position::At(at))?;
        check(5, ready.pieces().all(|piece| matches!(piece, Piece::Direct(_))))?;
        at += ready.len_bytes();
        *places.next().ok_or(6)? = ready.len_bytes();
    }
    check(7, lengths == [3 * 4096, 3 * 4096, 4096, 0])?;

    // One command cannot be cut: with bouncing the fourth page and what follows goes through other memory.
    let mut whole = plan(&pages[..], Position::Stream, &limits, Policy::WholeOrBounce);
    let ready = whole.next().ok_or(8)?.map_err(|_| 9)?;
    check(10, ready.bounced_bytes() > 0 && ready.pieces().count() <= 3)?;
    check(11, whole.next().is_none())?;

    let mut refused = plan(&pages[..], Position::Stream, &limits, Policy::WholeOrError);
    check(12, matches!(refused.next(), Some(Err(PlanError::Unsatisfiable { .. }))))
}
