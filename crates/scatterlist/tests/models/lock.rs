//! The lock of the models itself: it excludes, it orders, and a deadlock is found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::thread;

use super::raw_mutex::Modelled;

type Mutex<T> = lock_api::Mutex<Modelled, T>;

#[test]
fn two_threads_never_hold_the_lock_at_once() {
    loom::model(|| {
        let sum = Arc::new(Mutex::new(0));
        let add = |sum: &Mutex<u32>| {
            let mut sum = sum.lock();
            let seen = *sum;
            // Whoever could come in between would be lost.
            thread::yield_now();
            *sum = seen + 1;
        };
        let other = thread::spawn({
            let sum = Arc::clone(&sum);
            move || add(&sum)
        });
        add(&sum);
        other.join().unwrap();
        assert_eq!(*sum.lock(), 2);
    });
}

#[test]
fn a_lock_that_is_held_is_not_had_by_trying() {
    loom::model(|| {
        let lock = Arc::new(Mutex::new(0));
        let other = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                if let Some(mut value) = lock.try_lock() {
                    *value += 1;
                }
            }
        });
        let held = lock.lock();
        let before = *held;
        thread::yield_now();
        assert_eq!(*held, before);
        drop(held);
        other.join().unwrap();
    });
}

#[test]
fn two_locks_taken_in_opposite_order_are_a_deadlock_that_is_found() {
    let model = || {
        loom::model(|| {
            let (one, two) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
            let other = thread::spawn({
                let (one, two) = (Arc::clone(&one), Arc::clone(&two));
                move || {
                    let _first = two.lock();
                    let _second = one.lock();
                }
            });
            let first = one.lock();
            let second = two.lock();
            drop((first, second));
            other.join().unwrap();
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(model)).is_err());
}
