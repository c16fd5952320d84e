//! Copies to several destinations: the source is read once, and each destination is what a copy to it alone would have made it.
//!
//! `failing` has destinations that fail while others go on, `refused` what is refused before anything is written.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../faulty/mod.rs"]
mod faulty;

mod failing;
mod refused;
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bulkio::copy::{
    Control, CopyOptions, Digest, DirectMode, End, EngineChoice, HashAlgorithm, HashRequest, Observer,
    Progress, Silent, copy, copy_all,
};
use common::{LoopDevice, storage_dir};
use faulty::{FaultyFs, Rule};
use proptest::prelude::*;
use support::{Heard, KIB, MIB, assert_whole, bytes, ext4, run};

#[test]
fn three_files_cost_one_read_pass() {
    const NAME: &str = "three_files_cost_one_read_pass";
    for engine in [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads] {
        let content = bytes(5 * MIB + 777);
        let fs = or_skip!(NAME, FaultyFs::new(vec![content.clone()]));
        let folder = storage_dir().unwrap();
        let to = ["one", "two", "three"].map(|name| folder.path().join(name));
        let paths: Vec<&Path> = to.iter().map(PathBuf::as_path).collect();
        let options = CopyOptions { engine, block_len: (256 * KIB).into(), ..CopyOptions::default() };
        let report = run(&fs.file(0).path(), &paths, &options, &mut Silent).unwrap();
        let len = content.len() as u64;
        assert_eq!((report.bytes, report.durable_bytes, report.destinations.len()), (len, len, 3));
        assert_eq!(report.source.requests, 21, "one for each chunk");
        assert_eq!(report.source.direct_bytes + report.source.bounced_bytes, len);
        for (path, found) in to.iter().zip(&report.destinations) {
            assert_whole(found, len);
            assert_eq!(found.side.path, path.display().to_string());
            assert_eq!(found.side.direct_bytes + found.side.bounced_bytes, len);
            assert!(fs::read(path).unwrap() == content, "{}", path.display());
        }
        assert_eq!(report.destination, report.destinations[0].side);
        // Beside the pass there is no more than a probing read.
        let read: u64 =
            fs.file(0).seen().iter().filter(|seen| seen.op == faulty::Op::Read).map(|seen| seen.len).sum();
        assert!(read < len + 512 * KIB, "{read} bytes were read of {len}");
    }
}

/// Bytes that a disk was read, as the kernel counts them (Documentation/ABI/stable/sysfs-block: the third number of `stat`, in sectors of 512 bytes).
fn read_bytes(disk: &LoopDevice) -> u64 {
    let name = disk.node().file_name().unwrap();
    let stat = fs::read_to_string(Path::new("/sys/block").join(name).join("stat")).unwrap();
    stat.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap() * 512
}

#[test]
fn three_disks_cost_one_read_pass_of_a_disk() {
    const NAME: &str = "three_disks_cost_one_read_pass_of_a_disk";
    let content = bytes(8 * MIB);
    let len = content.len() as u64;
    let source = or_skip!(NAME, LoopDevice::new(len, 512));
    fs::write(source.node(), &content).unwrap();
    let mut disks = Vec::new();
    for _ in 0..3 {
        disks.push(or_skip!(NAME, LoopDevice::new(len, 512)));
    }
    let nodes: Vec<&Path> = disks.iter().map(LoopDevice::node).collect();
    let before = read_bytes(&source);
    let options = CopyOptions { direct: DirectMode::Require, ..CopyOptions::default() };
    let report = run(source.node(), &nodes, &options, &mut Silent).unwrap();
    // Beside the pass there is what it holds, and a probing read.
    let read = read_bytes(&source) - before;
    assert!((len..len + 512 * KIB).contains(&read), "{read} bytes were read of {len}");
    for (disk, found) in disks.iter().zip(&report.destinations) {
        assert_whole(found, len);
        assert!(fs::read(disk.node()).unwrap() == content, "{}", found.side.path);
    }
}

#[test]
fn disks_with_different_blocks_are_all_direct() {
    const NAME: &str = "disks_with_different_blocks_are_all_direct";
    let folder = storage_dir().unwrap();
    let (from, content) = (folder.path().join("from"), bytes(3 * MIB + 700));
    fs::write(&from, &content).unwrap();
    let mut disks = Vec::new();
    for block in [512, 4096, 512] {
        disks.push(or_skip!(NAME, LoopDevice::new(5 << 20, block)));
    }
    let before = ext4(5 << 20);
    disks.iter().for_each(|disk| fs::write(disk.node(), &before).unwrap());
    let nodes: Vec<&Path> = disks.iter().map(LoopDevice::node).collect();
    // Ragged at both ends on a disk with long blocks, and at the end on the others.
    let (skip, seek) = (4096 + 512, 512);
    let options = CopyOptions { skip, seek, direct: DirectMode::Require, ..CopyOptions::default() };
    let mut heard = Heard::default();
    let report = run(&from, &nodes, &options, &mut heard).unwrap();
    let len = content.len() as u64 - skip;
    assert_eq!((report.bytes, report.source.direct, report.source.bounced_bytes), (len, true, 0));
    assert_eq!(heard.asked, nodes, "about each of them");
    for (disk, found) in disks.iter().zip(&report.destinations) {
        assert_whole(found, len);
        assert!(found.side.direct && found.side.bounced_bytes < 2 * 4096, "{found:?}");
        let mut expected = before.clone();
        expected[seek as usize..][..len as usize].copy_from_slice(&content[skip as usize..]);
        assert!(fs::read(disk.node()).unwrap() == expected, "{}", found.side.path);
    }
    let ragged: Vec<u64> = report.destinations.iter().map(|found| found.side.bounced_bytes).collect();
    assert_eq!(ragged[0], ragged[2]);
    assert!(ragged[0] < 512 && ragged[1] >= 512, "each ends at its own blocks: {ragged:?}");
}

#[test]
fn files_disks_and_pipes_go_together() {
    const NAME: &str = "files_disks_and_pipes_go_together";
    let folder = storage_dir().unwrap();
    let [from, file, pipe] = ["from", "file", "pipe"].map(|name| folder.path().join(name));
    let content = bytes(2 * MIB + 333);
    fs::write(&from, &content).unwrap();
    let disk = or_skip!(NAME, LoopDevice::new(4 << 20, 512));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read(pipe).unwrap())
    };
    let options = CopyOptions { block_len: (64 * KIB).into(), ..CopyOptions::default() };
    let report = run(&from, &[&file, &pipe, disk.node()], &options, &mut Silent).unwrap();
    let len = content.len() as u64;
    assert!(reader.join().unwrap() == content, "a stream is in order");
    assert!(fs::read(&file).unwrap() == content);
    assert!(fs::read(disk.node()).unwrap()[..content.len()] == content);
    let [file, pipe, disk] = &report.destinations[..] else { panic!("{report:?}") };
    assert_whole(file, len);
    assert_whole(disk, len);
    assert_eq!((pipe.bytes, pipe.durable_bytes, pipe.synced, pipe.side.class), (len, 0, false, "pipe"));
    assert!(pipe.failed.is_none() && disk.side.direct && !pipe.side.direct);
    assert!(!report.synced && report.durable_bytes == 0, "one of them is a stream");
}

/// Opens the gate when the copy stands still, with nothing but held writes in flight.
struct OpensGate<'a> {
    slow: &'a faulty::FaultyFile,
    fast: &'a faulty::FaultyFile,
    depth: u32,
    ahead: Option<usize>,
}

impl Observer for OpensGate<'_> {
    fn progress(&mut self, progress: &Progress) -> Control {
        let stands = progress.reads_in_flight == 0 && progress.writes_in_flight == self.depth;
        if self.ahead.is_none() && stands && self.slow.held() == self.depth as usize {
            let written = |seen: &&faulty::Seen| seen.op == faulty::Op::Write;
            self.ahead = Some(self.fast.seen().iter().filter(written).count());
            self.slow.open_gate();
        }
        Control::Go
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn the_slowest_holds_the_others_up_no_sooner_than_the_memory_is_used_up() {
    const NAME: &str = "the_slowest_holds_the_others_up_no_sooner_than_the_memory_is_used_up";
    let folder = storage_dir().unwrap();
    let (from, content) = (folder.path().join("from"), bytes(4 * MIB));
    fs::write(&from, &content).unwrap();
    for depth in [1_u32, 2, 5] {
        let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; 4 * MIB]; 2]));
        let (slow, fast) = (fs.file(0), fs.file(1));
        slow.add(Rule::writes().hold());
        let mut observer = OpensGate { slow, fast, depth, ahead: None };
        let options = CopyOptions {
            block_len: (64 * KIB).into(),
            depth: depth.into(),
            truncate: false,
            engine: EngineChoice::Uring,
            ..CopyOptions::default()
        };
        let to = [slow.path(), fast.path()];
        let report = run(&from, &[&to[0], &to[1]], &options, &mut observer).unwrap();
        // Twice as many slots as the depth, and one that is for ragged ends alone.
        assert_eq!(observer.ahead, Some(2 * depth as usize));
        assert!(report.pool_bytes <= u64::from(2 * depth + 1) * 64 * KIB + (2 << 20), "{report:?}");
        for (number, found) in report.destinations.iter().enumerate() {
            assert_whole(found, 4 << 20);
            assert!(fs.file(number).content() == content, "{number}");
        }
    }
}

/// What a file of these bytes becomes.
fn expected(before: &[u8], range: &[u8], options: &CopyOptions) -> Vec<u8> {
    let seek = options.seek as usize;
    let mut file = before.to_vec();
    if options.truncate {
        file.truncate(seek);
    }
    if options.truncate || !range.is_empty() {
        let end = (seek + range.len()).max(file.len());
        file.resize(end, 0);
    }
    if !range.is_empty() {
        file[seek..seek + range.len()].copy_from_slice(range);
    }
    file
}

fn case() -> impl Strategy<Value = (usize, Vec<usize>, CopyOptions)> {
    let len = || prop_oneof![Just(0_usize), Just(1), Just(4096), 0..20_000_usize, 0..2_000_000_usize];
    let start = || prop_oneof![2 => Just(0_u64), 1 => 0..9000_u64, 1 => (0..9_u64).prop_map(|n| n * 512)];
    let block = prop_oneof![Just(1_u64), Just(5000), Just(65536), Just(1 << 20)];
    let count = prop_oneof![2 => Just(None), 1 => (0..100_000_u64).prop_map(Some)];
    let engine = prop_oneof![3 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Threads)];
    let direct = prop_oneof![4 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)];
    let before = proptest::collection::vec(len(), 2..5);
    (len(), before, (start(), start()), count, block, 1..6_u32, (engine, direct, any::<[bool; 2]>()))
        .prop_map(
            |(len, before, (skip, seek), count, block_len, depth, (engine, direct, [truncate, verify]))| {
                let hash = Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
                let options = CopyOptions {
                    block_len: block_len.into(),
                    depth: depth.into(),
                    skip: skip.min(len as u64),
                    seek,
                    count,
                    engine,
                    direct,
                    truncate,
                    hash,
                    verify,
                    ..CopyOptions::default()
                };
                (len, before, options)
            },
        )
}

#[test]
fn every_destination_is_what_a_copy_to_it_alone_would_make_it() {
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let checked = proptest::test_runner::TestRunner::new(config).run(&case(), |(len, lens, options)| {
        let source = bytes(len);
        fs::write(&from, &source).unwrap();
        let start = options.skip as usize;
        let end = options.count.map_or(len, |count| (start + count as usize).min(len));
        let range = &source[start..end];
        let before = |number: usize| vec![number as u8 + 1; lens[number]];
        let to: Vec<PathBuf> = (0..lens.len()).map(|number| folder.path().join(number.to_string())).collect();
        for (number, path) in to.iter().enumerate() {
            fs::write(path, before(number)).unwrap();
        }
        let paths: Vec<&Path> = to.iter().map(PathBuf::as_path).collect();
        let report = run(&from, &paths, &options, &mut Silent).unwrap();
        let digest = Digest::new(*blake3::hash(range).as_bytes());
        prop_assert_eq!(report.digest, Some((HashAlgorithm::Blake3, digest)));
        prop_assert_eq!((report.bytes, report.verified.is_none()), (range.len() as u64, true));
        for (number, (path, found)) in to.iter().zip(&report.destinations).enumerate() {
            assert_whole(found, range.len() as u64);
            prop_assert!(fs::read(path).unwrap() == expected(&before(number), range, &options), "{}", number);
            let verified = found.verified.as_ref().map(|verified| (verified.is_equal(), verified.bytes));
            prop_assert_eq!(verified, options.verify.then_some((true, range.len() as u64)));
        }
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn one_destination_is_an_ordinary_copy() {
    let folder = storage_dir().unwrap();
    let [from, to, other] = ["from", "to", "other"].map(|name| folder.path().join(name));
    fs::write(&from, bytes(100_000)).unwrap();
    let options = CopyOptions::default();
    let report = copy_all(End::Path(&from), &[End::Path(&to)], &options, &mut Silent).unwrap();
    let plain = copy(End::Path(&from), End::Path(&other), &options, &mut Silent).unwrap();
    assert!(report.destinations.is_empty() && plain.destinations.is_empty());
    assert_eq!((report.bytes, report.destination.requests), (plain.bytes, plain.destination.requests));
}

/// Stops a copy whose source stands still.
struct Stops<'a>(&'a faulty::FaultyFile);

impl Observer for Stops<'_> {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.writes_in_flight > 0 || progress.done_bytes == 0 || self.0.held() == 0 {
            return Control::Go;
        }
        self.0.open_gate();
        Control::Stop
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn a_stop_leaves_every_destination_with_what_is_told() {
    const NAME: &str = "a_stop_leaves_every_destination_with_what_is_told";
    let content = bytes(4 * MIB);
    let fs = or_skip!(NAME, FaultyFs::new(vec![content.clone()]));
    let source = fs.file(0);
    source.add(Rule::reads().touching(1 << 20..u64::MAX).hold());
    let folder = storage_dir().unwrap();
    let to = ["one", "two"].map(|name| folder.path().join(name));
    let options = CopyOptions {
        block_len: (64 * KIB).into(),
        depth: 2.into(),
        engine: EngineChoice::Uring,
        ..CopyOptions::default()
    };
    let report = run(&source.path(), &[&to[0], &to[1]], &options, &mut Stops(source)).unwrap();
    // What was being read when it was stopped is copied, too.
    assert_eq!((report.bytes, report.interrupted, report.synced), ((1 << 20) + 128 * KIB, true, true));
    for (path, found) in to.iter().zip(&report.destinations) {
        assert_whole(found, report.bytes);
        assert!(fs::read(path).unwrap() == content[..found.bytes as usize]);
    }
}
