//! Data that no disk and no file system can compress or share, made faster than a disk writes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const BLOCK_BYTES: usize = 4 << 20;

/// Writes `bytes` of random data to `file` and waits until they are on the disk.
pub(crate) fn write_random(file: &Path, bytes: u64) -> Result<()> {
    let what = || format!("cannot write {bytes} bytes to {}", file.display());
    let mut out = File::create(file).with_context(what)?;
    let mut random = Random::default();
    let mut block = vec![0_u8; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        random.fill(&mut block);
        let length = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        out.write_all(block.get(..length).unwrap_or(&block)).with_context(what)?;
        left -= length as u64;
    }
    out.sync_all().with_context(what)
}

/// xorshift64* (Marsaglia 2003, Vigna 2014): a period of 2^64 - 1 words, far past any size here.
pub(super) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Fills whole words of `bytes`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_exact_and_blocks_differ() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_random(file.path(), 2 * BLOCK_BYTES as u64 + 5).unwrap();
        let data = std::fs::read(file.path()).unwrap();
        assert_eq!(data.len(), 2 * BLOCK_BYTES + 5);
        assert_ne!(data[..BLOCK_BYTES], data[BLOCK_BYTES..2 * BLOCK_BYTES]);
    }
}
