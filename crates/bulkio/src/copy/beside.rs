//! [`Beside`]: work on slots that is done on another core, off the data path: hashing, comparing.
//!
//! The loop that moves bytes pushes what is done with, slot and all; a thread works on it and drops the slot, which is then in its pool
//! again. The queue holds no more than the pool has slots. A loop that finds its pool empty says so (`wants_slots`) and is woken
//! through its engine when one came back, or when the thread ended.
//!
//! Contract: items are worked on in the order in which they are pushed; `finish` returns when all are.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::Remote;

/// What is done beside the data path.
pub(super) trait Work: Send + 'static {
    /// What it is done on; slots in it are free when it is dropped.
    type Item: Send + 'static;

    fn take(&mut self, item: Self::Item);

    /// What some items wait for never comes.
    fn skip_gap(&mut self) {}
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    /// An item is being worked on.
    busy: bool,
    skip_gap: bool,
    ended: bool,
    /// The thread is gone.
    gone: bool,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// The loop found its pool empty.
    wants_slots: AtomicBool,
    engine: Remote,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No change of the state can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn freed(&self) {
        if self.wants_slots.swap(false, Ordering::SeqCst) {
            self.engine.wake();
        }
    }
}

/// A thread with its queue.
#[derive(Debug)]
pub(super) struct Beside<W: Work> {
    shared: Arc<Shared<W::Item>>,
    thread: Option<JoinHandle<W>>,
}

impl<W: Work> Beside<W> {
    /// Starts the thread; `slots` is how many there are in the pool, `engine` wakes the loop.
    pub(super) fn start(name: &str, work: W, slots: usize, engine: Remote) -> io::Result<Self> {
        let state = State {
            queue: VecDeque::with_capacity(slots),
            busy: false,
            skip_gap: false,
            ended: false,
            gone: false,
        };
        let (changed, wants_slots) = (Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { state: Mutex::new(state), changed, wants_slots, engine });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(work, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn push(&self, item: W::Item) {
        let mut state = self.shared.lock();
        if state.gone {
            // Its panic is told by `finish`; until then nothing may pile up.
            return;
        }
        state.queue.push_back(item);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Says that the loop's pool was empty. Look at the pool again after this: a slot that comes back later wakes the engine.
    pub(super) fn wants_slots(&self) {
        self.shared.wants_slots.store(true, Ordering::SeqCst);
    }

    /// Says whether everything that was pushed is worked on, or waits for what was not pushed.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.gone || (state.queue.is_empty() && !state.busy && !state.skip_gap)
    }

    /// Waits until it is idle.
    pub(super) fn settle(&self) {
        let mut state = self.shared.lock();
        while !state.gone && (!state.queue.is_empty() || state.busy || state.skip_gap) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it is idle, or for this long; says whether it is.
    pub(super) fn settle_for(&self, time: Duration) -> bool {
        let busy = |state: &mut State<W::Item>| {
            !state.gone && (!state.queue.is_empty() || state.busy || state.skip_gap)
        };
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), time, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Says that what some items wait for never comes.
    pub(super) fn skip_gap(&self) {
        self.shared.lock().skip_gap = true;
        self.shared.changed.notify_all();
    }

    fn end(&self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }

    /// Waits until all is worked on, and returns the result; `None` where the thread panicked.
    pub(super) fn finish(mut self) -> Option<W> {
        self.end();
        self.thread.take()?.join().ok()
    }
}

impl<W: Work> Drop for Beside<W> {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A result that nobody wants; a panic was printed.
            let _ = thread.join();
        }
    }
}

/// Frees what is still queued when the thread ends, however it ends, so that nobody waits for it.
struct GoneAtEnd<'a, T>(&'a Shared<T>);

impl<T> Drop for GoneAtEnd<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.gone = true;
        let left = std::mem::take(&mut state.queue);
        drop(state);
        drop(left);
        self.0.changed.notify_all();
        self.0.freed();
    }
}

fn run<W: Work>(mut work: W, shared: &Shared<W::Item>) -> W {
    let _gone = GoneAtEnd(shared);
    let mut state = shared.lock();
    loop {
        if let Some(item) = state.queue.pop_front() {
            state.busy = true;
            drop(state);
            work.take(item);
        } else if core::mem::take(&mut state.skip_gap) {
            state.busy = true;
            drop(state);
            work.skip_gap();
        } else if state.ended {
            return work;
        } else {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        shared.freed();
        state = shared.lock();
        state.busy = false;
        if state.queue.is_empty() {
            shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};
    use crate::pages::{PagePool, PoolOptions, Slot};

    struct Count(u32);

    impl Work for Count {
        type Item = Slot;

        fn take(&mut self, _: Slot) {
            self.0 += 1;
            assert!(self.0 < 100, "the hundredth is one too many");
        }

        fn skip_gap(&mut self) {
            self.0 += 50;
        }
    }

    fn engine() -> (Engine<Slot, ()>, Remote) {
        let mut engine = Engine::new(EngineOptions::default()).expect("an engine");
        let remote = engine.remote().expect("a remote");
        (engine, remote)
    }

    #[test]
    fn a_loop_without_slots_is_woken_by_each_one_that_comes_back() {
        let pool = PagePool::new(PoolOptions::uniform(4096, 2)).expect("a pool");
        let (mut engine, remote) = engine();
        let beside = Beside::start("count", Count(0), 2, remote).expect("a thread");
        for _ in 0..50 {
            let slot = loop {
                if let Some(slot) = pool.take() {
                    break slot;
                }
                beside.wants_slots();
                if pool.free_slots() == 0 {
                    // Without the wake this would be a minute, and no test.
                    engine.wait_or_wake(Some(Duration::from_secs(60))).expect("a wait");
                }
            };
            beside.push(slot);
        }
        beside.settle();
        assert!(beside.is_idle());
        assert_eq!(pool.free_slots(), 2);
        beside.skip_gap();
        beside.settle();
        assert_eq!(beside.finish().map(|count| count.0), Some(100));
    }

    #[test]
    fn a_thread_that_panics_frees_what_it_has_and_leaves_nobody_waiting() {
        let pool = PagePool::new(PoolOptions::uniform(4096, 3)).expect("a pool");
        let (_engine, remote) = engine();
        let beside = Beside::start("count", Count(99), 3, remote).expect("a thread");
        for _ in 0..3 {
            beside.push(pool.take().expect("a slot"));
        }
        beside.settle();
        assert!(beside.finish().is_none());
        assert_eq!(pool.free_slots(), 3);
    }
}
