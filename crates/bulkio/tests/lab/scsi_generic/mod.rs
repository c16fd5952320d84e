//! SCSI disks (scsi_debug) by commands through every door: contents, commands against the limits, copies against what the kernel did, faults.
//!
//! The disks share their memory: what is written to one is read from all. Sectors from 4660 on, ten of them, cannot be read. One
//! test at a time: they count commands, inject faults, and change how the driver behaves.
#![expect(unsafe_code, reason = "promises what direct transfers through /dev/sg take")]

mod faults;
mod transfers;

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkio::device::DirectMode;
use bulkio::device::scsi::folder::{Folder, NodeKind};
use bulkio::device::scsi::{ScsiStatus, SenseKey};
use bulkio::device::scsi_generic::{
    CopyReason, Counts, Disk, DiskOptions, DoorChoice, OpenError, SgDirect, block_sibling,
};
use bulkio::engine::{Carrier, Completion, Engine, EngineChoice, EngineOptions, FileId, FlushKind};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::At;
use scatterlist::{Fault, Force, LimitId, Limits, Outcome, Source, Status};

use crate::faulty::{IoMemory, Quarantine};
use crate::or_skip;
use crate::oracle::Oracle;
use crate::support::{TestEngine, content, fill, in_lab, next, wait_until};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Linux, drivers/scsi/scsi_debug.c: `OPT_MEDIUM_ERR_ADDR` and `OPT_MEDIUM_ERR_NUM`.
const BAD: u64 = 0x1234;
const BAD_SECTORS: u64 = 10;

/// Where these tests write, behind the bad sectors.
const FREE: u64 = 4 << 20;

/// The disk that is used, and the one that is taken away.
const DISK: &str = "0:0:0:0";
const OTHER: &str = "0:0:3:0";

/// The function that maps a command's memory for the device (`block/blk-map.c`).
const MAPS: &str = "bio_map_user_iov";

const MEDIUM: ScsiStatus = sense(SenseKey::Medium, 0x11, 0);

const fn sense(key: SenseKey, asc: u8, ascq: u8) -> ScsiStatus {
    ScsiStatus::Sense { key, asc, ascq, deferred: false }
}

/// The ways to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Block,
    Bsg,
    SgDirect,
    SgCopies,
}

const WAYS: [Way; 4] = [Way::Block, Way::Bsg, Way::SgDirect, Way::SgCopies];

impl Way {
    fn kind(self) -> NodeKind {
        match self {
            Self::Block => NodeKind::Block,
            Self::Bsg => NodeKind::Bsg,
            Self::SgDirect | Self::SgCopies => NodeKind::Generic,
        }
    }

    fn copies(self) -> bool {
        self == Self::SgCopies
    }

    /// Opens a disk this way.
    fn open_with(self, address: &str, options: DiskOptions) -> Disk {
        allow_dio(!self.copies());
        let options = DiskOptions { sg_direct: Some(sg_direct()), ..options };
        let disk = Disk::open(&node(address, self.kind()), &options).unwrap();
        assert_eq!(disk.door().kind(), self.kind());
        assert_eq!(disk.direct().is_err(), self.copies());
        disk
    }

    fn open(self) -> Disk {
        self.open_with(DISK, DiskOptions { writes: true, ..DiskOptions::default() })
    }
}

/// The promise that `/dev/sg` may lend memory to the device.
fn sg_direct() -> SgDirect {
    // SAFETY: the memory of these tests is in quarantine, and used for nothing else.
    unsafe { SgDirect::promise() }
}

/// What `/dev/sg` may do from now on (`drivers/scsi/sg.c`, `allow_dio`).
fn allow_dio(allow: bool) {
    fs::write("/sys/module/sg/parameters/allow_dio", if allow { "1" } else { "0" }).unwrap();
}

/// The folder of a device in sysfs, once it has a block node.
fn device(address: &str) -> PathBuf {
    let folder = Path::new("/sys/bus/scsi/devices").join(address);
    wait_until("the disk has a block node", || {
        fs::read_dir(folder.join("block")).is_ok_and(|mut disks| disks.next().is_some())
    });
    folder
}

/// A node of a disk. The block node is found by sysfs, and the others from it, as the library does.
fn node(address: &str, kind: NodeKind) -> PathBuf {
    let block = fs::read_dir(device(address).join("block")).unwrap().next().unwrap().unwrap();
    let block = Path::new("/dev").join(block.file_name());
    let found = || Folder::at(&block)?.0.node(kind);
    wait_until("the disk has all nodes", || found().is_some());
    found().unwrap().path
}

/// A setting of the driver, put back when this is dropped.
#[derive(Debug)]
struct Setting {
    file: PathBuf,
    before: String,
}

impl Setting {
    fn new(name: &str, value: &str) -> Self {
        let file = Path::new("/sys/bus/pseudo/drivers/scsi_debug").join(name);
        let before = fs::read_to_string(&file).unwrap();
        let setting = Self { file, before };
        setting.set(value);
        setting
    }

    /// The driver refuses while commands are in flight, which those of others may be for a moment.
    fn set(&self, value: &str) {
        wait_until("the driver takes a setting", || fs::write(&self.file, value).is_ok());
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.set(self.before.trim());
    }
}

/// Faults of a disk that the driver injects (`Documentation` of scsi_debug: type, count, operation code, what), until this is dropped.
#[derive(Debug)]
struct Injected {
    file: PathBuf,
    rule: String,
}

impl Injected {
    fn new(address: &str, rule: &str) -> Self {
        let file = Path::new("/sys/kernel/debug/scsi_debug").join(address).join("error");
        fs::write(&file, rule).unwrap_or_else(|error| panic!("{rule:?}: {error}"));
        Self { file, rule: rule.to_owned() }
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // "- type opcode" removes it.
        let words: Vec<&str> = self.rule.split(' ').collect();
        let removed = fs::write(&self.file, format!("- {} {}", words[0], words[2]));
        if let Err(error) = removed {
            eprintln!("cleanup failed: {} in {}: {error}", self.rule, self.file.display());
        }
    }
}

fn engine(depth: u32) -> TestEngine {
    Engine::new(EngineOptions { depth, kind: EngineChoice::Auto, ..EngineOptions::default() }).unwrap()
}

/// Every other page of memory twice as long, from the last to the first: no two of them join.
fn scattered(len: usize) -> (Arc<IoMemory>, Vec<(usize, usize)>) {
    let memory = Quarantine::default().take(2 * len);
    let pieces = (0..len / PAGE).rev().map(|page| (2 * page * PAGE, PAGE)).collect();
    (memory, pieces)
}

fn gather(memory: &IoMemory, pieces: &[(usize, usize)]) -> Vec<u8> {
    let bytes = memory.bytes();
    pieces.iter().flat_map(|&(at, len)| bytes[at..at + len].to_vec()).collect()
}

fn scatter(memory: &IoMemory, pieces: &[(usize, usize)], bytes: &[u8]) {
    let mut from = 0;
    for &(at, len) in pieces {
        memory.write(at, &bytes[from..from + len]);
        from += len;
    }
}

/// How many commands scattered pages take, by the limits alone.
fn commands_for_pages(pages: usize, limits: &Limits) -> u64 {
    let value = |id| limits.hard_value(id);
    let by_len = value(LimitId::TransferLenMax) / PAGE as u64;
    let most = value(LimitId::PiecesMax).min(value(LimitId::SegmentsMax)).min(by_len);
    (pages as u64).div_ceil(most)
}

fn read(engine: &mut TestEngine, file: FileId, disk: &Disk, at: u64, len: usize) -> (Vec<u8>, Outcome) {
    let memory = Quarantine::default().take(len);
    engine.submit(file, memory.request(&[(0, len)], FromDevice, At(at)), disk.limits()).unwrap();
    let (_, outcome) = next(engine);
    (memory.bytes(), outcome)
}

fn flush(engine: &mut TestEngine, file: FileId) -> Option<Fault> {
    engine.flush(file, FlushKind::All).unwrap();
    loop {
        match engine.wait().unwrap() {
            Some(Completion::Flush { fault, .. }) => return fault,
            Some(other) => panic!("not a flush: {:?}", other.token()),
            None => {}
        }
    }
}

fn fault(at: u64, status: ScsiStatus) -> Option<Fault> {
    Some(Fault { at, status: status.into_fault() })
}
