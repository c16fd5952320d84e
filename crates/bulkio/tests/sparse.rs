//! Sparse copies: what a file system names as holes is not read, and is zeros at the destination, whatever that is and whatever it held.
//!
//! Figures are counts, not times: bytes that moved, blocks that the destination takes. Each copy is compared with plain reads.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod faulty;

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bulkio::copy::{
    Buffering, Control, CopyError, CopyOptions, Digest, DirectMode, End, EngineChoice, HashAlgorithm,
    HashRequest, MapOptions, Observer, OnError, Phase, Progress, Report, RescueOptions, Silent, Sparse, copy,
    copy_all,
};
use common::{LoopDevice, Mounted, storage_dir};
use faulty::{FaultyDisk, Rule};
use proptest::prelude::*;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bytes without a zero, which differ from place to place.
fn pattern(at: u64, len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|i| 1 + ((at + i).wrapping_mul(0x9e37_79b9).wrapping_add(seed) >> 7) as u8 % 255)
        .collect()
}

/// Makes a file of this length with data here and holes elsewhere.
fn sparse_file(path: &Path, len: u64, data: impl IntoIterator<Item = Range<u64>>) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for data in data {
        let bytes = pattern(data.start, (data.end - data.start) as usize, 1);
        file.write_all_at(&bytes, data.start).unwrap();
    }
    file.sync_all().unwrap();
}

/// Writes over bytes of a file or disk, past nobody's cache.
fn fill(path: &Path, at: u64, len: u64) {
    let file = File::options().write(true).open(path).unwrap();
    for at in (at..at + len).step_by(MIB as usize) {
        file.write_all_at(&vec![0xee; MIB as usize], at).unwrap();
    }
    file.sync_all().unwrap();
}

/// Bytes of disk that a file takes.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[track_caller]
fn run(from: &Path, to: &Path, options: &CopyOptions) -> Report {
    let report = copy(End::Path(from), End::Path(to), options, &mut Silent).unwrap();
    let sparse = report.sparse.clone().unwrap_or_default();
    // No byte is counted twice, and none is forgotten.
    for side in [&report.source, &report.destination] {
        let moved = side.direct_bytes + side.bounced_bytes;
        let read_only = if std::ptr::eq(side, &report.source) { sparse.found_bytes } else { 0 };
        assert_eq!(moved + sparse.unwritten_bytes() - read_only, report.bytes, "{report:#?}");
    }
    report
}

/// Compares bytes of two files or disks by plain reads.
#[track_caller]
fn assert_same((a, at_a): (&Path, u64), (b, at_b): (&Path, u64), len: u64) {
    let open = |path: &Path| {
        let file = File::open(path).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        file
    };
    let (a, b) = (open(a), open(b));
    let mut buffers = [vec![0; 4 << 20], vec![0; 4 << 20]];
    for at in (0..len).step_by(4 << 20) {
        let part = (len - at).min(4 << 20) as usize;
        let [from_a, from_b] = &mut buffers;
        a.read_exact_at(&mut from_a[..part], at_a + at).unwrap();
        b.read_exact_at(&mut from_b[..part], at_b + at).unwrap();
        assert!(from_a[..part] == from_b[..part], "they differ between bytes {at} and {}", at + part as u64);
    }
}

/// The parts of a file that its file system calls data.
fn data_of(path: &Path) -> Vec<Range<u64>> {
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path).unwrap();
    let mut data = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        data.push(start..at);
    }
    data
}

/// Compares two files wherever one of them has data: elsewhere both have holes, and tens of gibibytes of those need no reading.
#[track_caller]
fn assert_same_data(a: &Path, b: &Path) {
    let areas = [data_of(a), data_of(b)].concat();
    assert!(!areas.is_empty());
    for area in areas {
        assert_same((a, area.start), (b, area.start), area.end - area.start);
    }
}

const DATA: u64 = 100 * MIB;

/// 100 areas of 1 MiB, at places that are no round numbers, and both ends.
fn scattered(len: u64) -> impl Iterator<Item = Range<u64>> {
    let step = (len - MIB) / 99 / 4096 * 4096;
    (0..100).map(move |i| if i == 99 { len - MIB..len } else { i * step..i * step + MIB })
}

/// An ext4 of its own over a loop device: block counts are of that file system alone.
struct Disk {
    mounted: Mounted,
    _device: LoopDevice,
}

impl Disk {
    fn new(len: u64) -> Result<Self, String> {
        let device = LoopDevice::new(len, 512)?;
        Ok(Self { mounted: Mounted::ext4(device.node())?, _device: device })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mounted.path().join(name)
    }
}

#[test]
fn an_image_of_ten_gibibytes_moves_its_hundred_mebibytes_alone() {
    const NAME: &str = "an_image_of_ten_gibibytes_moves_its_hundred_mebibytes_alone";
    let disk = or_skip!(NAME, Disk::new(4 * GIB));
    let (from, to) = (disk.path("from"), disk.path("to"));
    let len = 10 * GIB;
    sparse_file(&from, len, scattered(len));
    let report = run(&from, &to, &CopyOptions::default());
    assert_eq!((report.bytes, report.durable_bytes), (len, len));
    assert!(report.source.direct_bytes + report.source.bounced_bytes <= DATA + MIB, "{report:#?}");
    assert!(report.source.requests <= 300, "{report:#?}");
    let sparse = report.sparse.unwrap();
    assert!(sparse.kept_bytes >= len - DATA - MIB && sparse.filled_bytes == 0, "{sparse:?}");
    assert_eq!(fs::metadata(&to).unwrap().len(), len);
    assert!(taken(&to) <= taken(&from) + MIB, "{} of {}", taken(&to), taken(&from));
    assert_same_data(&from, &to);

    let device = or_skip!(NAME, LoopDevice::new(len, 512));
    fill(device.node(), 7 * GIB, 200 * MIB);
    let report = run(&from, device.node(), &CopyOptions::default());
    assert!(report.source.direct_bytes + report.source.bounced_bytes <= DATA + MIB, "{report:#?}");
    assert!(report.sparse.unwrap().discarded_bytes >= len - DATA - MIB);
    assert!(taken(device.backing()) <= DATA + 4 * MIB, "{}", taken(device.backing()));
    // What is no data of the file behind the disk is zeros of the disk.
    assert_same_data(&from, device.backing());
}

#[test]
fn a_disk_has_its_old_contents_discarded_where_the_image_has_holes() {
    const NAME: &str = "a_disk_has_its_old_contents_discarded_where_the_image_has_holes";
    let disk = or_skip!(NAME, Disk::new(GIB));
    let from = disk.path("from");
    let len = 300 * MIB + 512;
    sparse_file(&from, len, [0..MIB, 150 * MIB + 512..152 * MIB, 299 * MIB..300 * MIB + 100]);
    for block in [512, 4096] {
        let device = or_skip!(NAME, LoopDevice::new(304 * MIB, block));
        fill(device.node(), 0, 304 * MIB);
        assert!(taken(device.backing()) >= 300 * MIB);
        // Somebody wrote to it just now, and it is all in the page cache.
        let node = File::options().write(true).open(device.node()).unwrap();
        node.write_all_at(&[0xaa; 8192], 10 * MIB).unwrap();
        drop(node);
        let report = run(&from, device.node(), &CopyOptions { verify: true, ..CopyOptions::default() });
        let sparse = report.sparse.unwrap();
        assert!(sparse.discarded_bytes >= 294 * MIB, "{sparse:?} {:?}", report.notes);
        assert!(report.source.direct_bytes + report.source.bounced_bytes <= 5 * MIB);
        assert!(report.verified.unwrap().is_equal());
        assert_same((&from, 0), (device.node(), 0), len);
        // What lies behind the range stays.
        let mut behind = vec![0; MIB as usize];
        File::open(device.node()).unwrap().read_exact_at(&mut behind, 301 * MIB).unwrap();
        assert!(behind.iter().all(|byte| *byte == 0xee));
        assert!(taken(device.backing()) <= 12 * MIB, "{}", taken(device.backing()));
    }
}

#[test]
fn a_disk_that_discards_nothing_gets_zeros_written() {
    const NAME: &str = "a_disk_that_discards_nothing_gets_zeros_written";
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    sparse_file(&from, 8 * MIB, [MIB..2 * MIB, 5 * MIB + 100..5 * MIB + 200]);
    // The file system in user space below it punches no holes.
    let disk = or_skip!(NAME, FaultyDisk::new(vec![0xee; 8 * MIB as usize], 512));
    let report = run(&from, disk.node(), &CopyOptions::default());
    let sparse = report.sparse.unwrap();
    assert_eq!((sparse.discarded_bytes, sparse.filled_bytes), (0, 0), "{sparse:?} {:?}", report.notes);
    assert!(sparse.zeroed_bytes > 6 * MIB, "{sparse:?}");
    assert!(report.notes.iter().any(|note| note.contains("unmapping a range")), "{:?}", report.notes);
    assert_same((&from, 0), (disk.node(), 0), 8 * MIB);
}

#[test]
fn old_bytes_of_a_file_that_is_kept_are_punched_out() {
    const NAME: &str = "old_bytes_of_a_file_that_is_kept_are_punched_out";
    let disk = or_skip!(NAME, Disk::new(GIB));
    let (from, to) = (disk.path("from"), disk.path("to"));
    sparse_file(&from, 100 * MIB, Some(10 * MIB..11 * MIB));
    File::create(&to).unwrap();
    fill(&to, 0, 60 * MIB);
    let options = CopyOptions { truncate: false, seek: 5 * MIB, ..CopyOptions::default() };
    let report = run(&from, &to, &options);
    let sparse = report.sparse.unwrap();
    assert_eq!(sparse.punched_bytes, 54 * MIB, "{sparse:?}");
    assert_eq!(sparse.kept_bytes, 45 * MIB, "{sparse:?}");
    assert!(taken(&to) <= 7 * MIB, "{}", taken(&to));
    assert_eq!(fs::metadata(&to).unwrap().len(), 105 * MIB);
    assert_same((&from, 0), (&to, 5 * MIB), 100 * MIB);
    let mut before = vec![0; 5 * MIB as usize];
    File::open(&to).unwrap().read_exact_at(&mut before, 0).unwrap();
    assert!(before.iter().all(|byte| *byte == 0xee));
}

#[test]
fn files_that_are_a_hole_end_in_one_or_are_empty_have_their_length() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (len, data) in [
        (64 * MIB, None),
        (64 * MIB + 1, Some(0..1)),
        (200_003, Some(5..6)),
        (10, None),
        (0, None),
        (MIB, Some(0..MIB)),
    ] {
        sparse_file(&from, len, data);
        for truncate in [true, false] {
            fs::write(&to, [7; 100_000]).unwrap();
            let options = CopyOptions { truncate, ..CopyOptions::default() };
            let report = run(&from, &to, &options);
            assert_eq!(report.bytes, len);
            let expected = if truncate { len } else { len.max(100_000) };
            assert_eq!(fs::metadata(&to).unwrap().len(), expected, "{len} {truncate}");
            assert_same((&from, 0), (&to, 0), len);
        }
    }
}

#[test]
fn never_reads_and_writes_everything() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    sparse_file(&from, 20 * MIB, Some(MIB..2 * MIB));
    let report = run(&from, &to, &CopyOptions { sparse: Sparse::Never, ..CopyOptions::default() });
    assert_eq!(report.source.direct_bytes + report.source.bounced_bytes, 20 * MIB);
    assert_eq!((report.sparse, taken(&to) >= 20 * MIB), (None, true));
    assert_same((&from, 0), (&to, 0), 20 * MIB);
}

#[test]
fn zeros_in_a_dense_file_become_holes_and_what_cannot_have_holes_is_refused() {
    const NAME: &str = "zeros_in_a_dense_file_become_holes_and_what_cannot_have_holes_is_refused";
    let disk = or_skip!(NAME, Disk::new(GIB));
    let (from, to) = (disk.path("from"), disk.path("to"));
    let len = 64 * MIB;
    let file = File::create(&from).unwrap();
    for at in (0..len).step_by(MIB as usize) {
        file.write_all_at(&vec![0; MIB as usize], at).unwrap();
    }
    // Three runs of a chunk, a byte in the middle of nothing, and an end that is no block.
    file.write_all_at(&pattern(0, 100_000, 1), 10 * MIB + 300_000).unwrap();
    file.write_all_at(&[1], 20 * MIB + 511).unwrap();
    file.write_all_at(&[0; 1000], len).unwrap();
    file.sync_all().unwrap();
    assert!(taken(&from) >= len);
    for engine in [EngineChoice::Auto, EngineChoice::Threads] {
        let hash = Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
        let options =
            CopyOptions { sparse: Sparse::Always, hash, verify: true, engine, ..CopyOptions::default() };
        let report = run(&from, &to, &options);
        assert_eq!(report.source.direct_bytes + report.source.bounced_bytes, len + 1000);
        let sparse = report.sparse.unwrap();
        assert_eq!((sparse.found_bytes, sparse.filled_bytes), (sparse.kept_bytes, 0), "{sparse:?}");
        assert!(taken(&to) <= 200_000, "{} {sparse:?}", taken(&to));
        let whole = fs::read(&from).unwrap();
        assert_eq!(report.digest.unwrap().1, digest_of(HashAlgorithm::Blake3, &whole));
        assert!(report.verified.unwrap().is_equal());
        assert!(fs::read(&to).unwrap() == whole);
    }

    let options = CopyOptions { sparse: Sparse::Always, ..CopyOptions::default() };
    let fifo = disk.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    let _reader = File::options().read(true).write(true).open(&fifo).unwrap();
    let refused = copy(End::Path(&from), End::Path(&fifo), &options, &mut Silent).unwrap_err();
    assert!(matches!(refused.error, CopyError::SparseDestination { .. }), "{refused:?}");
    let rescue = RescueOptions { on_error: OnError::Skip, ..RescueOptions::default() };
    let refused = copy(End::Path(&from), End::Path(&to), &CopyOptions { rescue, ..options }, &mut Silent);
    assert!(matches!(refused.unwrap_err().error, CopyError::RescueSparse));
}

#[test]
fn zeros_in_what_a_disk_gives_are_found_for_files_and_disks() {
    const NAME: &str = "zeros_in_what_a_disk_gives_are_found_for_files_and_disks";
    let folder = storage_dir().unwrap();
    let from = or_skip!(NAME, LoopDevice::new(16 * MIB, 512));
    let to = or_skip!(NAME, LoopDevice::new(16 * MIB, 4096));
    fill(from.node(), 3 * MIB, 2 * MIB);
    let options = CopyOptions { sparse: Sparse::Always, ..CopyOptions::default() };
    let file = folder.path().join("to");
    fill(to.node(), 0, 16 * MIB);
    for to in [&file, to.node()] {
        let report = run(from.node(), to, &options);
        let sparse = report.sparse.unwrap();
        assert_eq!((sparse.found_bytes, sparse.unwritten_bytes()), (14 * MIB, 14 * MIB), "{sparse:?}");
        assert_same((from.node(), 0), (to, 0), 16 * MIB);
    }
    assert!(taken(&file) <= 3 * MIB && taken(to.backing()) <= 3 * MIB);
}

/// A chunk of zeros is in flight nowhere once it is made a hole: the copy goes on all the same.
#[test]
fn a_buffer_full_of_zeros_is_not_the_end() {
    const BLOCK: u64 = 64 << 10;
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let len = 40 * BLOCK + 17;
    let mut content = vec![0; len as usize];
    for at in [20 * BLOCK, len - 100] {
        content[at as usize..at as usize + 100].copy_from_slice(&pattern(at, 100, 1));
    }
    fs::write(&from, &content).unwrap();
    for slots in [2, 3, 8] {
        let buffer = Some(Buffering { len: slots * BLOCK, start_percent: 100, pause_percent: 50 });
        let sparse = Sparse::Always;
        let options = CopyOptions { block_len: BLOCK.into(), buffer, sparse, ..CopyOptions::default() };
        for piped in [false, true] {
            let report = std::thread::scope(|scope| {
                if piped {
                    scope.spawn(|| {
                        File::options().write(true).open(&pipe).unwrap().write_all(&content).unwrap();
                    });
                }
                run(if piped { &pipe } else { &from }, &to, &options)
            });
            assert_eq!(report.bytes, len, "{slots} {piped}");
            assert_same((&from, 0), (&to, 0), len);
        }
    }
}

#[test]
fn several_destinations_get_the_holes_each_in_its_way() {
    const NAME: &str = "several_destinations_get_the_holes_each_in_its_way";
    let folder = storage_dir().unwrap();
    let (from, new, kept) =
        (folder.path().join("from"), folder.path().join("new"), folder.path().join("kept"));
    let len = 300 * MIB;
    sparse_file(&from, len, [100 * MIB..101 * MIB, len - MIB..len]);
    let disk = or_skip!(NAME, LoopDevice::new(len, 512));
    fill(disk.node(), 0, 5 * MIB);
    fs::write(&kept, vec![0xee; 100_001]).unwrap();
    let options = CopyOptions { truncate: false, ..CopyOptions::default() };
    let ends = [End::Path(&new), End::Path(disk.node()), End::Path(&kept)];
    let report = copy_all(End::Path(&from), &ends, &options, &mut Silent).unwrap();
    for to in [&new, disk.node(), &kept] {
        assert_same((&from, 0), (to, 0), len);
    }
    let sparse = report.sparse.unwrap();
    // Each is counted once.
    assert_eq!(sparse.unwritten_bytes(), 3 * (len - 2 * MIB), "{sparse:?}");
    assert!(report.source.direct_bytes + report.source.bounced_bytes == 2 * MIB, "{:?}", report.source);
    assert!(taken(&new) <= 3 * MIB && taken(&kept) <= 3 * MIB);
}

#[test]
fn a_write_between_zeros_that_fails_is_told_at_its_place() {
    const NAME: &str = "a_write_between_zeros_that_fails_is_told_at_its_place";
    let folder = storage_dir().unwrap();
    let from = folder.path().join("from");
    let mut bytes = vec![0; 4 * MIB as usize];
    // Both in one request, with zeros around.
    let (first, second) = (2 * MIB as usize + 65_536, 2 * MIB as usize + 524_288);
    bytes[first..first + 4096].fill(1);
    bytes[second..second + 4096].fill(2);
    fs::write(&from, &bytes).unwrap();
    let disk = or_skip!(NAME, FaultyDisk::new(vec![0xee; bytes.len()], 512));
    disk.file().add(Rule::writes().touching(second as u64..second as u64 + 4096).errno(libc::EIO));
    let hash = Some(HashRequest { algorithm: HashAlgorithm::Sha256, expected: None });
    let options = CopyOptions { sparse: Sparse::Always, hash, sync: false, ..CopyOptions::default() };
    let failure = copy(End::Path(&from), End::Path(disk.node()), &options, &mut Silent).unwrap_err();
    let report = failure.report.unwrap();
    assert_eq!(report.bytes, second as u64, "{:?}", failure.error);
    let digest = digest_of(HashAlgorithm::Sha256, &bytes[..second]);
    assert!(report.digest.is_none_or(|found| found.1 == digest));
    assert_same((&from, 0), (disk.node(), 0), second as u64);
}

#[test]
fn a_stream_gets_every_byte_and_a_note_says_so() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("fifo"));
    sparse_file(&from, 3 * MIB, Some(MIB..MIB + 1));
    rustix::fs::mknodat(rustix::fs::CWD, &to, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let reader = std::thread::spawn({
        let to = to.clone();
        move || fs::read(to).unwrap()
    });
    let report = copy(End::Path(&from), End::Path(&to), &CopyOptions::default(), &mut Silent).unwrap();
    assert!(reader.join().unwrap() == fs::read(&from).unwrap());
    assert!(report.sparse.unwrap().filled_bytes >= 2 * MIB);
    assert!(report.notes.iter().any(|note| note.contains("it is a stream")), "{:?}", report.notes);
}

#[test]
fn a_map_knows_no_holes() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    sparse_file(&from, 3 * MIB, Some(MIB..MIB + 1));
    let map = MapOptions {
        path: folder.path().join("map"),
        resume: false,
        command: String::new(),
        every: MapOptions::EVERY,
    };
    let rescue = RescueOptions { on_error: OnError::Skip, map: Some(map), ..RescueOptions::default() };
    let options = CopyOptions { rescue, ..CopyOptions::default() };
    let report = copy(End::Path(&from), End::Path(&to), &options, &mut Silent).unwrap();
    assert_eq!((report.bytes, report.sparse), (3 * MIB, None));
    assert_same((&from, 0), (&to, 0), 3 * MIB);
}

fn digest_of(algorithm: HashAlgorithm, bytes: &[u8]) -> Digest {
    use sha2::Digest as _;
    match algorithm {
        HashAlgorithm::Sha256 => Digest::new(sha2::Sha256::digest(bytes).into()),
        _ => Digest::new(*blake3::hash(bytes).as_bytes()),
    }
}

/// Stops a copy at the first word in which something is done.
struct StopAt(Phase, u64);

impl Observer for StopAt {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.phase == self.0 && progress.done_bytes >= self.1 { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn a_stopped_copy_tells_no_more_than_lies_there_without_a_gap() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let len = 40 * MIB;
    sparse_file(&from, len, [2 * MIB..12 * MIB, 20 * MIB..30 * MIB]);
    let hash = Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
    let options = CopyOptions { hash, block_len: MIB.into(), depth: 1.into(), ..CopyOptions::default() };
    let mut stop = StopAt(Phase::Copying, 1);
    let report = match copy(End::Path(&from), End::Path(&to), &options, &mut stop) {
        Ok(report) => report,
        Err(failure) => panic!("{failure:?}"),
    };
    assert_eq!(fs::metadata(&to).unwrap().len(), report.bytes);
    assert_same((&from, 0), (&to, 0), report.bytes);
    let whole = fs::read(&from).unwrap();
    let expected = digest_of(HashAlgorithm::Blake3, &whole[..report.bytes as usize]);
    assert!(report.digest.is_none_or(|found| found == (HashAlgorithm::Blake3, expected)), "{report:#?}");
}

#[test]
fn a_stop_does_not_wait_for_the_digest_of_a_tebibyte_of_zeros() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let len = 1024 * GIB;
    sparse_file(&from, len, Some(0..MIB));
    for verify in [false, true] {
        // The digest is wrong, and nobody may take a copy for checked that was stopped before.
        let expected = Some(Digest::new([7; 32]));
        let hash = Some(HashRequest { algorithm: HashAlgorithm::Sha256, expected });
        let options = CopyOptions { hash, verify, ..CopyOptions::default() };
        let mut stop = StopAt(Phase::Flushing, len);
        let report = copy(End::Path(&from), End::Path(&to), &options, &mut stop).unwrap();
        assert_eq!((report.bytes, report.interrupted, report.digest), (len, true, None));
        assert!(report.verified.is_none());
        assert!(report.notes.iter().any(|note| note.contains("there is no sha256")), "{:?}", report.notes);
    }
}

/// Makes the source shorter when the copy has begun.
struct Shrink(PathBuf, u64);

impl Observer for Shrink {
    fn started(&mut self, _: &bulkio::copy::Start<'_>) {}

    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.done_bytes > 0 && progress.phase == Phase::Copying {
            File::options().write(true).open(&self.0).unwrap().set_len(self.1).unwrap();
        }
        Control::Go
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn a_source_that_loses_a_hole_meanwhile_is_no_success() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    // Enough to copy that the observer is asked while it goes on.
    sparse_file(&from, 2 * GIB, Some(0..64 * MIB));
    let mut shrink = Shrink(from.clone(), 600 * MIB);
    let options =
        CopyOptions { block_len: 4096.into(), depth: 1.into(), sync: false, ..CopyOptions::default() };
    let failure = copy(End::Path(&from), End::Path(&to), &options, &mut shrink).unwrap_err();
    assert!(matches!(failure.error, CopyError::SourceShrank { at, .. } if at == 600 * MIB), "{failure:?}");
    assert_eq!(failure.report.unwrap().bytes, 600 * MIB);
    assert_eq!(fs::metadata(&to).unwrap().len(), 600 * MIB);
}

#[derive(Clone, Debug)]
struct Case {
    source_len: u64,
    data: Vec<Range<u64>>,
    destination_len: u64,
    options: CopyOptions,
}

fn case() -> impl Strategy<Value = Case> {
    let len =
        prop_oneof![1 => 0..20_000_u64, 3 => 0..3_000_000_u64, 1 => (0..700_u64).prop_map(|n| n * 4096)];
    let cuts = prop::collection::btree_set(0..3_000_000_u64, 0..10);
    let aligned = any::<bool>();
    let start = || prop_oneof![3 => Just(0_u64), 1 => 0..90_000_u64, 1 => (0..20_u64).prop_map(|n| n * 512), 1 => (0..50_u64).prop_map(|n| n * 4096)];
    let engine = prop_oneof![3 => Just(EngineChoice::Auto), 1 => Just(EngineChoice::Threads)];
    let block = prop_oneof![Just(5000_u64), Just(65536), Just(1 << 20)];
    let count = prop_oneof![2 => Just(None), 1 => (0..2_000_000_u64).prop_map(Some)];
    let direct = prop_oneof![4 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)];
    let hash = prop_oneof![
        2 => Just(None),
        1 => Just(Some(HashAlgorithm::Blake3)),
        1 => Just(Some(HashAlgorithm::Sha256)),
    ];
    let sparse = prop_oneof![Just(Sparse::Auto), Just(Sparse::Always)];
    let how = (block, 1..6_u32, engine, direct, any::<bool>(), hash, any::<bool>(), sparse);
    (len.clone(), len, cuts, aligned, start(), start(), count, how).prop_map(
        |(source_len, destination_len, cuts, aligned, skip, seek, count, how)| {
            let (block_len, depth, engine, direct, truncate, hash, verify, sparse) = how;
            let round = |at: u64| if aligned { at / 65536 * 65536 } else { at };
            let cuts: Vec<u64> = cuts.into_iter().map(round).collect();
            let data = cuts.chunks_exact(2).map(|pair| pair[0]..pair[1].min(source_len));
            let options = CopyOptions {
                block_len: block_len.into(),
                depth: depth.into(),
                skip: skip.min(source_len),
                seek,
                count,
                engine,
                direct,
                truncate,
                hash: hash.map(|algorithm| HashRequest { algorithm, expected: None }),
                verify,
                sparse,
                sync: verify,
                ..CopyOptions::default()
            };
            Case {
                source_len,
                data: data.filter(|data| data.start < data.end).collect(),
                destination_len,
                options,
            }
        },
    )
}

/// What the destination must hold, and the range.
fn expected(source: &[u8], mut destination: Vec<u8>, case: &Case, is_file: bool) -> (Vec<u8>, Vec<u8>) {
    let options = &case.options;
    let rest = &source[options.skip as usize..];
    let range = &rest[..rest.len().min(options.count.map_or(usize::MAX, |count| count as usize))];
    let seek = options.seek as usize;
    if is_file && options.truncate {
        destination.resize(seek, 0);
    }
    let end = seek + range.len();
    if destination.len() < end && !range.is_empty() {
        destination.resize(end, 0);
    }
    if !range.is_empty() {
        destination[seek..end].copy_from_slice(range);
    }
    (destination, range.to_vec())
}

fn check(case: &Case, from: &Path, to: &Path, device_len: Option<u64>) {
    sparse_file(from, case.source_len, case.data.clone());
    let old_len = device_len.unwrap_or(case.destination_len);
    let old = pattern(0, old_len as usize, 99);
    fs::write(to, &old).unwrap();
    let source = fs::read(from).unwrap();
    let (expected, range) = expected(&source, old, case, device_len.is_none());
    let report = run(from, to, &case.options);
    assert_eq!(report.bytes, range.len() as u64, "{case:?}");
    let mut found = vec![0; expected.len()];
    File::open(to).unwrap().read_exact_at(&mut found, 0).unwrap();
    assert!(found == expected, "contents differ: {case:?} {report:#?}");
    if device_len.is_none() {
        assert_eq!(fs::metadata(to).unwrap().len(), expected.len() as u64, "{case:?}");
    }
    if let Some(HashRequest { algorithm, .. }) = case.options.hash {
        assert_eq!(report.digest, Some((algorithm, digest_of(algorithm, &range))), "{case:?}");
    }
    if case.options.verify {
        let verified = report.verified.unwrap();
        assert!(verified.is_equal() && verified.bytes == range.len() as u64, "{verified:?} {case:?}");
    }
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
}

fn two(folder: &TempDir) -> (PathBuf, PathBuf) {
    (folder.path().join("from"), folder.path().join("to"))
}

#[test]
fn any_layout_is_copied_to_a_file_as_plain_reads_see_it() {
    let folder = storage_dir().unwrap();
    let (from, to) = two(&folder);
    let checked = runner(200).run(&case(), |case| {
        check(&case, &from, &to, None);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn any_layout_is_copied_to_a_disk_as_plain_reads_see_it() {
    const NAME: &str = "any_layout_is_copied_to_a_disk_as_plain_reads_see_it";
    let folder = storage_dir().unwrap();
    let (from, _) = two(&folder);
    for block in [512, 4096] {
        let len = 3_500_000 / 4096 * 4096;
        let device = or_skip!(NAME, LoopDevice::new(len, block));
        let checked = runner(60).run(&case(), |case| {
            check(&case, &from, device.node(), Some(len));
            Ok(())
        });
        checked.unwrap();
    }
}
