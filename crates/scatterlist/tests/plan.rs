//! The planner's promise: any list, any valid limits, and the plan covers exactly the bytes, in order, within
//! every hard limit. The checker in `plan_checker` is written from the documentation of each limit, not from the planner.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod plan_checker;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use plan_checker::{POLICIES, Seg, check_request, run, value};
use proptest::prelude::*;
use scatterlist::plan::{Appender, Piece, Policy, TryAppend, is_ready, plan, try_append};
use scatterlist::{
    Addr, Complete, Direction, Force, Lease, LimitId, Limits, Outcome, PhysAddr, Position, ScatterList,
    Segment, Source,
};

fn limits() -> impl Strategy<Value = Limits> {
    let sizes = prop_oneof![Just(1_u64), Just(2), Just(4), Just(64), Just(512), Just(520), Just(4096)];
    let power = prop_oneof![3 => Just(0_u64), 1 => Just(512_u64), 2 => Just(4096), 1 => Just(65536)];
    let block = prop_oneof![2 => Just(1_u64), 3 => Just(512_u64), 1 => Just(520), 1 => Just(4096)];
    let memory = (
        prop_oneof![Just(1_u64), Just(4), Just(512), Just(4096)],
        sizes,
        prop_oneof![Just(1_u64), Just(512)],
        prop_oneof![2 => Just(u64::MAX), 3 => 1..40_u64],
        prop_oneof![2 => Just(u64::MAX), 2 => 1..40_u64],
        prop_oneof![2 => Just(u64::MAX), 1 => Just(4096_u64), 1 => 1..200_000_u64],
        power.clone(),
        power.clone(),
        power,
    );
    let device = (
        block,
        prop_oneof![3 => Just(0_u64), 1 => 1..9000_u64],
        prop_oneof![2 => Just(u64::MAX), 2 => 1..300_000_u64],
        prop_oneof![3 => Just(0_u64), 1 => 1..40_u64],
        prop_oneof![Just(1_u64), Just(4096)],
        0..100_000_u64,
    );
    let window = (
        prop_oneof![3 => Just(0_u64), 1 => 0..2_000_000_u64],
        prop_oneof![3 => Just(u64::MAX), 1 => 3_000_000..6_000_000_u64],
        prop_oneof![4 => Just(0_u64), 1 => Just(511_u64), 1 => Just(4095_u64)],
        prop_oneof![5 => Just(0_u64), 1 => 1..3000_u64],
    );
    (memory, device, window).prop_filter_map("limits that no device can have", |(memory, device, window)| {
        let (align, piece, total, segments, pieces, longest, boundary, gap, page) = memory;
        let (block, min, max, chunks, opt, offset) = device;
        Limits::builder()
            .hard(LimitId::AddrAlign, align)
            .hard(LimitId::PieceLenAlign, piece)
            .hard(LimitId::TotalLenAlign, total)
            .hard(LimitId::SegmentsMax, segments)
            .hard(LimitId::PiecesMax, pieces)
            .hard(LimitId::SegmentLenMax, longest)
            .hard(LimitId::SegmentBoundary, boundary)
            .hard(LimitId::GapBoundary, gap)
            .hard(LimitId::PageLen, page)
            .hard(LimitId::AddrMin, window.0)
            .hard(LimitId::AddrMax, window.1)
            .hard(LimitId::BounceOffsetMask, window.2)
            .hard(LimitId::CopyBelow, window.3)
            .hard(LimitId::PositionAlign, block)
            .set(LimitId::PositionAlignOpt, opt, Source::Ioctl, Force::Soft)
            .hard(LimitId::TransferLenMin, min)
            .hard(LimitId::TransferLenMax, max)
            .hard(LimitId::ChunkLen, chunks * block * piece.max(total))
            .hard(LimitId::PositionOffset, offset)
            .build()
            .ok()
    })
}

fn segment(addr: u64, len: u64, barrier: bool) -> Seg {
    let segment = Segment::new(PhysAddr::new(addr), len).unwrap();
    if barrier { segment.with_barrier() } else { segment }
}

fn segments() -> impl Strategy<Value = Vec<Seg>> {
    let page = (1..1500_u64).prop_map(|page| segment(page << 12, 4096, false));
    let run = (1..1500_u64, 1..9_u64, any::<bool>()).prop_map(|(p, n, b)| segment(p << 12, n << 12, b));
    let block = (1..12_000_u64, 1..20_u64).prop_map(|(b, n)| segment(b * 512, n * 512, false));
    let ragged = (1..6_000_000_u64, 1..9000_u64, any::<bool>()).prop_map(|(a, l, b)| segment(a, l, b));
    let one = prop_oneof![4 => page, 2 => run, 2 => block, 2 => ragged];
    prop::collection::vec(one, 1..60)
}

/// A list whose bytes are a multiple of `unit`, by a last segment that fills up.
fn fill(mut segments: Vec<Seg>, unit: u64) -> ScatterList<PhysAddr> {
    let sum: u64 = segments.iter().map(|segment| segment.len()).sum();
    if !sum.is_multiple_of(unit) {
        segments.push(segment(7 << 20, unit - sum % unit, false));
    }
    ScatterList::from_segments(segments).unwrap()
}

fn unit(limits: &Limits) -> u64 {
    let get = |id| value(limits, id);
    // 512, 520, 4096 and their powers of two: a multiple of all that occur here.
    [LimitId::PositionAlign, LimitId::TotalLenAlign, LimitId::PieceLenAlign]
        .into_iter()
        .fold(1, |unit, id| unit * get(id) / gcd(unit, get(id)))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

struct Told(Rc<RefCell<Vec<Outcome>>>);

impl Complete for Told {
    fn complete(self, outcome: Outcome) {
        self.0.borrow_mut().push(outcome);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn every_request_keeps_every_limit(
        segments in segments(), limits in limits(), block in 0..500_u64, stream in any::<bool>(),
    ) {
        let list = fill(segments, unit(&limits));
        let flat: Vec<Seg> = list.iter().collect();
        let at = block * value(&limits, LimitId::PositionAlign);
        let position = if stream { Position::Stream } else { Position::At(at) };
        for policy in POLICIES {
            let (requests, error) = run(&list, position, &limits, policy);
            let mut from = 0;
            for request in &requests {
                prop_assert_eq!(request.position, position.after(from).unwrap());
                check_request(&flat, from, request, &limits, policy);
                from += request.len;
            }
            if matches!(policy, Policy::WholeOrError | Policy::WholeOrBounce) {
                prop_assert!(requests.len() + usize::from(error.is_some()) == 1);
            }
            // A slice that says nothing of its totals is planned alike.
            let (from_slice, slice_error) = run(&flat[..], position, &limits, policy);
            prop_assert_eq!(&requests, &from_slice);
            prop_assert_eq!(error, slice_error);
        }
    }

    /// Bouncing is the last resort: what can be planned without is planned the same, with nothing bounced.
    #[test]
    fn nothing_bounces_that_need_not(segments in segments(), limits in limits()) {
        let limits = limits.to_builder().hard(LimitId::CopyBelow, 0).build().unwrap();
        let list = fill(segments, unit(&limits));
        for (without, with) in
            [(Policy::SplitOrError, Policy::SplitOrBounce), (Policy::WholeOrError, Policy::WholeOrBounce)]
        {
            let (requests, error) = run(&list, Position::At(0), &limits, without);
            if error.is_none() {
                prop_assert_eq!((requests, None), run(&list, Position::At(0), &limits, with));
            }
        }
    }

    /// Where a block of bounce memory is legal at all, splitting and bouncing always succeeds.
    #[test]
    fn split_or_bounce_always_succeeds_where_a_block_can_be_bounced(
        segments in segments(), limits in limits(),
    ) {
        let limits = limits
            .to_builder()
            .hard(LimitId::TransferLenMin, 0)
            .hard(LimitId::BounceOffsetMask, 0)
            .hard(LimitId::SegmentLenMax, u64::MAX)
            .hard(LimitId::SegmentBoundary, 0)
            .hard(LimitId::PageLen, 0)
            .hard(LimitId::PositionOffset, 0)
            .hard(LimitId::ChunkLen, 7 * 4096 * 65);
        let Ok(limits) = limits.build() else { return Ok(()) };
        let list = fill(segments, unit(&limits));
        let (_, error) = run(&list, Position::At(0), &limits, Policy::SplitOrBounce);
        prop_assert_eq!(error, None);
    }

    #[test]
    fn appender_and_one_shot_agree(
        segments in segments(), limits in limits(), pushes in prop::collection::vec(1..9_usize, 1..40),
    ) {
        let limits = limits.to_builder().hard(LimitId::CopyBelow, 0).build().unwrap();
        let list = fill(segments, unit(&limits));
        let flat: Vec<Seg> = list.iter().collect();
        for policy in POLICIES {
            let (expected, error) = run(&list, Position::At(0), &limits, policy);
            let submitted = RefCell::new(Vec::new());
            let told = Rc::new(RefCell::new(Vec::new()));
            let mut appender = Appender::new(
                Direction::ToDevice, Position::At(0), &limits, policy, Told(told.clone()),
                |request| {
                    submitted.borrow_mut().push((request.position(), request.len_bytes()));
                    let len = request.len_bytes();
                    drop(request.complete(Outcome::whole(len)));
                    Ok::<(), ()>(())
                },
            );
            let mut failed = None;
            let mut rest = &flat[..];
            for push in pushes.iter().cycle() {
                let (now, later) = rest.split_at((*push).min(rest.len()));
                rest = later;
                let part = ScatterList::from_segments(now.iter().copied()).unwrap();
                // SAFETY of the lease: no memory is touched; the addresses are only planned.
                if let Err(error) = appender.push(lease(part)) {
                    failed = Some(error);
                    break;
                }
                if rest.is_empty() {
                    break;
                }
            }
            let failed = match failed {
                Some(error) => { drop(appender); Some(error) }
                None => appender.finish().err(),
            };
            prop_assert_eq!(failed.is_some(), error.is_some(), "{:?} {:?}", failed, error);
            let expected: Vec<_> = expected.iter().map(|request| (request.position, request.len)).collect();
            let submitted = submitted.into_inner();
            prop_assert_eq!(&submitted, &expected);
            let told = told.borrow();
            prop_assert_eq!(told.len(), 1, "the completion fires once");
            prop_assert_eq!(told[0].done, expected.iter().map(|(_, len)| len).sum::<u64>());
            prop_assert_eq!(told[0].fault.is_some(), error.is_some());
        }
    }

    /// What `try_append` lets in, the planner takes as one direct request.
    #[test]
    fn a_list_that_is_ready_is_one_request_as_it_stands(segments in segments(), limits in limits(), few in 0..4_usize) {
        let mut segments = segments;
        segments.truncate(few);
        let unit = unit(&limits);
        let list = fill(segments, unit);
        let position = Position::At(0);
        let ready = is_ready(&list, position, &limits);
        for policy in POLICIES {
            let mut plan = plan(&list, position, &limits, policy);
            if ready {
                let request = plan.next().unwrap().unwrap();
                let pieces: Vec<_> = request.pieces().collect();
                let expected: Vec<_> = list.iter().map(Piece::Direct).collect();
                prop_assert_eq!(pieces, expected);
                prop_assert!(plan.next().is_none());
            }
        }
    }

    #[test]
    fn try_append_lets_in_what_fits_whole(segments in segments(), limits in limits()) {
        let limits = limits
            .to_builder()
            .hard(LimitId::CopyBelow, 0)
            .hard(LimitId::TransferLenMin, 0)
            .hard(LimitId::PositionAlign, 1)
            .hard(LimitId::TotalLenAlign, 1)
            .hard(LimitId::ChunkLen, 0);
        let Ok(limits) = limits.build() else { return Ok(()) };
        let mut list = ScatterList::new();
        for segment in segments {
            let before = list.clone();
            match try_append(&mut list, segment, Position::At(0), &limits).unwrap() {
                TryAppend::Full(_) => prop_assert_eq!(&list, &before),
                TryAppend::Merged => prop_assert_eq!(list.len_segments(), before.len_segments()),
                TryAppend::Added => prop_assert_eq!(list.len_segments(), before.len_segments() + 1),
            }
            if !list.is_empty() {
                let (requests, error) = run(&list, Position::At(0), &limits, Policy::WholeOrError);
                prop_assert_eq!((requests.len(), error), (1, None));
            }
        }
    }

    /// Any numbers at all: errors, never a panic or an overflow.
    #[test]
    fn no_input_panics(
        pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 1..8),
        values in prop::collection::vec((0..22_usize, prop_oneof![any::<u64>(), 0..70_000_u64, Just(1 << 63)]), 0..8),
        position in any::<u64>(),
    ) {
        let ids: Vec<LimitId> = LimitId::MEMORY.into_iter().chain(LimitId::DEVICE).collect();
        let mut builder = Limits::builder();
        for (id, value) in values {
            builder = builder.hard(ids[id % ids.len()], value);
        }
        let Ok(limits) = builder.build() else { return Ok(()) };
        // The work of a plan is its pieces, so a list of absurd length gets segments of some length.
        let least = [LimitId::SegmentLenMax, LimitId::SegmentBoundary, LimitId::PageLen]
            .into_iter()
            .map(|id| value(&limits, id))
            .filter(|value| *value != 0)
            .fold(value(&limits, LimitId::TransferLenMax), u64::min);
        let flat: Vec<Seg> = pairs
            .iter()
            .filter_map(|(a, l)| {
                let len = (l >> 1).min(least.saturating_mul(300)).max(1);
                Segment::new(PhysAddr::new(*a), len).ok()
            })
            .collect();
        if flat.is_empty() { return Ok(()) }
        for policy in POLICIES {
            for ready in plan(&flat[..], Position::At(position), &limits, policy).take(50) {
                match ready {
                    Ok(ready) => { ready.pieces().take(50).count(); }
                    Err(error) => { error.to_string(); break; }
                }
            }
        }
        limits.stack(&limits).ok();
    }
}

fn lease(list: ScatterList<PhysAddr>) -> Lease<PhysAddr, Arc<()>> {
    #[expect(unsafe_code, reason = "a lease over addresses that nobody touches")]
    // SAFETY: the tests only plan; no memory behind these addresses is read or written.
    unsafe {
        Lease::from_raw(list, Arc::new(()))
    }
}
