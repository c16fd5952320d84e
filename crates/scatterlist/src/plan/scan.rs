//! [`Scan`]: the rules of one request, piece by piece.
//!
//! The one place that knows what a legal next piece is. [`find`](super::find) runs it to see how far a request can
//! go, [`Pieces`](super::Pieces) runs it again to yield the pieces; so the two cannot disagree.

use super::coalesce::{legal_len, longest_len};
use super::why::Stop;
use crate::LimitId;
use crate::limits::{Hard, rem};

/// What has been taken into a request so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// Bytes taken.
    pub(super) taken: u64,
    pieces: u64,
    /// Segments, those of an open bounce piece not counted.
    segments: u64,
    /// Where the last piece ends; only its low bits matter.
    end: u64,
    bounce: Option<OpenBounce>,
}

/// A bounce piece that may still grow.
#[derive(Clone, Copy, Debug)]
struct OpenBounce {
    len: u64,
    len_max: u64,
    start: BounceStart,
}

/// Which low address bits a bounce buffer starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BounceStart {
    /// These.
    Bits(u64),
    /// Whatever makes its end fall on a gap granule: the first piece of a request may start anywhere.
    EndAligned,
}

impl BounceStart {
    /// Returns the low bits for a piece of `len` bytes.
    pub(super) const fn bits(self, len: u64, hard: &Hard) -> u64 {
        match self {
            Self::Bits(bits) => bits,
            Self::EndAligned => len.wrapping_neg() & hard.gap_mask,
        }
    }
}

/// What a scan took from the front of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    /// This many bytes, as a direct piece.
    Direct(u64),
    /// This many bytes, as a new bounce piece.
    Bounce(u64, BounceStart, Stop),
    /// This many bytes, added to the open bounce piece.
    MoreBounce(u64),
}

impl Taken {
    pub(super) const fn len(&self) -> u64 {
        match self {
            Self::Direct(len) | Self::Bounce(len, ..) | Self::MoreBounce(len) => *len,
        }
    }
}

/// The rules of the request at hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) hard: &'a Hard,
    pub(super) bounces: bool,
    /// The first bytes of the request are bounced whatever they are, for this reason.
    pub(super) bounce_head: Option<(u64, Stop)>,
}

impl Scan {
    pub(super) const fn new() -> Self {
        Self { taken: 0, pieces: 0, segments: 0, end: 0, bounce: None }
    }

    /// Takes what it can from the front of a segment of which `len` bytes at `addr` are left, at most `room`
    /// bytes.
    ///
    /// # Errors
    /// The limit that keeps the next byte out of this request.
    #[inline]
    pub(super) fn take(&mut self, addr: u64, len: u64, room: u64, rules: &Rules<'_>) -> Result<Taken, Stop> {
        let within = len.min(room);
        if let Some((head, stop)) = rules.bounce_head
            && self.taken < head
        {
            return self.bounce(addr, within.min(head.saturating_sub(self.taken)), stop, rules.hard);
        }
        match self.direct_len(addr, len, within, rules.hard) {
            Ok(direct) => self.direct(addr, direct, rules.hard),
            Err((bounced, stop)) if rules.bounces => self.bounce(addr, bounced, stop, rules.hard),
            Err((_, stop)) => Err(stop),
        }
    }

    /// Returns how many bytes can be direct by the rules on memory alone; else how many must be bounced
    /// before one can be, and why.
    #[inline]
    fn direct_len(&self, addr: u64, len: u64, within: u64, hard: &Hard) -> Result<u64, (u64, Stop)> {
        if len < hard.copy_below {
            return Err((within, Stop::new(LimitId::CopyBelow, len, hard.copy_below)));
        }
        if addr < hard.addr_min {
            let below = hard.addr_min.saturating_sub(addr);
            let stop = Stop::new(LimitId::AddrMin, addr, hard.addr_min);
            return Err((self.sync_from(addr, below, within, hard), stop));
        }
        if addr > hard.addr_max {
            return Err((within, Stop::new(LimitId::AddrMax, addr, hard.addr_max)));
        }
        if addr & hard.addr_mask != 0 {
            let stop = Stop::new(LimitId::AddrAlign, addr, hard.addr_mask.saturating_add(1));
            return Err((self.sync_from(addr, 1, within, hard), stop));
        }
        let unit = hard.piece_len_align;
        if unit != 1 && rem(self.taken, unit) != 0 {
            let stop = Stop::new(LimitId::PieceLenAlign, self.taken, unit);
            return Err((self.sync_from(addr, 1, within, hard), stop));
        }
        let reach = within.min(hard.addr_max.saturating_sub(addr).saturating_add(1));
        let legal = legal_len(addr, reach, hard);
        let mut direct = legal.saturating_sub(rem(legal, unit));
        if direct == 0 && hard.gap_mask == 0 {
            // Cutting on a page was a preference; a whole unit across it is legal too.
            let longest = longest_len(addr, reach, hard);
            direct = longest.saturating_sub(rem(longest, unit));
        }
        if direct == 0 {
            let stop = if reach < within {
                Stop::new(LimitId::AddrMax, addr.saturating_add(reach), hard.addr_max)
            } else {
                Stop::new(LimitId::PieceLenAlign, legal, unit)
            };
            return Err((self.sync_from(addr, 1, within, hard), stop));
        }
        Ok(direct)
    }

    /// Returns the distance, at least `from`, to the next byte of the segment at which a direct piece may
    /// start; `within` where there is none.
    fn sync_from(&self, addr: u64, from: u64, within: u64, hard: &Hard) -> u64 {
        if from >= within {
            return within;
        }
        let unit = hard.piece_len_align;
        let align = hard.addr_mask.saturating_add(1);
        let to = |value: u64, unit: u64| match rem(value.wrapping_add(from), unit) {
            0 => from,
            rest => from.saturating_add(unit.saturating_sub(rest)),
        };
        // One of the two granularities decides where; the other must then agree.
        let distance = if align >= unit { to(addr, align) } else { to(self.taken, unit) };
        let agrees = addr.wrapping_add(distance) & hard.addr_mask == 0
            && rem(self.taken.wrapping_add(distance), unit) == 0;
        if agrees { distance.min(within) } else { within }
    }

    #[inline]
    fn direct(&mut self, addr: u64, len: u64, hard: &Hard) -> Result<Taken, Stop> {
        if self.taken > 0 && (self.end | addr) & hard.gap_mask != 0 {
            let value = if self.end & hard.gap_mask == 0 { addr } else { self.end };
            return Err(Stop::new(LimitId::GapBoundary, value, hard.gap_mask.saturating_add(1)));
        }
        let segments = self.segments_with_bounce(hard);
        let mut len = len;
        let mut count = 1;
        if hard.page_mask != u64::MAX {
            len = self.within_pages(addr, len, segments, hard)?;
            count = pages_of(addr, len, hard);
        } else if segments >= hard.segments_max {
            return Err(Stop::new(LimitId::SegmentsMax, segments.saturating_add(1), hard.segments_max));
        }
        if self.pieces >= hard.pieces_max {
            return Err(Stop::new(LimitId::PiecesMax, self.pieces.saturating_add(1), hard.pieces_max));
        }
        self.bounce = None;
        self.pieces = self.pieces.saturating_add(1);
        self.segments = segments.saturating_add(count);
        self.end = addr.wrapping_add(len);
        self.taken = self.taken.saturating_add(len);
        Ok(Taken::Direct(len))
    }

    /// Cuts a direct piece to the pages that the count of segments leaves.
    fn within_pages(&self, addr: u64, len: u64, segments: u64, hard: &Hard) -> Result<u64, Stop> {
        let left = hard.segments_max.saturating_sub(segments);
        let needed = pages_of(addr, len, hard);
        if needed <= left {
            return Ok(len);
        }
        let page = hard.page_mask.saturating_add(1);
        let end = (addr & !hard.page_mask).saturating_add(left.saturating_mul(page)) & !hard.gap_mask;
        let fits = end.saturating_sub(addr);
        let fits = fits.saturating_sub(rem(fits, hard.piece_len_align));
        if fits == 0 {
            let value = segments.saturating_add(needed);
            return Err(Stop::new(LimitId::SegmentsMax, value, hard.segments_max));
        }
        Ok(fits.min(len))
    }

    fn bounce(&mut self, addr: u64, len: u64, stop: Stop, hard: &Hard) -> Result<Taken, Stop> {
        if let Some(open) = &mut self.bounce
            && open.len < open.len_max
        {
            let len = len.min(open.len_max.saturating_sub(open.len));
            open.len = open.len.saturating_add(len);
            self.end = open.start.bits(open.len, hard).wrapping_add(open.len);
            self.taken = self.taken.saturating_add(len);
            return Ok(Taken::MoreBounce(len));
        }
        let segments = self.segments_with_bounce(hard);
        let start = self.bounce_start(addr, hard)?;
        if self.pieces >= hard.pieces_max {
            return Err(Stop::new(LimitId::PiecesMax, self.pieces.saturating_add(1), hard.pieces_max));
        }
        let len_max = bounce_len_max(start, hard.segments_max.saturating_sub(segments), hard);
        if len_max == 0 {
            return Err(Stop::new(LimitId::SegmentsMax, segments.saturating_add(1), hard.segments_max));
        }
        let len = len.min(len_max);
        self.segments = segments;
        self.pieces = self.pieces.saturating_add(1);
        self.bounce = Some(OpenBounce { len, len_max, start });
        self.end = start.bits(len, hard).wrapping_add(len);
        self.taken = self.taken.saturating_add(len);
        Ok(Taken::Bounce(len, start, stop))
    }

    /// Chooses where a new bounce buffer starts, by the gap rule and the bits that it must preserve.
    fn bounce_start(&self, addr: u64, hard: &Hard) -> Result<BounceStart, Stop> {
        // A copy is aligned, also where misalignment is why it is made.
        let preserved = addr & hard.bounce_offset_mask & !hard.addr_mask;
        if self.taken > 0 && (self.end | preserved) & hard.gap_mask != 0 {
            let value = if self.end & hard.gap_mask == 0 { preserved } else { self.end };
            return Err(Stop::new(LimitId::GapBoundary, value, hard.gap_mask.saturating_add(1)));
        }
        // An end-aligned start must keep the address alignment: it does where lengths are multiples of it.
        let can_align = rem(hard.piece_len_align, hard.addr_mask.saturating_add(1)) == 0;
        if self.taken == 0 && hard.bounce_offset_mask == 0 && hard.gap_mask != 0 && can_align {
            return Ok(BounceStart::EndAligned);
        }
        Ok(BounceStart::Bits(preserved))
    }

    fn segments_with_bounce(&self, hard: &Hard) -> u64 {
        let Some(open) = self.bounce else { return self.segments };
        let count = if hard.page_mask == u64::MAX {
            1
        } else {
            pages_of(open.start.bits(open.len, hard), open.len, hard)
        };
        self.segments.saturating_add(count)
    }
}

/// Returns how many pages `len` bytes at `addr` touch.
#[inline]
fn pages_of(addr: u64, len: u64, hard: &Hard) -> u64 {
    let span = (addr & hard.page_mask).saturating_add(len).saturating_add(hard.page_mask);
    span.checked_shr(hard.page_mask.count_ones()).unwrap_or(0)
}

/// Returns the longest bounce piece that starts so, with `left` segments to use.
fn bounce_len_max(start: BounceStart, left: u64, hard: &Hard) -> u64 {
    // The most that the low bits of the start can take away from a window.
    let offset = match start {
        BounceStart::Bits(bits) => bits,
        BounceStart::EndAligned => hard.gap_mask,
    };
    if left == 0 {
        return 0;
    }
    let mut longest = hard.segment_len_max;
    if hard.boundary_mask != u64::MAX {
        let window = hard.boundary_mask.saturating_add(1);
        longest = longest.min(window.saturating_sub(rem(offset, window)));
    }
    if hard.page_mask != u64::MAX && left != u64::MAX {
        let page = hard.page_mask.saturating_add(1);
        longest = longest.min(left.saturating_mul(page).saturating_sub(offset & hard.page_mask));
    }
    // What follows must be able to start where this piece ends, when it is as long as it may be.
    if let BounceStart::Bits(bits) = start
        && longest != u64::MAX
    {
        let end = bits.saturating_add(longest) & !hard.gap_mask;
        longest = end.saturating_sub(bits);
    }
    longest.saturating_sub(rem(longest, hard.piece_len_align))
}
