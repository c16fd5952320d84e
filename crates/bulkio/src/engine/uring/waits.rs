//! How the thread of a [`Uring`] sleeps: one place to wait, whoever has the operations.
//!
//! That is the ring, or native AIO while that has any, or nothing but the bell. Threads and wakes ring the bell, which the ring watches;
//! a ring rings another one that native AIO watches.
#![expect(unsafe_code, reason = "watches the bell, borrows the ring's descriptor")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{cqueue, opcode};
use rustix::event::{PollFd, PollFlags};

use super::super::backend::Woken;
use super::super::entry::Submission;
use super::super::wake::{self, Bell};
use super::{BELL_KEY, Uring, errno};

impl<S: Submission, C: cqueue::EntryMarker> Uring<S, C> {
    pub(in super::super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        if !self.early.is_empty() {
            return Ok(Woken::Ready);
        }
        if let Some(calls) = &mut self.calls {
            calls.start();
            if calls.has_results() {
                return self.start().map(|()| Woken::Ready);
            }
        }
        if timeout == Some(Duration::ZERO) {
            return self.start().map(|()| self.woken(Woken::TimedOut));
        }
        if self.beneath.as_ref().is_some_and(|beneath| beneath.queue.is_used()) {
            return self.wait_beneath(timeout);
        }
        if self.polled && (self.held == 0 || self.bell.is_some() || timeout.is_some()) {
            return self.wait_polled(timeout);
        }
        let Some(bell) = self.rung_bell() else { return self.enter(timeout) };
        if !self.poll_bell(&bell) {
            // The submission queue takes nothing, and nothing would end the sleep.
            return self.start().and(Err(libc::EBUSY.unsigned_abs()));
        }
        if !bell.doze() {
            return self.start().map(|()| Woken::Ready);
        }
        let woken = if self.has_called() { self.start().map(|()| Woken::Ready) } else { self.enter(timeout) };
        // What was written to the eventfd meanwhile ends the poll, and is taken when that is reaped.
        bell.rise();
        woken
    }

    /// Waits while native AIO has operations: there, since it cannot be waited for in the ring without a cost to each
    /// of them. While the ring has some too, their results ring a bell that native AIO watches.
    fn wait_beneath(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        let bell = self.rung_bell();
        if let Some(bell) = &bell
            && !self.poll_bell(bell)
        {
            return self.start().and(Err(libc::EBUSY.unsigned_abs()));
        }
        self.start()?;
        if self.held > 0
            && let Some(beneath) = &mut self.beneath
        {
            beneath.announce(&self.ring)?;
            // What came before.
            if self.has_deferred() {
                self.start()?;
            }
        }
        // Without anything with the kernel there is nothing to wait for there, and the next wait is the ring's.
        let idle = self.beneath.as_ref().is_none_or(|beneath| !beneath.queue.is_busy());
        if idle || self.has_results() || bell.as_ref().is_some_and(|bell| !bell.doze()) {
            return Ok(Woken::Ready);
        }
        let woken = match &mut self.beneath {
            Some(beneath) if !self.calls.as_ref().is_some_and(|calls| calls.has_results()) => {
                beneath.queue.sleep(timeout)
            }
            _ => Ok(Woken::Ready),
        };
        if let Some(bell) = bell {
            bell.rise();
        }
        // Where the ring's work is not deferred, it interrupts the sleep.
        woken.map(|woken| self.woken(woken))
    }

    /// Has the ring watch the bell, where it does not yet; says whether it does.
    fn poll_bell(&mut self, bell: &Bell) -> bool {
        if self.bell_polled {
            return true;
        }
        let fd = Fd(bell.as_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, u32::from(libc::POLLIN.unsigned_abs())).build();
        // SAFETY: a poll points to no memory; invariant 3 of the ring for the descriptor.
        self.bell_polled = unsafe { self.push_entry(&poll.user_data(BELL_KEY).into()) };
        self.bell_polled
    }

    /// Submits what was pushed and sleeps until there is a result.
    fn enter(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        let entered = match timeout {
            None => self.ring.submit_and_wait(1).map(drop),
            Some(timeout) => self.wait_at_most(timeout),
        };
        self.account();
        match entered {
            // The kernel hides an interrupted wait behind a count of submissions.
            Ok(()) if timeout.is_none() => Ok(self.woken(Woken::Interrupted)),
            Ok(()) => Ok(self.woken(Woken::TimedOut)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Ok(self.woken(Woken::Interrupted)),
                Some(libc::ETIME) => Ok(self.woken(Woken::TimedOut)),
                _ if !self.ring.completion().is_empty() => Ok(Woken::Ready),
                _ => Err(errno(&error)),
            },
        }
    }

    /// Waits on a polled ring: it cannot sleep, so it asks until there is a result, a wake, or no time left. With
    /// nothing in flight there is nothing to ask for, and it sleeps on the bell alone.
    fn wait_polled(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let bell = self.bell.clone();
        while self.held > 0 {
            self.start()?;
            if !self.ring.completion().is_empty() || bell.as_ref().is_some_and(|bell| bell.is_woken()) {
                return Ok(Woken::Ready);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Woken::TimedOut);
            }
        }
        wake::sleep(bell.as_deref(), timeout, || false)
    }

    fn wait_at_most(&mut self, timeout: Duration) -> io::Result<()> {
        if self.ring.params().is_feature_ext_arg() {
            let timespec = Timespec::from(timeout);
            let args = SubmitArgs::new().timespec(&timespec);
            return self.ring.submitter().submit_with_args(1, &args).map(drop);
        }
        self.ring.submit()?;
        // SAFETY: the ring is open as long as `self` is borrowed.
        let fd = unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) };
        let timespec = rustix::event::Timespec::try_from(timeout).ok();
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timespec.as_ref())?;
        Ok(())
    }
}
