//! [`Io`]: what many files do their I/O with: engines, and pages to copy through.
//!
//! Each call of the blocking front takes a channel out of a bounded pool, uses it alone, and puts it back empty; a channel is made
//! when all others are taken. All channels have their slots from one pool of pages, registered once.

use core::cell::Cell;
use core::marker::PhantomData;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::channel::Channel;
use super::job::Tag;
use super::memory::Held;
use super::stores::Slots;
use super::{IoError, TransferErrorKind};
use crate::engine::{
    ChosenBy, DEPTH_MAX, EngineChoice, EngineError, EngineOptions, EngineReport, FixedRegion, MovableEngine,
    SharedRegistration,
};
use crate::pages::{NodeChoice, PageKind, PagePool, PoolOptions};

/// Length of a slot for one ragged block, where blocks are not longer.
const BLOCK_SLOT_LEN: usize = 4096;

/// Slots for ragged blocks, for each channel: those of 16 jobs.
const BLOCK_SLOTS: usize = 32;

/// Slots for operations that are copied, for each channel.
const BOUNCE_SLOTS: usize = 4;

const BOUNCE_LEN_MIN: usize = 4096;
const BOUNCE_LEN_MAX: usize = 64 << 20;

/// Jobs of one channel at a time. Each may use both routes of its own file.
pub(super) const JOBS_MAX: u32 = 100;

/// What an [`Io`] or a [`Driver`](super::Driver) should be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IoOptions {
    /// Which engine. [`Io::engine`] says what came of it.
    pub engine: EngineChoice,
    /// Operations in flight for each call, 1 to [`DEPTH_MAX`].
    pub depth: u32,
    /// Most calls at a time; more wait for one another. A power of ten is a lot: each has an engine of its own.
    pub channels_max: usize,
    /// Longest operation that is copied, in bytes: 4 KiB to 64 MiB. Each channel has four slots of this length.
    pub bounce_len: usize,
    /// The memory node of the slots.
    pub node: NodeChoice,
    /// The caller's own long-lived memory, registered with every engine: transfers from and to it are cheaper.
    pub regions: Vec<FixedRegion>,
    /// Whether a call that is one operation, with nothing to overlap it with, is made as a plain call (`preadv2`, `pwritev2`) by the
    /// thread itself, as long as nobody demanded an engine: that takes less than any detour. On by default.
    pub plain_calls: bool,
    /// Asks the device for completions instead of waiting for interrupts, as [`EngineOptions::polled`].
    pub polled: bool,
    /// Lets a thread of the kernel take what is submitted, as [`EngineOptions::kernel_submission`].
    pub kernel_submission: Option<Duration>,
    /// How long dropping waits for operations that do not end, as [`EngineOptions::drain_max`].
    pub drain_max: Duration,
}

impl Default for IoOptions {
    /// The best engine that works, 32 deep, 16 calls at a time, copies in pieces of 256 KiB.
    fn default() -> Self {
        let EngineOptions { drain_max, .. } = EngineOptions::default();
        Self {
            engine: EngineChoice::Auto,
            depth: 32,
            channels_max: 16,
            bounce_len: 256 << 10,
            node: NodeChoice::Any,
            regions: Vec::new(),
            plain_calls: true,
            polled: false,
            kernel_submission: None,
            drain_max,
        }
    }
}

impl IoOptions {
    fn check(&self) -> Result<(), IoError> {
        let check = |option, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(IoError::Option { option, value: value as u64, min: min as u64, max: max as u64 })
        };
        check("depth", self.depth as usize, 1, DEPTH_MAX as usize)?;
        check("channels_max", self.channels_max, 1, 1024)?;
        check("bounce_len", self.bounce_len, BOUNCE_LEN_MIN, BOUNCE_LEN_MAX)
    }

    /// Makes the pages of `channels` channels.
    pub(super) fn pool(&self, channels: usize) -> Result<Arc<PagePool>, IoError> {
        self.check()?;
        let long = BOUNCE_SLOTS.saturating_mul(channels);
        let short = BLOCK_SLOTS.saturating_mul(channels);
        let options = PoolOptions::uniform(self.bounce_len, long).and(BLOCK_SLOT_LEN, short);
        Ok(Arc::new(PagePool::new(options.with_node(self.node))?))
    }

    /// Says what engine to make over `pool`, sharing a registration if there is one.
    pub(super) fn engine_options(
        &self,
        pool: &Arc<PagePool>,
        share: Option<SharedRegistration>,
    ) -> EngineOptions {
        let mut fixed = Vec::new();
        if share.is_none() {
            fixed.push(FixedRegion::from_pool(Arc::clone(pool)));
            fixed.extend(self.regions.iter().cloned());
        }
        EngineOptions {
            kind: self.engine,
            depth: self.depth,
            fixed,
            share,
            polled: self.polled,
            kernel_submission: self.kernel_submission,
            drain_max: self.drain_max,
            ..EngineOptions::default()
        }
    }

    /// Makes a channel of the blocking front.
    fn call_channel(
        &self,
        engine: MovableEngine<Held, Tag>,
        pool: &PagePool,
        plain_calls: bool,
    ) -> Result<CallChannel, EngineError> {
        let plain = EngineOptions { kind: EngineChoice::Threads, depth: 1, ..EngineOptions::default() };
        let plain = if plain_calls { Some(MovableEngine::new(plain)?) } else { None };
        Ok(Channel::new(engine, plain, self.slots(pool), JOBS_MAX.min(self.depth)))
    }

    /// Takes the slots of one channel out of `pool`.
    pub(super) fn slots(&self, pool: &PagePool) -> Slots {
        let take = |len, count: usize| (0..count).map_while(|_| pool.take_len(len)).collect();
        let long = take(self.bounce_len, BOUNCE_SLOTS);
        Slots { long, short: take(BLOCK_SLOT_LEN, BLOCK_SLOTS), long_len: self.bounce_len }
    }
}

/// A channel of the blocking front. Its jobs are numbered by whoever uses it.
pub(super) type CallChannel = Channel<MovableEngine<Held, Tag>, u64>;

/// Engines and pages for any number of files and threads.
///
/// [`File::open`](super::File::open) uses one that all of the process shares. Make one to choose the engine, its depth, or to register
/// memory. It is a handle: clones are the same `Io`. Its last file and clone take it down.
#[derive(Clone)]
pub struct Io {
    shared: Arc<Shared>,
}

struct Shared {
    options: IoOptions,
    pool: Arc<PagePool>,
    report: EngineReport,
    plain_calls: bool,
    registration: Option<SharedRegistration>,
    channels: Mutex<Channels>,
    freed: Condvar,
}

struct Channels {
    idle: Vec<CallChannel>,
    made: usize,
    /// Threads that wait for one.
    waiting: usize,
}

thread_local! {
    /// Channels that this thread has: those of the scopes that it is in.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Why there is no channel.
#[derive(Debug)]
pub(super) enum ChannelError {
    Engine(EngineError),
    /// This thread has `held` of them, and might wait for itself.
    None {
        channels_max: usize,
        held: usize,
    },
}

impl From<ChannelError> for TransferErrorKind {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Engine(error) => Self::Engine { error },
            ChannelError::None { channels_max, held } => Self::NoChannel { channels_max, held },
        }
    }
}

static PROCESS: OnceLock<Io> = OnceLock::new();

impl Io {
    /// Makes one.
    ///
    /// # Errors
    /// [`IoError`]: an option is out of range, the engine that was demanded does not work, or there is no memory.
    pub fn new(options: IoOptions) -> Result<Self, IoError> {
        let pool = options.pool(options.channels_max)?;
        let engine = MovableEngine::new(options.engine_options(&pool, None))?;
        let report = engine.report().clone();
        let registration = engine.shared_registration();
        let plain_calls = options.plain_calls && report.chosen_by == ChosenBy::Probe;
        let first = options.call_channel(engine, &pool, plain_calls)?;
        let channels = Mutex::new(Channels { idle: vec![first], made: 1, waiting: 0 });
        let freed = Condvar::new();
        Ok(Self {
            shared: Arc::new(Shared { options, pool, report, plain_calls, registration, channels, freed }),
        })
    }

    /// Returns the one that all of the process shares, with [`IoOptions::default`]. It is made when it is first asked for.
    ///
    /// # Errors
    /// As [`Io::new`]; the next call tries again.
    pub fn process() -> Result<Self, IoError> {
        if let Some(io) = PROCESS.get() {
            return Ok(io.clone());
        }
        let io = Self::new(IoOptions::default())?;
        Ok(PROCESS.get_or_init(|| io).clone())
    }

    /// Returns what the engine became: which one, who chose it, what was refused, what is registered.
    #[must_use]
    pub fn engine(&self) -> &EngineReport {
        &self.shared.report
    }

    /// Says whether calls that are one operation are plain calls: [`IoOptions::plain_calls`], unless an engine was demanded.
    #[must_use]
    pub fn makes_plain_calls(&self) -> bool {
        self.shared.plain_calls
    }

    /// Returns the kind of the pages that copies go through.
    #[must_use]
    pub fn page_kind(&self) -> PageKind {
        self.shared.pool.kind()
    }

    /// Returns the longest operation that is copied, in bytes.
    #[must_use]
    pub fn bounce_len(&self) -> usize {
        self.shared.options.bounce_len
    }

    /// Takes a channel, makes one, or waits for one.
    pub(super) fn channel(&self) -> Result<CallGuard<'_>, ChannelError> {
        let mut channels = self.channels();
        loop {
            if let Some(channel) = channels.idle.pop() {
                return Ok(CallGuard::new(self, channel));
            }
            if channels.made < self.shared.options.channels_max {
                channels.made += 1;
                drop(channels);
                let refused = match self.make() {
                    Ok(channel) => return Ok(CallGuard::new(self, channel)),
                    Err(error) => error,
                };
                channels = self.channels();
                channels.made -= 1;
                // Without another that comes back, there is nothing to wait for.
                if channels.made == 0 || HELD.get() > 0 {
                    return Err(ChannelError::Engine(refused));
                }
            }
            if HELD.get() > 0 {
                let channels_max = self.shared.options.channels_max;
                return Err(ChannelError::None { channels_max, held: HELD.get() });
            }
            channels.waiting += 1;
            channels = self.shared.freed.wait(channels).unwrap_or_else(PoisonError::into_inner);
            channels.waiting -= 1;
        }
    }

    fn make(&self) -> Result<CallChannel, EngineError> {
        let Shared { options, pool, registration, plain_calls, .. } = &*self.shared;
        let engine = MovableEngine::new(options.engine_options(pool, registration.clone()))?;
        options.call_channel(engine, pool, *plain_calls)
    }

    fn channels(&self) -> MutexGuard<'_, Channels> {
        // What is changed under the lock is changed by one push, pop or addition.
        self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("options", &self.shared.options)
            .field("report", &self.shared.report)
            .finish_non_exhaustive()
    }
}

/// A channel that one call or scope uses. Whoever holds it sees to it that no job is left when it drops.
pub(super) struct CallGuard<'a> {
    io: &'a Io,
    channel: Option<CallChannel>,
    /// It is counted on this thread.
    here: PhantomData<*const ()>,
}

impl<'a> CallGuard<'a> {
    fn new(io: &'a Io, channel: CallChannel) -> Self {
        HELD.set(HELD.get() + 1);
        Self { io, channel: Some(channel), here: PhantomData }
    }

    pub(super) fn get(&mut self) -> &mut CallChannel {
        self.channel.as_mut().expect("a guard has its channel until it drops")
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
        let Some(channel) = self.channel.take() else { return };
        let mut channels = self.io.channels();
        channels.idle.push(channel);
        // Waking nobody is a system call all the same.
        if channels.waiting > 0 {
            self.io.shared.freed.notify_one();
        }
    }
}
