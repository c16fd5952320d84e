//! The chain against the plainest model there is: a vector of segments.
//!
//! Random sequences of append, prepend, splice and split on several lists, after each of which contents,
//! counts and totals are compared: contents and counts exactly, bounds for soundness, and for exactness while
//! a list has only grown.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use scatterlist::{Addr, PhysAddr, ScatterList, Segment, Totals};

type Seg = Segment<PhysAddr>;

fn segment(page: u64, len: u64, barrier: bool) -> Seg {
    let segment = Segment::new(PhysAddr::new(page * 512), len).unwrap();
    if barrier { segment.with_barrier() } else { segment }
}

fn push(model: &mut Vec<Seg>, segment: Seg) {
    if let Some(joined) = model.last().and_then(|last| last.joined(segment)) {
        *model.last_mut().unwrap() = joined;
    } else {
        model.push(segment);
    }
}

fn check(list: &ScatterList<PhysAddr>, model: &[Seg], only_grew: bool) {
    assert_eq!(list.iter().collect::<Vec<_>>(), model);
    assert_eq!(list.first(), model.first().copied());
    assert_eq!(list.last(), model.last().copied());
    let exact = Totals::of(model.iter().copied());
    let totals = list.totals();
    assert_eq!((totals.bytes, totals.segments), (exact.bytes, exact.segments));
    assert_eq!((list.len_bytes(), list.len_segments()), (exact.bytes, exact.segments));
    if only_grew {
        assert_eq!(totals, exact);
    }
    assert!(totals.longest >= exact.longest);
    assert!(totals.addr_min <= exact.addr_min);
    assert!(totals.addr_end >= exact.addr_end);
    assert_eq!(exact.start_bits & !totals.start_bits, 0, "start bits lost");
    assert_eq!(exact.len_bits & !totals.len_bits, 0, "length bits lost");
    assert_eq!(exact.gap_bits & !totals.gap_bits, 0, "gap bits lost");
}

#[derive(Clone, Debug)]
enum Step {
    Append { list: usize, page: u64, len: u64, barrier: bool, times: u64 },
    Prepend { list: usize, page: u64, len: u64 },
    Splice { into: usize, from: usize },
    Split { list: usize, to: usize, at: f64 },
    Clear { list: usize },
}

const LISTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let list = 0..LISTS;
    prop_oneof![
        4 => (list.clone(), 1..4000_u64, 1..3000_u64, any::<bool>(), prop_oneof![3 => 1..8_u64, 1 => 300..1400_u64])
            .prop_map(|(list, page, len, barrier, times)| Step::Append { list, page, len, barrier, times }),
        2 => (list.clone(), 1..4000_u64, prop_oneof![Just(512_u64), 1..3000_u64])
            .prop_map(|(list, page, len)| Step::Prepend { list, page, len }),
        3 => (list.clone(), list.clone()).prop_map(|(into, from)| Step::Splice { into, from }),
        3 => (list.clone(), list.clone(), 0.0..=1.0_f64)
            .prop_map(|(list, to, at)| Step::Split { list, to, at }),
        1 => list.prop_map(|list| Step::Clear { list }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn chain_equals_vector(steps in prop::collection::vec(step(), 1..40)) {
        let mut lists = vec![ScatterList::new(); LISTS];
        let mut models = vec![Vec::new(); LISTS];
        for step in steps {
            match step {
                Step::Append { list, page, len, barrier, times } => {
                    for turn in 0..times {
                        let segment = segment(page + turn * (turn % 3 + 1), len, barrier && turn % 2 == 0);
                        lists[list].append(segment).unwrap();
                        push(&mut models[list], segment);
                    }
                }
                Step::Prepend { list, page, len } => {
                    let segment = segment(page, len, false);
                    lists[list].prepend(segment).unwrap();
                    let old = std::mem::take(&mut models[list]);
                    push(&mut models[list], segment);
                    for segment in old {
                        push(&mut models[list], segment);
                    }
                }
                Step::Splice { into, from } if into != from => {
                    let mut other = std::mem::take(&mut lists[from]);
                    lists[into].splice(&mut other).unwrap();
                    prop_assert!(other.is_empty());
                    for segment in std::mem::take(&mut models[from]) {
                        push(&mut models[into], segment);
                    }
                }
                Step::Splice { .. } => {}
                Step::Split { list, to, at } => {
                    let bytes = lists[list].len_bytes();
                    let at = ((bytes as f64) * at) as u64;
                    let back = lists[list].split_off(at.min(bytes)).unwrap();
                    let mut front = Vec::new();
                    let mut rest = Vec::new();
                    let mut before = 0;
                    for segment in std::mem::take(&mut models[list]) {
                        let end = before + segment.len();
                        if end <= at {
                            front.push(segment);
                        } else if before >= at {
                            rest.push(segment);
                        } else {
                            let (head, tail) = segment.split(at - before).unwrap();
                            front.push(head);
                            rest.push(tail);
                        }
                        before = end;
                    }
                    models[list] = front;
                    if to == list {
                        check(&back, &rest, false);
                        let mut back = back;
                        lists[list].splice(&mut back).unwrap();
                        for segment in rest {
                            push(&mut models[list], segment);
                        }
                    } else {
                        lists[to] = back;
                        models[to] = rest;
                    }
                }
                Step::Clear { list } => {
                    lists[list].clear();
                    models[list].clear();
                }
            }
            for (list, model) in lists.iter().zip(&models) {
                check(list, model, false);
            }
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
