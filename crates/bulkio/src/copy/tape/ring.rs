//! [`Ring`]: what stands between a tape and the other end: chunks and filemarks, in order.
//!
//! A tape has a thread of its own, since its calls wait. The ring is bounded by the pool, whose slots the chunks own: a side without a free
//! slot waits. Either side can end it (`end`: no more comes; `stop`: no more is wanted), and each wakes the other. An engine's thread waits for its
//! engine instead, and is woken by the engine's [`Remote`].

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::gate::{Gate, ReadGate};
use crate::engine::Remote;
use crate::pages::{PagePool, Slot};

/// Blocks of one length, one behind the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// Where the first begins in the slot.
    pub(super) at: u64,
    /// Bytes of each.
    pub(super) len: u64,
    pub(super) count: u64,
}

/// Bytes in the front of a slot, and how they are cut into blocks.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) slot: Slot,
    pub(super) len: u64,
    pub(super) blocks: Vec<Run>,
}

/// What goes through a ring.
#[derive(Debug)]
pub(super) enum Item {
    Chunk(Chunk),
    Filemark,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// How many of the items are chunks.
    chunks: usize,
    ended: bool,
    stopped: bool,
    /// The tape's thread is done.
    done: bool,
}

/// The way from one side to the other.
#[derive(Debug)]
pub(super) struct Ring {
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes the thread of an engine, where one side has one.
    engine: Option<Remote>,
}

impl Ring {
    pub(super) fn new(engine: Option<Remote>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), engine }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change of the state can be left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.notify_all();
        if let Some(engine) = &self.engine {
            engine.wake();
        }
    }

    /// Adds what is next; it is dropped where no more is wanted.
    pub(super) fn push(&self, item: Item) {
        let mut state = self.lock();
        if !state.stopped {
            state.chunks = state.chunks.saturating_add(usize::from(matches!(item, Item::Chunk(_))));
            state.items.push_back(item);
        }
        drop(state);
        self.tell();
    }

    /// Says that no more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.tell();
    }

    /// Says that no more is wanted: what is on the way is dropped.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        if state.stopped {
            // A second word would wake an engine whose thread says it again when it wakes.
            return;
        }
        state.stopped = true;
        let dropped = std::mem::take(&mut state.items);
        state.chunks = 0;
        drop(state);
        drop(dropped);
        self.tell();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Says that the thread of a tape is done.
    pub(super) fn done(&self) {
        self.lock().done = true;
        self.tell();
    }

    /// Waits until the thread of the tape is done, at most `timeout`, and says whether it is.
    pub(super) fn wait_done(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |state| !state.done);
        waited.map_or_else(|poisoned| poisoned.into_inner().0.done, |(state, _)| state.done)
    }

    /// Waits until something changes, at most `timeout`.
    pub(super) fn wait_changed(&self, timeout: Duration) {
        // Whether it was the time or a change does not matter to who looks again.
        drop(self.changed.wait_timeout(self.lock(), timeout));
    }

    /// Takes what is next, if it is there.
    pub(super) fn try_next(&self) -> Next {
        Self::take(&mut self.lock())
    }

    fn take(state: &mut State) -> Next {
        if state.stopped {
            return Next::End;
        }
        match state.items.pop_front() {
            Some(item) => {
                state.chunks = state.chunks.saturating_sub(usize::from(matches!(item, Item::Chunk(_))));
                Next::Item(item)
            }
            None if state.ended => Next::End,
            None => Next::Nothing,
        }
    }

    /// Waits for what is next, and until `gate` lets the tape run. `None` where nothing more comes.
    pub(super) fn next(&self, gate: &mut Gate) -> Option<Item> {
        let mut state = self.lock();
        loop {
            if state.stopped || gate.may_run(state.chunks, state.ended) {
                match Self::take(&mut state) {
                    Next::Item(item) => return Some(item),
                    Next::End => return None,
                    Next::Nothing => {}
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that slots went back to the pool.
    pub(super) fn freed(&self) {
        // Whoever waits for a slot looks at the pool under this lock.
        drop(self.lock());
        self.tell();
    }

    /// Takes a slot as soon as `gate` lets the tape run. `None` where no more is wanted.
    pub(super) fn slot(&self, pool: &PagePool, gate: &mut ReadGate) -> Option<Slot> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let free = pool.free_slots();
            if gate.may_run(free, pool.slots().saturating_sub(free))
                && let Some(slot) = pool.take()
            {
                return Some(slot);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a look into a ring found.
#[derive(Debug)]
pub(super) enum Next {
    Item(Item),
    /// Nothing yet.
    Nothing,
    /// And nothing more comes.
    End,
}

/// Stops a ring when its side ends, however it ends, so that the other side never waits for nobody.
#[derive(Debug)]
pub(super) struct StopAtEnd<'a>(pub(super) &'a Ring);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Says that a tape's thread is done when it ends, however it ends.
#[derive(Debug)]
pub(super) struct DoneAtEnd<'a>(pub(super) &'a Ring);

impl Drop for DoneAtEnd<'_> {
    fn drop(&mut self) {
        self.0.end();
        self.0.done();
    }
}

/// Adds blocks to the runs of a chunk.
pub(super) fn add_blocks(runs: &mut Vec<Run>, blocks: Run) {
    match runs.last_mut() {
        Some(run) if run.len == blocks.len && run.end() == blocks.at => {
            run.count = run.count.saturating_add(blocks.count);
        }
        _ => runs.push(blocks),
    }
}

impl Run {
    const fn end(&self) -> u64 {
        self.at.saturating_add(self.len.saturating_mul(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::gate::Marks;
    use super::*;
    use crate::pages::PoolOptions;

    fn chunk(pool: &PagePool) -> Item {
        Item::Chunk(Chunk { slot: pool.take().expect("a slot"), len: 1, blocks: Vec::new() })
    }

    fn pool(slots: usize) -> PagePool {
        PagePool::new(PoolOptions::uniform(4096, slots)).expect("a pool")
    }

    #[test]
    fn a_tape_that_is_written_waits_for_the_mark_and_hears_of_the_end() {
        let pool = pool(10);
        let ring = Ring::new(None);
        let marks = Marks::new(10, 80, 20);
        std::thread::scope(|scope| {
            let tape = scope.spawn(|| {
                let mut gate = Gate::new(marks);
                let mut chunks = 0;
                while let Some(item) = ring.next(&mut gate) {
                    chunks += u32::from(matches!(item, Item::Chunk(_)));
                    drop(item);
                    ring.freed();
                }
                ring.done();
                (chunks, gate.starts())
            });
            for _ in 0..7 {
                ring.push(chunk(&pool));
            }
            // Seven are too few: all are still there.
            assert!(!ring.wait_done(Duration::ZERO));
            assert_eq!(pool.free_slots(), 3);
            ring.push(Item::Filemark);
            assert_eq!(pool.free_slots(), 3);
            ring.end();
            assert_eq!(tape.join().expect("no panic"), (7, 1));
            assert!(ring.wait_done(Duration::from_secs(60)));
        });
    }

    #[test]
    fn a_stop_frees_what_is_on_the_way_and_wakes_both_sides() {
        let pool = pool(2);
        let ring = Ring::new(None);
        let marks = Marks::new(2, 80, 20);
        ring.push(chunk(&pool));
        ring.push(chunk(&pool));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| ring.slot(&pool, &mut ReadGate::new(marks)).is_none());
            let writer = scope.spawn(|| ring.next(&mut Gate::new(Marks { start: 3, pause: 0 })).is_none());
            ring.stop();
            assert!(reader.join().expect("no panic") && writer.join().expect("no panic"));
        });
        assert_eq!(pool.free_slots(), 2);
        ring.push(chunk(&pool));
        assert_eq!(pool.free_slots(), 2, "nobody wants it");
        assert!(matches!(ring.try_next(), Next::End));
    }

    #[test]
    fn a_tape_that_is_read_hears_of_slots_that_come_back() {
        let pool = pool(5);
        let ring = Ring::new(None);
        let mut gate = ReadGate::new(Marks::new(5, 80, 40));
        let mut held: Vec<_> = (0..5).map(|_| ring.slot(&pool, &mut gate)).collect();
        assert!(held.iter().all(Option::is_some));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| (ring.slot(&pool, &mut gate).is_some(), gate.starts()));
            for left in (0..5).rev() {
                held.truncate(left);
                ring.freed();
            }
            assert!(reader.join().expect("no panic").0);
        });
    }

    #[test]
    fn blocks_of_one_length_are_one_run_where_they_touch() {
        let run = |at, len, count| Run { at, len, count };
        let mut runs = Vec::new();
        for blocks in
            [run(0, 512, 1), run(512, 512, 3), run(2048, 100, 1), run(2560, 100, 1), run(2660, 100, 2)]
        {
            add_blocks(&mut runs, blocks);
        }
        assert_eq!(runs, [run(0, 512, 4), run(2048, 100, 1), run(2560, 100, 3)]);
    }
}
