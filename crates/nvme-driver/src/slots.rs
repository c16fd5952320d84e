//! [`Slots`]: the commands of one queue that are in flight, in a table of fixed size.
//!
//! A command's identifier is the index of its slot and a generation of 6 bits above it, so that a completion that comes twice, or
//! after its command was given up, names no command that is in flight, unless its slot was used 64 times since.
#![expect(unsafe_code, reason = "turns back what the controller held, on the promise of the callers")]

use alloc::vec::Vec;
use core::mem::ManuallyDrop;

use scatterlist::map::{DmaDevice, DmaPool, FlightSlot, PoolObject, PrepareFailed};
use scatterlist::{Complete, DmaTarget, Fault, Outcome, Request, Status};

use crate::done::{CommandId, Control, Done, Finished};
use crate::error::{SubmitError, SubmitFailed};
use crate::format::{DataPointer, Format};

/// Bits of an identifier that are the index.
const INDEX_BITS: u32 = 10;
const INDEX_MASK: u16 = (1 << INDEX_BITS) - 1;
/// From one generation of a slot to the next.
const GENERATION: u16 = 1 << INDEX_BITS;
/// The most commands of a queue. One less than indices, so that no identifier is FFFFh, which is reserved (NVM Express Base
/// Specification 2.0, section 3.3.3.1).
pub(crate) const COMMANDS_MAX: u16 = INDEX_MASK;

/// A request in flight: mapped, encoded, where it stays.
type Transfer<D, O, C> = FlightSlot<D, DmaPool<D>, O, C, DataPointer>;

/// What a command without the data of a request holds until it is done.
pub(crate) struct Plain<D: DmaDevice, C> {
    pub(crate) control: Control,
    pub(crate) completion: C,
    pub(crate) bytes: u64,
    /// What the controller reads: it stays taken unless the command is done.
    pub(crate) page: Option<ManuallyDrop<PoolObject<D>>>,
}

struct Slot<D: DmaDevice, O, C> {
    transfer: Transfer<D, O, C>,
    plain: Option<Plain<D, C>>,
    deadline_ns: u64,
    /// The identifier of the command that is here, or will be next.
    command: u16,
}

impl<D: DmaDevice, O, C> Slot<D, O, C> {
    const fn is_taken(&self) -> bool {
        self.transfer.is_full() || self.plain.is_some()
    }
}

/// The commands of a queue that are in flight.
///
/// # Invariants
/// 1. A slot that is not free is of a command that the controller was told of, or will be, and has not reported as done.
pub(crate) struct Slots<D: DmaDevice, O, C: Complete> {
    slots: Vec<Slot<D, O, C>>,
    free: Vec<u16>,
}

impl<D: DmaDevice, O, C: Complete> Slots<D, O, C> {
    /// Makes a table for `commands`, at most [`COMMANDS_MAX`].
    pub(crate) fn new(commands: u16) -> Self {
        let commands = commands.min(COMMANDS_MAX);
        let slots = (0..commands)
            .map(|command| Slot { transfer: FlightSlot::new(), plain: None, deadline_ns: 0, command })
            .collect();
        // The lowest comes first.
        Self { slots, free: (0..commands).rev().collect() }
    }

    /// Returns how many commands there may be.
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns how many are in flight.
    pub(crate) const fn in_flight(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Returns the identifier that the next command will have; `None` where all slots are taken.
    #[inline]
    pub(crate) fn next(&self) -> Option<u16> {
        let index = self.free.last()?;
        self.slots.get(usize::from(*index)).map(|slot| slot.command)
    }

    /// Prepares a request in the slot of `command`, the [next](Self::next) one, and takes the slot. Returns what the command says
    /// of its data.
    ///
    /// # Errors
    /// The request, with the reason; the slot stays free.
    #[inline]
    #[track_caller]
    pub(crate) fn prepare(
        &mut self,
        target: &DmaTarget<D, DmaPool<D>>,
        request: Request<D::Addr, O, C>,
        format: &Format,
        (command, deadline_ns): (u16, u64),
    ) -> Result<DataPointer, SubmitFailed<Request<D::Addr, O, C>>> {
        let Some(slot) = self.slots.get_mut(usize::from(command & INDEX_MASK)) else {
            // Not reached: `next` named the slot.
            let error = SubmitError::QueueFull { queue: 0, commands: 0 };
            return Err(SubmitFailed { request, error });
        };
        let data = match slot.transfer.prepare(target, request, format) {
            Ok(data) => *data,
            Err(PrepareFailed { request, error }) => {
                return Err(SubmitFailed { request, error: error.into() });
            }
        };
        slot.deadline_ns = deadline_ns;
        self.free.pop();
        Ok(data)
    }

    /// Puts a command without data into the slot of the next command, which is taken.
    pub(crate) fn put(&mut self, plain: Plain<D, C>, deadline_ns: u64) {
        let free = self.free.pop().and_then(|index| self.slots.get_mut(usize::from(index)));
        if let Some(slot) = free {
            slot.plain = Some(plain);
            slot.deadline_ns = deadline_ns;
        }
    }

    /// Ends a command, frees its slot, and hands over what it held; says `false` where it is not in flight.
    ///
    /// # Safety
    /// The controller is done with the command: it said so, or it is disabled.
    #[inline]
    pub(crate) unsafe fn finish(
        &mut self,
        id: CommandId,
        fault: Option<Status>,
        each: impl FnOnce(Done<D::Addr, O, C>),
    ) -> bool {
        let index = id.command & INDEX_MASK;
        let slot = match self.slots.get_mut(usize::from(index)) {
            Some(slot) if slot.command == id.command => slot,
            _ => return false,
        };
        // SAFETY: the caller's promise.
        let request = unsafe { slot.transfer.complete() };
        let plain = if request.is_none() { slot.plain.take() } else { None };
        if request.is_none() && plain.is_none() {
            return false;
        }
        slot.command = id.command.wrapping_add(GENERATION);
        // There is room: every slot is in it at most once.
        self.free.push(index);
        let outcome =
            |bytes: u64| fault.map_or_else(|| Outcome::whole(bytes), |status| failed(bytes, status));
        if let Some(request) = request {
            let outcome = outcome(request.len_bytes());
            each(Done { id, outcome, finished: Finished::Transfer(request) });
        } else if let Some(Plain { control, completion, bytes, page }) = plain {
            drop(page.map(ManuallyDrop::into_inner));
            let outcome = outcome(bytes);
            each(Done { id, outcome, finished: Finished::Control(control, completion) });
        }
        true
    }

    /// Returns the identifier of some command that is in flight.
    pub(crate) fn any(&self) -> Option<u16> {
        self.slots.iter().find(|slot| slot.is_taken()).map(|slot| slot.command)
    }

    /// Returns the identifiers of commands whose deadline is `now_ns` or before.
    pub(crate) fn overdue(&self, now_ns: u64) -> impl Iterator<Item = u16> + '_ {
        let late = move |slot: &&Slot<D, O, C>| slot.is_taken() && slot.deadline_ns <= now_ns;
        self.slots.iter().filter(late).map(|slot| slot.command)
    }

    /// Says whether a command is still in flight.
    pub(crate) fn holds(&self, command: u16) -> bool {
        let slot = self.slots.get(usize::from(command & INDEX_MASK));
        slot.is_some_and(|slot| slot.command == command && slot.is_taken())
    }

    /// Gives all commands up: their completions are told, and what the controller holds stays taken. Returns how many.
    pub(crate) fn abandon(&mut self, status: Status) -> usize {
        let mut count = 0_usize;
        let Self { slots, free } = self;
        for (index, slot) in (0..).zip(slots) {
            if !slot.is_taken() {
                continue;
            }
            slot.command = slot.command.wrapping_add(GENERATION);
            free.push(index);
            count = count.saturating_add(1);
            let bytes = slot.transfer.len_bytes();
            slot.transfer.abandon(failed(bytes, status));
            if let Some(Plain { completion, bytes, .. }) = slot.plain.take() {
                completion.complete(failed(bytes, status));
            }
        }
        count
    }
}

impl<D: DmaDevice, O, C: Complete> Drop for Slots<D, O, C> {
    fn drop(&mut self) {
        self.abandon(Status::Cancelled);
    }
}

fn failed(bytes: u64, status: Status) -> Outcome {
    Outcome { asked: bytes, done: 0, fault: Some(Fault { at: 0, status }) }
}
