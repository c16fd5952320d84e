//! The planner: a list and a device's limits in, device-ready requests out.
//!
//! [`plan`] is lazy and allocates nothing. Each request it yields covers the next bytes in order and keeps
//! **every** hard limit; soft limits cut nothing. A request is a sequence of [`Piece`]s, direct or bounced.
//! Every cut and every bounce carries [`Why`]; "cut here" and "cannot be satisfied"
//! ([`PlanError::Unsatisfiable`]) are different answers. A list whose [`Totals`](crate::Totals) fit is planned
//! without a walk.

#[cfg(feature = "alloc")]
mod append;
mod coalesce;
mod cursor;
mod find;
mod fit;
mod pieces;
mod scan;
mod why;

#[cfg(feature = "alloc")]
pub use append::{AppendError, Appender, TryAppend, try_append};
pub use coalesce::{Coalesced, coalesce, gap_between, mergeable, segment_len_at};
#[cfg(feature = "alloc")]
pub(crate) use fit::{fits_device, fits_whole};
pub use pieces::{BouncedPiece, Piece, Pieces};
pub use why::{PlanError, Why};

use core::ops::ControlFlow;

use crate::limits::Hard;
use crate::{Addr, Limits, Position, Segment, Segments};
use cursor::Cursor;
use find::{Found, Span, find};

/// What the planner may do when a list does not fit a device as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Policy {
    /// One request with every byte direct, or an error.
    WholeOrError,
    /// One request, bounced where it must be: for what cannot be cut, such as a tape block or one command.
    WholeOrBounce,
    /// Several requests with every byte direct, or an error.
    SplitOrError,
    /// Several requests; bounced only where no legal cut helps.
    #[default]
    SplitOrBounce,
}

impl Policy {
    const fn splits(self) -> bool {
        matches!(self, Self::SplitOrError | Self::SplitOrBounce)
    }

    const fn bounces(self) -> bool {
        matches!(self, Self::WholeOrBounce | Self::SplitOrBounce)
    }
}

/// Plans the transfer of `list`, which starts at `position`.
///
/// The requests cover exactly the bytes of the list, in order. After an error the plan ends.
///
/// ```
/// use scatterlist::plan::{Policy, plan};
/// use scatterlist::{Addr, LimitId, Limits, PhysAddr, Position, ScatterList, Segment};
///
/// let mut list = ScatterList::new();
/// for page in [1_u64, 3, 5, 7] {
///     list.append(Segment::new(PhysAddr::new(page << 12), 4096)?)?;
/// }
/// let limits = Limits::builder()
///     .hard(LimitId::SegmentsMax, 3)
///     .hard(LimitId::PositionAlign, 512)
///     .build()?;
/// let lengths: Vec<u64> = plan(&list, Position::At(0), &limits, Policy::default())
///     .map(|ready| ready.map(|ready| ready.len_bytes()))
///     .collect::<Result<_, _>>()?;
/// assert_eq!(lengths, [12288, 4096]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[inline]
pub fn plan<'a, S: Segments + ?Sized + 'a>(
    list: &'a S,
    position: Position,
    limits: &'a Limits,
    policy: Policy,
) -> Plan<'a, S> {
    Plan { list, limits, policy, position, left: list.bytes(), cursor: None, failed: false }
}

/// Says whether a list is one request as it stands: [`plan()`] yields exactly one, whose pieces are the list's segments.
///
/// A few compares, without a walk and without the values that a plan moves. "No" may be too careful: then the plan tells.
///
/// ```
/// use scatterlist::plan::is_ready;
/// use scatterlist::{Addr, LimitId, Limits, PhysAddr, Position, ScatterList, Segment};
///
/// let list = ScatterList::from(Segment::new(PhysAddr::new(0x1000), 4096)?);
/// let limits = Limits::builder().hard(LimitId::PositionAlign, 512).build()?;
/// assert!(is_ready(&list, Position::At(1024), &limits));
/// assert!(!is_ready(&list, Position::At(1000), &limits));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[must_use]
#[inline]
pub fn is_ready<S: Segments + ?Sized>(list: &S, position: Position, limits: &Limits) -> bool {
    let bytes = list.bytes();
    bytes != 0
        && limits.hard().copy_below == 0
        && why::is_whole(position, bytes, limits)
        && list.totals().is_some_and(|totals| fit::fits(&totals, position, limits))
}

/// The requests of one plan, in order. See [`plan()`].
#[derive(Debug)]
pub struct Plan<'a, S: Segments + ?Sized + 'a> {
    list: &'a S,
    limits: &'a Limits,
    policy: Policy,
    position: Position,
    left: u64,
    /// `None` before the first request.
    cursor: Option<Cursor<S::Iter<'a>, S::Addr>>,
    failed: bool,
}

/// One device-ready request: a position and the pieces to transfer there.
#[derive(Debug)]
pub struct Ready<'a, S: Segments + ?Sized + 'a> {
    list: &'a S,
    limits: &'a Limits,
    position: Position,
    len: u64,
    /// Segments of the list, where the request is the whole of it.
    segments: u64,
    /// `None` where the request is the whole list, and each of its pieces one segment as it stands there.
    part: Option<Part<S::Iter<'a>, S::Addr>>,
}

/// A request that the planner walked.
#[derive(Clone, Debug)]
struct Part<I, A: Addr> {
    found: Found,
    start: Cursor<I, A>,
}

/// Pieces of a request that follow each other. See [`Ready::visit_runs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run<'a, A: Addr> {
    /// Direct pieces, possibly none.
    Direct(&'a [Segment<A>]),
    /// One bounced piece.
    Bounce(BouncedPiece),
}

impl<'a, S: Segments + ?Sized + 'a> Ready<'a, S> {
    /// Returns the position of the first byte.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Returns the bytes of the request.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Returns why the request ends before the list does, or `None` for the last one.
    #[must_use]
    pub fn cut(&self) -> Option<Why> {
        self.part.as_ref().and_then(|part| part.found.cut)
    }

    /// Iterates over the pieces, in order.
    #[must_use]
    #[inline]
    pub fn pieces(&self) -> Pieces<'a, S::Iter<'a>, S::Addr> {
        match &self.part {
            None => Pieces::whole(self.list.segments()),
            Some(part) => Pieces::new(part.start.clone(), self.limits, part.found),
        }
    }

    /// Returns the first piece.
    #[must_use]
    #[inline]
    pub fn first(&self) -> Option<Piece<S::Addr>> {
        let first = self.visit_runs(|run| match run {
            Run::Direct(pieces) => match pieces.first() {
                Some(first) => ControlFlow::Break(Piece::Direct(*first)),
                None => ControlFlow::Continue(()),
            },
            Run::Bounce(bounce) => ControlFlow::Break(Piece::Bounce(bounce)),
        });
        first.break_value()
    }

    /// Returns how many pieces there are. Walks them, unless the request is a whole list.
    #[must_use]
    #[inline]
    pub fn len_pieces(&self) -> u64 {
        match &self.part {
            None => self.segments,
            Some(_) => self.pieces().fold(0, |count, _| count.saturating_add(1)),
        }
    }

    /// Hands all pieces to `visit`, in order: direct ones in slices as long as the list has them. The way to go
    /// over a request where every nanosecond counts. Ends early where `visit` breaks.
    #[inline]
    pub fn visit_runs<B>(&self, mut visit: impl FnMut(Run<'_, S::Addr>) -> ControlFlow<B>) -> ControlFlow<B> {
        if self.part.is_none() {
            return self.list.visit_runs(|run| visit(Run::Direct(run)));
        }
        self.visit_pieces(visit)
    }

    /// Returns the list and how many segments it has, where the request is the whole of it as it stands.
    #[inline]
    pub(crate) const fn whole(&self) -> Option<(&'a S, u64)> {
        if self.part.is_none() { Some((self.list, self.segments)) } else { None }
    }

    /// Returns the rules that every piece keeps.
    #[inline]
    pub(crate) const fn hard(&self) -> &'a Hard {
        self.limits.hard()
    }

    #[inline(never)]
    fn visit_pieces<B>(&self, mut visit: impl FnMut(Run<'_, S::Addr>) -> ControlFlow<B>) -> ControlFlow<B> {
        self.pieces().try_for_each(|piece| match piece {
            Piece::Direct(segment) => visit(Run::Direct(core::slice::from_ref(&segment))),
            Piece::Bounce(bounce) => visit(Run::Bounce(bounce)),
        })
    }

    /// Returns how many bytes of the request are bounced. Walks the pieces, unless none can be.
    #[must_use]
    pub fn bounced_bytes(&self) -> u64 {
        if self.part.is_none() {
            return 0;
        }
        self.pieces().fold(0, |sum, piece| match piece {
            Piece::Direct(_) => sum,
            Piece::Bounce(bounce) => bounce.len.saturating_add(sum),
        })
    }
}

/// What a plan yields, and nothing when it is done.
type Next<'a, S> = Option<Result<Ready<'a, S>, PlanError>>;

impl<'a, S: Segments + ?Sized + 'a> Plan<'a, S> {
    /// Says that no request can be made, and none after it.
    #[cold]
    fn refused(&mut self) -> Next<'a, S> {
        self.failed = true;
        Some(Err(why::refusal(self.position, self.left, self.limits)))
    }

    /// Yields the next request of a list that must be walked. Out of line, and straight into the place of the
    /// answer: a request is a large value, and moving it costs as much as planning a list that fits.
    #[inline(never)]
    fn walked(&mut self) -> Next<'a, S> {
        let next = self.walk();
        self.failed = next.is_err();
        Some(next)
    }

    fn walk(&mut self) -> Result<Ready<'a, S>, PlanError> {
        let mut cursor = self.cursor.take().unwrap_or_else(|| Cursor::new(self.list.segments()));
        let start = cursor.clone();
        let span = Span { visible: self.left, left: Some(self.left) };
        let (found, walked, _) = find(&mut cursor, self.position, span, self.limits, self.policy)?;
        if walked != found.len {
            cursor = start.clone();
            cursor.skip(found.len);
        }
        self.cursor = Some(cursor);
        let Self { list, limits, position, .. } = *self;
        let part = Some(Part { found, start });
        let ready = Ready { list, limits, position, len: found.len, segments: 0, part };
        self.left = self.left.saturating_sub(found.len);
        self.position = self
            .position
            .after(found.len)
            .ok_or(PlanError::PositionOverflow { position: self.position, bytes: found.len })?;
        Ok(ready)
    }
}

impl<'a, S: Segments + ?Sized + 'a> Iterator for Plan<'a, S> {
    type Item = Result<Ready<'a, S>, PlanError>;

    #[inline]
    fn next(&mut self) -> Next<'a, S> {
        if self.left == 0 || self.failed {
            return None;
        }
        if self.cursor.is_some() {
            return self.walked();
        }
        if !why::is_whole(self.position, self.left, self.limits) {
            return self.refused();
        }
        match self.list.totals() {
            Some(totals)
                if fit::fits(&totals, self.position, self.limits) && self.limits.hard().copy_below == 0 =>
            {
                let len = core::mem::take(&mut self.left);
                let Self { list, limits, position, .. } = *self;
                Some(Ok(Ready { list, limits, position, len, segments: totals.segments, part: None }))
            }
            _ => self.walked(),
        }
    }
}

impl<'a, S: Segments + ?Sized> core::iter::FusedIterator for Plan<'a, S> {}
