//! Engines that move: what one thread submitted another waits for, also when the first is gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bulkio::engine::{EngineChoice, EngineOptions, MovableEngine};
use rustix::io::write;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::{At, Stream};
use scatterlist::{Limits, Outcome, Status};

use crate::support::{Mapping, direct, file, next, pattern, pipe, run};

type Movable = MovableEngine<Arc<Mapping>, ()>;

fn movable(kind: EngineChoice, depth: u32) -> Movable {
    Movable::new(EngineOptions { kind, depth, ..EngineOptions::default() }).unwrap()
}

/// The thread that submitted stays, without a system call of its own.
pub(crate) fn submitted_here_and_waited_for_there(kind: EngineChoice) {
    let bytes: Vec<u8> = (0..1 << 20).map(pattern).collect();
    let mut engine = movable(kind, 32);
    let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &bytes)).unwrap();
    let (read_end, write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(1 << 20);
    let other = Mapping::new(4096);
    for block in 0..16 {
        let at = block << 16;
        engine.submit(disk, memory.request(&[(at, 1 << 16)], FromDevice, At(at as u64)), &direct()).unwrap();
    }
    engine.submit(stream, other.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    engine.start().unwrap();
    write(&*write_end, b"more").unwrap();
    let done = Arc::new(AtomicU32::new(0));
    let waiter = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut engine = engine;
            let outcomes: Vec<Outcome> = (0..17).map(|_| next(&mut engine).1).collect();
            done.store(1, Ordering::Release);
            (engine, outcomes)
        }
    });
    let limit = Instant::now() + Duration::from_secs(20);
    while done.load(Ordering::Acquire) == 0 {
        assert!(Instant::now() < limit, "the results never came");
        std::hint::spin_loop();
    }
    let (mut engine, outcomes) = waiter.join().unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::whole(1 << 16)).count(), 16);
    assert!(outcomes.contains(&Outcome::whole(4)));
    assert!(memory.bytes() == bytes && other.bytes()[..4] == *b"more");
    // And back again.
    let outcome = run(&mut engine, disk, other.request(&[(0, 4096)], FromDevice, At(0)), &direct());
    assert_eq!(outcome, Outcome::whole(4096));
}

/// Results come all the same; io_uring gives up what waited for a pipe.
pub(crate) fn the_thread_that_submitted_ends(kind: EngineChoice) {
    let bytes: Vec<u8> = (0..1 << 20).map(pattern).collect();
    for buffered in [false, true] {
        let flags = if buffered { libc::O_RDONLY } else { libc::O_RDONLY | libc::O_DIRECT };
        let fd = file(flags, &bytes);
        let (read_end, write_end) = pipe();
        let (memory, other) = (Mapping::new(1 << 20), Mapping::new(4096));
        let requests: Vec<_> = (0..16_usize)
            .map(|block| memory.request(&[(block << 16, 1 << 16)], FromDevice, At((block << 16) as u64)))
            .collect();
        let waiting = other.request(&[(0, 4)], FromDevice, Stream);
        let submitter = std::thread::spawn(move || {
            let mut engine = movable(kind, 32);
            let disk = engine.add_file(fd).unwrap();
            let stream = engine.add_file(read_end).unwrap();
            for request in requests {
                engine.submit(disk, request, &direct()).unwrap();
            }
            engine.submit(stream, waiting, &Limits::default()).unwrap();
            engine.start().unwrap();
            engine
        });
        let mut engine = submitter.join().unwrap();
        write(&*write_end, b"more").unwrap();
        let (mut whole, mut cancelled) = (0, 0);
        for _ in 0..17 {
            let (request, outcome) = next(&mut engine);
            match outcome.fault {
                None => {
                    assert_eq!(outcome, Outcome::whole(request.len_bytes()));
                    whole += 1;
                }
                Some(fault) => {
                    assert_eq!((kind, fault.status), (EngineChoice::Uring, Status::Cancelled));
                    assert!(
                        request.position() == Stream || buffered,
                        "{request:?}: a disk's answer is a result"
                    );
                    cancelled += 1;
                }
            }
        }
        assert_eq!(whole + cancelled, 17);
        assert!(whole >= if buffered { 0 } else { 16 });
        drop(engine);
        assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&other)), (1, 1));
    }
}

/// One engine, handed round in a circle; each thread submits one request and takes one completion.
pub(crate) fn many_threads_take_turns(kind: EngineChoice) {
    let bytes: Vec<u8> = (0..1 << 16).map(pattern).collect();
    let mut engine = movable(kind, 8);
    let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &bytes)).unwrap();
    let memory = Mapping::new(1 << 16);
    let read = |block: usize| memory.request(&[(block << 12, 4096)], FromDevice, At((block << 12) as u64));
    for block in 0..4 {
        engine.submit(disk, read(block), &direct()).unwrap();
    }
    let shared = Mutex::new((engine, 4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let mut guard = shared.lock().unwrap();
                    let (engine, block) = &mut *guard;
                    if *block == 16 {
                        break;
                    }
                    engine.submit(disk, read(*block), &direct()).unwrap();
                    *block += 1;
                    assert_eq!(next(engine).1, Outcome::whole(4096));
                }
            });
        }
    });
    let (mut engine, _) = shared.into_inner().unwrap();
    for _ in 0..4 {
        assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    }
    assert!(memory.bytes() == bytes);
}

/// A thread that slept on the bell is gone: the next one is woken all the same.
pub(crate) fn wakes_reach_it_wherever_it_is(kind: EngineChoice) {
    let mut engine = movable(kind, 4);
    let remote = engine.remote().unwrap();
    let (read_end, write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    engine.submit(stream, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    for _ in 0..5 {
        let sleeper = std::thread::spawn(move || {
            let mut engine = engine;
            assert!(engine.wait_or_wake(Some(Duration::from_millis(3))).unwrap().is_none());
            engine
        });
        engine = sleeper.join().unwrap();
        let waker = std::thread::spawn({
            let remote = remote.clone();
            move || {
                std::thread::sleep(Duration::from_millis(5));
                remote.wake();
            }
        });
        let before = Instant::now();
        while engine.wait_or_wake(Some(Duration::from_secs(60))).unwrap().is_some() {
            // A read of the pipe that ended with the thread that submitted it.
            assert_eq!(kind, EngineChoice::Uring);
        }
        assert!(before.elapsed() < Duration::from_secs(30), "the wake was lost");
        waker.join().unwrap();
    }
    drop(write_end);
    while engine.in_flight() > 0 {
        assert_eq!(next(&mut engine).1.done, 0);
    }
}
