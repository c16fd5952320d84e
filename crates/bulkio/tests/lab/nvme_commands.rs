//! NVMe by passthrough: what a plan makes of a request is what the controller gets, and nothing is copied on the way. The disk takes 128 KiB a
//! command (QEMU's `mdts=5`); beside its first namespace it has one with blocks of 4096 bytes, one with metadata, and one with a bad block.
//!
//! How the kernel came to the memory of a command it says itself: `bio_map_user_iov` maps pages of a caller, `bio_iov_bvec_set` takes registered
//! ones, and a command with neither had its data copied (`blk_rq_map_user_iov` of `block/blk-map.c`).

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use bulkio::device::nvme::{CommandError, CommandFault, CommandStatus, Namespace, OpenError, block_sibling};
use bulkio::engine::{
    Carrier, Completion, Engine, EngineChoice, EngineOptions, FileId, FixedRegion, FlushKind, LoggedKind,
    SubmitReason,
};
use bulkio::pages::{PagePool, PoolOptions};
use bulkio::probe::DeviceNumber;
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::At;
use scatterlist::{Fault, LimitId, Limits, Outcome, Request, Source, Status};

use crate::faulty::{IoMemory, Quarantine};
use crate::or_skip;
use crate::oracle::Oracle;
use crate::support::{
    TestEngine, add, content, direct_of, engine, engine_with, errno, fill, in_lab, namespace, next,
};

/// The namespaces of the disk, as the words for QEMU have them.
pub(crate) const PLAIN: u64 = 1;
const BLOCKS_OF_4096: u64 = 2;
const WITH_METADATA: u64 = 3;
const WITH_A_BAD_BLOCK: u64 = 4;

/// Where the bad block is, by the words for QEMU.
const BAD_AT: u64 = 2048 * 512;

const PAGE: usize = 4096;

/// A command of either kind of call, the functions that map memory, and those that the two kinds go through.
const MAPPED: &str = "bio_map_user_iov";
const REGISTERED: &str = "bio_iov_bvec_set";
const WITH_DATA: &str = "nvme_map_user_request";
const BY_RING: &str = "nvme_uring_cmd_io";
const BY_CALL: &str = "nvme_submit_user_cmd";

fn oracle() -> Oracle {
    Oracle::watch(&[MAPPED, REGISTERED, WITH_DATA, BY_RING, BY_CALL])
}

/// An engine and how it carries commands.
pub(crate) fn carriers() -> [(TestEngine, Carrier); 4] {
    let made =
        |kind, commands| engine_with(EngineOptions { kind, commands, log: true, ..EngineOptions::default() });
    [
        (made(EngineChoice::Uring, true), Carrier::Commands),
        (made(EngineChoice::Uring, false), Carrier::Calls),
        (made(EngineChoice::Aio, false), Carrier::Calls),
        (made(EngineChoice::Threads, true), Carrier::Calls),
    ]
}

pub(crate) fn generic(nsid: u64) -> PathBuf {
    PathBuf::from(format!("/dev/ng{}", namespace(nsid)))
}

/// The block node of the plain namespace.
pub(crate) fn block_node() -> PathBuf {
    PathBuf::from(format!("/dev/nvme{}", namespace(PLAIN)))
}

pub(crate) fn open(nsid: u64, writes: bool) -> Namespace {
    Namespace::open(&generic(nsid), writes).unwrap()
}

pub(crate) fn add_to<O: 'static>(
    engine: &mut Engine<O, ()>,
    namespace: &Namespace,
    carrier: Carrier,
) -> FileId {
    let id = namespace.add_to(engine).unwrap();
    assert_eq!(engine.file_report(id).unwrap().carrier, carrier);
    id
}

pub(crate) fn run(
    engine: &mut TestEngine,
    id: FileId,
    request: Request<scatterlist::CpuAddr, Arc<IoMemory>, ()>,
    limits: &Limits,
) -> Outcome {
    engine.submit(id, request, limits).unwrap();
    next(engine).1
}

/// Pages that no two of which are neighbours, the last first.
fn scattered(pages: usize) -> Vec<(usize, usize)> {
    (0..pages).rev().map(|page| (2 * page * PAGE, PAGE)).collect()
}

fn gathered(memory: &IoMemory, pieces: &[(usize, usize)]) -> Vec<u8> {
    let bytes = memory.bytes();
    pieces.iter().flat_map(|&(at, len)| bytes[at..at + len].to_vec()).collect()
}

/// What the disk holds, past every cache.
fn on_disk(at: u64, len: usize) -> Vec<u8> {
    let mut engine = engine(EngineChoice::Uring);
    let id = add(&mut engine, &block_node());
    let memory = Quarantine::default().take(len);
    let request = memory.request(&[(0, len)], FromDevice, At(at));
    assert_eq!(run(&mut engine, id, request, &direct_of(1 << 20)), Outcome::whole(len as u64));
    memory.bytes()
}

/// Commands that whole pages take, each a segment, by the limits alone.
fn commands_of(limits: &Limits, bytes: u64) -> u64 {
    let value = |id| limits.get(id).value;
    let pages = value(LimitId::SegmentsMax).min(value(LimitId::PiecesMax)) * PAGE as u64;
    bytes.div_ceil(value(LimitId::TransferLenMax).min(pages))
}

#[test]
fn the_namespace_says_what_it_is() {
    const NAME: &str = "nvme_commands::the_namespace_says_what_it_is";
    or_skip!(NAME, in_lab("nvme"));
    let namespace = open(PLAIN, false);
    assert_eq!((namespace.id(), namespace.len_bytes(), namespace.format().block_len), (1, 64 << 20, 512));
    let controller = namespace.controller();
    assert_eq!((&*controller.serial, &*controller.model), ("lab", "QEMU NVMe Ctrl"));
    assert!(controller.has_write_cache() && controller.has_write_zeroes() && controller.has_deallocate());
    assert_eq!(controller.transfer_len_max(), Some(128 << 10));
    let sibling = namespace.block_sibling();
    assert_eq!(Path::new("/dev").join(&sibling.name), block_node());
    let number = |node: PathBuf| {
        use std::os::unix::fs::MetadataExt;
        let number = std::fs::metadata(node).unwrap().rdev();
        DeviceNumber { major: libc::major(number), minor: libc::minor(number) }
    };
    assert_eq!(sibling.number, number(block_node()));
    assert_eq!(block_sibling(number(generic(PLAIN))).as_ref(), Some(sibling));
    for (id, value, source) in [
        (LimitId::PositionAlign, 512, Source::Identify),
        (LimitId::Capacity, 64 << 20, Source::Identify),
        (LimitId::TransferLenMax, 128 << 10, Source::Sysfs),
        (LimitId::SegmentsMax, 33, Source::Sysfs),
        (LimitId::GapBoundary, 4096, Source::Sysfs),
        (LimitId::AddrAlign, 4, Source::Sysfs),
    ] {
        let limit = namespace.limits().get(id);
        assert_eq!((limit.value, limit.source), (value, source), "{id}");
    }
}

#[test]
fn nodes_that_are_no_plain_namespace_are_refused() {
    const NAME: &str = "nvme_commands::nodes_that_are_no_plain_namespace_are_refused";
    or_skip!(NAME, in_lab("nvme"));
    let refused = |node: &Path| Namespace::open(node, false).unwrap_err();
    let metadata = refused(&generic(WITH_METADATA));
    assert!(matches!(metadata, OpenError::Metadata { block_len: 512, metadata_len: 8, .. }), "{metadata}");
    for node in [&*block_node(), Path::new("/dev/nvme0"), Path::new("/dev/null"), Path::new("/proc/self/exe")]
    {
        assert!(matches!(refused(node), OpenError::NotGeneric { .. }), "{}", node.display());
    }
    assert!(matches!(refused(Path::new("/dev/ng9n9")), OpenError::Open { .. }));
}

#[test]
fn scattered_pages_are_read_in_as_few_commands_as_the_limits_allow() {
    const NAME: &str = "nvme_commands::scattered_pages_are_read_in_as_few_commands_as_the_limits_allow";
    const LEN: usize = 1 << 20;
    or_skip!(NAME, in_lab("nvme"));
    fill(&block_node(), 0, &content(LEN));
    let namespace = open(PLAIN, false);
    let commands = commands_of(namespace.limits(), LEN as u64);
    assert_eq!(commands, 8);
    let oracle = oracle();
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let memory = Quarantine::default().take(2 * LEN);
        let pieces = scattered(LEN / PAGE);
        oracle.reset();
        let outcome = run(&mut engine, id, memory.request(&pieces, FromDevice, At(0)), namespace.limits());
        assert_eq!(outcome, Outcome::whole(LEN as u64), "{carrier}");
        assert!(gathered(&memory, &pieces) == content(LEN), "{carrier}");
        assert_eq!((engine.stats().operations, engine.stats().operations_commands), (commands, commands));
        assert_eq!(engine.take_log().len() as u64, commands);
        // All of them had their pages mapped, and went the way that the report names.
        let by_ring = if carrier == Carrier::Commands { commands } else { 0 };
        let hits = [WITH_DATA, MAPPED, REGISTERED, BY_RING, BY_CALL].map(|name| oracle.hits(name));
        assert_eq!(hits, [commands, commands, 0, by_ring, commands - by_ring], "{carrier}");
    }
}

#[test]
fn registered_memory_is_not_pinned_again() {
    const NAME: &str = "nvme_commands::registered_memory_is_not_pinned_again";
    const LEN: usize = 1 << 20;
    or_skip!(NAME, in_lab("nvme"));
    fill(&block_node(), 0, &content(LEN));
    let namespace = open(PLAIN, false);
    let commands = commands_of(namespace.limits(), LEN as u64);
    let oracle = oracle();
    for registers in [true, false] {
        let pool = Arc::new(PagePool::new(PoolOptions::uniform(LEN, 1)).unwrap());
        let fixed = if registers { vec![FixedRegion::from_pool(Arc::clone(&pool))] } else { Vec::new() };
        let kind = EngineChoice::Uring;
        let options = EngineOptions { kind, commands: true, fixed, log: true, ..EngineOptions::default() };
        let mut engine = Engine::new(options).unwrap();
        let id = add_to(&mut engine, &namespace, Carrier::Commands);
        let lease = pool.take().unwrap().into_lease(0, LEN as u64).unwrap();
        oracle.reset();
        engine.submit(id, Request::new(lease, FromDevice, At(0), ()), namespace.limits()).unwrap();
        let completion = loop {
            if let Some(completion) = engine.wait().unwrap() {
                break completion;
            }
        };
        let Completion::Transfer { request, outcome, .. } = completion else { panic!("not a transfer") };
        assert_eq!(outcome, Outcome::whole(LEN as u64));
        let slot = request.complete(outcome).into_owners().next().unwrap();
        assert!(slot.as_slice()[..LEN] == content(LEN));
        let fixed = if registers { commands } else { 0 };
        assert_eq!((engine.stats().operations, engine.stats().operations_fixed), (commands, fixed));
        assert!(engine.take_log().iter().all(|entry| entry.fixed.is_some() == registers));
        let hits = [WITH_DATA, REGISTERED, MAPPED].map(|name| oracle.hits(name));
        assert_eq!(hits, [commands, fixed, commands - fixed]);
    }
}

/// Joins inside a page: nothing but a cut keeps the kernel from copying.
#[test]
fn pieces_with_gaps_are_cut_apart_and_not_copied() {
    const NAME: &str = "nvme_commands::pieces_with_gaps_are_cut_apart_and_not_copied";
    or_skip!(NAME, in_lab("nvme"));
    let at = 8 << 20;
    fill(&block_node(), at, &content(64 * 512));
    let namespace = open(PLAIN, false);
    let ragged: Vec<_> = (0..64).map(|piece| (piece * PAGE + 512 * (piece % 7), 512)).collect();
    // The first begins where it likes, the last ends where it likes, and all joins are at pages.
    let fitting = [(2048, 2048), (2 * PAGE, PAGE), (4 * PAGE, 512)];
    let oracle = oracle();
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        for (pieces, commands) in [(&ragged[..], 64), (&fitting[..], 1)] {
            let memory = Quarantine::default().take(64 * PAGE);
            let before = engine.stats().operations;
            oracle.reset();
            let request = memory.request(pieces, FromDevice, At(at));
            let len = request.len_bytes();
            assert_eq!(run(&mut engine, id, request, namespace.limits()), Outcome::whole(len), "{carrier}");
            assert!(gathered(&memory, pieces) == content(64 * 512)[..len as usize], "{carrier}");
            assert_eq!(engine.stats().operations - before, commands, "{carrier}");
            assert_eq!([WITH_DATA, MAPPED].map(|name| oracle.hits(name)), [commands; 2], "{carrier}");
        }
    }
}

/// The same transfers with the limits left out that the planner is there for: as who sends one command for each list of pieces.
#[test]
fn without_a_plan_commands_are_refused_or_copied() {
    const NAME: &str = "nvme_commands::without_a_plan_commands_are_refused_or_copied";
    const LEN: usize = 1 << 20;
    or_skip!(NAME, in_lab("nvme"));
    fill(&block_node(), 0, &content(LEN));
    let namespace = open(PLAIN, false);
    let planned = *namespace.limits();
    let unplanned =
        Limits::builder().hard(LimitId::PositionAlign, 512).hard(LimitId::PiecesMax, 1024).build().unwrap();
    let whole = scattered(LEN / PAGE);
    // 66 KiB: short enough for a command, in more segments than one has.
    let segments: Vec<_> = (0..66).map(|page| (2 * page * PAGE + PAGE - 512, 1024)).collect();
    let gaps: Vec<_> = (0..16).map(|page| (page * PAGE + 512, 512)).collect();
    let odd = [(1, 4096)];
    let oracle = oracle();
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let memory = Quarantine::default().take(2 * LEN);
        // Commands, commands refused, commands copied.
        let mut count = |pieces: &[(usize, usize)], limits: &Limits| {
            let before = engine.stats().operations;
            oracle.reset();
            let outcome = run(&mut engine, id, memory.request(pieces, FromDevice, At(0)), limits);
            let refused = match outcome.fault {
                None => {
                    assert!(gathered(&memory, pieces) == content(LEN)[..outcome.done as usize]);
                    0
                }
                Some(fault) => {
                    assert_eq!((fault.status, outcome.done), (errno(libc::EINVAL), 0));
                    1
                }
            };
            let commands = engine.stats().operations - before;
            let mapped = oracle.hits(MAPPED) + oracle.hits(REGISTERED);
            let copied = if refused > 0 { 0 } else { oracle.hits(WITH_DATA).saturating_sub(mapped) };
            (commands, refused, copied)
        };
        // Past MDTS.
        assert_eq!(count(&whole, &unplanned), (1, 1, 0), "{carrier}");
        assert_eq!(count(&whole, &planned), (8, 0, 0), "{carrier}");
        // Too many segments, and gaps besides: pages of the kernel's own, which are fewer.
        assert_eq!(count(&segments, &unplanned), (1, 0, 1), "{carrier}");
        assert_eq!(count(&segments, &planned), (66, 0, 0), "{carrier}");
        assert_eq!(count(&gaps, &unplanned), (1, 0, 1), "{carrier}");
        assert_eq!(count(&gaps, &planned), (16, 0, 0), "{carrier}");
        // Memory at an odd address: copied in silence, or said.
        assert_eq!(count(&odd, &unplanned), (1, 0, 1), "{carrier}");
        let request = memory.request(&odd, FromDevice, At(0));
        let refused = engine.submit(id, request, &planned).unwrap_err().reason;
        assert!(matches!(refused, SubmitReason::Plan(_)), "{refused:?}");
    }
}

#[test]
fn blocks_past_the_end_are_the_controllers_word() {
    const NAME: &str = "nvme_commands::blocks_past_the_end_are_the_controllers_word";
    or_skip!(NAME, in_lab("nvme"));
    let namespace = open(PLAIN, false);
    // As for a namespace that has become smaller.
    let longer = namespace.limits().to_builder().hard(LimitId::Capacity, u64::MAX).build().unwrap();
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let memory = Quarantine::default().take(64 * PAGE);
        let at = namespace.len_bytes() - (128 << 10);
        let request = memory.request(&[(0, 64 * PAGE)], FromDevice, At(at));
        let outcome = run(&mut engine, id, request, &longer);
        // The first command ends where the namespace does.
        let Some(Fault { at: 0x2_0000, status }) = outcome.fault else { panic!("{outcome:?}") };
        assert_eq!(outcome.done, 128 << 10);
        let status = CommandStatus::from_status(status).unwrap();
        assert!(status.is_out_of_range() && status.is_final(), "{status}");
        let request = memory.request(&[(0, 64 * PAGE)], FromDevice, At(at));
        assert!(engine.submit(id, request, namespace.limits()).is_err(), "the planner knows the size");
    }
}

#[test]
fn a_bad_block_fails_its_command_and_no_other() {
    const NAME: &str = "nvme_commands::a_bad_block_fails_its_command_and_no_other";
    or_skip!(NAME, in_lab("nvme"));
    let namespace = open(WITH_A_BAD_BLOCK, false);
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let memory = Quarantine::default().take(128 * PAGE);
        // Four commands; the bad block is in the third.
        let request = memory.request(&[(0, 128 * PAGE)], FromDevice, At(BAD_AT - (300 << 10)));
        let outcome = run(&mut engine, id, request, namespace.limits());
        let fault = outcome.fault.unwrap();
        assert_eq!((outcome.done, fault.at), (256 << 10, 256 << 10), "{carrier}: {fault:?}");
        let status = CommandStatus::from_status(fault.status).unwrap();
        assert!(status.is_medium_error(), "{status}");
        assert_eq!((status.code_type(), status.code()), (2, 0x81));
        // Its neighbours are well.
        for (at, is_bad) in [(BAD_AT - 512, false), (BAD_AT, true), (BAD_AT + 512, false)] {
            let request = memory.request(&[(0, 512)], FromDevice, At(at));
            assert_eq!(run(&mut engine, id, request, namespace.limits()).fault.is_some(), is_bad, "{at}");
        }
    }
}

#[test]
fn what_is_written_and_given_up_is_on_the_disk() {
    const NAME: &str = "nvme_commands::what_is_written_and_given_up_is_on_the_disk";
    const LEN: usize = 300 << 10;
    or_skip!(NAME, in_lab("nvme"));
    let namespace = open(PLAIN, true);
    for (place, (mut engine, carrier)) in (16_u64..).zip(carriers()) {
        let at = place << 20;
        let id = add_to(&mut engine, &namespace, carrier);
        let (pieces, memory) = (scattered(LEN / PAGE), Quarantine::default().take(2 * LEN));
        for (&(at, len), bytes) in pieces.iter().zip(content(LEN).chunks(PAGE)) {
            memory.write(at, &bytes[..len]);
        }
        let outcome = run(&mut engine, id, memory.request(&pieces, ToDevice, At(at)), namespace.limits());
        assert_eq!(outcome, Outcome::whole(LEN as u64), "{carrier}");
        engine.flush(id, FlushKind::All).unwrap();
        let flushed = loop {
            if let Some(completion) = engine.wait().unwrap() {
                break completion.fault();
            }
        };
        assert_eq!(flushed, None, "{carrier}");
        let kinds: Vec<_> = engine.take_log().iter().map(|entry| entry.kind).collect();
        let writes = commands_of(namespace.limits(), LEN as u64) as usize;
        assert_eq!(kinds.len(), writes + 1);
        assert_eq!(kinds.last(), Some(&LoggedKind::Flush(FlushKind::All)));
        assert!(on_disk(at, LEN) == content(LEN), "{carrier}");
    }
    // Zeros, and blocks that nobody wants: their neighbours keep their bytes.
    let at = 16 << 20;
    namespace.write_zeroes(at + 4096, 200 << 10, false).unwrap();
    namespace.flush().unwrap();
    let mut expected = content(LEN);
    expected[4096..4096 + (200 << 10)].fill(0);
    assert!(on_disk(at, LEN) == expected);
    let at = 17 << 20;
    namespace.deallocate(&[at + 8192..at + 16384, at + 65536..at + 131_072]).unwrap();
    namespace.flush().unwrap();
    let (found, mut expected) = (on_disk(at, LEN), content(LEN));
    // What a deallocated block gives is the controller's choice: here zeros, or what was there.
    for range in [8192..16384, 65536..131_072] {
        let is_zero = found[range.clone()].iter().all(|byte| *byte == 0);
        assert!(is_zero || found[range.clone()] == expected[range.clone()]);
        expected[range.clone()].copy_from_slice(&found[range]);
    }
    assert!(found == expected);
    let refused = namespace.write_zeroes(100, 512, false).unwrap_err();
    assert!(matches!(refused, CommandError::Unaligned { block_len: 512, position: 100, .. }), "{refused}");
    let refused = namespace.deallocate(from_ref(&(0..(64 << 20) + 512))).unwrap_err();
    assert!(matches!(refused, CommandError::PastEnd { capacity: 0x400_0000, .. }), "{refused}");
}

/// Whoever is privileged writes through a node that is open for reading: the kernel lets it pass.
#[test]
fn a_namespace_open_for_reading_is_not_written() {
    const NAME: &str = "nvme_commands::a_namespace_open_for_reading_is_not_written";
    or_skip!(NAME, in_lab("nvme"));
    let at = 32 << 20;
    fill(&block_node(), at, &content(4096));
    let namespace = open(PLAIN, false);
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let memory = Quarantine::default().take(PAGE);
        let outcome =
            run(&mut engine, id, memory.request(&[(0, PAGE)], ToDevice, At(at)), namespace.limits());
        let fault = Some(Fault { at: 0, status: errno(libc::EBADF) });
        assert_eq!(outcome, Outcome { asked: PAGE as u64, done: 0, fault }, "{carrier}");
    }
    let refused = namespace.write_zeroes(at, 4096, false).unwrap_err();
    assert!(matches!(refused, CommandError::ReadOnly { .. }), "{refused}");
    assert!(matches!(namespace.deallocate(from_ref(&(at..at + 4096))), Err(CommandError::ReadOnly { .. })));
    assert!(on_disk(at, 4096) == content(4096));
}

#[test]
fn blocks_of_4096_bytes() {
    const NAME: &str = "nvme_commands::blocks_of_4096_bytes";
    const LEN: usize = 512 << 10;
    or_skip!(NAME, in_lab("nvme"));
    let namespace = open(BLOCKS_OF_4096, true);
    assert_eq!(namespace.format().block_len, 4096);
    assert_eq!(namespace.limits().get(LimitId::PositionAlign).value, 4096);
    for (mut engine, carrier) in carriers() {
        let id = add_to(&mut engine, &namespace, carrier);
        let (from, into) = (Quarantine::default().take(LEN), Quarantine::default().take(2 * LEN));
        from.write(0, &content(LEN));
        let request = from.request(&[(0, LEN)], ToDevice, At(4096));
        assert_eq!(
            run(&mut engine, id, request, namespace.limits()),
            Outcome::whole(LEN as u64),
            "{carrier}"
        );
        let pieces = scattered(LEN / PAGE);
        let request = into.request(&pieces, FromDevice, At(4096));
        assert_eq!(
            run(&mut engine, id, request, namespace.limits()),
            Outcome::whole(LEN as u64),
            "{carrier}"
        );
        assert!(gathered(&into, &pieces) == content(LEN), "{carrier}");
        let half = from.request(&[(0, 512)], FromDevice, At(4096));
        assert!(engine.submit(id, half, namespace.limits()).is_err());
        namespace.write_zeroes(0, 1 << 20, true).unwrap();
    }
    // The blocking calls say how they failed, too.
    let gone = namespace.write_zeroes(512, 4096, false).unwrap_err();
    assert!(matches!(gone, CommandError::Unaligned { block_len: 4096, .. }), "{gone}");
    let word = CommandFault::Device(CommandStatus::from_status(Status::Device(0x4080)).unwrap());
    assert!(word.to_string().starts_with("blocks past the end of the namespace"), "{word}");
}
