//! A driver of virtio block, over a disk that reads the rings as a device does.
//!
//! Whatever was written is read again, over every bus, with and without indirect tables, with many requests in flight. What is
//! full pushes back; what goes wrong ends as an outcome or an error, and nothing is lost or left.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "a driver is given its device")]

#[path = "../common/mod.rs"]
mod common;
mod device;

use std::cell::RefCell;
use std::rc::Rc;

use common::{FakeBus, HIGH, LOW, Memory, Ram, Rng, Ticks, noise, on_every_bus, runs};
use device::{Disk, FEATURES, FLUSH, INDIRECT, Lie, RO, Setup, VERSION_1};
use kernel::block::{BlockDevice, Retry};
use kernel::driver::virtio_blk::{Options, PollError, StartError, SubmitError, TransportError, VirtioBlk};
use scatterlist::fake::{Device, FakeOwner};
use scatterlist::map::{Direct, DmaDevice};
use scatterlist::plan::Policy;
use scatterlist::{Complete, Direction, LimitId, Limits, Outcome, PhysAddr, Position, Request, Status};

/// Where completions tell of the ends of their requests.
type Ends = Rc<RefCell<Vec<(u64, Outcome)>>>;

struct Tell(u64, Ends);

impl Complete for Tell {
    fn complete(self, outcome: Outcome) {
        self.1.borrow_mut().push((self.0, outcome));
    }
}

type Driver<'d, D, M> = VirtioBlk<D, &'d Disk<M>, Ticks, FakeOwner, Tell>;

fn driver<D, M>(disk: &Disk<M>, device: D, options: Options) -> Result<Driver<'_, D, M>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
    M: Ram,
{
    // SAFETY: the disk reaches memory through the bus that the device is of, which checks each access.
    unsafe { VirtioBlk::new(disk, Ticks::default(), device, options) }
}

fn all_of_memory() -> Limits {
    Limits::default()
}

/// A bus that reaches 4 GiB.
fn low_memory() -> Limits {
    Limits::builder().hard(LimitId::AddrMax, 0xffff_ffff).build().unwrap()
}

#[test]
fn what_is_no_modern_block_device_is_refused_with_the_numbers() {
    let errors = [
        (Setup { magic: 1, ..Setup::default() }, "the magic value is 0x1, a virtio device has 0x74726976"),
        (
            Setup { version: 1, ..Setup::default() },
            "the transport is of version 1, this driver speaks version 2: a legacy device (1) must be made a modern one",
        ),
        (Setup { class: 0, ..Setup::default() }, "the device is of class 0, not 2"),
        (
            Setup { features: FEATURES & !VERSION_1, ..Setup::default() },
            "the device offers features 0x830000246, 0x100000000 are needed",
        ),
        (Setup { queue_size_max: 0, ..Setup::default() }, "queue 0 is not there, or in use already"),
        (Setup { blk_size: 520, ..Setup::default() }, "blocks of 520 bytes are not whole sectors of 512"),
        (
            Setup { seg_max: 0, ..Setup::default() },
            "what the device says cannot be: segments_max is 0, it must be at least 1",
        ),
    ];
    on_every_bus!(all_of_memory(), |_memory: &Memory, device, hardware: Device<'_, _>| {
        let disk = Disk::new(hardware, Setup::default());
        for (setup, message) in &errors {
            *disk.setup.borrow_mut() = setup.clone();
            assert_eq!(driver(&disk, device, Options::default()).unwrap_err().to_string(), *message);
        }
    });
}

#[test]
fn limits_come_from_the_device_and_its_queue() {
    on_every_bus!(all_of_memory(), |_memory: &Memory, device, hardware: Device<'_, _>| {
        let setup =
            Setup { seg_max: 30, size_max: 8192, blk_size: 4096, queue_size_max: 24, ..Setup::default() };
        let disk = Disk::new(hardware, setup);
        let driver = driver(&disk, device, Options::default()).unwrap();
        assert_eq!(driver.facts().queue_size().get(), 16);
        let limits = driver.target().limits();
        let value = |id| limits.hard_value(id);
        // The chain with its frame is no longer than the queue.
        assert_eq!((value(LimitId::SegmentsMax), value(LimitId::PiecesMax)), (14, 14));
        assert_eq!((value(LimitId::SegmentLenMax), value(LimitId::PositionAlign)), (8192, 4096));
        assert_eq!((value(LimitId::Capacity), driver.facts().has_indirect()), (1 << 20, true));
    });
}

/// Random transfers, many at a time, against a model of the disk.
fn transfers<D, H>(memory: &Memory, device: D, hardware: H, setup: Setup, options: Options, seed: u64)
where
    D: DmaDevice<Addr = PhysAddr>,
    H: Ram,
{
    let block = u64::from(setup.blk_size);
    let disk = Disk::new(hardware, setup);
    let mut driver = driver(&disk, device, options).unwrap();
    let ends = Ends::default();
    let mut model = vec![0_u8; 1 << 20];
    let mut rng = Rng(seed);
    for _ in 0..30 {
        // Up to eight transfers that do not overlap, some above 4 GiB, of up to 12 segments.
        let (mut wanted, mut back) = (Vec::new(), Vec::new());
        for slot in 0..8 {
            let count = 1 + rng.below(12);
            let at = slot * (128 << 10) + rng.below(4) * block;
            let base = if rng.below(2) == 0 { LOW + (1 << 20) } else { HIGH };
            let mut lease = runs(memory, base + slot * (256 << 10), 2 * block, block, count);
            let bytes = noise(rng.next(), usize::try_from(count * block).unwrap());
            memory.write(&mut lease, 0, &bytes).unwrap();
            let direction = if rng.below(2) == 0 { Direction::ToDevice } else { Direction::FromDevice };
            let request = Request::new(lease, direction, Position::At(at), Tell(slot, Rc::clone(&ends)));
            match driver.submit(request) {
                Ok(()) => wanted.push((slot, at, direction, bytes)),
                Err(refused) => {
                    assert_eq!(refused.retry, Retry::Later, "{refused}");
                    assert_eq!(refused.request.position(), Position::At(at));
                }
            }
        }
        let before = (disk.notified(), driver.pending());
        assert_eq!(before.1, wanted.len());
        driver.kick();
        driver.kick();
        assert_eq!(disk.notified(), before.0 + 1);
        while driver.pending() > 0 {
            disk.run(usize::try_from(1 + rng.below(3)).unwrap());
            driver.poll_with(&mut |request, outcome| back.push((request, outcome))).unwrap();
        }
        assert_eq!(back.len(), wanted.len());
        for (request, outcome) in back {
            let Position::At(place) = request.position() else { panic!() };
            let (slot, at, direction, bytes) = wanted.iter().find(|wanted| wanted.1 == place).unwrap();
            assert_eq!(outcome, Outcome::whole(request.len_bytes()));
            let range = usize::try_from(*at).unwrap()..usize::try_from(*at).unwrap() + bytes.len();
            let lease = request.complete(outcome);
            match direction {
                Direction::ToDevice => model[range].copy_from_slice(bytes),
                Direction::FromDevice => assert_eq!(memory.bytes(&lease).unwrap(), model[range]),
            }
            assert_eq!(ends.borrow_mut().pop(), Some((*slot, outcome)));
        }
        assert!(*disk.bytes.borrow() == model);
    }
    assert!(disk.longest() > 4, "scattered memory stays so");
    assert_eq!(driver.target().pool().objects_out(), 0);
}

#[test]
fn what_is_written_is_read_again_over_every_bus() {
    let direct = Options { indirect: false, queue_size_max: 64, ..Options::default() };
    let few = Options { requests_max: 3, segments_max: 16, ..Options::default() };
    for (seed, blk_size, options) in [(1, 512, Options::default()), (2, 4096, direct), (3, 512, few)] {
        on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
            transfers(memory, device, hardware, Setup { blk_size, ..Setup::default() }, options, seed);
        });
    }
    // Without the offer there are no indirect tables.
    on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let setup = Setup { features: FEATURES & !INDIRECT, ..Setup::default() };
        transfers(memory, device, hardware, setup, Options::default(), 4);
    });
}

#[test]
fn memory_out_of_reach_bounces_where_there_is_a_pool_and_is_refused_where_there_is_none() {
    on_every_bus!(low_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let disk = Disk::new(hardware, Setup::default());
        let mut driver = driver(&disk, device, Options::default()).unwrap();
        let ends = Ends::default();
        let mut lease = runs(memory, HIGH, 8192, 4096, 3);
        let bytes = noise(9, 3 * 4096);
        memory.write(&mut lease, 0, &bytes).unwrap();
        let request = Request::new(lease, Direction::ToDevice, Position::At(0), Tell(0, Rc::clone(&ends)));
        let bounces = driver.plan_policy() == Policy::SplitOrBounce;
        match driver.submit(request) {
            Ok(()) => {
                assert!(bounces);
                driver.kick();
                assert_eq!((disk.run(9), driver.poll().unwrap()), (1, 1));
                assert_eq!(disk.bytes.borrow()[..3 * 4096], bytes);
                assert_eq!(ends.borrow_mut().pop(), Some((0, Outcome::whole(3 * 4096))));
            }
            Err(refused) => {
                assert!(!bounces);
                assert_eq!((refused.retry, refused.request.len_bytes()), (Retry::Never, 3 * 4096));
                let message =
                    "4096 bytes at 0x100000000 are out of the device's reach: it reaches 0x0 to 0xffffffff";
                assert_eq!(refused.to_string(), message);
            }
        }
    });
}

fn block<D, M>(
    driver: &mut Driver<'_, D, M>,
    memory: &Memory,
    ends: &Ends,
    number: u64,
    direction: Direction,
) -> bool
where
    D: DmaDevice<Addr = PhysAddr>,
    M: Ram,
{
    let lease = memory.take(512, 512).unwrap();
    let position = Position::At(number * 512);
    match driver.submit(Request::new(lease, direction, position, Tell(number, Rc::clone(ends)))) {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused.retry, Retry::Later, "{refused}");
            let (lease, _) = refused.request.into_parts();
            assert_eq!(lease.list().len_bytes(), 512);
            false
        }
    }
}

#[test]
fn a_full_queue_and_a_full_pool_push_back() {
    let direct = Options { indirect: false, queue_size_max: 16, ..Options::default() };
    let pool = Options { requests_max: 4, ..Options::default() };
    // A chain in the table takes three descriptors for one block.
    for (options, most) in [(direct, 5), (pool, 4)] {
        on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
            let disk = Disk::new(hardware, Setup::default());
            let (mut driver, ends) = (driver(&disk, device, options).unwrap(), Ends::default());
            for round in 0..40 {
                let taken =
                    (0..9).filter(|n| block(&mut driver, memory, &ends, *n, Direction::FromDevice)).count();
                assert_eq!(taken, if round == 0 { most } else { 2 });
                driver.kick();
                // Two are done, two more go in.
                assert_eq!((disk.run(2), driver.poll().unwrap()), (2, 2));
            }
            assert_eq!(driver.pending(), most - 2);
            disk.run(9);
            driver.poll().unwrap();
            assert_eq!(ends.borrow().len(), 40 * 2 + most - 2);
            assert!(ends.borrow().iter().all(|(_, outcome)| *outcome == Outcome::whole(512)));
        });
    }
}

#[test]
fn a_status_is_an_outcome() {
    on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let disk = Disk::new(hardware, Setup::default());
        let (mut driver, ends) = (driver(&disk, device, Options::default()).unwrap(), Ends::default());
        for (n, lie) in
            [(1, Lie::Status(1)), (2, Lie::Status(0xff)), (4, Lie::Short(200)), (5, Lie::Short(513))]
        {
            disk.lie(n, lie);
        }
        for n in 0..5 {
            assert!(block(&mut driver, memory, &ends, n, Direction::FromDevice));
        }
        driver.kick();
        disk.run(9);
        assert_eq!(driver.poll().unwrap(), 5);
        let seen: Vec<_> = ends
            .borrow()
            .iter()
            .map(|(_, end)| (end.done, end.fault.map(|fault| (fault.at, fault.status))))
            .collect();
        let short = |at| Some((at, Status::Short));
        let device = |status| Some((0, Status::Device(status)));
        assert_eq!(seen, [(0, device(1)), (0, device(0xff)), (512, None), (312, short(312)), (0, short(0))]);
    });
}

#[test]
fn a_device_that_lies_is_an_error_until_a_reset_fails_what_it_had() {
    for lie in [Lie::Head(77), Lie::Head(5000), Lie::TooMuch, Lie::Jump] {
        on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
            let disk = Disk::new(hardware, Setup::default());
            let (mut driver, ends) = (driver(&disk, device, Options::default()).unwrap(), Ends::default());
            disk.lie(2, lie);
            for n in 0..4 {
                assert!(block(&mut driver, memory, &ends, n, Direction::FromDevice));
            }
            driver.kick();
            disk.run(2);
            let first = driver.poll().unwrap_err();
            assert!(matches!(first, PollError::Used(_)), "{first}");
            assert_eq!(driver.poll().unwrap_err(), first, "it stays so");
            driver.reset().unwrap();
            let cancelled = ends.borrow().iter().filter(|(_, end)| end.fault.is_some()).count();
            assert_eq!((ends.borrow().len(), driver.pending()), (4, 0));
            assert!((3..=4).contains(&cancelled));
            ends.borrow_mut().clear();
            // It works again.
            assert!(block(&mut driver, memory, &ends, 9, Direction::FromDevice));
            driver.kick();
            assert_eq!((disk.run(9), driver.poll().unwrap()), (1, 1));
            assert_eq!(ends.borrow()[..], [(9, Outcome::whole(512))]);
        });
    }
}

#[test]
fn a_driver_that_is_dropped_takes_back_what_its_device_had() {
    on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let disk = Disk::new(hardware, Setup::default());
        let (mut driver, ends) = (driver(&disk, device, Options::default()).unwrap(), Ends::default());
        disk.lie(1, Lie::Silence);
        assert!(block(&mut driver, memory, &ends, 0, Direction::FromDevice));
        driver.kick();
        assert!(block(&mut driver, memory, &ends, 1, Direction::FromDevice));
        assert!(driver.flush(Tell(2, Rc::clone(&ends))).is_ok());
        disk.run(9);
        drop(driver);
        let cancelled = |end: &(u64, Outcome)| end.1.fault.unwrap().status == Status::Cancelled;
        assert!(ends.borrow().len() == 3 && ends.borrow().iter().all(cancelled));
    });
}

#[test]
fn what_a_device_that_is_stuck_has_leaks() {
    let memory = common::memory();
    let bus: FakeBus<'_> = scatterlist::fake::Bus::new(
        Direct::new(&memory, scatterlist::map::Offset::NONE, &all_of_memory()).unwrap(),
    );
    let disk = Disk::new(Device::new(&bus, &all_of_memory()), Setup::default());
    let (mut driver, ends) = (driver(&disk, &bus, Options::default()).unwrap(), Ends::default());
    assert!(block(&mut driver, &memory, &ends, 0, Direction::FromDevice));
    driver.kick();
    disk.setup.borrow_mut().stuck = true;
    let error = driver.reset().unwrap_err();
    assert!(matches!(error, StartError::Transport(TransportError::ResetTimeout { .. })), "{error}");
    assert_eq!(driver.pending(), 1, "it keeps what it has");
    drop(driver);
    assert_eq!((memory.leased_bytes(), ends.borrow().len()), (512, 0));
    // The request and three rings.
    assert_eq!(memory.findings().len(), 4);
}

#[test]
fn a_flush_is_a_request_of_no_bytes_where_there_is_a_cache() {
    on_every_bus!(all_of_memory(), |_memory: &Memory, device, hardware: Device<'_, _>| {
        let disk = Disk::new(hardware, Setup::default());
        let ends = Ends::default();
        let mut with = driver(&disk, device, Options::default()).unwrap();
        disk.lie(2, Lie::Status(1));
        assert!(
            with.flush(Tell(0, Rc::clone(&ends))).is_ok() && with.flush(Tell(1, Rc::clone(&ends))).is_ok()
        );
        with.kick();
        assert_eq!((disk.run(9), with.poll().unwrap(), disk.flushes(), disk.notified()), (2, 2, 2, 1));
        assert_eq!(ends.borrow()[0], (0, Outcome::whole(0)));
        assert_eq!(ends.borrow()[1].1.fault.unwrap().status, Status::Device(1));
        drop(with);
        disk.setup.borrow_mut().features = FEATURES & !FLUSH;
        let mut without = driver(&disk, device, Options::default()).unwrap();
        assert!(without.flush(Tell(2, Rc::clone(&ends))).is_ok());
        assert_eq!((without.pending(), ends.borrow().last().copied()), (0, Some((2, Outcome::whole(0)))));
    });
}

#[test]
fn what_the_device_does_not_take_is_refused_for_good() {
    on_every_bus!(all_of_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let setup = Setup { features: FEATURES | RO, ..Setup::default() };
        let disk = Disk::new(hardware, setup);
        let (mut driver, ends) = (driver(&disk, device, Options::default()).unwrap(), Ends::default());
        let mut refused = |direction, position, len| {
            let lease = memory.take(len, 512).unwrap();
            let request = Request::new(lease, direction, position, Tell(0, Rc::clone(&ends)));
            let refused = driver.submit(request).unwrap_err();
            assert_eq!((refused.retry, refused.request.len_bytes()), (Retry::Never, len));
            refused.error
        };
        assert!(matches!(refused(Direction::ToDevice, Position::At(0), 512), SubmitError::ReadOnly));
        assert!(matches!(refused(Direction::FromDevice, Position::Stream, 512), SubmitError::NoPosition));
        for (at, len, limit) in
            [(100, 512, "position_align"), (512, 100, "position_align"), (1 << 20, 512, "capacity")]
        {
            let error = refused(Direction::FromDevice, Position::At(at), len).to_string();
            assert!(error.contains(limit), "{error}");
        }
        assert_eq!(driver.pending(), 0);
    });
}
