//! A driver that goes, and what it leaves: no future that waits for ever, no range that is locked without a word, no memory that the
//! device may still write to.
#![expect(unsafe_code, reason = "leases watched memory, ends a process without looking for leaks")]

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bulkio::direct::{AsyncFile, Driver, File, Io, IoOptions, TransferErrorKind};
use scatterlist::{CpuAddr, Lease, ScatterList, Segment};

use crate::common::storage_dir;
use crate::faulty::{Child, FaultyFs, IoMemory, Quarantine, Rule};
use crate::or_skip;
use crate::support::{ENGINES, PATIENCE, block_on, driver, driver_with, held_file, io, poll_once, poll_with};

fn one_file() -> Result<FaultyFs, String> {
    FaultyFs::new(vec![vec![7; 8 << 20]])
}

/// Owns memory, and panics when it is dropped.
struct Panics {
    _memory: Arc<IoMemory>,
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("an owner panics, as this test wants it");
    }
}

/// The memory of a dropped future goes on the driver's thread, with its owner's code.
#[test]
fn an_owner_that_panics_when_its_memory_comes_back_stops_nobody() {
    const NAME: &str = "an_owner_that_panics_when_its_memory_comes_back_stops_nobody";
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let (driver, quarantine) = (driver(engine, 4), Quarantine::default());
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let memory = quarantine.take(4096);
        let list = ScatterList::from(Segment::new(memory.addr(0), 4096).expect("a segment"));
        // SAFETY: the owner keeps the mapping, and nobody looks at it.
        let lease: Lease<CpuAddr, Panics> = unsafe { Lease::from_raw(list, Panics { _memory: memory }) };
        let mut read = file.read(lease, 0);
        assert!(poll_once(&mut read).is_pending());
        let mut other = file.read(vec![0; 4096], 4096);
        assert!(poll_once(&mut other).is_pending());
        fs.file(0).wait_held(2);
        drop(read);
        assert_eq!((quarantine.alive(), quarantine.freed()), (1, 0), "{engine}");
        fs.file(0).open_gate();
        for read in [other, file.read(vec![0; 4096], 0)] {
            assert_eq!(block_on(read).0.expect("reads").bytes, 4096, "{engine}");
        }
        drop(driver);
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
        quarantine.check();
    }
}

/// A task that owns its driver and is owned by its waker alone: it goes where it is woken.
#[test]
fn a_driver_may_be_dropped_on_its_own_thread() {
    const NAME: &str = "a_driver_may_be_dropped_on_its_own_thread";
    struct Task {
        inside: Mutex<Option<(Driver, AsyncFile)>>,
        dropped: mpsc::Sender<Option<String>>,
    }
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            let inside = self.inside.lock().expect("no panic").take();
            drop(inside);
            let name = thread::current().name().map(str::to_owned);
            self.dropped.send(name).expect("the test waits");
        }
    }
    let fs = or_skip!(NAME, one_file());
    for engine in ENGINES {
        let driver = driver(engine, 4);
        let file = held_file(&driver, &fs, Rule::reads().hold());
        let (first, mut second) = (file.read(vec![0; 4096], 0), file.read(vec![0; 4096], 4096));
        let mut first = first;
        let (dropped, told) = mpsc::channel();
        let task = Arc::new(Task { inside: Mutex::new(Some((driver, file.clone()))), dropped });
        assert!(poll_with(&mut first, &Waker::from(task)).is_pending());
        assert!(poll_once(&mut second).is_pending());
        fs.file(0).wait_held(2);
        fs.file(0).open_gate();
        let name = told.recv_timeout(PATIENCE).expect("the thread does not wait for itself");
        assert_eq!(name.as_deref(), Some("bulkio-driver"));
        assert_eq!(block_on(first).0.expect("reads").bytes, 4096, "{engine}");
        // It ends what it has, and takes no more.
        let result = block_on(second).0;
        assert!(result.is_ok() || result.is_err_and(|error| error.kind.errno() == Some(libc::ECANCELED)));
        let late = block_on(file.read(vec![0; 4096], 0)).0.expect_err("it has ended");
        assert_eq!(late.kind, TransferErrorKind::Closed);
    }
}

/// One operation that never ends fills the engine; whoever waits behind it is told.
#[test]
fn jobs_that_never_had_an_operation_end_with_a_driver_that_leaks() {
    const NAME: &str = "drivers::jobs_that_never_had_an_operation_end_with_a_driver_that_leaks";
    let fs = or_skip!(NAME, one_file());
    if Child::passes(NAME) {
        return;
    }
    for engine in ENGINES {
        let driver = driver_with(engine, |options| {
            options.depth = 2;
            options.drain_max = Duration::from_millis(50);
        });
        let file = held_file(&driver, &fs, Rule::reads().hold());
        // Two operations at a time of the first, so that the second has none.
        let mut first = file.read(vec![0; 100_001], 1);
        assert!(poll_once(&mut first).is_pending());
        fs.file(0).wait_held(2);
        let mut second = file.read(vec![0; 4096], 0);
        let mut queued = file.read(vec![0; 4096], 0);
        assert!(poll_once(&mut second).is_pending() && poll_once(&mut queued).is_pending());
        drop(driver);
        let kinds = [second, queued].map(|mut read| match poll_once(&mut read) {
            Poll::Ready((result, memory)) => {
                assert_eq!(memory.len(), 4096);
                result.expect_err("nothing was read").kind
            }
            Poll::Pending => panic!("{engine}: it waits for a driver that is gone"),
        });
        // Whether the driver had started it depends on when it looked.
        let refused = |kind: &TransferErrorKind| {
            *kind == TransferErrorKind::Closed || kind.errno() == Some(libc::ECANCELED)
        };
        assert!(kinds.iter().all(refused), "{engine}: {kinds:?}");
        assert!(poll_once(&mut first).is_pending());
        fs.file(0).open_gate();
    }
    // SAFETY: no conditions; everything that was to be seen has been.
    unsafe { libc::_exit(0) };
}

/// A write that was given up may still happen: nobody waits for its blocks, and nobody writes there.
#[test]
fn the_range_of_a_write_that_is_a_leak_is_named_to_those_who_want_it() {
    const NAME: &str = "drivers::the_range_of_a_write_that_is_a_leak_is_named_to_those_who_want_it";
    if Child::passes(NAME) {
        return;
    }
    for engine in ENGINES {
        let fs = or_skip!(NAME, one_file());
        let handle = || {
            let opened = File::options().read(true).write(true).io(&io(engine)).open(fs.file(0).path());
            Arc::new(opened.expect("opens"))
        };
        let driver = driver_with(engine, |options| options.drain_max = Duration::from_millis(50));
        let file = held_file(&driver, &fs, Rule::writes().hold());
        // Opened now: the kernel lets nobody in while it has a write.
        let (other, third) = (handle(), handle());
        let mut given_up = file.write(vec![1; 4096], 8192);
        assert!(poll_once(&mut given_up).is_pending());
        fs.file(0).wait_held(1);
        // One that waits already: it is behind the held write when the write behind it is refused.
        let waiting = {
            let other = Arc::clone(&other);
            thread::spawn(move || other.write(&[2; 100], 10_000))
        };
        drop(driver);
        let error = waiting.join().expect("no panic").expect_err("its blocks are lost");
        let lost = TransferErrorKind::RangeLost { start: 8192, end: 12288 };
        assert_eq!((error.kind.clone(), error.moved.bytes), (lost.clone(), 0), "{engine}: {error}");
        let text = error.to_string();
        assert!(text.contains("from 8192 up to 12288"), "{text}");
        // The same for those who come later, whatever way they take.
        assert_eq!(other.write(&[2; 20_000], 0).expect_err("its blocks are lost").kind, lost);
        let next = driver_with(engine, |_| {});
        let own = next.file(Arc::into_inner(third).expect("one handle")).expect("its blocks fit");
        let (result, memory) = block_on(own.write(vec![3; 10], 8192));
        assert_eq!((result.expect_err("its blocks are lost").kind, memory.len()), (lost, 10));
        let refused = other.set_len(4096).expect_err("the write may make it longer again");
        assert!(refused.to_string().contains("os error 5"), "{refused}");
        // All other bytes are nobody's. The kernel lets one write at a time into this file, so the gate is open by now.
        fs.file(0).open_gate();
        assert_eq!(other.write(&[4; 8192], 0).expect("writes").bytes, 8192);
        assert_eq!(other.write(&[4; 100], 12_300).expect("writes").bytes, 100);
        let mut bytes = [0; 4096];
        assert_eq!(other.read(&mut bytes, 8192).expect("reads").bytes, 4096);
    }
    // SAFETY: no conditions; everything that was to be seen has been.
    unsafe { libc::_exit(0) };
}

#[test]
fn a_file_whose_copies_are_longer_than_the_slots_comes_back() {
    const NAME: &str = "a_file_whose_copies_are_longer_than_the_slots_comes_back";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    std::fs::write(&path, [5; 4096]).expect("written");
    let mut options = IoOptions::default();
    options.bounce_len = 64 << 10;
    let io = Io::new(options).expect("an engine");
    let file = File::options().read(true).io(&io).open(&path).expect("opens");
    let driver = driver_with(ENGINES[0], |options| options.bounce_len = 16 << 10);
    let refused = driver.file(file).expect_err("its copies are longer");
    assert_eq!((refused.file_bytes, refused.driver_bytes), (64 << 10, 16 << 10));
    let text = refused.to_string();
    assert!(text.contains("65536") && text.contains("16384") && text.contains("file"), "{text}");
    let mut bytes = [0; 10];
    assert_eq!(refused.file.read(&mut bytes, 0).expect("reads").bytes, 10);
}
