//! [`Cdb`]: a command descriptor block, and the constructors of those that this library sends.
//!
//! Fields are big-endian. Commands of all devices are those of SPC-4, of disks those of SBC-3, of tapes those of SSC-4; each constructor
//! names the command as the standard does, and the tests read the blocks back field by field.

use std::fmt;

/// Longest block that has a fixed form here: the longest of SPC-4 4.3 that is not of variable length.
const CDB_BYTES_MAX: usize = 16;

/// Most blocks that READ (10) and WRITE (10) transfer: the field has 16 bits (SBC-3, "READ (10) command").
const BLOCKS_MAX_10: u32 = 0xffff;

/// All pages in one answer: page code 3Fh (SPC-4, "MODE SENSE (6) command").
const ALL_PAGES: u8 = 0x3f;

/// Bytes that are no command descriptor block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a command block of {bytes} bytes: it must have between 6 and {CDB_BYTES_MAX}")]
pub struct CdbError {
    /// How many bytes there were.
    pub bytes: usize,
}

/// A command descriptor block of at most 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cdb {
    bytes: [u8; CDB_BYTES_MAX],
    len: u8,
}

impl Cdb {
    /// Takes a block as it is.
    ///
    /// # Errors
    /// [`CdbError`]: too few or too many bytes.
    pub fn from_bytes(block: &[u8]) -> Result<Self, CdbError> {
        let mut bytes = [0; CDB_BYTES_MAX];
        let place = bytes.get_mut(..block.len()).filter(|place| place.len() >= 6);
        place.ok_or(CdbError { bytes: block.len() })?.copy_from_slice(block);
        Ok(Self { bytes, len: u8::try_from(block.len()).unwrap_or(0) })
    }

    const fn of_6(bytes: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = bytes;
        Self { bytes: [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], len: 6 }
    }

    /// A block of 10: operation code, flags, an address at 2, a byte at 6, a length at 7.
    const fn of_10(opcode: u8, flags: u8, addr: u32, len: u16) -> Self {
        let [a, b, c, d] = addr.to_be_bytes();
        let [e, f] = len.to_be_bytes();
        Self { bytes: [opcode, flags, a, b, c, d, 0, e, f, 0, 0, 0, 0, 0, 0, 0], len: 10 }
    }

    /// A block of 16: operation code, flags, an address at 2, a length at 10.
    const fn of_16(opcode: u8, flags: u8, addr: u64, len: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = addr.to_be_bytes();
        let [i, j, k, l] = len.to_be_bytes();
        Self { bytes: [opcode, flags, a, b, c, d, e, f, g, h, i, j, k, l, 0, 0], len: 16 }
    }

    /// TEST UNIT READY (SPC-4).
    #[must_use]
    pub const fn test_unit_ready() -> Self {
        Self::of_6([0x00, 0, 0, 0, 0, 0])
    }

    /// REQUEST SENSE (SPC-4), fixed format, answered in at most `len` bytes.
    #[must_use]
    pub const fn request_sense(len: u8) -> Self {
        Self::of_6([0x03, 0, 0, 0, len, 0])
    }

    /// INQUIRY (SPC-4) for the standard data, answered in at most `len` bytes.
    #[must_use]
    pub const fn inquiry(len: u16) -> Self {
        let [high, low] = len.to_be_bytes();
        Self::of_6([0x12, 0, 0, high, low, 0])
    }

    /// INQUIRY (SPC-4) for the page `page` of vital product data, answered in at most `len` bytes.
    #[must_use]
    pub const fn inquiry_vpd(page: u8, len: u16) -> Self {
        let [high, low] = len.to_be_bytes();
        Self::of_6([0x12, 0x01, page, high, low, 0])
    }

    /// MODE SENSE (6) (SPC-4): current values of all pages, without block descriptors, answered in at most `len` bytes: those that
    /// the header takes are enough for write protection.
    #[must_use]
    pub const fn mode_sense_6(len: u8) -> Self {
        Self::of_6([0x1a, 0x08, ALL_PAGES, 0, len, 0])
    }

    /// MODE SENSE (10) (SPC-4), as [`mode_sense_6`](Self::mode_sense_6).
    #[must_use]
    pub const fn mode_sense_10(len: u16) -> Self {
        let mut cdb = Self::of_10(0x5a, 0x08, 0, len);
        cdb.bytes[2] = ALL_PAGES;
        cdb
    }

    /// READ CAPACITY (10) (SBC-3): 8 bytes.
    #[must_use]
    pub const fn read_capacity_10() -> Self {
        Self::of_10(0x25, 0, 0, 0)
    }

    /// READ CAPACITY (16) (SBC-3), a service action of SERVICE ACTION IN (16), answered in at most `len` bytes of 32.
    #[must_use]
    pub const fn read_capacity_16(len: u32) -> Self {
        Self::of_16(0x9e, 0x10, 0, len)
    }

    /// READ (10) or READ (16) (SBC-3), the shortest that holds both numbers.
    #[must_use]
    pub fn read(lba: u64, blocks: u32) -> Self {
        Self::ranged(lba, blocks, 0x28, 0x88)
    }

    /// WRITE (10) or WRITE (16) (SBC-3), the shortest that holds both numbers.
    #[must_use]
    pub fn write(lba: u64, blocks: u32) -> Self {
        Self::ranged(lba, blocks, 0x2a, 0x8a)
    }

    /// SYNCHRONIZE CACHE (10) (SBC-3) for all blocks: address 0, count 0.
    #[must_use]
    pub const fn synchronize_cache_10() -> Self {
        Self::of_10(0x35, 0, 0, 0)
    }

    /// SYNCHRONIZE CACHE (16) (SBC-3) for all blocks: address 0, count 0.
    #[must_use]
    pub const fn synchronize_cache_16() -> Self {
        Self::of_16(0x91, 0, 0, 0)
    }

    /// READ BLOCK LIMITS (SSC-4): 6 bytes.
    #[must_use]
    pub const fn read_block_limits() -> Self {
        Self::of_6([0x05, 0, 0, 0, 0, 0])
    }

    /// A count of 0 would mean none in both forms, so it is harmless.
    fn ranged(lba: u64, blocks: u32, opcode_10: u8, opcode_16: u8) -> Self {
        match (u32::try_from(lba), u16::try_from(blocks)) {
            (Ok(lba), Ok(blocks)) => Self::of_10(opcode_10, 0, lba, blocks),
            _ => Self::of_16(opcode_16, 0, lba, blocks),
        }
    }

    /// Returns the most blocks that a read or write from `lba` on has without needing the long form: a hint for devices that know
    /// READ (10) alone.
    #[must_use]
    pub const fn blocks_max_short() -> u32 {
        BLOCKS_MAX_10
    }

    /// Returns the bytes of the block.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    /// Returns the operation code.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.bytes[0]
    }

    /// Returns the name of the command, as its standard has it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match (self.bytes[0], self.bytes[1]) {
            (0x00, _) => "TEST UNIT READY",
            (0x03, _) => "REQUEST SENSE",
            (0x05, _) => "READ BLOCK LIMITS",
            (0x12, _) => "INQUIRY",
            (0x1a, _) => "MODE SENSE (6)",
            (0x25, _) => "READ CAPACITY (10)",
            (0x28, _) => "READ (10)",
            (0x2a, _) => "WRITE (10)",
            (0x35, _) => "SYNCHRONIZE CACHE (10)",
            (0x5a, _) => "MODE SENSE (10)",
            (0x88, _) => "READ (16)",
            (0x8a, _) => "WRITE (16)",
            (0x91, _) => "SYNCHRONIZE CACHE (16)",
            (0x9e, action) if action & 0x1f == 0x10 => "READ CAPACITY (16)",
            _ => "a SCSI command",
        }
    }
}

impl fmt::Debug for Cdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cdb(")?;
        for (at, byte) in self.as_bytes().iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{byte:02x}")?;
        }
        write!(f, ": {})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a transfer as a target does, from the tables of SBC-3 alone: whether it writes, address, count.
    fn walk(block: &[u8]) -> Option<(bool, u64, u64)> {
        let number = |at: usize, len: usize| {
            block[at..at + len].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
        };
        // Flags (protection, DPO, FUA), group number and control byte are 0.
        let (writes, lba, blocks, rest) = match (block[0], block.len()) {
            (0x28 | 0x2a, 10) => {
                (block[0] == 0x2a, number(2, 4), number(7, 2), [block[1], block[6], block[9]])
            }
            (0x88 | 0x8a, 16) => {
                (block[0] == 0x8a, number(2, 8), number(10, 4), [block[1], block[14], block[15]])
            }
            _ => return None,
        };
        (rest == [0; 3]).then_some((writes, lba, blocks))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_target_reads_what_was_asked(
            lba in prop_oneof![0..1_u64 << 33, any::<u64>()],
            blocks in prop_oneof![0..0x2_0000_u32, any::<u32>()],
        ) {
            for (cdb, writes) in [(Cdb::read(lba, blocks), false), (Cdb::write(lba, blocks), true)] {
                prop_assert_eq!(walk(cdb.as_bytes()), Some((writes, lba, blocks.into())));
                let short = lba <= u32::MAX.into() && blocks <= Cdb::blocks_max_short();
                prop_assert_eq!(cdb.as_bytes().len(), if short { 10 } else { 16 });
            }
        }

        #[test]
        fn blocks_of_a_possible_length_are_taken(block in prop::collection::vec(any::<u8>(), 0..24)) {
            match Cdb::from_bytes(&block) {
                Ok(cdb) => prop_assert_eq!(cdb.as_bytes(), &*block),
                Err(error) => {
                    prop_assert!(!(6..=16).contains(&block.len()));
                    prop_assert_eq!(error.bytes, block.len());
                }
            }
        }
    }

    /// The tables of the standards, written out.
    #[test]
    fn small_commands_are_as_the_standards_have_them() {
        let golden: [(Cdb, &[u8]); 13] = [
            (Cdb::test_unit_ready(), &[0, 0, 0, 0, 0, 0]),
            (Cdb::request_sense(252), &[3, 0, 0, 0, 252, 0]),
            (Cdb::inquiry(0x124), &[0x12, 0, 0, 1, 0x24, 0]),
            (Cdb::inquiry_vpd(0xb0, 64), &[0x12, 1, 0xb0, 0, 64, 0]),
            (Cdb::mode_sense_6(4), &[0x1a, 8, 0x3f, 0, 4, 0]),
            (Cdb::mode_sense_10(8), &[0x5a, 8, 0x3f, 0, 0, 0, 0, 0, 8, 0]),
            (Cdb::read_capacity_10(), &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Cdb::read_capacity_16(32), &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0]),
            (Cdb::read(0x0102_0304, 0x506), &[0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0]),
            (Cdb::write(1 << 32, 7), &[0x8a, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0]),
            (Cdb::synchronize_cache_10(), &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Cdb::synchronize_cache_16(), &[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (Cdb::read_block_limits(), &[5, 0, 0, 0, 0, 0]),
        ];
        for (cdb, bytes) in golden {
            assert_eq!(cdb.as_bytes(), bytes);
            assert_ne!(cdb.name(), "a SCSI command", "{cdb:?}");
        }
        assert_eq!(format!("{:?}", Cdb::read(1, 2)), "Cdb(28 00 00 00 00 01 00 00 02 00: READ (10))");
    }
}
