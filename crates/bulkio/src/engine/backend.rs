//! The seam below the in-flight table: one [`Operation`] in, one [`Reaped`] result out.
//!
//! [`Backend`] is what executes operations: io_uring, native AIO or threads. A back end knows nothing of requests; it
//! gets raw addresses and a file descriptor under the promise of [`Backend::push`] and answers with bytes or a negative
//! error number, or with how a command ended, exactly once per operation.
#![expect(unsafe_code, reason = "hands on the promise of Backend::push")]

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, squeue};
use scatterlist::Direction;

use super::aio::Aio;
use super::commands::{CommandSet, Ended};
use super::files::Carrier;
use super::fixed::SharedRegistration;
use super::issue::Issue;
use super::threads::Threads;
use super::uring::Uring;
use super::wake::Bell;

/// Bytes that are pushed before they are worth a system call of their own.
pub(super) const NUDGE_BYTES: u64 = 256 << 10;

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
    /// One run of bytes. `fixed` says which registered buffer it lies in.
    One { addr: *mut u8, len: u32, fixed: Option<u16> },
    /// Several.
    Many { vectors: *const libc::iovec, count: u32, fixed: Option<u16> },
}

impl Memory {
    /// Returns the registered buffer that it goes through.
    pub(super) const fn fixed(&self) -> Option<u16> {
        match self {
            Self::One { fixed, .. } | Self::Many { fixed, .. } => *fixed,
        }
    }
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
    /// Makes a command of the file's device.
    Command(Issue),
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
    /// Whether the file is open with `O_DIRECT`, where the back end goes by that.
    pub(super) direct: bool,
    /// Whether the file is a pipe.
    pub(super) pipe: bool,
    /// Who is to carry it where it is a transfer.
    pub(super) carrier: Carrier,
    /// Bytes to move, for deciding when a batch is worth a system call.
    pub(super) bytes: u64,
    pub(super) act: Act,
}

/// The result of one operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reaped {
    pub(super) key: u64,
    pub(super) answer: Answer,
}

/// What came of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// What the kernel says: bytes moved, or a negative error number; for a command on a ring what its set understands.
    Kernel(i32),
    /// How a command ended that a call was made for.
    Ended(Ended),
}

impl Reaped {
    pub(super) const fn of(key: u64, result: i32) -> Self {
        Self { key, answer: Answer::Kernel(result) }
    }
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
    /// One with entries that are large enough for commands.
    CommandUring(Box<Uring<squeue::Entry128, cqueue::Entry32>>),
    Aio(Box<Aio>),
    Threads(Threads),
    /// Nothing: what is left of an engine whose back end was leaked.
    Gone,
}

impl Backend {
    /// Returns the registered buffer that holds all of these bytes.
    pub(super) fn fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        match self {
            Self::Uring(uring) => uring.fixed_index(addr, len),
            Self::CommandUring(uring) => uring.fixed_index(addr, len),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => None,
        }
    }

    /// Returns the registered buffer that holds all of these vectors, where the kernel takes such operations.
    pub(super) fn fixed_index_of_all(&self, vectors: &[libc::iovec]) -> Option<u16> {
        match self {
            Self::Uring(uring) => uring.fixed_index_of_all(vectors),
            Self::CommandUring(uring) => uring.fixed_index_of_all(vectors),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => None,
        }
    }

    /// Says whether completions are asked for, which not every file allows.
    pub(super) fn is_polled(&self) -> bool {
        match self {
            Self::Uring(uring) => uring.is_polled(),
            Self::CommandUring(uring) => uring.is_polled(),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => false,
        }
    }

    /// Returns what is registered, for another ring to share.
    pub(super) fn shared_registration(&self) -> Option<SharedRegistration> {
        match self {
            Self::Uring(uring) => uring.shared_registration(),
            Self::CommandUring(uring) => uring.shared_registration(),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => None,
        }
    }

    /// Returns the bell that ends a wait; it is watched from now on.
    pub(super) fn bell(&mut self) -> rustix::io::Result<Arc<Bell>> {
        match self {
            Self::Uring(uring) => uring.bell(),
            Self::CommandUring(uring) => uring.bell(),
            Self::Aio(aio) => Ok(aio.bell()),
            Self::Threads(threads) => Ok(threads.bell()),
            Self::Gone => Err(rustix::io::Errno::BADF),
        }
    }

    /// Says whether it goes by [`File::direct`](super::files::File::direct) for every file.
    pub(super) const fn goes_by_direct(&self) -> bool {
        matches!(self, Self::Aio(_))
    }

    /// Says whether what waits in the call goes to threads of the kernel: a ring does that, unless it polls.
    pub(super) fn hands_to_threads(&self) -> bool {
        matches!(self, Self::Uring(_) | Self::CommandUring(_)) && !self.is_polled()
    }

    /// Makes native AIO ready beneath a ring, or says why it is not to be had.
    pub(super) fn lay_aio_beneath(&mut self) -> Result<(), String> {
        match self {
            Self::Uring(uring) => uring.lay_aio_beneath(),
            Self::CommandUring(uring) => uring.lay_aio_beneath(),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => Err("there is no ring".to_owned()),
        }
    }

    /// Says who carries the commands of a set, and makes ready what that takes; an error number where it cannot be had.
    pub(super) fn carry(&mut self, set: &dyn CommandSet) -> Result<Carrier, u32> {
        match self {
            Self::Uring(uring) => uring.carry(set),
            Self::CommandUring(uring) => uring.carry(set),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => Ok(Carrier::Calls),
        }
    }

    /// Returns the registered buffer that holds all of the one piece of a command on a ring.
    pub(super) fn command_fixed_index(&self, addr: u64, len: u64) -> Option<u16> {
        match self {
            Self::CommandUring(uring) => uring.command_fixed_index(addr, len),
            Self::Uring(_) | Self::Aio(_) | Self::Threads(_) | Self::Gone => None,
        }
    }

    /// Registers a file under `slot`; says whether that worked.
    pub(super) fn register_file(&mut self, slot: u32, fd: RawFd) -> bool {
        match self {
            Self::Uring(uring) => uring.register_file(slot, fd),
            Self::CommandUring(uring) => uring.register_file(slot, fd),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => false,
        }
    }

    /// Gives `slot` of the registered files up. No operation on it is in flight.
    pub(super) fn unregister_file(&mut self, slot: u32) {
        match self {
            Self::Uring(uring) => uring.unregister_file(slot),
            Self::CommandUring(uring) => uring.unregister_file(slot),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => {}
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
            Self::Uring(uring) => unsafe { uring.push(operation) },
            // SAFETY: the promise is the same.
            Self::CommandUring(uring) => unsafe { uring.push(operation) },
            // SAFETY: the promise is the same.
            Self::Aio(aio) => unsafe { aio.push(operation) },
            // SAFETY: the promise is the same.
            Self::Threads(threads) => unsafe { threads.push(operation) },
            Self::Gone => {}
        }
    }

    /// Starts what was pushed, when there is enough of it to be worth a system call.
    pub(super) fn nudge(&mut self) {
        match self {
            Self::Uring(uring) => uring.nudge(),
            Self::CommandUring(uring) => uring.nudge(),
            Self::Aio(aio) => aio.nudge(),
            Self::Threads(threads) => threads.nudge(),
            Self::Gone => {}
        }
    }

    /// Starts everything that was pushed.
    pub(super) fn start(&mut self) -> Result<(), u32> {
        match self {
            Self::Uring(uring) => return uring.start(),
            Self::CommandUring(uring) => return uring.start(),
            Self::Aio(aio) => aio.start(),
            Self::Threads(threads) => threads.start(),
            Self::Gone => {}
        }
        Ok(())
    }

    /// Moves the results that are there behind those in `into`. No system call.
    pub(super) fn reap(&mut self, into: &mut Vec<Reaped>) {
        match self {
            Self::Uring(uring) => uring.reap(into),
            Self::CommandUring(uring) => uring.reap(into),
            Self::Aio(aio) => aio.reap(into),
            Self::Threads(threads) => threads.reap(into),
            Self::Gone => {}
        }
    }

    /// Says whether the kernel has nothing left of what was started; not known of all back ends.
    pub(super) fn is_through(&self) -> bool {
        match self {
            Self::Uring(uring) => uring.is_through(),
            Self::CommandUring(uring) => uring.is_through(),
            Self::Aio(_) | Self::Threads(_) | Self::Gone => false,
        }
    }

    /// Starts everything that was pushed and waits for a result, at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        match self {
            Self::Uring(uring) => uring.wait(timeout),
            Self::CommandUring(uring) => uring.wait(timeout),
            Self::Aio(aio) => aio.wait(timeout),
            Self::Threads(threads) => threads.wait(timeout),
            Self::Gone => Ok(Woken::TimedOut),
        }
    }

    /// Asks that an operation end early. Its result still comes.
    pub(super) fn cancel(&mut self, key: u64) {
        match self {
            Self::Uring(uring) => uring.cancel(key),
            Self::CommandUring(uring) => uring.cancel(key),
            Self::Aio(aio) => aio.cancel(key),
            Self::Threads(threads) => {
                threads.cancel(key);
            }
            Self::Gone => {}
        }
    }

    /// Leaks what the kernel may still use, and leaves nothing.
    pub(super) fn leak(&mut self) {
        match core::mem::replace(self, Self::Gone) {
            Self::Uring(uring) => uring.leak(),
            Self::CommandUring(uring) => uring.leak(),
            Self::Aio(aio) => aio.leak(),
            // Workers own what they work on; a worker that is held up is not waited for.
            Self::Threads(threads) => drop(threads),
            Self::Gone => {}
        }
    }
}
