//! The parts of an IOMMU back end. Any operations on the allocator of bus addresses, the page table, the layout and the
//! translation table beside their models; and any numbers at all: an answer that keeps its promise, or an error.
#![no_main]

#[path = "../../crates/scatterlist/tests/iommu_model/mod.rs"]
mod iommu_model;
#[path = "../../crates/scatterlist/tests/iova_model/mod.rs"]
mod iova_model;

use iommu_model::{
    PAGE, Table, TableCall, agrees, contents, layout_follows_its_rule, translations_are_those_of_granules,
};
use iova_model::{IovaCall, iova_keeps_its_promises};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{
    IovaAllocator, IovaFreeError, IovaRange, IovaRequest, Layout, LayoutRules, LeafCursor as _,
    PageTable as _, table,
};
use scatterlist::map::translation_table::TranslationTable;
use scatterlist::{Addr as _, BusAddr, CpuAddr, PhysAddr, Segment};
use scatterlist_fuzz as fuzz;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=7) {
        Ok(0) => iova(&mut input),
        Ok(1) => any_iova(&mut input),
        Ok(2) => page_table(&mut input),
        Ok(3) => any_page_table(&mut input),
        Ok(4) => layout(&mut input),
        Ok(5) => any_layout(&mut input),
        Ok(6) => translations(&mut input),
        _ => any_translations(&mut input),
    };
});

// The allocator.

fn iova(input: &mut Unstructured<'_>) -> Result<()> {
    let granule = PAGE << (2 * input.int_in_range(0..=2_u32)?);
    let granules = input.int_in_range(1..=200)?;
    let first = if fuzz::rarely(input, 8)? { (1 << 20) - 100 } else { input.int_in_range(0..=70)? };
    let mut calls = Vec::new();
    while !input.is_empty() && calls.len() < 200 {
        calls.push(match input.int_in_range(0..=9)? {
            0..=4 => {
                let size = if input.ratio(3, 4)? { 4 } else { granules };
                let bytes = input.int_in_range(1..=size)? * granule;
                let limit = input.int_in_range(0..=first + granules)?;
                let boundary = input.int_in_range(0..=15)?;
                IovaCall::Alloc {
                    bytes: bytes - input.int_in_range(0..=granule - 1)?,
                    limit: if limit % 3 == 0 { u64::MAX } else { limit * granule + limit % granule },
                    align: granule << input.int_in_range(0..=4)? >> 1,
                    boundary: if boundary > 7 { 0 } else { granule << boundary },
                }
            }
            5..=8 => IovaCall::Free {
                which: usize::from(input.arbitrary::<u8>()?),
                again: fuzz::rarely(input, 8)?,
            },
            _ => IovaCall::FlushCache,
        });
    }
    iova_keeps_its_promises(granule, first, granules, &calls);
    Ok(())
}

fn any_iova(input: &mut Unstructured<'_>) -> Result<()> {
    let made = |input: &mut Unstructured<'_>| {
        let (granule, lowest, highest) = (fuzz::number(input)?, fuzz::number(input)?, fuzz::number(input)?);
        let made = IovaAllocator::new(granule, BusAddr::new(lowest), BusAddr::new(highest));
        if let Err(error) = &made {
            assert!(!error.to_string().is_empty());
        }
        Ok(made.ok().map(|iova| (iova, lowest, highest)))
    };
    let Some((mut iova, lowest, highest)) = made(input)? else { return Ok(()) };
    let mut other = made(input)?;
    let (mut out, mut gone): (Vec<IovaRange>, Vec<IovaRange>) = (Vec::new(), Vec::new());
    let whole = iova.bytes_free();
    while !input.is_empty() {
        match input.int_in_range(0..=7)? {
            0..=3 => {
                let mut request = IovaRequest::new(fuzz::number(input)?).limit(fuzz::number(input)?);
                if input.arbitrary()? {
                    request = request.align(fuzz::number(input)?).boundary(fuzz::number(input)?);
                }
                match iova.alloc(&request) {
                    Ok(range) => {
                        let (start, len) = (range.addr().raw(), range.len_bytes());
                        let last = start.checked_add(len - 1).expect("it does not wrap");
                        assert!(len >= request.bytes && len.is_multiple_of(iova.granule()));
                        assert!(start >= lowest && last <= highest.min(request.limit));
                        assert!(start.is_multiple_of(request.align));
                        assert!(request.boundary == 0 || start / request.boundary == last / request.boundary);
                        for other in &out {
                            let end = other.addr().raw() + (other.len_bytes() - 1);
                            assert!(last < other.addr().raw() || start > end, "{range:?} and {other:?}");
                        }
                        out.push(range);
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            4 if !out.is_empty() => {
                let range = out.swap_remove(input.choose_index(out.len())?);
                assert_eq!(iova.free(range), Ok(()));
                gone.push(range);
            }
            5 if !gone.is_empty() => {
                let range = gone[input.choose_index(gone.len())?];
                let error = iova.free(range).expect_err("it was given back");
                assert!(matches!(error, IovaFreeError::Twice { .. }) && !error.to_string().is_empty());
            }
            6 => {
                if let Some((other, ..)) = &mut other
                    && let Ok(range) = other.alloc(&IovaRequest::new(fuzz::number(input)?))
                {
                    let error = iova.free(range).expect_err("it is of another allocator");
                    assert!(!error.to_string().is_empty());
                }
            }
            _ => iova.flush_cache(),
        }
        assert_eq!(iova.ranges_out(), u64::try_from(out.len()).unwrap_or(u64::MAX));
        assert_eq!(iova.bytes_out(), out.iter().map(|range| range.len_bytes()).sum::<u64>());
        assert_eq!(iova.bytes_free(), whole.saturating_sub(iova.bytes_out()));
    }
    Ok(())
}

// The page table.

fn access(input: &mut Unstructured<'_>) -> Result<DmaDirection> {
    input.choose(&[DmaDirection::ToDevice, DmaDirection::FromDevice, DmaDirection::Both]).copied()
}

/// An address around the edges of tables of each level.
fn edge(input: &mut Unstructured<'_>) -> Result<u64> {
    let base = *input.choose(&[0, 1 << 21, 3 << 30, 1_u64 << 39, (1 << 48) - (1 << 31)])?;
    let step = if input.ratio(3, 4)? { input.int_in_range(0..=7)? } else { input.int_in_range(500..=523)? };
    Ok(base
        + match input.int_in_range(0..=7)? {
            0..=3 => step * PAGE,
            4..=6 => step << 21,
            _ => step.min(1) << 30,
        })
}

fn length(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0..=8)? {
        0..=5 => input.int_in_range(1..=5)? * PAGE,
        6 => input.int_in_range(508..=1029)? * PAGE,
        7 => input.int_in_range(1..=3)? << 21,
        _ => 1 << 30,
    })
}

fn page_table(input: &mut Unstructured<'_>) -> Result<()> {
    let sizes = *input.choose(&[table::PAGE_SIZES, PAGE, PAGE | 1 << 30])?;
    let mut calls = Vec::new();
    while !input.is_empty() && calls.len() < 40 {
        calls.push(match input.int_in_range(0..=11)? {
            0..=3 => TableCall::Map {
                iova: edge(input)?,
                target: edge(input)?,
                bytes: length(input)?,
                access: access(input)?,
            },
            4..=6 => {
                let mut targets = Vec::new();
                for _ in 0..input.int_in_range(1..=20)? {
                    let target = (input.arbitrary::<u64>()? >> 28) * PAGE;
                    targets.push(if fuzz::rarely(input, 5)? { None } else { Some(target) });
                }
                TableCall::Pages { iova: edge(input)?, targets, access: access(input)? }
            }
            7..=10 => TableCall::Unmap { iova: edge(input)?, bytes: length(input)? },
            _ => TableCall::Flush,
        });
    }
    agrees(sizes, &calls);
    Ok(())
}

fn any_page_table(input: &mut Unstructured<'_>) -> Result<()> {
    let tables_max = u32::from(input.arbitrary::<u8>()? % 24);
    let sizes = if input.arbitrary()? { table::PAGE_SIZES } else { fuzz::number(input)? };
    let mut table = match Table::with_page_sizes(sizes, tables_max) {
        Ok(table) => table,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    for _ in 0..12 {
        if input.is_empty() {
            break;
        }
        let mut numbers = [fuzz::number(input)?, fuzz::number(input)?, fuzz::number(input)?];
        if input.ratio(7, 8)? {
            numbers = numbers.map(|number| number & !(PAGE - 1));
        }
        let [iova, target, bytes] = numbers;
        let before = contents(&table);
        let pages = |table: &Table| contents(table).iter().map(|(_, page)| page.0).sum::<u64>();
        match input.int_in_range(0..=3)? {
            0 | 1 => match table.map(BusAddr::new(iova), PhysAddr::new(target), bytes, access(input)?) {
                Ok(()) => {
                    let first = table.translate(BusAddr::new(iova)).expect("it is mapped");
                    let last = table.translate(BusAddr::new(iova + (bytes - 1))).expect("it is mapped");
                    assert_eq!((first.target.raw(), last.target.raw()), (target, target + (bytes - 1)));
                    assert_eq!(pages(&table), before.iter().map(|(_, page)| page.0).sum::<u64>() + bytes);
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert_eq!(contents(&table), before);
                }
            },
            2 => match table.unmap(BusAddr::new(iova), bytes) {
                Ok(unmapped) => {
                    assert!(unmapped.bytes <= unmapped.span_bytes);
                    assert_eq!(pages(&table) + unmapped.bytes, before.iter().map(|(_, page)| page.0).sum());
                    table.flush(BusAddr::new(iova), unmapped.span_bytes);
                    assert_eq!(table.translate(BusAddr::new(iova)), None);
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    assert_eq!(contents(&table), before);
                }
            },
            _ => {
                let mut cursor = table.cursor(BusAddr::new(iova), access(input)?);
                cursor.skip(bytes);
                let at = cursor.iova();
                let mapped = cursor.map(PhysAddr::new(target), PAGE);
                assert_eq!(cursor.iova().raw(), at.raw() + if mapped.is_ok() { PAGE } else { 0 });
                if mapped.is_ok() {
                    assert_eq!(table.translate(at).map(|found| found.target.raw()), Some(target));
                }
            }
        }
        assert!(table.tables() <= tables_max.into());
    }
    Ok(())
}

// The layout.

fn layout(input: &mut Unstructured<'_>) -> Result<()> {
    let granule = PAGE << (2 * input.int_in_range(0..=2_u32)?);
    let boundary = match input.int_in_range(0..=7)? {
        0 => 0,
        order => granule << (order - 1),
    };
    let segment_len_max = if input.arbitrary()? { u64::MAX } else { input.int_in_range(1..=63)? * 2048 };
    let (mut free, mut list) = (1 << 40, Vec::new());
    while !input.is_empty() && list.len() < 40 {
        let odd = if fuzz::rarely(input, 3)? { input.int_in_range(1..=4095)? } else { 0 };
        let (offset, quarters) = (input.int_in_range(0..=3)?, input.int_in_range(0..=8)?);
        let (addr, len) = (free + offset * granule / 4, (quarters * granule / 4 + odd).max(1));
        free = (addr + len).next_multiple_of(granule) + (len % 3) * granule;
        list.push((addr, len));
    }
    if !list.is_empty() {
        layout_follows_its_rule(&list, LayoutRules { granule, boundary, segment_len_max });
    }
    Ok(())
}

fn any_layout(input: &mut Unstructured<'_>) -> Result<()> {
    let rules = LayoutRules {
        granule: fuzz::number(input)?,
        boundary: fuzz::number(input)?,
        segment_len_max: fuzz::number(input)?,
    };
    let base = fuzz::number(input)?;
    let mut list: Vec<Segment<PhysAddr>> = Vec::new();
    while !input.is_empty() && list.len() < 60 {
        list.extend(fuzz::segment(input, u64::MAX)?);
    }
    let layout = match Layout::new(&list[..], rules) {
        Ok(layout) => layout,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    if let Err(error) = layout.obeys_rules() {
        assert!(!error.to_string().is_empty());
    }
    let mut end = 0;
    for placed in layout.placed() {
        assert!(placed.offset >= end && placed.offset.is_multiple_of(rules.granule), "{placed:?}");
        end = placed.offset + placed.bytes;
    }
    assert!(end <= layout.reserve_bytes());
    for base in [base, base & !(rules.granule - 1)] {
        match layout.bus_segments(BusAddr::new(base)) {
            Ok(bus) => {
                let sum: u128 = bus.map(|bus| u128::from(bus.len())).sum();
                assert_eq!(sum, list.iter().map(|segment| u128::from(segment.len())).sum::<u128>());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    Ok(())
}

// The translation table.

fn translations(input: &mut Unstructured<'_>) -> Result<()> {
    let (mut calls, mut queries) = (Vec::new(), Vec::new());
    for _ in 0..input.int_in_range(1..=20)? {
        queries.push((input.int_in_range(0..=16 * PAGE)?, input.int_in_range(0..=16 * PAGE)?));
    }
    while !input.is_empty() && calls.len() < 60 {
        let target = if fuzz::rarely(input, 3)? { None } else { Some(input.int_in_range(0..=11)?) };
        calls.push((input.int_in_range(0..=11)?, input.int_in_range(1..=5)?, target));
    }
    translations_are_those_of_granules(&calls, &queries);
    Ok(())
}

fn any_translations(input: &mut Unstructured<'_>) -> Result<()> {
    let mut table: TranslationTable = match TranslationTable::new(fuzz::number(input)?) {
        Ok(table) => table,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(());
        }
    };
    while !input.is_empty() {
        let mask = if input.ratio(7, 8)? { table.granule() - 1 } else { 0 };
        let (addr, bytes) = (fuzz::number(input)? & !mask, fuzz::number(input)? & !mask);
        let target = fuzz::number(input)?;
        let done = if input.ratio(3, 4)? {
            table.set(CpuAddr::new(addr), bytes, PhysAddr::new(target)).map(|()| true)
        } else {
            table.clear(CpuAddr::new(addr), bytes).map(|()| false)
        };
        match done {
            Ok(true) => {
                let (found, len) = table.translate(CpuAddr::new(addr), bytes).expect("it is set");
                assert_eq!((found.raw(), len), (target, bytes));
                let last = table.translate(CpuAddr::new(addr + (bytes - 1)), 1).expect("it is set");
                assert_eq!((last.0.raw(), last.1), (target + (bytes - 1), 1));
            }
            Ok(false) => {
                assert_eq!(table.translate(CpuAddr::new(addr), 1), None);
                assert_eq!(table.translate(CpuAddr::new(addr + (bytes - 1)), 1), None);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let asked = fuzz::number(input)?;
        if let Some((_, len)) = table.translate(CpuAddr::new(addr), asked) {
            assert!(len >= 1 && len <= asked);
        }
    }
    Ok(())
}
