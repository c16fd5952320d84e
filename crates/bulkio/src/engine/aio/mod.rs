//! Native AIO as a back end: the interface that container profiles still allow where they forbid io_uring.
//!
//! It is asynchronous for `O_DIRECT` only, so positioned transfers of such files and flushes go to the kernel (`queue`), all
//! that was pushed in one call, and everything else to [`Threads`] beneath it. There is one place to wait: the queue
//! watches the bell that workers and wakes ring. Commands of a device are calls of threads too. `abi` has the calls, `setup` proves that they work.
#![expect(unsafe_code, reason = "submits raw operations, promised by Backend::push")]

mod abi;
mod queue;
mod setup;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

pub(super) use queue::Queue;

use super::backend::{Operation, Reaped, Woken};
use super::threads::Threads;
use super::wake::Bell;

/// The back end of native AIO.
#[derive(Debug)]
pub(super) struct Aio {
    queue: Queue,
    bell: Arc<Bell>,
    /// Whether wakes may come.
    bell_asked: bool,
    threads: Threads,
}

impl Aio {
    /// Makes a queue and proves that it works, or says why not.
    pub(super) fn new(depth: u32) -> Result<Self, String> {
        let queue = Queue::new(depth)?;
        let mut threads = Threads::new(depth).map_err(|errno| {
            format!("making an eventfd failed: {errno}; too many files may be open (ulimit -n)")
        })?;
        Ok(Self { queue, bell: threads.bell(), bell_asked: false, threads })
    }

    pub(super) fn bell(&mut self) -> Arc<Bell> {
        self.bell_asked = true;
        Arc::clone(&self.bell)
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    pub(super) unsafe fn push(&mut self, operation: Operation) {
        // SAFETY: the promise is the same.
        if let Some(operation) = unsafe { self.queue.push(operation) } {
            // SAFETY: the promise is the same, and the queue has let go of the operation.
            unsafe { self.threads.push(operation) };
        }
    }

    pub(super) fn nudge(&mut self) {
        self.queue.nudge();
        self.pass_on();
        self.threads.nudge();
    }

    pub(super) fn start(&mut self) {
        self.queue.submit();
        self.pass_on();
        self.threads.start();
    }

    /// Hands to threads what the kernel does not know.
    fn pass_on(&mut self) {
        while let Some(operation) = self.queue.take_refused() {
            // SAFETY: the promise holds on, and the queue has let go of the operation.
            unsafe { self.threads.push(operation) };
        }
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        self.threads.reap(into);
        if self.queue.reap(into) {
            self.bell.quiet();
        }
    }

    fn has_results(&self) -> bool {
        self.queue.has_results() || self.threads.has_results()
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        self.start();
        if self.has_results() {
            return Ok(Woken::Ready);
        }
        if !self.queue.is_busy() {
            return self.threads.wait(timeout);
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(Woken::TimedOut);
        }
        if !self.bell_asked && self.threads.is_idle() {
            return self.queue.sleep(timeout);
        }
        self.queue.watch(&self.bell)?;
        if !self.bell.doze() {
            return Ok(Woken::Ready);
        }
        let woken = if self.threads.has_results() { Ok(Woken::Ready) } else { self.queue.sleep(timeout) };
        // What was written to the eventfd meanwhile ends the watch, and is taken when that is reaped.
        self.bell.rise();
        woken
    }

    pub(super) fn cancel(&mut self, key: u64) {
        if !self.threads.cancel(key) {
            self.queue.cancel(key);
        }
    }

    /// Leaks the queue, which the kernel still uses. A worker that is held up is not waited for.
    pub(super) fn leak(self) {
        mem::forget(self.queue);
        mem::forget(self.bell);
    }
}
