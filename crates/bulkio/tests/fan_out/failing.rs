//! Destinations that fail while others go on: each is told with its name and its byte, nothing more is written to it, and the others are whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use bulkio::copy::{
    Control, CopyError, CopyFailure, CopyOptions, EngineChoice, HashAlgorithm, HashRequest, Observer, Phase,
    Progress, Side, Silent,
};

use crate::common::{LoopDevice, Mounted, storage_dir};
use crate::faulty::{FaultyDisk, FaultyFile, FaultyFs, Op, Rule, Seen};
use crate::or_skip;
use crate::support::{Heard, KIB, MIB, assert_failed, assert_whole, bytes, run};

const LEN: usize = 4 * MIB;
const MIDDLE: u64 = 2 << 20;

/// A folder with a source.
fn source(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, content).unwrap();
    (folder, from)
}

fn options(depth: u32) -> CopyOptions {
    let hash = Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
    let block_len = (64 * KIB).into();
    CopyOptions { block_len, depth: depth.into(), truncate: false, hash, ..CopyOptions::default() }
}

fn writes(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.op == Op::Write).count()
}

/// Hears that a destination is dropped, and keeps how many writes it had seen by then.
struct Dropped<'a> {
    file: &'a FaultyFile,
    seen: Option<usize>,
    warnings: Vec<String>,
}

impl Observer for Dropped<'_> {
    fn progress(&mut self, _: &Progress) -> Control {
        Control::Go
    }

    fn warning(&mut self, text: &str) {
        self.seen = Some(writes(&self.file.seen()));
        self.warnings.push(text.to_owned());
    }
}

#[test]
fn one_of_three_that_fails_in_the_middle_is_reported_and_the_others_are_identical() {
    const NAME: &str = "one_of_three_that_fails_in_the_middle_is_reported_and_the_others_are_identical";
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    for engine in [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads] {
        for (depth, failing) in [(1, 0), (4, 1), (4, 2)] {
            let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]]));
            fs.file(0).add(Rule::writes().touching(MIDDLE..MIDDLE + 4096).errno(libc::EIO));
            let (bad, one, two) = (fs.file(0).path(), folder.path().join("one"), folder.path().join("two"));
            let mut to: Vec<&Path> = vec![&one, &two];
            to.insert(failing, &bad);
            let mut heard = Dropped { file: fs.file(0), seen: None, warnings: Vec::new() };
            let report = run(&from, &to, &CopyOptions { engine, ..options(depth) }, &mut heard).unwrap();
            assert_eq!((report.bytes, report.durable_bytes, report.synced), (LEN as u64, LEN as u64, true));
            let digest = report.digest.expect("of what the others have").1;
            assert_eq!(digest.to_string(), blake3::hash(&content).to_hex().to_string());
            for (number, (path, found)) in to.iter().zip(&report.destinations).enumerate() {
                if number == failing {
                    assert_failed(found, MIDDLE, "failed at byte 2097152");
                } else {
                    assert_whole(found, LEN as u64);
                    assert!(fs::read(path).unwrap() == content, "{engine:?} {depth} {number}");
                }
            }
            assert_eq!(report.failed_destinations().count(), 1);
            let [warning] = &heard.warnings[..] else { panic!("{:?}", heard.warnings) };
            assert!(warning.ends_with("2 of 3 destinations are left"), "{warning}");
            let seen = fs.file(0).seen();
            // What was in flight when it was dropped may come later; nothing else does.
            let later = writes(&seen) - heard.seen.expect("it was dropped");
            assert!(later < depth as usize, "nothing more is written to it: {later}, {engine:?} {depth}");
            assert!(seen.iter().all(|seen| seen.op != Op::Sync), "nor is it flushed");
        }
    }
}

/// Refuses what a destination has in flight when the others have all that there is memory for.
struct RefusesLast<'a>(&'a FaultyFile);

impl Observer for RefusesLast<'_> {
    fn progress(&mut self, progress: &Progress) -> Control {
        let held = self.0.held();
        if held > 0 && progress.reads_in_flight == 0 && progress.writes_in_flight as usize == held {
            self.0.clear_rules();
            self.0.refuse_held(libc::EIO);
        }
        Control::Go
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn what_the_others_have_is_hashed_also_where_the_last_one_on_it_fails() {
    const NAME: &str = "what_the_others_have_is_hashed_also_where_the_last_one_on_it_fails";
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    for depth in [1, 4] {
        let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]]));
        fs.file(0).add(Rule::writes().touching(MIDDLE..u64::MAX).hold());
        let (bad, one) = (fs.file(0).path(), folder.path().join("one"));
        let options = CopyOptions { engine: EngineChoice::Uring, verify: true, ..options(depth) };
        let report = run(&from, &[&bad, &one], &options, &mut RefusesLast(fs.file(0))).unwrap();
        assert_failed(&report.destinations[0], MIDDLE, "failed at byte 2097152");
        assert_whole(&report.destinations[1], LEN as u64);
        let digest = report.digest.expect("of what the other has").1;
        assert_eq!(digest.to_string(), blake3::hash(&content).to_hex().to_string());
        let verified = report.destinations[1].verified.as_ref().unwrap();
        assert!(verified.is_equal() && verified.bytes == LEN as u64, "{verified:?}");
        assert!(report.destinations[0].verified.is_none());
    }
}

#[test]
fn a_file_system_that_fills_up_is_dropped() {
    const NAME: &str = "a_file_system_that_fills_up_is_dropped";
    let content = bytes(12 * MIB);
    let (folder, from) = source(&content);
    let disk = or_skip!(NAME, LoopDevice::new(8 << 20, 512));
    let small = or_skip!(NAME, Mounted::ext4(disk.node()));
    let (one, full, pipe) =
        (folder.path().join("one"), small.path().join("full"), folder.path().join("pipe"));
    // The length is known: what has no room for it is dropped before the first byte, and leaves nothing.
    let report = run(&from, &[&full, &one], &options(4), &mut Silent).unwrap();
    assert_failed(&report.destinations[0], 0, "reserving space");
    assert_whole(&report.destinations[1], 12 << 20);
    assert!(fs::read(&one).unwrap() == content);
    assert!(crate::common::is_absent(&full), "it was created, and nothing was written to it");
    // It is not known: the writes tell.
    fs::remove_file(&one).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let writer = {
        let (pipe, content) = (pipe.clone(), content.clone());
        thread::spawn(move || fs::write(pipe, content).unwrap())
    };
    let mut heard = Heard::default();
    let report = run(&pipe, &[&one, &full], &options(4), &mut heard).unwrap();
    writer.join().unwrap();
    assert_whole(&report.destinations[0], 12 << 20);
    assert!(fs::read(&one).unwrap() == content);
    let failed = &report.destinations[1];
    assert_failed(failed, failed.failed.as_ref().unwrap().at, "No space left on device");
    let held = fs::read(&full).unwrap();
    assert!(held.len() as u64 == failed.bytes && held == content[..held.len()], "it is cut to what it has");
    assert!(failed.bytes > 1 << 20 && heard.warnings.len() == 1, "{failed:?} {:?}", heard.warnings);
}

#[test]
fn a_stream_that_fails_does_not_stop_the_others() {
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    let (one, pipe) = (folder.path().join("one"), folder.path().join("pipe"));
    let full = Path::new("/dev/full");
    let report = run(&from, &[full, &one], &options(4), &mut Silent).unwrap();
    assert_failed(&report.destinations[0], 0, "No space left on device");
    assert_whole(&report.destinations[1], LEN as u64);
    assert!(fs::read(&one).unwrap() == content);

    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = {
        let pipe = pipe.clone();
        thread::spawn(move || {
            use std::io::Read as _;
            let mut head = vec![0; 100_000];
            fs::File::open(pipe).unwrap().read_exact(&mut head).unwrap();
            head
        })
    };
    let report = run(&from, &[&one, &pipe], &options(4), &mut Silent).unwrap();
    assert!(reader.join().unwrap() == content[..100_000]);
    assert_whole(&report.destinations[0], LEN as u64);
    let closed = &report.destinations[1];
    assert_failed(closed, closed.failed.as_ref().unwrap().at, "was closed by its reader");
}

#[test]
fn one_that_cannot_be_made_durable_is_dropped() {
    const NAME: &str = "one_that_cannot_be_made_durable_is_dropped";
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]]));
    fs.file(0).add(Rule::syncs().errno(libc::EIO));
    let (bad, one) = (fs.file(0).path(), folder.path().join("one"));
    let mut heard = Heard::default();
    let report = run(&from, &[&bad, &one], &options(4), &mut heard).unwrap();
    assert_failed(&report.destinations[0], LEN as u64, "durable failed");
    assert_whole(&report.destinations[1], LEN as u64);
    assert_eq!((report.bytes, report.durable_bytes, heard.warnings.len()), (LEN as u64, LEN as u64, 1));
}

#[test]
fn when_all_have_failed_the_copy_ends_with_what_came_first() {
    const NAME: &str = "when_all_have_failed_the_copy_ends_with_what_came_first";
    let (_folder, from) = source(&bytes(LEN));
    let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]; 2]));
    fs.file(0).add(Rule::writes().touching(MIDDLE..MIDDLE + 1).errno(libc::EIO));
    fs.file(1).add(Rule::writes().touching(MIDDLE / 2..MIDDLE / 2 + 1).errno(libc::EIO));
    let (late, early) = (fs.file(0).path(), fs.file(1).path());
    let mut heard = Heard::default();
    let CopyFailure { error, report } = run(&from, &[&late, &early], &options(1), &mut heard).unwrap_err();
    let CopyError::Transfer { side: Side::Destination, path, at, .. } = error else { panic!("{error}") };
    assert_eq!((path, at), (early, MIDDLE / 2));
    let report = report.unwrap();
    assert_failed(&report.destinations[0], MIDDLE, "failed at byte");
    assert_failed(&report.destinations[1], MIDDLE / 2, "failed at byte");
    assert_eq!((report.bytes, report.durable_bytes, report.synced), (MIDDLE, 0, false));
    let reads = report.source.requests * 64 * KIB;
    assert!(reads < LEN as u64, "nothing more is read: {reads}");
    assert!(heard.warnings[1].ends_with("no destination is left"), "{:?}", heard.warnings);
}

#[test]
fn a_source_that_fails_ends_the_copy_of_all() {
    const NAME: &str = "a_source_that_fails_ends_the_copy_of_all";
    let content = bytes(LEN);
    let disk = or_skip!(NAME, FaultyDisk::new(content.clone(), 512));
    let bad = MIDDLE + 4096..MIDDLE + 4096 + 1024;
    disk.file().add(Rule::reads().touching(bad.clone()).errno(libc::ENODATA));
    let folder = storage_dir().unwrap();
    let to = ["one", "two"].map(|name| folder.path().join(name));
    let failure = run(disk.node(), &[&to[0], &to[1]], &options(4), &mut Silent).unwrap_err();
    let CopyError::Transfer { side: Side::Source, at, len, .. } = failure.error else {
        panic!("{}", failure.error);
    };
    assert_eq!((at, len), (bad.start, 1024));
    for (path, found) in to.iter().zip(&failure.report.unwrap().destinations) {
        assert_whole(found, bad.start);
        assert!(fs::read(path).unwrap() == content[..found.bytes as usize]);
    }
}

#[test]
fn a_disk_that_lies_is_found_among_others() {
    const NAME: &str = "a_disk_that_lies_is_found_among_others";
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    let disk = or_skip!(NAME, FaultyDisk::new(vec![0; LEN], 512));
    disk.file().add(Rule::writes().flip(MIDDLE + 700));
    let one = folder.path().join("one");
    let mut heard = Heard::default();
    let options = CopyOptions { verify: true, ..options(4) };
    let report = run(&from, &[disk.node(), &one], &options, &mut heard).unwrap();
    let [lies, whole] = &report.destinations[..] else { panic!("{report:?}") };
    let verified = lies.verified.as_ref().unwrap();
    assert!(!verified.is_equal() && verified.ranges[0].at == MIDDLE + 512, "{verified:?}");
    let failed = lies.failed.as_ref().unwrap();
    assert!(failed.message.contains("does not hold what was written to it"), "{failed:?}");
    assert_eq!((lies.bytes, lies.durable_bytes, lies.synced), (LEN as u64, 0, false));
    assert!(whole.verified.as_ref().unwrap().is_equal());
    assert_whole(whole, LEN as u64);
    assert_eq!((report.durable_bytes, report.synced), (LEN as u64, true));
    assert_eq!(heard.warnings.len(), 1, "{:?}", heard.warnings);
    // Where no other is left, it is the copy's failure.
    let fs = or_skip!(NAME, FaultyFs::new(vec![vec![0; LEN]]));
    fs.file(0).add(Rule::writes().touching(0..1).errno(libc::EIO));
    let failure = run(&from, &[&fs.file(0).path(), disk.node()], &options, &mut Silent).unwrap_err();
    assert!(matches!(failure.error, CopyError::VerifyDiffers { .. }), "{}", failure.error);
    let report = failure.report.unwrap();
    assert_eq!((report.durable_bytes, report.synced), (0, false));
}

/// Stops the copy when the destination behind the first bad one is read back.
#[derive(Default)]
struct StopsBehindBad {
    is_bad: bool,
}

impl Observer for StopsBehindBad {
    fn progress(&mut self, progress: &Progress) -> Control {
        if self.is_bad && progress.phase == Phase::Verifying { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, _: &str) {
        self.is_bad = true;
    }
}

#[test]
fn a_stop_behind_one_that_lies_leaves_the_others_copied() {
    const NAME: &str = "a_stop_behind_one_that_lies_leaves_the_others_copied";
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    let disk = or_skip!(NAME, FaultyDisk::new(vec![0; LEN], 512));
    disk.file().add(Rule::writes().flip(MIDDLE + 700));
    let one = folder.path().join("one");
    let options = CopyOptions { verify: true, ..options(4) };
    let report = run(&from, &[disk.node(), &one], &options, &mut StopsBehindBad::default()).unwrap();
    let [lies, left] = &report.destinations[..] else { panic!("{report:?}") };
    assert!(report.interrupted && report.synced, "{report:?}");
    let failed = lies.failed.as_ref().unwrap();
    assert!(failed.at == MIDDLE + 512 && !lies.synced && lies.durable_bytes == 0, "{lies:?}");
    assert_whole(left, LEN as u64);
    assert!(!left.verified.as_ref().unwrap().complete, "{left:?}");
    assert!(fs::read(&one).unwrap() == content);
}

#[test]
fn one_that_fails_before_its_first_block_is_completed_has_nothing() {
    const NAME: &str = "one_that_fails_before_its_first_block_is_completed_has_nothing";
    const SEEK: u64 = 100;
    let content = bytes(LEN);
    let (folder, from) = source(&content);
    let one = folder.path().join("one");
    for block in [512, 4096] {
        let before = vec![0x5a; LEN + 8192];
        let disk = or_skip!(NAME, FaultyDisk::new(before.clone(), block));
        disk.file().add(Rule::writes().touching(MIDDLE..MIDDLE + 1).errno(libc::EIO));
        let options = CopyOptions { seek: SEEK, ..options(1) };
        let report = run(&from, &[&one, disk.node()], &options, &mut Silent).unwrap();
        assert_whole(&report.destinations[0], LEN as u64);
        assert!(fs::read(&one).unwrap()[SEEK as usize..] == content);
        // Its first block would have been completed behind the rest.
        let failed = &report.destinations[1];
        assert!(failed.failed.is_some() && failed.side.direct_bytes > 0, "{failed:?}");
        assert_eq!((failed.bytes, failed.durable_bytes), (0, 0), "{block}: {failed:?}");
        let held = disk.file().content();
        assert!(held[..block as usize] == before[..block as usize], "{block}");
        assert!(
            held[block as usize..][..4096] == content[block as usize - SEEK as usize..][..4096],
            "{block}"
        );
        fs::remove_file(&one).unwrap();
    }
    // A file has no byte before its first one is known, and is as long as that.
    let disk = or_skip!(NAME, LoopDevice::new(8 << 20, 4096));
    let small = or_skip!(NAME, Mounted::ext4(disk.node()));
    let (full, pipe) = (small.path().join("full"), folder.path().join("pipe"));
    let content = bytes(12 * MIB);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let writer = {
        let (pipe, content) = (pipe.clone(), content.clone());
        thread::spawn(move || fs::write(pipe, content).unwrap())
    };
    let options = CopyOptions { seek: SEEK, ..options(4) };
    let report = run(&pipe, &[&one, &full], &options, &mut Silent).unwrap();
    writer.join().unwrap();
    assert_whole(&report.destinations[0], 12 << 20);
    let failed = &report.destinations[1];
    assert!(failed.failed.as_ref().unwrap().message.contains("No space left"), "{failed:?}");
    assert_eq!((failed.bytes, fs::metadata(&full).unwrap().len()), (0, 0), "{failed:?}");
}

#[test]
fn a_write_that_the_copy_cancels_is_no_failure_of_its_destination() {
    const NAME: &str = "a_write_that_the_copy_cancels_is_no_failure_of_its_destination";
    use std::io::Read as _;
    let content = bytes(LEN);
    let folder = storage_dir().unwrap();
    let (one, pipe) = (folder.path().join("one"), folder.path().join("pipe"));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for engine in [EngineChoice::Uring, EngineChoice::Threads] {
        let disk = or_skip!(NAME, FaultyDisk::new(content.clone(), 512));
        let bad = 256 * KIB;
        disk.file().add(Rule::reads().touching(bad..bad + 512).errno(libc::ENODATA));
        // It stands still until the copy is over: the pipe is full long before the source fails.
        let reader = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let mut reader = fs::File::from(rustix::fs::open(&pipe, reader, rustix::fs::Mode::empty()).unwrap());
        let options = CopyOptions { engine, ..options(4) };
        let failure = run(disk.node(), &[&one, &pipe], &options, &mut Silent).unwrap_err();
        assert!(matches!(failure.error, CopyError::Transfer { side: Side::Source, .. }), "{}", failure.error);
        let report = failure.report.unwrap();
        assert!(report.destinations.iter().all(|one| one.failed.is_none()), "{engine:?} {report:?}");
        assert_whole(&report.destinations[0], bad);
        assert!(fs::read(&one).unwrap() == content[..bad as usize]);
        // The kernel lets go of the other end a little later.
        rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::empty()).unwrap();
        let mut came = Vec::new();
        reader.read_to_end(&mut came).unwrap();
        assert!(came.len() < bad as usize && came == content[..came.len()], "{engine:?} {}", came.len());
        assert_eq!(report.destinations[1].bytes, came.len() as u64, "{engine:?}");
        fs::remove_file(&one).unwrap();
    }
}
