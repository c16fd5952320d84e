//! [`Driver`]: the asynchronous front's thread.
//!
//! A ring belongs to one thread, so one thread owns engine and channel; futures hand it jobs over the bounded `queue` and are woken
//! with the result. Neither side knows an executor. Whatever panics, no future waits for a thread that is gone, and no memory
//! is given back that the kernel may still use.
#![expect(unsafe_code, reason = "lends the memory of futures to jobs; see Submitted")]

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread::{JoinHandle, current};

use super::channel::{Channel, Finished, JobEngine, JobId};
use super::future::AsyncFile;
use super::io::{IoOptions, JOBS_MAX};
use super::open::File;
use super::queue::{Batch, Command, Link, Promise, contain};
use super::stores::Slots;
use super::{DriverFileError, IoError};
use crate::engine::{Engine, EngineReport};
use crate::pages::PagePool;

/// A thread with an engine of its own, for any number of files and futures.
///
/// Dropping it ends early what can be ended, waits for the rest, at most [`IoOptions::drain_max`], and ends the thread. Futures that
/// come later find it closed. Transfers that do not end in that time keep their memory for good, and their futures stay pending;
/// other writes to the blocks of such a write fail from then on ([`TransferErrorKind::RangeLost`](super::TransferErrorKind::RangeLost)).
/// Dropped by its own thread, by code of a waker, it does not wait.
pub struct Driver {
    link: Arc<Link>,
    report: EngineReport,
    bounce_len: usize,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts a driver. [`IoOptions::channels_max`] does not matter here.
    ///
    /// # Errors
    /// [`IoError`]: as [`Io::new`](super::Io::new), or the thread cannot be started.
    pub fn new(options: IoOptions) -> Result<Self, IoError> {
        let pool = options.pool(1)?;
        let bounce_len = options.bounce_len;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let body = move || match set_up(&options, &pool) {
            Ok((service, report)) => {
                if tell.send(Ok((Arc::clone(&service.link), report))).is_ok() {
                    service.run();
                }
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("bulkio-driver".to_owned()).spawn(body);
        let thread = thread.map_err(IoError::Thread)?;
        match told.recv() {
            Ok(Ok((link, report))) => Ok(Self { link, report, bounce_len, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(IoError::Thread(std::io::Error::other("it ended before it began"))),
        }
    }

    /// Returns what the engine became.
    #[must_use]
    pub const fn engine(&self) -> &EngineReport {
        &self.report
    }

    /// Gives a file's transfers to this driver.
    ///
    /// # Errors
    /// [`DriverFileError`], with the file: its copies are longer than this driver's slots ([`IoOptions::bounce_len`]).
    pub fn file(&self, file: File) -> Result<AsyncFile, DriverFileError> {
        let (file_bytes, driver_bytes) = (file.inner.bounce_len(), self.bounce_len as u64);
        if file_bytes > driver_bytes {
            return Err(DriverFileError { file, file_bytes, driver_bytes });
        }
        Ok(AsyncFile::new(file, Arc::clone(&self.link)))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.link.close();
        // The last that holds it may be what a waker held. A thread cannot wait for itself: it ends when it comes back from there.
        if let Some(thread) = self.thread.take_if(|thread| thread.thread().id() != current().id()) {
            // A panic of the thread was told by the hook; its jobs are leaked or over.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("report", &self.report).finish_non_exhaustive()
    }
}

type Thread = Channel<Box<JobEngine>, Started>;

/// What a started job's completion needs.
struct Started {
    number: u64,
    promise: Promise,
}

fn set_up(options: &IoOptions, pool: &Arc<PagePool>) -> Result<(Service, EngineReport), IoError> {
    let engine: JobEngine = Engine::new(options.engine_options(pool, None))?;
    let report = engine.report().clone();
    let slots: Slots = options.slots(pool);
    let jobs_max = JOBS_MAX.min(options.depth);
    let mut channel = Channel::new(Box::new(engine), None, slots, jobs_max);
    let no_remote = || IoError::Thread(std::io::Error::from_raw_os_error(libc::EMFILE));
    let remote = channel.remote().ok_or_else(no_remote)?;
    let link = Arc::new(Link::new(remote));
    let jobs = HashMap::with_capacity(jobs_max as usize);
    Ok((Service { link, channel, jobs_max: jobs_max as usize, jobs, batch: Batch::default() }, report))
}

/// What the driver's thread has.
struct Service {
    link: Arc<Link>,
    channel: Thread,
    jobs_max: usize,
    jobs: HashMap<u64, JobId>,
    batch: Batch,
}

impl Service {
    /// Serves until the driver is closed, then ends what is under way.
    ///
    /// No panic keeps a future waiting. One of a user's code ends where that was called. One of this library's own ends the service:
    /// the queue is closed first, and the channel gives memory back when its engine has ended what is in flight, or never.
    fn run(mut self) {
        // The hook has told of the panic.
        let served = catch_unwind(AssertUnwindSafe(|| while self.serve() {}));
        self.link.refuse();
        // What was taken and not started.
        self.batch.commands.clear();
        if let Err(panic) = served {
            contain(|| drop(panic));
        }
        self.channel.cancel_all();
        self.channel.drain(|Finished { payload, result }| payload.promise.keep(result));
    }

    /// Starts and cancels what is to be, waits until something happens, and hands out results; false where the driver is closed.
    fn serve(&mut self) -> bool {
        let room = self.jobs_max.saturating_sub(self.channel.running());
        let closed = self.link.take(room, &mut self.batch);
        if closed {
            return false;
        }
        while let Some(command) = self.batch.commands.pop_front() {
            self.start(command);
        }
        for number in self.batch.cancelled.drain(..) {
            if let Some(id) = self.jobs.get(&number) {
                self.channel.cancel(*id);
            }
        }
        self.channel.turn(None);
        while let Some(Finished { payload: Started { number, promise }, result }) = self.channel.take() {
            self.jobs.remove(&number);
            promise.keep(result);
        }
        true
    }

    fn start(&mut self, Command { promise, number }: Command) {
        let Some(job) = promise.begin() else { return };
        // SAFETY: `promise`, which travels with the job, shares the `Submitted` that keeps its memory to itself until it is finished;
        // a channel lets go of what came with a job when that is over or its engine has ended, by its invariants.
        if let Ok(id) = unsafe { self.channel.start(job, Started { number, promise }, false) } {
            self.jobs.insert(number, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Waker;
    use std::time::Duration;

    use super::super::future::Submitted;
    use super::super::job::Job;
    use super::super::queue::{Queued, Ticket};
    use super::super::{Moved, TransferError};
    use super::*;

    /// Breaks the driver down, or says that it was finished without a result.
    struct Fake {
        breaks: bool,
        told: mpsc::Sender<bool>,
    }

    // SAFETY: it gives no job.
    unsafe impl Submitted for Fake {
        fn begin(&self) -> Option<Job> {
            assert!(!self.breaks, "the driver breaks down, as this test wants it");
            None
        }

        fn finish(&self, result: Option<Result<Moved, TransferError>>) {
            self.told.send(result.is_none()).unwrap();
        }
    }

    /// A panic of the library's own, with commands taken, queued and still to come.
    #[test]
    fn a_driver_that_breaks_down_keeps_nobody_waiting() {
        let driver = Driver::new(IoOptions::default()).unwrap();
        let (told, finished) = mpsc::channel();
        let submit = |breaks| {
            let share = || Arc::new(Fake { breaks, told: told.clone() }) as Arc<dyn Submitted>;
            driver.link.submit(share, &mut Ticket::default(), Waker::noop())
        };
        assert!(matches!(submit(true), Queued::As(_)));
        let mut queued = 1;
        // Until the thread has closed the queue, commands go in, and come back.
        loop {
            match submit(false) {
                Queued::As(_) => queued += 1,
                Queued::Full => std::thread::yield_now(),
                Queued::Closed => break,
            }
        }
        drop(driver);
        for _ in 0..queued {
            assert!(finished.recv_timeout(Duration::from_secs(20)).unwrap());
        }
        assert_eq!(finished.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}
