//! Bus addresses behind an IOMMU: 128 KiB of scattered pages mapped one by one and unmapped as one range.
//!
//! The peer has the same tables and checks an entry before it fills it, but walks from the root for each page, in and out. With
//! addresses allocated, ours come from the cache and the peer's from a sorted map of free runs.

use std::collections::BTreeMap;
use std::hint::black_box;

use anyhow::{Context as _, Result};
use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{FourLevelTable, IovaAllocator, IovaRequest, LeafCursor as _, PageTable as _};
use scatterlist::{Addr as _, BusAddr, PhysAddr};

use super::{PAGE, Subject, scattered, time_each};

const PAGES: u64 = 32;
const BYTES: u64 = PAGES * PAGE;
const WINDOW: u64 = 1 << 32;
const LOOPS: u64 = 10_000;

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let pages: Vec<PhysAddr> = scattered(PAGES).map(PhysAddr::new).collect();
    let others: Vec<PhysAddr> = pages.clone();
    let (raw, more): (Vec<u64>, Vec<u64>) = (scattered(PAGES).collect(), scattered(PAGES).collect());
    let mut table = FourLevelTable::new(1 << 16);
    let mut allocated = FourLevelTable::new(1 << 16);
    let mut walked = Walked::new();
    let mut walked_too = Walked::new();
    let mut iova = allocator()?;
    let mut runs = BTreeMap::from([(PAGE, WINDOW - PAGE)]);
    let mut elsewhere = FourLevelTable::new(1 << 16);
    let elsewhere_pages = pages.clone();
    let mut turn = 0_u64;
    let at = BusAddr::new(0xfffc_0000);
    Ok(vec![
        Subject::new("128 KiB of IOVA mapped page by page and unmapped", move || {
            time_each(LOOPS, || {
                black_box(ours(&mut table, black_box(at), black_box(&pages)));
            })
        })
        .beside("a walk from the root for each page", move || {
            time_each(LOOPS, || {
                black_box(walked.turn(black_box(at.raw()), black_box(&raw)));
            })
        })
        .below(120.0),
        Subject::new("the same, each time in another 2 MiB", move || {
            time_each(LOOPS, || {
                turn = (turn + 1) % 16;
                let at = BusAddr::new(0xe000_0000 + turn * (2 << 20));
                black_box(ours(&mut elsewhere, black_box(at), black_box(&elsewhere_pages)));
            })
        }),
        Subject::new("128 KiB of IOVA allocated from the cache, mapped, unmapped, freed", move || {
            time_each(LOOPS, || {
                let range = iova.alloc(black_box(&IovaRequest::new(BYTES).boundary(WINDOW)));
                let done = range.is_ok_and(|range| {
                    ours(&mut allocated, range.addr(), black_box(&others)) && iova.free(range).is_ok()
                });
                black_box(done);
            })
        })
        .beside("a walk for each page, a map of free runs", move || {
            time_each(LOOPS, || {
                let at = take(black_box(&mut runs)).unwrap_or(0);
                black_box(walked_too.turn(at, black_box(&more)));
                give(&mut runs, at);
            })
        })
        .below(160.0),
    ])
}

/// An allocator that others use too: some ranges are out, some come and go.
fn allocator() -> Result<IovaAllocator> {
    let mut iova =
        IovaAllocator::new(PAGE, BusAddr::new(PAGE), BusAddr::new(WINDOW - 1)).context("a window")?;
    let out: Vec<_> = (0..64).filter_map(|_| iova.alloc(&IovaRequest::new(BYTES)).ok()).collect();
    for range in out.into_iter().skip(32) {
        iova.free(range).context("a range")?;
    }
    Ok(iova)
}

fn ours(table: &mut FourLevelTable, at: BusAddr, pages: &[PhysAddr]) -> bool {
    let mut cursor = table.cursor(at, DmaDirection::ToDevice);
    let mapped = pages.iter().all(|page| cursor.map(*page, PAGE).is_ok());
    let unmapped = table.unmap(at, BYTES).is_ok_and(|unmapped| unmapped.bytes == BYTES);
    table.flush(at, BYTES);
    mapped && unmapped
}

/// Four levels of tables that are walked for each page.
struct Walked {
    tables: Vec<[u64; 512]>,
}

impl Walked {
    fn new() -> Self {
        let mut tables = Vec::with_capacity(64);
        tables.push([0; 512]);
        Self { tables }
    }

    fn turn(&mut self, at: u64, pages: &[u64]) -> bool {
        let addresses = (at..).step_by(4096);
        let mut good = true;
        for (at, page) in addresses.clone().zip(pages) {
            let entry = self.entry(at);
            good &= *entry == 0;
            *entry = page | 3;
        }
        for (at, _) in addresses.zip(pages) {
            let entry = self.entry(at);
            good &= *entry != 0;
            *entry = 0;
        }
        good
    }

    #[inline(never)]
    fn entry(&mut self, at: u64) -> &mut u64 {
        let index = |level: u32| ((at >> (12 + 9 * level)) & 511) as usize;
        let mut table = 0;
        for level in (1..4).rev() {
            let below = self.tables[table][index(level)];
            table = if below == 0 {
                self.tables.push([0; 512]);
                let made = self.tables.len() - 1;
                self.tables[table][index(level)] = made as u64;
                made
            } else {
                below as usize
            };
        }
        &mut self.tables[table][index(0)]
    }
}

/// The highest 128 KiB of the free runs, on a multiple of that.
fn take(runs: &mut BTreeMap<u64, u64>) -> Option<u64> {
    let (start, end, at) = runs.iter().rev().find_map(|(&start, &len)| {
        let end = start + len;
        let at = end.checked_sub(BYTES)? & !(BYTES - 1);
        (at >= start).then_some((start, end, at))
    })?;
    runs.remove(&start);
    if at > start {
        runs.insert(start, at - start);
    }
    if end > at + BYTES {
        runs.insert(at + BYTES, end - at - BYTES);
    }
    Some(at)
}

fn give(runs: &mut BTreeMap<u64, u64>, at: u64) {
    let mut run = (at, BYTES);
    if let Some(after) = runs.remove(&(at + BYTES)) {
        run.1 += after;
    }
    if let Some((&before, &len)) = runs.range(..at).next_back()
        && before + len == at
    {
        runs.remove(&before);
        run = (before, run.1 + len);
    }
    runs.insert(run.0, run.1);
}
