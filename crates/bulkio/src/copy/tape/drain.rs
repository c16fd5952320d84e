//! From a tape to any device: takes chunks from the ring and writes them in order of position, several in flight.
//!
//! A chunk begins where the file has a block, and but for the last of a file it ends there. What is left over at the end is written through the page
//! cache, behind the whole blocks of the same slot. A filemark ends a file: its length is settled and it is made durable before the next one is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use scatterlist::{Direction, Fault, Limits, Outcome, Position, Request, Status};

use super::super::ends::target::Target;
use super::super::options::{CopyOptions, End, Phase};
use super::super::pipeline::finish::told;
use super::super::pipeline::{WAIT, add};
use super::super::watch::Watch;
use super::super::{CopyError, Side, SideReport};
use super::ring::{Chunk, Item, Next, Ring};
use crate::device::Device;
use crate::engine::{Completion, Engine, FileId, FlushKind, SubmitReason};
use crate::pages::Slot;

const TAIL: &str = "ragged end: written through the page cache";
const RAGGED: &str = "ragged end: the block is read, changed and written back";

/// A write in flight, and what follows it from the same slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    /// Byte of the file at which it begins.
    at: u64,
    /// Why it is copied on the way, if it is.
    how: How,
    tail: Option<Tail>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// As the file is written.
    Whole,
    /// Through the page cache, for the end of a file.
    Tail,
    /// The block of which the end is a part, read; a disk that takes commands has no page cache.
    TailRead,
    /// The same, written back.
    TailWrite { bytes: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Tail {
    at: u64,
    offset: u64,
    len: u64,
}

/// A destination with its files in the engine.
#[derive(Debug)]
struct Open {
    target: Target,
    to: FileId,
    to_buffered: FileId,
    limits: Limits,
    /// Where the next chunk goes.
    position: u64,
    /// Up to where it is written without a gap, and what is written behind it.
    front: u64,
    written: BTreeMap<u64, u64>,
    is_new: bool,
}

/// Where the files of a tape go.
#[derive(Debug)]
pub(super) enum Targets {
    /// One destination, open already.
    One(Option<Target>),
    /// Files with numbers behind this name; how many there are so far.
    Numbered { name: PathBuf, files: u32 },
}

/// Everything between the ring and the destination.
#[derive(Debug)]
pub(super) struct Drain<'a> {
    pub(super) engine: Engine<Slot, Op>,
    pub(super) ring: &'a Ring,
    pub(super) options: &'a CopyOptions,
    pub(super) targets: Targets,
    /// Chunks are multiples of this many bytes, but for the last of a file.
    chunk_unit: u64,
    depth: u32,
    pub(super) report: SideReport,
    pub(super) notes: Vec<String>,
    pub(super) done_bytes: &'a AtomicU64,
    open: Option<Open>,
    /// The end of a file that is no whole block: written when everything else is, since both may share a page of the cache.
    parked: Option<(Slot, Tail)>,
    /// The end of what was written last, while its block is read.
    tail: Vec<u8>,
    writes: u32,
    error: Option<CopyError>,
    /// Everything that was written is durable.
    synced: bool,
}

impl<'a> Drain<'a> {
    pub(super) const fn new(
        engine: Engine<Slot, Op>,
        ring: &'a Ring,
        options: &'a CopyOptions,
        targets: Targets,
        chunk_unit: u64,
        report: SideReport,
        done_bytes: &'a AtomicU64,
    ) -> Self {
        Self {
            engine,
            ring,
            options,
            targets,
            chunk_unit,
            depth: options.plain_depth(),
            report,
            notes: Vec::new(),
            done_bytes,
            open: None,
            parked: None,
            tail: Vec::new(),
            writes: 0,
            error: None,
            synced: options.sync,
        }
    }

    /// Writes until nothing more comes. What was written before an error is settled and made durable.
    pub(super) fn run(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        let ended = self.write_all(watch);
        if let Err(error) = ended {
            self.error.get_or_insert(error);
        }
        if self.error.is_some() {
            self.ring.stop();
        }
        if let Err(error) = self.finish(watch) {
            self.error.get_or_insert(error);
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn write_all(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        // A destination that is there already is made ready also where no byte comes.
        if matches!(self.targets, Targets::One(_)) {
            self.open(watch)?;
        }
        loop {
            while self.writes < self.depth && self.error.is_none() {
                match self.ring.try_next() {
                    Next::Item(Item::Chunk(chunk)) => self.write(chunk, watch)?,
                    Next::Item(Item::Filemark) => {
                        self.open(watch)?;
                        self.finish(watch)?;
                    }
                    Next::Nothing => break,
                    Next::End => return self.wait_writes(watch),
                }
            }
            if self.error.is_some() {
                return self.wait_writes(watch);
            }
            self.wait_one(watch)?;
        }
    }

    /// Waits for one completion, a wake, or a while.
    fn wait_one(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        if watch.tell(Phase::Copying, (0, self.writes)) && !self.ring.is_stopped() {
            self.ring.stop();
        }
        if let Some(completion) = self.engine.wait_or_wake(Some(WAIT))? {
            self.completed(completion);
        }
        Ok(())
    }

    fn wait_writes(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        loop {
            while self.writes > 0 {
                self.wait_one(watch)?;
                let is_stream = self.open.as_ref().is_some_and(|open| open.target.device.is_stream());
                if is_stream && (watch.stopped || self.error.is_some()) {
                    // The other side of a stream may stand still.
                    self.engine.cancel();
                }
            }
            match self.parked.take() {
                Some((slot, tail)) if self.error.is_none() => self.write_tail(slot, tail)?,
                Some((slot, _)) => {
                    drop(slot);
                    self.ring.freed();
                }
                None => return Ok(()),
            }
        }
    }

    /// Opens the destination of what comes next, if it is not open.
    fn open(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        if self.open.is_some() {
            return Ok(());
        }
        let target = match &mut self.targets {
            Targets::One(target) => target.take(),
            Targets::Numbered { name, files } => {
                *files = files.saturating_add(1);
                let path = numbered(name, *files);
                let options = self.options;
                let opened = Target::open(End::Path(&path), options, watch.observer(), &mut self.notes);
                let number = *files;
                Some(opened.map_err(|why| match number {
                    1 => why,
                    // It is no refusal any more that nothing was written before.
                    _ => CopyError::TapeFile { number, why: Box::new(why) },
                })?)
            }
        };
        let Some(mut target) = target else { return Ok(()) };
        if self.chunk_unit.checked_rem(target.unit) != Some(0) {
            let unit = target.unit;
            target.bounce.get_or_insert_with(|| {
                format!("slots are sent in multiples of {}, not of {unit}", self.chunk_unit)
            });
        }
        let seek = self.options.seek;
        let device = &*target.device;
        let failed = |why| CopyError::Prepare { path: device.path().to_owned(), why };
        device.prepare(seek, None, self.options.truncate).map_err(failed)?;
        let is_new = target.created.is_some();
        let routes = target.device.routes();
        let to_buffered = add(&mut self.engine, device, routes.buffered())?;
        let (to, limits) = match (routes.direct(), &target.bounce) {
            // A node for commands has one route.
            _ if device.commands().is_some() => (to_buffered, *routes.limits()),
            (Ok(direct), None) => (self.engine.add_file(Arc::clone(direct))?, *routes.limits()),
            _ => (to_buffered, *routes.buffered_limits()),
        };
        if let Some(created) = target.created.take() {
            created.keep();
        }
        self.report.direct |= routes.direct().is_ok() && target.bounce.is_none();
        self.open = Some(Open {
            target,
            to,
            to_buffered,
            limits,
            position: seek,
            front: seek,
            written: BTreeMap::new(),
            is_new,
        });
        Ok(())
    }

    fn write(&mut self, chunk: Chunk, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        self.open(watch)?;
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let Chunk { slot, len, .. } = chunk;
        let device = &*open.target.device;
        if device.class().is_disk()
            && let Some(capacity) = device.len_bytes()
            && open.position.saturating_add(len) > capacity
        {
            return Err(CopyError::DestinationFull { path: device.path().to_owned(), capacity });
        }
        let at = open.position;
        open.position = at.saturating_add(len);
        let has_blocks = open.to != open.to_buffered || device.commands().is_some();
        let ragged = if has_blocks { len.checked_rem(open.target.unit).unwrap_or(0) } else { 0 };
        let whole = len.saturating_sub(ragged);
        let tail = Tail { at: at.saturating_add(whole), offset: whole, len: ragged };
        if whole == 0 {
            self.parked = Some((slot, tail));
            return Ok(());
        }
        let tail = (ragged > 0).then_some(tail);
        self.submit(slot, 0, whole, Op { at, how: How::Whole, tail })
    }

    fn write_tail(&mut self, slot: Slot, tail: Tail) -> Result<(), CopyError> {
        let Some(open) = &self.open else { return Ok(()) };
        if open.target.device.commands().is_some() {
            let block = open.target.unit;
            let range = usize::try_from(tail.offset).unwrap_or(usize::MAX)
                ..usize::try_from(tail.offset.saturating_add(tail.len)).unwrap_or(usize::MAX);
            self.tail = slot.as_slice().get(range).unwrap_or_default().to_vec();
            return self.submit(
                slot,
                tail.offset,
                block,
                Op { at: tail.at, how: How::TailRead, tail: Some(tail) },
            );
        }
        self.submit(slot, tail.offset, tail.len, Op { at: tail.at, how: How::Tail, tail: None })
    }

    /// Writes a block back of which the end of what comes is a part.
    fn write_back(&mut self, mut slot: Slot, tail: Tail) -> Result<(), CopyError> {
        let Some(block) = self.open.as_ref().map(|open| open.target.unit) else { return Ok(()) };
        let bytes = std::mem::take(&mut self.tail);
        let from = usize::try_from(tail.offset).unwrap_or(usize::MAX);
        let to = slot.as_mut_slice().get_mut(from..).and_then(|to| to.get_mut(..bytes.len()));
        if let Some(to) = to {
            to.copy_from_slice(&bytes);
        }
        let how = How::TailWrite { bytes: tail.len };
        self.submit(slot, tail.offset, block, Op { at: tail.at, how, tail: None })
    }

    fn submit(&mut self, slot: Slot, offset: u64, len: u64, op: Op) -> Result<(), CopyError> {
        let Some(open) = &self.open else { return Ok(()) };
        let device = &*open.target.device;
        let position = if device.is_stream() { Position::Stream } else { Position::At(op.at) };
        let refused =
            |why| CopyError::Submit { side: Side::Destination, path: device.path().to_owned(), why };
        let lease = slot.into_lease(offset, len).map_err(|_| refused(SubmitReason::Empty { position }))?;
        let direction =
            if matches!(op.how, How::TailRead) { Direction::FromDevice } else { Direction::ToDevice };
        let request = Request::new(lease, direction, position, op);
        let (file, limits) = match op.how {
            How::Whole | How::TailRead | How::TailWrite { .. } => (open.to, open.limits),
            How::Tail => (open.to_buffered, *device.routes().buffered_limits()),
        };
        let submitted = self.engine.submit(file, request, &limits);
        submitted.map_err(|error| refused(error.reason))?;
        self.writes = self.writes.saturating_add(1);
        self.report.count_request(self.writes);
        Ok(())
    }

    fn completed(&mut self, completion: Completion<Slot, Op>) {
        let Completion::Transfer { request, outcome, .. } = completion else { return };
        let (lease, mut ops) = request.into_parts();
        self.writes = self.writes.saturating_sub(1);
        let (Some(op), Some(slot)) = (ops.next(), lease.into_owners().next()) else { return };
        let written = match op.how {
            How::TailRead => 0,
            How::TailWrite { bytes } => bytes.min(outcome.done),
            How::Whole | How::Tail => outcome.done,
        };
        self.count(op, written);
        self.wrote(op.at, written);
        if outcome.fault.is_some() || outcome.done < outcome.asked {
            self.failed(op, outcome);
        } else if let Some(tail) = op.tail {
            if !matches!(op.how, How::TailRead) {
                self.parked = Some((slot, tail));
            } else if let Err(error) = self.write_back(slot, tail) {
                self.error.get_or_insert(error);
            }
            return;
        }
        drop(slot);
        self.ring.freed();
    }

    /// Takes bytes as written; those behind a gap count when it is closed.
    fn wrote(&mut self, at: u64, len: u64) {
        let Some(open) = &mut self.open else { return };
        if len > 0 {
            open.written.insert(at, len);
        }
        while let Some(len) = open.written.remove(&open.front) {
            open.front = open.front.saturating_add(len);
            self.done_bytes.fetch_add(len, Ordering::Relaxed);
        }
    }

    fn count(&mut self, op: Op, len: u64) {
        let Some(open) = &self.open else { return };
        match (op.how, &open.target.bounce, open.target.device.routes().direct()) {
            (How::Tail, ..) => self.report.count_bounced(len, TAIL),
            (How::TailRead | How::TailWrite { .. }, ..) => self.report.count_bounced(len, RAGGED),
            (How::Whole, Some(why), _) => self.report.count_bounced(len, why),
            (How::Whole, None, Ok(_)) => self.report.count_direct(len),
            (How::Whole, None, Err(why)) => self.report.count_bounced(len, &why.to_string()),
        }
    }

    /// The first fault is the one that is told.
    fn failed(&mut self, op: Op, outcome: Outcome) {
        let Some(open) = &self.open else { return };
        let fault = outcome.fault.unwrap_or(Fault { at: outcome.done, status: Status::Short });
        if self.ring.is_stopped() && fault.status == Status::Cancelled {
            return;
        }
        let (device, bytes) = (&*open.target.device, self.done_bytes.load(Ordering::Relaxed));
        let error = CopyError::of_fault(Side::Destination, device, op.at, outcome.asked, fault, bytes);
        self.error.get_or_insert(error);
    }

    /// Ends the file that is open: waits for its writes, settles its length, makes it durable.
    fn finish(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        self.wait_writes(watch)?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let Open { target, to, to_buffered, position, front, is_new, .. } = open;
        let device = &*target.device;
        let failed = |why| CopyError::Prepare { path: device.path().to_owned(), why };
        // With nothing written, a file that is kept stays as long as it is.
        let end = if position == self.options.seek && !self.options.truncate { 0 } else { position };
        // What lies behind a gap is no part of the copy.
        let end = if self.error.is_none() { end } else { end.min(front) };
        let settled = device.settle_len(end.max(target.kept_len), true).map_err(failed);
        if let Err(error) = settled {
            self.error.get_or_insert(error);
        }
        // Until it is.
        let all_before = std::mem::replace(&mut self.synced, false);
        if self.options.sync && !device.is_stream() {
            watch.tell(Phase::Flushing, (0, 0));
            self.flush(to_buffered, device)?;
            if is_new {
                device.sync_name().map_err(failed)?;
            }
            self.synced = all_before && self.error.is_none();
        }
        self.report = told(&self.report, device);
        self.engine.remove_file(to)?;
        if to != to_buffered {
            self.engine.remove_file(to_buffered)?;
        }
        Ok(())
    }

    fn flush(&mut self, file: FileId, device: &dyn Device) -> Result<(), CopyError> {
        let path = || device.path().to_owned();
        self.engine.flush(file, FlushKind::All).map_err(|why| CopyError::Submit {
            side: Side::Destination,
            path: path(),
            why,
        })?;
        loop {
            match self.engine.wait_or_wake(Some(WAIT))? {
                Some(Completion::Flush { fault: Some(fault), .. }) => {
                    return Err(CopyError::Flush { path: path(), status: fault.status });
                }
                Some(Completion::Flush { fault: None, .. }) => return Ok(()),
                Some(other) => self.completed(other),
                None => {}
            }
        }
    }

    /// Says whether all that was written is durable.
    pub(super) const fn is_synced(&self) -> bool {
        self.synced && self.open.is_none()
    }

    /// Returns how many files were made.
    pub(super) const fn files(&self) -> u32 {
        match &self.targets {
            Targets::One(_) => 1,
            Targets::Numbered { files, .. } => *files,
        }
    }
}

/// The name of a tape's file on disk.
fn numbered(name: &std::path::Path, number: u32) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(format!(".{number:04}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_numbers_behind_their_name() {
        let path = |number| numbered(std::path::Path::new("/a/tape.img"), number);
        assert_eq!(path(1), PathBuf::from("/a/tape.img.0001"));
        assert_eq!(path(12_345), PathBuf::from("/a/tape.img.12345"));
    }
}
