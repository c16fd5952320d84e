//! [`Frames`]: which frames of physical memory are free.
//!
//! One bit a frame, in memory that the caller gives, since it is needed before there is a heap. It can be told what a kind machine
//! never does: to hand out frames that are scattered all over memory, and only high or only low ones. It touches no frame.
//! To take a frame is safe; to say that one is free is not, since whoever takes it next writes to it.
#![expect(
    unsafe_code,
    reason = "who frees a frame promises that nobody has it; see the invariants of Frames"
)]

use lock_api::Mutex;
use scatterlist::sync::Spin;
use scatterlist::{Addr as _, PhysAddr};

/// Bytes of a frame.
pub const FRAME_LEN: u64 = 4096;

/// In which order frames are handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// The lowest free one.
    #[default]
    Ascending,
    /// Anywhere, and never next to the one before.
    Scattered,
}

/// Which frames will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// In which order.
    pub order: Order,
    /// The lowest address.
    pub addr_min: u64,
    /// The highest address (inclusive) of the last byte.
    pub addr_max: u64,
}

impl Choice {
    /// Any frame, the lowest first.
    pub const ANY: Self = Self { order: Order::Ascending, addr_min: 0, addr_max: u64::MAX };
    /// Frames from all over memory.
    pub const SCATTERED: Self = Self { order: Order::Scattered, ..Self::ANY };

    /// Returns the same order for frames from `addr` on.
    #[must_use]
    pub const fn from(self, addr: u64) -> Self {
        Self { addr_min: addr, ..self }
    }

    /// Returns the same order for frames that end by `addr` (inclusive).
    #[must_use]
    pub const fn up_to(self, addr: u64) -> Self {
        Self { addr_max: addr, ..self }
    }
}

/// The free frames of a machine.
///
/// # Invariants
/// 1. A frame that is free here is memory, and nobody uses it.
/// 2. Each frame is handed out to one owner at a time.
#[derive(Debug)]
pub struct Frames {
    state: Mutex<Spin, State>,
}

#[derive(Debug)]
struct State {
    /// A bit for each frame from address 0 on; set where it is free.
    free: &'static mut [u64],
    frames_free: u64,
    /// Where the last frame was taken, and the state of the generator for scattered ones.
    last: u64,
    random: u64,
}

const WORD_BITS: u64 = 64;

impl Frames {
    /// Returns how many words the bits for memory up to `end` take.
    #[must_use]
    pub const fn words_for(end: u64) -> u64 {
        end.div_ceil(FRAME_LEN).div_ceil(WORD_BITS)
    }

    /// Starts with no frame free. `bits` says how far memory can reach.
    #[must_use]
    pub fn new(bits: &'static mut [u64]) -> Self {
        bits.fill(0);
        let state = State { free: bits, frames_free: 0, last: u64::MAX, random: 0x9e37_79b9_7f4a_7c15 };
        Self { state: Mutex::new(state) }
    }

    /// Frees the whole frames between two addresses, as far as there are bits. Those that are free stay so.
    ///
    /// # Safety
    /// 1. The bytes between the addresses are memory, and nobody uses them, now or later, but by taking frames from here.
    /// 2. No frame of them has been taken.
    pub unsafe fn add(&self, start: u64, end: u64) {
        let mut state = self.state.lock();
        let first = start.div_ceil(FRAME_LEN);
        for frame in first..end.checked_div(FRAME_LEN).unwrap_or(0) {
            // Regions of a loader may overlap: what is free already stays as it is.
            state.set(frame, true);
        }
    }

    /// Returns how many frames are free.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.state.lock().frames_free
    }

    /// Takes one frame; `None` where no frame of the choice is free.
    #[must_use]
    pub fn take(&self, choice: Choice) -> Option<PhysAddr> {
        let mut state = self.state.lock();
        let frame = match choice.order {
            Order::Ascending => state.run(1, 1, choice),
            Order::Scattered => state.anywhere(choice),
        }?;
        state.set(frame, false);
        state.last = frame;
        addr_of(frame)
    }

    /// Takes `count` frames in a row, the first at a multiple of `align` bytes.
    #[must_use]
    pub fn take_run(&self, count: u64, align: u64, choice: Choice) -> Option<PhysAddr> {
        let mut state = self.state.lock();
        let first = state.run(count, align.div_ceil(FRAME_LEN).max(1), choice)?;
        for frame in first..first.checked_add(count)? {
            state.set(frame, false);
        }
        addr_of(first)
    }

    /// Gives `count` frames in a row back.
    ///
    /// # Panics
    /// Where a frame is free already, or none: then two thought that it was theirs, and nothing in memory can be trusted.
    ///
    /// # Safety
    /// 1. The frames were taken from here and not given back since.
    /// 2. Nobody uses them any more, neither the CPU nor a device.
    pub unsafe fn give_back(&self, first: PhysAddr, count: u64) {
        let start = first.raw().checked_div(FRAME_LEN).unwrap_or(u64::MAX);
        for frame in start..start.saturating_add(count) {
            // The lock is let go before the panic, whose message may need memory.
            let was_taken = self.state.lock().set(frame, true);
            assert!(was_taken, "frame {frame} of {count} from {start} on is given back, but is not taken");
        }
    }
}

fn addr_of(frame: u64) -> Option<PhysAddr> {
    frame.checked_mul(FRAME_LEN).map(PhysAddr::new)
}

impl State {
    fn frames(&self) -> u64 {
        u64::try_from(self.free.len()).unwrap_or(0).saturating_mul(WORD_BITS)
    }

    fn is_free(&self, frame: u64) -> bool {
        let (word, bit) = place(frame);
        self.free.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Says whether that changed anything.
    fn set(&mut self, frame: u64, free: bool) -> bool {
        let (word, bit) = place(frame);
        let Some(word) = self.free.get_mut(word) else { return false };
        match (free, *word & bit != 0) {
            (true, false) => {
                *word |= bit;
                self.frames_free = self.frames_free.saturating_add(1);
                true
            }
            (false, true) => {
                *word &= !bit;
                self.frames_free = self.frames_free.saturating_sub(1);
                true
            }
            _ => false,
        }
    }

    /// Frames of the choice: the first, and the one past the last.
    fn bounds(&self, choice: Choice) -> (u64, u64) {
        let first = choice.addr_min.div_ceil(FRAME_LEN);
        let end = choice.addr_max.saturating_add(1).checked_div(FRAME_LEN).unwrap_or(0);
        (first, end.min(self.frames()))
    }

    /// Finds `count` free frames in a row.
    fn run(&self, count: u64, align: u64, choice: Choice) -> Option<u64> {
        let (first, end) = self.bounds(choice);
        let mut start = first.checked_next_multiple_of(align)?;
        while start.checked_add(count)? <= end {
            match (start..start.checked_add(count)?).rev().find(|frame| !self.is_free(*frame)) {
                None => return Some(start),
                // Nothing up to the taken one will do.
                Some(taken) => start = taken.checked_add(1)?.checked_next_multiple_of(align)?,
            }
        }
        None
    }

    /// Finds a free frame from a random place on, which is not next to the last one taken.
    fn anywhere(&mut self, choice: Choice) -> Option<u64> {
        let (first, end) = self.bounds(choice);
        let room = end.checked_sub(first).filter(|room| *room > 0)?;
        // xorshift64 (G. Marsaglia, "Xorshift RNGs", 2003).
        self.random ^= self.random.wrapping_shl(13);
        self.random ^= self.random.wrapping_shr(7);
        self.random ^= self.random.wrapping_shl(17);
        let from = first.checked_add(self.random.checked_rem(room)?)?;
        let good = |frame: &u64| self.is_free(*frame) && frame.abs_diff(self.last) > 1;
        (from..end).find(good).or_else(|| (first..from).find(good))
    }
}

/// The word and the bit of a frame.
fn place(frame: u64) -> (usize, u64) {
    let word = frame.checked_div(WORD_BITS).and_then(|word| usize::try_from(word).ok());
    let bit = u32::try_from(frame.checked_rem(WORD_BITS).unwrap_or(0)).unwrap_or(0);
    (word.unwrap_or(usize::MAX), 1_u64.wrapping_shl(bit))
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "small numbers of a test")]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// The bits live for good, so they are leaked.
    fn leaked_frames(count: u64) -> Frames {
        let words = usize::try_from(Frames::words_for(count * FRAME_LEN)).unwrap();
        let frames = Frames::new(Box::leak(vec![0; words].into_boxed_slice()));
        // SAFETY: nobody uses the frames of a test, which are numbers.
        unsafe { frames.add(0, count * FRAME_LEN) };
        frames
    }

    #[test]
    fn every_frame_is_handed_out_once() {
        for order in [Order::Ascending, Order::Scattered] {
            let frames = leaked_frames(300);
            let choice = Choice { order, ..Choice::ANY };
            let mut taken: Vec<u64> = core::iter::from_fn(|| frames.take(choice)).map(|a| a.raw()).collect();
            // The last one may be next to the one before it, which is then refused.
            assert!(taken.len() >= 299 - usize::from(order == Order::Scattered));
            taken.sort_unstable();
            taken.dedup();
            assert!(taken.len() + usize::try_from(frames.free()).unwrap() == 300);
        }
    }

    #[test]
    fn scattered_frames_are_never_neighbours() {
        let frames = leaked_frames(1000);
        let taken: Vec<u64> = (0..200).map(|_| frames.take(Choice::SCATTERED).unwrap().raw()).collect();
        assert!(taken.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > FRAME_LEN));
    }

    #[test]
    fn a_choice_is_kept() {
        let frames = leaked_frames(100);
        let high = Choice::SCATTERED.from(50 * FRAME_LEN);
        assert!((0..20).all(|_| frames.take(high).unwrap().raw() >= 50 * FRAME_LEN));
        let low = Choice::ANY.up_to(2 * FRAME_LEN - 1);
        assert_eq!(frames.take(low).map(scatterlist::Addr::raw), Some(0));
        assert_eq!(frames.take(low).map(scatterlist::Addr::raw), Some(FRAME_LEN));
        assert_eq!(frames.take(low), None);
    }

    #[test]
    fn runs_are_aligned_and_come_back() {
        let frames = leaked_frames(64);
        let one = frames.take(Choice::ANY).unwrap();
        let run = frames.take_run(16, 16 * FRAME_LEN, Choice::ANY).unwrap();
        assert_eq!(run.raw(), 16 * FRAME_LEN);
        assert_eq!(frames.take_run(33, FRAME_LEN, Choice::ANY), None);
        // SAFETY: taken above, and numbers.
        unsafe { frames.give_back(run, 16) };
        // SAFETY: as above.
        unsafe { frames.give_back(one, 1) };
        assert_eq!(frames.free(), 64);
        assert!(frames.take_run(64, FRAME_LEN, Choice::ANY).is_some());
    }

    #[test]
    #[should_panic(expected = "frame 3 of 1 from 3 on is given back, but is not taken")]
    fn a_frame_given_back_twice_by_leaked_frames_is_reported() {
        let frames = leaked_frames(64);
        let run = frames.take_run(8, FRAME_LEN, Choice::ANY).unwrap();
        let third = run.checked_add(3 * FRAME_LEN).unwrap();
        // SAFETY: taken above, and a number.
        unsafe { frames.give_back(third, 1) };
        // SAFETY: none; this is the mistake.
        unsafe { frames.give_back(third, 1) };
    }

    #[test]
    #[should_panic(expected = "but is not taken")]
    fn a_frame_that_leaked_frames_never_had_is_reported() {
        // SAFETY: none; this is the mistake.
        unsafe { leaked_frames(64).give_back(PhysAddr::new(1 << 40), 1) };
    }
}
