//! [`Sequence`]: counts the frames that are missing, by the numbers that the driver gives them.
//!
//! A driver counts every frame of its device, also those that it had no memory for (Documentation/userspace-api/media/v4l/buffer.rst, `sequence`), so a gap is what was
//! lost. The numbers have 32 bits and go round. Pure arithmetic.

/// Follows the numbers of a stream's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sequence {
    last: Option<u32>,
    missing: u64,
    repeated: u64,
}

impl Sequence {
    /// Begins with a stream: its first frame may have any number.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None, missing: 0, repeated: 0 }
    }

    /// Takes the number of the next frame; returns how many are missing before it.
    ///
    /// A number that is not ahead of the last one (the same again, or one from before) is none that is missing: it is counted in
    /// [`Sequence::repeated`].
    pub fn next(&mut self, number: u32) -> u32 {
        let Some(last) = self.last.replace(number) else { return 0 };
        let step = number.wrapping_sub(last);
        // Half of all numbers are ahead, half behind.
        if step == 0 || step > u32::MAX / 2 {
            self.repeated = self.repeated.saturating_add(1);
            return 0;
        }
        let missing = step.saturating_sub(1);
        self.missing = self.missing.saturating_add(missing.into());
        missing
    }

    /// Returns how many frames are missing so far.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Returns how many frames had a number that is not ahead of the one before: a driver that does not count.
    #[must_use]
    pub const fn repeated(&self) -> u64 {
        self.repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_also_where_the_numbers_go_round() {
        let mut sequence = Sequence::new();
        let found: Vec<u32> = [7, 8, 9, 12, 13, 14, 1014].map(|number| sequence.next(number)).to_vec();
        assert_eq!(found, [0, 0, 0, 2, 0, 0, 999]);
        assert_eq!((sequence.missing(), sequence.repeated()), (1001, 0));
        let mut round = Sequence::new();
        assert_eq!([u32::MAX - 1, u32::MAX, 0, 1, 4].map(|number| round.next(number)), [0, 0, 0, 0, 2]);
        let mut over = Sequence::new();
        assert_eq!([u32::MAX - 1, 2].map(|number| over.next(number)), [0, 3]);
    }

    #[test]
    fn a_driver_that_does_not_count_loses_nothing() {
        let mut sequence = Sequence::new();
        assert_eq!([0, 0, 0].map(|number| sequence.next(number)), [0; 3]);
        assert_eq!((sequence.missing(), sequence.repeated()), (0, 2));
        assert_eq!((sequence.next(5), sequence.next(3), sequence.next(4)), (4, 0, 0));
        assert_eq!((sequence.missing(), sequence.repeated()), (4, 3));
    }
}
