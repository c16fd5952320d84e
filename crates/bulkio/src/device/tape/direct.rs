//! [`DirectRule`]: which memory the tape driver moves without a copy, and why not the rest.
//!
//! The driver tries direct I/O by default and says nothing where it copies instead (Documentation/scsi/st.rst, "Buffering"), so the
//! rule is repeated here and every block is held against it: rule `no-silent-copy`. The driver's own counter proves it in the lab.

use std::fmt;

/// The driver's rule for direct I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectRule {
    /// Whether the driver tries (its parameter `try_direct_io`).
    pub tried: bool,
    /// What addresses must be multiples of, in bytes.
    pub addr_align: u64,
    /// The most pages of a transfer: what driver and adapter have segments for.
    pub pages_max: u64,
    /// Bytes of a page.
    pub page_len: u64,
}

impl DirectRule {
    /// Judges one transfer by its address and length.
    ///
    /// # Errors
    /// [`NotDirect`]: why the driver copies it.
    pub fn judge(&self, addr: u64, len: u64) -> Result<(), NotDirect> {
        if !self.tried {
            return Err(NotDirect::SwitchedOff);
        }
        if addr.checked_rem(self.addr_align).is_some_and(|rest| rest != 0) {
            return Err(NotDirect::Misaligned { align: self.addr_align });
        }
        let before = addr.checked_rem(self.page_len).unwrap_or(0);
        let pages = before.saturating_add(len).div_ceil(self.page_len.max(1));
        if pages > self.pages_max {
            return Err(NotDirect::Pages { pages_max: self.pages_max });
        }
        Ok(())
    }

    /// Returns the longest transfer that moves directly, from the beginning of a page on.
    #[must_use]
    pub const fn len_max(&self) -> u64 {
        self.pages_max.saturating_mul(self.page_len)
    }
}

/// Why the driver copies a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum NotDirect {
    /// Direct I/O is switched off in the driver.
    SwitchedOff,
    /// The address is no multiple.
    Misaligned {
        /// Of this many bytes.
        align: u64,
    },
    /// It spans more pages than there are segments.
    Pages {
        /// The most.
        pages_max: u64,
    },
}

impl fmt::Display for NotDirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => {
                f.write_str("the tape driver's direct I/O is switched off (try_direct_io=0)")
            }
            Self::Misaligned { align } => {
                write!(f, "the tape driver copies blocks at addresses that are no multiples of {align}")
            }
            Self::Pages { pages_max } => {
                write!(f, "the tape driver copies transfers of more than {pages_max} pages")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: DirectRule = DirectRule { tried: true, addr_align: 512, pages_max: 256, page_len: 4096 };

    #[test]
    fn address_and_pages_decide() {
        assert_eq!(RULE.judge(0x1000, 1 << 20), Ok(()));
        assert_eq!(RULE.judge(0x1200, (1 << 20) - 0x200), Ok(()));
        assert_eq!(RULE.judge(0x1200, 1 << 20), Err(NotDirect::Pages { pages_max: 256 }));
        assert_eq!(RULE.judge(0x1000, (1 << 20) + 1), Err(NotDirect::Pages { pages_max: 256 }));
        assert_eq!(RULE.judge(0x1001, 1), Err(NotDirect::Misaligned { align: 512 }));
        assert_eq!(DirectRule { tried: false, ..RULE }.judge(0x1000, 1), Err(NotDirect::SwitchedOff));
        assert_eq!(RULE.len_max(), 1 << 20);
    }
}
