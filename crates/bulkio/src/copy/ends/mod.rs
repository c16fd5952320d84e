//! Opening both ends and checking everything that can be checked before a byte is written.
//!
//! The order matters: the source first, then the destinations (which are only opened, not truncated), then the
//! checks that need both. A destination file that this copy created is removed again when it is refused. `fan` has what several destinations need.
//! `target` opens the one destination of a tape or a device with a clock; `overwrite` asks before a disk is overwritten, `created` takes a new file back.

pub(super) mod created;
pub(super) mod overwrite;
pub(super) mod target;

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use self::created::Created;
use super::fan::{self, Destination, Fan, Share};
use super::geometry::{Geometry, Unit, congruent};
use super::options::{CopyOptions, End, Observer};
use super::verify::ReadBack;
use super::{CopyError, Side, Sparse, setting, sparse};
use crate::device::guard::{
    Access, ClaimPolicy, DestinationOptions, Place, Refusal, Role, check_fits, check_overlap,
    check_standard_output, open_destination, open_source,
};
use crate::device::{Class, Device, DirectMode, Passthrough, device_of, device_over, reopen, takes_commands};
use crate::probe::{Kind, Probe, probe_fd};

/// Both ends, open and checked, with the range and its layout.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) source: Box<dyn Device>,
    pub(super) destinations: Fan<Destination>,
    pub(super) geometry: Geometry,
    /// Bytes of the range, where they are known.
    pub(super) len: Option<u64>,
    /// The most bytes of the range, where the source does not say how many it has.
    pub(super) len_max: Option<u64>,
    /// Why the source goes through the page cache although it has direct I/O: the positions do not agree.
    source_unfit: Option<String>,
    pub(super) notes: Vec<String>,
}

impl Ends {
    /// Why the bytes of the source are copied on the way; `None` where they move directly.
    pub(super) fn read_bounce(&self) -> Option<String> {
        let refused = || self.source.routes().direct().err().map(|why| why.to_string());
        self.source_unfit.clone().or_else(refused)
    }
}

pub(super) fn open(
    source: End<'_>,
    destinations: &[End<'_>],
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Ends, CopyError> {
    let mut notes = Vec::new();
    let source = open_source_end(source, options)?;
    let opened = fan::open(destinations, options, observer, &mut notes)?;

    let len = range_len(&*source, options)?;
    for (destination, _) in opened.iter() {
        if let Some(refused) = refusals(&*source, &**destination, options, len).into_iter().next() {
            return Err(refused);
        }
    }
    fan::check_apart(&opened, options, len)?;
    let read_backs = opened.try_map(|(destination, _)| {
        options.verify.then(|| ReadBack::open(&**destination, options)).transpose()
    })?;
    let mut ends = assemble(source, opened, options, len, notes)?;
    let is_several = ends.destinations.is_several();
    ends.destinations = ends
        .destinations
        .zip_with(read_backs, |destination, read_back| Destination { read_back, ..destination });
    for destination in ends.destinations.iter() {
        let mut notes = Vec::new();
        overwrite::ask(&*destination.device, observer, &mut notes)?;
        let path = destination.path().display();
        let named = notes.into_iter().map(|note| if is_several { format!("{path}: {note}") } else { note });
        ends.notes.extend(named);
    }
    Ok(ends)
}

/// Returns everything that speaks against a copy between two open ends, the gravest first, but for memory that does not suit both.
pub(super) fn refusals(
    source: &dyn Device,
    destination: &dyn Device,
    options: &CopyOptions,
    len: Option<u64>,
) -> Vec<CopyError> {
    let mut refusals: Vec<CopyError> = Vec::new();
    refusals.extend(check_ranges(source, destination, options, len).err());
    if destination.is_stream() && options.seek > 0 {
        let path = destination.path().to_owned();
        refusals.push(CopyError::SeekOnStream { path, seek: options.seek });
    }
    if destination.class().is_disk()
        && let Some(capacity) = destination.len_bytes()
    {
        let fits = check_fits(len, options.seek, capacity, destination.path());
        refusals.extend(fits.err().map(CopyError::from));
    }
    if options.sparse == Sparse::Always
        && let Some(why) = sparse::refused_by(destination)
    {
        let path = destination.path().to_owned();
        refusals.push(CopyError::SparseDestination { path, why });
    }
    refusals.extend(require_direct_of(Side::Source, source, None, options).err());
    refusals.extend(require_direct_of(Side::Destination, destination, None, options).err());
    refusals
}

/// Returns the bytes that a copy changes in a destination.
pub(super) fn written_range(destination: &dyn Device, options: &CopyOptions, len: Option<u64>) -> Range<u64> {
    Ranges::new(options, len, destination).destination
}

fn check_ranges(
    source: &dyn Device,
    destination: &dyn Device,
    options: &CopyOptions,
    len: Option<u64>,
) -> Result<(), CopyError> {
    let ranges = Ranges::new(options, len, destination);
    let source_place = Place::of(source.routes().buffered().as_fd(), source.path())?;
    let destination_place = Place::of(destination.routes().buffered().as_fd(), destination.path())?;
    Ok(check_overlap(&source_place, ranges.source, &destination_place, ranges.destination)?)
}

/// Lays the range over slots, and puts everything together.
pub(super) fn assemble(
    source: Box<dyn Device>,
    destinations: Fan<(Box<dyn Device>, Option<Created>)>,
    options: &CopyOptions,
    len: Option<u64>,
    mut notes: Vec<String>,
) -> Result<Ends, CopyError> {
    let mut together = *source.limits();
    for (destination, _) in destinations.iter() {
        together = together.stack_memory(destination.limits().memory()).map_err(|why| CopyError::Memory {
            source_path: source.path().to_owned(),
            destination_path: destination.path().to_owned(),
            why,
        })?;
    }
    let (geometry, source_unfit, shares) = lay_out(&*source, &destinations, options, len)?;
    if let Some(wanted) = options.block_len.fixed()
        && geometry.slot_len > wanted
    {
        notes.push(format!(
            "requests are {} bytes instead of {wanted}, a multiple of what {} ends need",
            geometry.slot_len,
            if destinations.is_several() { "all" } else { "both" }
        ));
    }
    let destinations = destinations.zip_with(shares, |(device, created), Share { unit, unfit }| {
        let kept_len = match device.class() {
            Class::File if options.truncate => options.seek.min(device.len_bytes().unwrap_or(0)),
            _ => device.len_bytes().unwrap_or(0),
        };
        Destination { device, unit, kept_len, unfit, read_back: None, created }
    });
    Ok(Ends { source, destinations, geometry, len, len_max: options.count, source_unfit, notes })
}

pub(super) fn open_source_end(end: End<'_>, options: &CopyOptions) -> Result<Box<dyn Device>, CopyError> {
    let (fd, path, standard) = match end {
        End::Path(path) => (open_source(path)?.fd, path, false),
        End::Stdin => (duplicate(&io::stdin(), "standard input")?, Path::new("standard input"), true),
        End::Stdout => (duplicate(&io::stdout(), "standard output")?, Path::new("standard output"), true),
    };
    let probe = probe_fd(fd.as_fd(), path)?;
    source_of(fd, probe, standard, options, Cache::Settle)
}

/// What becomes of what the page cache holds of a disk that takes commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cache {
    /// It is written out: the copy needs it there.
    Settle,
    /// It stays: nothing is to change.
    Leave,
}

/// Makes the device of a source; `standard` says that it is standard input.
pub(super) fn source_of(
    fd: OwnedFd,
    probe: Probe,
    standard: bool,
    options: &CopyOptions,
    cache: Cache,
) -> Result<Box<dyn Device>, CopyError> {
    let path = &*probe.path;
    // A file that states no size may have contents all the same (/proc): it is read to its end.
    let stream = standard || probe.size == Some(0);
    if stream && !standard && options.skip > 0 {
        return Err(CopyError::SkipPastEnd { path: path.to_owned(), len: 0, skip: options.skip });
    }
    if takes_commands(&probe) || (options.passthrough.source && matches!(probe.kind, Kind::BlockDevice(_))) {
        return by_commands(fd, None, &probe, options, (false, cache));
    }
    if options.passthrough.source {
        return Err(CopyError::NoCommands { side: Side::Source, path: path.to_owned() });
    }
    Ok(device_of(Arc::new(fd), probe, options.direct, false, stream))
}

/// Opens a destination, not truncated, and holds it against what it is expected to be.
pub(super) fn open_destination_end(
    end: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
    notes: &mut Vec<String>,
) -> Result<(Box<dyn Device>, Option<Created>), CopyError> {
    let (device, created) = open_any(end, options, observer, notes)?;
    options.expect.check(&*device)?;
    Ok((device, created))
}

fn open_any(
    end: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
    notes: &mut Vec<String>,
) -> Result<(Box<dyn Device>, Option<Created>), CopyError> {
    let path = match end {
        End::Path(path) => path,
        End::Stdin | End::Stdout => {
            check_standard_output(io::stdout())?;
            let fd = duplicate(&io::stdout(), "standard output")?;
            let path = Path::new("standard output");
            let probe = probe_fd(fd.as_fd(), path)?;
            return Ok((device_of(Arc::new(fd), probe, options.direct, true, true), None));
        }
    };
    let claim = if options.force { ClaimPolicy::Forced } else { ClaimPolicy::Exclusive };
    let wanted = DestinationOptions { claim, access: Access::Write, ..Default::default() };
    let opened = open_destination(path, &wanted)?;
    for warning in &opened.warnings {
        observer.warning(&warning.to_string());
        notes.push(warning.to_string());
    }
    let created = opened.created_path.map(|path| Created::new(path, &opened.fd)).transpose()?;
    let probe = probe_fd(opened.fd.as_fd(), path)?;
    if takes_commands(&probe) {
        return Ok((by_commands(opened.fd, opened.claim, &probe, options, (true, Cache::Settle))?, created));
    }
    if options.passthrough.destination && matches!(probe.kind, Kind::BlockDevice(_)) {
        // The claim stays with the descriptor that has it; commands go beside it.
        let beside = open_beside(&opened.fd, path)?;
        return Ok((by_commands(beside, Some(opened.fd), &probe, options, (true, Cache::Settle))?, created));
    }
    if options.passthrough.destination {
        return Err(CopyError::NoCommands { side: Side::Destination, path: path.to_owned() });
    }
    Ok((device_over(Arc::new(opened.fd), probe, (options.direct, true, false), opened.below), created))
}

/// Makes an end of a node that takes commands.
pub(super) fn by_commands(
    fd: OwnedFd,
    claim: Option<OwnedFd>,
    probe: &Probe,
    options: &CopyOptions,
    (writes, cache): (bool, Cache),
) -> Result<Box<dyn Device>, CopyError> {
    let device = Passthrough::new(Arc::new(fd), claim, probe, options.direct, writes)?;
    if cache == Cache::Settle {
        device.settle_cache()?;
    }
    Ok(Box::new(device))
}

/// Opens a disk that is held once more, for commands both ways.
fn open_beside(held: &OwnedFd, path: &Path) -> Result<OwnedFd, CopyError> {
    let opened = reopen(held, OFlags::RDWR);
    let refused = |errno| Refusal::Open { path: path.to_owned(), role: Role::Destination, errno };
    opened.map_err(|errno| refused(errno).into())
}

pub(super) fn duplicate(stream: &impl AsFd, what: &'static str) -> Result<OwnedFd, CopyError> {
    rustix::io::fcntl_dupfd_cloexec(stream, 3).map_err(|errno: Errno| CopyError::Descriptor { what, errno })
}

/// Returns the bytes of the range; `None` where only the end of the source will tell.
pub(super) fn range_len(source: &dyn Device, options: &CopyOptions) -> Result<Option<u64>, CopyError> {
    let Some(held) = source.len_bytes() else { return Ok(None) };
    let Some(rest) = held.checked_sub(options.skip) else {
        let path = source.path().to_owned();
        return Err(CopyError::SkipPastEnd { path, len: held, skip: options.skip });
    };
    Ok(Some(options.count.map_or(rest, |count| count.min(rest))))
}

/// The bytes that a copy touches on each side.
struct Ranges {
    source: Range<u64>,
    destination: Range<u64>,
}

impl Ranges {
    fn new(options: &CopyOptions, len: Option<u64>, destination: &dyn Device) -> Self {
        let len = len.or(options.count);
        let to_end = |start: u64| len.map_or(u64::MAX, |len| start.saturating_add(len));
        // Truncation takes everything from the start on.
        let cut = options.truncate && destination.class() == Class::File;
        let destination_end = if cut { u64::MAX } else { to_end(options.seek) };
        Self { source: options.skip..to_end(options.skip), destination: options.seek..destination_end }
    }
}

/// Returns the unit of direct transfers of one end, where it has them.
pub(super) fn direct_unit(device: &dyn Device) -> Option<Unit> {
    // Commands come in blocks, whether or not the kernel copies what they move.
    let has_blocks = device.routes().direct().is_ok() || device.commands().is_some();
    has_blocks.then(|| Unit::of(device.limits())).flatten()
}

/// Refuses one end that is not direct where the user demanded it; `bounce` is why it would not be, though the device is.
pub(super) fn require_direct_of(
    side: Side,
    device: &dyn Device,
    bounce: Option<&str>,
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let path = || device.path().to_owned();
    if let (Some(why), Some(_)) = (bounce, device.commands()) {
        return Err(CopyError::CommandsLayout { side, path: path(), why: why.to_owned() });
    }
    if options.direct != DirectMode::Require {
        return Ok(());
    }
    match (device.routes().direct(), bounce) {
        (Err(why), _) => Err(CopyError::DirectRequired { side, path: path(), why }),
        (Ok(_), Some(why)) => Err(CopyError::DirectLayout { side, path: path(), why: why.to_owned() }),
        (Ok(_), None) => Ok(()),
    }
}

/// Returns the layout, why the source goes through the page cache in it, and what each destination gets.
fn lay_out(
    source: &dyn Device,
    destinations: &Fan<(Box<dyn Device>, Option<Created>)>,
    options: &CopyOptions,
    len: Option<u64>,
) -> Result<(Geometry, Option<String>, Fan<Share>), CopyError> {
    let (skip, seek) = (options.skip, options.seek);
    // The stacked memory limits were fine, so the units are: positions of both sides are what is left.
    let no_layout = || CopyError::DirectIncongruent { skip, seek, unit: u64::MAX };
    let unit = |device: &dyn Device| match direct_unit(device) {
        None if device.routes().direct().is_err() => Ok(Unit::BYTE),
        unit => unit.ok_or_else(no_layout),
    };
    let len = len.or(options.count);
    let chosen = || {
        let limits = destinations.iter().map(|(device, _)| device.limits());
        setting::block_len(source.limits(), limits, len)
    };
    let block_len = options.block_len.fixed().unwrap_or_else(chosen);
    let lay = |from, to| Geometry::new(skip, seek, from, to, block_len, len).ok_or_else(no_layout);
    let from = unit(source)?;
    let (to, mut shares) = fan::lay(&destinations.try_map(|(device, _)| unit(&**device))?);
    for ((device, _), share) in destinations.iter().zip(shares.iter()) {
        // Commands have no page cache to go through, and who demands direct I/O wants none.
        if share.unfit.is_some() {
            require_direct_of(Side::Destination, &**device, share.unfit.as_deref(), options)?;
        }
    }
    let agree = from == Unit::BYTE || to == Unit::BYTE || congruent(skip, seek, from.start);
    if agree {
        return Ok((lay(from, to)?, None, shares));
    }
    let unit = from.start;
    let why = format!("source byte {skip} and destination byte {seek} differ modulo {unit}");
    let commands_to = destinations.iter().any(|(device, _)| device.commands().is_some());
    match (source.commands(), commands_to) {
        (Some(_), true) => Err(CopyError::CommandsIncongruent { skip, seek, unit }),
        _ if options.direct == DirectMode::Require => Err(CopyError::DirectIncongruent { skip, seek, unit }),
        (Some(_), false) => {
            shares.iter_mut().for_each(|share| share.give_up(&why));
            Ok((lay(from, Unit::BYTE)?, None, shares))
        }
        (None, _) => Ok((lay(Unit::BYTE, to)?, Some(why), shares)),
    }
}
