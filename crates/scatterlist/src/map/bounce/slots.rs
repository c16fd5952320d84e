//! [`Slots`]: which slots of the pool are free, one bit each, in sets that no run crosses.
//!
//! A search starts at the set where the last one ended and passes over full sets 64 at a time; a set where a run of some
//! length was not found is not searched for one again until something is freed there. So a search is short
//! unless the pool is nearly full or shredded, and never longer than the pool. Nothing here touches the memory.

use alloc::vec::Vec;

use super::place::Wanted;
use crate::{Addr as _, CpuAddr};

/// Slots of one set that belong to somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    set: usize,
    first: u64,
    /// How many slots, at least 1.
    pub(super) slots: u64,
    /// Where the first slot is, in the addresses of lists.
    pub(super) addr: u64,
    /// Where the CPU sees it.
    pub(super) cpu: CpuAddr,
}

/// One set: contiguous memory of at most as many slots as the layout says.
#[derive(Debug)]
pub(super) struct Set {
    addr: u64,
    cpu: CpuAddr,
    slots: u64,
    free: u64,
    /// No free run here is longer.
    longest: u64,
    /// A bit for each slot, set while it is taken; bits past the last slot are set for good.
    taken: Vec<u64>,
}

/// All sets of a pool.
#[derive(Debug)]
pub(super) struct Slots {
    slot_len: u64,
    sets: Vec<Set>,
    /// A bit for each set, set while it has a free slot.
    open: Vec<u64>,
    /// Where the last run was found.
    hint: usize,
}

const WORD_BITS: u64 = 64;

/// The word and the bit of an index.
fn place(index: u64) -> (usize, u64) {
    let word = usize::try_from(index / WORD_BITS).unwrap_or(usize::MAX);
    (word, index % WORD_BITS)
}

/// The bits `from..from + count` of one word.
const fn ones(from: u64, count: u64) -> u64 {
    let all = if count >= WORD_BITS { u64::MAX } else { !(u64::MAX << count) };
    all << from
}

/// Calls `act` with each word that slots `first..first + count` lie in, and their bits there.
fn each_word(words: &mut [u64], first: u64, count: u64, act: impl Fn(&mut u64, u64)) {
    let (mut at, end) = (first, first.saturating_add(count));
    while at < end {
        let (word, bit) = place(at);
        let here = WORD_BITS.saturating_sub(bit).min(end.saturating_sub(at));
        if let Some(word) = words.get_mut(word) {
            act(word, ones(bit, here));
        }
        at = at.saturating_add(here);
    }
}

/// Returns the first bit from `from` on that is set after `turn` was applied to its word; `end` where there is none.
fn next_set(words: &[u64], from: u64, end: u64, turn: impl Fn(u64) -> u64) -> u64 {
    let mut at = from;
    while at < end {
        let (word, bit) = place(at);
        let Some(word) = words.get(word) else { break };
        let rest = turn(*word) & (u64::MAX << bit);
        if rest != 0 {
            let found = at.saturating_sub(bit).saturating_add(u64::from(rest.trailing_zeros()));
            return found.min(end);
        }
        at = at.saturating_sub(bit).saturating_add(WORD_BITS);
    }
    end
}

impl Set {
    pub(super) fn new(addr: u64, cpu: CpuAddr, slots: u64) -> Self {
        let words = usize::try_from(slots.div_ceil(WORD_BITS)).unwrap_or(usize::MAX);
        Self { addr, cpu, slots, free: slots, longest: slots, taken: alloc::vec![0; words] }
    }

    fn next_taken(&self, from: u64) -> u64 {
        next_set(&self.taken, from, self.slots, |word| word)
    }

    fn next_free(&self, from: u64) -> u64 {
        next_set(&self.taken, from, self.slots, |word| !word)
    }

    /// Returns the first slot of a free run that keeps what is wanted.
    fn find(&mut self, wanted: &Wanted<'_>, slot_len: u64) -> Option<u64> {
        let count = wanted.slots();
        let end = self.addr.saturating_add(self.slots.saturating_mul(slot_len));
        if count > self.longest || wanted.out_of_window(self.addr, end) {
            return None;
        }
        let (mut longest, mut from) = (0, 0);
        loop {
            let start = self.next_free(from);
            if start >= self.slots {
                self.longest = longest;
                return None;
            }
            let stop = self.next_taken(start);
            longest = longest.max(stop.saturating_sub(start));
            from = stop;
            let mut at = wanted.candidate(self.addr, start);
            while let Some(first) = at
                && first.saturating_add(count) <= stop
            {
                let slot_addr = self.addr.saturating_add(first.saturating_mul(slot_len));
                if wanted.data_addr(slot_addr).is_some() {
                    return Some(first);
                }
                at = wanted.candidate(self.addr, first.saturating_add(1));
            }
        }
    }

    fn longest_free(&self) -> u64 {
        let (mut longest, mut from) = (0_u64, 0);
        loop {
            let start = self.next_free(from);
            if start >= self.slots {
                return longest;
            }
            from = self.next_taken(start);
            longest = longest.max(from.saturating_sub(start));
        }
    }
}

impl Slots {
    pub(super) fn new(sets: Vec<Set>, slot_len: u64) -> Self {
        let count = u64::try_from(sets.len()).unwrap_or(u64::MAX);
        let words = usize::try_from(count.div_ceil(WORD_BITS)).unwrap_or(usize::MAX);
        let mut open = alloc::vec![0; words];
        each_word(&mut open, 0, count, |word, bits| *word |= bits);
        Self { slot_len, sets, open, hint: 0 }
    }

    /// Takes a run, and returns it with the address of its data.
    pub(super) fn take(&mut self, wanted: &Wanted<'_>) -> Option<(Run, u64)> {
        let sets = u64::try_from(self.sets.len()).unwrap_or(u64::MAX);
        let hint = u64::try_from(self.hint).unwrap_or(0);
        self.take_in(wanted, hint, sets).or_else(|| self.take_in(wanted, 0, hint))
    }

    fn take_in(&mut self, wanted: &Wanted<'_>, from: u64, end: u64) -> Option<(Run, u64)> {
        let mut at = next_set(&self.open, from, end, |word| word);
        while at < end {
            let index = usize::try_from(at).unwrap_or(usize::MAX);
            let set = self.sets.get_mut(index)?;
            if let Some(first) = set.find(wanted, self.slot_len) {
                let slots = wanted.slots();
                let offset = first.saturating_mul(self.slot_len);
                let addr = set.addr.saturating_add(offset);
                let cpu = set.cpu.checked_add(offset)?;
                let data_addr = wanted.data_addr(addr)?;
                each_word(&mut set.taken, first, slots, |word, bits| *word |= bits);
                set.free = set.free.saturating_sub(slots);
                if set.free == 0 {
                    each_word(&mut self.open, at, 1, |word, bits| *word &= !bits);
                }
                self.hint = index;
                return Some((Run { set: index, first, slots, addr, cpu }, data_addr));
            }
            at = next_set(&self.open, at.saturating_add(1), end, |word| word);
        }
        None
    }

    /// Takes a run back.
    pub(super) fn give_back(&mut self, run: Run) {
        let Some(set) = self.sets.get_mut(run.set) else { return };
        each_word(&mut set.taken, run.first, run.slots, |word, bits| *word &= !bits);
        set.free = set.free.saturating_add(run.slots);
        set.longest = set.free;
        let index = u64::try_from(run.set).unwrap_or(u64::MAX);
        each_word(&mut self.open, index, 1, |word, bits| *word |= bits);
    }

    /// Returns all memory, a run for each set, to be cleared before anything is taken.
    pub(super) fn sets_as_runs(&self) -> Vec<Run> {
        let run = |(index, set): (usize, &Set)| Run {
            set: index,
            first: 0,
            slots: set.slots,
            addr: set.addr,
            cpu: set.cpu,
        };
        self.sets.iter().enumerate().map(run).collect()
    }

    /// Returns how many bytes are free.
    pub(super) fn free_bytes(&self) -> u64 {
        let free = self.sets.iter().fold(0_u64, |sum, set| sum.saturating_add(set.free));
        free.saturating_mul(self.slot_len)
    }

    /// Returns the bytes of the longest free run. Walks the pool: for errors.
    pub(super) fn longest_free_bytes(&self) -> u64 {
        let longest = self.sets.iter().map(Set::longest_free).max().unwrap_or(0);
        longest.saturating_mul(self.slot_len)
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::Rules;
    use super::*;
    use crate::Limits;

    fn slots(sets: u64, count: u64) -> Slots {
        let set = |index: u64| Set::new(index << 20, CpuAddr::new(index << 20), count);
        Slots::new((1..=sets).map(set).collect(), 2048)
    }

    #[test]
    fn a_run_of_a_whole_set_is_found_and_none_crosses_sets() {
        let rules = Rules::new(Limits::default().hard(), 2048);
        let wanted = |slots: u64| Wanted { rules: &rules, len: slots * 2048, bits: 0 };
        let mut pool = slots(70, 100);
        assert!(pool.take(&wanted(101)).is_none());
        let mut runs = Vec::new();
        for _ in 0..70 {
            let (run, addr) = pool.take(&wanted(100)).expect("room");
            assert_eq!((run.addr, run.slots), (addr, 100));
            runs.push(run);
        }
        runs.dedup();
        assert_eq!((runs.len(), pool.free_bytes()), (70, 0));
        assert!(pool.take(&wanted(1)).is_none());
        pool.give_back(runs.swap_remove(33));
        let (run, _) = pool.take(&wanted(99)).expect("room");
        assert_eq!((pool.free_bytes(), pool.longest_free_bytes()), (2048, 2048));
        pool.give_back(run);
        for run in runs {
            pool.give_back(run);
        }
        assert_eq!((pool.free_bytes(), pool.longest_free_bytes()), (70 * 100 * 2048, 100 * 2048));
    }

    #[test]
    fn runs_of_many_lengths_never_share_a_slot() {
        let rules = Rules::new(Limits::default().hard(), 2048);
        let mut pool = slots(3, 130);
        let mut live: Vec<Run> = Vec::new();
        let mut random = 1_u64;
        for _ in 0..4000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let slots = (random >> 33) % 9 + 1;
            match pool.take(&Wanted { rules: &rules, len: slots * 2048, bits: 0 }) {
                Some((run, _)) => {
                    let end = |run: &Run| run.addr + run.slots * 2048;
                    assert!(live.iter().all(|other| end(other) <= run.addr || other.addr >= end(&run)));
                    live.push(run);
                }
                None => {
                    assert!(pool.longest_free_bytes() < slots * 2048);
                    let index = usize::try_from(random >> 40).expect("small") % live.len();
                    pool.give_back(live.swap_remove(index));
                }
            }
        }
    }
}
