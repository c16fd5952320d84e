//! What a copy from or to a tape is asked to do, beside what every copy is.

use super::super::CopyError;

/// Which part of a source tape is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TapeFiles {
    /// From where it stands to the next filemark.
    #[default]
    One,
    /// So many filemarks.
    Count(u32),
    /// All up to the end of the data.
    All,
}

impl TapeFiles {
    /// Returns the filemarks after which it ends; `None` where only the tape decides.
    pub(super) const fn count(self) -> Option<u32> {
        match self {
            Self::One => Some(1),
            Self::Count(count) => Some(count),
            Self::All => None,
        }
    }
}

/// Options of copies with a tape at one end or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TapeCopy {
    /// Bytes of a block that is written, and the longest that is read: `None` is the drive's own length in fixed mode. In variable mode it is
    /// [`BLOCK_LEN_DEFAULT`](Self::BLOCK_LEN_DEFAULT) for writing, and whatever fits a part of the buffer for reading.
    pub block_len: Option<u32>,
    /// How much of a source tape.
    pub files: TapeFiles,
    /// Whether two filemarks in a row end a source tape, as some programs end theirs. One that is copied to a tape gets both.
    pub double_filemark_ends: bool,
    /// Whether zeros fill the last block of a destination in fixed mode.
    pub pad: bool,
    /// Bytes of the buffer between both ends.
    pub buffer_len: u64,
    /// How full the buffer is, in percent, when a tape that is written starts.
    pub start_percent: u8,
    /// How empty it is when a tape that is written pauses, and one that is read goes on.
    pub pause_percent: u8,
}

impl TapeCopy {
    /// Bytes of a block that is written in variable mode, where the drive takes that many: what most programs for backup use.
    pub const BLOCK_LEN_DEFAULT: u32 = 256 << 10;

    /// The largest buffer.
    const BUFFER_LEN_MAX: u64 = 1 << 40;

    /// Returns an option that means nothing where no end is a tape, if one is set: whoever sets it expects something else than what would happen.
    pub(in super::super) fn needs_tape(&self) -> Option<&'static str> {
        let is_set = [
            (self.files != TapeFiles::One, "--files or --all"),
            (self.block_len.is_some(), "--tape-block"),
            (self.pad, "--tape-pad"),
            (self.double_filemark_ends, "--double-filemark"),
        ];
        is_set.into_iter().find_map(|(is_set, what)| is_set.then_some(what))
    }

    pub(in crate::copy) fn check(&self) -> Result<(), CopyError> {
        let range = CopyError::check_option;
        range("tape buffer", self.buffer_len, 1, Self::BUFFER_LEN_MAX)?;
        range("buffer's fill to start at, in percent", self.start_percent.into(), 1, 100)?;
        let pause_max = u64::from(self.start_percent).saturating_sub(1);
        range("buffer's fill to pause at, in percent", self.pause_percent.into(), 0, pause_max)?;
        if let Some(block_len) = self.block_len {
            let len_max = crate::device::tape::BlockLimits::COMMAND.len_max;
            range("tape block", block_len.into(), 1, len_max.into())?;
        }
        if let TapeFiles::Count(count) = self.files {
            range("number of tape files", count.into(), 1, u32::MAX.into())?;
        }
        Ok(())
    }
}

impl Default for TapeCopy {
    /// One file, in the drive's blocks, through 64 MiB, of which 80 % start a tape and 20 % pause it.
    fn default() -> Self {
        Self {
            block_len: None,
            files: TapeFiles::One,
            double_filemark_ends: false,
            pad: false,
            buffer_len: 64 << 20,
            start_percent: 80,
            pause_percent: 20,
        }
    }
}
