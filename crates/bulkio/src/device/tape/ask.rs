//! [`Asker`]: how many bytes to ask for, where a block is as long as it likes.
//!
//! A read that asks for too little passes the block and must go back, so the first one asks for much. Later ones ask for twice the longest
//! block so far: that is enough for a tape of one block length and its shorter last block, and little enough that it goes without the driver's
//! copy. Pure arithmetic.

/// Bytes of the first read, where the drive takes that many: what direct I/O of most adapters reaches.
const FIRST_LEN: u64 = 1 << 20;

/// How many bytes to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asker {
    /// The longest block so far.
    longest: u64,
    /// What a block that was too long for the last read makes necessary.
    at_least: u64,
    /// The most that the driver moves directly.
    direct_max: u64,
    /// The most that the drive takes.
    len_max: u64,
}

impl Asker {
    /// Makes one for a drive that takes `len_max` bytes at a time, of which the driver moves `direct_max` directly.
    pub(super) fn new(len_max: u64, direct_max: u64) -> Self {
        Self { longest: 0, at_least: 0, direct_max, len_max: len_max.max(1) }
    }

    /// Returns the bytes to ask for next.
    pub(super) fn want(&self) -> u64 {
        let len = match self.longest {
            0 => FIRST_LEN,
            longest => {
                let twice = longest.saturating_mul(2);
                if twice <= self.direct_max { twice } else { longest.max(self.direct_max.min(twice)) }
            }
        };
        len.max(self.at_least).min(self.len_max)
    }

    /// Takes the length of a block that was read.
    pub(super) fn read(&mut self, len: u64) {
        self.longest = self.longest.max(len);
        self.at_least = 0;
    }

    /// A block was longer than `asked`: asks for more next time. `false` where there is no more.
    pub(super) fn grow(&mut self, asked: u64) -> bool {
        if asked >= self.len_max {
            return false;
        }
        self.at_least = asked.saturating_mul(2).max(FIRST_LEN).min(self.len_max);
        true
    }

    /// The drive takes no read of `asked` bytes: asks for less from now on. `false` where there is no less.
    pub(super) fn shrink(&mut self, asked: u64) -> bool {
        let less = asked.div_ceil(2);
        if less >= asked || less < self.longest || less < self.at_least.div_ceil(2) {
            return false;
        }
        self.len_max = less;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn much_at_first_and_twice_the_longest_then() {
        let mut asker = Asker::new((1 << 24) - 1, MIB);
        assert_eq!(asker.want(), MIB);
        asker.read(10_240);
        assert_eq!(asker.want(), 20_480);
        asker.read(512);
        assert_eq!(asker.want(), 20_480);
        // Twice as much would be copied by the driver.
        asker.read(700_000);
        assert_eq!(asker.want(), MIB);
        asker.read(3 * MIB);
        assert_eq!(asker.want(), 3 * MIB);
    }

    #[test]
    fn a_longer_block_is_found_in_steps() {
        let mut asker = Asker::new(5 * MIB, MIB);
        asker.read(512);
        // One step back for all blocks up to a MiB.
        assert!(asker.grow(1024));
        assert_eq!(asker.want(), MIB);
        assert!(asker.grow(MIB) && asker.want() == 2 * MIB);
        assert!(asker.grow(2 * MIB) && asker.want() == 4 * MIB);
        assert!(asker.grow(4 * MIB) && asker.want() == 5 * MIB);
        assert!(!asker.grow(5 * MIB));
    }

    #[test]
    fn a_drive_with_short_blocks_is_asked_for_less() {
        let mut asker = Asker::new((1 << 24) - 1, MIB);
        assert!(asker.shrink(MIB) && asker.want() == MIB / 2);
        asker.read(300_000);
        assert!(!asker.shrink(MIB / 2));
        let mut least = Asker::new(1, MIB);
        assert!(!least.shrink(1));
    }
}
