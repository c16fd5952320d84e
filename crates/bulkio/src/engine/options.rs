//! What an engine is asked to be, [`EngineOptions`], and what it became, [`EngineReport`].
//!
//! Rule `no-silent-fallback`: whatever was asked for and not given stands in the report with its reason.
#![expect(unsafe_code, reason = "the promise of FixedRegion::new")]

use core::any::Any;
use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use scatterlist::CpuAddr;

use crate::pages::PagePool;

/// The longest buffer that io_uring registers, in bytes (`io_uring_register(2)`).
const FIXED_BUFFER_LEN_MAX: u64 = 1 << 30;

/// The greatest depth of an engine.
pub const DEPTH_MAX: u32 = 4096;

/// Which engine to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineChoice {
    /// io_uring where it works, else blocking calls; the report says which and why.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Blocking calls, one after the other.
    Blocking,
}

/// Memory to register with the engine once, so that transfers from and to it are cheaper.
#[derive(Clone)]
pub struct FixedRegion {
    start: CpuAddr,
    len: u64,
    buffer_len: u64,
    keeper: Arc<dyn Any + Send + Sync>,
}

impl FixedRegion {
    /// Names a region of `len` bytes at `start`.
    ///
    /// # Safety
    /// As long as `keeper` lives, the region stays mapped as it is now: the same pages at the same addresses.
    /// (A registration holds the pages themselves: transfers through an address that was mapped anew
    /// would miss the new memory.)
    #[must_use]
    pub unsafe fn new(start: CpuAddr, len: u64, keeper: Arc<dyn Any + Send + Sync>) -> Self {
        Self { start, len, buffer_len: FIXED_BUFFER_LEN_MAX, keeper }
    }

    /// Names all slots of a pool, cut so that none lies across two registered buffers.
    #[must_use]
    pub fn from_pool(pool: Arc<PagePool>) -> Self {
        let (start, len) = pool.range();
        let slot_len = u64::try_from(pool.slot_len()).unwrap_or(u64::MAX);
        let buffer_len = u64::from(pool.slots_per_range()).saturating_mul(slot_len);
        // SAFETY: a pool keeps its one mapping as it is until the pool itself is dropped.
        unsafe { Self::new(start, len, pool) }.with_buffer_len(buffer_len)
    }

    /// Cuts the region into registered buffers of `len` bytes each, at most 1 GiB, which is the default.
    ///
    /// A transfer goes through one buffer: memory that lies across two is not taken as registered.
    #[must_use]
    pub fn with_buffer_len(self, len: u64) -> Self {
        Self { buffer_len: len.clamp(1, FIXED_BUFFER_LEN_MAX), ..self }
    }

    pub(super) const fn buffer_len(&self) -> u64 {
        self.buffer_len
    }

    /// Returns the first address.
    #[must_use]
    pub const fn start(&self) -> CpuAddr {
        self.start
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len
    }

    pub(super) fn keeper(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.keeper)
    }
}

impl fmt::Debug for FixedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FixedRegion({}, {} bytes)", self.start, self.len)
    }
}

/// What an engine is asked to be.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Which engine.
    pub kind: EngineChoice,
    /// Most requests in flight, and most operations in flight: 1 to [`DEPTH_MAX`].
    pub depth: u32,
    /// Memory to register.
    pub fixed: Option<FixedRegion>,
    /// Whether to keep a record of operations, for [`Engine::take_log`](super::Engine::take_log).
    pub log: bool,
    /// How long dropping the engine waits for operations that do not end, before it leaks them.
    pub drain_max: Duration,
}

impl Default for EngineOptions {
    /// Whatever engine works, 32 deep, nothing registered, no log, 30 seconds to drain.
    fn default() -> Self {
        Self {
            kind: EngineChoice::Auto,
            depth: 32,
            fixed: None,
            log: false,
            drain_max: Duration::from_secs(30),
        }
    }
}

/// The kinds of engine there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// Blocking calls.
    Blocking,
}

impl EngineKind {
    /// Returns the stable snake_case name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Blocking => "blocking",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much of the fixed region is registered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registration {
    /// All of it.
    Whole {
        /// Bytes registered.
        bytes: u64,
    },
    /// The front of it: the system refused more.
    Partial {
        /// Bytes registered.
        bytes: u64,
        /// Bytes that were to be registered.
        of: u64,
        /// Why not all.
        reason: String,
    },
    /// Nothing.
    None {
        /// Why.
        reason: String,
    },
}

/// What an engine became.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineReport {
    /// The kind of engine.
    pub kind: EngineKind,
    /// Why io_uring is not used although it was wanted: what failed and what to change.
    pub refused: Option<String>,
    /// The flags that the ring was set up with, by name.
    pub flags: &'static [&'static str],
    /// How much of the fixed region is registered.
    pub fixed: Registration,
    /// Slots of the table of registered files; 0 where files are not registered.
    pub files_registered: u32,
}

/// Running counts of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests and flushes submitted.
    pub requests: u64,
    /// Operations handed to the kernel for them.
    pub operations: u64,
    /// Operations that used registered memory.
    pub operations_fixed: u64,
    /// Operations that went on where a short or interrupted one had stopped.
    pub operations_resumed: u64,
    /// Bytes read, as completed requests count them.
    pub read_bytes: u64,
    /// Bytes written, as completed requests count them.
    pub written_bytes: u64,
    /// Operations that the log had no room for.
    pub log_dropped: u64,
}
