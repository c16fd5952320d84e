//! [`TranslationTable`]: what a user-space driver knows of where its memory lies, in whole granules.
//!
//! Ranges are set and cleared; an address translates together with how many bytes from there on are contiguous. Neighbours
//! whose targets follow each other are one run, however they were set, so a query is one search and no walk.
//! The granule (2 MiB for huge pages) is chosen at run time. Memory for a table grows with its runs, not with the range.

use alloc::collections::BTreeMap;
use core::marker::PhantomData;

use crate::{Addr, CpuAddr, PhysAddr};

/// Why a range is not set or cleared. The table is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslationError {
    /// The granule is no power of two.
    #[error("granule is {granule}, it must be a power of two")]
    Granule {
        /// Its value in bytes.
        granule: u64,
    },
    /// An address or length is not on the granule.
    #[error("{what} {value:#x} is not a multiple of {granule}, the granule of the table")]
    Misaligned {
        /// `"address"` or `"length"`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The granule in bytes.
        granule: u64,
    },
    /// No bytes.
    #[error("0 bytes at address {addr:#x}")]
    Empty {
        /// The address.
        addr: u64,
    },
    /// The range or its target reaches past the last address.
    #[error("{bytes} bytes at {what} {value:#x} reach past the last address")]
    Wraps {
        /// `"address"` or `"target"`.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Bytes of the range.
        bytes: u64,
    },
}

/// Runs of memory: where they start, where they end, and what they translate to.
#[derive(Clone, Copy, Debug)]
struct Run {
    end: u64,
    target: u64,
}

/// A table from addresses of kind `F` to addresses of kind `T`, in granules.
#[derive(Debug)]
pub struct TranslationTable<F: Addr = CpuAddr, T: Addr = PhysAddr> {
    granule: u64,
    runs: BTreeMap<u64, Run>,
    kinds: PhantomData<(F, T)>,
}

impl<F: Addr, T: Addr> TranslationTable<F, T> {
    /// Makes an empty table.
    ///
    /// # Errors
    /// [`TranslationError::Granule`] unless it is a power of two.
    pub const fn new(granule: u64) -> Result<Self, TranslationError> {
        if !granule.is_power_of_two() {
            return Err(TranslationError::Granule { granule });
        }
        Ok(Self { granule, runs: BTreeMap::new(), kinds: PhantomData })
    }

    /// Returns the granule in bytes.
    #[must_use]
    pub const fn granule(&self) -> u64 {
        self.granule
    }

    /// Says that `bytes` at `addr` lie at `target`, in place of what was said before.
    ///
    /// # Errors
    /// [`TranslationError`]: address or length off the granule, no bytes, or past the last address.
    pub fn set(&mut self, addr: F, bytes: u64, target: T) -> Result<(), TranslationError> {
        let (mut start, mut end) = self.range(addr, bytes)?;
        let mut to = target.raw();
        if to.checked_add(bytes).is_none() {
            return Err(TranslationError::Wraps { what: "target", value: to, bytes });
        }
        self.cut(start, end);
        if let Some((&before, run)) = self.runs.range(..start).next_back()
            && run.end == start
            && run.target.wrapping_add(start.wrapping_sub(before)) == to
        {
            (start, to) = (before, run.target);
        }
        if let Some(after) = self.runs.get(&end).copied()
            && to.wrapping_add(end.wrapping_sub(start)) == after.target
        {
            self.runs.remove(&end);
            end = after.end;
        }
        self.runs.insert(start, Run { end, target: to });
        Ok(())
    }

    /// Forgets `bytes` at `addr`, set or not.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn clear(&mut self, addr: F, bytes: u64) -> Result<(), TranslationError> {
        let (start, end) = self.range(addr, bytes)?;
        self.cut(start, end);
        Ok(())
    }

    /// Says where `addr` lies, and how many of `bytes` from there on are contiguous, at least 1. `None` in a hole, and for
    /// 0 bytes.
    #[must_use]
    pub fn translate(&self, addr: F, bytes: u64) -> Option<(T, u64)> {
        let addr = addr.raw();
        let (&start, run) = self.runs.range(..=addr).next_back()?;
        let left = run.end.checked_sub(addr).filter(|left| *left > 0)?;
        // A run does not wrap, and the address lies in it.
        let target = run.target.wrapping_add(addr.wrapping_sub(start));
        (bytes > 0).then(|| (T::new(target), bytes.min(left)))
    }

    fn range(&self, addr: F, bytes: u64) -> Result<(u64, u64), TranslationError> {
        let start = addr.raw();
        for (what, value) in [("address", start), ("length", bytes)] {
            if value & self.granule.wrapping_sub(1) != 0 {
                return Err(TranslationError::Misaligned { what, value, granule: self.granule });
            }
        }
        if bytes == 0 {
            return Err(TranslationError::Empty { addr: start });
        }
        let wraps = TranslationError::Wraps { what: "address", value: start, bytes };
        Ok((start, start.checked_add(bytes).ok_or(wraps)?))
    }

    /// Takes `start..end` out of the runs.
    fn cut(&mut self, start: u64, end: u64) {
        if let Some((&first, &run)) = self.runs.range(..start).next_back()
            && run.end > start
        {
            // The rest stands by itself, until the loop below shortens it.
            let target = run.target.wrapping_add(start.wrapping_sub(first));
            self.runs.insert(first, Run { end: start, ..run });
            self.runs.insert(start, Run { end: run.end, target });
        }
        while let Some((&first, &run)) = self.runs.range(start..end).next() {
            self.runs.remove(&first);
            if run.end > end {
                let target = run.target.wrapping_add(end.wrapping_sub(first));
                self.runs.insert(end, Run { end: run.end, target });
            }
        }
    }
}
