//! [`Load`]: what a pending request takes of one command, kept while it grows, so that a push plans only what it brings.
//!
//! The loads of two requests add up to that of both, at most: what is planned as one command by itself has as many pieces and segments
//! among others, or one less where it goes on where the memory before ends. While that is within the limits, there is nothing to cut. A
//! load decides only *when* a stream is planned. What a command is the planner says alone, whenever one is cut.

use scatterlist::plan::{Piece, Ready};
use scatterlist::{Addr as _, LimitId, Limits, PhysAddr, Position, Request, ScatterList, Segment};

/// Where a count is no more than "at most", a stream is planned when one part in this many of it is new: planning costs that many times
/// what was pushed, at most, however often it finds nothing to cut.
const NEW_PART: u64 = 8;

/// How well the counts of a load are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Known {
    /// They are the planner's.
    Exactly,
    /// The planner's may be less.
    AtMost,
    /// Bounces that must keep to gaps or pages depend on what is before them.
    Nothing,
}

/// What a pending request takes of one command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pieces: u64,
    segments: u64,
    known: Known,
    /// Segments of the list that came since it was planned as a whole.
    new: u64,
    /// It is more than one command, or may be: nothing else says when to look.
    full: bool,
}

/// Where two lists meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seam {
    /// Just past the first.
    pub(super) end: u64,
    /// Of the second.
    pub(super) start: u64,
    /// The last segment of the first and the first of the second are one now.
    pub(super) joined: bool,
}

impl Seam {
    /// Returns where `first` and `second` will meet.
    pub(super) fn of(first: &ScatterList<PhysAddr>, second: &ScatterList<PhysAddr>) -> Self {
        let end = first.last().map_or(0, |segment| segment.end());
        let start = second.first().map_or(0, |segment| segment.addr().raw());
        Self { end, start, joined: false }
    }
}

impl Load {
    /// The load of no bytes.
    pub(super) const EMPTY: Self =
        Self { pieces: 0, segments: 0, known: Known::Exactly, new: 0, full: false };

    /// Returns the load of what must be planned before anything else is known.
    pub(super) const fn unplanned() -> Self {
        Self { full: true, ..Self::EMPTY }
    }

    /// Returns the load of a whole list that is one command.
    pub(super) fn of(ready: &Ready<'_, ScatterList<PhysAddr>>, limits: &Limits) -> Self {
        let page_len = limits.hard_value(LimitId::PageLen);
        let rigid = page_len != 0 || limits.hard_value(LimitId::GapBoundary) != 0;
        ready.pieces().fold(Self::EMPTY, |load, piece| {
            let (segments, known) = match piece {
                Piece::Direct(segment) => (pages(segment, page_len), Known::Exactly),
                Piece::Bounce(_) => (1, if rigid { Known::Nothing } else { Known::AtMost }),
            };
            Self {
                pieces: load.pieces.saturating_add(1),
                segments: load.segments.saturating_add(segments),
                known: load.known.max(known),
                ..load
            }
        })
    }

    /// Returns this load as that of a list of `segments` that was not here before.
    pub(super) const fn as_new(self, segments: u64) -> Self {
        Self { new: segments, ..self }
    }

    /// Returns this load as one that is looked at when there is room for a command.
    pub(super) const fn as_full(self) -> Self {
        Self { full: true, ..self }
    }

    /// Says whether its counts are those of the planner.
    pub(super) fn is_exact(&self) -> bool {
        self.known == Known::Exactly
    }

    /// Returns the load of this and `next` behind it.
    pub(super) fn joined(self, next: &Self, seam: Seam, limits: &Limits, bounces: bool) -> Self {
        let hard = |id| limits.hard_value(id);
        let mut load = Self {
            pieces: self.pieces.saturating_add(next.pieces),
            segments: self.segments.saturating_add(next.segments),
            known: self.known.max(next.known),
            new: self.new.saturating_add(next.new),
            full: self.full || next.full,
        };
        let whole = hard(LimitId::SegmentLenMax) == u64::MAX && hard(LimitId::SegmentBoundary) == 0;
        if seam.joined && whole && load.is_exact() {
            load.pieces = load.pieces.saturating_sub(1);
            // Both had counted the page on which they meet, unless they meet between two.
            let within = hard(LimitId::PageLen).checked_sub(1).is_none_or(|mask| seam.start & mask != 0);
            load.segments = load.segments.saturating_sub(u64::from(within));
        } else if seam.joined {
            load.known = load.known.max(Known::AtMost);
        } else if (seam.end | seam.start) & hard(LimitId::GapBoundary).saturating_sub(1) != 0 {
            if bounces {
                load.known = Known::Nothing;
            } else {
                load.full = true;
            }
        }
        load
    }

    /// Says whether a request of this load may be more than one command, so that it has to be planned.
    pub(super) fn is_due<O, C>(&self, request: &Request<PhysAddr, O, C>, limits: &Limits) -> bool {
        let hard = |id| limits.hard_value(id);
        if self.full || request.len_bytes() > room(request.position(), limits) {
            return true;
        }
        let over = self.pieces > hard(LimitId::PiecesMax) || self.segments > hard(LimitId::SegmentsMax);
        match self.known {
            Known::Exactly => over,
            Known::AtMost if !over => false,
            Known::AtMost | Known::Nothing => {
                self.new.saturating_mul(NEW_PART) >= request.lease().list().len_segments()
            }
        }
    }
}

/// Returns how many segments a piece counts as.
fn pages(piece: Segment<PhysAddr>, page_len: u64) -> u64 {
    let Some(before) = piece.addr().raw().checked_rem(page_len) else { return 1 };
    let bytes = before.saturating_add(piece.len()).saturating_add(page_len.saturating_sub(1));
    bytes.checked_div(page_len).unwrap_or(1)
}

/// Returns how many bytes one command may have at a position.
fn room(position: Position, limits: &Limits) -> u64 {
    let most = limits.hard_value(LimitId::TransferLenMax);
    let (Position::At(at), chunk_len) = (position, limits.hard_value(LimitId::ChunkLen)) else { return most };
    let rem = |value: u64| value.checked_rem(chunk_len);
    // An offset is a fact, so it counts whatever its force.
    let offset = rem(limits.get(LimitId::PositionOffset).value);
    let within = offset.and_then(|offset| rem(rem(at)?.saturating_add(offset)));
    within.map_or(most, |within| most.min(chunk_len.saturating_sub(within)))
}
