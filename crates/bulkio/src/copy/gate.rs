//! [`Gate`]: when a tape, or any destination behind a buffer with watermarks, runs and when it stands.
//!
//! A drive that runs out of data must stop, go back and start anew, which takes longer than what it waited for. So it starts only when the buffer is
//! full to a mark, and runs until it is empty to another one. Pure: it counts slots and knows no clock.

/// The marks, in slots of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks {
    /// A tape that is written starts with this many filled.
    pub(super) start: usize,
    /// It pauses with this many or fewer; one that is read goes on.
    pub(super) pause: usize,
}

impl Marks {
    /// Makes them for a buffer of `slots`; the options are in range.
    pub(super) fn new(slots: usize, start_percent: u8, pause_percent: u8) -> Self {
        let part = |percent: u8| slots.saturating_mul(percent.into());
        let start = part(start_percent).div_ceil(100).clamp(1, slots.max(1));
        let pause = part(pause_percent).checked_div(100).unwrap_or(0).min(start.saturating_sub(1));
        Self { start, pause }
    }
}

/// The state of a tape that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gate {
    marks: Marks,
    runs: bool,
    starts: u64,
}

impl Gate {
    pub(super) const fn new(marks: Marks) -> Self {
        Self { marks, runs: false, starts: 0 }
    }

    /// Says whether the tape may take the next of `filled` slots; `ended` says that no more will come.
    pub(super) const fn may_run(&mut self, filled: usize, ended: bool) -> bool {
        if ended {
            // What is left is written, however little it is.
            if !self.runs && filled > 0 {
                self.start();
            }
            return true;
        }
        if self.runs {
            self.runs = filled > self.marks.pause;
        } else if filled >= self.marks.start {
            self.start();
        }
        self.runs
    }

    const fn start(&mut self) {
        self.runs = true;
        self.starts = self.starts.saturating_add(1);
    }

    /// Returns how often the tape was started.
    pub(super) const fn starts(&self) -> u64 {
        self.starts
    }
}

/// The state of a tape that is read: it runs until the buffer is full, and goes on when that is nearly empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReadGate {
    marks: Marks,
    runs: bool,
    starts: u64,
}

impl ReadGate {
    pub(super) const fn new(marks: Marks) -> Self {
        Self { marks, runs: false, starts: 0 }
    }

    /// Says whether the tape may fill one of `free` slots, while `in_use` are full or being emptied.
    pub(super) const fn may_run(&mut self, free: usize, in_use: usize) -> bool {
        if self.runs {
            self.runs = free > 0;
        } else if free > 0 && in_use <= self.marks.pause {
            self.runs = true;
            self.starts = self.starts.saturating_add(1);
        }
        self.runs
    }

    /// Returns how often the tape was started.
    pub(super) const fn starts(&self) -> u64 {
        self.starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_in_range_whatever_the_buffer() {
        assert_eq!(Marks::new(10, 80, 20), Marks { start: 8, pause: 2 });
        assert_eq!(Marks::new(4, 80, 20), Marks { start: 4, pause: 0 });
        assert_eq!(Marks::new(1, 1, 0), Marks { start: 1, pause: 0 });
        assert_eq!(Marks::new(3, 100, 99), Marks { start: 3, pause: 2 });
    }

    /// A source that brings one slot while the tape takes `taken` of them; returns how often the tape starts.
    fn starts(marks: Marks, slots: usize, taken: usize, bytes: usize) -> u64 {
        let mut gate = Gate::new(marks);
        let (mut brought, mut filled, mut left) = (0, 0, bytes);
        while left > 0 {
            if brought < bytes && filled < slots {
                brought += 1;
                filled += 1;
            }
            for _ in 0..taken {
                if !gate.may_run(filled, brought == bytes) || filled == 0 {
                    break;
                }
                filled -= 1;
                left -= 1;
            }
        }
        gate.starts()
    }

    #[test]
    fn a_slow_source_makes_few_long_runs_instead_of_many_short_ones() {
        // Twice as fast as its source, a tape stops after each slot without marks.
        let shoe_shining = starts(Marks { start: 1, pause: 0 }, 10, 2, 1000);
        assert!(shoe_shining >= 990, "{shoe_shining}");
        // From 8 slots down to 2, with one more coming for every two that go: about 12 slots a run.
        let streaming = starts(Marks::new(10, 80, 20), 10, 2, 1000);
        assert!((1000 / 14..=1000 / 10).contains(&usize::try_from(streaming).expect("few")), "{streaming}");
        // A source that is fast enough: one run.
        assert_eq!(starts(Marks::new(10, 80, 20), 10, 1, 1000), 1);
    }

    #[test]
    fn little_data_starts_a_tape_when_no_more_comes() {
        let mut gate = Gate::new(Marks::new(10, 80, 20));
        assert!(!gate.may_run(3, false));
        assert!(gate.may_run(3, true) && gate.may_run(0, true));
        assert_eq!(gate.starts(), 1);
        let mut nothing = Gate::new(Marks::new(10, 80, 20));
        assert!(nothing.may_run(0, true));
        assert_eq!(nothing.starts(), 0);
    }

    #[test]
    fn a_tape_that_is_read_waits_for_a_buffer_that_is_nearly_empty() {
        let mut gate = ReadGate::new(Marks { start: 4, pause: 2 });
        assert!(gate.may_run(5, 0) && gate.may_run(1, 4));
        assert!(!gate.may_run(0, 5), "full");
        assert!(!gate.may_run(2, 3), "three are too many");
        assert!(gate.may_run(3, 2) && gate.may_run(1, 4));
        assert_eq!(gate.starts(), 2);
    }
}
