//! The fallback: plain `pread`, `pwritev` and friends, one operation after the other.
//!
//! Pushing only queues; operations run inside [`Blocking::wait`], so that a signal reaches the caller and a time limit
//! holds for files that can be polled. Files that are always ready go first, pipes and terminals when they are ready.
#![expect(unsafe_code, reason = "the system calls take raw addresses, promised by Backend::push")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use scatterlist::Direction;

use super::backend::{Act, FlushKind, Memory, Operation, Reaped, Woken};

/// The blocking back end.
///
/// # Invariants
/// 1. Every operation in `todo` was pushed under the promise of [`Blocking::push`] and has no result yet.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    todo: VecDeque<Operation>,
    results: VecDeque<Reaped>,
}

impl Blocking {
    pub(super) const fn new() -> Self {
        Self { todo: VecDeque::new(), results: VecDeque::new() }
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    pub(super) unsafe fn push(&mut self, operation: Operation) {
        self.todo.push_back(operation);
    }

    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        into.extend(self.results.drain(..));
    }

    pub(super) fn cancel(&mut self, key: u64) {
        if let Some(place) = self.todo.iter().position(|operation| operation.key == key) {
            self.todo.remove(place);
            self.results.push_back(Reaped { key, result: -libc::ECANCELED });
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        if !self.results.is_empty() || self.todo.is_empty() {
            return Ok(Woken::Ready);
        }
        let ready = self
            .todo
            .iter()
            .position(|operation| operation.always_ready || matches!(operation.act, Act::Flush(_)));
        let alone = self.todo.len() == 1 && timeout.is_none() && !matches!(self.todo[0].act, Act::Poll(_));
        let place = match ready {
            Some(place) => place,
            None if alone => 0,
            None => match self.poll(timeout) {
                Ok(Some(place)) => place,
                Ok(None) => return Ok(Woken::TimedOut),
                Err(rustix::io::Errno::INTR) => return Ok(Woken::Interrupted),
                Err(errno) => return Err(errno.raw_os_error().unsigned_abs()),
            },
        };
        let Some(operation) = self.todo.get(place) else { return Ok(Woken::Ready) };
        let result = self.execute(operation);
        if result == -libc::EINTR {
            return Ok(Woken::Interrupted);
        }
        let key = operation.key;
        self.todo.remove(place);
        self.results.push_back(Reaped { key, result });
        Ok(Woken::Ready)
    }

    /// Waits until the file of an operation is ready, and returns which.
    fn poll(&self, timeout: Option<Duration>) -> rustix::io::Result<Option<usize>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut files: Vec<PollFd<'_>> = Vec::with_capacity(self.todo.len());
        for operation in &self.todo {
            let direction = match operation.act {
                Act::Transfer { direction, .. } | Act::Poll(direction) => direction,
                Act::Flush(_) => Direction::ToDevice,
            };
            let flags = match direction {
                Direction::FromDevice => PollFlags::IN,
                Direction::ToDevice => PollFlags::OUT,
            };
            // SAFETY: (1): the promise keeps the file open while the operation is queued.
            let fd = unsafe { BorrowedFd::borrow_raw(operation.fd) };
            files.push(PollFd::from_borrowed_fd(fd, flags));
        }
        rustix::event::poll(&mut files, timeout.as_ref())?;
        Ok(files.iter().position(|file| !file.revents().is_empty()))
    }

    /// Runs a queued operation and returns its bytes or its negative error number.
    fn execute(&self, operation: &Operation) -> i32 {
        let fd = operation.fd;
        let moved = match operation.act {
            Act::Poll(_) => return 0,
            Act::Flush(kind) => flush(fd, kind),
            Act::Transfer { direction, memory: Memory::One { addr, len, .. }, offset } => {
                let len = usize::try_from(len).unwrap_or(0);
                let addr = addr.cast::<libc::c_void>();
                match (direction, offset.map(libc::off_t::try_from)) {
                    (_, Some(Err(_))) => return -libc::EINVAL,
                    // SAFETY: (1): the promise holds for these bytes and this file.
                    (Direction::FromDevice, Some(Ok(at))) => unsafe { libc::pread(fd, addr, len, at) },
                    // SAFETY: (1), as before.
                    (Direction::FromDevice, None) => unsafe { libc::read(fd, addr, len) },
                    // SAFETY: (1), as before.
                    (Direction::ToDevice, Some(Ok(at))) => unsafe { libc::pwrite(fd, addr, len, at) },
                    // SAFETY: (1), as before.
                    (Direction::ToDevice, None) => unsafe { libc::write(fd, addr, len) },
                }
            }
            Act::Transfer { direction, memory: Memory::Many { vectors, count }, offset } => {
                let count = libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX);
                match (direction, offset.map(libc::off_t::try_from)) {
                    (_, Some(Err(_))) => return -libc::EINVAL,
                    // SAFETY: (1): the promise holds for the vectors, what they name, and this file.
                    (Direction::FromDevice, Some(Ok(at))) => unsafe { libc::preadv(fd, vectors, count, at) },
                    // SAFETY: (1), as before.
                    (Direction::FromDevice, None) => unsafe { libc::readv(fd, vectors, count) },
                    // SAFETY: (1), as before.
                    (Direction::ToDevice, Some(Ok(at))) => unsafe { libc::pwritev(fd, vectors, count, at) },
                    // SAFETY: (1), as before.
                    (Direction::ToDevice, None) => unsafe { libc::writev(fd, vectors, count) },
                }
            }
        };
        // The kernel moves less than 2 GiB in one call.
        if moved >= 0 { i32::try_from(moved).unwrap_or(i32::MAX) } else { -errno() }
    }
}

fn flush(fd: libc::c_int, kind: FlushKind) -> isize {
    let result = match kind {
        // SAFETY: takes no memory.
        FlushKind::Data => unsafe { libc::fdatasync(fd) },
        // SAFETY: takes no memory.
        FlushKind::All => unsafe { libc::fsync(fd) },
    };
    if result == 0 { 0 } else { -1 }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}
