//! Streams: order, ends, records, and files that are not ready yet.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bulkio::engine::{Completion, EngineChoice, FileOptions, ShortTransfer};
use rustix::io::write;
use rustix::pipe::{PipeFlags, pipe_with};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{Fault, LimitId, Limits, Outcome, Status};

use crate::common::storage_dir;
use crate::support::{Mapping, engine, errno, file, next, over, pattern, pipe, run};

pub(crate) fn write_to_a_closed_pipe(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    drop(read_end);
    let id = engine.add_file(write_end).unwrap();
    let memory = Mapping::new(4096);
    let outcome = run(&mut engine, id, memory.request(&[(0, 100)], ToDevice, Stream), &Limits::default());
    assert_eq!(outcome.fault, Some(Fault { at: 0, status: errno(libc::EPIPE) }));
}

pub(crate) fn streams_keep_their_order(kind: EngineChoice) {
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

pub(crate) fn stream_ends_where_the_writer_closes(kind: EngineChoice) {
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

pub(crate) fn records_end_short(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    let id = engine
        .add_file_with(read_end, FileOptions { short: ShortTransfer::Final, ..FileOptions::default() })
        .unwrap();
    write(&*write_end, &[7; 1000]).unwrap();
    let memory = Mapping::new(8192);
    let outcome = run(&mut engine, id, memory.request(&[(0, 4000)], FromDevice, Stream), &Limits::default());
    assert_eq!(outcome, Outcome { asked: 4000, done: 1000, fault: None });
}

pub(crate) fn nonblocking_pipe_is_waited_for(kind: EngineChoice) {
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

pub(crate) fn both_ends_of_one_pipe(kind: EngineChoice) {
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

/// More pipes that nobody writes to than there can be workers: a transfer between two others goes on.
pub(crate) fn many_empty_pipes_hold_nobody_up(kind: EngineChoice) {
    let mut engine = engine(kind, 128);
    let memory = Mapping::new(8192);
    let empty: Vec<_> = (0..100).map(|_| pipe()).collect();
    for (read_end, _) in &empty {
        let id = engine.add_file(Arc::clone(read_end)).unwrap();
        engine.submit(id, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    }
    assert!(engine.poll().unwrap().is_none());
    let disk = engine.add_file(file(libc::O_RDONLY, &[3; 4096])).unwrap();
    engine.submit(disk, memory.request(&[(4096, 4096)], FromDevice, At(0)), &Limits::default()).unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    write(&*empty[77].1, b"more").unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4));
    assert_eq!(memory.bytes()[..4], *b"more");
    engine.cancel();
    for _ in 0..99 {
        assert_eq!(next(&mut engine).1.done, 0);
    }
    assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1));
}

/// Longer than the pipe is: what nobody takes is cancelled, and what was taken is counted.
pub(crate) fn a_named_pipe_that_nobody_reads_can_be_given_up(kind: EngineChoice) {
    let folder = storage_dir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    let both = || File::options().read(true).write(true).open(&path).unwrap();
    let (mut reader, writer) = (both(), both());
    let mut engine = engine(kind, 4);
    let id = engine.add_file(Arc::new(writer.into())).unwrap();
    let memory = Mapping::new(1 << 20);
    memory.fill(pattern);
    engine
        .submit(id, memory.request(&[(5, 1000), (3000, 1 << 19)], ToDevice, Stream), &Limits::default())
        .unwrap();
    let mut first = [0; 1000];
    engine.start().unwrap();
    assert!(engine.poll().unwrap().is_none());
    reader.read_exact(&mut first).unwrap();
    assert!(first == memory.bytes()[5..1005]);
    engine.cancel();
    let outcome = next(&mut engine).1;
    assert_eq!(outcome.fault.map(|fault| fault.status), Some(Status::Cancelled));
    let mut rest = vec![0; outcome.done as usize - 1000];
    reader.read_exact(&mut rest).unwrap();
    assert!(rest == memory.bytes()[3000..][..rest.len()]);
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    assert!(reader.read(&mut first).is_err(), "more was written than counted");
}

/// A watch ends when there is something, also beside transfers, moves no byte, and can be taken back.
pub(crate) fn a_watch_ends_when_there_is_something(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let (read_end, write_end) = pipe();
    let id = engine.add_file(Arc::clone(&read_end)).unwrap();
    let disk = engine.add_file(file(libc::O_RDONLY, &[3; 4096])).unwrap();
    let memory = Mapping::new(4096);
    let token = engine.watch(id, FromDevice).unwrap();
    engine.submit(disk, memory.request(&[(0, 4096)], FromDevice, At(0)), &Limits::default()).unwrap();
    assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    assert!(engine.wait_timeout(Duration::from_millis(20)).unwrap().is_none());
    write(&*write_end, b"come").unwrap();
    let Completion::Ready { token: same, file, direction, fault } = over(&mut engine) else {
        panic!("not a watch")
    };
    assert_eq!((same, file, direction, fault), (token, id, FromDevice, None));
    // What is there already is ready at once, and an end is ready too.
    engine.watch(id, FromDevice).unwrap();
    assert_eq!(over(&mut engine).fault(), None);
    let mut bytes = [0; 8];
    assert_eq!(rustix::io::read(&read_end, &mut bytes), Ok(4));
    let token = engine.watch(id, FromDevice).unwrap();
    assert!(engine.wait_timeout(Duration::from_millis(20)).unwrap().is_none());
    assert!(engine.cancel_request(token));
    let fault = over(&mut engine).fault();
    assert_eq!(fault.map(|fault| fault.status), Some(Status::Cancelled));
    engine.watch(id, FromDevice).unwrap();
    drop(write_end);
    assert_eq!((over(&mut engine).fault(), engine.in_flight()), (None, 0));
    // A file is always ready.
    engine.watch(disk, FromDevice).unwrap();
    assert_eq!(over(&mut engine).fault(), None);
}
