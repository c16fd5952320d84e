//! [`Scope`]: many transfers at once over borrowed memory; the end of the scope waits for the device.
//!
//! As with scoped threads, what is borrowed must outlive the scope, and the scope does not end before everything in it has: whatever is
//! forgotten, dropped or panics. So no memory is freed or looked at while a device may write to it.
#![expect(unsafe_code, reason = "lends borrowed memory to jobs that end before the scope does")]

use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use scatterlist::{CpuAddr, Direction, ScatterList};

use super::call::{Borrowing, segments, segments_mut};
use super::io::Io;
use super::job::Job;
use super::memory::Memory;
use super::open::File;
use super::{Moved, TransferError, TransferErrorKind};

/// What became of a transfer.
type Result<T = Moved, E = TransferError> = core::result::Result<T, E>;

/// Why a scope did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// There is no engine for it; nothing was run.
    #[error("{0}")]
    Engine(TransferErrorKind),
    /// A transfer failed whose result nobody had waited for: the one that was started first.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// Where transfers over borrowed memory are started. Made by [`Io::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    state: RefCell<State<'env>>,
    /// Invariant in both lifetimes, as the standard library's scopes are.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct State<'env> {
    borrowing: Borrowing<'env>,
    /// What is over and may be waited for, by the number of the transfer.
    results: HashMap<u64, Result>,
    /// Transfers that somebody may wait for.
    awaited: HashSet<u64>,
    /// The failure that nobody waited for, of the transfer that was started first.
    failed: Option<(u64, TransferError)>,
    started: u64,
    bounce_len: u64,
}

/// A transfer of a scope that may still be in flight.
///
/// Dropping it changes nothing: the transfer goes on, and [`Io::scope`] tells whether it failed.
#[must_use = "a transfer that nobody waits for is waited for at the end of the scope"]
pub struct Pending<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    number: u64,
}

impl Io {
    /// Runs `body`, which may start any number of transfers over memory that outlives the scope, and waits until all are over.
    ///
    /// Transfers go on while the scope is used: when one is started or waited for, and at its end. A write has its blocks for itself until then,
    /// so do not dwell in the body. Writing to the same blocks from the body by other means is refused (`EDEADLK`): it would wait for itself.
    ///
    /// ```
    /// use bulkio::direct::{File, Io};
    ///
    /// let file = File::open("/proc/self/exe")?;
    /// let (mut front, mut back) = ([0_u8; 4], vec![0_u8; 100_000]);
    /// file.io().scope(|scope| {
    ///     let _ = scope.read(&file, &mut front, 0);
    ///     let _ = scope.read(&file, &mut back, 4096);
    /// })?;
    /// assert_eq!(&front, b"\x7fELF");
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScopeError`]: no engine, or a failed transfer whose [`Pending::wait`] was not called.
    pub fn scope<'env, R>(
        &'env self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R, ScopeError> {
        let channel = self.channel().map_err(|error| ScopeError::Engine(error.into()))?;
        let borrowing = Borrowing(channel);
        let state = State {
            borrowing,
            results: HashMap::new(),
            awaited: HashSet::new(),
            failed: None,
            started: 0,
            bounce_len: self.bounce_len() as u64,
        };
        let scope = Scope { state: RefCell::new(state), scope: PhantomData, env: PhantomData };
        // Where this panics, `Borrowing` cancels and waits.
        let value = body(&scope);
        let mut state = scope.state.borrow_mut();
        while state.borrowing.0.get().running() > 0 {
            state.turn();
        }
        state.collect();
        // Those that were forgotten, and so never let go of.
        for (number, result) in core::mem::take(&mut state.results) {
            state.keep_failure(number, result);
        }
        state.failed.take().map_or(Ok(value), |(_, error)| Err(error.into()))
    }
}

impl State<'_> {
    fn turn(&mut self) {
        self.borrowing.0.get().turn(None);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(finished) = self.borrowing.0.get().take() {
            self.over(finished.payload, finished.result);
        }
    }

    fn over(&mut self, number: u64, result: Result) {
        if self.awaited.contains(&number) {
            self.results.insert(number, result);
        } else {
            self.keep_failure(number, result);
        }
    }

    fn keep_failure(&mut self, number: u64, result: Result) {
        if let Err(error) = result
            && self.failed.as_ref().is_none_or(|(first, _)| number < *first)
        {
            self.failed = Some((number, error));
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts reading at `offset` into `buf`; see [`File::read`].
    pub fn read(&'scope self, file: &File, buf: &'scope mut [u8], offset: u64) -> Pending<'scope, 'env> {
        // SAFETY: the slice is borrowed exclusively until after the scope.
        unsafe { self.start(file, Direction::FromDevice, segments_mut([buf]), offset) }
    }

    /// Starts writing `buf` at `offset`; see [`File::write`].
    pub fn write(&'scope self, file: &File, buf: &'scope [u8], offset: u64) -> Pending<'scope, 'env> {
        // SAFETY: the slice is borrowed until after the scope, and writing only reads it.
        unsafe { self.start(file, Direction::ToDevice, segments([buf]), offset) }
    }

    /// Starts reading at `offset` into slices, one after the other.
    pub fn read_list(
        &'scope self,
        file: &File,
        bufs: impl IntoIterator<Item = &'scope mut [u8]>,
        offset: u64,
    ) -> Pending<'scope, 'env> {
        let list = segments_mut(bufs);
        // SAFETY: each slice is borrowed exclusively until after the scope.
        unsafe { self.start(file, Direction::FromDevice, list, offset) }
    }

    /// Starts writing slices at `offset`, one after the other.
    pub fn write_list(
        &'scope self,
        file: &File,
        bufs: impl IntoIterator<Item = &'scope [u8]>,
        offset: u64,
    ) -> Pending<'scope, 'env> {
        // SAFETY: the slices are borrowed until after the scope, and writing only reads them.
        unsafe { self.start(file, Direction::ToDevice, segments(bufs), offset) }
    }

    /// Starts a job; where the channel is full, others end first.
    ///
    /// # Safety
    /// Until after the scope, the memory is valid for reads, nobody writes to it, and in a read it is valid for writes and nobody else
    /// reads it.
    unsafe fn start(
        &'scope self,
        file: &File,
        direction: Direction,
        list: ScatterList<CpuAddr>,
        offset: u64,
    ) -> Pending<'scope, 'env> {
        let len = list.len_bytes();
        let mut state = self.state.borrow_mut();
        state.started += 1;
        let number = state.started;
        state.awaited.insert(number);
        let (needed, there) = (file.inner.bounce_len(), state.bounce_len);
        // SAFETY: the caller's promise; the scope does not end before the job has.
        let memory = unsafe { Memory::new(list) };
        let job = match needed > there {
            true => Err(TransferErrorKind::Slots { needed, there }),
            false => Job::new(Arc::clone(&file.inner), direction, offset, memory),
        };
        match job {
            Ok(job) => {
                while !state.borrowing.0.get().has_room() {
                    state.turn();
                }
                // SAFETY: as said above.
                let started = unsafe { state.borrowing.0.get().start(job, number, false) };
                debug_assert!(started.is_ok(), "a channel with room takes a job");
                state.borrowing.0.get().turn(Some(Duration::ZERO));
                state.collect();
            }
            Err(kind) => {
                let error = file.inner.transfer_error(direction, offset, len, Moved::default(), kind);
                state.over(number, Err(error));
            }
        }
        Pending { scope: self, number }
    }
}

impl Pending<'_, '_> {
    /// Waits until the transfer is over.
    ///
    /// # Errors
    /// [`TransferError`], with what was moved before the fault.
    pub fn wait(self) -> Result {
        let mut state = self.scope.state.borrow_mut();
        loop {
            if let Some(result) = state.results.remove(&self.number) {
                return result;
            }
            state.turn();
        }
    }
}

impl Drop for Pending<'_, '_> {
    /// Nobody will wait: a failure is the scope's from now on.
    fn drop(&mut self) {
        let mut state = self.scope.state.borrow_mut();
        state.awaited.remove(&self.number);
        if let Some(result) = state.results.remove(&self.number) {
            state.keep_failure(self.number, result);
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl fmt::Debug for Pending<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("number", &self.number).finish_non_exhaustive()
    }
}
