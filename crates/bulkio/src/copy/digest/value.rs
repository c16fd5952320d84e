//! What is asked for and what comes out: [`HashRequest`], [`HashAlgorithm`], [`Digest`].

use core::fmt;
use core::str::FromStr;

/// A hash of a stream of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// BLAKE3, 32 bytes: the faster one.
    Blake3,
    /// SHA-256 of FIPS 180-4.
    Sha256,
}

impl HashAlgorithm {
    /// Returns the stable name, as in reports, JSON and `--hash`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A digest of 32 bytes; shown and read as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; Self::LEN]);

impl Digest {
    /// Bytes of a digest.
    pub const LEN: usize = 32;

    /// Takes the bytes of a digest.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no digest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DigestParseError {
    /// It has another length.
    #[error("a digest has 64 hexadecimal digits, and this has {digits}")]
    Len {
        /// Its characters.
        digits: usize,
    },
    /// It holds something else than digits.
    #[error("'{found}' is no hexadecimal digit")]
    Digit {
        /// What.
        found: char,
    },
}

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, DigestParseError> {
        if let Some(found) = text.chars().find(|digit| !digit.is_ascii_hexdigit()) {
            return Err(DigestParseError::Digit { found });
        }
        let mut bytes = [0; Self::LEN];
        let mut digits = text.chars().filter_map(|digit| digit.to_digit(16));
        for byte in &mut bytes {
            let pair = digits.next().zip(digits.next());
            let pair = pair.and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            *byte = pair.ok_or(DigestParseError::Len { digits: text.len() })?;
        }
        if digits.next().is_some() {
            return Err(DigestParseError::Len { digits: text.len() });
        }
        Ok(Self(bytes))
    }
}

/// A digest that is wanted of the bytes that a copy moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashRequest {
    /// Which.
    pub algorithm: HashAlgorithm,
    /// What it must be, where that is known.
    pub expected: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_shown() {
        let digest = Digest::new(core::array::from_fn(|i| (i * 9) as u8));
        let text = digest.to_string();
        assert!(text.starts_with("0009121b") && text.len() == 64);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        for bad in [&text[1..], &text[2..], &format!("{text}0"), ""] {
            assert_eq!(bad.parse::<Digest>(), Err(DigestParseError::Len { digits: bad.len() }));
        }
        assert_eq!("xyz".parse::<Digest>(), Err(DigestParseError::Digit { found: 'x' }));
        assert_eq!("é".parse::<Digest>(), Err(DigestParseError::Digit { found: 'é' }));
    }
}
