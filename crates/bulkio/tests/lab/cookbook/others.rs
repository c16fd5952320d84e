//! Recipes for tapes and sound: what they find, and what has to be there behind them.
//!
//! The lab's tape drive garbles what is read with a little more room than a block has, so all blocks but the last of a file have one length, and that one is
//! shorter than half of it (see `tape`).

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Kept, Stage, bytes};
use crate::command::said;
use crate::support::wait_until;
use crate::tape;

const FIRST: &str = "/dev/nst0";
const SECOND: &str = "/dev/nst1";

/// The block of the recipe's archive.
const RECORD_LEN: usize = 256 << 10;

/// The block of the tape that is taken to files.
const BLOCK_LEN: usize = 64 << 10;

/// The lengths of its files.
const FILES: [usize; 3] = [2_000_000, BLOCK_LEN, 1_000_000];

fn file(number: usize) -> Vec<u8> {
    bytes(10 + number as u64, FILES[number])
}

pub(super) fn photos(folder: &Path) -> Kept {
    tape::ready(FIRST, 0);
    let photos = folder.join("photos");
    fs::create_dir(&photos).unwrap();
    for number in 0..3 {
        fs::write(photos.join(format!("photo{number}.raw")), bytes(20 + number, 1_000_000)).unwrap();
    }
    None
}

pub(super) fn archived(stage: &Stage<'_>) {
    let archive = Command::new("tar").args(["-c", "-b", "512", "photos"]).current_dir(stage.folder).output();
    let archive = archive.unwrap();
    assert!(archive.status.success() && archive.stdout.len() > 3_000_000, "{}", archive.status);
    let mut records = tape::dump(FIRST, 1, RECORD_LEN);
    assert_eq!(records.pop(), Some(None), "the file ends with a filemark");
    let records: Vec<_> = records.into_iter().flatten().collect();
    assert!(records.iter().all(|record| record.len() == RECORD_LEN), "{}", stage.printed);
    assert!(records.concat() == archive.stdout, "the tape holds something else: {}", stage.printed);
}

pub(super) fn tape(_: &Path) -> Kept {
    tape::fill(FIRST, &[0, 1, 2].map(|number| tape::blocks(&file(number), BLOCK_LEN)));
    // Something else, so that what is there was written.
    tape::fill(SECOND, &[0, 1, 2].map(|_| tape::blocks(&[0x55; 1000], 1000)));
    None
}

pub(super) fn taken(stage: &Stage<'_>) {
    for number in 0..3 {
        let name = format!("tape.{:04}", number + 1);
        assert!(stage.file(&name) == file(number), "{name}: {}", stage.printed);
    }
    if stage.ours != Some(0) {
        assert!(
            tape::dump(SECOND, 3, BLOCK_LEN) == tape::dump(FIRST, 3, BLOCK_LEN),
            "the tapes differ: {}",
            stage.printed
        );
        // So that the next block has to write it anew.
        tape::fill(SECOND, &[0, 1, 2].map(|_| tape::blocks(&[0x55; 1000], 1000)));
    }
}

/// What plays noise while it lives, on the other side of what is recorded.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        // It has ended already if the test failed because of that.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn player(_: &Path) -> Kept {
    let words = ["-q", "-D", "hw:0,1", "-t", "raw", "-f", "S16_LE", "-r", "48000", "-c", "2", "/dev/urandom"];
    let player = Player(Command::new("aplay").args(words).stdin(Stdio::null()).spawn().unwrap());
    let status = Path::new("/proc/asound/card0/pcm1p/sub0/status");
    wait_until("aplay plays", || fs::read_to_string(status).is_ok_and(|status| status.contains("RUNNING")));
    Some(Box::new(player))
}

pub(super) fn recorded(stage: &Stage<'_>) {
    let asked = |flag: &str| {
        let output = Command::new("sox").args(["--i", flag]).arg(stage.folder.join("talk.wav")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let found = ["-r", "-c", "-b", "-s"].map(asked);
    assert_eq!(found, ["48000", "2", "16", "96000"], "{}", stage.printed);
    // Noise, so nearly no byte is silence; what was lost may be.
    let recorded = stage.file("talk.wav");
    let zeros = recorded.iter().filter(|byte| **byte == 0).count();
    assert!(zeros < recorded.len() / 2, "{zeros} of {} bytes are 0", recorded.len());
    if stage.ours.is_some() {
        let sidecar = String::from_utf8(stage.file("talk.wav.jsonl")).unwrap();
        let losses = sidecar.lines().filter(|line| line.starts_with("{\"event\":\"lost\"")).count();
        assert_eq!(losses > 0, stage.code == 4, "{sidecar}");
    }
}

/// An image with holes, and one with its zeros written.
const IMAGE_LEN: usize = 24 << 20;

fn image() -> Vec<u8> {
    let mut image = vec![0; IMAGE_LEN];
    for at in [0, 9 << 20, IMAGE_LEN - (1 << 20)] {
        image[at..at + (1 << 20)].copy_from_slice(&bytes(at as u64 + 40, 1 << 20));
    }
    image
}

fn blocks_of(file: &Path) -> u64 {
    file.metadata().unwrap().blocks()
}

pub(super) fn images(folder: &Path) -> Kept {
    let image = image();
    fs::write(folder.join("full.img"), &image).unwrap();
    let file = fs::File::create(folder.join("vm.img")).unwrap();
    for at in [0, 9 << 20, IMAGE_LEN - (1 << 20)] {
        file.write_all_at(&image[at..at + (1 << 20)], at as u64).unwrap();
    }
    assert!(blocks_of(&folder.join("full.img")) > 4 * blocks_of(&folder.join("vm.img")));
    None
}

pub(super) fn thin(stage: &Stage<'_>) {
    let most = 2 * blocks_of(&stage.folder.join("vm.img"));
    for name in ["copy.img", "thin.img"] {
        assert!(stage.file(name) == image(), "{name}: {}", stage.printed);
        let blocks = blocks_of(&stage.folder.join(name));
        assert!(blocks < most, "{name} has {blocks} sectors of 512: {}", stage.printed);
    }
}
