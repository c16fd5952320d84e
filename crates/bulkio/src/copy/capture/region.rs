//! [`Piece`]: a part of a recording on its way: in the ring of the device, or copied out of it. [`Room`]: where a part of what is played is read to.
#![expect(unsafe_code, reason = "the promises of Filled and of Lease::from_raw for parts of a ring")]

use scatterlist::{CpuAddr, Lease, ScatterList};

use super::held::Copied;
use crate::device::audio::RingRegion;
use crate::device::filled::Filled;
use crate::pages::Slot;

/// Frames of a recording.
#[derive(Debug)]
pub(super) enum Piece {
    /// Where the device left them.
    Ring(RingPiece),
    /// A copy, or a header.
    Copied(Copied),
}

/// A part of the ring, and which frames it is.
#[derive(Debug)]
pub(super) struct RingPiece {
    pub(super) region: RingRegion,
    /// The first frame, counted since the device was prepared.
    pub(super) frame: u64,
    /// How many.
    pub(super) frames: u64,
}

impl From<Copied> for Piece {
    fn from(copied: Copied) -> Self {
        Self::Copied(copied)
    }
}

// SAFETY: a region keeps its ring mapped where it is. Safe code makes no reference to the bytes of a ring, and does not write to one that a device
// records into (RingMemory, invariants 1, 3 and 4); that the device does not either before the frames are committed is its part.
unsafe impl Filled for Piece {
    fn list(&self) -> ScatterList<CpuAddr> {
        match self {
            Self::Ring(piece) => piece.region.list(),
            Self::Copied(copied) => copied.list(),
        }
    }

    fn len_bytes(&self) -> u64 {
        match self {
            Self::Ring(piece) => piece.region.len(),
            Self::Copied(copied) => copied.len_bytes(),
        }
    }

    fn read_at(&self, at: u64, into: &mut [u8]) {
        match self {
            Self::Ring(piece) => {
                piece.region.copy_out(at, into);
            }
            Self::Copied(copied) => copied.read_at(at, into),
        }
    }
}

/// Memory that a source is read to.
#[derive(Debug)]
pub(super) enum Room {
    /// The ring itself.
    Ring(RingRegion),
    /// A slot, to be copied from.
    Slot(Slot),
}

impl Room {
    /// Leases a part of the ring.
    pub(super) fn ring(region: RingRegion) -> Lease<CpuAddr, Self> {
        let list = region.list();
        // SAFETY: as the lease of a region (RingRegion::into_lease): the bytes lie within the ring, which the owner keeps mapped, and nobody has a
        // Rust reference to them.
        unsafe { Lease::from_raw(list, Self::Ring(region)) }
    }

    /// Leases the first `len` bytes of a slot; gives it back where they are not there.
    pub(super) fn slot(slot: Slot, len: u64) -> Result<Lease<CpuAddr, Self>, Slot> {
        let lease = slot.into_lease(0, len).map_err(|error| error.slot)?;
        let list = lease.list().clone();
        let Some(slot) = lease.into_owners().next() else { unreachable!("a lease has an owner") };
        // SAFETY: as the lease of the slot was: the bytes are the slot's, and the new lease owns it.
        Ok(unsafe { Lease::from_raw(list, Self::Slot(slot)) })
    }
}
