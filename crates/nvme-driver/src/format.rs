//! [`Format`]: PRPs or SGLs, whichever the controller is driven by, as one descriptor format.

use scatterlist::desc::prp::Prps;
use scatterlist::desc::sgl::Descriptor;
use scatterlist::desc::{DescriptorFormat, DescriptorMemory, PrpFormat, SglFormat, prp, sgl};
use scatterlist::plan::Ready;
use scatterlist::{Addr as _, BusAddr, Limits, LimitsError, Segment, Segments};

/// Which format commands name their data by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DataFormat {
    /// SGLs where the controller has them, else PRPs.
    #[default]
    Auto,
    /// PRPs, which every controller has.
    Prp,
    /// SGLs; a controller without them is refused.
    Sgl,
}

/// The format that a controller is driven by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Physical region pages.
    Prp(PrpFormat),
    /// Scatter gather lists.
    Sgl(SglFormat),
}

/// Why a request cannot be encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// As PRPs.
    #[error(transparent)]
    Prp(#[from] prp::EncodeError),
    /// As an SGL.
    #[error(transparent)]
    Sgl(#[from] sgl::EncodeError),
}

/// The data pointer of a command (DPTR), NVM Express Base Specification 2.0, section 3.3.3.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DataPointer {
    pub(crate) words: [u64; 2],
    pub(crate) is_sgl: bool,
}

impl DataPointer {
    /// Points to one run that crosses no page.
    pub(crate) const fn page(addr: u64) -> Self {
        Self { words: [addr, 0], is_sgl: false }
    }

    /// Returns the two words of the command.
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        self.words
    }

    /// Says whether it is an SGL descriptor, else two PRP entries.
    #[must_use]
    pub const fn is_sgl(&self) -> bool {
        self.is_sgl
    }
}

impl From<Prps> for DataPointer {
    #[inline]
    fn from(prps: Prps) -> Self {
        Self { words: [prps.prp1().raw(), prps.prp2().raw()], is_sgl: false }
    }
}

impl From<Descriptor> for DataPointer {
    #[inline]
    fn from(descriptor: Descriptor) -> Self {
        Self { words: descriptor.words(), is_sgl: true }
    }
}

impl Format {
    /// Returns the limits of commands with one list page of `page_len` bytes.
    pub(crate) fn limits(&self, page_len: u64) -> Result<Limits, LimitsError> {
        match self {
            Self::Prp(format) => format.limits(1),
            Self::Sgl(format) => format.limits(1, page_len),
        }
    }
}

impl DescriptorFormat for Format {
    type Command = DataPointer;
    type Error = FormatError;

    #[inline]
    fn objects_needed<S>(&self, ready: &Ready<'_, S>, object_words: usize) -> Result<usize, FormatError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        match self {
            Self::Prp(format) => Ok(format.objects_needed(ready, object_words)?),
            Self::Sgl(format) => Ok(format.objects_needed(ready, object_words)?),
        }
    }

    #[inline]
    fn encode_run(&self, run: Segment<BusAddr>) -> Option<DataPointer> {
        match self {
            Self::Prp(format) => format.encode_run(run).map(DataPointer::from),
            Self::Sgl(format) => format.encode_run(run).map(DataPointer::from),
        }
    }

    #[inline]
    fn encode<S, M>(&self, ready: &Ready<'_, S>, objects: &mut [M]) -> Result<DataPointer, FormatError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        match self {
            Self::Prp(format) => Ok(format.encode(ready, objects)?.into()),
            Self::Sgl(format) => Ok(format.encode(ready, objects)?.into()),
        }
    }
}
