//! What a device has, what is refused and how, and who is in the way.

use std::path::{Path, PathBuf};

use bulkio::device::audio::{
    AudioError, AudioOptions, Direction, PcmName, Pinned, SampleFormat, describe, is_pcm,
};
use bulkio::probe::{CharClass, Kind, probe_path};

use super::player::{open, options};
use crate::or_skip;
use crate::support::in_lab;

fn usual() -> AudioOptions {
    AudioOptions { block_len: 4096, ..AudioOptions::default() }
}

#[test]
fn the_usual_configuration_is_whole_blocks() {
    const NAME: &str = "audio::negotiate::the_usual_configuration_is_whole_blocks";
    or_skip!(NAME, in_lab("audio"));
    for (sample, channels) in [(SampleFormat::S16Le, 2), (SampleFormat::S24_3Le, 2), (SampleFormat::S32Le, 6)]
    {
        let asked = AudioOptions { sample: Some(sample), channels: Some(channels), ..usual() };
        let pcm = open("hw:0,1", Direction::Capture, &asked).unwrap();
        let params = pcm.params();
        assert_eq!((params.sample, params.channels, params.rate_hz), (sample, channels, 48_000));
        assert_eq!(params.frame_len, u64::from(channels * sample.bytes_per_sample()));
        assert_eq!(
            (params.ring_len % 4096, u64::from(params.period_frames) * params.frame_len % 4096),
            (0, 0)
        );
        assert!(params.ring_len > 1_500_000 && params.period_frames <= 12_000, "{params}");
        assert_eq!((pcm.ring().len(), pcm.notes().len()), (params.ring_len, 0), "{:?}", pcm.notes());
    }
}

#[test]
fn sizes_that_are_asked_for_are_had() {
    const NAME: &str = "audio::negotiate::sizes_that_are_asked_for_are_had";
    or_skip!(NAME, in_lab("audio"));
    let pcm = open("hw:0,1", Direction::Capture, &options(SampleFormat::S16Le, 2)).unwrap();
    assert_eq!((pcm.params().period_frames, pcm.params().buffer_frames), (2048, 16_384));
    let large = AudioOptions { buffer_frames: Some(1 << 24), ..usual() };
    let error = open("hw:0,1", Direction::Capture, &large).unwrap_err();
    let AudioError::Size { what: "buffer", wanted, have, .. } = &error else { panic!("{error}") };
    assert!(*wanted == 1 << 24 && have.max < *wanted && have.max >= 1 << 18, "{error}");
}

#[test]
fn what_the_device_does_not_have_is_refused_with_what_it_has() {
    const NAME: &str = "audio::negotiate::what_the_device_does_not_have_is_refused_with_what_it_has";
    or_skip!(NAME, in_lab("audio"));
    let refused = |asked: AudioOptions| open("hw:0,1", Direction::Capture, &asked).unwrap_err();
    let error = refused(AudioOptions { sample: Some(SampleFormat::Float64Le), ..usual() });
    let AudioError::Format { have, .. } = &error else { panic!("{error}") };
    assert!(have.contains(&SampleFormat::S16Le) && have.contains(&SampleFormat::FloatLe), "{error}");
    let error = refused(AudioOptions { channels: Some(64), ..usual() });
    let AudioError::Channels { have, .. } = &error else { panic!("{error}") };
    assert_eq!((have.min, have.max), (1, 32), "{error}");
    let error = refused(AudioOptions { rate_hz: Some(1_000_000), ..usual() });
    let AudioError::Rate { have, .. } = &error else { panic!("{error}") };
    assert!(have.min <= 8_000 && have.max >= 192_000 && have.usual.contains(&44_100), "{error}");
}

#[test]
fn a_loopback_that_plays_has_the_players_parameters_only() {
    const NAME: &str = "audio::negotiate::a_loopback_that_plays_has_the_players_parameters_only";
    or_skip!(NAME, in_lab("audio"));
    let asked = AudioOptions { rate_hz: Some(44_100), ..options(SampleFormat::S32Le, 4) };
    let player = open("hw:0,0,2", Direction::Playback, &asked).unwrap();
    let error = open("hw:0,1,2", Direction::Capture, &usual()).map(|pcm| *pcm.params());
    // Nothing was asked for, so the nearest is taken and told.
    let params = error.unwrap();
    assert_eq!((params.sample, params.rate_hz, params.channels), (SampleFormat::S32Le, 44_100, 4));
    let asked = AudioOptions { sample: Some(SampleFormat::S16Le), ..usual() };
    let error = open("hw:0,1,2", Direction::Capture, &asked).unwrap_err();
    let AudioError::Format { have, .. } = &error else { panic!("{error}") };
    assert_eq!(*have, [SampleFormat::S32Le]);
    drop(player);
}

#[test]
fn who_has_a_device_is_named() {
    const NAME: &str = "audio::negotiate::who_has_a_device_is_named";
    or_skip!(NAME, in_lab("audio"));
    let held = open("hw:Second,1", Direction::Capture, &usual()).unwrap();
    let error = open("hw:1,1", Direction::Capture, &usual()).unwrap_err();
    let AudioError::Busy { path, holders } = &error else { panic!("{error}") };
    assert_eq!((path.as_path(), holders.len()), (Path::new("/dev/snd/pcmC1D1c"), 1), "{error}");
    let own = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
    assert_eq!(holders[0].command.as_deref(), Some(own.trim()), "{error}");
    drop(held);
    open("hw:1,1", Direction::Capture, &usual()).unwrap();
    // The ring alone keeps the device, too.
    let ring = open("hw:1,1", Direction::Capture, &usual()).unwrap().ring();
    assert!(matches!(open("hw:1,1", Direction::Capture, &usual()), Err(AudioError::Busy { .. })));
    drop(ring);
    open("hw:1,1", Direction::Capture, &usual()).unwrap();
}

#[test]
fn subdevices_are_had_as_asked_for() {
    const NAME: &str = "audio::negotiate::subdevices_are_had_as_asked_for";
    or_skip!(NAME, in_lab("audio"));
    let held = open("hw:0,1,5", Direction::Capture, &usual()).unwrap();
    let error = open("hw:0,1,5", Direction::Capture, &usual()).unwrap_err();
    let AudioError::Busy { holders, .. } = &error else { panic!("{error}") };
    assert_eq!(holders.iter().map(|holder| holder.subdevice).collect::<Vec<_>>(), [5], "{error}");
    let _other = open("hw:0,1", Direction::Capture, &usual()).unwrap();
    drop(held);
    let error = open("hw:0,1,99", Direction::Capture, &usual()).unwrap_err();
    assert!(matches!(error, AudioError::Subdevice { wanted: 99, count: 8, .. }), "{error}");
}

#[test]
fn what_is_no_pcm_is_refused() {
    const NAME: &str = "audio::negotiate::what_is_no_pcm_is_refused";
    or_skip!(NAME, in_lab("audio"));
    let of = |path: &str| PcmName::of_path(Path::new(path));
    for path in ["/dev/snd/controlC0", "/dev/snd/timer", "/dev/null", "/etc/hostname"] {
        assert_eq!(of(path), Err(AudioError::NotAPcm { path: path.into() }));
        assert!(!is_pcm(Path::new(path)), "{path}");
    }
    assert!(is_pcm(Path::new("/dev/snd/pcmC0D1c")) && is_pcm(Path::new("hw:0,1")));
    // Nodes are known by their numbers, whatever they are called.
    let odd = PathBuf::from("/run/microphone");
    std::os::unix::fs::symlink("/dev/snd/pcmC0D1c", &odd).unwrap();
    let name = PcmName::of_path(&odd).unwrap();
    assert_eq!((name.direction(), is_pcm(&odd)), (Some(Direction::Capture), true));
    std::fs::remove_file(&odd).unwrap();
    let other = PathBuf::from("/dev/snd/pcmC0D1p");
    let refused = AudioError::OtherDirection { path: odd, direction: Direction::Playback, other };
    assert_eq!(name.node_for(Direction::Playback), Err(refused));
    let error = open("hw:Loopback,7", Direction::Capture, &usual()).unwrap_err();
    let AudioError::NoNode { have, .. } = &error else { panic!("{error}") };
    assert!(have.contains(&"pcmC0D1c".to_owned()) && have.contains(&"pcmC1D0p".to_owned()), "{error}");
    let error = open("hw:Nobody", Direction::Capture, &usual()).unwrap_err();
    assert!(
        matches!(&error, AudioError::NoCard { have, .. } if have == &["0 (Loopback)", "1 (Second)"]),
        "{error}"
    );
}

#[test]
fn a_device_is_described() {
    const NAME: &str = "audio::negotiate::a_device_is_described";
    or_skip!(NAME, in_lab("audio"));
    let facts = describe(&"hw:Loopback,1".parse().unwrap(), Direction::Capture).unwrap();
    assert_eq!(
        (facts.card, facts.card_id.as_deref(), facts.name.as_str()),
        (0, Some("Loopback"), "Loopback PCM")
    );
    assert_eq!((facts.device, facts.subdevices, facts.subdevices_free), (1, 8, 8));
    assert!(facts.formats.contains(&SampleFormat::S24_3Le), "{facts:?}");
    assert_eq!((facts.channels.min, facts.channels.max), (1, 32));
    assert!(facts.rates_hz.usual.contains(&48_000) && facts.buffer_bytes.max >= 1 << 21, "{facts:?}");
    assert_eq!(facts.pinned, Pinned::Yes);
    assert_eq!(
        (facts.usual.sample, facts.usual.rate_hz, facts.usual.channels),
        (SampleFormat::S16Le, 48_000, 2)
    );
    let probe = probe_path(Path::new("/dev/snd/pcmC0D1c")).unwrap();
    assert!(matches!(probe.kind, Kind::CharDevice { class: CharClass::Pcm, .. }), "{:?}", probe.kind);
}
