//! `IOMMU`: a list laid out in one range of bus addresses. `IOVA`: what an allocator of bus addresses promises.
//!
//! The numbers of `IOVA` follow one allocator's policy, so they only say which requests succeed; ours must be within
//! the window, on a multiple of the size rounded up to a power of two, and disjoint, and what is freed must come back. A
//! case without requests tells its property in words: it runs the 64-bit device, which is the one there is.

use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{
    FourLevelTable, IovaAllocator, IovaRange, IovaRequest, Layout, LayoutRules, LeafCursor as _, PageTable,
};
use scatterlist::{Addr as _, BusAddr, PhysAddr, Segment};
use serde_json::Value;

use super::fields::{Fields, items, number};
use super::{Verdict, same, segment};

pub(super) fn iommu(mut case: Fields, page: u64) -> Verdict {
    let granule = case.number("granule")?;
    // A mask of all 64 bits is one window, which a boundary of 0 stands for.
    let boundary = case.number("seg_boundary_mask")?.wrapping_add(1);
    let segment_len_max = case.number("max_seg_size")?;
    let base = BusAddr::new(case.number("iova_base")?);
    let inputs = case.pairs("in_offset_len")?;
    let reserve = case.number("iova_len")?;
    let expected = case.pairs("out_dma")?;
    case.finish()?;

    // Memory that is nowhere adjacent: the rule must not depend on it.
    let apart = granule.max(page);
    let mut free = apart;
    let mut list: Vec<Segment<PhysAddr>> = Vec::new();
    for (offset, len) in inputs {
        let next = segment(free + offset, len)?;
        free = (next.end() / apart + 2) * apart;
        list.push(next);
    }
    let rules = LayoutRules { granule, boundary, segment_len_max };
    let layout = Layout::new(&list[..], rules).map_err(|error| error.to_string())?;
    same("iova_len", &layout.reserve_bytes(), &reserve)?;
    let segments = layout.bus_segments(base).map_err(|error| error.to_string())?;
    let segments: Vec<Segment<BusAddr>> = segments.collect();
    let pairs: Vec<(u64, u64)> = segments.iter().map(|bus| (bus.addr().raw(), bus.len())).collect();
    same("out_dma", &pairs, &expected)?;
    if granule >= 4096 && base.checked_add(reserve).is_some_and(|end| end.raw() <= 1 << 48) {
        through_a_table(&list, &layout, base, &segments)?;
    }
    Ok(())
}

/// What the device finds behind the bus segments, in order, is the list.
fn through_a_table(
    list: &[Segment<PhysAddr>],
    layout: &Layout<'_, [Segment<PhysAddr>]>,
    base: BusAddr,
    segments: &[Segment<BusAddr>],
) -> Verdict {
    let mut table: FourLevelTable = FourLevelTable::new(1 << 16);
    for placed in layout.placed() {
        let mut cursor = table.cursor(base, DmaDirection::ToDevice);
        cursor.skip(placed.offset);
        cursor.map(placed.target, placed.bytes).map_err(|error| error.to_string())?;
    }
    let mut found: Vec<(u64, u64)> = Vec::new();
    for bus in segments {
        let mut at = bus.addr().raw();
        while at < bus.end() {
            let page = table.translate(BusAddr::new(at)).ok_or_else(|| format!("a hole at {at:#x}"))?;
            let (target, bytes) = (page.target.raw(), page.bytes.min(bus.end() - at));
            match found.last_mut() {
                Some(last) if last.0 + last.1 == target => last.1 += bytes,
                _ => found.push((target, bytes)),
            }
            at += bytes;
        }
    }
    let memory: Vec<(u64, u64)> = list.iter().map(|segment| (segment.addr().raw(), segment.len())).collect();
    same("memory behind the bus segments", &found, &memory)
}

/// What the file's `semantics` state for every case: the window, in granules.
const START: u64 = 1;
const LIMIT: u64 = 0xf_ffff;

pub(super) fn iova(mut case: Fields, page: u64) -> Verdict {
    let expect = case.value("expect")?;
    let Some(allocs) = case.optional("allocs") else {
        case.finish()?;
        return match expect.as_str() {
            Some("property") => below_4_gib_first(page),
            _ => Err(format!("an expectation of {expect} without requests is not understood")),
        };
    };
    let sizes: Vec<u64> =
        items("allocs", allocs)?.iter().map(|size| number("allocs", size)).collect::<Result<_, _>>()?;
    let granule = case.optional_number("granule")?.unwrap_or(page);
    let start = case.optional_number("start_pfn")?.unwrap_or(START);
    let window = case.optional_number("limit_pfn")?.unwrap_or(LIMIT);
    let limits = limits(case.optional("limit"), &sizes, window)?;
    let align = case.optional_number("align")?.unwrap_or(1);
    let boundary = case.optional_number("boundary")?.unwrap_or(0);
    let frees = case.optional("frees").map(|frees| items("frees", frees)).transpose()?.unwrap_or_default();
    case.finish()?;
    let expected = expectations(expect, sizes.len())?;

    let highest = limits.iter().copied().fold(window, u64::max);
    let bytes = |granules: u64| granules.checked_mul(granule).ok_or("an address past 64 bits");
    let last = |pfn: u64| Ok::<u64, &str>(bytes(pfn)?.saturating_add(granule - 1));
    let mut iova = IovaAllocator::new(granule, BusAddr::new(bytes(start)?), BusAddr::new(last(highest)?))
        .map_err(|error| error.to_string())?;
    let free_before = iova.bytes_free();
    let mut requests = Vec::new();
    for (size, limit) in sizes.iter().zip(&limits) {
        let request = IovaRequest::new(bytes(*size)?).limit(last(*limit)?);
        requests.push(request.align(bytes(align)?).boundary(bytes(boundary)?));
    }
    let mut out: Vec<Option<IovaRange>> = Vec::new();
    for (index, (request, expected)) in requests.iter().zip(&expected).enumerate() {
        match (iova.alloc(request), expected) {
            (Ok(range), Expected::Any | Expected::At(_)) => out.push(Some(range)),
            (Err(_), Expected::Refused) => out.push(None),
            (Ok(range), Expected::Refused) => {
                return Err(format!("request {index}: expected a refusal, got {range:?}"));
            }
            (Err(error), _) => return Err(format!("request {index}: {error}")),
        }
    }
    check(&out, &requests, bytes(start)?)?;
    for freed in &frees {
        let freed = index_of(number("frees", freed)?, &expected)?;
        let range = out.get_mut(freed).and_then(Option::take).ok_or("freed what is not out")?;
        iova.free(range).map_err(|error| error.to_string())?;
        if iova.free(range).is_ok() {
            return Err(format!("{range:?} was taken back twice"));
        }
    }
    // What came back is there for the same request.
    for (request, (place, expected)) in requests.iter().zip(out.iter_mut().zip(&expected)) {
        if place.is_none() && !matches!(expected, Expected::Refused) {
            *place = Some(iova.alloc(request).map_err(|error| format!("after the frees: {error}"))?);
        }
    }
    check(&out, &requests, bytes(start)?)?;
    for range in out.into_iter().flatten() {
        iova.free(range).map_err(|error| error.to_string())?;
    }
    same("bytes free at the end", &iova.bytes_free(), &free_before)?;
    same("ranges out at the end", &iova.ranges_out(), &0)
}

/// What a case says about one request. The number of a success follows another policy than ours.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    At(u64),
    Refused,
}

fn expectations(expect: Value, count: usize) -> Result<Vec<Expected>, String> {
    if expect.as_str() == Some("property") {
        return Ok(vec![Expected::Any; count]);
    }
    let one = |value: &Value| match value {
        Value::Null => Ok(Expected::Refused),
        Value::String(word) if ["error", "exhausted", "ENOMEM", "ENOSPC"].contains(&word.as_str()) => {
            Ok(Expected::Refused)
        }
        // The source returns 0 for nothing.
        Value::Number(zero) if zero.as_u64() == Some(0) => Ok(Expected::Refused),
        value => Ok(Expected::At(number("expect", value)?)),
    };
    let expected: Vec<Expected> = items("expect", expect)?.iter().map(one).collect::<Result<_, String>>()?;
    same("number of expectations", &expected.len(), &count)?;
    Ok(expected)
}

/// One limit for all requests, or one for each, in granules.
fn limits(value: Option<Value>, sizes: &[u64], window: u64) -> Result<Vec<u64>, String> {
    match value {
        None => Ok(vec![window; sizes.len()]),
        Some(Value::Array(each)) => {
            same("number of limits", &each.len(), &sizes.len())?;
            each.iter().map(|limit| number("limit", limit)).collect()
        }
        Some(all) => Ok(vec![number("limit", &all)?; sizes.len()]),
    }
}

/// Which request is freed: by its place in the list, or by the number it was expected to get.
fn index_of(freed: u64, expected: &[Expected]) -> Result<usize, String> {
    let by_number = expected.iter().position(|one| matches!(one, Expected::At(at) if *at == freed));
    let by_place = usize::try_from(freed).ok().filter(|index| *index < expected.len());
    by_number
        .or(by_place)
        .ok_or_else(|| format!("frees {freed}, which is no request and no expected address"))
}

/// The properties of all ranges that are out.
fn check(out: &[Option<IovaRange>], requests: &[IovaRequest], lowest: u64) -> Verdict {
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for (range, request) in out.iter().zip(requests) {
        let Some(range) = range else { continue };
        let (start, bytes) = (range.addr().raw(), range.len_bytes());
        let natural = request.bytes.next_power_of_two().max(request.align);
        let good = bytes >= request.bytes
            && start >= lowest
            && start + (bytes - 1) <= request.limit
            && start % natural == 0
            && (request.boundary == 0
                || start / request.boundary == (start + request.bytes - 1) / request.boundary);
        if !good {
            return Err(format!("{range:?} does not suit {request:?}"));
        }
        taken.push((start, start + bytes));
    }
    taken.sort_unstable();
    match taken.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(format!("overlapping ranges: {pair:x?}")),
        None => Ok(()),
    }
}

/// A device with a 64-bit mask: everything below 4 GiB first, then the rest.
fn below_4_gib_first(granule: u64) -> Verdict {
    const GIB: u64 = 1 << 30;
    let fail = |error: scatterlist::map::iommu::IovaError| error.to_string();
    let mut iova =
        IovaAllocator::new(granule, BusAddr::new(granule), BusAddr::new(u64::MAX)).map_err(fail)?;
    let mut ranges = Vec::new();
    for index in 0..6 {
        let range = iova.alloc(&IovaRequest::new(GIB)).map_err(fail)?;
        // The granule at 0 is not in the window, so three fit below.
        same("below 4 GiB", &(range.addr().raw() < 4 * GIB), &(index < 3))?;
        ranges.push(range);
    }
    let small = iova.alloc(&IovaRequest::new(granule)).map_err(fail)?;
    same("a small one still finds room below", &(small.addr().raw() < GIB), &true)?;
    let freed = ranges.swap_remove(1);
    iova.free(freed).map_err(|error| error.to_string())?;
    let again = iova.alloc(&IovaRequest::new(GIB)).map_err(fail)?;
    same("what came back below is taken before the rest", &again.addr(), &freed.addr())?;
    same(
        "a 32-bit device gets nothing more",
        &iova.alloc(&IovaRequest::new(GIB).limit(4 * GIB - 1)).is_err(),
        &true,
    )
}
