//! NVMe descriptors: what is planned for a format encodes, and the controller then moves exactly the planned bytes.
//!
//! The walkers read as a controller does and know nothing of the encoders, so every property here ends with "the walk
//! collects the list". The other half is what must be refused: lists that the format cannot say, memory that cannot
//! hold them, and bytes that no encoder wrote.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../nvme_model/mod.rs"]
mod nvme_model;
mod prp;
mod sgl;

use nvme_model::{Seg, segment};
use proptest::prelude::*;

/// Any segments: pages, runs of pages, ragged ones, at any address that is a multiple of 4, with barriers here
/// and there.
fn any_segments(page: u64) -> impl Strategy<Value = Vec<Seg>> {
    let len = prop_oneof![
        20 => Just(page),
        10 => (1..9_u64).prop_map(move |pages| pages * page),
        1 => (500..1100_u64).prop_map(move |pages| pages * page),
        10 => 1..3 * page,
    ];
    let addr = (1..1000_u64, prop_oneof![3 => Just(0), 1 => (0..page / 4).prop_map(|dwords| dwords * 4)]);
    let one = (addr, len, any::<bool>()).prop_map(move |((place, offset), len, barrier)| {
        // Places overlap now and then, and some are adjacent: a list may say so.
        let segment = segment((place << 24) + offset, len);
        if barrier { segment.with_barrier() } else { segment }
    });
    prop::collection::vec(one, 1..40)
}

/// Segments that PRPs can say: the first may start, and the last may end, inside a page.
fn prp_segments(page: u64) -> impl Strategy<Value = Vec<Seg>> {
    let pages = prop_oneof![40 => Just(1_u64), 20 => 2..9_u64, 1 => 500..530_u64];
    (prop::collection::vec((1..1000_u64, pages), 1..60), 0..page / 4, 0..page).prop_map(
        move |(runs, dwords, less)| {
            let count = runs.len();
            let run = |(index, (place, pages)): (usize, (u64, u64))| {
                let offset = if index == 0 { dwords * 4 } else { 0 };
                let end = pages * page - if index + 1 == count { less } else { 0 };
                segment((place << 24) + offset, end.saturating_sub(offset).max(1))
            };
            runs.into_iter().enumerate().map(run).collect()
        },
    )
}
