//! What goes with one destination alone, refused where there are several.

use super::super::options::{CopyOptions, End};
use super::super::setting::Setting;
use super::super::{CopyError, Offload, Sparse};
use super::DESTINATIONS_MAX;
use crate::device::audio::is_pcm;
use crate::device::guard::Expectations;
use crate::device::tape::is_tape;
use crate::device::video::Capture;
use crate::engine::DEPTH_MAX;

/// Checks the ends and options of a copy to several destinations, before any is opened.
pub(in super::super) fn check(
    source: End<'_>,
    destinations: &[End<'_>],
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let count = u64::try_from(destinations.len()).unwrap_or(u64::MAX);
    let max = u64::try_from(DESTINATIONS_MAX).unwrap_or(u64::MAX);
    if !(1..=max).contains(&count) {
        return Err(CopyError::Option { what: "number of destinations", value: count, min: 1, max });
    }
    for end in std::iter::once(&source).chain(destinations) {
        let End::Path(path) = end else { continue };
        let kinds = [
            (is_tape(path), "a tape drive"),
            (Capture::is_capture(path), "a video grabber"),
            (is_pcm(path), "a sound device"),
        ];
        if let Some((_, what)) = kinds.into_iter().find(|(is_kind, _)| *is_kind) {
            return Err(CopyError::FanOutEnd { path: path.to_path_buf(), what });
        }
    }
    let alone = [
        (options.rescue.wanted(), "--on-error, --reverse and --map keep account of one destination"),
        (options.sparse == Sparse::Always, "--sparse always makes holes of what is read for one destination"),
        (options.offload == Offload::Try, "--offload is from one file to one file"),
        (options.expect != Expectations::default(), "--expect-serial and --expect-size name one disk"),
    ];
    if let Some((_, what)) = alone.into_iter().find(|(wanted, _)| *wanted) {
        return Err(CopyError::FanOutOption { what, destinations: destinations.len() });
    }
    if let Some(what) = options.tape.needs_tape() {
        return Err(CopyError::TapeOption { what });
    }
    if let Some(what) = options.stream.needs_device() {
        return Err(CopyError::StreamOption { what });
    }
    check_depth(options, destinations.len())
}

/// All sides share one engine, which carries so many requests.
fn check_depth(options: &CopyOptions, destinations: usize) -> Result<(), CopyError> {
    let Setting::Fixed(depth) = options.depth else { return Ok(()) };
    let sides = u32::try_from(destinations).unwrap_or(u32::MAX).saturating_add(1);
    let max = DEPTH_MAX.checked_div(sides).unwrap_or(0).saturating_sub(1);
    if depth > max {
        let (what, value, max) = ("depth of each side", depth.into(), max.into());
        return Err(CopyError::Option { what, value, min: 1, max });
    }
    Ok(())
}
