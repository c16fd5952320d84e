//! Every kind of end copied to every other: files, loop devices with small and large blocks, pipes. Each copy
//! is compared byte for byte with all that its destination may hold.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use support::ends::{End, KINDS, Kind};
use support::{EDGE_SIZES, Running, assert_same, binary, bulkio, bulkio_with_input, fifo, pattern, work_dir};

/// Copies `size` bytes with further flags and checks everything that can be known about the result.
fn copy(from: &End, to: &mut End, size: usize, flags: &[&str]) {
    let what = format!("{:?} to {:?}, {size} bytes, {flags:?}", from.kind, to.kind);
    let before = pattern(to.bytes.len(), 77);
    to.fill(before);
    let mut words = words!["copy", from.word, to.word, "--json"].to_vec();
    if from.kind.is_device() {
        words.extend(words!["--count", size.to_string()]);
    }
    words.extend(flags.iter().map(|flag| flag.into()));
    let data = &from.bytes[..size];
    let ended = match from.kind {
        Kind::Pipe => bulkio_with_input(&words, data),
        _ => bulkio(&words),
    };
    assert_eq!(ended.code(), Some(0), "{what}: {}", ended.stderr);
    to.check(&ended.stdout, data, 0, true, &what);
    let report = if to.kind == Kind::Pipe { ended.json_on_stderr() } else { ended.json() };
    assert_eq!(report["bytes"], size, "{what}: {report}");
    for side in ["source", "destination"] {
        let (direct, bounced) = (&report[side]["direct_bytes"], &report[side]["bounced_bytes"]);
        assert_eq!(direct.as_u64().unwrap() + bounced.as_u64().unwrap(), size as u64, "{what}: {report}");
    }
}

/// Which pairings: those that anybody can make, or those with a loop device at one end or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pairs {
    FilesAndPipes,
    LoopDevices,
}

fn all_pairings(test_name: &str, pairs: Pairs, sizes: &[usize], flags: &[&str]) {
    if pairs == Pairs::LoopDevices && !common::is_root() {
        return common::skip(test_name, "loop devices need root");
    }
    let folder = work_dir();
    for from_kind in KINDS {
        for to_kind in KINDS {
            let has_device = from_kind.is_device() || to_kind.is_device();
            if has_device != (pairs == Pairs::LoopDevices) {
                continue;
            }
            let room = if to_kind.is_device() { 2 << 20 } else { 5000 };
            let mut to = or_skip!(test_name, End::new(to_kind, folder.path(), "to", room, 2));
            // A device has its own length, and is copied in part.
            let device = match from_kind.is_device() {
                true => Some(or_skip!(test_name, End::new(from_kind, folder.path(), "from", 2 << 20, 1))),
                false => None,
            };
            for &size in sizes {
                match &device {
                    Some(from) => copy(from, &mut to, size, flags),
                    None => {
                        let from = End::new(from_kind, folder.path(), "from", size, 1).unwrap();
                        copy(&from, &mut to, size, flags);
                    }
                }
            }
        }
    }
}

/// Two tests of the same sizes and flags: anybody's, and root's.
macro_rules! pairings {
    ($anybody:ident, $root:ident, $sizes:expr, $flags:expr) => {
        #[test]
        fn $anybody() {
            all_pairings(stringify!($anybody), Pairs::FilesAndPipes, &$sizes, &$flags);
        }

        #[test]
        fn $root() {
            all_pairings(stringify!($root), Pairs::LoopDevices, &$sizes, &$flags);
        }
    };
}

pairings!(
    files_and_pipes_are_copied_identically_in_every_size,
    loop_devices_are_copied_identically_in_every_size,
    EDGE_SIZES,
    []
);
pairings!(
    files_and_pipes_are_copied_by_the_blocking_engine,
    loop_devices_are_copied_by_the_blocking_engine,
    [0, 513, 4097, (1 << 20) + 1],
    ["--engine", "blocking"]
);
pairings!(
    files_and_pipes_are_copied_by_small_requests_one_at_a_time,
    loop_devices_are_copied_by_small_requests_one_at_a_time,
    [1, 4097, 70_001],
    ["--bs", "3000", "--depth", "1"]
);
pairings!(
    files_and_pipes_are_copied_without_direct_io,
    loop_devices_are_copied_without_direct_io,
    [513, (1 << 20) + 1],
    ["--direct", "never", "--no-sync"]
);

/// Says why io_uring cannot be had, if it cannot.
fn uring_refused() -> Option<String> {
    let folder = work_dir();
    let (from, to) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&from, b"x").unwrap();
    let tried = bulkio(&words!["copy", from, to, "--engine", "uring"]);
    (tried.code() != Some(0) && tried.stderr.contains("io_uring")).then(|| tried.stderr.trim().to_owned())
}

#[test]
fn files_and_pipes_are_copied_by_io_uring() {
    let name = "files_and_pipes_are_copied_by_io_uring";
    match uring_refused() {
        Some(reason) => common::skip(name, &reason),
        None => {
            all_pairings(name, Pairs::FilesAndPipes, &[0, 513, 4097, (1 << 20) + 1], &["--engine", "uring"])
        }
    }
}

#[test]
fn loop_devices_are_copied_by_io_uring() {
    let name = "loop_devices_are_copied_by_io_uring";
    match uring_refused() {
        Some(reason) => common::skip(name, &reason),
        None => {
            all_pairings(name, Pairs::LoopDevices, &[0, 513, 4097, (1 << 20) + 1], &["--engine", "uring"])
        }
    }
}

#[test]
fn the_engine_that_was_asked_for_is_the_one_that_is_reported() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&from, pattern(5000, 1)).unwrap();
    let ended = bulkio(&words!["copy", from, to, "--engine", "blocking", "--json"]);
    assert_eq!(ended.expect_code(0).json()["engine"], "blocking");
}

#[test]
fn named_pipes_at_both_ends_are_copied_to_their_end() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fifo(&from);
    fifo(&to);
    let data = pattern(3_000_001, 9);
    let running = Running::start(&words!["copy", from, to, "--json"], Stdio::null());
    let read = thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = File::options().write(true).open(&from).unwrap();
            // Short pieces, so that reads are short: they must not become short blocks.
            for piece in data.chunks(1000) {
                writer.write_all(piece).unwrap();
            }
        });
        let mut read = Vec::new();
        File::open(&to).unwrap().read_to_end(&mut read).unwrap();
        read
    });
    assert_eq!(running.end().expect_code(0).json()["bytes"], data.len());
    assert_same(&read, &data, "what came out");
}

/// Writes a large file whose blocks all differ, and returns its length.
fn large_file(path: &Path) -> u64 {
    let mut file = File::create(path).unwrap();
    for piece in 0..64 {
        file.write_all(&pattern(16 << 20, piece)).unwrap();
    }
    file.write_all(b"end").unwrap();
    file.metadata().unwrap().len()
}

fn assert_same_files(one: &Path, other: &Path) {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    assert_eq!(one.metadata().unwrap().len(), other.metadata().unwrap().len());
    let (mut a, mut b) = (vec![0; 8 << 20], vec![0; 8 << 20]);
    loop {
        let len = one.read(&mut a).unwrap();
        if len == 0 {
            return;
        }
        other.read_exact(&mut b[..len]).unwrap();
        assert_same(&b[..len], &a[..len], "a part of the large file");
    }
}

#[test]
fn a_gibibyte_and_three_bytes_are_copied_from_file_to_file_and_through_a_pipe() {
    let folder = work_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let len = large_file(&from);
    assert_eq!(len, (1 << 30) + 3);
    let ended = bulkio(&words!["copy", from, to, "--json"]);
    let report = ended.expect_code(0).json();
    assert_eq!((&report["bytes"], &report["durable_bytes"]), (&len.into(), &len.into()), "{report}");
    assert_same_files(&from, &to);
    fs::remove_file(&to).unwrap();

    let mut first = Command::new(binary())
        .arg("copy")
        .arg(&from)
        .args(["-", "--quiet"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = first.stdout.take().unwrap();
    let second = Running::start(&words!["copy", "-", to, "--json"], pipe.into()).end();
    assert!(first.wait().unwrap().success());
    assert_eq!(second.expect_code(0).json()["bytes"], len);
    assert_same_files(&from, &to);
}
