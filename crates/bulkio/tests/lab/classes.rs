//! The classes that the library has no code for yet are in the lab, and work.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

use crate::or_skip;
use crate::support::{content, in_lab};

fn assert_character_device(node: &str) {
    let found = fs::metadata(node).unwrap_or_else(|error| panic!("{node}: {error}"));
    assert!(found.file_type().is_char_device(), "{node}");
}

fn mt(words: &[&str]) {
    let output = Command::new("mt").args(["-f", "/dev/nst0"]).args(words).output().unwrap();
    assert!(output.status.success(), "mt {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tape_holds_what_was_written_to_it() {
    const NAME: &str = "classes::a_tape_holds_what_was_written_to_it";
    const BLOCK: usize = 10_240;
    or_skip!(NAME, in_lab("classes"));
    assert_character_device("/dev/nst0");
    let bytes = content(8 * BLOCK);
    // Blocks of any length.
    mt(&["setblk", "0"]);
    let mut tape = File::options().write(true).open("/dev/nst0").unwrap();
    for block in bytes.chunks(BLOCK) {
        assert_eq!(tape.write(block).unwrap(), BLOCK);
    }
    // Closing writes a filemark.
    drop(tape);
    mt(&["rewind"]);
    let mut tape = File::open("/dev/nst0").unwrap();
    let mut read = vec![0; BLOCK];
    for block in bytes.chunks(BLOCK) {
        assert_eq!(tape.read(&mut read).unwrap(), BLOCK);
        assert!(read == block);
    }
    assert_eq!(tape.read(&mut read).unwrap(), 0, "the filemark");
}

#[test]
fn a_video_grabber_and_a_sound_card_are_there() {
    const NAME: &str = "classes::a_video_grabber_and_a_sound_card_are_there";
    or_skip!(NAME, in_lab("classes"));
    assert_character_device("/dev/video0");
    let name = fs::read_to_string("/sys/class/video4linux/video0/name").unwrap();
    assert!(name.contains("vivid"), "{name}");
    // The loopback: what is played on one device is recorded on the other.
    for node in ["/dev/snd/controlC0", "/dev/snd/pcmC0D0p", "/dev/snd/pcmC0D1c"] {
        assert_character_device(node);
    }
    assert!(Path::new("/proc/asound/Loopback").exists());
}
