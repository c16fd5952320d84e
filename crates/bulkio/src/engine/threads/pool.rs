//! What the engine's thread, the workers and the watcher share: one lock, the jobs, the results.
//!
//! A job is in one place at a time: among the `jobs`, among those `watched`, or with a worker. Its result goes among the
//! `results`, and the bell rings. Nothing here grows past the depth of the engine, which bounds the jobs there can be.
#![expect(unsafe_code, reason = "workers take over the promise of Backend::push; blocks signals")]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use super::super::backend::{Act, Answer, Operation, Reaped};
use super::super::wake::Bell;
use super::{calls, watcher};

/// How often a file may turn out not to be ready although it said so, before a worker waits for it in a call.
const TRIES_MAX: u32 = 64;

/// An operation on its way through the pool.
///
/// # Invariants
/// 1. The promise of [`Backend::push`](super::super::backend::Backend::push) holds for the operation until its result
///    has been reaped; a job that is dropped without one is never executed.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) operation: Operation,
    /// Tells jobs apart whose slots follow one another.
    pub(super) serial: u64,
    tries: u32,
}

// SAFETY: (1): memory and file stay valid wherever the job is, and nobody else accesses the memory.
unsafe impl Send for Job {}

impl Job {
    /// # Safety
    /// As [`Backend::push`](super::super::backend::Backend::push).
    pub(super) const unsafe fn new(operation: Operation, serial: u64) -> Self {
        Self { operation, serial, tries: 0 }
    }

    /// Says whether the file must be watched until it is ready.
    const fn waits(&self) -> bool {
        !self.operation.always_ready && !matches!(self.operation.act, Act::Flush(_) | Act::Command(_))
    }
}

#[derive(Debug)]
pub(super) struct State {
    jobs: VecDeque<Job>,
    /// Jobs whose files are not ready yet.
    pub(super) watched: Vec<Job>,
    results: Vec<Reaped>,
    /// Workers that wait for a job.
    idle: u32,
    /// Workers that are busy with one.
    busy: u32,
    workers: u32,
    threads: Vec<JoinHandle<()>>,
    watcher: bool,
    pub(super) stop: bool,
}

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    work: Condvar,
    /// Tells the engine's thread of results.
    pub(super) bell: Arc<Bell>,
    /// Tells the watcher that `watched` is another than it watches.
    pub(super) changed: OwnedFd,
    workers_max: u32,
}

impl Pool {
    /// Makes a pool without a thread, whose workers ring `bell`.
    pub(super) fn new(workers_max: u32, jobs_max: usize, bell: Arc<Bell>) -> rustix::io::Result<Self> {
        let state = State {
            jobs: VecDeque::with_capacity(jobs_max),
            watched: Vec::with_capacity(jobs_max),
            results: Vec::with_capacity(jobs_max),
            idle: 0,
            busy: 0,
            workers: 0,
            threads: Vec::new(),
            watcher: false,
            stop: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            bell,
            changed: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            workers_max,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something did, the queues are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes jobs over.
    pub(super) fn add(self: &Arc<Self>, jobs: impl Iterator<Item = Job>) {
        let mut state = self.lock();
        let mut watches = false;
        for job in jobs {
            if job.waits() {
                watches = true;
                state.watched.push(job);
            } else {
                state.jobs.push_back(job);
            }
        }
        if watches {
            state = self.watch(state);
        }
        self.staff(state);
    }

    /// Takes jobs whose files are ready, or results of jobs that wanted no more than that.
    pub(super) fn add_ready(self: &Arc<Self>, mut state: MutexGuard<'_, State>, serials: &[u64]) {
        let mut rings = false;
        for serial in serials {
            // A job that was cancelled meanwhile is not there.
            let Some(place) = state.watched.iter().position(|job| job.serial == *serial) else { continue };
            let job = state.watched.remove(place);
            if matches!(job.operation.act, Act::Poll(_)) {
                state.results.push(Reaped::of(job.operation.key, 0));
                rings = true;
            } else {
                state.jobs.push_back(job);
            }
        }
        self.staff(state);
        if rings {
            self.bell.ring();
        }
    }

    pub(super) fn take_results(&self, into: &mut Vec<Reaped>) {
        into.append(&mut self.lock().results);
    }

    pub(super) fn has_results(&self) -> bool {
        !self.lock().results.is_empty()
    }

    /// Answers a job that no worker has begun as cancelled; says whether there is such a job.
    pub(super) fn cancel(&self, key: u64) -> bool {
        let mut state = self.lock();
        let is_it = |job: &Job| job.operation.key == key;
        if let Some(place) = state.jobs.iter().position(is_it) {
            state.jobs.remove(place);
        } else if let Some(place) = state.watched.iter().position(is_it) {
            state.watched.remove(place);
            // The kernel keeps a file open while somebody polls it.
            self.tell_watcher();
        } else {
            return false;
        }
        state.results.push(Reaped::of(key, -libc::ECANCELED));
        true
    }

    /// Ends the threads. Waits for them where none is busy.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        state.jobs.clear();
        state.watched.clear();
        let threads = mem::take(&mut state.threads);
        let busy = state.busy > 0;
        drop(state);
        self.work.notify_all();
        self.tell_watcher();
        if !busy {
            for thread in threads {
                // A thread that panicked has nothing left to do either.
                let _ = thread.join();
            }
        }
    }

    /// Wakes or starts workers for the jobs that there are.
    fn staff(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let jobs = u32::try_from(state.jobs.len()).unwrap_or(u32::MAX);
        if jobs == 0 {
            return;
        }
        let (woken, missing) = (jobs.min(state.idle), jobs.saturating_sub(state.idle));
        for _ in 0..woken {
            self.work.notify_one();
        }
        for _ in 0..missing.min(self.workers_max.saturating_sub(state.workers)) {
            let pool = Arc::clone(self);
            match spawn("bulkio-worker", move || pool.work()) {
                Ok(thread) => {
                    state.workers = state.workers.saturating_add(1);
                    state.threads.push(thread);
                }
                // The workers that there are do the work of those that are not.
                Err(_) if state.workers > 0 => break,
                Err(error) => {
                    let result = error.raw_os_error().unwrap_or(libc::EAGAIN).wrapping_neg();
                    let State { jobs, results, .. } = &mut *state;
                    results.extend(jobs.drain(..).map(|job| Reaped::of(job.operation.key, result)));
                    drop(state);
                    self.bell.ring();
                    return;
                }
            }
        }
    }

    /// Starts the watcher, or tells it that there is more to watch.
    fn watch<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if state.watcher {
            self.tell_watcher();
            return state;
        }
        let pool = Arc::clone(self);
        match spawn("bulkio-watcher", move || watcher::watch(&pool)) {
            Ok(thread) => {
                state.watcher = true;
                state.threads.push(thread);
            }
            // Without a watcher workers wait for the files themselves, and what waits cannot be cancelled.
            Err(_) => {
                let State { jobs, watched, .. } = &mut *state;
                jobs.extend(watched.drain(..).map(|job| Job { tries: TRIES_MAX, ..job }));
            }
        }
        state
    }

    #[expect(clippy::host_endian_bytes, reason = "eventfd(2) takes a number in the machine's order")]
    fn tell_watcher(&self) {
        // It fails only where the count is full, and then the eventfd is ready to be read already.
        let _ = rustix::io::write(&self.changed, &1_u64.to_ne_bytes());
    }

    /// The life of a worker.
    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.stop {
            let Some(mut job) = state.jobs.pop_front() else {
                state.idle = state.idle.saturating_add(1);
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle = state.idle.saturating_sub(1);
                continue;
            };
            state.busy = state.busy.saturating_add(1);
            drop(state);
            let nowait = job.waits() && job.tries < TRIES_MAX;
            // A command set that panics may have a device at work on the memory, and nobody would be told: the process ends.
            let abort = AbortOnPanic;
            // SAFETY: (1): the job has no result yet, and this worker has the job.
            let answer = unsafe { calls::execute(&job.operation, nowait) };
            mem::forget(abort);
            state = self.lock();
            state.busy = state.busy.saturating_sub(1);
            if nowait && answer == Answer::Kernel(-libc::EAGAIN) && !state.stop {
                // Somebody else was faster.
                job.tries = job.tries.saturating_add(1);
                state.watched.push(job);
                self.tell_watcher();
                continue;
            }
            state.results.push(Reaped { key: job.operation.key, answer });
            drop(state);
            self.bell.ring();
            state = self.lock();
        }
    }
}

/// Ends the process where it is dropped by a panic.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        eprintln!("bulkio: a command set panicked while a device may use its memory");
        std::process::abort();
    }
}

/// Starts a thread that no signal is delivered to: signals are for the threads of the program, which wait for them.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut all = mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set in.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the one set is filled in, the other has room. A new thread has the mask of the one that made it.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    let thread = Builder::new().name(name.to_owned()).spawn(body);
    // SAFETY: the mask of before, which the call above filled in.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
    thread
}
