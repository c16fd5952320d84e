//! The buffer descriptor list of an AC'97 controller: Intel I/O Controller Hub 5 (ICH5) AC '97 Programmer's Reference
//! Manual (82801EB), sections 3.2.1, 3.2.2 and 3.4.2.
//!
//! A ring of 32 entries of 8 bytes, one word each: an address of 32 bits, a length in samples of 16 bits, two flags.
//! A stream is fed while it plays: [`BufferRing`] writes entries behind those that are queued and says what the last
//! valid index (LVI) is now. Its driver writes the registers. [`ListView`] looks at raw bytes, [`walk`] reads the
//! entries as the controller does, [`limits`] is what a plan must keep.

mod walk;

pub use walk::{ListView, Run, Walk, WalkError, walk};

use super::DescriptorMemory;
use crate::plan::{Piece, Why};
use crate::{Addr, BusAddr, Force, LimitId, Limits, LimitsError, Source};

/// Entries of the list: fixed by the five bits of the index registers (section 3.2.2).
pub const ENTRIES: u8 = 32;
/// Most samples of one entry (section 3.2.1).
pub const SAMPLES_MAX: u16 = 65535;
/// Bytes of a sample.
pub const SAMPLE_BYTES: u64 = 2;

/// Alignment of the list in bytes (ICH datasheets, register x_BDBAR, bits 2:0).
const LIST_ALIGN: u64 = 8;
/// Last address that 32 bits reach.
const ADDR_MAX: u64 = 0xFFFF_FFFF;

/// One entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Where the samples are. Bit 0 must be 0 (table 5).
    pub addr: u32,
    /// How many samples of 16 bits; 0 is nothing to play.
    pub samples: u16,
    /// [`Entry::INTERRUPT`] and [`Entry::SILENCE`]; the other bits must be 0.
    pub flags: u16,
}

impl Entry {
    /// IOC, bit 31: interrupt when the entry is done (table 6).
    pub const INTERRUPT: u16 = 1 << 15;
    /// BUP, bit 30: if nothing follows the entry, play zeros; else the last sample again (table 6).
    pub const SILENCE: u16 = 1 << 14;

    /// Returns the entry as a little-endian word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let [a, b, c, d] = self.addr.to_le_bytes();
        let ([e, f], [g, h]) = (self.samples.to_le_bytes(), self.flags.to_le_bytes());
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Reads the entry from its 8 bytes. Every pattern of bits is an entry.
    #[must_use]
    pub const fn from_bytes([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        Self {
            addr: u32::from_le_bytes([a, b, c, d]),
            samples: u16::from_le_bytes([e, f]),
            flags: u16::from_le_bytes([g, h]),
        }
    }
}

/// Returns what a list of samples of `channels` may be, so that it goes into an empty ring as one request.
///
/// No frame, one sample of each channel, may span two entries (section 3.4.2), so pieces are whole frames. The manual
/// aligns buffers to 2 bytes; the limit is 4, since the emulated controllers of QEMU and VirtualBox ignore bit 1 of
/// the address too.
///
/// # Errors
/// [`LimitsError::Zero`] where `channels` is 0.
pub fn limits(channels: u8) -> Result<Limits, LimitsError> {
    let frame = u64::from(channels).saturating_mul(SAMPLE_BYTES);
    // A cut in a long segment is whole frames, and leaves the next piece aligned to 4.
    let unit = if frame.is_multiple_of(ADDR_ALIGN) { frame } else { frame.saturating_mul(2) };
    let longest = u64::from(SAMPLES_MAX).saturating_mul(SAMPLE_BYTES);
    let longest = longest.saturating_sub(longest.checked_rem(unit).unwrap_or(0));
    let set = [
        (LimitId::AddrMax, ADDR_MAX),
        (LimitId::CoherentAddrMax, ADDR_MAX),
        (LimitId::AddrAlign, ADDR_ALIGN),
        (LimitId::PieceLenAlign, frame),
        (LimitId::TotalLenAlign, frame),
        (LimitId::SegmentsMax, u64::from(ENTRIES)),
        (LimitId::PiecesMax, u64::from(ENTRIES)),
        (LimitId::SegmentLenMax, longest),
    ];
    let rules = set.into_iter().fold(Limits::builder(), |rules, (id, value)| {
        rules.set(id, value, Source::DescriptorFormat, Force::Hard)
    });
    rules.build()
}

/// The alignment that every controller honours, real or emulated. See [`limits`].
const ADDR_ALIGN: u64 = 4;

/// Which entries of one [`push`](BufferRing::push) interrupt when they are done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Interrupts {
    /// The last one.
    #[default]
    Last,
    /// Each one.
    Each,
    /// None.
    Never,
}

/// Why memory cannot be a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// Too little memory.
    #[error("the list has {words} entries, it needs {need}")]
    Memory {
        /// The words of 8 bytes that there are.
        words: usize,
        /// The words needed.
        need: u8,
    },
    /// The controller cannot be told of the address.
    #[error("the list at {addr} must be aligned to {align} bytes and end by {max:#x}")]
    Unreachable {
        /// The address.
        addr: BusAddr,
        /// The alignment in bytes.
        align: u64,
        /// The last address.
        max: u64,
    },
}

/// Why nothing was queued. The ring is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Nothing to queue.
    #[error("there is no piece to queue")]
    Empty,
    /// Not enough free entries now.
    #[error("{need} entries are needed, {free} are free")]
    RingFull {
        /// The entries needed.
        need: u64,
        /// The free ones.
        free: u8,
    },
    /// A piece was planned to be bounced, and no bounce buffer stands in its place.
    #[error("piece {index} of {len} bytes has no address yet: {why}")]
    Bounced {
        /// Which piece, from 0.
        index: u64,
        /// Its bytes.
        len: u64,
        /// Why it must be bounced.
        why: Why,
    },
    /// A segment does not lie within 32 bits.
    #[error("segment {index} of {len} bytes at {addr} reaches past {max:#x}")]
    OutOfReach {
        /// Which segment, from 0.
        index: u64,
        /// Its address.
        addr: BusAddr,
        /// Its bytes.
        len: u64,
        /// The last address.
        max: u64,
    },
    /// A segment does not start at a multiple of 4.
    #[error("segment {index} at {addr} must be aligned to {align} bytes")]
    Misaligned {
        /// Which segment, from 0.
        index: u64,
        /// Its address.
        addr: BusAddr,
        /// The alignment in bytes.
        align: u64,
    },
    /// A segment is no whole number of samples, or too many of them.
    #[error("segment {index} is {len} bytes long, it must be a multiple of {unit} up to {max}")]
    Len {
        /// Which segment, from 0.
        index: u64,
        /// Its bytes.
        len: u64,
        /// The bytes of a sample.
        unit: u64,
        /// The most bytes.
        max: u64,
    },
}

/// Why the current index (CIV) that was read cannot be. Nothing was given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the current index is {current}, the {queued} entries from {oldest} on are queued")]
pub struct CurrentError {
    /// The index that the controller states.
    pub current: u8,
    /// The oldest entry that is queued.
    pub oldest: u8,
    /// How many are.
    pub queued: u8,
}

/// The driver's side of the list, over memory that the controller only reads.
///
/// [`push`](Self::push) while [`free`](Self::free) allows, put a barrier for the device, then write what it returned to
/// the register LVI: the controller reads no entry past that index. [`retire`](Self::retire) with what the register CIV
/// says gives entries back. Nothing of the list is ever read.
#[derive(Debug)]
pub struct BufferRing<M> {
    memory: M,
    oldest: u8,
    queued: u8,
}

impl<M: DescriptorMemory> BufferRing<M> {
    /// Sets every entry to 0. The controller's engine was reset: it starts with entry 0.
    ///
    /// # Errors
    /// [`ListError`] where the memory is too small, misaligned or past 4 GiB.
    pub fn new(mut memory: M) -> Result<Self, ListError> {
        let (need, words) = (usize::from(ENTRIES), memory.len_words());
        let addr = memory.bus_addr();
        if !list_fits(addr) {
            return Err(ListError::Unreachable { addr, align: LIST_ALIGN, max: ADDR_MAX });
        }
        if words < need || memory.fill(0, core::iter::repeat_n(0, need)) != need {
            return Err(ListError::Memory { words, need: ENTRIES });
        }
        Ok(Self { memory, oldest: 0, queued: 0 })
    }

    /// Gives the memory back. The engine must have been stopped.
    #[must_use]
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Returns the memory: its address is for the register BDBAR.
    #[must_use]
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns how many entries are free.
    #[must_use]
    pub const fn free(&self) -> u8 {
        ENTRIES.saturating_sub(self.queued)
    }

    /// Returns how many entries are queued, the one that plays counted.
    #[must_use]
    pub const fn queued(&self) -> u8 {
        self.queued
    }

    /// Returns the oldest entry that is queued, or where the next goes if none is.
    #[must_use]
    pub const fn oldest(&self) -> u8 {
        self.oldest
    }

    /// Returns the last valid index, or `None` while nothing is queued.
    #[must_use]
    pub fn last_valid(&self) -> Option<u8> {
        let before = self.queued.checked_sub(1)?;
        Some(wrap(self.oldest, before))
    }

    /// Queues segments, or the [pieces](crate::plan::Ready::pieces) of a device-ready request, one entry each: all of
    /// them or none. With `silence`, zeros are played where nothing follows the last.
    ///
    /// Returns the last valid index for the register LVI. The samples are the controller's from there on.
    ///
    /// # Errors
    /// [`PushError`]; the ring is as it was.
    pub fn push(
        &mut self,
        pieces: impl IntoIterator<Item: Into<Piece<BusAddr>>>,
        interrupts: Interrupts,
        silence: bool,
    ) -> Result<u8, PushError> {
        let free = self.free();
        let (mut need, mut open) = (0_u64, None::<(u8, Entry)>);
        for piece in pieces {
            let mut entry = entry(need, piece.into())?;
            need = need.saturating_add(1);
            // Entries past the last valid one are not read: filling some and then giving up leaves nothing behind.
            let Some(offset) = u8::try_from(need.saturating_sub(1)).ok().filter(|offset| *offset < free)
            else {
                continue;
            };
            if interrupts == Interrupts::Each {
                entry.flags = Entry::INTERRUPT;
            }
            let place = wrap(self.oldest, self.queued.saturating_add(offset));
            if let Some((before, entry)) = open.replace((place, entry)) {
                self.memory.put(usize::from(before), entry.to_word());
            }
        }
        if need > u64::from(free) {
            return Err(PushError::RingFull { need, free });
        }
        let Some((last, mut entry)) = open else { return Err(PushError::Empty) };
        if interrupts == Interrupts::Last {
            entry.flags = Entry::INTERRUPT;
        }
        if silence {
            entry.flags |= Entry::SILENCE;
        }
        self.memory.put(usize::from(last), entry.to_word());
        // It is at most the free entries, so the sum is at most 32.
        self.queued = self.queued.saturating_add(u8::try_from(need).unwrap_or(free));
        Ok(last)
    }

    /// Gives back the entries before `current`, the register CIV; where the engine has `halted` (bit DCH of the status
    /// register), the current one too. Returns how many, oldest first. One read of 32 bits gets both registers at the
    /// same moment, which they must be from.
    ///
    /// # Errors
    /// [`CurrentError`] where `current` is no entry that is queued. If nothing is queued, nothing is given back,
    /// whatever it says.
    pub fn retire(&mut self, current: u8, halted: bool) -> Result<u8, CurrentError> {
        let (oldest, queued) = (self.oldest, self.queued);
        if queued == 0 {
            return Ok(0);
        }
        let done = current.wrapping_sub(oldest) & ENTRIES.wrapping_sub(1);
        if current >= ENTRIES || done >= queued {
            return Err(CurrentError { current, oldest, queued });
        }
        let done = if halted { done.saturating_add(1) } else { done };
        self.oldest = wrap(oldest, done);
        self.queued = queued.saturating_sub(done);
        Ok(done)
    }
}

/// Returns the entry `offset` after `index`, around the ring.
const fn wrap(index: u8, offset: u8) -> u8 {
    index.wrapping_add(offset) & ENTRIES.wrapping_sub(1)
}

/// Says whether the controller can be told of a list at this address.
fn list_fits(addr: BusAddr) -> bool {
    let bytes = u64::from(ENTRIES).saturating_mul(8);
    let last = addr.checked_add(bytes.saturating_sub(1));
    addr.raw().is_multiple_of(LIST_ALIGN) && last.is_some_and(|last| last.raw() <= ADDR_MAX)
}

/// Returns the entry for one piece, without flags.
fn entry(index: u64, piece: Piece<BusAddr>) -> Result<Entry, PushError> {
    let segment = match piece {
        Piece::Direct(segment) => segment,
        Piece::Bounce(bounce) => return Err(PushError::Bounced { index, len: bounce.len, why: bounce.why }),
    };
    let (addr, len) = (segment.addr(), segment.len());
    let reach = u32::try_from(addr.raw()).ok().filter(|_| segment.end().saturating_sub(1) <= ADDR_MAX);
    let low = reach.ok_or(PushError::OutOfReach { index, addr, len, max: ADDR_MAX })?;
    if !addr.raw().is_multiple_of(ADDR_ALIGN) {
        return Err(PushError::Misaligned { index, addr, align: ADDR_ALIGN });
    }
    let samples = len.checked_div(SAMPLE_BYTES).filter(|_| len.is_multiple_of(SAMPLE_BYTES));
    let max = u64::from(SAMPLES_MAX).saturating_mul(SAMPLE_BYTES);
    let samples = samples.and_then(|samples| u16::try_from(samples).ok());
    let samples = samples.ok_or(PushError::Len { index, len, unit: SAMPLE_BYTES, max })?;
    Ok(Entry { addr: low, samples, flags: 0 })
}
