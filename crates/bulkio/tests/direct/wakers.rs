//! Wakers are code of the executor: they panic, poll where they are woken, and stop waking. None of that is the matter of any other future.
#![expect(unsafe_code, reason = "makes a waker whose clone panics")]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

use bulkio::direct::{AsyncFile, Transfer};

use crate::faulty::{FaultyFs, Quarantine, Rule};
use crate::or_skip;
use crate::support::{ENGINES, PATIENCE, block_on, driver, held_file, lease, poll_once, poll_with};

/// Jobs that wait in front of a driver, at most.
const QUEUE_MAX: usize = 256;

fn one_file() -> Result<FaultyFs, String> {
    FaultyFs::new(vec![vec![7; 1 << 20]])
}

fn read(file: &AsyncFile) -> Transfer<Vec<u8>> {
    file.read(vec![0; 4096], 0)
}

/// Starts a read that is held, and as many as the queue takes.
fn fill(file: &AsyncFile, fs: &FaultyFs) -> Vec<Transfer<Vec<u8>>> {
    let mut first = read(file);
    assert!(poll_once(&mut first).is_pending());
    fs.file(0).wait_held(1);
    let mut all = vec![first];
    all.extend((0..QUEUE_MAX).map(|_| read(file)));
    assert!(all.iter_mut().all(|read| poll_once(read).is_pending()));
    all
}

/// Says that it was woken.
struct Tell(mpsc::Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        // The test may be over.
        let _ = self.0.send(());
    }
}

fn tell() -> (Waker, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel();
    (Waker::from(Arc::new(Tell(tell))), told)
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics, as this test wants it");
    }
}

static CLONE_PANICS: AtomicBool = AtomicBool::new(false);
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| (), |_| (), |_| ());

unsafe fn clone(_: *const ()) -> RawWaker {
    assert!(!CLONE_PANICS.load(Ordering::SeqCst), "a clone panics, as this test wants it");
    RawWaker::new(std::ptr::null(), &VTABLE)
}

#[test]
fn a_waker_whose_clone_panics_leaves_the_memory_in_flight() {
    const NAME: &str = "a_waker_whose_clone_panics_leaves_the_memory_in_flight";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        CLONE_PANICS.store(false, Ordering::SeqCst);
        // SAFETY: the functions of the table use no data.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) };
        let (driver, quarantine) = (driver(engine, 4), Quarantine::default());
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let mut read = file.read(lease(&quarantine, 4096), 0);
        assert!(poll_once(&mut read).is_pending());
        fs.file(0).wait_held(1);
        CLONE_PANICS.store(true, Ordering::SeqCst);
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll_with(&mut read, &waker).is_pending()
        }));
        assert!(polled.is_err(), "another waker is cloned");
        assert_eq!((quarantine.alive(), quarantine.freed()), (1, 0), "{engine}");
        fs.file(0).open_gate();
        // The future is what it was.
        let (moved, lent) = block_on(read);
        assert_eq!(moved.expect("reads").bytes, 4096);
        drop((lent, driver));
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
        quarantine.check();
    }
}

#[test]
fn a_waker_that_panics_is_the_matter_of_its_own_task() {
    const NAME: &str = "a_waker_that_panics_is_the_matter_of_its_own_task";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 4);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let mut unlucky = read(&file);
        assert!(poll_with(&mut unlucky, &Waker::from(Arc::new(Panics))).is_pending());
        let (waker, told) = tell();
        let mut other = read(&file);
        assert!(poll_with(&mut other, &waker).is_pending());
        fs.file(0).wait_held(2);
        fs.file(0).open_gate();
        told.recv_timeout(PATIENCE).expect("the other task is woken");
        for read in [other, unlucky, read(&file)] {
            assert_eq!(block_on(read).0.expect("reads").bytes, 4096, "{engine}");
        }
    }
}

/// A panic in the line, where it is another's command that makes the room.
#[test]
fn a_waker_in_line_that_panics_stops_nobody_behind_it() {
    const NAME: &str = "a_waker_in_line_that_panics_stops_nobody_behind_it";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 1);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let all = fill(&file, &fs);
        let mut unlucky = read(&file);
        assert!(poll_with(&mut unlucky, &Waker::from(Arc::new(Panics))).is_pending());
        let (waker, told) = tell();
        let mut behind = read(&file);
        assert!(poll_with(&mut behind, &waker).is_pending());
        fs.file(0).open_gate();
        told.recv_timeout(PATIENCE).expect("whoever is behind is woken");
        for read in all.into_iter().chain([behind, unlucky]) {
            assert_eq!(block_on(read).0.expect("reads").bytes, 4096, "{engine}");
        }
    }
}

/// An executor may poll where it is woken, so nothing is locked there.
#[test]
fn a_task_may_be_polled_where_it_is_woken() {
    const NAME: &str = "a_task_may_be_polled_where_it_is_woken";
    struct Task {
        read: Mutex<Option<Transfer<Vec<u8>>>>,
        over: Mutex<mpsc::Sender<u64>>,
    }
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
            let mut place = self.read.lock().expect("no panic");
            if let Some(read) = place.as_mut()
                && let Poll::Ready((moved, _)) = Pin::new(read).poll(&mut Context::from_waker(&waker))
            {
                *place = None;
                self.over
                    .lock()
                    .expect("no panic")
                    .send(moved.expect("reads").bytes)
                    .expect("the test waits");
            }
        }
    }
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 1);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let all = fill(&file, &fs);
        let (over, told) = mpsc::channel();
        for _ in 0..3 {
            let read = Mutex::new(Some(read(&file)));
            Arc::new(Task { read, over: Mutex::new(over.clone()) }).wake();
        }
        fs.file(0).open_gate();
        for _ in 0..3 {
            assert_eq!(told.recv_timeout(PATIENCE).expect("no task waits for itself"), 4096, "{engine}");
        }
        for read in all {
            assert_eq!(block_on(read).0.expect("reads").bytes, 4096);
        }
    }
}

/// Those who left, and those who are not polled any more: more of both than there is ever room for.
#[test]
fn room_comes_to_the_one_that_still_waits() {
    const NAME: &str = "room_comes_to_the_one_that_still_waits";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 1);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let all = fill(&file, &fs);
        let mut idle: Vec<_> = (0..2 * QUEUE_MAX).map(|_| read(&file)).collect();
        for _ in 0..2 * QUEUE_MAX {
            let (waker, _) = tell();
            assert!(poll_with(&mut read(&file), &waker).is_pending());
        }
        assert!(idle.iter_mut().all(|read| poll_with(read, &tell().0).is_pending()));
        let (waker, told) = tell();
        let mut last = read(&file);
        assert!(poll_with(&mut last, &waker).is_pending());
        fs.file(0).open_gate();
        for read in all {
            block_on(read).0.expect("reads");
        }
        told.recv_timeout(PATIENCE).expect("the queue is empty");
        assert_eq!(block_on(last).0.expect("reads").bytes, 4096, "{engine}");
        drop(idle);
    }
}

#[test]
fn whoever_was_woken_for_room_and_goes_passes_it_on() {
    const NAME: &str = "whoever_was_woken_for_room_and_goes_passes_it_on";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 1);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let mut all = fill(&file, &fs);
        let ((first_waker, first_told), (second_waker, second_told)) = (tell(), tell());
        let (mut first, mut second) = (read(&file), read(&file));
        assert!(poll_with(&mut first, &first_waker).is_pending());
        assert!(poll_with(&mut second, &second_waker).is_pending());
        // One place in the queue is free: it is the first's to take.
        drop(all.pop());
        assert_eq!(first_told.try_recv(), Ok(()));
        assert_eq!(second_told.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(first);
        assert_eq!(second_told.try_recv(), Ok(()));
        // Who left the line, and was not woken, has nothing to pass on.
        assert!(poll_with(&mut second, &second_waker).is_pending());
        let (mut third, mut fourth) = (read(&file), read(&file));
        assert!(poll_with(&mut third, &first_waker).is_pending());
        assert!(poll_with(&mut fourth, &second_waker).is_pending());
        drop(third);
        assert_eq!(second_told.try_recv(), Err(mpsc::TryRecvError::Empty));
        fs.file(0).open_gate();
        for read in all.into_iter().chain([second, fourth]) {
            assert_eq!(block_on(read).0.expect("reads").bytes, 4096, "{engine}");
        }
    }
}
