//! Verification: what a copy has written is read back past the caches of the kernel, once, and held against checksums made on the way.
//!
//! The destination is opened anew for this before anything is written ([`ReadBack`]), so that one which cannot be read back is refused. When the copy is
//! durable, the kernel is asked to drop cached pages and the range is read in order by direct I/O (`reading`), while another core hashes (`digest`). Where a
//! mebibyte differs, it is compared with the source byte for byte, if that can be read again (`locate`).

mod locate;
mod report;

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use rustix::fs::{Advice, OFlags};
use rustix::io::Errno;

pub(super) use report::Shown;
pub use report::Verified;

use super::beside::{Beside, Work};
use super::compare::DifferingRange;
use super::digest::{Checked, Checker, Run};
use super::ends::Ends;
use super::fan::Destination;
use super::options::{CopyOptions, Observer, Phase};
use super::reading::{Group, How, Part, Reading};
use super::watch::Watch;
use super::{CopyError, Report};
use crate::device::{Device, DirectMode, device_of, reopen};
use crate::probe::probe_fd;

/// How a destination is read back.
#[derive(Debug)]
pub(super) struct ReadBack {
    /// `None` where the destination itself takes reads: by commands.
    device: Option<Box<dyn Device>>,
}

impl ReadBack {
    /// Opens a destination for reading back. Nothing is written.
    pub(super) fn open(destination: &dyn Device, options: &CopyOptions) -> Result<Self, CopyError> {
        let path = || destination.path().to_owned();
        let refused = |why: String| CopyError::CannotVerify { path: path(), why };
        if destination.is_stream() {
            return Err(refused("it is a stream, which nobody can read back; use --hash".to_owned()));
        }
        if !options.sync {
            let why = "what is not made durable may be nowhere but in a cache; leave --no-sync out";
            return Err(refused(why.to_owned()));
        }
        if destination.commands().is_some() {
            return Ok(Self { device: None });
        }
        let opened = reopen(destination.routes().buffered(), OFlags::RDONLY);
        let fd = opened.map_err(|errno: Errno| refused(format!("opening it for reading failed: {errno}")))?;
        let probe = probe_fd(fd.as_fd(), destination.path())?;
        let device = device_of(Arc::new(fd), probe, DirectMode::Auto, false, false);
        Ok(Self { device: Some(device) })
    }

    fn device<'a>(&'a self, destination: &'a dyn Device) -> &'a dyn Device {
        self.device.as_deref().unwrap_or(destination)
    }

    /// Asks the kernel to drop what the page cache holds. Direct reads go past it, but not every file has them.
    fn drop_cached(&self) {
        if let Some(device) = &self.device {
            // Advice: where the kernel keeps a page, the report says that reads went through the cache.
            let _ = rustix::fs::fadvise(device.routes().buffered().as_fd(), 0, None, Advice::DontNeed);
        }
    }
}

impl Work for Checker {
    type Item = Group<1>;

    fn take(&mut self, group: Group<1>) {
        if let [Some(piece)] = &group {
            Self::take(self, piece.at, piece.bytes());
        }
    }
}

/// What the report says of reads that did not go past the page cache, `why`.
fn through_cache(why: &str) -> String {
    format!(
        "read back through the page cache, which the kernel was asked to empty before; it may have kept pages, and of a tmpfs they are the \
         file: {why}"
    )
}

/// Most mebibytes that are compared with the source; the others are named whole.
const LOCATED_MAX: usize = 64;

/// Reads back what was copied to a destination. Returns what was found, and what is wrong with it.
pub(super) fn run(
    ends: &Ends,
    destination: &Destination,
    runs: Vec<Run>,
    options: &CopyOptions,
    report: &mut Report,
    observer: &mut dyn Observer,
) -> (Option<Verified>, Option<CopyError>) {
    let Some(back) = &destination.read_back else { return (None, None) };
    let total = runs.iter().map(Run::len).fold(0, u64::saturating_add);
    let end = runs.last().map_or(0, Run::end);
    back.drop_cached();
    let device = back.device(&*destination.device);
    let done = AtomicU64::new(0);
    let mut watch = Watch::new(observer, &done, Some(end));
    let how = How { block_len: report.block_len, depth: report.depth, engine: options.engine };
    let part = Part { device, start: options.seek, len: Some(end), len_max: None };
    let (checked, read) = match read_back(part, runs, &how, &mut watch) {
        Ok(read) => read,
        Err(error) => return (None, Some(error)),
    };
    let elapsed = watch.started.elapsed();
    let located = locate::locate(ends, device, &checked, options, &how, &mut watch);
    watch.tell(Phase::Done, (0, 0));
    // What commands bring comes from the disk itself, even where the kernel copies it on the way.
    let direct_refused = device.routes().direct().err().filter(|_| device.commands().is_none());
    let direct_refused = direct_refused.map(|why| why.to_string());
    if let Some(why) = &direct_refused {
        let note = through_cache(why);
        let path = destination.path().display();
        report.notes.push(if ends.destinations.is_several() { format!("{path}: {note}") } else { note });
    }
    report.interrupted |= watch.stopped && checked.bytes < total;
    let mut verified = Verified {
        start: options.seek,
        bytes: checked.bytes,
        complete: read.is_ok() && checked.bytes >= total,
        elapsed,
        direct: direct_refused.is_none(),
        ranges: located,
        differing_bytes: checked.bad_bytes,
        differing_runs: checked.bad_count,
    };
    if read.is_ok() && !watch.stopped && checked.bytes < total {
        // The destination ended before what was written to it did.
        let len = total.saturating_sub(checked.bytes);
        verified.ranges.push(DifferingRange { at: end.saturating_sub(len), len });
        verified.differing_bytes = verified.differing_bytes.saturating_add(len);
        verified.differing_runs = verified.differing_runs.saturating_add(1);
    }
    let error = match read {
        Err(error) => Some(error),
        Ok(()) if verified.differing_runs > 0 => {
            let path = destination.path().to_owned();
            Some(CopyError::VerifyDiffers { path, verified: Box::new(verified.clone()) })
        }
        Ok(()) => None,
    };
    (Some(verified), error)
}

/// Reads a range and holds it against its runs; the error of a read that failed comes beside what was checked before.
fn read_back(
    part: Part<'_>,
    runs: Vec<Run>,
    how: &How,
    watch: &mut Watch<'_>,
) -> Result<(Checked, Result<(), CopyError>), CopyError> {
    if runs.is_empty() {
        return Ok((Checked::default(), Ok(())));
    }
    let mut reading = Reading::new([part], how)?;
    watch.started = Instant::now();
    let checker = Checker::new(runs, LOCATED_MAX);
    let beside = Beside::start("bulkio verify", checker, reading.slots(), reading.remote()?);
    let beside = beside.map_err(CopyError::NoThread)?;
    let read = reading.run(&beside, watch);
    let checked = beside.finish().ok_or(CopyError::WorkThread)?.finish();
    Ok((checked, read))
}
