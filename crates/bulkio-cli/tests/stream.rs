//! The flags of devices with a clock, where there is none: what is refused, how, and with which exit code. Devices are in the lab.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::fs;

use common::storage_dir;
use support::{bulkio, copy};

/// Every flag that only a device with a clock understands, with a value.
const FLAGS: [&[&str]; 15] = [
    &["--frames", "10"],
    &["--duration", "1.5s"],
    &["--stream-buffer", "64M"],
    &["--format", "YUYV"],
    &["--size", "640x480"],
    &["--fps", "30"],
    &["--input", "0"],
    &["--memory", "mmap"],
    &["--pad-frames"],
    &["--rate", "48000"],
    &["--channels", "2"],
    &["--sample", "S16_LE"],
    &["--period", "1024"],
    &["--ring", "65536"],
    &["--container", "wav"],
];

#[test]
fn flags_of_a_clock_are_refused_where_there_is_none() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, "some bytes").expect("a file");
    for flag in FLAGS {
        let words =
            [from.as_os_str(), to.as_os_str()].into_iter().chain(flag.iter().map(|word| word.as_ref()));
        let ended = copy(words);
        ended.exits(3).says(&[flag[0], "neither end is one; leave it out"]);
        assert_eq!(ended.stdout, "", "{ended:#?}");
        let words = ["--json".as_ref(), from.as_os_str(), to.as_os_str()];
        let ended = copy(words.into_iter().chain(flag.iter().map(|word| word.as_ref())));
        assert!(ended.exits(3).json()["error"].as_str().is_some_and(|error| error.contains(flag[0])));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "{flag:?} made something");
    }
}

#[test]
fn a_grabber_that_is_not_there_is_what_is_told() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("video7"), folder.path().join("to"));
    let ended = copy([from.as_os_str(), to.as_os_str(), "--frames".as_ref(), "3".as_ref()]);
    ended.exits(3).says(&["video7 does not exist"]);
    assert!(!to.exists());
}

#[test]
fn an_ordinary_copy_has_no_sidecar() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, "some bytes").expect("a file");
    copy([from.as_os_str(), to.as_os_str(), "--no-sidecar".as_ref()]).exits(0);
    copy([from.as_os_str(), to.as_os_str()]).exits(0);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
}

#[test]
fn values_that_cannot_be_read_are_answered_with_those_that_can() {
    let folder = storage_dir().expect("a folder");
    let to = folder.path().join("to");
    let wrong: [(&[&str], &str); 15] = [
        (&["--duration", "soon"], "10s, 1.5s, 500ms, 2m or 1h"),
        (&["--duration", "0"], "over before it begins"),
        (&["--frames", "all"], "--frames"),
        (&["--stream-buffer", "much"], "is not a size"),
        (&["--format", "YUYV2"], "four letters"),
        (&["--size", "720p"], "1280x720"),
        (&["--fps", "fast"], "30000/1001 or 29.97"),
        (&["--input", "front"], "--input"),
        (&["--memory", "theirs"], "auto, userptr, dmabuf, mmap"),
        (&["--rate", "44.1k"], "that would be 44100"),
        (&["--channels", "stereo"], "--channels"),
        (&["--sample", "16"], "S16_LE, S24_3LE, S32_LE or FLOAT_LE"),
        (&["--container", "mp3"], "auto, raw, wav"),
        (&["--sidecar", "-"], "name a file"),
        (&["--sidecar", "x", "--no-sidecar"], "cannot be used with"),
    ];
    for (flag, says) in wrong {
        let words =
            ["/dev/zero".as_ref(), to.as_os_str()].into_iter().chain(flag.iter().map(|word| word.as_ref()));
        let ended = copy(words);
        ended.exits(2).says(&[says]);
        assert!(ended.stderr.starts_with("bulkio: "), "{ended:#?}");
        assert!(!to.exists(), "{flag:?}");
    }
}

#[test]
fn a_sidecar_is_refused_where_nothing_would_be_in_it() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let sidecar = folder.path().join("events");
    fs::write(&from, "some bytes").expect("a file");
    for path in [&sidecar, &from, &to] {
        let words = [from.as_os_str(), to.as_os_str(), "--sidecar".as_ref(), path.as_os_str()];
        copy(words).exits(3).says(&["--sidecar is for", "neither end is one; leave it out"]);
    }
    assert_eq!(fs::read(&from).expect("the source"), b"some bytes");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn a_name_of_a_sound_device_is_a_file_where_there_is_one() {
    let folder = storage_dir().expect("a folder");
    fs::write(folder.path().join("hw:9,9"), "some bytes").expect("a file");
    let run = |words: &[&str]| bulkio().args(words).current_dir(folder.path()).output().expect("it runs");
    let output = run(&["copy", "hw:9,9", "to"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read(folder.path().join("to")).expect("the copy"), b"some bytes");
    let output = run(&["probe", "--json", "hw:9,9"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"kind\":\"file\""), "{output:?}");
    // Without one there is neither, and nothing is made of the name.
    fs::remove_file(folder.path().join("hw:9,9")).expect("it was there");
    for words in [&["probe", "hw:9,9"][..], &["copy", "hw:9,9", "other"], &["copy", "to", "hw:9,9"]] {
        let output = run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said.contains("hw:9,9") || said.contains("pcmC9D9"), "{said}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn an_other_end_is_for_devices_with_a_clock() {
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    fs::write(&from, "some bytes").expect("a file");
    let output = bulkio().arg("probe").args([&from, &"--to".into(), &from]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("leave it out"), "{output:?}");
}

#[test]
fn help_names_every_flag_class_and_exit_code() {
    let output = bulkio().args(["copy", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout);
    let words = FLAGS.iter().map(|flag| flag[0]).chain([
        "--sidecar",
        "--no-sidecar",
        "Streams with a clock",
        "Video",
        "Sound",
        "/dev/video0",
        "hw:CARD,DEV",
        "/dev/snd/pcmC0D0c",
        "video, audio)",
        "latency_max_seconds",
        "4             finished, but data was lost",
    ]);
    for word in words {
        assert!(help.contains(word), "no {word:?} in {help}");
    }
}
