//! [`Information`] and [`NamespaceInformation`]: what the driver reads from identify data.
//!
//! NVM Express Base Specification 2.0, section 5.17.2.1 (controller), and NVM Command Set Specification 1.0, section
//! 4.1.5.1 (namespace). The bytes come from a device, so every field is read as it is and judged later.

use alloc::string::String;
use alloc::vec::Vec;

use scatterlist::desc::sgl::Granularity;

/// What a controller says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Information {
    /// Serial number (SN).
    pub serial: String,
    /// Model number (MN).
    pub model: String,
    /// Firmware revision (FR).
    pub firmware: String,
    /// The longest transfer, as a power of two of smallest pages; 0 for no limit (MDTS).
    pub mdts: u8,
    /// Optional admin commands (OACS).
    pub oacs: u16,
    /// Aborts at a time, less one (ACL).
    pub acl: u8,
    /// Required submission entry size, a power of two (SQES, low half).
    pub sqes: u8,
    /// Required completion entry size, a power of two (CQES, low half).
    pub cqes: u8,
    /// Commands in flight in a queue, at most; 0 for no statement (MAXCMD).
    pub maxcmd: u16,
    /// The highest namespace identifier (NN).
    pub nn: u32,
    /// Optional I/O commands (ONCS).
    pub oncs: u16,
    /// Volatile write cache (VWC).
    pub vwc: u8,
    /// Support for SGLs (SGLS).
    pub sgls: u32,
}

impl Information {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let [sqes, cqes] = [512, 513].map(|at| u8::from_le_bytes(field(bytes, at)) & 0xf);
        Self {
            serial: text(bytes, 4, 20),
            model: text(bytes, 24, 40),
            firmware: text(bytes, 64, 8),
            mdts: u8::from_le_bytes(field(bytes, 77)),
            oacs: u16::from_le_bytes(field(bytes, 256)),
            acl: u8::from_le_bytes(field(bytes, 258)),
            sqes,
            cqes,
            maxcmd: u16::from_le_bytes(field(bytes, 514)),
            nn: u32::from_le_bytes(field(bytes, 516)),
            oncs: u16::from_le_bytes(field(bytes, 520)),
            vwc: u8::from_le_bytes(field(bytes, 525)),
            sgls: u32::from_le_bytes(field(bytes, 536)),
        }
    }

    /// Returns what SGLs demand of memory; `None` where there are no SGLs (SGLS, bits 1:0).
    #[must_use]
    pub const fn sgl(&self) -> Option<Granularity> {
        match self.sgls & 0b11 {
            0b01 => Some(Granularity::Byte),
            0b10 => Some(Granularity::Dword),
            _ => None,
        }
    }

    /// Says whether there is a cache that loses data with the power, so that flushes matter.
    #[must_use]
    pub const fn has_write_cache(&self) -> bool {
        self.vwc & 1 != 0
    }

    /// Says whether there is deallocate (dataset management).
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

/// What a controller says of a namespace, in the format that it has now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamespaceInformation {
    /// Blocks (NSZE).
    pub blocks: u64,
    /// Bytes of a block, as a power of two (LBADS).
    pub block_len_log2: u8,
    /// Bytes of metadata with each block (MS).
    pub metadata_len: u16,
    /// Features (NSFEAT).
    pub nsfeat: u8,
    /// Blocks that I/O should not cross a multiple of; 0 for no statement (NOIOB).
    pub noiob: u16,
    /// Blocks that writes should be multiples of, less one, where bit 4 of NSFEAT is set (NPWG).
    pub npwg: u16,
    /// Blocks that suit writes best, less one, same condition (NOWS).
    pub nows: u16,
}

impl NamespaceInformation {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let [flbas] = field(bytes, 26);
        // Bits 3:0 and, above them, bits 6:5.
        let format = usize::from(flbas & 0xf | (flbas & 0x60) >> 1);
        let at = format.saturating_mul(4).saturating_add(128);
        let [metadata_low, metadata_high, block_len_log2, _] = field(bytes, at);
        let [nsfeat] = field(bytes, 24);
        Self {
            blocks: u64::from_le_bytes(field(bytes, 0)),
            block_len_log2,
            metadata_len: u16::from_le_bytes([metadata_low, metadata_high]),
            nsfeat,
            noiob: u16::from_le_bytes(field(bytes, 46)),
            npwg: u16::from_le_bytes(field(bytes, 64)),
            nows: u16::from_le_bytes(field(bytes, 72)),
        }
    }

    /// Says whether NPWG and NOWS hold something (NSFEAT bit 4, OPTPERF).
    #[must_use]
    pub const fn has_write_hints(&self) -> bool {
        self.nsfeat & 1 << 4 != 0
    }
}

/// Returns the identifiers of a list of active namespaces: up to the first zero.
pub(crate) fn namespace_ids(bytes: &[u8]) -> Vec<u32> {
    let (ids, _) = bytes.as_chunks::<4>();
    ids.iter().map(|id| u32::from_le_bytes(*id)).take_while(|id| *id != 0).collect()
}

/// Returns `N` bytes at `at`; zeros past the end.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Returns an ASCII field without the blanks at its end.
fn text(bytes: &[u8], at: usize, len: usize) -> String {
    let bytes = bytes.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default();
    let shown = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { ' ' };
    let text: String = bytes.iter().map(|byte| shown(*byte)).collect();
    String::from(text.trim())
}
