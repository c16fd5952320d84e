//! [`Span`]: a run of blocks and the memory that it goes to, and parts of it. For what is sent again: the rest of a short transfer, the
//! blocks before one that failed, halves in search of it.

/// Blocks of a command, with their memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    /// Address of the first block.
    pub(super) lba: u64,
    /// How many.
    pub(super) blocks: u32,
    /// Bytes of each.
    pub(super) block_bytes: u32,
    /// The memory of all, in order.
    pub(super) pieces: &'a [libc::iovec],
}

impl Span<'_> {
    pub(super) const fn bytes(&self) -> u32 {
        self.blocks.saturating_mul(self.block_bytes)
    }

    /// Returns how many blocks a number of bytes is, the last one whole.
    pub(super) fn whole_blocks(&self, bytes: u32) -> u32 {
        bytes.checked_div(self.block_bytes).unwrap_or(0).min(self.blocks)
    }

    /// Returns the memory of `blocks` blocks from block `from` on.
    pub(super) fn memory(&self, from: u32, blocks: u32) -> Vec<libc::iovec> {
        let mut skip = bytes_of(from, self.block_bytes);
        let mut left = bytes_of(blocks, self.block_bytes);
        let mut found = Vec::new();
        for piece in self.pieces {
            if skip >= piece.iov_len {
                skip = skip.saturating_sub(piece.iov_len);
                continue;
            }
            let len = piece.iov_len.saturating_sub(skip).min(left);
            if len == 0 {
                break;
            }
            found.push(libc::iovec { iov_base: piece.iov_base.wrapping_byte_add(skip), iov_len: len });
            (skip, left) = (0, left.saturating_sub(len));
        }
        found
    }
}

/// A command's bytes fit an address, so those of its blocks do.
fn bytes_of(blocks: u32, block_bytes: u32) -> usize {
    usize::try_from(u64::from(blocks).saturating_mul(block_bytes.into())).unwrap_or(usize::MAX)
}

/// Finds the first block that fails among `good..blocks`, all before `good` being known to work; `blocks` where all work now. `try_run(from, count)` moves blocks
/// and says whether all of them did.
///
/// It halves, so it takes as many tries as the count has bits, and one for the last block. Returns how many blocks work, from the first one on; the error is
/// what `try_run` gave up with, and the blocks that worked until then.
pub(super) fn first_bad<E>(
    mut good: u32,
    blocks: u32,
    mut try_run: impl FnMut(u32, u32) -> Result<bool, E>,
) -> Result<u32, (u32, E)> {
    // The run up to `bad` fails somewhere.
    let mut bad = blocks;
    while bad.saturating_sub(good) > 1 {
        let half = bad.saturating_sub(good) / 2;
        match try_run(good, half) {
            Ok(true) => good = good.saturating_add(half),
            Ok(false) => bad = good.saturating_add(half),
            Err(error) => return Err((good, error)),
        }
    }
    // The last one was never tried by itself, unless it was what failed.
    if good < blocks && bad == blocks && try_run(good, 1).map_err(|error| (good, error))? {
        good = good.saturating_add(1);
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(start: usize, len: usize) -> libc::iovec {
        libc::iovec { iov_base: std::ptr::without_provenance_mut(start), iov_len: len }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Byte for byte against the list of all addresses.
        #[test]
        fn a_part_has_the_bytes_of_its_blocks(
            lens in prop::collection::vec(0..40_usize, 1..12),
            (from, count) in (0..30_u32, 0..30_u32),
        ) {
            let pieces: Vec<_> = lens.iter().enumerate().map(|(at, len)| piece(1000 * (at + 1), *len)).collect();
            let addrs = |pieces: &[libc::iovec]| -> Vec<usize> {
                pieces.iter().flat_map(|piece| (0..piece.iov_len).map(|at| piece.iov_base.addr() + at)).collect()
            };
            let all = addrs(&pieces);
            let blocks = u32::try_from(all.len() / 8).unwrap();
            let span = Span { lba: 0, blocks, block_bytes: 8, pieces: &pieces };
            let (from, to) = (from.min(blocks), from.saturating_add(count).min(blocks));
            let part = span.memory(from, to - from);
            prop_assert_eq!(addrs(&part), &all[from as usize * 8..to as usize * 8]);
            prop_assert!(part.iter().all(|piece| piece.iov_len > 0));
        }

        #[test]
        fn the_first_bad_block_is_found(blocks in 1..5000_u32, bad in 0..5000_u32, good in 0..5000_u32) {
            let bad = bad.min(blocks - 1);
            let good = good.min(bad);
            let mut tries = 0_u32;
            let found = first_bad(good, blocks, |from, count| {
                tries += 1;
                Ok::<_, ()>(!(from..from + count).contains(&bad))
            });
            prop_assert_eq!(found, Ok(bad));
            prop_assert!(tries <= 14);
        }

        #[test]
        fn blocks_that_all_work_again_are_all_found_to(blocks in 1..5000_u32, good in 0..5000_u32) {
            let good = good.min(blocks);
            prop_assert_eq!(first_bad(good, blocks, |_, _| Ok::<_, ()>(true)), Ok(blocks));
        }
    }
}
