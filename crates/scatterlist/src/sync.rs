//! What threads share: the lock that pools and allocators take unless they are told another, and the counters and
//! atomics of this crate.
//!
//! Shared state sits behind [`lock_api::RawMutex`], so that a kernel gives its own lock (one that keeps interrupts off,
//! where a handler maps or fetches) and a program one that sleeps. Code that shares by atomics takes them from here:
//! built with `--cfg loom` they are loom's, which tries every order that the memory model allows.

#[cfg(all(feature = "alloc", not(loom)))]
pub(crate) use alloc::sync::Arc;
#[cfg(all(feature = "alloc", not(loom)))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
pub(crate) use modelled::Arc;

/// A spin lock.
pub type Spin = spin::Mutex<()>;

#[cfg(loom)]
mod modelled {
    use core::ops::Deref;

    use loom::sync::atomic::{AtomicUsize, Ordering, fence};

    /// An `Arc` that counts its owners by loom's atomics, with the orderings of the standard library's: loom's own
    /// has no `into_inner`. What holds the memory is out of loom's sight, so it orders nothing.
    #[derive(Debug)]
    pub(crate) struct Arc<T> {
        owners: alloc::sync::Arc<AtomicUsize>,
        value: alloc::sync::Arc<T>,
    }

    impl<T> Arc<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { owners: alloc::sync::Arc::new(AtomicUsize::new(1)), value: alloc::sync::Arc::new(value) }
        }

        /// Lets go; the value, for the last owner.
        pub(crate) fn into_inner(this: Self) -> Option<T> {
            let Self { owners, value } = this;
            if owners.fetch_sub(1, Ordering::Release) != 1 {
                // No other thread runs before the next operation of loom's, so `value` goes with the count.
                return None;
            }
            fence(Ordering::Acquire);
            alloc::sync::Arc::into_inner(value)
        }
    }

    impl<T> Clone for Arc<T> {
        fn clone(&self) -> Self {
            self.owners.fetch_add(1, Ordering::Relaxed);
            Self {
                owners: alloc::sync::Arc::clone(&self.owners),
                value: alloc::sync::Arc::clone(&self.value),
            }
        }
    }

    impl<T> Deref for Arc<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.value
        }
    }
}
