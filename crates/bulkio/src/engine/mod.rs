//! [`Engine`]: file-descriptor I/O at a chosen depth, knowing no device.
//!
//! A [`Request`] goes in, is planned within the limits of its target without a copy, and comes out as a
//! [`Completion`] with the exact bytes done. The in-flight table owns memory and file until the kernel is done with
//! them, cancelled or not. io_uring carries the operations where it works, blocking calls elsewhere; the
//! [`EngineReport`] says which and why. One engine belongs to one thread.
//!
//! Below: `table` (who owns what while it is in flight), `part` (short transfers and retries), `backend` (the seam),
//! `uring` with `setup`, and `blocking`.

mod backend;
mod blocking;
mod error;
mod files;
mod fill;
mod log;
mod options;
mod part;
mod setup;
mod table;
mod uring;

pub use backend::FlushKind;
pub use error::{EngineError, FileError, SubmitError, SubmitReason, WaitError};
pub use files::FileId;
pub use log::{LogEntry, LoggedKind};
pub use options::{
    DEPTH_MAX, EngineChoice, EngineKind, EngineOptions, EngineReport, FixedRegion, Registration, Stats,
};
pub use part::ShortTransfer;

use core::marker::PhantomData;
use core::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::{CpuAddr, Fault, Limits, Outcome, Request};

use backend::{Backend, Reaped, Woken};
use blocking::Blocking;
use files::Files;
use table::Table;

/// The number of a submission, never used twice by one engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(u64);

/// A request or a flush that is over.
#[derive(Debug)]
pub enum Completion<O, C> {
    /// A transfer is over; its request, and with it the memory, comes back.
    Transfer {
        /// The number it was submitted under.
        token: Token,
        /// The file.
        file: FileId,
        /// The request, for [`Request::complete`] or to take apart.
        request: Request<CpuAddr, O, C>,
        /// Bytes done without a gap from the start, and the fault at the lowest offset. A read that met the
        /// end of its file has fewer bytes done than asked, and no fault.
        outcome: Outcome,
    },
    /// A flush is over.
    Flush {
        /// The number it was submitted under.
        token: Token,
        /// The file.
        file: FileId,
        /// What was flushed.
        kind: FlushKind,
        /// How it failed, if it did.
        fault: Option<Fault>,
    },
}

impl<O, C> Completion<O, C> {
    /// Returns the number that the request or flush was submitted under.
    #[must_use]
    pub const fn token(&self) -> Token {
        match self {
            Self::Transfer { token, .. } | Self::Flush { token, .. } => *token,
        }
    }

    /// Returns the file.
    #[must_use]
    pub const fn file(&self) -> FileId {
        match self {
            Self::Transfer { file, .. } | Self::Flush { file, .. } => *file,
        }
    }

    /// Returns how it failed, if it did.
    #[must_use]
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Transfer { outcome, .. } => outcome.fault,
            Self::Flush { fault, .. } => *fault,
        }
    }
}

/// Moves the bytes of requests from and to files, many at a time, on the thread that made it.
///
/// Dropping an engine cancels what can be cancelled and waits for the rest, at most
/// [`EngineOptions::drain_max`]; past that it says so on standard error and leaks the memory that the kernel may still use.
///
/// Owners are `'static`: a forgotten engine must not outlive what it lent to the kernel.
///
/// ```
/// use std::sync::Arc;
///
/// use bulkio::engine::{Completion, Engine, EngineOptions};
/// use scatterlist::{Direction, Lease, Limits, Position, Request};
///
/// let mut engine = Engine::new(EngineOptions::default())?;
/// let file = engine.add_file(Arc::new(std::fs::File::open("/proc/self/exe")?.into()))?;
/// let lease = Lease::from_vec(vec![0_u8; 4]).map_err(|(_, error)| error)?;
/// let request = Request::new(lease, Direction::FromDevice, Position::At(0), ());
/// engine.submit(file, request, &Limits::default())?;
/// let Some(Completion::Transfer { request, outcome, .. }) = engine.wait()? else { panic!("a signal came") };
/// assert_eq!((outcome.done, outcome.fault), (4, None));
/// let owner = request.complete(outcome).into_owners().next().ok_or("no owner")?;
/// assert_eq!(owner.into_vec(), b"\x7fELF");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine<O, C> {
    table: Table<O, C>,
    backend: Backend,
    files: Files,
    reaped: Vec<Reaped>,
    report: EngineReport,
    drain_max: Duration,
    /// The ring takes operations from one thread only.
    one_thread: PhantomData<Rc<()>>,
}

impl<O: 'static, C> Engine<O, C> {
    /// Makes an engine.
    ///
    /// # Errors
    /// [`EngineError::Depth`] for a depth of 0 or past [`DEPTH_MAX`]; [`EngineError::Uring`] when io_uring was
    /// demanded and does not work.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { kind, depth, fixed, log, drain_max } = options;
        if depth == 0 || depth > DEPTH_MAX {
            return Err(EngineError::Depth { depth, max: DEPTH_MAX });
        }
        let ready = match kind {
            EngineChoice::Blocking => Err(None),
            EngineChoice::Uring | EngineChoice::Auto => setup::set_up(depth, fixed.as_ref()).map_err(Some),
        };
        let (backend, report) = match ready {
            Ok(setup::Ready { uring, flags, fixed, file_slots }) => {
                let kind = EngineKind::Uring;
                let report = EngineReport { kind, refused: None, flags, fixed, files_registered: file_slots };
                (Backend::Uring(Box::new(uring)), report)
            }
            Err(Some(reason)) if kind == EngineChoice::Uring => return Err(EngineError::Uring { reason }),
            Err(refused) => {
                let reason = "the blocking engine registers nothing".to_owned();
                let fixed = Registration::None { reason };
                let kind = EngineKind::Blocking;
                let report = EngineReport { kind, refused, flags: &[], fixed, files_registered: 0 };
                (Backend::Blocking(Blocking::new()), report)
            }
        };
        Ok(Self {
            table: Table::new(depth, log),
            files: Files::new(report.files_registered),
            backend,
            reaped: Vec::new(),
            report,
            drain_max,
            one_thread: PhantomData,
        })
    }

    /// Returns what the engine became.
    pub const fn report(&self) -> &EngineReport {
        &self.report
    }

    /// Returns the running counts.
    pub const fn stats(&self) -> Stats {
        self.table.journal.stats
    }

    /// Takes the log out; empty unless [`EngineOptions::log`] was set.
    pub fn take_log(&mut self) -> Vec<LogEntry> {
        self.table.journal.take()
    }

    /// Returns the requests and flushes in flight, or done and not yet taken.
    pub fn in_flight(&self) -> u32 {
        self.table.in_flight()
    }

    /// Returns how many more can be submitted now.
    pub fn room(&self) -> u32 {
        self.table.room()
    }

    /// Adds a file whose short transfers are resumed.
    ///
    /// # Errors
    /// [`FileError::Full`], [`FileError::Stat`].
    pub fn add_file(&mut self, file: Arc<OwnedFd>) -> Result<FileId, FileError> {
        self.add_file_with(file, ShortTransfer::Resume)
    }

    /// Adds a file and says what a short transfer means on it.
    ///
    /// # Errors
    /// As [`Engine::add_file`].
    pub fn add_file_with(&mut self, file: Arc<OwnedFd>, short: ShortTransfer) -> Result<FileId, FileError> {
        self.files.add(file, short, &mut self.backend)
    }

    /// Removes a file and gives it back.
    ///
    /// # Errors
    /// [`FileError::Busy`] while requests are in flight on it or not yet taken, [`FileError::Unknown`].
    pub fn remove_file(&mut self, file: FileId) -> Result<Arc<OwnedFd>, FileError> {
        self.files.remove(file, &mut self.backend)
    }

    /// Plans a request within `limits`, without copying, and takes it into flight.
    ///
    /// It may start with the next [`start`](Self::start), [`poll`](Self::poll) or [`wait`](Self::wait) only. Requests at a
    /// position run in any order; stream requests of one file run in the order of submission.
    ///
    /// # Errors
    /// [`SubmitError`]: the request unchanged, and why: the engine is full, or the request cannot be planned.
    #[expect(clippy::result_large_err, reason = "the request comes back by value: no allocation to refuse")]
    pub fn submit(
        &mut self,
        file: FileId,
        request: Request<CpuAddr, O, C>,
        limits: &Limits,
    ) -> Result<Token, SubmitError<O, C>> {
        let Some(entry) = self.files.get_mut(file) else {
            return Err(SubmitError { request, reason: SubmitReason::UnknownFile { file } });
        };
        match self.table.insert(entry, file, request, limits) {
            Ok(token) => {
                entry.in_flight = entry.in_flight.saturating_add(1);
                self.table.pump(&mut self.backend);
                Ok(token)
            }
            Err((request, reason)) => Err(SubmitError { request, reason }),
        }
    }

    /// Makes durable what was written to a file by transfers that are complete; completes like a request.
    ///
    /// Transfers still in flight may or may not be covered: take their completions first.
    ///
    /// # Errors
    /// [`SubmitReason::Full`], [`SubmitReason::UnknownFile`].
    pub fn flush(&mut self, file: FileId, kind: FlushKind) -> Result<Token, SubmitReason> {
        let entry = self.files.get_mut(file).ok_or(SubmitReason::UnknownFile { file })?;
        let token = self.table.insert_flush(entry, file, kind)?;
        entry.in_flight = entry.in_flight.saturating_add(1);
        self.table.pump(&mut self.backend);
        Ok(token)
    }

    /// Starts everything that was submitted, without waiting. The blocking engine starts nothing before a wait.
    ///
    /// # Errors
    /// [`WaitError::Kernel`].
    pub fn start(&mut self) -> Result<(), WaitError> {
        let started = self.backend.start();
        started.map_err(|errno| WaitError::Kernel { errno, operations: self.table.issued() })
    }

    /// Waits until something is over. `None` when a signal came first: look at your flags, then wait again.
    ///
    /// # Errors
    /// [`WaitError::Idle`] when nothing is in flight, [`WaitError::Kernel`].
    pub fn wait(&mut self) -> Result<Option<Completion<O, C>>, WaitError> {
        self.next(None)
    }

    /// Waits until something is over, at most `timeout`. `None` when the time is over or a signal came first.
    ///
    /// # Errors
    /// As [`Engine::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Completion<O, C>>, WaitError> {
        self.next(Some(timeout))
    }

    /// Returns what is over already, without waiting; `None` also when nothing is in flight.
    ///
    /// The blocking engine does the I/O of one operation in this call, if a file is ready for it.
    ///
    /// # Errors
    /// [`WaitError::Kernel`].
    pub fn poll(&mut self) -> Result<Option<Completion<O, C>>, WaitError> {
        match self.next(Some(Duration::ZERO)) {
            Err(WaitError::Idle) => Ok(None),
            other => other,
        }
    }

    /// Asks that everything in flight end early. Each request still completes through a wait, with what it
    /// had done and [`Status::Cancelled`](scatterlist::Status::Cancelled) if that is not all.
    pub fn cancel(&mut self) {
        self.table.cancel(&mut self.backend);
    }

    fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Completion<O, C>>, WaitError> {
        // A time too long for the clock is no limit.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut over = false;
        loop {
            self.settle();
            if let Some(completion) = self.table.take() {
                self.backend.nudge();
                if let Some(file) = self.files.get_mut(completion.file()) {
                    file.in_flight = file.in_flight.saturating_sub(1);
                }
                return Ok(Some(completion));
            }
            if self.table.in_flight() == 0 {
                return Err(WaitError::Idle);
            }
            if over {
                return Ok(None);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            over = left == Some(Duration::ZERO);
            match self.backend.wait(left) {
                Ok(Woken::Ready) => {}
                Ok(Woken::Interrupted | Woken::TimedOut) => over = true,
                Err(errno) => return Err(WaitError::Kernel { errno, operations: self.table.issued() }),
            }
        }
    }
}

impl<O, C> Engine<O, C> {
    /// Takes the results that are there and issues what they make room for.
    fn settle(&mut self) {
        let mut reaped = mem::take(&mut self.reaped);
        self.backend.reap(&mut reaped);
        for result in reaped.drain(..) {
            self.table.settle(result, &mut self.backend);
        }
        self.reaped = reaped;
        self.table.pump(&mut self.backend);
    }

    /// Cancels everything and waits until the back end has nothing left; says whether it came to that.
    fn drain(&mut self) -> Result<(), String> {
        let deadline = Instant::now().checked_add(self.drain_max);
        self.table.cancel(&mut self.backend);
        loop {
            self.settle();
            if self.table.issued() == 0 {
                return Ok(());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(format!("did not end within {:?}", self.drain_max));
            }
            if let Err(errno) = self.backend.wait(left) {
                return Err(format!("cannot be waited for (errno {errno})"));
            }
        }
    }
}

impl<O, C> Drop for Engine<O, C> {
    fn drop(&mut self) {
        if self.table.issued() == 0 {
            return;
        }
        if let Err(why) = self.drain() {
            let (operations, bytes) = (self.table.issued(), self.table.issued_bytes());
            // The table leaks its slots by itself.
            mem::forget(self.backend.replace());
            eprintln!(
                "bulkio: {operations} operations of a dropped engine {why}; {bytes} bytes of memory, their files and \
                 the ring are leaked, since the kernel may still use them"
            );
        }
    }
}
