//! [`plan()`]: what a copy would do, shown before anything moves.
//!
//! The ends are asked as the copy asks them, but nothing is claimed, created, truncated or written (`ends`). Layout, cuts and reasons come
//! from the copy's own parts (`walk` over `geometry` and the planner), so the two cannot disagree; a test holds the plan against
//! what a copy hands to the kernel. What would refuse the copy is part of the plan.
//!
//! Tapes, grabbers and sound devices have no bytes at positions: they are not planned here.

mod ends;
#[cfg(test)]
mod tests;
mod walk;

use std::path::{Path, PathBuf};

use scatterlist::plan::Why;
use scatterlist::{LimitId, Limits};

use self::walk::Walk;
use super::ends::{Ends, assemble, range_len, refusals};
use super::fan::Fan;
use super::pipeline::tuning::{first_slots, tuner};
use super::{CopyError, CopyOptions, End, Side, sparse};
use crate::device::audio::is_pcm;
use crate::device::tape::is_tape;
use crate::device::video::Capture;
use crate::device::{Class, Device};

/// How much of each end of the range is listed, in bytes; at least two requests.
const LISTED_BYTES: u64 = 2 << 20;

/// The most requests that are listed at each end, where they are short.
const LISTED_MAX: u64 = 8;

/// What a copy would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct CopyPlan {
    /// Where bytes would come from.
    pub source: PlannedSide,
    /// Where they would go.
    pub destination: PlannedSide,
    /// What memory must satisfy for both: the limits of memory of both sides, stacked. Limits of positions and sizes stay each side's own.
    /// `None` where no memory suits both.
    pub together: Option<Limits>,
    /// How the range would be laid over memory; `None` where that is refused.
    pub layout: Option<PlannedLayout>,
    /// What would refuse the copy before anything is written, the gravest first.
    pub refusals: Vec<CopyError>,
    /// What else the user should know.
    pub notes: Vec<String>,
}

/// One side of a plan.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedSide {
    /// Its name.
    pub path: PathBuf,
    /// Its class.
    pub class: Class,
    /// Whether it is a file that would be created.
    pub is_new: bool,
    /// Bytes that it holds; `None` where it does not say.
    pub len: Option<u64>,
    /// The limits of the route that would be taken.
    pub limits: Limits,
    /// Why bytes do not move directly; `None` where they do.
    pub not_direct: Option<String>,
    /// Bytes that would be copied on the way, by reason, where the length of the range is known.
    pub bounced: Vec<(String, u64)>,
    /// What transfers start at multiples of, in position and memory; 1 where nothing is asked.
    pub start_unit: u64,
    /// What they end at multiples of.
    pub end_unit: u64,
    /// Whether the kernel splits below what is planned: its limits of sizes are soft, so that planning changes nothing but sizes.
    pub splits_below: bool,
}

/// How a range would be laid over memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedLayout {
    /// Start in the source.
    pub skip: u64,
    /// Start in the destination.
    pub seek: u64,
    /// Bytes of the range; `None` where only the end of the source will tell.
    pub len: Option<u64>,
    /// Bytes of one request at most, which is a slot of memory: a multiple of both sides' units and of a page.
    pub slot_len: u64,
    /// Whether the user chose the bytes of one request.
    pub is_len_fixed: bool,
    /// Requests of each side, where the length is known.
    pub requests: Option<u64>,
    /// Requests in flight on each side at the beginning.
    pub depth: u32,
    /// The most that they may become.
    pub depth_max: u32,
    /// Bytes of memory at the beginning, without the rounding to pages.
    pub pool_bytes: u64,
    /// The transfers of the first megabytes, in order; all of them where the range is short.
    pub first: Vec<PlannedTransfer>,
    /// Those of the last megabytes.
    pub last: Vec<PlannedTransfer>,
    /// The ragged ends of the destination, written after everything else.
    pub edges: Vec<PlannedTransfer>,
}

/// What a planned transfer is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Read from the source.
    Read,
    /// Written to the destination.
    Write,
    /// A block of the destination of which only a part is new: read.
    EdgeRead,
    /// The same block, changed: written.
    EdgeWrite,
}

impl Step {
    /// Returns the side that it is on.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::Read => Side::Source,
            Self::Write | Self::EdgeRead | Self::EdgeWrite => Side::Destination,
        }
    }

    /// Returns the stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::EdgeRead => "edge_read",
            Self::EdgeWrite => "edge_write",
        }
    }
}

/// Why a transfer ends where it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Cut {
    /// Its slot is full: on the side that has blocks, positions that are multiples of the slot's length.
    Slot,
    /// The range ends.
    Range,
    /// It is a block around a ragged end.
    Ragged,
}

impl Cut {
    /// Returns the stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Range => "range",
            Self::Ragged => "ragged",
        }
    }
}

/// One transfer between a side and a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PlannedTransfer {
    /// What it is for.
    pub step: Step,
    /// Where on its side it starts; `None` for a stream.
    pub position: Option<u64>,
    /// Its bytes.
    pub len: u64,
    /// Where in the slot it starts.
    pub slot_offset: u64,
    /// Zeros at its end, which fill a file's last block; the file is cut to its length afterwards.
    pub padding: u64,
    /// Bytes of the chunk that fill no block, and go last.
    pub aside: u64,
    /// Whether its bytes move without a copy.
    pub direct: bool,
    /// Why it ends where it does.
    pub cut: Cut,
    /// The calls or commands that it becomes.
    pub calls: Vec<PlannedCall>,
}

/// One call to the kernel, or one command to a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PlannedCall {
    /// Where it starts; `None` for a stream.
    pub position: Option<u64>,
    /// Its bytes.
    pub len: u64,
    /// Pieces of memory.
    pub pieces: u64,
    /// The limit that made it end before the transfer does.
    pub cut: Option<Why>,
}

/// Plans a copy without moving, claiming, creating or changing anything.
///
/// A file that is not there yet is planned by an unnamed one in its folder, which is gone when this returns. What only the attempt can tell
/// is not found: whether another program holds a disk exclusively, and whether the depth changes.
///
/// # Errors
/// [`CopyError`], where there is nothing to plan: an end that is missing or of a kind that no copy takes, an option out of range, or a tape,
/// grabber or sound device ([`CopyError::NotPlanned`]). What would refuse a copy that can be planned is in [`CopyPlan::refusals`].
pub fn plan(source: End<'_>, destination: End<'_>, options: &CopyOptions) -> Result<CopyPlan, CopyError> {
    options.check()?;
    for end in [source, destination] {
        refuse_unplanned(end)?;
    }
    let from = ends::source(source, options)?;
    let ends::Planned { device: to, is_new, has_limits, refusals: mut refused, mut notes } =
        ends::destination(destination, options)?;
    refused.extend(options.tape.needs_tape().map(|what| CopyError::TapeOption { what }));
    refused.extend(options.stream.needs_device().map(|what| CopyError::StreamOption { what }));
    let len = range_len(&*from, options).unwrap_or_else(|error| {
        refused.push(error);
        Some(0)
    });
    // Direct I/O that nobody can promise is not refused: the notes say so.
    let is_known = |error: &CopyError| {
        has_limits || !matches!(error, CopyError::DirectRequired { side: Side::Destination, .. })
    };
    refused.extend(refusals(&*from, &*to, options, len).into_iter().filter(is_known));
    let together = from.limits().stack_memory(to.limits().memory()).ok();
    let mut sides = [PlannedSide::new(&*from, false), PlannedSide::new(&*to, is_new)];
    let layout = match assemble(from, Fan::one((to, None)), options, len, Vec::new()) {
        Ok(ends) => {
            notes.extend(ends.notes.iter().cloned());
            notes.extend(sparse::outlook(&ends, options));
            for (side, planned) in [Side::Source, Side::Destination].into_iter().zip(&mut sides) {
                planned.lay(&ends, side);
            }
            Some(PlannedLayout::new(&ends, options))
        }
        Err(error) => {
            // Said already, where it is the direct I/O that was demanded.
            refused.push(error);
            None
        }
    };
    let [source, destination] = sides;
    Ok(CopyPlan { source, destination, together, layout, refusals: refused, notes })
}

/// Refuses what has no bytes at positions.
fn refuse_unplanned(end: End<'_>) -> Result<(), CopyError> {
    let End::Path(path) = end else { return Ok(()) };
    let refused = |what, instead| CopyError::NotPlanned { path: path.to_owned(), what, instead };
    if is_pcm(path) {
        return Err(refused(
            "a sound device",
            "bulkio probe DEVICE --to OTHER says what would be copied on the way",
        ));
    }
    if Capture::is_capture(path) {
        return Err(refused(
            "a video grabber",
            "bulkio probe DEVICE --to OTHER says what would be copied on the way",
        ));
    }
    if is_tape(path) {
        return Err(refused(
            "a tape drive",
            "bulkio probe DEVICE prints its limits, bulkio tape status DEVICE its blocks",
        ));
    }
    Ok(())
}

impl PlannedSide {
    fn new(device: &dyn Device, is_new: bool) -> Self {
        Self {
            path: device.path().to_owned(),
            class: device.class(),
            is_new,
            len: device.len_bytes(),
            limits: *device.limits(),
            not_direct: device.routes().direct().err().map(|why| why.to_string()),
            bounced: Vec::new(),
            start_unit: 1,
            end_unit: 1,
            splits_below: matches!(device.class(), Class::File | Class::Block),
        }
    }

    /// Adds what follows from the layout.
    fn lay(&mut self, ends: &Ends, side: Side) {
        let (unit, not_direct) = match side {
            Side::Source => (ends.geometry.source, ends.read_bounce()),
            Side::Destination => (ends.destinations.first().unit, ends.destinations.first().bounce()),
        };
        (self.start_unit, self.end_unit) = (unit.start, unit.end);
        self.not_direct = not_direct;
        if let Some(len) = ends.len {
            self.bounced = Walk::new(ends, len).bounced(side);
        }
    }

    /// Returns the limits of sizes and counts that the kernel, not the plan, sees to: those that are soft.
    pub fn soft_limits(&self) -> impl Iterator<Item = (LimitId, u64)> + '_ {
        let soft = self.limits.iter().filter(|(id, limit)| {
            limit.force == scatterlist::Force::Soft && limit.value != id.neutral() && is_of_size(*id)
        });
        soft.map(|(id, limit)| (id, limit.value))
    }

    /// Returns its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Says whether a limit is one that whoever splits below keeps by splitting.
const fn is_of_size(id: LimitId) -> bool {
    matches!(
        id,
        LimitId::SegmentsMax
            | LimitId::PiecesMax
            | LimitId::SegmentLenMax
            | LimitId::SegmentBoundary
            | LimitId::TransferLenMax
            | LimitId::ChunkLen
            | LimitId::GapBoundary
    )
}

impl PlannedLayout {
    fn new(ends: &Ends, options: &CopyOptions) -> Self {
        let geometry = &ends.geometry;
        let tuner = tuner(ends, options);
        let mut layout = Self {
            skip: geometry.skip,
            seek: geometry.seek,
            len: ends.len,
            slot_len: geometry.slot_len,
            is_len_fixed: options.block_len.fixed().is_some(),
            requests: ends.len.map(|len| geometry.chunks(len)),
            depth: tuner.depth(),
            depth_max: tuner.depth_max(),
            pool_bytes: first_slots(ends, options, tuner.depth(), options.hash.is_some() || options.verify)
                .saturating_mul(geometry.slot_len),
            first: Vec::new(),
            last: Vec::new(),
            edges: Vec::new(),
        };
        // Where only the end will tell, the first requests are whole ones.
        let listed = LISTED_BYTES.div_ceil(geometry.slot_len.max(1)).clamp(2, LISTED_MAX);
        let listed_bytes = geometry.slot_len.saturating_mul(listed);
        let known = ends.len;
        let len = known.unwrap_or(ends.len_max.unwrap_or(u64::MAX).min(listed_bytes));
        let walk = Walk::new(ends, len);
        let chunks = geometry.chunks(len);
        let short = chunks <= listed.saturating_mul(2);
        let first = if short { chunks } else { listed };
        layout.first = (0..first).flat_map(|number| walk.chunk(number)).collect();
        if known.is_some() {
            let last = chunks.saturating_sub(if short { 0 } else { listed });
            layout.last = (last..chunks).flat_map(|number| walk.chunk(number)).collect();
            layout.edges = walk.edges();
        }
        layout
    }
}
