//! [`Destination`]: one destination, open and checked.

use std::path::Path;

use super::super::ends::created::Created;
use super::super::geometry::Unit;
use super::super::verify::ReadBack;
use crate::device::{Class, Device};

/// A destination before anything is written to it.
#[derive(Debug)]
pub(in super::super) struct Destination {
    pub(in super::super) device: Box<dyn Device>,
    /// What its writes start and end at multiples of; [`Unit::BYTE`] where they go through the page cache.
    pub(in super::super) unit: Unit,
    /// Bytes that a file holds and keeps, truncation taken into account.
    pub(in super::super) kept_len: u64,
    /// Why it goes through the page cache although it has direct I/O: the layout has no place for it.
    pub(in super::super) unfit: Option<String>,
    /// The same, open for reading back, where that is wanted.
    pub(in super::super) read_back: Option<ReadBack>,
    /// Removes it, where it was created, unless the copy begins.
    pub(in super::super) created: Option<Created>,
}

impl Destination {
    pub(in super::super) fn path(&self) -> &Path {
        self.device.path()
    }

    /// Why its bytes are copied on the way; `None` where they move directly.
    pub(in super::super) fn bounce(&self) -> Option<String> {
        let refused = || self.device.routes().direct().err().map(|why| why.to_string());
        self.unfit.clone().or_else(refused)
    }

    /// The length of a file up to which bytes stay; `None` where it is no file.
    pub(in super::super) fn kept(&self) -> Option<u64> {
        (self.device.class() == Class::File).then_some(self.kept_len)
    }
}
