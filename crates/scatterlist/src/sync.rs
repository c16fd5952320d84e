//! The lock that pools and allocators take unless they are told another: a spin lock.
//!
//! Shared state sits behind [`lock_api::RawMutex`], so that a kernel gives its own lock (one that keeps interrupts off,
//! where a handler maps or fetches) and a program one that sleeps.

/// A spin lock.
pub type Spin = spin::Mutex<()>;
