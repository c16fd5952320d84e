//! Reading: one record after the other, whatever their lengths are.
//!
//! In variable mode a block that is longer than the memory is lost to the read that met it; the tape goes back over it and it is read again with more
//! (Documentation/scsi/st.rst, on `ENOMEM`). In fixed mode a call brings several blocks, unless the drive turns out to give only one.

use rustix::io::Errno;

use super::direct::NotDirect;
use super::drive::{BlockMode, Op, Position};
use super::{Tape, TapeError, bytes_of};

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// Bytes of blocks: one block in variable mode, one or more in fixed mode.
    Data {
        /// How many bytes.
        bytes: usize,
        /// How many blocks.
        records: u32,
        /// Whether the driver moved them without a copy, and why not.
        direct: Result<(), NotDirect>,
    },
    /// A filemark; the tape stands behind it.
    Filemark,
    /// Nothing more was ever written here.
    EndOfData,
    /// The next read needs this much memory; the tape has not moved.
    NeedsRoom {
        /// How many bytes.
        bytes: u64,
    },
}

impl Tape {
    /// Returns the bytes of memory that the next read asks for. With less it may answer [`Record::NeedsRoom`].
    #[must_use]
    pub fn read_len(&self) -> u64 {
        match self.mode {
            BlockMode::Variable => self.asker.want(),
            BlockMode::Fixed(block) => block.get().into(),
        }
    }

    /// Reads what is next into the front of `bytes`.
    ///
    /// # Errors
    /// [`TapeError::BlockTooLong`], [`TapeError::OtherBlockSize`], [`TapeError::Read`], with the position, which is before what
    /// could not be read where the driver knows it; [`TapeError::NoTape`].
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<Record, TapeError> {
        match self.mode {
            BlockMode::Variable => self.read_variable(bytes),
            BlockMode::Fixed(block) => self.read_fixed(bytes, block.get()),
        }
    }

    fn read_variable(&mut self, bytes: &mut [u8]) -> Result<Record, TapeError> {
        loop {
            let want = self.asker.want();
            let Some(into) = usize::try_from(want).ok().and_then(|want| bytes.get_mut(..want)) else {
                return Ok(Record::NeedsRoom { bytes: want });
            };
            let direct = self.drive.direct_rule().judge(addr(into), want);
            match self.drive.read(into) {
                Ok(0) => return self.nothing_read(),
                Ok(bytes) => {
                    self.asker.read(bytes_of(bytes));
                    self.at = self.at.after_blocks(1);
                    return Ok(Record::Data { bytes, records: 1, direct });
                }
                Err(Errno::NOMEM) => {
                    let before = self.at;
                    self.back_over_one(before)?;
                    if !self.asker.grow(want) {
                        let path = self.path.clone();
                        return Err(TapeError::BlockTooLong { path, have: want, position: before });
                    }
                }
                // Past the drive's longest block, the driver's buffer, the adapter's longest transfer: nothing has moved.
                Err(Errno::INVAL | Errno::OVERFLOW | Errno::BUSY) if self.asker.shrink(want) => {}
                Err(errno) => return Err(self.read_failed(errno, want)),
            }
        }
    }

    fn read_fixed(&mut self, bytes: &mut [u8], block: u32) -> Result<Record, TapeError> {
        let block_len = u64::from(block);
        let room = bytes_of(bytes.len()).checked_div(block_len).unwrap_or(0);
        if room == 0 {
            return Ok(Record::NeedsRoom { bytes: block_len });
        }
        let at_once = self.drive.direct_rule().len_max().checked_div(block_len).unwrap_or(0).max(1);
        let mut blocks = if self.one_block { 1 } else { room.min(at_once) };
        let before = self.at;
        loop {
            let want = blocks.saturating_mul(block_len);
            let into = usize::try_from(want).ok().and_then(|want| bytes.get_mut(..want));
            let Some(into) = into else { return Ok(Record::NeedsRoom { bytes: want }) };
            let direct = self.drive.direct_rule().judge(addr(into), want);
            match self.drive.read(into) {
                Ok(0) => return self.nothing_read(),
                Ok(bytes) => {
                    let records = bytes_of(bytes).checked_div(block_len).unwrap_or(0);
                    let records = u32::try_from(records).unwrap_or(u32::MAX);
                    self.at = before.after_blocks(records);
                    if blocks == 1 && self.one_block {
                        self.note_one_block();
                    }
                    return Ok(Record::Data { bytes, records, direct });
                }
                // Some drives give one block a command, others say so where the first block has another length. After a bad spot the
                // driver no longer knows the block.
                Err(Errno::IO | Errno::INVAL | Errno::BUSY) if blocks > 1 && self.has_not_moved(before) => {
                    blocks = 1;
                    self.one_block = true;
                }
                Err(Errno::IO) if self.has_not_moved(before) => {
                    let need = self.length_of_next(before);
                    let path = self.path.clone();
                    return Err(TapeError::OtherBlockSize { path, have: block, need, position: before });
                }
                Err(errno) => return Err(self.read_failed(errno, want)),
            }
        }
    }

    /// A read of nothing is a filemark, or the end of the data right behind one: only the driver knows.
    fn nothing_read(&mut self) -> Result<Record, TapeError> {
        let before = self.at;
        let status = self.status()?;
        if status.is_at_end_of_data() {
            return Ok(Record::EndOfData);
        }
        let counted = before.after_filemarks(1);
        self.at = Position { file: status.position.file.or(counted.file), block: Some(0) };
        Ok(Record::Filemark)
    }

    fn read_failed(&mut self, errno: Errno, len: u64) -> TapeError {
        let path = self.path.clone();
        let position = self.at;
        if errno == Errno::NOMEDIUM {
            return TapeError::NoTape { path };
        }
        self.look();
        TapeError::Read { path, position, len, mode: self.mode, errno }
    }

    /// Says whether the driver still knows the place, and it is this one.
    fn has_not_moved(&mut self, before: Position) -> bool {
        before.block.is_some() && self.drive.status().is_ok_and(|status| status.position == before)
    }

    /// Finds out how long the next block is: in variable mode, and back. The tape stands where it stood, and nothing is written.
    fn length_of_next(&mut self, before: Position) -> Option<u64> {
        let fixed = self.mode;
        self.set_mode(BlockMode::Variable).ok()?;
        let mut bytes = vec![0; usize::try_from(self.asker.want()).ok()?];
        let read = self.drive.read(&mut bytes);
        // Both a block and one that is too long were passed.
        let passed = matches!(read, Ok(1..) | Err(Errno::NOMEM));
        let back = !passed || self.drive.control(Op::BackRecords, 1).is_ok();
        self.at = if back { before } else { Position::default() };
        self.set_mode(fixed).ok()?;
        read.ok().filter(|len| *len > 0).map(bytes_of)
    }

    fn note_one_block(&mut self) {
        let note = "the drive gives one block a read in fixed mode";
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }
}

/// The address of memory, as the driver judges it.
pub(super) fn addr(bytes: &[u8]) -> u64 {
    bytes_of(bytes.as_ptr().addr())
}
