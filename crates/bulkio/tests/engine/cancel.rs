//! What ends early: cancelled requests, and engines that are dropped with work in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkio::engine::{Completion, EngineChoice, EngineOptions, FileOptions, FlushKind};
use rustix::io::write;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::{At, Stream};
use scatterlist::{Fault, Limits, Outcome, Status};

use crate::support::{Mapping, TestEngine, alone, direct, engine, file, next, over, pipe, run};

pub(crate) fn dropped_with_reads_in_flight(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let (read_end, _write_end) = pipe();
    let (second, _other) = pipe();
    let memory = Mapping::new(4096);
    for (fd, at) in [(&read_end, 0), (&second, 100), (&read_end, 200)] {
        let id = engine.add_file(Arc::clone(fd)).unwrap();
        engine.submit(id, memory.request(&[(at, 50)], FromDevice, Stream), &Limits::default()).unwrap();
    }
    assert!(engine.poll().unwrap().is_none());
    let start = Instant::now();
    drop(engine);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&read_end)), (1, 1));
}

pub(crate) fn leaked_past_the_drain_bound(kind: EngineChoice) {
    let options = EngineOptions { kind, drain_max: Duration::ZERO, ..EngineOptions::default() };
    let mut engine = TestEngine::new(options).unwrap();
    let (read_end, _write_end) = pipe();
    let id = engine.add_file(Arc::clone(&read_end)).unwrap();
    let memory = Mapping::new(4096);
    engine.submit(id, memory.request(&[(0, 50)], FromDevice, Stream), &Limits::default()).unwrap();
    engine.start().unwrap();
    drop(engine);
    // Threads read when the file is ready, and so have nothing with the kernel. With io_uring the operation keeps
    // its memory and its file for good.
    let leaked = if kind == EngineChoice::Uring { 1 } else { 0 };
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&read_end)), (1 + leaked, 1 + leaked));
}

pub(crate) fn cancelled_requests_come_back(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    let read = |at| memory.request(&[(at, 50)], FromDevice, Stream);
    for piece in 0..3 {
        engine.submit(id, read(piece * 100), &Limits::default()).unwrap();
    }
    write(&*write_end, &[1; 20]).unwrap();
    // Until the first has its bytes and waits for more.
    while engine.stats().operations_resumed == 0 {
        assert!(engine.wait_timeout(Duration::from_millis(5)).unwrap().is_none());
    }
    engine.cancel();
    let mut outcomes: Vec<Outcome> = (0..3).map(|_| next(&mut engine).1).collect();
    outcomes.sort_by_key(|outcome| outcome.done);
    let cancelled = |at| Some(Fault { at, status: Status::Cancelled });
    assert_eq!(outcomes[0], Outcome { asked: 50, done: 0, fault: cancelled(0) });
    assert_eq!(outcomes[2], Outcome { asked: 50, done: 20, fault: cancelled(20) });
    assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1));
    // The engine goes on.
    write(&*write_end, &[2; 50]).unwrap();
    assert_eq!(run(&mut engine, id, read(0), &Limits::default()), Outcome::whole(50));
}

pub(crate) fn one_request_is_cancelled(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    let mut read =
        |at| engine.submit(id, memory.request(&[(at, 50)], FromDevice, Stream), &Limits::default()).unwrap();
    // The first is with the kernel, the others wait behind it.
    let tokens = [0, 100, 200, 300].map(&mut read);
    assert!(engine.poll().unwrap().is_none());
    let cancelled = Outcome { asked: 50, done: 0, fault: Some(Fault { at: 0, status: Status::Cancelled }) };
    for token in [tokens[1], tokens[0]] {
        assert!(engine.cancel_request(token));
        let Completion::Transfer { token: same, outcome, .. } = over(&mut engine) else {
            panic!("not a transfer")
        };
        assert_eq!((same, outcome), (token, cancelled));
        assert!(!engine.cancel_request(token));
    }
    // The rest of the lane goes on, in order.
    write(&*write_end, &[[7; 50], [8; 50]].concat()).unwrap();
    for (token, at, byte) in [(tokens[2], 200, 7), (tokens[3], 300, 8)] {
        let Completion::Transfer { token: same, outcome, .. } = over(&mut engine) else {
            panic!("not a transfer")
        };
        assert_eq!((same, outcome), (token, Outcome::whole(50)));
        assert_eq!(memory.bytes()[at..at + 50], [byte; 50]);
    }
}

/// A pipe said to be always ready: a worker is held up in its read, and the kernel has one with native AIO's threads
/// too. The engine leaks it, goes, and nothing is written to freed memory when the read ends after all.
pub(crate) fn a_call_that_does_not_end_is_leaked(kind: EngineChoice) {
    if alone("cancel::a_call_that_does_not_end_is_leaked", kind) {
        return;
    }
    let options = EngineOptions { kind, drain_max: Duration::from_millis(20), ..EngineOptions::default() };
    let mut engine = TestEngine::new(options).unwrap();
    let (read_end, write_end) = pipe();
    let ready = FileOptions { always_ready: Some(true), ..FileOptions::default() };
    let id = engine.add_file_with(Arc::clone(&read_end), ready).unwrap();
    let memory = Mapping::new(4096);
    let token = engine.submit(id, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    engine.start().unwrap();
    if kind == EngineChoice::Uring {
        // The ring can end it whatever is said about the file.
        assert!(engine.cancel_request(token));
        assert_eq!(next(&mut engine).1.done, 0);
        return;
    }
    // Until a worker has begun it can still be cancelled.
    let limit = Instant::now() + Duration::from_secs(20);
    while !has_reader_at_work() {
        assert!(Instant::now() < limit, "no worker began");
        std::thread::yield_now();
    }
    drop(engine);
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&read_end)), (2, 2));
    write(&*write_end, b"more").unwrap();
    while memory.bytes()[..4] != *b"more" {
        assert!(Instant::now() < limit, "the read never ended");
        std::thread::yield_now();
    }
}

/// Says whether a worker of this process sleeps in a read of a pipe.
fn has_reader_at_work() -> bool {
    let at_work = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        // The first word is the number of the call (proc_pid_syscall(5)).
        let call = read("syscall").split(' ').next().and_then(|number| number.parse::<libc::c_long>().ok());
        read("comm").starts_with("bulkio-worker") && call == Some(libc::SYS_preadv2)
    };
    std::fs::read_dir("/proc/self/task").unwrap().flatten().any(at_work)
}

/// Cancelled in the same breath as submitted: nothing is begun, and the request comes back.
pub(crate) fn cancelled_before_it_began(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let disk = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, &[5; 8192])).unwrap();
    let (read_end, _write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(8192);
    for _ in 0..50 {
        let tokens = [
            engine.submit(disk, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct()).unwrap(),
            engine
                .submit(stream, memory.request(&[(4096, 4)], FromDevice, Stream), &Limits::default())
                .unwrap(),
            engine.flush(disk, FlushKind::Data).unwrap(),
        ];
        for token in tokens {
            assert!(engine.cancel_request(token));
        }
        for _ in 0..3 {
            let completion = over(&mut engine);
            assert!(tokens.contains(&completion.token()));
            // What a disk had begun is done in full; a pipe gives nothing.
            match (completion.fault(), &completion) {
                (Some(fault), _) => assert_eq!(fault.status, Status::Cancelled),
                (None, Completion::Transfer { file, outcome, .. }) => {
                    assert_eq!((*file, *outcome), (disk, Outcome::whole(4096)));
                }
                (None, _) => {}
            }
        }
    }
    assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1));
}
