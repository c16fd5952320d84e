//! What an engine became, [`EngineReport`], and what it has done so far, [`Stats`].
//!
//! Rule `no-silent-fallback`: whatever was asked for and not given stands in the report with its reason.

use core::fmt;

/// The kinds of engine there are, best first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// Native AIO, with threads beneath it for what it cannot do.
    Aio,
    /// Threads that make plain calls.
    Threads,
}

impl EngineKind {
    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Aio => "aio",
            Self::Threads => "threads",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who chose the kind of engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChosenBy {
    /// [`EngineOptions::kind`](super::EngineOptions::kind), or another option that only this kind can fulfil.
    Option,
    /// The environment variable `BULKIO_ENGINE`.
    Environment,
    /// The probe: the best that works.
    Probe,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Option => "the options",
            Self::Environment => "BULKIO_ENGINE",
            Self::Probe => "the probe",
        })
    }
}

/// A better kind of engine that does not work here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The kind.
    pub kind: EngineKind,
    /// What failed and what to change.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

/// How much of the fixed regions is registered.
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

/// Whether an engine uses the registration of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// That was not asked for.
    NotAsked,
    /// It does: nothing was pinned again.
    Shared,
    /// It does not; the memory was registered anew, as far as [`EngineReport::fixed`] says.
    Anew {
        /// Why.
        reason: String,
    },
}

/// Whether an engine has a ring that carries commands of devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandRing {
    /// That was not asked for: commands are calls of threads.
    NotAsked,
    /// It has one. Each [`FileReport`](super::FileReport) says whether the commands of a file go through it.
    Ring,
    /// It has none: commands are calls of threads.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What an engine became.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct EngineReport {
    /// The kind of engine.
    pub kind: EngineKind,
    /// Who chose it.
    pub chosen_by: ChosenBy,
    /// The better kinds that do not work here, best first; empty where the kind was demanded.
    pub refused: Vec<Refused>,
    /// The flags that the ring was set up with, by name.
    pub flags: Vec<&'static str>,
    /// How much of the fixed regions is registered.
    pub fixed: Registration,
    /// Whether that is another engine's registration.
    pub sharing: Sharing,
    /// Whether operations with several pieces can use registered memory (`IORING_OP_READV_FIXED`, Linux 6.15).
    pub vectored_fixed: bool,
    /// Slots of the table of registered files; 0 where files are not registered.
    pub files_registered: u32,
    /// Whether a ring carries commands of devices.
    pub commands: CommandRing,
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
    /// Operations that were commands of a device ([`Engine::add_commands`](super::Engine::add_commands)).
    pub operations_commands: u64,
    /// Operations that a ring left to native AIO beneath it ([`Carrier::Aio`](super::Carrier::Aio)).
    pub operations_aio: u64,
    /// Operations that went on where a short or interrupted one had stopped.
    pub operations_resumed: u64,
    /// Operations behind which the kernel had nothing left when this thread took their results: of a device that does its work while it is asked,
    /// such as memory, nearly all; of one that works by itself, few, unless one is in flight at a time.
    pub operations_at_once: u64,
    /// Bytes read, as completed requests count them.
    pub read_bytes: u64,
    /// Bytes written, as completed requests count them.
    pub written_bytes: u64,
    /// Operations that the log had no room for.
    pub log_dropped: u64,
}
