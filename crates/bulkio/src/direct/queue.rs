//! [`Link`]: the bounded queue between futures and their driver.
//!
//! A future that finds it full stands in line under a ticket of its own, which it gives back when it goes; there are as many
//! tickets as there are such futures. Contract: wakers are user code, and so are cloned, woken and dropped while nothing is locked, and
//! contained where they are somebody else's. Whenever there is room, so many of the line were woken and have not come yet.

use core::mem;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::future::Submitted;
use super::job::Job;
use super::{Moved, TransferError};
use crate::engine::Remote;

/// Jobs that wait in front of a driver, at most.
const QUEUE_MAX: usize = 256;

/// A driver's share of what it was given. Whatever becomes of it, it is finished; only one that is forgotten is not.
pub(super) struct Promise(Option<Arc<dyn Submitted>>);

impl Promise {
    /// Takes the job, once.
    pub(super) fn begin(&self) -> Option<Job> {
        self.0.as_ref()?.begin()
    }

    /// Hands out the result.
    pub(super) fn keep(mut self, result: Result<Moved, TransferError>) {
        self.finish(Some(result));
    }

    fn finish(&mut self, result: Option<Result<Moved, TransferError>>) {
        let Some(submitted) = self.0.take() else { return };
        contain(|| submitted.finish(result));
        // Its memory may go with it, by code of its owner.
        contain(|| drop(submitted));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.finish(None);
    }
}

/// Runs code of one user in the way of others: its panic, which the hook has told, ends here.
pub(super) fn contain(user: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(user))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic)))
    {
        mem::forget(again);
    }
}

/// A place in the queue.
pub(super) struct Command {
    pub(super) promise: Promise,
    /// Names it for [`Link::cancel`].
    pub(super) number: u64,
}

/// What futures and their driver share.
pub(super) struct Link {
    queue: Mutex<Queue>,
    remote: Remote,
}

#[derive(Default)]
struct Queue {
    /// In the order of their numbers.
    commands: VecDeque<Command>,
    /// Numbers of commands that the driver has, and that should end early.
    cancelled: Vec<u64>,
    /// Futures that found no room, in the order of their tickets.
    line: VecDeque<InLine>,
    closed: bool,
    number: u64,
}

struct InLine {
    ticket: u64,
    waker: Waker,
}

/// The right of one future to stand in line, used or not.
#[derive(Default)]
pub(super) struct Ticket(Option<u64>);

/// What became of an attempt to queue a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queued {
    /// It is in the queue under this number.
    As(u64),
    /// There is no room; the waker is woken when there is.
    Full,
    /// The driver has ended.
    Closed,
}

/// What a driver takes out of the queue at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commands: VecDeque<Command>,
    pub(super) cancelled: Vec<u64>,
    wakers: Vec<Waker>,
}

impl Queue {
    fn has_room(&self) -> bool {
        self.commands.len() < QUEUE_MAX
    }

    fn next_number(&mut self) -> u64 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Takes a future out of the line: its waker, unless it was woken already.
    fn leave(&mut self, ticket: &mut Ticket) -> Option<Waker> {
        let place = self.line.binary_search_by_key(&ticket.0.take()?, |other| other.ticket).ok()?;
        self.line.remove(place).map(|other| other.waker)
    }

    /// Takes the first of the line.
    fn next_in_line(&mut self) -> Option<Waker> {
        self.line.pop_front().map(|first| first.waker)
    }
}

impl Link {
    pub(super) fn new(remote: Remote) -> Self {
        Self { queue: Mutex::default(), remote }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is one push, pop or assignment.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a command, or stands in line for room in the place that `ticket` has there or gets.
    pub(super) fn submit(
        &self,
        submitted: impl FnOnce() -> Arc<dyn Submitted>,
        ticket: &mut Ticket,
        waker: &Waker,
    ) -> Queued {
        // Wakers to drop, once the queue is unlocked.
        let mut spare = None;
        let mut queue = self.queue();
        while !queue.closed && !queue.has_room() {
            let known = ticket.0.map(|own| queue.line.binary_search_by_key(&own, |other| other.ticket));
            if let Some(Ok(place)) = known
                && queue.line.get(place).is_some_and(|own| own.waker.will_wake(waker))
            {
                return Queued::Full;
            }
            let Some(clone) = spare.take() else {
                drop(queue);
                spare = Some(waker.clone());
                queue = self.queue();
                continue;
            };
            let own = ticket.0.unwrap_or_else(|| queue.next_number());
            ticket.0 = Some(own);
            let old = match queue.line.binary_search_by_key(&own, |other| other.ticket) {
                Ok(place) => queue.line.get_mut(place).map(|known| mem::replace(&mut known.waker, clone)),
                // Who was woken and came too late is where it was before.
                Err(place) => {
                    queue.line.insert(place, InLine { ticket: own, waker: clone });
                    None
                }
            };
            drop(queue);
            contain(|| drop(old));
            return Queued::Full;
        }
        let old = queue.leave(ticket);
        let queued = if queue.closed {
            Queued::Closed
        } else {
            let number = queue.next_number();
            let promise = Promise(Some(submitted()));
            queue.commands.push_back(Command { promise, number });
            Queued::As(number)
        };
        drop(queue);
        if queued != Queued::Closed {
            self.remote.wake();
        }
        // Whoever is queued must hear of it, once: no panic comes between.
        contain(|| drop(old));
        contain(|| drop(spare));
        queued
    }

    /// Gives a ticket back. Whoever was woken and has not come passes that on.
    pub(super) fn leave(&self, mut ticket: Ticket) {
        if ticket.0.is_none() {
            return;
        }
        let mut queue = self.queue();
        let own = queue.leave(&mut ticket);
        let next = if own.is_none() && queue.has_room() { queue.next_in_line() } else { None };
        drop(queue);
        next.into_iter().for_each(wake);
        contain(|| drop(own));
    }

    /// Asks that a command end early.
    pub(super) fn cancel(&self, number: u64) {
        let mut queue = self.queue();
        if let Ok(place) = queue.commands.binary_search_by_key(&number, |command| command.number) {
            // It never started: its memory goes with the future.
            let command = queue.commands.remove(place);
            let next = queue.next_in_line();
            drop(queue);
            // The future does not ask any more.
            let submitted = command.and_then(|mut command| command.promise.0.take());
            next.into_iter().for_each(wake);
            drop(submitted);
        } else if !queue.closed {
            queue.cancelled.push(number);
            drop(queue);
            self.remote.wake();
        }
    }

    /// Takes at most `commands_max` commands, and what is to be cancelled, into an empty `batch`; says whether the driver is to end.
    pub(super) fn take(&self, commands_max: usize, batch: &mut Batch) -> bool {
        let mut queue = self.queue();
        let count = commands_max.min(queue.commands.len());
        batch.commands.extend(queue.commands.drain(..count));
        mem::swap(&mut batch.cancelled, &mut queue.cancelled);
        // An empty queue has room for all, so that nobody waits for one that was woken and does not come.
        let woken = if queue.commands.is_empty() { queue.line.len() } else { count.min(queue.line.len()) };
        batch.wakers.extend(queue.line.drain(..woken).map(|other| other.waker));
        let closed = queue.closed;
        drop(queue);
        batch.wakers.drain(..).for_each(wake);
        closed
    }

    /// Tells the driver to end, and those who come later that it has.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.remote.wake();
    }

    /// Closes the queue and gives back what is in it and in line.
    pub(super) fn refuse(&self) {
        let (commands, line) = {
            let mut queue = self.queue();
            queue.closed = true;
            (mem::take(&mut queue.commands), mem::take(&mut queue.line))
        };
        drop(commands);
        line.into_iter().for_each(|other| wake(other.waker));
    }
}

/// Wakes somebody else.
fn wake(waker: Waker) {
    contain(|| waker.wake());
}
