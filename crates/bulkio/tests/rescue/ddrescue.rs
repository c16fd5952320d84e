//! Beside GNU ddrescue: the same map of the same disk, and each goes on where the other ended.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::or_skip;
use crate::support::{Patient, content, lines_of_map, retry_errors, sectors, skip_errors, zeroed};

fn ddrescue(arguments: &[&str], patient: &Patient, image: &str, map: &Path) -> Result<(), String> {
    let mut command = Command::new("ddrescue");
    command.args(["--quiet", "--idirect", "--force"]).args(arguments);
    command.arg(patient.disk.node()).arg(patient.path(image)).arg(map);
    let ended = command.status().map_err(|error| format!("ddrescue: {error}"))?;
    assert!(ended.success(), "{command:?}");
    Ok(())
}

/// Without the first line, where the work stood last: that depends on what was read in which order.
fn areas(path: &Path) -> Vec<String> {
    lines_of_map(path).split_off(1)
}

#[test]
fn the_map_is_the_one_that_ddrescue_makes() {
    const NAME: &str = "ddrescue::the_map_is_the_one_that_ddrescue_makes";
    for bad in [vec![sectors(4660, 10)], vec![sectors(0, 1), sectors(700, 300), sectors(8191, 1)]] {
        let patient = or_skip!(NAME, Patient::new(512, &bad));
        let theirs = patient.path("theirs");
        or_skip!(NAME, ddrescue(&[], &patient, "image of theirs", &theirs));
        patient.copy(&patient.with_map(skip_errors(), false)).unwrap();
        assert_eq!(areas(&patient.path("map")), areas(&theirs));
        assert!(lines_of_map(&patient.path("map"))[0].ends_with("     +               1"));
        // A sector that is bad at the very end is missing in theirs.
        let mut image = fs::read(patient.path("image of theirs")).unwrap();
        image.resize(crate::support::LEN, 0);
        assert!(patient.image() == image);
    }
}

#[test]
fn ddrescue_goes_on_where_we_ended() {
    const NAME: &str = "ddrescue::ddrescue_goes_on_where_we_ended";
    let bad = [sectors(4660, 10), sectors(6000, 1)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    patient.copy(&patient.with_map(skip_errors(), false)).unwrap();
    patient.disk.file().clear_rules();
    patient.break_at(&bad[1..]);
    or_skip!(NAME, ddrescue(&["--retry-passes=1"], &patient, "image", &patient.path("map")));
    assert!(patient.image() == zeroed(&bad[1..]));
    // And we go on where it ended.
    patient.disk.file().clear_rules();
    patient.copy(&patient.with_map(retry_errors(1), true)).unwrap();
    assert!(patient.image() == content());
}

/// Where ddrescue was told to leave its work half done.
#[test]
fn we_go_on_where_ddrescue_ended() {
    const NAME: &str = "ddrescue::we_go_on_where_ddrescue_ended";
    let bad = [sectors(4660, 10), sectors(7000, 300)];
    let patient = or_skip!(NAME, Patient::new(512, &bad));
    for half in [&["--no-scrape", "--no-trim"][..], &["--no-scrape"], &["--size=3000000"]] {
        let _ = fs::remove_file(patient.path("image"));
        let _ = fs::remove_file(patient.path("map"));
        or_skip!(NAME, ddrescue(half, &patient, "image", &patient.path("map")));
        let report = patient.copy(&patient.with_map(skip_errors(), true)).unwrap();
        assert_eq!(crate::support::lost(&report), bad, "{half:?}");
        assert!(patient.image() == zeroed(&bad), "{half:?}");
    }
}
