//! `BUSDMA`: one transfer into at most so many segments, or an error; nothing is ever split.
//!
//! The source loads chunk by chunk (a whole run, or what is left of a page) and joins a chunk to the last segment
//! only as a whole. Inside a run that comes to the same as cutting greedily on page granules; between runs a
//! merge barrier stands wherever the next chunk does not fit as a whole.

use scatterlist::plan::{Piece, PlanError, Policy, coalesce, mergeable, plan};
use scatterlist::{LimitId, Limits, PhysAddr, Position, ScatterList};
use serde_json::Value;

use super::fields::Fields;
use super::{Verdict, as_pairs, same, segment};

#[derive(Clone, Copy)]
struct Tag {
    boundary: u64,
    longest: u64,
    count: u64,
    align: u64,
}

/// What a load gives: segments or the name of an error.
type Loaded = Result<Vec<(u64, u64)>, &'static str>;

pub(super) fn busdma(mut case: Fields, page: u64) -> Verdict {
    let loader = case.text("loader")?;
    let mut tag = case.object("tag")?;
    let limits = Tag {
        boundary: tag.number("boundary")?,
        longest: tag.number("maxsegsz")?,
        count: tag.number("nsegments")?,
        align: tag.optional_number("alignment")?.unwrap_or(1).max(1),
    };
    tag.finish()?;
    let runs = case.pairs("runs")?;
    let expected = match (case.value("error")?, case.optional("segs")) {
        (Value::Number(zero), Some(segments)) if zero.as_u64() == Some(0) => {
            Ok(super::fields::pairs("segs", segments)?)
        }
        (Value::String(name), None) if name == "EFBIG" => Err("EFBIG"),
        (Value::String(name), None) if name == "EINVAL" => Err("EINVAL"),
        (error, segments) => {
            return Err(format!("error {error} with segments {segments:?} is not understood"));
        }
    };
    case.finish()?;
    let page = match loader.as_str() {
        "load_phys" => None,
        "load_pages" | "load_buffer" => Some(page),
        other => return Err(format!("unknown loader {other}")),
    };
    let loaded = load(&runs, limits, page)?;
    same("load", &loaded, &expected)
}

fn load(runs: &[(u64, u64)], tag: Tag, page: Option<u64>) -> Result<Loaded, String> {
    if tag.boundary != 0 && tag.boundary < tag.longest {
        return Ok(Err("EINVAL"));
    }
    let limits = Limits::builder()
        .hard(LimitId::SegmentBoundary, tag.boundary)
        .hard(LimitId::SegmentLenMax, tag.longest)
        .hard(LimitId::AddrAlign, tag.align);
    // Segments of whole pages, where a segment can hold one; else the chunks are handed over one by one.
    let whole_pages = page.filter(|page| tag.longest >= *page);
    let cut = match whole_pages {
        Some(page) => limits.hard(LimitId::PageLen, page).build(),
        None => limits.build(),
    };
    let Ok(cut) = cut else { return Ok(Err("EINVAL")) };
    let list = joined(runs, tag, page, &cut)?;
    if whole_pages.is_some() {
        // With a page length a count of segments is one of pages, so the segments are counted here.
        let segments = as_pairs(coalesce(&list, &cut));
        let fits = u64::try_from(segments.len()).is_ok_and(|count| count <= tag.count);
        return Ok(if fits { Ok(segments) } else { Err("EFBIG") });
    }
    let Ok(limits) = limits.hard(LimitId::SegmentsMax, tag.count).build() else { return Ok(Err("EINVAL")) };
    let mut segments = Vec::new();
    for ready in plan(&list, Position::Stream, &limits, Policy::WholeOrError) {
        match ready {
            Ok(ready) => {
                for piece in ready.pieces() {
                    match piece {
                        Piece::Direct(segment) => segments.extend(as_pairs([segment])),
                        Piece::Bounce(bounce) => return Err(format!("bounced: {bounce:?}")),
                    }
                }
            }
            Err(PlanError::Unsatisfiable { why, .. }) if why.limit == LimitId::SegmentsMax => {
                return Ok(Err("EFBIG"));
            }
            Err(_) => return Ok(Err("EINVAL")),
        }
    }
    Ok(Ok(segments))
}

/// The list of all runs, with a barrier before each chunk that the source would not join.
fn joined(
    runs: &[(u64, u64)],
    tag: Tag,
    page: Option<u64>,
    cut: &Limits,
) -> Result<ScatterList<PhysAddr>, String> {
    let mut list = ScatterList::new();
    for &(mut addr, mut len) in runs {
        while len > 0 {
            let to_page = page.map_or(u64::MAX, |page| page - addr % page);
            // Whole pages of one run are cut the same by the planner.
            let run = if page.is_some_and(|page| tag.longest < page) { len.min(to_page) } else { len };
            let to_boundary = match tag.boundary {
                0 => u64::MAX,
                boundary => boundary - addr % boundary,
            };
            let chunk = segment(addr, run.min(to_page).min(tag.longest).min(to_boundary))?;
            let whole = segment(addr, run)?;
            let fits = coalesce(&list, cut).last().is_some_and(|last| {
                mergeable(last, chunk, tag.boundary) && last.len() + chunk.len() <= tag.longest
            });
            list.append(if fits { whole } else { whole.with_barrier() })
                .map_err(|error| error.to_string())?;
            (addr, len) = (addr + run, len - run);
        }
    }
    Ok(list)
}
