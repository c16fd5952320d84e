//! Metadata pointers (MPTR): one run of memory, named by its address or by a segment of one descriptor.
//!
//! Specification: NVM Express Base Specification 2.0, section 3.3.3.1, common command format, MPTR and PSDT.
//! Metadata that the bus does not see in one run is refused: a controller would go on behind the first part.

use super::{DESCRIPTOR_WORDS, Descriptor, Granularity, Kind, LEN_MAX, SEGMENT_ALIGN, limits};
use crate::desc::DescriptorMemory;
use crate::plan::{Piece, Ready};
use crate::{Addr as _, BusAddr, Limits, LimitsError, Segment, Segments};

/// Why metadata cannot be named by a pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The metadata is not one run of bus memory.
    #[error(
        "metadata of {bytes} bytes lies in more than one run: the first has {first} bytes, and one is all"
    )]
    Scattered {
        /// Bytes of the metadata.
        bytes: u64,
        /// Bytes of the first run.
        first: u64,
    },
    /// The metadata goes through a bounce buffer that the list does not name yet.
    #[error("{len} bytes of metadata are to be bounced; encode the request that names their buffer")]
    Bounced {
        /// Its bytes.
        len: u64,
    },
    /// The metadata starts where the pointer cannot point.
    #[error("metadata at {addr} does not start at a multiple of {need} (MPTR)")]
    Misaligned {
        /// Its address.
        addr: BusAddr,
        /// Bytes.
        need: u64,
    },
    /// The metadata is longer than a descriptor can say.
    #[error("metadata of {bytes} bytes, the most is {LEN_MAX} (SGL descriptor)")]
    TooLong {
        /// Its bytes.
        bytes: u64,
    },
    /// The segment cannot lie there.
    #[error(
        "the memory for a metadata segment, at {addr}, has {words} words: 2 are needed, at a multiple of 8"
    )]
    Memory {
        /// Where the device sees it.
        addr: BusAddr,
        /// Its words.
        words: usize,
    },
}

/// Returns the limits of metadata: one run.
///
/// # Errors
/// None of these can contradict each other; the error is that of the builder.
pub fn metadata_limits(granularity: Granularity) -> Result<Limits, LimitsError> {
    limits(1, granularity)
}

/// Returns the metadata pointer of a command whose PSDT says that metadata is contiguous: `Dword` where data is
/// named by PRPs (00b), `Byte` where it is named by an SGL (01b).
///
/// # Errors
/// [`MetadataError`]. A plan made for [`metadata_limits`] never fails.
pub fn metadata_contiguous<S>(
    ready: &Ready<'_, S>,
    granularity: Granularity,
) -> Result<BusAddr, MetadataError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
{
    let addr = only_run(ready)?.addr();
    match granularity {
        Granularity::Dword if addr.raw() & 3 != 0 => Err(MetadataError::Misaligned { addr, need: 4 }),
        _ => Ok(addr),
    }
}

/// Writes a segment of one descriptor into `memory` and returns the metadata pointer to it, for a command whose
/// PSDT says that metadata is named by an SGL (10b).
///
/// # Errors
/// [`MetadataError`].
pub fn metadata_segment<S, M>(ready: &Ready<'_, S>, memory: &mut M) -> Result<BusAddr, MetadataError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    let run = only_run(ready)?;
    let bytes = run.len();
    let len = u32::try_from(bytes).map_err(|_| MetadataError::TooLong { bytes })?;
    let (addr, words) = (memory.bus_addr(), memory.len_words());
    let aligned = addr.raw() & SEGMENT_ALIGN.wrapping_sub(1) == 0;
    let descriptor = Descriptor::new(Kind::DataBlock, run.addr(), len).words();
    if !aligned || words < DESCRIPTOR_WORDS || memory.fill_pairs(0, [descriptor].into_iter()) == 0 {
        return Err(MetadataError::Memory { addr, words });
    }
    Ok(addr)
}

fn only_run<S>(ready: &Ready<'_, S>) -> Result<Segment<BusAddr>, MetadataError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
{
    let bytes = ready.len_bytes();
    match ready.first() {
        Some(Piece::Direct(run)) if run.len() == bytes => Ok(run),
        Some(Piece::Direct(run)) => Err(MetadataError::Scattered { bytes, first: run.len() }),
        Some(Piece::Bounce(bounce)) => Err(MetadataError::Bounced { len: bounce.len }),
        None => Err(MetadataError::Scattered { bytes, first: 0 }),
    }
}
