//! What the tests in the lab share: whether they are in it, engines, short forms, device mapper devices.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkio::engine::{Completion, Engine, EngineChoice, EngineOptions, FileId};
use scatterlist::{CpuAddr, Fault, LimitId, Limits, Outcome, Request, Status};

use crate::faulty::IoMemory;

/// How long something may take that the kernel does at once.
const SOON: Duration = Duration::from_secs(60);

pub(crate) const ENGINES: [EngineChoice; 3] = [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads];

pub(crate) type TestEngine = Engine<Arc<IoMemory>, ()>;

/// Says whether this is the lab with the devices of `group`.
pub(crate) fn in_lab(group: &str) -> Result<(), String> {
    match std::env::var("BULKIO_LAB") {
        Ok(found) if found == group => Ok(()),
        _ => Err(format!("runs in the lab: cargo xtask lab {group}")),
    }
}

pub(crate) fn engine(kind: EngineChoice) -> TestEngine {
    engine_with(EngineOptions { kind, ..EngineOptions::default() })
}

pub(crate) fn engine_with(options: EngineOptions) -> TestEngine {
    Engine::new(EngineOptions { depth: 16, ..options }).expect("the lab's kernel has every engine")
}

/// Opens a node for reads under `O_DIRECT` and adds it to an engine.
pub(crate) fn add(engine: &mut TestEngine, node: &Path) -> FileId {
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(node).unwrap();
    engine.add_file(Arc::new(file.into())).unwrap()
}

/// What a disk with blocks of 512 bytes takes, in operations of at most `len` bytes.
pub(crate) fn direct_of(len: u64) -> Limits {
    let limits = Limits::builder().hard(LimitId::PositionAlign, 512).hard(LimitId::AddrAlign, 512);
    let limits = limits.hard(LimitId::PieceLenAlign, 512).hard(LimitId::PiecesMax, 1024);
    limits.hard(LimitId::TransferLenMax, len).build().unwrap()
}

/// Waits for a transfer, through signals.
pub(crate) fn next(engine: &mut TestEngine) -> (Request<CpuAddr, Arc<IoMemory>, ()>, Outcome) {
    loop {
        match engine.wait().unwrap() {
            Some(Completion::Transfer { request, outcome, .. }) => return (request, outcome),
            Some(other) => panic!("not a transfer: {:?}", other.token()),
            None => {}
        }
    }
}

pub(crate) fn errno(number: i32) -> Status {
    Status::Errno(number.unsigned_abs())
}

pub(crate) fn fault(at: u64, number: i32) -> Option<Fault> {
    Some(Fault { at, status: errno(number) })
}

/// Bytes that differ from sector to sector.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 251 + (at >> 16)) & 0xff) as u8).collect()
}

/// Writes bytes to a device, down to it.
pub(crate) fn fill(node: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).open(node).unwrap();
    file.write_all_at(bytes, at).unwrap();
    file.sync_all().unwrap();
}

/// The name that a namespace of the lab's NVMe disk has, without "nvme" or "ng": the kernel counts them as it finds them.
pub(crate) fn namespace(nsid: u64) -> String {
    let mut found = None;
    wait_until(&format!("namespace {nsid} is there"), || {
        let entries = fs::read_dir("/sys/class/block").unwrap().flatten();
        let is_it = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("nsid")).is_ok_and(|text| text.trim().parse() == Ok(nsid))
        };
        let node = entries.into_iter().find(is_it).map(|entry| entry.file_name().into_string().unwrap());
        found = node.and_then(|node| node.strip_prefix("nvme").map(str::to_owned));
        found.as_ref().is_some_and(|name| Path::new(&format!("/dev/ng{name}")).exists())
    });
    found.unwrap()
}

/// The folder in sysfs of a block device.
pub(crate) fn sysfs(node: &Path) -> PathBuf {
    let number = fs::metadata(node).unwrap().rdev();
    PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number)))
}

/// The numbers in a file of sysfs.
pub(crate) fn numbers(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap();
    text.split_ascii_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// Looks until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "{} s are over, and still not: {what}", SOON.as_secs());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A device of the device mapper. When it is dropped it is removed, or will be when nobody has it open any more.
#[derive(Debug)]
pub(crate) struct Mapper {
    name: String,
}

impl Mapper {
    /// Makes one of the lines of a table: start and length in sectors, target, its arguments.
    pub(crate) fn new(name: &str, table: &str) -> Self {
        dmsetup(&["create", name], table);
        Self { name: name.to_owned() }
    }

    pub(crate) fn node(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.name)
    }

    /// Lets all that it holds back go on, and returns when that has ended; what comes later waits.
    pub(crate) fn suspend(&self) {
        Self::suspend_named(&self.name);
    }

    /// The same, where somebody else has the device.
    pub(crate) fn suspend_named(name: &str) {
        dmsetup(&["suspend", name], "");
    }

    /// Lets the device of this name go on, which somebody else suspended.
    pub(crate) fn resume(name: &str) {
        dmsetup(&["resume", name], "");
    }

    /// Puts another table in place.
    pub(crate) fn replace(&self, table: &str) {
        dmsetup(&["load", &self.name], table);
        dmsetup(&["resume", &self.name], "");
    }

    /// Waits until a late device holds this many reads (`drivers/md/dm-delay.c`: the status of the target begins with them).
    pub(crate) fn wait_held(&self, reads: u64) {
        wait_until(&format!("{reads} reads held by {}", self.name), || {
            let status = dmsetup(&["status", &self.name], "");
            let mut words = status.split_ascii_whitespace().skip_while(|word| *word != "delay").skip(1);
            words.next().unwrap().parse() == Ok(reads)
        });
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let removed = mapper(&["remove", "--deferred", &self.name]).stdin(Stdio::null()).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("cleanup failed: {} stays", self.name);
        }
    }
}

fn mapper(words: &[&str]) -> Command {
    let mut command = Command::new("dmsetup");
    // There is no udev in the guest.
    command.args(words).env("DM_DISABLE_UDEV", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn dmsetup(words: &[&str], table: &str) -> String {
    let mut child = mapper(words).stdin(Stdio::piped()).spawn().expect("dmsetup is there");
    child.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dmsetup {words:?} with {table:?}: {} {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
