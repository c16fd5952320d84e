//! Do the bus addresses of a mapping keep the device's [`Limits`]? Written from the documentation of each [`LimitId`].
//!
//! | mapping | limits that it must keep |
//! |---|---|
//! | single, page, list | all hard limits on memory, as one transfer |
//! | coherent | the window with the one for coherent memory, the address alignment |
//! | resource | the window |
//!
//! Each limit is told once for a mapping, with the first segment that breaks it.

use alloc::vec::Vec;

use super::call::{MapCall, MapKind, Span, bytes_of};
use crate::limits::rem;
use crate::plan::Why;
use crate::{LimitId, Limits};

/// A limit that is broken, and by which bus segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    pub(super) why: Why,
    pub(super) index: usize,
}

/// Which low bits a bus segment did not share with its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shifted {
    pub(super) index: usize,
    pub(super) cpu_addr: u64,
    pub(super) mask: u64,
}

struct Check<'a> {
    limits: &'a Limits,
    broken: Vec<Broken>,
}

impl Check<'_> {
    fn need(&mut self, kept: bool, limit: LimitId, value: u64, index: usize) {
        if kept || self.broken.iter().any(|broken| broken.why.limit == limit) {
            return;
        }
        let stated = self.limits.get(limit);
        self.broken
            .push(Broken { why: Why { limit, value, need: stated.value, source: stated.source }, index });
    }

    fn hard(&self, limit: LimitId) -> u64 {
        self.limits.hard_value(limit)
    }

    fn window(&mut self, index: usize, span: Span) {
        self.need(span.addr >= self.hard(LimitId::AddrMin), LimitId::AddrMin, span.addr, index);
        self.need(span.last() <= self.hard(LimitId::AddrMax), LimitId::AddrMax, span.last(), index);
    }

    fn aligned(&mut self, index: usize, span: Span) {
        let kept = rem(span.addr, self.hard(LimitId::AddrAlign)) == 0;
        self.need(kept, LimitId::AddrAlign, span.addr, index);
    }

    fn segment(&mut self, index: usize, span: Span) {
        let kept = rem(span.len, self.hard(LimitId::PieceLenAlign)) == 0;
        self.need(kept, LimitId::PieceLenAlign, span.len, index);
        self.need(span.len <= self.hard(LimitId::SegmentLenMax), LimitId::SegmentLenMax, span.len, index);
        let boundary = self.hard(LimitId::SegmentBoundary);
        let kept = boundary == 0 || (span.addr ^ span.last()) < boundary;
        self.need(kept, LimitId::SegmentBoundary, span.last(), index);
    }

    /// Both sides of the join before segment `index`.
    fn join(&mut self, index: usize, before: Span, span: Span) {
        let gap = self.hard(LimitId::GapBoundary);
        let end = before.addr.wrapping_add(before.len);
        self.need(rem(end, gap) == 0, LimitId::GapBoundary, end, index.saturating_sub(1));
        self.need(rem(span.addr, gap) == 0, LimitId::GapBoundary, span.addr, index);
    }

    fn whole(&mut self, bus: &[Span]) {
        let last = bus.len().saturating_sub(1);
        let bytes = bytes_of(bus);
        let kept = rem(bytes, self.hard(LimitId::TotalLenAlign)) == 0;
        self.need(kept, LimitId::TotalLenAlign, bytes, last);
        let pieces = u64::try_from(bus.len()).unwrap_or(u64::MAX);
        self.need(pieces <= self.hard(LimitId::PiecesMax), LimitId::PiecesMax, pieces, last);
        let page = self.hard(LimitId::PageLen);
        let touched = |span: &Span| {
            let page_of = |addr: u64| addr.checked_div(page);
            match (page_of(span.addr), page_of(span.last())) {
                (Some(first), Some(last)) => last.saturating_sub(first).saturating_add(1),
                _ => 1,
            }
        };
        let segments = bus.iter().map(touched).fold(0, u64::saturating_add);
        self.need(segments <= self.hard(LimitId::SegmentsMax), LimitId::SegmentsMax, segments, last);
    }
}

/// Returns every limit that the mapping breaks, each once.
pub(super) fn broken(limits: &Limits, call: &MapCall<'_>) -> Vec<Broken> {
    let mut check = Check { limits, broken: Vec::new() };
    let streams = matches!(call.kind, MapKind::Single | MapKind::Page | MapKind::List);
    let mut before = None;
    for (index, span) in call.bus.iter().copied().enumerate().filter(|(_, span)| span.len != 0) {
        check.window(index, span);
        if call.kind != MapKind::Resource {
            check.aligned(index, span);
        }
        if call.kind == MapKind::Coherent {
            let kept = span.last() <= check.hard(LimitId::CoherentAddrMax);
            check.need(kept, LimitId::CoherentAddrMax, span.last(), index);
        }
        if streams {
            check.segment(index, span);
            if let Some(before) = before.replace(span) {
                check.join(index, before, span);
            }
        }
    }
    if streams {
        check.whole(call.bus);
    }
    check.broken
}

/// Returns the first bus segment whose start does not share the low bits of its memory that the device needs kept.
pub(super) fn shifted(limits: &Limits, call: &MapCall<'_>) -> Option<Shifted> {
    // What is copied is aligned: the bits below the alignment need not be kept.
    let aligned = limits.hard_value(LimitId::AddrAlign).saturating_sub(1);
    let mask = limits.hard_value(LimitId::BounceOffsetMask) & !aligned;
    if mask == 0 || matches!(call.kind, MapKind::Coherent | MapKind::Resource) {
        return None;
    }
    let mut cpu = call.cpu.iter().copied().filter(|span| span.len != 0);
    let mut at = cpu.next()?;
    for (index, span) in call.bus.iter().enumerate().filter(|(_, span)| span.len != 0) {
        if (at.addr ^ span.addr) & mask != 0 {
            return Some(Shifted { index, cpu_addr: at.addr, mask });
        }
        let mut rest = span.len;
        while rest >= at.len {
            rest = rest.saturating_sub(at.len);
            at = cpu.next()?;
        }
        at = Span::new(at.addr.saturating_add(rest), at.len.saturating_sub(rest));
    }
    None
}
