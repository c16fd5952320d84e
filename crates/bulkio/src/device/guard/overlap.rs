//! Would a copy overwrite what it reads? Both ends are followed down (partition to disk, loop device to its
//! file, file to its file system's disk, stacked device to its members), which gives spans of bytes on named
//! storage; two spans of one storage that meet are an overlap, if they are certain enough. Two destinations are held against each other the same way.
//!
//! Certainty is what keeps this from refusing everyday copies: two files of one disk both lie "somewhere" on
//! it and never share a byte, while a file and its whole disk do.

use std::ops::Range;

use super::place::{Layer, Place, device_below, loop_backing};
use super::refusal::{Refusal, Shared};
use crate::probe::host::Host;
use crate::probe::sysfs::BlockFolder;

/// How many storages are followed below one end. Loop devices nest eight deep at most in practice; a RAID has
/// a few dozen members.
pub(super) const LAYERS_MAX: usize = 256;

/// How exactly a span is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Certainty {
    /// Each byte is there and nobody else's.
    Exact,
    /// The bytes are somewhere in there, at places that a device mapper or RAID knows.
    Stacked,
    /// The bytes are somewhere in there, at places that a file system chose.
    FileSystem,
}

impl Certainty {
    /// Says whether reading with this certainty and writing with the other touch the same bytes.
    ///
    /// Two members of one stack or file system share nothing. A disk that is read while a file on it is
    /// written is a moving picture, but nothing that was stored is lost: that is not refused.
    const fn meets(self, written: Self) -> bool {
        match (self, written) {
            (_, Self::Exact) | (Self::Exact, Self::Stacked) => true,
            (_, Self::FileSystem) | (Self::Stacked | Self::FileSystem, Self::Stacked) => false,
        }
    }

    /// Below a stacked device nothing is exact any more; what a file system has scattered stays scattered.
    const fn below_stack(self) -> Self {
        match self {
            Self::Exact | Self::Stacked => Self::Stacked,
            Self::FileSystem => Self::FileSystem,
        }
    }
}

/// Bytes of one storage.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Span {
    storage: Shared,
    range: Range<u64>,
    certainty: Certainty,
}

/// Checks that writing `destination_range` of one place changes no byte of `source_range` of the other. A
/// range whose end is not known ends at `u64::MAX`. The same file or disk at both ends is fine while the ranges
/// do not meet.
///
/// # Errors
/// [`Refusal::Overlap`] with what both ends reach; [`Refusal::TooDeep`] when that cannot be found out.
pub fn check_overlap(
    source: &Place,
    source_range: Range<u64>,
    destination: &Place,
    destination_range: Range<u64>,
) -> Result<(), Refusal> {
    check_on(&Host::default(), source, source_range, destination, destination_range)
}

fn check_on(
    host: &Host,
    source: &Place,
    source_range: Range<u64>,
    destination: &Place,
    destination_range: Range<u64>,
) -> Result<(), Refusal> {
    let found = meeting((host, source, source_range), (destination, destination_range), Certainty::meets)?;
    found.map_or(Ok(()), |(shared, range)| {
        let (source_path, destination) = (source.path().to_owned(), destination.path().to_owned());
        Err(Refusal::Overlap { source_path, destination, shared, range })
    })
}

/// Checks that writing to two places at once changes no byte twice. Ranges are as for [`check_overlap`].
///
/// # Errors
/// [`Refusal::DestinationsOverlap`] with what both reach; [`Refusal::TooDeep`] when that cannot be found out.
pub fn check_apart(first: (&Place, Range<u64>), second: (&Place, Range<u64>)) -> Result<(), Refusal> {
    apart_on(&Host::default(), first, second)
}

fn apart_on(host: &Host, first: (&Place, Range<u64>), second: (&Place, Range<u64>)) -> Result<(), Refusal> {
    // Both are written, so it does not matter which of them is on the other.
    let meets = |one: Certainty, other: Certainty| one.meets(other) || other.meets(one);
    let found = meeting((host, first.0, first.1), (second.0, second.1), meets)?;
    found.map_or(Ok(()), |(shared, range)| {
        let (first, second) = (first.0.path().to_owned(), second.0.path().to_owned());
        Err(Refusal::DestinationsOverlap { first, second, shared, range })
    })
}

/// Returns the first storage at which two ends meet, and where, as far as their certainties `meet`.
fn meeting(
    (host, first, first_range): (&Host, &Place, Range<u64>),
    (second, second_range): (&Place, Range<u64>),
    meet: impl Fn(Certainty, Certainty) -> bool,
) -> Result<Option<(Shared, Range<u64>)>, Refusal> {
    let ones = spans(host, first, first_range)?;
    let others = spans(host, second, second_range)?;
    for one in &ones {
        for other in &others {
            let range = one.range.start.max(other.range.start)..one.range.end.min(other.range.end);
            if same_storage(&one.storage, &other.storage)
                && !range.is_empty()
                && meet(one.certainty, other.certainty)
            {
                return Ok(Some((one.storage.clone(), range)));
            }
        }
    }
    Ok(None)
}

/// Compares what identifies storage; the name of a disk is only for people.
fn same_storage(a: &Shared, b: &Shared) -> bool {
    match (a, b) {
        (Shared::Disk { number: a, .. }, Shared::Disk { number: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

/// Follows one end down to everything that it stands on.
fn spans(host: &Host, place: &Place, range: Range<u64>) -> Result<Vec<Span>, Refusal> {
    let mut found = Vec::new();
    let mut open: Vec<_> =
        place.layer.iter().map(|layer| (layer.clone(), range.clone(), Certainty::Exact)).collect();
    while let Some((layer, range, certainty)) = open.pop() {
        if found.len() >= LAYERS_MAX {
            return Err(Refusal::TooDeep { path: place.path().to_owned(), layers_max: LAYERS_MAX });
        }
        match layer {
            Layer::File { device, inode, mount_id } => {
                let storage = Shared::File { device, inode };
                found.push(Span { storage, range, certainty });
                if let Some(number) = device_below(host, device, mount_id) {
                    let below = Layer::Block { number, backing: None };
                    open.push((below, 0..u64::MAX, Certainty::FileSystem));
                }
            }
            Layer::Block { number, backing } => {
                let Some(folder) = BlockFolder::find(host, number) else {
                    found.push(Span { storage: Shared::Disk { number, name: None }, range, certainty });
                    continue;
                };
                let disk = folder.disk();
                let range = on_disk(&folder, range);
                let storage = Shared::Disk { number: disk.number().unwrap_or(number), name: disk.name() };
                found.push(Span { storage, range: range.clone(), certainty });
                if let Some((below, offset)) = loop_backing(host, &disk, backing) {
                    open.push((below, shift(range, offset), certainty));
                }
                let slaves = disk.slaves().into_iter().filter_map(|slave| slave.number());
                open.extend(slaves.map(|number| {
                    let below = Layer::Block { number, backing: None };
                    (below, 0..u64::MAX, certainty.below_stack())
                }));
            }
        }
    }
    Ok(found)
}

/// Turns a range of a device into the range of its disk; what lies past the device's end does not exist.
fn on_disk(folder: &BlockFolder, range: Range<u64>) -> Range<u64> {
    if let Some(span) = folder.partition_span() {
        return shift(range.start.min(span.size_bytes)..range.end.min(span.size_bytes), span.start_bytes);
    }
    match folder.size_bytes() {
        // A partition whose place is not known may be anywhere.
        _ if folder.is_partition() => 0..u64::MAX,
        Some(size) => range.start.min(size)..range.end.min(size),
        None => range,
    }
}

fn shift(range: Range<u64>, by: u64) -> Range<u64> {
    range.start.saturating_add(by)..range.end.saturating_add(by)
}

#[cfg(test)]
mod tests;
