//! The block node of a SCSI disk (scsi_debug) whose sectors from 4660 on, ten of them, cannot be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bulkio::direct::{File, TransferErrorKind};
use scatterlist::Direction::FromDevice;
use scatterlist::Outcome;
use scatterlist::Position::At;

use crate::faulty::Quarantine;
use crate::or_skip;
use crate::support::{ENGINES, add, content, direct_of, engine, errno, fault, fill, in_lab, next, sysfs};

/// Linux, drivers/scsi/scsi_debug.c: `OPT_MEDIUM_ERR_ADDR` and `OPT_MEDIUM_ERR_NUM`.
const BAD: u64 = 0x1234;
const BAD_SECTORS: u64 = 10;

/// The sectors that these tests look at have content.
const FIRST: u64 = BAD - 64;
const SECTORS: usize = 256;

/// What is on the sectors from one on, as far as it was written.
fn content_from(sector: u64) -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    let at = usize::try_from((sector - FIRST) * 512).unwrap();
    &CONTENT.get_or_init(|| content(SECTORS * 512))[at..]
}

/// The disk's node. Its sectors have been written, the bad ones too.
///
/// Neighbours are not merged (`Documentation/block/queue-sysfs.rst`, nomerges): a request that was merged fails as a whole, so a good sector
/// would share the fate of a bad one.
fn disk() -> &'static Path {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    DISK.get_or_init(|| {
        let is_it = |entry: &fs::DirEntry| {
            let model = fs::read_to_string(entry.path().join("device/model")).unwrap_or_default();
            model.trim() == "scsi_debug"
        };
        let found = fs::read_dir("/sys/block").unwrap().flatten().find(is_it);
        let node = Path::new("/dev").join(found.expect("scsi_debug made a disk").file_name());
        fs::write(sysfs(&node).join("queue/nomerges"), "2").unwrap();
        fill(&node, FIRST * 512, content_from(FIRST));
        node
    })
}

#[test]
fn a_bad_sector_is_told_by_its_position() {
    const NAME: &str = "scsi::a_bad_sector_is_told_by_its_position";
    const BEFORE: u64 = 10;
    or_skip!(NAME, in_lab("scsi"));
    let first = BAD - BEFORE;
    for kind in ENGINES {
        let memory = Quarantine::default().take(64 * 512);
        for (len, done) in [(512, BEFORE * 512), (1024, BEFORE * 512), (64 * 512, 0)] {
            let mut engine = engine(kind);
            let id = add(&mut engine, disk());
            let request = memory.request(&[(0, 64 * 512)], FromDevice, At(first * 512));
            engine.submit(id, request, &direct_of(len)).unwrap();
            let (_, outcome) = next(&mut engine);
            assert_eq!(
                outcome,
                Outcome { asked: 64 * 512, done, fault: fault(done, libc::ENODATA) },
                "{kind}, {len}"
            );
            let done = usize::try_from(done).unwrap();
            assert!(memory.bytes()[..done] == content_from(first)[..done], "{kind}");
        }
    }
}

#[test]
fn direct_reads_find_every_bad_sector_and_no_other() {
    const NAME: &str = "scsi::direct_reads_find_every_bad_sector_and_no_other";
    or_skip!(NAME, in_lab("scsi"));
    let file = File::open(disk()).unwrap();
    let mut bad = Vec::new();
    for sector in BAD - 16..BAD + 32 {
        let (mut bytes, at) = ([0; 512], sector * 512);
        match file.read(&mut bytes, at) {
            Ok(_) => assert!(bytes == content_from(sector)[..512], "sector {sector}"),
            Err(error) => {
                let kind = TransferErrorKind::Fault { status: errno(libc::ENODATA), at, bytes: 512, done: 0 };
                assert_eq!(error.kind, kind);
                bad.push(sector);
            }
        }
    }
    assert_eq!(bad, (BAD..BAD + BAD_SECTORS).collect::<Vec<_>>());
}
