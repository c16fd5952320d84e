//! [`SampleFormat`]: how one sample lies in memory.
//!
//! Numbers and names are ALSA's (`SNDRV_PCM_FORMAT_*`, include/uapi/sound/asound.h; names as `aplay` and `arecord` take them). Only linear formats of
//! whole bytes are here: what is compressed, or packed past bytes, has no frames that could be counted.

use std::fmt;
use std::str::FromStr;

/// What the numbers of a sample mean.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SampleKind {
    /// Whole numbers, silence at 0.
    Signed,
    /// Whole numbers, silence at half of the range.
    Unsigned,
    /// IEEE 754, from -1 to 1.
    Float,
}

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $kind:ident, $bits:literal in $bytes:literal, $big:literal;)*) => {
        /// A linear sample format.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum SampleFormat {
            $($(#[$doc])* $variant,)*
        }

        impl SampleFormat {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns ALSA's name, such as `S16_LE`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns the number that the kernel knows it by.
            #[must_use]
            pub(super) const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* }
            }

            /// Returns what its numbers mean.
            #[must_use]
            pub const fn kind(self) -> SampleKind {
                match self { $(Self::$variant => SampleKind::$kind,)* }
            }

            /// Returns the bits that carry sound.
            #[must_use]
            pub const fn bits(self) -> u32 {
                match self { $(Self::$variant => $bits,)* }
            }

            /// Returns the bytes that a sample takes in memory.
            #[must_use]
            pub const fn bytes_per_sample(self) -> u32 {
                match self { $(Self::$variant => $bytes,)* }
            }

            /// Says whether the byte with the highest bits comes first.
            #[must_use]
            pub const fn is_big_endian(self) -> bool {
                match self { $(Self::$variant => $big,)* }
            }
        }
    };
}

formats! {
    /// 8 bits, signed.
    S8 = 0, "S8", Signed, 8 in 1, false;
    /// 8 bits, unsigned: what a WAV file of 8 bits holds.
    U8 = 1, "U8", Unsigned, 8 in 1, false;
    /// 16 bits: the common one.
    S16Le = 2, "S16_LE", Signed, 16 in 2, false;
    /// 16 bits, high byte first.
    S16Be = 3, "S16_BE", Signed, 16 in 2, true;
    /// 16 bits, unsigned.
    U16Le = 4, "U16_LE", Unsigned, 16 in 2, false;
    /// 16 bits, unsigned, high byte first.
    U16Be = 5, "U16_BE", Unsigned, 16 in 2, true;
    /// 24 bits in the low three of four bytes.
    S24Le = 6, "S24_LE", Signed, 24 in 4, false;
    /// 24 bits in the low three of four bytes, high byte first.
    S24Be = 7, "S24_BE", Signed, 24 in 4, true;
    /// 24 bits in the low three of four bytes, unsigned.
    U24Le = 8, "U24_LE", Unsigned, 24 in 4, false;
    /// 24 bits in the low three of four bytes, unsigned, high byte first.
    U24Be = 9, "U24_BE", Unsigned, 24 in 4, true;
    /// 32 bits.
    S32Le = 10, "S32_LE", Signed, 32 in 4, false;
    /// 32 bits, high byte first.
    S32Be = 11, "S32_BE", Signed, 32 in 4, true;
    /// 32 bits, unsigned.
    U32Le = 12, "U32_LE", Unsigned, 32 in 4, false;
    /// 32 bits, unsigned, high byte first.
    U32Be = 13, "U32_BE", Unsigned, 32 in 4, true;
    /// Floating point of 32 bits.
    FloatLe = 14, "FLOAT_LE", Float, 32 in 4, false;
    /// Floating point of 32 bits, high byte first.
    FloatBe = 15, "FLOAT_BE", Float, 32 in 4, true;
    /// Floating point of 64 bits.
    Float64Le = 16, "FLOAT64_LE", Float, 64 in 8, false;
    /// Floating point of 64 bits, high byte first.
    Float64Be = 17, "FLOAT64_BE", Float, 64 in 8, true;
    /// 24 bits in three bytes: what a WAV file of 24 bits holds.
    S24_3Le = 32, "S24_3LE", Signed, 24 in 3, false;
    /// 24 bits in three bytes, high byte first.
    S24_3Be = 33, "S24_3BE", Signed, 24 in 3, true;
    /// 24 bits in three bytes, unsigned.
    U24_3Le = 34, "U24_3LE", Unsigned, 24 in 3, false;
    /// 24 bits in three bytes, unsigned, high byte first.
    U24_3Be = 35, "U24_3BE", Unsigned, 24 in 3, true;
}

impl SampleFormat {
    /// What is taken where nothing is asked for: the first of these that a device has.
    pub(super) const PREFERRED: &'static [Self] =
        &[Self::S16Le, Self::S24_3Le, Self::S32Le, Self::S24Le, Self::FloatLe, Self::U8];

    /// Returns the format with a kernel's number.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.number() == number)
    }

    /// Returns a sample of silence: the first [`bytes_per_sample`](Self::bytes_per_sample) of these bytes.
    #[must_use]
    pub fn silence(self) -> [u8; 8] {
        let mut sample = [0; 8];
        if self.kind() == SampleKind::Unsigned {
            // Half of the range is the highest bit that carries sound.
            let bytes_of_sound = self.bits().div_ceil(8);
            let high = bytes_of_sound.saturating_sub(1);
            let at = if self.is_big_endian() {
                self.bytes_per_sample().saturating_sub(1).saturating_sub(high)
            } else {
                high
            };
            if let Some(byte) = usize::try_from(at).ok().and_then(|at| sample.get_mut(at)) {
                *byte = 0x80;
            }
        }
        sample
    }
}

impl fmt::Display for SampleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no sample format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no sample format {name:?}; there are {}", list(SampleFormat::ALL))]
pub struct UnknownFormat {
    /// The word.
    pub name: String,
}

impl FromStr for SampleFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|format| format.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

/// Values in words, with commas.
pub(super) fn list<T: fmt::Display>(values: &[T]) -> String {
    let words: Vec<_> = values.iter().map(ToString::to_string).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for format in SampleFormat::ALL.iter().copied() {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(format.name().to_lowercase().parse(), Ok(format));
            assert_eq!(SampleFormat::of_number(format.number()), Some(format));
            assert!(format.bits() <= 8 * format.bytes_per_sample(), "{format}");
        }
        assert_eq!(SampleFormat::of_number(31), None);
        let error = "S17".parse::<SampleFormat>().unwrap_err().to_string();
        assert!(
            error.starts_with("there is no sample format \"S17\"; there are S8, U8, S16_LE, "),
            "{error}"
        );
    }

    #[test]
    fn silence_is_the_middle_of_the_range() {
        assert_eq!(SampleFormat::S16Le.silence(), [0; 8]);
        assert_eq!(SampleFormat::FloatBe.silence(), [0; 8]);
        assert_eq!(SampleFormat::U8.silence()[..1], [0x80]);
        assert_eq!(SampleFormat::U16Le.silence()[..2], [0, 0x80]);
        assert_eq!(SampleFormat::U16Be.silence()[..2], [0x80, 0]);
        assert_eq!(SampleFormat::U24Le.silence()[..4], [0, 0, 0x80, 0]);
        assert_eq!(SampleFormat::U24Be.silence()[..4], [0, 0x80, 0, 0]);
        assert_eq!(SampleFormat::U24_3Be.silence()[..3], [0x80, 0, 0]);
        assert_eq!(SampleFormat::U32Le.silence()[..4], [0, 0, 0, 0x80]);
    }
}
