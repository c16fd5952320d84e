//! What [`prepare`] promises beside the bytes arriving (that is told in `stacks`): a request that breaks a rule of its target
//! is refused before anything is mapped, every failure undoes all of it and gives the request back as it was, and what is
//! prepared and dropped goes back too, unless a device may hold it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "takes back what no device was told of")]

use std::cell::RefCell;
use std::rc::Rc;

use scatterlist::desc::prp::Prps;
use scatterlist::desc::{DescriptorFormat, DescriptorMemory, PrpFormat, SglFormat, sgl};
use scatterlist::fake::{FakeFinding, FakeOwner};
use scatterlist::map::{
    DescriptorPool as _, DmaDevice as _, DmaPool, DmaTarget, FlightSlot, MapError, Offset, PoolLayout,
    PrepareError, PrepareFailed, Resource, prepare,
};
use scatterlist::plan::{PlanError, Ready};
use scatterlist::{
    BusAddr, CacheCoherence, Direction, Fault, LimitId, Limits, Outcome, PhysAddr, Position, Request,
    Segments, Status,
};

mod machine;
use machine::{Machine, Memory, PAGE, device, machine_with, memory, on_each_machine, pages, pattern};

type Any = Box<dyn FnOnce(Outcome)>;
type Target<'a> = DmaTarget<&'a Machine, DmaPool<&'a Machine>>;
type Told = Rc<RefCell<Vec<Outcome>>>;

fn pool_layout(objects_max: u64) -> PoolLayout {
    PoolLayout { len: PAGE, align: PAGE, boundary: PAGE, slab_len: PAGE, objects_max }
}

fn target<'a>(machine: &'a Machine, limits: &Limits, objects_max: u64) -> Target<'a> {
    let pool = DmaPool::new(machine, pool_layout(objects_max)).unwrap();
    machine.target().channel(limits).unwrap().with_pool(pool)
}

/// A read of `count` scattered pages at `position`.
fn read(memory: &Memory, count: usize, position: Position, told: &Told) -> Request<PhysAddr, FakeOwner, Any> {
    let told = Rc::clone(told);
    let completion: Any = Box::new(move |outcome| told.borrow_mut().push(outcome));
    Request::new(pages(memory, count, 1), Direction::FromDevice, position, completion)
}

/// Nothing is mapped or fetched, and the request is as [`read`] made it.
fn check_undone(
    memory: &Memory,
    machine: &Machine,
    target: &Target<'_>,
    request: Request<PhysAddr, FakeOwner, Any>,
    (count, position, told): (usize, Position, &Told),
) {
    assert_eq!((machine.live(), target.pool().objects_out()), (vec![], 0));
    assert_eq!((request.direction(), request.position()), (Direction::FromDevice, position));
    assert_eq!(request.lease().list().iter().count(), count);
    assert!(told.borrow().is_empty(), "nobody was told anything");
    let bytes = request.len_bytes();
    let lease = request.complete(Outcome::whole(bytes));
    assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, count * 4096));
    assert_eq!(told.take(), [Outcome::whole(bytes)]);
}

fn broken(error: PrepareError<impl core::error::Error>) -> LimitId {
    match error {
        PrepareError::Map(MapError::Limit(
            PlanError::Refused { why, .. } | PlanError::Unsatisfiable { why, .. },
        )) => why.limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_breaks_a_rule_of_the_channel_is_refused_before_it_is_mapped() {
    let memory = memory(CacheCoherence::Coherent);
    let format = PrpFormat::new(PAGE).unwrap();
    let machine = &machine_with(&memory, Offset::NONE, &format.limits(1).unwrap());
    let limits = Limits::builder()
        .hard(LimitId::TransferLenMax, 4 * PAGE)
        .hard(LimitId::TransferLenMin, 2 * PAGE)
        .hard(LimitId::PositionAlign, 512)
        .hard(LimitId::ChunkLen, 16 * PAGE)
        .hard(LimitId::Capacity, 100 * PAGE);
    let target = target(machine, &limits.build().unwrap(), 1);
    let told = Told::default();
    let cases = [
        (5, Position::At(0), LimitId::TransferLenMax),
        (5, Position::Stream, LimitId::TransferLenMax),
        (1, Position::At(0), LimitId::TransferLenMin),
        (2, Position::At(100), LimitId::PositionAlign),
        (2, Position::At(15 * PAGE), LimitId::ChunkLen),
        (2, Position::At(99 * PAGE), LimitId::Capacity),
    ];
    for (count, position, limit) in cases {
        let PrepareFailed { request, error } =
            prepare(&target, read(&memory, count, position, &told), &format).unwrap_err();
        assert_eq!(broken(error), limit);
        check_undone(&memory, machine, &target, request, (count, position, &told));
    }
    assert_eq!(machine.maps(), 0);
    let prepared = prepare(&target, read(&memory, 4, Position::At(12 * PAGE), &told), &format).unwrap();
    assert_eq!((prepared.len_bytes(), prepared.position()), (4 * PAGE, Position::At(12 * PAGE)));
}

#[test]
fn a_header_counts_neither_as_length_nor_for_the_position() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let limits = Limits::builder().hard(LimitId::TransferLenMax, PAGE).hard(LimitId::PositionAlign, 512);
    let target = target(machine, &limits.build().unwrap(), 1);
    let told = Told::default();
    let request = read(&memory, 1, Position::At(512), &told);
    let request = request.with_header(memory.take(31, 1).unwrap()).map_err(|_| "too long").unwrap();
    let prepared = prepare(&target, request, &SglFormat::new(sgl::Granularity::Byte)).unwrap();
    assert_eq!(prepared.len_bytes(), PAGE + 31);
}

#[test]
fn a_refused_mapping_gives_the_request_back() {
    on_each_machine(|memory, machine| {
        let target = target(machine, &Limits::default(), 1);
        let told = Told::default();
        machine.refuse_next();
        let format = PrpFormat::new(PAGE).unwrap();
        let failed = prepare(&target, read(memory, 3, Position::Stream, &told), &format).unwrap_err();
        assert!(matches!(failed.error, PrepareError::Map(MapError::Refused { count: 1 })), "{failed}");
        check_undone(memory, machine, &target, failed.request, (3, Position::Stream, &told));
    });
}

#[test]
fn a_pool_that_runs_short_half_way_gives_all_back() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let target = target(machine, &Limits::default(), 2);
    let told = Told::default();
    // One of the two objects is out, and four descriptors in objects of two need three.
    let layout = PoolLayout { len: 32, align: 16, ..pool_layout(3) };
    let small = DmaPool::new(machine, layout).unwrap();
    let held = small.fetch().unwrap();
    let target_small = machine.target().with_pool(&small);
    let format = SglFormat::new(sgl::Granularity::Byte);
    let failed = prepare(&target_small, read(&memory, 4, Position::Stream, &told), &format).unwrap_err();
    let short = MapError::Shortage { what: Resource::PoolObjects, need: 4, have: 3 };
    assert!(matches!(failed.error, PrepareError::Map(error) if error == short), "{failed}");
    assert_eq!(small.objects_out(), 1);
    drop(held);
    check_undone(&memory, machine, &target, failed.request, (4, Position::Stream, &told));
    let request = read(&memory, 4, Position::Stream, &told);
    let flight = prepare(&target_small, request, &format).unwrap().into_flight();
    assert_eq!((flight.descriptors().len(), small.objects_out()), (3, 3));
    drop(flight.reclaim(&device(machine)).unwrap().unprepare());
    assert_eq!(small.objects_out(), 0);
}

#[test]
fn what_cannot_be_encoded_is_unmapped_again() {
    let memory = memory(CacheCoherence::Coherent);
    // The format's own limits were left out.
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let target = target(machine, &Limits::default(), 1);
    let told = Told::default();
    let request = read(&memory, 2, Position::Stream, &told);
    let request = request.with_trailer(memory.take_scattered(2, 100, 128).unwrap()).map_err(|_| ()).unwrap();
    let failed = prepare(&target, request, &PrpFormat::new(PAGE).unwrap()).unwrap_err();
    assert!(matches!(failed.error, PrepareError::Encode(_)), "{failed}");
    assert_eq!((machine.maps(), machine.live(), target.pool().objects_out()), (1, vec![], 0));
    assert_eq!(failed.request.len_bytes(), 2 * PAGE + 200);
}

#[test]
fn dropped_while_idle_all_goes_back() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let target = target(machine, &Limits::default(), 1);
    let format = PrpFormat::new(PAGE).unwrap();
    let prepared = prepare(&target, read(&memory, 3, Position::Stream, &Told::default()), &format).unwrap();
    assert_eq!((machine.live().len(), target.pool().objects_out()), (3, 1));
    drop(prepared);
    assert_eq!((machine.live(), target.pool().objects_out(), memory.leased_bytes()), (vec![], 0, 0));
}

#[test]
fn a_pool_counts_the_words_of_its_objects_rounded_up() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let pool = DmaPool::new(machine, PoolLayout { len: 20, align: 8, ..pool_layout(1) }).unwrap();
    let object = pool.fetch().unwrap();
    assert_eq!((pool.object_words(), DescriptorMemory::len_words(&object)), (3, 3));
}

/// A place in a table of commands, for PRPs.
type Slot<'a> = FlightSlot<&'a Machine, DmaPool<&'a Machine>, FakeOwner, Any, Prps>;

#[test]
fn a_slot_is_filled_in_place_and_gives_the_request_back() {
    on_each_machine(|memory, machine| {
        let target = target(machine, &Limits::default(), 1);
        let format = PrpFormat::new(PAGE).unwrap();
        let (told, mut slot) = (Told::default(), Slot::new());
        // One run, and as many as need a list.
        for count in [1, 2, 3, 9, 1] {
            let place = Position::At(0);
            let command = *slot.prepare(&target, read(memory, count, place, &told), &format).unwrap();
            assert_eq!((slot.is_full(), target.pool().objects_out()), (true, u64::from(count > 2)));
            assert_eq!(slot.len_bytes(), u64::try_from(count).unwrap() * PAGE);
            let live = machine.live();
            // Ordered by address, as the frames of the request are.
            assert_eq!(live.first().map(|(segment, _)| segment.addr()), Some(command.prp1()));
            // Full: the next one comes back.
            let failed = slot.prepare(&target, read(memory, 1, place, &told), &format).unwrap_err();
            let MapError::Shortage { what: Resource::Slots, .. } = (match failed.error {
                PrepareError::Map(error) => error,
                other => panic!("{other}"),
            }) else {
                panic!("{failed}")
            };
            drop(failed);
            // SAFETY: no device was told.
            let request = unsafe { slot.complete() }.unwrap();
            check_undone(memory, machine, &target, request, (count, place, &told));
            // SAFETY: as above.
            assert!(unsafe { slot.complete() }.is_none() && !slot.is_full());
        }
    });
}

#[test]
fn what_cannot_be_prepared_in_a_slot_comes_back_and_leaves_it_empty() {
    on_each_machine(|memory, machine| {
        let target = target(machine, &Limits::default(), 1);
        let format = PrpFormat::new(PAGE).unwrap();
        let (told, mut slot) = (Told::default(), Slot::new());
        machine.refuse_next();
        let failed = slot.prepare(&target, read(memory, 3, Position::Stream, &told), &format).unwrap_err();
        assert!(matches!(failed.error, PrepareError::Map(MapError::Refused { count: 1 })), "{failed}");
        assert!(!slot.is_full());
        check_undone(memory, machine, &target, failed.request, (3, Position::Stream, &told));
        // Mapped, and then there is no list page.
        let held = target.pool().fetch().unwrap();
        let failed = slot.prepare(&target, read(memory, 3, Position::Stream, &told), &format).unwrap_err();
        assert!(matches!(failed.error, PrepareError::Map(MapError::Shortage { .. })), "{failed}");
        assert!(!slot.is_full());
        drop(held);
        check_undone(memory, machine, &target, failed.request, (3, Position::Stream, &told));
    });
}

#[test]
fn what_a_device_may_hold_for_good_is_leaked_and_its_completions_are_told() {
    for abandoned in [false, true] {
        let memory = memory(CacheCoherence::Coherent);
        let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
        let target = target(machine, &Limits::default(), 2);
        let format = PrpFormat::new(PAGE).unwrap();
        let (told, mut slot) = (Told::default(), Slot::new());
        slot.prepare(&target, read(&memory, 3, Position::Stream, &told), &format).unwrap();
        let flight =
            prepare(&target, read(&memory, 1, Position::Stream, &told), &format).unwrap().into_flight();
        let fault = Some(Fault { at: 0, status: Status::Cancelled });
        let outcome = |asked| Outcome { asked, done: 0, fault };
        if abandoned {
            slot.abandon(outcome(3 * PAGE));
            flight.abandon(outcome(PAGE));
            assert_eq!(told.take(), [outcome(3 * PAGE), outcome(PAGE)]);
        } else {
            drop(flight);
        }
        drop(slot);
        assert_eq!(told.take(), []);
        // All of it stays taken, which is said.
        assert_eq!((machine.live().len(), memory.leased_bytes()), (4, 4 * PAGE));
        assert_eq!(target.pool().objects_out(), 1);
        let leaks = memory.findings().iter().filter(|found| matches!(found, FakeFinding::Leaked(_))).count();
        assert_eq!(leaks, 2);
    }
}

/// PRPs whose command panics when it is dropped.
#[derive(Debug)]
struct Loud(PrpFormat);

#[derive(Debug)]
struct Bang;

impl Drop for Bang {
    fn drop(&mut self) {
        panic!("a command that is dropped");
    }
}

impl DescriptorFormat for Loud {
    type Command = Bang;
    type Error = scatterlist::desc::prp::EncodeError;

    fn objects_needed<S>(&self, ready: &Ready<'_, S>, object_words: usize) -> Result<usize, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        self.0.objects_needed(ready, object_words)
    }

    fn encode<S, M>(&self, ready: &Ready<'_, S>, objects: &mut [M]) -> Result<Bang, Self::Error>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        self.0.encode(ready, objects).map(|_| Bang)
    }
}

#[test]
fn a_command_that_panics_lets_go_of_nothing_that_is_abandoned_and_leaked() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let target = target(machine, &Limits::default(), 2);
    let format = Loud(PrpFormat::new(PAGE).unwrap());
    let told = Told::default();
    let flight = prepare(&target, read(&memory, 3, Position::Stream, &told), &format).unwrap().into_flight();
    let outcome =
        Outcome { asked: 3 * PAGE, done: 0, fault: Some(Fault { at: 0, status: Status::Cancelled }) };
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flight.abandon(outcome)));
    assert!(unwound.is_err());
    assert_eq!((machine.live().len(), memory.leased_bytes()), (3, 3 * PAGE));
    assert_eq!(target.pool().objects_out(), 1);
}
