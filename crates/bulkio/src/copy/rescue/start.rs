//! Before a rescue: does it go with these ends, and does the map fit them?

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::saving::Saver;
use super::{OnError, Rescue};
use crate::copy::ends::Ends;
use crate::copy::geometry::lcm;
use crate::copy::map::{AreaStatus, MapFile, RecoveryMap};
use crate::copy::{CopyError, CopyOptions, Side};
use crate::device::Device;
use scatterlist::LimitId;

/// The longest block that is read by itself where the device says a longer one.
const BLOCK_LEN_MAX: u64 = 64 << 10;

/// Refuses what keeps account of areas where an end has no positions.
pub(in crate::copy) fn check_kind(options: &CopyOptions, kind: &'static str) -> Result<(), CopyError> {
    if options.rescue.wanted() { Err(CopyError::RescueKind { kind }) } else { Ok(()) }
}

impl Rescue {
    /// Opens the account of a copy, if it keeps one. The map is on disk then, so that a place where none can be written is refused
    /// before anything else is.
    pub(in crate::copy) fn open(ends: &Ends, options: &CopyOptions) -> Result<Option<Self>, CopyError> {
        if !options.rescue.wanted() {
            return Ok(None);
        }
        // A rescue has one destination.
        let destination = &ends.destinations.first().device;
        for (side, end) in [(Side::Source, &ends.source), (Side::Destination, destination)] {
            if end.is_stream() {
                return Err(CopyError::RescueStream { side, path: end.path().to_owned() });
            }
        }
        let Some((len, held)) = ends.len.zip(ends.source.len_bytes()) else {
            return Err(CopyError::RescueStream { side: Side::Source, path: ends.source.path().to_owned() });
        };
        let range = options.skip..options.skip.saturating_add(len);
        let mut map = RecoveryMap::new(held);
        let mut saver = None;
        if let Some(wanted) = &options.rescue.map {
            let (file, found) = MapFile::open(&wanted.path, wanted.resume, &wanted.command)?;
            for end in [&ends.source, destination] {
                refuse_itself(&file, &**end)?;
            }
            if let Some(found) = found {
                check_fits(&found, &file, ends, options)?;
                map = found;
                map.grow(held);
            }
            file.save(&map)?;
            saver = Some(Saver::new(file, wanted.every));
        }
        let mut rescue = Self {
            map,
            range,
            skips: options.rescue.on_error != OnError::Stop,
            saver,
            suspects: Vec::new(),
            leave_out: 0,
            resumed_bytes: 0,
            zeroed_bytes: 0,
            healed_bytes: 0,
            failed_reads: 0,
            flush_failed: false,
            block_len: block_len(ends),
            first_failure: None,
        };
        rescue.resumed_bytes = rescue.good_bytes();
        Ok(Some(rescue))
    }
}

/// The least that is read by itself: the physical block, where it is known.
fn block_len(ends: &Ends) -> u64 {
    let block = ends.geometry.block();
    let physical = ends.source.limits().get(LimitId::PositionAlignOpt).value;
    let both = if physical > 0 { lcm(block, physical) } else { None };
    both.filter(|both| *both <= BLOCK_LEN_MAX).unwrap_or(block)
}

/// A map must not be what is copied.
fn refuse_itself(file: &MapFile, end: &dyn Device) -> Result<(), CopyError> {
    let Ok(found) = fs::metadata(file.path()) else { return Ok(()) };
    let of_end = rustix::fs::fstat(end.routes().buffered());
    if of_end.is_ok_and(|of_end| (of_end.st_dev, of_end.st_ino) == (found.dev(), found.ino())) {
        return Err(CopyError::MapItself { path: file.path().to_owned() });
    }
    Ok(())
}

/// A map of another source, or one that says more of the destination than is there, would end in an image with holes.
fn check_fits(
    map: &RecoveryMap,
    file: &MapFile,
    ends: &Ends,
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let held = ends.source.len_bytes().unwrap_or(0);
    let path = || file.path().to_owned();
    if map.len_bytes() > held {
        let source = ends.source.path().to_owned();
        return Err(CopyError::MapLong { path: path(), covered: map.len_bytes(), source_path: source, held });
    }
    let end = options.skip.saturating_add(ends.len.unwrap_or(0));
    let good = map.areas_of(AreaStatus::Good).filter(|area| area.start < end && area.end > options.skip);
    let last = good.map(|area| area.end.min(end)).max();
    let Some(last) = last else { return Ok(()) };
    let needed = last.saturating_sub(options.skip).saturating_add(options.seek);
    let destination = ends.destinations.first();
    let found = destination.device.len_bytes().unwrap_or(0);
    if found < needed {
        let destination = destination.path().to_owned();
        return Err(CopyError::MapAhead { path: path(), needed, destination_path: destination, found });
    }
    Ok(())
}
