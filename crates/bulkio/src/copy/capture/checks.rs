//! What is refused before anything is opened for writing: options and ends that do not fit a stream with a clock.

use std::path::Path;

use super::super::ends::target::Target;
use super::super::options::CopyOptions;
use super::super::rescue::check_kind;
use super::super::{CopyError, Side};
use crate::device::guard::check_fits;
use crate::device::{Class, Device, DirectMode};

/// Refuses what a device with a clock cannot be asked for as a source.
pub(super) fn source(source: &Path, options: &CopyOptions) -> Result<(), CopyError> {
    if options.passthrough.source {
        return Err(CopyError::NoCommands { side: Side::Source, path: source.to_owned() });
    }
    positions(options)
}

/// Refuses what no copy with a device with a clock understands: positions in bytes, and what concerns tapes.
pub(super) fn positions(options: &CopyOptions) -> Result<(), CopyError> {
    if let Some(what) = options.tape.needs_tape() {
        return Err(CopyError::TapeOption { what });
    }
    check_kind(options, "a device with a clock")?;
    options.check_plain("is for files, disks and pipes, and one end is a device with a clock")?;
    let why =
        "counts bytes, and a stream with a clock has none at positions: --frames or --duration say how much";
    let set = [("--skip", options.skip > 0), ("--count", options.count.is_some())];
    match set.into_iter().find(|(_, set)| *set) {
        Some((what, _)) => Err(CopyError::StreamUnfit { what, why }),
        None => Ok(()),
    }
}

/// Refuses options that only a sound device understands.
pub(super) fn no_sound(options: &CopyOptions) -> Result<(), CopyError> {
    let why = "is for sound devices, and neither end is one";
    options.stream.audio.needs_sound().map_or(Ok(()), |what| Err(CopyError::StreamUnfit { what, why }))
}

/// Refuses options that only a grabber understands.
pub(super) fn no_video(options: &CopyOptions) -> Result<(), CopyError> {
    let why = "is for video grabbers, and the source is none";
    if options.stream.sets_buffer() {
        return Err(CopyError::StreamUnfit { what: "--stream-buffer", why });
    }
    options.stream.video.needs_grabber().map_or(Ok(()), |what| Err(CopyError::StreamUnfit { what, why }))
}

/// Refuses a destination that no stream with a clock goes to.
pub(super) fn takes_streams(source: &Path, destination: &dyn Device) -> Result<(), CopyError> {
    let why = match destination.class() {
        Class::Tape => "a tape stops and starts; copy to a file, and from there to the tape",
        _ if destination.commands().is_some() => {
            "the destination takes commands of whole blocks, and frames end anywhere; copy to its block device"
        }
        _ => return Ok(()),
    };
    let (source_path, destination_path) = (source.to_owned(), destination.path().to_owned());
    Err(CopyError::StreamEnds { source_path, destination_path, why })
}

/// Refuses memory of a device that all frames would be copied out of, where direct I/O was demanded.
pub(super) fn direct(source: &Path, copies: Option<&str>, options: &CopyOptions) -> Result<(), CopyError> {
    match copies {
        Some(why) if options.direct == DirectMode::Require => {
            let (path, why) = (source.to_owned(), why.to_owned());
            Err(CopyError::DirectLayout { side: Side::Source, path, why })
        }
        _ => Ok(()),
    }
}

/// Refuses a disk that is too small for what is asked for, before anything on it is lost.
pub(super) fn fits(target: &Target, options: &CopyOptions, len: Option<u64>) -> Result<(), CopyError> {
    let device = &*target.device;
    match device.len_bytes() {
        Some(capacity) if device.class().is_disk() => {
            Ok(check_fits(len, options.seek, capacity, device.path())?)
        }
        _ => Ok(()),
    }
}
