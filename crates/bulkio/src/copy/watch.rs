//! [`Watch`]: tells the observer how far a copy with a tape or a clock is, and hears whether to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::options::{Control, Observer, Phase, Progress};
use super::start::Start;
use super::{SideReport, StreamProgress};

/// How often the observer hears from a busy copy.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The observer of a running copy.
pub(super) struct Watch<'a> {
    observer: &'a mut dyn Observer,
    pub(super) started: Instant,
    told: Option<Instant>,
    /// Bytes at the destination.
    done_bytes: &'a AtomicU64,
    pub(super) total_bytes: Option<u64>,
    pub(super) stopped: bool,
    /// How a device with a clock is doing.
    pub(super) stream: Option<StreamProgress>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        observer: &'a mut dyn Observer,
        done_bytes: &'a AtomicU64,
        total_bytes: Option<u64>,
    ) -> Self {
        Self {
            observer,
            started: Instant::now(),
            told: None,
            done_bytes,
            total_bytes,
            stopped: false,
            stream: None,
        }
    }

    /// Tells the observer that the copy begins.
    pub(super) fn begin(
        &mut self,
        source: &SideReport,
        destination: &SideReport,
        block_len: u64,
        depth: u32,
    ) {
        self.observer.started(&Start::of(source, destination, self.total_bytes, block_len, depth));
    }

    pub(super) fn observer(&mut self) -> &mut dyn Observer {
        self.observer
    }

    /// Counts bytes.
    pub(super) fn count(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes at the destination, the padding of a tape's last block left out.
    pub(super) fn done_bytes(&self) -> u64 {
        let done = self.done_bytes.load(Ordering::Relaxed);
        self.total_bytes.map_or(done, |total| done.min(total))
    }

    /// Tells the observer, if it is time or the phase is another one. Says whether the copy is to stop.
    pub(super) fn tell(&mut self, phase: Phase, in_flight: (u32, u32)) -> bool {
        let is_long = matches!(phase, Phase::Copying | Phase::Verifying);
        let due = !is_long || self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if !due {
            return self.stopped;
        }
        self.told = Some(Instant::now());
        let (reads_in_flight, writes_in_flight) = in_flight;
        let progress = Progress {
            phase,
            done_bytes: self.done_bytes(),
            total_bytes: self.total_bytes,
            elapsed: self.started.elapsed(),
            reads_in_flight,
            writes_in_flight,
            depth: None,
            stream: self.stream,
            rescue: None,
        };
        self.stopped |= self.observer.progress(&progress) == Control::Stop;
        self.stopped
    }
}
