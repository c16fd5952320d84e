//! Transfers at positions: every byte where it belongs, exactly counted, on buffered files and under `O_DIRECT`.

use std::fs::File;
use std::sync::Arc;

use bulkio::engine::{
    Completion, EngineChoice, EngineError, EngineOptions, FileOptions, FlushKind, LoggedKind, SubmitReason,
};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{Addr, CpuAddr, Fault, Lease, LimitId, Limits, Outcome, Request, ScatterList, Segment};

use crate::support::{
    Mapping, Random, TestEngine, TestRequest, content, direct, engine, errno, file, next, over, pattern,
    pipe, run,
};

pub(crate) fn buffered_round_trip_at_odd_offsets(kind: EngineChoice) {
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

pub(crate) fn direct_round_trip_in_one_piece_and_in_many(kind: EngineChoice) {
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

pub(crate) fn three_thousand_pieces_become_three_operations(kind: EngineChoice) {
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

pub(crate) fn more_parts_than_the_engine_is_deep(kind: EngineChoice) {
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

pub(crate) fn read_across_the_end_of_the_file_is_exact(kind: EngineChoice) {
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

pub(crate) fn split_read_across_the_end_of_the_file_is_exact(kind: EngineChoice) {
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

pub(crate) fn refused_transfers_give_the_request_back(kind: EngineChoice) {
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

pub(crate) fn nonsense_is_refused(kind: EngineChoice) {
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

pub(crate) fn flushes_complete(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let id = engine.add_file(file(libc::O_RDWR, b"")).unwrap();
    let memory = Mapping::new(4096);
    assert_eq!(
        run(&mut engine, id, memory.request(&[(0, 4096)], ToDevice, At(0)), &Limits::default()),
        Outcome::whole(4096)
    );
    for kind in [FlushKind::Data, FlushKind::All] {
        let token = engine.flush(id, kind).unwrap();
        let Completion::Flush { token: same, file, kind: done, fault } = over(&mut engine) else {
            panic!("not a flush");
        };
        assert_eq!((same, file, done, fault), (token, id, kind, None));
    }
    assert_eq!(engine.take_log()[1].kind, LoggedKind::Flush(FlushKind::Data));
    // A pipe cannot be flushed: fsync(2) says EINVAL.
    let (_read_end, write_end) = pipe();
    let id = engine.add_file(write_end).unwrap();
    engine.flush(id, FlushKind::All).unwrap();
    let fault = over(&mut engine).fault();
    assert_eq!(fault, Some(Fault { at: 0, status: errno(libc::EINVAL) }));
}

/// Disjoint writes in flight at once, then reads of everything, in random pieces within random limits.
pub(crate) fn random_requests_against_a_model(kind: EngineChoice) {
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
pub(crate) fn a_request_past_two_gigabytes(kind: EngineChoice) {
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

pub(crate) fn files_are_added_with_or_without_a_registration(kind: EngineChoice) {
    let mut engine = engine(kind, 4);
    let memory = Mapping::new(4096);
    let none = FileOptions { registered: false, ..FileOptions::default() };
    let told = FileOptions { always_ready: Some(true), ..none };
    for options in [FileOptions::default(), none, told] {
        for flags in [libc::O_RDONLY, libc::O_RDONLY | libc::O_DIRECT] {
            let id = engine.add_file_with(file(flags, &[9; 4096]), options).unwrap();
            memory.fill(|_| 0);
            let outcome = run(&mut engine, id, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct());
            assert_eq!((outcome, memory.bytes()), (Outcome::whole(4096), vec![9; 4096]));
            engine.remove_file(id).unwrap();
        }
    }
}
