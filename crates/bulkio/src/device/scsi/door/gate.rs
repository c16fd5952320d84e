//! [`Gate`]: how many commands `/dev/sg` takes at a time through one descriptor. One too many is refused with `EDOM`, so it waits here.

use std::sync::{Condvar, Mutex, PoisonError};

/// `SG_MAX_QUEUE`, `include/scsi/sg.h`.
pub(super) const SG_COMMANDS_MAX: u32 = 16;

/// Lets a bounded number through.
#[derive(Debug)]
pub(super) struct Gate {
    free: Mutex<u32>,
    left: Condvar,
}

/// Whoever has it is through; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(super) const fn new(at_a_time: u32) -> Self {
        Self { free: Mutex::new(at_a_time), left: Condvar::new() }
    }

    /// Waits until there is room.
    pub(super) fn enter(&self) -> Pass<'_> {
        // Nothing panics while it holds the lock.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.left.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_sub(1);
        Pass(self)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_add(1);
        drop(free);
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn no_more_than_so_many_are_inside() {
        let (gate, inside, most) = (Gate::new(3), AtomicU32::new(0), AtomicU32::new(0));
        // The first three meet inside: the gate does let three in.
        let meet = Barrier::new(3);
        let turn = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _pass = gate.enter();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        if turn.fetch_add(1, Ordering::SeqCst) < 3 {
                            meet.wait();
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
    }
}
