//! What is known before anything is written, and refused where it cannot be; and the lengths that follow from the options.

use std::path::{Path, PathBuf};

use super::super::options::CopyOptions;
use super::super::{CopyError, DirectMode, Side};
use super::{READ_SLOT_LEN, TapeCopy};
use crate::device::tape::{BlockLimits, BlockMode, Tape, TapeError};

/// Tapes are positioned by marks and blocks, not by bytes.
pub(super) fn check_no_bytes(tape: &Tape, what: [(&'static str, Option<u64>); 2]) -> Result<(), CopyError> {
    for (what, value) in what {
        if let Some(value) = value.filter(|value| *value > 0) {
            return Err(CopyError::TapeBytes { path: tape.path().to_owned(), what, value });
        }
    }
    Ok(())
}

/// Refuses a tape whose driver would copy every block, or some of those that are written in a row, where the user demanded that nobody does.
pub(super) fn check_direct(
    tape: &Tape,
    side: Side,
    block: Option<u64>,
    options: &CopyOptions,
) -> Result<(), CopyError> {
    if options.direct != DirectMode::Require {
        return Ok(());
    }
    // Blocks begin at multiples of their length, in slots that begin at pages.
    let block = block.unwrap_or(0);
    let judged = tape.direct_rule().judge(block, block);
    judged.map_err(|why| CopyError::DirectLayout { side, path: tape.path().to_owned(), why: why.to_string() })
}

/// The bytes of the blocks to write.
pub(super) fn block_len(tape: &Tape, options: &CopyOptions) -> Result<u64, CopyError> {
    let wanted = options.tape.block_len.map(u64::from);
    let len = match tape.mode() {
        BlockMode::Fixed(block) => {
            let block = u64::from(block.get());
            if let Some(need) = wanted.filter(|need| *need != block) {
                return Err(CopyError::TapeRefused(TapeError::WrongBlockSize {
                    path: tape.path().to_owned(),
                    have: tape.mode(),
                    need,
                    position: tape.position(),
                }));
            }
            block
        }
        BlockMode::Variable => {
            let longest = tape.block_limits().unwrap_or(BlockLimits::COMMAND).len_max;
            wanted.unwrap_or(u64::from(TapeCopy::BLOCK_LEN_DEFAULT.min(longest)))
        }
    };
    tape.check_write(len).map_err(CopyError::TapeRefused)?;
    Ok(len)
}

/// Checks the last block, as far as the length is known.
pub(super) fn check_blocks(
    tape: &Tape,
    block: u64,
    len: Option<u64>,
    options: &CopyOptions,
) -> Result<(), CopyError> {
    let Some(ragged) = len.and_then(|len| len.checked_rem(block)).filter(|ragged| *ragged > 0) else {
        return Ok(());
    };
    match tape.mode() {
        _ if options.tape.pad => Ok(()),
        BlockMode::Fixed(_) => Err(CopyError::TapeNotWhole {
            path: tape.path().to_owned(),
            len: len.unwrap_or(0),
            block,
            ragged,
        }),
        BlockMode::Variable => tape.check_write(ragged).map_err(CopyError::TapeRefused),
    }
}

/// The bytes of a slot that a tape is read into.
pub(super) fn read_slot_len(tape: &Tape, options: &CopyOptions, unit: u64) -> u64 {
    let longest = options.tape.block_len.map_or_else(|| tape.read_len(), u64::from);
    let len = READ_SLOT_LEN.max(longest.saturating_mul(2)).min(options.tape.buffer_len.max(longest));
    len.saturating_add(unit).checked_next_multiple_of(unit.max(1)).unwrap_or(len)
}

/// The name before the numbers of a tape's files on disk.
pub(super) fn name_of_files(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("file") } else { path.to_owned() }
}
