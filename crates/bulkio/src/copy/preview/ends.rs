//! Both ends of a copy that is only planned: asked, not claimed, not created, not changed.
//!
//! Files and disks are opened for reading, as a probe does; pipes and character devices are only named, since they would notice.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::copy::ends::{Cache, by_commands, duplicate, source_of};
use crate::copy::{CopyError, CopyOptions, End, Side};
use crate::device::guard::{
    ClaimPolicy, Refusal, Role, check_standard_output, inspect_destination, open_source,
};
use crate::device::{Device, DirectMode, device_of, reopen, takes_commands};
use crate::probe::{Kind, Probe, ProbeError, probe_fd, probe_path};

/// The destination of a plan, and what was found about it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) device: Box<dyn Device>,
    /// Whether the file is not there yet.
    pub(super) is_new: bool,
    /// Whether its limits are known; else it is planned through the page cache.
    pub(super) has_limits: bool,
    pub(super) refusals: Vec<CopyError>,
    pub(super) notes: Vec<String>,
}

/// Opens what is read.
pub(super) fn source(end: End<'_>, options: &CopyOptions) -> Result<Box<dyn Device>, CopyError> {
    let End::Path(path) = end else {
        let fd = duplicate(&std::io::stdin(), "standard input")?;
        let probe = probe_fd(fd.as_fd(), Path::new("standard input"))?;
        return source_of(fd, probe, true, options, Cache::Leave);
    };
    let probe = match probe_path(path) {
        Err(ProbeError::NotFound { path, .. }) => {
            return Err(Refusal::Missing { path, role: Role::Source }.into());
        }
        other => other?,
    };
    if is_stream(&probe) {
        let named = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let refused = |errno| Refusal::Open { path: path.to_owned(), role: Role::Source, errno };
        return source_of(named.map_err(refused)?, probe, false, options, Cache::Leave);
    }
    let fd = open_source(path)?.fd;
    let probe = probe_fd(fd.as_fd(), path)?;
    source_of(fd, probe, false, options, Cache::Leave)
}

/// Looks at what would be written.
pub(super) fn destination(end: End<'_>, options: &CopyOptions) -> Result<Planned, CopyError> {
    let End::Path(path) = end else {
        let mut refusals: Vec<_> =
            check_standard_output(std::io::stdout()).err().map(CopyError::from).into_iter().collect();
        let fd = duplicate(&std::io::stdout(), "standard output")?;
        let probe = probe_fd(fd.as_fd(), Path::new("standard output"))?;
        let device = device_of(Arc::new(fd), probe, options.direct, false, true);
        refusals.extend(options.expect.check(&*device).err().map(CopyError::from));
        return Ok(Planned { device, is_new: false, has_limits: true, refusals, notes: Vec::new() });
    };
    let policy = if options.force { ClaimPolicy::Forced } else { ClaimPolicy::Exclusive };
    let found = inspect_destination(path, policy)?;
    let mut refusals: Vec<CopyError> = found.refusals.into_iter().map(CopyError::from).collect();
    let mut notes: Vec<String> = found.warnings.iter().map(ToString::to_string).collect();
    notes.extend(found.stand_in.map(|errno| {
        format!(
            "the limits of the new file {} are not known before it is there (O_TMPFILE: {errno}): it is planned through the page cache, \
             and the copy may move it directly",
            path.display()
        )
    }));
    let direct = if found.stand_in.is_some() { DirectMode::Never } else { options.direct };
    let probe = probe_fd(found.fd.as_fd(), path)?;
    let is_disk = matches!(probe.kind, Kind::BlockDevice(_));
    let commands = takes_commands(&probe) || (options.passthrough.destination && is_disk);
    let device = if commands {
        by_commands(for_commands(&found.fd, path)?, None, &probe, options, (true, Cache::Leave))?
    } else {
        if options.passthrough.destination {
            refusals.push(CopyError::NoCommands { side: Side::Destination, path: path.to_owned() });
        }
        device_of(Arc::new(found.fd), probe, direct, false, false)
    };
    refusals.extend(options.expect.check(&*device).err().map(CopyError::from));
    let has_limits = found.stand_in.is_none();
    Ok(Planned { device, is_new: found.is_new, has_limits, refusals, notes })
}

/// Says whether opening it would be noticed.
const fn is_stream(probe: &Probe) -> bool {
    match probe.kind {
        Kind::Pipe => true,
        Kind::CharDevice { .. } => !takes_commands(probe),
        _ => false,
    }
}

/// Opens a node for the commands that ask.
fn for_commands(fd: &OwnedFd, path: &Path) -> Result<OwnedFd, CopyError> {
    let opened = reopen(fd, OFlags::RDONLY | OFlags::NONBLOCK);
    let refused = |errno| Refusal::Open { path: path.to_owned(), role: Role::Destination, errno };
    opened.map_err(|errno| refused(errno).into())
}
