//! What these tests share: every engine, forced and chosen; files with a pattern; requests that are aligned, ragged and crooked;
//! memory that is watched.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bulkio::device::DirectMode;
use bulkio::device::guard::Refusal;
use bulkio::direct::{AsyncFile, Driver, File, Io, IoOptions, OpenError, TransferError, TransferErrorKind};
use bulkio::engine::{EngineChoice, EngineKind};
use scatterlist::{CpuAddr, Direction, Lease, LimitId, Position, Status};

pub(crate) use crate::common::block_on;
use crate::common::skip;
use crate::faulty::{FaultyFile, FaultyFs, IoMemory};

/// Longest operation that is copied.
pub(crate) const BOUNCE_LEN: usize = 256 << 10;

/// Engines and pages as a test wants them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    choice: EngineChoice,
    /// Whether single operations are plain calls.
    pub(crate) plain: bool,
    /// What does the operations.
    pub(crate) engine: EngineKind,
}

const fn forced(name: &'static str, choice: EngineChoice, engine: EngineKind) -> Kind {
    Kind { name, choice, plain: false, engine }
}

/// Every engine, and what nobody chose. A new one is one line.
const KINDS: [Kind; 4] = [
    forced("io_uring", EngineChoice::Uring, EngineKind::Uring),
    forced("aio", EngineChoice::Aio, EngineKind::Aio),
    forced("threads", EngineChoice::Threads, EngineKind::Threads),
    Kind { name: "default", choice: EngineChoice::Auto, plain: true, engine: EngineKind::Uring },
];

impl Kind {
    pub(crate) fn options(self) -> IoOptions {
        let mut options = IoOptions::default();
        options.engine = self.choice;
        options.plain_calls = self.plain;
        options.channels_max = 2;
        options.depth = 16;
        options.bounce_len = BOUNCE_LEN;
        options.drain_max = Duration::from_secs(20);
        options
    }

    pub(crate) fn io(self) -> Io {
        Io::new(self.options()).expect("an engine that was there before")
    }

    pub(crate) fn driver(self) -> Driver {
        self.driver_with(|_| {})
    }

    pub(crate) fn driver_with(self, change: impl FnOnce(&mut IoOptions)) -> Driver {
        let mut options = self.options();
        change(&mut options);
        Driver::new(options).expect("an engine that was there before")
    }

    /// As [`open`], with engines and pages of its own.
    pub(crate) fn open(self, path: impl AsRef<std::path::Path>) -> File {
        open(&self.io(), path)
    }

    /// Opens a file of a driver.
    pub(crate) fn open_with(self, driver: &Driver, path: impl AsRef<std::path::Path>) -> AsyncFile {
        driver.file(self.open(path)).expect("its blocks fit")
    }
}

/// Opens for both directions, and demands direct I/O. A device may be held for a moment by a process that another test is just
/// starting, between its fork and its exec.
pub(crate) fn open(io: &Io, path: impl AsRef<std::path::Path>) -> File {
    let options = File::options().read(true).write(true).io(io).direct(DirectMode::Require);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match options.open(&path) {
            Err(OpenError::Refused(Refusal::Claimed { .. })) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.expect("it opens for direct I/O"),
        }
    }
}

/// Runs a test for each engine that works here, and for the one that is chosen; skips those that do not, by name.
pub(crate) fn each(test_name: &str, mut test: impl FnMut(Kind)) {
    for kind in KINDS {
        match Io::new(kind.options()) {
            Ok(io) => {
                eprintln!("{test_name}: {}", kind.name);
                test(Kind { engine: io.engine().kind, ..kind });
            }
            Err(error) => skip(test_name, &format!("{}: {error}", kind.name)),
        }
    }
}

pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 251) & 0xff) as u8).collect()
}

/// Other bytes than [`content`] everywhere.
pub(crate) fn other(len: usize) -> Vec<u8> {
    content(len).into_iter().map(|byte| !byte).collect()
}

/// A file system with one file of `len` bytes of the pattern.
pub(crate) fn files(len: usize) -> Result<FaultyFs, String> {
    FaultyFs::new(vec![content(len)])
}

pub(crate) fn block(file: &File) -> usize {
    file.limits().hard_value(LimitId::PositionAlign) as usize
}

/// How a request lies to the blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Whole blocks, from memory on a page boundary.
    Aligned,
    /// Parts of a first and a last block, with addresses that agree with the positions.
    Congruent,
    /// As `Congruent`, with addresses that do not.
    Crooked,
}

pub(crate) const SHAPES: [Shape; 3] = [Shape::Aligned, Shape::Congruent, Shape::Crooked];

/// A request: where it is and how long, and where its memory lies behind a page boundary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) shift: usize,
}

impl Shape {
    /// Places a request of about `len` bytes, a multiple of the block, at block 2.
    pub(crate) fn place(self, block: usize, len: usize) -> Place {
        match self {
            Self::Aligned => Place { offset: 2 * block, len, shift: 0 },
            Self::Congruent => Place { offset: 2 * block + 100, len, shift: 100 },
            Self::Crooked => Place { offset: 2 * block + 100, len, shift: 101 },
        }
    }

    /// Asserts that what was copied is what must be: nothing, the two ragged ends, everything.
    pub(crate) fn assert_counts(self, moved: bulkio::direct::Moved, len: usize, block: usize) {
        let (len, block) = (len as u64, block as u64);
        assert_eq!((moved.bytes, moved.cached_bytes), (len, 0), "{moved}");
        let expected = match self {
            Self::Aligned => (0, 0),
            // A first block without its first 100 bytes, and the first 100 bytes of a last one.
            Self::Congruent => (block, 0),
            Self::Crooked => (block, len - block),
        };
        assert_eq!((moved.ragged_bytes, moved.misaligned_bytes), expected, "{self:?}: {moved}");
    }
}

/// Memory with `place.len` bytes at its place, and a page before and behind.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

const GUARD: u8 = 0xa5;

impl Buffer {
    pub(crate) fn new(place: Place) -> Self {
        let mut bytes = vec![GUARD; place.len + place.shift + 3 * 4096];
        let start = bytes.as_ptr().align_offset(4096) + 4096 + place.shift;
        bytes[start..start + place.len].fill(0);
        Self { bytes, start, len: place.len }
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Asserts that nobody wrote before or behind the bytes.
    pub(crate) fn assert_guarded(&self) {
        let (before, rest) = self.bytes.split_at(self.start);
        let guarded = before.iter().chain(&rest[self.len..]).all(|byte| *byte == GUARD);
        assert!(guarded, "written outside of the buffer");
    }
}

/// What a failed operation said of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Failed {
    pub(crate) errno: i32,
    pub(crate) at: usize,
    pub(crate) bytes: usize,
}

/// Takes a fault apart, and checks what all of them promise: the call, the bytes before the fault and no others.
pub(crate) fn failed(error: &TransferError, direction: Direction, place: Place) -> Failed {
    let call = (error.direction, error.offset, error.len);
    assert_eq!(call, (direction, place.offset as u64, place.len as u64), "{error}");
    let TransferErrorKind::Fault { status: Status::Errno(errno), at, bytes, done } = error.kind else {
        panic!("{error}");
    };
    assert_eq!(
        (error.moved.bytes, error.moved.bytes + error.offset),
        (done, at.max(error.offset)),
        "{error}"
    );
    let text = error.to_string();
    for number in [error.offset, error.len, at, bytes, done] {
        assert!(text.contains(&number.to_string()), "{number} is not in: {text}");
    }
    Failed { errno: errno.cast_signed(), at: at as usize, bytes: bytes as usize }
}

/// Lends pieces `(offset, length)` of watched memory.
pub(crate) fn lease(memory: &Arc<IoMemory>, pieces: &[(usize, usize)]) -> Lease<CpuAddr, Arc<IoMemory>> {
    memory.request(pieces, Direction::FromDevice, Position::At(0)).into_parts().0
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Has a driver do something else: when that is over, it has heard of everything that came before.
pub(crate) fn round_trip(file: &AsyncFile) {
    let (result, _) = block_on(file.read(vec![0_u8; 100], 0));
    assert_eq!(result.expect("a file without rules is read").bytes, 100);
}

/// Returns how many descriptors of this process are of a file.
pub(crate) fn descriptors(file: &FaultyFile) -> usize {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata(file.path()).unwrap();
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let is_own = |entry: &std::fs::DirEntry| {
        let of = std::fs::metadata(entry.path());
        of.is_ok_and(|of| (of.dev(), of.ino()) == (own.dev(), own.ino()))
    };
    all.flatten().filter(is_own).count()
}
