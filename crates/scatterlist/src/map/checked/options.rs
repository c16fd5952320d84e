//! [`LedgerOptions`]: the cache line, the error address, and the bounds of what a ledger keeps.

/// What a [`Ledger`](super::Ledger) assumes and how much it keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedgerOptions {
    /// Bytes of a cache line, a power of two. Default: 64.
    pub cache_line_len: u64,
    /// The bus address that stands for a failed mapping. Default: `u64::MAX`, as in Linux
    /// (`include/linux/dma-mapping.h`, `DMA_MAPPING_ERROR`).
    pub error_addr: u64,
    /// Most spans that live mappings may have together; each mapping counts its CPU-side and its bus segments, and at
    /// least one. A mapping past that is not recorded, which is a finding. Default: 65,536.
    pub spans_max: usize,
    /// Most findings that are kept; the rest are counted. Default: 1,024.
    pub findings_max: usize,
    /// Most mappings that are remembered after they were unmapped, so that findings can say when that was. Default:
    /// 256.
    pub freed_max: usize,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            cache_line_len: 64,
            error_addr: u64::MAX,
            spans_max: 65_536,
            findings_max: 1_024,
            freed_max: 256,
        }
    }
}

/// Options that no ledger can work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A cache line is a power of two long.
    #[error("cache_line_len is {value}, it must be a power of two")]
    CacheLineLen {
        /// What it is.
        value: u64,
    },
}
