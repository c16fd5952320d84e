//! Results that are not what was asked for: short ones, interruptions, errors in the middle of a request.

use bulkio::engine::{Completion, Engine, EngineOptions, FlushKind};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::At;
use scatterlist::{Outcome, Status};

use crate::faulty::{Answer, FaultyFs, FsOptions, Op, Quarantine, Rule};
use crate::or_skip;
use crate::support::{TestEngine, add, content, direct, direct_of, each, fault, files, next, over, run};

const LEN: usize = 1 << 16;

#[test]
fn short_reads_go_on_at_a_block() {
    const NAME: &str = "completions::short_reads_go_on_at_a_block";
    let fs = or_skip!(NAME, files(2 * LEN));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        file.add(Rule::reads().short(1000));
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        let request = memory.request(&[(512, LEN - 8192), (LEN - 4096, 4096)], FromDevice, At(4096));
        let len = LEN - 4096;
        assert_eq!(run(&mut engine, id, request, &direct()), Outcome::whole(len as u64));
        let (bytes, expected) = (memory.bytes(), content(2 * LEN)[4096..4096 + len].to_vec());
        assert!(bytes[512..LEN - 7680] == expected[..LEN - 8192]);
        assert!(bytes[LEN - 4096..] == expected[LEN - 8192..]);
        let seen = file.take_seen();
        assert!(seen.len() > len / 1000, "{}", seen.len());
        assert!(seen.iter().all(|seen| seen.op == Op::Read && seen.at.is_multiple_of(512)), "{seen:?}");
        assert!(engine.stats().operations_resumed > 0);
        file.clear_rules();
    });
}

#[test]
fn short_writes_go_on_at_a_block() {
    const NAME: &str = "completions::short_writes_go_on_at_a_block";
    or_skip!(NAME, files(0));
    each(NAME, |kind| {
        // Where the kernel sends an operation at once it makes EIO of what is short.
        for (times, async_direct) in [(1, false), (u64::MAX, false), (1, true)] {
            let coarse = kind.at_once && async_direct;
            if kind.name == "uring" && !async_direct {
                continue;
            }
            let fs = FaultyFs::with(FsOptions { async_direct }, vec![vec![0; LEN]]).unwrap();
            let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
            memory.write(0, &content(LEN));
            file.add(Rule::writes().short(1000).times(times));
            let mut engine = kind.engine();
            let id = add(&mut engine, file);
            let outcome = run(&mut engine, id, memory.request(&[(0, LEN)], ToDevice, At(0)), &direct());
            if coarse {
                let expected = Outcome { asked: LEN as u64, done: 0, fault: fault(0, libc::EIO) };
                assert_eq!(outcome, expected);
            } else {
                assert_eq!(outcome, Outcome::whole(LEN as u64));
                assert!(file.content() == content(LEN));
            }
        }
    });
}

#[test]
fn a_read_of_nothing_is_the_end_of_the_file() {
    const NAME: &str = "completions::a_read_of_nothing_is_the_end_of_the_file";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        file.add(Rule::reads().touching(8192..8193).short(0));
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        let request = memory.request(&[(0, LEN)], FromDevice, At(0));
        let outcome = run(&mut engine, id, request, &direct_of(8192));
        assert_eq!(outcome, Outcome { asked: LEN as u64, done: 8192, fault: None });
        assert!(memory.bytes()[..8192] == content(8192));
        file.clear_rules();
    });
}

#[test]
fn a_write_of_nothing_is_short() {
    const NAME: &str = "completions::a_write_of_nothing_is_short";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        file.add(Rule::writes().touching(8192..8193).short(0));
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        let request = memory.request(&[(0, LEN)], ToDevice, At(0));
        let outcome = run(&mut engine, id, request, &direct_of(8192));
        assert_eq!((outcome.asked, outcome.done), (LEN as u64, 8192));
        let fault = outcome.fault.unwrap();
        let status = if kind.at_once { Status::Errno(libc::EIO.unsigned_abs()) } else { Status::Short };
        assert_eq!((fault.at, fault.status), (8192, status));
        file.clear_rules();
    });
}

#[test]
fn interrupted_and_refused_for_now_is_tried_again() {
    const NAME: &str = "completions::interrupted_and_refused_for_now_is_tried_again";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        for errno in [libc::EINTR, libc::EAGAIN] {
            for direction in [FromDevice, ToDevice] {
                let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
                memory.write(0, &content(LEN));
                file.add(Rule::any().errno(errno).times(5));
                let mut engine = kind.engine();
                let id = add(&mut engine, file);
                let request = memory.request(&[(0, LEN)], direction, At(0));
                assert_eq!(run(&mut engine, id, request, &direct()), Outcome::whole(LEN as u64));
                assert!(memory.bytes() == content(LEN) && file.content() == content(LEN));
                let answers: Vec<Answer> = file.take_seen().iter().map(|seen| seen.answer).collect();
                assert_eq!(answers[..5], [Answer::Errno(errno); 5]);
                assert_eq!(answers[5..], [Answer::Bytes(LEN as u64)]);
                file.clear_rules();
            }
        }
    });
}

#[test]
fn an_endless_interruption_is_given_up() {
    const NAME: &str = "completions::an_endless_interruption_is_given_up";
    let fs = or_skip!(NAME, files(LEN));
    // The blocking engine takes each for a signal to its caller, who decides.
    each(NAME, |kind| {
        if !kind.works_ahead {
            return;
        }
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        file.add(Rule::any().errno(libc::EINTR));
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        let outcome = run(&mut engine, id, memory.request(&[(0, LEN)], FromDevice, At(0)), &direct());
        assert_eq!(outcome, Outcome { asked: LEN as u64, done: 0, fault: fault(0, libc::EINTR) });
        assert!((10..1000).contains(&file.take_seen().len()));
        file.clear_rules();
    });
}

#[test]
fn one_bad_block_ends_a_request_exactly_there() {
    const NAME: &str = "completions::one_bad_block_ends_a_request_exactly_there";
    const BAD: u64 = 201 * 512;
    let fs = or_skip!(NAME, files(4 * LEN));
    each(NAME, |kind| {
        for errno in [libc::EIO, libc::ENODATA] {
            for (direction, part) in
                [(FromDevice, 1 << 20), (FromDevice, 8192), (ToDevice, 1 << 20), (ToDevice, 8192)]
            {
                let (file, memory) = (fs.file(0), Quarantine::default().take(4 * LEN));
                file.add(Rule::any().touching(BAD..BAD + 512).bad(errno));
                let mut engine = kind.engine();
                let id = add(&mut engine, file);
                let start = 4096;
                let request = memory.request(&[(0, 3 * LEN)], direction, At(start));
                let outcome = run(&mut engine, id, request, &direct_of(part));
                // A write of several blocks fails as a whole where the kernel sends it at once.
                let whole = direction == ToDevice && kind.at_once;
                let (done, errno) = match (BAD - start, whole) {
                    (bad, true) => (bad / part * part, libc::EIO),
                    (bad, false) => (bad, errno),
                };
                let expected = Outcome { asked: 3 * LEN as u64, done, fault: fault(done, errno) };
                assert_eq!(outcome, expected, "{direction:?} in parts of {part}");
                if direction == FromDevice {
                    let done = done as usize;
                    assert!(memory.bytes()[..done] == file.content()[start as usize..][..done]);
                }
                file.clear_rules();
            }
        }
    });
}

#[test]
fn the_third_operation_fails_and_those_before_count() {
    const NAME: &str = "completions::the_third_operation_fails_and_those_before_count";
    let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]]));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        memory.write(0, &content(LEN));
        file.add(Rule::writes().after(2).once().errno(libc::ENOSPC));
        // In order, which there is no other way to have: one at a time.
        let options = EngineOptions { depth: 1, ..kind.options() };
        let mut engine: TestEngine = Engine::new(options).unwrap();
        let id = add(&mut engine, file);
        let request = memory.request(&[(0, LEN)], ToDevice, At(0));
        let outcome = run(&mut engine, id, request, &direct_of(4096));
        let expected = Outcome { asked: LEN as u64, done: 8192, fault: fault(8192, libc::ENOSPC) };
        assert_eq!(outcome, expected);
        assert!(file.content()[..8192] == content(8192));
        file.clear_rules();
    });
}

#[test]
fn a_flush_that_fails_says_so() {
    const NAME: &str = "completions::a_flush_that_fails_says_so";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(4096));
        file.add(Rule::syncs().errno(libc::EIO).once());
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        for expected in [fault(0, libc::EIO), None] {
            engine.flush(id, FlushKind::Data).unwrap();
            let Completion::Flush { fault, .. } = over(&mut engine) else { panic!("not a flush") };
            assert_eq!(fault, expected);
        }
        engine.submit(id, memory.request(&[(0, 4096)], ToDevice, At(0)), &direct()).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(4096));
        let ops: Vec<Op> = file.take_seen().iter().map(|seen| seen.op).collect();
        assert_eq!(ops, [Op::Sync, Op::Sync, Op::Write]);
        file.clear_rules();
    });
}
