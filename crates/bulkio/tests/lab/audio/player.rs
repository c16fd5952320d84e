//! A loopback's two ends at device level: frames that tell their number, a player that feeds them, a recorder that takes them.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bulkio::device::audio::{
    AudioError, AudioOptions, Direction, Params, Pcm, RunState, SampleFormat, State,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take that a card does in its own time.
const SOON: Duration = Duration::from_secs(60);

pub(super) fn open(name: &str, direction: Direction, options: &AudioOptions) -> Result<Pcm, AudioError> {
    Pcm::open(&name.parse()?, direction, options)
}

/// The options of a test: a format, at 48000 Hz, with a small ring, so that it is gone around.
pub(super) fn options(sample: SampleFormat, channels: u32) -> AudioOptions {
    AudioOptions {
        sample: Some(sample),
        rate_hz: Some(48_000),
        channels: Some(channels),
        period_frames: Some(2048),
        buffer_frames: Some(16_384),
        ..AudioOptions::default()
    }
}

/// The same with a ring that lasts longer than a busy machine may stand still, and is gone around all the same.
pub(super) fn roomy(sample: SampleFormat, channels: u32) -> AudioOptions {
    let (period_frames, buffer_frames) = (Some(4096), Some(65_536));
    AudioOptions { period_frames, buffer_frames, ..options(sample, channels) }
}

/// Bytes of frames that differ from each other, and from silence; as floats they are numbers below one.
pub(super) fn sound(params: &Params, frames: u64) -> Vec<u8> {
    let samples = frames * u64::from(params.channels);
    let len = params.sample.bytes_per_sample() as usize;
    let mut bytes = Vec::new();
    for at in 1..=samples {
        // Stirred twice: a sequence of multiples repeats a few samples soon.
        let stir = |value: u64| (value ^ (value >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let noise = (stir(stir(at)) >> 7) | 1;
        let sample = match params.sample {
            SampleFormat::FloatLe => ((noise % 1_000_000 + 1) as f32 / 1_000_001.0).to_le_bytes().to_vec(),
            _ => noise.to_le_bytes()[..len].to_vec(),
        };
        bytes.extend(sample);
    }
    bytes
}

/// Waits until the file polls as ready.
pub(super) fn wait(pcm: &Pcm) {
    let events = match pcm.direction() {
        Direction::Capture => PollFlags::IN,
        Direction::Playback => PollFlags::OUT,
    };
    let limit = Timespec { tv_sec: SOON.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::from_borrowed_fd(pcm.fd().as_fd(), events)], Some(&limit)).unwrap();
    assert_eq!(ready, 1, "nothing in {} s from {}", SOON.as_secs(), pcm.path().display());
}

/// Takes what is there; at most `frames`.
pub(super) fn take(pcm: &mut Pcm, state: State, frames: u64, into: &mut Vec<u8>) -> u64 {
    let frames = frames.min(state.avail_frames).min(pcm.params().buffer_frames.into());
    let mut bytes = vec![0; (frames * pcm.params().frame_len) as usize];
    assert_eq!(pcm.ring().copy_out(pcm.offset_of(state.appl_frames), &mut bytes), bytes.len());
    into.extend(bytes);
    pcm.commit(frames);
    frames
}

/// Gives what there is room for; returns the bytes.
pub(super) fn give(pcm: &mut Pcm, state: State, bytes: &[u8]) -> usize {
    let frame_len = pcm.params().frame_len as usize;
    let frames = (bytes.len() / frame_len).min(state.avail_frames as usize);
    let len = frames * frame_len;
    assert_eq!(pcm.ring().copy_in(pcm.offset_of(state.appl_frames), &bytes[..len]), len);
    pcm.commit(frames as u64);
    len
}

/// The same with half a second of silence behind, so that the loopback's last step has nothing else in it: while a playback drains, the driver
/// fills up what it copied last with silence, and puts that in front (sound/drivers/aloop.c, `copy_play_buf`, Linux 6.12). A step is as long as the
/// timer is late.
pub(super) fn with_silence(params: &Params, bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() + 24_000 * params.frame_len as usize, 0);
    padded
}

/// Plays `bytes` to one end and records from the other until all of it was heard; returns what was recorded.
pub(super) fn loop_back(player: &mut Pcm, recorder: &mut Pcm, bytes: &[u8]) -> Vec<u8> {
    let deadline = Instant::now() + SOON;
    let padded = with_silence(player.params(), bytes);
    let (mut given, mut heard, mut drained) = (0, Vec::new(), false);
    // Nothing is heard before the player starts but silence, and that is at most a ring.
    let enough = bytes.len() + 2 * recorder.params().ring_len as usize;
    recorder.start().unwrap();
    let mut started = false;
    while heard.len() < enough && !(drained && contains(&heard, bytes)) {
        assert!(Instant::now() < deadline, "heard {} bytes of {}", heard.len(), bytes.len());
        if given < padded.len() {
            let state = player.update(0).unwrap();
            assert_ne!(state.state, RunState::Xrun, "the player ran dry at {}", state.hw_frames);
            given += give(player, state, &padded[given..]);
            if !started {
                player.start().unwrap();
                started = true;
            }
            if given == padded.len() {
                player.drain().unwrap();
                drained = true;
            }
        }
        wait(recorder);
        let state = recorder.update(0).unwrap();
        assert_eq!(state.state, RunState::Running, "the recorder stopped at {}", state.hw_frames);
        take(recorder, state, u64::MAX, &mut heard);
    }
    heard
}

/// Where the first frames of `bytes` are, if all of it follows from there.
pub(super) fn contains(heard: &[u8], bytes: &[u8]) -> bool {
    find(heard, bytes).is_some_and(|at| heard[at..].starts_with(bytes))
}

pub(super) fn find(heard: &[u8], bytes: &[u8]) -> Option<usize> {
    let head = &bytes[..bytes.len().min(32)];
    heard.windows(head.len()).position(|window| window == head)
}

/// Where what was heard differs from what was played, in words.
pub(super) fn difference(heard: &[u8], bytes: &[u8]) -> String {
    let Some(at) = find(heard, bytes) else {
        return format!("{} bytes heard, and nothing of it", heard.len());
    };
    let (rest, same) = (&heard[at..], heard[at..].iter().zip(bytes).take_while(|(a, b)| a == b).count());
    let around =
        |bytes: &[u8]| format!("{:02x?}", &bytes[same.min(bytes.len())..(same + 24).min(bytes.len())]);
    // What was played next may come later.
    let next = &bytes[same..(same + 16).min(bytes.len())];
    let later = rest[same..].windows(next.len().max(1)).position(|window| window == next);
    format!(
        "{} bytes heard from byte {at} on, the first {same} of {} as they were played; then {}, not {}; that comes {later:?} bytes later",
        rest.len(),
        bytes.len(),
        around(rest),
        around(bytes)
    )
}
