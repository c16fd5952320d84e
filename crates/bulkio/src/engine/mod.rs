//! [`Engine`]: file-descriptor I/O at a chosen depth, knowing no device.
//!
//! A [`Request`] goes in, is planned within the limits of its target without a copy, and comes out as a
//! [`Completion`] with the exact bytes done. The in-flight table owns memory and file until the kernel is done with
//! them, cancelled or not. io_uring carries the operations where it works, native AIO or threads elsewhere; the
//! [`EngineReport`] says which and why. One engine belongs to one thread, but for a [`MovableEngine`].
//!
//! A file whose device takes no reads and writes is added with a [`CommandSet`]: its transfers are commands.
//!
//! Below: `choose` (the ladder), `table` (who owns what while it is in flight), `part` (short transfers and retries),
//! `backend` (the seam), `issue` (commands below it), `uring` with `setup`, `fixed` and `beneath`, `aio`, `threads`, and `wake`.

mod aio;
mod backend;
mod beneath;
mod choose;
mod commands;
mod completion;
mod entry;
mod error;
mod files;
mod fill;
mod fixed;
mod issue;
mod log;
mod movable;
mod options;
mod part;
mod pin;
mod polled;
mod register;
mod report;
mod setup;
mod table;
mod threads;
mod uring;
mod wake;

pub use backend::FlushKind;
pub use commands::{Action, Command, CommandSet, Ended, RingCommand};
pub use completion::{Completion, Token};
pub use error::{EngineError, FileError, SubmitError, SubmitReason, WaitError};
pub use files::{Carrier, FileId, FileOptions, FileReport};
pub use fixed::{FixedRegion, SharedRegistration};
pub use log::{LogEntry, LoggedKind};
pub use movable::MovableEngine;
pub use options::{DEPTH_MAX, EngineChoice, EngineOptions, Issuer, UnknownEngine};
pub use part::ShortTransfer;
pub(crate) use pin::{Pinnable, pinnable};
pub use report::{ChosenBy, CommandRing, EngineKind, EngineReport, Refused, Registration, Sharing, Stats};
pub use wake::{Remote, RemoteError};

use core::marker::PhantomData;
use core::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::{CpuAddr, Direction, Limits, Request};

use backend::{Backend, Reaped, Woken};
use files::Files;
use table::Table;
use wake::Bell;

/// What a wait is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    /// A completion: with nothing in flight there is none.
    Over,
    /// A completion or a wake.
    Woken,
    /// What is there already.
    Now,
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
    /// There once a [`Remote`] was asked for.
    bell: Option<Arc<Bell>>,
    drain_max: Duration,
    /// What did not end was leaked.
    lost: bool,
    /// The ring takes operations from one thread only.
    one_thread: PhantomData<Rc<()>>,
}

impl<O: 'static, C> Engine<O, C> {
    /// Makes an engine.
    ///
    /// # Errors
    /// [`EngineError`]: the depth is out of range, options exclude each other, `BULKIO_ENGINE` names no engine, or
    /// what was demanded does not work.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let (backend, report) = choose::make(&options)?;
        Ok(Self {
            table: Table::new(options.depth, options.log),
            files: Files::new(report.files_registered),
            backend,
            reaped: Vec::with_capacity(options.depth as usize),
            report,
            bell: None,
            drain_max: options.drain_max,
            lost: false,
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

    /// Returns the registration of this engine, for [`EngineOptions::share`]; `None` where nothing is registered.
    pub fn shared_registration(&self) -> Option<SharedRegistration> {
        self.backend.shared_registration()
    }

    /// Returns what wakes this engine from other threads.
    ///
    /// # Errors
    /// [`RemoteError`] where the system gives no eventfd.
    pub fn remote(&mut self) -> Result<Remote, RemoteError> {
        let bell = match &self.bell {
            Some(bell) => Arc::clone(bell),
            None => {
                let bell = self.backend.bell();
                bell.map_err(|errno| RemoteError { errno: errno.raw_os_error().unsigned_abs() })?
            }
        };
        self.bell = Some(Arc::clone(&bell));
        Ok(Remote::new(bell))
    }

    /// Adds a file with [`FileOptions::default`]: short transfers are resumed.
    ///
    /// # Errors
    /// [`FileError::Full`], [`FileError::Stat`]; with [`EngineOptions::polled`] also what cannot be polled.
    pub fn add_file(&mut self, file: Arc<OwnedFd>) -> Result<FileId, FileError> {
        self.add_file_with(file, FileOptions::default())
    }

    /// Adds a file and says more about it.
    ///
    /// # Errors
    /// As [`Engine::add_file`].
    pub fn add_file_with(&mut self, file: Arc<OwnedFd>, options: FileOptions) -> Result<FileId, FileError> {
        self.files.add(file, None, options, &mut self.backend)
    }

    /// Adds a file whose transfers and flushes are commands of its device.
    ///
    /// Each part that a request is planned into is one command, and each flush is; nobody splits, repeats or resumes them,
    /// so the limits that a request is submitted with must hold whatever the device demands. Where a command ends short of its
    /// bytes and gives no reason, that is [`Status::Short`](scatterlist::Status::Short), or the answer with
    /// [`ShortTransfer::Final`]. A fault stands at the first byte of the request that is not certain to be done. Streams are
    /// refused: a command has a position. [`FileOptions::always_ready`] means nothing here.
    ///
    /// The [`FileReport`] says who carries them: the ring ([`EngineOptions::commands`]), or calls of threads, as many at a
    /// time as the engine is deep, at most 64.
    ///
    /// # Errors
    /// As [`Engine::add_file`]; [`FileError::PolledCommands`], [`FileError::Eventfd`].
    pub fn add_commands(
        &mut self,
        file: Arc<OwnedFd>,
        commands: Arc<dyn CommandSet>,
        options: FileOptions,
    ) -> Result<FileId, FileError> {
        self.files.add(file, Some(commands), options, &mut self.backend)
    }

    /// Returns what a file became in this engine; `None` for one that is not of this engine.
    pub fn file_report(&self, file: FileId) -> Option<FileReport> {
        self.files.get(file).map(files::File::report)
    }

    /// Removes a file and gives it back.
    ///
    /// # Errors
    /// [`FileError::Busy`] while requests are in flight on it or not yet taken, [`FileError::Unknown`].
    pub fn remove_file(&mut self, file: FileId) -> Result<Arc<OwnedFd>, FileError> {
        let removed = self.files.remove(file, &mut self.backend)?;
        self.table.let_go(file);
        Ok(removed)
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
        // Planned by reference, so that the request moves once: into its slot, or into the error.
        if let Err(reason) = self.table.plan(entry, file, &request, limits) {
            return Err(SubmitError { request, reason });
        }
        let token = self.table.insert(entry, file, request, limits);
        entry.in_flight = entry.in_flight.saturating_add(1);
        self.table.pump(&mut self.backend);
        Ok(token)
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

    /// Watches a file until it can be read (`FromDevice`) or written without waiting, or has an error to tell; completes as
    /// [`Completion::Ready`], once. A file that is always ready is ready at once.
    ///
    /// This is for devices whose data come by calls of their own, so that one wait is for them and for transfers alike.
    ///
    /// # Errors
    /// [`SubmitReason::Full`], [`SubmitReason::UnknownFile`].
    pub fn watch(&mut self, file: FileId, direction: Direction) -> Result<Token, SubmitReason> {
        let entry = self.files.get_mut(file).ok_or(SubmitReason::UnknownFile { file })?;
        let token = self.table.insert_watch(entry, file, direction)?;
        entry.in_flight = entry.in_flight.saturating_add(1);
        self.table.pump(&mut self.backend);
        Ok(token)
    }

    /// Starts everything that was submitted, without waiting.
    ///
    /// # Errors
    /// [`WaitError::Kernel`].
    pub fn start(&mut self) -> Result<(), WaitError> {
        let started = self.backend.start();
        started.map_err(|errno| WaitError::Kernel { errno, operations: self.table.issued() })
    }

    /// Waits until something is over. `None` when a signal or a [`Remote::wake`] came first: look at your flags, then
    /// wait again.
    ///
    /// # Errors
    /// [`WaitError::Idle`] when nothing is in flight and no wake is there, [`WaitError::Kernel`].
    pub fn wait(&mut self) -> Result<Option<Completion<O, C>>, WaitError> {
        self.next(None, Until::Over)
    }

    /// Waits until something is over, at most `timeout`. `None` when the time is over, or a signal or a wake came first.
    ///
    /// # Errors
    /// As [`Engine::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Completion<O, C>>, WaitError> {
        self.next(Some(timeout), Until::Over)
    }

    /// Waits until something is over, a [`Remote::wake`] or a signal comes, or the time is over, also while nothing is
    /// in flight. `None` in all cases but the first.
    ///
    /// A wake goes before completions that are there already, once.
    ///
    /// # Errors
    /// [`WaitError::Idle`] when nothing could ever end the wait: nothing is in flight, there is no limit of time,
    /// and [`remote`](Self::remote) was never called. [`WaitError::Kernel`].
    pub fn wait_or_wake(&mut self, timeout: Option<Duration>) -> Result<Option<Completion<O, C>>, WaitError> {
        self.next(timeout, Until::Woken)
    }

    /// Returns what is over already, without waiting; `None` also when nothing is in flight.
    /// It takes no wakes.
    ///
    /// # Errors
    /// [`WaitError::Kernel`].
    pub fn poll(&mut self) -> Result<Option<Completion<O, C>>, WaitError> {
        if !self.table.has_done() && self.table.in_flight() == 0 {
            return Ok(None);
        }
        self.next(Some(Duration::ZERO), Until::Now)
    }

    /// Asks that the requests end early whose completions `is_meant` picks.
    pub(crate) fn cancel_where(&mut self, is_meant: impl Fn(&C) -> bool) {
        self.table.cancel_where(is_meant, &mut self.backend);
    }

    /// Asks that everything in flight end early. Each request still completes through a wait, with what it
    /// had done and [`Status::Cancelled`](scatterlist::Status::Cancelled) if that is not all.
    pub fn cancel(&mut self) {
        self.table.cancel(&mut self.backend);
    }

    /// Asks that one request or flush end early, as [`cancel`](Self::cancel) does for all; says whether it is in flight.
    ///
    /// The kernel ends what waits for a file to be ready, and what has not begun. What a disk is doing already ends by
    /// itself, in full.
    pub fn cancel_request(&mut self, token: Token) -> bool {
        self.table.cancel_one(token, &mut self.backend)
    }

    #[inline]
    fn next(
        &mut self,
        timeout: Option<Duration>,
        until: Until,
    ) -> Result<Option<Completion<O, C>>, WaitError> {
        // What is over already takes neither the clock nor a look at the ring; but a bell comes first.
        let at_once = self.table.has_done() && (until == Until::Now || self.bell.is_none());
        if at_once || self.await_done(timeout, until)? { Ok(self.hand_out()) } else { Ok(None) }
    }

    /// Waits until a completion can be taken, and says whether it came to that.
    fn await_done(&mut self, timeout: Option<Duration>, until: Until) -> Result<bool, WaitError> {
        let polls = timeout == Some(Duration::ZERO);
        // A time too long for the clock is no limit.
        let deadline = timeout.filter(|_| !polls).and_then(|timeout| Instant::now().checked_add(timeout));
        let mut over = false;
        loop {
            if until != Until::Now
                && let Some(bell) = &self.bell
                && bell.take_wake()
            {
                self.backend.nudge();
                return Ok(false);
            }
            self.settle();
            if self.table.has_done() {
                return Ok(true);
            }
            let endless = deadline.is_none() && self.bell.is_none();
            if self.table.in_flight() == 0 && (until != Until::Woken || endless) {
                return Err(WaitError::Idle);
            }
            if over {
                return Ok(false);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = if polls { Some(Duration::ZERO) } else { left };
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
    /// Gives out the next completion.
    #[inline]
    fn hand_out(&mut self) -> Option<Completion<O, C>> {
        self.backend.nudge();
        if let Some(file) = self.table.file_to_take().and_then(|id| self.files.get_mut(id)) {
            file.in_flight = file.in_flight.saturating_sub(1);
        }
        self.table.take()
    }

    /// Takes the results that are there and issues what they make room for.
    fn settle(&mut self) {
        let mut reaped = mem::take(&mut self.reaped);
        self.backend.reap(&mut reaped);
        if !reaped.is_empty() && self.backend.is_through() {
            self.table.count_at_once(reaped.len());
        }
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
            // A wake that nobody takes any more would end every wait at once.
            if let Some(bell) = &self.bell {
                bell.take_wake();
            }
            if self.backend.wait(left).is_err() {
                // No memory, most likely: there is time to try again.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl<O, C> Engine<O, C> {
    /// Ends what is in flight as dropping the engine does, and says whether it came to that. What did end can be taken; what did
    /// not is leaked, and the engine is of no use any more.
    pub(crate) fn shut_down(&mut self) -> bool {
        if self.lost || self.table.issued() == 0 {
            return !self.lost;
        }
        let Err(why) = self.drain() else { return true };
        self.lost = true;
        let (operations, bytes) = (self.table.issued(), self.table.issued_bytes());
        // The table leaks its slots by itself.
        self.backend.leak();
        eprintln!(
            "bulkio: {operations} operations of a dropped engine {why}; {bytes} bytes of memory, their files and \
             the ring are leaked, since the kernel may still use them"
        );
        false
    }
}

impl<O, C> Drop for Engine<O, C> {
    fn drop(&mut self) {
        self.shut_down();
    }
}
