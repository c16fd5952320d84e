//! The classes that the library has no code for yet are in the lab, and work.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::or_skip;
use crate::support::in_lab;

fn assert_character_device(node: &str) {
    let found = fs::metadata(node).unwrap_or_else(|error| panic!("{node}: {error}"));
    assert!(found.file_type().is_char_device(), "{node}");
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
