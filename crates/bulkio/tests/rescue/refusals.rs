//! Maps and ends that do not fit are refused, and nothing is written.

use std::fs;

use bulkio::copy::{CopyError, CopyOptions, End, FailureClass, MapOptions, RescueOptions, Silent, copy};

use crate::or_skip;
use crate::support::{LEN, Patient, content, skip_errors, with};

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
