//! [`MovableEngine`]: an engine that one thread after the other may use.
#![expect(unsafe_code, reason = "says that an engine may move between threads")]

use core::ops::{Deref, DerefMut};

use super::{Engine, EngineError, EngineOptions, Issuer};

/// An [`Engine`] that may move from thread to thread, used by one at a time.
///
/// It is slower than one that stays: io_uring cannot leave its work to the thread that waits.
///
/// An operation belongs to the thread that submitted it. Where that thread ends while the operation is in
/// flight, its result still comes, to whichever thread waits; but io_uring then ends what has not begun or
/// waits for a file to be ready (a pipe, a terminal) with [`Status::Cancelled`](scatterlist::Status::Cancelled).
/// So take the completions of an engine before you end the thread that submitted to it.
///
/// # Invariants
/// 1. What an engine owns for its users are requests, hence owners `O` and completions `C`, which are `Send` here.
///    The keepers of registered memory, the commands of files and whatever the back ends share with threads are `Send` by themselves.
/// 2. Every back end is reached through `&mut`, so by one thread at a time, and is memory-safe from any thread:
///    - io_uring: the queues lie in memory of the process, and moving the engine orders what was written to them. Set
///      up for any thread, the kernel takes and reports operations for whoever enters. A result is posted by the
///      thread that submitted, when it next enters or leaves the kernel (it is interrupted for that), or by a kernel
///      thread once it has ended: results depend on no thread of ours. An engine for one thread that safe code swapped
///      in here answers `EEXIST` on another thread: its operations cannot be waited for, and are leaked, not freed.
///    - native AIO: a context belongs to the address space, not to a thread. Its results come from interrupts.
///    - threads: workers own their jobs, whoever queued them.
#[derive(Debug)]
pub struct MovableEngine<O, C>(Engine<O, C>);

// SAFETY: (1) for what is owned, (2) for the raw parts: no back end is tied to a thread for memory safety.
unsafe impl<O: Send, C: Send> Send for MovableEngine<O, C> {}

impl<O: Send + 'static, C: Send> MovableEngine<O, C> {
    /// Makes an engine for any thread, whatever [`EngineOptions::issuer`] says.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        Engine::new(EngineOptions { issuer: Issuer::AnyThread, ..options }).map(Self)
    }
}

impl<O, C> Deref for MovableEngine<O, C> {
    type Target = Engine<O, C>;

    fn deref(&self) -> &Engine<O, C> {
        &self.0
    }
}

impl<O, C> DerefMut for MovableEngine<O, C> {
    fn deref_mut(&mut self) -> &mut Engine<O, C> {
        &mut self.0
    }
}
