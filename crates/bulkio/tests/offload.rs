//! Copies that the file system makes by itself: what it takes, what it refuses, and that the report says which.
//!
//! The bytes are compared with plain reads; that nothing came through here is seen by the counts of both sides.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bulkio::copy::{
    Control, CopyOptions, End, HashAlgorithm, HashRequest, Observer, Offload, OffloadKind, Phase, Progress,
    Report, Silent, Sparse, copy,
};
use common::{LoopDevice, Mounted, storage_dir};

const MIB: u64 = 1 << 20;

fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

fn wanted() -> CopyOptions {
    CopyOptions { offload: Offload::Try, ..CopyOptions::default() }
}

#[track_caller]
fn run(from: &Path, to: &Path, options: &CopyOptions) -> Report {
    let report = copy(End::Path(from), End::Path(to), options, &mut Silent).unwrap();
    let offloaded = report.offload.map_or(0, |offload| offload.bytes);
    let unwritten = report.sparse.as_ref().map_or(0, bulkio::copy::SparseReport::unwritten_bytes);
    for side in [&report.source, &report.destination] {
        assert_eq!(
            side.direct_bytes + side.bounced_bytes + offloaded + unwritten,
            report.bytes,
            "{report:#?}"
        );
    }
    report
}

#[test]
fn the_kernel_copies_where_blocks_are_not_shared() {
    const NAME: &str = "the_kernel_copies_where_blocks_are_not_shared";
    let device = or_skip!(NAME, LoopDevice::new(512 * MIB, 512));
    let disk = or_skip!(NAME, Mounted::ext4(device.node()));
    let (from, to) = (disk.path().join("from"), disk.path().join("to"));
    let source = bytes(70 * MIB + 123);
    fs::write(&from, &source).unwrap();
    fs::write(&to, bytes(80 * MIB)).unwrap();
    let report = run(&from, &to, &wanted());
    let offload = report.offload.unwrap();
    assert_eq!((offload.kind, offload.bytes), (OffloadKind::InKernel, 70 * MIB + 123));
    assert_eq!((report.durable_bytes, report.source.requests), (70 * MIB + 123, 0));
    assert!(report.notes.iter().any(|note| note.contains("shares no blocks")), "{:?}", report.notes);
    assert!(fs::read(&to).unwrap() == source);

    // A part into the middle of what stays, at places that are no blocks.
    fs::write(&to, bytes(MIB)).unwrap();
    let options = CopyOptions { skip: 777, seek: 5001, count: Some(100_003), truncate: false, ..wanted() };
    assert_eq!(run(&from, &to, &options).offload.unwrap().bytes, 100_003);
    let mut expected = bytes(MIB);
    expected[5001..105_004].copy_from_slice(&source[777..100_780]);
    assert!(fs::read(&to).unwrap() == expected);
}

#[test]
fn holes_stay_holes() {
    const NAME: &str = "holes_stay_holes";
    let device = or_skip!(NAME, LoopDevice::new(512 * MIB, 512));
    let disk = or_skip!(NAME, Mounted::ext4(device.node()));
    let (from, to) = (disk.path().join("from"), disk.path().join("to"));
    let file = File::create(&from).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&bytes(MIB), 500 * MIB).unwrap();
    let report = run(&from, &to, &wanted());
    assert_eq!(report.offload.unwrap().bytes, MIB);
    let there = fs::metadata(&to).unwrap();
    assert!(there.len() == 1 << 30 && there.blocks() * 512 <= 2 * MIB, "{there:?}");
    let mut found = vec![1; 2 * MIB as usize];
    File::open(&to).unwrap().read_exact_at(&mut found, 500 * MIB).unwrap();
    assert!(found[..MIB as usize] == bytes(MIB) && found[MIB as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn files_that_can_share_blocks_do() {
    const NAME: &str = "files_that_can_share_blocks_do";
    let device = or_skip!(NAME, LoopDevice::new(600 * MIB, 512));
    let disk = or_skip!(NAME, Mounted::xfs(device.node()));
    let (from, to) = (disk.path().join("from"), disk.path().join("to"));
    let mut source = bytes(200 * MIB + 5);
    fs::write(&from, &source).unwrap();
    // The holes of the source come along.
    File::options().write(true).open(&from).unwrap().set_len(300 * MIB).unwrap();
    source.resize(300 * MIB as usize, 0);
    let free = || rustix::fs::statvfs(disk.path()).map(|fs| fs.f_bfree * fs.f_frsize).unwrap();
    rustix::fs::syncfs(File::open(disk.path()).unwrap()).unwrap();
    let before = free();
    let report = run(&from, &to, &wanted());
    let offload = report.offload.unwrap();
    assert_eq!((offload.kind, offload.bytes), (OffloadKind::Reflink, 300 * MIB));
    assert_eq!((report.bytes, report.sparse), (300 * MIB, None));
    assert!(before - free() < 10 * MIB, "{before} and {}", free());
    assert!(fs::read(&to).unwrap() == source);
}

#[test]
fn what_needs_the_bytes_here_is_copied_as_always_and_the_report_says_why() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, bytes(MIB)).unwrap();
    let hash = Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
    for (options, why) in [
        (CopyOptions { hash, ..wanted() }, "--hash"),
        (CopyOptions { verify: true, ..wanted() }, "--verify"),
        (CopyOptions { sparse: Sparse::Always, ..wanted() }, "--sparse always"),
        (CopyOptions { sparse: Sparse::Never, ..wanted() }, "--sparse never"),
    ] {
        let report = run(&from, &to, &options);
        assert_eq!(report.offload, None);
        assert!(
            report.notes.iter().any(|note| note.contains("offloaded") && note.contains(why)),
            "{report:?}"
        );
        assert!(fs::read(&to).unwrap() == bytes(MIB));
    }
    let report = run(&from, &to, &CopyOptions::default());
    assert!(report.offload.is_none() && report.notes.is_empty(), "{report:?}");
}

#[test]
fn a_kernel_that_refuses_leaves_the_copy_to_us() {
    const NAME: &str = "a_kernel_that_refuses_leaves_the_copy_to_us";
    // Between file systems of two kinds the kernel copies nothing.
    let memory = PathBuf::from("/dev/shm");
    let is_tmpfs = rustix::fs::statfs(&memory).is_ok_and(|fs| fs.f_type == 0x0102_1994);
    let other = or_skip!(NAME, is_tmpfs.then(|| tempfile::tempdir_in(&memory).unwrap()).ok_or("no tmpfs"));
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), other.path().join("to"));
    fs::write(&from, bytes(MIB + 5)).unwrap();
    let report = run(&from, &to, &wanted());
    assert_eq!(report.offload, None);
    assert!(report.notes.iter().any(|note| note.contains("refused at byte 0")), "{:?}", report.notes);
    assert!(fs::read(&to).unwrap() == bytes(MIB + 5));
}

struct StopAt(u64);

impl Observer for StopAt {
    fn progress(&mut self, progress: &Progress) -> Control {
        let stops = progress.phase == Phase::Copying && progress.done_bytes >= self.0;
        if stops { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, _: &str) {}
}

#[test]
fn a_stop_is_heard_between_two_steps() {
    const NAME: &str = "a_stop_is_heard_between_two_steps";
    let device = or_skip!(NAME, LoopDevice::new(2048 * MIB, 512));
    let disk = or_skip!(NAME, Mounted::ext4(device.node()));
    let (from, to) = (disk.path().join("from"), disk.path().join("to"));
    fs::write(&from, bytes(400 * MIB)).unwrap();
    let report = copy(End::Path(&from), End::Path(&to), &wanted(), &mut StopAt(1)).unwrap();
    let there = fs::metadata(&to).unwrap().len();
    assert_eq!(there, report.bytes);
    assert_eq!(report.interrupted, report.bytes < 400 * MIB);
    assert!(fs::read(&to).unwrap()[..] == bytes(400 * MIB)[..there as usize]);
}
