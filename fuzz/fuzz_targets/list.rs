//! The chain: any steps of append, prepend, splice, split and clear on a few lists, beside vectors.
#![no_main]

#[path = "../../crates/scatterlist/tests/list_model/mod.rs"]
mod list_model;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use list_model::{LISTS, Lists, Step};
use scatterlist::{Addr, PhysAddr, Segment};
use scatterlist_fuzz as fuzz;

/// Steps of one run, and segments that one step appends: enough to fill chunks and to split them.
const STEPS_MAX: usize = 100;
const APPENDED_MAX: u64 = 700;

fuzz_target!(|data: &[u8]| {
    let mut lists = Lists::new();
    let mut input = Unstructured::new(data);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        // A segment that is none is no step.
        if let Ok(Some(step)) = step(&mut input, &lists) {
            lists.apply(step);
            lists.check();
        }
    }
});

fn step(input: &mut Unstructured<'_>, lists: &Lists) -> Result<Option<Step>> {
    let list = input.choose_index(LISTS)?;
    let other = input.choose_index(LISTS)?;
    let segment = |input: &mut Unstructured<'_>| fuzz::segment(input, u64::MAX);
    Ok(Some(match input.int_in_range(0..=8)? {
        0 | 1 => Step::Append { list, segments: segment(input)?.into_iter().collect() },
        2 => {
            let (start, count) =
                (u64::from(input.arbitrary::<u16>()?), input.int_in_range(0..=APPENDED_MAX)?);
            let stride = input.int_in_range(1..=3)?;
            let page = |index| Segment::new(PhysAddr::new((start + index * stride) << 12), 4096).ok();
            Step::Append { list, segments: (0..count).filter_map(page).collect() }
        }
        3 => match segment(input)? {
            Some(segment) => Step::Prepend { list, segment },
            None => return Ok(None),
        },
        4 | 5 => Step::Splice { into: list, from: other },
        6 => Step::Split { list, to: other, at: fuzz::number(input)? },
        7 => {
            let at = fuzz::number(input)?;
            Step::Split { list, to: other, at: at.checked_rem(lists.bytes(list)).unwrap_or(0) }
        }
        _ => Step::Clear { list },
    }))
}
