//! [`Capability`]: what the capability registers say, checked against what the driver needs.

use scatterlist::desc::prp::MemoryPage;

use crate::error::InitError;
use crate::registers::Registers;
use crate::spec;

/// Nanoseconds of one unit of CAP.TO and CRTO, Base section 3.1.3.1.
const TIMEOUT_UNIT_NS: u64 = 500_000_000;

/// The capabilities of a controller (CAP and CRTO).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Entries of a queue, at most; at least 2 (MQES).
    pub queue_entries_max: u32,
    /// The memory page size that the driver sets, the smallest that the controller has (MPSMIN).
    pub page: MemoryPage,
    /// From one doorbell to the next, in bytes (DSTRD).
    pub doorbell_stride: u64,
    /// How long the controller may take to be ready once it is enabled (CAP.TO, or CRTO.CRWMT where CAP.CRMS says so).
    pub enable_timeout_ns: u64,
    /// How long it may take to stop once it is disabled (CAP.TO).
    pub disable_timeout_ns: u64,
}

impl Capability {
    /// Reads the registers.
    ///
    /// # Errors
    /// [`InitError`] for a controller that is gone, or that this driver cannot drive.
    pub(crate) fn read<R: Registers>(registers: &R) -> Result<Self, InitError> {
        let cap = registers.read64(spec::CAP);
        if cap == u64::MAX {
            return Err(InitError::Gone);
        }
        // Base section 3.1.3.1: CSS bit 0 is the NVM command set, which CC.CSS 000b selects.
        let command_sets = field(cap, 37, 8);
        if command_sets & 1 == 0 {
            return Err(InitError::CommandSet { css: command_sets });
        }
        let (min, max) = (field(cap, 48, 4), field(cap, 52, 4));
        let page_len = MemoryPage::LEN_MIN.wrapping_shl(u32::try_from(min).unwrap_or(0));
        if min > max {
            return Err(InitError::PageSizes { mpsmin: min, mpsmax: max });
        }
        let page = MemoryPage::new(page_len)?;
        let entries = field(cap, 0, 16).saturating_add(1);
        if entries < 2 {
            return Err(InitError::QueueEntries { mqes: field(cap, 0, 16) });
        }
        // At least one unit: 0 would let nobody ever be ready.
        let stated = field(cap, 24, 8).max(1);
        let with_media = field(cap, 59, 1) == 1;
        let ready = match with_media {
            true => stated.max(field(u64::from(registers.read32(spec::CRTO)), 0, 16)),
            false => stated,
        };
        Ok(Self {
            queue_entries_max: u32::try_from(entries).unwrap_or(u32::MAX),
            page,
            doorbell_stride: 4_u64.wrapping_shl(u32::try_from(field(cap, 32, 4)).unwrap_or(0)),
            enable_timeout_ns: ready.saturating_mul(TIMEOUT_UNIT_NS),
            disable_timeout_ns: stated.saturating_mul(TIMEOUT_UNIT_NS),
        })
    }

    /// Returns what CC is set to, enabled: the NVM command set, round robin, entries of 64 and 16 bytes.
    pub(crate) const fn configuration(&self) -> u32 {
        let shift = self.page.len().trailing_zeros().wrapping_sub(MemoryPage::LEN_MIN.trailing_zeros());
        spec::CC_ENABLE | spec::CC_ENTRY_SIZES | shift.wrapping_shl(spec::CC_PAGE_SHIFT)
    }

    /// Returns the offsets of the doorbells of queue `id`: submission tail, completion head.
    pub(crate) const fn doorbells(&self, id: u16) -> (u64, u64) {
        #[expect(clippy::as_conversions, reason = "16 bits widened to 64")]
        let first = (id as u64).wrapping_mul(self.doorbell_stride).wrapping_mul(2);
        let tail = spec::DOORBELLS.wrapping_add(first);
        (tail, tail.wrapping_add(self.doorbell_stride))
    }
}

const fn field(word: u64, shift: u32, bits: u32) -> u64 {
    word.wrapping_shr(shift) & 1_u64.wrapping_shl(bits).wrapping_sub(1)
}
