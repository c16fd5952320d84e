//! Checks a plan from the outside: written from the documentation of each limit, not from the planner.
//!
//! Used by the property tests of the planner and by its fuzz target. [`run`] plans a list and checks what
//! holds of the plan as a whole; [`check_request`] checks one request against every hard limit. Lists may hold any
//! addresses, but fewer than 2^64 bytes.

use scatterlist::plan::{Piece, PlanError, Policy, Ready, plan};
use scatterlist::{Addr, Force, LimitId, Limits, PhysAddr, Position, Segment, Segments};

pub(crate) type Seg = Segment<PhysAddr>;

pub(crate) const POLICIES: [Policy; 4] =
    [Policy::WholeOrError, Policy::WholeOrBounce, Policy::SplitOrError, Policy::SplitOrBounce];

/// One request as the checker sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) position: Position,
    pub(crate) len: u64,
    pub(crate) pieces: Vec<Piece<PhysAddr>>,
}

fn collect<S: Segments<Addr = PhysAddr> + ?Sized>(ready: &Ready<'_, S>) -> Planned {
    let pieces: Vec<_> = ready.pieces().collect();
    let bounced: u64 =
        pieces.iter().map(|piece| if let Piece::Bounce(bounce) = piece { bounce.len } else { 0 }).sum();
    assert_eq!(bounced, ready.bounced_bytes());
    Planned { position: ready.position(), len: ready.len_bytes(), pieces }
}

/// Plans `list`: the requests, and the error that ended the plan, if one did.
pub(crate) fn run<S: Segments<Addr = PhysAddr> + ?Sized>(
    list: &S,
    position: Position,
    limits: &Limits,
    policy: Policy,
) -> (Vec<Planned>, Option<PlanError>) {
    let mut planned = Vec::new();
    let bytes = list.bytes();
    let mut sum = 0;
    for ready in plan(list, position, limits, policy) {
        match ready {
            Ok(ready) => {
                sum += ready.len_bytes();
                assert_eq!(ready.cut().is_none(), sum == bytes, "only the last request has no cut");
                planned.push(collect(&ready));
            }
            Err(error) => return (planned, Some(error)),
        }
    }
    assert_eq!(sum, bytes, "every byte is planned: {planned:?}");
    (planned, None)
}

/// The value that the planner must keep: that of a hard limit, or the one that stands for "no rule".
pub(crate) fn value(limits: &Limits, id: LimitId) -> u64 {
    let limit = limits.get(id);
    if limit.force == Force::Hard { limit.value } else { id.neutral() }
}

/// Checks one request against every hard limit, and its bytes against the list from byte `from` on.
pub(crate) fn check_request(list: &[Seg], from: u64, request: &Planned, limits: &Limits, policy: Policy) {
    let get = |id| value(limits, id);
    let sum: u64 = request.pieces.iter().map(Piece::len_bytes).sum();
    let stated = || {
        limits
            .iter()
            .filter(|(id, limit)| limit.value != id.neutral())
            .map(|(id, limit)| (id.name(), limit.value))
    };
    assert_eq!(sum, request.len, "{policy:?} {request:?} {list:?} {:?}", stated().collect::<Vec<_>>());
    assert_eq!(request.len % get(LimitId::TotalLenAlign), 0, "total_len_align");
    assert_eq!(request.len % get(LimitId::PositionAlign), 0, "length by position_align");
    assert!(request.len >= get(LimitId::TransferLenMin), "transfer_len_min");
    assert!(request.len <= get(LimitId::TransferLenMax), "transfer_len_max");
    if let Position::At(at) = request.position {
        assert_eq!(at % get(LimitId::PositionAlign), 0, "position_align");
        let end = u128::from(at) + u128::from(request.len);
        assert!(end <= u128::from(get(LimitId::Capacity)), "capacity");
        let chunk = get(LimitId::ChunkLen);
        if chunk != 0 {
            let start = u128::from(at) + u128::from(limits.get(LimitId::PositionOffset).value);
            let last = start + u128::from(request.len) - 1;
            assert_eq!(start / u128::from(chunk), last / u128::from(chunk), "chunk_len");
        }
    }
    assert!(request.pieces.len() as u64 <= get(LimitId::PiecesMax), "pieces_max");

    let gap = u128::from(get(LimitId::GapBoundary).max(1));
    let boundary = u128::from(get(LimitId::SegmentBoundary));
    let page = u128::from(get(LimitId::PageLen));
    let mut at = from;
    let mut segments = 0;
    let mut end = None;
    for piece in &request.pieces {
        let len = piece.len_bytes();
        let start = match piece {
            Piece::Direct(segment) => {
                assert_eq!(segment.addr().raw(), address_of(list, at, len), "bytes in order");
                assert!(segment.addr().raw() >= get(LimitId::AddrMin), "addr_min");
                assert!(segment.end() - 1 <= get(LimitId::AddrMax), "addr_max");
                segment.addr().raw()
            }
            Piece::Bounce(bounce) => {
                assert!(matches!(policy, Policy::WholeOrBounce | Policy::SplitOrBounce));
                let mask = get(LimitId::BounceOffsetMask);
                let original = address_of(list, at, 1);
                // A copy is aligned: bits below the alignment are zero in it.
                let kept = mask & !(get(LimitId::AddrAlign) - 1);
                assert_eq!(bounce.start_bits & kept, original & kept, "bounce_offset_mask");
                bounce.start_bits
            }
        };
        assert_eq!(start % get(LimitId::AddrAlign), 0, "addr_align");
        assert_eq!(len % get(LimitId::PieceLenAlign), 0, "piece_len_align");
        assert!(len <= get(LimitId::SegmentLenMax), "segment_len_max");
        // A bounce's bits may lie anywhere, so its end may lie past 64 bits.
        let (start, len) = (u128::from(start), u128::from(len));
        // Without a boundary both are `None`.
        assert_eq!(start.checked_div(boundary), (start + len - 1).checked_div(boundary), "segment_boundary");
        if let Some(end) = end {
            assert_eq!((end | start) % gap, 0, "gap_boundary");
        }
        segments += if page == 0 { 1 } else { (start % page + len).div_ceil(page) };
        end = Some(start + len);
        at += piece.len_bytes();
    }
    assert!(segments <= u128::from(get(LimitId::SegmentsMax)), "segments_max: {segments}");
}

/// The address of byte `at`, of which `len` bytes must be contiguous.
fn address_of(list: &[Seg], at: u64, len: u64) -> u64 {
    let mut before = 0;
    let mut iter = list.iter();
    for segment in iter.by_ref() {
        if at < before + segment.len() {
            let address = segment.addr().raw() + (at - before);
            let mut end = segment.end();
            while end - address < len {
                let next = iter.next().expect("contiguous bytes run on");
                assert_eq!(next.addr().raw(), end, "direct bytes are contiguous");
                end = next.end();
            }
            return address;
        }
        before += segment.len();
    }
    panic!("byte {at} lies past the list");
}
