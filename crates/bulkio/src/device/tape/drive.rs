//! [`Drive`]: what the logic of tapes asks of a drive, whatever is behind it.
//!
//! One call is one command, and none is repeated here. [`Node`](super::Node) answers through the Linux driver, the tests' fake from memory; both
//! speak in error numbers, which `tape` turns into [`TapeError`](super::TapeError)s with positions. What a call means is what the driver `st` makes of it
//! (Linux, Documentation/scsi/st.rst).

use std::fmt;
use std::num::NonZeroU32;

use rustix::io::Errno;

use super::direct::DirectRule;

/// A drive: one command at a time, in order.
pub trait Drive: fmt::Debug + Send {
    /// Reads one block in variable mode, or as many whole blocks as fit in fixed mode; 0 at a filemark and at the end of the data.
    ///
    /// # Errors
    /// `ENOMEM`: the block is longer than `bytes`, and the tape stands behind it.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Errno>;

    /// Writes one block in variable mode, or whole blocks in fixed mode, of which it may be fewer near the end of the medium.
    ///
    /// # Errors
    /// `ENOSPC`: nothing was written, the medium ends here. The next write may succeed again, for a trailer.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Makes a movement or setting.
    ///
    /// # Errors
    /// The driver's answer.
    fn control(&mut self, op: Op, count: u32) -> Result<(), Errno>;

    /// Returns what the driver knows, without moving the tape.
    ///
    /// # Errors
    /// The driver's answer.
    fn status(&mut self) -> Result<Status, Errno>;

    /// Returns the number of the block from the beginning of the tape, filemarks counted, as the drive itself counts.
    ///
    /// # Errors
    /// Not every drive can tell.
    fn tell(&mut self) -> Result<u64, Errno>;

    /// Returns the lengths of blocks that the drive itself states (READ BLOCK LIMITS); `None` where nobody could ask it.
    fn block_limits(&mut self) -> Option<BlockLimits>;

    /// Returns which memory the driver moves without a copy.
    fn direct_rule(&self) -> DirectRule;
}

/// Movements and settings: `include/uapi/linux/mtio.h`, "Magnetic Tape operations".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Op {
    /// Forward over filemarks, to behind the last of them.
    ForwardFiles,
    /// Backward over filemarks, to before the last of them.
    BackFiles,
    /// Forward over blocks.
    ForwardRecords,
    /// Backward over blocks.
    BackRecords,
    /// Writes filemarks, and returns when they and everything before are on the medium.
    WriteFilemarks,
    /// Writes filemarks, and returns at once.
    WriteFilemarksSoon,
    /// To the beginning.
    Rewind,
    /// Rewinds and takes the tape out.
    Offline,
    /// Takes a tape in.
    Load,
    /// Behind the last data.
    EndOfData,
    /// Sets the length of blocks; 0 is variable mode.
    SetBlock,
}

impl Op {
    /// Returns the number that the driver knows it by (`MTFSF` ...).
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::ForwardFiles => 1,
            Self::BackFiles => 2,
            Self::ForwardRecords => 3,
            Self::BackRecords => 4,
            Self::WriteFilemarks => 5,
            Self::Rewind => 6,
            Self::Offline => 7,
            Self::EndOfData => 12,
            Self::SetBlock => 20,
            Self::Load => 30,
            Self::WriteFilemarksSoon => 35,
        }
    }

    /// Returns what it does, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForwardFiles => "spacing forward over filemarks",
            Self::BackFiles => "spacing back over filemarks",
            Self::ForwardRecords => "spacing forward over blocks",
            Self::BackRecords => "spacing back over blocks",
            Self::WriteFilemarks | Self::WriteFilemarksSoon => "writing filemarks",
            Self::Rewind => "rewinding",
            Self::Offline => "taking the tape out",
            Self::Load => "loading the tape",
            Self::EndOfData => "spacing to the end of the data",
            Self::SetBlock => "setting the block length",
        }
    }

    /// Says whether it changes what is on the tape.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::WriteFilemarks | Self::WriteFilemarksSoon)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How blocks are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BlockMode {
    /// One write is one block of its length, one read is one block.
    Variable,
    /// All blocks are this many bytes, and a call moves whole ones.
    Fixed(NonZeroU32),
}

impl BlockMode {
    /// Makes the mode of a block length as the driver gives it: 0 is variable.
    #[must_use]
    pub const fn of(bytes: u32) -> Self {
        match NonZeroU32::new(bytes) {
            Some(bytes) => Self::Fixed(bytes),
            None => Self::Variable,
        }
    }

    /// Returns the length of a block in bytes; 0 for the variable mode, as the driver has it.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Variable => 0,
            Self::Fixed(bytes) => bytes.get(),
        }
    }
}

impl fmt::Display for BlockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable => f.pad("blocks of any length"),
            Self::Fixed(bytes) => write!(f, "blocks of {bytes} bytes"),
        }
    }
}

/// A place on a tape.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// Filemarks before it, as far as the driver knows them.
    pub file: Option<u32>,
    /// Blocks since the last of these, as far as the driver knows them.
    pub block: Option<u32>,
}

impl Position {
    /// The beginning of the tape.
    pub const START: Self = Self { file: Some(0), block: Some(0) };

    /// Makes a known place.
    #[must_use]
    pub const fn new(file: u32, block: u32) -> Self {
        Self { file: Some(file), block: Some(block) }
    }

    /// Returns the place `blocks` further on.
    #[must_use]
    pub fn after_blocks(self, blocks: u32) -> Self {
        Self { block: self.block.and_then(|block| block.checked_add(blocks)), ..self }
    }

    /// Returns the place behind the next `filemarks`.
    #[must_use]
    pub fn after_filemarks(self, filemarks: u32) -> Self {
        if filemarks == 0 {
            return self;
        }
        Self { file: self.file.and_then(|file| file.checked_add(filemarks)), block: Some(0) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file, self.block) {
            (Some(file), Some(block)) => write!(f, "file {file}, block {block}"),
            (Some(file), None) => write!(f, "file {file}, at a block that the driver does not know"),
            (None, Some(block)) => write!(f, "block {block} of a file that the driver does not know"),
            (None, None) => f.write_str("a place that the driver does not know"),
        }
    }
}

/// Which lengths of blocks a drive takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLimits {
    /// The shortest, in bytes.
    pub len_min: u32,
    /// The longest, in bytes.
    pub len_max: u32,
    /// What lengths should be multiples of, in bytes. Drives state that and take others all the same, so it refuses nothing.
    pub granularity: u32,
}

impl BlockLimits {
    /// What no drive exceeds: READ and WRITE count bytes in three of their own (SSC-3, 6.5 and 6.8).
    pub const COMMAND: Self = Self { len_min: 1, len_max: (1 << 24) - 1, granularity: 1 };

    /// Says whether a block may be this long: between both ends, as the driver checks it.
    #[must_use]
    pub fn takes(&self, bytes: u64) -> bool {
        (u64::from(self.len_min)..=u64::from(self.len_max)).contains(&bytes)
    }
}

impl fmt::Display for BlockLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} bytes", self.len_min, self.len_max)
    }
}

/// What the driver knows of drive and tape: `struct mtget`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// How blocks are made.
    pub mode: BlockMode,
    /// The density code, as the drive gives it.
    pub density: u8,
    /// Where the tape stands.
    pub position: Position,
    /// The partition, from 0.
    pub partition: u32,
    /// Errors that the drive corrected since it was asked last.
    pub corrected_errors: u16,
    /// `mt_gstat`, bits of [`flag`].
    pub flags: u32,
}

/// The bits of `mt_gstat`: `include/uapi/linux/mtio.h`, "Generic Mag Tape status macros".
pub mod flag {
    /// Behind a filemark.
    pub const FILEMARK: u32 = 0x8000_0000;
    /// At the beginning of the tape.
    pub const START: u32 = 0x4000_0000;
    /// Near or at the end of the medium.
    pub const END_OF_MEDIUM: u32 = 0x2000_0000;
    /// Behind the last data.
    pub const END_OF_DATA: u32 = 0x0800_0000;
    /// The tape is write-protected.
    pub const WRITE_PROTECTED: u32 = 0x0400_0000;
    /// The drive is ready.
    pub const ONLINE: u32 = 0x0100_0000;
    /// There is no tape in it.
    pub const NO_TAPE: u32 = 0x0004_0000;
    /// The drive wants to be cleaned.
    pub const CLEANING: u32 = 0x0000_8000;
}

impl Status {
    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Says whether the drive is ready, with a tape.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        self.has(flag::ONLINE)
    }

    /// Says whether there is no tape.
    #[must_use]
    pub const fn has_no_tape(&self) -> bool {
        self.has(flag::NO_TAPE)
    }

    /// Says whether the tape is write-protected.
    #[must_use]
    pub const fn is_write_protected(&self) -> bool {
        self.has(flag::WRITE_PROTECTED)
    }

    /// Says whether the tape stands behind the last data.
    #[must_use]
    pub const fn is_at_end_of_data(&self) -> bool {
        self.has(flag::END_OF_DATA)
    }

    /// Says whether the medium ends here or soon.
    #[must_use]
    pub const fn is_at_end_of_medium(&self) -> bool {
        self.has(flag::END_OF_MEDIUM)
    }

    /// Says whether the tape stands at its beginning.
    #[must_use]
    pub const fn is_at_start(&self) -> bool {
        self.has(flag::START)
    }

    /// Says whether the drive wants to be cleaned.
    #[must_use]
    pub const fn wants_cleaning(&self) -> bool {
        self.has(flag::CLEANING)
    }
}
