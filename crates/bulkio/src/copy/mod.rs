//! [`copy`]: one end to the other through one pool of pages; [`copy_all`]: to several others.
//!
//! The walk of a byte: both ends are opened and checked (`ends`, `created`) -> the range is laid over slots so that both ends'
//! alignment holds (`geometry`), what is to be read is handed out in chunks (`feed`) -> a read is planned into a slot -> engine -> completion -> the write of the
//! same slot is planned at the destination's own position -> engine -> completion -> the slot is free (`pipeline`), once all destinations are done with it (`fan`). What could not be read is narrowed to its blocks (`narrow`), or gone around, with a map
//! that others go on from (`rescue`, `map`). Ragged ends of a
//! direct destination are read, changed and written back (`edges`); then everything is made durable (`finish`). No other place
//! holds bytes.
//!
//! What the file system of the source names as holes is not read, and becomes holes or zeros of the destination before the first read (`sparse`); what is
//! read can be searched for zeros, too.
//!
//! From file to file the kernel can be asked to copy by itself (`offload`); what it refuses goes the way above.
//!
//! Slots that are written go to another core first where digests are wanted (`beside`, `digest`), and what is at the destination is
//! read back past the caches and held against them (`verify`, `reading`). Two ends are compared the same way (`compare`).
//!
//! Reads go ahead of writes as far as there are slots; where a buffer is wanted, writing waits for its marks (`buffer`, `gate`).
//!
//! A tape has no bytes at positions, and takes one command at a time: copies with one are in `tape`.
//!
//! What a copy would do is shown before anything moves by [`plan()`] (`preview`), from the same parts.
//!
//! What was moved how, and why not better, is in the [`Report`].

mod beside;
mod capture;
mod compare;
mod digest;
mod ends;
mod error;
mod fan;
mod gate;
mod geometry;
mod map;
mod offload;
mod options;
mod pipeline;
mod preview;
mod reading;
mod report;
mod rescue;
mod setting;
mod sparse;
mod start;
mod tape;
#[cfg(test)]
mod tests;
mod verify;
mod watch;
pub mod wav;

use crate::device::audio::is_pcm;
use crate::device::tape::is_tape;

pub use crate::device::DirectMode;
pub use crate::engine::EngineChoice;
pub use capture::{
    AudioCopy, Container, LOSSES_MAX, Loss, LossReason, StreamCopy, StreamEvent, StreamProgress,
    StreamReport, VideoCopy,
};
pub use compare::{CompareOptions, Compared, Comparison, ComparisonFailure, DifferingRange, compare};
pub use digest::{Digest, DigestParseError, HashAlgorithm, HashRequest};
pub use ends::overwrite::Overwrite;
pub use error::{CopyError, CopyFailure, FailureClass, Side};
pub use fan::{DESTINATIONS_MAX, DestinationFailure, DestinationReport};
pub use map::{AREAS_MAX, AreaStatus, MapFileError, MapTextError, RecoveryMap, RescuePhase};
pub use offload::{Offload, OffloadKind, OffloadReport};
pub use options::{Control, CopyOptions, End, Observer, Passthrough, Phase, Progress, Silent};
pub use pipeline::buffer::{Buffered, Buffering};
pub use pipeline::tuner::Tuned;
pub use preview::{CopyPlan, Cut, PlannedCall, PlannedLayout, PlannedSide, PlannedTransfer, Step, plan};
pub use report::{Report, SideReport};
pub use rescue::{
    LOST_RANGES_MAX, LostBytes, LostRange, MapOptions, OnError, ReadFailure, RescueOptions, RescueProgress,
    RescueReport,
};
pub use setting::Setting;
pub use sparse::{Sparse, SparseReport};
pub use start::{Start, StartEnd};
pub use tape::{TapeCopy, TapeFiles, TapeReport};
pub use verify::Verified;

/// Copies bytes from one end to the other.
///
/// Both ends are checked before anything is written: see [`guard`](crate::device::guard). With
/// [`CopyOptions::sync`] the bytes and the destination's name are durable when this returns.
///
/// ```
/// use bulkio::copy::{CopyOptions, End, Silent, copy};
///
/// # let folder = tempfile::tempdir()?;
/// # let (from, to) = (folder.path().join("from"), folder.path().join("to"));
/// # std::fs::write(&from, b"some bytes")?;
/// let report = copy(End::Path(&from), End::Path(&to), &CopyOptions::default(), &mut Silent)?;
/// assert_eq!(report.bytes, 10);
/// # assert_eq!(std::fs::read(&to)?, b"some bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CopyFailure`]: what went wrong and, once bytes have moved, the report up to there.
pub fn copy(
    source: End<'_>,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    options.check()?;
    // What a map says is copied is not to be cut off.
    let kept = options.rescue.resumes().then(|| CopyOptions { truncate: false, ..options.clone() });
    let options = kept.as_ref().unwrap_or(options);
    if let End::Path(path) = destination
        && (is_tape(path) || is_pcm(path))
    {
        options.expect.check_no_disk(path).map_err(CopyError::from)?;
    }
    if let Some(copied) = capture::copy(source, destination, options, observer) {
        return copied;
    }
    if let Some(copied) = tape::copy(source, destination, options, observer) {
        return copied;
    }
    let ends = ends::open(source, &[destination], options, observer)?;
    pipeline::run(ends, options, observer)
}

/// Copies bytes from one end to several at once: the source is read once, and each part of it is written to all from the same memory.
///
/// All destinations are opened and checked before anything is written to any, as those of [`copy`] are, and also against each other; what refuses
/// one refuses the copy. The slowest sets the pace, the others ahead of it by no more than the copy has memory for. One that fails while others are left
/// is dropped: nothing more is written to it, the observer is warned at once, and its entry in [`Report::destinations`] says why. So
/// look at [`Report::failed_destinations`] where this returns a report.
///
/// With one destination this is [`copy`]. Tapes, grabbers and sound devices, maps and what goes around bad blocks
/// ([`CopyOptions::rescue`]), and [`CopyOptions::expect`] are for copies to one.
///
/// ```
/// use bulkio::copy::{CopyOptions, End, Silent, copy_all};
///
/// # let folder = tempfile::tempdir()?;
/// # let [from, one, two] = ["from", "one", "two"].map(|name| folder.path().join(name));
/// # std::fs::write(&from, b"some bytes")?;
/// let to = [End::Path(&one), End::Path(&two)];
/// let report = copy_all(End::Path(&from), &to, &CopyOptions::default(), &mut Silent)?;
/// assert_eq!(report.failed_destinations().count(), 0);
/// assert!(report.destinations.iter().all(|destination| destination.bytes == 10));
/// # assert_eq!((std::fs::read(&one)?, std::fs::read(&two)?), (b"some bytes".into(), b"some bytes".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CopyFailure`]: what refused the copy, what the source failed with, or, where every destination failed, what the first of them failed with. There are from 1
/// to [`DESTINATIONS_MAX`] destinations.
pub fn copy_all(
    source: End<'_>,
    destinations: &[End<'_>],
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    if let &[destination] = destinations {
        return copy(source, destination, options, observer);
    }
    options.check()?;
    fan::check(source, destinations, options)?;
    let ends = ends::open(source, destinations, options, observer)?;
    pipeline::run(ends, options, observer)
}
