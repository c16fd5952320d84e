//! Queues that are full, pools that are short, doorbells that are few, and queues on threads of their own.
#![expect(unsafe_code, reason = "a controller that reaches the heap")]

mod machine;

use std::sync::Arc;

use machine::on;
use nvme_driver::fake::{Doorbells, FakeController, FakeNamespace, HeapBus, Setup};
use nvme_driver::{Controller, DataFormat, Options, SubmitError};
use scatterlist::map::{Direct, HeapMemory, MapError, Offset, PrepareError};
use scatterlist::{Complete, Direction, Lease, Limits, Outcome, OwnedBytes, Position, Request};

#[test]
fn a_full_queue_gives_the_request_back() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(Options { queue_entries: 5, ..Options::default() }).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let queue = &mut queues[0];
        for name in 1..=4 {
            let request = machine.request(Direction::ToDevice, name * 4096, 1, 1, name);
            queue.submit(&spaces[0], request).unwrap();
        }
        let request = machine.request(Direction::ToDevice, 0, 1, 1, 5);
        let failed = queue.submit(&spaces[0], request).unwrap_err();
        assert!(matches!(failed.error, SubmitError::QueueFull { queue: 1, commands: 4 }));
        assert!(failed.error.is_backpressure());
        let flush = queue.submit_flush(&spaces[0], machine.control(0, 6)).unwrap_err();
        assert!(flush.error.is_backpressure());
        flush.request.complete(Outcome::whole(0));
        assert_eq!(machine.drive(queue).len(), 4);
        queue.submit(&spaces[0], failed.request).unwrap();
        assert_eq!(machine.drive(queue).len(), 1);
        let told: Vec<u64> = machine.log.take().iter().map(|(name, _)| *name).collect();
        assert_eq!(told, [6, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_short_pool_gives_the_request_back_and_nothing_is_lost() {
    on(Setup::default(), |machine| {
        let options = Options { list_pages: 2, format: DataFormat::Prp, ..Options::default() };
        let mut controller = machine.bring_up(options).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        // Three pages each, so a list page each.
        for name in 1..=2 {
            queue.submit(space, machine.request(Direction::ToDevice, name * 16384, 3, 1, name)).unwrap();
        }
        let failed = queue.submit(space, machine.request(Direction::ToDevice, 0, 3, 2, 3)).unwrap_err();
        let PrepareError::Map(MapError::Shortage { .. }) = (match &failed.error {
            SubmitError::Prepare(error) => error,
            other => panic!("{other}"),
        }) else {
            panic!("{failed}")
        };
        assert!(failed.error.is_backpressure());
        let range = 0..512;
        let short = queue
            .submit_deallocate(space, std::slice::from_ref(&range), machine.control(512, 4))
            .unwrap_err();
        assert!(short.error.is_backpressure(), "{short}");
        // What needs no list page is taken.
        queue.submit(space, machine.request(Direction::ToDevice, 65536, 2, 1, 5)).unwrap();
        assert_eq!(machine.drive(queue).len(), 3);
        queue.submit(space, failed.request).unwrap();
        drop(short);
        assert_eq!(machine.drive(queue).len(), 1);
        assert_eq!(space.target().pool().objects_out(), 0);
        let told: Vec<u64> = machine.log.take().iter().map(|(name, _)| *name).collect();
        assert_eq!(told, [1, 2, 5, 4, 3]);
    });
}

#[test]
fn a_batch_is_one_doorbell_each_way() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let queue = &mut queues[0];
        for round in 1..=20 {
            for name in 0..16 {
                queue
                    .submit(&spaces[0], machine.request(Direction::ToDevice, name * 4096, 1, 1, name))
                    .unwrap();
            }
            let before = machine.fake.doorbells();
            queue.ring();
            queue.ring();
            assert_eq!(machine.fake.run(), 16);
            assert_eq!(queue.poll(|done| drop(done.complete())), Ok(16));
            assert_eq!(queue.poll(drop), Ok(0));
            let after = machine.fake.doorbells();
            assert_eq!(after.submission - before.submission, 1);
            assert_eq!(after.completion - before.completion, 1);
            assert_eq!(after, Doorbells { submission: round, completion: round });
        }
    });
}

/// Counts the bytes that were moved.
#[derive(Clone, Default)]
struct Sum(Arc<std::sync::atomic::AtomicU64>);

impl Complete for Sum {
    fn complete(self, outcome: Outcome) {
        assert!(outcome.fault.is_none(), "{outcome:?}");
        self.0.fetch_add(outcome.done, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn queues_work_on_threads_of_their_own() {
    const QUEUES: u16 = 4;
    const ROUNDS: u64 = 200;
    let namespaces = vec![FakeNamespace::new(1, 9, 1 << 14)];
    // SAFETY: the driver below is the only one who tells the controller of memory; each queue has a vector of its own, so
    // the controller acts for it on the thread that waits for it.
    let bus = unsafe { HeapBus::new() };
    let fake = &FakeController::new(bus, Setup { namespaces, ..Setup::default() });
    let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
    let options = Options { queues: QUEUES, vectors: QUEUES + 1, ..Options::default() };
    // SAFETY: the heap is what both see, and nobody else drives it.
    let mut controller =
        unsafe { Controller::<_, _, _, OwnedBytes, Sum>::new(fake, fake, device, options) }.unwrap();
    let sum = Sum::default();
    let (spaces, queues) = controller.parts_mut();
    assert_eq!(queues.iter().map(|queue| queue.vector()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    std::thread::scope(|scope| {
        for queue in queues {
            let (space, sum) = (&spaces[0], sum.clone());
            scope.spawn(move || {
                let id = u64::from(queue.id());
                for round in 0..ROUNDS {
                    for part in 0..8_u64 {
                        let bytes = vec![u8::try_from(id * 16 + part).unwrap(); 4096];
                        let lease = Lease::from_vec(bytes).unwrap();
                        let at = Position::At(((id - 1) * 8 + part) * 4096);
                        let direction =
                            if round % 2 == 0 { Direction::ToDevice } else { Direction::FromDevice };
                        queue.submit(space, Request::new(lease, direction, at, sum.clone())).unwrap();
                    }
                    queue.ring();
                    while queue.in_flight() > 0 {
                        queue.wait(queue.now_ns() + 1000);
                        let mut back = Vec::new();
                        queue.poll(|done| back.extend(done.complete())).unwrap();
                        for bytes in back.into_iter().flat_map(Lease::into_vecs) {
                            let fill = bytes[0];
                            assert!(u64::from(fill) / 16 == id && bytes.iter().all(|byte| *byte == fill));
                        }
                    }
                }
            });
        }
    });
    let bytes = u64::from(QUEUES) * ROUNDS * 8 * 4096;
    assert_eq!(sum.0.load(std::sync::atomic::Ordering::Relaxed), bytes);
    assert_eq!(fake.complaints(), Vec::<String>::new());
    drop(controller);
}
