//! PRPs. Bytes that nobody encoded, read as entries and lists: pages or an error, within the bounds, and the raw views find
//! the same. Any list, planned, encoded and walked: the same bytes.
#![no_main]

#[path = "../../crates/scatterlist/tests/nvme_model/mod.rs"]
#[expect(dead_code, reason = "the other format is another target")]
mod nvme_model;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use nvme_model::prp::{LISTS, check_request, collected};
use nvme_model::{List, Memories, PutOnly, bounced, joined};
use scatterlist::desc::BusRead;
use scatterlist::desc::prp::{
    ENTRIES_MAX, ListPage, MemoryPage, Prps, Second, SharedList, Slot, encode, limits, walk,
};
use scatterlist::plan::{Policy, Ready, plan};
use scatterlist::{Addr as _, BusAddr, Position, ScatterList, Segment};
use scatterlist_fuzz as fuzz;
use scatterlist_fuzz::memory::Memory;

/// Pages of a list that is planned.
const PAGES_MAX: u64 = 3000;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=3) {
        Ok(0 | 1) => raw(&mut input),
        Ok(2) => planned(&mut input),
        _ => shared(&mut input),
    };
});

fn page(input: &mut Unstructured<'_>) -> Result<MemoryPage> {
    let len = match input.int_in_range(0..=5)? {
        0 => fuzz::number(input)?,
        1 => 1 << input.int_in_range(13..=16)?,
        _ => 4096,
    };
    Ok(MemoryPage::new(len).unwrap_or_else(|error| {
        assert!(!error.to_string().is_empty());
        MemoryPage::new(4096).expect("the smallest")
    }))
}

/// Walks what nobody encoded.
fn raw(input: &mut Unstructured<'_>) -> Result<()> {
    let page = page(input)?;
    let reads_max = if fuzz::rarely(input, 32)? { u64::MAX } else { 500 };
    let base = input.int_in_range(0..=0x10_0000)? * 8;
    let memory = Memory::new(input, base, reads_max)?;
    let inside = |input: &mut Unstructured<'_>| Ok(base + u64::from(input.arbitrary::<u8>()?) * 8);
    let prp1 = if input.arbitrary()? { fuzz::number(input)? & !3 } else { fuzz::number(input)? };
    let prp2 = if input.ratio(3, 4)? { inside(input)? } else { fuzz::number(input)? };
    let bytes = if input.arbitrary()? { u64::from(input.arbitrary::<u32>()?) } else { fuzz::number(input)? };
    let prps = Prps::new(prp1, prp2);
    assert_eq!(Prps::from_le_bytes(prps.to_le_bytes()), prps);

    let (mut sum, mut runs, mut failed) = (0_u64, Vec::new(), None);
    let mut found = walk(&memory, page, prps, bytes);
    for run in found.by_ref() {
        assert!(failed.is_none(), "goes on after {failed:?}");
        match run {
            Ok(run) => {
                assert_eq!(
                    run.addr().raw() / page.len(),
                    (run.end() - 1) / page.len(),
                    "a run is in one page"
                );
                sum += run.len();
                runs.push(run);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = Some(error);
            }
        }
    }
    assert!(found.next().is_none());
    assert!(if failed.is_some() { sum <= bytes } else { sum == bytes }, "{sum} of {bytes}: {failed:?}");
    let count = u64::try_from(runs.len()).unwrap_or(u64::MAX);
    assert!(count <= ENTRIES_MAX && memory.reads() <= (count + 1) * 2);
    if failed.is_none() && runs.len() < 1000 && page.len() <= 1 << 16 {
        assert_eq!(
            viewed(&memory.unbounded(), page, prps, bytes),
            runs.iter().map(Segment::addr).collect::<Vec<_>>()
        );
    }
    views(input, page, memory.bytes())
}

/// Finds the pages of a transfer with the raw views alone.
fn viewed(memory: &Memory, page: MemoryPage, prps: Prps, bytes: u64) -> Vec<BusAddr> {
    let mut pages = if bytes > 0 { vec![prps.prp1()] } else { Vec::new() };
    match prps.second(page, bytes) {
        Second::Unused => {}
        Second::Page(addr) => pages.push(addr),
        Second::List { mut addr, mut entries } => loop {
            let len = page.len() - addr.raw() % page.len();
            let words = usize::try_from(len.min(entries * 8)).unwrap_or(0);
            let mut held = vec![0; words];
            for (index, word) in (0..).zip(held.chunks_mut(8)) {
                memory.read(BusAddr::new(addr.raw() + index * 8), word).expect("the walker read it");
            }
            let view = ListPage::new(page, addr, &held).expect("the walker took it");
            let (mut link, mut taken) = (None, 0);
            for index in 0..view.len() {
                match view.get(index, entries) {
                    Some(Slot::Data(data)) => {
                        pages.push(data);
                        taken += 1;
                    }
                    Some(Slot::Link(next)) => link = Some(next),
                    None => panic!("slot {index} of {} is missing", view.len()),
                }
            }
            entries -= taken;
            match link {
                Some(next) => addr = next,
                None => break assert_eq!(entries, 0),
            }
        },
    }
    pages
}

/// Looks at any bytes with the raw view.
fn views(input: &mut Unstructured<'_>, page: MemoryPage, bytes: &[u8]) -> Result<()> {
    let addr = BusAddr::new(fuzz::number(input)?);
    let (index, entries) = (fuzz::number(input)?, fuzz::number(input)?);
    match ListPage::new(page, addr, bytes) {
        Ok(view) => {
            assert_eq!(view.is_empty(), matches!(view.len(), 0));
            assert_eq!(view.get(index, entries).is_some(), index < view.len().min(entries));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

/// Plans any list, encodes and walks it.
fn planned(input: &mut Unstructured<'_>) -> Result<()> {
    let page = [4096, 4096, 16384, 65536][input.int_in_range(0..=3)?];
    let page = MemoryPage::new(page).expect("one of the sizes");
    let (first, lists) = (input.int_in_range(1..=page.slots())?, input.int_in_range(0..=3)?);
    let format = limits(page, page.list_entries(first, lists)).expect("any lists");
    let any = fuzz::rarely(input, 4)?;
    let limits = if any { fuzz::limits(input)?.build().ok() } else { fuzz::tighter(input, &format)? };
    let Some(limits) = limits else { return Ok(()) };
    let policy = *input.choose(&[Policy::SplitOrBounce, Policy::SplitOrError, Policy::WholeOrBounce])?;
    let len_max = (page.len() * 100).min(fuzz::shortest_piece(&limits).saturating_mul(40));
    let mut list = List::new();
    while !input.is_empty() && list.len_bytes() < page.len() * PAGES_MAX && list.len_segments() < 100 {
        let ragged = fuzz::rarely(input, 3)?;
        for _ in 0..input.int_in_range(1..=8)? {
            if let Some(segment) = fuzz::segment::<BusAddr>(input, len_max)? {
                // Whole pages come through without a bounce.
                let mask = if ragged { 0 } else { page.len() - 1 };
                let (addr, len) = (segment.addr().raw() & !mask, (segment.len() + mask) & !mask);
                if let Ok(segment) = Segment::new(BusAddr::new(addr), len) {
                    list.append(segment).expect("it is short");
                }
            }
        }
    }
    let strange = input.arbitrary::<[u8; 4]>()?;
    for ready in plan(&list, Position::Stream, &limits, policy).take(200) {
        match ready {
            Ok(ready) if any => refused_or_right(&ready, page, strange),
            Ok(ready) => {
                let data = bounced(&ready);
                if ready.bounced_bytes() == 0 {
                    check_request(&ready, page, first, lists, &data);
                }
                // Bounce buffers are not where the tighter limits want them.
                if let Some(Ok(again)) = plan(&data, Position::Stream, &format, Policy::WholeOrError).next() {
                    check_request(&again, page, first, lists, &data);
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    Ok(())
}

/// Encodes what was planned for other limits, into memory of any size anywhere.
fn refused_or_right(ready: &Ready<'_, List>, page: MemoryPage, [count, slots, off, many]: [u8; 4]) {
    let slots = if many % 2 == 0 { usize::from(slots) } else { usize::from(slots) * 64 };
    let whole = usize::try_from(page.slots()).unwrap_or(0);
    let one = |index: u64| {
        let addr = LISTS + (index << 32);
        match (index, off % 4) {
            (_, 0) => (addr, vec![u64::MAX; slots]),
            (0, 1) => (addr + page.len() - u64::from(off) * 2, vec![u64::MAX; whole]),
            (1, 2) => (addr + u64::from(off), vec![u64::MAX; whole]),
            _ => (addr, vec![u64::MAX; whole]),
        }
    };
    let mut memories = Memories((0..u64::from(count % 5)).map(one).collect());
    let mut same = memories.clone();
    let encoded = encode(ready, page, &mut memories.as_bus());
    match encoded {
        Ok(prps) => {
            let data = ready.pieces().map(|piece| match piece {
                scatterlist::plan::Piece::Direct(segment) => segment,
                scatterlist::plan::Piece::Bounce(bounce) => panic!("{bounce:?} was encoded"),
            });
            let expected = joined(data);
            let walked = collected(page, prps, ready.len_bytes(), &mut memories);
            assert_eq!(walked.as_ref(), Ok(&expected));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut put_only: Vec<_> = same.as_bus().into_iter().map(PutOnly).collect();
    assert_eq!(encode(ready, page, &mut put_only), encoded);
    drop(put_only);
    if encoded.is_ok() {
        assert_eq!(same, memories);
    }
}

/// Slices of a buffer by the list that they share.
fn shared(input: &mut Unstructured<'_>) -> Result<()> {
    let page = page(input)?;
    let buffer =
        if input.ratio(7, 8)? { fuzz::number(input)? & !(page.len() - 1) } else { fuzz::number(input)? };
    let bytes =
        if input.arbitrary()? { input.int_in_range(0..=page.len() * 600)? } else { fuzz::number(input)? };
    let words = input.int_in_range(0..=600)?;
    let addr = LISTS + if fuzz::rarely(input, 4)? { fuzz::number(input)? % page.len() } else { 0 };
    let mut memories = Memories(vec![(addr, vec![u64::MAX; words])]);
    let list = SharedList::new(page, BusAddr::new(buffer), bytes, &mut memories.as_bus()[0]);
    let list = match list {
        Ok(list) => list,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    while !input.is_empty() {
        let (mut offset, mut len) = (fuzz::number(input)?, fuzz::number(input)?);
        if input.ratio(3, 4)? {
            offset = (offset % bytes.max(1)) & !3;
            len %= bytes - offset.min(bytes) + 1;
        }
        match list.slice(offset, len) {
            Ok(prps) => {
                let expected = match Segment::new(BusAddr::new(buffer + offset), len) {
                    Ok(whole) => ScatterList::from(whole),
                    Err(_) => List::new(),
                };
                assert_eq!(collected(page, prps, len, &mut memories).as_ref(), Ok(&expected));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    Ok(())
}
