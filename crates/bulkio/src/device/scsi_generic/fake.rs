//! A disk in memory behind a [`Transport`], with faults on demand, for the tests of this class.
#![expect(unsafe_code, reason = "moves bytes as a device does")]

use std::collections::VecDeque;
use std::slice;
use std::sync::{Mutex, MutexGuard};

use rustix::io::Errno;

use crate::device::scsi::{
    Answer, Cdb, DataDirection, Exchange, HostStatus, Moved, SamStatus, SenseBytes, Transport,
};

pub(super) const BLOCK: usize = 512;

/// How a bad block shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shows {
    /// Whether sense data names the block.
    pub(super) named: bool,
    /// What the residual says: as scsi_debug, nothing was moved; or as adapters that do not count, all was; or the truth.
    pub(super) residual: Residual,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Residual {
    Everything,
    Nothing,
    Truth,
}

/// What the next command is answered with, whatever it is.
#[derive(Clone, Debug)]
pub(super) enum Scripted {
    Answer(Answer),
    Refused(Errno),
    /// It works, but for this many bytes at its end.
    ShortBy(u32),
    /// It works, after the device did something about it, and says so.
    Recovered,
}

/// What it says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// The first byte of INQUIRY: qualifier and type.
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) block_bytes: u32,
    /// Byte 12 of READ CAPACITY (16).
    pub(super) protection: u8,
    pub(super) is_write_protected: bool,
    pub(super) knows_capacity_16: bool,
    pub(super) knows_mode_6: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            kind: 0,
            version: 6,
            block_bytes: 512,
            protection: 0,
            is_write_protected: false,
            knows_capacity_16: true,
            knows_mode_6: true,
        }
    }
}

impl Identity {
    /// Answers a command that asks for facts of a disk of so many blocks; `None` for one that is not known.
    fn answer(&self, cdb: &[u8], blocks: u64) -> Option<Vec<u8>> {
        let header = if self.is_write_protected { 0x80 } else { 0 };
        let last = blocks - 1;
        Some(match (cdb[0], cdb[1], cdb[2]) {
            (0x12, 0, _) => {
                let mut bytes = vec![self.kind, 0, self.version, 2, 31, 0, 0, 0];
                bytes.extend(b"FAKE    disk in memory  0001");
                bytes
            }
            (0x12, 1, 0x00) => vec![0, 0, 0, 3, 0x00, 0x80, 0xb0],
            (0x12, 1, 0x80) => vec![0, 0x80, 0, 4, b' ', b' ', b'S', b'1'],
            (0x12, 1, 0xb0) => {
                let mut bytes = vec![0; 64];
                (bytes[1], bytes[3], bytes[11]) = (0xb0, 60, 32);
                bytes
            }
            (0x25, ..) => {
                [u32::try_from(last).unwrap().to_be_bytes(), self.block_bytes.to_be_bytes()].concat()
            }
            (0x9e, 0x10, _) if self.knows_capacity_16 => {
                let mut bytes = [&last.to_be_bytes()[..], &self.block_bytes.to_be_bytes()].concat();
                bytes.extend([self.protection, 3]);
                bytes.resize(32, 0);
                bytes
            }
            (0x1a, ..) if self.knows_mode_6 => vec![3, 0, header, 0],
            (0x5a, ..) => vec![0, 6, 0, header, 0, 0, 0, 0],
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) bytes: Vec<u8>,
    pub(super) bad: Vec<u64>,
    pub(super) shows: Shows,
    pub(super) script: VecDeque<Scripted>,
    /// Operation codes, addresses and block counts of what came.
    pub(super) seen: Vec<(u8, u64, u32)>,
    /// Answers to SYNCHRONIZE CACHE (10) that the command is not known.
    pub(super) knows_flush_10: bool,
}

/// A disk in memory.
#[derive(Debug)]
pub(super) struct FakeDisk(Mutex<State>);

/// Sense data in descriptor format, with the address of a block.
pub(super) fn sense(key: u8, asc: u8, ascq: u8, lba: Option<u64>) -> Answer {
    let mut bytes = vec![0x72, key, asc, ascq, 0, 0, 0, 0];
    if let Some(lba) = lba {
        bytes.extend([0, 10, 0x80, 0]);
        bytes.extend(lba.to_be_bytes());
        bytes[7] = 12;
    }
    Answer { status: SamStatus::CHECK_CONDITION, sense: SenseBytes::new(&bytes), ..Answer::GOOD }
}

pub(super) fn host(host: HostStatus) -> Answer {
    Answer { host, ..Answer::GOOD }
}

impl FakeDisk {
    pub(super) fn new(blocks: usize) -> Self {
        let bytes = (0..blocks * BLOCK).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect();
        let shows = Shows { named: true, residual: Residual::Everything };
        Self(Mutex::new(State {
            identity: Identity::default(),
            bytes,
            bad: Vec::new(),
            shows,
            script: VecDeque::new(),
            seen: Vec::new(),
            knows_flush_10: true,
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Reads what a command asks for, from the tables of SBC-3 alone.
fn walk(cdb: &Cdb) -> (u8, u64, u32) {
    let block = cdb.as_bytes();
    let number = |at: usize, len: usize| {
        block[at..at + len].iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte))
    };
    let (lba, blocks) = match block.len() {
        6 => (0, 0),
        10 => (number(2, 4), number(7, 2)),
        _ => (number(2, 8), number(10, 4)),
    };
    (block[0], lba, u32::try_from(blocks).unwrap())
}

/// Moves bytes between the disk and the pieces, at most so many.
///
/// # Safety
/// As [`Transport::send`].
unsafe fn move_bytes(disk: &mut [u8], exchange: &Exchange<'_>, most: usize) {
    let mut at = 0;
    for piece in exchange.pieces {
        let len = piece.iov_len.min(most - at);
        // SAFETY: the caller's promise.
        let memory = unsafe { slice::from_raw_parts_mut(piece.iov_base.cast::<u8>(), len) };
        match exchange.direction {
            DataDirection::FromDevice => memory.copy_from_slice(&disk[at..at + len]),
            DataDirection::ToDevice => disk[at..at + len].copy_from_slice(memory),
            DataDirection::None => unreachable!("pieces without a direction"),
        }
        at += len;
    }
}

// SAFETY: `move_bytes` reaches the pieces alone, before `send` returns.
unsafe impl Transport for FakeDisk {
    unsafe fn send(&self, exchange: &Exchange<'_>) -> Result<Answer, Errno> {
        let mut state = self.state();
        let (opcode, lba, blocks) = walk(exchange.cdb);
        state.seen.push((opcode, lba, blocks));
        let (mut short_by, mut good) = (0, Answer::GOOD);
        match state.script.pop_front() {
            Some(Scripted::Answer(answer)) => {
                let residual_bytes = exchange.bytes;
                return Ok(Answer { residual_bytes, ..answer });
            }
            Some(Scripted::Refused(errno)) => return Err(errno),
            Some(Scripted::ShortBy(bytes)) => short_by = bytes,
            Some(Scripted::Recovered) => good = sense(1, 0x17, 1, Some(lba)),
            None => {}
        }
        if opcode == 0 {
            return Ok(Answer::GOOD);
        }
        if matches!(opcode, 0x12 | 0x1a | 0x25 | 0x5a | 0x9e) {
            let blocks = (state.bytes.len() / BLOCK) as u64;
            let answer = state.identity.answer(exchange.cdb.as_bytes(), blocks);
            let Some(mut bytes) = answer else { return Ok(sense(5, 0x20, 0, None)) };
            let len = bytes.len().min(exchange.bytes as usize);
            // SAFETY: the caller's promise.
            unsafe { move_bytes(&mut bytes, exchange, len) };
            return Ok(Answer {
                residual_bytes: exchange.bytes - u32::try_from(len).unwrap(),
                ..Answer::GOOD
            });
        }
        if matches!(opcode, 0x35 | 0x91) {
            let known = state.knows_flush_10 || opcode == 0x91;
            return Ok(if known { Answer::GOOD } else { sense(5, 0x20, 0, None) });
        }
        assert_eq!(exchange.bytes, blocks * 512, "the command and its memory disagree");
        assert_eq!(exchange.bytes as usize, exchange.pieces.iter().map(|piece| piece.iov_len).sum::<usize>());
        assert!(exchange.pieces.iter().all(|piece| piece.iov_len > 0));
        let first_bad = (lba..lba + u64::from(blocks)).find(|lba| state.bad.contains(lba));
        let shows = state.shows;
        let moved = match first_bad {
            // What scsi_debug does: nothing is moved.
            Some(_) if shows.residual == Residual::Everything => 0,
            Some(bad) => usize::try_from(bad - lba).unwrap() * BLOCK,
            None => exchange.bytes as usize - short_by as usize,
        };
        let from = usize::try_from(lba).unwrap() * BLOCK;
        // SAFETY: the caller's promise.
        unsafe { move_bytes(&mut state.bytes[from..], exchange, moved) };
        let left = exchange.bytes - u32::try_from(moved).unwrap();
        let answer = Answer { moved: Moved::of(exchange.bytes, true), ..good };
        let Some(bad) = first_bad else { return Ok(Answer { residual_bytes: left, ..answer }) };
        let residual_bytes = if shows.residual == Residual::Nothing { 0 } else { left };
        Ok(Answer { residual_bytes, moved: answer.moved, ..sense(3, 0x11, 0, shows.named.then_some(bad)) })
    }
}
