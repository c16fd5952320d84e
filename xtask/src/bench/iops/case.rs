//! What is measured: the cases, and which of them a filter leaves.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One pattern of operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Case {
    pub(super) write: bool,
    pub(super) random: bool,
    /// Bytes of one operation.
    pub(super) block_bytes: u64,
    /// Operations in flight.
    pub(super) depth: u32,
}

const DEPTHS: [u32; 4] = [1, 16, 64, 256];
const RANDOM_BYTES: u64 = 4 << 10;
const SEQUENTIAL_BYTES: u64 = 1 << 20;
/// 8 MiB in flight: what a copy has, too.
const SEQUENTIAL_DEPTH: u32 = 8;

/// The case that has floors.
pub(super) const FLOOR: Case = Case { write: false, random: true, block_bytes: RANDOM_BYTES, depth: 64 };

/// All cases: reads first, since a device of memory that was never written is their target.
pub(super) fn all() -> Vec<Case> {
    let both = [false, true].into_iter();
    let of = |write| {
        let random = DEPTHS.map(|depth| Case { write, random: true, block_bytes: RANDOM_BYTES, depth });
        let sequential =
            Case { write, random: false, block_bytes: SEQUENTIAL_BYTES, depth: SEQUENTIAL_DEPTH };
        random.into_iter().chain([sequential])
    };
    both.flat_map(of).collect()
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.write { "write" } else { "read" };
        let order = if self.random { "random" } else { "sequential" };
        let kib = self.block_bytes >> 10;
        write!(f, "{order} {way} {kib} KiB depth {}", self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_come_before_writes_and_the_floor_is_among_them() {
        let cases = all();
        assert_eq!(cases.len(), 10);
        assert!(cases.iter().is_sorted_by_key(|case| case.write));
        assert!(cases.contains(&FLOOR));
        assert_eq!(FLOOR.to_string(), "random read 4 KiB depth 64");
    }
}
