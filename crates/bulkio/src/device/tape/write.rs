//! Writing: records and filemarks, up to the end of the medium.
//!
//! Near its end a drive warns early, and the driver answers `ENOSPC` to the write after that, once; the next one is tried again, for a trailer
//! (Documentation/scsi/st.rst, "EOM behaviour when writing"). Here the first such answer ends the file: what is before it is whole. Lengths are checked
//! before the driver sees them, so that the message has the numbers.

use rustix::io::Errno;

use super::direct::NotDirect;
use super::drive::{BlockMode, Op};
use super::read::addr;
use super::{Access, BlockLimits, Tape, TapeError, bytes_of};

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Bytes; fewer than asked only in fixed mode, near the end of the medium.
    pub bytes: usize,
    /// Blocks.
    pub records: u32,
    /// Whether the driver moved them without a copy, and why not.
    pub direct: Result<(), NotDirect>,
}

impl Tape {
    /// Returns the most bytes that are good to write in one call.
    #[must_use]
    pub fn write_len_max(&self) -> u64 {
        match self.mode {
            BlockMode::Variable => self.limits.unwrap_or(BlockLimits::COMMAND).len_max.into(),
            BlockMode::Fixed(block) => {
                let block = u64::from(block.get());
                let direct = self.drive.direct_rule().len_max();
                direct.checked_div(block).unwrap_or(0).max(1).saturating_mul(block)
            }
        }
    }

    /// Checks that blocks of `len` bytes can be written in the present mode.
    ///
    /// # Errors
    /// [`TapeError::WrongBlockSize`], [`TapeError::BlockLimits`].
    pub fn check_write(&self, len: u64) -> Result<(), TapeError> {
        let (path, position) = (self.path.clone(), self.at);
        match self.mode {
            BlockMode::Fixed(block) if len.checked_rem(u64::from(block.get())) == Some(0) && len > 0 => {
                Ok(())
            }
            BlockMode::Fixed(_) => {
                Err(TapeError::WrongBlockSize { path, have: self.mode, need: len, position })
            }
            BlockMode::Variable => {
                let limits = self.limits.unwrap_or(BlockLimits::COMMAND);
                if limits.takes(len) {
                    return Ok(());
                }
                Err(TapeError::BlockLimits { path, limits, need: len, position })
            }
        }
    }

    /// Writes one block in variable mode, whole blocks in fixed mode.
    ///
    /// # Errors
    /// [`TapeError::WrongBlockSize`], [`TapeError::BlockLimits`], [`TapeError::WriteProtected`]: nothing was written. [`TapeError::EndOfMedium`]:
    /// nothing of this call was written. [`TapeError::Write`]: what of it is on the tape is not known.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Written, TapeError> {
        let len = bytes_of(bytes.len());
        self.check_access()?;
        self.check_write(len)?;
        let direct = self.drive.direct_rule().judge(addr(bytes), len);
        match self.drive.write(bytes) {
            Ok(0) if len > 0 => Err(self.write_failed(Errno::NOSPC, len)),
            Ok(done) => {
                let records = match self.mode {
                    BlockMode::Variable => 1,
                    BlockMode::Fixed(block) => {
                        let records = bytes_of(done).checked_div(u64::from(block.get())).unwrap_or(0);
                        u32::try_from(records).unwrap_or(u32::MAX)
                    }
                };
                if self.mode == BlockMode::Variable && bytes_of(done) < len {
                    // A part of a block is no block that anybody could want.
                    return Err(self.write_failed(Errno::IO, len));
                }
                self.at = self.at.after_blocks(records);
                self.open_file = true;
                Ok(Written { bytes: done, records, direct })
            }
            Err(errno) => Err(self.write_failed(errno, len)),
        }
    }

    /// Writes filemarks. With `wait` they and all before are on the medium when this returns.
    ///
    /// # Errors
    /// [`TapeError::WriteProtected`], [`TapeError::EndOfMedium`], [`TapeError::Control`].
    pub fn write_filemarks(&mut self, count: u32, wait: bool) -> Result<(), TapeError> {
        self.check_access()?;
        let op = if wait { Op::WriteFilemarks } else { Op::WriteFilemarksSoon };
        self.control(op, count)?;
        self.at = self.at.after_filemarks(count);
        self.open_file = self.open_file && count == 0;
        Ok(())
    }

    /// Says whether data was written that no filemark closes yet.
    #[must_use]
    pub const fn has_open_file(&self) -> bool {
        self.open_file
    }

    fn check_access(&self) -> Result<(), TapeError> {
        if self.access == Access::Write {
            return Ok(());
        }
        Err(TapeError::WriteProtected { path: self.path.clone(), position: self.at })
    }

    fn write_failed(&mut self, errno: Errno, len: u64) -> TapeError {
        let (path, position) = (self.path.clone(), self.at);
        match errno {
            Errno::NOSPC => TapeError::EndOfMedium { path, position, len },
            Errno::ACCESS | Errno::ROFS => TapeError::WriteProtected { path, position },
            Errno::NOMEDIUM => TapeError::NoTape { path },
            // The lengths were checked against what is known; the drive or the adapter takes less.
            Errno::INVAL | Errno::OVERFLOW | Errno::BUSY => {
                let known = self.limits.unwrap_or(BlockLimits::COMMAND);
                let len_max = u32::try_from(len.saturating_sub(1)).unwrap_or(u32::MAX).min(known.len_max);
                let limits = BlockLimits { len_max: len_max.max(known.len_min), ..known };
                TapeError::BlockLimits { path, limits, need: len, position }
            }
            _ => {
                self.look();
                TapeError::Write { path, position, len, errno }
            }
        }
    }
}
