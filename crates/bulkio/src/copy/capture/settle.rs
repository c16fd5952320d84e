//! The end of a [`Sink`]: what waits is written, the length settled, everything made durable.
//!
//! Contract: after a fault a file holds whole frames and nothing behind them; what was in flight has ended, so that every piece is back.

use std::os::fd::AsFd as _;
use std::time::Duration;

use scatterlist::{Direction, Position, Request};

use super::super::options::{CopyOptions, Phase};
use super::super::pipeline::finish::told;
use super::super::watch::Watch;
use super::super::{CopyError, SideReport};
use super::held::lease_slot;
use super::sink::{EDGE, Op, Sink};
use crate::device::filled::Filled;
use crate::device::{Class, PrepareError};
use crate::engine::{Completion, FlushKind, SubmitReason};

const TAIL: &str = "ragged end: written through the page cache";

/// How long one wait lasts before the observer is asked again.
const WAIT: Duration = Duration::from_millis(200);

/// Bytes to put over others once it is known how many there are, such as lengths in a header.
pub(super) type Patch = Vec<(u64, Vec<u8>)>;

impl<F: Filled, M> Sink<F, M> {
    /// Writes what waits, and waits for all writes. What the pieces were is in [`take_returned`](Sink::take_returned).
    pub(super) fn write_rest(&mut self, watch: &mut Watch<'_>) {
        self.wait_writes(watch);
        if let Err(error) = self.write_tail() {
            self.error.get_or_insert(error);
        }
        self.wait_writes(watch);
    }

    fn wait_writes(&mut self, watch: &mut Watch<'_>) {
        while self.writes() > 0 {
            watch.tell(Phase::Copying, (0, self.writes()));
            self.hurry(watch);
            if let Err(error) = self.wait(false, WAIT) {
                self.error.get_or_insert(error);
                return;
            }
        }
    }

    /// Writes the bytes behind the last whole block, through the page cache: what lies behind them in that block stays as it is.
    fn write_tail(&mut self) -> Result<(), CopyError> {
        let Some((slot, len)) = self.carry.take() else { return Ok(()) };
        if self.failed() {
            return Ok(());
        }
        let at = self.position.saturating_sub(len);
        let empty = SubmitReason::Empty { position: Position::At(at) };
        let lease = lease_slot(slot, 0, len).map_err(|_| self.refused(empty))?;
        let request = Request::new(lease, Direction::ToDevice, Position::At(at), Op::copied(at));
        let limits = *self.target.device.routes().buffered_limits();
        let submitted = self.engine.submit(self.to_buffered, request, &limits);
        submitted.map_err(|error| self.refused(error.reason))?;
        self.count_write();
        // Its bytes are among those that were put together: they waited in a slot.
        self.report.move_bounced(EDGE, TAIL, len);
        Ok(())
    }

    /// Settles the length, puts `patch` over what is there and makes everything durable. Says whether it is.
    pub(super) fn finish(
        &mut self,
        options: &CopyOptions,
        patch: impl FnOnce(u64) -> Patch,
        watch: &mut Watch<'_>,
    ) -> bool {
        let done = self.settle(patch).and_then(|()| self.make_durable(options, watch));
        match done {
            Ok(durable) => durable && self.error.is_none(),
            Err(error) => {
                self.error.get_or_insert(error);
                false
            }
        }
    }

    fn settle(&mut self, patch: impl FnOnce(u64) -> Patch) -> Result<(), CopyError> {
        let device = &*self.target.device;
        let failed = |why| CopyError::Prepare { path: device.path().to_owned(), why };
        let end = if self.failed() { self.whole } else { self.position };
        if device.class() == Class::File {
            device.settle_len(end.max(self.target.kept_len), true).map_err(failed)?;
        }
        if device.is_stream() {
            return Ok(());
        }
        for (at, bytes) in patch(end) {
            let to = device.routes().buffered().as_fd();
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let wrote = rustix::io::retry_on_intr(|| rustix::io::pwrite(to, &bytes, at));
            let errno = match wrote {
                Ok(wrote) if wrote == bytes.len() => continue,
                Ok(_) => rustix::io::Errno::IO,
                Err(errno) => errno,
            };
            return Err(failed(PrepareError {
                operation: "writing the lengths of the header",
                bytes: len,
                errno,
            }));
        }
        Ok(())
    }

    fn make_durable(&mut self, options: &CopyOptions, watch: &mut Watch<'_>) -> Result<bool, CopyError> {
        if !options.sync || self.target.device.is_stream() {
            return Ok(false);
        }
        watch.tell(Phase::Flushing, (0, 0));
        let flush = self.engine.flush(self.to_buffered, FlushKind::All);
        let token = flush.map_err(|why| self.refused(why))?;
        let path = || self.target.device.path().to_owned();
        loop {
            match self.engine.wait_timeout(WAIT)? {
                Some(Completion::Flush { fault, token: over, .. }) if over == token => {
                    if let Some(fault) = fault {
                        return Err(CopyError::Flush { path: path(), status: fault.status });
                    }
                    break;
                }
                Some(_) => {}
                None => {
                    watch.tell(Phase::Flushing, (0, 0));
                }
            }
        }
        if self.is_new {
            let failed = |why| CopyError::Prepare { path: path(), why };
            self.target.device.sync_name().map_err(failed)?;
        }
        Ok(true)
    }

    /// Returns what happened on this side, and the error that is told.
    pub(super) fn into_report(mut self) -> (SideReport, Option<CopyError>) {
        (told(&self.report, &*self.target.device), self.error.take())
    }
}
