//! Operations whose answer does not come for a while, and what may not happen to their memory and their file until then.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bulkio::engine::{Engine, EngineChoice, EngineOptions, FileError};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::At;
use scatterlist::{Fault, Outcome, Status};

use crate::faulty::{Answer, Child, FaultyFs, Quarantine, Rule};
use crate::or_skip;
use crate::support::{TestEngine, add, content, direct, direct_of, each, each_ahead, files, next, run};

const LEN: usize = 1 << 16;

/// Submits `count` reads of 4 KiB, one after the other in file and memory, and starts them.
fn read_held(engine: &mut TestEngine, fs: &FaultyFs, quarantine: &Quarantine, count: usize) {
    fs.file(0).add(Rule::reads().hold());
    let id = add(engine, fs.file(0));
    let memory = quarantine.take(LEN);
    for at in (0..count).map(|piece| piece * 4096) {
        engine.submit(id, memory.request(&[(at, 4096)], FromDevice, At(at as u64)), &direct()).unwrap();
    }
    engine.start().unwrap();
    fs.file(0).wait_held(count);
}

#[test]
fn answers_come_in_any_order() {
    const NAME: &str = "gate::answers_come_in_any_order";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
        read_held(&mut engine, &fs, &quarantine, 3);
        assert!(engine.poll().unwrap().is_none());
        let mut held = fs.file(0).held_at();
        held.sort_unstable();
        assert_eq!(held, [0, 4096, 8192]);
        fs.file(0).free_at(8192);
        let (request, outcome) = next(&mut engine);
        assert_eq!((request.position(), outcome), (At(8192), Outcome::whole(4096)));
        fs.file(0).free_at(0);
        assert_eq!(next(&mut engine).0.position(), At(0));
        assert!(engine.poll().unwrap().is_none());
        fs.file(0).open_gate();
        let (request, outcome) = next(&mut engine);
        assert_eq!(request.position(), At(4096));
        let memory = request.complete(outcome).into_owners().next().unwrap();
        assert!(memory.bytes()[..12288] == content(12288));
    });
}

#[test]
fn a_blocking_call_waits_for_the_gate() {
    const NAME: &str = "gate::a_blocking_call_waits_for_the_gate";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let (file, memory) = (fs.file(0), Quarantine::default().take(LEN));
        file.add(Rule::any().hold());
        let other = file.clone();
        let opener = thread::spawn(move || {
            other.wait_held(1);
            other.open_gate();
        });
        let mut engine = kind.engine();
        let id = add(&mut engine, file);
        let outcome = run(&mut engine, id, memory.request(&[(0, LEN)], FromDevice, At(0)), &direct());
        assert_eq!(outcome, Outcome::whole(LEN as u64));
        opener.join().unwrap();
        assert!(memory.bytes() == content(LEN));
    });
}

/// Refused while it was held, after others had been served.
#[test]
fn refused_at_the_gate() {
    const NAME: &str = "gate::refused_at_the_gate";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
        read_held(&mut engine, &fs, &quarantine, 2);
        fs.file(0).refuse_held(libc::EIO);
        for _ in 0..2 {
            assert_eq!(next(&mut engine).1.fault, Some(Fault { at: 0, status: Status::Errno(5) }));
        }
        fs.file(0).open_gate();
    });
}

#[test]
fn an_engine_dropped_with_reads_held_waits_for_them() {
    const NAME: &str = "gate::an_engine_dropped_with_reads_held_waits_for_them";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
        read_held(&mut engine, &fs, &quarantine, 3);
        let file = fs.file(0).clone();
        let shelf = quarantine.clone();
        let (dropping, told) = mpsc::channel();
        let opener = thread::spawn(move || {
            told.recv().unwrap();
            // However far the drop has come: the memory is there until the answers are.
            let before = shelf.alive();
            file.open_gate();
            before
        });
        dropping.send(()).unwrap();
        drop(engine);
        assert_eq!((opener.join().unwrap(), quarantine.alive(), quarantine.freed()), (1, 0, 1));
        quarantine.check();
    });
}

#[test]
fn memory_past_the_drain_bound_is_leaked_not_freed() {
    const NAME: &str = "gate::memory_past_the_drain_bound_is_leaked_not_freed";
    let fs = or_skip!(NAME, files(LEN));
    if let Some(child) = Child::of(NAME) {
        let ended = child.end();
        assert!(ended.status.success(), "{}", ended.status);
        let mut said = ended.said.lines().filter(|line| line.starts_with("bulkio: "));
        each_ahead(NAME, |_| {
            let line = said.next().expect("an engine that leaks says so");
            assert!(line.contains("3 operations of a dropped engine did not end within"), "{line}");
            assert!(line.contains("12288 bytes of memory"), "{line}");
        });
        return;
    }
    each_ahead(NAME, |kind| {
        let quarantine = Quarantine::default();
        let options = EngineOptions { drain_max: Duration::from_millis(20), ..kind.options() };
        let mut engine: TestEngine = Engine::new(options).unwrap();
        read_held(&mut engine, &fs, &quarantine, 3);
        drop(engine);
        assert_eq!((quarantine.alive(), quarantine.freed(), fs.file(0).held()), (1, 0, 3));
        fs.file(0).open_gate();
        // The answers went somewhere: into the memory that is still owned, for there is no other.
        quarantine.check();
        assert_eq!((quarantine.alive(), quarantine.freed()), (1, 0));
        let seen = fs.file(0).take_seen();
        assert!(seen.iter().all(|seen| seen.answer == Answer::Bytes(4096)), "{seen:?}");
    });
}

#[test]
fn cancelled_while_held() {
    const NAME: &str = "gate::cancelled_while_held";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
        read_held(&mut engine, &fs, &quarantine, 3);
        engine.cancel();
        // Nothing can take the reads back from the device: they end when it answers, and are whole then.
        assert!(engine.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
        assert_eq!((engine.in_flight(), fs.file(0).held()), (3, 3));
        fs.file(0).open_gate();
        for _ in 0..3 {
            let (request, outcome) = next(&mut engine);
            assert_eq!(outcome, Outcome::whole(4096));
            drop(request);
        }
        assert_eq!(quarantine.freed(), 1);
        quarantine.check();
    });
}

#[test]
fn a_cancelled_request_stops_at_what_is_under_way() {
    const NAME: &str = "gate::a_cancelled_request_stops_at_what_is_under_way";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        let quarantine = Quarantine::default();
        let file = fs.file(0);
        file.add(Rule::reads().hold());
        let mut engine: TestEngine = Engine::new(EngineOptions { depth: 2, ..kind.options() }).unwrap();
        let id = add(&mut engine, file);
        let request = quarantine.take(LEN).request(&[(0, LEN)], FromDevice, At(0));
        engine.submit(id, request, &direct_of(4096)).unwrap();
        engine.start().unwrap();
        file.wait_held(2);
        engine.cancel();
        file.open_gate();
        let (_, outcome) = next(&mut engine);
        let fault = Some(Fault { at: 8192, status: Status::Cancelled });
        assert_eq!(outcome, Outcome { asked: LEN as u64, done: 8192, fault });
        assert_eq!(file.take_seen().len(), 2);
    });
}

#[test]
fn a_file_closed_by_its_caller_stays_open_in_flight() {
    const NAME: &str = "gate::a_file_closed_by_its_caller_stays_open_in_flight";
    let fs = or_skip!(NAME, files(LEN));
    each_ahead(NAME, |kind| {
        for direction in [FromDevice, ToDevice] {
            let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
            let file = fs.file(0);
            file.add(Rule::any().hold());
            let fd = file.open(libc::O_RDWR | libc::O_DIRECT);
            let shared = Arc::downgrade(&fd);
            let id = engine.add_file(Arc::clone(&fd)).unwrap();
            let memory = quarantine.take(LEN);
            memory.write(0, &content(LEN));
            engine.submit(id, memory.request(&[(0, LEN)], direction, At(0)), &direct()).unwrap();
            engine.start().unwrap();
            file.wait_held(1);
            drop(fd);
            assert_eq!(engine.remove_file(id).unwrap_err(), FileError::Busy { file: id, in_flight: 1 });
            assert!(shared.upgrade().is_some());
            file.open_gate();
            assert_eq!(next(&mut engine).1, Outcome::whole(LEN as u64));
            drop(engine.remove_file(id).unwrap());
            assert!(shared.upgrade().is_none());
            assert!(memory.bytes() == content(LEN) && file.content() == content(LEN));
        }
    });
}

/// The quarantine sees what it is for: a read into memory that its owner gave up too early.
#[test]
fn a_write_to_freed_memory_is_found() {
    const NAME: &str = "gate::a_write_to_freed_memory_is_found";
    let fs = or_skip!(NAME, files(LEN));
    let (quarantine, file) = (Quarantine::default(), fs.file(0));
    let memory = quarantine.take(8192);
    file.add(Rule::reads().hold());
    let fd = file.open(libc::O_RDONLY | libc::O_DIRECT);
    // A second view of the memory without an owner, as a careless engine would keep it.
    let borrowed = memory.stray();
    let reader = thread::spawn(move || borrowed.read(&fd, 4096, 100, 0));
    file.wait_held(1);
    drop(memory);
    quarantine.check();
    file.open_gate();
    assert_eq!(reader.join().unwrap(), 100);
    let changed = quarantine.changed();
    assert!((90..=100).contains(&changed.len()), "{changed:?}");
    assert!(changed.iter().all(|&(piece, at)| piece == 0 && (4096..4196).contains(&at)), "{changed:?}");
}

/// A process that is killed with operations held must not hang in the kernel: see `faulty/server.rs`.
#[test]
fn a_killed_process_ends_with_operations_held() {
    const NAME: &str = "gate::a_killed_process_ends_with_operations_held";
    let fs = or_skip!(NAME, files(LEN));
    let Some(mut child) = Child::of(NAME) else {
        let quarantine = Quarantine::default();
        // Without AIO: the last thread that leaves the memory of a process waits there for its operations (Linux, fs/aio.c,
        // exit_aio), and where that is the server, nobody ends them any more.
        each_ahead(NAME, |kind| {
            if kind.choice == EngineChoice::Aio {
                return;
            }
            let mut engine = kind.engine();
            read_held(&mut engine, &fs, &quarantine, 3);
            std::mem::forget(engine);
        });
        eprintln!("everything is held");
        loop {
            thread::park();
        }
    };
    child.wait_said("everything is held");
    child.kill();
    assert!(!child.end().status.success());
}
