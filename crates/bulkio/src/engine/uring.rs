//! io_uring as a back end: pushes without a system call, submits and waits in one.
//!
//! The ring is as deep as the table above it, so neither queue can overflow: at most `depth` operations and as many
//! cancellations are with the kernel, and the completion queue has room for both. Setting up and registering are in
//! [`setup`](super::setup).
#![expect(unsafe_code, reason = "pushes raw operations to the ring, promised by Backend::push")]

use core::any::Any;
use core::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{PollFd, PollFlags};
use scatterlist::Direction;

use super::backend::{Act, FlushKind, Memory, Operation, Reaped, Woken};

/// The key of cancellations: no slot has this number.
const CANCEL_KEY: u64 = u64::MAX;

/// Bytes that are pushed before they are worth a system call of their own.
const NUDGE_BYTES: u64 = 256 << 10;

/// The registered part of the fixed region, in buffers of `buffer_len` bytes, the last perhaps shorter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fixed {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) buffer_len: u64,
}

/// The io_uring back end.
///
/// # Invariants
/// 1. The registered memory stays mapped while the ring lives: `keeper` is dropped after `ring`.
/// 2. Operations not reaped are at most as many as the submission queue has entries, and so are cancellations.
pub(super) struct Uring {
    ring: IoUring,
    fixed: Fixed,
    _keeper: Option<Arc<dyn Any + Send + Sync>>,
    /// Results of operations that the ring did not take.
    early: Vec<Reaped>,
    cancels: u32,
    pushed: u32,
    pushed_bytes: u64,
    nudge_at: u32,
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
    pub(super) fn new(
        ring: IoUring,
        depth: u32,
        fixed: Fixed,
        keeper: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        let nudge_at = depth.div_ceil(4);
        let early = Vec::new();
        Self { ring, fixed, _keeper: keeper, early, cancels: 0, pushed: 0, pushed_bytes: 0, nudge_at }
    }

    pub(super) fn fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        let offset = addr.checked_sub(self.fixed.start)?;
        let end = offset.checked_add(len).filter(|end| *end <= self.fixed.len)?;
        let index = offset.checked_div(self.fixed.buffer_len)?;
        let last = end.checked_sub(1)?.checked_div(self.fixed.buffer_len)?;
        if last == index { u16::try_from(index).ok() } else { None }
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
    pub(super) unsafe fn push(&mut self, operation: &Operation) {
        let entry = entry(operation);
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
        for _ in 0..2 {
            // SAFETY: the caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.pushed = self.pushed.saturating_add(1);
                return true;
            }
            if self.start().is_err() {
                return false;
            }
        }
        false
    }

    pub(super) fn nudge(&mut self) {
        if self.pushed >= self.nudge_at || self.pushed_bytes >= NUDGE_BYTES {
            // An error comes back from the wait that follows.
            let _ = self.start();
        }
    }

    pub(super) fn start(&mut self) -> Result<(), u32> {
        if self.pushed == 0 && !self.has_deferred() {
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
        for entry in self.ring.completion() {
            if entry.user_data() == CANCEL_KEY {
                self.cancels = self.cancels.saturating_sub(1);
            } else {
                into.push(Reaped { key: entry.user_data(), result: entry.result() });
            }
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        if !self.early.is_empty() {
            return Ok(Woken::Ready);
        }
        let entered = match timeout {
            None => self.ring.submit_and_wait(1).map(drop),
            Some(Duration::ZERO) => return self.start().map(|()| self.woken(Woken::TimedOut)),
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

    /// Returns `Ready` when there are results, else `otherwise`.
    fn woken(&mut self, otherwise: Woken) -> Woken {
        if self.ring.completion().is_empty() { otherwise } else { Woken::Ready }
    }

    pub(super) fn cancel(&mut self, key: u64) {
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

/// Encodes an operation.
fn entry(operation: &Operation) -> squeue::Entry {
    let slot = operation.file_slot.and_then(|slot| i32::try_from(slot).ok());
    let fd = Fd(slot.unwrap_or(operation.fd));
    // "The file's own position" is written as -1.
    let entry = match operation.act {
        Act::Flush(kind) => {
            let flags = match kind {
                FlushKind::Data => FsyncFlags::DATASYNC,
                FlushKind::All => FsyncFlags::empty(),
            };
            opcode::Fsync::new(fd).flags(flags).build()
        }
        Act::Poll(direction) => {
            let events = match direction {
                Direction::FromDevice => libc::POLLIN,
                Direction::ToDevice => libc::POLLOUT,
            };
            opcode::PollAdd::new(fd, u32::from(events.unsigned_abs())).build()
        }
        Act::Transfer { direction, memory, offset } => {
            let offset = offset.unwrap_or(u64::MAX);
            match (direction, memory) {
                (Direction::FromDevice, Memory::One { addr, len, fixed: Some(index) }) => {
                    opcode::ReadFixed::new(fd, addr, len, index).offset(offset).build()
                }
                (Direction::ToDevice, Memory::One { addr, len, fixed: Some(index) }) => {
                    opcode::WriteFixed::new(fd, addr, len, index).offset(offset).build()
                }
                (Direction::FromDevice, Memory::One { addr, len, fixed: None }) => {
                    opcode::Read::new(fd, addr, len).offset(offset).build()
                }
                (Direction::ToDevice, Memory::One { addr, len, fixed: None }) => {
                    opcode::Write::new(fd, addr, len).offset(offset).build()
                }
                (Direction::FromDevice, Memory::Many { vectors, count }) => {
                    opcode::Readv::new(fd, vectors, count).offset(offset).build()
                }
                (Direction::ToDevice, Memory::Many { vectors, count }) => {
                    opcode::Writev::new(fd, vectors, count).offset(offset).build()
                }
            }
        }
    };
    let flags = if slot.is_some() { Flags::FIXED_FILE } else { Flags::empty() };
    entry.flags(flags).user_data(operation.key)
}
