//! The lines of a sidecar, where it goes, and what happens where it cannot.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const STARTED: StreamEvent<'_> = StreamEvent::Started {
    device: "/dev/video0",
    format: "YUYV 64x48 30/1",
    memory: "a \"quoted\" word",
    frame_len: 6144,
    time: Duration::from_nanos(12_345_678_901),
};

const fn frame(index: u64) -> StreamEvent<'static> {
    let time = Duration::from_millis(13_000 + index);
    StreamEvent::Frame { index, sequence: index + 7, time, position: index * 6144, len: 6144 }
}

fn loss(reason: LossReason, count: Option<u64>) -> StreamEvent<'static> {
    StreamEvent::Lost(Loss { reason, at_frame: 17, sequence: 24, count, time: Duration::from_millis(1500) })
}

fn line(event: &StreamEvent<'_>) -> String {
    let mut out = Vec::new();
    assert!(write_line(&mut out, event).expect("a vector takes all"));
    String::from_utf8(out).expect("text")
}

fn object(event: &StreamEvent<'_>) -> Value {
    let line = line(event);
    assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    serde_json::from_str(&line).expect("an object")
}

#[test]
fn each_event_is_one_object() {
    assert_eq!(
        object(&STARTED),
        json!({
            "event": "start", "device": "/dev/video0", "format": "YUYV 64x48 30/1", "memory": "a \"quoted\" word",
            "frame_len": 6144, "time": 12.345_678
        })
    );
    let time = Duration::ZERO;
    let unsaid = StreamEvent::Started { device: "hw:0", format: "", memory: "", frame_len: 4, time };
    assert!(object(&unsaid)["time"].is_null(), "a device that does not say");
    assert_eq!(
        object(&frame(2)),
        json!({"event": "frame", "index": 2, "sequence": 9, "time": 13.002, "position": 12288, "len": 6144})
    );
    assert_eq!(
        object(&loss(LossReason::Dropped, Some(3))),
        json!({
            "event": "lost", "reason": "dropped", "at_frame": 17, "sequence": 24, "count": 3, "first": 24, "last": 26,
            "time": 1.5
        })
    );
    assert_eq!(
        object(&loss(LossReason::Xrun, None)),
        json!({"event": "lost", "reason": "xrun", "at_frame": 17, "sequence": 24, "count": null, "time": 1.5})
    );
    assert_eq!(object(&loss(LossReason::Errored, Some(1)))["reason"], "errored");
    assert_eq!(
        object(&StreamEvent::Clock { frames: 48_000, time: Duration::from_secs(9) }),
        json!({"event": "clock", "frames": 48_000, "time": 9.0})
    );
    assert_eq!(
        object(&StreamEvent::Ended { frames: 9, dropped: 3, errored: 2, xruns: 1 }),
        json!({"event": "end", "frames": 9, "dropped": 3, "errored": 2, "xruns": 1})
    );
}

#[test]
fn times_have_six_digits() {
    assert!(line(&frame(0)).contains("\"time\":13.000000,"), "{}", line(&frame(0)));
    assert!(line(&STARTED).ends_with("\"time\":12.345678}\n"), "{}", line(&STARTED));
}

/// A folder with a destination, and the sidecar of a copy into it.
fn begin(choice: impl FnOnce(&Path) -> SidecarChoice) -> (TempDir, PathBuf, Sidecar) {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("to.raw");
    fs::write(&to, b"frames").expect("a file");
    let sidecar =
        Sidecar::new(choice(folder.path()), End::Path(Path::new("/dev/video0")), End::Path(&to), true);
    (folder, to, sidecar)
}

#[test]
fn it_lies_beside_a_file_and_replaces_an_older_one() {
    let (folder, _, mut sidecar) = begin(|_| SidecarChoice::Beside);
    let path = folder.path().join("to.raw.jsonl");
    fs::write(&path, "an older and longer one\n".repeat(100)).expect("a file");
    sidecar.check(true).expect("nothing was named");
    assert_eq!(sidecar.event(&STARTED), None);
    for index in 0..1000 {
        assert_eq!(sidecar.event(&frame(index)), None);
    }
    let written = sidecar.finish();
    assert_eq!(written, Written { path: Some(path.clone()), lines: 1001, error: None, told: false });
    let text = fs::read_to_string(path).expect("text");
    assert_eq!(text.lines().count(), 1001);
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("an object");
    assert_eq!(last["index"], 999);
}

#[test]
fn what_waited_is_with_the_system_before_the_end() {
    let (folder, _, mut sidecar) = begin(|_| SidecarChoice::Beside);
    sidecar.event(&STARTED);
    assert_eq!(sidecar.flush_now_and_then(), None);
    let path = folder.path().join("to.raw.jsonl");
    assert_eq!(fs::metadata(&path).expect("it is there").len(), 0, "it is gathered");
    let State::Open(writer) = &mut sidecar.state else { panic!("it is open") };
    writer.flushed = writer.flushed.checked_sub(FLUSH_EVERY).expect("the machine runs for longer");
    assert_eq!(sidecar.flush_now_and_then(), None);
    assert_eq!(fs::read_to_string(&path).expect("text"), line(&STARTED));
}

#[test]
fn there_is_none_where_nothing_happens_or_where_it_would_not_lie_beside_a_file() {
    let (folder, to, sidecar) = begin(|_| SidecarChoice::Beside);
    assert_eq!(sidecar.finish(), Written::default());
    let nowhere = Sidecar::new(SidecarChoice::Nowhere, End::Stdin, End::Path(&to), true);
    let device = Sidecar::new(SidecarChoice::Beside, End::Stdin, End::Path(Path::new("/dev/null")), true);
    let stdout = Sidecar::new(SidecarChoice::Beside, End::Stdin, End::Stdout, true);
    for mut sidecar in [nowhere, device, stdout] {
        assert_eq!(sidecar.event(&STARTED), None);
        assert_eq!(sidecar.finish(), Written::default());
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn a_place_that_would_destroy_something_is_refused() {
    let refused = |choice: &dyn Fn(&Path) -> PathBuf, says: &str| {
        let (_folder, to, mut sidecar) = begin(|folder| SidecarChoice::At(choice(folder)));
        let error = sidecar.check(true).expect_err("refused");
        assert!(error.contains(says), "{error}");
        // Even where nobody looked before.
        let told = sidecar.event(&STARTED).expect("refused");
        assert!(told.contains("the copy goes on without it"), "{told}");
        assert_eq!(sidecar.event(&frame(0)), None, "it is told once");
        assert!(sidecar.finish().error.is_some());
        assert_eq!(fs::read(to).expect("the destination"), b"frames");
    };
    refused(&|folder| folder.join("to.raw"), "would be written over");
    refused(&|folder| folder.join(".").join("to.raw"), "would be written over");
    refused(
        &|folder| {
            symlink("to.raw", folder.join("link")).expect("a link");
            folder.join("link")
        },
        "would be written over",
    );
    refused(&Path::to_path_buf, "is a directory");
    refused(&|folder| folder.join("none/to"), "cannot be made");
}

#[test]
fn a_destination_that_is_to_be_made_is_not_taken_for_the_sidecar() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("to");
    let at = |name: &str| {
        Sidecar::new(SidecarChoice::At(folder.path().join(name)), End::Stdin, End::Path(&to), true)
    };
    assert!(at("to").check(true).expect_err("refused").contains("would be written over"));
    at("other").check(true).expect("another name");
    assert!(at("other").check(false).expect_err("refused").contains("neither end is one; leave it out"));
}

#[test]
fn a_sidecar_that_cannot_be_written_is_told_once() {
    let (_folder, _, mut sidecar) = begin(|_| SidecarChoice::At("/dev/full".into()));
    sidecar.check(true).expect("it may be written");
    let told: Vec<String> =
        (0..2000).map(frame).chain([STARTED]).filter_map(|event| sidecar.event(&event)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("/dev/full cannot be written: No space left"), "{told:?}");
    let written = sidecar.finish();
    assert!(written.told && written.error.is_some_and(|why| why.contains("No space left")));
    // What fails at the very end counts too.
    let (_folder, _, mut sidecar) = begin(|_| SidecarChoice::At("/dev/full".into()));
    assert_eq!(sidecar.event(&STARTED), None);
    let written = sidecar.finish();
    assert!(!written.told && written.error.is_some_and(|why| why.contains("No space left")));
}

#[test]
fn a_pipe_without_a_reader_is_not_waited_for() {
    let (_folder, _, mut sidecar) = begin(|folder| {
        let pipe = folder.join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).expect("a named pipe");
        SidecarChoice::At(pipe)
    });
    sidecar.check(true).expect("a pipe may be written");
    assert!(sidecar.event(&STARTED).expect("told").contains("nobody reads"));
}
