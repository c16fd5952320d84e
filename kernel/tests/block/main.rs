//! A queue that merges in front of a block device, and stripes over several.
//!
//! Exactly as many commands as the limits allow, for one stream and for several side by side; whatever is pushed, in whatever order and
//! however slow the device, reads see what was written before them, and each completion fires once.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod device;

use std::cell::RefCell;
use std::rc::Rc;

use common::{HIGH, LOW, Memory, Owned, noise, runs};
use device::{Disk, again};
use kernel::block::{
    MergeQueue, PushError, QueueError, QueueOptions, SetError, StripePollError, StripePushError, StripeSet,
};
use kernel::refused::Retry;
use proptest::prelude::*;
use scatterlist::fake::FakeOwner;
use scatterlist::plan::{Policy, plan};
use scatterlist::{
    Complete, Direction, LimitId, Limits, Outcome, PhysAddr, Position, Request, ScatterList, Shared, Status,
};

const BLOCK: u64 = 512;
const BLOCKS: u64 = 256;

type Ends = Rc<RefCell<Vec<(usize, Outcome)>>>;

#[derive(Debug)]
struct Tell(usize, Ends);

impl Complete for Tell {
    fn complete(self, outcome: Outcome) {
        self.1.borrow_mut().push((self.0, outcome));
    }
}

type Queue<'m> = MergeQueue<Disk<'m, Shared<Tell>>>;
type Asked = Request<PhysAddr, FakeOwner, Tell>;

fn limits(transfer_len_max: u64, segments_max: u64) -> Limits {
    Limits::builder()
        .hard(LimitId::PositionAlign, BLOCK)
        .hard(LimitId::TransferLenMax, transfer_len_max)
        .hard(LimitId::SegmentsMax, segments_max)
        .hard(LimitId::PiecesMax, segments_max)
        .hard(LimitId::Capacity, BLOCKS * BLOCK)
        .build()
        .unwrap()
}

fn disk<'m>(memory: &'m Memory, limits: Limits, slots: usize) -> Disk<'m, Shared<Tell>> {
    Disk::new(memory, limits, usize::try_from(BLOCKS * BLOCK).unwrap(), slots)
}

fn request(lease: Owned, direction: Direction, block: u64, index: usize, ends: &Ends) -> Asked {
    Request::new(lease, direction, Position::At(block * BLOCK), Tell(index, Rc::clone(ends)))
}

/// Memory of request `index`: `count` blocks, scattered where `index` is odd.
fn buffer(memory: &Memory, index: u64, count: u64) -> Owned {
    let base = if index < 200 { LOW } else { HIGH };
    let place = base + (index % 200) * 16 * 1024;
    if index.is_multiple_of(2) {
        runs(memory, place, 0, count * BLOCK, 1)
    } else {
        runs(memory, place, 1024, BLOCK, count)
    }
}

/// Commands that the planner makes of a whole list.
fn planned(lists: &[ScatterList<PhysAddr>], start: u64, limits: &Limits) -> usize {
    let segments = lists.iter().flat_map(|list| list.iter().collect::<Vec<_>>());
    let list = ScatterList::from_segments(segments).unwrap();
    let commands = plan(&list, Position::At(start * BLOCK), limits, Policy::SplitOrError);
    commands.collect::<Result<Vec<_>, _>>().unwrap().len()
}

/// Pushes `count` requests of two blocks for each of some streams, in turns, and checks that the commands are those of the planner.
fn streams(starts: &[u64], count: u64, limits: Limits, expect: Option<usize>) {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits, 1000), QueueOptions::default());
    let mut lists = vec![Vec::new(); starts.len()];
    let mut index = 0;
    for turn in 0..count {
        for (stream, start) in starts.iter().enumerate() {
            let lease = buffer(&memory, u64::try_from(index).unwrap(), 2);
            lists[stream].push(lease.list().clone());
            queue.push(request(lease, Direction::FromDevice, start + 2 * turn, index, &ends)).unwrap();
            index += 1;
        }
    }
    assert_eq!(queue.flush(), 0);
    let commands =
        starts.iter().zip(&lists).map(|(start, lists)| planned(lists, *start, &limits)).sum::<usize>();
    assert_eq!(queue.counts().commands, u64::try_from(commands).unwrap());
    assert_eq!(queue.counts().merges, (count - 1) * u64::try_from(starts.len()).unwrap());
    if let Some(expect) = expect {
        assert_eq!(commands, expect);
    }
    assert_eq!(queue.device().kicks, 1, "one doorbell");
    assert_eq!(queue.poll().unwrap(), commands);
    assert_eq!(ends.borrow().len(), index);
    assert!(ends.borrow().iter().all(|(_, outcome)| *outcome == Outcome::whole(2 * BLOCK)));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_sequential_workload_takes_exactly_the_commands_that_the_limits_allow() {
    // 128 KiB in commands of 32 KiB.
    streams(&[0], 128, limits(32 << 10, 1000), Some(4));
    // By segments: even requests are one, odd ones two.
    streams(&[0], 128, limits(1 << 20, 12), Some(16));
    streams(&[16], 100, limits(9 * BLOCK, 7), None);
}

#[test]
fn interleaved_streams_merge_side_by_side() {
    // Four streams of 32 KiB.
    streams(&[0, 64, 128, 192], 32, limits(32 << 10, 1000), Some(4));
    streams(&[0, 64, 128, 192], 32, limits(8 << 10, 1000), Some(16));
    streams(&[0, 128], 50, limits(7 * BLOCK, 9), None);
}

#[test]
fn a_stream_that_goes_backwards_merges_too_and_so_does_what_fills_a_gap() {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits(16 << 10, 1000), 1000), QueueOptions::default());
    for turn in 0..64 {
        let lease = buffer(&memory, 2 * turn, 2);
        queue.push(request(lease, Direction::FromDevice, 2 * (63 - turn), 0, &ends)).unwrap();
    }
    queue.flush();
    // 64 KiB in commands of 16 KiB.
    assert_eq!((queue.counts().commands, queue.counts().merges), (4, 60));
    queue.poll().unwrap();
    for block in [0, 4, 2, 6] {
        let lease = buffer(&memory, block, 2);
        queue.push(request(lease, Direction::FromDevice, block, 0, &ends)).unwrap();
    }
    queue.flush();
    assert_eq!((queue.counts().commands, queue.device().lengths.last()), (5, Some(&(8 * BLOCK))));
    queue.poll().unwrap();
    assert_eq!(ends.borrow().len(), 68);
}

#[test]
fn what_is_full_goes_at_once_and_the_rest_waits_for_a_flush() {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits(4 * BLOCK, 100), 100), QueueOptions::default());
    queue.push(request(runs(&memory, LOW, 0, 11 * BLOCK, 1), Direction::ToDevice, 0, 0, &ends)).unwrap();
    assert_eq!((&queue.device().lengths[..], queue.waiting()), (&[4 * BLOCK, 4 * BLOCK][..], 1));
    assert_eq!(queue.device().kicks, 0, "the caller says when");
    queue.kick();
    assert_eq!((queue.poll().unwrap(), ends.borrow().len()), (2, 0));
    queue.flush();
    assert_eq!((queue.poll().unwrap(), queue.device().kicks), (1, 2));
    assert_eq!(ends.borrow()[..], [(0, Outcome::whole(11 * BLOCK))]);
}

#[test]
fn a_device_that_is_behind_pushes_back_and_nothing_is_lost() {
    let memory = common::memory();
    let ends = Ends::default();
    let options = QueueOptions { streams_max: 2, commands_max: 2, ..QueueOptions::default() };
    let mut queue = Queue::new(disk(&memory, limits(2 * BLOCK, 100), 1), options);
    queue.device_mut().pace = 0;
    // Requests that do not merge: one in the device, two commands, two streams.
    let mut taken = 0;
    let refused = loop {
        let lease = buffer(&memory, 2 * taken, 1);
        let index = usize::try_from(taken).unwrap();
        match queue.push(request(lease, Direction::ToDevice, 3 * taken, index, &ends)) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused.error, PushError::Full { commands: 2, max: 2 }), "{refused}");
    assert_eq!((taken, refused.retry, refused.request.len_bytes()), (5, Retry::Later, BLOCK));
    assert_eq!((queue.waiting(), queue.flush()), (4, 4));
    queue.device_mut().pace = 1;
    for _ in 0..5 {
        assert_eq!(queue.poll().unwrap(), 1);
    }
    assert_eq!((queue.waiting(), ends.borrow().len(), queue.poll().unwrap()), (0, 5, 0));
    // What is larger than all that there is room for waits too.
    queue
        .push(request(runs(&memory, LOW + (1 << 20), 0, 64 * BLOCK, 1), Direction::ToDevice, 0, 9, &ends))
        .unwrap();
    // As there is room, what is full goes by itself, and the rest at a flush.
    let polls = (1..99).take_while(|_| queue.poll().unwrap() == 1).count();
    assert_eq!((polls, queue.waiting(), ends.borrow().len()), (31, 1, 5));
    assert_eq!((queue.flush(), queue.poll().unwrap(), ends.borrow().len()), (0, 1, 6));
}

#[test]
fn what_no_cut_helps_comes_back_and_faults_reach_those_they_are_about() {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits(8 * BLOCK, 100), 100), QueueOptions::default());
    let odd = Request::new(
        buffer(&memory, 0, 1),
        Direction::ToDevice,
        Position::At(100),
        Tell(0, Rc::clone(&ends)),
    );
    let refused = queue.push(odd).unwrap_err();
    assert!(refused.retry == Retry::Never && refused.to_string().contains("position_align"), "{refused}");
    drop(refused);
    let stream =
        Request::new(buffer(&memory, 0, 1), Direction::ToDevice, Position::Stream, Tell(0, Rc::clone(&ends)));
    assert!(matches!(queue.push(stream).unwrap_err().error, PushError::NoPosition));
    ends.borrow_mut().clear();
    // Three requests, one command, one fault.
    queue.device_mut().fails = true;
    for index in 0..3 {
        queue.push(request(buffer(&memory, index * 2, 2), Direction::ToDevice, index * 2, 0, &ends)).unwrap();
    }
    queue.flush();
    assert_eq!(queue.poll().unwrap(), 1);
    let faults: Vec<_> = ends.borrow().iter().map(|(_, end)| (end.done, end.fault.unwrap().status)).collect();
    assert_eq!(faults, [(0, Status::Device(7)); 3]);
    // A device that takes nothing, though its limits say that it does.
    ends.borrow_mut().clear();
    queue.device_mut().refuses = true;
    queue.push(request(buffer(&memory, 0, 2), Direction::ToDevice, 0, 0, &ends)).unwrap();
    queue.flush();
    assert!(matches!(queue.poll(), Err(QueueError::Refused(_))));
    assert_eq!(ends.borrow()[0].1.fault.unwrap().status, Status::Cancelled);
    assert!(queue.poll().is_ok());
}

#[test]
fn a_device_that_is_full_of_nothing_does_not_stall_the_queue() {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits(8 * BLOCK, 100), 0), QueueOptions::default());
    queue.push(request(buffer(&memory, 0, 2), Direction::ToDevice, 0, 0, &ends)).unwrap();
    assert_eq!(queue.flush(), 0);
    assert!(matches!(queue.poll(), Err(QueueError::Refused(_))));
    assert_eq!(ends.borrow()[0].1.fault.unwrap().status, Status::Cancelled);
}

#[test]
fn what_comes_back_beside_an_error_or_by_a_reset_is_back() {
    let memory = common::memory();
    let ends = Ends::default();
    for by_reset in [false, true] {
        ends.borrow_mut().clear();
        let mut queue = Queue::new(disk(&memory, limits(8 * BLOCK, 100), 1), QueueOptions::default());
        queue.push(request(buffer(&memory, 0, 2), Direction::ToDevice, 0, 0, &ends)).unwrap();
        assert_eq!(queue.flush(), 0);
        if by_reset {
            let (commands, ()) = queue.take_back(|device, back| device.reset_with(back));
            assert_eq!(commands, 1);
        } else {
            queue.device_mut().breaks = true;
            assert!(matches!(queue.poll(), Err(QueueError::Device(_))));
            queue.device_mut().breaks = false;
        }
        assert_eq!(ends.borrow().len(), 1);
        // The device has nothing, so there is nothing to wait for: where it has no room now, it never will.
        queue.device_mut().slots = 0;
        queue.push(request(buffer(&memory, 2, 2), Direction::ToDevice, 2, 1, &ends)).unwrap();
        assert_eq!(queue.flush(), 0);
        assert!(matches!(queue.poll(), Err(QueueError::Refused(_))));
        assert_eq!((ends.borrow().len(), queue.poll().unwrap()), (2, 0));
    }
}

#[test]
fn an_error_of_the_device_does_not_hide_what_else_went_wrong() {
    let memory = common::memory();
    let ends = Ends::default();
    let mut queue = Queue::new(disk(&memory, limits(8 * BLOCK, 100), 100), QueueOptions::default());
    queue.device_mut().refuses = true;
    queue.device_mut().breaks = true;
    queue.push(request(buffer(&memory, 0, 2), Direction::ToDevice, 0, 0, &ends)).unwrap();
    queue.flush();
    assert!(matches!(queue.poll(), Err(QueueError::Device(_))));
    queue.device_mut().breaks = false;
    assert!(matches!(queue.poll(), Err(QueueError::Refused(_))));
    assert!(queue.poll().is_ok());
}

/// One step of a workload.
#[derive(Clone, Copy, Debug)]
enum Step {
    Move { write: bool, block: u64, count: u64 },
    Flush,
    Poll(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), 0..48_u64, 1..10_u64).prop_map(|(write, block, count)| Step::Move { write, block, count }),
        1 => Just(Step::Flush),
        2 => (0..4_usize).prop_map(Step::Poll),
    ]
}

/// What a queue and a set have in common.
trait Front {
    fn push(&mut self, request: Asked) -> Result<(), Asked>;
    fn flush(&mut self) -> usize;
    fn poll(&mut self, pace: usize);
    fn waiting(&self) -> usize;
}

impl Front for Queue<'_> {
    fn push(&mut self, request: Asked) -> Result<(), Asked> {
        MergeQueue::push(self, request).map_err(|refused| {
            assert_eq!(refused.retry, Retry::Later);
            refused.request
        })
    }

    fn flush(&mut self) -> usize {
        MergeQueue::flush(self)
    }

    fn poll(&mut self, pace: usize) {
        self.device_mut().pace = pace;
        MergeQueue::poll(self).unwrap();
    }

    fn waiting(&self) -> usize {
        MergeQueue::waiting(self)
    }
}

impl Front for StripeSet<Disk<'_, Shared<Tell>>> {
    fn push(&mut self, request: Asked) -> Result<(), Asked> {
        StripeSet::push(self, request).map_err(|refused| {
            assert_eq!(refused.retry, Retry::Later, "{refused}");
            refused.request
        })
    }

    fn flush(&mut self) -> usize {
        StripeSet::flush(self)
    }

    fn poll(&mut self, pace: usize) {
        self.members_mut().iter_mut().for_each(|member| member.device_mut().pace = pace);
        StripeSet::poll(self).unwrap();
    }

    fn waiting(&self) -> usize {
        StripeSet::waiting(self)
    }
}

/// Runs a workload against a model of the bytes. What is refused is pushed again after polls.
fn workload(memory: &Memory, front: &mut impl Front, steps: &[Step]) -> Vec<u8> {
    let ends = Ends::default();
    let mut model = vec![0_u8; usize::try_from(BLOCKS * BLOCK).unwrap()];
    let (mut reads, mut pushed) = (Vec::new(), 0);
    for step in steps {
        match *step {
            Step::Move { write, block, count } => {
                let index = u64::try_from(pushed).unwrap();
                let mut lease = buffer(memory, index, count);
                let start = usize::try_from(block * BLOCK).unwrap();
                let place = start..start + usize::try_from(count * BLOCK).unwrap();
                let direction = if write { Direction::ToDevice } else { Direction::FromDevice };
                if write {
                    let bytes = noise(index, place.len());
                    memory.write(&mut lease, 0, &bytes).unwrap();
                    model[place.clone()].copy_from_slice(&bytes);
                }
                let mut asked = request(lease, direction, block, pushed, &ends);
                if !write {
                    reads.push((again(&asked), model[place].to_vec()));
                }
                while let Err(back) = front.push(asked) {
                    asked = back;
                    front.poll(1);
                }
                pushed += 1;
            }
            Step::Flush => {
                front.flush();
            }
            Step::Poll(pace) => front.poll(pace),
        }
    }
    front.flush();
    for _ in 0..10_000 {
        if front.waiting() == 0 && ends.borrow().len() == pushed {
            break;
        }
        front.flush();
        front.poll(usize::MAX);
    }
    let mut told: Vec<_> = ends.borrow().iter().map(|(index, _)| *index).collect();
    told.sort_unstable();
    assert_eq!(told, (0..pushed).collect::<Vec<_>>(), "each is told once");
    assert!(ends.borrow().iter().all(|(_, outcome)| *outcome == Outcome::whole(outcome.asked)));
    for (lease, expect) in reads {
        assert_eq!(memory.bytes(&lease).unwrap(), expect, "a read sees what was written before it");
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_pushed_the_bytes_are_those_of_a_device_without_a_queue(
        steps in prop::collection::vec(step(), 1..80),
        transfer_blocks in 1..9_u64,
        segments_max in 1..9_u64,
        slots in 1..5_usize,
        streams_max in 1..4_usize,
        commands_max in 1..4_usize,
        stream_bytes_max in prop_oneof![Just(u64::MAX), 0..8 * BLOCK],
    ) {
        let memory = common::memory();
        let limits = limits(transfer_blocks * BLOCK, segments_max);
        let options = QueueOptions { streams_max, commands_max, stream_bytes_max };
        let mut queue = Queue::new(disk(&memory, limits, slots), options);
        let model = workload(&memory, &mut queue, &steps);
        prop_assert!(queue.device().bytes == model);
        let counts = queue.counts();
        prop_assert_eq!(counts.commands, u64::try_from(queue.device().lengths.len()).unwrap());
    }

    #[test]
    fn a_set_of_stripes_holds_what_one_device_would(
        steps in prop::collection::vec(step(), 1..60),
        members in 1..5_usize,
        chunk_blocks in 1..9_u64,
        transfer_blocks in 1..9_u64,
        slots in 1..5_usize,
    ) {
        let memory = common::memory();
        let limits = limits(transfer_blocks * BLOCK, 8);
        let options = QueueOptions { streams_max: 2, commands_max: 2, ..QueueOptions::default() };
        let queues = (0..members).map(|_| Queue::new(disk(&memory, limits, slots), options)).collect();
        let mut set = StripeSet::new(queues, chunk_blocks * BLOCK).unwrap();
        let model = workload(&memory, &mut set, &steps);
        let chunk = usize::try_from(chunk_blocks * BLOCK).unwrap();
        for (index, expect) in model.chunks(chunk).enumerate().take(60) {
            let row = index / members * chunk;
            let member = &set.members()[index % members].device().bytes;
            prop_assert!(row + expect.len() > member.len() || member[row..row + expect.len()] == *expect);
        }
    }
}

#[test]
fn a_set_merges_on_its_members_and_refuses_what_is_none() {
    let memory = common::memory();
    let ends = Ends::default();
    let queues =
        || (0..2).map(|_| Queue::new(disk(&memory, limits(1 << 20, 1000), 100), QueueOptions::default()));
    let mut set = StripeSet::new(queues().collect(), 4096).unwrap();
    assert_eq!(set.capacity_bytes(), 2 * BLOCKS * BLOCK);
    // 64 KiB in pieces of 1 KiB: one command for each member.
    for index in 0..64 {
        let lease = buffer(&memory, index, 2);
        set.push(request(lease, Direction::ToDevice, 2 * index, 0, &ends)).unwrap();
    }
    assert_eq!(set.flush(), 0);
    assert_eq!((set.counts().commands, set.poll().unwrap(), ends.borrow().len()), (2, 2, 64));
    let past = request(buffer(&memory, 0, 2), Direction::ToDevice, 2 * BLOCKS - 1, 0, &ends);
    let refused = set.push(past).unwrap_err();
    let capacity = 2 * BLOCKS * BLOCK;
    assert!(
        matches!(refused.error, StripePushError::Capacity { end, capacity: held } if end == capacity + BLOCK && held == capacity)
    );
    let odd = Request::new(
        memory.take(100, 4).unwrap(),
        Direction::ToDevice,
        Position::At(0),
        Tell(0, Rc::clone(&ends)),
    );
    assert!(matches!(set.push(odd).unwrap_err().error, StripePushError::Member { member: 0, .. }));
    let align = StripeSet::new(queues().collect(), 1000).unwrap_err();
    assert_eq!(align, SetError::Align { chunk_len: 1000, member: 0, align: 512 });
    assert!(matches!(StripeSet::<Disk<'_, Shared<Tell>>>::new(Vec::new(), 512), Err(SetError::Stripes(_))));
}

#[test]
fn a_part_that_a_member_never_takes_is_told_of() {
    let memory = common::memory();
    let ends = Ends::default();
    // The whole is long enough for a member, its parts are not.
    let rules =
        limits(64 * BLOCK, 100).to_builder().hard(LimitId::TransferLenMin, 2 * BLOCK).build().unwrap();
    let queues = (0..2).map(|_| Queue::new(disk(&memory, rules, 100), QueueOptions::default())).collect();
    let mut set = StripeSet::new(queues, BLOCK).unwrap();
    set.push(request(buffer(&memory, 0, 3), Direction::ToDevice, 0, 0, &ends)).unwrap();
    set.flush();
    let error = set.poll().unwrap_err();
    assert!(matches!(error, StripePollError::Refused { member: 1, error: PushError::Plan(_) }), "{error:?}");
    assert!(error.to_string().contains("transfer_len_min"), "{error}");
    assert_eq!((ends.borrow().len(), set.waiting()), (1, 0));
    let (_, outcome) = ends.borrow()[0];
    assert_eq!((outcome.asked, outcome.done), (3 * BLOCK, 2 * BLOCK));
    assert_eq!(outcome.fault.unwrap().status, Status::Cancelled);
    assert_eq!(set.poll().unwrap(), 0);
}
