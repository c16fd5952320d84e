//! The end of a copy: the length settled, bytes and name made durable, everything told.

use super::options::{CopyOptions, Observer, Phase};
use super::pipeline::{Pipeline, WAIT};
use super::report::Report;
use super::{CopyError, Side};
use crate::engine::{Completion, FlushKind, Registration};

impl Pipeline<'_> {
    /// Sets the length, makes the bytes and the name durable. Says whether that was done.
    pub(super) fn finish(&mut self, options: &CopyOptions, observer: &mut dyn Observer) -> bool {
        let destination = &*self.ends.destination;
        // Without a byte there is no range: a kept file stays as long as it is, a truncated one ends where it was cut.
        let end = match self.state.front {
            0 if !options.truncate => self.ends.kept_len,
            front => self.ends.geometry.seek.saturating_add(front),
        };
        let settled = destination.settle_len(end.max(self.ends.kept_len), true);
        if let Err(why) = settled {
            self.state
                .fail(self.state.front, CopyError::Prepare { path: destination.path().to_owned(), why });
        }
        if !options.sync || destination.is_stream() {
            self.state.tell(observer, Phase::Done, true);
            return false;
        }
        self.state.tell(observer, Phase::Flushing, true);
        let synced = match self.flush(observer) {
            Ok(()) => true,
            Err(error) => {
                self.state.fail(self.state.front, error);
                false
            }
        };
        self.state.tell(observer, Phase::Done, true);
        synced
    }

    fn flush(&mut self, observer: &mut dyn Observer) -> Result<(), CopyError> {
        let destination = &*self.ends.destination;
        let path = || destination.path().to_owned();
        self.engine.flush(self.to_buffered, FlushKind::All).map_err(|why| CopyError::Submit {
            side: Side::Destination,
            path: path(),
            why,
        })?;
        loop {
            match self.engine.wait_timeout(WAIT)? {
                Some(Completion::Flush { fault: Some(fault), .. }) => {
                    return Err(CopyError::Flush { path: path(), status: fault.status });
                }
                Some(Completion::Flush { fault: None, .. }) => break,
                Some(other) => self.completed(other),
                None => self.state.tell(observer, Phase::Flushing, true),
            }
        }
        if self.ends.created.is_some() {
            destination.sync_name().map_err(|why| CopyError::Prepare { path: path(), why })?;
        }
        Ok(())
    }

    pub(super) fn report(&self, options: &CopyOptions, synced: bool) -> Report {
        let engine = self.engine.report().clone();
        let (registered_bytes, registered_reason) = match &engine.fixed {
            Registration::Whole { bytes } => (*bytes, String::new()),
            Registration::Partial { bytes, reason, .. } => (*bytes, reason.clone()),
            Registration::None { reason } => (0, reason.clone()),
        };
        Report {
            bytes: self.state.front,
            elapsed: self.state.started.elapsed(),
            engine,
            page_kind: self.pool.kind(),
            page_reason: self.pool.kind_reason().to_string(),
            pool_bytes: self.pool.bytes(),
            registered_bytes,
            registered_reason,
            block_len: self.ends.geometry.slot_len,
            depth: options.depth,
            durable_bytes: if synced { self.state.front } else { 0 },
            synced,
            // A stop that came when everything was written interrupted nothing.
            interrupted: self.state.stopped && self.state.len != Some(self.state.front),
            source: self.state.source.clone(),
            destination: self.state.destination.clone(),
            notes: self.ends.notes.clone(),
        }
    }
}
