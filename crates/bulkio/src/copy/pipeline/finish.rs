//! The end of a copy: the length settled, bytes and name made durable, everything told.

use scatterlist::Fault;

use super::super::CopyError;
use super::super::fan::{Destination, Peer};
use super::super::options::{CopyOptions, Observer, Phase};
use super::super::report::{Closing, Report, SideReport};
use super::super::rescue::Rescue;
use super::{Pipeline, WAIT};
use crate::device::Device;
use crate::engine::{CommandRing, Completion, FlushKind};

impl Pipeline<'_> {
    /// Holds the end of a copy against what there was to copy: whatever went wrong here, it is not to be told as a success.
    pub(in super::super) fn check_whole(&mut self) {
        if self.state.ends() || self.state.rescue.is_some() {
            return;
        }
        let at = self.state.front();
        if self.feed.has_more(self.bound()) || self.state.len.is_some_and(|len| at < len) {
            self.state.fail(at, CopyError::Unfinished { at, len: self.bound() });
        }
    }

    /// Sets the length, makes the bytes and the name durable, at each destination that is left.
    pub(in super::super) fn finish(&mut self, options: &CopyOptions, observer: &mut dyn Observer) {
        let ends = self.ends;
        for (number, destination) in ends.destinations.iter().enumerate() {
            if !self.state.writings.at(number).began {
                continue;
            }
            let end = self.end_of(number, destination, options);
            let settled = destination.device.settle_len(end, true);
            // One that was dropped is cut to what it has, if it can be: why it was dropped is told already.
            if let (Err(why), false) = (settled, self.state.writings.at(number).is_dropped()) {
                let path = destination.path().to_owned();
                let front = self.state.writings.at(number).front;
                self.fail(Peer::Destination(number), front, CopyError::Prepare { path, why });
            }
        }
        if options.sync && !ends.destinations.iter().all(|destination| destination.device.is_stream()) {
            self.state.tell(observer, Phase::Flushing, true);
            self.flush(observer);
            if options.verify {
                return self.state.tell_news(observer);
            }
        }
        self.state.tell(observer, Phase::Done, true);
    }

    /// Returns where a destination ends.
    fn end_of(&self, number: usize, destination: &Destination, options: &CopyOptions) -> u64 {
        // Without a byte there is no range: a kept file stays as long as it is, a truncated one ends where it was cut.
        let reached = match &self.state.rescue {
            Some(rescue) => rescue.reach(),
            None => self.state.writings.at(number).front,
        };
        let end = match reached {
            0 if !options.truncate => destination.kept_len,
            front => self.ends.geometry.seek.saturating_add(front),
        };
        end.max(destination.kept_len)
    }

    /// Flushes all destinations that are left, at once.
    fn flush(&mut self, observer: &mut dyn Observer) {
        let mut waiting = Vec::new();
        for number in 0..self.state.writings.len() {
            let writing = self.state.writings.at(number);
            if writing.is_stream || writing.is_dropped() {
                continue;
            }
            let file = writing.to_buffered;
            match self.engine.flush(file, FlushKind::All) {
                Ok(_) => waiting.push((number, file)),
                Err(why) => self.refused(Peer::Destination(number), writing.front, why),
            }
        }
        while !waiting.is_empty() {
            match self.engine.wait_timeout(WAIT) {
                Ok(Some(Completion::Flush { file, fault, .. })) => {
                    let place = waiting.iter().position(|(_, flushed)| *flushed == file);
                    let Some((number, _)) = place.map(|place| waiting.swap_remove(place)) else { continue };
                    if let Err(error) = self.flush_done(number, fault) {
                        let front = self.state.writings.at(number).front;
                        self.fail(Peer::Destination(number), front, error);
                    }
                }
                Ok(Some(other)) => self.completed(other),
                Ok(None) => self.state.tell(observer, Phase::Flushing, true),
                Err(error) => return self.state.fail(self.state.front(), error.into()),
            }
        }
    }

    /// A destination is flushed; a new one is durable with its name.
    fn flush_done(&mut self, number: usize, fault: Option<Fault>) -> Result<(), CopyError> {
        let destination = self.ends.destinations.at(number);
        let path = || destination.path().to_owned();
        if let Some(fault) = fault {
            return Err(CopyError::Flush { path: path(), status: fault.status });
        }
        if destination.created.is_some() {
            destination.device.sync_name().map_err(|why| CopyError::Prepare { path: path(), why })?;
        }
        self.state.writings.at_mut(number).synced = true;
        Ok(())
    }

    /// Returns what the user should know, with who carried commands (rule `no-silent-fallback`).
    fn notes(&self) -> Vec<String> {
        let mut notes = self.ends.notes.clone();
        notes.extend(self.state.notes.iter().cloned());
        let writings = self.state.writings.iter().map(|writing| writing.to);
        let destinations = writings.zip(self.ends.destinations.iter().map(|end| &end.device));
        for (file, end) in std::iter::once((self.from, &self.ends.source)).chain(destinations) {
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
            None => self.state.len == Some(self.state.front()),
        }
    }

    pub(in super::super) fn report(&self) -> Report {
        let sides = self.state.writings.iter().zip(self.ends.destinations.iter());
        let mut sides = sides.map(|(writing, end)| (writing, told(&writing.side, &*end.device))).peekable();
        let first = &self.state.writings.first().side;
        let destination = sides.peek().map_or_else(|| first.clone(), |(_, side)| side.clone());
        let destinations = match self.state.writings.is_several() {
            true => sides.map(|(writing, side)| writing.report(side)).collect(),
            false => Vec::new(),
        };
        let mut report = Closing {
            bytes: self.state.written_bytes(),
            elapsed: self.state.started.elapsed(),
            engine: self.engine.report().clone(),
            pool: self.pool.first(),
            block_len: self.ends.geometry.slot_len,
            depth: self.tuner.depth(),
            synced: self.state.is_synced(),
            // A stop that came when everything was written interrupted nothing.
            interrupted: self.state.stopped && !self.is_complete(),
            source: told(&self.state.source, &*self.ends.source),
            destination,
            destinations,
            notes: self.notes(),
            rescue: self.state.rescue.as_ref().map(Rescue::report),
        }
        .report();
        self.tell_sparse(&mut report);
        report.offload = self.offload.report();
        self.tell_tuned(&mut report);
        report.buffered = self.buffered();
        report
    }
}

/// What a side did, with what the kernel copied all the same (rule `no-silent-copy`).
pub(in super::super) fn told(side: &SideReport, device: &dyn Device) -> SideReport {
    let mut side = side.clone();
    if let Some((bytes, why)) = device.copied() {
        let bytes = bytes.min(side.direct_bytes);
        side.direct_bytes = side.direct_bytes.saturating_sub(bytes);
        side.count_bounced(bytes, &why);
    }
    side
}
