//! What ends: waits for writes and for the device, and what is known when a write is over.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::{Direction, Fault, Outcome, Status};

use super::super::super::pipeline::STOP_GRACE;
use super::super::super::watch::Watch;
use super::super::super::{CopyError, Side};
use super::super::held::Held;
use super::{Event, Op, Sink, Watched};
use crate::device::filled::Filled;
use crate::engine::Completion;

impl<F: Filled, M> Sink<F, M> {
    /// Watches a device from now on: its being ready ends waits.
    pub(in super::super) fn watch(
        &mut self,
        device: Arc<OwnedFd>,
        direction: Direction,
    ) -> Result<(), CopyError> {
        let file = self.engine.add_file(device)?;
        self.watched = Some(Watched { file, direction, token: None });
        Ok(())
    }

    /// Watches the device no more, so that it can be closed.
    pub(in super::super) fn unwatch(&mut self) -> Result<(), CopyError> {
        let Some(Watched { file, token, .. }) = self.watched.take() else { return Ok(()) };
        if let Some(token) = token {
            self.engine.cancel_request(token);
            loop {
                match self.engine.wait()? {
                    Some(over) if over.token() == token => break,
                    Some(over) => self.completed(over),
                    None => {}
                }
            }
        }
        self.engine.remove_file(file)?;
        Ok(())
    }

    /// Cancels what a stream has not taken for a while, once the copy is to stop or has failed: its other side may stand still for ever.
    /// Says whether that was done.
    pub(in super::super) fn hurry(&mut self, watch: &Watch<'_>) -> bool {
        if self.target.device.is_stream() && (watch.stopped || self.failed()) && self.writes > 0 {
            let since = self.stopping.get_or_insert_with(Instant::now);
            if since.elapsed() >= STOP_GRACE {
                self.gave_up = true;
                self.engine.cancel();
            }
        }
        self.gave_up
    }

    /// Waits for a write, or for the device where it `has_work`, at most `timeout`.
    pub(in super::super) fn wait(&mut self, has_work: bool, timeout: Duration) -> Result<Event, CopyError> {
        if has_work && let Some(Watched { file, direction, token: token @ None }) = &mut self.watched {
            let watch = self.engine.watch(*file, *direction);
            let path = self.target.device.path();
            *token = Some(watch.map_err(|why| CopyError::Submit {
                side: Side::Source,
                path: path.to_owned(),
                why,
            })?);
        }
        // Also with nothing in flight it waits its time.
        let over = self.engine.wait_or_wake(Some(timeout))?;
        over.map_or(Ok(Event::Nothing), |over| self.take(over))
    }

    fn take(&mut self, over: Completion<Held<F>, Op>) -> Result<Event, CopyError> {
        if let Completion::Ready { fault, .. } = over {
            if let Some(watched) = &mut self.watched {
                watched.token = None;
            }
            return match fault {
                None => Ok(Event::Ready),
                Some(Fault { status, .. }) => Err(CopyError::StreamWatch { status }),
            };
        }
        self.completed(over);
        Ok(Event::Written)
    }

    fn completed(&mut self, over: Completion<Held<F>, Op>) {
        let Completion::Transfer { request, outcome, .. } = over else { return };
        let (lease, mut ops) = request.into_parts();
        self.writes = self.writes.saturating_sub(1);
        self.give_back(lease);
        let Some(op) = ops.next() else { return };
        self.stopping = None;
        self.latency = op.begun.elapsed();
        self.latency_max = self.latency_max.max(self.latency);
        match &self.refused {
            None => self.report.count_direct(op.direct.min(outcome.done)),
            Some(why) => {
                let why = why.clone();
                self.report.count_bounced(outcome.done, &why);
            }
        }
        self.wrote(op.at, outcome.done);
        if outcome.fault.is_some() || outcome.done < outcome.asked {
            self.fault(op, outcome);
        }
    }

    /// Takes bytes as written; those behind a gap count when it is closed.
    pub(in super::super) fn wrote(&mut self, at: u64, len: u64) {
        if len > 0 {
            self.written.insert(at, len);
        }
        while let Some(len) = self.written.remove(&self.front) {
            self.front = self.front.saturating_add(len);
        }
        while let Some((end, _)) = self.marks.front()
            && *end <= self.front
            && let Some((end, mark)) = self.marks.pop_front()
        {
            self.whole = end;
            self.passed.push_back(mark);
        }
    }

    /// The first fault is the one that is told.
    fn fault(&mut self, op: Op, outcome: Outcome) {
        let fault = outcome.fault.unwrap_or(Fault { at: outcome.done, status: Status::Short });
        if self.gave_up && fault.status == Status::Cancelled {
            return;
        }
        let (device, bytes) = (&*self.target.device, self.whole_bytes());
        let error = CopyError::of_fault(Side::Destination, device, op.at, outcome.asked, fault, bytes);
        self.error.get_or_insert(error);
    }
}
