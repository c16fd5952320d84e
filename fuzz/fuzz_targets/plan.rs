//! The planner: any list, any limits, any position and policy. Nothing panics, and each request keeps every hard limit
//! and covers exactly the next bytes, by the checker of the property tests.
#![no_main]

#[path = "../../crates/scatterlist/tests/plan_checker/mod.rs"]
mod plan_checker;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use plan_checker::{POLICIES, Seg, check_request, run};
use scatterlist::ScatterList;
use scatterlist::plan::plan;
use scatterlist_fuzz as fuzz;

/// The work of a plan is its pieces; this many for each segment are enough to meet everything.
const PIECES_EACH: u64 = 40;

fuzz_target!(|data: &[u8]| {
    // Too few bytes is not a case.
    let _ = one(&mut Unstructured::new(data));
});

fn one(input: &mut Unstructured<'_>) -> Result<()> {
    let limits = match fuzz::limits(input)?.build() {
        Ok(limits) => limits,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    let position = fuzz::position(input)?;
    let len_max = fuzz::shortest_piece(&limits).saturating_mul(PIECES_EACH);
    let mut segments: Vec<Seg> = Vec::new();
    while !input.is_empty() && segments.len() < 60 {
        segments.extend(fuzz::segment(input, len_max)?);
    }
    let bytes: u128 = segments.iter().map(|segment| u128::from(segment.len())).sum();
    for policy in POLICIES {
        if bytes > u128::from(u64::MAX) {
            // Such a list has no length to check against.
            for ready in plan(&segments[..], position, &limits, policy).take(50).flatten() {
                assert!(ready.pieces().take(50).all(|piece| piece.len_bytes() > 0));
            }
            continue;
        }
        let (requests, error) = run(&segments[..], position, &limits, policy);
        let mut from = 0;
        for request in &requests {
            assert_eq!(Some(request.position), position.after(from));
            check_request(&segments, from, request, &limits, policy);
            from += request.len;
        }
        if let Some(error) = error {
            assert!(!error.to_string().is_empty());
        }
        // A chain keeps totals, which may spare the walk, and must not change the plan.
        let list = ScatterList::from_segments(segments.iter().copied()).expect("its bytes fit 64 bits");
        assert_eq!((requests, error), run(&list, position, &limits, policy));
    }
    Ok(())
}
