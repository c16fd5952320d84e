//! Maps and ends that do not fit are refused, and nothing is written.

use std::fs;

use bulkio::copy::{CopyError, CopyOptions, End, FailureClass, MapOptions, RescueOptions, Silent, copy};

use crate::faulty::FaultyDisk;
use crate::or_skip;
use crate::support::{LEN, Patient, content, lines_of_map, skip_errors, with};

fn refused(patient: &Patient, options: &CopyOptions) -> String {
    let image = fs::read(patient.path("image")).ok();
    let failure = patient.copy(options).unwrap_err();
    assert_eq!(failure.error.class(), FailureClass::Refused, "{failure}");
    assert!(failure.report.is_none());
    assert_eq!(fs::read(patient.path("image")).ok(), image);
    failure.to_string()
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    const NAME: &str = "refusals::maps_that_do_not_fit_are_refused";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let (new, old) = (patient.with_map(skip_errors(), false), patient.with_map(skip_errors(), true));
    let missing = refused(&patient, &old);
    assert!(missing.contains("cannot be read: No such file"), "{missing}");
    fs::write(patient.path("map"), format!("0 + 1\n0 {LEN} +\n")).unwrap();
    let exists = refused(&patient, &new);
    assert!(exists.contains("exists: go on from it (--resume), or name another"), "{exists}");
    // The image that it speaks of is not there.
    let ahead = refused(&patient, &old);
    assert!(ahead.contains(&format!("filled up to byte {LEN}, and it has 0 bytes")), "{ahead}");
    fs::write(patient.path("image"), vec![7; LEN - 1]).unwrap();
    let ahead = refused(&patient, &old);
    assert!(ahead.contains(&format!("and it has {} bytes", LEN - 1)), "{ahead}");
    fs::write(patient.path("map"), format!("0 + 1\n0 {} ?\n", LEN + 512)).unwrap();
    let long = refused(&patient, &old);
    assert!(long.contains(&format!("covers {} bytes, and", LEN + 512)), "{long}");
    fs::write(patient.path("map"), "0 + 1\n0 512 +\n513 1 +\n").unwrap();
    let gap = refused(&patient, &old);
    assert!(gap.contains("line 3 of the map begins at byte 513"), "{gap}");
    fs::write(patient.path("map"), "what is this\n").unwrap();
    let text = refused(&patient, &old);
    assert!(text.contains("line 1 of the map is `what is this`"), "{text}");
}

#[test]
fn a_map_is_no_end_of_its_copy() {
    const NAME: &str = "refusals::a_map_is_no_end_of_its_copy";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let image = patient.path("image");
    fs::write(&image, format!("0 + 1\n0 {LEN} ?\n")).unwrap();
    let map = MapOptions { path: image, resume: true, command: String::new(), every: MapOptions::EVERY };
    let same = refused(&patient, &with(RescueOptions { map: Some(map), ..skip_errors() }));
    assert!(same.contains("is the map and an end of the copy"), "{same}");
    // A place where no map can be kept is found before anything is written.
    let map = MapOptions {
        path: patient.path("no/map"),
        resume: false,
        command: String::new(),
        every: MapOptions::EVERY,
    };
    let nowhere = refused(&patient, &with(RescueOptions { map: Some(map), ..skip_errors() }));
    assert!(nowhere.contains("cannot be written (making a new one beside it)"), "{nowhere}");
}

/// A part of a copy that is there: the first MiB.
const PART: u64 = 1 << 20;

/// Goes on to another disk, from another disk, or to another place of it, and must not.
#[test]
fn a_map_of_other_ends_is_refused() {
    const NAME: &str = "refusals::a_map_of_other_ends_is_refused";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let right = or_skip!(NAME, FaultyDisk::new(vec![0; LEN + 8192], 512));
    let wrong = or_skip!(NAME, FaultyDisk::new(vec![7; LEN * 2], 512));
    let (disk, to_right, to_wrong) = (patient.disk.node(), right.node(), wrong.node());
    let new = CopyOptions { count: Some(PART), seek: 8192, ..patient.with_map(skip_errors(), false) };
    copy(End::Path(disk), End::Path(to_right), &new, &mut Silent).unwrap();
    let on = CopyOptions { seek: 8192, ..patient.with_map(skip_errors(), true) };
    let before = fs::read_to_string(patient.path("map")).unwrap();
    let refused = |from, to, options: &CopyOptions| {
        let failure = copy(End::Path(from), End::Path(to), options, &mut Silent).unwrap_err();
        assert!(matches!(failure.error, CopyError::MapOther { .. }), "{failure}");
        assert_eq!(failure.error.class(), FailureClass::Refused);
        assert_eq!(fs::read_to_string(patient.path("map")).unwrap(), before);
        failure.to_string()
    };
    let (is, other) = (format!("a disk of {} bytes", LEN + 8192), format!("a disk of {} bytes", LEN * 2));
    let to = refused(disk, to_wrong, &on);
    assert!(to.contains(&format!("is of a copy to {is}, and this one is to {other}: nothing")), "{to}");
    let from = refused(to_wrong, to_right, &CopyOptions { count: Some(LEN as u64), ..on.clone() });
    assert!(
        from.contains(&format!("of a copy from a disk of {LEN} bytes, and this one is from {other}")),
        "{from}"
    );
    // A file of the right length is no disk.
    let file = patient.path("image");
    fs::write(&file, vec![7; LEN + 8192]).unwrap();
    assert!(refused(disk, &file, &on).contains("and this one is to a file"));
    let place = refused(disk, to_right, &CopyOptions { seek: 0, ..on.clone() });
    assert!(
        place.contains("with --skip 0 and --seek 8192, and this one is with --skip 0 and --seek 0"),
        "{place}"
    );
    let skip = CopyOptions { skip: 512, ..on.clone() };
    assert!(refused(disk, to_right, &skip).contains("and this one is with --skip 512 and --seek 8192"));
    assert!(wrong.file().content() == vec![7; LEN * 2] && fs::read(&file).unwrap() == vec![7; LEN + 8192]);
    assert!(right.file().content()[8192 + place_of(PART)..].iter().all(|byte| *byte == 0));
    // Another part of the same copy, and then all of it.
    let part = CopyOptions { skip: 2 * PART, seek: 2 * PART + 8192, count: Some(PART), ..on.clone() };
    copy(End::Path(disk), End::Path(to_right), &part, &mut Silent).unwrap();
    let report = copy(End::Path(disk), End::Path(to_right), &on, &mut Silent).unwrap();
    assert_eq!((report.bytes, report.rescue.unwrap().resumed_bytes), (LEN as u64, 2 * PART));
    assert!(right.file().content()[8192..] == content());
}

fn place_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

/// A file that was moved is the same file, and a map that says nothing of its ends (ddrescue writes none) is taken as it is.
#[test]
fn a_map_that_may_be_of_these_ends_is_gone_on_with() {
    const NAME: &str = "refusals::a_map_that_may_be_of_these_ends_is_gone_on_with";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let part = CopyOptions { count: Some(PART), ..patient.with_map(skip_errors(), false) };
    patient.copy(&part).unwrap();
    let moved = patient.path("moved");
    fs::copy(patient.path("image"), &moved).unwrap();
    let on = patient.with_map(skip_errors(), true);
    let half = CopyOptions { count: Some(2 * PART), ..on.clone() };
    let report = copy(End::Path(patient.disk.node()), End::Path(&moved), &half, &mut Silent).unwrap();
    assert_eq!(report.rescue.unwrap().resumed_bytes, PART);
    let map = patient.path("map");
    fs::write(&map, lines_of_map(&map).join("\n") + "\n").unwrap();
    let disk = or_skip!(NAME, FaultyDisk::new(fs::read(&moved).unwrap(), 512));
    let onto = copy(End::Path(patient.disk.node()), End::Path(disk.node()), &half, &mut Silent);
    assert_eq!(onto.unwrap().rescue.unwrap().resumed_bytes, 2 * PART);
    // From then on it says which.
    assert!(fs::read_to_string(&map).unwrap().contains(" destination=disk,"));
}

#[test]
fn streams_are_refused() {
    const NAME: &str = "refusals::streams_are_refused";
    let patient = or_skip!(NAME, Patient::new(512, &[]));
    let options = CopyOptions { direct: bulkio::copy::DirectMode::Auto, ..with(skip_errors()) };
    let refused = |from, to| copy(from, to, &options, &mut Silent).unwrap_err();
    let failure = refused(End::Path(patient.disk.node()), End::Path(std::path::Path::new("/dev/null")));
    assert!(matches!(failure.error, CopyError::RescueStream { .. }), "{failure}");
    assert_eq!(failure.error.class(), FailureClass::Refused);
    let image = patient.path("image");
    let failure = refused(End::Path(std::path::Path::new("/dev/zero")), End::Path(&image));
    assert!(failure.to_string().contains("is a stream; copy to a file first"), "{failure}");
    assert!(!image.exists());
    let too_many =
        RescueOptions { on_error: bulkio::copy::OnError::Retry, retries: 0, ..RescueOptions::default() };
    let failure = patient.copy(&with(too_many)).unwrap_err();
    assert!(failure.to_string().contains("retries"), "{failure}");
    assert!(patient.disk.file().content() == content());
}
