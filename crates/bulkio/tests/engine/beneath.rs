//! Disks that cannot say "later": a ring leaves their transfers to native AIO, says so, and mixes both kinds.
//!
//! The disk is one in memory; it takes any address, so alignment is not what is tested here.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use bulkio::engine::{Carrier, Engine, EngineChoice, EngineOptions, FileId, FlushKind, Issuer};
use rustix::io::write;
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{Limits, Outcome};

use crate::common::{MemoryDisk, skip};
use crate::or_skip;
use crate::support::{
    Mapping, TestEngine, direct, forbid, next, over, pattern, pipe, ran_in_child, run, works,
};

const PAGE: usize = 4096;
const PAGES: usize = 64;

fn open(disk: &MemoryDisk, flags: libc::c_int) -> Arc<OwnedFd> {
    let mut options = OpenOptions::new();
    Arc::new(options.read(true).write(true).custom_flags(flags).open(disk.node()).unwrap().into())
}

fn ring(issuer: Issuer) -> TestEngine {
    let kind = EngineChoice::Uring;
    Engine::new(EngineOptions { kind, issuer, depth: 16, ..EngineOptions::default() }).unwrap()
}

fn carrier(engine: &TestEngine, file: FileId) -> Carrier {
    engine.file_report(file).unwrap().carrier
}

/// Writes every page of the disk and reads all in another order, single pages and lists of them.
fn round_trip(engine: &mut TestEngine, file: FileId) {
    let memory = Mapping::new(PAGES * PAGE);
    memory.fill(pattern);
    for page in 0..PAGES {
        if engine.room() == 0 {
            assert_eq!(next(engine).1, Outcome::whole(PAGE as u64));
        }
        let (at, position) = (page * PAGE, At((page * PAGE) as u64));
        engine.submit(file, memory.request(&[(at, PAGE)], ToDevice, position), &direct()).unwrap();
    }
    while engine.in_flight() > 0 {
        assert_eq!(next(engine).1, Outcome::whole(PAGE as u64));
    }
    engine.flush(file, FlushKind::Data).unwrap();
    assert_eq!(over(engine).fault(), None);
    let back = Mapping::new(PAGES * PAGE);
    for first in (0..PAGES).step_by(4).rev() {
        if engine.room() == 0 {
            assert_eq!(next(engine).1, Outcome::whole(4 * PAGE as u64));
        }
        // Backwards in memory.
        let pieces: Vec<_> = (0..4).map(|page| ((PAGES - 1 - first - page) * PAGE, PAGE)).collect();
        let position = At((first * PAGE) as u64);
        engine.submit(file, back.request(&pieces, FromDevice, position), &direct()).unwrap();
    }
    while engine.in_flight() > 0 {
        assert_eq!(next(engine).1, Outcome::whole(4 * PAGE as u64));
    }
    let (expected, found) = (memory.bytes(), back.bytes());
    for page in 0..PAGES {
        let at = (PAGES - 1 - page) * PAGE;
        assert_eq!(found[at..at + PAGE], expected[page * PAGE..(page + 1) * PAGE], "page {page}");
    }
}

#[test]
fn native_aio_carries_a_disk_that_cannot_say_later() {
    const NAME: &str = "beneath::native_aio_carries_a_disk_that_cannot_say_later";
    if !works(NAME, EngineChoice::Uring) || !works(NAME, EngineChoice::Aio) {
        return;
    }
    let disk = or_skip!(NAME, MemoryDisk::new((PAGES * PAGE) as u64));
    for issuer in [Issuer::OneThread, Issuer::AnyThread] {
        let mut engine = ring(issuer);
        let file = engine.add_file(open(&disk, libc::O_DIRECT)).unwrap();
        assert_eq!(carrier(&engine, file), Carrier::Aio);
        round_trip(&mut engine, file);
        let stats = engine.stats();
        // The flush is the ring's.
        assert_eq!(stats.operations_aio, (PAGES + PAGES / 4) as u64);
        assert_eq!(stats.operations, stats.operations_aio + 1);
        // A read past the end of the disk, and one of nothing but its last page.
        let memory = Mapping::new(2 * PAGE);
        let last = At(((PAGES - 1) * PAGE) as u64);
        let request = memory.request(&[(0, 2 * PAGE)], FromDevice, last);
        let outcome = run(&mut engine, file, request, &direct());
        assert_eq!((outcome.done, outcome.fault), (PAGE as u64, None));
        engine.remove_file(file).unwrap();
        assert!(engine.file_report(file).is_none());
        // Through the cache a thread does it.
        let cached = engine.add_file(open(&disk, 0)).unwrap();
        assert_ne!(carrier(&engine, cached), Carrier::Aio);
    }
}

#[test]
fn a_pipe_and_such_a_disk_in_one_engine() {
    const NAME: &str = "beneath::a_pipe_and_such_a_disk_in_one_engine";
    if !works(NAME, EngineChoice::Uring) || !works(NAME, EngineChoice::Aio) {
        return;
    }
    let disk = or_skip!(NAME, MemoryDisk::new((PAGES * PAGE) as u64));
    for issuer in [Issuer::OneThread, Issuer::AnyThread] {
        let mut engine = ring(issuer);
        let remote = engine.remote().unwrap();
        let (read_end, write_end) = pipe();
        let stream = engine.add_file(read_end).unwrap();
        let file = engine.add_file(open(&disk, libc::O_DIRECT)).unwrap();
        assert_eq!((carrier(&engine, stream), carrier(&engine, file)), (Carrier::Engine, Carrier::Aio));
        for round in 0..20 {
            let memory = Mapping::new(PAGE);
            engine.submit(stream, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
            let page = Mapping::new(PAGE);
            for _ in 0..10 {
                engine.submit(file, page.request(&[(0, PAGE)], FromDevice, At(0)), &direct()).unwrap();
            }
            // All but the pipe's come, in their time; a wake and what is written are seen after them.
            for _ in 0..10 {
                assert_eq!(next(&mut engine).1, Outcome::whole(PAGE as u64), "round {round}");
            }
            assert_eq!(engine.in_flight(), 1);
            let waker = remote.clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            assert!(engine.wait_or_wake(None).unwrap().is_none());
            write(&*write_end, b"four").unwrap();
            assert_eq!(next(&mut engine).1, Outcome::whole(4));
            assert!(engine.wait_or_wake(Some(Duration::ZERO)).unwrap().is_none());
        }
        assert_eq!(engine.stats().operations_aio, 200);
    }
}

/// Native AIO is forbidden, io_uring is not: as before there was any, and it says why.
#[test]
fn without_native_aio_threads_of_the_kernel_do_it() {
    const NAME: &str = "beneath::without_native_aio_threads_of_the_kernel_do_it";
    if !works(NAME, EngineChoice::Uring) {
        return;
    }
    let disk = or_skip!(NAME, MemoryDisk::new((PAGES * PAGE) as u64));
    if std::env::var_os(MARK).is_none() {
        drop(disk);
        ran_in_child(NAME, MARK);
        return;
    }
    if !forbid(&[libc::SYS_io_setup]) {
        return skip(NAME, "no filter of system calls can be set");
    }
    let mut engine = ring(Issuer::OneThread);
    let file = engine.add_file(open(&disk, libc::O_DIRECT)).unwrap();
    let report = engine.file_report(file).unwrap();
    assert_eq!(report.carrier, Carrier::Workers);
    let reason = report.aio_refused.unwrap();
    assert!(reason.starts_with("io_setup failed: ") && reason.contains("seccomp"), "{reason}");
    round_trip(&mut engine, file);
    assert_eq!(engine.stats().operations_aio, 0);
}

const MARK: &str = "BULKIO_TEST_WITHOUT_AIO_CHILD";
