//! Range locks: writes of this process that touch the same blocks of a file go one after the other.
//!
//! A ragged end is read, changed and written back, so no other write may come between. All open files of one inode (or block
//! device) share one set of locks, found in a table of the process: the thing that they guard is just as shared. First come,
//! first served, so that no writer starves. Other processes are not held back, as with the page cache's own writes of parts of
//! a sector by two systems: see the module's documentation.
//!
//! A write that was given up while the kernel still had it keeps its range for good: what it will do there, and when, nobody knows.
//! Whoever wants a part of that range is told so instead of waiting.

use core::task::Waker;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};

/// What a set of locks belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum LockKey {
    /// A regular file: the device number of its file system, the number of its inode.
    File { device: (u32, u32), inode: u64 },
    /// A block device, by its number.
    Device { number: (u32, u32) },
}

static TABLE: LazyLock<Mutex<HashMap<LockKey, Weak<RangeLocks>>>> = LazyLock::new(Mutex::default);

/// The locks of one file or device.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Vec<Range>,
    waiting: VecDeque<Waiting>,
    next: u64,
}

/// Who drives the job that has or wants a range: a thread, and one channel of those that it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owner {
    thread: ThreadId,
    channel: u64,
}

impl Owner {
    /// Returns this thread, with the number of a channel of its own.
    pub(super) fn this_thread(channel: u64) -> Self {
        Self { thread: thread::current().id(), channel }
    }

    /// Says whether waiting for `other` would be waiting for oneself: the same thread has it, and does not turn that channel while it waits.
    fn waits_for_itself(&self, other: &Self) -> bool {
        self.thread == other.thread && self.channel != other.channel
    }
}

/// The range is held by what this very thread has under way elsewhere: in a scope, say, whose body writes to the same blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WouldDeadlock;

/// A part of the range belongs for good to a write that was given up: the bytes from `start` up to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Bytes from `start` up to `end`, and who wants or has them.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
    id: u64,
    owner: Owner,
    /// Whether the write that holds it was given up and may still reach it.
    lost: bool,
}

#[derive(Debug)]
struct Waiting {
    range: Range,
    waker: Waker,
}

impl Range {
    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A range that is locked, or in the queue for it. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct RangeLock {
    locks: Arc<RangeLocks>,
    id: u64,
}

impl RangeLocks {
    /// Finds the locks that everybody in this process shares for `key`.
    pub(super) fn shared(key: LockKey) -> Arc<Self> {
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(locks) = table.get(&key).and_then(Weak::upgrade) {
            return locks;
        }
        table.retain(|_, locks| locks.strong_count() > 0);
        let locks = Arc::new(Self::default());
        table.insert(key, Arc::downgrade(&locks));
        locks
    }

    /// Locks `start..end`, or joins the queue: then `waker` is woken when the lock is held.
    ///
    /// # Errors
    /// [`WouldDeadlock`], where `owner` would wait for what it has itself.
    pub(super) fn lock(
        self: &Arc<Self>,
        start: u64,
        end: u64,
        owner: Owner,
        waker: impl FnOnce() -> Waker,
    ) -> Result<RangeLock, WouldDeadlock> {
        let mut state = self.state();
        state.next = state.next.wrapping_add(1);
        let range = Range { start, end, id: state.next, owner, lost: false };
        let waiting = state.waiting.iter().map(|waiting| &waiting.range);
        let mut before = state.held.iter().chain(waiting).filter(|other| other.overlaps(&range)).peekable();
        if before.peek().is_none() {
            state.held.push(range);
        } else if before.any(|other| owner.waits_for_itself(&other.owner)) {
            return Err(WouldDeadlock);
        } else {
            state.waiting.push_back(Waiting { range, waker: waker() });
        }
        drop(state);
        Ok(RangeLock { locks: Arc::clone(self), id: range.id })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a push, a removal or both under one lock: a panic leaves nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RangeLock {
    /// Says whether the range is locked by now.
    ///
    /// # Errors
    /// [`Lost`]: it never will be.
    pub(super) fn is_held(&self) -> Result<bool, Lost> {
        let state = self.locks.state();
        if state.held.iter().any(|range| range.id == self.id) {
            return Ok(true);
        }
        let own = state.waiting.iter().find(|waiting| waiting.range.id == self.id);
        let lost =
            own.and_then(|own| state.held.iter().find(|range| range.lost && range.overlaps(&own.range)));
        lost.map_or(Ok(false), |&Range { start, end, .. }| Err(Lost { start, end }))
    }

    /// Keeps the range for good, and tells those who wait for it. For a write that is given up and may still happen.
    pub(super) fn lose(self) {
        let mut state = self.locks.state();
        let State { held, waiting, .. } = &mut *state;
        let Some(own) = held.iter_mut().find(|range| range.id == self.id) else { return };
        own.lost = true;
        let hopeless = waiting.iter().filter(|waiting| waiting.range.overlaps(own));
        let woken: Vec<Waker> = hopeless.map(|waiting| waiting.waker.clone()).collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        // The range stays in the list, and the list in the table.
        core::mem::forget(self);
    }
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        let State { held, waiting, .. } = &mut *state;
        held.retain(|range| range.id != self.id);
        waiting.retain(|waiting| waiting.range.id != self.id);
        // In the order of arrival: nobody overtakes an earlier one that overlaps.
        let mut woken = Vec::new();
        let mut still: VecDeque<Waiting> = VecDeque::with_capacity(waiting.len());
        for candidate in waiting.drain(..) {
            let blocked = held.iter().any(|range| range.overlaps(&candidate.range))
                || still.iter().any(|earlier| earlier.range.overlaps(&candidate.range));
            if blocked {
                still.push_back(candidate);
            } else {
                held.push(candidate.range);
                woken.push(candidate.waker);
            }
        }
        *waiting = still;
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    fn locks() -> Arc<RangeLocks> {
        Arc::new(RangeLocks::default())
    }

    fn lock(locks: &Arc<RangeLocks>, start: u64, end: u64) -> RangeLock {
        locks.lock(start, end, Owner::this_thread(0), || Waker::noop().clone()).unwrap()
    }

    #[test]
    fn nobody_waits_for_himself() {
        let locks = locks();
        let mine = lock(&locks, 0, 4096);
        let other = |channel| locks.lock(0, 100, Owner::this_thread(channel), || Waker::noop().clone());
        assert_eq!(other(1).unwrap_err(), WouldDeadlock);
        // The same channel goes on with the one while the other waits; and so does another thread.
        let second = other(0).unwrap();
        let third = thread::scope(|scope| scope.spawn(|| other(1).unwrap()).join().unwrap());
        drop(mine);
        assert_eq!([&second, &third].map(RangeLock::is_held), [Ok(true), Ok(false)]);
        drop(second);
        assert_eq!(third.is_held(), Ok(true));
    }

    #[test]
    fn ranges_that_only_touch_do_not_wait() {
        let locks = locks();
        let first = lock(&locks, 0, 4096);
        let second = lock(&locks, 4096, 8192);
        assert_eq!([&first, &second].map(RangeLock::is_held), [Ok(true), Ok(true)]);
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let locks = locks();
        let first = lock(&locks, 0, 4096);
        let second = lock(&locks, 0, 8192);
        // Free of `first`, but behind `second`, which would starve otherwise.
        let third = lock(&locks, 4096, 8192);
        assert_eq!([&first, &second, &third].map(RangeLock::is_held), [Ok(true), Ok(false), Ok(false)]);
        drop(first);
        assert_eq!([&second, &third].map(RangeLock::is_held), [Ok(true), Ok(false)]);
        drop(second);
        assert_eq!(third.is_held(), Ok(true));
    }

    #[test]
    fn whoever_leaves_the_queue_lets_the_next_go() {
        let locks = locks();
        let first = lock(&locks, 0, 4096);
        let second = lock(&locks, 0, 8192);
        let third = lock(&locks, 4096, 8192);
        drop(second);
        assert_eq!([&first, &third].map(RangeLock::is_held), [Ok(true), Ok(true)]);
    }

    #[test]
    fn a_range_that_is_lost_is_a_leak_that_keeps_nobody_waiting() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let locks = locks();
        let given_up = lock(&locks, 4096, 8192);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let before = locks.lock(0, 8192, Owner::this_thread(0), || Waker::from(Arc::clone(&woken))).unwrap();
        let beside = lock(&locks, 8192, 12288);
        assert_eq!([&before, &beside].map(RangeLock::is_held), [Ok(false), Ok(true)]);
        given_up.lose();
        assert!(woken.0.load(Ordering::Relaxed));
        let after = lock(&locks, 0, u64::MAX);
        let lost = Err(Lost { start: 4096, end: 8192 });
        assert_eq!([&before, &after].map(RangeLock::is_held), [lost, lost]);
        // Those who go let others go.
        let front = lock(&locks, 0, 4096);
        assert_eq!(front.is_held(), Ok(false));
        drop((before, after));
        assert_eq!([&front, &beside].map(RangeLock::is_held), [Ok(true), Ok(true)]);
    }

    #[test]
    fn one_inode_has_one_set_of_locks() {
        let key = LockKey::File { device: (u32::MAX, 1), inode: 42 };
        let locks = RangeLocks::shared(key);
        assert!(Arc::ptr_eq(&locks, &RangeLocks::shared(key)));
        let other = RangeLocks::shared(LockKey::Device { number: (u32::MAX, 1) });
        assert!(!Arc::ptr_eq(&locks, &other));
    }
}
