//! Sizes as people type them: `4096`, `64K`, `1MiB`, `10MB`.
//!
//! Letters alone and `KiB` and so on count in 1024, `kB` and so on in 1000, as with GNU dd. What dd reads and
//! others read differently (`b`, `w`, products) is refused with the number to write instead. Pure.

use std::num::IntErrorKind;

/// Why a text is no size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SizeError {
    /// Nothing, or no digit in front.
    #[error(
        "`{text}` does not start with a digit; write whole bytes, such as 4096, or with a unit, such as 64K"
    )]
    NoNumber { text: String },
    /// A fraction.
    #[error("`{text}` is not whole; write it in a smaller unit, such as 1536K for 1.5M")]
    Fraction { text: String },
    /// A unit that is not known.
    #[error(
        "`{text}` has the unit `{unit}`, which is not known; units are K, M, G, T and KiB, MiB, GiB, TiB (1024), \
         kB, MB, GB, TB (1000)"
    )]
    Unit { text: String, unit: String },
    /// dd's block of 512 bytes, which is a byte or a bit elsewhere.
    #[error("`{text}`: `b` means 512 bytes in dd and other things elsewhere; write {}", suggestion(.blocks))]
    Blocks { text: String, blocks: u64 },
    /// Too large.
    #[error("`{text}` is more than {max} bytes, the most there can be", max = u64::MAX)]
    TooLarge { text: String },
}

/// Bytes for so many blocks, if they fit.
fn suggestion(blocks: &u64) -> String {
    match blocks.checked_mul(512) {
        Some(bytes) => format!("the bytes, {bytes}"),
        None => "the bytes".to_owned(),
    }
}

/// Reads a size in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let owned = || text.to_owned();
    if number.is_empty() {
        return Err(SizeError::NoNumber { text: owned() });
    }
    let too_large = || SizeError::TooLarge { text: owned() };
    let number: u64 = number.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => too_large(),
        _ => SizeError::NoNumber { text: owned() },
    })?;
    let factor: u64 = match unit {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        "T" | "t" | "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "b" => return Err(SizeError::Blocks { text: owned(), blocks: number }),
        _ if unit.starts_with(['.', ',']) => return Err(SizeError::Fraction { text: owned() }),
        _ => return Err(SizeError::Unit { text: owned(), unit: unit.to_owned() }),
    };
    number.checked_mul(factor).ok_or_else(too_large)
}

/// Reads a size that cannot be zero.
pub(crate) fn parse_nonzero(text: &str) -> Result<u64, String> {
    match parse(text) {
        Ok(0) => Err(format!("`{text}` is no bytes at all; write at least 1")),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes a number of bytes as people read it: `17 bytes`, `1.50 MiB`.
pub(crate) fn show(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, factor)) = UNITS.into_iter().find(|&(_, factor)| bytes >= factor) else {
        return format!("{bytes} bytes");
    };
    if bytes.is_multiple_of(factor) {
        return format!("{} {unit}", bytes / factor);
    }
    #[expect(clippy::cast_precision_loss, reason = "two places behind the point are shown")]
    let value = bytes as f64 / factor as f64;
    format!("{value:.2} {unit}")
}

/// Writes a rate as people read it.
pub(crate) fn show_rate(bytes_per_second: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is shown rounded"
    )]
    let bytes = bytes_per_second as u64;
    format!("{}/s", show(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_1024_and_1000_are_told_apart() {
        let cases = [
            ("0", 0),
            ("511", 511),
            ("007", 7),
            ("1K", 1024),
            ("1k", 1024),
            ("1KiB", 1024),
            ("1kB", 1000),
            ("3M", 3 << 20),
            ("3MiB", 3 << 20),
            ("3MB", 3_000_000),
            ("2G", 2 << 30),
            ("2GB", 2_000_000_000),
            ("1T", 1 << 40),
            ("1TiB", 1 << 40),
            ("1TB", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let cases = [
            ("", "does not start with a digit"),
            ("K", "does not start with a digit"),
            ("-5", "does not start with a digit"),
            ("+5", "does not start with a digit"),
            (" 5", "does not start with a digit"),
            ("0x10", "the unit `x10`"),
            ("1.5M", "is not whole"),
            ("1,5M", "is not whole"),
            ("1_000", "the unit `_000`"),
            ("1 K", "the unit ` K`"),
            ("5X", "the unit `X`"),
            ("1KB", "the unit `KB`"),
            ("1mib", "the unit `mib`"),
            ("2x512", "the unit `x512`"),
            ("4b", "the bytes, 2048"),
            ("18446744073709551616", "is more than 18446744073709551615"),
            ("16777216T", "is more than 18446744073709551615"),
        ];
        for (text, part) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
    }

    #[test]
    fn zero_bytes_are_no_block() {
        assert!(parse_nonzero("0K").unwrap_err().contains("`0K`"));
        assert_eq!(parse_nonzero("1"), Ok(1));
    }

    #[test]
    fn sizes_are_shown_short() {
        let cases = [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (1 << 20, "1 MiB"),
            (3 << 30, "3 GiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(show(bytes), text);
        }
        assert_eq!(show_rate(2.5 * 1024.0), "2.50 KiB/s");
    }
}
