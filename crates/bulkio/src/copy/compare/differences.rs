//! [`Differences`]: which blocks of two ranges differ, as ranges.

use super::super::beside::Work;
use super::super::digest::part;
use super::super::reading::Group;
use super::DifferingRange;

/// How many ranges are listed; all are counted.
pub(in super::super) const RANGES_MAX: usize = 256;

/// What differs so far. Bytes come in order.
#[derive(Debug)]
pub(in super::super) struct Differences {
    /// Where the ranges start within a block, and its bytes.
    lead: u64,
    block: u64,
    pub(in super::super) ranges: Vec<DifferingRange>,
    pub(in super::super) count: u64,
    pub(in super::super) bytes: u64,
    /// Where the last differing range ends.
    end: u64,
    /// The first byte that differs.
    pub(in super::super) first: Option<u64>,
}

impl Differences {
    /// `start` is where the range starts on the end whose blocks, of `block` bytes, are told.
    pub(in super::super) fn new(start: u64, block: u64) -> Self {
        let lead = start.checked_rem(block).unwrap_or(0);
        Self { lead, block, ranges: Vec::with_capacity(RANGES_MAX), count: 0, bytes: 0, end: 0, first: None }
    }

    /// Compares bytes from byte `at` of the ranges on, which lie behind all before and end where a block ends, or the range.
    pub(in super::super) fn take(&mut self, at: u64, a: &[u8], b: &[u8]) {
        if a == b {
            return;
        }
        let end = at.saturating_add(u64::try_from(a.len().min(b.len())).unwrap_or(u64::MAX));
        let mut from = at;
        while from < end {
            let into = self.lead.saturating_add(from).checked_rem(self.block).unwrap_or(0);
            let to = from.saturating_add(self.block.saturating_sub(into).max(1)).min(end);
            let (left, right) = (part(a, at, from..to), part(b, at, from..to));
            if left != right {
                if self.first.is_none() {
                    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
                    self.first = Some(from.saturating_add(u64::try_from(same).unwrap_or(0)));
                }
                self.add(from, to);
            }
            from = to;
        }
    }

    fn add(&mut self, from: u64, to: u64) {
        let len = to.saturating_sub(from);
        self.bytes = self.bytes.saturating_add(len);
        let goes_on = self.count > 0 && self.end == from;
        self.end = to;
        if !goes_on {
            self.count = self.count.saturating_add(1);
            if self.ranges.len() < RANGES_MAX {
                self.ranges.push(DifferingRange { at: from, len });
            }
        } else if self.count == u64::try_from(self.ranges.len()).unwrap_or(u64::MAX)
            && let Some(last) = self.ranges.last_mut()
        {
            last.len = last.len.saturating_add(len);
        }
    }
}

impl Work for Differences {
    type Item = Group<2>;

    fn take(&mut self, group: Group<2>) {
        if let [Some(a), Some(b)] = &group {
            Self::take(self, a.at, a.bytes(), b.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(differences: &Differences) -> Vec<(u64, u64)> {
        differences.ranges.iter().map(|range| (range.at, range.len)).collect()
    }

    #[test]
    fn neighbouring_blocks_are_one_range_and_both_ends_are_cut_to_what_was_compared() {
        // The range starts 100 bytes into a block of 512.
        let mut found = Differences::new(612, 512);
        let (a, mut b) = (vec![1; 4000], vec![1; 4000]);
        for at in [5, 411, 412, 1500, 3999] {
            b[at] = 2;
        }
        for (from, to) in [(0, 412), (412, 1436), (1436, 4000)] {
            found.take(from as u64, &a[from..to], &b[from..to]);
        }
        // Blocks begin at 412, 924, 1436, ... and the last is cut at 4000.
        let expected = [(0, 924), (1436, 512), (3996, 4)];
        assert_eq!(ranges(&found), expected);
        assert_eq!(found.bytes, expected.iter().map(|(_, len)| len).sum::<u64>());
        assert_eq!((found.count, found.first), (3, Some(5)));
    }

    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let mut found = Differences::new(0, 512);
        let a = vec![0; 1 << 20];
        let b: Vec<u8> = (0..1 << 20).map(|i| u8::from(i % 1024 < 600)).collect();
        found.take(0, &a, &b);
        assert_eq!((found.count, found.bytes), (1, 1 << 20));
        let mut found = Differences::new(0, 512);
        let b: Vec<u8> = (0..1 << 20).map(|i| u8::from(i % 1024 == 7)).collect();
        found.take(0, &a, &b);
        assert_eq!((found.count, found.bytes, found.first), (1024, 512 * 1024, Some(7)));
        assert_eq!(found.ranges.len(), RANGES_MAX);
        assert!(found.ranges.iter().all(|range| range.len == 512), "what is not listed lengthens nothing");
    }
}
