//! The thread of a destination tape: takes chunks and filemarks from the ring, in order.
//!
//! It ends with the tape in order: where data was written last, a filemark closes the file. What could not be written is told with the place on
//! the tape.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::gate::{Gate, Marks};
use super::ring::{Chunk, DoneAtEnd, Item, Ring, Run, StopAtEnd};
use super::side::{Ended, TapeSide};
use crate::device::tape::{BlockMode, Tape, TapeError};

/// What the thread is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing<'a> {
    pub(super) ring: &'a Ring,
    pub(super) marks: Marks,
    /// Whether filemarks wait until all before is on the medium.
    pub(super) sync: bool,
    /// Bytes written, for whoever watches.
    pub(super) done_bytes: &'a AtomicU64,
}

/// Writes until nothing more comes.
pub(super) fn write(tape: Tape, writing: Writing<'_>) -> Ended {
    let _done = DoneAtEnd(writing.ring);
    let _stop = StopAtEnd(writing.ring);
    let mut gate = Gate::new(writing.marks);
    let mut side = TapeSide::new(tape);
    let mut error = None;
    while let Some(item) = writing.ring.next(&mut gate) {
        let written = match item {
            Item::Filemark => side.write_filemark(writing.sync),
            Item::Chunk(chunk) => side.write_chunk(chunk, writing.done_bytes),
        };
        if let Err(why) = written {
            error = Some(why);
            break;
        }
        writing.ring.freed();
    }
    if side.tape.has_open_file() {
        // After an end of the medium there is room for a filemark; a tape that failed may fail again, which adds nothing.
        let closed = side.write_filemark(writing.sync);
        error = error.or(closed.err());
    }
    side.starts = gate.starts();
    side.ended(error, writing.sync)
}

impl TapeSide {
    fn write_filemark(&mut self, sync: bool) -> Result<(), TapeError> {
        self.tape.write_filemarks(1, sync)?;
        self.filemarks = self.filemarks.saturating_add(1);
        Ok(())
    }

    fn write_chunk(&mut self, chunk: Chunk, done_bytes: &AtomicU64) -> Result<(), TapeError> {
        let Chunk { slot, blocks, .. } = chunk;
        for run in blocks {
            let start = usize::try_from(run.at).unwrap_or(usize::MAX);
            let mut rest = slot.as_slice().get(start..).unwrap_or_default();
            for len in self.calls(run)? {
                // The runs of a chunk lie in its slot.
                let Some((mut block, behind)) =
                    usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len))
                else {
                    break;
                };
                rest = behind;
                while !block.is_empty() {
                    let written = self.tape.write(block)?;
                    self.count(written.bytes, written.records, written.direct);
                    done_bytes.fetch_add(u64::try_from(written.bytes).unwrap_or(0), Ordering::Relaxed);
                    block = block.get(written.bytes..).unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// The lengths of the calls that write a run of blocks as blocks of that length: one each, or several at once in fixed mode.
    fn calls(&self, run: Run) -> Result<impl Iterator<Item = u64> + use<>, TapeError> {
        let at_once = match self.tape.mode() {
            BlockMode::Variable => 1,
            BlockMode::Fixed(block) => {
                if u64::from(block.get()) != run.len {
                    // Some multiples would be taken, as other blocks than those that were read.
                    return Err(TapeError::WrongBlockSize {
                        path: self.tape.path().to_owned(),
                        have: self.tape.mode(),
                        need: run.len,
                        position: self.tape.position(),
                    });
                }
                self.tape.write_len_max().checked_div(run.len).unwrap_or(1).max(1)
            }
        };
        let mut left = run.count;
        Ok(std::iter::from_fn(move || {
            let now = left.min(at_once);
            left = left.saturating_sub(now);
            (now > 0).then(|| now.saturating_mul(run.len))
        }))
    }
}
