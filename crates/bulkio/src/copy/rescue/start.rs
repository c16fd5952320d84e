//! Before a rescue: does it go with these ends, and does the map fit them?

use std::fs;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;

use super::saving::Saver;
use super::{OnError, Rescue, RescueOptions};
use crate::copy::ends::Ends;
use crate::copy::geometry::lcm;
use crate::copy::map::{AreaStatus, MapEnd, MapEnds, MapFile, RecoveryMap, RescuePhase};
use crate::copy::{CopyError, CopyOptions, Side};
use crate::device::Device;
use crate::device::guard::Identity;
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
            let (mut file, found) = MapFile::open(&wanted.path, wanted.resume, &wanted.command)?;
            for end in [&ends.source, destination] {
                refuse_itself(&file, &**end)?;
            }
            let now = map_ends(ends, options);
            if let Some((found, said)) = found {
                check_fits(&found, &file, ends, options)?;
                check_ends(&found, said.as_ref(), &now, &file)?;
                map = found;
                map.grow(held);
                go_on(&mut map, &range, &options.rescue);
            }
            file.name_ends(now);
            file.save(&map)?;
            saver = Some(Saver::new(file, wanted.every));
        }
        let mut rescue = Self {
            map,
            range,
            skips: options.rescue.on_error != OnError::Stop,
            saver,
            has_news: false,
            suspects: Vec::new(),
            answered: None,
            leave_out: 0,
            resumed_bytes: 0,
            zeroed_bytes: 0,
            healed_bytes: 0,
            failed_reads: 0,
            untold: Vec::new(),
            flush_failed: false,
            block_len: block_len(ends),
            first_failure: None,
        };
        rescue.resumed_bytes = rescue.good_bytes();
        Ok(Some(rescue))
    }
}

/// A map that was finished, and has something left that is to be tried now, is finished no more: a stop from now on interrupts something.
fn go_on(map: &mut RecoveryMap, range: &Range<u64>, wanted: &RescueOptions) {
    let (phase, _, position) = map.stands();
    let is_left = |status| match status {
        AreaStatus::Good => false,
        AreaStatus::Bad => wanted.on_error != OnError::Skip,
        AreaStatus::Untried | AreaStatus::Untrimmed | AreaStatus::Unscraped => true,
    };
    let is_within = |area: &Range<u64>| area.start < range.end && area.end > range.start;
    if phase == RescuePhase::Finished && map.areas().any(|(area, status)| is_left(status) && is_within(&area))
    {
        map.stand(RescuePhase::Copying, 1, position);
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

/// What a map says about its ends.
fn map_ends(ends: &Ends, options: &CopyOptions) -> MapEnds {
    let end = |device: &dyn Device| {
        if !device.class().is_disk() {
            return MapEnd::File;
        }
        let node = device.routes().buffered().as_fd();
        let start = Identity::partition_start_bytes(node).unwrap_or(0);
        MapEnd::disk(device.len_bytes().unwrap_or(0), start, &Identity::of(node).serials)
    };
    let (source, destination) = (end(&*ends.source), end(&*ends.destinations.first().device));
    MapEnds { skip: options.skip, seek: options.seek, source, destination }
}

/// What is left of a copy, written to another disk or to another place, would be a part without the rest. A map that does not say which ends it is of
/// (another program wrote it) is taken as it is.
fn check_ends(
    map: &RecoveryMap,
    said: Option<&MapEnds>,
    now: &MapEnds,
    file: &MapFile,
) -> Result<(), CopyError> {
    let is_copied = map.areas_of(AreaStatus::Good).next().is_some();
    match said.and_then(|said| said.differs(now, is_copied)) {
        Some((said, given)) => Err(CopyError::MapOther { path: file.path().to_owned(), said, given }),
        None => Ok(()),
    }
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
