//! Sparse copies: parts of the range that are zeros, and are made zeros at the destination without being read or written.
//!
//! The file system of the source names holes (`holes`). Before bytes move, each becomes a hole of the destination file, or is zeroed by the disk or the
//! kernel (`zeroing`); the feed has what is left. From then on a hole counts as written, for the front, for progress and for digests. What the
//! destination refuses is data again, and a note says why. What became of all of it is in the [`SparseReport`].
//!
//! With [`Sparse::Always`] what is read is searched for zeros, too (`content`).
//!
//! A copy that goes around bad blocks or keeps a map reads everything: its account knows nothing of holes.

mod content;
mod holes;
mod report;
mod zeroing;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use report::SparseReport;

use super::digest::Digests;
use super::ends::Ends;
use super::fan::{Fan, Writing};
use super::geometry::lcm;
use super::options::{CopyOptions, Observer, Phase};
use super::pipeline::Pipeline;
use super::pipeline::feed::Feed;
use super::{CopyError, Report};
use crate::device::{Class, Device, PrepareError};
use content::Split;
use holes::{AREAS_MAX, Found, HOLE_LEN_MIN, Layout};
use zeroing::Zeroer;

/// What becomes of holes and zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sparse {
    /// What the file system of the source names as holes is not read, and becomes holes of the destination, or zeros.
    #[default]
    Auto,
    /// That, and blocks of zeros in what is read become holes or zeros too. Needs a file or block device as the destination.
    Always,
    /// Everything is read and written.
    Never,
}

/// Blocks of a destination file are no smaller than this on most file systems, and neither are pages.
const GRAIN_LEN: u64 = 4096;

/// What a copy knows of holes.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The data; `None` where everything is taken for data.
    found: Option<Found>,
    /// One for each destination, where all take zeros.
    zeroers: Option<Fan<Zeroer>>,
    /// Bytes of the range that count as done and never moved.
    made_bytes: u64,
    /// What is read is searched for zeros, in blocks of this.
    content_grain: Option<u64>,
    /// The chunks that are written in parts, by number.
    splits: BTreeMap<u64, Split>,
    report: SparseReport,
    /// Something in the report is worth telling.
    told: bool,
    /// Makes digests leave out zeros.
    hurry: Option<Arc<AtomicBool>>,
}

impl Holes {
    pub(super) fn new(digests: Option<&Digests>) -> Self {
        Self { hurry: digests.map(Digests::hurry), ..Self::default() }
    }

    /// Lets digests leave out zeros, when the copy was stopped or failed and nobody waits for them.
    pub(super) fn hurry(&self, ends: bool) {
        if let Some(hurry) = self.hurry.as_ref().filter(|_| ends) {
            hurry.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets what was found: the holes came along with all else.
    pub(super) fn forget(&mut self) {
        (self.found, self.told) = (None, false);
    }

    /// Returns the bytes of the range that count as done and never moved.
    pub(super) const fn made_bytes(&self) -> u64 {
        self.made_bytes
    }

    /// Returns the blocks in which zeros are to be looked for, where that makes sense.
    fn content_grain(&self) -> Option<u64> {
        self.content_grain.filter(|_| self.zeroers.as_ref().is_some_and(|all| all.first().is_able()))
    }

    /// Returns the parts of the range that need space; `None` where that is the whole range.
    pub(super) fn areas(&self) -> Option<&[Range<u64>]> {
        if self.content_grain.is_some() {
            // Nobody knows yet.
            return Some(&[]);
        }
        self.zeroers.as_ref().and(self.found.as_ref()).map(|found| &*found.areas)
    }
}

/// Says why a destination takes no holes; `None` where it may.
pub(super) fn refused_by(destination: &dyn Device) -> Option<&'static str> {
    if destination.is_stream() {
        return Some("it is a stream");
    }
    if destination.commands().is_some() {
        return Some("it takes commands");
    }
    Zeroer::new(destination, 0).is_none().then_some("it is neither a file nor a disk")
}

/// Returns the first destination that takes no holes, and why.
fn refused(ends: &Ends) -> Option<(&Path, &'static str)> {
    ends.destinations.iter().find_map(|end| Some((end.path(), refused_by(&*end.device)?)))
}

/// Looks for the holes of a source; `None` where it has none, or nobody can say. Nothing is changed.
pub(super) fn look(
    ends: &Ends,
    (options, len, grain): (&CopyOptions, Option<u64>, Option<u64>),
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Found> {
    let source = &*ends.source;
    let wanted = options.sparse != Sparse::Never && !options.rescue.wanted();
    if !wanted || source.class() != Class::File || source.is_stream() {
        return None;
    }
    let len = len.filter(|len| *len > 0)?;
    let ragged = ends.destinations.iter().all(|end| end.device.class() == Class::File);
    let layout = Layout { skip: options.skip, seek: options.seek, len, grain: grain?, ragged };
    // A file system that does not say has files without holes.
    holes::find(source, &layout, go_on).ok().filter(|found| !found.is_all(len))?;
    // Not every file system looks at what its page cache holds and it has not seen yet. Direct reads would have this written as well.
    let _ = rustix::fs::fdatasync(source.routes().buffered());
    holes::find(source, &layout, go_on).ok().filter(|found| !found.is_all(len))
}

/// Says what a copy would do about the holes of its source; `None` where it has none.
pub(super) fn outlook(ends: &Ends, options: &CopyOptions) -> Option<String> {
    let grain = lcm(ends.geometry.unit(), GRAIN_LEN);
    let found = look(ends, (options, ends.len, grain), &mut || true)?;
    let bytes = found.hole_bytes(ends.len.unwrap_or(0));
    Some(match refused(ends) {
        None => format!(
            "{bytes} bytes of holes in the source would not be read; the requests listed are those of a source without holes"
        ),
        Some((path, why)) => format!(
            "{bytes} bytes of holes in the source would be read and written: {} takes none, {why}",
            path.display()
        ),
    })
}

impl Pipeline<'_> {
    /// Looks for the holes of the source; nothing is written.
    pub(super) fn find_holes(&mut self, options: &CopyOptions, observer: &mut dyn Observer) {
        let ends = self.ends;
        let len = self.state.len;
        let state = &mut self.state;
        let mut go_on = || {
            state.tell(observer, Phase::Copying, false);
            !state.stopped
        };
        let grain = lcm(ends.geometry.unit(), GRAIN_LEN);
        if options.sparse == Sparse::Always {
            self.holes.told = true;
            self.holes.content_grain = grain;
            self.holes.zeroers = zeroers(ends);
        }
        let Some(found) = look(ends, (options, len, grain), &mut go_on) else { return };
        let bytes = found.hole_bytes(len.unwrap_or(0));
        self.holes.told = true;
        if let Some((path, why)) = refused(ends) {
            self.holes.report.filled_bytes = bytes;
            let path = path.display();
            self.state
                .notes
                .push(format!("{bytes} bytes of holes are read and written: {path} takes none, {why}"));
            return;
        }
        if let Some(at) = found.cut_at {
            self.state.notes.push(format!(
                "the source has more than {AREAS_MAX} areas of data between holes: from byte {at} of the range on all was taken for data"
            ));
        }
        self.holes.zeroers = zeroers(ends);
        self.holes.found = Some(found);
    }

    /// Takes the space that data needs.
    pub(super) fn reserve(
        &self,
        destination: &dyn Device,
        areas: &[Range<u64>],
        options: &CopyOptions,
    ) -> Result<(), PrepareError> {
        destination.prepare(options.seek, None, options.truncate)?;
        let of_range = |at: u64| options.seek.saturating_add(at);
        if let Some(len) = self.state.len.filter(|_| self.holes.content_grain.is_some()) {
            // Writes that make a file longer wait for each other.
            destination.settle_len(of_range(len), false)?;
        }
        areas
            .iter()
            .try_for_each(|area| destination.prepare(of_range(area.start), Some(of_range(area.end)), false))
    }

    /// Makes the holes that were found, and leaves what is data to be read. The destination is ready.
    pub(super) fn make_holes(&mut self, observer: &mut dyn Observer) {
        let Some((found, len)) = self.holes.found.take().zip(self.state.len) else { return };
        let mut made: Vec<Range<u64>> = Vec::new();
        for hole in found.holes(len) {
            let done = self.make_hole(hole.clone(), observer);
            self.digest_zeros(hole.start, done);
            let filled = hole.end.saturating_sub(hole.start).saturating_sub(done);
            if self.state.stopped {
                break;
            }
            self.holes.report.filled_bytes = self.holes.report.filled_bytes.saturating_add(filled);
            if done > 0 {
                made.push(hole.start..hole.start.saturating_add(done));
            }
        }
        self.feed = Feed::forwards(left_of(&made, len));
    }

    /// Makes a part of the range zeros; how many bytes of it are, at every destination.
    fn make_hole(&mut self, hole: Range<u64>, observer: &mut dyn Observer) -> u64 {
        let mut at = hole.start;
        while at < hole.end && !self.state.ends() {
            let done = self.zero_everywhere(at, hole.end.saturating_sub(at));
            if done == 0 {
                break;
            }
            at = at.saturating_add(done);
            self.state.tell(observer, Phase::Copying, false);
        }
        at.saturating_sub(hole.start)
    }

    /// Makes the first of `len` bytes of the range zeros; how many of them are, at every destination that is left: none, where one does not do its part.
    pub(super) fn zero_everywhere(&mut self, at: u64, len: u64) -> u64 {
        let position = self.ends.geometry.seek.saturating_add(at);
        let Some(zeroers) = &mut self.holes.zeroers else { return 0 };
        let ends = self.ends;
        let left = |writings: &Fan<Writing>, number| !writings.at(number).is_dropped();
        let steps = zeroers.iter().enumerate().filter(|(number, _)| left(&self.state.writings, *number));
        let step = steps.map(|(_, zeroer)| zeroer.step_len(position, len)).min().unwrap_or(0);
        if step == 0 {
            return 0;
        }
        let mut report = self.holes.report.clone();
        for (number, zeroer) in zeroers.iter_mut().enumerate() {
            let device = &*ends.destinations.at(number).device;
            if left(&self.state.writings, number) && !zeroer.make(device, position, step, &mut report) {
                // All of it is written then, everywhere.
                return 0;
            }
        }
        self.holes.report = report;
        for number in 0..self.state.writings.len() {
            if left(&self.state.writings, number) {
                self.state.wrote(number, at, step);
            }
        }
        self.holes.made_bytes = self.holes.made_bytes.saturating_add(step);
        step
    }

    /// Finds out whether the source became shorter where nothing was read: what was a hole is nothing then.
    pub(super) fn check_source(&mut self) {
        if self.holes.made_bytes() == 0 || self.state.ends() {
            return;
        }
        let source = &*self.ends.source;
        let Some(len) = self.state.len.filter(|_| source.class() == Class::File) else { return };
        let Ok(stat) = rustix::fs::fstat(source.routes().buffered()) else { return };
        let at = u64::try_from(stat.st_size).unwrap_or(0);
        let expected = self.ends.geometry.skip.saturating_add(len);
        if at < expected {
            let from = at.saturating_sub(self.ends.geometry.skip);
            for number in 0..self.state.writings.len() {
                self.state.unwrote(number, from, len.saturating_sub(from));
            }
            let path = source.path().to_owned();
            self.state.fail(from, CopyError::SourceShrank { path, expected, at });
        }
    }

    /// Adds to a report what became of holes.
    pub(super) fn tell_sparse(&self, report: &mut Report) {
        let Holes { zeroers, report: sparse, told, .. } = &self.holes;
        if !told {
            return;
        }
        for why in zeroers.iter().flat_map(Fan::iter).flat_map(Zeroer::refused) {
            report.notes.push(format!("a hole could not be made the best way: {why}"));
        }
        report.sparse = Some(SparseReport { bytes: self.holes.made_bytes, ..sparse.clone() });
    }
}

/// `None` where one destination takes no zeros but written ones.
fn zeroers(ends: &Ends) -> Option<Fan<Zeroer>> {
    ends.destinations.try_map(|end| Zeroer::new(&*end.device, end.kept_len).ok_or(())).ok()
}

/// What is left of a range when these parts are done, which are in order.
fn left_of(done: &[Range<u64>], len: u64) -> Vec<Range<u64>> {
    Found { areas: done.to_vec(), cut_at: None }.holes(len).collect()
}
