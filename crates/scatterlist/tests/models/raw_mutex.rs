//! [`Modelled`]: a lock for code that takes any [`RawMutex`], so that loom sees who waits for whom.
//!
//! A thread that cannot have the lock sleeps, so loom reports a deadlock as one. To model such code give it this lock,
//! `DmaPool::<_, Modelled>::with_lock(..)`, inside of [`loom::model`], and share it between [`loom::thread`]s, by the
//! standard library's `Arc`: loom's own panics when a failed model unwinds. No lock may outlive its model, so
//! none stands in a `static`.
#![expect(unsafe_code, reason = "a lock promises that it locks")]

use std::cell::Cell;
use std::sync::OnceLock;

use lock_api::{GuardNoSend, RawMutex};
use loom::sync::{Mutex, MutexGuard};

/// A lock in the eyes of loom.
///
/// # Invariants
/// 1. Only the model's one thread of the system touches `state`: loom runs the threads of a model in turns.
/// 2. `guard` is there from the return of `lock`, or of a `try_lock` that says so, until `unlock`; it is never handed out.
/// 3. `lock` is boxed, so it stays where it is, and is dropped after `guard`, as the order of the fields says.
#[derive(Default)]
pub(crate) struct Modelled {
    /// Made at the first use, in the model that uses it: loom's types cannot be made in a constant.
    state: OnceLock<State>,
}

struct State {
    guard: Cell<Option<MutexGuard<'static, ()>>>,
    lock: Box<Mutex<()>>,
}

// SAFETY: (1) no two threads of the system touch it.
unsafe impl Send for State {}
// SAFETY: (1) as above.
unsafe impl Sync for State {}

impl Modelled {
    fn state(&self) -> &State {
        self.state.get_or_init(|| State { guard: Cell::new(None), lock: Box::new(Mutex::new(())) })
    }
}

impl State {
    fn keep(&self, guard: MutexGuard<'_, ()>) {
        // SAFETY: (2, 3) the guard goes no later than what it points to.
        self.guard
            .set(Some(unsafe { std::mem::transmute::<MutexGuard<'_, ()>, MutexGuard<'static, ()>>(guard) }));
    }
}

// SAFETY: (2) whoever is here between `lock` and `unlock` has the guard of a lock that excludes and orders.
unsafe impl RawMutex for Modelled {
    const INIT: Self = Self { state: OnceLock::new() };

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        let state = self.state();
        state.keep(state.lock.lock().unwrap());
    }

    fn try_lock(&self) -> bool {
        let state = self.state();
        state.lock.try_lock().map(|guard| state.keep(guard)).is_ok()
    }

    unsafe fn unlock(&self) {
        let guard = self.state().guard.take();
        if std::thread::panicking() {
            // The model has failed, and loom runs no more: what unwinds must not ask it anything.
            std::mem::forget(guard);
        }
    }
}
