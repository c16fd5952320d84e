//! Opening several destinations, and holding them against each other: no two may reach the same bytes.

use std::ops::Range;
use std::os::fd::AsFd as _;

use rustix::fs::{Mode, OFlags};

use super::super::CopyError;
use super::super::ends::created::Created;
use super::super::ends::{open_destination_end, written_range};
use super::super::options::{CopyOptions, End, Observer};
use super::{DESTINATIONS_MAX, Fan};
use crate::device::Device;
use crate::device::guard::{self, Place, Refusal};

type Opened = (Box<dyn Device>, Option<Created>);

/// Opens all destinations. Nothing is truncated; files that this created go when the result does.
pub(in super::super) fn open(
    ends: &[End<'_>],
    options: &CopyOptions,
    observer: &mut dyn Observer,
    notes: &mut Vec<String>,
) -> Result<Fan<Opened>, CopyError> {
    let Some((&first, more)) = ends.split_first() else {
        let (what, max) = ("number of destinations", u64::try_from(DESTINATIONS_MAX).unwrap_or(u64::MAX));
        return Err(CopyError::Option { what, value: 0, min: 1, max });
    };
    let mut fan = Fan::one(open_destination_end(first, options, observer, notes)?);
    for &end in more {
        match open_destination_end(end, options, observer, notes) {
            Ok(opened) => fan.push(opened),
            Err(error) => return Err(own_claim(&fan, end, &error).unwrap_or(error)),
        }
    }
    Ok(fan)
}

/// A disk that cannot be had since a destination before it holds it: says which.
fn own_claim(fan: &Fan<Opened>, end: End<'_>, error: &CopyError) -> Option<CopyError> {
    let (End::Path(path), CopyError::Refused(Refusal::Claimed { .. } | Refusal::ClaimedForGood { .. })) =
        (end, error)
    else {
        return None;
    };
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let place = Place::of(fd.as_fd(), path).ok()?;
    fan.iter().find_map(|(device, _)| {
        let before = Place::of(device.routes().buffered().as_fd(), device.path()).ok()?;
        guard::check_apart((&before, 0..u64::MAX), (&place, 0..u64::MAX)).err().map(CopyError::from)
    })
}

/// Refuses two destinations that reach the same bytes.
pub(in super::super) fn check_apart(
    fan: &Fan<Opened>,
    options: &CopyOptions,
    len: Option<u64>,
) -> Result<(), CopyError> {
    let mut before: Vec<(Place, Range<u64>, _)> = Vec::new();
    for (device, _) in fan.iter() {
        let fd = device.routes().buffered().as_fd();
        let place = Place::of(fd, device.path())?;
        let range = written_range(&**device, options, len);
        // Streams are no places, but have names and inodes.
        let inode = rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino));
        for (other, other_range, other_inode) in &before {
            if inode.is_some() && inode == *other_inode {
                let (first, second) = (other.path().to_owned(), device.path().to_owned());
                return Err(Refusal::DestinationTwice { first, second }.into());
            }
            guard::check_apart((other, other_range.clone()), (&place, range.clone()))?;
        }
        before.push((place, range, inode));
    }
    Ok(())
}
