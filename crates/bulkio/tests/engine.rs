//! One suite for every kind of engine: what goes in comes out, exactly counted, and the memory comes back.
//!
//! Files lie in the target folder, on a disk file system: tmpfs accepts any address under `O_DIRECT` and would hide
//! alignment faults. Pipes stand for streams and for operations that never end by themselves.
#![expect(unsafe_code, reason = "leases mapped memory from raw addresses, sends signals")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;
#[path = "engine/support.rs"]
mod support;

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkio::engine::{
    Completion, Engine, EngineChoice, EngineError, EngineKind, EngineOptions, FileError, FixedRegion,
    FlushKind, LoggedKind, Registration, ShortTransfer, SubmitReason, WaitError,
};
use bulkio::pages::{PageKindRequest, PagePool, PoolOptions};
use common::skip;
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{
    Addr, CpuAddr, Fault, Lease, LimitId, Limits, Outcome, Request, ScatterList, Segment, Status,
};
use support::{
    Mapping, Random, TestEngine, TestRequest, content, direct, engine, errno, file, next, pattern, pipe,
    ran_in_child, run,
};

macro_rules! suite {
    ($($name:ident)*) => {
        mod uring {
            use super::{EngineChoice, EngineOptions, TestEngine, skip};
            $(#[test] fn $name() {
                match TestEngine::new(EngineOptions { kind: EngineChoice::Uring, ..EngineOptions::default() }) {
                    Ok(_) => super::$name(EngineChoice::Uring),
                    Err(error) => skip(concat!("uring::", stringify!($name)), &error.to_string()),
                }
            })*
        }
        mod blocking {
            $(#[test] fn $name() { super::$name(super::EngineChoice::Blocking); })*
        }
    };
}

suite! {
    buffered_round_trip_at_odd_offsets
    direct_round_trip_in_one_piece_and_in_many
    three_thousand_pieces_become_three_operations
    more_parts_than_the_engine_is_deep
    read_across_the_end_of_the_file_is_exact
    split_read_across_the_end_of_the_file_is_exact
    refused_transfers_give_the_request_back
    write_to_a_closed_pipe
    full_engine_gives_the_request_back
    dropped_with_reads_in_flight
    leaked_past_the_drain_bound
    cancelled_requests_come_back
    streams_keep_their_order
    stream_ends_where_the_writer_closes
    records_end_short
    nonblocking_pipe_is_waited_for
    both_ends_of_one_pipe
    flushes_complete
    a_signal_ends_the_wait
    time_limits_hold
    idle_and_busy_are_said
    nonsense_is_refused
    random_requests_against_a_model
    a_request_past_two_gigabytes
}

fn buffered_round_trip_at_odd_offsets(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let fd = file(libc::O_RDWR, b"");
    let id = engine.add_file(Arc::clone(&fd)).unwrap();
    let memory = Mapping::new(1 << 16);
    memory.fill(pattern);
    let pieces = [(1, 1001), (5003, 7), (9999, 30001)];
    let outcome = run(&mut engine, id, memory.request(&pieces, ToDevice, At(13)), &Limits::default());
    assert_eq!(outcome, Outcome::whole(31009));
    let mut expected = vec![0; 13];
    expected.extend(pieces.iter().flat_map(|&(at, len)| (at..at + len).map(pattern)));
    assert!(content(&fd) == expected);

    let back = Mapping::new(1 << 16);
    let outcome = run(&mut engine, id, back.request(&pieces, FromDevice, At(13)), &Limits::default());
    assert_eq!(outcome, Outcome::whole(31009));
    for (at, len) in pieces {
        assert!(back.bytes()[at..at + len] == memory.bytes()[at..at + len]);
    }
    let stats = engine.stats();
    assert_eq!(
        (stats.requests, stats.operations, stats.read_bytes, stats.written_bytes),
        (2, 2, 31009, 31009)
    );
}

fn direct_round_trip_in_one_piece_and_in_many(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let id = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, b"")).unwrap();
    let memory = Mapping::new(1 << 20);
    memory.fill(pattern);
    for pieces in [vec![(4096, 65536)], vec![(512, 512), (8192, 4096), (1536, 1024)]] {
        let len: usize = pieces.iter().map(|piece| piece.1).sum();
        let outcome = run(&mut engine, id, memory.request(&pieces, ToDevice, At(8192)), &direct());
        assert_eq!(outcome, Outcome::whole(len as u64));
        let back = Mapping::new(1 << 20);
        let outcome = run(&mut engine, id, back.request(&pieces, FromDevice, At(8192)), &direct());
        assert_eq!(outcome, Outcome::whole(len as u64));
        for &(at, len) in &pieces {
            assert!(back.bytes()[at..at + len] == memory.bytes()[at..at + len]);
        }
    }
    // The addresses are the caller's own: nothing was copied.
    let log = engine.take_log();
    assert_eq!(log.len(), 4);
    assert_eq!((log[0].kind, log[0].position), (LoggedKind::Write, At(8192)));
    assert_eq!(log[0].pieces, [(memory.addr(4096), 65536)]);
    assert_eq!(log[2].pieces.len(), 3);
}

fn three_thousand_pieces_become_three_operations(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let fd = file(libc::O_RDWR | libc::O_DIRECT, b"");
    let id = engine.add_file(Arc::clone(&fd)).unwrap();
    let memory = Mapping::new(3000 * 1024);
    memory.fill(pattern);
    // Backwards, so that no two merge.
    let pieces: Vec<_> = (0..3000).rev().map(|piece| (piece * 1024, 512)).collect();
    let outcome = run(&mut engine, id, memory.request(&pieces, ToDevice, At(0)), &direct());
    assert_eq!(outcome, Outcome::whole(3000 * 512));
    let counts: Vec<usize> = engine.take_log().iter().map(|entry| entry.pieces.len()).collect();
    assert_eq!(counts, [1024, 1024, 952]);
    let expected: Vec<u8> = pieces.iter().flat_map(|&(at, len)| (at..at + len).map(pattern)).collect();
    assert!(content(&fd) == expected);

    let unlimited = direct().to_builder().hard(LimitId::PiecesMax, u64::MAX).build().unwrap();
    let refused = engine.submit(id, memory.request(&pieces, ToDevice, At(0)), &unlimited).unwrap_err();
    assert!(matches!(refused.reason, SubmitReason::TooManyPieces { at: 0, max: 1024, .. }));
    assert_eq!(refused.request.len_bytes(), 3000 * 512);
}

fn more_parts_than_the_engine_is_deep(kind: EngineChoice) {
    let mut engine = engine(kind, 2);
    let fd = file(libc::O_RDWR, b"");
    let id = engine.add_file(Arc::clone(&fd)).unwrap();
    let memory = Mapping::new(1 << 20);
    memory.fill(pattern);
    let limits = Limits::builder().hard(LimitId::TransferLenMax, 4096).build().unwrap();
    for half in [0, 1 << 19] {
        let request = memory.request(&[(half, 1 << 19)], ToDevice, At(half as u64));
        engine.submit(id, request, &limits).unwrap();
    }
    assert_eq!(
        (next(&mut engine).1, next(&mut engine).1),
        (Outcome::whole(1 << 19), Outcome::whole(1 << 19))
    );
    assert_eq!(engine.stats().operations, 256);
    assert!(content(&fd) == memory.bytes());
}

fn read_across_the_end_of_the_file_is_exact(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let bytes: Vec<u8> = (0..5000).map(pattern).collect();
    let id = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &bytes)).unwrap();
    for (position, asked, done) in
        [(0, 8192, 5000), (4096, 4096, 904), (4608, 512, 392), (5120, 4096, 0), (1 << 20, 512, 0)]
    {
        let memory = Mapping::new(8192);
        let request = memory.request(&[(0, asked)], FromDevice, At(position as u64));
        let outcome = run(&mut engine, id, request, &direct());
        assert_eq!(outcome, Outcome { asked: asked as u64, done: done as u64, fault: None }, "at {position}");
        let expected = bytes.get(position..position + done).unwrap_or_default();
        assert!(memory.bytes()[..done] == *expected);
    }
    let id = engine.add_file(file(libc::O_RDONLY, &bytes)).unwrap();
    let memory = Mapping::new(8192);
    let request = memory.request(&[(3, 777), (1000, 333)], FromDevice, At(4321));
    let outcome = run(&mut engine, id, request, &Limits::default());
    assert_eq!(outcome, Outcome { asked: 1110, done: 679, fault: None });
    assert!(memory.bytes()[3..682] == bytes[4321..]);
}

fn split_read_across_the_end_of_the_file_is_exact(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let bytes: Vec<u8> = (0..100_001).map(pattern).collect();
    let id = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &bytes)).unwrap();
    let limits = direct().to_builder().hard(LimitId::TransferLenMax, 4096).build().unwrap();
    let memory = Mapping::new(1 << 20);
    let outcome = run(&mut engine, id, memory.request(&[(0, 1 << 20)], FromDevice, At(0)), &limits);
    assert_eq!(outcome, Outcome { asked: 1 << 20, done: 100_001, fault: None });
    assert!(memory.bytes()[..100_001] == bytes);
    // Of the parts past the end only those are asked for that were under way.
    assert!(engine.stats().operations < 40, "{:?}", engine.stats());
}

fn refused_transfers_give_the_request_back(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let id = engine.add_file(file(libc::O_RDONLY, b"content")).unwrap();
    let memory = Mapping::new(4096);
    let split = Limits::builder().hard(LimitId::TransferLenMax, 512).build().unwrap();
    for limits in [Limits::default(), split] {
        let outcome = run(&mut engine, id, memory.request(&[(0, 4096)], ToDevice, At(0)), &limits);
        let fault = Some(Fault { at: 0, status: errno(libc::EBADF) });
        assert_eq!(outcome, Outcome { asked: 4096, done: 0, fault });
    }
    assert_eq!(Arc::strong_count(&memory), 1);
    // Misaligned under O_DIRECT with limits that do not say so: the kernel's own answer comes back.
    let id = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, b"")).unwrap();
    let outcome = run(&mut engine, id, memory.request(&[(0, 512)], ToDevice, At(1)), &Limits::default());
    assert_eq!(outcome.fault, Some(Fault { at: 0, status: errno(libc::EINVAL) }));
    // A disk that is full.
    let id =
        engine.add_file(Arc::new(File::options().write(true).open("/dev/full").unwrap().into())).unwrap();
    let outcome = run(&mut engine, id, memory.request(&[(0, 512)], ToDevice, At(0)), &Limits::default());
    assert_eq!(outcome.fault, Some(Fault { at: 0, status: errno(libc::ENOSPC) }));
}

fn write_to_a_closed_pipe(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    drop(read_end);
    let id = engine.add_file(write_end).unwrap();
    let memory = Mapping::new(4096);
    let outcome = run(&mut engine, id, memory.request(&[(0, 100)], ToDevice, Stream), &Limits::default());
    assert_eq!(outcome.fault, Some(Fault { at: 0, status: errno(libc::EPIPE) }));
}

fn full_engine_gives_the_request_back(kind: EngineChoice) {
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

fn dropped_with_reads_in_flight(kind: EngineChoice) {
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

fn leaked_past_the_drain_bound(kind: EngineChoice) {
    let options = EngineOptions { kind, drain_max: Duration::ZERO, ..EngineOptions::default() };
    let mut engine = TestEngine::new(options).unwrap();
    let (read_end, _write_end) = pipe();
    let id = engine.add_file(Arc::clone(&read_end)).unwrap();
    let memory = Mapping::new(4096);
    engine.submit(id, memory.request(&[(0, 50)], FromDevice, Stream), &Limits::default()).unwrap();
    engine.start().unwrap();
    drop(engine);
    // The blocking engine has nothing with the kernel between two calls. With io_uring the operation keeps
    // its memory and its file for good.
    let leaked = if kind == EngineChoice::Uring { 1 } else { 0 };
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&read_end)), (1 + leaked, 1 + leaked));
}

fn cancelled_requests_come_back(kind: EngineChoice) {
    let mut engine = engine(kind, 8);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(4096);
    let read = |at| memory.request(&[(at, 50)], FromDevice, Stream);
    for piece in 0..3 {
        engine.submit(id, read(piece * 100), &Limits::default()).unwrap();
    }
    write(&*write_end, &[1; 20]).unwrap();
    assert!(engine.wait_timeout(Duration::from_millis(50)).unwrap().is_none());
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

fn streams_keep_their_order(kind: EngineChoice) {
    let mut engine = engine(kind, 16);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(write_end).unwrap();
    let memory = Mapping::new(1 << 20);
    memory.fill(pattern);
    let limits = Limits::builder().hard(LimitId::TransferLenMax, 10_000).build().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        File::from(Arc::into_inner(read_end).unwrap()).read_to_end(&mut bytes).unwrap();
        bytes
    });
    for piece in 0..16 {
        let request = memory.request(&[(piece << 16, 1 << 16)], ToDevice, Stream);
        engine.submit(id, request, &limits).unwrap();
    }
    for _ in 0..16 {
        assert_eq!(next(&mut engine).1, Outcome::whole(1 << 16));
    }
    drop(engine.remove_file(id).unwrap());
    drop(engine);
    assert!(reader.join().unwrap() == memory.bytes());
}

fn stream_ends_where_the_writer_closes(kind: EngineChoice) {
    let mut engine = engine(kind, 16);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(read_end).unwrap();
    write(&*write_end, &[7; 1000]).unwrap();
    drop(write_end);
    let memory = Mapping::new(8192);
    engine
        .submit(id, memory.request(&[(0, 600), (700, 3000)], FromDevice, Stream), &Limits::default())
        .unwrap();
    engine.submit(id, memory.request(&[(4096, 100)], FromDevice, Stream), &Limits::default()).unwrap();
    assert_eq!(next(&mut engine).1, Outcome { asked: 3600, done: 1000, fault: None });
    assert_eq!(next(&mut engine).1, Outcome { asked: 100, done: 0, fault: None });
    assert_eq!(memory.bytes()[700..1100], [7; 400]);
}

fn records_end_short(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    let id = engine.add_file_with(read_end, ShortTransfer::Final).unwrap();
    write(&*write_end, &[7; 1000]).unwrap();
    let memory = Mapping::new(8192);
    let outcome = run(&mut engine, id, memory.request(&[(0, 4000)], FromDevice, Stream), &Limits::default());
    assert_eq!(outcome, Outcome { asked: 4000, done: 1000, fault: None });
}

fn nonblocking_pipe_is_waited_for(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    let id = engine.add_file(Arc::new(read_end)).unwrap();
    let memory = Mapping::new(8192);
    engine.submit(id, memory.request(&[(0, 2000)], FromDevice, Stream), &Limits::default()).unwrap();
    assert!(engine.poll().unwrap().is_none());
    let writer = std::thread::spawn(move || {
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(5));
            write(&write_end, &[9; 100]).unwrap();
        }
    });
    assert_eq!(next(&mut engine).1, Outcome::whole(2000));
    writer.join().unwrap();
}

fn both_ends_of_one_pipe(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    let (read_end, write_end) = (engine.add_file(read_end).unwrap(), engine.add_file(write_end).unwrap());
    let memory = Mapping::new(8192);
    memory.fill(pattern);
    engine.submit(read_end, memory.request(&[(4096, 1000)], FromDevice, Stream), &Limits::default()).unwrap();
    engine.submit(write_end, memory.request(&[(0, 1000)], ToDevice, Stream), &Limits::default()).unwrap();
    for _ in 0..2 {
        assert_eq!(next(&mut engine).1, Outcome::whole(1000));
    }
    let bytes = memory.bytes();
    assert!(bytes[..1000] == bytes[4096..5096]);
}

fn flushes_complete(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let id = engine.add_file(file(libc::O_RDWR, b"")).unwrap();
    let memory = Mapping::new(4096);
    assert_eq!(
        run(&mut engine, id, memory.request(&[(0, 4096)], ToDevice, At(0)), &Limits::default()),
        Outcome::whole(4096)
    );
    for kind in [FlushKind::Data, FlushKind::All] {
        let token = engine.flush(id, kind).unwrap();
        let Some(Completion::Flush { token: same, file, kind: done, fault }) = engine.wait().unwrap() else {
            panic!("not a flush");
        };
        assert_eq!((same, file, done, fault), (token, id, kind, None));
    }
    assert_eq!(engine.take_log()[1].kind, LoggedKind::Flush(FlushKind::Data));
    // A pipe cannot be flushed: fsync(2) says EINVAL.
    let (_read_end, write_end) = pipe();
    let id = engine.add_file(write_end).unwrap();
    engine.flush(id, FlushKind::All).unwrap();
    let fault = engine.wait().unwrap().unwrap().fault();
    assert_eq!(fault, Some(Fault { at: 0, status: errno(libc::EINVAL) }));
}

extern "C" fn nothing(_: libc::c_int) {}

fn a_signal_ends_the_wait(kind: EngineChoice) {
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

fn time_limits_hold(kind: EngineChoice) {
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

fn idle_and_busy_are_said(kind: EngineChoice) {
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

fn nonsense_is_refused(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let id = engine.add_file(file(libc::O_RDWR, b"")).unwrap();
    let memory = Mapping::new(4096);
    let mut refuse =
        |request: TestRequest, limits: &Limits| engine.submit(id, request, limits).unwrap_err().reason;
    let empty = memory.request(&[], ToDevice, At(7));
    assert_eq!(refuse(empty, &Limits::default()), SubmitReason::Empty { position: At(7) });
    for position in [u64::MAX, i64::MAX.unsigned_abs()] {
        let far = memory.request(&[(0, 1)], ToDevice, At(position));
        assert!(matches!(refuse(far, &Limits::default()), SubmitReason::Position { bytes: 1, .. }));
    }
    let hole = ScatterList::from(Segment::new(CpuAddr::new(0), 4096).unwrap());
    // SAFETY: never transferred: the engine refuses it.
    let hole = Request::new(unsafe { Lease::from_raw(hole, Arc::clone(&memory)) }, ToDevice, At(0), ());
    assert_eq!(refuse(hole, &Limits::default()), SubmitReason::NoMemory { at: 0, addr: 0 });
    let misaligned = memory.request(&[(1, 512)], ToDevice, At(0));
    assert!(matches!(refuse(misaligned, &direct()), SubmitReason::Plan(_)));
    assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1));
    for depth in [0, 1 << 20] {
        let made = TestEngine::new(EngineOptions { kind, depth, ..EngineOptions::default() });
        assert!(matches!(made, Err(EngineError::Depth { .. })));
    }
}

/// Disjoint writes in flight at once, then reads of everything, in random pieces within random limits.
fn random_requests_against_a_model(kind: EngineChoice) {
    const BLOCKS: usize = 512;
    let mut random = Random(42);
    for _ in 0..8 {
        let mut engine = engine(kind, 1 + random.below(40) as u32);
        let fd = file(libc::O_RDWR | libc::O_DIRECT, b"");
        let id = engine.add_file(Arc::clone(&fd)).unwrap();
        let limits = direct()
            .to_builder()
            .hard(LimitId::TransferLenMax, 512 << random.below(8))
            .hard(LimitId::PiecesMax, 1 + random.below(64) as u64)
            .build()
            .unwrap();
        let (memory, back) = (Mapping::new(BLOCKS * 512), Mapping::new(BLOCKS * 512));
        memory.fill(|at| pattern(at) ^ ((at >> 13) & 0xff) as u8);
        // The file holds the memory's blocks in this order.
        let mut order: Vec<usize> = (0..BLOCKS).collect();
        for at in (1..BLOCKS).filter(|at| at % 3 > 0).collect::<Vec<_>>() {
            order.swap(at, random.below(at + 1));
        }
        for (direction, mapping) in [(ToDevice, &memory), (FromDevice, &back)] {
            let mut block = 0;
            while block < BLOCKS || engine.in_flight() > 0 {
                if engine.room() == 0 || block == BLOCKS {
                    let (request, outcome) = next(&mut engine);
                    assert_eq!(outcome, Outcome::whole(request.len_bytes()));
                    continue;
                }
                let count = (1 + random.below(50)).min(BLOCKS - block);
                let pieces: Vec<_> = order[block..block + count].iter().map(|at| (at * 512, 512)).collect();
                let request = mapping.request(&pieces, direction, At(block as u64 * 512));
                engine.submit(id, request, &limits).unwrap();
                block += count;
            }
        }
        let expected: Vec<u8> =
            order.iter().flat_map(|at| memory.bytes()[at * 512..][..512].to_vec()).collect();
        assert!(back.bytes() == memory.bytes() && content(&fd) == expected);
    }
}

/// Longer than one call of the kernel can be: the same memory under many names, read over and over.
fn a_request_past_two_gigabytes(kind: EngineChoice) {
    let mut engine = engine(kind, 2);
    let id = engine.add_file(Arc::new(File::open("/dev/zero").unwrap().into())).unwrap();
    let memory = Mapping::new(64 << 20);
    memory.fill(|_| 1);
    let pieces = vec![(0, 64 << 20); 33];
    let outcome = run(&mut engine, id, memory.request(&pieces, FromDevice, Stream), &Limits::default());
    assert_eq!(outcome, Outcome::whole(33 * (64 << 20)));
    assert!(engine.stats().operations_resumed > 0);
    assert!(memory.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn auto_says_what_it_became() {
    let engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_eq!(engine.report().refused.is_none(), engine.report().kind == EngineKind::Uring);
    let engine =
        TestEngine::new(EngineOptions { kind: EngineChoice::Blocking, ..EngineOptions::default() }).unwrap();
    assert_eq!((engine.report().kind, &engine.report().refused), (EngineKind::Blocking, &None));
}

#[test]
fn memory_within_the_region_goes_through_it() {
    const NAME: &str = "memory_within_the_region_goes_through_it";
    let memory = Mapping::new(1 << 20);
    let fixed = Some(memory.region());
    let options = EngineOptions { kind: EngineChoice::Uring, fixed, log: true, ..EngineOptions::default() };
    let mut engine = match TestEngine::new(options) {
        Ok(engine) => engine,
        Err(error) => return skip(NAME, &error.to_string()),
    };
    if engine.report().fixed != (Registration::Whole { bytes: 1 << 20 }) {
        return skip(NAME, &format!("{:?}", engine.report().fixed));
    }
    let id = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, b"")).unwrap();
    memory.fill(pattern);
    let outside = Mapping::new(1 << 16);
    let end = (1 << 20) - 4096;
    for (mapping, at, direction) in
        [(&memory, 0, ToDevice), (&memory, end, FromDevice), (&outside, 0, FromDevice)]
    {
        let request = mapping.request(&[(at, 4096)], direction, At(0));
        assert_eq!(run(&mut engine, id, request, &direct()), Outcome::whole(4096));
    }
    let many = memory.request(&[(8192, 512), (16384, 512)], FromDevice, At(0));
    assert_eq!(run(&mut engine, id, many, &direct()), Outcome::whole(1024));
    let fixed: Vec<_> = engine.take_log().iter().map(|entry| entry.fixed).collect();
    assert_eq!(fixed, [Some(0), Some(0), None, None]);
    assert_eq!(engine.stats().operations_fixed, 2);
    let bytes = memory.bytes();
    assert!(outside.bytes()[..4096] == bytes[..4096] && bytes[end..] == bytes[..4096]);
    // The engine keeps the region mapped as long as it lives.
    assert_eq!(Arc::strong_count(&memory), 2);
    drop(engine);
    assert_eq!(Arc::strong_count(&memory), 1);
}

/// A pool's slots, two to a registered buffer: the index tells which, and what lies across two is not fixed.
#[test]
fn slots_of_a_pool_go_through_its_buffers() {
    const NAME: &str = "slots_of_a_pool_go_through_its_buffers";
    const SLOT: u64 = 64 << 10;
    let options = PoolOptions { slot_len: 64 << 10, slots: 6, kind: PageKindRequest::Auto };
    let pool = Arc::new(PagePool::new(options).unwrap());
    let start = pool.range().0;
    let fixed = Some(FixedRegion::from_pool(Arc::clone(&pool)).with_buffer_len(2 * SLOT));
    let options = EngineOptions { kind: EngineChoice::Uring, fixed, log: true, ..EngineOptions::default() };
    let mut engine = match Engine::<Arc<PagePool>, ()>::new(options) {
        Ok(engine) => engine,
        Err(error) => return skip(NAME, &error.to_string()),
    };
    if engine.report().fixed != (Registration::Whole { bytes: 6 * SLOT }) {
        return skip(NAME, &format!("{:?}", engine.report().fixed));
    }
    let id = engine.add_file(Arc::new(File::open("/dev/zero").unwrap().into())).unwrap();
    for (at, len) in
        [(0, SLOT), (SLOT, SLOT), (2 * SLOT, SLOT), (5 * SLOT, SLOT), (SLOT, SLOT + 1), (5 * SLOT, SLOT - 1)]
    {
        let list = ScatterList::from(Segment::new(start.checked_add(at).unwrap(), len).unwrap());
        // SAFETY: the pool keeps its memory, and no slot of it is taken.
        let lease = unsafe { Lease::from_raw(list, Arc::clone(&pool)) };
        engine.submit(id, Request::new(lease, FromDevice, Stream, ()), &Limits::default()).unwrap();
        let Some(Completion::Transfer { outcome, .. }) = engine.wait().unwrap() else {
            panic!("not a transfer")
        };
        assert_eq!(outcome, Outcome::whole(len));
    }
    let fixed: Vec<_> = engine.take_log().iter().map(|entry| entry.fixed).collect();
    assert_eq!(fixed, [Some(0), Some(0), Some(1), Some(2), None, Some(2)]);
}

/// Registration under a small memlock limit, in a child that gives root up: root is never refused.
#[test]
fn registration_shrinks_to_the_memlock_limit() {
    const NAME: &str = "registration_shrinks_to_the_memlock_limit";
    if ran_in_child(NAME, "BULKIO_TEST_MEMLOCK_CHILD") {
        return;
    }
    let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
    // SAFETY: takes a valid record.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    // SAFETY: no conditions.
    let root = unsafe { libc::geteuid() } == 0;
    // SAFETY: no conditions. A user of its own: the limit counts per user, and others may hold some of it.
    if root && unsafe { libc::setuid(54_321) } != 0 {
        return skip(NAME, "cannot give root up");
    }
    let memory = Mapping::new(8 << 20);
    let fixed = Some(memory.region());
    let options = EngineOptions { kind: EngineChoice::Uring, fixed, ..EngineOptions::default() };
    let mut engine = match TestEngine::new(options) {
        Ok(engine) => engine,
        Err(error) => return skip(NAME, &error.to_string()),
    };
    match &engine.report().fixed {
        Registration::Partial { bytes, of, reason } => {
            assert_eq!(*of, 8 << 20);
            assert!(*bytes <= 1 << 20 && bytes.is_multiple_of(4096), "{bytes}");
            assert!(reason.contains("RLIMIT_MEMLOCK is 1048576 bytes"), "{reason}");
        }
        Registration::None { reason } => assert!(reason.contains("RLIMIT_MEMLOCK"), "{reason}"),
        Registration::Whole { .. } => return skip(NAME, "memory is not counted here"),
    }
    // What is not registered works all the same.
    let id = engine.add_file(Arc::new(File::open("/dev/zero").unwrap().into())).unwrap();
    memory.fill(|_| 1);
    for at in [0, (8 << 20) - 4096] {
        let outcome =
            run(&mut engine, id, memory.request(&[(at, 4096)], FromDevice, Stream), &Limits::default());
        assert_eq!(outcome, Outcome::whole(4096));
        assert_eq!(memory.bytes()[at..at + 4096], [0; 4096]);
    }
}

/// What a container does: io_uring forbidden by a filter of system calls, in a child.
#[test]
fn forbidden_io_uring_is_explained() {
    const NAME: &str = "forbidden_io_uring_is_explained";
    if ran_in_child(NAME, "BULKIO_TEST_SECCOMP_CHILD") {
        return;
    }
    // The number of the call is the first word of the filter's data (seccomp(2)).
    let step = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let setup = libc::SYS_io_uring_setup as u32;
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, setup, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(), 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no memory.
    let closed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its filter are valid for the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if closed != 0 || set != 0 {
        return skip(NAME, "no filter of system calls can be set");
    }
    let engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_eq!(engine.report().kind, EngineKind::Blocking);
    let refused = engine.report().refused.clone().unwrap();
    assert!(refused.contains("io_uring_setup failed: Operation not permitted"), "{refused}");
    let forced = TestEngine::new(EngineOptions { kind: EngineChoice::Uring, ..EngineOptions::default() });
    assert_eq!(forced.err(), Some(EngineError::Uring { reason: refused }));
    drop(engine);
    buffered_round_trip_at_odd_offsets(EngineChoice::Auto);
}
