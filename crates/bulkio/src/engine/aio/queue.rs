//! One context of native AIO with the records of what it does: filled in place, submitted in one call, reaped without.
//!
//! It is the kernel's half of [`Aio`](super::Aio), and lies beneath [`Uring`](super::super::uring::Uring) for files whose
//! device has no `RWF_NOWAIT`. There is one place to wait, so it can watch one more file for whoever has it.
#![expect(unsafe_code, reason = "submits raw operations, promised by Backend::push")]

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use scatterlist::Direction;

use super::super::backend::{Act, FlushKind, Memory, NUDGE_BYTES, Operation, Reaped, Woken};
use super::super::wake::Bell;
use super::abi::{self, Context, Event, Iocb};
use super::setup;

/// The number of the watch: no operation has it.
const WATCH: u64 = u64::MAX;

/// Results that one wait takes from the kernel; the rest is read from the ring.
const EVENTS: usize = 32;

/// The record of an operation that is with this queue.
#[derive(Clone, Debug, Default)]
struct Flight {
    iocb: Iocb,
    key: u64,
    busy: bool,
    /// A flush, which older kernels refuse.
    flush: Option<Operation>,
}

/// A queue of native AIO.
///
/// # Invariants
/// 1. A flight that is busy was pushed under the promise of [`Queue::push`] and has no result yet. Its record stays
///    where it is, since `flights` never grows.
/// 2. A busy flight is queued (its number is in `queue`, once) or with the kernel; `submitted` counts the latter.
/// 3. At most as many operations as there are flights, and one watch, are with the kernel: the context was made for
///    that many.
#[derive(Debug)]
pub(in super::super) struct Queue {
    context: Context,
    flights: Box<[Flight]>,
    free: Vec<u32>,
    queue: VecDeque<u32>,
    /// Room for the addresses of one submission.
    records: Vec<*mut Iocb>,
    submitted: u32,
    pushed_bytes: u64,
    nudge_at: usize,
    events: [Event; EVENTS],
    events_count: usize,
    early: Vec<Reaped>,
    /// Flushes that the kernel does not know.
    refused: Vec<Operation>,
    /// Whether the context watches the bell.
    watches: bool,
}

impl Queue {
    /// Makes a queue and proves that it works, or says why not.
    pub(in super::super) fn new(depth: u32) -> Result<Self, String> {
        let context = setup::set_up(depth.saturating_add(1))?;
        let slots = depth as usize;
        Ok(Self {
            context,
            flights: vec![Flight::default(); slots].into_boxed_slice(),
            free: (0..depth).rev().collect(),
            queue: VecDeque::with_capacity(slots),
            records: Vec::with_capacity(slots),
            submitted: 0,
            pushed_bytes: 0,
            nudge_at: slots.div_ceil(4),
            events: [Event::default(); EVENTS],
            events_count: 0,
            early: Vec::with_capacity(slots),
            refused: Vec::new(),
            watches: false,
        })
    }

    /// Queues an operation, or gives it back where native AIO would block or cannot do it.
    ///
    /// # Safety
    /// As [`Backend::push`](super::super::backend::Backend::push), unless it is given back.
    pub(in super::super) unsafe fn push(&mut self, operation: Operation) -> Option<Operation> {
        let Some(&number) = self.free.last() else { return Some(operation) };
        let Some(flight) = self.flights.get_mut(number as usize) else { return Some(operation) };
        let Some(iocb) = encode(&operation, number) else { return Some(operation) };
        flight.iocb = iocb;
        flight.key = operation.key;
        flight.busy = true;
        if matches!(operation.act, Act::Flush(_)) {
            flight.flush = Some(operation);
        }
        self.free.pop();
        self.queue.push_back(number);
        self.pushed_bytes = self.pushed_bytes.saturating_add(operation.bytes);
        None
    }

    /// Submits what is queued, when there is enough of it to be worth a system call.
    pub(in super::super) fn nudge(&mut self) {
        if self.queue.len() >= self.nudge_at || self.pushed_bytes >= NUDGE_BYTES {
            self.submit();
        }
    }

    /// Hands what is queued to the kernel, as far as it takes it. The rest stays queued until something has ended.
    pub(in super::super) fn submit(&mut self) {
        self.pushed_bytes = 0;
        while !self.queue.is_empty() {
            self.records.clear();
            for number in &self.queue {
                let flight = self.flights.get_mut(*number as usize);
                self.records.extend(flight.map(|flight| &raw mut flight.iocb));
            }
            // SAFETY: (1): the records are valid, and what they name until the results are reaped; (2): none
            // of them is with the kernel yet.
            match unsafe { self.context.submit(&self.records) } {
                Ok(taken) if taken > 0 => {
                    self.queue.drain(..taken.min(self.queue.len()));
                    self.submitted = self.submitted.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
                }
                Ok(_) => break,
                // Something that ends will make room; with nothing in flight this one is answered.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.submitted > 0 => break,
                Err(error) => self.refuse(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
    }

    /// Answers the first operation that is queued.
    fn refuse(&mut self, errno: i32) {
        let Some(number) = self.queue.pop_front() else { return };
        let flush = self.flights.get_mut(number as usize).and_then(|flight| flight.flush.take());
        let Some(key) = self.release(number) else { return };
        match flush {
            // The kernel is older than these operations (Linux 4.18), or the file cannot be flushed:
            // plain calls know.
            Some(flush) if errno == libc::EINVAL => self.refused.push(flush),
            _ => self.early.push(Reaped::of(key, errno.wrapping_neg())),
        }
    }

    /// Gives out what the kernel does not know; the promise of its push goes with it.
    pub(super) fn take_refused(&mut self) -> Option<Operation> {
        self.refused.pop()
    }

    /// Frees a flight, and gives the key of its operation out.
    fn release(&mut self, number: u32) -> Option<u64> {
        let flight = self.flights.get_mut(number as usize).filter(|flight| flight.busy)?;
        flight.busy = false;
        flight.flush = None;
        self.free.push(number);
        Some(flight.key)
    }

    /// Takes the results that are there; says whether the bell that is watched rang.
    pub(in super::super) fn reap(&mut self, into: &mut Vec<Reaped>) -> bool {
        into.append(&mut self.early);
        let watched = self.watches;
        for place in 0..mem::take(&mut self.events_count) {
            let Some(event) = self.events.get(place).copied() else { break };
            self.take(event, into);
        }
        while self.submitted > 0 || self.watches {
            let count = self.context.take(&mut self.events);
            for place in 0..count {
                let Some(event) = self.events.get(place).copied() else { break };
                self.take(event, into);
            }
            if count < EVENTS {
                break;
            }
        }
        watched && !self.watches
    }

    fn take(&mut self, event: Event, into: &mut Vec<Reaped>) {
        if event.data == WATCH {
            self.watches = false;
            return;
        }
        let Some(key) = u32::try_from(event.data).ok().and_then(|number| self.release(number)) else {
            return;
        };
        self.submitted = self.submitted.saturating_sub(1);
        let result = i32::try_from(event.res).unwrap_or(-libc::EIO);
        into.push(Reaped::of(key, result));
    }

    pub(in super::super) fn has_results(&self) -> bool {
        !self.early.is_empty() || self.events_count > 0 || self.context.has_result()
    }

    /// Says whether the kernel has operations.
    pub(in super::super) const fn is_busy(&self) -> bool {
        self.submitted > 0
    }

    /// Says whether there is anything to wait for or to take.
    pub(in super::super) fn is_used(&self) -> bool {
        self.is_busy() || !self.queue.is_empty() || self.has_results()
    }

    /// Says whether the context watches the bell.
    pub(in super::super) const fn watches(&self) -> bool {
        self.watches
    }

    /// Has the context watch a bell, where it does not yet: that it rings ends a [`sleep`](Self::sleep).
    pub(in super::super) fn watch(&mut self, bell: &Bell) -> Result<(), u32> {
        if self.watches {
            return Ok(());
        }
        let mut poll = Iocb::poll(bell.as_fd().as_raw_fd(), libc::POLLIN, WATCH);
        // SAFETY: a poll names no memory, and the kernel copies the record and holds the file.
        match unsafe { self.context.submit(&[&raw mut poll]) } {
            Ok(_) => {
                self.watches = true;
                Ok(())
            }
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs()),
        }
    }

    /// Sleeps until there is a result or the bell that is watched rings.
    pub(in super::super) fn sleep(&mut self, timeout: Option<Duration>) -> Result<Woken, u32> {
        match self.context.wait(&mut self.events, timeout) {
            Ok(0) => Ok(Woken::TimedOut),
            Ok(count) => {
                self.events_count = count;
                Ok(Woken::Ready)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Ok(Woken::Interrupted),
                other => Err(other.unwrap_or(libc::EIO).unsigned_abs()),
            },
        }
    }

    /// Asks that an operation end early; says whether it is here.
    pub(in super::super) fn cancel(&mut self, key: u64) -> bool {
        let is_it = |flight: &Flight| flight.busy && flight.key == key;
        let Some(place) = self.flights.iter().position(is_it) else { return false };
        if let Some(queued) = self.queue.iter().position(|number| *number as usize == place) {
            self.queue.remove(queued);
            self.release(u32::try_from(place).unwrap_or(u32::MAX));
            self.early.push(Reaped::of(key, -libc::ECANCELED));
        } else if let Some(flight) = self.flights.get_mut(place) {
            self.context.cancel(&raw mut flight.iocb);
        }
        true
    }
}

/// Encodes an operation for the kernel; `None` where native AIO would block or cannot do it.
fn encode(operation: &Operation, number: u32) -> Option<Iocb> {
    let fildes = u32::try_from(operation.fd).ok()?;
    let data = u64::from(number);
    match operation.act {
        Act::Poll(_) | Act::Command(_) => None,
        Act::Flush(kind) => {
            let opcode = match kind {
                FlushKind::Data => abi::FDSYNC,
                FlushKind::All => abi::FSYNC,
            };
            Some(Iocb { data, opcode, fildes, ..Iocb::default() })
        }
        Act::Transfer { direction, memory, offset } => {
            if !operation.direct || !operation.always_ready {
                return None;
            }
            let offset = i64::try_from(offset?).ok()?;
            let (opcode, buf, nbytes) = match (direction, memory) {
                (Direction::FromDevice, Memory::One { addr, len, .. }) => {
                    (abi::PREAD, addr.expose_provenance(), u64::from(len))
                }
                (Direction::ToDevice, Memory::One { addr, len, .. }) => {
                    (abi::PWRITE, addr.expose_provenance(), u64::from(len))
                }
                (Direction::FromDevice, Memory::Many { vectors, count, .. }) => {
                    (abi::PREADV, vectors.expose_provenance(), u64::from(count))
                }
                (Direction::ToDevice, Memory::Many { vectors, count, .. }) => {
                    (abi::PWRITEV, vectors.expose_provenance(), u64::from(count))
                }
            };
            Some(Iocb { data, opcode, fildes, buf: buf as u64, nbytes, offset, ..Iocb::default() })
        }
    }
}
