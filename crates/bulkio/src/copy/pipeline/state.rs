//! What a running copy knows: which chunks are read and written, and what each side did.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use scatterlist::Status;

use super::super::fan::{Fan, Handed, Queued, Writing};
use super::super::options::{Control, Observer, Phase, Progress};
use super::super::report::SideReport;
use super::super::rescue::Rescue;
use super::super::{CopyError, geometry::Chunk};
use super::narrow::FailedRead;
use crate::pages::Slot;

/// A chunk that was read and waits to be written.
#[derive(Debug)]
pub(in super::super) struct Filled {
    pub(in super::super) chunk: Chunk,
    pub(in super::super) slot: Slot,
    /// Bytes of the chunk that are there.
    pub(in super::super) len: u64,
}

/// The running state of one copy.
#[derive(Debug)]
pub(in super::super) struct State {
    pub(in super::super) started: Instant,
    pub(in super::super) source: SideReport,
    /// What is known of each destination.
    pub(in super::super) writings: Fan<Writing>,
    pub(in super::super) reads: u32,
    /// Chunks to hand to the destinations, in order.
    pub(in super::super) filled: VecDeque<Filled>,
    /// Chunks that were read before those in front of them, where order matters.
    pub(in super::super) early: BTreeMap<u64, Filled>,
    /// The next chunk that a stream takes.
    pub(in super::super) next_write: u64,
    /// The first chunk that is not there whole: a stream takes nothing behind it.
    pub(in super::super) stream_end: u64,
    /// Bytes of the range; known from the start, or once the source has ended.
    pub(in super::super) len: Option<u64>,
    /// The first error, by the lowest byte of the range.
    error: Option<(u64, CopyError)>,
    /// Of several destinations, the one that was dropped first.
    dropped: Option<usize>,
    /// What the observer is to hear at once.
    news: Vec<String>,
    pub(in super::super) stopped: bool,
    /// The copy itself cancelled what was in flight, since it had ended.
    pub(in super::super) cancelled: bool,
    /// The writes of one chunk, while it is handed out; kept, so that no chunk costs memory of its own.
    pub(in super::super) handed: Vec<Handed>,
    /// Requests that each side may have in flight.
    pub(in super::super) depth: u32,
    /// What came up meanwhile.
    pub(in super::super) notes: Vec<String>,
    /// The read furthest in front that failed.
    pub(in super::super) failed_read: Option<FailedRead>,
    /// The account of areas, where the copy keeps one.
    pub(in super::super) rescue: Option<Rescue>,
    told: Instant,
}

/// How often the observer hears from a busy copy.
const TELL_EVERY: Duration = Duration::from_millis(100);

impl State {
    pub(in super::super) fn new(
        source: SideReport,
        writings: Fan<Writing>,
        len: Option<u64>,
        depth: u32,
        started: Instant,
    ) -> Self {
        Self {
            started,
            source,
            writings,
            reads: 0,
            filled: VecDeque::new(),
            early: BTreeMap::new(),
            next_write: 0,
            stream_end: u64::MAX,
            len,
            error: None,
            dropped: None,
            news: Vec::new(),
            stopped: false,
            cancelled: false,
            handed: Vec::new(),
            depth,
            notes: Vec::new(),
            failed_read: None,
            rescue: None,
            told: started,
        }
    }

    /// Records that a destination has `len` bytes from byte `at` of the range on.
    pub(in super::super) fn wrote(&mut self, number: usize, at: u64, len: u64) {
        let writing = self.writings.at_mut(number);
        writing.done = writing.done.saturating_add(len);
        match &mut self.rescue {
            Some(rescue) => rescue.wrote(&(at..at.saturating_add(len))),
            None => writing.wrote(at, len),
        }
    }

    /// Records that a destination does not have what was taken for written.
    pub(in super::super) fn unwrote(&mut self, number: usize, at: u64, len: u64) {
        let writing = self.writings.at_mut(number);
        writing.front = writing.front.min(at);
        if let Some(rescue) = &mut self.rescue {
            rescue.unwrote(&(at..at.saturating_add(len)));
        }
    }

    /// Says whether the last byte before byte `end` of the range is written, and all before it as far as that is kept.
    pub(in super::super) fn is_written(&self, end: u64) -> bool {
        match &self.rescue {
            Some(rescue) => end.checked_sub(1).is_none_or(|last| rescue.is_good(last)),
            None => self.front() >= end,
        }
    }

    /// Bytes that are written: without a gap from the start, or by the account of areas.
    pub(in super::super) fn written_bytes(&self) -> u64 {
        self.rescue.as_ref().map_or_else(|| self.front(), Rescue::good_bytes)
    }

    /// Bytes written without a gap from the start: those that every destination has.
    pub(in super::super) fn front(&self) -> u64 {
        self.least(|writing| writing.front)
    }

    /// Bytes written, gaps or not.
    pub(in super::super) fn done(&self) -> u64 {
        self.least(|writing| writing.done)
    }

    /// The least of all destinations that are left, or the most where none is.
    fn least(&self, bytes: impl Fn(&Writing) -> u64) -> u64 {
        let left = self.writings.iter().filter(|writing| !writing.is_dropped()).map(&bytes).min();
        left.or_else(|| self.writings.iter().map(bytes).max()).unwrap_or(0)
    }

    /// Chunks that wait to be written: to the destination that is furthest behind.
    pub(in super::super) fn waiting(&self) -> usize {
        let queued = self.writings.iter().map(Writing::waiting).max();
        self.filled.len().saturating_add(queued.unwrap_or(0))
    }

    /// Writes in flight, to all destinations.
    pub(in super::super) fn writes(&self) -> u32 {
        self.writings.iter().map(|writing| writing.in_flight).fold(0, u32::saturating_add)
    }

    /// Says whether writes are in flight that end by themselves: those to files and disks.
    pub(in super::super) fn has_sure_writes(&self) -> bool {
        self.writings.iter().any(|writing| !writing.is_stream && writing.in_flight > 0)
    }

    /// Says whether everything was made durable: at every destination that is left.
    pub(in super::super) fn is_synced(&self) -> bool {
        let mut left = self.writings.iter().filter(|writing| !writing.is_dropped()).peekable();
        left.peek().is_some() && left.all(|writing| writing.synced)
    }

    /// Says whether another destination than this one is left, so that a copy goes on without it.
    pub(in super::super) fn is_elsewhere(&self, number: usize) -> bool {
        self.writings.iter().enumerate().any(|(other, writing)| other != number && !writing.is_dropped())
    }

    /// A destination takes nothing more. Returns what it would have taken.
    pub(in super::super) fn end_writing(&mut self, number: usize) -> VecDeque<Queued> {
        let writing = self.writings.at_mut(number);
        writing.ended = true;
        std::mem::take(&mut writing.queue)
    }

    /// Records why one of several destinations is dropped, at byte `at` of the range.
    pub(in super::super) fn drop_destination(&mut self, number: usize, at: u64, error: CopyError) {
        let text = error.to_string();
        if !self.writings.at_mut(number).drop_out(at, error) {
            return;
        }
        self.dropped.get_or_insert(number);
        let (all, left) = (self.writings.len(), self.writings.iter().filter(|one| !one.is_dropped()).count());
        self.news.push(match left {
            0 => format!("{text}; it is dropped, and no destination is left"),
            1 => format!("{text}; it is dropped, 1 of {all} destinations is left"),
            left => format!("{text}; it is dropped, {left} of {all} destinations are left"),
        });
    }

    /// Records an error at byte `at` of the range; the one furthest in front is the one that is told.
    pub(in super::super) fn fail(&mut self, at: u64, error: CopyError) {
        if self.error.as_ref().is_none_or(|(first, _)| at < *first) {
            self.error = Some((at, error));
        }
    }

    /// Records a read that failed; the one furthest in front is kept.
    pub(in super::super) fn read_failed(&mut self, failed: FailedRead) {
        if self.failed_read.is_none_or(|first| failed.chunk.at < first.chunk.at) {
            self.failed_read = Some(failed);
        }
    }

    /// Returns the error furthest in front.
    pub(in super::super) fn first_error(&self) -> Option<&CopyError> {
        self.error.as_ref().map(|(_, error)| error)
    }

    /// States exactly what the failed read furthest in front could not read: byte `at` of the range, byte `position` of the source, and
    /// how many bytes.
    pub(in super::super) fn found_bad(&mut self, at: u64, position: u64, bytes: u64, block_len: u64) {
        if let Some((first, CopyError::Transfer { at: start, len, block, .. })) = &mut self.error {
            (*first, *start, *len, *block) = (at, position, bytes, Some(block_len));
        }
    }

    pub(in super::super) fn failed(&self) -> bool {
        self.error.is_some() || self.writings.iter().all(Writing::is_dropped)
    }

    /// Takes the error of the copy: where every destination was dropped, that of the first of these.
    pub(in super::super) fn take_error(&mut self) -> Option<CopyError> {
        if let Some((_, error)) = self.error.take() {
            return Some(error);
        }
        let first = self.dropped.filter(|_| self.writings.iter().all(Writing::is_dropped))?;
        self.writings.at_mut(first).error.take()
    }

    /// Says whether a transfer ended thus because this copy cancelled it, which is no failure of its side.
    pub(in super::super) fn is_own_end(&self, status: Status) -> bool {
        (self.stopped || self.cancelled) && status == Status::Cancelled
    }

    /// Says whether no more is to be read.
    pub(in super::super) fn ends(&self) -> bool {
        self.stopped || self.failed()
    }

    /// Tells the observer what came up.
    pub(in super::super) fn tell_news(&mut self, observer: &mut dyn Observer) {
        for text in self.news.drain(..) {
            observer.warning(&text);
        }
        if let Some(rescue) = &mut self.rescue {
            rescue.tell(observer);
        }
    }

    /// Tells the observer, at once or if it is time, and hears whether to stop.
    pub(in super::super) fn tell(&mut self, observer: &mut dyn Observer, phase: Phase, now: bool) {
        self.tell_news(observer);
        if !now && self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let progress = Progress {
            phase,
            done_bytes: self.done(),
            total_bytes: self.len,
            elapsed: self.started.elapsed(),
            reads_in_flight: self.reads,
            writes_in_flight: self.writes(),
            depth: Some(self.depth),
            stream: None,
            rescue: self.rescue.as_ref().map(Rescue::progress),
        };
        if observer.progress(&progress) == Control::Stop {
            self.stopped = true;
        }
    }
}
