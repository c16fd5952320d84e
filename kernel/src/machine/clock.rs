//! [`Tsc`]: nanoseconds since the start, by the time stamp counter.
//!
//! Its rate is measured once against counter 0 of the PIT (Intel 8254 data sheet), whose 1.193182 MHz every PC has. The counter runs
//! down once, and says in its status when it has run out: a measurement that was held up for longer is made again.
#![expect(unsafe_code, reason = "reads the counter, and the ports of the PIT")]

use x86_64::instructions::port::Port;

use crate::registers::Clock;

/// Ticks of the PIT in a second.
const PIT_HZ: u64 = 1_193_182;
/// Ticks over which the counter's rate is measured: 20 ms.
const TICKS: u16 = 23_864;
/// How often it is measured until it was not held up. The counter runs for 55 ms.
const TRIES: u32 = 8;
/// How often the PIT is looked at in one measurement. A look is four accesses to ports, which take a microsecond each where they are
/// real and some tens of nanoseconds where they are not.
const LOOKS: u32 = 1 << 20;

/// Control words: counter 0, both bytes, mode 0 ("interrupt on terminal count"); read back of its status and count.
const START: u8 = 0b0011_0000;
const READ_BACK: u8 = 0b1100_0010;
/// Of the status: the output is high, the count has run out; the count that was written is not yet in the counter.
const OUT: u8 = 1 << 7;
const NULL_COUNT: u8 = 1 << 6;

/// Why there is no clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// Each measurement was held up, or there is no PIT.
    #[error("the PIT ran out in each of {TRIES} measurements of {TICKS} ticks, before the CPU saw it")]
    HeldUp,
    /// The PIT or the time stamp counter stands still.
    #[error(
        "in {LOOKS} looks the PIT counted {ticks} ticks of {TICKS}, the time stamp counter {cycles} cycles"
    )]
    Still {
        /// What the PIT counted.
        ticks: u16,
        /// What the time stamp counter counted.
        cycles: u64,
    },
}

/// The clock.
#[derive(Clone, Copy, Debug)]
pub struct Tsc {
    start: u64,
    hz: u64,
}

impl Tsc {
    /// Measures the rate of the counter. Takes 20 ms, or less than half a second where it is held up.
    ///
    /// # Errors
    /// [`ClockError`].
    pub fn calibrated() -> Result<Self, ClockError> {
        for _ in 0..TRIES {
            if let Some((ticks, begin, end)) = measured()? {
                let cycles = end.wrapping_sub(begin);
                let hz = cycles.saturating_mul(PIT_HZ).checked_div(u64::from(ticks)).filter(|hz| *hz > 0);
                return hz.map(|hz| Self { start: end, hz }).ok_or(ClockError::Still { ticks, cycles });
            }
        }
        Err(ClockError::HeldUp)
    }
}

/// Measures once: the ticks of the PIT, and the time stamp counter at the first and the last. `None` where the PIT has run out.
fn measured() -> Result<Option<(u16, u64, u64)>, ClockError> {
    let mut data = Port::<u8>::new(0x40);
    // SAFETY: starts counter 0, which nothing else uses; the interrupt at its end goes nowhere, since interrupts are off.
    unsafe { Port::<u8>::new(0x43).write(START) };
    for half in [0, 0] {
        // SAFETY: as above: the two halves of the first value, where 0 is 65536.
        unsafe { data.write(half) };
    }
    let mut first: Option<(u16, u64)> = None;
    let (mut ticks, mut cycles) = (0, 0);
    for _ in 0..LOOKS {
        let (status, count) = pit();
        let now = counter();
        if status & OUT != 0 {
            return Ok(None);
        }
        if status & NULL_COUNT != 0 {
            continue;
        }
        let (first, begin) = *first.get_or_insert((count, now));
        ticks = first.wrapping_sub(count);
        cycles = now.wrapping_sub(begin);
        if ticks >= TICKS {
            return Ok(Some((ticks, begin, now)));
        }
    }
    Err(ClockError::Still { ticks, cycles })
}

impl Clock for Tsc {
    fn now_ns(&self) -> u64 {
        let ticks = u128::from(counter().wrapping_sub(self.start));
        let ns = ticks.saturating_mul(1_000_000_000).checked_div(u128::from(self.hz)).unwrap_or(0);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    fn pause(&self) {
        core::hint::spin_loop();
    }
}

fn counter() -> u64 {
    // SAFETY: every 64-bit x86 has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads the status of counter 0, and what it has come down to.
fn pit() -> (u8, u16) {
    // SAFETY: latches the status and the value of counter 0.
    unsafe { Port::<u8>::new(0x43).write(READ_BACK) };
    let mut data = Port::<u8>::new(0x40);
    // SAFETY: reads the status that was latched, which comes first.
    let status = unsafe { data.read() };
    // SAFETY: reads the lower half of the value.
    let low = unsafe { data.read() };
    // SAFETY: reads the upper half.
    let high = unsafe { data.read() };
    (status, u16::from_le_bytes([low, high]))
}
