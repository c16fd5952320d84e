//! [`Run`]s: what verification remembers of a range: a checksum of 128 bits for each mebibyte.
//!
//! A run is a part of the range without a gap that does not cross a multiple of [`RUN_LEN`], so it does not depend on how the range was cut into
//! requests. [`Runs`] makes them of bytes in order; [`Checker`] holds bytes that were read back against them. Memory: 32 bytes for each run, so
//! 32 MiB for each tebibyte.
//!
//! The checksum is XXH3: one core makes it about as fast as memory is read, so a fast disk is not read back at the pace of a digest. It is for what cables,
//! media and drivers damage, and no defence against somebody who chooses bytes; its seed is drawn anew by each process, so that no file carries bytes for
//! which it fails. Digests that people compare are those of `--hash`.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

use twox_hash::XxHash3_128;

/// The longest run, in bytes.
pub(in super::super) const RUN_LEN: u64 = 1 << 20;

/// What makes the checksums of this process its own.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(RUN_LEN));

/// The checksum of a run on its way: 128 bits, so damage at random stays unnoticed about once in 2^128 times.
struct Checksum(XxHash3_128);

impl Default for Checksum {
    fn default() -> Self {
        Self(XxHash3_128::with_seed(*SEED))
    }
}

impl Checksum {
    fn of(bytes: &[u8]) -> u128 {
        XxHash3_128::oneshot_with_seed(*SEED, bytes)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Returns that of all bytes so far, and begins anew.
    fn end(&mut self) -> u128 {
        core::mem::take(self).0.finish_128()
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checksum")
    }
}

/// A part of the range and its checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Run {
    /// Byte of the range at which it begins.
    pub(in super::super) at: u64,
    /// At most [`RUN_LEN`].
    len: u32,
    checksum: u128,
}

impl Run {
    pub(in super::super) fn len(&self) -> u64 {
        self.len.into()
    }

    pub(in super::super) fn end(&self) -> u64 {
        self.at.saturating_add(self.len())
    }

    /// Says whether these are its bytes.
    #[cfg(test)]
    pub(in super::super) fn is_of(&self, bytes: &[u8]) -> bool {
        Checksum::of(bytes) == self.checksum
    }
}

/// Returns bytes `from..to` of a slice that begins at byte `at`, as far as it reaches.
pub(in super::super) fn part(bytes: &[u8], at: u64, part: Range<u64>) -> &[u8] {
    let index = |position: u64| {
        usize::try_from(position.saturating_sub(at)).map_or(bytes.len(), |index| index.min(bytes.len()))
    };
    bytes.get(index(part.start)..index(part.end)).unwrap_or_default()
}

/// The end of the run that byte `at` lies in.
fn run_end(at: u64) -> u64 {
    at.saturating_add(1).checked_next_multiple_of(RUN_LEN).unwrap_or(u64::MAX)
}

/// Makes runs of bytes.
#[derive(Debug, Default)]
pub(in super::super) struct Runs {
    runs: Vec<Run>,
    checksum: Checksum,
    /// What it is of so far.
    open: Range<u64>,
    /// That of a whole run of zeros.
    zero_checksum: Option<u128>,
}

impl Runs {
    /// Takes bytes from `at` on, which lie behind all before.
    pub(in super::super) fn take(&mut self, at: u64, bytes: &[u8]) {
        if at != self.open.end {
            self.close();
            self.open = at..at;
        }
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        while self.open.end < end {
            let until = run_end(self.open.end).min(end);
            self.checksum.take(part(bytes, at, self.open.end..until));
            self.open.end = until;
            if until.checked_rem(RUN_LEN) == Some(0) {
                self.close();
            }
        }
    }

    /// Takes some of the zeros that lie between byte `at` and `end`: a whole run at once, else `zeros`. Returns the byte behind them.
    pub(in super::super) fn take_zeros(&mut self, at: u64, zeros: &[u8], end: u64) -> u64 {
        let run_end = at.saturating_add(RUN_LEN);
        if at.checked_rem(RUN_LEN) != Some(0) || run_end > end {
            let zeros = part(zeros, at, at..self::run_end(at));
            self.take(at, zeros);
            return at.saturating_add(u64::try_from(zeros.len()).unwrap_or(u64::MAX));
        }
        self.close();
        let len = u32::try_from(RUN_LEN).unwrap_or(u32::MAX);
        let zeros = || vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let checksum = *self.zero_checksum.get_or_insert_with(|| Checksum::of(&zeros()));
        self.runs.push(Run { at, len, checksum });
        self.open = run_end..run_end;
        run_end
    }

    fn close(&mut self) {
        let at = self.open.start;
        let len = u32::try_from(self.open.end.saturating_sub(at)).unwrap_or(u32::MAX);
        if len > 0 {
            self.runs.push(Run { at, len, checksum: self.checksum.end() });
        }
        self.open = self.open.end..self.open.end;
    }

    pub(in super::super) fn finish(mut self) -> Vec<Run> {
        self.close();
        self.runs
    }
}

/// Holds bytes against runs.
#[derive(Debug)]
pub(in super::super) struct Checker {
    runs: Vec<Run>,
    /// The run that is being looked at, and how far.
    current: usize,
    done: u64,
    checksum: Checksum,
    checked: u64,
    bad: Vec<Run>,
    bad_max: usize,
    bad_count: u64,
    bad_bytes: u64,
}

/// What a check found.
#[derive(Debug, Default)]
pub(in super::super) struct Checked {
    /// Bytes of the runs that were seen whole.
    pub(in super::super) bytes: u64,
    /// The first runs that differ.
    pub(in super::super) bad: Vec<Run>,
    /// How many differ, and their bytes.
    pub(in super::super) bad_count: u64,
    pub(in super::super) bad_bytes: u64,
}

impl Checker {
    /// Keeps the first `bad_max` runs that differ, and counts the others.
    pub(in super::super) fn new(runs: Vec<Run>, bad_max: usize) -> Self {
        let bad = Vec::with_capacity(bad_max);
        let checksum = Checksum::default();
        Self { runs, current: 0, done: 0, checksum, checked: 0, bad, bad_max, bad_count: 0, bad_bytes: 0 }
    }

    /// Takes bytes from `at` on, which lie behind all before. What lies in no run is left out.
    pub(in super::super) fn take(&mut self, at: u64, bytes: &[u8]) {
        let end = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        while let Some(run) = self.runs.get(self.current).copied().filter(|run| run.at < end) {
            let from = run.at.saturating_add(self.done).max(at);
            let until = run.end().min(end);
            self.checksum.take(part(bytes, at, from..until));
            self.done = until.saturating_sub(run.at);
            if until < run.end() {
                return;
            }
            if self.checksum.end() != run.checksum {
                self.bad_count = self.bad_count.saturating_add(1);
                self.bad_bytes = self.bad_bytes.saturating_add(run.len());
                if self.bad.len() < self.bad_max {
                    self.bad.push(run);
                }
            }
            self.checked = self.checked.saturating_add(run.len());
            self.current = self.current.saturating_add(1);
            self.done = 0;
        }
    }

    pub(in super::super) fn finish(self) -> Checked {
        let Self { checked, bad, bad_count, bad_bytes, .. } = self;
        Checked { bytes: checked, bad, bad_count, bad_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7 + i * i / 1000) as u8).collect()
    }

    fn runs_of(pieces: &[(usize, usize)], all: &[u8]) -> Vec<Run> {
        let mut runs = Runs::default();
        for (from, to) in pieces {
            runs.take(*from as u64, &all[*from..*to]);
        }
        runs.finish()
    }

    const LEN: usize = 3 * RUN_LEN as usize + 12_345;

    #[test]
    fn a_checksum_is_that_of_the_whole_run() {
        let all = bytes(LEN);
        let runs = runs_of(&[(0, LEN)], &all);
        assert_eq!(runs.len(), 4);
        for (run, chunk) in runs.iter().zip(all.chunks(RUN_LEN as usize)) {
            assert!(run.is_of(chunk) && !run.is_of(&chunk[1..]));
        }
        assert_eq!(runs.iter().map(Run::len).sum::<u64>(), LEN as u64);
    }

    #[test]
    fn gaps_end_runs_and_are_left_out_when_all_is_read_back() {
        let all = bytes(LEN);
        let runs = runs_of(&[(0, 10), (20, 40), (RUN_LEN as usize - 1, LEN)], &all);
        let places: Vec<_> = runs.iter().map(|run| (run.at, run.len())).collect();
        let expected = [
            (0, 10),
            (20, 20),
            (RUN_LEN - 1, 1),
            (RUN_LEN, RUN_LEN),
            (2 * RUN_LEN, RUN_LEN),
            (3 * RUN_LEN, 12_345),
        ];
        assert_eq!(places, expected);
        let mut back = all.clone();
        // In a gap, nobody knows what should be there.
        back[15] ^= 1;
        back[LEN - 1] ^= 0x80;
        back[25] ^= 4;
        let mut checker = Checker::new(runs, 1);
        back.chunks(100_000).enumerate().for_each(|(i, chunk)| checker.take(i as u64 * 100_000, chunk));
        let checked = checker.finish();
        assert_eq!((checked.bad_count, checked.bad_bytes, checked.bad.len()), (2, 20 + 12_345, 1));
        assert_eq!(checked.bad[0].at, 20);
        assert_eq!(checked.bytes, expected.iter().map(|(_, len)| len).sum::<u64>());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

        /// However the bytes are cut, there and back, the runs are the same and a flipped bit is found in its run alone.
        #[test]
        fn cuts_do_not_matter(
            (there, back) in (1..700_000_usize, 1..700_000_usize),
            flipped in prop::option::of(0..LEN * 8),
        ) {
            let mut all = bytes(LEN);
            let cut = |len: usize| -> Vec<(usize, usize)> {
                (0..LEN).step_by(len).map(|from| (from, (from + len).min(LEN))).collect()
            };
            let runs = runs_of(&cut(there), &all);
            prop_assert_eq!(&runs, &runs_of(&[(0, LEN)], &all));
            if let Some(bit) = flipped {
                all[bit / 8] ^= 1 << (bit % 8);
            }
            let mut checker = Checker::new(runs, 9);
            for (from, to) in cut(back) {
                checker.take(from as u64, &all[from..to]);
            }
            let checked = checker.finish();
            prop_assert_eq!(checked.bytes, LEN as u64);
            let expected: Vec<u64> = flipped.iter().map(|bit| *bit as u64 / 8 / RUN_LEN * RUN_LEN).collect();
            prop_assert_eq!(checked.bad.iter().map(|run| run.at).collect::<Vec<_>>(), expected);
        }
    }
}
