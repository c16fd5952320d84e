//! [`try_append`] and [`Appender`]: for producers that have bytes before they have the whole.
//!
//! The 2002 proposal's central call: append, and when the request is full *submit it*, go on with a
//! successor at the next position, and complete the whole once.

use super::cursor::Cursor;
use super::find::{Span, find};
use super::fit::{budget, fits_whole};
use super::scan::{Rules, Scan};
use super::why::Stop;
use super::{PlanError, Policy, Why, plan};
use crate::lease::{Lease, ShareOwner};
use crate::request::{Complete, Direction, Request, Shared};
use crate::{Addr, Limits, ListError, Position, ScatterList, Segment, Segments};

/// What [`try_append`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryAppend {
    /// The bytes made the last segment longer.
    Merged,
    /// The bytes became a segment of their own.
    Added,
    /// The request is full by this limit; the list is unchanged.
    Full(Why),
}

/// Appends `segment` to the list of a request at `position`, when the longer list still fits the device as
/// one direct request. O(1): judged by the list's totals.
///
/// # Errors
/// [`ListError`] when the bytes would pass 64 bits; the list is unchanged.
pub fn try_append<A: Addr>(
    list: &mut ScatterList<A>,
    segment: Segment<A>,
    position: Position,
    limits: &Limits,
) -> Result<TryAppend, ListError> {
    let mut totals = list.totals();
    let merged = list.last().and_then(|last| last.joined(segment));
    if totals.bytes.checked_add(segment.len()).is_none() {
        return Err(ListError { bytes: totals.bytes, adding: segment.len() });
    }
    match (merged, list.last()) {
        (Some(joined), _) => {
            totals.longest = totals.longest.max(joined.len());
            totals.addr_end = totals.addr_end.max(joined.end());
            totals.bytes = totals.bytes.saturating_add(segment.len());
            // The length bits of the open segment as it was are part of the totals, and may say "no" to a
            // length that has just become whole; so judge it without them.
            let before = list.len_segments() == 1;
            totals.len_bits = if before { joined.len() } else { totals.len_bits | joined.len() };
        }
        (None, Some(last)) => {
            totals.join(last.end(), segment.addr().raw());
            totals.add(segment);
        }
        (None, None) => totals.add(segment),
    }
    if let Err(why) = fits_whole(&totals, position, limits) {
        return Ok(TryAppend::Full(why));
    }
    list.append(segment)?;
    Ok(if merged.is_some() { TryAppend::Merged } else { TryAppend::Added })
}

/// Why an [`Appender`] could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError<E> {
    /// The bytes so far cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The bytes that were not submitted yet pass 64 bits.
    #[error(transparent)]
    TooLong(#[from] ListError),
    /// The consumer refused a request.
    #[error("submitting a request failed")]
    Submit(E),
}

/// Takes leases one after the other and submits requests as they fill up.
///
/// The requests are those that [`plan`](crate::plan::plan) would make of the whole. All share one completion, which
/// fires once, after [`Appender::finish`] and the last request, with the first fault and the exact bytes done. Under a policy that
/// does not split, nothing is submitted before [`Appender::finish`].
#[derive(Debug)]
pub struct Appender<A: Addr, O, C: Complete, F> {
    limits: Limits,
    policy: Policy,
    direction: Direction,
    /// Where the pending bytes start.
    position: Position,
    pending: Option<Lease<A, O>>,
    progress: Progress<A>,
    completion: Option<Shared<C>>,
    submit: F,
}

/// How far the pending list is known to fit one request: all but its last segment, which may still grow.
#[derive(Debug)]
struct Progress<A: Addr> {
    scan: Scan,
    bounce_head: Option<(u64, Stop)>,
    last: Option<Segment<A>>,
    stopped: bool,
}

impl<A: Addr> Progress<A> {
    const fn new() -> Self {
        let scan = Scan::new();
        Self { scan, bounce_head: None, last: None, stopped: false }
    }

    /// Takes the segments of a list that was appended.
    fn feed(&mut self, list: &ScatterList<A>, room: u64, limits: &Limits, policy: Policy) {
        for segment in list {
            match self.last.and_then(|last| last.joined(segment)) {
                Some(joined) => self.last = Some(joined),
                None => {
                    if let Some(closed) = self.last.replace(segment) {
                        self.close(closed, room, limits, policy);
                    }
                }
            }
        }
    }

    fn close(&mut self, mut segment: Segment<A>, room: u64, limits: &Limits, policy: Policy) {
        let rules = Rules { hard: limits.hard(), bounces: policy.bounces(), bounce_head: self.bounce_head };
        while !self.stopped {
            let left = room.saturating_sub(self.scan.taken);
            if left == 0 {
                self.stopped = true;
                return;
            }
            match self.scan.take(segment.addr().raw(), segment.len(), left, &rules) {
                Err(_) => self.stopped = true,
                Ok(taken) => match segment.split(taken.len()) {
                    Some((_, rest)) => segment = rest,
                    None => return,
                },
            }
        }
    }
}

impl<A, O, C, F, E> Appender<A, O, C, F>
where
    A: Addr,
    O: ShareOwner,
    C: Complete,
    F: FnMut(Request<A, O, Shared<C>>) -> Result<(), E>,
{
    /// Starts with nothing. `submit` takes each request as it fills up.
    pub fn new(
        direction: Direction,
        position: Position,
        limits: &Limits,
        policy: Policy,
        completion: C,
        submit: F,
    ) -> Self {
        Self {
            limits: *limits,
            policy,
            direction,
            position,
            pending: None,
            progress: Progress::new(),
            completion: Some(Shared::open(completion)),
            submit,
        }
    }

    /// Returns the bytes that are not submitted yet.
    pub fn pending_bytes(&self) -> u64 {
        self.pending.as_ref().map_or(0, |pending| pending.list().len_bytes())
    }

    /// Appends memory, and submits what is full.
    ///
    /// # Errors
    /// [`AppendError`]. Memory that was not submitted stays pending.
    pub fn push(&mut self, lease: Lease<A, O>) -> Result<(), AppendError<E>> {
        let room = budget(self.position, self.limits.hard());
        self.progress.feed(lease.list(), room, &self.limits, self.policy);
        self.pending = Some(match self.pending.take() {
            None => lease,
            Some(pending) => match pending.join(lease) {
                Ok(joined) => joined,
                Err((pending, _, error)) => {
                    self.pending = Some(pending);
                    return Err(error.into());
                }
            },
        });
        while self.policy.splits() && self.submit_full()? {}
        Ok(())
    }

    /// Submits what is left and lets the completion fire once every request is done.
    ///
    /// # Errors
    /// [`AppendError`]; the completion then reports the bytes that were done, and that the rest was cancelled.
    pub fn finish(mut self) -> Result<(), AppendError<E>> {
        while let Some(pending) = &self.pending {
            let mut rest = plan(pending.list(), self.position, &self.limits, self.policy);
            let len = match rest.next() {
                Some(ready) => ready?.len_bytes(),
                None => break,
            };
            self.submit_front(len)?;
        }
        if let Some(completion) = self.completion.take() {
            completion.end();
        }
        Ok(())
    }

    /// Submits one request if it is certain that the pending bytes hold a full one.
    fn submit_full(&mut self) -> Result<bool, AppendError<E>> {
        let Some(pending) = &self.pending else { return Ok(false) };
        let list = pending.list();
        let bytes = list.len_bytes();
        let over = bytes > budget(self.position, self.limits.hard());
        if !self.progress.stopped && !over {
            return Ok(false);
        }
        let last = self.progress.last.map_or(0, |last| last.len());
        let visible = if over { bytes } else { bytes.saturating_sub(last) };
        let mut cursor = Cursor::new(list.segments());
        let span = Span { visible, left: None };
        let (found, _, scan) = find(&mut cursor, self.position, span, &self.limits, self.policy)?;
        if found.cut.is_none() {
            let Progress { last, .. } = self.progress;
            self.progress = Progress { scan, bounce_head: found.bounce_head, last, stopped: false };
            return Ok(false);
        }
        if bytes.saturating_sub(found.len) < self.limits.hard().transfer_len_min {
            // The rest may yet turn out too short for a request of its own.
            return Ok(false);
        }
        self.submit_front(found.len)?;
        Ok(true)
    }

    fn submit_front(&mut self, len: u64) -> Result<(), AppendError<E>> {
        let (Some(pending), Some(completion)) = (self.pending.take(), &mut self.completion) else {
            return Ok(());
        };
        let (front, rest) = match pending.split_at(len) {
            Ok((front, rest)) => (front, Some(rest)),
            Err((whole, _)) => (whole, None),
        };
        let after = completion.fork(len);
        let share = core::mem::replace(completion, after);
        let position = self.position;
        self.position = position.after(len).ok_or(PlanError::PositionOverflow { position, bytes: len })?;
        self.progress = Progress::new();
        if let Some(rest) = &rest {
            let room = budget(self.position, self.limits.hard());
            self.progress.feed(rest.list(), room, &self.limits, self.policy);
        }
        self.pending = rest;
        let request = Request::new(front, self.direction, position, share);
        (self.submit)(request).map_err(AppendError::Submit)
    }
}
