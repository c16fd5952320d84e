//! The list as a controller reads it: [`ListView`] over raw bytes, [`walk`] through [`BusRead`].
//!
//! Nothing is trusted: what is read may be garbage, and becomes an error with its numbers.

use super::super::{BusRead, Unreadable};
use super::{ADDR_MAX, ENTRIES, Entry, LIST_ALIGN, SAMPLE_BYTES, list_fits, wrap};
use crate::{Addr, BusAddr, Segment, SegmentError};

/// Bits 29:16 of the second half, which must be 0 (table 6).
const RESERVED: u16 = 0x3FFF;

/// A list as raw bytes, with checked access.
#[derive(Clone, Copy, Debug)]
pub struct ListView<'a> {
    entries: &'a [[u8; 8]],
}

impl<'a> ListView<'a> {
    /// Looks at `bytes`; a last entry that is cut off is none.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { entries: bytes.as_chunks().0 }
    }

    /// Returns how many whole entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no whole entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns an entry, or `None` past the end.
    #[must_use]
    pub fn get(&self, index: u8) -> Option<Entry> {
        self.entries.get(usize::from(index)).copied().map(Entry::from_bytes)
    }
}

/// One run of samples, as the controller finds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Run {
    /// The entry that it stands in.
    pub index: u8,
    /// The memory. Which way the samples go is the engine's, not the list's.
    pub segment: Segment<BusAddr>,
    /// Whether the controller interrupts after it.
    pub interrupt: bool,
    /// Whether zeros are played if nothing follows.
    pub silence: bool,
}

/// Why the list cannot be followed further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The controller cannot read an entry.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The controller cannot be told of the list.
    #[error("the list at {addr} must be aligned to {align} bytes and end by {max:#x}")]
    List {
        /// The address.
        addr: BusAddr,
        /// The alignment in bytes.
        align: u64,
        /// The last address.
        max: u64,
    },
    /// There is no such entry.
    #[error("entry {index} is not in the list of {entries}")]
    OutOfRange {
        /// The entry.
        index: u8,
        /// The entries.
        entries: u8,
    },
    /// The address does not start a sample.
    #[error("entry {index} has the odd address {addr:#x}")]
    Misaligned {
        /// The entry.
        index: u8,
        /// Its address.
        addr: u32,
    },
    /// Bits 29:16 of the second half are not 0.
    #[error("entry {index} has the reserved bits {bits:#x} set")]
    Reserved {
        /// The entry.
        index: u8,
        /// The bits, from bit 16 of the second half on.
        bits: u16,
    },
    /// The memory reaches past what 32 bits reach.
    #[error("entry {index} of {len} bytes at {addr:#x} reaches past {max:#x}")]
    OutOfReach {
        /// The entry.
        index: u8,
        /// Its address.
        addr: u32,
        /// Its bytes.
        len: u64,
        /// The last address.
        max: u64,
    },
    /// The memory is none.
    #[error("entry {index}: {error}")]
    Segment {
        /// The entry.
        index: u8,
        /// What is wrong with it.
        error: SegmentError,
    },
}

/// Walks the list at `list` from the current index to the last valid one, around its end, as the controller does: at
/// most 32 entries. One without samples is passed over. After an error the walk ends.
pub fn walk<B: BusRead + ?Sized>(bus: &B, list: BusAddr, current: u8, last_valid: u8) -> Walk<'_, B> {
    Walk { bus, list, last_valid, next: Some(current) }
}

/// The runs of a list. See [`walk`].
#[derive(Debug)]
pub struct Walk<'a, B: ?Sized> {
    bus: &'a B,
    list: BusAddr,
    last_valid: u8,
    next: Option<u8>,
}

impl<B: BusRead + ?Sized> Walk<'_, B> {
    fn run(&self, index: u8) -> Result<Option<Run>, WalkError> {
        let (list, entries) = (self.list, ENTRIES);
        if !list_fits(list) {
            return Err(WalkError::List { addr: list, align: LIST_ALIGN, max: ADDR_MAX });
        }
        if let Some(index) = [index, self.last_valid].into_iter().find(|index| *index >= entries) {
            return Err(WalkError::OutOfRange { index, entries });
        }
        let place = BusAddr::new(list.raw().saturating_add(u64::from(index).saturating_mul(8)));
        let mut bytes = [0; 8];
        self.bus.read(place, &mut bytes)?;
        let Entry { addr, samples, flags } = Entry::from_bytes(bytes);
        if flags & RESERVED != 0 {
            return Err(WalkError::Reserved { index, bits: flags & RESERVED });
        }
        if addr & 1 != 0 {
            return Err(WalkError::Misaligned { index, addr });
        }
        if samples == 0 {
            return Ok(None);
        }
        let len = u64::from(samples).saturating_mul(SAMPLE_BYTES);
        let segment = Segment::new(BusAddr::new(u64::from(addr)), len)
            .map_err(|error| WalkError::Segment { index, error })?;
        if segment.end().saturating_sub(1) > ADDR_MAX {
            return Err(WalkError::OutOfReach { index, addr, len, max: ADDR_MAX });
        }
        let (interrupt, silence) = (flags & Entry::INTERRUPT != 0, flags & Entry::SILENCE != 0);
        Ok(Some(Run { index, segment, interrupt, silence }))
    }
}

impl<B: BusRead + ?Sized> Iterator for Walk<'_, B> {
    type Item = Result<Run, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn reads the entry after the one before, until the last valid one: at most 32 turns.
        while let Some(index) = self.next.take() {
            let run = self.run(index);
            if run.is_ok() && index != self.last_valid {
                self.next = Some(wrap(index, 1));
            }
            if let Some(run) = run.transpose() {
                return Some(run);
            }
        }
        None
    }
}

impl<B: BusRead + ?Sized> core::iter::FusedIterator for Walk<'_, B> {}
