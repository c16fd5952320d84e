//! The formats by which a device is told: their limits, and how their controller reads them.

use proptest::prelude::*;
use scatterlist::desc::prp::{self, MemoryPage, Prps};
use scatterlist::desc::sgl::{self, Descriptor, Granularity};
use scatterlist::desc::{DescriptorFormat, PrpFormat, SglFormat};
use scatterlist::fake::{Device, Resolve};
use scatterlist::{BusAddr, Limits, Segment};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const SGL: SglFormat = SglFormat::new(Granularity::Byte);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// PRPs with so many list pages at most.
    Prp { lists: u64 },
    /// SGLs with so many segments at most.
    Sgl { segments: u64 },
}

impl Format {
    pub(crate) fn limits(self) -> Limits {
        match self {
            Self::Prp { lists } => PrpFormat::new(PAGE).unwrap().limits(lists).unwrap(),
            Self::Sgl { segments } => SGL.limits(segments, PAGE).unwrap(),
        }
    }
}

/// A format, and the walk of its controller.
pub(crate) trait Way: DescriptorFormat {
    /// Collects the runs of memory that the controller finds for a transfer of `bytes`.
    fn walk<D: Resolve>(
        &self,
        device: &Device<'_, D>,
        command: &Self::Command,
        bytes: u64,
    ) -> Result<Vec<Segment<BusAddr>>, TestCaseError>;
}

impl Way for PrpFormat {
    fn walk<D: Resolve>(
        &self,
        device: &Device<'_, D>,
        command: &Prps,
        bytes: u64,
    ) -> Result<Vec<Segment<BusAddr>>, TestCaseError> {
        let walk = prp::walk(device, MemoryPage::new(PAGE).unwrap(), *command, bytes);
        walk.collect::<Result<_, _>>().map_err(|error| TestCaseError::fail(error.to_string()))
    }
}

impl Way for SglFormat {
    fn walk<D: Resolve>(
        &self,
        device: &Device<'_, D>,
        command: &Descriptor,
        bytes: u64,
    ) -> Result<Vec<Segment<BusAddr>>, TestCaseError> {
        let walk = sgl::walk(device, *command, bytes);
        walk.collect::<Result<_, _>>().map_err(|error| TestCaseError::fail(error.to_string()))
    }
}
