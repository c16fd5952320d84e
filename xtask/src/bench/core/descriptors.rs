//! Descriptors: a list planned and encoded for an NVMe device, beside a loop over pairs that only checks and encodes.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use scatterlist::desc::PlainMemory;
use scatterlist::desc::{prp, sgl};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr as _, BusAddr, LimitId, Limits, Position, ScatterList, Segment};

use super::{PAGE, Subject, scattered, time_each};

/// Pages of 2 MiB.
const MANY: u64 = 512;

const PEER: &str = "a loop over Vec<(u64, u64)>";

/// Where the device sees the list.
const LIST: u64 = 0x10_0000;

/// What an NVMe device adds to the limits of its descriptors.
fn stricter(limits: Limits) -> Result<Limits> {
    let limits = limits.to_builder().hard(LimitId::PositionAlign, 512).hard(LimitId::TransferLenMax, 4 << 20);
    limits.build().context("the limits of NVMe")
}

type Pairs = Vec<(u64, u64)>;

fn pages(count: u64) -> Result<(ScatterList<BusAddr>, Pairs)> {
    let mut list = ScatterList::new();
    for addr in scattered(count) {
        list.append(Segment::new(BusAddr::new(addr), PAGE)?)?;
    }
    Ok((list, scattered(count).map(|addr| (addr, PAGE)).collect()))
}

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let page = prp::MemoryPage::new(PAGE)?;
    let prps = stricter(prp::limits(page, page.slots())?)?;
    let sgls = stricter(sgl::limits(256, sgl::Granularity::Byte)?)?;
    let (few, few_pairs) = pages(32)?;
    let (many, many_pairs) = pages(MANY)?;
    let (sgl_few, sgl_pairs) = (few.clone(), few_pairs.clone());
    Ok(vec![
        Subject::new("32 pages planned and encoded to PRP", to_prps(few, page, prps))
            .beside(PEER, prps_by_hand(few_pairs))
            .below(45.0),
        Subject::new("32 pages planned and encoded to SGL", to_sgl(sgl_few, sgls))
            .beside(PEER, sgl_by_hand(sgl_pairs))
            .below(28.0),
        Subject::new("2 MiB of single pages to PRP, per entry", per_entry(to_prps(many, page, prps)))
            .beside(PEER, per_entry(prps_by_hand(many_pairs)))
            .below(1.2),
    ])
}

fn per_entry(mut sample: impl FnMut() -> f64) -> impl FnMut() -> f64 {
    move || sample() / MANY as f64
}

fn to_prps(list: ScatterList<BusAddr>, page: prp::MemoryPage, limits: Limits) -> impl FnMut() -> f64 {
    let mut words = vec![0; 512];
    move || {
        time_each(10_000, || {
            let ready =
                plan(black_box(&list), Position::At(0), black_box(&limits), Policy::SplitOrBounce).next();
            let Some(Ok(ready)) = &ready else { return };
            let mut lists = [PlainMemory::new(BusAddr::new(LIST), &mut words)];
            let prps = prp::encode(ready, black_box(page), &mut lists);
            debug_assert!(prps.is_ok());
            black_box((&prps, &lists));
        })
    }
}

fn to_sgl(list: ScatterList<BusAddr>, limits: Limits) -> impl FnMut() -> f64 {
    let mut words = vec![0; 512];
    move || {
        time_each(10_000, || {
            let ready =
                plan(black_box(&list), Position::At(0), black_box(&limits), Policy::SplitOrBounce).next();
            let Some(Ok(ready)) = &ready else { return };
            let mut lists = [PlainMemory::new(BusAddr::new(LIST), &mut words)];
            let pointer = sgl::encode(ready, &mut lists);
            debug_assert!(pointer.is_ok());
            black_box((&pointer, &lists));
        })
    }
}

fn prps_by_hand(pairs: Pairs) -> impl FnMut() -> f64 {
    let mut words = vec![0_u64; 512];
    move || {
        time_each(10_000, || {
            let (pairs, page) = (black_box(&pairs), black_box(PAGE));
            let [(first, first_len), rest @ ..] = pairs.as_slice() else { return };
            let mut end = first + first_len;
            let mut aligned = first % 4 == 0;
            for (word, (addr, len)) in words.iter_mut().zip(rest) {
                aligned &= (end | addr) & (page - 1) == 0 && *len <= page;
                end = addr + len;
                *word = *addr;
            }
            black_box((first, aligned, &words));
        })
    }
}

fn sgl_by_hand(pairs: Pairs) -> impl FnMut() -> f64 {
    let mut words = vec![0_u64; 512];
    move || {
        time_each(10_000, || {
            let pairs = black_box(&pairs);
            let mut fits = true;
            for (words, (addr, len)) in words.as_chunks_mut().0.iter_mut().zip(pairs) {
                fits &= *len <= u64::from(u32::MAX);
                *words = [*addr, *len];
            }
            black_box((fits, &words));
        })
    }
}
