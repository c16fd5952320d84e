//! The command beside `v4l2-ctl --stream-mmap`: system calls and copied bytes for each frame, as counts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{frame_of_another_reader, large, still};
use crate::command::assert_whole;
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::in_lab;
use crate::video::support::PAGES;

const FRAMES: u64 = 100;

/// What a program did between two numbers of frames, so that its beginning and its end do not count.
struct Counts {
    calls: u64,
    /// Bytes that `write(2)` took: each was copied.
    written: u64,
}

/// Counts what a program does, all its threads taken together.
fn count(folder: &Path, words: &[String]) -> Counts {
    let trace = folder.join("trace");
    let output = Command::new("strace").args(["-f", "-qq", "-o"]).arg(&trace).args(words).output().unwrap();
    assert_whole(&output, words[1] == "copy");
    let text = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    let calls = text.lines().filter(|line| line.contains('(') && !line.contains("+++")).count() as u64;
    let written = text
        .lines()
        .filter(|line| line.contains(" write(") || line.contains("pwrite64("))
        .filter_map(|line| {
            let (_, result) = line.rsplit_once("= ")?;
            result.split_whitespace().next()?.parse::<u64>().ok()
        });
    Counts { calls, written: written.sum() }
}

/// The difference that `FRAMES` frames make.
fn per_frame(folder: &Path, words: impl Fn(u64) -> Vec<String>) -> (f64, u64) {
    let (few, many) = (count(folder, &words(20)), count(folder, &words(20 + FRAMES)));
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let calls = (many.calls - few.calls) as f64 / FRAMES as f64;
    // What was said of frames that were lost only the first time is no copy.
    (calls, many.written.saturating_sub(few.written) / FRAMES)
}

#[test]
fn it_takes_fewer_calls_and_copies_nothing() {
    const NAME: &str = "video_copy::peer::it_takes_fewer_calls_and_copies_nothing";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let command = PathBuf::from(std::env::var_os("BULKIO_BIN").expect("the lab says where the command is"));
    still(PAGES);
    let frame = frame_of_another_reader(PAGES, &large(), folder.path()).len() as u64;
    let clip = folder.path().join("clip.raw").display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (ours, copied) = per_frame(folder.path(), |frames| {
        let frames = frames.to_string();
        let mut line = vec![command.display().to_string()];
        line.extend(words(&["copy", PAGES, &clip, "--frames", &frames, "--format", "YUYV"]));
        line.extend(words(&["--size", "1280x720", "--fps", "5", "--quiet", "--no-sidecar"]));
        line
    });
    assert_eq!(std::fs::metadata(&clip).unwrap().len(), (20 + FRAMES) * frame);
    let (theirs, copied_by_them) = per_frame(folder.path(), |frames| {
        let (count, to) = (format!("--stream-count={frames}"), format!("--stream-to={clip}"));
        words(&["v4l2-ctl", "-d", PAGES, "--stream-mmap", &count, &to])
    });
    println!(
        "for each frame of {frame} bytes: bulkio {ours:.2} system calls and {copied} bytes by write(2), \
         v4l2-ctl {theirs:.2} and {copied_by_them}"
    );
    assert!(ours < theirs, "{ours} and {theirs}");
    assert!(copied < 100 && copied_by_them >= frame, "{copied} and {copied_by_them}");
}
