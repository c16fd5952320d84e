//! `bulkio copy` and `bulkio probe` of sound devices, as a person runs them: exit codes, reports, sidecars, names.
//!
//! What is heard is compared at the library. Here the program itself is run.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Running, assert_exits, bulkio, events, number, said};
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{in_lab, wait_until};

/// What plays for as long as the value lives, on the other side of what is recorded.
struct Player(Child);

impl Player {
    fn start(device: &str) -> Self {
        let words = ["-q", "-D", device, "-t", "raw", "-f", "S16_LE", "-r", "48000", "-c", "2", "/dev/zero"];
        let player = Command::new("aplay").args(words).stdin(Stdio::null()).spawn().unwrap();
        let player = Self(player);
        // The loopback gives nothing before somebody plays.
        let status = Path::new("/proc/asound/card0/pcm0p/sub0/status");
        wait_until("aplay plays", || {
            fs::read_to_string(status).is_ok_and(|status| status.contains("RUNNING"))
        });
        player
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PLAYED: &str = "hw:0,0";
const RECORDED: &str = "hw:0,1";
const FRAMES: u64 = 24_000;

/// Records half a second to a file of this name, and returns the report.
fn record(folder: &TempDir, to: &str) -> String {
    let _player = Player::start(PLAYED);
    let words = ["copy", RECORDED, to, "--frames", "24000", "--rate", "48000", "--channels", "2", "--json"];
    let output = bulkio(folder).args(words).output().unwrap();
    let json = String::from_utf8_lossy(&output.stdout).into_owned();
    // A machine that is emulated may be too slow: then that is told, too.
    assert_exits(&output, if number(&json, "xruns") == 0 { 0 } else { 4 });
    json
}

#[test]
fn a_recording_has_a_report_and_a_sidecar() {
    const NAME: &str = "audio_command::a_recording_has_a_report_and_a_sidecar";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    let json = record(&folder, "raw");
    assert_eq!(number(&json, "frames"), FRAMES, "{json}");
    assert!(json.contains("\"class\":\"audio\"") && json.contains("\"sidecar\":\"raw.jsonl\""), "{json}");
    assert_eq!(fs::metadata(folder.path().join("raw")).unwrap().len(), 4 * FRAMES);
    let sidecar = folder.path().join("raw.jsonl");
    assert_eq!(events(&sidecar, "start").len(), 1);
    let ends = events(&sidecar, "end");
    assert_eq!((ends.len(), number(&ends[0], "frames")), (1, FRAMES));
}

#[test]
fn a_wave_file_is_played_as_it_was_recorded() {
    const NAME: &str = "audio_command::a_wave_file_is_played_as_it_was_recorded";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    record(&folder, "talk.wav");
    let header = fs::read(folder.path().join("talk.wav")).unwrap();
    assert_eq!((&header[..4], &header[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    // It says what it is: no flag has to.
    let output =
        bulkio(&folder).args(["copy", "talk.wav", PLAYED, "--json", "--sidecar", "played"]).output().unwrap();
    let json = String::from_utf8_lossy(&output.stdout);
    assert_exits(&output, if number(&json, "xruns") == 0 { 0 } else { 4 });
    assert_eq!(number(&json, "frames"), FRAMES, "{json}");
    assert!(json.contains("48000") && json.contains("\"sidecar\":\"played\""), "{json}");
    assert_eq!(number(&events(&folder.path().join("played"), "end")[0], "frames"), FRAMES);
    // A device has none beside it.
    let output = bulkio(&folder).args(["copy", "talk.wav", PLAYED, "--json"]).output().unwrap();
    let json = String::from_utf8_lossy(&output.stdout);
    assert!(json.contains("\"sidecar\":null"), "{}", said(&output));
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["played", "talk.wav", "talk.wav.jsonl"]);
}

#[test]
fn sound_that_is_lost_ends_with_its_own_exit_code() {
    const NAME: &str = "audio_command::sound_that_is_lost_ends_with_its_own_exit_code";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    let _player = Player::start(PLAYED);
    let mut command = bulkio(&folder);
    // A ring of a sixth of a second, and a command that stands still for longer.
    command.args(["copy", RECORDED, "raw", "--duration", "4s", "--ring", "8192", "--json"]);
    command.args(["--rate", "48000", "--channels", "2"]);
    let running = Running::start(&mut command);
    let status = Path::new("/proc/asound/card0/pcm1c/sub0/status");
    let is = |state: &str| fs::read_to_string(status).is_ok_and(|status| status.contains(state));
    wait_until("it records", || is("RUNNING"));
    running.signal(Signal::STOP);
    wait_until("the ring ran over", || is("XRUN"));
    running.signal(Signal::CONT);
    let output = running.end();
    assert_exits(&output, 4);
    let json = String::from_utf8_lossy(&output.stdout);
    let xruns = number(&json, "xruns");
    assert!(xruns > 0 && json.contains("\"reason\":\"xrun\""), "{json}");
    let losses = events(&folder.path().join("raw.jsonl"), "lost");
    let of_xruns = losses.iter().filter(|line| line.contains("\"reason\":\"xrun\"")).count();
    assert_eq!(of_xruns as u64, xruns, "{losses:?}");
    // It stood still once. Behind that the ring is emptied as it fills.
    assert!(xruns < 10, "{losses:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("data was lost: hw:0,1 lost sound by"), "{stderr}");
}

#[test]
fn what_a_device_has_not_is_refused_and_nothing_is_made() {
    const NAME: &str = "audio_command::what_a_device_has_not_is_refused_and_nothing_is_made";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["hw:7,1", "to"], "pcmC7D1c"),
        (&["hw:Nobody", "to"], "Loopback"),
        (&[RECORDED, "to", "--rate", "1"], "8000 to"),
        (&[RECORDED, "to", "--channels", "77"], "32"),
        (&[RECORDED, "to", "--format", "YUYV"], "--format"),
    ];
    for (words, says) in cases {
        let output = bulkio(&folder).arg("copy").args(words).output().unwrap();
        assert_exits(&output, 3);
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{words:?}: {}", said(&output));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_probe_names_both_directions_or_the_one_of_a_node() {
    const NAME: &str = "audio_command::a_probe_names_both_directions_or_the_one_of_a_node";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    let probe = |words: &[&str]| {
        let output = bulkio(&folder).arg("probe").args(words).output().unwrap();
        assert_exits(&output, 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let both = probe(&[RECORDED, "--json", "--to", "new"]);
    assert_eq!(both.matches("\"direction\":\"").count(), 2, "{both}");
    assert!(both.contains("\"verdict\":\"direct\"") && both.contains("S16_LE"), "{both}");
    let one = probe(&["/dev/snd/pcmC0D1c"]);
    assert!(one.contains("audio, capture from /dev/snd/pcmC0D1c") && !one.contains("playback"), "{one}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "asking makes nothing");
}
