//! What a channel supplies its jobs with: [`Slots`] to copy through, and locks whose holders wake its thread.

use core::task::Waker;
use std::sync::Arc;
use std::task::Wake;

use super::channel::JobEngine;
use super::file::Inner;
use super::job::{Supplies, Want};
use super::range_lock::{Owner, RangeLock, WouldDeadlock};
use crate::engine::Remote;
use crate::pages::Slot;

/// The slots of a channel.
#[derive(Debug)]
pub(super) struct Slots {
    /// For single blocks.
    pub(super) short: Vec<Slot>,
    /// For operations that are copied, each of `long_len` bytes or more.
    pub(super) long: Vec<Slot>,
    pub(super) long_len: usize,
}

impl Slots {
    /// Takes a slot of at least `len` bytes. Single blocks leave the last long one to operations that are copied:
    /// a job keeps the slots of its ragged ends until it is over, and must not wait for itself.
    fn take(&mut self, want: Want) -> Option<Slot> {
        let fits = |slots: &[Slot], len: u64| slots.last().is_some_and(|slot| slot.len() as u64 >= len);
        match want {
            Want::Block(len) if fits(&self.short, len) => self.short.pop(),
            Want::Block(len) if self.long.len() > 1 && fits(&self.long, len) => self.long.pop(),
            Want::Block(_) => None,
            Want::Operation(len) => {
                if fits(&self.long, len) {
                    self.long.pop()
                } else {
                    None
                }
            }
        }
    }

    pub(super) fn give(&mut self, slot: Slot) {
        if slot.len() < self.long_len { self.short.push(slot) } else { self.long.push(slot) }
    }
}

/// What a job gets while it steps.
pub(super) struct Stores<'a> {
    pub(super) slots: &'a mut Slots,
    pub(super) engine: &'a mut JobEngine,
    pub(super) remote: &'a mut Option<Remote>,
    pub(super) number: u64,
}

impl Supplies for Stores<'_> {
    fn take(&mut self, want: Want) -> Option<Slot> {
        self.slots.take(want)
    }

    fn give(&mut self, slot: Slot) {
        self.slots.give(slot);
    }

    fn lock(&mut self, file: &Inner, start: u64, end: u64) -> Result<RangeLock, WouldDeadlock> {
        let Self { engine, remote, number, .. } = self;
        file.locks().lock(start, end, Owner::this_thread(*number), || waker(engine, remote))
    }
}

#[derive(Debug)]
struct WakeEngine(Remote);

impl Wake for WakeEngine {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

/// Makes what wakes the channel's thread.
fn waker(engine: &mut JobEngine, remote: &mut Option<Remote>) -> Waker {
    if remote.is_none() {
        *remote = engine.remote().ok();
    }
    match remote {
        Some(remote) => Waker::from(Arc::new(WakeEngine(remote.clone()))),
        // No eventfd is left: whoever waits looks again from time to time.
        None => Waker::noop().clone(),
    }
}
