//! [`Regions`]: which memory must never be mapped. The user of the checker knows; [`RegionTable`] is a list of it.
//!
//! A ledger without an oracle takes all memory for ordinary memory.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::call::{MapKind, Span};

/// What kind of memory some bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Region {
    /// Memory that may be mapped.
    Ordinary,
    /// A stack: its lines are shared with whatever else the function keeps there, and it goes when the function does.
    Stack,
    /// Code or constants.
    TextOrRodata,
    /// Memory that only looks contiguous to the CPU. Mapping it page by page is in order, as one buffer it is not.
    Vmalloc,
    /// No memory at all.
    Invalid,
}

impl Region {
    /// Says whether memory like this may be mapped so.
    pub(super) const fn allows(self, kind: MapKind) -> bool {
        match (self, kind) {
            (Self::Ordinary, _) | (_, MapKind::Coherent | MapKind::Resource) => true,
            (Self::Vmalloc, MapKind::Single) => false,
            (Self::Vmalloc, MapKind::Page | MapKind::List) => true,
            (Self::Stack | Self::TextOrRodata | Self::Invalid, _) => false,
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ordinary => "ordinary memory",
            Self::Stack => "a stack",
            Self::TextOrRodata => "code or constants",
            Self::Vmalloc => "memory that is contiguous for the CPU only",
            Self::Invalid => "no memory",
        })
    }
}

/// Tells what kind of memory some bytes are. Any function of address and length is one.
pub trait Regions {
    /// Returns what `len` bytes at `addr` are: the first kind but the ordinary that any of them has.
    fn region(&self, addr: u64, len: u64) -> Region;
}

impl<F: Fn(u64, u64) -> Region> Regions for F {
    fn region(&self, addr: u64, len: u64) -> Region {
        self(addr, len)
    }
}

/// Regions as a list that the user fills, from a linker's symbols for instance. What is not listed is ordinary.
#[derive(Clone, Default, Debug)]
pub struct RegionTable {
    regions: Vec<(Region, Span)>,
}

impl RegionTable {
    /// Returns an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { regions: Vec::new() }
    }

    /// Adds a region. It has as many entries as the user adds; a look-up reads all of them.
    #[must_use]
    pub fn with(mut self, region: Region, addr: u64, len: u64) -> Self {
        self.regions.push((region, Span::new(addr, len)));
        self
    }
}

impl Regions for RegionTable {
    fn region(&self, addr: u64, len: u64) -> Region {
        let asked = Span::new(addr, len);
        self.regions
            .iter()
            .find(|(_, span)| span.len != 0 && span.addr <= asked.last() && addr <= span.last())
            .map_or(Region::Ordinary, |(region, _)| *region)
    }
}

/// The oracle of one ledger.
pub(super) struct Oracle(Option<Box<dyn Regions + Send + Sync>>);

impl Oracle {
    pub(super) const NONE: Self = Self(None);

    pub(super) fn new(regions: impl Regions + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(regions)))
    }

    pub(super) fn region(&self, span: Span) -> Region {
        self.0.as_ref().map_or(Region::Ordinary, |regions| regions.region(span.addr, span.len))
    }
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Oracle" } else { "Oracle(none)" })
    }
}
