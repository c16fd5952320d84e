//! [`DiskFacts`]: what a disk says of itself: capacity, block limits, write protection. The parsers take any bytes.

use std::time::Duration;

use crate::device::scsi::{Cdb, CommandError, Inquiry, Transport, Vpd, ask, serial_of, wwid_of};

/// INQUIRY's version of a device that follows SPC-3, from which on READ CAPACITY (16) is asked first.
const VERSION_SPC_3: u8 = 5;

/// Bytes of the answer to READ CAPACITY (16) (SBC-3, "READ CAPACITY (16) parameter data").
const CAPACITY_16_BYTES: u8 = 32;

/// What READ CAPACITY (10) answers where the last address needs more bits.
const LAST_LBA_TOO_LARGE: u32 = u32::MAX;

/// What a disk says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DiskFacts {
    /// Who made it, and what kind of device it is.
    pub inquiry: Inquiry,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its world-wide name.
    pub wwid: Option<String>,
    /// How many blocks it has.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Bytes of a physical block.
    pub physical_block_bytes: u32,
    /// The type of protection information it is formatted with; 0 for none.
    pub protection: u8,
    /// Whether it knows the commands of 16 bytes.
    pub knows_16: bool,
    /// What it wants of transfers, if it says.
    pub block_limits: BlockLimits,
    /// Whether it is write-protected; `None` where it does not say.
    pub is_write_protected: Option<bool>,
}

/// What a disk wants of transfers: SBC-3, "Block Limits VPD page". In blocks; 0 where it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct BlockLimits {
    /// Transfers that are a multiple of this are best.
    pub granularity_blocks: u16,
    /// Longer transfers are refused.
    pub transfer_blocks_max: u32,
    /// Longer transfers are slower.
    pub transfer_blocks_opt: u32,
}

impl BlockLimits {
    /// Decodes the page behind its header; what is missing is 0.
    fn parse(page: &[u8]) -> Self {
        // Offsets of the standard count the header's four bytes.
        let number = |at: usize, len: usize| {
            let field = page.get(at..).and_then(|rest| rest.get(..len)).unwrap_or(&[]);
            field.iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte))
        };
        Self {
            granularity_blocks: u16::try_from(number(2, 2)).unwrap_or(0),
            transfer_blocks_max: number(4, 4),
            transfer_blocks_opt: number(8, 4),
        }
    }
}

/// What READ CAPACITY says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Capacity {
    blocks: u64,
    block_bytes: u32,
    physical_exponent: u8,
    protection: u8,
    knows_16: bool,
}

impl Capacity {
    /// SBC-3, "READ CAPACITY (16) parameter data".
    fn parse_16(bytes: &[u8; CAPACITY_16_BYTES as usize]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, protection, exponent, ..] = *bytes;
        Self {
            // The last address of all makes a capacity that no number holds: one block less.
            blocks: u64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_add(1),
            block_bytes: u32::from_be_bytes([i, j, k, l]),
            physical_exponent: exponent & 0x0f,
            // Bit 0 says whether there is any, bits 3 to 1 which, counted from type 1.
            protection: if protection & 1 == 0 { 0 } else { ((protection >> 1) & 0x07).saturating_add(1) },
            knows_16: true,
        }
    }

    /// SBC-3, "READ CAPACITY (10) parameter data"; `None` where the address does not fit.
    fn parse_10(bytes: [u8; 8]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let last = u32::from_be_bytes([a, b, c, d]);
        (last != LAST_LBA_TOO_LARGE).then(|| Self {
            blocks: u64::from(last).saturating_add(1),
            block_bytes: u32::from_be_bytes([e, f, g, h]),
            physical_exponent: 0,
            protection: 0,
            knows_16: false,
        })
    }

    /// Asks, the longer form first where the device is of a standard that has it.
    fn ask(transport: &dyn Transport, version: u8, timeout: Duration) -> Result<Self, CommandError> {
        let long = || {
            let mut bytes = [0; CAPACITY_16_BYTES as usize];
            // Block length and address are what it takes at least; devices of SBC-2 answer with 12 bytes.
            ask(transport, &Cdb::read_capacity_16(CAPACITY_16_BYTES.into()), &mut bytes, 12, timeout)?;
            Ok(Self::parse_16(&bytes))
        };
        if version >= VERSION_SPC_3 {
            match long() {
                Err(error) if CommandError::is_unsupported(&error) => {}
                other => return other,
            }
        }
        let mut bytes = [0; 8];
        ask(transport, &Cdb::read_capacity_10(), &mut bytes, 8, timeout)?;
        Self::parse_10(bytes).map_or_else(long, Ok)
    }
}

impl DiskFacts {
    /// Asks a disk, whose INQUIRY data is known. Pages that it does not have are no error.
    pub(super) fn ask(
        transport: &dyn Transport,
        inquiry: Inquiry,
        timeout: Duration,
    ) -> Result<Self, CommandError> {
        let capacity = Capacity::ask(transport, inquiry.version, timeout)?;
        let pages = Vpd::SUPPORTED.ask(transport, timeout).unwrap_or_default();
        let page = |page: Vpd| {
            let has = pages.contains(&page.0);
            has.then(|| page.ask(transport, timeout).ok()).flatten()
        };
        Ok(Self {
            serial: page(Vpd::SERIAL).and_then(|page| serial_of(&page)),
            wwid: page(Vpd::IDENTIFICATION).and_then(|page| wwid_of(&page)),
            blocks: capacity.blocks,
            block_bytes: capacity.block_bytes,
            physical_block_bytes: capacity
                .block_bytes
                .checked_shl(capacity.physical_exponent.into())
                .unwrap_or(capacity.block_bytes),
            protection: capacity.protection,
            knows_16: capacity.knows_16,
            block_limits: page(Vpd::BLOCK_LIMITS).map(|page| BlockLimits::parse(&page)).unwrap_or_default(),
            is_write_protected: write_protected(transport, timeout),
            inquiry,
        })
    }

    /// Returns the bytes that the disk holds, the most that a number holds where they are more.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes.into())
    }
}

/// Asks for the header of the mode pages, whose device-specific byte has the write-protect bit on top (SBC-3, "Mode parameter header").
fn write_protected(transport: &dyn Transport, timeout: Duration) -> Option<bool> {
    let is_set = |byte: u8| byte & 0x80 != 0;
    let mut short = [0; 4];
    if ask(transport, &Cdb::mode_sense_6(4), &mut short, 3, timeout).is_ok() {
        let [_, _, specific, _] = short;
        return Some(is_set(specific));
    }
    let mut long = [0; 8];
    ask(transport, &Cdb::mode_sense_10(8), &mut long, 4, timeout).ok()?;
    let [_, _, _, specific, ..] = long;
    Some(is_set(specific))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_read() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&0x1_0000_0000_u64.to_be_bytes());
        bytes[8..12].copy_from_slice(&512_u32.to_be_bytes());
        (bytes[12], bytes[13]) = (0b0101, 0xf3);
        let capacity = Capacity::parse_16(&bytes);
        assert_eq!((capacity.blocks, capacity.block_bytes), (0x1_0000_0001, 512));
        assert_eq!((capacity.protection, capacity.physical_exponent), (3, 3));
        // The type means nothing unless protection is on.
        bytes[12] = 0b0100;
        assert_eq!(Capacity::parse_16(&bytes).protection, 0);
        assert_eq!(Capacity::parse_16(&[0xff; 32]).blocks, u64::MAX);
        let short = Capacity::parse_10([0, 0, 0x7f, 0xff, 0, 0, 2, 0]).unwrap();
        assert_eq!((short.blocks, short.block_bytes, short.knows_16), (0x8000, 512, false));
        assert_eq!(Capacity::parse_10([0xff; 8]), None);
    }

    #[test]
    fn block_limits_are_read_as_far_as_they_go() {
        let page = [0, 0, 0, 8, 0, 0, 0x20, 0, 0, 0, 4, 0, 9, 9, 9];
        let limits =
            BlockLimits { granularity_blocks: 8, transfer_blocks_max: 0x2000, transfer_blocks_opt: 0x400 };
        assert_eq!(BlockLimits::parse(&page), limits);
        let cut = BlockLimits::parse(&page[..10]);
        assert_eq!((cut.transfer_blocks_max, cut.transfer_blocks_opt), (0x2000, 0));
        assert_eq!(BlockLimits::parse(&[]), BlockLimits::default());
    }
}
