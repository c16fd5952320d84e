//! Opening both ends and checking everything that can be checked before a byte is written.
//!
//! The order matters: the source first, then the destination (which is only opened, not truncated), then the
//! checks that need both. A destination file that this copy created is removed again when it is refused.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::created::Created;
use super::geometry::{Geometry, Unit, congruent};
use super::options::{CopyOptions, End, Observer};
use super::verify::ReadBack;
use super::{CopyError, Side, overwrite, setting};
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
    pub(super) destination: Box<dyn Device>,
    pub(super) geometry: Geometry,
    /// Bytes of the range, where they are known.
    pub(super) len: Option<u64>,
    /// The most bytes of the range, where the source does not say how many it has.
    pub(super) len_max: Option<u64>,
    /// Bytes that the destination file holds and keeps, truncation taken into account.
    pub(super) kept_len: u64,
    /// Why one side goes through the page cache although it has direct I/O: the two positions do not agree.
    pub(super) incongruent: Option<(Side, String)>,
    /// The destination, open for reading back, where that is wanted.
    pub(super) read_back: Option<ReadBack>,
    /// Removes a created destination unless the copy begins.
    pub(super) created: Option<Created>,
    pub(super) notes: Vec<String>,
}

pub(super) fn open(
    source: End<'_>,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Ends, CopyError> {
    let mut notes = Vec::new();
    let source = open_source_end(source, options)?;
    let (destination, created) = open_destination_end(destination, options, observer, &mut notes)?;

    let len = range_len(&*source, options)?;
    if let Some(refused) = refusals(&*source, &*destination, options, len).into_iter().next() {
        return Err(refused);
    }
    let read_back = options.verify.then(|| ReadBack::open(&*destination, options)).transpose()?;
    let mut ends = Ends { read_back, ..assemble(source, destination, options, len, (created, notes))? };
    overwrite::ask(&*ends.destination, observer, &mut ends.notes)?;
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
    refusals.extend(require_direct_of(Side::Source, source, None, options).err());
    refusals.extend(require_direct_of(Side::Destination, destination, None, options).err());
    refusals
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
    destination: Box<dyn Device>,
    options: &CopyOptions,
    len: Option<u64>,
    (created, mut notes): (Option<Created>, Vec<String>),
) -> Result<Ends, CopyError> {
    source.limits().stack_memory(destination.limits().memory()).map_err(|why| CopyError::Memory {
        source_path: source.path().to_owned(),
        destination_path: destination.path().to_owned(),
        why,
    })?;
    let (geometry, incongruent) = lay_out(&*source, &*destination, options, len)?;
    if let Some(wanted) = options.block_len.fixed()
        && geometry.slot_len > wanted
    {
        notes.push(format!(
            "requests are {} bytes instead of {wanted}, a multiple of what both ends need",
            geometry.slot_len
        ));
    }
    let kept_len = match destination.class() {
        Class::File if options.truncate => options.seek.min(destination.len_bytes().unwrap_or(0)),
        _ => destination.len_bytes().unwrap_or(0),
    };
    Ok(Ends {
        source,
        destination,
        geometry,
        len,
        len_max: options.count,
        kept_len,
        incongruent,
        read_back: None,
        created,
        notes,
    })
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

fn lay_out(
    source: &dyn Device,
    destination: &dyn Device,
    options: &CopyOptions,
    len: Option<u64>,
) -> Result<(Geometry, Option<(Side, String)>), CopyError> {
    let (skip, seek) = (options.skip, options.seek);
    let unit = |device: &dyn Device| match direct_unit(device) {
        None if device.routes().direct().is_err() => Some(Unit::BYTE),
        unit => unit,
    };
    let len = len.or(options.count);
    let chosen = || setting::block_len(source.limits(), destination.limits(), len);
    let block_len = options.block_len.fixed().unwrap_or_else(chosen);
    let lay = |from, to| Geometry::new(skip, seek, from, to, block_len, len);
    // The stacked memory limits were fine, so the units are: positions of both sides are what is left.
    let no_layout = CopyError::DirectIncongruent { skip, seek, unit: u64::MAX };
    let Some((from, to)) = unit(source).zip(unit(destination)) else { return Err(no_layout) };
    let agree = from == Unit::BYTE || to == Unit::BYTE || congruent(skip, seek, from.start);
    if agree {
        return lay(from, to).map(|geometry| (geometry, None)).ok_or(no_layout);
    }
    let unit = from.start;
    let side = match (source.commands(), destination.commands()) {
        (Some(_), Some(_)) => return Err(CopyError::CommandsIncongruent { skip, seek, unit }),
        _ if options.direct == DirectMode::Require => {
            return Err(CopyError::DirectIncongruent { skip, seek, unit });
        }
        (Some(_), None) => Side::Destination,
        (None, _) => Side::Source,
    };
    let (from, to) = if side == Side::Source { (Unit::BYTE, to) } else { (from, Unit::BYTE) };
    let why = format!("source byte {skip} and destination byte {seek} differ modulo {unit}");
    lay(from, to).map(|geometry| (geometry, Some((side, why)))).ok_or(no_layout)
}
