//! Reads and writes against a byte model: any length from a block to 2 MiB, any frames, any first offset that the format takes,
//! each limit that a controller may state.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod machine;

use machine::{FRAMES, PAGE, found, on, runs};
use nvme_driver::fake::{FakeNamespace, Setup};
use nvme_driver::{DataFormat, Options};
use proptest::prelude::*;
use scatterlist::{Addr as _, CacheCoherence, Direction, LimitId, Outcome, PhysAddr, Position, Request};

const CAPACITY: u64 = 4 << 20;

#[derive(Clone, Debug)]
struct Case {
    mdts: u8,
    sgls: u32,
    format: DataFormat,
    block_len_log2: u8,
    synced: bool,
    list_pages: u32,
    queue_entries: u16,
    noiob: u16,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    write: bool,
    /// Parts of the namespace, and of 2 MiB, in 1/1000.
    at: u64,
    len: u64,
    first: u64,
    scattered: bool,
    seed: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let short = prop_oneof![3 => 0..20_u64, 1 => 0..=1000_u64];
    (any::<bool>(), 0..1000_u64, short, 0..PAGE, any::<bool>(), any::<u8>())
        .prop_map(|(write, at, len, first, scattered, seed)| Step { write, at, len, first, scattered, seed })
}

fn case() -> impl Strategy<Value = Case> {
    let format = prop_oneof![Just(DataFormat::Auto), Just(DataFormat::Prp), Just(DataFormat::Sgl)];
    (
        (0..=7_u8, 1..=2_u32, format, prop_oneof![Just(9_u8), Just(12)], any::<bool>()),
        (prop_oneof![Just(0_u32), Just(1), Just(3)], prop_oneof![Just(2_u16), Just(5), Just(64)]),
        prop_oneof![3 => Just(0_u16), 1 => Just(24)],
        prop::collection::vec(step(), 1..8),
    )
        .prop_map(
            |((mdts, sgls, format, block_len_log2, synced), (list_pages, queue_entries), noiob, steps)| {
                Case { mdts, sgls, format, block_len_log2, synced, list_pages, queue_entries, noiob, steps }
            },
        )
}

fn check(case: Case) {
    let block_len = 1_u64 << case.block_len_log2;
    let namespaces = vec![FakeNamespace {
        noiob: case.noiob,
        ..FakeNamespace::new(5, case.block_len_log2, CAPACITY >> case.block_len_log2)
    }];
    let setup = Setup { mdts: case.mdts, sgls: case.sgls, namespaces, ..Setup::default() };
    let coherence = if case.synced { CacheCoherence::Synced } else { CacheCoherence::Coherent };
    let found = found(setup, coherence, |machine| {
        let (list_pages, queue_entries, format) = (case.list_pages, case.queue_entries, case.format);
        let options = Options { list_pages, queue_entries, format, ..Options::default() };
        let mut controller = machine.bring_up(options).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        let align = space.target().limits().get(LimitId::AddrAlign).value;
        // Parts of a request are in flight together, and where caches are synced no two may share a line.
        let align = if case.synced { align.max(64) } else { align };
        let mut model: Vec<u8> = (0..CAPACITY).map(|at| (at / 512 % 251) as u8).collect();
        machine.fake.put_contents(5, 0, &model);
        let mut frames = FRAMES;
        for (name, step) in (0..).zip(&case.steps) {
            let blocks = CAPACITY / block_len;
            let first_block = step.at * (blocks - 1) / 1000;
            let most = ((2 << 20) / block_len).min(blocks - first_block);
            let len = (step.len * most / 1000).max(1) * block_len;
            let at = first_block * block_len;
            let first = step.first / align * align;
            let mut lease = machine.memory.take_at(&runs(frames + first, len, step.scattered)).unwrap();
            frames += 5 << 20;
            let place = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
            let bytes: Vec<u8> = place.clone().map(|at| (at as u8).wrapping_mul(31) ^ step.seed).collect();
            machine.memory.write(&mut lease, 0, &bytes).unwrap();
            let direction = if step.write { Direction::ToDevice } else { Direction::FromDevice };
            let request =
                Request::new(lease, direction, Position::At(at), machine.log.told(name)).into_shared();
            let back = machine.transfer(queue, space, request);
            assert_eq!(machine.log.take(), [(name, Outcome::whole(len))]);
            if step.write {
                model[place].copy_from_slice(&bytes);
            } else {
                assert!(machine.bytes(&back) == model[place.clone()], "{place:?} of {step:?}");
            }
        }
        assert!(machine.fake.contents(5) == model);
    });
    found.nothing();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written(case in case()) {
        check(case);
    }
}

#[test]
fn two_mebibytes_at_an_odd_offset_are_one_command() {
    on(Setup::default(), |machine| {
        let mut controller =
            machine.bring_up(Options { format: DataFormat::Prp, ..Options::default() }).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let lease = machine.memory.take_at(&runs(FRAMES + 508, 2 << 20, true)).unwrap();
        assert_eq!(lease.list().len_segments(), 513);
        let request = Request::new(lease, Direction::FromDevice, Position::At(512), machine.log.told(1));
        machine.transfer(&mut queues[0], &spaces[0], request.into_shared());
        assert_eq!(machine.fake.commands(), 1);
        assert_eq!(machine.log.take(), [(1, Outcome::whole(2 << 20))]);
    });
}

#[test]
fn flushes_zeroes_and_deallocation_do_what_they_say() {
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        assert!(controller.information().has_write_cache());
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        machine.fake.put_contents(1, 0, &[9; 16384]);
        queue.submit_flush(space, machine.control(0, 1)).unwrap();
        queue.submit_write_zeroes(space, 512, 1024, machine.control(1024, 2)).unwrap();
        queue.submit_deallocate(space, &[4096..8192, 9216..9728], machine.control(4608, 3)).unwrap();
        machine.drive(queue);
        let told = machine.log.take();
        assert_eq!(told, [(1, Outcome::whole(0)), (2, Outcome::whole(1024)), (3, Outcome::whole(4608))]);
        assert_eq!(machine.fake.flushes(), 1);
        let mut model = vec![9; 16384];
        model[512..1536].fill(0);
        model[4096..8192].fill(0xda);
        model[9216..9728].fill(0xda);
        assert!(machine.fake.contents(1)[..16384] == model);
    });
}

#[test]
fn commands_that_cannot_be_come_back_with_the_reason() {
    on(Setup { oncs: 0, ..Setup::default() }, |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        let failed = queue.submit_write_zeroes(space, 0, 512, machine.control(512, 1)).unwrap_err();
        assert_eq!(failed.error.to_string(), "the controller has no write zeroes (ONCS is 0x0)");
        let range = 0..512;
        let failed = queue
            .submit_deallocate(space, std::slice::from_ref(&range), machine.control(512, 1))
            .unwrap_err();
        assert_eq!(failed.error.to_string(), "the controller has no deallocate (ONCS is 0x0)");
    });
    on(Setup::default(), |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        for (at, bytes) in [(1, 512), (0, 511), (0, 0), (8 << 20, 512), (u64::MAX - 511, 512), (0, 64 << 20)]
        {
            let failed = queue.submit_write_zeroes(space, at, bytes, machine.control(bytes, 1)).unwrap_err();
            assert!(failed.to_string().contains("whole blocks of 512"), "{failed}");
        }
        let failed = queue.submit_deallocate(space, &[], machine.control(0, 1)).unwrap_err();
        assert_eq!(failed.to_string(), "0 ranges, a command has from 1 to 256");
        // A request comes back as it was: unaligned, past the end, too long, a stream, with a header.
        let request = machine.request(Direction::FromDevice, 100, 1, 0, 1);
        let failed = queue.submit(space, request).unwrap_err();
        assert!(failed.to_string().contains("position_align"), "{failed}");
        assert!(!failed.error.is_backpressure());
        assert_eq!(failed.request.len_bytes(), 4096);
        let request = machine.request(Direction::FromDevice, 8 << 20, 1, 0, 1);
        let failed = queue.submit(space, request).unwrap_err();
        assert!(failed.to_string().contains("capacity"), "{failed}");
        let stream =
            Request::new(machine.pages(1, 0), Direction::ToDevice, Position::Stream, machine.log.told(1));
        let failed = queue.submit(space, stream.into_shared()).unwrap_err();
        assert_eq!(failed.to_string(), "the request has no position");
        let request = machine.request(Direction::ToDevice, 0, 1, 0, 1);
        let header = machine.memory.take(100, 4096).unwrap();
        let framed = request.with_header(header).unwrap();
        let failed = queue.submit(space, framed).unwrap_err();
        assert!(failed.to_string().contains("4196"), "{failed}");
        assert_eq!(queue.in_flight(), 0);
    });
}

#[test]
fn two_namespaces_of_two_block_lengths_do_not_touch_each_other() {
    let namespaces = vec![FakeNamespace::new(3, 9, 4096), FakeNamespace::new(8, 12, 512)];
    on(Setup { namespaces, ..Setup::default() }, |machine| {
        let mut controller = machine.bring_up(Options::default()).unwrap();
        let (spaces, queues) = controller.parts_mut();
        for (space, fill) in spaces.iter().zip([0x11, 0x22]) {
            let request = machine.request(Direction::ToDevice, 4096, 2, fill, 1);
            machine.transfer(&mut queues[0], space, request);
        }
        for (id, fill) in [(3, 0x11), (8, 0x22)] {
            let contents = machine.fake.contents(id);
            assert_eq!(
                (contents[4095], contents[4096], contents[12287], contents[12288]),
                (0, fill, fill, 0)
            );
        }
    });
}

#[test]
fn a_namespace_of_another_controller_is_refused() {
    on(Setup::default(), |machine| {
        let first = machine.bring_up(Options::default()).unwrap();
        let foreign = first.namespaces()[0].clone();
        drop(first);
        let mut second = machine.bring_up(Options::default()).unwrap();
        let request = machine.request(Direction::ToDevice, 0, 1, 0, 1);
        let failed = second.queues_mut()[0].submit(&foreign, request).unwrap_err();
        assert_eq!(failed.to_string(), "namespace 1 is of another controller than queue 1");
        drop(foreign);
    });
}

#[test]
fn memory_of_any_frames_is_one_command_by_sgl() {
    on(Setup { sgls: 0b01, ..Setup::default() }, |machine| {
        let mut controller =
            machine.bring_up(Options { format: DataFormat::Sgl, ..Options::default() }).unwrap();
        let (spaces, queues) = controller.parts_mut();
        // Pieces of odd lengths, which no PRP could name.
        let runs = [(0, 13), (0x1001, 499), (0x3003, 512)].map(|(at, len)| (PhysAddr::new(FRAMES + at), len));
        let mut lease = machine.memory.take_at(&runs).unwrap();
        let bytes: Vec<u8> = (0..1024_u32).map(|at| (at % 253) as u8).collect();
        machine.memory.write(&mut lease, 0, &bytes).unwrap();
        let request = Request::new(lease, Direction::ToDevice, Position::At(0), machine.log.told(1));
        machine.transfer(&mut queues[0], &spaces[0], request.into_shared());
        assert_eq!(machine.fake.commands(), 1);
        assert!(machine.fake.contents(1)[..1024] == bytes);
    });
}
