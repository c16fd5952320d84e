//! `bulkio copy` and `bulkio probe` of a grabber, as a person runs them: exit codes, reports, sidecars, signals.
//!
//! What a copy moves, and how, is tested at the library. Here the program itself is run; the lab says where it is.

use std::fs;
use std::process::Output;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Running, assert_exits, bulkio, events, number, said};
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{in_lab, wait_until};
use crate::video::support::{CONTIGUOUS, PAGES, control, set};

/// Words for a copy of small frames.
fn copy(folder: &TempDir, node: &str, words: &[&str]) -> Output {
    let mut command = bulkio(folder);
    command.args(["copy", node, "to", "--size", "320x180", "--fps", "60", "--format", "YUYV"]);
    command.args(words).output().unwrap()
}

const FRAME_LEN: u64 = 320 * 180 * 2;

#[test]
fn a_copy_has_a_report_and_a_sidecar() {
    const NAME: &str = "video_command::a_copy_has_a_report_and_a_sidecar";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let output = copy(&folder, PAGES, &["--frames", "30", "--json"]);
    let (json, to) = (String::from_utf8_lossy(&output.stdout), folder.path().join("to"));
    // A machine that is emulated may be too slow for the grabber: then that is told, too.
    let lost = number(&json, "dropped") + number(&json, "errored");
    assert_exits(&output, if lost == 0 { 0 } else { 4 });
    assert_eq!((number(&json, "frames"), number(&json, "bytes")), (30, 30 * FRAME_LEN), "{json}");
    assert!(json.contains("\"sidecar\":\"to.jsonl\"") && json.contains("\"class\":\"video\""), "{json}");
    assert_eq!(fs::metadata(&to).unwrap().len(), 30 * FRAME_LEN);

    let sidecar = folder.path().join("to.jsonl");
    let frames = events(&sidecar, "frame");
    assert_eq!((frames.len(), events(&sidecar, "start").len(), events(&sidecar, "end").len()), (30, 1, 1));
    for (index, frame) in frames.iter().enumerate() {
        let index = index as u64;
        let found = ["index", "position", "len"].map(|name| number(frame, name));
        assert_eq!(found, [index, index * FRAME_LEN, FRAME_LEN], "{frame}");
    }
    let sequences: Vec<u64> = frames.iter().map(|frame| number(frame, "sequence")).collect();
    // The emulated grabber gives a number twice where it is late.
    assert!(sequences.is_sorted(), "{sequences:?}");
    assert_eq!(number(&events(&sidecar, "end")[0], "frames"), 30);
}

#[test]
fn frames_that_are_lost_end_with_their_own_exit_code() {
    const NAME: &str = "video_command::frames_that_are_lost_end_with_their_own_exit_code";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    set(PAGES, &[("percentage_of_dropped_buffers", 50)]);
    let output = copy(&folder, PAGES, &["--frames", "30", "--json"]);
    let quiet = copy(&folder, PAGES, &["--frames", "30", "--quiet", "--no-sidecar"]);
    set(PAGES, &[("percentage_of_dropped_buffers", 0)]);
    for output in [&output, &quiet] {
        assert_exits(output, 4);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.starts_with("bulkio: data was lost: /dev/video0 lost "), "{stderr}");
    }
    let json = String::from_utf8_lossy(&output.stdout);
    let dropped = number(&json, "dropped");
    assert!(dropped > 0 && json.contains("\"error\":\"data was lost"), "{json}");
    // Those that came are whole, and every loss has its line.
    assert_eq!(fs::metadata(folder.path().join("to")).unwrap().len(), 30 * FRAME_LEN);
    let losses = events(&folder.path().join("to.jsonl"), "lost");
    assert_eq!(losses.iter().map(|loss| number(loss, "count")).sum::<u64>(), dropped);
    for loss in &losses {
        let [first, last, count] = ["first", "last", "count"].map(|name| number(loss, name));
        assert_eq!(last - first + 1, count, "{loss}");
    }
}

#[test]
fn a_sidecar_that_fails_stops_nothing_but_is_no_success() {
    const NAME: &str = "video_command::a_sidecar_that_fails_stops_nothing_but_is_no_success";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let output = copy(&folder, PAGES, &["--frames", "5", "--sidecar", "/dev/full"]);
    assert_exits(&output, 1);
    let told = String::from_utf8_lossy(&output.stderr).matches("/dev/full cannot be written").count();
    assert_eq!(told, 1, "{}", said(&output));
    assert_eq!(fs::metadata(folder.path().join("to")).unwrap().len(), 5 * FRAME_LEN);
    // One that would be written over the frames is refused before there are any.
    let output = copy(&folder, PAGES, &["--frames", "5", "--sidecar", "to"]);
    assert_exits(&output, 3);
}

#[test]
fn a_copy_without_an_end_is_ended_by_a_signal_and_is_whole() {
    const NAME: &str = "video_command::a_copy_without_an_end_is_ended_by_a_signal_and_is_whole";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let mut command = bulkio(&folder);
    command.args(["copy", PAGES, "to", "--size", "320x180", "--fps", "60", "--format", "YUYV", "--json"]);
    let running = Running::start(&mut command);
    let (to, sidecar) = (folder.path().join("to"), folder.path().join("to.jsonl"));
    // Lines are with the system after a second: frames have come.
    wait_until("frames are told", || sidecar.exists() && events(&sidecar, "frame").len() > 2);
    running.signal(Signal::USR1);
    running.signal(Signal::INT);
    let output = running.end();
    assert_exits(&output, 130);
    let json = String::from_utf8_lossy(&output.stdout);
    let frames = number(&json, "frames");
    assert!(frames > 2 && json.contains("\"interrupted\":true"), "{json}");
    assert_eq!(fs::metadata(&to).unwrap().len(), frames * FRAME_LEN);
    assert_eq!(events(&sidecar, "frame").len() as u64, frames);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("buffers waiting, disk "), "{stderr}");
}

#[test]
fn a_probe_says_what_would_be_copied() {
    const NAME: &str = "video_command::a_probe_says_what_would_be_copied";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let probe = |words: &[&str]| {
        let output = bulkio(&folder).arg("probe").args(words).output().unwrap();
        assert_exits(&output, 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let table = probe(&[PAGES, "--to", "new"]);
    for words in [
        "/dev/video0: video, ",
        "stands at ",
        "format YUYV",
        "memory user pointers",
        "to new, file (not there yet)",
    ] {
        assert!(table.contains(words), "no {words:?} in {table}");
    }
    // Contiguous memory of the driver can be had by nobody else.
    let json = probe(&[CONTIGUOUS, "--to", "new", "--json"]);
    let mapped = json.split_once("{\"model\":\"mapped\"").expect("the driver's own memory").1;
    let mapped = mapped.split_once('}').unwrap().0;
    assert!(mapped.contains("\"verdict\":\"copied\"") && mapped.contains("cannot be pinned"), "{mapped}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "asking makes nothing");
}

#[test]
fn a_copy_does_what_the_probe_said() {
    const NAME: &str = "video_command::a_copy_does_what_the_probe_said";
    or_skip!(NAME, in_lab("video"));
    const FRAMES: u64 = 10;
    let folder = storage_dir().unwrap();
    let mut seen = Vec::new();
    // One byte a pixel: these frames end in the middle of a block of 512, and those of two bytes do not.
    for (format, frame_len) in [("YUYV", FRAME_LEN), ("GREY", FRAME_LEN / 2)] {
        for node in [PAGES, CONTIGUOUS] {
            let words = format!("--set-fmt-video=width=320,height=180,pixelformat={format}");
            control(node, &[&words]);
            let probed = bulkio(&folder).args(["probe", node, "--to", "to", "--json"]).output().unwrap();
            assert_exits(&probed, 0);
            let probed = String::from_utf8_lossy(&probed.stdout).into_owned();
            for (model, word) in [("user pointers", "userptr"), ("dma-buf", "dmabuf"), ("mapped", "mmap")] {
                let row =
                    probed.split_once(&format!("{{\"model\":\"{model}\"")).expect("every model is there").1;
                let row = row.split_once('}').unwrap().0;
                let mut command = bulkio(&folder);
                command.args(["copy", node, "to", "--frames", "10", "--memory", word, "--json"]);
                let output =
                    command.args(["--format", format, "--size", "320x180", "--fps", "60"]).output().unwrap();
                if row.contains("\"works\":false") {
                    assert_exits(&output, 3);
                    continue;
                }
                let events = String::from_utf8_lossy(&output.stdout);
                let json = events.lines().last().expect("the report");
                let bytes = FRAMES * frame_len;
                assert_eq!(number(json, "bytes"), bytes, "{}", said(&output));
                let (source, destination) =
                    json.split_once("\"destination\":").expect("both sides are there");
                let copied = number(source, "bounced_bytes") + number(destination, "bounced_bytes");
                let verdict = row.split_once("\"verdict\":\"").unwrap().1.split_once('"').unwrap().0;
                println!("{node} {format} by {model}: {verdict}, {copied} of {bytes} bytes copied");
                match verdict {
                    "direct" => assert_eq!(copied, 0, "{row} {json}"),
                    // Less than a block at either end of each frame.
                    "edges" => assert!(copied > 0 && copied <= FRAMES * 2 * 512, "{row} {json}"),
                    "copied" => assert!(copied + FRAMES * 512 > bytes / 2, "{row} {json}"),
                    other => panic!("{other} in {row}"),
                }
                seen.push(verdict.to_owned());
            }
            control(node, &["--set-fmt-video=width=320,height=180,pixelformat=YUYV"]);
        }
    }
    for verdict in ["direct", "edges", "copied"] {
        assert!(seen.iter().any(|seen| seen == verdict), "no {verdict} among {seen:?}");
    }
}
