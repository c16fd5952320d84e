//! The map on disk, while the copy runs.
//!
//! A map says of a byte that it is copied only when it is durable: the destination is flushed with the account as it stood before, and that account
//! is written when the flush is done. The bounds are a second of work, and a twentieth of the time for saving; who wants no second has no bound on either.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Rescue;
use crate::copy::CopyError;
use crate::copy::fan::Peer;
use crate::copy::map::{AreaStatus, MapFile, MapFileError, RecoveryMap};
use crate::copy::options::Observer;
use crate::copy::pipeline::Pipeline;
use crate::engine::FlushKind;
use scatterlist::{Fault, Status};

/// A save may come when the time since the last is so many times what that one took.
const SAVE_SHARE: u32 = 20;

/// Keeps a map on disk.
#[derive(Debug)]
pub(super) struct Saver {
    file: MapFile,
    every: Duration,
    saved: Instant,
    took: Duration,
    /// What is written when the flush in flight is done.
    flushing: Option<(RecoveryMap, Instant)>,
    /// The map as it was saved last.
    last: Option<RecoveryMap>,
}

impl Saver {
    pub(super) fn new(file: MapFile, every: Duration) -> Self {
        Self { file, every, saved: Instant::now(), took: Duration::ZERO, flushing: None, last: None }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    fn is_due(&self) -> bool {
        let wait = self.every.max(self.took.saturating_mul(SAVE_SHARE));
        self.flushing.is_none() && (self.every.is_zero() || self.saved.elapsed() >= wait)
    }

    fn save(&mut self, map: RecoveryMap, since: Instant) -> Result<(), MapFileError> {
        let saved = if self.last.as_ref() == Some(&map) { Ok(()) } else { self.file.save(&map) };
        self.last = Some(map);
        (self.saved, self.took) = (Instant::now(), since.elapsed());
        saved
    }
}

impl Rescue {
    /// Says whether a flush for the map is in flight.
    pub(in crate::copy) fn is_saving(&self) -> bool {
        self.saver.as_ref().is_some_and(|saver| saver.flushing.is_some())
    }
}

impl Pipeline<'_> {
    /// The map as it is true on the medium once all that is written is flushed.
    fn settled_map(&self, rescue: &Rescue) -> RecoveryMap {
        let mut map = rescue.map.clone();
        for edge in self.state.writings.first().edges.ranges() {
            map.set(rescue.of_source(&edge), AreaStatus::Untried);
        }
        map
    }

    /// Begins to save the map, if it is time.
    pub(in crate::copy) fn save_if_due(&mut self) {
        let Some(rescue) = &self.state.rescue else { return };
        // What comes after a failed flush may succeed, and says nothing about what was lost.
        let is_due = rescue.has_news && rescue.saver.as_ref().is_some_and(Saver::is_due);
        if !is_due || rescue.flush_failed || self.state.ends() {
            return;
        }
        let settled = (self.settled_map(rescue), Instant::now());
        match self.engine.flush(self.state.writings.first().to_buffered, FlushKind::All) {
            Ok(_) => self.with_rescue(|rescue| {
                rescue.has_news = false;
                if let Some(saver) = &mut rescue.saver {
                    saver.flushing = Some(settled);
                }
            }),
            Err(why) => self.refused(Peer::Destination(0), 0, why),
        }
    }

    /// The flush for the map is done.
    pub(in crate::copy) fn flushed(&mut self, fault: Option<Fault>) {
        let saver = self.state.rescue.as_mut().and_then(|rescue| rescue.saver.as_mut());
        let Some(settled) = saver.and_then(|saver| saver.flushing.take()) else { return };
        match fault {
            None => self.save(settled),
            // A stop ends what has not begun.
            Some(fault) if self.state.stopped && fault.status == Status::Cancelled => {}
            Some(fault) => {
                self.with_rescue(|rescue| rescue.flush_failed = true);
                let path = self.ends.destinations.first().path().to_owned();
                self.state.fail(0, CopyError::Flush { path, status: fault.status });
            }
        }
    }

    fn save(&mut self, (map, since): (RecoveryMap, Instant)) {
        let saver = self.state.rescue.as_mut().and_then(|rescue| rescue.saver.as_mut());
        if let Some(Err(why)) = saver.map(|saver| saver.save(map, since)) {
            // A copy that cannot be gone on with is not what was asked for.
            self.state.fail(0, CopyError::MapLost(why));
        }
    }

    /// Saves the map at the end. What a failed flush lost is not known, so the map stays as it was last.
    pub(in crate::copy) fn save_last(&mut self, settled: bool, observer: &mut dyn Observer) {
        let Some(rescue) = &self.state.rescue else { return };
        if rescue.saver.is_none() {
            return;
        }
        if settled && !rescue.flush_failed {
            let map = self.settled_map(rescue);
            return self.save((map, Instant::now()));
        }
        observer.warning(
            "the destination could not be made durable, so the map stays as it was saved before that",
        );
    }
}
