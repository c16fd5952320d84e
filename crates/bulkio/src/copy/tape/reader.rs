//! The thread of a source tape: packs blocks into slots, one behind the other, and sends them with the filemarks between.
//!
//! Where the other end is a file with blocks of its own, a slot is sent with whole ones of these, and the few bytes behind are carried to the front of
//! the next: so the file's positions and addresses stay aligned, whatever the blocks of the tape are.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::gate::{Marks, ReadGate};
use super::options::TapeFiles;
use super::ring::{Chunk, DoneAtEnd, Item, Ring, Run, add_blocks};
use super::side::{Ended, TapeSide};
use crate::device::tape::{Record, Tape, TapeError};
use crate::pages::{PagePool, Slot};

/// Most runs of blocks in a chunk: what describes it stays small beside it.
const RUNS_MAX: usize = 1024;

/// What the thread is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) ring: &'a Ring,
    pub(super) pool: &'a PagePool,
    pub(super) marks: Marks,
    /// Slots are sent with multiples of this many bytes, but for the last of a file.
    pub(super) unit: u64,
    /// Where the next block begins: at the next multiple of this, so that another tape's driver moves it without a copy; 1 packs the bytes of a file.
    pub(super) block_align: u64,
    pub(super) files: TapeFiles,
    pub(super) double_filemark_ends: bool,
    /// Bytes read, for whoever watches.
    pub(super) done_bytes: &'a AtomicU64,
}

/// Reads until the last filemark that was asked for, or the end of the data.
pub(super) fn read(tape: Tape, reading: Reading<'_>) -> Ended {
    let _done = DoneAtEnd(reading.ring);
    let mut reader = Reader {
        side: TapeSide::new(tape),
        reading,
        gate: ReadGate::new(reading.marks),
        filling: None,
        carried: Vec::new(),
    };
    let read = reader.read();
    if read.is_ok() {
        reading.ring.end();
    } else {
        // What came before is good, and is written; nobody waits for more.
        reader.close(true);
        reading.ring.end();
    }
    let Reader { mut side, gate, .. } = reader;
    side.starts = gate.starts();
    side.ended(read.err(), false)
}

/// A slot that is being filled.
#[derive(Debug)]
struct Filling {
    slot: Slot,
    len: usize,
    blocks: Vec<Run>,
    /// Something was read into it, beside what was carried.
    fresh: bool,
}

#[derive(Debug)]
struct Reader<'a> {
    side: TapeSide,
    reading: Reading<'a>,
    gate: ReadGate,
    filling: Option<Filling>,
    /// Bytes that follow the last slot that was sent, fewer than a unit.
    carried: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), TapeError> {
        let (mut files, mut last_was_filemark) = (0_u32, false);
        loop {
            let Some(record) = self.next()? else { return Ok(()) };
            match record {
                Record::Data { .. } | Record::NeedsRoom { .. } => last_was_filemark = false,
                Record::EndOfData => {
                    self.close(true);
                    self.side.at_end_of_data = true;
                    return Ok(());
                }
                Record::Filemark => {
                    self.close(true);
                    self.side.filemarks = self.side.filemarks.saturating_add(1);
                    files = files.saturating_add(1);
                    self.reading.ring.push(Item::Filemark);
                    let double = last_was_filemark && self.reading.double_filemark_ends;
                    if double || self.reading.files.count() == Some(files) {
                        return Ok(());
                    }
                    last_was_filemark = true;
                }
            }
        }
    }

    /// Reads one record into a slot. `None` where no more is wanted.
    fn next(&mut self) -> Result<Option<Record>, TapeError> {
        loop {
            if self.reading.ring.is_stopped() {
                return Ok(None);
            }
            if self.filling.as_ref().is_some_and(|filling| filling.blocks.len() >= RUNS_MAX) {
                self.close(false);
            }
            let Some(filling) = self.open() else { return Ok(None) };
            let (start, fresh, slot_len) = (filling.len, filling.fresh, filling.slot.len());
            let mode = self.side.tape.mode();
            let Some(filling) = self.filling.as_mut() else { return Ok(None) };
            let into = filling.slot.as_mut_slice().get_mut(start..).unwrap_or_default();
            let record = self.side.tape.read(into)?;
            match record {
                Record::NeedsRoom { .. } if fresh => self.close(false),
                Record::NeedsRoom { .. } => {
                    return Err(TapeError::BlockTooLong {
                        path: self.side.tape.path().to_owned(),
                        have: u64::try_from(slot_len.saturating_sub(start)).unwrap_or(u64::MAX),
                        position: self.side.tape.position(),
                    });
                }
                Record::Data { bytes, records, direct } => {
                    let len = u64::try_from(bytes).unwrap_or(0);
                    let end = start.saturating_add(bytes);
                    let align = usize::try_from(self.reading.block_align).unwrap_or(1);
                    filling.len = end.checked_next_multiple_of(align).unwrap_or(end).min(slot_len);
                    filling.fresh = true;
                    let block = if mode.bytes() == 0 { len } else { u64::from(mode.bytes()) };
                    let at = u64::try_from(start).unwrap_or(0);
                    add_blocks(&mut filling.blocks, Run { at, len: block, count: records.into() });
                    self.side.count(bytes, records, direct);
                    self.reading.done_bytes.fetch_add(len, Ordering::Relaxed);
                    return Ok(Some(record));
                }
                Record::Filemark | Record::EndOfData => return Ok(Some(record)),
            }
        }
    }

    /// The slot to read into. `None` where no more is wanted.
    fn open(&mut self) -> Option<&Filling> {
        if self.filling.is_none() {
            let Reading { ring, pool, .. } = self.reading;
            let mut slot = ring.slot(pool, &mut self.gate)?;
            let carried = std::mem::take(&mut self.carried);
            if let Some(front) = slot.as_mut_slice().get_mut(..carried.len()) {
                front.copy_from_slice(&carried);
            }
            self.filling = Some(Filling { slot, len: carried.len(), blocks: Vec::new(), fresh: false });
        }
        self.filling.as_ref()
    }

    /// Sends the slot: at the end of a file with all its bytes, else with whole units.
    fn close(&mut self, end_of_file: bool) {
        let Some(Filling { slot, len, blocks, .. }) = self.filling.take() else { return };
        let unit = usize::try_from(self.reading.unit).unwrap_or(1);
        let ragged = if end_of_file { 0 } else { len.checked_rem(unit).unwrap_or(0) };
        let whole = len.saturating_sub(ragged);
        self.carried = slot.as_slice().get(whole..len).unwrap_or_default().to_vec();
        if whole > 0 {
            let len = u64::try_from(whole).unwrap_or(0);
            self.reading.ring.push(Item::Chunk(Chunk { slot, len, blocks }));
        }
    }
}
