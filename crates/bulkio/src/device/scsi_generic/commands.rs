//! [`DiskCommands`]: the [`CommandSet`] of a SCSI disk: READ, WRITE and SYNCHRONIZE CACHE for the parts of planned requests.
//!
//! What may pass is sent again, a bounded number of times ([`Retries`]); a short transfer is gone on with; where a block fails, those before
//! it are moved for certain, and the fault stands at that block. A unit that lost power after writes that were not flushed fails
//! the next flush (rule `nothing-lost-quietly`).
#![expect(unsafe_code, reason = "implements CommandSet, and sends the memory of its commands")]

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use scatterlist::Status;

use super::counts::{Counters, Counts};
use super::locate::{Span, first_bad};
use crate::device::scsi::folder::Folder;
use crate::device::scsi::{
    Answer, Cdb, DataDirection, Exchange, HostStatus, Retries, ScsiStatus, SenseKey, Transport,
};
use crate::engine::{Action, Command, CommandSet, Ended};

/// A flush takes as many times longer than a transfer: `SD_FLUSH_TIMEOUT_MULTIPLIER` of `drivers/scsi/sd.h`.
const FLUSH_TIMEOUT_FACTOR: u32 = 2;

/// Tries in a row that move not one block and give no reason, before a transfer is given up as short.
const EMPTY_MAX: u32 = 2;

/// How reads, writes and flushes of a disk become commands.
#[derive(Debug)]
pub struct DiskCommands {
    transport: Arc<dyn Transport>,
    /// The device in sysfs, if it is there.
    folder: Option<Folder>,
    block_bytes: u32,
    timeout: Duration,
    counters: Counters,
    /// Writes begun.
    writes: AtomicU64,
    /// Writes ended: what a flush that begins now covers.
    ended: AtomicU64,
    /// Those of them that a flush has made durable.
    flushed: AtomicU64,
    /// The code of a unit attention that says that they may be lost; 0 for none.
    lost: AtomicU32,
}

/// Why a command failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    status: Status,
    /// The address of the block at fault, if the device says.
    lba: Option<u64>,
    /// Bytes that were moved all the same, by the word of the host adapter.
    moved_bytes: u32,
}

impl Failure {
    const fn of(status: Status) -> Self {
        Self { status, lba: None, moved_bytes: 0 }
    }

    fn of_errno(errno: Errno) -> Self {
        Self::of(Status::Errno(errno.raw_os_error().unsigned_abs()))
    }

    fn of_answer(answer: &Answer, status: ScsiStatus, moved_bytes: u32) -> Self {
        let sense = answer.sense().filter(|sense| !sense.deferred);
        // SBC-3, "Sense data": for these keys the information field is the address of a block.
        let names = |key| matches!(key, SenseKey::Medium | SenseKey::Hardware);
        let lba = sense.filter(|sense| names(sense.key)).and_then(|sense| sense.information);
        // An adapter that does not count says that nothing is left, whatever was moved.
        let moved_bytes = if answer.residual_bytes == 0 { 0 } else { moved_bytes };
        Self { status: status.into_fault(), lba, moved_bytes }
    }

    const fn scsi(&self) -> Option<ScsiStatus> {
        ScsiStatus::of_fault(&self.status)
    }

    /// Says whether it is the fault of certain blocks of this command: not of the way there, nor of an earlier command.
    fn is_of_blocks(&self) -> bool {
        let deferred = matches!(self.scsi(), Some(ScsiStatus::Sense { deferred: true, .. }));
        !deferred && (self.lba.is_some() || self.scsi().is_some_and(ScsiStatus::is_medium_error))
    }
}

impl DiskCommands {
    /// Makes commands for a disk with blocks of `block_bytes` bytes, each of which may take `timeout`.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, block_bytes: u32, timeout: Duration) -> Self {
        Self {
            transport,
            folder: None,
            block_bytes,
            timeout,
            counters: Counters::default(),
            writes: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            lost: AtomicU32::new(0),
        }
    }

    /// Has a fault that may mean that the device is gone looked up in sysfs.
    #[must_use]
    pub fn with_folder(self, folder: Folder) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// # Safety
    /// The pieces are valid, and accessed by nobody else, until this returns.
    unsafe fn transfer(&self, direction: DataDirection, position: u64, command: &Command<'_>) -> Ended {
        let block = u64::from(self.block_bytes);
        let (lba, inside) = (position.checked_div(block), position.checked_rem(block));
        let (blocks, over) =
            (command.bytes.checked_div(self.block_bytes), command.bytes.checked_rem(self.block_bytes));
        let (Some(lba), Some(0), Some(blocks), Some(0)) = (lba, inside, blocks, over) else {
            return Ended {
                bytes: 0,
                fault: Some(Status::Errno(Errno::INVAL.raw_os_error().unsigned_abs())),
            };
        };
        let whole = Span { lba, blocks, block_bytes: self.block_bytes, pieces: command.pieces };
        if direction == DataDirection::ToDevice {
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        let (mut done, mut empty) = (0, 0);
        let failure = loop {
            let left = blocks.saturating_sub(done);
            // SAFETY: the caller's promise.
            match unsafe { self.run(direction, &whole, done, left) } {
                Ok(moved) if moved >= left => return Ended { bytes: command.bytes, fault: None },
                Ok(0) if empty >= EMPTY_MAX => return Ended { bytes: self.bytes(done), fault: None },
                Ok(0) => empty = empty.saturating_add(1),
                Ok(moved) => (done, empty) = (done.saturating_add(moved), 0),
                Err(failure) => break failure,
            }
        };
        // SAFETY: the caller's promise.
        let (good, failure) = match unsafe { self.certain(direction, &whole, done, failure) } {
            Ok(good) => (good, failure),
            Err(between) => between,
        };
        // A fault of blocks that have all been moved since was none that stays.
        let fault = (good < blocks).then_some(failure.status);
        Ended { bytes: self.bytes(good), fault }
    }

    fn bytes(&self, blocks: u32) -> u32 {
        blocks.saturating_mul(self.block_bytes)
    }

    /// Moves for certain what lies before the block at fault, and returns how many blocks of the whole that is. `done` of them are
    /// moved already, and the run of the rest ended with `failure`. The error is a fault that came in between.
    ///
    /// # Safety
    /// As [`transfer`](Self::transfer).
    unsafe fn certain(
        &self,
        direction: DataDirection,
        whole: &Span<'_>,
        done: u32,
        failure: Failure,
    ) -> Result<u32, (u32, Failure)> {
        if !failure.is_of_blocks() {
            return Ok(done);
        }
        // The device may name the block; that is believed only if it is one of those that were asked for.
        let named = failure.lba.and_then(|lba| u32::try_from(lba.checked_sub(whole.lba)?).ok());
        if let Some(named) = named.filter(|named| (done..whole.blocks).contains(named)) {
            let moved = done.saturating_add(whole.whole_blocks(failure.moved_bytes));
            let before = named.saturating_sub(moved);
            if before == 0 {
                return Ok(named);
            }
            self.counters.searches.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            let again = unsafe { self.run(direction, whole, moved, before) };
            if again.is_ok_and(|again| again >= before) {
                return Ok(named);
            }
        }
        // Nobody knows where it is. What is said to have been moved means nothing then: adapters that do not count say "all".
        first_bad(done, whole.blocks, |from, count| {
            self.counters.searches.fetch_add(1, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            match unsafe { self.run(direction, whole, from, count) } {
                Ok(moved) if moved >= count => Ok(true),
                Ok(_) => Err(Failure::of(Status::Short)),
                Err(failure) if failure.is_of_blocks() => Ok(false),
                Err(failure) => Err(failure),
            }
        })
    }

    /// Moves `blocks` blocks from block `from` of the whole on, with retries, and returns how many of them were moved.
    ///
    /// # Safety
    /// As [`transfer`](Self::transfer).
    unsafe fn run(
        &self,
        direction: DataDirection,
        whole: &Span<'_>,
        from: u32,
        blocks: u32,
    ) -> Result<u32, Failure> {
        let part;
        let pieces = if from == 0 && blocks == whole.blocks {
            whole.pieces
        } else {
            part = whole.memory(from, blocks);
            &*part
        };
        let span = Span { lba: whole.lba.saturating_add(from.into()), blocks, pieces, ..*whole };
        let cdb = match direction {
            DataDirection::ToDevice => Cdb::write(span.lba, span.blocks),
            DataDirection::None | DataDirection::FromDevice => Cdb::read(span.lba, span.blocks),
        };
        let bytes = span.bytes();
        let exchange = Exchange { cdb: &cdb, direction, pieces: span.pieces, bytes, timeout: self.timeout };
        // SAFETY: the caller's promise; the pieces are parts of its pieces.
        let moved_bytes = unsafe { self.send(&exchange, Some(&self.counters)) }?;
        Ok(span.whole_blocks(moved_bytes))
    }

    /// Sends a command until it works or what keeps it from working does not pass, and returns the bytes that were moved.
    ///
    /// # Safety
    /// As [`Transport::send`].
    unsafe fn send(&self, exchange: &Exchange<'_>, counters: Option<&Counters>) -> Result<u32, Failure> {
        let mut retries = Retries::default();
        loop {
            // SAFETY: the caller's promise.
            let answer = unsafe { self.transport.send(exchange) }.map_err(Failure::of_errno)?;
            let moved_bytes = exchange.bytes.saturating_sub(answer.residual_bytes);
            if let Some(counters) = counters {
                counters.add(&answer, moved_bytes);
            }
            let Some(status) = answer.fault() else { return Ok(moved_bytes) };
            let status = self.exact(status);
            self.note(status);
            let Some(pause) = retries.next(status) else {
                return Err(Failure::of_answer(&answer, status, moved_bytes));
            };
            self.counters.retries.fetch_add(1, Ordering::Relaxed);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }

    /// While a device is being taken away the kernel says no more than "error" (`scsi_queue_rq` of `drivers/scsi/scsi_lib.c`).
    fn exact(&self, status: ScsiStatus) -> ScsiStatus {
        let gone = |folder: &Folder| folder.is_gone();
        match status {
            ScsiStatus::Host(HostStatus::ERROR) if self.folder.as_ref().is_some_and(gone) => {
                ScsiStatus::Host(HostStatus::NO_CONNECT)
            }
            other => other,
        }
    }

    /// Keeps in mind that what was written may be lost.
    fn note(&self, status: ScsiStatus) {
        if status.says_cache_lost()
            && self.writes.load(Ordering::SeqCst) > self.flushed.load(Ordering::SeqCst)
        {
            self.lost.store(status.code(), Ordering::SeqCst);
        }
    }

    fn flush(&self) -> Ended {
        // Writes that are still in flight may reach the cache behind the flush.
        let ended = self.ended.load(Ordering::SeqCst);
        let is_unsupported = |failure: &Failure| failure.scsi().is_some_and(ScsiStatus::is_unsupported);
        let flushed = self.flush_by(&Cdb::synchronize_cache_10()).or_else(|failure| {
            if is_unsupported(&failure) { self.flush_by(&Cdb::synchronize_cache_16()) } else { Err(failure) }
        });
        let fault = match flushed {
            // A device that knows neither command has nothing to flush, as the kernel's own driver holds too.
            Err(failure) if !is_unsupported(&failure) => Some(failure.status),
            _ => match self.lost.swap(0, Ordering::SeqCst) {
                0 => None,
                lost => Some(Status::Device(lost)),
            },
        };
        if fault.is_none() {
            self.flushed.fetch_max(ended, Ordering::SeqCst);
        }
        Ended { bytes: 0, fault }
    }

    fn flush_by(&self, cdb: &Cdb) -> Result<(), Failure> {
        let timeout = self.timeout.saturating_mul(FLUSH_TIMEOUT_FACTOR);
        let exchange = Exchange { cdb, direction: DataDirection::None, pieces: &[], bytes: 0, timeout };
        // SAFETY: there is no memory.
        unsafe { self.send(&exchange, None) }.map(drop)
    }
}

// SAFETY: the transport makes the device reach the pieces of its exchange, which are those of the command or parts of them, and nothing
// after `send` has returned; that is its own promise.
unsafe impl CommandSet for DiskCommands {
    unsafe fn execute(&self, _: BorrowedFd<'_>, command: &Command<'_>) -> Ended {
        let _in_flight = self.counters.enter();
        let (direction, position) = match command.action {
            Action::Read { position } => (DataDirection::FromDevice, position),
            Action::Write { position } => (DataDirection::ToDevice, position),
            Action::Flush(_) => return self.flush(),
        };
        // SAFETY: the caller's promise.
        let ended = unsafe { self.transfer(direction, position, command) };
        if direction == DataDirection::ToDevice {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        ended
    }
}
