//! [`Channel`]: an engine, slots to copy through, and the jobs that share them.
//!
//! The fronts start jobs and take finished ones; in between they [`turn`](Channel::turn) the channel, which is the only place that waits.
//! Jobs take turns, one operation each, so that a long one does not starve the short ones. Everything is bounded: jobs by
//! the depth, operations by the engine, slots by what the channel was given.
#![expect(unsafe_code, reason = "the promise of Channel::start")]

use core::mem::{self, ManuallyDrop};
use core::ops::DerefMut;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::time::Duration;

use scatterlist::{Outcome, Position, Request, Status};

use super::file::Target;
use super::job::{Job, Operation, Step, Tag};
use super::lane::{Ids, Lane};
use super::memory::{Held, Memory};
use super::stores::{Slots, Stores};
use super::{Moved, TransferError};
use crate::engine::{Completion, Engine, FlushKind, Remote, SubmitError, Token, WaitError};

/// The engine of a channel.
pub(super) type JobEngine = Engine<Held, Tag>;

/// How long a channel pauses before it asks again, where the system cannot wait for it.
const PAUSE: Duration = Duration::from_millis(10);

/// Refusals to wait between two messages: those of ten seconds.
const REFUSALS_TOLD: u32 = 1000;

/// The number of a job, never used twice by one channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct JobId {
    index: u32,
    generation: u32,
}

/// A job that is over, and what came with it.
#[derive(Debug)]
pub(super) struct Finished<P> {
    pub(super) payload: P,
    pub(super) result: Result<Moved, TransferError>,
}

#[derive(Debug)]
struct Entry<P> {
    job: Job,
    payload: P,
    id: JobId,
    /// Whether it waits for a range that somebody else has locked.
    parked: bool,
    /// Its files in both lanes.
    ids: [Ids; 2],
    /// Whether it is in the queue of those that can go on.
    queued: bool,
    plain: bool,
}

/// An engine and its jobs.
///
/// # Invariants
/// 1. An entry stays in `jobs` until its job is over, which is when none of its operations is with the engine.
/// 2. A channel that drops while the engine cannot end its operations leaks all entries: their memory is kept for good.
#[derive(Debug)]
pub(super) struct Channel<E: DerefMut<Target = JobEngine>, P> {
    main: ManuallyDrop<Lane<E>>,
    /// For operations that overlap with nothing: plain calls of this thread.
    plain: Option<Lane<E>>,
    slots: Slots,
    jobs: Vec<Option<Entry<P>>>,
    free: Vec<u32>,
    runnable: VecDeque<u32>,
    parked: u32,
    finished: VecDeque<Finished<P>>,
    flushes: Vec<(Token, u32)>,
    remote: Option<Remote>,
    generation: u32,
    number: u64,
    /// How often the kernel refused to wait.
    refusals: u32,
}

/// Numbers the channels of the process.
static NUMBER: AtomicU64 = AtomicU64::new(0);

impl<E: DerefMut<Target = JobEngine>, P> Channel<E, P> {
    /// Makes a channel for at most `jobs_max` jobs at a time; `plain` is an engine for operations that overlap with nothing.
    pub(super) fn new(engine: E, plain: Option<E>, slots: Slots, jobs_max: u32) -> Self {
        Self {
            main: ManuallyDrop::new(Lane::new(engine)),
            plain: plain.map(Lane::new),
            slots,
            jobs: (0..jobs_max).map(|_| None).collect(),
            free: (0..jobs_max).rev().collect(),
            runnable: VecDeque::with_capacity(jobs_max as usize),
            parked: 0,
            finished: VecDeque::with_capacity(jobs_max as usize),
            flushes: Vec::new(),
            remote: None,
            generation: 0,
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            refusals: 0,
        }
    }

    /// Returns what ends a running or the next turn early.
    pub(super) fn remote(&mut self) -> Option<Remote> {
        if self.remote.is_none() {
            self.remote = self.main.engine.remote().ok();
        }
        self.remote.clone()
    }

    /// Says whether another job can be started.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Returns the jobs that are not finished.
    pub(super) fn running(&self) -> usize {
        self.jobs.len() - self.free.len()
    }

    /// Starts a job. It runs in the turns that follow; its operations that overlap with nothing may be plain calls if `plain` says so, which
    /// keep this thread until they are over. `Err` gives the payload back: there is no room.
    ///
    /// # Safety
    /// Until the payload comes back by [`take`](Self::take), and for good if it never does, the job's memory is as invariants 1 and 2
    /// of [`Memory`] say.
    pub(super) unsafe fn start(&mut self, job: Job, payload: P, plain: bool) -> Result<JobId, P> {
        let Some(index) = self.free.pop() else { return Err(payload) };
        self.generation = self.generation.wrapping_add(1);
        let id = JobId { index, generation: self.generation };
        if let Some(entry) = self.jobs.get_mut(index as usize) {
            *entry =
                Some(Entry { job, payload, id, parked: false, ids: [[None; 2]; 2], queued: false, plain });
        }
        self.make_runnable(index);
        Ok(id)
    }

    /// Asks that a job end early. It still comes out of [`take`](Self::take).
    pub(super) fn cancel(&mut self, id: JobId) {
        let entry = self.jobs.get_mut(id.index as usize).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|entry| entry.id == id) else { return };
        entry.job.cancel();
        if mem::take(&mut entry.parked) {
            self.parked -= 1;
        }
        self.main.engine.cancel_where(|tag| tag.job == id.index);
        self.make_runnable(id.index);
    }

    /// Asks that all jobs end early.
    pub(super) fn cancel_all(&mut self) {
        let ids: Vec<JobId> = self.jobs.iter().flatten().map(|entry| entry.id).collect();
        ids.into_iter().for_each(|id| self.cancel(id));
    }

    /// Waits until all jobs are over, or the engine gives up on what does not end; those that are over go to `take`.
    pub(super) fn drain(mut self, mut take: impl FnMut(Finished<P>)) {
        // What does not end stays with the engine, and its entries are leaked by the drop.
        let _ = self.main.engine.shut_down();
        while self.running() > 0 {
            let before = self.running();
            self.turn(Some(Duration::ZERO));
            while let Some(finished) = self.finished.pop_front() {
                take(finished);
            }
            if self.running() == before {
                break;
            }
        }
    }

    /// Returns a job that is over.
    pub(super) fn take(&mut self) -> Option<Finished<P>> {
        self.finished.pop_front()
    }

    /// Lets jobs go on, then waits until something happens, at most `timeout`, unless a job is over by then.
    pub(super) fn turn(&mut self, timeout: Option<Duration>) {
        self.pump();
        if self.plain() {
            self.pump();
            return;
        }
        let mut wait = if self.finished.is_empty() { timeout } else { Some(Duration::ZERO) };
        loop {
            let reaped = match wait {
                Some(Duration::ZERO) => self.main.engine.poll(),
                wait if self.remote.is_some() => self.main.engine.wait_or_wake(wait),
                Some(wait) => self.main.engine.wait_timeout(wait),
                None => self.main.engine.wait(),
            };
            match reaped {
                Ok(Some(completion)) => self.completed(completion),
                Ok(None) => break,
                // Nothing is in flight: what waits for a lock without an eventfd looks again.
                Err(WaitError::Idle) => {
                    if wait != Some(Duration::ZERO) {
                        std::thread::sleep(PAUSE);
                    }
                    break;
                }
                Err(error) => {
                    self.cannot_wait(&error);
                    break;
                }
            }
            wait = Some(Duration::ZERO);
        }
        self.unpark();
        self.pump();
        if timeout == Some(Duration::ZERO) {
            // Nobody waits now, so nobody else would hand on what was issued last. What refuses it will refuse the next wait.
            let _ = self.main.engine.start();
        }
    }

    /// Lets every job that can go on do so, one operation each and in turn, while there is room. Without room, only what ends goes on.
    fn pump(&mut self) {
        let mut stuck = 0;
        while stuck < self.runnable.len()
            && let Some(index) = self.runnable.pop_front()
        {
            let Self { main, slots, jobs, remote, number, .. } = self;
            let Some(Some(entry)) = jobs.get_mut(index as usize) else { continue };
            if main.engine.room() == 0 && !entry.job.is_ending() {
                stuck += 1;
                self.runnable.push_back(index);
                continue;
            }
            let mut stores = Stores { slots, engine: &mut main.engine, remote, number: *number };
            match entry.job.step(&mut stores) {
                // Another one may give its slots back when it has run.
                Step::Starved => {
                    stuck += 1;
                    self.runnable.push_back(index);
                    continue;
                }
                Step::Issue(operation) => {
                    self.runnable.push_back(index);
                    self.issue(index, operation);
                }
                Step::Flush(kind) => {
                    entry.queued = false;
                    self.flush(index, kind);
                }
                Step::Wait => entry.queued = false,
                Step::Locked => {
                    entry.queued = false;
                    entry.parked = true;
                    self.parked += 1;
                }
                Step::Over => self.over(index),
            }
            stuck = 0;
        }
        let idle = self.main.engine.in_flight() == 0
            && self.plain.as_ref().is_none_or(|lane| lane.engine.in_flight() == 0);
        if stuck > 0 && idle {
            // Nobody is left to give a slot back: a bound is wrong, which must not become a wait without end.
            self.end_starved();
        }
    }

    #[cold]
    fn end_starved(&mut self) {
        for index in mem::take(&mut self.runnable) {
            if let Some(Some(entry)) = self.jobs.get_mut(index as usize) {
                entry.job.starve();
                self.over(index);
            }
        }
    }

    fn issue(&mut self, index: u32, operation: Operation) {
        let Operation { direction, target, position, memory, role, bounce, alone } = operation;
        let alone = alone && self.running() == 1;
        let Some(Some(entry)) = self.jobs.get_mut(index as usize) else { return };
        let (lane, ids) = match &mut self.plain {
            Some(plain) if alone && entry.plain => (plain, &mut entry.ids[1]),
            _ => (&mut *self.main, &mut entry.ids[0]),
        };
        let tag = Tag { job: index, role, position, bounce };
        let file = &entry.job.file;
        let id = match lane.open(file, target, ids) {
            Ok(id) => id,
            Err(error) => return self.refused(tag, memory, error.to_string()),
        };
        let limits = file.limits(target, &memory);
        let request = Request::new(memory.into_lease(), direction, Position::At(position), tag);
        if let Err(SubmitError { request, reason }) = lane.engine.submit(id, request, limits) {
            let (lease, mut tags) = request.into_parts();
            if let Some(tag) = tags.next() {
                drop(tags);
                self.refused(tag, Memory::from_lease(lease), reason.to_string());
            }
        }
    }

    /// Tells a job that an operation was refused.
    #[cold]
    fn refused(&mut self, tag: Tag, memory: Memory, reason: String) {
        let index = tag.job;
        if let Some(Some(entry)) = self.jobs.get_mut(index as usize) {
            if let Some(slot) = entry.job.refused(tag, memory, reason) {
                self.slots.give(slot);
            }
            self.make_runnable(index);
        }
    }

    fn flush(&mut self, index: u32, kind: FlushKind) {
        let Some(Some(entry)) = self.jobs.get_mut(index as usize) else { return };
        let lane = &mut *self.main;
        let opened =
            lane.open(&entry.job.file, Target::Cached, &mut entry.ids[0]).map_err(|error| error.to_string());
        match opened.and_then(|id| lane.engine.flush(id, kind).map_err(|reason| reason.to_string())) {
            Ok(token) => self.flushes.push((token, index)),
            Err(reason) => {
                entry.job.flush_refused(reason);
                self.make_runnable(index);
            }
        }
    }

    fn flushed(&mut self, index: u32, fault: Option<Status>) {
        if let Some(Some(entry)) = self.jobs.get_mut(index as usize) {
            entry.job.flushed(fault);
            self.make_runnable(index);
        }
    }

    fn completed(&mut self, completion: Completion<Held, Tag>) {
        let (request, outcome) = match completion {
            Completion::Transfer { request, outcome, .. } => (request, outcome),
            Completion::Flush { token, fault, .. } => {
                let place = self.flushes.iter().position(|(flush, _)| *flush == token);
                if let Some((_, index)) = place.map(|place| self.flushes.swap_remove(place)) {
                    self.flushed(index, fault.map(|fault| fault.status));
                }
                return;
            }
            // No job watches a file.
            Completion::Ready { .. } => return,
        };
        let (lease, mut tags) = request.into_parts();
        if let Some(tag) = tags.next() {
            drop(tags);
            self.settle(tag, outcome, Memory::from_lease(lease));
        }
    }

    /// Tells a job what became of an operation.
    fn settle(&mut self, tag: Tag, outcome: Outcome, memory: Memory) {
        let index = tag.job;
        if let Some(Some(entry)) = self.jobs.get_mut(index as usize) {
            if let Some(slot) = entry.job.completed(tag, outcome, memory) {
                self.slots.give(slot);
            }
            self.make_runnable(index);
        }
    }

    fn make_runnable(&mut self, index: u32) {
        let entry = self.jobs.get_mut(index as usize).and_then(Option::as_mut);
        if entry.is_some_and(|entry| !mem::replace(&mut entry.queued, true)) {
            self.runnable.push_back(index);
        }
    }

    /// Pauses after the kernel refused to wait: no memory, most likely. What is in flight must not be let go, so it is asked again, and
    /// said once in a while.
    #[cold]
    fn cannot_wait(&mut self, error: &WaitError) {
        if self.refusals.is_multiple_of(REFUSALS_TOLD) {
            eprintln!("bulkio: waiting for transfers in flight: {error}; trying again");
        }
        self.refusals = self.refusals.wrapping_add(1);
        std::thread::sleep(PAUSE);
    }

    /// Makes the plain call that was issued, if there is one.
    fn plain(&mut self) -> bool {
        let Some(lane) = self.plain.as_mut().filter(|lane| lane.engine.in_flight() > 0) else { return false };
        // Nothing can end it early, so a signal has nothing to say here either.
        match lane.engine.wait() {
            Ok(Some(completion)) => self.completed(completion),
            Ok(None) => {}
            Err(error) => self.cannot_wait(&error),
        }
        true
    }

    /// Makes those runnable that have their range by now.
    fn unpark(&mut self) {
        if self.parked == 0 {
            return;
        }
        self.parked = 0;
        for (index, entry) in (0_u32..).zip(&mut self.jobs) {
            if let Some(entry) = entry
                && mem::take(&mut entry.parked)
            {
                entry.queued = true;
                self.runnable.push_back(index);
            }
        }
    }

    fn over(&mut self, index: u32) {
        let Some(Entry { mut job, payload, ids: [main, plain], .. }) =
            self.jobs.get_mut(index as usize).and_then(Option::take)
        else {
            return;
        };
        for slot in job.take_slots() {
            self.slots.give(slot);
        }
        self.free.push(index);
        self.main.close(main);
        if let Some(lane) = &mut self.plain {
            lane.close(plain);
        }
        self.finished.push_back(Finished { payload, result: job.finish() });
    }
}

impl<E: DerefMut<Target = JobEngine>, P> Drop for Channel<E, P> {
    fn drop(&mut self) {
        let plain = self.plain.as_mut().is_none_or(|lane| lane.engine.shut_down());
        if !self.main.engine.shut_down() || !plain {
            // (2): the engine has said so on standard error.
            self.jobs.iter_mut().flatten().for_each(|entry| entry.job.lose());
            mem::forget(mem::take(&mut self.jobs));
        }
        // SAFETY: the engine is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.main) };
    }
}
