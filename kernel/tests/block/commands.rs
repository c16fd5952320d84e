//! How many commands a stream takes, and what finding that out costs: counted, not timed.
//!
//! The commands are those that the planner makes of the whole list at once, whatever the limits. The planner is shown each segment a few
//! times, however long the stream gets.

use kernel::block::QueueOptions;
use kernel::refused::Retry;
use proptest::prelude::*;
use scatterlist::plan::{Policy, plan};
use scatterlist::{Direction, LimitId, Limits, Position, ScatterList};

use super::common::{self, HIGH, LOW, runs};
use super::{BLOCK, BLOCKS, Ends, Queue, disk, request};

/// Where the memory of a stream lies: its first block, and how far the next ones are.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    base: u64,
    stride: u64,
}

/// Pushes a stream of single blocks, and checks that its commands are those of the planner, and that each segment was shown to it at most
/// `times`, whatever the stream's length.
fn planned_in_passing(blocks: Blocks, limits: Limits, policy: Policy, times: u64) {
    let memory = common::memory();
    let ends = Ends::default();
    let mut disk = disk(&memory, limits, 1000);
    disk.policy = policy;
    let options = QueueOptions { commands_max: 1000, ..QueueOptions::default() };
    let mut queue = Queue::new(disk, options);
    let mut whole = ScatterList::new();
    for block in 0..BLOCKS {
        let lease = runs(&memory, blocks.base + block * blocks.stride, 0, BLOCK, 1);
        whole.splice(&mut lease.list().clone()).unwrap();
        queue.push(request(lease, Direction::FromDevice, block, 0, &ends)).unwrap();
    }
    assert_eq!(queue.flush(), 0);
    let commands = plan(&whole, Position::At(0), &limits, policy);
    let lengths: Vec<_> = commands.map(|command| command.unwrap().len_bytes()).collect();
    assert_eq!(queue.device().lengths, lengths, "{blocks:?} {limits:?}");
    let planned = queue.counts().planned_segments;
    assert!(planned <= times * BLOCKS, "{planned} segments for {BLOCKS}: {blocks:?} {limits:?}");
}

#[test]
fn what_is_pending_is_planned_when_it_may_be_full_and_not_before() {
    let set = |rules: &[(LimitId, u64)]| {
        let any = Limits::builder().hard(LimitId::PositionAlign, BLOCK);
        rules.iter().fold(any, |rules, (id, value)| rules.hard(*id, *value)).build().unwrap()
    };
    let apart = Blocks { base: LOW, stride: 1024 };
    let adjacent = Blocks { base: LOW, stride: BLOCK };
    let high = Blocks { base: HIGH, stride: 1024 };
    let direct = Policy::SplitOrError;
    for blocks in [apart, adjacent] {
        // Once as it is pushed, once as it is cut, once as the rest of a cut.
        planned_in_passing(blocks, set(&[]), direct, 3);
        planned_in_passing(blocks, set(&[(LimitId::TransferLenMax, 200 * BLOCK)]), direct, 3);
        planned_in_passing(blocks, set(&[(LimitId::ChunkLen, 170 * BLOCK)]), direct, 3);
        planned_in_passing(blocks, set(&[(LimitId::SegmentsMax, 100), (LimitId::PiecesMax, 90)]), direct, 3);
        planned_in_passing(blocks, set(&[(LimitId::PageLen, 4096), (LimitId::SegmentsMax, 30)]), direct, 3);
        planned_in_passing(blocks, set(&[(LimitId::GapBoundary, 512)]), direct, 3);
        // Each gap is a cut.
        planned_in_passing(blocks, set(&[(LimitId::GapBoundary, 4096)]), direct, 4);
    }
    // What is split and bounced is known less well.
    let split = set(&[(LimitId::SegmentLenMax, 3 * BLOCK), (LimitId::PiecesMax, 50)]);
    planned_in_passing(adjacent, split, direct, 12);
    let low = [(LimitId::AddrMax, 0xffff_ffff), (LimitId::PiecesMax, 100), (LimitId::GapBoundary, 512)];
    planned_in_passing(high, set(&low), Policy::SplitOrBounce, 12);
    planned_in_passing(high, set(&low[..2]), Policy::SplitOrBounce, 12);
}

#[test]
fn a_stream_that_a_device_never_finds_full_goes_at_the_length_that_was_chosen() {
    let memory = common::memory();
    let ends = Ends::default();
    let limits = Limits::builder().hard(LimitId::PositionAlign, BLOCK).build().unwrap();
    let options = QueueOptions { stream_bytes_max: 16 * BLOCK, ..QueueOptions::default() };
    let mut queue = Queue::new(disk(&memory, limits, 1000), options);
    for block in 0..BLOCKS {
        // One run of memory.
        let lease = runs(&memory, LOW + block * BLOCK, 0, BLOCK, 1);
        queue.push(request(lease, Direction::FromDevice, block, 0, &ends)).unwrap();
    }
    assert_eq!(queue.device().lengths, [16 * BLOCK; 16]);
    // Where the device is behind, the bound pushes back.
    let options = QueueOptions { commands_max: 1, ..options };
    let mut queue = Queue::new(disk(&memory, limits, 1), options);
    queue.device_mut().pace = 0;
    let mut taken = 0;
    let refused = loop {
        let lease = runs(&memory, LOW + (1 << 20) + taken * BLOCK, 0, BLOCK, 1);
        match queue.push(request(lease, Direction::FromDevice, taken, 0, &ends)) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    // One command in the device, one before it; what is behind is no stream yet.
    assert_eq!((refused.retry, taken), (Retry::Later, 32));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_stream_takes_the_commands_of_the_planner_whatever_the_limits(
        requests in prop::collection::vec((1..6_u64, 0..3_u64, any::<bool>()), 1..40),
        (transfer_blocks, chunk_blocks) in (1..40_u64, prop_oneof![Just(0), 1..30_u64]),
        (segments_max, pieces_max) in (1..20_u64, 1..20_u64),
        (gap, page) in (prop_oneof![Just(0), Just(512), Just(4096)], prop_oneof![Just(0), Just(4096_u64)]),
        bounces: bool,
    ) {
        let memory = common::memory();
        let ends = Ends::default();
        let limits = Limits::builder()
            .hard(LimitId::PositionAlign, BLOCK)
            .hard(LimitId::TransferLenMax, transfer_blocks * BLOCK)
            .hard(LimitId::ChunkLen, chunk_blocks * BLOCK)
            .hard(LimitId::SegmentsMax, segments_max + 1)
            .hard(LimitId::PiecesMax, pieces_max)
            .hard(LimitId::GapBoundary, gap)
            .hard(LimitId::PageLen, page)
            .hard(LimitId::AddrMax, if bounces { 0xffff_ffff } else { u64::MAX })
            .build()
            .unwrap();
        let policy = if bounces { Policy::SplitOrBounce } else { Policy::SplitOrError };
        let mut disk = disk(&memory, limits, 1000);
        disk.policy = policy;
        let options = QueueOptions { commands_max: 1000, ..QueueOptions::default() };
        let mut queue = Queue::new(disk, options);
        let (mut whole, mut block, mut low, mut high) = (ScatterList::new(), 0, LOW, HIGH);
        for (count, apart, is_high) in requests {
            let place = if is_high { &mut high } else { &mut low };
            *place += apart * BLOCK;
            let lease = runs(&memory, *place, 0, count * BLOCK, 1);
            *place += count * BLOCK;
            whole.splice(&mut lease.list().clone()).unwrap();
            queue.push(request(lease, Direction::FromDevice, block, 0, &ends)).unwrap();
            block += count;
        }
        queue.flush();
        let commands = plan(&whole, Position::At(0), &limits, policy);
        let lengths: Vec<_> = commands.map(|command| command.unwrap().len_bytes()).collect();
        prop_assert_eq!(&queue.device().lengths, &lengths);
    }
}
