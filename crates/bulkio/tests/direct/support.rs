//! What these tests share: the engines, memory at any address, places to do I/O on.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bulkio::direct::{AsyncFile, Driver, File, Io, IoOptions};
use bulkio::engine::EngineChoice;
use scatterlist::{CpuAddr, Direction, Lease, Position};

pub(crate) use crate::common::block_on;
use crate::common::{LoopDevice, Mounted};
use crate::faulty::{FaultyFs, IoMemory, Quarantine, Rule};

/// Every engine; each test of this binary runs on all of them.
pub(crate) const ENGINES: [EngineChoice; 3] = [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads];

/// Every engine, and the default, which makes plain calls where it can.
pub(crate) const ALL: [EngineChoice; 4] =
    [EngineChoice::Uring, EngineChoice::Aio, EngineChoice::Threads, EngineChoice::Auto];

/// Both lengths of a block that disks have.
pub(crate) const BLOCKS: [u32; 2] = [512, 4096];

/// How long a thread may take to do its part.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes engines and pages of one kind.
pub(crate) fn io(engine: EngineChoice) -> Io {
    let mut options = IoOptions::default();
    options.engine = engine;
    options.channels_max = 4;
    options.bounce_len = 16 << 10;
    Io::new(options).expect("an engine")
}

/// Makes a driver of one kind, with short copies.
pub(crate) fn driver(engine: EngineChoice, depth: u32) -> Driver {
    driver_with(engine, |options| options.depth = depth)
}

pub(crate) fn driver_with(engine: EngineChoice, change: impl FnOnce(&mut IoOptions)) -> Driver {
    let mut options = IoOptions::default();
    options.engine = engine;
    options.bounce_len = 16 << 10;
    change(&mut options);
    Driver::new(options).expect("a driver")
}

/// Opens a file of a driver, which is made if it is missing.
pub(crate) fn open(driver: &Driver, path: &Path, engine: EngineChoice) -> AsyncFile {
    let file = File::options().read(true).write(true).create(true).io(&io(engine)).open(path).expect("opens");
    driver.file(file).expect("its blocks fit")
}

/// Opens the first file of `fs` for a driver, and lets nothing wrong happen to it but `rule`.
pub(crate) fn held_file(driver: &Driver, fs: &FaultyFs, rule: Rule) -> AsyncFile {
    let faulty = fs.file(0);
    faulty.clear_rules();
    let file = open(driver, &faulty.path(), EngineChoice::Threads);
    faulty.add(rule);
    file
}

/// Lends watched memory.
pub(crate) fn lease(quarantine: &Quarantine, len: usize) -> Lease<CpuAddr, Arc<IoMemory>> {
    let memory = quarantine.take(len);
    memory.request(&[(0, len)], Direction::FromDevice, Position::At(0)).into_parts().0
}

/// An ext4 on a loop device.
#[derive(Debug)]
pub(crate) struct Ext4 {
    pub(crate) mounted: Mounted,
    _device: LoopDevice,
}

impl Ext4 {
    /// Makes one of 64 MiB on blocks of `block` bytes.
    pub(crate) fn new(block: u32) -> Result<Self, String> {
        let device = LoopDevice::new(64 << 20, block)?;
        let mounted = Mounted::ext4(device.node())?;
        Ok(Self { mounted, _device: device })
    }
}

/// Bytes that begin `shift` bytes behind a page boundary, with a guard on either side.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

const GUARD: u8 = 0xa5;
const PAGE: usize = 4096;

impl Memory {
    /// Makes `len` bytes of `fill`.
    pub(crate) fn new(shift: usize, len: usize, fill: u8) -> Self {
        let mut bytes = vec![GUARD; len + shift % PAGE + 2 * PAGE];
        let to_page = bytes.as_ptr().align_offset(PAGE);
        let start = to_page + shift % PAGE;
        bytes[start..start + len].fill(fill);
        Self { bytes, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// Asserts that nobody wrote before or behind the bytes.
    pub(crate) fn assert_guarded(&self) {
        let (before, rest) = self.bytes.split_at(self.start);
        let after = &rest[self.len..];
        assert!(before.iter().chain(after).all(|byte| *byte == GUARD), "written outside of the buffer");
    }
}

/// Polls a future once, and wakes nobody.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}
