//! From a file, a disk or a pipe to a sound device: what is played is found out here; `player` plays it.
//!
//! A WAV file says what it holds, and options that say otherwise are refused; of raw bytes the options tell, or what is usual is taken, with a note. A file that
//! ends within a frame is refused before anything is heard.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use scatterlist::{LimitId, Limits};

use super::super::options::{CopyOptions, End, Observer, Phase};
use super::super::pipeline::add;
use super::super::report::Closing;
use super::super::watch::Watch;
use super::super::wav::{self, WavSound};
use super::super::{CopyError, CopyFailure, Report, Side, SideReport, ends};
use super::checks;
use super::chunks::{Chunks, Released};
use super::container::is_wav;
use super::options::AudioCopy;
use super::player::Player;
use super::sound::{frames_of, in_words, stream_report};
use crate::device::audio::{Direction, Params, Pcm, PcmName, Pinned};
use crate::device::{Class, Device, DirectMode};
use crate::engine::{Engine, EngineOptions, FileId, FixedRegion};
use crate::pages::{PagePool, PoolOptions};

/// Operations beside reads: the watch of the device.
const EXTRA_DEPTH: u32 = 1;

/// The most reads in flight: a ring has no room for more pieces.
const DEPTH_MAX: u32 = 8;

/// What is played, and where it lies.
struct Sound {
    wanted: AudioCopy,
    /// Byte of the source at which it begins.
    start: u64,
    /// Its bytes, where that is known.
    len: Option<u64>,
}

/// How a source is read.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) device: Box<dyn Device>,
    pub(super) file: FileId,
    pub(super) limits: Limits,
    /// What an address of direct I/O is a multiple of.
    pub(super) align: u64,
    /// Why reads are no direct I/O, if they are not.
    pub(super) refused: Option<String>,
    /// Why the ring cannot be read to, if it cannot.
    pub(super) copies: Option<String>,
    /// Bytes of a block; 1 where the source has none.
    pub(super) unit: u64,
    /// Byte at which the sound begins.
    pub(super) start: u64,
    pub(super) is_stream: bool,
}

/// Copies to a sound device.
pub(super) fn copy(
    source: End<'_>,
    destination: &Path,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    checks::positions(options)?;
    checks::no_video(options)?;
    if options.passthrough.destination {
        let path = destination.to_owned();
        return Err(CopyError::NoCommands { side: Side::Destination, path }.into());
    }
    if options.seek > 0 {
        let why = "counts bytes, and a sound device has none at positions";
        return Err(CopyError::StreamUnfit { what: "--seek", why }.into());
    }
    let name = PcmName::of_path(destination).map_err(CopyError::AudioRefused)?;
    let device = ends::open_source_end(source, options)?;
    if device.class() == Class::Tape || device.commands().is_some() {
        let (source_path, destination_path) = (device.path().to_owned(), destination.to_owned());
        let why = "sound is played from files, block devices and pipes; copy to a file first";
        return Err(CopyError::StreamEnds { source_path, destination_path, why }.into());
    }
    let mut notes = Vec::new();
    let sound = sound(source, &*device, options, &mut notes)?;
    let unit = ends::direct_unit(&*device).map_or(1, |unit| unit.start.max(unit.end));
    let wanted = &sound.wanted;
    let audio = wanted.device_options(unit);
    let pcm = Pcm::open(&name, Direction::Playback, &audio).map_err(CopyError::AudioRefused)?;
    notes.extend(pcm.notes().iter().cloned());
    let params = *pcm.params();
    let frames = frames(&sound, &*device, options, &params, &mut notes)?;

    let chunks = Chunks::new(&params, unit, device.is_stream());
    let slot_len = chunks.len_max().saturating_add(unit.saturating_mul(2));
    // Each read may need a slot.
    let depth = if device.is_stream() { 1 } else { options.plain_depth().min(DEPTH_MAX) };
    let slots = usize::try_from(depth).unwrap_or(1);
    let pool = PoolOptions::uniform(usize::try_from(slot_len).unwrap_or(usize::MAX), slots);
    let pool = Arc::new(PagePool::new(pool).map_err(CopyError::from)?);
    let mut engine = Engine::new(EngineOptions {
        kind: options.engine,
        depth: depth.saturating_add(EXTRA_DEPTH),
        fixed: vec![FixedRegion::from_pool(Arc::clone(&pool))],
        ..EngineOptions::default()
    })
    .map_err(CopyError::from)?;
    let reader = reader(&mut engine, device, &pcm, unit, sound.start)?;
    require_direct(&reader, destination, options)?;
    let to = engine.add_file(Arc::clone(pcm.fd())).map_err(CopyError::from)?;

    let done_bytes = AtomicU64::new(0);
    let total = frames.map(|frames| frames.saturating_mul(params.frame_len));
    let mut watch = Watch::new(observer, &done_bytes, total);
    let report = stream_report(&params, reader.copies.as_deref());
    let direct = reader.refused.is_none();
    let source_side =
        SideReport::new(reader.device.path().display().to_string(), reader.device.class().name(), direct);
    let copied = reader.copies.is_some();
    let side = SideReport::new(destination.display().to_string(), Class::Audio.name(), !copied);
    let mut player = Player {
        pcm,
        engine,
        pool: Arc::clone(&pool),
        reader,
        to,
        token: None,
        source: source_side,
        side,
        report,
        params,
        chunks,
        depth,
        frames,
        asked: 0,
        released: Released::default(),
        committed: 0,
        hw: 0,
        reads: 0,
        base: 0,
        started: false,
        draining: false,
        finished: false,
        underrun: false,
        dry: 0,
        in_place: Vec::new(),
        losses: Vec::new(),
        clock: None,
        error: None,
    };
    watch.begin(&player.source, &player.side, options.plain_block_len(), options.plain_depth());
    player.run(&mut watch, &done_bytes);
    watch.tell(Phase::Done, (0, 0));
    let Player { engine, source, mut side, report, error, pcm, .. } = player;
    let bytes = report.frames.saturating_mul(params.frame_len);
    let all = frames.is_some_and(|frames| frames == report.frames);
    side.stream = Some(report);
    let engine_report = engine.report().clone();
    // The device is free when this returns.
    drop(engine);
    drop(pcm);
    let report = Closing {
        bytes,
        elapsed: watch.started.elapsed(),
        engine: engine_report,
        pool: &pool,
        block_len: chunks.len_max(),
        depth,
        synced: false,
        interrupted: watch.stopped && error.is_none() && !all,
        source,
        destination: side,
        destinations: Vec::new(),
        notes,
        rescue: None,
    };
    report.report().ended(error)
}

/// How the source is read.
fn reader(
    engine: &mut Engine<super::region::Room, super::player::Op>,
    device: Box<dyn Device>,
    pcm: &Pcm,
    unit: u64,
    start: u64,
) -> Result<Reader, CopyError> {
    let routes = device.routes();
    let (fd, limits, refused) = match routes.direct() {
        Ok(fd) => (fd, *routes.limits(), None),
        Err(why) => (routes.buffered(), *routes.buffered_limits(), Some(why.to_string())),
    };
    let file = add(engine, &*device, fd)?;
    let copies = match pcm.pinned() {
        // Reads through the page cache, and from pipes, take any memory.
        pinned if pinned == Pinned::Yes || refused.is_some() => None,
        pinned => Some(pinned.to_string()),
    };
    Ok(Reader {
        file,
        align: limits.hard_value(LimitId::AddrAlign).max(1),
        limits,
        refused,
        copies,
        unit,
        start,
        is_stream: device.is_stream(),
        device,
    })
}

/// Refuses a source or a ring that direct reads do not go between, where they were demanded.
fn require_direct(reader: &Reader, destination: &Path, options: &CopyOptions) -> Result<(), CopyError> {
    let Reader { device, start, unit, copies, .. } = reader;
    let over = start.checked_rem(*unit).unwrap_or(0);
    let why = format!(
        "the sound begins at byte {start}, {over} bytes behind the start of a block of {unit}, so all of it would be copied once"
    );
    ends::require_direct_of(Side::Source, &**device, (over > 0).then_some(&*why), options)?;
    match copies {
        Some(why) if options.direct == DirectMode::Require => {
            let (side, path, why) = (Side::Destination, destination.to_owned(), why.clone());
            Err(CopyError::DirectLayout { side, path, why })
        }
        _ => Ok(()),
    }
}

/// How many frames there are to play, where that is known.
fn frames(
    sound: &Sound,
    device: &dyn Device,
    options: &CopyOptions,
    params: &Params,
    notes: &mut Vec<String>,
) -> Result<Option<u64>, CopyError> {
    let wanted = frames_of(options, params);
    let Some(len) = sound.len else { return Ok(wanted) };
    let held = len.checked_div(params.frame_len).unwrap_or(0);
    let over = len.checked_rem(params.frame_len).unwrap_or(0);
    if over > 0 && wanted.is_none_or(|wanted| wanted > held) {
        let why = format!(
            "{len} bytes are {held} frames of {} bytes ({}) and {over} bytes more; choose another --sample or --channels, or play fewer \
             (--frames {held})",
            params.frame_len,
            in_words(params)
        );
        return Err(CopyError::Wav { path: device.path().to_owned(), why });
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted > held) {
        notes.push(format!("{wanted} frames were asked for, the file holds {held}"));
    }
    Ok(Some(wanted.map_or(held, |wanted| wanted.min(held))))
}

/// Finds out what is played.
fn sound(
    source: End<'_>,
    device: &dyn Device,
    options: &CopyOptions,
    notes: &mut Vec<String>,
) -> Result<Sound, CopyError> {
    let wanted = options.stream.audio;
    if !is_wav(source, wanted.container) {
        let AudioCopy { sample, rate_hz, channels, .. } = wanted;
        if sample.is_none() || rate_hz.is_none() || channels.is_none() {
            notes.push(
                "the source does not say what sound it holds: what no option says is taken as the usual"
                    .to_owned(),
            );
        }
        return Ok(Sound { wanted, start: 0, len: device.len_bytes().filter(|_| !device.is_stream()) });
    }
    let refused = |why: String| CopyError::Wav { path: device.path().to_owned(), why };
    if device.is_stream() {
        return Err(refused(
            "the header of a WAV file is read where there are positions; play raw sound from a stream"
                .to_owned(),
        ));
    }
    let copy = device.routes().buffered().as_fd().try_clone_to_owned();
    let file = File::from(copy.map_err(|error| refused(error.to_string()))?);
    let found = wav::parse(std::io::BufReader::new(file)).map_err(|why| refused(why.to_string()))?;
    if found.missing > 0 {
        notes.push(format!(
            "the WAV file lacks {} bytes of the sound that its header promises",
            found.missing
        ));
    }
    Ok(Sound {
        wanted: agree(&found, wanted).map_err(refused)?,
        start: found.data_offset,
        len: Some(found.data_len),
    })
}

/// Takes what a file says, where no option says otherwise.
fn agree(found: &WavSound, wanted: AudioCopy) -> Result<AudioCopy, String> {
    let says = |option: &str, wanted: String, found: String| {
        format!(
            "the file holds {found}, and {option} says {wanted}: nothing is converted here; leave {option} out"
        )
    };
    if let Some(sample) = wanted.sample.filter(|sample| *sample != found.sample) {
        return Err(says("--sample", sample.to_string(), format!("samples of {}", found.sample)));
    }
    if let Some(rate) = wanted.rate_hz.filter(|rate| *rate != found.rate_hz) {
        return Err(says("--rate", rate.to_string(), format!("{} frames a second", found.rate_hz)));
    }
    if let Some(channels) = wanted.channels.filter(|channels| *channels != found.channels) {
        return Err(says("--channels", channels.to_string(), format!("{} channels", found.channels)));
    }
    let (sample, rate_hz, channels) = (Some(found.sample), Some(found.rate_hz), Some(found.channels));
    Ok(AudioCopy { sample, rate_hz, channels, ..wanted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::audio::SampleFormat;

    #[test]
    fn a_file_and_options_that_disagree_are_both_named() {
        let found = WavSound {
            sample: SampleFormat::S16Le,
            rate_hz: 44_100,
            channels: 2,
            data_offset: 44,
            data_len: 400,
            missing: 0,
        };
        let taken = agree(&found, AudioCopy { rate_hz: Some(44_100), ..AudioCopy::default() }).unwrap();
        assert_eq!(
            (taken.sample, taken.rate_hz, taken.channels),
            (Some(SampleFormat::S16Le), Some(44_100), Some(2))
        );
        let error = agree(&found, AudioCopy { rate_hz: Some(48_000), ..AudioCopy::default() }).unwrap_err();
        assert_eq!(
            error,
            "the file holds 44100 frames a second, and --rate says 48000: nothing is converted here; leave --rate out"
        );
        assert!(agree(&found, AudioCopy { channels: Some(1), ..AudioCopy::default() }).is_err());
        assert!(agree(&found, AudioCopy { sample: Some(SampleFormat::U8), ..AudioCopy::default() }).is_err());
    }
}
