//! Copies of a SCSI disk with ten bad sectors, by its block node and through every door: the error names exactly these, and every good sector
//! before them is in the copy.

use std::fs;
use std::path::{Path, PathBuf};

use bulkio::copy::{CopyError, CopyFailure, CopyOptions, End, Passthrough, Side, Silent, copy, plan};
use scatterlist::Status;

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{content, errno, fill, in_lab};

/// Linux, drivers/scsi/scsi_debug.c: `OPT_MEDIUM_ERR_ADDR` and `OPT_MEDIUM_ERR_NUM`.
const BAD: u64 = 4660;
const BAD_SECTORS: u64 = 10;

/// The whole disk.
const LEN: usize = 16 << 20;

/// Sense key 3, additional code 11h: an unrecovered read error, as `ScsiStatus` encodes it.
const UNRECOVERED: Status = Status::Device(0x1003_1100);

/// The disk's nodes, and what a bad sector gives through each: the kernel's own driver has only an error number.
fn ways() -> Vec<(PathBuf, bool, Status)> {
    let device = Path::new("/sys/bus/scsi/devices/0:0:0:0");
    let name = |folder: &str| {
        let names = fs::read_dir(device.join(folder)).unwrap();
        names.flatten().next().unwrap().file_name().into_string().unwrap()
    };
    let disk = Path::new("/dev").join(name("block"));
    let bsg = Path::new("/dev/bsg").join(name("bsg"));
    let generic = Path::new("/dev").join(name("scsi_generic"));
    vec![
        (disk.clone(), false, errno(libc::ENODATA)),
        (disk, true, UNRECOVERED),
        (bsg, false, UNRECOVERED),
        (generic, false, UNRECOVERED),
    ]
}

#[test]
fn a_copy_ends_at_the_bad_sectors_and_names_them() {
    const NAME: &str = "scsi_copy::a_copy_ends_at_the_bad_sectors_and_names_them";
    or_skip!(NAME, in_lab("scsi"));
    let bytes = content(LEN);
    let ways = ways();
    fs::write("/sys/module/sg/parameters/allow_dio", "1").unwrap();
    fill(&ways[0].0, 0, &bytes);
    let folder = storage_dir().unwrap();
    let to = folder.path().join("image");
    let good = usize::try_from(BAD * 512).unwrap();
    for (node, source, expected) in ways {
        let passthrough = Passthrough { source, destination: false };
        let options = CopyOptions { passthrough, ..CopyOptions::default() };
        let copied = copy(End::Path(&node), End::Path(&to), &options, &mut Silent);
        let CopyFailure { error, report } = copied.expect_err("ten sectors cannot be read");
        let said = error.to_string();
        let CopyError::Transfer { side: Side::Source, at, len, status, block, .. } = error else {
            panic!("{}: {said}", node.display());
        };
        assert_eq!((at, len, status), (BAD * 512, BAD_SECTORS * 512, expected), "{said}");
        assert_eq!(block, Some(512));
        assert!(said.contains("blocks 4660 to 4669 of 512 bytes"), "{said}");
        let report = report.unwrap();
        assert_eq!((report.bytes, report.durable_bytes), (BAD * 512, BAD * 512), "{said}");
        let image = fs::read(&to).unwrap();
        assert_eq!(image.len(), good, "{said}");
        assert!(image == bytes[..good], "{said}");
    }
}

#[test]
fn a_plan_of_every_door_is_what_the_copy_reports() {
    const NAME: &str = "scsi_copy::a_plan_of_every_door_is_what_the_copy_reports";
    or_skip!(NAME, in_lab("scsi"));
    let ways = ways();
    fs::write("/sys/module/sg/parameters/allow_dio", "1").unwrap();
    let bytes = content(1 << 20);
    fill(&ways[0].0, 0, &bytes);
    let folder = storage_dir().unwrap();
    for (number, (node, source, _)) in ways.into_iter().enumerate() {
        let to = folder.path().join(number.to_string());
        let passthrough = Passthrough { source, destination: false };
        let options = CopyOptions { passthrough, count: Some(1 << 20), ..CopyOptions::default() };
        let planned = plan(End::Path(&node), End::Path(&to), &options).unwrap();
        assert!(planned.refusals.is_empty() && !to.exists(), "{planned:?}");
        let commands = planned.source.class.name() == "scsi";
        assert_eq!(planned.source.splits_below, !commands);
        let read = planned.layout.unwrap().first.swap_remove(0);
        assert_eq!(read.calls.iter().map(|call| call.len).sum::<u64>(), 1 << 20, "{read:?}");
        let report = copy(End::Path(&node), End::Path(&to), &options, &mut Silent).unwrap();
        assert_eq!(report.source.bounces, planned.source.bounced, "{}", node.display());
        assert!(fs::read(&to).unwrap() == bytes);
    }
}
