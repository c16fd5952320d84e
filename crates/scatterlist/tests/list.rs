//! The chain against the plainest model there is: a vector of segments.
//!
//! Random sequences of append, prepend, splice and split on several lists, after each of which contents,
//! counts and totals are compared: contents and counts exactly, bounds for soundness, and for exactness while
//! a list has only grown.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod list_model;

use list_model::{LISTS, Lists, Seg, Step, check, push};
use proptest::prelude::*;
use scatterlist::{Addr, PhysAddr, ScatterList, Segment};

fn segment(page: u64, len: u64, barrier: bool) -> Seg {
    let segment = Segment::new(PhysAddr::new(page * 512), len).unwrap();
    if barrier { segment.with_barrier() } else { segment }
}

fn step() -> impl Strategy<Value = Step> {
    let list = 0..LISTS;
    let append = |(list, page, len, barrier, times): (usize, u64, u64, bool, u64)| {
        let segment =
            |turn: u64| segment(page + turn * (turn % 3 + 1), len, barrier && turn.is_multiple_of(2));
        Step::Append { list, segments: (0..times).map(segment).collect() }
    };
    prop_oneof![
        4 => (list.clone(), 1..4000_u64, 1..3000_u64, any::<bool>(), prop_oneof![3 => 1..8_u64, 1 => 300..1400_u64])
            .prop_map(append),
        2 => (list.clone(), 1..4000_u64, prop_oneof![Just(512_u64), 1..3000_u64])
            .prop_map(|(list, page, len)| Step::Prepend { list, segment: segment(page, len, false) }),
        3 => (list.clone(), list.clone()).prop_map(|(into, from)| Step::Splice { into, from }),
        // Where the split is comes out with the length of the list, below.
        3 => (list.clone(), list.clone(), any::<u64>()).prop_map(|(list, to, at)| Step::Split { list, to, at }),
        1 => list.prop_map(|list| Step::Clear { list }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn chain_equals_vector(steps in prop::collection::vec(step(), 1..40)) {
        let mut lists = Lists::new();
        for step in steps {
            lists.apply(match step {
                Step::Split { list, to, at } => Step::Split { list, to, at: at % (lists.bytes(list) + 1) },
                step => step,
            });
            lists.check();
        }
    }

    #[test]
    fn totals_are_exact_while_a_list_grows(
        segments in prop::collection::vec((1..4000_u64, 1..3000_u64, any::<bool>()), 1..1500),
    ) {
        let mut list = ScatterList::new();
        let mut model = Vec::new();
        for (page, len, barrier) in segments {
            let segment = segment(page, len, barrier);
            list.append(segment).unwrap();
            push(&mut model, segment);
        }
        check(&list, &model, true);
    }
}

/// The promise of the design: under 17 bytes of memory a segment at scale, however the list came to be.
#[test]
fn memory_per_segment_stays_under_17_bytes() {
    let scattered = |from: u64, count: u64| {
        ScatterList::from_segments((from..from + count).map(|page| segment(page * 16, 4096, false))).unwrap()
    };
    for piece in [1, 3, 40, 100, 255, 257, 300, 511, 512, 513, 700, 1025] {
        let mut list = ScatterList::new();
        let mut at = 0;
        while list.len_segments() < 200_000 {
            list.splice(&mut scattered(at, piece)).unwrap();
            at += piece;
        }
        // Split at odd places and put together again.
        for turn in 1..200_u64 {
            let mut back = list.split_off(list.len_bytes() / 200 * turn + turn).unwrap();
            list.splice(&mut back).unwrap();
        }
        let per_segment = list.heap_bytes() as f64 / list.len_segments() as f64;
        assert!(per_segment < 17.0, "{per_segment:.2} bytes a segment from lists of {piece}");
    }
}

#[test]
fn a_list_past_64_bits_is_refused_and_unchanged() {
    let half = Segment::new(PhysAddr::new(0), Seg::LEN_MAX).unwrap();
    let mut list = ScatterList::from(half);
    list.append(half).unwrap();
    let error = list.append(half).unwrap_err();
    assert_eq!(error.bytes, 2 * Seg::LEN_MAX);
    assert_eq!(list.len_segments(), 2);
    assert_eq!(ScatterList::from_segments([half, half, half]).unwrap_err(), error);
    assert!(list.prepend(half).is_err());
    let mut other = ScatterList::from(half);
    assert!(list.splice(&mut other).is_err());
    assert_eq!((list.len_segments(), other.len_segments()), (2, 1));
}

#[test]
fn reserve_and_clear_keep_memory() {
    let mut list = ScatterList::new();
    list.reserve(10_000);
    let held = list.heap_bytes();
    for page in 0..10_000 {
        list.append(segment(page * 16, 4096, false)).unwrap();
    }
    // Links change hands, entries do not grow.
    assert!(list.heap_bytes() <= held + 512 * 16, "{} after {held}", list.heap_bytes());
    list.clear();
    assert!(list.is_empty() && list.heap_bytes() >= 10_000 * 16);
}

#[test]
fn splitting_past_the_end_is_refused() {
    let mut list = ScatterList::from(segment(1, 100, false));
    let error = list.split_off(101).unwrap_err();
    assert_eq!((error.bytes, error.at), (100, 101));
    assert_eq!(list.len_bytes(), 100);
}

proptest! {
    /// Segments in bulk are the same as segments one by one, within a chunk and beyond.
    #[test]
    fn segments_in_bulk_equal_segments_one_by_one(
        segments in prop::collection::vec((1..40_u64, 1..3000_u64, any::<bool>(), any::<bool>()), 1..40),
        repeats in 1..40_usize,
    ) {
        let mut end = 0;
        let segments: Vec<Seg> = std::iter::repeat_n(&segments, repeats)
            .flatten()
            .map(|&(hole, len, adjacent, barrier)| {
                let start = if adjacent { end } else { end + hole };
                end = start + len;
                let segment = Segment::new(PhysAddr::new(start), len).unwrap();
                if barrier { segment.with_barrier() } else { segment }
            })
            .collect();
        let mut model = Vec::new();
        for segment in &segments {
            push(&mut model, *segment);
        }
        check(&ScatterList::from_segments(segments).unwrap(), &model, true);
    }

    /// Pages in bulk are the same as pages one by one, whatever stood there before.
    #[test]
    fn pages_in_bulk_equal_pages_one_by_one(
        before in prop::collection::vec((1..40_u64, 1..3000_u64), 0..4),
        frames in prop::collection::vec(prop_oneof![3 => 0..30_u64, 1 => Just(u64::MAX >> 12)], 1..40),
        repeats in 1..40_usize,
        offset in 0..9000_u64,
        len in 0..2_000_000_u64,
    ) {
        // Runs of adjacent pages, and more than a chunk of them now and then.
        let mut frame = 0_u64;
        let pages: Vec<PhysAddr> = std::iter::repeat_n(&frames, repeats)
            .flatten()
            .map(|&step| {
                frame = if step == u64::MAX >> 12 { step } else { (frame + step % 3 + 1) % 100_000 };
                PhysAddr::new(frame << 12)
            })
            .collect();
        let before: Vec<Seg> = before.iter().map(|&(page, len)| segment(page, len, false)).collect();
        let mut bulk = ScatterList::from_segments(before.iter().copied()).unwrap();
        let answer = bulk.append_pages(&pages, 4096, offset, len);

        let mut model = Vec::new();
        for segment in &before {
            push(&mut model, *segment);
        }
        let bytes = pages.len() as u64 * 4096;
        if len > 0 && offset + len > bytes {
            prop_assert_eq!(answer, Err(scatterlist::SelectError::PastEnd { index: 0, offset, len, bytes }));
        } else {
            let (mut at, mut left, mut wrapped) = (offset, len, false);
            while left > 0 {
                let here = (4096 - at % 4096).min(left);
                let page = pages[usize::try_from(at / 4096).unwrap()];
                match Segment::new(PhysAddr::new(page.raw() + at % 4096), here) {
                    Ok(segment) => push(&mut model, segment),
                    Err(_) => {
                        wrapped = true;
                        break;
                    }
                }
                (at, left) = (at + here, left - here);
            }
            prop_assert_eq!(answer.is_err(), wrapped);
        }
        check(&bulk, &model, true);
    }
}
