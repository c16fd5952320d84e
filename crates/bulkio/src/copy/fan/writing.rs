//! [`Writing`]: what a running copy knows of one destination.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::CopyError;
use super::super::geometry::{Chunk, Place};
use super::super::pipeline::edges::Edges;
use super::super::pipeline::{add, side_of};
use super::super::report::SideReport;
use super::{Destination, DestinationFailure, DestinationReport};
use crate::engine::{Engine, FileId};
use crate::pages::SlotShare;

/// A chunk that waits to be written to one destination.
#[derive(Debug)]
pub(in super::super) struct Queued {
    pub(in super::super) chunk: Chunk,
    /// Bytes of the chunk that are there.
    pub(in super::super) len: u64,
    /// The write: whole blocks of the destination.
    pub(in super::super) place: Place,
    /// Bytes of the chunk in it; there may be padding behind.
    pub(in super::super) moved: u64,
    pub(in super::super) share: SlotShare,
}

/// What one destination takes of a chunk that is handed out.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Handed {
    pub(in super::super) number: usize,
    /// The write: whole blocks of the destination.
    pub(in super::super) place: Place,
    /// Bytes of the chunk that it has room for.
    pub(in super::super) len: u64,
    /// Bytes behind those of the chunk in the write.
    pub(in super::super) padding: u64,
}

/// What a running copy knows of one destination.
#[derive(Debug)]
pub(in super::super) struct Writing {
    /// The best route, and the one through the page cache.
    pub(in super::super) to: FileId,
    pub(in super::super) to_buffered: FileId,
    /// Why bytes are copied on the way; `None` where they move directly.
    pub(in super::super) bounce: Option<String>,
    pub(in super::super) is_stream: bool,
    pub(in super::super) side: SideReport,
    pub(in super::super) in_flight: u32,
    /// Chunks to write, in order.
    pub(in super::super) queue: VecDeque<Queued>,
    pub(in super::super) edges: Edges,
    /// Written chunks beyond the gapless front: where they start, and their bytes.
    written: BTreeMap<u64, u64>,
    /// Bytes written without a gap from the start.
    pub(in super::super) front: u64,
    /// Bytes written, gaps or not.
    pub(in super::super) done: u64,
    /// It takes nothing more: it failed, or is a stream whose last write came short.
    pub(in super::super) ended: bool,
    /// It was made ready: from then on it is as the copy leaves it.
    pub(in super::super) began: bool,
    pub(in super::super) synced: bool,
    /// Why it was dropped: the error furthest in front.
    pub(in super::super) failed: Option<DestinationFailure>,
    /// The same, until somebody takes it.
    pub(in super::super) error: Option<CopyError>,
}

impl Writing {
    /// Gives a destination to the engine.
    pub(in super::super) fn open<C>(
        end: &Destination,
        engine: &mut Engine<SlotShare, C>,
    ) -> Result<Self, CopyError> {
        let (device, bounce) = (&*end.device, end.bounce());
        let routes = device.routes();
        let to_buffered = add(engine, device, routes.buffered())?;
        let to = match routes.direct() {
            // A node for commands has one route.
            Ok(direct) if bounce.is_none() && device.commands().is_none() => {
                engine.add_file(Arc::clone(direct))?
            }
            _ => to_buffered,
        };
        Ok(Self {
            to,
            to_buffered,
            is_stream: device.is_stream(),
            side: side_of(device, bounce.is_none()),
            bounce,
            in_flight: 0,
            queue: VecDeque::new(),
            edges: Edges::default(),
            written: BTreeMap::new(),
            front: 0,
            done: 0,
            ended: false,
            began: false,
            synced: false,
            failed: None,
            error: None,
        })
    }

    /// Says whether it was dropped.
    pub(in super::super) const fn is_dropped(&self) -> bool {
        self.failed.is_some()
    }

    /// Chunks that wait to be written, each of which holds a slot.
    pub(in super::super) fn waiting(&self) -> usize {
        // Where zeros are left out a chunk is several parts, and the next one comes when none of these waits.
        let number = |queued: Option<&Queued>| queued.map(|queued| queued.chunk.number);
        match number(self.queue.front()) {
            Some(first) if Some(first) == number(self.queue.back()) => 1,
            _ => self.queue.len(),
        }
    }

    /// Records why it is dropped, at byte `at` of the range, unless something further in front is why. Says whether that is news.
    pub(in super::super) fn drop_out(&mut self, at: u64, error: CopyError) -> bool {
        let is_news = self.failed.is_none();
        if self.failed.as_ref().is_none_or(|first| at < first.at) {
            self.failed = Some(DestinationFailure { at, message: error.to_string() });
            self.error = Some(error);
        }
        is_news
    }

    /// Records that `len` bytes from byte `at` of the range on are written.
    pub(in super::super) fn wrote(&mut self, at: u64, len: u64) {
        match self.written.range_mut(..at).next_back() {
            // One long hole is one entry, however many steps it took.
            Some((start, before)) if start.saturating_add(*before) == at => {
                *before = before.saturating_add(len);
            }
            _ if len > 0 => drop(self.written.insert(at, len)),
            _ => {}
        }
        while let Some(len) = self.written.remove(&self.front) {
            self.front = self.front.saturating_add(len);
        }
    }

    /// Counts bytes that moved.
    pub(in super::super) fn count(&mut self, bytes: u64) {
        match &self.bounce {
            None => self.side.count_direct(bytes),
            Some(why) => self.side.count_bounced(bytes, why),
        }
    }

    /// Reports on one of several; `side` is its own, completed.
    pub(in super::super) fn report(&self, side: SideReport) -> DestinationReport {
        let failed = self.failed.clone();
        let synced = self.synced && failed.is_none();
        DestinationReport {
            side,
            bytes: self.front,
            durable_bytes: if synced { self.front } else { 0 },
            synced,
            verified: None,
            failed,
        }
    }
}
