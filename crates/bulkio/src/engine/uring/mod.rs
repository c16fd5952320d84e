//! io_uring as a back end: pushes without a system call, submits and waits in one.
//!
//! The ring is as deep as the table above it, so neither queue can overflow: at most `depth` operations and as many
//! cancellations are with the kernel, and the completion queue has room for both. Setting up and registering are in
//! [`setup`](super::setup). Beneath it lie native AIO for disks that make a ring wait, and threads for commands of a device that
//! it cannot carry; `waits` is the one place to wait.
#![expect(unsafe_code, reason = "pushes raw operations to the ring, promised by Backend::push")]

mod waits;

use core::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

use super::backend::{Act, FlushKind, NUDGE_BYTES, Operation, Reaped, Woken};
use super::beneath::Beneath;
use super::commands::{Action, Command, CommandSet};
use super::entry::Submission;
use super::files::Carrier;
use super::fixed::{Fixed, SharedRegistration};
use super::register::{self, Keepers};
use super::threads::Threads;
use super::wake::Bell;

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
pub(super) struct Uring<S: Submission = squeue::Entry, C: cqueue::EntryMarker = cqueue::Entry> {
    ring: IoUring<S, C>,
    fixed: Fixed,
    /// Whether vectored operations take registered memory.
    vectored_fixed: bool,
    /// Whether commands take registered memory.
    commands_fixed: bool,
    keepers: Keepers,
    bell: Option<Arc<Bell>>,
    /// Whether wakes may come.
    bell_asked: bool,
    /// Whether a poll of the bell is with the ring.
    bell_polled: bool,
    /// There once a file wants it.
    beneath: Option<Box<Beneath>>,
    /// For commands that the ring does not carry; there once a file has such. Its workers ring `bell`.
    calls: Option<Box<Threads>>,
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

impl<S: Submission, C: cqueue::EntryMarker> fmt::Debug for Uring<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring")
            .field("fixed", &self.fixed)
            .field("pushed", &self.pushed)
            .finish_non_exhaustive()
    }
}

impl<S: Submission, C: cqueue::EntryMarker> Uring<S, C> {
    pub(super) fn new(ring: IoUring<S, C>, depth: u32, fixed: Fixed, keepers: Keepers) -> Self {
        let params = ring.params();
        let (polled, kernel_submits) = (params.is_setup_iopoll(), params.is_setup_sqpoll());
        let knows = |codes: &[u8]| {
            let mut probe = Probe::new();
            !fixed.is_empty()
                && ring.submitter().register_probe(&mut probe).is_ok()
                && codes.iter().all(|code| probe.is_supported(*code))
        };
        let vectored_fixed = knows(&[opcode::ReadvFixed::CODE, opcode::WritevFixed::CODE]);
        // `IORING_URING_CMD_FIXED` is of Linux 6.1, as is this operation.
        let commands_fixed = S::COMMANDS && knows(&[opcode::SendMsgZc::CODE]);
        Self {
            ring,
            fixed,
            vectored_fixed,
            commands_fixed,
            keepers,
            bell: None,
            bell_asked: false,
            bell_polled: false,
            beneath: None,
            calls: None,
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

    pub(super) fn command_fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        if self.commands_fixed { self.fixed.index_of(addr, len) } else { None }
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
        self.bell_asked = true;
        self.own_bell()
    }

    /// Returns the bell, which is made once.
    fn own_bell(&mut self) -> rustix::io::Result<Arc<Bell>> {
        let bell = match self.bell.take() {
            Some(bell) => bell,
            None => Arc::new(Bell::new()?),
        };
        Ok(Arc::clone(self.bell.insert(bell)))
    }

    /// Returns the bell where somebody may ring it.
    fn rung_bell(&self) -> Option<Arc<Bell>> {
        let rung = self.bell_asked || self.calls.as_ref().is_some_and(|calls| !calls.is_idle());
        self.bell.clone().filter(|_| rung)
    }

    /// Says who carries the commands of a set, and makes threads ready where the ring does not.
    pub(super) fn carry(&mut self, set: &dyn CommandSet) -> Result<Carrier, u32> {
        let asked = Command { action: Action::Flush(FlushKind::All), pieces: &[], bytes: 0 };
        if S::COMMANDS && set.ring(&asked).is_some() {
            return Ok(Carrier::Commands);
        }
        let laid = self.lay_threads_beneath();
        laid.map(|_| Carrier::Calls).map_err(|errno| errno.raw_os_error().unsigned_abs())
    }

    /// Makes threads ready for commands that the ring does not carry, where they are not yet.
    fn lay_threads_beneath(&mut self) -> rustix::io::Result<&mut Threads> {
        let calls = match self.calls.take() {
            Some(calls) => calls,
            None => Box::new(Threads::with_bell(self.depth, self.own_bell()?)?),
        };
        Ok(self.calls.insert(calls))
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
        // SAFETY: the caller's promise.
        let Some(entry) = (unsafe { S::of(&operation, self.commands_fixed) }) else {
            match self.lay_threads_beneath() {
                // SAFETY: the caller's promise.
                Ok(calls) => unsafe { calls.push(operation) },
                Err(errno) => {
                    let result = errno.raw_os_error().wrapping_neg();
                    self.early.push(Reaped::of(operation.key, result));
                }
            }
            return;
        };
        // SAFETY: the caller's promise.
        if unsafe { self.push_entry(&entry) } {
            self.pushed_bytes = self.pushed_bytes.saturating_add(operation.bytes);
        } else {
            // Not reached by (2); if it were, the operation fails and nothing hangs.
            self.early.push(Reaped::of(operation.key, -libc::EBUSY));
        }
    }

    /// Pushes an entry, making room first where there is none.
    ///
    /// # Safety
    /// What the entry points to stays valid until its result has been reaped.
    unsafe fn push_entry(&mut self, entry: &S) -> bool {
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
        if let Some(calls) = &mut self.calls {
            calls.nudge();
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
        if let Some(calls) = &mut self.calls {
            calls.start();
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

    /// Says whether the kernel has nothing left of what was started.
    pub(super) fn is_through(&self) -> bool {
        let watched = u32::from(self.bell_polled).saturating_add(self.cancels);
        self.held.saturating_sub(self.pushed) <= watched
            && self.calls.as_ref().is_none_or(|calls| calls.is_idle())
            && self.beneath.as_ref().is_none_or(|beneath| !beneath.queue.is_busy())
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        into.append(&mut self.early);
        if let Some(beneath) = &mut self.beneath
            && beneath.queue.reap(into)
        {
            beneath.quiet();
        }
        if let Some(calls) = &mut self.calls {
            calls.reap(into);
        }
        let mut rang = false;
        for entry in self.ring.completion() {
            let entry: cqueue::Entry = entry.into();
            self.held = self.held.saturating_sub(1);
            match entry.user_data() {
                CANCEL_KEY => self.cancels = self.cancels.saturating_sub(1),
                BELL_KEY => rang = true,
                key => into.push(Reaped::of(key, entry.result())),
            }
        }
        if rang {
            self.bell_polled = false;
            if let Some(bell) = &self.bell {
                bell.quiet();
            }
        }
    }

    /// Says whether threads have results: those that come after the bell dozes ring it.
    fn has_called(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.has_results())
    }

    fn has_results(&mut self) -> bool {
        !self.ring.completion().is_empty()
            || self.has_called()
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
        if let Some(calls) = &mut self.calls
            && calls.cancel(key)
        {
            return;
        }
        if self.cancels >= self.ring.params().sq_entries() {
            return;
        }
        let entry = opcode::AsyncCancel::new(key).build().user_data(CANCEL_KEY);
        // SAFETY: a cancellation points to no memory.
        if unsafe { self.push_entry(&entry.into()) } {
            self.cancels = self.cancels.saturating_add(1);
        }
    }

    /// Leaks what the kernel may still use. A worker that is held up is not waited for.
    pub(super) fn leak(mut self: Box<Self>) {
        drop(self.calls.take());
        core::mem::forget(self);
    }
}

fn errno(error: &io::Error) -> u32 {
    error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs()
}
