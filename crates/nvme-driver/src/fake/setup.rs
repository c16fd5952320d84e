//! [`Setup`]: what a fake controller is like.

use alloc::vec;
use alloc::vec::Vec;

/// A namespace of a fake controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FakeNamespace {
    /// Its identifier.
    pub id: u32,
    /// Bytes of a block, as a power of two.
    pub block_len_log2: u8,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of metadata with each block.
    pub metadata_len: u16,
    /// Blocks of an optimal I/O boundary, or 0.
    pub noiob: u16,
    /// Which of the 16 formats of its list it says it has; the others are another one.
    pub format: u8,
}

impl FakeNamespace {
    /// Returns a namespace of `blocks` blocks of `2^log2` bytes, without anything special.
    #[must_use]
    pub const fn new(id: u32, block_len_log2: u8, blocks: u64) -> Self {
        Self { id, block_len_log2, blocks, metadata_len: 0, noiob: 0, format: 0 }
    }
}

/// What a fake controller is like. Fields are those of the registers and of the identify data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// CAP.MQES: entries of a queue at most, less one.
    pub mqes: u16,
    /// CAP.DSTRD.
    pub dstrd: u8,
    /// CAP.MPSMIN.
    pub mpsmin: u8,
    /// CAP.MPSMAX.
    pub mpsmax: u8,
    /// CAP.TO, in 500 ms.
    pub to: u8,
    /// CAP.CSS.
    pub css: u8,
    /// CAP.CRMS bit 0 and CRTO.CRWMT, where there.
    pub crwmt: Option<u16>,
    /// MDTS.
    pub mdts: u8,
    /// SGLS.
    pub sgls: u32,
    /// ONCS.
    pub oncs: u16,
    /// VWC.
    pub vwc: u8,
    /// ACL.
    pub acl: u8,
    /// MAXCMD.
    pub maxcmd: u16,
    /// SQES and CQES.
    pub entry_sizes: (u8, u8),
    /// I/O queue pairs that are granted at most.
    pub queues_max: u16,
    /// Nanoseconds from enabling to ready, and from disabling to stopped.
    pub ready_ns: u64,
    /// Its namespaces.
    pub namespaces: Vec<FakeNamespace>,
}

impl Default for Setup {
    /// PRPs and byte SGLs, 64 queues of 1024 entries, no MDTS, every optional command, one namespace of 8 MiB.
    fn default() -> Self {
        Self {
            mqes: 1023,
            dstrd: 0,
            mpsmin: 0,
            mpsmax: 4,
            to: 2,
            css: 1,
            crwmt: None,
            mdts: 0,
            sgls: 0b01,
            oncs: 0b1100,
            vwc: 1,
            acl: 3,
            maxcmd: 0,
            entry_sizes: (0x66, 0x44),
            queues_max: 64,
            ready_ns: 3_000_000,
            namespaces: vec![FakeNamespace::new(1, 9, 1 << 14)],
        }
    }
}
