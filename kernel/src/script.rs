//! [`Script`]: what a scenario moves, made from a seed, so that the kernel does it and the host knows it.
//!
//! The kernel reads `len` bytes at `from` of a source disk and writes them at `to` of a destination; the host does the same with
//! byte vectors, and then compares the images. Transfers of a batch are in flight together and write apart from each other.

use alloc::vec::Vec;

/// Numbers that look random and are the same on both sides: xorshift64* (S. Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled", 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // The state must not be 0.
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0.wrapping_shr(12);
        self.0 ^= self.0.wrapping_shl(25);
        self.0 ^= self.0.wrapping_shr(27);
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `end`; 0 where there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next().wrapping_shr(11).checked_rem(end).unwrap_or(0)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.iter_mut().zip(word).for_each(|(byte, random)| *byte = random);
        }
    }
}

/// One transfer: a read, and a write of what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Where it is read on the source.
    pub from: u64,
    /// Where it is written on the destination.
    pub to: u64,
    /// Bytes.
    pub len: u64,
    /// Where in its first frame the memory starts.
    pub offset: u64,
}

/// What is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Script {
    /// Of the random numbers.
    pub seed: u64,
    /// How many batches.
    pub batches: u64,
    /// Transfers of a batch.
    pub batch_len: u64,
    /// Bytes of a block: positions and lengths are multiples.
    pub block_len: u64,
    /// Bytes of the source.
    pub source_capacity: u64,
    /// Bytes of the destination.
    pub capacity: u64,
    /// The longest transfer.
    pub len_max: u64,
    /// Offsets in the first frame are multiples of this.
    pub offset_unit: u64,
}

impl Script {
    /// Returns the transfers, batch by batch. Those of a batch write to different parts of the destination.
    pub fn batches(self) -> impl Iterator<Item = Vec<Transfer>> {
        let mut random = Random::new(self.seed);
        (0..self.batches)
            .map(move |batch| (0..self.batch_len).map(|j| self.one(&mut random, batch, j)).collect())
    }

    /// Makes one transfer.
    fn one(&self, random: &mut Random, batch: u64, index: u64) -> Transfer {
        let in_blocks = |bytes: u64| bytes.checked_div(self.block_len).unwrap_or(0);
        let part = in_blocks(self.capacity.checked_div(self.batch_len).unwrap_or(0));
        let longest = in_blocks(self.len_max).min(part).max(1);
        // The shortest and the longest are always among them; else as many short ones as long ones.
        let blocks = match (batch, index) {
            (0, 0) => 1,
            (0, 1) => longest,
            _ => {
                let shift = u32::try_from(random.below(12)).unwrap_or(0);
                random.below(longest.wrapping_shr(shift).max(1)).saturating_add(1)
            }
        };
        let from = random.below(in_blocks(self.source_capacity).saturating_sub(blocks).saturating_add(1));
        let to = random.below(part.saturating_sub(blocks).saturating_add(1));
        let to = to.saturating_add(part.saturating_mul(index));
        let offsets = 4096_u64.checked_div(self.offset_unit).unwrap_or(1);
        Transfer {
            from: from.saturating_mul(self.block_len),
            to: to.saturating_mul(self.block_len),
            len: blocks.saturating_mul(self.block_len),
            offset: random.below(offsets).saturating_mul(self.offset_unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: Script = Script {
        seed: 7,
        batches: 50,
        batch_len: 4,
        block_len: 512,
        source_capacity: 32 << 20,
        capacity: 16 << 20,
        len_max: 2 << 20,
        offset_unit: 4,
    };

    #[test]
    fn both_sides_make_the_same_transfers() {
        assert!(SCRIPT.batches().eq(SCRIPT.batches()));
        assert!(!SCRIPT.batches().eq(Script { seed: 8, ..SCRIPT }.batches()));
    }

    #[test]
    fn transfers_are_whole_blocks_within_the_disk_and_apart() {
        let (mut longest, mut furthest) = (0, 0);
        for batch in SCRIPT.batches() {
            let mut end = 0;
            for Transfer { from, to, len, offset } in batch {
                assert!(len > 0 && [from, to, len].iter().all(|bytes| bytes % 512 == 0));
                assert!(from + len <= SCRIPT.source_capacity && to + len <= SCRIPT.capacity);
                assert!(to >= end && offset < 4096 && offset % 4 == 0);
                end = to + len;
                (longest, furthest) = (longest.max(len), furthest.max(from + len));
            }
        }
        assert_eq!(longest, 2 << 20);
        assert!(furthest > SCRIPT.capacity, "the second half of the source is read as well");
    }
}
