//! Waiting on this thread for something that wakes a [`Waker`].

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

#[derive(Debug)]
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Returns what wakes this thread.
pub(super) fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// Sleeps until `done` says so. Whoever makes it so wakes [`waker`] afterwards.
pub(super) fn until(done: impl Fn() -> bool) {
    while !done() {
        thread::park();
    }
}
