//! A tape in memory, as the Linux driver shows one: records, filemarks, both modes, and everything that can be in the way.
//!
//! Modelled after Documentation/scsi/st.rst and what `st` does on Linux 6.12 with an emulated drive. A [`FakeTape`] is a handle: tests keep one and look at
//! the tape behind the back of the [`Tape`](super::Tape) that has the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::direct::DirectRule;
use super::drive::{BlockLimits, BlockMode, Drive, Op, Position, Status, flag};

/// What is on a tape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Record(Vec<u8>),
    Filemark,
}

/// What the driver knows about the end of something: `ST_FM`, `ST_EOM_OK` and so on (drivers/scsi/st.h).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug, Default)]
enum Eof {
    #[default]
    None,
    /// The last read met a filemark, and brought data before it.
    Hit,
    Filemark,
    /// The medium ends soon: the next write is told so.
    Warned,
    /// It was told, and may write once more.
    Told,
    EndOfData,
}

/// The tape, the drive and what was done to them.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) marks: Vec<Mark>,
    at: usize,
    file: Option<u32>,
    block: Option<u32>,
    eof: Eof,
    pub(crate) mode: u32,
    pub(crate) loaded: bool,
    pub(crate) protected: bool,
    /// What the driver refuses past; it does not tell.
    pub(crate) driver_limits: BlockLimits,
    /// What a query of the drive answers.
    pub(crate) stated_limits: Option<BlockLimits>,
    /// Bytes after which the drive warns, and after which there is nothing more.
    pub(crate) warning_at: u64,
    pub(crate) capacity: u64,
    /// The drive moves one block a command in fixed mode.
    pub(crate) one_block: bool,
    /// Errors that the next reads meet.
    pub(crate) read_errors: VecDeque<Errno>,
    /// Errors that the next writes meet.
    pub(crate) write_errors: VecDeque<Errno>,
    pub(crate) rule: DirectRule,
    pub(crate) reads: u32,
    pub(crate) writes: u32,
    pub(crate) controls: Vec<(Op, u32)>,
}

/// A handle to a tape in memory.
#[derive(Clone, Debug)]
pub(crate) struct FakeTape(Arc<Mutex<State>>);

impl Default for FakeTape {
    /// An empty tape in variable mode without end.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            marks: Vec::new(),
            at: 0,
            file: Some(0),
            block: Some(0),
            eof: Eof::None,
            mode: 0,
            loaded: true,
            protected: false,
            driver_limits: BlockLimits::COMMAND,
            stated_limits: None,
            warning_at: u64::MAX,
            capacity: u64::MAX,
            one_block: false,
            read_errors: VecDeque::new(),
            write_errors: VecDeque::new(),
            rule: DirectRule { tried: true, addr_align: 512, pages_max: 256, page_len: 4096 },
            reads: 0,
            writes: 0,
            controls: Vec::new(),
        })))
    }
}

impl FakeTape {
    /// Looks at the tape, or changes it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tape with files of blocks of these lengths, each file closed by a filemark, rewound.
    pub(crate) fn with_files(files: &[&[usize]]) -> Self {
        let tape = Self::default();
        let mut number = 0;
        for lengths in files {
            for len in *lengths {
                tape.state().marks.push(Mark::Record(content(number, *len)));
                number += 1;
            }
            tape.state().marks.push(Mark::Filemark);
        }
        tape
    }
}

/// The bytes of a block, different for each.
pub(crate) fn content(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((number * 31 + at * 7 + at / 251) % 251).expect("below 251")).collect()
}

impl State {
    /// Puts the tape back to its beginning, behind everybody's back.
    pub(crate) fn rewind(&mut self) {
        (self.at, self.file, self.block, self.eof) = (0, Some(0), Some(0), Eof::None);
    }

    fn used(&self) -> u64 {
        let len = |mark: &Mark| match mark {
            Mark::Record(bytes) => bytes.len() as u64,
            Mark::Filemark => 0,
        };
        self.marks[..self.at].iter().map(len).sum()
    }

    fn check_ready(&self) -> Result<(), Errno> {
        if self.loaded { Ok(()) } else { Err(Errno::NOMEDIUM) }
    }

    /// What the driver checks of a length before it asks the drive.
    fn check_len(&self, len: usize) -> Result<(), Errno> {
        let fits = match self.mode {
            0 => self.driver_limits.takes(len as u64),
            block => len.is_multiple_of(block as usize),
        };
        if fits { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn pass_block(&mut self) {
        self.at += 1;
        self.block = self.block.map(|block| block + 1);
    }

    fn pass_filemark(&mut self) {
        self.at += 1;
        self.file = self.file.map(|file| file + 1);
        self.block = Some(0);
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.check_ready()?;
        self.check_len(bytes.len())?;
        self.reads += 1;
        if let Some(errno) = self.read_errors.pop_front() {
            self.block = None;
            return Err(errno);
        }
        if self.eof == Eof::Hit {
            self.pass_filemark();
            self.eof = Eof::Filemark;
            return Ok(0);
        }
        if self.eof == Eof::EndOfData {
            return Err(Errno::IO);
        }
        match self.marks.get(self.at).cloned() {
            None if self.eof == Eof::Filemark => {
                self.eof = Eof::EndOfData;
                Ok(0)
            }
            None => {
                self.block = None;
                Err(Errno::IO)
            }
            Some(Mark::Filemark) => {
                self.pass_filemark();
                self.eof = Eof::Filemark;
                Ok(0)
            }
            Some(Mark::Record(record)) if self.mode == 0 => {
                self.pass_block();
                self.eof = Eof::None;
                let into = bytes.get_mut(..record.len()).ok_or(Errno::NOMEM)?;
                into.copy_from_slice(&record);
                Ok(record.len())
            }
            Some(Mark::Record(_)) => self.read_fixed(bytes),
        }
    }

    fn read_fixed(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        let block = self.mode as usize;
        if self.one_block && bytes.len() > block {
            return Err(Errno::IO);
        }
        let mut done = 0;
        for into in bytes.chunks_mut(block) {
            match self.marks.get(self.at).cloned() {
                Some(Mark::Record(record)) if record.len() == block => {
                    into.copy_from_slice(&record);
                    self.pass_block();
                    self.eof = Eof::None;
                    done += block;
                }
                Some(Mark::Filemark) => {
                    self.eof = Eof::Hit;
                    break;
                }
                // The driver goes back before it.
                Some(Mark::Record(_)) if done == 0 => return Err(Errno::IO),
                _ => break,
            }
        }
        Ok(done)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.check_ready()?;
        self.check_len(bytes.len())?;
        if self.protected {
            return Err(Errno::ACCESS);
        }
        if let Some(errno) = self.write_errors.pop_front() {
            self.block = None;
            return Err(errno);
        }
        if self.eof == Eof::Warned {
            self.eof = Eof::Told;
            return Err(Errno::NOSPC);
        }
        let block = if self.mode == 0 { bytes.len() } else { self.mode as usize };
        if self.one_block && bytes.len() > block {
            return Err(Errno::INVAL);
        }
        self.writes += 1;
        let mut done = 0;
        self.eof = Eof::None;
        for record in bytes.chunks(block) {
            if self.used() + record.len() as u64 > self.capacity {
                self.eof = Eof::Told;
                return if done > 0 { Ok(done) } else { Err(Errno::NOSPC) };
            }
            self.marks.truncate(self.at);
            self.marks.push(Mark::Record(record.to_vec()));
            self.pass_block();
            done += record.len();
            if self.used() > self.warning_at {
                self.eof = Eof::Warned;
                break;
            }
        }
        Ok(done)
    }

    /// Spaces over marks until `count` are passed of which `counts` says yes; the number that was left where it ended early.
    fn space(&mut self, op: Op, count: u32) -> Result<(), Errno> {
        for _ in 0..count {
            match op {
                Op::ForwardRecords => match self.marks.get(self.at) {
                    Some(Mark::Record(_)) => self.pass_block(),
                    Some(Mark::Filemark) => {
                        self.pass_filemark();
                        self.eof = Eof::Filemark;
                        return Err(Errno::IO);
                    }
                    None => {
                        self.eof = Eof::EndOfData;
                        return Err(Errno::IO);
                    }
                },
                Op::ForwardFiles => loop {
                    match self.marks.get(self.at) {
                        Some(Mark::Record(_)) => self.pass_block(),
                        Some(Mark::Filemark) => {
                            self.pass_filemark();
                            self.eof = Eof::Filemark;
                            break;
                        }
                        None => {
                            self.block = None;
                            self.eof = Eof::EndOfData;
                            return Err(Errno::IO);
                        }
                    }
                },
                Op::BackRecords => {
                    let before = self.at.checked_sub(1).ok_or(Errno::IO)?;
                    self.eof = Eof::None;
                    self.at = before;
                    match self.marks.get(before) {
                        Some(Mark::Record(_)) => {
                            self.block = self.block.and_then(|block| block.checked_sub(1))
                        }
                        _ => {
                            self.file = self.file.and_then(|file| file.checked_sub(1));
                            self.block = None;
                            return Err(Errno::IO);
                        }
                    }
                }
                _ => loop {
                    self.eof = Eof::None;
                    let Some(before) = self.at.checked_sub(1) else {
                        self.block = Some(0);
                        return Err(Errno::IO);
                    };
                    self.at = before;
                    self.block = None;
                    if self.marks.get(before) == Some(&Mark::Filemark) {
                        self.file = self.file.and_then(|file| file.checked_sub(1));
                        break;
                    }
                },
            }
            if op != Op::ForwardFiles {
                self.eof = Eof::None;
            }
        }
        Ok(())
    }

    fn control(&mut self, op: Op, count: u32) -> Result<(), Errno> {
        self.controls.push((op, count));
        if op == Op::Load {
            self.loaded = true;
            return Ok(());
        }
        self.check_ready()?;
        if self.eof == Eof::Hit && matches!(op, Op::ForwardFiles | Op::BackFiles | Op::EndOfData) {
            self.pass_filemark();
            self.eof = Eof::Filemark;
            if op == Op::ForwardFiles {
                return self.space(op, count.saturating_sub(1));
            }
        }
        match op {
            Op::Rewind => {
                (self.at, self.file, self.block, self.eof) = (0, Some(0), Some(0), Eof::None);
                Ok(())
            }
            Op::Offline => {
                self.control(Op::Rewind, 1)?;
                self.loaded = false;
                Ok(())
            }
            Op::SetBlock => {
                if count != 0 && !self.driver_limits.takes(count.into()) {
                    return Err(Errno::INVAL);
                }
                self.mode = count;
                Ok(())
            }
            Op::EndOfData => {
                while self.at < self.marks.len() {
                    match self.marks.get(self.at) {
                        Some(Mark::Filemark) => self.pass_filemark(),
                        _ => self.pass_block(),
                    }
                }
                self.eof = Eof::EndOfData;
                Ok(())
            }
            Op::WriteFilemarks | Op::WriteFilemarksSoon => {
                if self.protected {
                    return Err(Errno::ACCESS);
                }
                self.marks.truncate(self.at);
                for _ in 0..count {
                    self.marks.push(Mark::Filemark);
                    self.pass_filemark();
                }
                self.eof = Eof::None;
                Ok(())
            }
            spacing => self.space(spacing, count),
        }
    }

    fn status(&self) -> Status {
        let mut flags = 0;
        let mut set = |is_so: bool, flag: u32| flags |= if is_so { flag } else { 0 };
        set(self.loaded, flag::ONLINE);
        set(!self.loaded, flag::NO_TAPE);
        set(self.protected, flag::WRITE_PROTECTED);
        set(self.block == Some(0) && self.file == Some(0), flag::START);
        set(self.block == Some(0) && self.file != Some(0), flag::FILEMARK);
        set(self.eof == Eof::Warned, flag::END_OF_MEDIUM);
        set(matches!(self.eof, Eof::Told | Eof::EndOfData), flag::END_OF_DATA);
        Status {
            mode: BlockMode::of(self.mode),
            density: 0,
            position: Position { file: self.file, block: self.block },
            partition: 0,
            corrected_errors: 0,
            flags,
        }
    }
}

impl Drive for FakeTape {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.state().read(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        self.state().write(bytes)
    }

    fn control(&mut self, op: Op, count: u32) -> Result<(), Errno> {
        self.state().control(op, count)
    }

    fn status(&mut self) -> Result<Status, Errno> {
        Ok(self.state().status())
    }

    fn tell(&mut self) -> Result<u64, Errno> {
        Ok(self.state().at as u64)
    }

    fn block_limits(&mut self) -> Option<BlockLimits> {
        self.state().stated_limits
    }

    fn direct_rule(&self) -> DirectRule {
        self.state().rule
    }
}
