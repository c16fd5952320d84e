//! What an engine is asked to be: [`EngineOptions`].
//!
//! What it became stands in the report (`report`), what is registered with it in `fixed`; `choose` walks the ladder
//! that [`EngineChoice::Auto`] means. An option that cannot be had is an error, never left out quietly.

use core::fmt;
use core::str::FromStr;
use std::time::Duration;

use super::fixed::{FixedRegion, SharedRegistration};
use super::report::EngineKind;

/// The greatest depth of an engine.
pub const DEPTH_MAX: u32 = 4096;

/// Which engine to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineChoice {
    /// What the environment variable `BULKIO_ENGINE` names; without it, or where it says `auto`, the first
    /// that works of io_uring, native AIO and threads. The report says which and why.
    #[default]
    Auto,
    /// io_uring or an error. Transfers of disks that make a ring wait go to native AIO beneath it all the same, see
    /// [`Carrier`](super::Carrier).
    Uring,
    /// Native AIO (`io_submit`) or an error. What native AIO cannot do without blocking, such as buffered files
    /// and streams, is done by threads beneath it.
    Aio,
    /// A pool of threads that make plain calls.
    Threads,
}

impl EngineChoice {
    /// The name of the environment variable that decides where the options say [`EngineChoice::Auto`].
    pub const VARIABLE: &'static str = "BULKIO_ENGINE";

    /// Every name, as the environment variable takes them.
    pub const NAMES: [&'static str; 4] = ["auto", "io_uring", "aio", "threads"];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => EngineKind::Uring.name(),
            Self::Aio => EngineKind::Aio.name(),
            Self::Threads => EngineKind::Threads.name(),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no engine's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name:?} is no engine: it must be auto, io_uring, aio or threads")]
pub struct UnknownEngine {
    /// The name.
    pub name: String,
}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let all = [Self::Auto, Self::Uring, Self::Aio, Self::Threads];
        let found = all.into_iter().find(|choice| choice.name() == name);
        found.ok_or_else(|| UnknownEngine { name: name.to_owned() })
    }
}

/// Which threads use an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Issuer {
    /// The one that made it. The fastest: io_uring then defers its work to that thread's waits.
    #[default]
    OneThread,
    /// One at a time, but not always the same: what a [`MovableEngine`](super::MovableEngine) sets.
    AnyThread,
}

/// What an engine is asked to be.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Which engine.
    pub kind: EngineChoice,
    /// Most requests in flight, and most operations in flight: 1 to [`DEPTH_MAX`].
    pub depth: u32,
    /// Memory to register: pools, and regions of the user's own.
    pub fixed: Vec<FixedRegion>,
    /// The registration of another engine, to be used by this one too instead of pinning the same memory again
    /// (Linux 6.12). Where that cannot be had its memory is registered anew, and the report says so. Not
    /// together with `fixed`.
    pub share: Option<SharedRegistration>,
    /// Which threads use the engine.
    pub issuer: Issuer,
    /// Whether to ask the device for completions, again and again, instead of waiting for its interrupt
    /// (`IORING_SETUP_IOPOLL`). It takes io_uring, files open with `O_DIRECT`, and a device with queues for
    /// polling; [`Engine::add_file`](super::Engine::add_file) refuses others. Flushes are refused with `EINVAL`,
    /// and a wait for a limit of time or a wake keeps its thread busy while anything is in flight.
    pub polled: bool,
    /// Whether a thread of the kernel takes what was submitted (`IORING_SETUP_SQPOLL`), so that submitting is no
    /// system call, and how long it goes on looking when nothing comes, in whole milliseconds. It takes io_uring
    /// and a processor to spare.
    pub kernel_submission: Option<Duration>,
    /// Whether to ask for a ring whose entries have room for commands of devices (`IORING_SETUP_SQE128` and
    /// `IORING_SETUP_CQE32`, Linux 5.19), for [`Engine::add_commands`](super::Engine::add_commands). Its entries are twice as
    /// long for all operations. Where it cannot be had commands are calls of threads, and the report says so
    /// ([`EngineReport::commands`](super::EngineReport::commands)). Not together with `polled`.
    pub commands: bool,
    /// Whether to keep a record of operations, for [`Engine::take_log`](super::Engine::take_log).
    pub log: bool,
    /// How long dropping the engine waits for operations that do not end, before it leaks them.
    pub drain_max: Duration,
}

impl Default for EngineOptions {
    /// Whatever engine works, 32 deep, for one thread, nothing registered, no room for commands on the ring, no log, 30
    /// seconds to drain.
    fn default() -> Self {
        Self {
            kind: EngineChoice::Auto,
            depth: 32,
            fixed: Vec::new(),
            share: None,
            issuer: Issuer::OneThread,
            polled: false,
            kernel_submission: None,
            commands: false,
            log: false,
            drain_max: Duration::from_secs(30),
        }
    }
}
