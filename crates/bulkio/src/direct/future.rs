//! [`AsyncFile`] and its futures: owned memory in, result and memory out.
//!
//! A future that is polled queues its job with the driver; its memory lies in an [`Op`] that future and driver share. Dropping
//! the future asks the kernel to stop, and leaves the memory with the driver until that is done with it.
#![expect(unsafe_code, reason = "promises the memory of leases to jobs; see the invariants of Op")]

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scatterlist::{CpuAddr, Direction, Lease, ScatterList};

use super::file::Inner;
use super::job::Job;
use super::lend::Lend;
use super::memory::Memory;
use super::open::File;
use super::queue::{Link, Queued, Ticket};
use super::{Moved, TransferError, TransferErrorKind};
use crate::engine::FlushKind;

/// What future and driver share of a command; the driver has it in a `Promise`.
///
/// # Safety
/// From when [`begin`](Self::begin) has given the job until [`finish`](Self::finish) is called, or for good, it keeps the memory
/// that the job names valid, and gives nobody access to it.
pub(super) unsafe trait Submitted: Send + Sync {
    /// Gives the job to the driver, once.
    fn begin(&self) -> Option<Job>;

    /// Takes the result, `None` where the driver ended before the job did. Nothing reaches the memory any more.
    fn finish(&self, result: Option<Result<Moved, TransferError>>);
}

/// Memory that future and driver share.
///
/// # Invariants
/// 1. While the state is `Flying`, the memory stays in it, whoever lets go of the other share.
/// 2. Only [`Submitted::finish`], called for a command that is over, ends that state, and [`Op::reclaim`], for a job that nobody took.
struct Op<M> {
    file: Arc<Inner>,
    act: Act,
    /// Until the driver takes it.
    job: Mutex<Option<Job>>,
    state: Mutex<State<M>>,
}

enum State<M> {
    Flying { memory: M, waker: Option<Waker> },
    Over { memory: M, result: Result<Moved, TransferError> },
    Taken,
}

/// What became of a command.
type Outcome<M> = (Result<Moved, TransferError>, M);

impl<M> Op<M> {
    fn state(&self) -> MutexGuard<'_, State<M>> {
        // Each change is one assignment, and no code of a waker runs meanwhile.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_job(&self) -> Option<Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes the result if it is there; else `waker` is woken when it is.
    fn poll(&self, waker: &Waker) -> Poll<Outcome<M>> {
        let mut spare = None;
        loop {
            let mut state = self.state();
            match &mut *state {
                State::Flying { waker: Some(known), .. } if known.will_wake(waker) => return Poll::Pending,
                State::Flying { waker: known, .. } => {
                    if let Some(clone) = spare.take() {
                        let old = known.replace(clone);
                        drop(state);
                        drop(old);
                        return Poll::Pending;
                    }
                }
                State::Over { .. } | State::Taken => {
                    let State::Over { memory, result } = mem::replace(&mut *state, State::Taken) else {
                        unreachable!("the result is taken once, and then the stage is another")
                    };
                    return Poll::Ready((result, memory));
                }
            }
            drop(state);
            spare = Some(waker.clone());
        }
    }

    /// Takes the memory back from a command that was not queued.
    fn reclaim(&self) -> M {
        // (2): while the job is in its place, nobody else has the memory.
        let job = self.take_job();
        let state = mem::replace(&mut *self.state(), State::Taken);
        let (Some(_), State::Flying { memory, .. }) = (job, state) else {
            unreachable!("a command that was not queued was not begun")
        };
        memory
    }
}

// SAFETY: by (1) and (2): the memory is a lease's (or none), which keeps it valid and shows it to nobody.
unsafe impl<M: Owned> Submitted for Op<M> {
    fn begin(&self) -> Option<Job> {
        self.take_job()
    }

    fn finish(&self, result: Option<Result<Moved, TransferError>>) {
        let result = result.unwrap_or_else(|| {
            let began = self.take_job().is_none();
            Err(self
                .act
                .error(&self.file, if began { TransferErrorKind::Broken } else { TransferErrorKind::Closed }))
        });
        let mut state = self.state();
        let (next, waker) = match mem::replace(&mut *state, State::Taken) {
            State::Flying { memory, waker } => (State::Over { memory, result }, waker),
            other => (other, None),
        };
        *state = next;
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// What a future owns while it runs.
///
/// # Safety
/// The list names memory that stays valid while the value lives, wherever it is moved, and that nobody has access to.
unsafe trait Owned: Send + 'static {
    fn list(&self) -> ScatterList<CpuAddr>;
}

// SAFETY: what a lease promises.
unsafe impl<O: Send + 'static> Owned for Lease<CpuAddr, O> {
    fn list(&self) -> ScatterList<CpuAddr> {
        Self::list(self).clone()
    }
}

// SAFETY: no memory.
unsafe impl Owned for () {
    fn list(&self) -> ScatterList<CpuAddr> {
        ScatterList::new()
    }
}

/// What is asked of the driver.
#[derive(Clone, Copy, Debug)]
enum Act {
    Transfer { direction: Direction, offset: u64, len: u64 },
    Flush(FlushKind),
}

impl Act {
    fn error(&self, file: &Inner, kind: TransferErrorKind) -> TransferError {
        let (direction, offset, len) = match *self {
            Self::Transfer { direction, offset, len } => (direction, offset, len),
            Self::Flush(_) => (Direction::ToDevice, 0, 0),
        };
        file.transfer_error(direction, offset, len, Moved::default(), kind)
    }
}

/// A command of this front, from before it is queued until its result is taken.
struct Submission<M: Owned> {
    link: Arc<Link>,
    file: Arc<Inner>,
    act: Act,
    stage: Stage<M>,
}

enum Stage<M> {
    New(M),
    /// There was no room in the queue.
    InLine {
        op: Arc<Op<M>>,
        ticket: Ticket,
    },
    Queued {
        op: Arc<Op<M>>,
        number: u64,
    },
    Ended,
}

impl<M: Owned> Submission<M> {
    fn job(&self, memory: &M) -> Result<Job, TransferErrorKind> {
        let file = Arc::clone(&self.file);
        match self.act {
            Act::Flush(kind) => Ok(Job::flush(file, kind)),
            Act::Transfer { direction, offset, .. } => {
                // SAFETY: the command's `Op` keeps the memory until the job is over, by its invariants.
                let memory = unsafe { Memory::new(memory.list()) };
                Job::new(file, direction, offset, memory)
            }
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Outcome<M>> {
        let waker = context.waker();
        // Code of the waker may panic: until it has run, the stage is what it was.
        let polled = match &mut self.stage {
            Stage::New(_) => return self.first(waker),
            Stage::InLine { op, .. } | Stage::Queued { op, .. } => op.poll(waker),
            Stage::Ended => panic!("a future that is over was polled"),
        };
        if polled.is_ready() {
            self.stage = Stage::Ended;
            return polled;
        }
        self.submit(waker)
    }

    /// Makes the job, and the memory that is shared.
    fn first(&mut self, waker: &Waker) -> Poll<Outcome<M>> {
        let waker_kept = waker.clone();
        let Stage::New(memory) = mem::replace(&mut self.stage, Stage::Ended) else {
            unreachable!("called for a future that was not polled before")
        };
        let job = match self.job(&memory) {
            Ok(job) if job.is_empty() => return Poll::Ready((Ok(Moved::default()), memory)),
            Ok(job) => job,
            Err(kind) => return Poll::Ready((Err(self.act.error(&self.file, kind)), memory)),
        };
        let op = Arc::new(Op {
            file: Arc::clone(&self.file),
            act: self.act,
            job: Mutex::new(Some(job)),
            state: Mutex::new(State::Flying { memory, waker: Some(waker_kept) }),
        });
        self.stage = Stage::InLine { op, ticket: Ticket::default() };
        self.submit(waker)
    }

    /// Queues what is not in the queue yet.
    fn submit(&mut self, waker: &Waker) -> Poll<Outcome<M>> {
        let Stage::InLine { op, ticket } = &mut self.stage else { return Poll::Pending };
        let share = || Arc::clone(op) as Arc<dyn Submitted>;
        let queued = self.link.submit(share, ticket, waker);
        if queued == Queued::Full {
            return Poll::Pending;
        }
        let Stage::InLine { op, .. } = mem::replace(&mut self.stage, Stage::Ended) else {
            unreachable!("it was in line above")
        };
        match queued {
            Queued::As(number) => {
                self.stage = Stage::Queued { op, number };
                Poll::Pending
            }
            Queued::Full | Queued::Closed => {
                let memory = op.reclaim();
                Poll::Ready((Err(self.act.error(&self.file, TransferErrorKind::Closed)), memory))
            }
        }
    }
}

impl<M: Owned> Drop for Submission<M> {
    fn drop(&mut self) {
        match mem::replace(&mut self.stage, Stage::Ended) {
            Stage::InLine { ticket, .. } => self.link.leave(ticket),
            Stage::Queued { op, number } => {
                let waker = match &mut *op.state() {
                    State::Flying { waker, .. } => waker.take(),
                    State::Over { .. } | State::Taken => return,
                };
                self.link.cancel(number);
                drop(waker);
            }
            Stage::New(_) | Stage::Ended => {}
        }
    }
}

/// A file whose transfers a [`Driver`](super::Driver) does. Its futures work in any executor.
#[derive(Clone)]
pub struct AsyncFile {
    file: Arc<File>,
    link: Arc<Link>,
}

impl AsyncFile {
    pub(super) fn new(file: File, link: Arc<Link>) -> Self {
        Self { file: Arc::new(file), link }
    }

    /// Reads at `offset` into owned memory; see [`File::read`]. The memory comes back with the result, whatever that is.
    ///
    /// Nothing happens before the first poll. Dropping the future ends the read where the kernel can; the memory is freed when the
    /// device is done with it.
    pub fn read<B: Lend>(&self, buf: B, offset: u64) -> Transfer<B> {
        self.transfer(Direction::FromDevice, buf, offset)
    }

    /// Writes owned memory at `offset`; see [`File::write`]. As [`read`](Self::read); after the future was dropped, nothing, a part or
    /// all may have been written.
    pub fn write<B: Lend>(&self, buf: B, offset: u64) -> Transfer<B> {
        self.transfer(Direction::ToDevice, buf, offset)
    }

    /// Makes durable what completed writes wrote, and the metadata that is needed to read it back (`fdatasync`).
    pub fn sync_data(&self) -> Flush {
        self.sync(FlushKind::Data)
    }

    /// Makes durable what completed writes wrote, and all metadata (`fsync`).
    pub fn sync_all(&self) -> Flush {
        self.sync(FlushKind::All)
    }

    /// Returns the file, for what takes no time: its limits, its length.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    fn transfer<B: Lend>(&self, direction: Direction, buf: B, offset: u64) -> Transfer<B> {
        Transfer(match buf.lend() {
            Ok(lease) => {
                let act = Act::Transfer { direction, offset, len: lease.list().len_bytes() };
                Inside::Some(self.submission(act, lease))
            }
            Err(buf) => Inside::Empty {
                buf: Some(buf),
                probe: self.submission(Act::Transfer { direction, offset, len: 0 }, ()),
            },
        })
    }

    fn sync(&self, kind: FlushKind) -> Flush {
        Flush(self.submission(Act::Flush(kind), ()))
    }

    fn submission<M: Owned>(&self, act: Act, memory: M) -> Submission<M> {
        let (link, file) = (Arc::clone(&self.link), Arc::clone(&self.file.inner));
        Submission { link, file, act, stage: Stage::New(memory) }
    }
}

/// A transfer of owned memory: the result, and the memory.
#[must_use = "nothing happens before a future is polled"]
pub struct Transfer<B: Lend>(Inside<B>);

enum Inside<B: Lend> {
    Some(Submission<Lease<CpuAddr, B::Owner>>),
    /// No bytes, which are checked all the same.
    Empty {
        buf: Option<B>,
        probe: Submission<()>,
    },
}

/// Nothing in it is pinned: memory in flight lies on the heap, shared with the driver.
impl<B: Lend> Unpin for Transfer<B> {}

impl<B: Lend> Future for Transfer<B> {
    type Output = (Result<Moved, TransferError>, B);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Inside::Some(submission) => {
                submission.poll(context).map(|(result, lease)| (result, B::take_back(lease)))
            }
            Inside::Empty { buf, probe } => probe.poll(context).map(|(result, ())| {
                (result, buf.take().unwrap_or_else(|| unreachable!("a future that is over panics before")))
            }),
        }
    }
}

/// Making a file durable.
#[must_use = "nothing happens before a future is polled"]
pub struct Flush(Submission<()>);

impl Future for Flush {
    type Output = Result<(), TransferError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context).map(|(result, ())| result.map(|_| ()))
    }
}

impl fmt::Debug for AsyncFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncFile").field(&self.file).finish()
    }
}

impl<B: Lend> fmt::Debug for Transfer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match &self.0 {
            Inside::Some(submission) => submission.act,
            Inside::Empty { probe, .. } => probe.act,
        };
        f.debug_tuple("Transfer").field(&act).finish()
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flush").field(&self.0.act).finish()
    }
}
