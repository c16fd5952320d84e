//! [`Report`]: the truth about every byte.

use std::time::Duration;

use super::{
    Buffered, CopyError, CopyFailure, DestinationReport, Digest, HashAlgorithm, OffloadReport, RescueReport,
    SparseReport, StreamReport, TapeReport, Tuned, Verified,
};
use crate::engine::{EngineReport, Registration};
use crate::pages::{PageKind, PagePool};

/// What a copy did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Bytes copied, from the start of the range without a gap, holes included. Of several destinations: those that each has which did not fail, or the
    /// most that one has where all did.
    pub bytes: u64,
    /// Time from the start to the end, the flush included; of a copy between files, disks and pipes also the making of its memory.
    pub elapsed: Duration,
    /// The engine, and what it could not have.
    pub engine: EngineReport,
    /// The pages of the pool.
    pub page_kind: PageKind,
    /// Why they are not better ones, in one line; empty where there is nothing to say.
    pub page_reason: String,
    /// Bytes of the pool.
    pub pool_bytes: u64,
    /// Bytes of the pool that are registered with the engine.
    pub registered_bytes: u64,
    /// Why that is not all of it; empty where it is.
    pub registered_reason: String,
    /// Bytes of one request.
    pub block_len: u64,
    /// Requests in flight on each side, at most; where the copy searched for it, what it ended at.
    pub depth: u32,
    /// What it found about the depth; `None` where that was fixed.
    pub tuned: Option<Tuned>,
    /// What the buffer did; `None` where none was asked for.
    pub buffered: Option<Buffered>,
    /// Bytes that are durable, from the start of the range; 0 where nobody asked or the destination is a stream.
    pub durable_bytes: u64,
    /// Whether the destination was made durable; of several, each that did not fail.
    pub synced: bool,
    /// Whether the observer stopped the copy.
    pub interrupted: bool,
    /// The digest of exactly [`bytes`](Self::bytes), where one was wanted and could be made.
    pub digest: Option<(HashAlgorithm, Digest)>,
    /// What was found when the destination was read back, where it was; of several, [`destinations`](Self::destinations) has it.
    pub verified: Option<Verified>,
    /// The source.
    pub source: SideReport,
    /// The destination; the first, where there are several.
    pub destination: SideReport,
    /// Each destination, where there are several; else empty.
    pub destinations: Vec<DestinationReport>,
    /// What else the user should know.
    pub notes: Vec<String>,
    /// What could not be read and what else a copy knows that keeps account of each area; `None` where it keeps none.
    pub rescue: Option<RescueReport>,
    /// What became of holes and zeros; `None` where there were none, or none were looked for.
    pub sparse: Option<SparseReport>,
    /// What the file system copied by itself, which no side counts; `None` where it did not.
    pub offload: Option<OffloadReport>,
}

/// What a copy knows at its end; the rest of its report follows from that.
#[derive(Debug)]
pub(super) struct Closing<'a> {
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) engine: EngineReport,
    pub(super) pool: &'a PagePool,
    pub(super) block_len: u64,
    pub(super) depth: u32,
    pub(super) synced: bool,
    pub(super) interrupted: bool,
    pub(super) source: SideReport,
    pub(super) destination: SideReport,
    pub(super) destinations: Vec<DestinationReport>,
    pub(super) notes: Vec<String>,
    pub(super) rescue: Option<RescueReport>,
}

impl Closing<'_> {
    pub(super) fn report(self) -> Report {
        let Self { bytes, elapsed, engine, pool, block_len, depth, synced, interrupted, .. } = self;
        let (registered_bytes, registered_reason) = registered(&engine);
        Report {
            bytes,
            elapsed,
            engine,
            page_kind: pool.kind(),
            page_reason: pool.kind_reason().to_string(),
            pool_bytes: pool.bytes(),
            registered_bytes,
            registered_reason,
            block_len,
            depth,
            tuned: None,
            buffered: None,
            durable_bytes: if synced { bytes } else { 0 },
            synced,
            interrupted,
            digest: None,
            verified: None,
            source: self.source,
            destination: self.destination,
            destinations: self.destinations,
            notes: self.notes,
            rescue: self.rescue,
            sparse: None,
            offload: None,
        }
    }
}

/// The bytes of the pool that are registered, and why that is not all.
fn registered(engine: &EngineReport) -> (u64, String) {
    match &engine.fixed {
        Registration::Whole { bytes } => (*bytes, String::new()),
        Registration::Partial { bytes, reason, .. } => (*bytes, reason.clone()),
        Registration::None { reason } => (0, reason.clone()),
    }
}

impl Report {
    /// Ends the copy: with this report alone, or with what went wrong.
    pub(super) fn ended(self, error: Option<CopyError>) -> Result<Self, CopyFailure> {
        match error {
            None => Ok(self),
            Some(error) => Err(CopyFailure { error, report: Some(Box::new(self)) }),
        }
    }
}

/// What happened on one side.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SideReport {
    /// Its name.
    pub path: String,
    /// Its class: `file`, `block`, `pipe`, `char`, `tape`.
    pub class: &'static str,
    /// Whether its middle moves by direct I/O.
    pub direct: bool,
    /// Bytes that moved without a copy.
    pub direct_bytes: u64,
    /// Bytes that were copied on the way, by the kernel's page cache or here.
    pub bounced_bytes: u64,
    /// Those bytes by reason.
    pub bounces: Vec<(String, u64)>,
    /// Requests made.
    pub requests: u64,
    /// Most requests that were in flight at once.
    pub in_flight_max: u32,
    /// Blocks, filemarks and places, where it is a tape.
    pub tape: Option<TapeReport>,
    /// Frames and losses, where it is a device with a clock.
    pub stream: Option<StreamReport>,
}

impl SideReport {
    pub(super) fn new(path: String, class: &'static str, direct: bool) -> Self {
        Self {
            path,
            class,
            direct,
            direct_bytes: 0,
            bounced_bytes: 0,
            bounces: Vec::new(),
            requests: 0,
            in_flight_max: 0,
            tape: None,
            stream: None,
        }
    }

    /// Counts a request, with which `in_flight` are in flight.
    pub(super) fn count_request(&mut self, in_flight: u32) {
        self.requests = self.requests.saturating_add(1);
        self.in_flight_max = self.in_flight_max.max(in_flight);
    }

    pub(super) fn count_direct(&mut self, bytes: u64) {
        self.direct_bytes = self.direct_bytes.saturating_add(bytes);
    }

    /// Counts bounced bytes under another reason, found later.
    pub(super) fn move_bounced(&mut self, from: &str, to: &str, bytes: u64) {
        if let Some((_, sum)) = self.bounces.iter_mut().find(|(known, _)| known == from) {
            let moved = bytes.min(*sum);
            *sum = sum.saturating_sub(moved);
            self.bounced_bytes = self.bounced_bytes.saturating_sub(moved);
            self.bounces.retain(|(_, sum)| *sum > 0);
            self.count_bounced(moved, to);
        }
    }

    /// Rule `no-silent-copy`: every bounced byte has a reason.
    pub(super) fn count_bounced(&mut self, bytes: u64, reason: &str) {
        if bytes == 0 {
            return;
        }
        self.bounced_bytes = self.bounced_bytes.saturating_add(bytes);
        match self.bounces.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum = sum.saturating_add(bytes),
            None => self.bounces.push((reason.to_owned(), bytes)),
        }
    }
}
