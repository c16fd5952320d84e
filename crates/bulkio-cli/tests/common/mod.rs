//! What tests of the command share: the binary under test, a work folder on a disk, data that is known at every
//! position, and pipes whose other side is no friend of blocks.
//!
//! Storage (loop devices, mounts) and loud skipping come from the library's tests. Contract: whatever is made here
//! is undone on drop; no test waits for time to pass; data is made and compared in pieces, so that a GiB costs no memory.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

#[path = "../../../bulkio/tests/common/mod.rs"]
mod storage;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

pub use storage::{LoopDevice, Mounted, Swap, is_absent, is_root, skip, storage_dir};

/// Returns the command under test: `BULKIO_BIN`, or the one that cargo built.
pub fn binary() -> PathBuf {
    std::env::var_os("BULKIO_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_bulkio")), PathBuf::from)
}

/// Returns a `bulkio` that no variable of the caller's influences.
pub fn bulkio<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(binary());
    command.args(args).env_remove("BULKIO_ENGINE").stdin(Stdio::null());
    command
}

/// Returns a new folder on a disk: below `TMPDIR` where that is one, else wherever [`storage_dir`] finds one.
pub fn work_dir() -> Result<TempDir, String> {
    const TMPFS_MAGIC: u64 = 0x0102_1994; // include/uapi/linux/magic.h
    if let Some(parent) = std::env::var_os("TMPDIR")
        && rustix::fs::statfs(&parent).is_ok_and(|fs| u64::try_from(fs.f_type) != Ok(TMPFS_MAGIC))
        && let Ok(folder) = TempDir::new_in(parent)
    {
        return Ok(folder);
    }
    storage_dir()
}

/// Returns what a program said, for the message of a failed assertion.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a `bulkio` that must succeed.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("bulkio starts");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output
}

/// Reads the JSON objects, one a line, that a stream must consist of, and returns the last: the report of a copy.
#[track_caller]
pub fn json(bytes: &[u8]) -> serde_json::Value {
    let text = String::from_utf8_lossy(bytes);
    let object =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?} of {text:?}"));
    text.lines().fold(None, |_, line| Some(object(line))).unwrap_or_else(|| panic!("no object in {text:?}"))
}

/// Reads a number from a JSON object, by keys with `/` between them.
#[track_caller]
pub fn number(json: &serde_json::Value, pointer: &str) -> u64 {
    let value = json.pointer(&format!("/{pointer}")).and_then(serde_json::Value::as_u64);
    value.unwrap_or_else(|| panic!("no number {pointer} in {json}"))
}

/// Bytes of which each position has its own, and that differ from seed to seed: no block fits in another's place.
#[derive(Clone, Copy, Debug)]
pub struct Data(pub u64);

const SECTOR: usize = 512;

/// What a sector holds behind its stamp is one of these.
static SECTORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let words = 64 * SECTOR as u64 / 8;
    (0..words).flat_map(|word| mix(word).to_le_bytes()).collect()
});

/// The finaliser of splitmix64: neighbours in, nothing alike out.
const fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Data {
    /// Fills `bytes` with the data of the positions from `start` on.
    pub fn fill(self, start: u64, bytes: &mut [u8]) {
        let (mut position, mut rest) = (start, bytes);
        while !rest.is_empty() {
            let (number, offset) = (position / SECTOR as u64, (position % SECTOR as u64) as usize);
            let stamp = mix(number ^ self.0.rotate_left(32));
            let mut sector = [0; SECTOR];
            sector.copy_from_slice(&SECTORS[(stamp % 64) as usize * SECTOR..][..SECTOR]);
            sector[..8].copy_from_slice(&stamp.to_le_bytes());
            let len = rest.len().min(SECTOR - offset);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&sector[offset..offset + len]);
            (position, rest) = (position + len as u64, later);
        }
    }

    /// Returns the first `len` bytes.
    pub fn bytes(self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Writes the first `len` bytes to a file or device, down to the disk, and takes them from the page cache.
    pub fn store(self, path: &Path, len: u64) {
        let mut file = File::options().write(true).create(true).truncate(true).open(path).expect("it opens");
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < len {
            let now = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
            self.fill(at, &mut piece[..now]);
            file.write_all(&piece[..now]).expect("data written");
            at += now as u64;
        }
        file.sync_all().expect("data synced");
        evict(&file);
    }

    /// Says where a file stops to hold the first `len` bytes and nothing else; for a device, more may follow.
    pub fn differs(self, path: &Path, len: u64) -> Option<String> {
        let file = File::open(path).expect("it opens");
        let meta = file.metadata().expect("it has a size");
        if meta.is_file() && meta.len() != len {
            return Some(format!("{} has {} bytes instead of {len}", path.display(), meta.len()));
        }
        let (mut expected, mut found) = (vec![0; PIECE], vec![0; PIECE]);
        let mut at = 0;
        while at < len {
            let now = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
            self.fill(at, &mut expected[..now]);
            file.read_exact_at(&mut found[..now], at).expect("as many bytes as the size says");
            if let Some(why) = difference(&found[..now], &expected[..now], at) {
                return Some(format!("{}: {why}", path.display()));
            }
            at += now as u64;
        }
        None
    }
}

const PIECE: usize = 1 << 20;

/// Writes out a file and takes its pages from the cache.
pub fn evict(file: &File) {
    file.sync_all().expect("it is synced");
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("the advice is taken");
}

/// Says where two byte strings differ first; `start` is the position of both.
pub fn difference(found: &[u8], expected: &[u8], start: u64) -> Option<String> {
    if found == expected {
        return None;
    }
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let at = start + same as u64;
    let (is, should) = (found.get(same), expected.get(same));
    Some(format!(
        "byte {at} is {is:?}, should be {should:?} ({} of {} bytes there)",
        found.len(),
        expected.len()
    ))
}

/// Lengths of the pieces in which a pipe is fed: no two alike, few of them blocks.
const FEED: [usize; 9] = [1, 511, 3, 4096, 4097, 17, 65_537, 1000, 32_767];

/// Runs a command whose standard input and output are pipes, and feeds it `input` in odd pieces.
pub fn run_piped(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bulkio starts");
    let mut feed = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut rest = input;
            for len in FEED.into_iter().cycle() {
                let (now, later) = rest.split_at(len.min(rest.len()));
                match feed.write_all(now) {
                    // With --count the other side goes before everything is read.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return,
                    written => written.expect("the pipe takes bytes"),
                }
                rest = later;
                if rest.is_empty() {
                    return;
                }
            }
        });
        child.wait_with_output().expect("bulkio ends")
    })
}
