//! What tests on real storage share: folders that are not on tmpfs, loop devices, partitions and mounts that
//! go away by themselves, and skipping that cannot be overlooked.
//!
//! Contract: whatever is made here is undone on drop, also when a test fails. A test that cannot run calls
//! [`skip`] and returns.
#![allow(
    dead_code,
    unreachable_pub,
    unused_macros,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Says loudly that a test did not run, and writes it to the file that `BULKIO_SKIP_LOG` names, if any.
pub fn skip(test_name: &str, reason: &str) {
    // Written past the test harness, which would keep the line to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test_name}: {reason}");
    if let Some(log) = std::env::var_os("BULKIO_SKIP_LOG") {
        let mut log = OpenOptions::new().append(true).create(true).open(log).expect("the skip log opens");
        // One write, so that lines of parallel tests do not mix.
        log.write_all(format!("{test_name}: {reason}\n").as_bytes()).expect("the skip log takes a line");
    }
}

/// Unwraps, or skips the test with the error as the reason and returns from it.
#[macro_export]
macro_rules! or_skip {
    ($test_name:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => {
                $crate::common::skip($test_name, &reason.to_string());
                return;
            }
        }
    };
}

/// Says whether this process may make devices.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a new folder on a file system that obeys alignment (tmpfs takes anything).
pub fn storage_dir() -> Result<TempDir, String> {
    const TMPFS_MAGIC: u64 = 0x0102_1994; // include/uapi/linux/magic.h
    let mut reasons = Vec::new();
    for parent in [env!("CARGO_TARGET_TMPDIR"), "/var/tmp"] {
        match (rustix::fs::statfs(parent), TempDir::new_in(parent)) {
            (Ok(fs), Ok(folder)) if u64::try_from(fs.f_type) != Ok(TMPFS_MAGIC) => return Ok(folder),
            (Ok(_), Ok(_)) => reasons.push(format!("{parent} is a tmpfs")),
            (Err(errno), _) => reasons.push(format!("{parent}: {errno}")),
            (_, Err(error)) => reasons.push(format!("{parent}: {error}")),
        }
    }
    Err(format!("no folder for test files: {}", reasons.join(", ")))
}

/// Writes a file of `len` bytes that are not all zero, down to the disk.
pub fn file_with_data(path: &Path, len: usize) -> File {
    let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
    let mut file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
    file.write_all(&bytes).expect("data written");
    file.sync_all().expect("data synced");
    file
}

/// A loop device over a file; both go when it is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    node: PathBuf,
    backing: PathBuf,
    partitions: Vec<u32>,
    _folder: Option<TempDir>,
}

impl LoopDevice {
    /// Makes a loop device of `size_bytes` over a new, empty file.
    pub fn new(size_bytes: u64, logical_block_size: u32) -> Result<Self, String> {
        if !is_root() {
            return Err("loop devices need root".to_owned());
        }
        let folder = storage_dir()?;
        let backing = folder.path().join("backing");
        let file = File::create_new(&backing).map_err(|error| error.to_string())?;
        file.set_len(size_bytes).map_err(|error| error.to_string())?;
        let mut device = Self::over(&backing, 0, logical_block_size)?;
        device._folder = Some(folder);
        Ok(device)
    }

    /// Makes a loop device over an existing file (or device) from `offset_bytes` on.
    pub fn over(backing: &Path, offset_bytes: u64, logical_block_size: u32) -> Result<Self, String> {
        Self::set_up(backing, offset_bytes, logical_block_size, &[])
    }

    /// Makes a loop device over an existing file that bypasses the page cache below it, or says that it does not.
    pub fn direct_over(backing: &Path, logical_block_size: u32) -> Result<Self, String> {
        let device = Self::set_up(backing, 0, logical_block_size, &["--direct-io=on"])?;
        let direct = fs::read_to_string(format!("/sys/block/{}/loop/dio", device.name()));
        match direct {
            Ok(direct) if direct.trim() == "1" => Ok(device),
            other => Err(format!("a loop device over {} without direct I/O: {other:?}", backing.display())),
        }
    }

    fn set_up(backing: &Path, offset: u64, block: u32, flags: &[&str]) -> Result<Self, String> {
        if !is_root() {
            return Err("loop devices need root".to_owned());
        }
        let (offset, block) = (offset.to_string(), block.to_string());
        let node = run(Command::new("losetup")
            .args(["--find", "--show", "-o", &offset, "-b", &block])
            .args(flags)
            .arg(backing))?;
        let backing = backing.to_owned();
        Ok(Self { node: PathBuf::from(node), backing, partitions: Vec::new(), _folder: None })
    }

    /// Returns the device's node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// Returns the file behind it.
    pub fn backing(&self) -> &Path {
        &self.backing
    }

    /// Returns the device's name in sysfs.
    pub fn name(&self) -> &str {
        self.node.file_name().and_then(|name| name.to_str()).expect("a plain name")
    }

    /// Adds a partition, positions in units of 512 bytes, and returns its node. The kernel is told directly:
    /// it need not know any partition table.
    pub fn add_partition(&mut self, index: u32, start: u64, sectors: u64) -> Result<PathBuf, String> {
        let numbers = [index.to_string(), start.to_string(), sectors.to_string()];
        run(Command::new("addpart").arg(&self.node).args(numbers))?;
        self.partitions.push(index);
        Ok(PathBuf::from(format!("{}p{index}", self.node.display())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        for index in self.partitions.drain(..) {
            report(run_until_free(Command::new("delpart").arg(&self.node).arg(index.to_string())));
        }
        report(run(Command::new("losetup").arg("--detach").arg(&self.node)));
    }
}

/// A disk in memory (zram) that is ours alone, removed on drop. Its driver cannot say "later" (`RWF_NOWAIT`).
#[derive(Debug)]
pub struct MemoryDisk {
    number: u32,
}

impl MemoryDisk {
    /// Adds a disk of `size_bytes`.
    pub fn new(size_bytes: u64) -> Result<Self, String> {
        const HOT_ADD: &str = "/sys/class/zram-control/hot_add";
        if !is_root() {
            return Err("a zram device needs root".to_owned());
        }
        // Reading the file adds the device.
        let number = fs::read_to_string(HOT_ADD).map_err(|error| format!("{HOT_ADD}: {error}"))?;
        let number = number.trim().parse().map_err(|error| format!("{HOT_ADD} says {number:?}: {error}"))?;
        let device = Self { number };
        let size = format!("/sys/block/zram{number}/disksize");
        fs::write(&size, size_bytes.to_string()).map_err(|error| format!("{size}: {error}"))?;
        Ok(device)
    }

    /// Returns the device's node.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/zram{}", self.number))
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match fs::write("/sys/class/zram-control/hot_remove", self.number.to_string()) {
                // Another test's child holds every open file for the moment between its fork and its exec.
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                removed => return report(removed.map_err(|error| error.to_string()).map(|()| String::new())),
            }
        }
    }
}

/// A mounted file system, unmounted on drop.
#[derive(Debug)]
pub struct Mounted {
    point: TempDir,
}

impl Mounted {
    /// Makes an ext4 on a device and mounts it.
    pub fn ext4(node: &Path) -> Result<Self, String> {
        Self::of("ext4", Command::new("mkfs.ext4").args(["-q", "-F"]), node)
    }

    /// Makes an XFS, whose files can share blocks, on a device of 300 MiB at least and mounts it.
    pub fn xfs(node: &Path) -> Result<Self, String> {
        Self::of("xfs", Command::new("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]), node)
    }

    fn of(kind: &str, mkfs: &mut Command, node: &Path) -> Result<Self, String> {
        run(mkfs.arg(node))?;
        let point = storage_dir()?;
        run(Command::new("mount").args(["-t", kind]).arg(node).arg(point.path()))?;
        Ok(Self { point })
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        report(run_until_free(Command::new("umount").arg(self.point.path())));
    }
}

/// A swap device, given back on drop.
#[derive(Debug)]
pub struct Swap {
    node: PathBuf,
}

impl Swap {
    /// Makes a device a swap area and swaps to it.
    pub fn on(node: &Path) -> Result<Self, String> {
        run(Command::new("mkswap").arg(node))?;
        run(Command::new("swapon").args(["--priority", "0"]).arg(node))?;
        Ok(Self { node: node.to_owned() })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        report(run(Command::new("swapoff").arg(&self.node)));
    }
}

/// Runs a command; its output, or what it said when it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Runs a command again while something is busy, five seconds at most: a process that another test's thread is
/// just starting holds every open file for the moment between its fork and its exec.
fn run_until_free(command: &mut Command) -> Result<String, String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match run(command) {
            Err(error) if error.contains("busy") && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// A failed cleanup must be seen, and must not hide the test's own failure.
fn report(result: Result<String, String>) {
    if let Err(error) = result {
        let _ = writeln!(std::io::stderr(), "cleanup failed: {error}");
    }
}

/// Runs a future on this thread: all that an executor must be.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Says whether a path is gone, links to nothing included.
pub fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}
