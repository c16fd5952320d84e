//! What was played is what is recorded, sample for sample.

use bulkio::device::audio::{Direction, Pinned, SampleFormat};

use super::player::{contains, difference, find, loop_back, open, options, roomy, sound};
use crate::or_skip;
use crate::support::in_lab;

/// A second and a half, with the silence behind it two: more than the ring holds.
const FRAMES: u64 = 72_000;

fn played_is_recorded(sample: SampleFormat, channels: u32) {
    let options = roomy(sample, channels);
    let mut player = open("hw:0,0,0", Direction::Playback, &options).unwrap();
    let mut recorder = open("hw:0,1,0", Direction::Capture, &options).unwrap();
    assert_eq!((recorder.params().sample, recorder.params().channels), (sample, channels));
    let bytes = sound(player.params(), FRAMES);
    let heard = loop_back(&mut player, &mut recorder, &bytes);
    let at = find(&heard, &bytes);
    assert!(contains(&heard, &bytes), "{sample} x {channels}: {}", difference(&heard, &bytes));
    let at = at.unwrap();
    assert!(heard[..at].iter().all(|byte| *byte == 0), "silence before");
    assert_eq!(at as u64 % player.params().frame_len, 0);
}

#[test]
fn played_is_recorded_in_every_format() {
    const NAME: &str = "audio::loops::played_is_recorded_in_every_format";
    or_skip!(NAME, in_lab("audio"));
    for sample in [SampleFormat::S16Le, SampleFormat::S24_3Le, SampleFormat::S32Le, SampleFormat::FloatLe] {
        played_is_recorded(sample, 2);
    }
}

#[test]
fn played_is_recorded_with_one_and_eight_channels() {
    const NAME: &str = "audio::loops::played_is_recorded_with_one_and_eight_channels";
    or_skip!(NAME, in_lab("audio"));
    for (sample, channels) in [
        (SampleFormat::S16Le, 1),
        (SampleFormat::S24_3Le, 1),
        (SampleFormat::S32Le, 8),
        (SampleFormat::S24_3Le, 8),
    ] {
        played_is_recorded(sample, channels);
    }
}

#[test]
fn the_ring_of_a_loopback_can_be_pinned() {
    const NAME: &str = "audio::loops::the_ring_of_a_loopback_can_be_pinned";
    or_skip!(NAME, in_lab("audio"));
    let pcm = open("hw:0,1", Direction::Capture, &options(SampleFormat::S16Le, 2)).unwrap();
    assert_eq!(pcm.pinned(), Pinned::Yes);
}
