//! [`Pair`]: a submission queue and its completion queue, in coherent memory that the controller knows.
//!
//! Knows entries, doorbells and the phase tag, and nothing of commands: who fills it sees to it that there are never more
//! commands in flight than `entries - 1`, so that neither queue can overflow, whatever the controller says of its head. NVM
//! Express Base Specification 2.0, section 3.3.1.
#![expect(
    unsafe_code,
    reason = "gives memory to the controller and takes it back; see the invariants of Pair"
)]

use core::fmt;
use core::sync::atomic::{Ordering, fence};

use scatterlist::Addr as _;
use scatterlist::map::{Coherent, CoherentLayout, DmaDevice, InFlight, MapError};

use crate::capability::Capability;
use crate::entry::{Completion, Entry};
use crate::error::PollError;
use crate::registers::Registers;
use crate::spec::{COMPLETION_LEN, SUBMISSION_LEN};

/// A submission queue and its completion queue.
///
/// # Invariants
/// 1. Entries between the head and the tail that the controller was told are of commands whose memory is in flight.
/// 2. Both memories are in flight from the start: only a controller that is disabled lets go of them.
pub(crate) struct Pair<D: DmaDevice> {
    submission: InFlight<Coherent<D>>,
    completion: InFlight<Coherent<D>>,
    id: u16,
    entries: u16,
    /// Where the next command goes, and the tail that the controller was told.
    tail: u16,
    tail_told: u16,
    /// The head of the submission queue, as the controller says.
    head: u16,
    /// The next completion, and the head that the controller was told.
    next: u16,
    next_told: u16,
    /// The phase tag of completions that are new.
    phase: u64,
    /// Offsets of the doorbells.
    tail_doorbell: u64,
    head_doorbell: u64,
}

impl<D: DmaDevice> Pair<D> {
    /// Allocates a pair of `entries` entries each.
    pub(crate) fn new(device: &D, capability: &Capability, id: u16, entries: u16) -> Result<Self, MapError> {
        // Queues start at a page (Base section 3.3.1.1), and are one run of memory.
        let page = capability.page.len();
        let layout = |len: u64| CoherentLayout::new(len.saturating_mul(u64::from(entries)), page);
        let submission = device.alloc_coherent(layout(SUBMISSION_LEN))?;
        let completion = device.alloc_coherent(layout(COMPLETION_LEN))?;
        let (tail_doorbell, head_doorbell) = capability.doorbells(id);
        Ok(Self {
            submission: submission.into_flight(),
            completion: completion.into_flight(),
            id,
            entries,
            tail: 0,
            tail_told: 0,
            head: 0,
            next: 0,
            next_told: 0,
            phase: Completion::PHASE,
            tail_doorbell,
            head_doorbell,
        })
    }

    pub(crate) const fn id(&self) -> u16 {
        self.id
    }

    pub(crate) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Returns where the controller finds the two queues.
    pub(crate) fn addresses(&self) -> (u64, u64) {
        (self.submission.bus_addr().raw(), self.completion.bus_addr().raw())
    }

    /// Starts anew. The controller is disabled.
    pub(crate) fn restart(&mut self) {
        let words = u64::from(self.entries).saturating_mul(COMPLETION_LEN / 8);
        for word in 0..words {
            // Old phase tags must not look new.
            let _ = self.completion.store(word.wrapping_mul(8), 0_u64);
        }
        (self.tail, self.tail_told, self.head, self.next, self.next_told) = (0, 0, 0, 0, 0);
        self.phase = Completion::PHASE;
    }

    #[inline]
    const fn after(&self, index: u16) -> u16 {
        let after = index.wrapping_add(1);
        if after == self.entries { 0 } else { after }
    }

    /// Writes an entry. There is room: the caller has fewer than `entries - 1` commands in flight.
    #[inline]
    pub(crate) fn push(&mut self, entry: &Entry) {
        let at = u64::from(self.tail).wrapping_mul(SUBMISSION_LEN);
        // Within the memory: the tail is less than the number of entries.
        let _ = self.submission.store_all(at, entry.words());
        self.tail = self.after(self.tail);
    }

    /// Tells the controller of all entries that it was not told of. Returns whether there were any.
    ///
    /// # Safety
    /// Invariant 1 holds for the entries pushed since.
    #[inline]
    pub(crate) unsafe fn ring<R: Registers>(&mut self, registers: &R) -> bool {
        if self.tail == self.tail_told {
            return false;
        }
        self.tail_told = self.tail;
        // Entries before the doorbell; the registers see to the rest.
        fence(Ordering::Release);
        // SAFETY: (1), by the caller's promise; (2).
        unsafe { registers.write32(self.tail_doorbell, u32::from(self.tail)) };
        true
    }

    /// Takes the next completion, if there is a new one: everything but its result.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Completion> {
        let at = u64::from(self.next).wrapping_mul(COMPLETION_LEN);
        let word: u64 = self.completion.load(at.wrapping_add(8)).ok()?;
        if word & Completion::PHASE != self.phase {
            return None;
        }
        // What the controller wrote before the tag is read after it.
        fence(Ordering::Acquire);
        self.next = self.after(self.next);
        if self.next == 0 {
            self.phase ^= Completion::PHASE;
        }
        Some(Completion::from_word(word))
    }

    /// Returns the command specific result (DW0) of the completion taken last.
    pub(crate) fn result(&self) -> u32 {
        let last = self.next.checked_sub(1).unwrap_or(self.entries.saturating_sub(1));
        self.completion.load(u64::from(last).wrapping_mul(COMPLETION_LEN)).unwrap_or(0)
    }

    /// Checks what a completion says of the submission queue, and notes it.
    #[inline]
    pub(crate) fn accept(&mut self, completion: &Completion) -> Result<(), PollError> {
        let (queue, said) = (self.id, completion.head);
        if completion.queue != queue {
            return Err(PollError::WrongQueue { queue, said: completion.queue });
        }
        let (head, tail) = (self.head, self.tail_told);
        // From the old head to the tail, around the end of the queue.
        let within = match head <= tail {
            true => head <= said && said <= tail,
            false => (head <= said && said < self.entries) || said <= tail,
        };
        if !within {
            return Err(PollError::WrongHead { queue, said, head, tail });
        }
        self.head = said;
        Ok(())
    }

    /// Tells the controller which completions were taken, once for all since. Returns whether there were any.
    #[inline]
    pub(crate) fn ring_taken<R: Registers>(&mut self, registers: &R) -> bool {
        if self.next == self.next_told {
            return false;
        }
        self.next_told = self.next;
        // SAFETY: (2) the slots that it may write again are of this queue.
        unsafe { registers.write32(self.head_doorbell, u32::from(self.next)) };
        true
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The controller does not know of the queues: it is disabled.
    pub(crate) unsafe fn release(self) {
        let Self { submission, completion, .. } = self;
        // SAFETY: (2) the caller's promise.
        drop(unsafe { submission.complete() });
        // SAFETY: (2) the caller's promise.
        drop(unsafe { completion.complete() });
    }
}

impl<D: DmaDevice> fmt::Debug for Pair<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("id", &self.id)
            .field("entries", &self.entries)
            .field("head", &self.head)
            .field("tail", &self.tail)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
