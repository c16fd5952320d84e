//! Copies from video grabbers, and from and to sound devices: streams with a clock.

mod checks;
mod chunks;
mod container;
mod cut;
mod ending;
mod held;
mod memory;
mod options;
mod piece;
mod playback;
mod player;
mod region;
mod report;
mod settle;
mod sink;
mod sound;
#[cfg(test)]
mod tests;
mod video;

pub use options::{AudioCopy, Container, StreamCopy, VideoCopy};
pub use report::{LOSSES_MAX, Loss, LossReason, StreamEvent, StreamProgress, StreamReport};

use rustix::io::Errno;

use super::options::{CopyOptions, End, Observer};
use super::{CopyError, CopyFailure, Report};
use crate::device::audio::is_pcm;
use crate::device::guard::{Refusal, Role};
use crate::device::video::Capture;

/// Copies where one end is a device with a clock; `None` where none is.
pub(super) fn copy(
    source: End<'_>,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Option<Result<Report, CopyFailure>> {
    if let Err(error) = options.stream.check() {
        return Some(Err(error.into()));
    }
    if let Some(error) = two_clocks(source, destination) {
        return Some(Err(error.into()));
    }
    if let End::Path(path) = source
        && Capture::is_capture(path)
    {
        return Some(video::copy(path, destination, options, observer));
    }
    if let End::Path(path) = source
        && is_pcm(path)
    {
        return Some(sound::copy(path, destination, options, observer));
    }
    if let End::Path(path) = destination
        && is_pcm(path)
    {
        return Some(playback::copy(source, path, options, observer));
    }
    let what = options.stream.needs_device()?;
    if let End::Path(path) = source
        && rustix::fs::stat(path).is_err_and(|errno| errno == Errno::NOENT)
    {
        // A grabber that is not plugged in is no reason to leave its options out.
        let refused = Refusal::Missing { path: path.to_owned(), role: Role::Source };
        return Some(Err(CopyError::from(refused).into()));
    }
    Some(Err(CopyError::StreamOption { what }.into()))
}

/// Refuses two ends that both keep their own time.
fn two_clocks(source: End<'_>, destination: End<'_>) -> Option<CopyError> {
    let (End::Path(source), End::Path(destination)) = (source, destination) else { return None };
    let has_clock = Capture::is_capture(source) || is_pcm(source);
    (has_clock && is_pcm(destination)).then(|| CopyError::StreamEnds {
        source_path: source.to_owned(),
        destination_path: destination.to_owned(),
        why: "both keep their own time, and nothing is resampled here; record to a file and play that",
    })
}
