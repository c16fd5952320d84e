//! [`Request`]: what every producer fills and every consumer takes.
//!
//! A lease, a direction, a position (or "stream"), and a completion: one object for block and character
//! devices alike. Adjacent requests [merge](Request::merge) in O(1), a request [splits](Request::split_at) by moving
//! at most one chunk of entries and [stripes](Request::into_stripes) over several devices; headers and trailers go around the payload without
//! touching it.

mod completion;
mod stripe;

pub use completion::{Complete, Fault, Outcome, Shared, Status};
pub use stripe::{NotStriped, StripeError, Striped, Stripes};

use core::fmt;

use crate::extents::Extents;
use crate::lease::{Lease, ShareOwner};
use crate::plan::fits_whole;
use crate::{Addr, LimitId, Limits, Position, SplitError, Totals};

/// Which way the bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Memory to device: a write.
    ToDevice,
    /// Device to memory: a read.
    FromDevice,
}

/// One transfer: a lease, a direction, a position and a completion.
pub struct Request<A: Addr, O, C> {
    lease: Lease<A, O>,
    direction: Direction,
    position: Position,
    /// `None` stands for bytes that a header or trailer added.
    completions: Extents<Option<C>>,
}

// Completions are functions for the most part, which show nothing.
impl<A: Addr, O: fmt::Debug, C> fmt::Debug for Request<A, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("lease", &self.lease)
            .field("direction", &self.direction)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// A request whose memory is mapped.
#[derive(Debug)]
pub(crate) struct Shell<C> {
    direction: Direction,
    position: Position,
    completions: Extents<Option<C>>,
}

impl<C> Shell<C> {
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    /// Puts the memory back that was taken out.
    #[inline]
    pub(crate) fn attach<A: Addr, O>(self, lease: Lease<A, O>) -> Request<A, O, C> {
        let Self { direction, position, completions } = self;
        Request { lease, direction, position, completions }
    }
}

impl<C: Complete> Shell<C> {
    /// Gives each completion its share of the outcome.
    pub(crate) fn complete(self, outcome: Outcome) {
        tell(self.completions, outcome);
    }
}

/// Gives each completion its share of the outcome.
fn tell<C: Complete>(completions: Extents<Option<C>>, outcome: Outcome) {
    let mut before = 0_u64;
    for (asked, completion) in completions.into_iter() {
        let done = outcome.done.saturating_sub(before).min(asked);
        let fault = outcome
            .fault
            .filter(|_| done < asked)
            .map(|fault| Fault { at: fault.at.saturating_sub(before).min(asked), status: fault.status });
        if let Some(completion) = completion {
            completion.complete(Outcome { asked, done, fault });
        }
        before = before.saturating_add(asked);
    }
}

/// Why two requests do not merge. Both come back unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeRefused {
    /// One reads, the other writes.
    #[error("one request reads and the other writes")]
    Direction,
    /// The second does not start where the first ends.
    #[error("the first request ends at {first_end:?}, the second starts at {second:?}")]
    NotAdjacent {
        /// Where the first ends, if that is a position.
        first_end: Option<Position>,
        /// Where the second starts.
        second: Position,
    },
    /// The device does not take the two as one.
    #[error("the merged request would break {limit}")]
    Limit {
        /// The limit that stands in the way.
        limit: LimitId,
    },
    /// The sum of bytes passes 64 bits.
    #[error("the sum of bytes passes 64 bits")]
    TooLong,
}

impl<A: Addr, O, C> Request<A, O, C> {
    /// Makes a request.
    pub const fn new(lease: Lease<A, O>, direction: Direction, position: Position, completion: C) -> Self {
        let completions = Extents::one(lease.list().len_bytes(), Some(completion));
        Self { lease, direction, position, completions }
    }

    /// Returns the memory.
    pub const fn lease(&self) -> &Lease<A, O> {
        &self.lease
    }

    /// Returns the direction.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Returns the position of the first byte.
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Returns the bytes to move.
    pub const fn len_bytes(&self) -> u64 {
        self.lease.list().len_bytes()
    }

    /// Returns the first completion, that of the payload's first bytes; `None` while a header leads.
    pub const fn completion(&self) -> Option<&C> {
        self.completions.first().as_ref()
    }

    /// Puts `next` behind this request, when it is adjacent and `limits` take the two as one. O(1).
    ///
    /// Each completion later gets the share of the bytes that its request stood for.
    ///
    /// # Errors
    /// Both requests unchanged, with the reason.
    pub fn merge(mut self, next: Self, limits: &Limits) -> Result<Self, (Self, Self, MergeRefused)> {
        if let Some(refused) = self.refuses(&next, limits) {
            return Err((self, next, refused));
        }
        let Self { lease, direction, position, completions } = next;
        match self.lease.join(lease) {
            Ok(joined) => {
                self.completions.join(completions);
                Ok(Self { lease: joined, ..self })
            }
            Err((first, second, _)) => Err((
                Self { lease: first, ..self },
                Self { lease: second, direction, position, completions },
                MergeRefused::TooLong,
            )),
        }
    }

    fn refuses(&self, next: &Self, limits: &Limits) -> Option<MergeRefused> {
        if self.direction != next.direction {
            return Some(MergeRefused::Direction);
        }
        let first_end = self.position.after(self.len_bytes());
        if first_end != Some(next.position) {
            return Some(MergeRefused::NotAdjacent { first_end, second: next.position });
        }
        let (list, other) = (self.lease.list(), next.lease.list());
        let mut totals = list.totals();
        if totals.bytes.checked_add(other.len_bytes()).is_none() {
            return Some(MergeRefused::TooLong);
        }
        totals.merge(&other.totals());
        if let (Some(last), Some(first)) = (list.last(), other.first()) {
            match last.joined(first) {
                // One segment across the seam, longer than either side knew.
                Some(joined) if totals.segments == 2 => totals = Totals::of([joined]),
                Some(joined) => {
                    totals.segments = totals.segments.saturating_sub(1);
                    totals.longest = totals.longest.max(joined.len());
                    totals.len_bits |= joined.len();
                }
                None => totals.join(last.end(), first.addr().raw()),
            }
        }
        fits_whole(&totals, self.position, limits).err().map(|why| MergeRefused::Limit { limit: why.limit })
    }

    /// Puts bytes before the payload: a command wrapper, a network header. O(1); the position stays.
    ///
    /// # Errors
    /// The request and the header unchanged, when the sum of bytes passes 64 bits.
    pub fn with_header(self, header: Lease<A, O>) -> Result<Self, (Self, Lease<A, O>)> {
        let Self { lease, direction, position, completions } = self;
        let len = header.list().len_bytes();
        match header.join(lease) {
            Ok(lease) => {
                let mut all = Extents::one(len, None);
                all.join(completions);
                Ok(Self { lease, direction, position, completions: all })
            }
            Err((header, lease, _)) => Err((Self { lease, direction, position, completions }, header)),
        }
    }

    /// Puts bytes behind the payload: a checksum, a padding. O(1).
    ///
    /// # Errors
    /// The request and the trailer unchanged, when the sum of bytes passes 64 bits.
    pub fn with_trailer(self, trailer: Lease<A, O>) -> Result<Self, (Self, Lease<A, O>)> {
        let Self { lease, direction, position, mut completions } = self;
        let len = trailer.list().len_bytes();
        match lease.join(trailer) {
            Ok(lease) => {
                completions.join(Extents::one(len, None));
                Ok(Self { lease, direction, position, completions })
            }
            Err((lease, trailer, _)) => Err((Self { lease, direction, position, completions }, trailer)),
        }
    }

    /// Returns the bytes without those that headers and trailers added.
    #[inline]
    pub(crate) fn payload_bytes(&self) -> u64 {
        if let Some((len, completion)) = self.completions.only() {
            return if completion.is_some() { len } else { 0 };
        }
        let payload = self.completions.iter().filter(|(_, completion)| completion.is_some());
        payload.fold(0, |sum, (len, _)| len.saturating_add(sum))
    }

    /// Takes the memory out, for as long as it is mapped; [`Shell::attach`] puts it back.
    #[inline]
    pub(crate) fn detach(self) -> (Lease<A, O>, Shell<C>) {
        let Self { lease, direction, position, completions } = self;
        (lease, Shell { direction, position, completions })
    }

    /// Ends the request without telling anyone: its parts come back.
    pub fn into_parts(self) -> (Lease<A, O>, impl Iterator<Item = C>) {
        (self.lease, self.completions.into_iter().filter_map(|(_, completion)| completion))
    }
}

impl<A: Addr, O, C: Complete> Request<A, O, C> {
    /// Ends the request: each completion gets its share of the outcome, and the memory comes back.
    ///
    /// Bytes done count from the start. A completion whose bytes are not all done gets the fault.
    pub fn complete(self, outcome: Outcome) -> Lease<A, O> {
        tell(self.completions, outcome);
        self.lease
    }

    /// Lets the completions be shared, so that the request can be split.
    pub fn into_shared(self) -> Request<A, O, Shared<C>> {
        let share = |len, completion: Option<C>| completion.map(|completion| Shared::new(len, completion));
        Request {
            lease: self.lease,
            direction: self.direction,
            position: self.position,
            completions: self.completions.map(share),
        }
    }
}

impl<A: Addr, O: ShareOwner, C: Complete> Request<A, O, Shared<C>> {
    /// Splits the request after `at` bytes; the second part starts where the first ends. The completion
    /// that stands on both sides fires once both are done.
    ///
    /// # Errors
    /// [`SplitError`] with the request unchanged, unless `0 < at < bytes`.
    pub fn split_at(self, at: u64) -> Result<(Self, Self), (Self, SplitError)> {
        let Self { lease, direction, position, mut completions } = self;
        let refused = SplitError { bytes: lease.list().len_bytes(), at };
        let Some(second) = position.after(at) else {
            return Err((Self { lease, direction, position, completions }, refused));
        };
        match lease.split_at(at) {
            Ok((front, back)) => {
                let rest =
                    completions.split_off(at, |share, kept| share.as_mut().map(|share| share.fork(kept)));
                let front = Self { lease: front, direction, position, completions };
                Ok((front, Self { lease: back, direction, position: second, completions: rest }))
            }
            Err((lease, error)) => Err((Self { lease, direction, position, completions }, error)),
        }
    }
}
