//! [`Pieces`]: the pieces of one request, in order, as its device can take them.

use super::cursor::Cursor;
use super::find::Found;
use super::scan::{BounceStart, Rules, Scan, Taken};
use super::why::{Stop, Why};
use crate::{Addr, Limits, Segment};

/// One piece of a device-ready request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<A: Addr> {
    /// These bytes, where they are.
    Direct(Segment<A>),
    /// This many bytes of the list, through other memory.
    Bounce(BouncedPiece),
}

impl<A: Addr> Piece<A> {
    /// Returns the bytes of the piece.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        match self {
            Self::Direct(segment) => segment.len(),
            Self::Bounce(bounce) => bounce.len,
        }
    }
}

impl<A: Addr> From<Segment<A>> for Piece<A> {
    fn from(segment: Segment<A>) -> Self {
        Self::Direct(segment)
    }
}

/// Bytes that go through other memory.
///
/// Whoever provides that memory keeps four promises, and the piece then keeps every limit: it is one run of `len` bytes
/// within the address window; its address has the low bits `start_bits` in the bits of the gap boundary, the
/// alignment and [`LimitId::BounceOffsetMask`](crate::LimitId::BounceOffsetMask); its segment boundary and page windows are
/// aligned as `start_bits` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BouncedPiece {
    /// Bytes.
    pub len: u64,
    /// The low bits of the buffer's address, counted from an address aligned to every boundary of the limits.
    pub start_bits: u64,
    /// The limit that the bytes break where they are.
    pub why: Why,
}

/// Iterates over the pieces of a request. Walks again what the planner walked; allocates nothing.
#[derive(Clone, Debug)]
pub struct Pieces<'a, I, A: Addr>(Kind<'a, I, A>);

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is no allocator to box it with")]
enum Kind<'a, I, A: Addr> {
    /// A whole list, each segment one piece.
    Whole(I),
    Cut(Cut<'a, I, A>),
}

/// The pieces of a request that the planner walked.
#[derive(Clone, Debug)]
struct Cut<'a, I, A: Addr> {
    cursor: Cursor<I, A>,
    limits: &'a Limits,
    found: Found,
    scan: Scan,
    open: Option<(u64, BounceStart, Stop)>,
    ready: Option<Segment<A>>,
}

impl<'a, A: Addr, I: Iterator<Item = Segment<A>>> Pieces<'a, I, A> {
    #[inline]
    pub(super) const fn new(cursor: Cursor<I, A>, limits: &'a Limits, found: Found) -> Self {
        Self(Kind::Cut(Cut { cursor, limits, found, scan: Scan::new(), open: None, ready: None }))
    }

    /// The segments of a request that is a whole canonical list: there is nothing to join or to cut.
    #[inline]
    pub(super) const fn whole(segments: I) -> Self {
        Self(Kind::Whole(segments))
    }
}

impl<A: Addr, I: Iterator<Item = Segment<A>>> Iterator for Pieces<'_, I, A> {
    type Item = Piece<A>;

    #[inline]
    fn next(&mut self) -> Option<Piece<A>> {
        match &mut self.0 {
            Kind::Whole(segments) => segments.next().map(Piece::Direct),
            Kind::Cut(cut) => cut.next_cut(),
        }
    }
}

impl<A: Addr, I: Iterator<Item = Segment<A>>> Cut<'_, I, A> {
    fn close(&self, (len, start, stop): (u64, BounceStart, Stop)) -> Piece<A> {
        let start_bits = start.bits(len, self.limits.hard());
        Piece::Bounce(BouncedPiece { len, start_bits, why: stop.why(self.limits) })
    }

    /// The next piece of a request that the planner walked. Kept out of line, so that the walk over a list that
    /// fits as it stands stays a loop over its chunks.
    #[inline(never)]
    fn next_cut(&mut self) -> Option<Piece<A>> {
        if let Some(segment) = self.ready.take() {
            return Some(Piece::Direct(segment));
        }
        let bounce_head = self.found.bounce_head;
        while self.scan.taken < self.found.len {
            let Some(rest) = self.cursor.rest() else { break };
            // The scan may take more than the request holds, where a cut fell inside a piece.
            let left = self.found.len.saturating_sub(self.scan.taken);
            let room = self.found.scan_end.saturating_sub(self.scan.taken);
            let rules = Rules { hard: self.limits.hard(), bounces: true, bounce_head };
            // The scan took these bytes before, by the same rules.
            let Ok(taken) = self.scan.take(rest.addr().raw(), rest.len(), room, &rules) else { break };
            self.cursor.advance(taken.len());
            match taken {
                Taken::Direct(len) => {
                    let segment = rest.head(len.min(left));
                    let Some(bounce) = self.open.take() else { return Some(Piece::Direct(segment)) };
                    self.ready = Some(segment);
                    return Some(self.close(bounce));
                }
                Taken::Bounce(len, start, stop) => {
                    if let Some(bounce) = self.open.replace((len.min(left), start, stop)) {
                        return Some(self.close(bounce));
                    }
                }
                Taken::MoreBounce(more) => {
                    if let Some((len, ..)) = &mut self.open {
                        *len = len.saturating_add(more.min(left));
                    }
                }
            }
        }
        self.open.take().map(|bounce| self.close(bounce))
    }
}
