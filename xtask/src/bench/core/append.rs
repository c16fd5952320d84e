//! Building lists: page by page, and many pages at once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use scatterlist::{Addr as _, PhysAddr, ScatterList, Segment};

use super::super::report::Report;
use super::{PAGE, Subject, median_of, scattered, time_each};

/// Appends to measure at one size, at least.
const APPENDS: u64 = 200_000;

/// Appends between two looks at the clock, at least.
const APPENDS_AT_ONCE: u64 = 64;

const SIZES: [(u64, &str); 6] =
    [(1, "1"), (16, "16"), (1_000, "1 k"), (100_000, "100 k"), (1_000_000, "1 M"), (10_000_000, "10 M")];

fn name(size: &str) -> String {
    format!("append one page, list of {size}")
}

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let appends = SIZES.into_iter().map(|(size, label)| {
        let lists = usize::try_from(APPENDS_AT_ONCE / size).unwrap_or(0).max(1);
        let mut lists = vec![ScatterList::new(); lists];
        Subject::new(name(label), move || append_sample(&mut lists, size)).below(4.0)
    });
    let mut all: Vec<Subject> = appends.collect();
    let pages: Vec<PhysAddr> = scattered(32).map(PhysAddr::new).collect();
    let raw = pages.clone();
    let bulk = move || {
        time_each(10_000, || {
            let list = ScatterList::from_pages(black_box(&pages), PAGE, 0, 32 * PAGE);
            black_box(&list);
        })
    };
    let peer = move || {
        time_each(10_000, || {
            let pairs: Vec<(u64, u64)> = black_box(&raw).iter().map(|page| (page.raw(), PAGE)).collect();
            black_box(&pairs);
        })
    };
    all.push(Subject::new("32 pages built and freed", bulk).beside("Vec<(u64, u64)>", peer).below(90.0));
    Ok(all)
}

/// Fills cleared lists, many at a time where they are small, so that clearing them stays out of the time.
fn append_sample(lists: &mut [ScatterList<PhysAddr>], size: u64) -> f64 {
    let appends = size * lists.len() as u64;
    let turns = (APPENDS / appends).max(1);
    let mut time = Duration::ZERO;
    for _ in 0..turns {
        for list in &mut *lists {
            if list.is_empty() {
                // The first time: memory is reserved and made warm.
                list.reserve(usize::try_from(size).unwrap_or(0));
                fill(list, size);
            }
            list.clear();
        }
        let start = Instant::now();
        for list in &mut *lists {
            fill(black_box(list), size);
        }
        time += start.elapsed();
    }
    time.as_nanos() as f64 / (appends * turns) as f64
}

fn fill(list: &mut ScatterList<PhysAddr>, size: u64) {
    for addr in scattered(size) {
        if let Ok(segment) = Segment::new(PhysAddr::new(black_box(addr)), PAGE) {
            let appended = list.append(segment);
            debug_assert!(appended.is_ok());
        }
    }
}

/// Says whether a page costs the same in a list of 16 and in one of 10 million.
pub(super) fn flatness(subjects: &[Subject], report: &mut Report) {
    let (small, large) = (median_of(subjects, &name("16")), median_of(subjects, &name("10 M")));
    let growth = large / small;
    report.figure("append one page, 10 M over 16", "times", &[growth]);
    report.gate(Some(growth < 1.5), format!("append is flat: 10 M costs {growth:.2} times what 16 costs"));
}
