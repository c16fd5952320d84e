//! [`Target`]: a destination that bytes come to in order, without a known end: from a tape, or from a device with a clock.

use super::super::options::{CopyOptions, End, Observer};
use super::super::{CopyError, Side, ends};
use super::created::Created;
use super::overwrite;
use crate::device::guard::check_fits;
use crate::device::{Class, Device};

/// An open destination.
#[derive(Debug)]
pub(in super::super) struct Target {
    pub(in super::super) device: Box<dyn Device>,
    pub(in super::super) created: Option<Created>,
    /// Why writes go through the page cache although the device has direct I/O.
    pub(in super::super) bounce: Option<String>,
    /// Bytes that a file holds and keeps.
    pub(in super::super) kept_len: u64,
    /// What whole writes are multiples of.
    pub(in super::super) unit: u64,
}

impl Target {
    /// Opens a destination and checks it. Nothing is written.
    pub(in super::super) fn open(
        end: End<'_>,
        options: &CopyOptions,
        observer: &mut dyn Observer,
        notes: &mut Vec<String>,
    ) -> Result<Self, CopyError> {
        let (device, created) = ends::open_destination_end(end, options, observer, notes)?;
        if device.is_stream() && options.seek > 0 {
            return Err(CopyError::SeekOnStream { path: device.path().to_owned(), seek: options.seek });
        }
        if device.class().is_disk()
            && let Some(capacity) = device.len_bytes()
        {
            check_fits(None, options.seek, capacity, device.path())?;
        }
        let unit = ends::direct_unit(&*device);
        let is_aligned = |unit: u64| options.seek.checked_rem(unit) == Some(0);
        let bounce = unit
            .filter(|unit| !is_aligned(unit.start))
            .map(|unit| format!("destination byte {} is no multiple of {}", options.seek, unit.start));
        ends::require_direct_of(Side::Destination, &*device, bounce.as_deref(), options)?;
        let kept_len = match device.class() {
            Class::File if options.truncate => options.seek.min(device.len_bytes().unwrap_or(0)),
            Class::File => device.len_bytes().unwrap_or(0),
            _ => 0,
        };
        overwrite::ask(&*device, observer, notes)?;
        let unit = unit.filter(|_| bounce.is_none()).map_or(1, |unit| unit.start.max(unit.end));
        Ok(Self { device, created, bounce, kept_len, unit })
    }
}
