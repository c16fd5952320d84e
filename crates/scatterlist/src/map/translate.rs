//! [`Translate`]: from CPU addresses to physical ones, by the word of the memory's owner.
//!
//! A device of a kernel maps physical memory; its producers hold CPU addresses. [`Lease::translate`] goes between.
#![expect(unsafe_code, reason = "a trait that promises where memory is, and leases that rest on it")]

use crate::{CpuAddr, PhysAddr};
#[cfg(feature = "alloc")]
use crate::{Lease, ScatterList, Segment};

/// Where CPU addresses lie in physical memory.
///
/// # Safety
/// The run returned holds the bytes that the CPU sees at `cpu`, and goes on doing so while they are leased.
pub unsafe trait Translate {
    /// Returns the physical address of `cpu` and how many bytes from there on are contiguous, at most `len`;
    /// `None` where nothing is mapped.
    fn translate(&self, cpu: CpuAddr, len: u64) -> Option<(PhysAddr, u64)>;
}

/// A CPU address that no physical memory stands behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no physical memory is known behind {cpu} ({len} bytes from there on)")]
pub struct Untranslatable {
    /// The first address without memory.
    pub cpu: CpuAddr,
    /// Bytes of the segment from there on.
    pub len: u64,
}

#[cfg(feature = "alloc")]
impl<O> Lease<CpuAddr, O> {
    /// Turns the lease's CPU addresses into physical ones, by the word of the memory's owner.
    ///
    /// # Errors
    /// The lease unchanged, with the first address that no memory stands behind.
    pub fn translate<T: Translate + ?Sized>(
        self,
        translate: &T,
    ) -> Result<Lease<PhysAddr, O>, (Self, Untranslatable)> {
        match physical(self.list(), translate) {
            // SAFETY: by the translator's promise these are the same bytes.
            Ok(list) => Ok(unsafe { self.renamed(list) }),
            Err(error) => Err((self, error)),
        }
    }
}

/// The same bytes by physical address, in the same order; barriers stay.
#[cfg(feature = "alloc")]
fn physical<T: Translate + ?Sized>(
    list: &ScatterList<CpuAddr>,
    translate: &T,
) -> Result<ScatterList<PhysAddr>, Untranslatable> {
    let mut physical = ScatterList::new();
    for segment in list {
        let mut rest = Some(segment);
        let mut barrier = segment.has_barrier();
        while let Some(here) = rest {
            let missing = Untranslatable { cpu: here.addr(), len: here.len() };
            let (addr, len) = translate.translate(here.addr(), here.len()).ok_or(missing)?;
            let len = len.min(here.len());
            let run = Segment::new(addr, len).map_err(|_| missing)?;
            let run = if core::mem::take(&mut barrier) { run.with_barrier() } else { run };
            physical.append(run).map_err(|_| missing)?;
            rest = here.split(len).map(|(_, rest)| rest);
        }
    }
    Ok(physical)
}
