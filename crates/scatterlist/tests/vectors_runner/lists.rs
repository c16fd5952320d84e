//! `SG` and `PI`: lists built from pages, then merged and cut into runs.

use scatterlist::plan::coalesce;
use scatterlist::{Addr as _, LimitId, Limits, PhysAddr, ScatterList};

use super::fields::Fields;
use super::{Verdict, as_pairs, same};

/// The error number that Linux gives for a longest segment below one page (EINVAL).
const REFUSED: i64 = -22;

/// Pages to segments; a second lot of pages goes on merging into the last segment of the first.
pub(super) fn sg(mut case: Fields, page: u64) -> Verdict {
    let pages = page_addrs(&case.numbers("pfns")?, page)?;
    let more = match case.optional("append_pfns") {
        Some(value) => page_addrs(&numbers("append_pfns", value)?, page)?,
        None => Vec::new(),
    };
    let (size, longest) = (case.number("size")?, case.number("max_segment")?);
    let mut expect = case.object("expect")?;
    case.finish()?;
    let ret = expect.value("ret")?.as_i64().ok_or("`ret` is no number")?;
    let count = expect.optional_number("nsegs")?;
    let segments = expect.optional("segs_derived");
    expect.finish()?;

    // Segments consist of whole pages, so the longest is rounded down to pages; less than one is refused.
    let whole = longest - longest % page;
    let longest = if whole == 0 { longest } else { whole };
    let limits = Limits::builder().hard(LimitId::SegmentLenMax, longest).hard(LimitId::PageLen, page).build();
    let limits = match (limits, ret) {
        (Ok(limits), 0) => limits,
        (Err(_), REFUSED) => return Ok(()),
        (Ok(_), _) => return Err(format!("expected ret {ret}, got limits that are accepted")),
        (Err(error), _) => return Err(format!("expected ret {ret}, got limits that are refused: {error}")),
    };
    let mut list = ScatterList::from_pages(&pages, page, 0, size).map_err(|error| error.to_string())?;
    if !more.is_empty() {
        list.append_pages(&more, page, 0, size).map_err(|error| error.to_string())?;
    }
    let got = as_pairs(coalesce(&list, &limits));
    let count = count.ok_or("`expect` has no `nsegs`")?;
    same("nsegs", &u64::try_from(got.len()).unwrap_or(u64::MAX), &count)?;
    match segments {
        Some(segments) => same("segs_derived", &got, &super::fields::pairs("segs_derived", segments)?),
        None => Ok(()),
    }
}

/// Pages, a byte offset and perhaps ranges, to runs of a longest length.
pub(super) fn pi(mut case: Fields, page: u64) -> Verdict {
    let mut phys = case.numbers("phys")?;
    let (length, offset) = (case.number("length")?, case.number("vmo_offset")? % page);
    let longest = case.number("max_length")?;
    let ranges = case.optional("sg").map(|value| super::fields::pairs("sg", value)).transpose()?;
    let expected = case.pairs("expect")?;
    case.finish()?;

    // A length and an offset of each range, in any order; without ranges it is one of everything.
    let ranges: Vec<(u64, u64)> = match ranges {
        Some(ranges) => ranges.into_iter().map(|(len, offset)| (offset, len)).collect(),
        None => vec![(0, length)],
    };
    // The source takes one page base to stand for contiguous memory of any length.
    if let [base] = phys[..] {
        let end = ranges.iter().map(|(offset, len)| offset.saturating_add(*len)).max().unwrap_or(0);
        let pages = end.saturating_add(offset).div_ceil(page);
        phys = (0..pages.max(1)).map(|index| base + index * page).collect();
    }
    let pages: Vec<PhysAddr> = phys.into_iter().map(PhysAddr::new).collect();
    let bytes = (u64::try_from(pages.len()).unwrap_or(u64::MAX) * page).saturating_sub(offset);
    let list = ScatterList::from_pages(&pages, page, offset, bytes).map_err(|error| error.to_string())?;
    let list = list.select(&within(ranges, bytes)).map_err(|error| error.to_string())?;

    let mut limits = Limits::builder().hard(LimitId::PageLen, page);
    if longest != 0 {
        limits = limits.hard(LimitId::SegmentLenMax, longest);
    }
    let limits = limits.build().map_err(|error| error.to_string())?;
    same("runs", &as_pairs(coalesce(&list, &limits)), &expected)
}

/// What the source makes of ranges that a list refuses: it passes over empty ones, and where one reaches
/// past the end it ends there, with the bytes up to the end.
fn within(ranges: Vec<(u64, u64)>, bytes: u64) -> Vec<(u64, u64)> {
    let mut kept = Vec::new();
    for (offset, len) in ranges {
        let here = len.min(bytes.saturating_sub(offset));
        if here > 0 {
            kept.push((offset, here));
        }
        if here < len {
            break;
        }
    }
    kept
}

fn numbers(key: &str, value: serde_json::Value) -> Result<Vec<u64>, String> {
    let number = |item: &serde_json::Value| item.as_u64().ok_or_else(|| format!("`{key}` holds {item}"));
    super::fields::items(key, value)?.iter().map(number).collect()
}

fn page_addrs(frames: &[u64], page: u64) -> Result<Vec<PhysAddr>, String> {
    let addr = |frame: &u64| frame.checked_mul(page).map(PhysAddr::new);
    frames.iter().map(addr).collect::<Option<_>>().ok_or_else(|| "a page past 64 bits".to_owned())
}
