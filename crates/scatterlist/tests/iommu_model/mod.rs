//! The parts of an IOMMU back end beside models that are too simple to be wrong: a page table beside a map of pages, a
//! layout beside its rule written out byte by byte, a translation table beside a map of granules.
//!
//! Used by the property tests and by the fuzz target `iommu`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{
    FourLevelTable, Layout, LayoutRules, LeafCursor as _, PageMapError, PageTable as _,
};
use scatterlist::map::translation_table::TranslationTable;
use scatterlist::{Addr as _, BusAddr, CpuAddr, PhysAddr, Segment};

pub(crate) const PAGE: u64 = 4096;

// The page table.

pub(crate) type Table = FourLevelTable<PhysAddr>;

/// A page as the model has it: size, target and whether the device may read and write.
type Page = (u64, u64, DmaDirection);

/// What is asked of a page table.
#[derive(Clone, Debug)]
pub(crate) enum TableCall {
    Map {
        iova: u64,
        target: u64,
        bytes: u64,
        access: DmaDirection,
    },
    /// Page after page with one cursor, and a hole now and then.
    Pages {
        iova: u64,
        targets: Vec<Option<u64>>,
        access: DmaDirection,
    },
    Unmap {
        iova: u64,
        bytes: u64,
    },
    Flush,
}

/// The first page of the model that has an address in `start..end`.
fn first_page(model: &BTreeMap<u64, Page>, start: u64, end: u64) -> Option<(u64, u64)> {
    let before = model.range(..start).next_back().filter(|(at, page)| **at + page.0 > start);
    before.or_else(|| model.range(start..end).next()).map(|(at, page)| (*at, page.0))
}

fn model_map(
    model: &mut BTreeMap<u64, Page>,
    page_sizes: u64,
    (mut iova, mut target, mut bytes): (u64, u64, u64),
    access: DmaDirection,
) -> Result<(), PageMapError> {
    if iova + bytes > 1 << 48 {
        return Err(PageMapError::OutOfRange { iova, bytes, last: (1 << 48) - 1 });
    }
    if let Some((page, page_bytes)) = first_page(model, iova, iova + bytes) {
        return Err(PageMapError::AddressInUse { iova, bytes, page, page_bytes });
    }
    while bytes > 0 {
        let fits = |size: &u64| {
            page_sizes & size != 0
                && *size <= bytes
                && iova.is_multiple_of(*size)
                && target.is_multiple_of(*size)
        };
        let size = [1 << 30, 1 << 21, PAGE].into_iter().find(fits).unwrap();
        model.insert(iova, (size, target, access));
        (iova, target, bytes) = (iova + size, target + size, bytes - size);
    }
    Ok(())
}

fn model_unmap(model: &mut BTreeMap<u64, Page>, iova: u64, bytes: u64) -> Option<(u64, u64)> {
    if first_page(model, iova, iova + bytes).is_some_and(|(at, _)| at < iova) {
        return None;
    }
    let gone: Vec<(u64, u64)> = model.range(iova..iova + bytes).map(|(at, page)| (*at, page.0)).collect();
    for (at, _) in &gone {
        model.remove(at);
    }
    let span = gone.last().map_or(0, |(at, size)| at + size - iova);
    Some((gone.iter().map(|page| page.1).sum(), span))
}

pub(crate) fn contents(table: &Table) -> Vec<(u64, Page)> {
    table.pages().map(|(at, page)| (at.raw(), (page.page_bytes, page.target.raw(), page.access))).collect()
}

/// Does all calls to a table of these page sizes and to a map.
pub(crate) fn agrees(page_sizes: u64, calls: &[TableCall]) {
    let mut table = Table::with_page_sizes(page_sizes, 1 << 20).unwrap();
    let mut model: BTreeMap<u64, Page> = BTreeMap::new();
    let mut flushes = 0;
    for call in calls {
        match call {
            &TableCall::Map { iova, target, bytes, access } => {
                // So many small pages only take time.
                let aligned = |size: u64| page_sizes & size != 0 && (iova | target).is_multiple_of(size);
                let bytes = if bytes == 1 << 30 && !aligned(1 << 30) { 3 * PAGE } else { bytes };
                let mapped = table.map(BusAddr::new(iova), PhysAddr::new(target), bytes, access);
                assert_eq!(mapped, model_map(&mut model, page_sizes, (iova, target, bytes), access));
            }
            TableCall::Pages { iova, targets, access } => {
                let mut cursor = table.cursor(BusAddr::new(*iova), *access);
                let mut at = *iova;
                for target in targets {
                    if let Some(target) = *target {
                        let mapped = cursor.map(PhysAddr::new(target), PAGE);
                        assert_eq!(mapped, model_map(&mut model, page_sizes, (at, target, PAGE), *access));
                        if mapped.is_err() {
                            cursor.skip(PAGE);
                        }
                    } else {
                        cursor.skip(PAGE);
                    }
                    at += PAGE;
                    assert_eq!(cursor.iova().raw(), at);
                }
            }
            &TableCall::Unmap { iova, bytes } => {
                let bytes = bytes.min((1 << 48) - iova);
                let unmapped = table.unmap(BusAddr::new(iova), bytes).ok();
                let unmapped = unmapped.map(|unmapped| (unmapped.bytes, unmapped.span_bytes));
                assert_eq!(unmapped, model_unmap(&mut model, iova, bytes));
            }
            TableCall::Flush => {
                table.flush(BusAddr::new(0), PAGE);
                flushes += 1;
            }
        }
        let expected: Vec<(u64, Page)> = model.iter().map(|(at, page)| (*at, *page)).collect();
        assert_eq!(contents(&table), expected, "after {call:?}");
    }
    for (at, (size, target, access)) in &model {
        for offset in [0, 1, size / 2, size - 1] {
            let found = table.translate(BusAddr::new(at + offset)).unwrap();
            assert_eq!((found.target.raw(), found.access), (target + offset, *access));
            assert_eq!((found.bytes, found.page_bytes), (size - offset, *size));
        }
    }
    assert_eq!(table.flushes(), flushes);
}

// The layout.

/// The rule, written out: each segment at the next granule, moved to the next boundary if it would cross one.
fn naive_layout(list: &[(u64, u64)], rules: LayoutRules) -> (Vec<u64>, u64) {
    let LayoutRules { granule, boundary, .. } = rules;
    let (mut starts, mut end) = (Vec::new(), 0_u64);
    for &(addr, len) in list {
        let granules = (addr % granule + len).div_ceil(granule);
        let crosses = |at: u64| boundary != 0 && at / boundary != (at + granules * granule - 1) / boundary;
        if crosses(end) && boundary > granule {
            let next = end.next_multiple_of(boundary);
            // Padding as long as the segment itself would save nothing.
            if next - end < granules * granule {
                end = next;
            }
        }
        starts.push(end);
        end += granules * granule;
    }
    (starts, end)
}

/// Lays a list of `(address, length)` out by `rules`, and compares with the rule written out byte by byte. No two segments
/// overlap.
pub(crate) fn layout_follows_its_rule(list: &[(u64, u64)], rules: LayoutRules) {
    let LayoutRules { granule, boundary, segment_len_max } = rules;
    let segments: Vec<Segment<PhysAddr>> =
        list.iter().map(|&(addr, len)| Segment::new(PhysAddr::new(addr), len).unwrap()).collect();
    let layout = Layout::new(&segments[..], rules).unwrap();
    let (starts, end) = naive_layout(list, rules);
    assert_eq!(layout.reserve_bytes(), end);
    let placed: Vec<_> = layout.placed().collect();
    assert_eq!(placed.iter().map(|placed| placed.offset).collect::<Vec<_>>(), starts.clone());

    let align = end.next_power_of_two().min(if boundary == 0 { u64::MAX } else { boundary }).max(granule);
    let base = 7 * align;
    let bus: Vec<Segment<BusAddr>> = layout.bus_segments(BusAddr::new(base)).unwrap().collect();
    // Byte for byte the list, wherever it was placed.
    let mut bytes = bus.iter().flat_map(|bus| {
        let (mut at, end) = (bus.addr().raw(), bus.end());
        std::iter::from_fn(move || {
            let stop = end.min((at / granule + 1) * granule);
            let part = (at < end).then_some((at, stop - at));
            at = stop;
            part
        })
    });
    for ((addr, len), start) in list.iter().zip(&starts) {
        let mut done = 0;
        while done < *len {
            let (at, part) = bytes.next().unwrap();
            assert_eq!(at, base + start + addr % granule + done);
            done += part;
        }
        assert_eq!(done, *len);
    }
    assert_eq!(bytes.next(), None);
    // Nothing is joined against the rules, and nothing is left apart that they allow to join.
    let fits = layout.obeys_rules();
    for bus in &bus {
        let crosses = boundary != 0 && bus.addr().raw() / boundary != (bus.end() - 1) / boundary;
        assert!(fits.is_err() || (!crosses && bus.len() <= segment_len_max));
    }
    for pair in bus.windows(2) {
        let apart = pair[0].end() != pair[1].addr().raw()
            || !pair[0].end().is_multiple_of(granule)
            || (boundary != 0 && pair[0].end().is_multiple_of(boundary));
        let first = starts
            .iter()
            .zip(list)
            .find(|(start, (addr, _))| base + *start + addr % granule == pair[1].addr().raw());
        let long = pair[0].len() + first.unwrap().1.1 > segment_len_max;
        assert!(apart || long, "{:?} and {:?} could be one", pair[0], pair[1]);
    }
    let breaks = |&(addr, len): &(u64, u64)| {
        len > segment_len_max || (boundary != 0 && addr % granule + len > boundary)
    };
    assert_eq!(fits.is_err(), list.iter().any(breaks));
}

// The translation table.

/// Sets and clears granules (first, how many, the target's first), and asks `(address, bytes)` after each call.
pub(crate) fn translations_are_those_of_granules(calls: &[(u64, u64, Option<u64>)], queries: &[(u64, u64)]) {
    let mut table: TranslationTable = TranslationTable::new(PAGE).unwrap();
    let mut model: BTreeMap<u64, u64> = BTreeMap::new();
    for (first, count, target) in calls.iter().copied() {
        let (addr, bytes) = (CpuAddr::new(first * PAGE), count * PAGE);
        match target {
            Some(target) => table.set(addr, bytes, PhysAddr::new(target * PAGE)).unwrap(),
            None => table.clear(addr, bytes).unwrap(),
        }
        for granule in 0..count {
            match target {
                Some(target) => model.insert(first + granule, target + granule),
                None => model.remove(&(first + granule)),
            };
        }
        for &(addr, bytes) in queries {
            let expected = model.get(&(addr / PAGE)).filter(|_| bytes > 0).map(|&target| {
                let follows = |index: &u64| model.get(&(addr / PAGE + index)) == Some(&(target + index));
                let granules = (0..).take_while(follows).last().unwrap() + 1;
                (target * PAGE + addr % PAGE, bytes.min(granules * PAGE - addr % PAGE))
            });
            let found = table.translate(CpuAddr::new(addr), bytes);
            assert_eq!(found.map(|(target, bytes)| (target.raw(), bytes)), expected);
        }
    }
}
