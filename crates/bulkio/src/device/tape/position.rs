//! Movements: over filemarks and blocks, to both ends; and the block mode.

use rustix::io::Errno;

use super::drive::{BlockMode, Op, Position};
use super::{BlockLimits, Tape, TapeError};

impl Tape {
    /// Moves forward to behind the `count`th filemark.
    ///
    /// # Errors
    /// [`TapeError::EndOfData`] where there are not as many, [`TapeError::Control`]: with where the tape then stands.
    pub fn forward_files(&mut self, count: u32) -> Result<(), TapeError> {
        self.moved(Op::ForwardFiles, count)
    }

    /// Moves back to before the `count`th filemark.
    ///
    /// # Errors
    /// [`TapeError::Control`], at the beginning of the tape at the latest: with where the tape then stands.
    pub fn back_files(&mut self, count: u32) -> Result<(), TapeError> {
        self.moved(Op::BackFiles, count)
    }

    /// Moves forward over blocks; a filemark ends that behind it.
    ///
    /// # Errors
    /// [`TapeError::EndOfData`], [`TapeError::Control`]: with where the tape then stands.
    pub fn forward_records(&mut self, count: u32) -> Result<(), TapeError> {
        self.moved(Op::ForwardRecords, count)
    }

    /// Moves back over blocks; a filemark ends that before it.
    ///
    /// # Errors
    /// [`TapeError::Control`]: with where the tape then stands.
    pub fn back_records(&mut self, count: u32) -> Result<(), TapeError> {
        self.moved(Op::BackRecords, count)
    }

    /// Moves to the beginning.
    ///
    /// # Errors
    /// [`TapeError::Control`].
    pub fn rewind(&mut self) -> Result<(), TapeError> {
        self.moved(Op::Rewind, 1)
    }

    /// Moves behind the last data, for writing more.
    ///
    /// # Errors
    /// [`TapeError::Control`].
    pub fn end_of_data(&mut self) -> Result<(), TapeError> {
        self.moved(Op::EndOfData, 1)
    }

    /// Rewinds and takes the tape out. Later calls find no tape.
    ///
    /// # Errors
    /// [`TapeError::Control`].
    pub fn offline(&mut self) -> Result<(), TapeError> {
        self.moved(Op::Offline, 1)
    }

    /// Sets the block mode.
    ///
    /// # Errors
    /// [`TapeError::BlockLimits`] where the drive is known to take no such blocks, [`TapeError::Control`].
    pub fn set_mode(&mut self, mode: BlockMode) -> Result<(), TapeError> {
        let need = u64::from(mode.bytes());
        let limits = self.limits.unwrap_or(BlockLimits::COMMAND);
        if mode != BlockMode::Variable && !limits.takes(need) {
            return Err(TapeError::BlockLimits { path: self.path.clone(), limits, need, position: self.at });
        }
        self.control(Op::SetBlock, mode.bytes())?;
        self.mode = mode;
        self.one_block = false;
        Ok(())
    }

    /// Makes a movement, and asks where it led.
    fn moved(&mut self, op: Op, count: u32) -> Result<(), TapeError> {
        let done = self.control(op, count);
        // The driver writes the filemark that closes a file before it moves away from it.
        self.open_file = false;
        if done.is_ok() {
            self.look();
        }
        done
    }

    /// Makes one call; where it fails the error says where the tape stands by then.
    pub(super) fn control(&mut self, op: Op, count: u32) -> Result<(), TapeError> {
        let Err(errno) = self.drive.control(op, count) else { return Ok(()) };
        let before = self.at;
        let status = self.look();
        let (path, position) = (self.path.clone(), self.at);
        Err(match errno {
            Errno::NOMEDIUM => TapeError::NoTape { path },
            Errno::ACCESS | Errno::ROFS if op.writes() => {
                TapeError::WriteProtected { path, position: before }
            }
            Errno::NOSPC if op.writes() => TapeError::EndOfMedium { path, position, len: 0 },
            _ if is_forward(op) && status.is_some_and(|status| status.is_at_end_of_data()) => {
                TapeError::EndOfData { path, op, position }
            }
            _ => TapeError::Control { path, op, count, position, errno },
        })
    }

    /// Moves back over the block that a read has passed, and keeps the place that the tape then has.
    pub(super) fn back_over_one(&mut self, before: Position) -> Result<(), TapeError> {
        self.control(Op::BackRecords, 1)?;
        self.at = before;
        Ok(())
    }
}

const fn is_forward(op: Op) -> bool {
    matches!(op, Op::ForwardFiles | Op::ForwardRecords | Op::EndOfData)
}
