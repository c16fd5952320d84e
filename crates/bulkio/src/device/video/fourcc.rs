//! [`FourCc`]: the four characters that name a pixel format, as `v4l2_fourcc` of `include/uapi/linux/videodev2.h` makes them.
//!
//! The last bit of the code says that the numbers in the pixels have their high byte first; it is written as the ending `-BE`, as other
//! programs do. Trailing spaces are a part of the code and may be left away.

use std::fmt;
use std::str::FromStr;

/// The bit of the last character that says big-endian: `v4l2_fourcc_be`.
const BIG_ENDIAN: u8 = 0x80;

/// A pixel format: four characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FourCc(pub [u8; 4]);

/// Text that names no pixel format.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is no pixel format; one is four characters, such as YUYV, GREY or MJPG")]
pub struct FourCcError {
    /// What was given.
    pub text: String,
}

impl FourCc {
    /// Returns the code as it is written, such as `YUYV`.
    #[must_use]
    pub fn name(self) -> String {
        let Self([first, second, third, last]) = self;
        let letters = [first, second, third, last & !BIG_ENDIAN];
        let shown =
            |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
        let name: String = letters.iter().map(shown).collect();
        let ending = if last & BIG_ENDIAN == 0 { "" } else { "-BE" };
        format!("{}{ending}", name.trim_end())
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

impl FromStr for FourCc {
    type Err = FourCcError;

    fn from_str(text: &str) -> Result<Self, FourCcError> {
        let (letters, order) = match text.strip_suffix("-BE") {
            Some(letters) => (letters, BIG_ENDIAN),
            None => (text, 0),
        };
        let is_letter = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if letters.trim().is_empty() || letters.len() > 4 || !letters.bytes().all(is_letter) {
            return Err(FourCcError { text: text.to_owned() });
        }
        let mut code = [b' '; 4];
        for (to, from) in code.iter_mut().zip(letters.bytes()) {
            *to = from;
        }
        let [first, second, third, last] = code;
        Ok(Self([first, second, third, last | order]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for (text, code) in [
            ("YUYV", *b"YUYV"),
            ("GREY", *b"GREY"),
            ("Y16", *b"Y16 "),
            ("Y16-BE", [b'Y', b'1', b'6', b' ' | 0x80]),
            ("AR15-BE", [b'A', b'R', b'1', b'5' | 0x80]),
        ] {
            let read: FourCc = text.parse().expect("a format");
            assert_eq!((read.0, read.to_string().as_str()), (code, text));
        }
        for text in ["", "    ", "YUYV2", "\u{e4}", "YU\tV", "-BE"] {
            let error = text.parse::<FourCc>().expect_err("no format");
            assert!(error.to_string().starts_with(&format!("`{text}` is no pixel format")), "{error}");
        }
        assert_eq!(FourCc([0, 200, b'A', b'B']).name(), "??AB");
    }
}
