//! [`Rate`]: frames per second as an exact fraction.
//!
//! Drivers count the time of a frame as a fraction of seconds, and round to what their device's clock has. So two rates are the same here where they
//! differ by less than a ten-thousandth: that tells 30 from 29.97 and forgives clocks of 100 ns. `NTSC` rates are meant where decimals name them.

use std::fmt;
use std::str::FromStr;

use super::abi::Fract;

/// Frames per seconds: `frames` of them in `seconds`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// How many frames.
    pub frames: u32,
    /// In how many seconds; 1 for whole rates.
    pub seconds: u32,
}

/// Text that is no rate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no frame rate; write frames per second as 30, 29.97 or 30000/1001")]
pub struct RateError {
    /// What was given.
    pub text: String,
}

/// Decimals that stand for a multiple of 1000/1001: what they name, and the exact rate.
const NTSC: [(&str, u32); 7] = [
    ("23.976", 24_000),
    ("23.98", 24_000),
    ("29.97", 30_000),
    ("47.952", 48_000),
    ("59.94", 60_000),
    ("119.88", 120_000),
    ("14.985", 15_000),
];

impl Rate {
    /// Makes the rate of a time per frame; `None` for no time, which drivers give where they do not know.
    pub(super) const fn of_time(time: Fract) -> Option<Self> {
        if time.numerator == 0 || time.denominator == 0 {
            return None;
        }
        Some(Self { frames: time.denominator, seconds: time.numerator })
    }

    /// Returns the time per frame.
    pub(super) const fn time(self) -> Fract {
        Fract { numerator: self.seconds, denominator: self.frames }
    }

    /// Says whether the two are one rate, but for the rounding of a clock.
    #[must_use]
    pub fn is_about(self, other: Self) -> bool {
        let (left, right) = (cross(self.frames, other.seconds), cross(other.frames, self.seconds));
        left.abs_diff(right).saturating_mul(10_000) <= left.max(right)
    }

    /// Says whether this one is faster.
    #[must_use]
    pub fn is_faster_than(self, other: Self) -> bool {
        cross(self.frames, other.seconds) > cross(other.frames, self.seconds)
    }

    /// Returns frames per second, for messages and sums; 0 where the rate is not a number.
    #[must_use]
    pub fn per_second(self) -> f64 {
        if self.seconds == 0 { 0.0 } else { f64::from(self.frames) / f64::from(self.seconds) }
    }
}

fn cross(frames: u32, seconds: u32) -> u128 {
    u128::from(frames).saturating_mul(u128::from(seconds))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frames, self.seconds)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError { text: text.to_owned() };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u32>().map_err(|_| error()) } else { Err(error()) }
        };
        let (frames, seconds) = if let Some((frames, seconds)) = text.split_once('/') {
            (number(frames)?, number(seconds)?)
        } else if let Some((_, thousandths)) = NTSC.iter().find(|(name, _)| *name == text) {
            (*thousandths, 1001)
        } else if let Some((whole, decimals)) = text.split_once('.') {
            let seconds = 10_u32.checked_pow(u32::try_from(decimals.len()).map_err(|_| error())?);
            let seconds = seconds.ok_or_else(error)?;
            let frames = number(whole)?
                .checked_mul(seconds)
                .and_then(|frames| frames.checked_add(number(decimals).ok()?));
            (frames.ok_or_else(error)?, seconds)
        } else {
            (number(text)?, 1)
        };
        if frames == 0 || seconds == 0 { Err(error()) } else { Ok(Self { frames, seconds }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    #[test]
    fn rates_are_read() {
        let of = |frames, seconds| Rate { frames, seconds };
        assert_eq!(rate("30"), of(30, 1));
        assert_eq!(rate("30000/1001"), of(30_000, 1001));
        assert_eq!(rate("29.97"), of(30_000, 1001));
        assert_eq!(rate("12.5"), of(125, 10));
        assert_eq!(rate("1/10").to_string(), "1/10");
        for text in
            ["", "0", "30/0", "0/1", "-1", "+5", "1e3", "30.", ".5", "1/2/3", "5000000000", "0.00000000001"]
        {
            let error = text.parse::<Rate>().expect_err("no rate");
            assert!(error.to_string().starts_with(&format!("`{text}` is no frame rate")), "{error}");
        }
    }

    #[test]
    fn rates_are_the_same_but_for_the_rounding_of_a_clock() {
        // A camera that counts in 100 ns.
        assert!(rate("30000/1001").is_about(rate("10000000/333667")));
        assert!(rate("30").is_about(rate("60/2")) && rate("30").is_about(rate("10000000/333333")));
        assert!(!rate("30").is_about(rate("29.97")));
        assert!(rate("60").is_faster_than(rate("59.94")) && !rate("30").is_faster_than(rate("60/2")));
        assert_eq!(Rate::of_time(Fract { numerator: 0, denominator: 1 }), None);
        assert_eq!(Rate::of_time(rate("25").time()), Some(rate("25")));
    }
}
