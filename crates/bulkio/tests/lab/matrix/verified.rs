//! Disks of every class read back after a copy, and compared: by the node that was written, past the page cache.
//!
//! The RAM disks and SCSI disks are the tests' own, and the bytes around the range are as they were before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bulkio::copy::{
    CompareOptions, CopyOptions, End, HashAlgorithm, HashRequest, Passthrough as Sides, Silent, compare, copy,
};

use super::{Devices, Kind, LEN, Place, contents, put};
use crate::or_skip;
use crate::support::in_lab;

const KINDS: [Kind; 6] = [Kind::File, Kind::Block, Kind::SgIo, Kind::Bsg, Kind::Sg, Kind::Nvme];

/// Where the range starts on both sides, and its bytes: ragged at both ends.
const START: u64 = 512 * 9 + 100;
const COUNT: u64 = 1_200_000;

fn verified(from: &Place, to: &Place) {
    let what = format!("{:?} to {:?}", from.kind, to.kind);
    put(to, &[0x5a; LEN]);
    let passthrough = Sides { source: from.kind == Kind::SgIo, destination: to.kind == Kind::SgIo };
    let options = CopyOptions {
        skip: START,
        seek: START,
        count: Some(COUNT),
        truncate: false,
        passthrough,
        hash: Some(HashRequest { algorithm: HashAlgorithm::Blake3, expected: None }),
        verify: true,
        ..CopyOptions::default()
    };
    let copied = copy(End::Path(&from.node), End::Path(&to.node), &options, &mut Silent);
    let report = copied.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    let found = report.verified.unwrap();
    assert!(found.is_equal() && found.bytes == COUNT && found.direct, "{what}: {found:?}");
    let moved = &contents()[START as usize..(START + COUNT) as usize];
    assert_eq!(report.digest.unwrap().1.as_bytes(), blake3::hash(moved).as_bytes(), "{what}");

    let options = CompareOptions {
        skip: START,
        seek: START,
        count: Some(COUNT),
        passthrough,
        ..CompareOptions::default()
    };
    let run = || compare(End::Path(&from.node), End::Path(&to.node), &options, &mut Silent).unwrap();
    assert!(run().is_equal(), "{what}");
    // Whoever writes through another node, or only into the page cache, is seen.
    let at = START + COUNT - 1;
    let file = File::options().read(true).write(true).open(&to.seen).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let found = run();
    assert_eq!((found.ranges_count, found.first_difference), (1, Some(COUNT - 1)), "{what}: {found:?}");
}

#[test]
fn disks_of_every_class_are_verified_and_compared() {
    const NAME: &str = "matrix::verified::disks_of_every_class_are_verified_and_compared";
    or_skip!(NAME, in_lab("matrix"));
    std::fs::write("/sys/module/sg/parameters/allow_dio", "1").unwrap();
    let devices = Devices::new();
    for from in KINDS {
        let source = devices.place(from, 0);
        put(&source, contents());
        for to in KINDS {
            verified(&source, &devices.place(to, 1));
        }
    }
}
