//! What a running copy knows: which chunks are read and written, and what each side did.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::narrow::FailedRead;
use super::options::{Control, Observer, Phase, Progress};
use super::report::SideReport;
use super::rescue::Rescue;
use super::{CopyError, geometry::Chunk};
use crate::pages::Slot;

/// A chunk that was read and waits to be written.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) chunk: Chunk,
    pub(super) slot: Slot,
    /// Bytes of the chunk that are there.
    pub(super) len: u64,
}

/// The running state of one copy.
#[derive(Debug)]
pub(super) struct State {
    pub(super) started: Instant,
    pub(super) source: SideReport,
    pub(super) destination: SideReport,
    pub(super) reads: u32,
    pub(super) writes: u32,
    /// Chunks to write, in order.
    pub(super) filled: VecDeque<Filled>,
    /// Chunks that were read before those in front of them, where order matters.
    pub(super) early: BTreeMap<u64, Filled>,
    /// The next chunk that a stream takes.
    pub(super) next_write: u64,
    /// The first chunk that is not there whole: a stream takes nothing behind it.
    pub(super) stream_end: u64,
    /// Bytes of the range; known from the start, or once the source has ended.
    pub(super) len: Option<u64>,
    /// Written chunks beyond the gapless front: where they start, and their bytes.
    written: BTreeMap<u64, u64>,
    /// Bytes written without a gap from the start.
    pub(super) front: u64,
    /// Bytes written, gaps or not.
    pub(super) done: u64,
    /// The first error, by the lowest byte of the range.
    error: Option<(u64, CopyError)>,
    pub(super) stopped: bool,
    /// Requests that each side may have in flight.
    pub(super) depth: u32,
    /// What came up meanwhile.
    pub(super) notes: Vec<String>,
    /// The read furthest in front that failed.
    pub(super) failed_read: Option<FailedRead>,
    /// The account of areas, where the copy keeps one.
    pub(super) rescue: Option<Rescue>,
    told: Instant,
}

/// How often the observer hears from a busy copy.
const TELL_EVERY: Duration = Duration::from_millis(100);

impl State {
    pub(super) fn new(source: SideReport, destination: SideReport, len: Option<u64>, depth: u32) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            source,
            destination,
            reads: 0,
            writes: 0,
            filled: VecDeque::new(),
            early: BTreeMap::new(),
            next_write: 0,
            stream_end: u64::MAX,
            len,
            written: BTreeMap::new(),
            front: 0,
            done: 0,
            error: None,
            stopped: false,
            depth,
            notes: Vec::new(),
            failed_read: None,
            rescue: None,
            told: now,
        }
    }

    /// Records that `len` bytes from byte `at` of the range on are written.
    pub(super) fn wrote(&mut self, at: u64, len: u64) {
        self.done = self.done.saturating_add(len);
        if let Some(rescue) = &mut self.rescue {
            return rescue.wrote(&(at..at.saturating_add(len)));
        }
        if len > 0 {
            self.written.insert(at, len);
        }
        while let Some(len) = self.written.remove(&self.front) {
            self.front = self.front.saturating_add(len);
        }
    }

    /// Records that what was taken for written is not.
    pub(super) fn unwrote(&mut self, at: u64, len: u64) {
        self.front = self.front.min(at);
        if let Some(rescue) = &mut self.rescue {
            rescue.unwrote(&(at..at.saturating_add(len)));
        }
    }

    /// Says whether the last byte before byte `end` of the range is written, and all before it as far as that is kept.
    pub(super) fn is_written(&self, end: u64) -> bool {
        match &self.rescue {
            Some(rescue) => end.checked_sub(1).is_none_or(|last| rescue.is_good(last)),
            None => self.front >= end,
        }
    }

    /// Bytes that are written: without a gap from the start, or by the account of areas.
    pub(super) fn written_bytes(&self) -> u64 {
        self.rescue.as_ref().map_or(self.front, Rescue::good_bytes)
    }

    /// Records an error at byte `at` of the range; the one furthest in front is the one that is told.
    pub(super) fn fail(&mut self, at: u64, error: CopyError) {
        if self.error.as_ref().is_none_or(|(first, _)| at < *first) {
            self.error = Some((at, error));
        }
    }

    /// Records a read that failed; the one furthest in front is kept.
    pub(super) fn read_failed(&mut self, failed: FailedRead) {
        if self.failed_read.is_none_or(|first| failed.chunk.at < first.chunk.at) {
            self.failed_read = Some(failed);
        }
    }

    /// Returns the error furthest in front.
    pub(super) fn first_error(&self) -> Option<&CopyError> {
        self.error.as_ref().map(|(_, error)| error)
    }

    /// States exactly what the failed read furthest in front could not read: byte `at` of the range, byte `position` of the source, and
    /// how many bytes.
    pub(super) fn found_bad(&mut self, at: u64, position: u64, bytes: u64, block_len: u64) {
        if let Some((first, CopyError::Transfer { at: start, len, block, .. })) = &mut self.error {
            (*first, *start, *len, *block) = (at, position, bytes, Some(block_len));
        }
    }

    pub(super) const fn failed(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn take_error(&mut self) -> Option<CopyError> {
        self.error.take().map(|(_, error)| error)
    }

    /// Says whether no more is to be read.
    pub(super) const fn ends(&self) -> bool {
        self.stopped || self.failed()
    }

    /// Tells the observer, at once or if it is time, and hears whether to stop.
    pub(super) fn tell(&mut self, observer: &mut dyn Observer, phase: Phase, now: bool) {
        if !now && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let progress = Progress {
            phase,
            done_bytes: self.done,
            total_bytes: self.len,
            elapsed: self.started.elapsed(),
            reads_in_flight: self.reads,
            writes_in_flight: self.writes,
            depth: Some(self.depth),
            stream: None,
            rescue: self.rescue.as_ref().map(Rescue::progress),
        };
        if observer.progress(&progress) == Control::Stop {
            self.stopped = true;
        }
    }
}
