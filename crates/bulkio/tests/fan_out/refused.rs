//! What is refused, and that nothing is written to any destination then.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bulkio::copy::{CopyError, CopyOptions, DESTINATIONS_MAX, End, OnError, Silent, copy_all};
use bulkio::device::guard::{Expectations, Refusal};

use crate::common::{LoopDevice, is_absent, storage_dir};
use crate::or_skip;
use crate::support::{Heard, bytes, ext4, run};

/// Copies to destinations that refuse it, and returns why.
#[track_caller]
fn refused(from: &Path, to: &[&Path], options: &CopyOptions) -> CopyError {
    let failure = run(from, to, options, &mut Silent).unwrap_err();
    assert!(failure.report.is_none(), "it began: {failure}");
    assert_eq!(failure.error.class(), bulkio::copy::FailureClass::Refused, "{failure}");
    failure.error
}

#[test]
fn the_same_destination_twice_is_refused_by_whatever_names() {
    let folder = storage_dir().unwrap();
    let [from, file, link, new, to_new] =
        ["from", "file", "link", "new", "to_new"].map(|name| folder.path().join(name));
    fs::write(&from, bytes(100_000)).unwrap();
    fs::write(&file, "kept").unwrap();
    fs::hard_link(&file, &link).unwrap();
    symlink("new", &to_new).unwrap();
    let options = CopyOptions::default();
    let null = Path::new("/dev/null");
    for to in [[&*file, &*file], [&*file, &*link], [&*new, &*to_new], [&*to_new, &*new], [null, null]] {
        let error = refused(&from, &to, &options);
        let CopyError::Refused(Refusal::DestinationTwice { first, second }) = &error else {
            panic!("{error}")
        };
        assert_eq!([first, second], to);
    }
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    assert!(is_absent(&new), "what was created is gone");
    // And the source is none of them.
    let error = refused(&from, &[&new, &from], &options);
    assert!(matches!(error, CopyError::Refused(Refusal::Overlap { .. })), "{error}");
    assert!(is_absent(&new));
}

#[test]
fn a_disk_and_its_partition_are_refused() {
    const NAME: &str = "a_disk_and_its_partition_are_refused";
    let folder = storage_dir().unwrap();
    let (from, new) = (folder.path().join("from"), folder.path().join("new"));
    fs::write(&from, bytes(100_000)).unwrap();
    let mut disk = or_skip!(NAME, LoopDevice::new(4 << 20, 512));
    let first = or_skip!(NAME, disk.add_partition(1, 0, 2048));
    let second = or_skip!(NAME, disk.add_partition(2, 2048, 2048));
    let options = CopyOptions::default();
    let node = disk.node();
    for to in [[&*new, &*first, node], [&*new, node, &*second], [&*new, &*first, disk.backing()]] {
        let error = refused(&from, &to, &options);
        let CopyError::Refused(Refusal::DestinationsOverlap { first, second, .. }) = &error else {
            panic!("{error}")
        };
        assert_eq!([&**first, &**second], to[1..], "{error}");
        assert!(is_absent(&new));
    }
    assert!(fs::read(node).unwrap().iter().all(|byte| *byte == 0), "nothing was written");
    // Two partitions that do not meet are two destinations.
    let report = run(&from, &[&first, &second], &options, &mut Silent).unwrap();
    assert_eq!(report.failed_destinations().count(), 0);
    let found = fs::read(node).unwrap();
    assert!(found[..100_000] == bytes(100_000) && found[1 << 20..][..100_000] == bytes(100_000));
    // Two loop devices over one file meet where their parts of it do.
    let over = or_skip!(NAME, LoopDevice::over(disk.backing(), 2 << 20, 512));
    let error = refused(&from, &[&second, disk.backing()], &options);
    assert!(matches!(error, CopyError::Refused(Refusal::DestinationsOverlap { .. })), "{error}");
    assert!(run(&from, &[&second, over.node()], &options, &mut Silent).is_ok());
}

#[test]
fn what_refuses_one_refuses_all_and_leaves_nothing() {
    const NAME: &str = "what_refuses_one_refuses_all_and_leaves_nothing";
    let folder = storage_dir().unwrap();
    let [from, one, two] = ["from", "one", "two"].map(|name| folder.path().join(name));
    fs::write(&from, bytes(2 << 20)).unwrap();
    let options = CopyOptions::default();
    let error = refused(&from, &[&one, &two, folder.path()], &options);
    assert!(matches!(error, CopyError::Refused(Refusal::Directory { .. })), "{error}");
    assert!(is_absent(&one) && is_absent(&two));
    let small = or_skip!(NAME, LoopDevice::new(1 << 20, 512));
    let large = or_skip!(NAME, LoopDevice::new(4 << 20, 512));
    let marked = ext4(4 << 20);
    fs::write(large.node(), &marked).unwrap();
    let error = refused(&from, &[large.node(), &one, small.node()], &options);
    assert!(matches!(error, CopyError::Refused(Refusal::TooSmall { .. })), "{error}");
    // The last that is asked about is not to be overwritten.
    let part = CopyOptions { count: Some(1000), ..CopyOptions::default() };
    fs::write(small.node(), ext4(1 << 20)).unwrap();
    let mut heard = Heard { keeps: Some(small.node().to_owned()), ..Heard::default() };
    let failure = run(&from, &[large.node(), &one, small.node()], &part, &mut heard).unwrap_err();
    assert!(matches!(failure.error, CopyError::Refused(Refusal::Kept { .. })), "{failure}");
    assert_eq!(heard.asked, [large.node(), small.node()]);
    assert!(is_absent(&one) && fs::read(large.node()).unwrap() == marked);
    let verify = CopyOptions { verify: true, ..CopyOptions::default() };
    let error = refused(&from, &[&one, Path::new("/dev/null")], &verify);
    assert!(matches!(error, CopyError::CannotVerify { .. }), "{error}");
    assert!(is_absent(&one));
}

#[test]
fn what_is_for_one_destination_is_refused_for_several() {
    let folder = storage_dir().unwrap();
    let [from, one, two] = ["from", "one", "two"].map(|name| folder.path().join(name));
    fs::write(&from, bytes(100_000)).unwrap();
    let mut rescue = CopyOptions::default();
    rescue.rescue.on_error = OnError::Skip;
    let mut frames = CopyOptions::default();
    frames.stream.frames = Some(3);
    let mut files = CopyOptions::default();
    files.tape.pad = true;
    let expect = Expectations { size: Some(100_000), ..Expectations::default() };
    let expect = CopyOptions { expect, ..CopyOptions::default() };
    for (options, says) in [
        (&rescue, "--on-error, --reverse and --map"),
        (&expect, "--expect-serial and --expect-size"),
        (&frames, "--frames"),
        (&files, "--tape-pad"),
    ] {
        let error = refused(&from, &[&one, &two], options).to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = refused(&from, &[&one, Path::new("hw:0,0")], &CopyOptions::default());
    assert!(matches!(error, CopyError::FanOutEnd { what: "a sound device", .. }), "{error}");
    let names: Vec<_> = (0..=DESTINATIONS_MAX).map(|number| folder.path().join(number.to_string())).collect();
    let ends: Vec<_> = names.iter().map(|name| End::Path(name)).collect();
    for ends in [&ends[..0], &ends[..]] {
        let failure = copy_all(End::Path(&from), ends, &CopyOptions::default(), &mut Silent).unwrap_err();
        assert!(matches!(failure.error, CopyError::Option { max: 32, .. }), "{failure}");
    }
    let deep = CopyOptions { depth: 2000.into(), ..CopyOptions::default() };
    assert!(matches!(refused(&from, &[&one, &two], &deep), CopyError::Option { max: 1364, .. }));
    assert!(is_absent(&one) && is_absent(&two) && is_absent(&names[0]));
    // As many as there may be, at the greatest depth.
    let deep = CopyOptions { depth: 123.into(), ..CopyOptions::default() };
    let report = copy_all(End::Path(&from), &ends[..DESTINATIONS_MAX], &deep, &mut Silent).unwrap();
    assert_eq!((report.destinations.len(), report.failed_destinations().count()), (DESTINATIONS_MAX, 0));
    assert!(names[..DESTINATIONS_MAX].iter().all(|name| fs::read(name).unwrap() == bytes(100_000)));
}
