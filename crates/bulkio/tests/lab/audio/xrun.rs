//! Rings that nobody empties or fills: where it stopped, what is whole, and that it goes on.

use std::time::Duration;

use bulkio::device::audio::{AudioOptions, Direction, Pcm, RunState, SampleFormat};

use super::player::{contains, difference, give, open, options, sound, take, wait};
use crate::or_skip;
use crate::support::in_lab;

/// Waits until the device has stopped, and nothing else: frames do not count.
fn wait_stopped(pcm: &mut Pcm) -> bulkio::device::audio::State {
    loop {
        let state = pcm.update(u64::MAX - 1).unwrap();
        if state.state != RunState::Running {
            return state;
        }
        wait(pcm);
    }
}

#[test]
fn a_recording_that_nobody_takes_stops_whole() {
    const NAME: &str = "audio::xrun::a_recording_that_nobody_takes_stops_whole";
    or_skip!(NAME, in_lab("audio"));
    // Long periods: a timer that is late by less than one does no harm.
    let options = AudioOptions { period_frames: Some(4096), ..options(SampleFormat::S32Le, 2) };
    let mut player = open("hw:0,0,0", Direction::Playback, &options).unwrap();
    let mut recorder = open("hw:0,1,0", Direction::Capture, &options).unwrap();
    let bytes = sound(player.params(), 10_000);
    let state = player.update(0).unwrap();
    assert_eq!(give(&mut player, state, &bytes), bytes.len());
    player.start().unwrap();
    recorder.start().unwrap();
    let state = wait_stopped(&mut recorder);
    let (buffer, period) = (16_384, 4096);
    assert_eq!(state.state, RunState::Xrun);
    assert!((buffer - period..=buffer).contains(&state.hw_frames), "{state:?}");
    assert_eq!(state.avail_frames, state.hw_frames);
    // What was recorded before lies in the ring as it was.
    let mut heard = Vec::new();
    assert_eq!(take(&mut recorder, state, u64::MAX, &mut heard), state.hw_frames);
    // The player may have been a little ahead: what was heard is the end of what was played.
    let start = heard.windows(8).position(|frame| bytes.windows(8).any(|played| played == frame));
    let first = &heard[start.unwrap_or(0)..][..8];
    let from = bytes.windows(8).position(|played| played == first).unwrap();
    assert!(bytes.len() - from > bytes.len() / 4, "most of it was heard: from byte {from}");
    assert!(contains(&heard, &bytes[from..]), "from byte {from} on: {}", difference(&heard, &bytes[from..]));
    let gap = recorder.recover(true).unwrap();
    assert_eq!((gap.hw_frames, gap.appl_frames), (state.hw_frames, state.hw_frames));
    assert!(gap.duration().unwrap() < Duration::from_secs(60), "{gap:?}");
    wait(&recorder);
    let state = recorder.update(0).unwrap();
    assert!(state.state == RunState::Running || state.state == RunState::Xrun, "{state:?}");
    assert_eq!(state.appl_frames, 0, "counted anew");
}

#[test]
fn a_playback_that_runs_dry_says_where() {
    const NAME: &str = "audio::xrun::a_playback_that_runs_dry_says_where";
    or_skip!(NAME, in_lab("audio"));
    let mut player = open("hw:0,0,1", Direction::Playback, &options(SampleFormat::S16Le, 2)).unwrap();
    player.commit(5000);
    player.start().unwrap();
    let state = wait_stopped(&mut player);
    assert_eq!((state.state, state.appl_frames), (RunState::Xrun, 5000));
    assert!(state.hw_frames >= 5000, "{state:?}");
    let gap = player.recover(false).unwrap();
    assert_eq!((gap.appl_frames, gap.restarted_at), (5000, None));
    player.commit(3000);
    player.start().unwrap();
    player.drain().unwrap();
    let mut state = player.update(0).unwrap();
    while state.state == RunState::Draining {
        wait(&player);
        state = player.update(0).unwrap();
    }
    assert_eq!((state.state, state.appl_frames), (RunState::Setup, 3000));
}

#[test]
fn frames_that_were_handed_out_wake_nobody() {
    const NAME: &str = "audio::xrun::frames_that_were_handed_out_wake_nobody";
    or_skip!(NAME, in_lab("audio"));
    let large = AudioOptions { buffer_frames: Some(65_536), ..options(SampleFormat::S16Le, 2) };
    let mut recorder = open("hw:0,1,3", Direction::Capture, &large).unwrap();
    recorder.start().unwrap();
    wait(&recorder);
    let first = recorder.update(0).unwrap();
    assert!(first.avail_frames > 0);
    // All that is there is handed out, and 5000 more: the next wake is past that.
    let out = first.avail_frames + 5000;
    recorder.update(out).unwrap();
    wait(&recorder);
    let state = recorder.update(out).unwrap();
    assert!(state.avail_frames > out, "{state:?} after {out}");
}
