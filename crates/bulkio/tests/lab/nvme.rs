//! The block node of an NVMe disk that takes 128 KiB a command (QEMU's `mdts=5`, in pages of 4 KiB).

use std::path::PathBuf;

use bulkio::copy::{CopyOptions, End, Silent, Step, copy, plan};
use bulkio::probe::probe_path;
use scatterlist::Direction::FromDevice;
use scatterlist::Position::At;
use scatterlist::{Force, LimitId, Outcome};

use crate::common::storage_dir;
use crate::faulty::Quarantine;
use crate::or_skip;
use crate::support::{
    ENGINES, add, content, engine, fill, in_lab, namespace, next, numbers, sysfs, wait_until,
};

/// The namespace that these tests are about.
fn node() -> PathBuf {
    PathBuf::from(format!("/dev/nvme{}", namespace(1)))
}

/// Longest transfer of a command: NVM Express Base Specification 2.0, figure 275, MDTS.
const COMMAND_BYTES: u64 = 4096 << 5;

const PAGE: usize = 4096;

#[test]
fn the_queue_states_the_controllers_limits() {
    const NAME: &str = "nvme::the_queue_states_the_controllers_limits";
    or_skip!(NAME, in_lab("nvme"));
    let probe = probe_path(&node()).unwrap();
    let queue = |id| {
        let limit = probe.queue.get(id).expect("sysfs states it");
        assert_eq!(limit.force, Force::Soft);
        limit.value
    };
    assert_eq!(probe.size, Some(64 << 20));
    assert_eq!(queue(LimitId::TransferLenMax), COMMAND_BYTES);
    // PRPs: pages in between are whole.
    assert_eq!(queue(LimitId::GapBoundary), PAGE as u64);
    // Addresses of multiples of four; a page more than whole ones, for what does not begin at a page.
    assert_eq!(queue(LimitId::AddrAlign), 4);
    assert_eq!(queue(LimitId::SegmentsMax), COMMAND_BYTES / PAGE as u64 + 1);
    assert!(probe.limits.get(LimitId::AddrAlign).value <= 512);
}

#[test]
fn scattered_pages_are_read_in_as_few_commands_as_the_limits_allow() {
    const NAME: &str = "nvme::scattered_pages_are_read_in_as_few_commands_as_the_limits_allow";
    const LEN: usize = 1 << 20;
    or_skip!(NAME, in_lab("nvme"));
    let (node, pages) = (&*node(), LEN / PAGE);
    fill(node, 0, &content(LEN));
    let limits = probe_path(node).unwrap().limits;
    // Reads that the device has done (`Documentation/block/stat.rst`).
    let reads = || numbers(&sysfs(node).join("stat"))[0];
    let (before, mut expected_commands) = (reads(), 0);
    for kind in ENGINES {
        let mut engine = engine(kind);
        let id = add(&mut engine, node);
        // Every other page, from the last to the first.
        let memory = Quarantine::default().take(2 * LEN);
        let pieces: Vec<_> = (0..pages).rev().map(|page| (2 * page * PAGE, PAGE)).collect();
        engine.submit(id, memory.request(&pieces, FromDevice, At(0)), &limits).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(LEN as u64), "{kind}");
        // A command is counted a moment after its bytes are there; one too many is seen by the next engine.
        expected_commands += LEN as u64 / COMMAND_BYTES;
        wait_until("as many commands as it takes", || reads() - before >= expected_commands);
        assert_eq!(reads() - before, expected_commands, "{kind}");
        assert_eq!(engine.stats().operations, 1, "{kind}");
        let (bytes, expected) = (memory.bytes(), content(LEN));
        for (at, &(start, len)) in pieces.iter().enumerate() {
            assert!(bytes[start..start + len] == expected[at * PAGE..][..len], "{kind}, page {at}");
        }
    }
}

/// Pieces that break the rule of PRPs: the kernel makes commands of them that do not.
#[test]
fn pieces_with_gaps_are_read_all_the_same() {
    const NAME: &str = "nvme::pieces_with_gaps_are_read_all_the_same";
    or_skip!(NAME, in_lab("nvme"));
    let node = &*node();
    // Behind what the other tests have.
    let (at, len) = (8 << 20, 64 * 512);
    fill(node, at, &content(len));
    let limits = probe_path(node).unwrap().limits;
    for kind in ENGINES {
        let mut engine = engine(kind);
        let id = add(&mut engine, node);
        let memory = Quarantine::default().take(64 * PAGE);
        let pieces: Vec<_> = (0..64).map(|piece| (piece * PAGE + 512 * (piece % 7), 512)).collect();
        engine.submit(id, memory.request(&pieces, FromDevice, At(at)), &limits).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(len as u64), "{kind}");
        let (bytes, expected) = (memory.bytes(), content(len));
        for (at, &(start, len)) in pieces.iter().enumerate() {
            assert!(bytes[start..start + len] == expected[at * 512..][..len], "{kind}, piece {at}");
        }
    }
}

#[test]
fn a_plan_for_commands_shows_each_of_them() {
    const NAME: &str = "nvme::a_plan_for_commands_shows_each_of_them";
    or_skip!(NAME, in_lab("nvme"));
    let generic = PathBuf::from(format!("/dev/ng{}", namespace(1)));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("image");
    let bytes = content(2 << 20);
    fill(&node(), 0, &bytes);
    let options = CopyOptions { count: Some(2 << 20), ..CopyOptions::default() };
    let planned = plan(End::Path(&generic), End::Path(&to), &options).unwrap();
    assert!(planned.refusals.is_empty() && !to.exists(), "{planned:?}");
    assert!(!planned.source.splits_below && planned.destination.splits_below);
    assert_eq!(planned.source.not_direct, None);
    let layout = planned.layout.unwrap();
    let reads: Vec<_> = layout.first.iter().filter(|transfer| transfer.step == Step::Read).collect();
    assert_eq!((reads.len(), layout.requests), (2, Some(2)));
    for read in reads {
        let lengths: Vec<u64> = read.calls.iter().map(|call| call.len).collect();
        assert_eq!(lengths, [COMMAND_BYTES; 8], "{read:?}");
        let cuts = read.calls.iter().filter_map(|call| call.cut);
        assert_eq!(cuts.map(|why| why.limit).collect::<Vec<_>>(), [LimitId::TransferLenMax; 7], "{read:?}");
    }
    let report = copy(End::Path(&generic), End::Path(&to), &options, &mut Silent).unwrap();
    assert_eq!((report.source.requests, report.source.bounced_bytes), (2, 0));
    assert!(std::fs::read(&to).unwrap() == bytes);
    // Both ends are one disk.
    let onto = plan(End::Path(&generic), End::Path(&node()), &options).unwrap();
    assert_eq!(onto.refusals.len(), 1, "{onto:?}");
    assert!(onto.refusals[0].to_string().contains("would overwrite"), "{onto:?}");
}
