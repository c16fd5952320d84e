//! What comes out is what went in.
//!
//! Through the real command: every pairing of a file, loop devices of both block sizes and a pipe, with sizes
//! around the blocks, odd ranges at odd places, and more than a GiB. After each copy the whole destination is
//! compared with a model made of two byte vectors, so a byte written outside the range shows, and so does a file's
//! size. Pipes are fed in pieces that are no blocks.

mod common;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use common::{Data, LoopDevice, bulkio, difference, run_piped, said, skip, succeed, work_dir};
use tempfile::TempDir;

const FROM: Data = Data(1);
const BEFORE: Data = Data(2);

const MIB: usize = 1 << 20;
const SIZES: [usize; 10] = [0, 1, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB + 1];

/// Devices hold the longest of the sizes, and some blocks more.
const DEVICE_LEN: usize = MIB + 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Loop512,
    Loop4096,
    Pipe,
}

/// One end: a path, or none for a pipe.
#[derive(Debug)]
struct End {
    kind: Kind,
    path: Option<PathBuf>,
    _device: Option<LoopDevice>,
}

impl End {
    fn new(kind: Kind, folder: &Path, name: &str) -> Result<Self, String> {
        let device = match kind {
            Kind::Loop512 => Some(LoopDevice::new(DEVICE_LEN as u64, 512)?),
            Kind::Loop4096 => Some(LoopDevice::new(DEVICE_LEN as u64, 4096)?),
            Kind::File | Kind::Pipe => None,
        };
        let path = match (&device, kind) {
            (Some(device), _) => Some(device.node().to_owned()),
            (None, Kind::Pipe) => None,
            (None, _) => Some(folder.join(name)),
        };
        Ok(Self { kind, path, _device: device })
    }

    fn is_device(&self) -> bool {
        matches!(self.kind, Kind::Loop512 | Kind::Loop4096)
    }

    fn arg(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("-"))
    }
}

/// What is copied where.
#[derive(Clone, Debug)]
struct Case {
    /// Bytes that the source holds; a device is always full.
    source_len: usize,
    /// Bytes that the destination holds before.
    before_len: usize,
    skip: usize,
    seek: usize,
    count: Option<usize>,
    no_truncate: bool,
    args: Vec<String>,
}

impl Case {
    /// The bytes of the range, and what the destination must hold afterwards.
    fn model(&self, to: &End, source: &[u8], mut destination: Vec<u8>) -> Vec<u8> {
        let rest = &source[self.skip..];
        let range = &rest[..rest.len().min(self.count.unwrap_or(usize::MAX))];
        if to.kind == Kind::File && !self.no_truncate {
            destination.resize(self.seek, 0);
        }
        if range.is_empty() {
            return destination;
        }
        let end = self.seek + range.len();
        if destination.len() < end {
            destination.resize(end, 0);
        }
        destination[self.seek..end].copy_from_slice(range);
        destination
    }
}

/// Copies and compares.
fn check(from: &End, to: &End, case: &Case) {
    let source = FROM.bytes(if from.is_device() { DEVICE_LEN } else { case.source_len });
    let before = match to.kind {
        Kind::Pipe => Vec::new(),
        Kind::File => BEFORE.bytes(case.before_len),
        Kind::Loop512 | Kind::Loop4096 => BEFORE.bytes(DEVICE_LEN),
    };
    if let Some(path) = &from.path {
        FROM.store(path, source.len() as u64);
    }
    if let Some(path) = &to.path {
        BEFORE.store(path, before.len() as u64);
    }
    let expected = case.model(to, &source, before);

    let mut command = bulkio(["copy", "--quiet"]);
    command.arg(from.arg()).arg(to.arg()).args(&case.args);
    let what = format!("{command:?} with {case:?}");
    let input: &[u8] = if from.kind == Kind::Pipe { &source } else { &[] };
    let output = run_piped(&mut command, input);
    assert!(output.status.success(), "{what}: {}", said(&output));
    assert!(output.stderr.is_empty(), "{what}: {}", said(&output));
    let found = match &to.path {
        None => output.stdout,
        Some(path) => {
            assert!(output.stdout.is_empty(), "{what}: {}", said(&output));
            read(path)
        }
    };
    if let Some(why) = difference(&found, &expected, 0) {
        panic!("{what}: {why}");
    }
    if let Some(path) = from.path.as_deref()
        && let Some(why) = difference(&read(path), &source, 0)
    {
        panic!("{what} changed its source: {why}");
    }
}

/// Reads a file, or a device to its end.
fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("it is read");
    bytes
}

/// Makes both ends, or skips.
fn ends(test_name: &str, from: Kind, to: Kind) -> Option<(TempDir, End, End)> {
    let made = work_dir().and_then(|folder| {
        let from = End::new(from, folder.path(), "from")?;
        let to = End::new(to, folder.path(), "to")?;
        Ok((folder, from, to))
    });
    made.map_err(|reason| skip(test_name, &reason)).ok()
}

fn sizes(test_name: &str, from: Kind, to: Kind) {
    let Some((_folder, from, to)) = ends(test_name, from, to) else { return };
    for size in SIZES {
        let count = from.is_device().then_some(size);
        let args = count.map_or_else(Vec::new, |count| vec!["--count".to_owned(), count.to_string()]);
        // The destination is longer at first, so that what is left of it shows.
        let before_len = size + 5000;
        let (skip, seek, no_truncate) = (0, 0, false);
        check(&from, &to, &Case { source_len: size, before_len, skip, seek, count, no_truncate, args });
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A place: often one on a block, or just beside.
    fn place(&mut self, end: usize) -> usize {
        let place = match self.below(6) {
            0 => 0,
            1 => self.below(40) * 512,
            2 => self.below(6) * 4096,
            3 => self.below(6) * 4096 + 1,
            4 => (self.below(6) + 1) * 4096 - 1,
            _ => self.below(20_000),
        };
        place.min(end)
    }
}

/// Writes a size as people do.
fn spelled(size: usize, dice: &mut Dice) -> String {
    let units =
        [(MIB, "M"), (MIB, "MiB"), (1024, "k"), (1024, "K"), (1024, "KiB"), (1000, "kB"), (1000, "KB")];
    let whole = units.iter().filter(|(unit, _)| size > 0 && size.is_multiple_of(*unit));
    let mut ways: Vec<String> = whole.map(|(unit, name)| format!("{}{name}", size / unit)).collect();
    if ways.is_empty() {
        ways = vec![size.to_string(), format!("{size}B")];
    }
    ways.swap_remove(dice.below(ways.len()))
}

fn odd_case(from: &End, to: &End, dice: &mut Dice) -> Case {
    let held = if from.is_device() { DEVICE_LEN } else { dice.pick(&[1, 513, 4097, 70_000, 300_001]) };
    let skip = dice.place(held);
    // A pipe has no place to begin at.
    let seek = if to.kind == Kind::Pipe { 0 } else { dice.place(DEVICE_LEN) };
    let some = dice.pick(&[0, 1, 511, 1000, 4096, 5001, 65_536, 100_000, 250_007]);
    let count = (from.is_device() || to.is_device() || dice.below(2) == 0).then_some(some);
    let no_truncate = dice.below(2) == 0;
    let mut args = Vec::new();
    for (name, size) in [("--skip", Some(skip)), ("--seek", Some(seek)), ("--count", count)] {
        if let Some(size) = size.filter(|size| *size > 0 || name == "--count") {
            args.extend([name.to_owned(), spelled(size, dice)]);
        }
    }
    if no_truncate {
        args.push("--no-truncate".to_owned());
    }
    let block = dice.pick(&["", "1", "513", "4096", "5000", "64K", "65537", "1MB"]);
    if !block.is_empty() {
        args.extend(["--bs".to_owned(), block.to_owned()]);
    }
    if dice.below(3) == 0 {
        args.extend(["--depth".to_owned(), dice.pick(&["1", "2", "31"]).to_owned()]);
    }
    if dice.below(4) == 0 {
        args.extend(["--direct".to_owned(), "never".to_owned()]);
    }
    let before_len = dice.pick(&[0, 1, 4095, 20_000, 123_457]);
    Case { source_len: held, before_len, skip, seek, count, no_truncate, args }
}

const CASES_PER_PAIRING: usize = 8;

fn ranges(test_name: &str, from: Kind, to: Kind) {
    let Some((_folder, from, to)) = ends(test_name, from, to) else { return };
    let seed = 1 + from.kind as u64 * 4 + to.kind as u64;
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..CASES_PER_PAIRING {
        check(&from, &to, &odd_case(&from, &to, &mut dice));
    }
}

macro_rules! pairings {
    ($($name:ident: $from:ident to $to:ident;)*) => {
        $(mod $name {
            use super::{Kind, ranges, sizes};

            #[test]
            fn every_size() {
                sizes(concat!(stringify!($name), "::every_size"), Kind::$from, Kind::$to);
            }

            #[test]
            fn odd_ranges() {
                ranges(concat!(stringify!($name), "::odd_ranges"), Kind::$from, Kind::$to);
            }
        })*
    };
}

pairings! {
    file_to_file: File to File;
    file_to_loop_512: File to Loop512;
    file_to_loop_4096: File to Loop4096;
    file_to_pipe: File to Pipe;
    loop_512_to_file: Loop512 to File;
    loop_512_to_loop_512: Loop512 to Loop512;
    loop_512_to_loop_4096: Loop512 to Loop4096;
    loop_512_to_pipe: Loop512 to Pipe;
    loop_4096_to_file: Loop4096 to File;
    loop_4096_to_loop_512: Loop4096 to Loop512;
    loop_4096_to_loop_4096: Loop4096 to Loop4096;
    loop_4096_to_pipe: Loop4096 to Pipe;
    pipe_to_file: Pipe to File;
    pipe_to_loop_512: Pipe to Loop512;
    pipe_to_loop_4096: Pipe to Loop4096;
    pipe_to_pipe: Pipe to Pipe;
}

#[test]
fn named_pipes_are_pipes() {
    let folder = or_skip!("named_pipes_are_pipes", work_dir());
    let [from, pipe, to] = ["from", "pipe", "to"].map(|name| folder.path().join(name));
    let len = MIB as u64 + 4097;
    FROM.store(&from, len);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a named pipe");
    let mut writer = bulkio(["copy", "-q"]).arg(&from).arg(&pipe).spawn().expect("bulkio starts");
    succeed(bulkio(["copy", "-q"]).arg(&pipe).arg(&to));
    assert!(writer.wait().expect("bulkio ends").success());
    assert_eq!(FROM.differs(&to, len), None);
}

const GIB_AND_3: u64 = (1 << 30) + 3;

/// A source of more than a GiB, made once for the tests that run while it is there.
#[derive(Debug)]
struct Big {
    folder: TempDir,
}

static BIG: Mutex<Weak<Big>> = Mutex::new(Weak::new());

impl Big {
    fn get() -> Result<Arc<Self>, String> {
        let mut slot = BIG.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(big) = slot.upgrade() {
            return Ok(big);
        }
        let folder = work_dir()?;
        FROM.store(&folder.path().join("from"), GIB_AND_3);
        let big = Arc::new(Self { folder });
        *slot = Arc::downgrade(&big);
        Ok(big)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("from")
    }
}

fn assert_copied(path: &Path) {
    assert_eq!(FROM.differs(path, GIB_AND_3), None);
}

#[test]
fn gib_and_3_from_file_to_file() {
    let big = or_skip!("gib_and_3_from_file_to_file", Big::get());
    let folder = or_skip!("gib_and_3_from_file_to_file", work_dir());
    let to = folder.path().join("to");
    succeed(bulkio(["copy", "-q"]).arg(big.path()).arg(&to));
    assert_copied(&to);
}

#[test]
fn gib_and_3_through_a_pipe() {
    let big = or_skip!("gib_and_3_through_a_pipe", Big::get());
    let folder = or_skip!("gib_and_3_through_a_pipe", work_dir());
    let to = folder.path().join("to");
    let mut reader = bulkio(["copy", "-q"])
        .arg(big.path())
        .arg("-")
        .stdout(Stdio::piped())
        .spawn()
        .expect("bulkio starts");
    let pipe = reader.stdout.take().expect("a pipe");
    succeed(bulkio(["copy", "-q", "-"]).arg(&to).stdin(pipe));
    assert!(reader.wait().expect("bulkio ends").success());
    assert_copied(&to);
}

#[test]
fn gib_and_3_from_file_to_loop_512() {
    let test_name = "gib_and_3_from_file_to_loop_512";
    // The backing file is sparse; the byte behind the range must stay as it was.
    let device = or_skip!(test_name, LoopDevice::new((1 << 30) + 4096, 512));
    let big = or_skip!(test_name, Big::get());
    succeed(bulkio(["copy", "-q"]).arg(big.path()).arg(device.node()));
    assert_copied(device.node());
    let all = File::open(device.node()).expect("it opens");
    let mut behind = [1; 4093];
    all.read_exact_at(&mut behind, GIB_AND_3).expect("it is read");
    assert_eq!(behind, [0; 4093]);
}
