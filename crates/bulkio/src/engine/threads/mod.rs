//! Threads as a back end: a pool of workers that make plain calls, or those of a device's commands, one operation each at a time.
//!
//! The engine's thread queues operations and sleeps on the bell that workers ring; no worker starts before there is
//! work, and all end with the pool. A single operation that overlaps with nothing is run by the thread that
//! waits for it, if nobody else may want to wake that. Files that may keep a caller waiting are first watched by one more thread
//! (`watcher`), so that no worker is held by an empty pipe and what waits can be cancelled. `calls` makes the system
//! calls.
#![expect(unsafe_code, reason = "takes operations over from Backend::push")]

mod calls;
mod pool;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Act, Answer, Operation, Reaped, Woken};
use super::wake::{self, Bell};
use pool::{Job, Pool};

/// Most workers of one pool.
const WORKERS_MAX: u32 = 64;

/// The back end of threads.
///
/// # Invariants
/// 1. Every operation in `pushed` was pushed under the promise of [`Threads::push`] and has no result yet; it goes
///    from there into the pool once, or is answered as cancelled.
#[derive(Debug)]
pub(super) struct Threads {
    pool: Arc<Pool>,
    pushed: Vec<Operation>,
    /// Results of what never reached the pool.
    early: Vec<Reaped>,
    /// Operations pushed and not reaped.
    held: u32,
    nudge_at: usize,
    serial: u64,
    /// Whether somebody else may ring the bell: then no call is made by the thread that waits for it.
    rung: bool,
}

impl Threads {
    /// Makes a pool without a thread.
    pub(super) fn new(depth: u32) -> rustix::io::Result<Self> {
        Self::with_bell(depth, Arc::new(Bell::new()?))
    }

    /// Makes a pool without a thread, whose workers ring the bell of somebody else.
    pub(super) fn with_bell(depth: u32, bell: Arc<Bell>) -> rustix::io::Result<Self> {
        let slots = depth as usize;
        Ok(Self {
            pool: Arc::new(Pool::new(depth.min(WORKERS_MAX), slots, bell)?),
            pushed: Vec::with_capacity(slots),
            early: Vec::new(),
            held: 0,
            nudge_at: slots.div_ceil(4),
            serial: 0,
            rung: false,
        })
    }

    pub(super) fn bell(&mut self) -> Arc<Bell> {
        self.rung = true;
        Arc::clone(&self.pool.bell)
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    pub(super) unsafe fn push(&mut self, operation: Operation) {
        self.pushed.push(operation);
        self.held = self.held.saturating_add(1);
    }

    pub(super) fn nudge(&mut self) {
        if self.pushed.len() >= self.nudge_at {
            self.start();
        }
    }

    pub(super) fn start(&mut self) {
        if self.pushed.is_empty() {
            return;
        }
        let serial = &mut self.serial;
        let jobs = self.pushed.drain(..).map(|operation| {
            *serial = serial.wrapping_add(1);
            // SAFETY: (1): the promise goes over to the job.
            unsafe { Job::new(operation, *serial) }
        });
        self.pool.add(jobs);
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        if self.held == 0 {
            return;
        }
        let before = into.len();
        into.append(&mut self.early);
        self.pool.take_results(into);
        let reaped = u32::try_from(into.len().saturating_sub(before)).unwrap_or(u32::MAX);
        self.held = self.held.saturating_sub(reaped);
    }

    /// Says whether nothing was pushed that is not reaped.
    pub(super) const fn is_idle(&self) -> bool {
        self.held == 0
    }

    /// Says whether there are results to reap.
    pub(super) fn has_results(&self) -> bool {
        !self.early.is_empty() || (self.held > 0 && self.pool.has_results())
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        if timeout.is_none()
            && !self.rung
            && self.held == 1
            && let Some(answer) = self.run_here()
        {
            // A signal: whoever waits wants to know, and the table tries again.
            let interrupted = answer == Answer::Kernel(-libc::EINTR);
            return Ok(if interrupted { Woken::Interrupted } else { Woken::Ready });
        }
        self.start();
        if self.has_results() {
            return Ok(Woken::Ready);
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(Woken::TimedOut);
        }
        wake::sleep(Some(&self.pool.bell), timeout, || self.has_results())
    }

    /// Makes the call of the one operation there is on this thread, which has nothing else to do, and returns its result.
    ///
    /// A command may take minutes (a tape that is wound), and no signal would end that wait: it goes to a worker.
    fn run_here(&mut self) -> Option<Answer> {
        let [operation] = &*self.pushed else { return None };
        if matches!(operation.act, Act::Command(_)) {
            return None;
        }
        if !operation.always_ready && !matches!(operation.act, Act::Flush(_)) {
            return None;
        }
        // SAFETY: (1): the promise holds until the result is reaped.
        let answer = unsafe { calls::execute(operation, false) };
        self.early.push(Reaped { key: operation.key, answer });
        self.pushed.clear();
        Some(answer)
    }

    /// Cancels what no worker has begun; what one has ends by itself. Says whether the operation is here.
    pub(super) fn cancel(&mut self, key: u64) -> bool {
        if let Some(place) = self.pushed.iter().position(|operation| operation.key == key) {
            self.pushed.remove(place);
            self.early.push(Reaped::of(key, -libc::ECANCELED));
            return true;
        }
        self.pool.cancel(key)
    }
}

impl Drop for Threads {
    /// Ends the threads, and waits for them unless one is held up in a call: that one ends when the call does.
    fn drop(&mut self) {
        self.pool.stop();
    }
}
