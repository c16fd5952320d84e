//! Memory between two ends with watermarks: when writing begins, when it pauses, and that it never waits for what does not come.

mod common;
mod faulty;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use bulkio::copy::{
    Buffering, CopyError, CopyFailure, CopyOptions, End, HashAlgorithm, HashRequest, Report, Silent, Sparse,
    copy,
};
use common::storage_dir;
use faulty::{FaultyFile, FaultyFs, Op, Rule};

const BLOCK: usize = 64 << 10;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

fn options(slots: usize, start_percent: u8, pause_percent: u8) -> CopyOptions {
    let buffer = Some(Buffering { len: (slots * BLOCK) as u64, start_percent, pause_percent });
    CopyOptions { block_len: (BLOCK as u64).into(), depth: 1.into(), buffer, ..CopyOptions::default() }
}

fn run(from: &Path, to: &Path, options: &CopyOptions) -> Result<Report, CopyFailure> {
    copy(End::Path(from), End::Path(to), options, &mut Silent)
}

fn writes(file: &FaultyFile) -> usize {
    file.seen().iter().filter(|seen| seen.op == Op::Write).count()
}

#[test]
fn writing_waits_for_the_marks() {
    const NAME: &str = "writing_waits_for_the_marks";
    let content = bytes(40 * BLOCK);
    let fs = or_skip!(NAME, FaultyFs::new(vec![content.clone(), Vec::new()]));
    let (from, to) = (fs.file(0), fs.file(1));
    // Whoever looks what the file can do reads at its start.
    from.add(Rule::reads().touching(BLOCK as u64..u64::MAX).hold());
    let options = options(10, 80, 20);
    let (source, destination) = (from.path(), to.path());
    let report = thread::scope(|scope| {
        let copying = scope.spawn(|| run(&source, &destination, &options));
        // The eighth read is asked for when seven have come.
        for _ in 0..6 {
            from.wait_held(1);
            from.free_one();
        }
        from.wait_held(1);
        assert_eq!(writes(to), 0, "seven of ten are not eight");
        from.free_one();
        to.wait_seen_count(6, |seen| seen.op == Op::Write);
        for _ in 0..5 {
            from.wait_held(1);
            from.free_one();
        }
        from.wait_held(1);
        assert_eq!(writes(to), 6, "two were left, and five came");
        from.free_one();
        to.wait_seen_count(7, |seen| seen.op == Op::Write);
        from.clear_rules();
        from.open_gate();
        copying.join().unwrap().unwrap()
    });
    assert!(to.content() == content);
    let buffered = report.buffered.unwrap();
    assert_eq!(buffered.len, 10 * BLOCK as u64);
    assert!(buffered.starts >= 2 && buffered.filled_max >= 8 * BLOCK as u64, "{buffered:?}");
    assert!(buffered.filled_max <= buffered.len, "{buffered:?}");
}

#[test]
fn a_pipe_that_brings_little_is_written_when_it_ends() {
    let folder = storage_dir().unwrap();
    let to = folder.path().join("to");
    for (len, hash) in
        [(0, false), (1, false), (3 * BLOCK + 17, false), (25 * BLOCK + 1, false), (25 * BLOCK + 1, true)]
    {
        let content = bytes(len);
        let pipe = folder.path().join(format!("pipe{len}{hash}"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let mut options = options(10, 100, 50);
        options.hash = hash.then_some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None });
        let report = thread::scope(|scope| {
            scope.spawn(|| File::options().write(true).open(&pipe).unwrap().write_all(&content).unwrap());
            run(&pipe, &to, &options).unwrap()
        });
        assert!(std::fs::read(&to).unwrap() == content, "{len}");
        let buffered = report.buffered.unwrap();
        assert_eq!((report.bytes, buffered.starts > 0), (len as u64, len > 0), "{buffered:?}");
    }
}

/// Nothing more fits in, and nobody but the reader at the other end can change that.
#[test]
fn a_full_buffer_is_written_whatever_the_marks() {
    let folder = storage_dir().unwrap();
    let (from, content) = (folder.path().join("from"), bytes(50 * BLOCK + 5));
    std::fs::write(&from, &content).unwrap();
    for slots in [1, 2, 3, 10] {
        let (reader, writer): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        let read = thread::scope(|scope| {
            let read = scope.spawn(|| {
                let mut read = Vec::new();
                std::io::Read::read_to_end(&mut File::from(reader), &mut read).map(|_| read)
            });
            let report = run(&from, Path::new(&path), &options(slots, 100, 99)).unwrap();
            drop(writer);
            assert_eq!(report.buffered.unwrap().len, (slots.max(2) * BLOCK) as u64);
            read.join().unwrap().unwrap()
        });
        assert!(read == content, "{slots}");
    }
}

#[test]
fn marks_that_cannot_be_are_refused() {
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, b"some").unwrap();
    for (start, pause) in [(101, 0), (50, 50), (0, 1)] {
        let failure = run(&from, &to, &options(10, start, pause)).unwrap_err();
        assert!(matches!(failure.error, CopyError::Option { .. }), "{failure}");
        assert!(!to.exists());
    }
    let nothing = CopyOptions { buffer: Some(Buffering::of(0)), ..CopyOptions::default() };
    assert!(matches!(run(&from, &to, &nothing).unwrap_err().error, CopyError::Option { .. }));
}

#[test]
fn a_chunk_in_parts_fills_one_slot() {
    const SLOT: usize = 1 << 20;
    let folder = storage_dir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    // Every chunk is sixteen parts with zeros between them.
    let mut content = bytes(8 * SLOT);
    content.chunks_mut(64 << 10).for_each(|part| part[32 << 10..].fill(0));
    std::fs::write(&from, &content).unwrap();
    let buffer = Some(Buffering::of(2 * SLOT as u64));
    let options =
        CopyOptions { sparse: Sparse::Always, buffer, block_len: (SLOT as u64).into(), ..options(0, 0, 0) };
    let report = run(&from, &to, &options).unwrap();
    assert!(std::fs::read(&to).unwrap() == content);
    assert_eq!(report.destination.requests, 8 * 16, "a chunk is written in parts");
    let buffered = report.buffered.unwrap();
    assert_eq!(buffered.len, 2 * SLOT as u64);
    assert!(buffered.filled_max > 0 && buffered.filled_max <= buffered.len, "{buffered:?}");
}
