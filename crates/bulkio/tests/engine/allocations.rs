//! What an engine does not do while it works: allocate; and what it does not leave behind: threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use bulkio::engine::{EngineChoice, EngineOptions};
use scatterlist::Direction::FromDevice;
use scatterlist::Position::{At, Stream};
use scatterlist::{Limits, Outcome};

use crate::support::{Mapping, TestEngine, alone, direct, engine, file, next, pipe};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting the calls of each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Requests of one piece and of several, sixteen in flight, over and over: on the engine's own thread, nothing is
/// allocated or freed once every slot has been used.
pub(crate) fn the_steady_state_allocates_nothing(kind: EngineChoice) {
    let options = EngineOptions { kind, depth: 16, ..EngineOptions::default() };
    let mut engine = TestEngine::new(options).unwrap();
    let _remote = engine.remote().unwrap();
    let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &[7; 1 << 16])).unwrap();
    let buffered = engine.add_file(file(libc::O_RDONLY, &[7; 1 << 16])).unwrap();
    let memory = Mapping::new(1 << 16);
    let limits = direct();
    let mut counted = 0;
    for round in 0..200 {
        let before = ALLOCATIONS.get();
        while engine.room() > 0 {
            let at = engine.room() as usize * 2048;
            let pieces: &[(usize, usize)] =
                if at.is_multiple_of(4096) { &[(0, 512), (4096, 512)] } else { &[(8192, 1024)] };
            // The first round has every worker started that there can be: a thread that starts allocates.
            let id = if round == 0 || at.is_multiple_of(6144) { buffered } else { disk };
            let request = memory.request(pieces, FromDevice, At(at as u64));
            engine.submit(id, request, &limits).unwrap();
        }
        for _ in 0..if round == 0 { 16 } else { 10 } {
            let (request, outcome) = next(&mut engine);
            assert_eq!(outcome, Outcome::whole(1024));
            drop(request);
        }
        if round >= 100 {
            counted += ALLOCATIONS.get() - before;
        }
    }
    assert_eq!(counted, 0);
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter(|task| {
            fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("bulkio-"))
        })
        .count()
}

/// Looked at in a process of its own: other tests have engines too.
pub(crate) fn no_thread_is_left_behind(kind: EngineChoice) {
    if alone("allocations::no_thread_is_left_behind", kind) {
        return;
    }
    let mut engine = engine(kind, 16);
    let remote = engine.remote().unwrap();
    assert_eq!(threads(), 0, "none starts before there is work");
    let disk = engine.add_file(file(libc::O_RDONLY, &[7; 1 << 16])).unwrap();
    let (read_end, _write_end) = pipe();
    let stream = engine.add_file(read_end).unwrap();
    let memory = Mapping::new(1 << 16);
    for _ in 0..8 {
        engine.submit(disk, memory.request(&[(0, 4096)], FromDevice, At(0)), &Limits::default()).unwrap();
    }
    for _ in 0..8 {
        assert_eq!(next(&mut engine).1, Outcome::whole(4096));
    }
    engine.submit(stream, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
    assert!(engine.poll().unwrap().is_none());
    let most = if kind == EngineChoice::Uring { 0 } else { 16 + 1 };
    assert!(threads() <= most && (threads() > 0) == (most > 0), "{}", threads());
    drop(engine);
    // The kernel shows a thread for a moment after it was joined.
    let deadline = Instant::now() + Duration::from_secs(20);
    while threads() > 0 {
        assert!(Instant::now() < deadline, "{} threads are left", threads());
        std::thread::yield_now();
    }
    remote.wake();
}
