//! What the tests of faults share: the engines that there are, files with a pattern, short forms.

use bulkio::engine::{Completion, Engine, EngineChoice, EngineOptions, FileId};
use scatterlist::{CpuAddr, Fault, LimitId, Limits, Outcome, Request, Status};
use std::sync::Arc;
use std::time::Duration;

use crate::common::skip;
use crate::faulty::{FaultyFile, FaultyFs, IoMemory};

/// An engine, and what a test must know of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) choice: EngineChoice,
    /// Whether it goes on while an operation waits in the kernel.
    pub(crate) works_ahead: bool,
    /// Whether the kernel sends all messages of an operation at once, so that its result is coarse.
    pub(crate) at_once: bool,
}

/// Every engine. A new one is one line.
pub(crate) const ENGINES: &[Kind] = &[
    Kind { name: "uring", choice: EngineChoice::Uring, works_ahead: true, at_once: true },
    Kind { name: "aio", choice: EngineChoice::Aio, works_ahead: true, at_once: true },
    Kind { name: "threads", choice: EngineChoice::Threads, works_ahead: true, at_once: false },
];

pub(crate) type TestEngine = Engine<Arc<IoMemory>, ()>;
pub(crate) type TestRequest = Request<CpuAddr, Arc<IoMemory>, ()>;

impl Kind {
    pub(crate) fn options(self) -> EngineOptions {
        EngineOptions {
            kind: self.choice,
            depth: 16,
            drain_max: Duration::from_secs(5),
            ..EngineOptions::default()
        }
    }

    pub(crate) fn engine(self) -> TestEngine {
        Engine::new(self.options()).expect("an engine that was there before")
    }
}

/// Runs a test for each engine that works here; skips those that do not, by name.
pub(crate) fn each(test_name: &str, mut test: impl FnMut(Kind)) {
    for kind in ENGINES {
        match TestEngine::new(kind.options()) {
            Ok(_) => {
                eprintln!("{test_name}: {}", kind.name);
                test(*kind);
            }
            Err(error) => skip(test_name, &format!("{}: {error}", kind.name)),
        }
    }
}

/// As [`each`], for the engines that go on while an operation waits in the kernel.
pub(crate) fn each_ahead(test_name: &str, mut test: impl FnMut(Kind)) {
    each(test_name, |kind| {
        if kind.works_ahead {
            test(kind);
        }
    });
}

pub(crate) fn pattern(at: usize) -> u8 {
    ((at * 7 + at / 251) & 0xff) as u8
}

pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(pattern).collect()
}

/// A file system with one file of `len` bytes of the pattern.
pub(crate) fn files(len: usize) -> Result<FaultyFs, String> {
    FaultyFs::new(vec![content(len)])
}

/// Opens a file for both directions under `O_DIRECT` and adds it to an engine.
pub(crate) fn add(engine: &mut TestEngine, file: &FaultyFile) -> FileId {
    engine.add_file(file.open(libc::O_RDWR | libc::O_DIRECT)).expect("room for a file")
}

/// What a disk with blocks of 512 bytes takes.
pub(crate) fn direct() -> Limits {
    let limits = Limits::builder().hard(LimitId::PositionAlign, 512).hard(LimitId::AddrAlign, 512);
    limits.hard(LimitId::PieceLenAlign, 512).hard(LimitId::PiecesMax, 1024).build().expect("limits")
}

/// As [`direct`], in operations of at most `len` bytes.
pub(crate) fn direct_of(len: u64) -> Limits {
    direct().to_builder().hard(LimitId::TransferLenMax, len).build().expect("limits")
}

/// Waits for whatever is over next, through signals. (The kernel ends a wait also for work of its own, such as taking an earlier ring down.)
pub(crate) fn over<O: 'static, C>(engine: &mut Engine<O, C>) -> Completion<O, C> {
    loop {
        if let Some(completion) = engine.wait().expect("the engine goes on") {
            return completion;
        }
    }
}

/// Waits for a transfer, through signals.
pub(crate) fn next(engine: &mut TestEngine) -> (TestRequest, Outcome) {
    match over(engine) {
        Completion::Transfer { request, outcome, .. } => (request, outcome),
        other => panic!("not a transfer: {:?}", other.token()),
    }
}

/// Submits a request to an idle engine and waits for it.
pub(crate) fn run(engine: &mut TestEngine, file: FileId, request: TestRequest, limits: &Limits) -> Outcome {
    engine.submit(file, request, limits).expect("an idle engine takes a request");
    next(engine).1
}

pub(crate) fn fault(at: u64, errno: i32) -> Option<Fault> {
    Some(Fault { at, status: Status::Errno(errno.unsigned_abs()) })
}
