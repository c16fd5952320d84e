//! [`Position`]: where on a device a transfer starts.

/// Where on the device a transfer starts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Position {
    /// At this byte of the device or file.
    At(u64),
    /// Wherever the device is: a tape, a pipe, a capture.
    Stream,
}

impl Position {
    /// Returns the position `bytes` further on, or `None` past 64 bits.
    #[must_use]
    pub const fn after(self, bytes: u64) -> Option<Self> {
        match self {
            Self::At(at) => match at.checked_add(bytes) {
                Some(at) => Some(Self::At(at)),
                None => None,
            },
            Self::Stream => Some(Self::Stream),
        }
    }
}
