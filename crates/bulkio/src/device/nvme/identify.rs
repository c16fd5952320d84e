//! [`Controller`] and [`Format`]: what is read from identify data.
//!
//! NVM Express Base Specification 2.0, section 5.17.2.1 (controller), and NVM Command Set Specification 1.0, sections 4.1.5.1 (namespace)
//! and 4.1.5.2 (controller, for this command set). The bytes come from a device: whatever they are, a value or an error comes of them.

/// The smallest page that a controller may have, which MDTS counts in: CAP.MPSMIN of 0, Base section 3.1.3.1. The register itself is
/// not to be had through a node, and a larger page would make the longest transfer longer.
const PAGE_LEN_MIN: u64 = 4096;

/// The formats that a namespace had at most before there were more bits for them: FLBAS bits 3:0, NVM section 4.1.5.1.
const FORMATS_SHORT: u8 = 16;

/// The shortest block, as a power of two: smaller values of LBADS are not supported ones (NVM section 4.1.5.1, figure 98).
const BLOCK_LEN_LOG2_MIN: u8 = 9;

/// The longest block that is believed, as a power of two: a command names its bytes with 32 bits.
const BLOCK_LEN_LOG2_MAX: u8 = 31;

/// What a controller says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Controller {
    /// Serial number (SN).
    pub serial: String,
    /// Model number (MN).
    pub model: String,
    /// Firmware revision (FR).
    pub firmware: String,
    /// The longest transfer as a power of two of the controller's smallest pages; 0 for no limit (MDTS).
    pub mdts: u8,
    /// Optional I/O commands (ONCS).
    pub oncs: u16,
    /// Volatile write cache (VWC).
    pub vwc: u8,
}

impl Controller {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            serial: text(bytes, 4, 20),
            model: text(bytes, 24, 40),
            firmware: text(bytes, 64, 8),
            mdts: byte(bytes, 77),
            oncs: u16::from_le_bytes(field(bytes, 520)),
            vwc: byte(bytes, 525),
        }
    }

    /// Returns the longest transfer in bytes, with the smallest page that a controller may have; `None` where there is no limit.
    #[must_use]
    pub fn transfer_len_max(&self) -> Option<u64> {
        if self.mdts == 0 { None } else { PAGE_LEN_MIN.checked_shl(self.mdts.into()).filter(|len| *len > 0) }
    }

    /// Says whether there is a cache that loses data with the power, so that flushes matter.
    #[must_use]
    pub const fn has_write_cache(&self) -> bool {
        self.vwc & 1 != 0
    }

    /// Says whether there is dataset management, and with it deallocate.
    #[must_use]
    pub const fn has_deallocate(&self) -> bool {
        self.oncs & 1 << 2 != 0
    }

    /// Says whether there is write zeroes.
    #[must_use]
    pub const fn has_write_zeroes(&self) -> bool {
        self.oncs & 1 << 3 != 0
    }
}

/// The limits of commands without data: NVM section 4.1.5.2. All 0 where the controller does not state them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct CommandLimits {
    /// Most ranges of a deallocation (DMRL).
    pub(super) ranges_max: u8,
    /// Most blocks of a range (DMRSL).
    pub(super) range_blocks_max: u32,
    /// Most blocks of a deallocation (DMSL).
    pub(super) blocks_max: u64,
    /// Most bytes of a write of zeros (WZSL); 0 for no limit.
    pub(super) zeroes_len_max: u64,
}

impl CommandLimits {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let zeroes = byte(bytes, 1);
        Self {
            ranges_max: byte(bytes, 3),
            range_blocks_max: u32::from_le_bytes(field(bytes, 4)),
            blocks_max: u64::from_le_bytes(field(bytes, 8)),
            zeroes_len_max: match zeroes {
                0 => 0,
                // Past 64 bits there is no limit either.
                _ => PAGE_LEN_MIN.checked_mul(1_u64.checked_shl(zeroes.into()).unwrap_or(0)).unwrap_or(0),
            },
        }
    }
}

/// The format of a namespace, and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Format {
    /// Which of the namespace's formats it is.
    pub index: u8,
    /// Its blocks (NSZE).
    pub blocks: u64,
    /// Bytes of a block, without metadata.
    pub block_len: u64,
    /// Bytes of metadata that come with each block (MS).
    pub metadata_len: u16,
    /// The type of protection information, 0 for none (DPS bits 2:0).
    pub protection: u8,
    /// Blocks that transfers should not cross a multiple of; 0 for no statement (NOIOB).
    pub boundary_blocks: u16,
    /// Blocks that writes should be multiples of; 0 for no statement (NPWG).
    pub write_blocks: u32,
}

/// Why identify data of a namespace makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There are no blocks: the namespace is not active.
    #[error("the namespace has 0 blocks: it is not active")]
    NoBlocks,
    /// The length of a block is none that there is.
    #[error("format {index} has blocks of 2^{block_len_log2} bytes, and they have 2^9 to 2^31")]
    BlockLen {
        /// The format.
        index: u8,
        /// The length as a power of two (LBADS).
        block_len_log2: u8,
    },
    /// The size passes 64 bits.
    #[error("{blocks} blocks of {block_len} bytes do not fit into 64 bits")]
    Size {
        /// The blocks.
        blocks: u64,
        /// Bytes of a block.
        block_len: u64,
    },
}

impl Format {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (formats_less_one, flbas) = (byte(bytes, 25), byte(bytes, 26));
        // Bits 6:5 are the high ones, and mean something only where there are more formats than the low ones count.
        let high = if formats_less_one < FORMATS_SHORT { 0 } else { (flbas & 0x60) >> 1 };
        let index = flbas & 0xf | high;
        let [low, up, block_len_log2, _] =
            field(bytes, usize::from(index).saturating_mul(4).saturating_add(128));
        let blocks = u64::from_le_bytes(field(bytes, 0));
        if blocks == 0 {
            return Err(FormatError::NoBlocks);
        }
        if !(BLOCK_LEN_LOG2_MIN..=BLOCK_LEN_LOG2_MAX).contains(&block_len_log2) {
            return Err(FormatError::BlockLen { index, block_len_log2 });
        }
        let block_len = 1_u64 << block_len_log2;
        blocks.checked_mul(block_len).ok_or(FormatError::Size { blocks, block_len })?;
        // OPTPERF: NPWG holds something, less one.
        let states_writes = byte(bytes, 24) & 1 << 4 != 0;
        let write_blocks = u32::from(u16::from_le_bytes(field(bytes, 64))).saturating_add(1);
        Ok(Self {
            index,
            blocks,
            block_len,
            metadata_len: u16::from_le_bytes([low, up]),
            protection: byte(bytes, 29) & 0b111,
            boundary_blocks: u16::from_le_bytes(field(bytes, 46)),
            write_blocks: if states_writes { write_blocks } else { 0 },
        })
    }

    /// Returns the bytes of the namespace, without metadata.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        // It was parsed, so it fits.
        self.blocks.saturating_mul(self.block_len)
    }
}

/// Returns `N` bytes at `at`; zeros past the end.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Returns an ASCII field without the blanks around it.
fn text(bytes: &[u8], at: usize, len: usize) -> String {
    let bytes = bytes.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default();
    let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' };
    bytes.iter().map(shown).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn namespace(edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(&0x2_0000_u64.to_le_bytes());
        bytes[128 + 2] = 9;
        edit(&mut bytes);
        bytes
    }

    #[test]
    fn a_controller_is_read() {
        let mut bytes = vec![0; 4096];
        bytes[4..24].copy_from_slice(b"S1                  ");
        bytes[24..41].copy_from_slice(b"  A disk\0 \x07  of q");
        bytes[64..72].copy_from_slice(b"1.2     ");
        (bytes[77], bytes[520], bytes[525]) = (5, 0b1100, 7);
        let controller = Controller::parse(&bytes);
        assert_eq!((&*controller.serial, &*controller.firmware), ("S1", "1.2"));
        assert_eq!(controller.model, "A disk     of q");
        assert_eq!(controller.transfer_len_max(), Some(128 << 10));
        assert!(controller.has_write_cache() && controller.has_deallocate() && controller.has_write_zeroes());
        for (mdts, len) in [(0, None), (1, Some(8192)), (51, Some(1 << 63)), (52, None), (255, None)] {
            assert_eq!(Controller { mdts, ..controller.clone() }.transfer_len_max(), len);
        }
        assert!(!Controller::parse(&[]).has_write_cache());
    }

    #[test]
    fn a_format_is_read() {
        let format = Format::parse(&namespace(|_| {})).unwrap();
        assert_eq!((format.index, format.block_len, format.len_bytes()), (0, 512, 64 << 20));
        assert_eq!((format.metadata_len, format.protection, format.write_blocks), (0, 0, 0));
        // Format 3: blocks of 4096 with 8 bytes of metadata and protection of type 1.
        let bytes = namespace(|bytes| {
            (bytes[25], bytes[26], bytes[29]) = (7, 0x63, 0x09);
            bytes[140..144].copy_from_slice(&[8, 0, 12, 0]);
            (bytes[24], bytes[46], bytes[64]) = (1 << 4, 8, 7);
        });
        let format = Format::parse(&bytes).unwrap();
        assert_eq!((format.index, format.block_len, format.metadata_len, format.protection), (3, 4096, 8, 1));
        assert_eq!((format.boundary_blocks, format.write_blocks), (8, 8));
        // With more than 16 formats the high bits of its number count.
        let bytes = namespace(|bytes| {
            (bytes[25], bytes[26]) = (16, 0x20);
            bytes[128 + 4 * 16 + 2] = 12;
        });
        assert_eq!(Format::parse(&bytes).map(|format| (format.index, format.block_len)), Ok((16, 4096)));
        let refused = |edit: fn(&mut [u8])| Format::parse(&namespace(edit)).unwrap_err().to_string();
        assert_eq!(refused(|bytes| bytes[..8].fill(0)), "the namespace has 0 blocks: it is not active");
        assert_eq!(
            refused(|bytes| bytes[130] = 8),
            "format 0 has blocks of 2^8 bytes, and they have 2^9 to 2^31"
        );
        assert!(refused(|bytes| bytes[..8].fill(0xff)).ends_with("do not fit into 64 bits"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..=4096), small in 0..64_u8) {
            let mut bytes = bytes;
            for _ in 0..2 {
                if let Ok(format) = Format::parse(&bytes) {
                    prop_assert!(format.blocks > 0 && format.block_len.is_power_of_two());
                    prop_assert!((512..=1 << 31).contains(&format.block_len));
                    prop_assert_eq!(format.len_bytes() / format.block_len, format.blocks);
                    prop_assert!(format.index < 64 && format.protection < 8 && format.write_blocks <= 1 << 16);
                }
                let controller = Controller::parse(&bytes);
                prop_assert!(controller.transfer_len_max().is_none_or(|len| len >= 4096 && len.is_power_of_two()));
                prop_assert!(controller.serial.len() <= 20 && controller.model.len() <= 40);
                let limits = CommandLimits::parse(&bytes);
                prop_assert!(limits.zeroes_len_max == 0 || limits.zeroes_len_max >= 4096);
                // Again, with few blocks and formats that are likely ones.
                if let Some(rest) = bytes.get_mut(4..8) {
                    rest.fill(0);
                }
                for at in (130..bytes.len().min(384)).step_by(4) {
                    if let Some(log2) = bytes.get_mut(at) {
                        *log2 = small;
                    }
                }
            }
        }
    }
}
