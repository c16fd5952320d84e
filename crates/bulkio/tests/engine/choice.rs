//! Which engine it becomes: by option, by environment, by what the system allows; and options that cannot be had.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use bulkio::engine::{
    ChosenBy, EngineChoice, EngineError, EngineKind, EngineOptions, FileError, Issuer, Refused,
};
use rustix::io::write;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::{At, Stream};
use scatterlist::{Limits, Outcome};

use crate::common::{LoopDevice, skip};
use crate::support::{
    Mapping, TestEngine, direct, file, forbid, next, pattern, pipe, ran_in_child, ran_in_child_with, run,
};
use crate::{cancel, or_skip, streams, transfers, waits};

#[test]
fn auto_says_what_it_became() {
    let engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_eq!(engine.report().refused.is_empty(), engine.report().kind == EngineKind::Uring);
    let engine =
        TestEngine::new(EngineOptions { kind: EngineChoice::Threads, ..EngineOptions::default() }).unwrap();
    assert_eq!((engine.report().kind, &*engine.report().refused), (EngineKind::Threads, &[][..]));
}

/// A ring counts against the limit of locked memory until the kernel has taken it apart, some time after it was dropped.
#[test]
fn rings_one_after_the_other_fit_a_limit_of_locked_memory() {
    let options = || EngineOptions { kind: EngineChoice::Uring, depth: 2048, ..EngineOptions::default() };
    if let Err(error) = TestEngine::new(options()) {
        return skip("choice::rings_one_after_the_other_fit_a_limit_of_locked_memory", &error.to_string());
    }
    for number in 0..200 {
        TestEngine::new(options()).unwrap_or_else(|error| panic!("ring {number}: {error}"));
    }
}

/// What a container does: io_uring forbidden by a filter of system calls, in a child.
#[test]
fn forbidden_io_uring_is_explained() {
    const NAME: &str = "choice::forbidden_io_uring_is_explained";
    if ran_in_child(NAME, "BULKIO_TEST_SECCOMP_CHILD") {
        return;
    }
    if !forbid(&[libc::SYS_io_uring_setup]) {
        return skip(NAME, "no filter of system calls can be set");
    }
    let engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_eq!((engine.report().kind, engine.report().chosen_by), (EngineKind::Aio, ChosenBy::Probe));
    let [Refused { kind: EngineKind::Uring, reason }] = &*engine.report().refused else {
        panic!("{:?}", engine.report());
    };
    assert!(reason.contains("io_uring_setup failed: Operation not permitted"), "{reason}");
    let forced = TestEngine::new(EngineOptions { kind: EngineChoice::Uring, ..EngineOptions::default() });
    let (kind, chosen_by, reason) = (EngineKind::Uring, ChosenBy::Option, reason.clone());
    assert_eq!(forced.err(), Some(EngineError::Unavailable { kind, chosen_by, reason }));
    // What only io_uring can do is not done by something else.
    let polled = TestEngine::new(EngineOptions { polled: true, ..EngineOptions::default() });
    assert!(matches!(polled, Err(EngineError::Unavailable { kind: EngineKind::Uring, .. })), "{polled:?}");
    works_as(EngineKind::Aio);
}

#[test]
fn forbidden_aio_is_explained_too() {
    const NAME: &str = "choice::forbidden_aio_is_explained_too";
    if ran_in_child(NAME, "BULKIO_TEST_SECCOMP_CHILD") {
        return;
    }
    // The first call of the one, a later one of the other: a probe must come as far as that.
    if !forbid(&[libc::SYS_io_uring_enter, libc::SYS_io_submit]) {
        return skip(NAME, "no filter of system calls can be set");
    }
    let engine = TestEngine::new(EngineOptions::default()).unwrap();
    assert_eq!(engine.report().kind, EngineKind::Threads);
    let refused: Vec<String> = engine.report().refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused.len(), 2);
    for (refused, says) in
        refused.iter().zip(["io_uring: io_uring_enter failed", "aio: io_submit of a read failed"])
    {
        assert!(refused.starts_with(says) && refused.contains("seccomp"), "{refused}");
    }
    for kind in [EngineChoice::Uring, EngineChoice::Aio] {
        let forced = TestEngine::new(EngineOptions { kind, ..EngineOptions::default() }).unwrap_err();
        assert!(forced.to_string().contains("was chosen by the options, but"), "{forced}");
    }
    works_as(EngineKind::Threads);
}

/// Lets the engine that is chosen here prove itself.
fn works_as(kind: EngineKind) {
    assert_eq!(TestEngine::new(EngineOptions::default()).unwrap().report().kind, kind);
    let auto = EngineChoice::Auto;
    transfers::buffered_round_trip_at_odd_offsets(auto);
    transfers::direct_round_trip_in_one_piece_and_in_many(auto);
    transfers::flushes_complete(auto);
    streams::both_ends_of_one_pipe(auto);
    waits::no_wake_is_lost(auto);
    cancel::cancelled_requests_come_back(auto);
}

/// `BULKIO_ENGINE`, in children: it counts where the options leave the choice open.
#[test]
fn the_environment_chooses_where_the_options_do_not() {
    const NAME: &str = "choice::the_environment_chooses_where_the_options_do_not";
    const MARK: &str = "BULKIO_TEST_ENVIRONMENT_CHILD";
    if std::env::var_os(MARK).is_none() {
        for value in ["io_uring", "aio", "threads", "auto", "steam"] {
            assert!(ran_in_child_with(NAME, MARK, &[("BULKIO_ENGINE", value)]));
        }
        return;
    }
    let value = std::env::var("BULKIO_ENGINE").unwrap();
    // An option goes before it, whatever it says.
    let options = EngineOptions { kind: EngineChoice::Threads, ..EngineOptions::default() };
    let forced = TestEngine::new(options).unwrap();
    assert_eq!((forced.report().kind, forced.report().chosen_by), (EngineKind::Threads, ChosenBy::Option));
    let made = TestEngine::new(EngineOptions::default());
    match (&*value, made) {
        ("steam", Err(error)) => assert_eq!(
            error.to_string(),
            "BULKIO_ENGINE is \"steam\", which is no engine: set it to auto, io_uring, aio, threads"
        ),
        ("auto", Ok(engine)) => assert_eq!(engine.report().chosen_by, ChosenBy::Probe),
        (name, Ok(engine)) => {
            let report = engine.report();
            assert_eq!((report.kind.name(), report.chosen_by), (name, ChosenBy::Environment));
            assert!(report.refused.is_empty(), "what was demanded and given refused nothing");
        }
        ("io_uring" | "aio", Err(error)) => {
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("the {value} engine was chosen by BULKIO_ENGINE, but ")),
                "{text}"
            );
            skip(NAME, &text);
        }
        (_, Err(error)) => panic!("{error}"),
    }
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let idle = Some(Duration::from_millis(10));
    for kind in [EngineChoice::Aio, EngineChoice::Threads] {
        for (polled, kernel_submission) in [(true, None), (false, idle)] {
            let made = TestEngine::new(EngineOptions {
                kind,
                polled,
                kernel_submission,
                ..EngineOptions::default()
            });
            assert!(matches!(made, Err(EngineError::Conflict { .. })), "{made:?}");
        }
    }
}

/// A file on a disk without queues for polling, and a loop device, which has none ever.
#[test]
fn what_cannot_be_polled_is_refused_by_name() {
    const NAME: &str = "choice::what_cannot_be_polled_is_refused_by_name";
    let options = EngineOptions { polled: true, ..EngineOptions::default() };
    let mut engine = or_skip!(NAME, TestEngine::new(options));
    assert!(engine.report().flags.contains(&"iopoll"));
    let refused = engine.add_file(file(libc::O_RDONLY, b"content")).unwrap_err();
    assert_eq!(refused, FileError::PolledNotDirect);
    let id = match engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &[7; 4096])) {
        Ok(id) => Some(id),
        Err(FileError::NotPolled { device, io_poll }) => {
            assert!(!device.is_empty() && io_poll != Some(1), "{device}: {io_poll:?}");
            None
        }
        Err(error) => panic!("{error}"),
    };
    // A disk that can be polled is.
    if let Some(id) = id {
        let memory = Mapping::new(4096);
        let outcome = run(&mut engine, id, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct());
        assert_eq!((outcome, memory.bytes()), (Outcome::whole(4096), vec![7; 4096]));
    }
    // Nothing in flight: it sleeps, and wakes.
    let remote = engine.remote().unwrap();
    assert!(engine.wait_or_wake(Some(Duration::from_millis(5))).unwrap().is_none());
    remote.wake();
    assert!(engine.wait_or_wake(None).unwrap().is_none());
    let disk = or_skip!(NAME, LoopDevice::new(1 << 20, 512));
    let node = File::options().read(true).custom_flags(libc::O_DIRECT).open(disk.node()).unwrap();
    let refused = engine.add_file(Arc::new(node.into())).unwrap_err();
    let name = disk.name().to_owned();
    assert_eq!(refused, FileError::NotPolled { device: name.clone(), io_poll: Some(0) });
    let text = refused.to_string();
    assert!(text.starts_with(&format!("{name} cannot be polled: its queue/io_poll in sysfs is 0")), "{text}");
}

#[test]
fn a_thread_of_the_kernel_submits() {
    const NAME: &str = "choice::a_thread_of_the_kernel_submits";
    let kernel_submission = Some(Duration::from_millis(3));
    for issuer in [Issuer::OneThread, Issuer::AnyThread] {
        let options = EngineOptions { kernel_submission, issuer, depth: 8, ..EngineOptions::default() };
        let mut engine = or_skip!(NAME, TestEngine::new(options));
        assert!(engine.report().flags.contains(&"sqpoll"), "{:?}", engine.report());
        let bytes: Vec<u8> = (0..1 << 18).map(pattern).collect();
        let disk = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &bytes)).unwrap();
        let (read_end, write_end) = pipe();
        let stream = engine.add_file(read_end).unwrap();
        let remote = engine.remote().unwrap();
        let memory = Mapping::new(1 << 18);
        let mut block = 0;
        while block < 64 || engine.in_flight() > 0 {
            if block == 64 || engine.room() == 0 {
                assert_eq!(next(&mut engine).1, Outcome::whole(4096));
                continue;
            }
            let at = block * 4096;
            engine.submit(disk, memory.request(&[(at, 4096)], FromDevice, At(at as u64)), &direct()).unwrap();
            block += 1;
        }
        assert!(memory.bytes() == bytes);
        // Long enough for the kernel's thread to fall asleep.
        assert!(engine.wait_or_wake(Some(Duration::from_millis(50))).unwrap().is_none());
        engine.submit(stream, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
        assert!(engine.wait_timeout(Duration::from_millis(5)).unwrap().is_none());
        remote.wake();
        assert!(engine.wait().unwrap().is_none());
        write(&*write_end, b"more").unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(4));
        let token =
            engine.submit(stream, memory.request(&[(0, 4)], FromDevice, Stream), &Limits::default()).unwrap();
        assert!(engine.poll().unwrap().is_none() && engine.cancel_request(token));
        assert_eq!(next(&mut engine).1.done, 0);
    }
}
