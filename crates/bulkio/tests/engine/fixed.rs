//! Registered memory: what goes through it, how much of it there is, and rings that share it.

use std::fs::File;
use std::sync::Arc;

use bulkio::engine::{
    Completion, Engine, EngineChoice, EngineError, EngineOptions, FixedRegion, Registration,
    SharedRegistration, Sharing,
};
use bulkio::pages::{PagePool, PoolOptions};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::{At, Stream};
use scatterlist::{Addr, Lease, Limits, Outcome, Request, ScatterList, Segment};

use crate::common::skip;
use crate::or_skip;
use crate::support::{Mapping, TestEngine, direct, file, over, pattern, ran_in_child, run};

#[test]
fn memory_within_the_region_goes_through_it() {
    const NAME: &str = "fixed::memory_within_the_region_goes_through_it";
    let memory = Mapping::new(1 << 20);
    let fixed = vec![memory.region()];
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
    let vectored = engine.report().vectored_fixed;
    assert_eq!(fixed, [Some(0), Some(0), None, vectored.then_some(0)]);
    assert_eq!(engine.stats().operations_fixed, 2 + u64::from(vectored));
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
    const NAME: &str = "fixed::slots_of_a_pool_go_through_its_buffers";
    const SLOT: u64 = 64 << 10;
    let pool = Arc::new(PagePool::new(PoolOptions::uniform(64 << 10, 6)).unwrap());
    let start = pool.range().0;
    let fixed = vec![FixedRegion::from_pool(Arc::clone(&pool)).with_buffer_len(2 * SLOT)];
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
        let Completion::Transfer { outcome, .. } = over(&mut engine) else { panic!("not a transfer") };
        assert_eq!(outcome, Outcome::whole(len));
    }
    let mut log = engine.take_log();
    // Work for the thread may cut a read of /dev/zero short; what is left goes on through the same buffer.
    log.dedup_by_key(|entry| entry.token);
    let fixed: Vec<_> = log.iter().map(|entry| entry.fixed).collect();
    assert_eq!(fixed, [Some(0), Some(0), Some(1), Some(2), None, Some(2)]);
}

/// Registration under a small memlock limit, in a child that gives root up: root is never refused.
#[test]
fn registration_shrinks_to_the_memlock_limit() {
    const NAME: &str = "fixed::registration_shrinks_to_the_memlock_limit";
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
    let fixed = vec![memory.region()];
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

/// Two regions, and vectors: what lies in one buffer is fixed, what lies in two is not.
#[test]
fn several_regions_are_registered() {
    const NAME: &str = "fixed::several_regions_are_registered";
    let (first, second) = (Mapping::new(1 << 16), Mapping::new(1 << 17));
    let fixed = vec![second.region().with_buffer_len(1 << 16), first.region()];
    let options = EngineOptions { kind: EngineChoice::Uring, fixed, log: true, ..EngineOptions::default() };
    let mut engine = or_skip!(NAME, TestEngine::new(options));
    if engine.report().fixed != (Registration::Whole { bytes: 3 << 16 }) {
        return skip(NAME, &format!("{:?}", engine.report().fixed));
    }
    let id = engine.add_file(file(libc::O_RDWR | libc::O_DIRECT, &[1; 1 << 17])).unwrap();
    second.fill(pattern);
    let half = 1 << 16;
    let (inside, across) =
        ([(0, 512), (4096, 1024), (half - 512, 512)], [(half - 512, 512), (half + 4096, 512)]);
    for (mapping, pieces, direction) in [
        (&first, &[(0, 4096)][..], FromDevice),
        (&second, &[(half, 4096)], ToDevice),
        (&second, &inside, ToDevice),
        (&first, &inside, FromDevice),
        (&second, &across, ToDevice),
    ] {
        let request = mapping.request(pieces, direction, At(0));
        let bytes = request.len_bytes();
        assert_eq!(run(&mut engine, id, request, &direct()), Outcome::whole(bytes));
    }
    let vectored = engine.report().vectored_fixed;
    let fixed: Vec<_> = engine.take_log().iter().map(|entry| entry.fixed).collect();
    let of_vectors = |index| if vectored { Some(index) } else { None };
    assert_eq!(fixed, [Some(2), Some(1), of_vectors(0), of_vectors(2), None]);
    assert_eq!(engine.stats().operations_fixed, if vectored { 4 } else { 2 });
    for (at, len) in inside {
        assert!(first.bytes()[at..at + len] == second.bytes()[at..at + len]);
    }
    if !vectored {
        skip(NAME, "the kernel has no IORING_OP_READV_FIXED (Linux 6.15)");
    }
}

/// Pinned once, used by several rings, of which the first goes first.
#[test]
fn a_registration_is_shared() {
    const NAME: &str = "fixed::a_registration_is_shared";
    let memory = Mapping::new(1 << 16);
    let options = || EngineOptions { kind: EngineChoice::Uring, ..EngineOptions::default() };
    let first = EngineOptions { fixed: vec![memory.region()], ..options() };
    let first = or_skip!(NAME, TestEngine::new(first));
    let whole = Registration::Whole { bytes: 1 << 16 };
    if first.report().fixed != whole {
        return skip(NAME, &format!("{:?}", first.report().fixed));
    }
    assert_eq!(first.report().sharing, Sharing::NotAsked);
    let share = first.shared_registration().unwrap();
    assert_eq!(share.len_bytes(), 1 << 16);
    let with = |share: &SharedRegistration| EngineOptions { share: Some(share.clone()), ..options() };
    let mut second = TestEngine::new(with(&share)).unwrap();
    match &second.report().sharing {
        Sharing::Anew { reason } => return skip(NAME, reason),
        sharing => assert_eq!((sharing, &second.report().fixed), (&Sharing::Shared, &whole)),
    }
    // Through a clone's own hands, on another thread, after the first ring is gone.
    let later = second.shared_registration().unwrap();
    drop((first, share));
    std::thread::spawn({
        let options = with(&later);
        move || {
            let mut third = TestEngine::new(options).unwrap();
            assert_eq!(third.report().sharing, Sharing::Shared);
            used(&mut third, &Mapping::new(4096), 0);
        }
    })
    .join()
    .unwrap();
    drop(later);
    used(&mut second, &memory, 1);
    assert_eq!(Arc::strong_count(&memory), 2);
    drop(second);
    assert_eq!(Arc::strong_count(&memory), 1);
    // Where nothing is registered that is said too.
    let other = EngineOptions { fixed: vec![memory.region()], kind: EngineChoice::Threads, ..options() };
    let threads = TestEngine::new(other).unwrap();
    assert!(
        matches!(threads.report().fixed, Registration::None { .. })
            && threads.shared_registration().is_none()
    );
}

/// Reads through an engine, and counts what went through registered memory.
fn used(engine: &mut TestEngine, memory: &Arc<Mapping>, fixed: u64) {
    let id = engine.add_file(file(libc::O_RDONLY | libc::O_DIRECT, &[6; 4096])).unwrap();
    let outcome = run(engine, id, memory.request(&[(0, 4096)], FromDevice, At(0)), &direct());
    assert_eq!((outcome, engine.stats().operations_fixed), (Outcome::whole(4096), fixed));
    assert_eq!(memory.bytes()[..4096], [6; 4096]);
}

#[test]
fn a_shared_registration_and_regions_exclude_each_other() {
    const NAME: &str = "fixed::a_shared_registration_and_regions_exclude_each_other";
    let memory = Mapping::new(1 << 16);
    let options = || EngineOptions {
        fixed: vec![memory.region()],
        kind: EngineChoice::Uring,
        ..EngineOptions::default()
    };
    let first = or_skip!(NAME, TestEngine::new(options()));
    let Some(share) = first.shared_registration() else {
        return skip(NAME, &format!("{:?}", first.report().fixed));
    };
    let both = TestEngine::new(EngineOptions { share: Some(share), ..options() });
    assert!(matches!(both, Err(EngineError::Conflict { option: "share", .. })), "{both:?}");
}
