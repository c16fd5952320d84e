//! The allocator of bus addresses against a set of granules: whatever is asked and given back in whatever order, ranges are
//! disjoint, within bounds and aligned, a refusal means that there is no place, and in the end everything is back.

mod iova_model;

use iova_model::{IovaCall, iova_keeps_its_promises};
use proptest::prelude::*;
use scatterlist::map::iommu::{IovaAllocator, IovaError, IovaRange, IovaRequest};
use scatterlist::{Addr as _, BusAddr};

const PAGE: u64 = 4096;

fn iova_calls(granule: u64, granules: u64) -> impl Strategy<Value = Vec<IovaCall>> {
    let sizes = prop_oneof![4 => 1..=4_u64, 2 => 1..=40_u64, 1 => 1..=granules];
    let alloc = (sizes, 0..granule, 0..=granules, 0..4_u32, prop_oneof![3 => Just(0), 1 => 0..8_u32]);
    let alloc = alloc.prop_map(move |(size, short, limit, align, boundary)| IovaCall::Alloc {
        bytes: size * granule - short.min(granule - 1),
        limit: if limit % 3 == 0 { u64::MAX } else { limit * granule + short },
        align: granule << align >> 1,
        boundary: if boundary == 0 { 0 } else { granule << boundary },
    });
    let free = (any::<usize>(), prop::bool::weighted(0.1))
        .prop_map(|(which, again)| IovaCall::Free { which, again });
    let call = prop_oneof![6 => alloc, 4 => free, 1 => Just(IovaCall::FlushCache)];
    prop::collection::vec(call, 1..200)
}

proptest! {
    #[test]
    fn ranges_are_disjoint_in_bounds_and_come_back(
        (granule, first, granules, calls) in (0..3_u32, 0..70_u64, 1..300_u64).prop_flat_map(
            |(order, first, granules)| {
                let granule = PAGE << (2 * order);
                (Just(granule), Just(first), Just(granules), iova_calls(granule, first + granules))
            },
        )
    ) {
        iova_keeps_its_promises(granule, first, granules, &calls);
    }

    #[test]
    fn a_window_around_4_gib_keeps_the_same_promises(calls in iova_calls(PAGE, 200)) {
        iova_keeps_its_promises(PAGE, (1 << 20) - 100, 200, &calls);
    }

    #[test]
    fn no_request_panics(
        window in any::<(u64, u64, u64)>(),
        order in 0..66_u32,
        requests in prop::collection::vec(any::<(u64, u64, u64, u64)>(), 1..8),
        orders in prop::collection::vec((0..64_u32, 0..64_u32), 8),
    ) {
        let granule = 1_u64.checked_shl(order).unwrap_or(window.2);
        let Ok(mut iova) = IovaAllocator::new(granule, BusAddr::new(window.0), BusAddr::new(window.1)) else {
            return Ok(());
        };
        for ((bytes, limit, align, boundary), (align_order, boundary_order)) in requests.into_iter().zip(orders) {
            for request in [
                IovaRequest::new(bytes).limit(limit).align(align).boundary(boundary),
                IovaRequest::new(bytes >> align_order).limit(limit).align(1 << align_order).boundary(1 << boundary_order),
            ] {
                if let Ok(range) = iova.alloc(&request) {
                    let last = range.addr().raw().checked_add(range.len_bytes() - 1).unwrap();
                    prop_assert!(range.addr().raw() >= window.0 && last <= window.1.min(request.limit));
                }
            }
        }
    }
}

#[test]
fn a_fragmented_window_still_finds_what_is_left() {
    let last = 64 * 1024 * PAGE - 1;
    let mut iova = IovaAllocator::new(PAGE, BusAddr::new(0), BusAddr::new(last)).unwrap();
    let all: Vec<IovaRange> = (0..64 * 1024).map(|_| iova.alloc(&IovaRequest::new(PAGE)).unwrap()).collect();
    // Every other granule is free, and one aligned pair near the bottom.
    for range in all.iter().filter(|range| range.addr().raw() / PAGE % 2 == 1) {
        iova.free(*range).unwrap();
    }
    let pair = all.iter().find(|range| range.addr().raw() == 64 * PAGE).unwrap();
    iova.free(*pair).unwrap();
    let error = iova.alloc(&IovaRequest::new(3 * PAGE)).unwrap_err();
    assert!(
        matches!(error, IovaError::Exhausted { largest_free, .. } if largest_free == 2 * PAGE),
        "{error}"
    );
    assert_eq!(iova.alloc(&IovaRequest::new(2 * PAGE)).unwrap().addr().raw(), 64 * PAGE);
}
