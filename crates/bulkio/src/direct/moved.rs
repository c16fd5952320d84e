//! [`Moved`]: what a call moved, what of it was copied on the way, and why.
//!
//! Rule `no-silent-copy`: whatever did not go straight between the caller's memory and the device is in one of three
//! counts, by reason.

use core::fmt;

use scatterlist::plan::Why;

/// What one call moved.
///
/// `bytes` is the whole; what was copied is a part of it, and each copied byte is in exactly one of the other counts. All other
/// bytes moved between the caller's memory and the device without a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Moved {
    /// Bytes moved, from the first one on and without a gap.
    pub bytes: u64,
    /// Bytes of these in a first or last block of which the call covers only a part: they went through registered
    /// pages, and in a write the block was read, changed and written back.
    pub ragged_bytes: u64,
    /// Bytes that went through registered pages because their address does not suit their position.
    pub misaligned_bytes: u64,
    /// Bytes that went through the kernel's page cache: all of them where there is no direct I/O, else a last part block that
    /// makes a file longer, or ragged ends of a file that may not be read.
    pub cached_bytes: u64,
    /// The first rule that misaligned memory broke.
    pub why: Option<Why>,
}

impl Moved {
    /// Returns the bytes that were copied.
    #[must_use]
    pub const fn bounced_bytes(&self) -> u64 {
        self.ragged_bytes.saturating_add(self.misaligned_bytes).saturating_add(self.cached_bytes)
    }

    /// Returns the bytes that moved without a copy.
    #[must_use]
    pub const fn direct_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.bounced_bytes())
    }

    /// Returns the reasons for copies, each with its bytes; nothing where nothing was copied.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + use<> {
        let counts = [
            (Reason::Ragged, self.ragged_bytes),
            (Reason::Misaligned(self.why), self.misaligned_bytes),
            (Reason::PageCache, self.cached_bytes),
        ];
        counts.into_iter().filter(|(_, bytes)| *bytes > 0)
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {} of them copied", self.bytes, self.bounced_bytes())?;
        for (number, (reason, bytes)) in self.reasons().enumerate() {
            write!(f, "{}{bytes}: {reason}", if number == 0 { " (" } else { "; " })?;
        }
        if self.bounced_bytes() > 0 { f.write_str(")") } else { Ok(()) }
    }
}

/// Why bytes were copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The call begins or ends inside a block.
    Ragged,
    /// Address and position do not agree modulo the alignment, or a piece of the memory breaks another rule of the device.
    Misaligned(Option<Why>),
    /// They went through the page cache.
    PageCache,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ragged => f.write_str("part of a block"),
            Self::Misaligned(None) => f.write_str("memory that does not suit its position"),
            Self::Misaligned(Some(why)) => write!(f, "memory that does not suit its position: {why}"),
            Self::PageCache => f.write_str("through the page cache"),
        }
    }
}
