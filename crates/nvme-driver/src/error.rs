//! What can go wrong: [`InitError`] at bring-up, [`AdminError`] of one admin command, [`SubmitError`], [`PollError`].

use scatterlist::desc::prp::MemoryPageError;
use scatterlist::map::{MapError, PoolError, PrepareError, TargetError};
use scatterlist::{LimitsError, StackError};

use crate::format::FormatError;
use crate::status::DeviceStatus;

/// Why a controller did not stop or start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// The registers read as all ones: the controller was removed, or its bus is down.
    #[error("the registers read as all ones: the controller is gone")]
    Gone,
    /// CSTS.CFS is set.
    #[error("the controller reports a fatal status (CSTS.CFS)")]
    Fatal,
    /// CSTS.RDY did not change in the time that the controller asks for.
    #[error("CSTS.RDY did not become {ready} within {timeout_ns} ns, the controller's own timeout")]
    Timeout {
        /// The value waited for.
        ready: bool,
        /// How long that was, in nanoseconds.
        timeout_ns: u64,
    },
}

/// Why a controller could not be brought up. It is disabled then, or its memory stays taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The registers read as all ones.
    #[error("the registers read as all ones: there is no controller")]
    Gone,
    /// It did not stop or start.
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// It has no NVM command set.
    #[error("the controller has no NVM command set (CAP.CSS is {css:#x})")]
    CommandSet {
        /// CAP.CSS.
        css: u64,
    },
    /// Its page sizes contradict each other.
    #[error(
        "memory pages from 2^(12 + {mpsmin}) to 2^(12 + {mpsmax}) bytes cannot be (CAP.MPSMIN, CAP.MPSMAX)"
    )]
    PageSizes {
        /// CAP.MPSMIN.
        mpsmin: u64,
        /// CAP.MPSMAX.
        mpsmax: u64,
    },
    /// Its smallest page is none that PRPs can have.
    #[error(transparent)]
    Page(#[from] MemoryPageError),
    /// Queues of two entries do not fit.
    #[error("queues have at most {mqes} + 1 entries (CAP.MQES), two are needed")]
    QueueEntries {
        /// CAP.MQES.
        mqes: u64,
    },
    /// It needs queue entries of other sizes.
    #[error("queue entries must be of 2^{sqes} and 2^{cqes} bytes (SQES, CQES), the driver has 2^6 and 2^4")]
    EntrySizes {
        /// The required submission entry size, a power of two.
        sqes: u8,
        /// The required completion entry size, a power of two.
        cqes: u8,
    },
    /// SGLs were demanded of a controller that has none.
    #[error("SGLs were demanded, the controller has none (SGLS is {sgls:#x})")]
    NoSgl {
        /// The SGLS field of the identify data.
        sgls: u32,
    },
    /// An option that cannot be.
    #[error("option {option} is {value}, it must be from {min} to {max}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// There is no memory for queues or list pages.
    #[error("memory for {what}: {error}")]
    Memory {
        /// What it was for.
        what: &'static str,
        /// Why there is none.
        #[source]
        error: MapError,
    },
    /// The pool of list pages cannot be.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The controller's limits contradict themselves.
    #[error("the limits of the controller: {0}")]
    Limits(#[from] LimitsError),
    /// The controller's limits contradict each other.
    #[error("the limits of the controller: {0}")]
    Stack(#[from] StackError),
    /// They cannot be met on this bus.
    #[error("the limits of the controller: {0}")]
    Target(#[from] TargetError),
    /// An admin command failed.
    #[error("{what}: {error}")]
    Admin {
        /// What the command was for.
        what: &'static str,
        /// How it failed.
        #[source]
        error: AdminError,
    },
}

/// Why an admin command did not do what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The controller says so.
    #[error("admin command {opcode:#04x} failed: {status}")]
    Status {
        /// Its opcode.
        opcode: u8,
        /// What the controller said.
        status: DeviceStatus,
    },
    /// No completion came in time.
    #[error("admin command {opcode:#04x} did not complete within {timeout_ns} ns")]
    Timeout {
        /// Its opcode.
        opcode: u8,
        /// How long that was, in nanoseconds.
        timeout_ns: u64,
    },
    /// The controller gave up or is gone.
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// The completion was not of the command.
    #[error("the admin queue: {0}")]
    Lied(#[from] PollError),
    /// The controller is dead since an earlier failure.
    #[error("the controller is dead")]
    Dead,
}

/// Why a namespace cannot be used. The others can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// Its blocks carry metadata.
    #[error(
        "namespace {namespace} has {metadata_len} bytes of metadata with each block; the driver transfers none"
    )]
    Metadata {
        /// Its identifier.
        namespace: u32,
        /// Bytes of metadata a block.
        metadata_len: u16,
    },
    /// Its block size is none that can be.
    #[error("namespace {namespace} has blocks of 2^{log2} bytes (LBADS), they must be from 2^9 to 2^{max}")]
    BlockLen {
        /// Its identifier.
        namespace: u32,
        /// LBADS.
        log2: u8,
        /// The most.
        max: u8,
    },
    /// Its bytes pass 64 bits.
    #[error("namespace {namespace} has {blocks} blocks of {block_len} bytes, which pass 64 bits")]
    Capacity {
        /// Its identifier.
        namespace: u32,
        /// NSZE.
        blocks: u64,
        /// Bytes of a block.
        block_len: u64,
    },
    /// Its limits contradict themselves.
    #[error("the limits of namespace {namespace}: {error}")]
    Limits {
        /// Its identifier.
        namespace: u32,
        /// How.
        #[source]
        error: LimitsError,
    },
    /// Its limits cannot be met by the controller.
    #[error("the limits of namespace {namespace}: {error}")]
    Target {
        /// Its identifier.
        namespace: u32,
        /// Why.
        #[source]
        error: TargetError,
    },
}

/// Why a command was not submitted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Every command of the queue is in flight: submit again when some have come back.
    #[error("all {commands} commands of queue {queue} are in flight")]
    QueueFull {
        /// The queue.
        queue: u16,
        /// Commands that it takes at a time.
        commands: usize,
    },
    /// It breaks a limit of the namespace, could not be mapped, or list pages or bounce memory are short.
    #[error(transparent)]
    Prepare(#[from] PrepareError<FormatError>),
    /// There is no list page for the ranges.
    #[error(transparent)]
    ListPage(MapError),
    /// A stream has no place on a disk.
    #[error("the request has no position")]
    NoPosition,
    /// The bytes are not whole blocks within the namespace.
    #[error(
        "{bytes} bytes at {at} are not 1 to {bytes_max} bytes of whole blocks of {block_len} within {capacity}"
    )]
    Range {
        /// Where it starts.
        at: u64,
        /// Its bytes, with what headers and trailers add.
        bytes: u64,
        /// Bytes of a block.
        block_len: u64,
        /// Bytes of the namespace.
        capacity: u64,
        /// The most bytes of such a command.
        bytes_max: u64,
    },
    /// A command has from 1 to 256 ranges.
    #[error("{ranges} ranges, a command has from 1 to {max}")]
    Ranges {
        /// Ranges given.
        ranges: usize,
        /// The most.
        max: usize,
    },
    /// The controller does not have the command.
    #[error("the controller has no {command} (ONCS is {oncs:#x})")]
    Unsupported {
        /// Which.
        command: &'static str,
        /// The ONCS field of the identify data.
        oncs: u16,
    },
    /// The namespace is another controller's.
    #[error("namespace {namespace} is of another controller than queue {queue}")]
    Foreign {
        /// The namespace.
        namespace: u32,
        /// The queue.
        queue: u16,
    },
    /// The controller takes no commands: a reset failed.
    #[error("the controller is stopped")]
    Stopped,
}

impl SubmitError {
    /// Says whether the same request may be taken later, as it is: something is used up now.
    #[must_use]
    pub const fn is_backpressure(&self) -> bool {
        matches!(
            self,
            Self::QueueFull { .. }
                | Self::Prepare(PrepareError::Map(MapError::Shortage { .. }))
                | Self::ListPage(MapError::Shortage { .. })
        )
    }
}

/// A command that was not submitted: what was given comes back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SubmitFailed<T> {
    /// The request, or the completion of a command without data.
    pub request: T,
    /// Why it was not submitted.
    #[source]
    pub error: SubmitError,
}

/// A completion that no controller may send. The entry was skipped; commands in flight stay so, and a controller that
/// does this should be [reset](crate::Controller::reset).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// No command with this identifier is in flight: never submitted, or completed before.
    #[error("queue {queue}: a completion for command {command:#06x}, which is not in flight")]
    UnknownCommand {
        /// The queue.
        queue: u16,
        /// The identifier.
        command: u16,
    },
    /// It names another submission queue.
    #[error("queue {queue}: a completion for submission queue {said}")]
    WrongQueue {
        /// The queue.
        queue: u16,
        /// The submission queue that it names.
        said: u16,
    },
    /// It says that entries were taken that were not there.
    #[error(
        "queue {queue}: the head of the submission queue is said to be {said}, it is from {head} to {tail}"
    )]
    WrongHead {
        /// The queue.
        queue: u16,
        /// What the completion says.
        said: u16,
        /// The head so far.
        head: u16,
        /// The tail that the controller was told.
        tail: u16,
    },
    /// The controller takes no commands: a reset failed.
    #[error("queue {queue}: the controller is stopped")]
    Stopped {
        /// The queue.
        queue: u16,
    },
}
