//! The seam below the in-flight table: one [`Operation`] in, one [`Reaped`] result out.
//!
//! [`Backend`] is what executes operations: io_uring or blocking calls today. A back end knows nothing of requests; it
//! gets raw addresses and a file descriptor under the promise of [`Backend::push`] and answers with bytes or a negative
//! error number, exactly once per operation.
#![expect(unsafe_code, reason = "hands on the promise of Backend::push")]

use std::os::fd::RawFd;
use std::time::Duration;

use scatterlist::Direction;

use super::blocking::Blocking;
use super::uring::Uring;

/// What a flush makes durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlushKind {
    /// The data, and the metadata that is needed to read it back (`fdatasync`).
    Data,
    /// The data and all metadata (`fsync`).
    All,
}

/// The memory of one operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Memory {
    /// One run of bytes, by its registered buffer where `fixed` says which.
    One { addr: *mut u8, len: u32, fixed: Option<u16> },
    /// Several.
    Many { vectors: *const libc::iovec, count: u32 },
}

/// What one operation does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Moves bytes; `offset` is `None` for the file's own position.
    Transfer { direction: Direction, memory: Memory, offset: Option<u64> },
    /// Makes what was written durable.
    Flush(FlushKind),
    /// Waits until the file is ready to be read or written.
    Poll(Direction),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    /// Comes back with the result.
    pub(super) key: u64,
    pub(super) fd: RawFd,
    /// Where the file stands among the registered ones.
    pub(super) file_slot: Option<u32>,
    /// Whether the file is always ready, as regular files and disks are.
    pub(super) always_ready: bool,
    /// Bytes to move, for deciding when a batch is worth a system call.
    pub(super) bytes: u64,
    pub(super) act: Act,
}

/// The result of one operation: bytes moved, or a negative error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reaped {
    pub(super) key: u64,
    pub(super) result: i32,
}

/// Why waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// There may be results.
    Ready,
    /// A signal came.
    Interrupted,
    /// The time is over.
    TimedOut,
}

/// What executes operations.
#[derive(Debug)]
pub(super) enum Backend {
    Uring(Box<Uring>),
    Blocking(Blocking),
}

impl Backend {
    /// Returns the registered buffer that holds all of these bytes.
    pub(super) fn fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        match self {
            Self::Uring(uring) => uring.fixed_index(addr, len),
            Self::Blocking(_) => None,
        }
    }

    /// Registers a file under `slot`; says whether that worked.
    pub(super) fn register_file(&mut self, slot: u32, fd: RawFd) -> bool {
        match self {
            Self::Uring(uring) => uring.register_file(slot, fd),
            Self::Blocking(_) => false,
        }
    }

    /// Gives `slot` of the registered files up. No operation on it is in flight.
    pub(super) fn unregister_file(&mut self, slot: u32) {
        if let Self::Uring(uring) = self {
            uring.unregister_file(slot);
        }
    }

    /// Takes an operation. It starts at once or with the next [`start`](Self::start) or [`wait`](Self::wait).
    ///
    /// # Safety
    /// Until the result with its key has been reaped, or the back end is gone with nothing ever started:
    /// the memory and the vectors of the operation stay valid and unaccessed, its file stays open, and its slot
    /// of the registered files stays as it is.
    pub(super) unsafe fn push(&mut self, operation: Operation) {
        match self {
            // SAFETY: the promise is the same.
            Self::Uring(uring) => unsafe { uring.push(&operation) },
            // SAFETY: the promise is the same.
            Self::Blocking(blocking) => unsafe { blocking.push(operation) },
        }
    }

    /// Starts what was pushed, when there is enough of it to be worth a system call.
    pub(super) fn nudge(&mut self) {
        if let Self::Uring(uring) = self {
            uring.nudge();
        }
    }

    /// Starts everything that was pushed.
    pub(super) fn start(&mut self) -> Result<(), u32> {
        match self {
            Self::Uring(uring) => uring.start(),
            Self::Blocking(_) => Ok(()),
        }
    }

    /// Moves the results that are there behind those in `into`. No system call.
    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        match self {
            Self::Uring(uring) => uring.reap(into),
            Self::Blocking(blocking) => blocking.reap(into),
        }
    }

    /// Starts everything that was pushed and waits for a result, at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        match self {
            Self::Uring(uring) => uring.wait(timeout),
            Self::Blocking(blocking) => blocking.wait(timeout),
        }
    }

    /// Asks that an operation end early. Its result still comes.
    pub(super) fn cancel(&mut self, key: u64) {
        match self {
            Self::Uring(uring) => uring.cancel(key),
            Self::Blocking(blocking) => blocking.cancel(key),
        }
    }

    /// Puts an idle back end in the place of this one, which is given out.
    pub(super) fn replace(&mut self) -> Self {
        core::mem::replace(self, Self::Blocking(Blocking::new()))
    }
}
