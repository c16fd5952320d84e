//! Transfers that are commands of a device: each part is one, nobody repeats it, and what the device says of it comes out as it is.
//!
//! The device is an ordinary file behind a [`CommandSet`] that reads and writes it, with bad blocks and a gate. What only a ring
//! does is asked of `/dev/null`, which takes commands and does nothing (`drivers/char/mem.c`, `uring_cmd_null`).

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bulkio::engine::{
    Action, Carrier, Command, CommandRing, CommandSet, Completion, Ended, Engine, EngineChoice, EngineError,
    EngineOptions, FileId, FileOptions, FlushKind, LoggedKind, RingCommand, Sharing, ShortTransfer,
    SubmitReason,
};
use rustix::io::write;
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{Fault, LimitId, Limits, Outcome, Status};

use crate::common::{MemoryDisk, skip};
use crate::or_skip;
use crate::support::{
    Mapping, TestEngine, content, direct, engine, errno, file, next, over, pattern, pipe, run, works,
};

const BLOCK: u64 = 512;

/// What nobody ends within this is not going to end.
const LONG: Duration = Duration::from_secs(30);

/// A device: a file, and what goes wrong with it.
#[derive(Debug, Default)]
struct Device {
    /// Blocks that cannot be read, and the word of the device for that.
    bad: Vec<(u64, u32)>,
    /// Every command ends after so many bytes, and nothing is said.
    shortened_to: Option<u32>,
    flush_fault: Option<u32>,
    gate: Gate,
    flushes: Mutex<Vec<FlushKind>>,
    /// What a ring is told of reads; nothing where it is not for rings.
    on_ring: Option<RingCommand>,
}

/// Holds commands back while it is closed.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
    inside: AtomicU32,
    through: AtomicU32,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.closed.lock().unwrap();
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
        while *closed {
            closed = self.changed.wait(closed).unwrap();
        }
        self.through.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn wait_for(&self, count: &AtomicU32, value: u32) {
        let closed = self.closed.lock().unwrap();
        let waits = |_: &mut bool| count.load(Ordering::SeqCst) < value;
        let (_guard, over) = self.changed.wait_timeout_while(closed, LONG, waits).unwrap();
        assert!(!over.timed_out(), "{} of {value} commands", count.load(Ordering::SeqCst));
    }

    /// Waits until so many commands have come since the device was made.
    fn wait_inside(&self, commands: u32) {
        self.wait_for(&self.inside, commands);
    }

    fn wait_through(&self, commands: u32) {
        self.wait_for(&self.through, commands);
    }
}

/// The first `bytes` of pieces.
fn front(pieces: &[libc::iovec], bytes: u64) -> Vec<libc::iovec> {
    let mut left = bytes as usize;
    let mut front = Vec::new();
    for piece in pieces {
        let iov_len = piece.iov_len.min(left);
        left -= iov_len;
        if iov_len > 0 {
            front.push(libc::iovec { iov_len, ..*piece });
        }
    }
    front
}

// SAFETY: only the pieces are read and written, before the call returns. What it says to rings makes /dev/null do nothing.
unsafe impl CommandSet for Device {
    unsafe fn execute(&self, file: BorrowedFd<'_>, command: &Command<'_>) -> Ended {
        self.gate.pass();
        let (position, reads) = match command.action {
            Action::Read { position } => (position, true),
            Action::Write { position } => (position, false),
            Action::Flush(kind) => {
                self.flushes.lock().unwrap().push(kind);
                assert!(command.pieces.is_empty() && command.bytes == 0);
                return Ended { bytes: 0, fault: self.flush_fault.map(Status::Device) };
            }
        };
        let asked = u64::from(command.bytes);
        assert_eq!(command.pieces.iter().map(|piece| piece.iov_len as u64).sum::<u64>(), asked);
        let mut ended = Ended { bytes: command.bytes, fault: None };
        for &(block, code) in &self.bad {
            let at = (block * BLOCK).saturating_sub(position);
            if block * BLOCK >= position && at < u64::from(ended.bytes) {
                ended = Ended { bytes: at as u32, fault: Some(Status::Device(code)) };
            }
        }
        ended.bytes = self.shortened_to.map_or(ended.bytes, |most| most.min(ended.bytes));
        let pieces = front(command.pieces, ended.bytes.into());
        let (fd, count, at) = (file.as_raw_fd(), pieces.len() as i32, position as i64);
        let moved = if reads {
            // SAFETY: the pieces are valid until this returns, as the trait says.
            unsafe { libc::preadv(fd, pieces.as_ptr(), count, at) }
        } else {
            // SAFETY: as above.
            unsafe { libc::pwritev(fd, pieces.as_ptr(), count, at) }
        };
        assert_eq!(moved, ended.bytes as isize);
        ended
    }

    fn ring(&self, command: &Command<'_>) -> Option<RingCommand> {
        self.on_ring.filter(|_| !matches!(command.action, Action::Write { .. }))
    }
}

/// A ring that has room for commands, if this is about rings.
fn made(kind: EngineChoice, depth: u32) -> TestEngine {
    Engine::new(EngineOptions { kind, depth, commands: true, log: true, ..EngineOptions::default() }).unwrap()
}

fn add(engine: &mut TestEngine, device: &Arc<Device>, bytes: &[u8]) -> FileId {
    let file = file(libc::O_RDWR, bytes);
    let id = engine.add_commands(file, Arc::clone(device) as _, FileOptions::default()).unwrap();
    assert_eq!(engine.file_report(id).unwrap().carrier, Carrier::Calls);
    id
}

/// What a command of the device takes: whole blocks, at most 8 KiB.
fn limits() -> Limits {
    let limits = Limits::builder().hard(LimitId::PositionAlign, BLOCK).hard(LimitId::PieceLenAlign, BLOCK);
    limits.hard(LimitId::TransferLenMax, 8192).hard(LimitId::PiecesMax, 4).build().unwrap()
}

pub(crate) fn parts_are_commands(kind: EngineChoice) {
    // With and without room on the ring: the device is not for rings.
    for mut engine in [engine(kind, 8), made(kind, 8)] {
        let device = Arc::new(Device::default());
        let storage = file(libc::O_RDWR, &[0; 1 << 16]);
        let set: Arc<dyn CommandSet> = Arc::clone(&device) as _;
        let id = engine.add_commands(Arc::clone(&storage), set, FileOptions::default()).unwrap();
        let memory = Mapping::new(1 << 17);
        memory.fill(pattern);
        // Every other 1 KiB, from the last to the first: at most four to a command.
        let pieces: Vec<_> = (0..64).rev().map(|piece| (piece * 2048, 1024)).collect();
        let outcome = run(&mut engine, id, memory.request(&pieces, ToDevice, At(0)), &limits());
        assert_eq!(outcome, Outcome::whole(1 << 16));
        let expected: Vec<u8> = pieces.iter().flat_map(|&(at, len)| (at..at + len).map(pattern)).collect();
        assert!(content(&storage) == expected, "{kind}");
        let back = Mapping::new(1 << 16);
        let outcome = run(&mut engine, id, back.request(&[(0, 1 << 16)], FromDevice, At(0)), &limits());
        assert_eq!(outcome, Outcome::whole(1 << 16));
        assert!(back.bytes() == expected, "{kind}");
        let log = engine.take_log();
        let of = |kind| log.iter().filter(|entry| entry.kind == kind).collect::<Vec<_>>();
        let (writes, reads) = (of(LoggedKind::Write), of(LoggedKind::Read));
        assert_eq!((writes.len(), reads.len(), log.len()), (16, 8, 24));
        assert!((0..).zip(&writes).all(|(at, entry)| entry.position == At(at * 4096)));
        assert!(writes.iter().all(|entry| entry.pieces.len() == 4));
        let stats = engine.stats();
        assert_eq!((stats.operations, stats.operations_commands, stats.operations_resumed), (24, 24, 0));
        assert_eq!((stats.read_bytes, stats.written_bytes), (1 << 16, 1 << 16));
        assert!(Arc::ptr_eq(&engine.remove_file(id).unwrap(), &storage));
        // The set goes with the file.
        assert_eq!(Arc::strong_count(&device), 1);
    }
}

pub(crate) fn a_fault_of_the_device_has_its_byte(kind: EngineChoice) {
    const MEDIUM: Status = Status::Device(0x0003_1100);
    let mut engine = made(kind, 8);
    let device = Arc::new(Device { bad: vec![(40, 0x0003_1100)], ..Device::default() });
    let id = add(&mut engine, &device, &[7; 1 << 15]);
    let memory = Mapping::new(1 << 15);
    // Four commands, the third of which has the bad block in it.
    let outcome = run(&mut engine, id, memory.request(&[(0, 1 << 15)], FromDevice, At(0)), &limits());
    let at = 40 * BLOCK;
    let fault = Some(Fault { at, status: MEDIUM });
    assert_eq!(outcome, Outcome { asked: 1 << 15, done: at, fault });
    let bytes = memory.bytes();
    assert!(bytes[..at as usize].iter().all(|byte| *byte == 7));
    // The command was not repeated.
    assert_eq!(engine.stats().operations_resumed, 0);
    let commands = engine.take_log().iter().filter(|entry| entry.position == At(1 << 14)).count();
    assert_eq!(commands, 1);
    // A request that begins there has nothing done.
    let outcome = run(&mut engine, id, memory.request(&[(0, 512)], FromDevice, At(at)), &limits());
    assert_eq!(outcome, Outcome { asked: 512, done: 0, fault: Some(Fault { at: 0, status: MEDIUM }) });
}

pub(crate) fn a_short_command_is_a_fault_or_the_answer(kind: EngineChoice) {
    let mut engine = made(kind, 4);
    let device = Arc::new(Device { shortened_to: Some(1000), ..Device::default() });
    let memory = Mapping::new(4096);
    for (short, fault) in [
        (ShortTransfer::Resume, Some(Fault { at: 1000, status: Status::Short })),
        (ShortTransfer::Final, None),
    ] {
        let options = FileOptions { short, ..FileOptions::default() };
        let storage = file(libc::O_RDWR, &[7; 4096]);
        let id = engine.add_commands(storage, Arc::clone(&device) as _, options).unwrap();
        let before = device.gate.through.load(Ordering::SeqCst);
        for direction in [FromDevice, ToDevice] {
            let outcome = run(&mut engine, id, memory.request(&[(0, 4096)], direction, At(0)), &limits());
            assert_eq!(outcome, Outcome { asked: 4096, done: 1000, fault });
        }
        assert_eq!(device.gate.through.load(Ordering::SeqCst) - before, 2);
    }
}

pub(crate) fn many_commands_at_once(kind: EngineChoice) {
    let mut engine = made(kind, 8);
    let device = Arc::new(Device::default());
    let id = add(&mut engine, &device, &[9; 1 << 15]);
    let memory = Mapping::new(1 << 15);
    device.gate.set(true);
    for at in (0..1 << 15).step_by(4096) {
        let request = memory.request(&[(at, 4096)], FromDevice, At(at as u64));
        engine.submit(id, request, &limits()).unwrap();
    }
    engine.start().unwrap();
    // All eight are with the device, and none has ended.
    device.gate.wait_inside(8);
    assert!(engine.poll().unwrap().is_none());
    device.gate.set(false);
    for _ in 0..8 {
        assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    }
    assert!(memory.bytes().iter().all(|byte| *byte == 9));
}

pub(crate) fn what_no_worker_has_begun_is_taken_back(kind: EngineChoice) {
    /// More than there are workers.
    const COMMANDS: u32 = 80;
    const WORKERS: u32 = 64;
    let mut engine = made(kind, COMMANDS);
    let device = Arc::new(Device::default());
    let id = add(&mut engine, &device, &[9; 4096]);
    let memory = Mapping::new(4096);
    device.gate.set(true);
    for _ in 0..COMMANDS {
        engine.submit(id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits()).unwrap();
    }
    engine.start().unwrap();
    device.gate.wait_inside(WORKERS);
    engine.cancel();
    let cancelled = Outcome { asked: 512, done: 0, fault: Some(Fault { at: 0, status: Status::Cancelled }) };
    for _ in WORKERS..COMMANDS {
        assert_eq!(next(&mut engine).1, cancelled);
    }
    assert!(engine.poll().unwrap().is_none());
    device.gate.set(false);
    // What the device had begun it did.
    for _ in 0..WORKERS {
        assert_eq!(next(&mut engine).1, Outcome::whole(512));
    }
    assert_eq!(device.gate.inside.load(Ordering::SeqCst), WORKERS);
    // One that was not even started.
    let token = engine.submit(id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits()).unwrap();
    assert!(engine.cancel_request(token));
    assert_eq!(next(&mut engine).1, cancelled);
    assert_eq!((engine.in_flight(), Arc::strong_count(&memory)), (0, 1));
}

/// An engine with a command that the gate holds, and what the command has: memory and file.
fn held(
    kind: EngineChoice,
    device: &Arc<Device>,
    drain_max: Duration,
) -> (TestEngine, Arc<Mapping>, Arc<std::os::fd::OwnedFd>) {
    let (memory, storage) = (Mapping::new(4096), file(libc::O_RDWR, &[9; 4096]));
    let options = EngineOptions { kind, drain_max, commands: true, ..EngineOptions::default() };
    let mut engine = TestEngine::new(options).unwrap();
    let set: Arc<dyn CommandSet> = Arc::clone(device) as _;
    let id = engine.add_commands(Arc::clone(&storage), set, FileOptions::default()).unwrap();
    device.gate.set(true);
    engine.submit(id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits()).unwrap();
    engine.start().unwrap();
    device.gate.wait_inside(1);
    (engine, memory, storage)
}

pub(crate) fn dropped_with_a_command_held(kind: EngineChoice) {
    let device = Arc::new(Device::default());
    let (engine, memory, storage) = held(kind, &device, LONG);
    // The command ends while the engine waits for it: nothing is left.
    let opener = Arc::clone(&device);
    let opens = thread::spawn(move || opener.gate.set(false));
    drop(engine);
    opens.join().unwrap();
    assert_eq!((memory.bytes()[0], Arc::strong_count(&memory), Arc::strong_count(&storage)), (9, 1, 1));
    assert_eq!(Arc::strong_count(&device), 1);
}

/// It does not end within the bound: memory, file and set are left to it.
pub(crate) fn a_command_that_does_not_end_is_leaked(kind: EngineChoice) {
    let device = Arc::new(Device::default());
    let (engine, memory, storage) = held(kind, &device, Duration::from_millis(20));
    drop(engine);
    assert_eq!((Arc::strong_count(&memory), Arc::strong_count(&storage)), (2, 2));
    assert!(Arc::strong_count(&device) > 1);
    device.gate.set(false);
    device.gate.wait_through(1);
    let limit = Instant::now() + LONG;
    while memory.bytes()[0] != 9 {
        assert!(Instant::now() < limit, "the command never ended");
        thread::yield_now();
    }
}

pub(crate) fn flushes_are_commands(kind: EngineChoice) {
    let mut engine = made(kind, 4);
    let device = Arc::new(Device { flush_fault: Some(0x4006), ..Device::default() });
    let id = add(&mut engine, &device, &[0; 4096]);
    for kind in [FlushKind::Data, FlushKind::All] {
        let token = engine.flush(id, kind).unwrap();
        let completion = over(&mut engine);
        assert_eq!(completion.token(), token);
        assert_eq!(completion.fault(), Some(Fault { at: 0, status: Status::Device(0x4006) }));
        assert!(matches!(completion, Completion::Flush { .. }));
    }
    assert_eq!(*device.flushes.lock().unwrap(), [FlushKind::Data, FlushKind::All]);
    let kinds: Vec<_> = engine.take_log().iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [LoggedKind::Flush(FlushKind::Data), LoggedKind::Flush(FlushKind::All)]);
}

pub(crate) fn what_is_no_command_is_refused(kind: EngineChoice) {
    let mut engine = made(kind, 4);
    let id = add(&mut engine, &Arc::new(Device::default()), &[0; 4096]);
    let memory = Mapping::new(4096);
    let refused = engine.submit(id, memory.request(&[(0, 100)], FromDevice, Stream), &limits()).unwrap_err();
    assert_eq!(refused.reason, SubmitReason::StreamOfCommands { file: id, bytes: 100 });
    assert_eq!(refused.request.len_bytes(), 100);
    // Five times the same GiB, in one command.
    let long = Mapping::new(1 << 30);
    let request = long.request(&[(0, 1 << 30); 5], FromDevice, At(0));
    let refused = engine.submit(id, request, &Limits::default()).unwrap_err();
    let max = u64::from(u32::MAX);
    assert_eq!(refused.reason, SubmitReason::CommandTooLong { at: 0, bytes: 5 << 30, max });
    assert_eq!((engine.in_flight(), engine.stats().operations), (0, 0));
}

/// Commands that end while the engine sleeps for a file, and a file that is ready while it sleeps for a command.
pub(crate) fn no_result_is_slept_through(kind: EngineChoice) {
    let mut engine = made(kind, 8);
    let device = Arc::new(Device::default());
    let id = add(&mut engine, &device, &[9; 4096]);
    let (read_end, write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let disk = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, &[5; 4096])).unwrap();
    let memory = Mapping::new(3 * 4096);
    mixed(&mut engine, &device, &memory, [id, stream, disk], &write_end);
    // With somebody who may wake it.
    let remote = engine.remote().unwrap();
    mixed(&mut engine, &device, &memory, [id, stream, disk], &write_end);
    device.gate.set(true);
    let inside = device.gate.inside.load(Ordering::SeqCst);
    engine.submit(id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits()).unwrap();
    engine.start().unwrap();
    device.gate.wait_inside(inside + 1);
    for _ in 0..50 {
        let waker = remote.clone();
        let wakes = thread::spawn(move || waker.wake());
        assert!(engine.wait_or_wake(Some(LONG)).unwrap().is_none());
        wakes.join().unwrap();
        assert!(engine.poll().unwrap().is_none());
    }
    device.gate.set(false);
    assert_eq!(next(&mut engine).1, Outcome::whole(512));
}

fn mixed(
    engine: &mut TestEngine,
    device: &Arc<Device>,
    memory: &Arc<Mapping>,
    [id, stream, disk]: [FileId; 3],
    write_end: &Arc<std::os::fd::OwnedFd>,
) {
    let over_in_time = |engine: &mut TestEngine| {
        let since = Instant::now();
        loop {
            if let Some(completion) = engine.wait_timeout(LONG).unwrap() {
                return completion.file();
            }
            assert!(since.elapsed() < LONG, "a result was slept through");
        }
    };
    for round in 0..100 {
        device.gate.set(true);
        engine.submit(id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits()).unwrap();
        engine.submit(stream, memory.request(&[(4096, 1)], FromDevice, Stream), &Limits::default()).unwrap();
        if round % 3 == 0 {
            engine.submit(disk, memory.request(&[(8192, 4096)], FromDevice, At(0)), &direct()).unwrap();
            assert_eq!(over_in_time(engine), disk);
        }
        let (opener, writer) = (Arc::clone(device), Arc::clone(write_end));
        let command_first = round % 2 == 0;
        let first = thread::spawn(move || {
            if command_first {
                opener.gate.set(false);
            } else {
                write(&*writer, b"x").unwrap();
            }
        });
        assert_eq!(over_in_time(engine), if command_first { id } else { stream });
        first.join().unwrap();
        if command_first {
            write(&**write_end, b"x").unwrap();
        } else {
            device.gate.set(false);
        }
        assert_eq!(over_in_time(engine), if command_first { stream } else { id });
        assert_eq!(engine.in_flight(), 0);
    }
}

/// What a ring says to `/dev/null`.
const NOTHING: RingCommand = RingCommand { op: 0, command: [0; 80], takes_fixed: true };

fn ring_with_commands(test: &str, fixed: Option<&Arc<Mapping>>) -> Option<TestEngine> {
    if !works(test, EngineChoice::Uring) {
        return None;
    }
    let kind = EngineChoice::Uring;
    let fixed = fixed.map(Mapping::region).into_iter().collect();
    let options = EngineOptions { kind, commands: true, fixed, log: true, ..EngineOptions::default() };
    let engine = TestEngine::new(options).unwrap();
    match &engine.report().commands {
        CommandRing::Ring => Some(engine),
        refused => {
            skip(test, &format!("{refused:?}"));
            None
        }
    }
}

#[test]
fn a_ring_carries_some_commands_and_threads_the_rest() {
    const NAME: &str = "commands::a_ring_carries_some_commands_and_threads_the_rest";
    let memory = Mapping::new(8192);
    let Some(mut engine) = ring_with_commands(NAME, Some(&memory)) else { return };
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let device = Arc::new(Device { on_ring: Some(NOTHING), ..Device::default() });
    let set: Arc<dyn CommandSet> = Arc::clone(&device) as _;
    let id = engine.add_commands(Arc::new(null.into()), set, FileOptions::default()).unwrap();
    assert_eq!(engine.file_report(id).unwrap().carrier, Carrier::Commands);
    let request = memory.request(&[(0, 512)], FromDevice, At(0));
    let outcome = run(&mut engine, id, request, &limits());
    if outcome.fault.is_some_and(|fault| fault.status == errno(libc::EOPNOTSUPP)) {
        return skip(NAME, "/dev/null takes no commands here (Linux 6.1)");
    }
    assert_eq!(outcome, Outcome::whole(512));
    // One piece is taken as registered, more are not.
    let other = Mapping::new(4096);
    for request in [
        memory.request(&[(0, 512), (4096, 512)], FromDevice, At(0)),
        other.request(&[(0, 512)], FromDevice, At(0)),
    ] {
        let asked = request.len_bytes();
        assert_eq!(run(&mut engine, id, request, &limits()), Outcome::whole(asked));
    }
    engine.flush(id, FlushKind::All).unwrap();
    assert_eq!(over(&mut engine).fault(), None);
    assert_eq!(device.gate.inside.load(Ordering::SeqCst), 0, "no thread made a call");
    let fixed: Vec<_> = engine.take_log().iter().map(|entry| entry.fixed).collect();
    assert_eq!(fixed, [Some(0), None, None, None]);
    assert_eq!(engine.stats().operations_fixed, 1);
    // Writes are not for the ring.
    assert_eq!(
        run(&mut engine, id, memory.request(&[(0, 512)], ToDevice, At(0)), &limits()),
        Outcome::whole(512)
    );
    assert_eq!(device.gate.inside.load(Ordering::SeqCst), 1);
    assert_eq!(engine.stats().operations_commands, 5);
}

#[test]
fn a_file_that_takes_no_commands_says_so() {
    const NAME: &str = "commands::a_file_that_takes_no_commands_says_so";
    let Some(mut engine) = ring_with_commands(NAME, None) else { return };
    let device = Device { on_ring: Some(NOTHING), ..Device::default() };
    let storage = file(libc::O_RDWR, &[0; 4096]);
    let id = engine.add_commands(storage, Arc::new(device), FileOptions::default()).unwrap();
    let memory = Mapping::new(4096);
    let outcome = run(&mut engine, id, memory.request(&[(0, 512)], FromDevice, At(0)), &limits());
    let fault = Some(Fault { at: 0, status: errno(libc::EOPNOTSUPP) });
    assert_eq!(outcome, Outcome { asked: 512, done: 0, fault });
}

/// Entries of either length: what is registered is the same.
#[test]
fn a_ring_with_commands_shares_the_registration_of_one_without() {
    const NAME: &str = "commands::a_ring_with_commands_shares_the_registration_of_one_without";
    let memory = Mapping::new(8192);
    let Some(first) = ring_with_commands(NAME, Some(&memory)) else { return };
    for commands in [false, true] {
        let kind = EngineChoice::Uring;
        let share = first.shared_registration();
        let options = EngineOptions { kind, commands, share, log: true, ..EngineOptions::default() };
        let mut engine = TestEngine::new(options).unwrap();
        if let Sharing::Anew { reason } = &engine.report().sharing {
            return skip(NAME, reason);
        }
        let id = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, &[3; 8192])).unwrap();
        let outcome = run(&mut engine, id, memory.request(&[(0, 8192)], FromDevice, At(0)), &direct());
        assert_eq!((outcome, engine.stats().operations_fixed), (Outcome::whole(8192), 1));
    }
}

/// A ring waits in native AIO while that has operations: results of threads end that wait too.
#[test]
fn a_disk_beneath_the_ring_and_commands_in_one_engine() {
    const NAME: &str = "commands::a_disk_beneath_the_ring_and_commands_in_one_engine";
    if !works(NAME, EngineChoice::Uring) || !works(NAME, EngineChoice::Aio) {
        return;
    }
    let disk = or_skip!(NAME, MemoryDisk::new(1 << 20));
    let mut engine = made(EngineChoice::Uring, 8);
    let device = Arc::new(Device::default());
    let id = add(&mut engine, &device, &[9; 4096]);
    let node = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(disk.node()).unwrap();
    let beneath = engine.add_file(Arc::new(node.into())).unwrap();
    assert_eq!(engine.file_report(beneath).unwrap().carrier, Carrier::Aio);
    let (read_end, write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(3 * 4096);
    mixed(&mut engine, &device, &memory, [id, stream, beneath], &write_end);
    assert!(engine.stats().operations_aio > 0);
}

#[test]
fn the_report_says_whether_a_ring_carries_commands() {
    const NAME: &str = "commands::the_report_says_whether_a_ring_carries_commands";
    assert_eq!(engine(EngineChoice::Threads, 4).report().commands, CommandRing::NotAsked);
    let reason = "the threads engine has no ring".to_owned();
    assert_eq!(made(EngineChoice::Threads, 4).report().commands, CommandRing::Refused { reason });
    let options = EngineOptions { commands: true, polled: true, ..EngineOptions::default() };
    let conflict = EngineError::Conflict { option: "commands", with: "polled" };
    assert_eq!(TestEngine::new(options).unwrap_err(), conflict);
    if works(NAME, EngineChoice::Uring) {
        assert_eq!(engine(EngineChoice::Uring, 4).report().commands, CommandRing::NotAsked);
        assert_ne!(made(EngineChoice::Uring, 4).report().commands, CommandRing::NotAsked);
    }
}
