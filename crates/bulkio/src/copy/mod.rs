//! [`copy`]: one end to the other through one pool of pages.
//!
//! The walk of a byte: both ends are opened and checked (`ends`) -> the range is laid over slots so that both ends'
//! alignment holds (`geometry`) -> a read is planned into a slot -> engine -> completion -> the write of the
//! same slot is planned at the destination's own position -> engine -> completion -> the slot is free (`pipeline`). What could not be read is narrowed to its blocks (`narrow`). Ragged ends of a
//! direct destination are read, changed and written back (`edges`); then everything is made durable (`finish`). No other place
//! holds bytes.
//!
//! A tape has no bytes at positions, and takes one command at a time: copies with one are in `tape`.
//!
//! What was moved how, and why not better, is in the [`Report`].

mod capture;
mod edges;
mod ends;
mod error;
mod finish;
mod geometry;
mod narrow;
mod options;
mod pipeline;
mod report;
mod single;
mod state;
mod tape;
mod target;
#[cfg(test)]
mod tests;
mod watch;
pub mod wav;

pub use crate::device::DirectMode;
pub use crate::engine::EngineChoice;
pub use capture::{
    AudioCopy, Container, LOSSES_MAX, Loss, LossReason, StreamCopy, StreamEvent, StreamProgress,
    StreamReport, VideoCopy,
};
pub use error::{CopyError, CopyFailure, FailureClass, Side};
pub use options::{Control, CopyOptions, End, Observer, Passthrough, Phase, Progress, Silent};
pub use report::{Report, SideReport};
pub use tape::{TapeCopy, TapeFiles, TapeReport};

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
    if let Some(copied) = capture::copy(source, destination, options, observer) {
        return copied;
    }
    if let Some(copied) = tape::copy(source, destination, options, observer) {
        return copied;
    }
    let ends = ends::open(source, destination, options, observer)?;
    pipeline::run(ends, options, observer)
}
