//! io_uring as a back end: pushes without a system call, submits and waits in one.
//!
//! The ring is as deep as the table above it, so neither queue can overflow: at most `depth` operations and as many
//! cancellations are with the kernel, and the completion queue has room for both. Setting up and registering are in
//! [`setup`](super::setup).
#![expect(unsafe_code, reason = "pushes raw operations to the ring, promised by Backend::push")]

use core::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::{PollFd, PollFlags};

use super::backend::{Act, NUDGE_BYTES, Operation, Reaped, Woken};
use super::beneath::Beneath;
use super::entry::entry;
use super::files::Carrier;
use super::fixed::{Fixed, SharedRegistration};
use super::register::{self, Keepers};
use super::wake::{self, Bell};

/// The keys of cancellations and of the poll of the bell: no slot has these numbers.
const CANCEL_KEY: u64 = u64::MAX;
const BELL_KEY: u64 = u64::MAX - 1;

/// How often it is waited for that a thread of the kernel makes room.
const ROOM_TRIES_MAX: u32 = 1000;

/// The io_uring back end.
///
/// # Invariants
/// 1. The registered memory stays mapped while the ring lives: `keepers` are dropped after `ring`.
/// 2. Operations not reaped are at most as many as the submission queue has entries, and so are cancellations. Besides
///    them there is one poll of the bell at most.
/// 3. The bell's eventfd is open while it is polled: the ring is dropped before `bell`.
pub(super) struct Uring {
    ring: IoUring,
    fixed: Fixed,
    /// Whether vectored operations take registered memory.
    vectored_fixed: bool,
    keepers: Keepers,
    bell: Option<Arc<Bell>>,
    /// Whether a poll of the bell is with the ring.
    bell_polled: bool,
    /// There once a file wants it.
    beneath: Option<Box<Beneath>>,
    depth: u32,
    /// Results of operations that the ring did not take.
    early: Vec<Reaped>,
    cancels: u32,
    /// Operations and cancellations that the ring holds, results included that are not reaped.
    held: u32,
    pushed: u32,
    pushed_bytes: u64,
    nudge_at: u32,
    /// Completions are asked for, not announced.
    polled: bool,
    /// A thread of the kernel takes what was pushed.
    kernel_submits: bool,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("fixed", &self.fixed)
            .field("pushed", &self.pushed)
            .finish_non_exhaustive()
    }
}

impl Uring {
    pub(super) fn new(ring: IoUring, depth: u32, fixed: Fixed, keepers: Keepers) -> Self {
        let params = ring.params();
        let (polled, kernel_submits) = (params.is_setup_iopoll(), params.is_setup_sqpoll());
        let vectored_fixed = !fixed.is_empty() && {
            let mut probe = Probe::new();
            ring.submitter().register_probe(&mut probe).is_ok()
                && [opcode::ReadvFixed::CODE, opcode::WritevFixed::CODE]
                    .iter()
                    .all(|code| probe.is_supported(*code))
        };
        Self {
            ring,
            fixed,
            vectored_fixed,
            keepers,
            bell: None,
            bell_polled: false,
            beneath: None,
            depth,
            early: Vec::new(),
            cancels: 0,
            held: 0,
            pushed: 0,
            pushed_bytes: 0,
            nudge_at: depth.div_ceil(4),
            polled,
            kernel_submits,
        }
    }

    pub(super) fn fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        self.fixed.index_of(addr, len)
    }

    pub(super) fn fixed_index_of_all(&self, vectors: &[libc::iovec]) -> Option<u16> {
        if self.vectored_fixed { self.fixed.index_of_all(vectors) } else { None }
    }

    pub(super) const fn takes_vectored_fixed(&self) -> bool {
        self.vectored_fixed
    }

    pub(super) const fn is_polled(&self) -> bool {
        self.polled
    }

    pub(super) fn shared_registration(&self) -> Option<SharedRegistration> {
        register::share(&self.ring, &self.fixed, &self.keepers)
    }

    pub(super) fn bell(&mut self) -> rustix::io::Result<Arc<Bell>> {
        let bell = Arc::new(Bell::new()?);
        self.bell = Some(Arc::clone(&bell));
        Ok(bell)
    }

    pub(super) fn register_file(&self, slot: u32, fd: RawFd) -> bool {
        matches!(self.ring.submitter().register_files_update(slot, &[fd]), Ok(1))
    }

    pub(super) fn unregister_file(&self, slot: u32) {
        // A slot that cannot be cleared only keeps the file open until it is used again.
        let _ = self.ring.submitter().register_files_update(slot, &[-1]);
    }

    /// Pushes an operation.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    pub(super) unsafe fn push(&mut self, operation: Operation) {
        let transfers = matches!(operation.act, Act::Transfer { .. });
        let operation = match &mut self.beneath {
            Some(beneath) if transfers && operation.carrier == Carrier::Aio => {
                // SAFETY: the caller's promise.
                let Some(operation) = (unsafe { beneath.queue.push(operation) }) else { return };
                operation
            }
            _ => operation,
        };
        let entry = entry(&operation);
        // SAFETY: the caller's promise.
        if unsafe { self.push_entry(&entry) } {
            self.pushed_bytes = self.pushed_bytes.saturating_add(operation.bytes);
        } else {
            // Not reached by (2); if it were, the operation fails and nothing hangs.
            self.early.push(Reaped { key: operation.key, result: -libc::EBUSY });
        }
    }

    /// Pushes an entry, making room first where there is none.
    ///
    /// # Safety
    /// What the entry points to stays valid until its result has been reaped.
    unsafe fn push_entry(&mut self, entry: &squeue::Entry) -> bool {
        let tries = if self.kernel_submits { ROOM_TRIES_MAX } else { 2 };
        for _ in 0..tries {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.pushed = self.pushed.saturating_add(1);
                self.held = self.held.saturating_add(1);
                return true;
            }
            if self.start().is_err() {
                return false;
            }
            // A thread of the kernel, which is awake now, takes entries when it comes to it. The wait for that may
            // end early.
            if self.kernel_submits && self.ring.submitter().squeue_wait().is_err() {
                return false;
            }
        }
        false
    }

    /// Makes native AIO ready for files that cannot say "later", or says why it is not to be had.
    pub(super) fn lay_aio_beneath(&mut self) -> Result<(), String> {
        if self.beneath.is_some() {
            return Ok(());
        }
        if self.kernel_submits {
            return Err("kernel_submission asks that a thread of the kernel start everything".to_owned());
        }
        self.beneath = Some(Box::new(Beneath::new(self.depth)?));
        Ok(())
    }

    pub(super) fn nudge(&mut self) {
        if let Some(beneath) = &mut self.beneath {
            beneath.queue.nudge();
        }
        // Where the kernel's thread is awake, starting is no system call.
        if self.kernel_submits || self.pushed >= self.nudge_at || self.pushed_bytes >= NUDGE_BYTES {
            // An error comes back from the wait that follows.
            let _ = self.start();
        }
    }

    pub(super) fn start(&mut self) -> Result<(), u32> {
        if let Some(beneath) = &mut self.beneath {
            beneath.queue.submit();
        }
        // The completions of a polled ring come only to who asks.
        let asks = self.polled && self.held > 0;
        if self.pushed == 0 && !asks && !self.has_deferred() {
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => self.account(),
            Err(error) if errno(&error) == libc::EINTR.unsigned_abs() => {}
            Err(error) => return Err(errno(&error)),
        }
        Ok(())
    }

    /// Counts anew what the kernel has not taken.
    fn account(&mut self) {
        self.pushed = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        if self.pushed == 0 {
            self.pushed_bytes = 0;
        }
    }

    /// Says whether the kernel keeps results back until it is entered.
    fn has_deferred(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        into.append(&mut self.early);
        if let Some(beneath) = &mut self.beneath
            && beneath.queue.reap(into)
        {
            beneath.quiet();
        }
        let mut rang = false;
        for entry in self.ring.completion() {
            self.held = self.held.saturating_sub(1);
            match entry.user_data() {
                CANCEL_KEY => self.cancels = self.cancels.saturating_sub(1),
                BELL_KEY => rang = true,
                key => into.push(Reaped { key, result: entry.result() }),
            }
        }
        if rang {
            self.bell_polled = false;
            if let Some(bell) = &self.bell {
                bell.quiet();
            }
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        if !self.early.is_empty() {
            return Ok(Woken::Ready);
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
        let Some(bell) = self.bell.clone() else { return self.enter(timeout) };
        if !self.poll_bell(&bell) {
            // The submission queue takes nothing, and nothing would end the sleep.
            return self.start().and(Err(libc::EBUSY.unsigned_abs()));
        }
        if !bell.doze() {
            return self.start().map(|()| Woken::Ready);
        }
        let woken = self.enter(timeout);
        // What was written to the eventfd meanwhile ends the poll, and is taken when that is reaped.
        bell.rise();
        woken
    }

    /// Waits while native AIO has operations: there, since it cannot be waited for in the ring without a cost to each
    /// of them. While the ring has some too, their results ring a bell that native AIO watches.
    fn wait_beneath(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        let bell = self.bell.clone();
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
        let woken = self.beneath.as_mut().map_or(Ok(Woken::Ready), |beneath| beneath.queue.sleep(timeout));
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
        // SAFETY: a poll points to no memory; (3) for the descriptor.
        self.bell_polled = unsafe { self.push_entry(&poll.user_data(BELL_KEY)) };
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

    fn has_results(&mut self) -> bool {
        !self.ring.completion().is_empty()
            || self.beneath.as_ref().is_some_and(|beneath| beneath.queue.has_results())
    }

    /// Returns `Ready` when there are results, else `otherwise`.
    fn woken(&mut self, otherwise: Woken) -> Woken {
        if self.has_results() { Woken::Ready } else { otherwise }
    }

    pub(super) fn cancel(&mut self, key: u64) {
        if let Some(beneath) = &mut self.beneath
            && beneath.queue.cancel(key)
        {
            return;
        }
        if self.cancels >= self.ring.params().sq_entries() {
            return;
        }
        let entry = opcode::AsyncCancel::new(key).build().user_data(CANCEL_KEY);
        // SAFETY: a cancellation points to no memory.
        if unsafe { self.push_entry(&entry) } {
            self.cancels = self.cancels.saturating_add(1);
        }
    }
}

fn errno(error: &io::Error) -> u32 {
    error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs()
}
