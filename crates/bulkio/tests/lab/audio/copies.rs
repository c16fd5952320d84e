//! Copies from and to sound devices: every format sample for sample, exact lengths, headers as others read them, no copy on the way.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use bulkio::copy::{Container, CopyError, CopyOptions, DirectMode, End, FailureClass, Silent, copy, wav};
use bulkio::device::audio::SampleFormat;

use super::copying::{Recording, options, play, samples, small, write_wav};
use super::player::{contains, difference, find};
use crate::common::{LoopDevice, Mounted, storage_dir};
use crate::or_skip;
use crate::residency::cached_pages;
use crate::support::in_lab;

/// Half a second.
const FRAMES: u64 = 24_000;

/// The sound of a WAV file.
fn sound_of(path: &Path) -> (wav::WavSound, Vec<u8>) {
    let found = wav::parse(File::open(path).unwrap()).unwrap();
    let bytes = fs::read(path).unwrap();
    let (start, end) = (found.data_offset as usize, (found.data_offset + found.data_len) as usize);
    (found, bytes[start..end].to_vec())
}

/// What sox says of a file: rate, channels, bits, frames.
fn soxi(path: &Path) -> [u64; 4] {
    ["-r", "-c", "-b", "-s"].map(|what| {
        let output = Command::new("sox").args(["--i", what]).arg(path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It wants more of the long form of a header of floats than there is to say.
        let is_usual = said.is_empty() || said.contains("missing extended part of fmt chunk");
        assert!(output.status.success() && is_usual, "sox {what}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    })
}

fn assert_heard(heard: &[u8], bytes: &[u8], what: &str) {
    assert!(contains(heard, bytes), "{what}: {}", difference(heard, bytes));
    let at = find(heard, bytes).unwrap();
    assert!(heard[..at].iter().all(|byte| *byte == 0), "{what}: silence before");
}

fn played_is_recorded(folder: &Path, sample: SampleFormat, channels: u32, block_len: u64) {
    let what = format!("{sample} x {channels}, header of {block_len}");
    let (bytes, padded) = samples(sample, channels, FRAMES);
    let (from, to) = (folder.join("from.wav"), folder.join("to.wav"));
    write_wav(&from, sample, channels, block_len, &padded);
    let recording = Recording::start("hw:0,1,0", &to, options(sample, channels));
    // The file says what it holds.
    let played = play(&from, "hw:0,0,0", &CopyOptions::default());
    let (recorded, losses) = recording.stop();
    let recorded = recorded.unwrap_or_else(|failure| panic!("{what}: {}", failure.error));
    assert_eq!(losses, [], "{what}");
    let frame_len = u64::from(channels * sample.bytes_per_sample());
    let stream = played.destination.stream.as_ref().unwrap();
    assert_eq!(
        (played.bytes, stream.frames, stream.xruns),
        (padded.len() as u64, padded.len() as u64 / frame_len, 0),
        "{what}"
    );
    let (found, heard) = sound_of(&to);
    assert_eq!(
        (found.sample, found.channels, found.rate_hz, found.missing),
        (sample, channels, 48_000, 0),
        "{what}"
    );
    let stream = recorded.source.stream.as_ref().unwrap();
    assert!(recorded.interrupted && recorded.synced, "{what}");
    assert_eq!(stream.frames * frame_len, found.data_len, "{what}");
    assert_eq!(soxi(&to), [48_000, channels.into(), sample.bits().into(), stream.frames], "{what}");
    assert_heard(&heard, &bytes, &what);
}

#[test]
fn played_is_recorded_in_every_format() {
    const NAME: &str = "audio::copies::played_is_recorded_in_every_format";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    for sample in [SampleFormat::S16Le, SampleFormat::S24_3Le, SampleFormat::S32Le, SampleFormat::FloatLe] {
        for (channels, block_len) in [(1, 1), (2, 4096), (8, 4096)] {
            played_is_recorded(folder.path(), sample, channels, block_len);
        }
    }
}

#[test]
fn others_read_what_is_recorded_and_play_what_is_heard() {
    const NAME: &str = "audio::copies::others_read_what_is_recorded_and_play_what_is_heard";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let (from, to) = (folder.path().join("from.wav"), folder.path().join("to.raw"));
    let (bytes, padded) = samples(SampleFormat::S16Le, 2, FRAMES);
    write_wav(&from, SampleFormat::S16Le, 2, 4096, &padded);
    let recording = Recording::start("hw:0,1,1", &to, options(SampleFormat::S16Le, 2));
    let played = Command::new("aplay").args(["-q", "-D", "hw:0,0,1"]).arg(&from).output().unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));
    recording.stop().0.unwrap();
    assert_heard(&fs::read(&to).unwrap(), &bytes, "aplay");
}

#[test]
fn a_recording_has_as_many_frames_as_were_asked_for() {
    const NAME: &str = "audio::copies::a_recording_has_as_many_frames_as_were_asked_for";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let record = |name: &str, options: &CopyOptions| {
        let to = folder.path().join(name);
        let report = copy(End::Path(Path::new("hw:0,1")), End::Path(&to), options, &mut Silent).unwrap();
        assert!(!report.interrupted);
        (to, report)
    };
    let mut asked = small(options(SampleFormat::S16Le, 2), 1024, 8192);
    asked.stream.frames = Some(30_001);
    let (to, report) = record("exact.raw", &asked);
    assert_eq!((fs::metadata(&to).unwrap().len(), report.bytes), (120_004, 120_004));
    assert_eq!(report.source.stream.unwrap().frames, 30_001);
    // Sound of an odd length, which is filled up by a byte.
    let mut asked = small(options(SampleFormat::S24_3Le, 1), 1024, 8192);
    asked.stream.frames = Some(12_345);
    let (to, _) = record("odd.WAV", &asked);
    assert_eq!(soxi(&to), [48_000, 1, 24, 12_345]);
    assert_eq!(fs::metadata(&to).unwrap().len() % 2, 0);
    let mut asked = small(options(SampleFormat::S16Le, 2), 1024, 8192);
    asked.stream.duration = Some(std::time::Duration::from_millis(250));
    asked.stream.audio.container = Container::Wav;
    let (to, _) = record("named.otherwise", &asked);
    assert_eq!(sound_of(&to).0.data_len, 12_000 * 4);
}

#[test]
fn a_pipe_gets_a_header_without_lengths() {
    const NAME: &str = "audio::copies::a_pipe_gets_a_header_without_lengths";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let pipe = folder.path().join("pipe.wav");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read(pipe).unwrap())
    };
    let mut asked = small(options(SampleFormat::S16Le, 2), 1024, 8192);
    asked.stream.frames = Some(10_000);
    let report = copy(End::Path(Path::new("hw:0,1")), End::Path(&pipe), &asked, &mut Silent).unwrap();
    let bytes = reader.join().unwrap();
    assert_eq!((bytes.len(), report.bytes), (44 + 40_000, 44 + 40_000));
    assert_eq!(bytes[4..8], [0xff; 4]);
    assert!(report.destination.bounced_bytes > 0 && !report.destination.bounces.is_empty());
}

#[test]
fn nothing_is_copied_on_the_way() {
    const NAME: &str = "audio::copies::nothing_is_copied_on_the_way";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let to = folder.path().join("to.raw");
    let mut asked = options(SampleFormat::S16Le, 2);
    asked.stream.frames = Some(120_000);
    let report = copy(End::Path(Path::new("hw:0,1")), End::Path(&to), &asked, &mut Silent).unwrap();
    let (source, destination) = (&report.source, &report.destination);
    assert_eq!((source.direct_bytes, source.bounced_bytes), (480_000, 0), "{source:?}");
    // Only the last block is ragged, whatever its length is here.
    assert_eq!(destination.direct_bytes + destination.bounced_bytes, 480_000, "{destination:?}");
    assert!(destination.bounced_bytes < 4096 && destination.bounces.len() == 1, "{destination:?}");
    let cached = cached_pages(&File::open(&to).unwrap()).unwrap();
    assert!(cached <= 1, "{cached} pages of the file are cached");

    let from = folder.path().join("from.raw");
    let (_, padded) = samples(SampleFormat::S16Le, 2, 48_128 - 24_000);
    assert_eq!(padded.len(), 47 * 4096);
    File::create(&from)
        .and_then(|mut file| {
            use std::io::Write as _;
            file.write_all(&padded)?;
            file.sync_all()
        })
        .unwrap();
    rustix::fs::fadvise(File::open(&from).unwrap(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let played = play(&from, "hw:0,0", &options(SampleFormat::S16Le, 2));
    assert_eq!(
        (played.source.direct_bytes, played.source.bounced_bytes),
        (192_512, 0),
        "{:?}",
        played.source
    );
    assert!(!played.notes.iter().any(|note| note.contains("asked for")), "{:?}", played.notes);
    let side = &played.destination;
    assert_eq!((side.direct_bytes, side.bounced_bytes), (192_512, 0), "{side:?}");
    assert_eq!(cached_pages(&File::open(&from).unwrap()).unwrap(), 0);
    // More than there is.
    let mut asked = options(SampleFormat::S16Le, 2);
    asked.stream.frames = Some(50_000);
    let played = play(&from, "hw:0,0", &asked);
    assert_eq!(played.destination.stream.unwrap().frames, 48_128);
    let note = "50000 frames were asked for, the file holds 48128";
    assert!(played.notes.iter().any(|told| told == note), "{:?}", played.notes);
}

#[test]
fn a_full_disk_leaves_a_shorter_file_that_others_read() {
    const NAME: &str = "audio::copies::a_full_disk_leaves_a_shorter_file_that_others_read";
    or_skip!(NAME, in_lab("audio"));
    let disk = or_skip!(NAME, LoopDevice::new(6 << 20, 512));
    let mounted = or_skip!(NAME, Mounted::ext4(disk.node()));
    let to = mounted.path().join("full.wav");
    let asked = options(SampleFormat::S32Le, 8);
    let failure = copy(End::Path(Path::new("hw:0,1")), End::Path(&to), &asked, &mut Silent).unwrap_err();
    let full = scatterlist::Status::Errno(libc::ENOSPC.unsigned_abs());
    assert!(
        matches!(failure.error, CopyError::Transfer { status, .. } if status == full),
        "{}",
        failure.error
    );
    let report = failure.report.unwrap();
    let frames = report.source.stream.unwrap().frames;
    assert!(frames > 10_000, "{frames}");
    let (found, _) = sound_of(&to);
    assert_eq!((found.data_len, found.missing), (frames * 32, 0));
    assert_eq!(soxi(&to), [48_000, 8, 32, frames]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    const NAME: &str = "audio::copies::what_cannot_be_is_refused_before_anything_is_written";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let refused = |from: &Path, to: &Path, options: &CopyOptions| {
        let failure = copy(End::Path(from), End::Path(to), options, &mut Silent).unwrap_err();
        assert_eq!(failure.error.class(), FailureClass::Refused, "{}", failure.error);
        failure.error.to_string()
    };
    let (card, to) = (Path::new("hw:0,1"), folder.path().join("none.wav"));
    let skipped = CopyOptions { skip: 4096, ..options(SampleFormat::S16Le, 2) };
    assert!(refused(card, &to, &skipped).contains("--skip"));
    let error = refused(card, &to, &options(SampleFormat::S24Le, 2));
    assert!(error.contains("not S24_LE"), "{error}");
    let mut long = options(SampleFormat::S32Le, 8);
    long.stream.frames = Some(1 << 30);
    assert!(refused(card, &to, &long).contains("do not fit a WAV file"));
    let error = refused(card, &to, &options(SampleFormat::S16Le, 33));
    assert!(error.contains("33 channels") && error.contains("1 to 32"), "{error}");
    assert!(!to.exists(), "nothing was left behind");
    let error = refused(card, Path::new("hw:0,0"), &options(SampleFormat::S16Le, 2));
    assert!(error.contains("both keep their own time"), "{error}");
    assert!(!Path::new("hw:0,0").exists());

    let from = folder.path().join("from.wav");
    write_wav(&from, SampleFormat::S16Le, 2, 1, &[1; 400]);
    let player = Path::new("hw:0,0");
    let error = refused(&from, player, &options(SampleFormat::S32Le, 2));
    assert!(error.contains("samples of S16_LE") && error.contains("--sample says S32_LE"), "{error}");
    let direct = CopyOptions { direct: DirectMode::Require, ..CopyOptions::default() };
    let error = refused(&from, player, &direct);
    assert!(error.contains("direct I/O is required") && error.contains("begins at byte 44"), "{error}");
    let mut commands = CopyOptions::default();
    commands.passthrough.destination = true;
    let error = refused(&from, player, &commands);
    assert!(error.contains("destination hw:0,0 takes no commands"), "{error}");
    let raw = folder.path().join("from.raw");
    fs::write(&raw, [1; 401]).unwrap();
    let error = refused(&raw, player, &options(SampleFormat::S16Le, 2));
    assert!(error.contains("100 frames of 4 bytes") && error.contains("1 bytes more"), "{error}");
    fs::write(folder.path().join("no.wav"), b"no sound at all, but text").unwrap();
    let error = refused(&folder.path().join("no.wav"), player, &CopyOptions::default());
    assert!(error.contains("no WAV file"), "{error}");
}
