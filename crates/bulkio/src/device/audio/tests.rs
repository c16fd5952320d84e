//! A PCM over a card in memory: what is agreed on, what is refused, counters, xruns, and who is woken when.

use std::path::Path;

use rustix::io::Errno;

use super::abi::Time;
use super::fake::{FakeCard, SETUP, SUSPENDED};
use super::pcm::Pcm;
use super::{AudioError, AudioOptions, Direction, RunState, SampleFormat};

fn open(card: &FakeCard, options: &AudioOptions) -> Result<Pcm, AudioError> {
    let direction = if card.card().playback { Direction::Playback } else { Direction::Capture };
    Pcm::over(Box::new(card.clone()), Path::new("/dev/snd/fake"), direction, options)
}

fn usual() -> AudioOptions {
    AudioOptions { block_len: 4096, ..AudioOptions::default() }
}

#[test]
fn the_usual_is_taken_in_whole_blocks() {
    let card = FakeCard::new(false);
    let pcm = open(&card, &usual()).unwrap();
    let params = *pcm.params();
    assert_eq!((params.sample, params.rate_hz, params.channels), (SampleFormat::S16Le, 48_000, 2));
    assert_eq!((params.frame_len, params.period_frames % 1024, params.ring_len % 4096), (4, 0, 0));
    assert!(params.ring_len > 2_000_000 && params.period_frames <= 12_000, "{params}");
    assert_eq!(pcm.notes(), [""; 0]);
    assert_eq!(pcm.ring().len(), params.ring_len);
}

#[test]
fn what_the_device_does_not_have_is_told_and_the_nearest_taken() {
    let change = |card: &mut super::fake::Card| {
        card.formats = vec![SampleFormat::S32Le];
        card.channels = (8, 16);
        card.rates = (8_000, 44_100);
    };
    let pcm = open(&FakeCard::with(false, change), &usual()).unwrap();
    let params = pcm.params();
    assert_eq!((params.sample, params.rate_hz, params.channels), (SampleFormat::S32Le, 44_100, 8));
    let told = [
        "samples are S32_LE: the device has no S16_LE",
        "frames have 8 channels: the device has no 2",
        "the rate is 44100 Hz: the device has no 48000",
    ];
    assert_eq!(pcm.notes(), told);
}

#[test]
fn what_is_asked_for_is_had_or_refused_with_what_there_is() {
    let refused = |change: fn(&mut AudioOptions)| {
        let mut options = usual();
        change(&mut options);
        let card = FakeCard::with(false, |card| card.rate_holes = vec![44_100]);
        open(&card, &options).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|options| options.sample = Some(SampleFormat::FloatLe)),
        "/dev/snd/fake has no samples FLOAT_LE for capture; it has U8, S16_LE, S32_LE, S24_3LE"
    );
    assert_eq!(
        refused(|options| options.channels = Some(9)),
        "/dev/snd/fake does not have 9 channels of S16_LE for capture; it has 1 to 8 (such as 1, 2, 4, 6, 8)"
    );
    assert_eq!(
        refused(|options| options.rate_hz = Some(44_100)),
        "/dev/snd/fake does not run at 44100 Hz with 2 channels of S16_LE for capture; it has 8000 to 96000 (such as 8000, 11025, 16000, \
         22050, 24000, 32000, 48000, 88200, 96000) Hz"
    );
    assert_eq!(
        refused(|options| options.buffer_frames = Some(1 << 20)),
        "/dev/snd/fake cannot have a buffer of 1048576 frames; it takes 32 to 524288 frames"
    );
    let card = FakeCard::with(false, |card| card.mmap = false);
    assert!(matches!(open(&card, &usual()), Err(AudioError::NoMmap { .. })));
    let card = FakeCard::with(false, |card| card.gone = true);
    assert!(matches!(open(&card, &usual()), Err(AudioError::Gone { .. })));
}

#[test]
fn sizes_that_are_asked_for_are_had() {
    let options = AudioOptions { period_frames: Some(500), buffer_frames: Some(4000), ..usual() };
    let pcm = open(&FakeCard::new(false), &options).unwrap();
    assert_eq!((pcm.params().period_frames, pcm.params().buffer_frames), (500, 4000));
    let uneven = "its ring of 4000 frames, its period of 500 frames cannot be whole blocks of 4096 bytes with frames of 4 bytes";
    assert_eq!(pcm.notes(), [uneven]);
}

#[test]
fn a_device_with_its_own_steps_gets_a_ring_that_it_takes() {
    let card = FakeCard::with(false, |card| (card.period_step, card.buffer_bytes_max) = (4096, 65_536));
    let pcm = open(&card, &usual()).unwrap();
    assert_eq!((pcm.params().period_frames, pcm.params().ring_len), (4096, 65_536));
    // Frames of three bytes: 4096 of them are whole blocks, and the ring has room for five times that.
    let options = AudioOptions { sample: Some(SampleFormat::S24_3Le), channels: Some(1), ..usual() };
    let pcm = open(&card, &options).unwrap();
    assert_eq!((pcm.params().ring_len, pcm.params().period_frames), (5 * 12_288, 4096));
    // A ring shorter than two blocks has no whole ones.
    let card = FakeCard::with(false, |card| card.buffer_bytes_max = 6000);
    let pcm = open(&card, &usual()).unwrap();
    assert_eq!(pcm.params().buffer_frames, 1500);
    assert_eq!(pcm.notes().len(), 1, "{:?}", pcm.notes());
}

#[test]
fn a_ring_that_there_is_no_memory_for_is_halved() {
    let card = FakeCard::with(false, |card| card.memory_bytes = 300_000);
    let pcm = open(&card, &usual()).unwrap();
    assert!((131_072..300_000).contains(&pcm.params().ring_len), "{}", pcm.params());
    assert_eq!(pcm.notes().len(), 3, "{:?}", pcm.notes());
    let fixed = AudioOptions { buffer_frames: Some(131_072), ..usual() };
    let errno = Errno::NOMEM;
    assert!(matches!(open(&card, &fixed), Err(AudioError::Call { errno: got, .. }) if got == errno));
}

#[test]
fn an_update_is_one_call_and_tells_both_sides() {
    let card = FakeCard::new(false);
    let mut pcm = open(&card, &usual()).unwrap();
    pcm.start().unwrap();
    card.turn(5000);
    card.card().calls.clear();
    let state = pcm.update(0).unwrap();
    assert_eq!(
        (state.state, state.hw_frames, state.appl_frames, state.avail_frames),
        (RunState::Running, 5000, 0, 5000)
    );
    assert_eq!(card.card().calls, ["SYNC_PTR"]);
    pcm.commit(3000);
    assert_eq!(card.card().appl_ptr, 0, "it is told later");
    let state = pcm.update(2000).unwrap();
    assert_eq!((state.appl_frames, state.avail_frames, card.card().appl_ptr), (3000, 2000, 3000));
    assert!(!card.is_ready(), "what was handed out does not count");
    card.turn(1);
    assert!(card.is_ready());
}

#[test]
fn counters_and_places_go_on_past_ring_and_boundary() {
    let card = FakeCard::new(false);
    let mut pcm =
        open(&card, &AudioOptions { buffer_frames: Some(8192), period_frames: Some(1024), ..usual() })
            .unwrap();
    pcm.start().unwrap();
    let mut total = 0;
    for _ in 0..30 {
        card.turn(3000);
        total += 3000;
        let state = pcm.update(0).unwrap();
        assert_eq!((state.hw_frames, state.avail_frames), (total, 3000));
        assert_eq!(pcm.offset_of(state.appl_frames), (total - 3000) % 8192 * 4);
        pcm.commit(3000);
    }
    // The device wraps at its boundary, its user does not.
    let boundary = card.card().sw.boundary;
    assert!(boundary.is_multiple_of(8192));
    assert_eq!(pcm.offset_of(boundary + 5), 20);
}

#[test]
fn a_capture_stops_before_it_writes_over_anything() {
    let card = FakeCard::new(false);
    let mut pcm =
        open(&card, &AudioOptions { buffer_frames: Some(8192), period_frames: Some(1024), ..usual() })
            .unwrap();
    pcm.start().unwrap();
    for _ in 0..7 {
        assert_eq!(pcm.update(0).unwrap().state, RunState::Running);
        card.turn(1024);
    }
    let state = pcm.update(0).unwrap();
    assert_eq!((state.state, state.hw_frames, state.avail_frames), (RunState::Xrun, 7168, 7168));
    card.card().now = Time { sec: 101, nsec: 500_000_000 };
    let gap = pcm.recover(true).unwrap();
    assert_eq!((gap.hw_frames, gap.appl_frames, gap.frames(48_000)), (7168, 0, Some(72_000)));
    let state = pcm.update(0).unwrap();
    assert_eq!((state.state, state.hw_frames, state.avail_frames), (RunState::Running, 0, 0));
}

#[test]
fn how_much_a_machine_that_slept_missed_is_not_known() {
    let card = FakeCard::new(false);
    let mut pcm = open(&card, &usual()).unwrap();
    pcm.start().unwrap();
    card.turn(3000);
    card.card().state = SUSPENDED;
    let state = pcm.update(0).unwrap();
    assert_eq!((state.state, state.hw_frames), (RunState::Suspended, 3000));
    card.card().now = Time { sec: 101, nsec: 0 };
    let gap = pcm.recover(true).unwrap();
    assert_eq!((gap.state, gap.hw_frames, gap.restarted_at.is_some()), (RunState::Suspended, 3000, true));
    assert_eq!(gap.frames(48_000), None, "the clock stood still meanwhile");
    assert_eq!(pcm.update(0).unwrap().state, RunState::Running);
}

#[test]
fn a_playback_is_filled_started_and_drained() {
    let card = FakeCard::new(true);
    let options = AudioOptions {
        sample: Some(SampleFormat::U8),
        channels: Some(1),
        buffer_frames: Some(8192),
        period_frames: Some(1024),
        ..usual()
    };
    let mut pcm = open(&card, &options).unwrap();
    assert!(
        matches!(pcm.start(), Err(AudioError::Call { errno: Errno::PIPE, .. })),
        "there is nothing to play"
    );
    assert_eq!(pcm.update(0).unwrap().avail_frames, 8192);
    pcm.ring().copy_in(0, &[7; 5000]);
    pcm.commit(5000);
    pcm.start().unwrap();
    card.turn(1024);
    assert_eq!(pcm.update(0).unwrap().avail_frames, 8192 - 5000 + 1024);
    assert_eq!(pcm.drain().unwrap(), RunState::Draining);
    assert_eq!(pcm.update(0).unwrap().state, RunState::Draining);
    let mut ring = vec![0; 8192];
    pcm.ring().copy_out(0, &mut ring);
    assert!(ring[..5000].iter().all(|byte| *byte == 7));
    assert!(ring[5000..7048].iter().all(|byte| *byte == 0x80), "two periods of silence, as U8 has it");
    card.turn(3976);
    assert!(card.is_ready());
    let state = pcm.update(0).unwrap();
    assert_eq!((state.state, state.hw_frames), (RunState::Setup, 5000));
}

#[test]
fn a_playback_that_runs_dry_is_told_where() {
    let card = FakeCard::new(true);
    let mut pcm =
        open(&card, &AudioOptions { buffer_frames: Some(8192), period_frames: Some(1024), ..usual() })
            .unwrap();
    pcm.commit(2000);
    pcm.start().unwrap();
    card.turn(2048);
    let state = pcm.update(0).unwrap();
    assert_eq!((state.state, state.hw_frames, state.appl_frames), (RunState::Xrun, 2048, 2000));
    pcm.commit(500);
    assert_eq!(pcm.drain().unwrap(), RunState::Xrun, "what came too late is not played");
    assert!(!card.card().calls.contains(&"DRAIN"));
    let gap = pcm.recover(false).unwrap();
    assert_eq!((gap.hw_frames, gap.appl_frames, gap.restarted_at), (2048, 2500, None));
}

#[test]
fn a_pcm_that_goes_stops_its_device_and_leaves_the_ring() {
    let card = FakeCard::new(false);
    let mut pcm = open(&card, &usual()).unwrap();
    pcm.start().unwrap();
    let region = pcm.ring().region(0, 4096).unwrap();
    drop(pcm);
    let stopped = card.card();
    assert_eq!((stopped.state, stopped.calls.last()), (SETUP, Some(&"DROP")));
    assert_eq!(region.into_lease().list().len_bytes(), 4096);
}

#[test]
fn a_card_that_is_taken_away_is_told() {
    let card = FakeCard::new(false);
    let mut pcm = open(&card, &usual()).unwrap();
    card.card().gone = true;
    assert!(matches!(pcm.update(0), Err(AudioError::Gone { .. })));
}
