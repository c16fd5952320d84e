//! Every class to every other: contents, what is refused, and whether the report's counts are those of the kernel.
//!
//! There are two devices of each class, one to read and one to write. Between any two the same ranges are copied: whole blocks, an odd
//! length, other blocks on both sides, and positions that do not agree.

mod tapes;
mod verified;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use bulkio::copy::{
    CopyError, CopyFailure, CopyOptions, End, Passthrough as Sides, Report, SideReport, Silent, copy,
};
use bulkio::device::Passthrough;
use bulkio::probe::probe_path;

use crate::common::storage_dir;
use crate::or_skip;
use crate::oracle::MappedMemory;
use crate::residency::cached_pages;
use crate::support::{content, fill, in_lab, wait_until};

/// What a source holds, and a destination before: the first bytes of each.
const LEN: usize = 2 << 20;

/// One of these suits every class, and its memory is mapped in one piece.
const REQUEST: u64 = 256 << 10;

/// Made once: under emulation it takes long.
fn contents() -> &'static [u8] {
    static CONTENTS: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENTS.get_or_init(|| content(LEN))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Block,
    SgIo,
    Bsg,
    Sg,
    Nvme,
    Pipe,
}

const KINDS: [Kind; 7] = [Kind::File, Kind::Block, Kind::SgIo, Kind::Bsg, Kind::Sg, Kind::Nvme, Kind::Pipe];

impl Kind {
    const fn takes_commands(self) -> bool {
        matches!(self, Self::SgIo | Self::Bsg | Self::Sg | Self::Nvme)
    }
}

/// One end.
#[derive(Clone, Debug)]
struct Place {
    kind: Kind,
    node: PathBuf,
    /// Where everybody else finds the same bytes.
    seen: PathBuf,
}

/// The two devices of each class.
#[derive(Debug)]
struct Devices {
    scsi: [PathBuf; 2],
    folder: tempfile::TempDir,
}

impl Devices {
    fn new() -> Self {
        let mut disks: Vec<_> = fs::read_dir("/sys/block").unwrap().flatten().collect();
        disks.retain(|disk| disk.file_name().to_str().unwrap().starts_with("sd"));
        disks.sort_by_key(fs::DirEntry::file_name);
        let scsi = disks.iter().map(|disk| disk.path()).collect::<Vec<_>>().try_into();
        let devices = Self { scsi: scsi.expect("two disks of scsi_debug"), folder: storage_dir().unwrap() };
        for number in 0..2 {
            let pipe = devices.place(Kind::Pipe, number).node;
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mkfifoat(rustix::fs::CWD, pipe, mode).unwrap();
        }
        devices
    }

    fn place(&self, kind: Kind, number: usize) -> Place {
        let beside = |folder: &str| {
            let names = fs::read_dir(self.scsi[number].join("device").join(folder)).unwrap();
            names.flatten().next().unwrap().file_name()
        };
        let disk = Path::new("/dev").join(self.scsi[number].file_name().unwrap());
        let (node, seen) = match kind {
            Kind::File => {
                let file = self.folder.path().join(format!("file{number}"));
                (file.clone(), file)
            }
            Kind::Block => {
                let node = PathBuf::from(format!("/dev/ram{number}"));
                (node.clone(), node)
            }
            Kind::SgIo => (disk.clone(), disk),
            Kind::Bsg => (Path::new("/dev/bsg").join(beside("bsg")), disk),
            Kind::Sg => (Path::new("/dev").join(beside("scsi_generic")), disk),
            Kind::Nvme => {
                (format!("/dev/ng{number}n1").into(), PathBuf::from(format!("/dev/nvme{number}n1")))
            }
            Kind::Pipe => {
                let pipe = self.folder.path().join(format!("pipe{number}"));
                (pipe.clone(), pipe)
            }
        };
        Place { kind, node, seen }
    }
}

/// A range to copy.
#[derive(Clone, Copy, Debug)]
struct Range {
    skip: usize,
    seek: usize,
    len: usize,
}

const WHOLE: Range = Range { skip: 4096, seek: 8192, len: 1 << 20 };
const RANGES: [Range; 4] = [
    WHOLE,
    Range { skip: 0, seek: 0, len: 1_000_003 },
    Range { skip: 512 * 3, seek: 512 * 5, len: 512 * 1001 },
    Range { skip: 100, seek: 0, len: 70_000 },
];

/// Puts bytes where a copy finds them.
fn put(place: &Place, bytes: &[u8]) {
    if place.kind == Kind::File {
        fs::write(&place.seen, bytes).unwrap();
    }
    fill(&place.seen, 0, bytes);
}

/// Leaves nothing of a place in the page cache.
fn drop_cached(place: &Place) {
    let file = File::open(&place.seen).unwrap();
    // Pages that some other processor has a hold on stay for a moment.
    wait_until("nothing of it is in the page cache", || {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        cached(place) == 0
    });
}

fn cached(place: &Place) -> u64 {
    cached_pages(&File::open(&place.seen).unwrap()).unwrap()
}

/// What one copy gave: the result, and what a destination that is a pipe delivered.
struct Copied {
    result: Result<Report, CopyFailure>,
    piped: Option<Vec<u8>>,
}

/// Feeds a source that is a pipe. The reader takes no more than it wants, and hangs up.
fn feed(from: &Place) -> Option<JoinHandle<Option<io::Error>>> {
    let pipe = from.node.clone();
    (from.kind == Kind::Pipe).then(|| {
        thread::spawn(move || OpenOptions::new().write(true).open(pipe).unwrap().write_all(contents()).err())
    })
}

/// Reads what comes through a destination that is a pipe.
struct Drain(JoinHandle<Vec<u8>>);

impl Drain {
    fn of(to: &Place) -> Option<Self> {
        let pipe = to.node.clone();
        (to.kind == Kind::Pipe).then(|| {
            Self(thread::spawn(move || {
                let mut bytes = Vec::new();
                File::open(pipe).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            }))
        })
    }

    fn end(self) -> Vec<u8> {
        self.0.join().unwrap()
    }
}

fn run(from: &Place, to: &Place, range: Range) -> Copied {
    let options = CopyOptions {
        block_len: REQUEST.into(),
        depth: 4.into(),
        skip: range.skip as u64,
        seek: range.seek as u64,
        count: Some(range.len as u64),
        truncate: false,
        passthrough: Sides { source: from.kind == Kind::SgIo, destination: to.kind == Kind::SgIo },
        ..CopyOptions::default()
    };
    let (feeder, drain) = (feed(from), Drain::of(to));
    let result = copy(End::Path(&from.node), End::Path(&to.node), &options, &mut Silent);
    if let Some(feeder) = feeder {
        feeder.join().unwrap();
    }
    Copied { result, piped: drain.map(Drain::end) }
}

/// Checks that each side's counts add up.
fn check_sums(side: &SideReport, bytes: usize, what: &str) {
    assert_eq!(side.direct_bytes + side.bounced_bytes, bytes as u64, "{what}: {side:?}");
    assert_eq!(
        side.bounces.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        side.bounced_bytes,
        "{what}: {side:?}"
    );
}

fn check_contents(to: &Place, moved: &[u8], seek: usize, piped: Option<Vec<u8>>, what: &str) {
    if let Some(piped) = piped {
        assert!(piped == moved, "{what}: {} bytes came through the pipe", piped.len());
        return;
    }
    let mut expected = vec![0x5a; LEN];
    expected[seek..seek + moved.len()].copy_from_slice(moved);
    let mut found = vec![0; LEN];
    File::open(&to.seen).unwrap().read_exact_at(&mut found, 0).unwrap();
    assert!(found == expected, "{what}: contents differ");
}

/// The bytes that opening an end has mapped: answers of the device that are as long as sectors.
fn opening(place: &Place, mapped: &MappedMemory) -> u64 {
    if !place.kind.takes_commands() || place.kind == Kind::SgIo {
        return 0;
    }
    mapped.take();
    drop(Passthrough::open(&probe_path(&place.node).unwrap()).unwrap());
    mapped.take().iter().sum()
}

/// Checks the counts of a copy of whole blocks against what the kernel did.
fn check_kernel(ends: &[(&Place, &SideReport)], mapped_bytes: u64, what: &str) {
    let len = WHOLE.len as u64;
    let mut direct_by_commands = 0;
    for &(place, side) in ends {
        match place.kind {
            Kind::Pipe => assert_eq!(side.direct_bytes, 0, "{what}: {side:?}"),
            Kind::File | Kind::Block => {
                assert_eq!(side.direct_bytes, len, "{what}: {side:?}");
                // An engine reads a byte to learn how a file answers, and the kernel reads ahead of it.
                let cached = cached(place);
                assert!(
                    cached < len / 4096 / 16,
                    "{what}: {cached} pages of the {:?} went through the page cache",
                    place.kind
                );
            }
            Kind::SgIo | Kind::Bsg | Kind::Sg | Kind::Nvme => direct_by_commands += side.direct_bytes,
        }
    }
    assert_eq!(
        direct_by_commands, mapped_bytes,
        "{what}: the kernel mapped other bytes than the report counts"
    );
}

fn pair(from: &Place, to: &Place, mapped: &MappedMemory) {
    let agree = from.kind.takes_commands() && to.kind.takes_commands();
    for range in RANGES {
        let range = if to.kind == Kind::Pipe { Range { seek: 0, ..range } } else { range };
        let what = format!("{:?} to {:?}, {range:?}", from.kind, to.kind);
        if to.kind != Kind::Pipe {
            put(to, &[0x5a; LEN]);
        }
        for place in [from, to] {
            if place.kind != Kind::Pipe {
                drop_cached(place);
            }
        }
        let opened = opening(from, mapped) + opening(to, mapped);
        mapped.take();
        let copied = run(from, to, range);
        let mapped_bytes = mapped.take().iter().sum::<u64>() - opened;
        if agree && range.skip % 512 != range.seek % 512 {
            let refused = copied.result.map_err(|failure| failure.error);
            assert!(
                matches!(refused, Err(CopyError::CommandsIncongruent { unit: 512, .. })),
                "{what}: {refused:?}"
            );
            continue;
        }
        let report = copied.result.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!(report.bytes, range.len as u64, "{what}");
        check_sums(&report.source, range.len, &what);
        check_sums(&report.destination, range.len, &what);
        if range.len == WHOLE.len {
            check_kernel(&[(from, &report.source), (to, &report.destination)], mapped_bytes, &what);
        }
        let moved = &contents()[range.skip..range.skip + range.len];
        check_contents(to, moved, range.seek, copied.piped, &what);
    }
}

#[test]
fn every_class_to_every_other() {
    const NAME: &str = "matrix::every_class_to_every_other";
    or_skip!(NAME, in_lab("matrix"));
    let devices = Devices::new();
    let mapped = MappedMemory::watch();
    for allow_dio in ["1", "0"] {
        fs::write("/sys/module/sg/parameters/allow_dio", allow_dio).unwrap();
        for from in KINDS {
            let source = devices.place(from, 0);
            if from != Kind::Pipe {
                put(&source, contents());
            }
            for to in KINDS {
                // Without direct I/O only /dev/sg is another.
                if allow_dio == "1" || from == Kind::Sg || to == Kind::Sg {
                    pair(&source, &devices.place(to, 1), &mapped);
                }
            }
        }
    }
}
