//! What waiting is ended by, and what there is no room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bulkio::engine::{EngineChoice, FileError, SubmitReason, WaitError};
use rustix::io::write;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::{At, Stream};
use scatterlist::{Limits, Outcome};

use crate::support::{Mapping, direct, engine, file, next, pipe, run};

pub(crate) fn one_at_a_time(kind: EngineChoice) {
    let mut engine = engine(kind, 1);
    let id = engine.add_file(file(libc::O_RDWR, b"one")).unwrap();
    let memory = Mapping::new(4096);
    for _ in 0..3 {
        let outcome = run(&mut engine, id, memory.request(&[(0, 3)], FromDevice, At(0)), &Limits::default());
        assert_eq!(outcome, Outcome::whole(3));
        assert_eq!(memory.bytes()[..3], *b"one");
    }
    assert_eq!(engine.room(), 1);
}

/// Files of /proc know no `RWF_NOWAIT`.
pub(crate) fn a_file_whose_reads_wait_in_the_call(kind: EngineChoice) {
    let expected = std::fs::read("/proc/version").unwrap();
    let mut engine = engine(kind, 8);
    let id = engine.add_file(Arc::new(std::fs::File::open("/proc/version").unwrap().into())).unwrap();
    let memory = Mapping::new(4096);
    let outcome = run(&mut engine, id, memory.request(&[(0, 4096)], FromDevice, At(0)), &Limits::default());
    assert_eq!((outcome.done, outcome.fault), (expected.len() as u64, None));
    assert_eq!(memory.bytes()[..expected.len()], expected);
}

pub(crate) fn full_engine_gives_the_request_back(kind: EngineChoice) {
    let mut engine = engine(kind, 3);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    let read = |at| memory.request(&[(at, 4)], FromDevice, Stream);
    for piece in 0..3_u32 {
        assert_eq!(engine.room(), 3 - piece);
        engine.submit(id, read(piece as usize * 8), &Limits::default()).unwrap();
    }
    let refused = engine.submit(id, read(64), &Limits::default()).unwrap_err();
    assert_eq!(refused.reason, SubmitReason::Full { in_flight: 3, depth: 3 });
    assert_eq!(refused.to_string(), "3 requests are in flight, and the depth is 3: wait for one first");
    write(&*write_end, b"aaaabbbbccccdddd").unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4));
    engine.submit(id, refused.request, &Limits::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut engine).1, Outcome::whole(4));
    }
    for (at, byte) in [(0, b'a'), (8, b'b'), (16, b'c'), (64, b'd')] {
        assert_eq!(memory.bytes()[at..at + 4], [byte; 4]);
    }
}

extern "C" fn nothing(_: libc::c_int) {}

pub(crate) fn a_signal_ends_the_wait(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    // SAFETY: all zero is a valid action: no flags, so that calls are interrupted, and no mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) }, 0);
    // SAFETY: no conditions.
    let thread = unsafe { libc::pthread_self() };
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        // SAFETY: the thread joins this one before it ends.
        unsafe { libc::pthread_kill(thread, libc::SIGUSR2) }
    });
    engine.submit(id, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    assert!(engine.wait().unwrap().is_none());
    assert_eq!(sender.join().unwrap(), 0);
    write(&*write_end, b"more").unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4));
}

pub(crate) fn time_limits_hold(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, _write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    engine.submit(id, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    assert!(engine.poll().unwrap().is_none());
    let start = Instant::now();
    assert!(engine.wait_timeout(Duration::from_millis(60)).unwrap().is_none());
    assert!(start.elapsed() >= Duration::from_millis(59));
}

pub(crate) fn idle_and_busy_are_said(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    assert!(matches!(engine.wait(), Err(WaitError::Idle)));
    assert!(matches!(engine.wait_timeout(Duration::from_secs(1)), Err(WaitError::Idle)));
    assert!(engine.poll().unwrap().is_none());
    let id = engine.add_file(file(libc::O_RDONLY, b"content")).unwrap();
    let memory = Mapping::new(4096);
    let read = |len| memory.request(&[(0, len)], FromDevice, At(0));
    engine.submit(id, read(4), &Limits::default()).unwrap();
    assert_eq!(engine.remove_file(id).unwrap_err(), FileError::Busy { file: id, in_flight: 1 });
    assert_eq!(next(&mut engine).1, Outcome::whole(4));
    engine.remove_file(id).unwrap();
    assert_eq!(engine.remove_file(id).unwrap_err(), FileError::Unknown { file: id });
    // The next file does not answer to the old id.
    let other = engine.add_file(file(libc::O_RDONLY, b"other")).unwrap();
    let refused = engine.submit(id, read(4), &Limits::default()).unwrap_err();
    assert_eq!(refused.reason, SubmitReason::UnknownFile { file: id });
    assert_eq!(run(&mut engine, other, refused.request, &Limits::default()), Outcome::whole(4));
    assert_eq!(memory.bytes()[..4], *b"othe");
    // Past the slots of registered files, plain descriptors serve.
    for count in 0..40 {
        let id = engine.add_file(file(libc::O_RDONLY, &[count; 8])).unwrap();
        assert_eq!(run(&mut engine, id, read(8), &Limits::default()), Outcome::whole(8));
        assert_eq!(memory.bytes()[..8], [count; 8]);
    }
}

pub(crate) fn a_wake_ends_a_wait(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    assert!(matches!(engine.wait_or_wake(None), Err(WaitError::Idle)));
    assert!(engine.wait_or_wake(Some(Duration::from_millis(1))).unwrap().is_none());
    let remote = engine.remote().unwrap();
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    // Before the wait: two wakes are one, and polling takes none.
    for _ in 0..2 {
        remote.wake();
    }
    assert!(engine.poll().unwrap().is_none());
    assert!(engine.wait().unwrap().is_none());
    assert!(matches!(engine.wait(), Err(WaitError::Idle)));
    // During a wait, with nothing in flight and with a read that waits.
    for round in 0..20 {
        if round == 10 {
            engine.submit(id, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
        }
        let (remote, count) = (remote.clone(), Arc::new(AtomicU32::new(0)));
        let waker = std::thread::spawn({
            let count = Arc::clone(&count);
            move || {
                std::thread::sleep(Duration::from_millis(2));
                count.store(round, Ordering::Relaxed);
                remote.wake();
            }
        });
        assert!(engine.wait_or_wake(None).unwrap().is_none());
        assert_eq!(count.load(Ordering::Relaxed), round);
        waker.join().unwrap();
        assert!(engine.wait_or_wake(Some(Duration::ZERO)).unwrap().is_none());
    }
    write(&*write_end, b"more").unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4));
    drop(engine);
    remote.wake();
}

/// Also while a disk's operations are in flight, which never wait for anybody.
pub(crate) fn a_wake_ends_a_wait_for_a_disk(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let remote = engine.remote().unwrap();
    let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &[5; 8192])).unwrap();
    let memory = Mapping::new(4096);
    for _ in 0..50 {
        engine.submit(disk, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct()).unwrap();
        remote.wake();
        // The wake goes before the completion, once.
        assert!(engine.wait().unwrap().is_none());
        assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    }
    assert!(matches!(engine.wait(), Err(WaitError::Idle)));
}

/// Threads count up and wake; the engine sleeps whenever it has seen the last count. A wake that were lost would
/// leave it asleep for good.
pub(crate) fn no_wake_is_lost(kind: EngineChoice) {
    const COUNT: u32 = 3000;
    const ASLEEP: Duration = Duration::from_secs(20);
    let mut engine = engine(kind, 4);
    let remote = engine.remote().unwrap();
    let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &[5; 8192])).unwrap();
    let memory = Mapping::new(4096);
    let count = Arc::new(AtomicU32::new(0));
    let wakers: Vec<_> = (0..2)
        .map(|_| {
            let (count, remote) = (Arc::clone(&count), remote.clone());
            std::thread::spawn(move || {
                for round in 0..COUNT {
                    count.fetch_add(1, Ordering::Relaxed);
                    remote.wake();
                    if round % 8 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < 2 * COUNT {
        if engine.in_flight() == 0 && seen % 3 == 0 {
            engine.submit(disk, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct()).unwrap();
        }
        let before = Instant::now();
        engine.wait_or_wake(Some(ASLEEP)).unwrap();
        assert!(before.elapsed() < ASLEEP, "a wake was lost: {seen} of {}", 2 * COUNT);
        seen = count.load(Ordering::Relaxed);
    }
    for waker in wakers {
        waker.join().unwrap();
    }
}
