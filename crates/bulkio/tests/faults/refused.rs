//! Engines whose system calls a filter forbids, as container run times do: the report says what failed and why.

use bulkio::engine::{EngineChoice, EngineError, EngineKind, EngineOptions};
use scatterlist::Direction::FromDevice;
use scatterlist::Position::At;
use scatterlist::{Limits, Outcome};

use crate::faulty::{Child, Family, Quarantine, refuse};
use crate::or_skip;
use crate::support::{TestEngine, run};

#[test]
fn a_forbidden_io_uring_is_reported_and_something_else_works() {
    const NAME: &str = "refused::a_forbidden_io_uring_is_reported_and_something_else_works";
    if Child::passes(NAME) {
        return;
    }
    // Without the filter there would be nothing to see where io_uring does not work anyway: say which.
    let before = TestEngine::new(EngineOptions::default()).unwrap().report().kind;
    or_skip!(NAME, refuse(&[Family::Uring, Family::Aio]));
    let mut engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_ne!(engine.report().kind, EngineKind::Uring, "it was {before} before");
    let refused = engine.report().refused.clone();
    let why = |kind| {
        let found = refused.iter().find(|refused| refused.kind == kind);
        found.expect("what was refused is in the report").reason.clone()
    };
    let reason = why(EngineKind::Uring);
    assert!(reason.contains("io_uring_setup failed: Operation not permitted"), "{reason}");
    assert!(reason.contains("allow io_uring_setup, io_uring_enter and io_uring_register"), "{reason}");
    let aio = why(EngineKind::Aio);
    assert!(aio.contains("io_setup") || aio.contains("not built yet"), "{aio}");
    assert_eq!(engine.report().kind, EngineKind::Threads);
    let demanded = EngineOptions { kind: EngineChoice::Uring, ..EngineOptions::default() };
    let error = TestEngine::new(demanded).unwrap_err();
    assert!(matches!(&error, EngineError::Unavailable { reason: same, .. } if *same == reason), "{error}");

    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let id = engine.add_file(std::sync::Arc::new(file.into())).unwrap();
    let memory = Quarantine::default().take(4096);
    let request = memory.request(&[(0, 4)], FromDevice, At(0));
    assert_eq!(run(&mut engine, id, request, &Limits::default()), Outcome::whole(4));
    assert_eq!(memory.bytes()[..4], *b"\x7fELF");
}
