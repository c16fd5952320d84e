//! What ends an engine's sleep from another thread: [`Remote`], and the [`Bell`] behind it.
//!
//! A bell is an eventfd and one word. The word says whether the engine sleeps, so that what comes while it is awake
//! costs no system call, and remembers a wake until the engine takes it. Workers of `threads` ring the same bell for
//! their results; io_uring and native AIO watch the eventfd with a poll of theirs.

use core::sync::atomic::{AtomicU8, Ordering};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::backend::Woken;

/// The engine looks at everything before it sleeps.
const AWAKE: u8 = 0;
/// The engine sleeps, or is about to: whoever leaves this state writes to the eventfd.
const ASLEEP: u8 = 1;
/// A wake that the engine has not taken yet.
const WOKEN: u8 = 2;

/// Ends the sleep of one engine.
///
/// The word goes from `ASLEEP` to another state once for each sleep, so there is at most one write a sleep; a write
/// that comes late ends the next sleep early, and nothing is lost by that.
#[derive(Debug)]
pub(super) struct Bell {
    fd: OwnedFd,
    state: AtomicU8,
}

impl Bell {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, state: AtomicU8::new(AWAKE) })
    }

    /// Says that there is something to look at. What was written before is seen by the engine.
    pub(super) fn ring(&self) {
        let left = self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed);
        if left.is_ok() {
            self.write();
        }
    }

    fn wake(&self) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            self.write();
        }
    }

    #[expect(clippy::host_endian_bytes, reason = "eventfd(2) takes a number in the machine's order")]
    fn write(&self) {
        // It fails only where the count is full, and then the eventfd is ready to be read already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    /// Takes a wake, if there is one.
    pub(super) fn take_wake(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WOKEN
            && self.state.compare_exchange(WOKEN, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Says whether there is a wake, and leaves it.
    pub(super) fn is_woken(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WOKEN
    }

    /// Announces a sleep. `false` where a wake is there: do not sleep. Whatever is looked at after this, and
    /// changes later, rings.
    pub(super) fn doze(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Ends the announced sleep; says whether the bell rang meanwhile, and so must be [`quiet`](Self::quiet)ed.
    pub(super) fn rise(&self) -> bool {
        self.state.compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_err()
    }

    /// Makes the eventfd unready again.
    pub(super) fn quiet(&self) {
        // It fails where nothing was written.
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
    }
}

/// Sleeps until the bell rings, a signal comes or the time is over.
///
/// `has_results` is asked once the sleep is announced: what it does not see yet will ring.
pub(super) fn sleep(
    bell: Option<&Bell>,
    timeout: Option<Duration>,
    has_results: impl FnOnce() -> bool,
) -> Result<Woken, u32> {
    if bell.is_some_and(|bell| !bell.doze()) {
        return Ok(Woken::Ready);
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let polled = match bell {
        _ if has_results() => Ok(1),
        Some(bell) => poll(&mut [PollFd::new(bell, PollFlags::IN)], timeout.as_ref()),
        None => poll(&mut [], timeout.as_ref()),
    };
    if let Some(bell) = bell
        && bell.rise()
    {
        bell.quiet();
    }
    match polled {
        Ok(0) => Ok(Woken::TimedOut),
        Ok(_) => Ok(Woken::Ready),
        Err(Errno::INTR) => Ok(Woken::Interrupted),
        Err(errno) => Err(errno.raw_os_error().unsigned_abs()),
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Wakes an engine from any thread; made by [`Engine::remote`](super::Engine::remote).
///
/// Wakes that come before the engine has taken one are one wake. One that comes when the engine is gone does
/// nothing.
#[derive(Clone, Debug)]
pub struct Remote {
    bell: Arc<Bell>,
}

impl Remote {
    pub(super) const fn new(bell: Arc<Bell>) -> Self {
        Self { bell }
    }

    /// Makes the running or the next [`wait`](super::Engine::wait), [`wait_timeout`](super::Engine::wait_timeout) or
    /// [`wait_or_wake`](super::Engine::wait_or_wake) of the engine return `Ok(None)`.
    ///
    /// What this thread wrote before is seen by the engine's thread then. An engine that is awake is woken
    /// without a system call.
    pub fn wake(&self) {
        self.bell.wake();
    }
}

/// Why no [`Remote`] could be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("making an eventfd failed with errno {errno}: too many files may be open (ulimit -n)")]
pub struct RemoteError {
    /// The error number.
    pub errno: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(bell: &Bell) -> bool {
        let mut files = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn an_awake_engine_costs_no_system_call() {
        let bell = Bell::new().unwrap();
        let remote = Remote::new(Arc::new(bell));
        remote.wake();
        remote.wake();
        remote.bell.ring();
        assert!(!is_ready(&remote.bell) && !remote.bell.doze());
        // Two wakes are one.
        assert!(remote.bell.take_wake() && !remote.bell.take_wake());
    }

    #[test]
    fn a_sleeping_engine_is_rung_once() {
        let bell = Bell::new().unwrap();
        assert!(bell.doze() && !is_ready(&bell));
        bell.ring();
        bell.ring();
        bell.wake();
        assert!(is_ready(&bell) && bell.rise());
        bell.quiet();
        assert!(!is_ready(&bell) && bell.take_wake() && bell.doze() && !bell.rise());
    }
}
