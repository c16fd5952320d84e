//! Digests of copies, and destinations that are read back: against digests of the plain bytes, and with disks that lie.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

mod common;
mod faulty;

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::thread;

use bulkio::copy::{
    Control, CopyError, CopyFailure, CopyOptions, Digest, DirectMode, End, EngineChoice, HashAlgorithm,
    HashRequest, Observer, Phase, Progress, Report, Silent, copy,
};
use common::{LoopDevice, storage_dir};
use faulty::{FaultyDisk, FaultyFile, FaultyFs, Op, Rule};
use proptest::prelude::*;
use sha2::Digest as _;

const MIB: usize = 1 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

fn digest_of(algorithm: HashAlgorithm, bytes: &[u8]) -> Digest {
    match algorithm {
        HashAlgorithm::Sha256 => Digest::new(sha2::Sha256::digest(bytes).into()),
        _ => Digest::new(*blake3::hash(bytes).as_bytes()),
    }
}

fn wanted(algorithm: HashAlgorithm) -> CopyOptions {
    let hash = Some(HashRequest { algorithm, expected: None });
    CopyOptions { hash, verify: true, ..CopyOptions::default() }
}

fn run(from: &Path, to: &Path, options: &CopyOptions) -> Result<Report, CopyFailure> {
    copy(End::Path(from), End::Path(to), options, &mut Silent)
}

fn case() -> impl Strategy<Value = (usize, CopyOptions)> {
    let len = prop_oneof![Just(0_usize), Just(1), Just(4096), 0..20_000_usize, 0..3_000_000_usize];
    let start = || prop_oneof![2 => Just(0_u64), 1 => 0..9000_u64, 1 => (0..9_u64).prop_map(|n| n * 512)];
    let algorithm = prop_oneof![3 => Just(HashAlgorithm::Blake3), 1 => Just(HashAlgorithm::Sha256)];
    let block = prop_oneof![Just(1_u64), Just(5000), Just(65536), Just(1 << 20)];
    let count = prop_oneof![2 => Just(None), 1 => (0..100_000_u64).prop_map(Some)];
    let engine = prop_oneof![3 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Threads)];
    let direct = prop_oneof![4 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)];
    (len, start(), start(), count, block, 1..9_u32, (engine, direct, algorithm, any::<bool>())).prop_map(
        |(len, skip, seek, count, block_len, depth, (engine, direct, algorithm, truncate))| {
            let skip = skip.min(len as u64);
            let options = CopyOptions {
                block_len: block_len.into(),
                depth: depth.into(),
                skip,
                seek,
                count,
                engine,
                direct,
                truncate,
                ..wanted(algorithm)
            };
            (len, options)
        },
    )
}

/// Copies, and holds the digest and the verification against the bytes.
fn check(from: &Path, to: &Path, source: &[u8], options: &CopyOptions) {
    let report = run(from, to, options).unwrap();
    let start = options.skip as usize;
    let end = options.count.map_or(source.len(), |count| (start + count as usize).min(source.len()));
    let range = &source[start..end];
    let algorithm = options.hash.unwrap().algorithm;
    assert_eq!(report.digest, Some((algorithm, digest_of(algorithm, range))), "{options:?}");
    let verified = report.verified.unwrap();
    assert!(verified.is_equal() && verified.ranges.is_empty(), "{verified:?} {options:?}");
    assert_eq!(verified.bytes, range.len() as u64, "{options:?}");
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
}

#[test]
fn a_digest_is_of_exactly_the_bytes_copied_whatever_the_layout() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let checked = runner(100).run(&case(), |(len, options)| {
        let source = bytes(len);
        fs::write(&from, &source).unwrap();
        fs::write(&to, bytes(len / 2)).unwrap();
        check(&from, &to, &source, &options);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn disks_are_verified_too() {
    const NAME: &str = "disks_are_verified_too";
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    for block in [512, 4096] {
        let device = or_skip!(NAME, LoopDevice::new(4 << 20, block));
        let checked = runner(25).run(&case(), |(len, options)| {
            let source = bytes(len);
            fs::write(&from, &source).unwrap();
            check(&from, device.node(), &source, &options);
            Ok(())
        });
        checked.unwrap();
        // And back.
        let source = fs::read(device.node()).unwrap();
        let options = CopyOptions { skip: 1000, count: Some(2_000_001), ..wanted(HashAlgorithm::Blake3) };
        check(device.node(), &folder.path().join("back"), &source, &options);
    }
}

#[test]
fn another_digest_than_expected_is_an_error_and_the_copy_is_there() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let source = bytes(3 * MIB + 5);
    fs::write(&from, &source).unwrap();
    for algorithm in [HashAlgorithm::Blake3, HashAlgorithm::Sha256] {
        let found = digest_of(algorithm, &source);
        let hash = |expected| Some(HashRequest { algorithm, expected: Some(expected) });
        let right = CopyOptions { hash: hash(found), ..CopyOptions::default() };
        assert_eq!(run(&from, &to, &right).unwrap().digest, Some((algorithm, found)));
        fs::remove_file(&to).unwrap();

        let other = digest_of(algorithm, b"something else");
        let wrong = CopyOptions { hash: hash(other), ..CopyOptions::default() };
        let CopyFailure { error, report } = run(&from, &to, &wrong).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(&found.to_string()) && said.contains(&other.to_string()), "{said}");
        let CopyError::DigestDiffers { bytes, .. } = error else { panic!("{error}") };
        assert_eq!(bytes, source.len() as u64);
        assert_eq!(report.unwrap().digest, Some((algorithm, found)));
        assert!(fs::read(&to).unwrap() == source);
    }
}

#[test]
fn what_cannot_be_read_back_is_refused_before_anything_is_written() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, bytes(10_000)).unwrap();
    let options = CopyOptions { sync: false, ..wanted(HashAlgorithm::Blake3) };
    let error = run(&from, &to, &options).unwrap_err().error;
    assert!(matches!(error, CopyError::CannotVerify { .. }), "{error}");
    assert!(!to.exists());
    let error = run(&from, Path::new("/dev/null"), &wanted(HashAlgorithm::Blake3)).unwrap_err().error;
    assert!(error.to_string().contains("is a stream"), "{error}");
}

const BLOCK: usize = 1 << 16;

/// A source with the bytes, and a destination of zeros.
fn ends(blocks: usize) -> Result<FaultyFs, String> {
    FaultyFs::new(vec![bytes(blocks * BLOCK), vec![0; blocks * BLOCK]])
}

fn small(engine: EngineChoice) -> CopyOptions {
    CopyOptions { engine, block_len: (BLOCK as u64).into(), truncate: false, ..wanted(HashAlgorithm::Blake3) }
}

/// Lets operations go one at a time, the one at the end of those that are held first.
fn let_go_backwards(file: &FaultyFile, count: usize, at_once: usize) -> thread::JoinHandle<()> {
    let file = file.clone();
    thread::spawn(move || {
        for left in (1..=count).rev() {
            file.wait_held(left.min(at_once));
            file.free_at(file.held_at().into_iter().max().unwrap());
        }
        file.open_gate();
    })
}

#[test]
fn writes_that_end_in_the_wrong_order_are_hashed_in_the_right_one() {
    const NAME: &str = "writes_that_end_in_the_wrong_order_are_hashed_in_the_right_one";
    const BLOCKS: usize = 16;
    for depth in [1, 4] {
        let fs = or_skip!(NAME, ends(BLOCKS));
        fs.file(0).add(Rule::reads().touching(BLOCK as u64..u64::MAX).hold());
        fs.file(1).add(Rule::writes().hold());
        let reads = let_go_backwards(fs.file(0), BLOCKS - 1, 1);
        let writes = let_go_backwards(fs.file(1), BLOCKS, 1);
        let options = CopyOptions { depth: depth.into(), verify: false, ..small(EngineChoice::Auto) };
        let report = run(&fs.file(0).path(), &fs.file(1).path(), &options).unwrap();
        reads.join().unwrap();
        writes.join().unwrap();
        let found = digest_of(HashAlgorithm::Blake3, &fs.file(0).content());
        assert_eq!(report.digest, Some((HashAlgorithm::Blake3, found)), "depth {depth}");
    }
}

/// The ranges of the destination that are named.
fn named(failure: &CopyFailure, start: u64) -> Vec<Range<u64>> {
    let CopyError::VerifyDiffers { verified, .. } = &failure.error else { panic!("{failure}") };
    assert_eq!(failure.report.as_ref().unwrap().verified.as_ref(), Some(&**verified));
    let range = |at: u64, len: u64| start + at..start + at + len;
    verified.ranges.iter().map(|found| range(found.at, found.len)).collect()
}

#[test]
fn a_flipped_bit_at_the_destination_is_found_and_its_block_named() {
    const NAME: &str = "a_flipped_bit_at_the_destination_is_found_and_its_block_named";
    const BLOCKS: usize = 40;
    for engine in [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads] {
        for flipped in [0, 12_345, MIB as u64 + 7, (BLOCKS * BLOCK) as u64 - 1] {
            let fs = or_skip!(NAME, ends(BLOCKS));
            fs.file(1).add(Rule::writes().flip(flipped));
            let failure = run(&fs.file(0).path(), &fs.file(1).path(), &small(engine)).unwrap_err();
            let named = named(&failure, 0);
            assert_eq!(named.len(), 1, "{failure}");
            assert!(named[0].contains(&flipped) && named[0].end - named[0].start <= 4096, "{named:?}");
            let said = failure.to_string();
            assert!(said.contains(&format!("at byte {}", named[0].start)), "{said}");
            // All is copied, and what was read is what the digest is of.
            let report = failure.report.unwrap();
            let found = digest_of(HashAlgorithm::Blake3, &fs.file(0).content());
            assert_eq!(report.digest, Some((HashAlgorithm::Blake3, found)));
            assert_eq!(report.bytes, (BLOCKS * BLOCK) as u64);
        }
    }
}

#[test]
fn a_flipped_bit_on_a_disk_is_named_by_its_own_blocks() {
    const NAME: &str = "a_flipped_bit_on_a_disk_is_named_by_its_own_blocks";
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, bytes(3 * MIB)).unwrap();
    for block in [512_u32, 4096] {
        let disk = or_skip!(NAME, FaultyDisk::new(vec![0; 4 * MIB], block));
        let flipped = 2 * MIB as u64 + 5000;
        disk.file().add(Rule::writes().flip(flipped));
        let options = CopyOptions { seek: 4096, skip: 4096, ..wanted(HashAlgorithm::Blake3) };
        let failure = run(&from, disk.node(), &options).unwrap_err();
        let named = named(&failure, 4096);
        let start = flipped / u64::from(block) * u64::from(block);
        assert!(named.len() == 1 && named[0].contains(&flipped), "{named:?}");
        assert!(named[0].start <= start && named[0].end - named[0].start <= 4096, "{named:?}");
    }
}

/// The disk is read once, and once more where the bit is.
#[test]
fn one_flipped_bit_in_a_gib_is_found_by_reading_the_disk_once() {
    const NAME: &str = "one_flipped_bit_in_a_gib_is_found_by_reading_the_disk_once";
    const LEN: u64 = 1 << 30;
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    let mut file = fs::File::create(&from).unwrap();
    let pattern = bytes(MIB + 4096);
    for at in 0..LEN as usize / MIB {
        file.write_all(&pattern[at * 4 % 4096..][..MIB]).unwrap();
    }
    let disk = or_skip!(NAME, FaultyDisk::new(vec![0; LEN as usize], 512));
    let flipped = 777_777_777;
    disk.file().add(Rule::writes().flip(flipped));
    disk.file().take_seen();
    let options = CopyOptions { verify: true, ..CopyOptions::default() };
    let failure = run(&from, disk.node(), &options).unwrap_err();
    let named = named(&failure, 0);
    let block = flipped / 512 * 512;
    assert!(named.len() == 1 && named[0] == (block..block + 512), "{named:?}");
    let reads = disk.file().take_seen().into_iter().filter(|seen| seen.op == Op::Read);
    let read_bytes: u64 = reads.map(|seen| seen.len).sum();
    // The mebibyte with the bit is compared with the source, and what lies at the start of a disk is looked at.
    assert!((LEN..LEN + 4 * MIB as u64).contains(&read_bytes), "{read_bytes}");
}

#[test]
fn a_destination_that_cannot_be_read_back_is_an_error_with_its_block() {
    const NAME: &str = "a_destination_that_cannot_be_read_back_is_an_error_with_its_block";
    let fs = or_skip!(NAME, ends(40));
    let (path, bad) = (fs.file(1).path(), 20 * BLOCK as u64 + 1024);
    fs.file(1).add(Rule::reads().touching(bad..bad + 512).errno(libc::EIO));
    let failure = run(&fs.file(0).path(), &path, &small(EngineChoice::Auto)).unwrap_err();
    let CopyError::Transfer { at, path: told, block, .. } = &failure.error else { panic!("{failure}") };
    let block = block.expect("the block was looked for");
    assert_eq!((*at, told), (bad / block * block, &path));
    let verified = failure.report.unwrap().verified.unwrap();
    assert!(!verified.is_equal() && !verified.complete && verified.bytes <= bad, "{verified:?}");
    assert_eq!((verified.differing_runs, verified.differing_bytes), (0, 0));
}

/// Stops a copy when it is being verified.
struct StopsVerifying;

impl Observer for StopsVerifying {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.phase == Phase::Verifying { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn verification_can_be_stopped_and_the_copy_is_whole() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, bytes(30 * MIB)).unwrap();
    let options = wanted(HashAlgorithm::Sha256);
    let report = copy(End::Path(&from), End::Path(&to), &options, &mut StopsVerifying).unwrap();
    assert!(report.interrupted && report.synced && report.bytes == 30 * MIB as u64);
    let verified = report.verified.unwrap();
    assert!(verified.bytes < report.bytes && !verified.complete && !verified.is_equal(), "{verified:?}");
    assert_eq!((verified.differing_runs, verified.differing_bytes), (0, 0));
    assert!(fs::read(&to).unwrap() == bytes(30 * MIB));
}

#[test]
fn of_a_source_with_a_bad_block_the_digest_is_of_what_was_copied_or_there_is_none() {
    const NAME: &str = "of_a_source_with_a_bad_block_the_digest_is_of_what_was_copied_or_there_is_none";
    let disk = or_skip!(NAME, FaultyDisk::new(bytes(4 * MIB), 512));
    let folder = storage_dir().unwrap();
    for (depth, bad) in [(1, 1_000_448_u64), (8, 1_000_448), (8, 512)] {
        disk.file().clear_rules();
        disk.file().add(Rule::reads().touching(bad..bad + 512).errno(libc::ENODATA));
        let options = CopyOptions {
            depth: depth.into(),
            block_len: (BLOCK as u64).into(),
            direct: DirectMode::Require,
            ..wanted(HashAlgorithm::Blake3)
        };
        let failure = run(disk.node(), &folder.path().join("to"), &options).unwrap_err();
        let report = failure.report.unwrap();
        assert_eq!(report.bytes, bad);
        let found = digest_of(HashAlgorithm::Blake3, &bytes(4 * MIB)[..bad as usize]);
        assert_eq!(report.digest, Some((HashAlgorithm::Blake3, found)));
        assert_eq!(report.verified, None);
        assert!(report.notes.iter().any(|note| note.contains("nothing was verified")), "{:?}", report.notes);
    }
}

#[test]
fn reading_back_through_the_page_cache_claims_no_empty_cache() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, bytes(10_000)).unwrap();
    // Of a file in memory there are only the pages.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    for to in [&to, &memory.path().join("to")] {
        let report = run(&from, to, &wanted(HashAlgorithm::Blake3)).unwrap();
        let said =
            report.notes.iter().find(|note| note.contains("page cache, which the kernel was asked to empty"));
        let direct = report.verified.unwrap().direct;
        assert_eq!(said.is_none(), direct, "{:?}", report.notes);
        assert!(report.notes.iter().all(|note| !note.contains("was emptied")), "{:?}", report.notes);
    }
}
