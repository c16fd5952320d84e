//! What scenarios and the host that judges them both know: sizes and counts that no word of the command line says.
//!
//! The kernel works by them, the host computes from them what must have happened; a number that stands on one side only is no
//! judge of the other.

/// Of the scenario `stalled`.
pub mod stalled {
    /// Bytes of a request.
    pub const LEN: u64 = 16 << 10;
    /// Requests that are given to the stalled disk together.
    pub const REQUESTS: u64 = 12;
}

/// Of the scenario `masked`.
pub mod masked {
    /// Blocks that are moved; each goes through the engine twice, which takes 100 ms a time.
    pub const BLOCKS: u64 = 8;
    /// Bytes of a block: what the engine moves at once.
    pub const BLOCK_LEN: u64 = 2048;
}

/// Of the scenario `merged`.
pub mod merged {
    /// Returns how many streams a workload has.
    #[must_use]
    pub fn streams(workload: &str) -> Option<u64> {
        match workload {
            "sequential" => Some(1),
            "interleaved" => Some(4),
            _ => None,
        }
    }
}
