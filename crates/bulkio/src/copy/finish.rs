//! The end of a copy: the length settled, bytes and name made durable, everything told.

use super::options::{CopyOptions, Observer, Phase};
use super::pipeline::{Pipeline, WAIT};
use super::report::{Closing, Report, SideReport};
use super::rescue::Rescue;
use super::{CopyError, Side};
use crate::device::Device;
use crate::engine::{CommandRing, Completion, FlushKind};

impl Pipeline<'_> {
    /// Sets the length, makes the bytes and the name durable. Says whether that was done.
    pub(super) fn finish(&mut self, options: &CopyOptions, observer: &mut dyn Observer) -> bool {
        let destination = &*self.ends.destination;
        // Without a byte there is no range: a kept file stays as long as it is, a truncated one ends where it was cut.
        let reached = match &self.state.rescue {
            Some(rescue) => rescue.reach(),
            None => self.state.front,
        };
        let end = match reached {
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
        if !options.verify {
            self.state.tell(observer, Phase::Done, true);
        }
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

    /// Returns what the user should know, with who carried commands (rule `no-silent-fallback`).
    fn notes(&self) -> Vec<String> {
        let mut notes = self.ends.notes.clone();
        notes.extend(self.state.notes.iter().cloned());
        for (file, end) in [(self.from, &self.ends.source), (self.to, &self.ends.destination)] {
            let carried = end.commands().and_then(|_| self.engine.file_report(file));
            notes.extend(carried.map(|report| {
                format!("the commands to {} were carried {}", end.path().display(), report.carrier)
            }));
        }
        if let CommandRing::Refused { reason } = &self.engine.report().commands {
            notes.push(format!("a ring for commands was refused: {reason}"));
        }
        notes
    }

    /// Says whether nothing is left to do.
    fn is_complete(&self) -> bool {
        match &self.state.rescue {
            Some(rescue) => rescue.is_over(),
            None => self.state.len == Some(self.state.front),
        }
    }

    pub(super) fn report(&self, synced: bool) -> Report {
        let mut report = Closing {
            bytes: self.state.written_bytes(),
            elapsed: self.state.started.elapsed(),
            engine: self.engine.report().clone(),
            pool: self.pool.first(),
            block_len: self.ends.geometry.slot_len,
            depth: self.tuner.depth(),
            synced,
            // A stop that came when everything was written interrupted nothing.
            interrupted: self.state.stopped && !self.is_complete(),
            source: told(&self.state.source, &*self.ends.source),
            destination: told(&self.state.destination, &*self.ends.destination),
            notes: self.notes(),
            rescue: self.state.rescue.as_ref().map(Rescue::report),
        }
        .report();
        self.tell_tuned(&mut report);
        report.buffered = self.buffered();
        report
    }
}

/// What a side did, with what the kernel copied all the same (rule `no-silent-copy`).
pub(super) fn told(side: &SideReport, device: &dyn Device) -> SideReport {
    let mut side = side.clone();
    if let Some((bytes, why)) = device.copied() {
        let bytes = bytes.min(side.direct_bytes);
        side.direct_bytes = side.direct_bytes.saturating_sub(bytes);
        side.count_bounced(bytes, &why);
    }
    side
}
