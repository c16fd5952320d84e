//! The planner: a list and a device's limits in, device-ready requests out.
//!
//! [`plan`] is lazy and allocates nothing. Each request it yields covers the next bytes in order and keeps
//! **every** hard limit; soft limits cut nothing. A request is a sequence of [`Piece`]s, direct or bounced. Every cut and every bounce
//! carries [`Why`]; "cut here" and "cannot be satisfied" ([`PlanError::Unsatisfiable`]) are different answers. A list whose
//! [`Totals`](crate::Totals) fit is planned without a walk.

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
pub(crate) use fit::fits_whole;
pub use pieces::{Bounce, Piece, Pieces};
pub use why::{PlanError, Why};

use crate::{Limits, Position, Segments};
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
pub fn plan<'a, S: Segments + ?Sized + 'a>(
    list: &'a S,
    position: Position,
    limits: &'a Limits,
    policy: Policy,
) -> Plan<'a, S> {
    Plan { list, limits, policy, position, left: list.bytes(), cursor: None, failed: false }
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
    limits: &'a Limits,
    position: Position,
    found: Found,
    start: Cursor<S::Iter<'a>, S::Addr>,
    /// Every piece is one segment of the list, as it stands there.
    verbatim: bool,
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
        self.found.len
    }

    /// Returns why the request ends before the list does, or `None` for the last one.
    #[must_use]
    pub const fn cut(&self) -> Option<Why> {
        self.found.cut
    }

    /// Iterates over the pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'a, S::Iter<'a>, S::Addr> {
        Pieces::new(self.start.clone(), self.limits, self.found, self.verbatim)
    }

    /// Returns how many bytes of the request are bounced. Walks the pieces, unless none can be.
    #[must_use]
    pub fn bounced_bytes(&self) -> u64 {
        if self.verbatim {
            return 0;
        }
        self.pieces().fold(0, |sum, piece| match piece {
            Piece::Direct(_) => sum,
            Piece::Bounce(bounce) => bounce.len.saturating_add(sum),
        })
    }
}

impl<'a, S: Segments + ?Sized + 'a> Plan<'a, S> {
    fn first(&mut self) -> Result<Option<Ready<'a, S>>, PlanError> {
        why::check_whole(self.position, self.left, self.limits)?;
        let fits = |totals| fit::fits(&totals, self.position, self.limits);
        if self.limits.hard().copy_below != 0 || !self.list.totals().is_some_and(fits) {
            return Ok(None);
        }
        let found = Found { len: self.left, scan_end: self.left, bounce_head: None, cut: None };
        self.left = 0;
        let start = Cursor::new(self.list.segments());
        Ok(Some(Ready { limits: self.limits, position: self.position, found, start, verbatim: true }))
    }

    fn next_ready(&mut self) -> Result<Ready<'a, S>, PlanError> {
        if self.cursor.is_none()
            && let Some(whole) = self.first()?
        {
            return Ok(whole);
        }
        let mut cursor = self.cursor.take().unwrap_or_else(|| Cursor::new(self.list.segments()));
        let start = cursor.clone();
        let span = Span { visible: self.left, left: Some(self.left) };
        let (found, walked, _) = find(&mut cursor, self.position, span, self.limits, self.policy)?;
        if walked != found.len {
            cursor = start.clone();
            cursor.skip(found.len);
        }
        self.cursor = Some(cursor);
        let ready = Ready { limits: self.limits, position: self.position, found, start, verbatim: false };
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

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.failed {
            return None;
        }
        let ready = self.next_ready();
        self.failed = ready.is_err();
        Some(ready)
    }
}

impl<'a, S: Segments + ?Sized> core::iter::FusedIterator for Plan<'a, S> {}
