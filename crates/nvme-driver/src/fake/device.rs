//! [`FakeController`]: registers, doorbells, time.
#![expect(unsafe_code, reason = "implements Registers")]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use scatterlist::desc::prp::MemoryPage;

use super::bus::FakeBus;
use super::fault::{Aborts, Condition, Fault};
use super::setup::Setup;
use super::state::{Completions, State, Submission};
use crate::registers::{Interrupts, Registers};
use crate::spec;

/// The page of a setup whose smallest page is none that can be.
const PAGE_MIN: MemoryPage = match MemoryPage::new(MemoryPage::LEN_MIN) {
    Ok(page) => page,
    Err(_) => panic!("the smallest page is one"),
};

/// How often the doorbells of I/O queues were written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Doorbells {
    /// Submission tails.
    pub submission: u64,
    /// Completion heads.
    pub completion: u64,
}

/// A controller in software: registers and interrupts in one.
#[derive(Debug)]
pub struct FakeController<B> {
    pub(super) bus: B,
    pub(super) setup: Setup,
    pub(super) state: Mutex<State>,
    now_ns: AtomicU64,
    submission_rings: AtomicU64,
    completion_rings: AtomicU64,
}

impl<B: FakeBus> FakeController<B> {
    /// Makes a controller that reaches memory by `bus`.
    #[must_use]
    pub fn new(bus: B, setup: Setup) -> Self {
        let state = Mutex::new(State::new(&setup));
        let zero = || AtomicU64::new(0);
        Self { bus, setup, state, now_ns: zero(), submission_rings: zero(), completion_rings: zero() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a fault on the next I/O command that it takes.
    pub fn fault_next(&self, fault: Fault) {
        self.fault_nth(1, fault);
    }

    /// Puts a fault on the `n`-th I/O command from now, counted from 1.
    pub fn fault_nth(&self, n: u64, fault: Fault) {
        let mut state = self.lock();
        let nth = state.commands.saturating_add(n);
        state.faults.insert(nth, fault);
    }

    /// Fails every command that reads or writes this block, with this status field.
    pub fn fail_block(&self, namespace: u32, block: u64, status: u16) {
        self.lock().bad_blocks.insert((namespace, block), status);
    }

    /// Sets what is wrong with the whole controller; `None` makes it well.
    pub fn set_condition(&self, condition: Option<Condition>) {
        self.lock().condition = condition;
    }

    /// Sets what becomes of abort commands.
    pub fn set_aborts(&self, aborts: Aborts) {
        self.lock().aborts = aborts;
    }

    /// Returns the bytes of a namespace.
    pub fn contents(&self, namespace: u32) -> Vec<u8> {
        self.lock().space(namespace).map(|space| space.bytes.clone()).unwrap_or_default()
    }

    /// Puts bytes on a namespace, from byte `at` on.
    pub fn put_contents(&self, namespace: u32, at: usize, bytes: &[u8]) {
        let mut state = self.lock();
        let Some(space) = state.space(namespace) else { return };
        let end = at.saturating_add(bytes.len());
        if let Some(place) = space.bytes.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }

    /// Returns how many flushes it did.
    pub fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Returns how many I/O commands it took.
    pub fn commands(&self) -> u64 {
        self.lock().commands
    }

    /// Returns how often doorbells of I/O queues were written.
    pub fn doorbells(&self) -> Doorbells {
        Doorbells {
            submission: self.submission_rings.load(Ordering::Relaxed),
            completion: self.completion_rings.load(Ordering::Relaxed),
        }
    }

    /// Returns what a driver did that it must not.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Says whether it was shut down in order.
    pub fn was_shut_down(&self) -> bool {
        self.lock().shut_down
    }

    /// Lets time pass.
    pub fn pass(&self, ns: u64) {
        self.now_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    pub(super) fn page(&self) -> MemoryPage {
        let len = 1_u64.checked_shl(12_u32.saturating_add(u32::from(self.setup.mpsmin)));
        MemoryPage::new(len.unwrap_or(0)).unwrap_or(PAGE_MIN)
    }

    fn capabilities(&self) -> u64 {
        let Setup { mqes, dstrd, mpsmin, mpsmax, to, css, crwmt, .. } = &self.setup;
        // CQR is bit 16.
        u64::from(*mqes)
            | 1 << 16
            | u64::from(*to) << 24
            | u64::from(*dstrd & 0xf) << 32
            | u64::from(*css) << 37
            | u64::from(*mpsmin & 0xf) << 48
            | u64::from(*mpsmax & 0xf) << 52
            | u64::from(crwmt.is_some()) << 59
    }

    /// Says whether the controller is on: enabled and ready, or not yet stopped.
    pub(super) fn is_ready(&self, state: &State) -> bool {
        let over = self.now() >= state.changed_ns.saturating_add(self.setup.ready_ns);
        match state.cc & spec::CC_ENABLE {
            0 => state.condition == Some(Condition::NeverStops) || (!over && state.changed_ns != 0),
            _ => over && state.condition != Some(Condition::NeverReady),
        }
    }

    fn status(&self, state: &State) -> u32 {
        let enabled = state.cc & spec::CC_ENABLE != 0;
        let ready = if self.is_ready(state) { spec::CSTS_READY } else { 0 };
        let fatal = if enabled && state.condition == Some(Condition::Fatal) { spec::CSTS_FATAL } else { 0 };
        let down = if state.shut_down { spec::CSTS_SHUTDOWN_DONE } else { 0 };
        ready | fatal | down
    }

    fn configure(&self, state: &mut State, value: u32) {
        let (was, is) = (state.cc & spec::CC_ENABLE, value & spec::CC_ENABLE);
        state.cc = value;
        if value & spec::CC_SHUTDOWN_MASK != 0 {
            state.shut_down = true;
        }
        if was == is {
            return;
        }
        state.changed_ns = self.now().max(1);
        if is == 0 {
            if state.condition != Some(Condition::NeverStops) {
                state.reset();
            }
            return;
        }
        state.shut_down = false;
        let page_len = self.page().len();
        if value.wrapping_shr(spec::CC_PAGE_SHIFT) & 0xf != u32::from(self.setup.mpsmin) {
            state.complain(format!("CC is {value:#x}: another page size than the smallest"));
        }
        if value & 0x00ff_0000 != spec::CC_ENTRY_SIZES {
            state.complain(format!("CC is {value:#x}: other entry sizes than 2^6 and 2^4"));
        }
        if (state.asq | state.acq) & page_len.wrapping_sub(1) != 0 {
            state.complain(format!("ASQ {:#x} or ACQ {:#x} does not start a page", state.asq, state.acq));
        }
        let entries = |field: u32| u16::try_from(field & 0xfff).unwrap_or(0).saturating_add(1);
        let (submission, completion) = (entries(state.aqa), entries(state.aqa.wrapping_shr(16)));
        let queue = Submission { base: state.asq, entries: submission, head: 0, tail: 0, completion: 0 };
        let completions =
            Completions { base: state.acq, entries: completion, tail: 0, head: 0, phase: true, vector: 0 };
        state.submission.insert(0, queue);
        state.completion.insert(0, completions);
    }

    fn doorbell(&self, at: u64, value: u32) {
        let stride = 4_u64.wrapping_shl(u32::from(self.setup.dstrd));
        let index = at.saturating_sub(spec::DOORBELLS);
        let (number, rest) = (index.checked_div(stride).unwrap_or(0), index.checked_rem(stride).unwrap_or(0));
        let (id, is_head) = (u16::try_from(number >> 1).unwrap_or(u16::MAX), number & 1 == 1);
        if id != 0 {
            let count = if is_head { &self.completion_rings } else { &self.submission_rings };
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.lock();
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        let done = match is_head {
            _ if rest != 0 => None,
            true => state.completion.get_mut(&id).filter(|queue| value < queue.entries).map(|queue| {
                queue.head = value;
            }),
            false => state.submission.get_mut(&id).filter(|queue| value < queue.entries).map(|queue| {
                queue.tail = value;
            }),
        };
        if done.is_none() && state.condition.is_none() {
            state.complain(format!("doorbell {at:#x} of queue {id} is set to {value}"));
        }
    }
}

// SAFETY: (1) offsets lead to this controller; (2) all of it is ordinary memory, under a lock; (3) a fake that is shared with
// others than its driver checks each access by its bus, or its maker promised.
unsafe impl<B: FakeBus> Registers for FakeController<B> {
    fn read32(&self, at: u64) -> u32 {
        let state = self.lock();
        if state.condition == Some(Condition::Gone) {
            return u32::MAX;
        }
        match at {
            spec::VS => 0x0002_0000,
            spec::CC => state.cc,
            spec::CSTS => self.status(&state),
            spec::AQA => state.aqa,
            spec::CRTO => self.setup.crwmt.map_or(0, u32::from),
            _ => 0,
        }
    }

    fn read64(&self, at: u64) -> u64 {
        if self.lock().condition == Some(Condition::Gone) {
            return u64::MAX;
        }
        if at == spec::CAP { self.capabilities() } else { 0 }
    }

    unsafe fn write32(&self, at: u64, value: u32) {
        if at >= spec::DOORBELLS {
            return self.doorbell(at, value);
        }
        let mut state = self.lock();
        match at {
            spec::CC => self.configure(&mut state, value),
            spec::AQA => state.aqa = value,
            spec::INTMS => {}
            _ => state.complain(format!("register {at:#x} is set to {value:#x}")),
        }
    }

    unsafe fn write64(&self, at: u64, value: u64) {
        let mut state = self.lock();
        match at {
            spec::ASQ => state.asq = value,
            spec::ACQ => state.acq = value,
            _ => state.complain(format!("register {at:#x} is set to {value:#x}")),
        }
    }
}

impl<B: FakeBus> Interrupts for FakeController<B> {
    fn now_ns(&self) -> u64 {
        self.now()
    }

    /// Acts for the queues of this vector; where there was nothing to do, time passes at once.
    fn wait(&self, vector: u16, until_ns: u64) {
        if self.run_vector(Some(vector)) == 0 {
            self.now_ns.fetch_max(until_ns, Ordering::Relaxed);
        }
    }
}
