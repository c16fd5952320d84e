//! [`MergeQueue`]: a tiny queue in front of a [`BlockDevice`] that makes few commands of many requests.
//!
//! A request is merged, in O(1), into a pending one that ends where it starts, or starts where it ends. Merging may run past the
//! device's limits: then the planner cuts full commands off the front, and the rest stays pending. `load` says when there may be
//! something to cut: until then what is pending is not looked at. A bounded table of pending requests, each of bounded length, lets several
//! sequential streams merge side by side.
//!
//! # Order
//! Commands reach the device in an order that keeps what overlaps: before a request is taken, every pending one that shares a byte
//! with it goes to the device, unless both read. So a device that executes what it has in order, one that has one command at a time,
//! or one whose overlapping commands wait for each other sees reads and writes as they were pushed. Where a device may
//! reorder what it has, who needs a read to see a write waits for the write, as on any disk.

use alloc::collections::VecDeque;
use core::fmt;

use scatterlist::plan::{PlanError, Policy, plan};
use scatterlist::{Complete, Fault, LimitId, Limits, Outcome, PhysAddr, Request, ShareOwner, Shared, Status};

use super::load::{Load, Seam};
use super::stream::{Extent, Stream};
use super::{BlockDevice, BlockRequest};
use crate::refused::{Refused, Retry};

/// How much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueOptions {
    /// Pending requests that may still grow: as many sequential streams merge side by side.
    pub streams_max: usize,
    /// Commands that are cut and wait for the device.
    pub commands_max: usize,
    /// Bytes at which a pending request goes, though the device would take more of them in one command.
    pub stream_bytes_max: u64,
}

impl Default for QueueOptions {
    /// 8 streams of 16 MiB and 32 commands.
    fn default() -> Self {
        Self { streams_max: 8, commands_max: 32, stream_bytes_max: 16 << 20 }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// A request for a stream.
    #[error("a request of a block device needs a position")]
    NoPosition,
    /// It breaks a limit of the device that no cut helps.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The device is behind.
    #[error("{commands} commands wait for the device, {max} may")]
    Full {
        /// How many wait.
        commands: usize,
        /// How many may.
        max: usize,
    },
}

impl PushError {
    pub(super) const fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } => Retry::Later,
            Self::NoPosition | Self::Plan(_) => Retry::Never,
        }
    }
}

/// What went wrong behind the queue. The requests that it was about were told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError<E: core::error::Error + 'static, S: core::error::Error + 'static> {
    /// The device.
    #[error("the device: {0}")]
    Device(#[source] E),
    /// The device does not take a command that its limits allow, or has no room for it while it has no other. It was cancelled.
    #[error("the device refuses a command: {0}")]
    Refused(#[source] S),
    /// What was merged cannot be planned, though its parts could. It was cancelled.
    #[error("merged requests cannot be planned: {0}")]
    Plan(#[source] PlanError),
}

/// The error of a queue in front of `B`.
pub type QueueErrorOf<B> = QueueError<<B as BlockDevice>::Error, <B as BlockDevice>::SubmitError>;

/// What the queue has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueCounts {
    /// Requests that were taken.
    pub requests: u64,
    /// Of these, requests that were merged with what was pending.
    pub merges: u64,
    /// Commands that the device took.
    pub commands: u64,
    /// Segments that the planner was shown: those of each request, and of what is pending as it is cut or may be full.
    pub planned_segments: u64,
}

/// A queue in front of `B`. Requests are of completions `C`, which the device has shares of.
pub struct MergeQueue<B: BlockDevice> {
    device: B,
    options: QueueOptions,
    /// What may still grow; what was touched longest ago comes first.
    streams: VecDeque<Stream<BlockRequest<B>>>,
    /// Cut, in the order in which the device gets them.
    commands: VecDeque<BlockRequest<B>>,
    /// Everything that is pending is to go.
    flushing: bool,
    /// A stream may hold full commands, for which there was no room.
    uncut: bool,
    /// The device has commands that it was not told of.
    unkicked: bool,
    /// Commands that the device has.
    in_device: usize,
    wrong: Option<QueueErrorOf<B>>,
    counts: QueueCounts,
}

impl<B, O, C> MergeQueue<B>
where
    B: BlockDevice<Owner = O, Completion = Shared<C>>,
    O: ShareOwner,
    C: Complete,
{
    /// Puts a queue in front of a device. Each bound is raised to 1.
    pub fn new(device: B, options: QueueOptions) -> Self {
        let QueueOptions { streams_max, commands_max, stream_bytes_max } = options;
        let options = QueueOptions {
            streams_max: streams_max.max(1),
            commands_max: commands_max.max(1),
            stream_bytes_max: stream_bytes_max.max(1),
        };
        Self {
            device,
            options,
            streams: VecDeque::with_capacity(options.streams_max),
            commands: VecDeque::with_capacity(options.commands_max),
            flushing: false,
            uncut: false,
            unkicked: false,
            in_device: 0,
            wrong: None,
            counts: QueueCounts::default(),
        }
    }

    /// Returns the device.
    pub const fn device(&self) -> &B {
        &self.device
    }

    /// Returns the device, for what does not go through the queue. What gives requests back goes through [`take_back`](Self::take_back).
    pub const fn device_mut(&mut self) -> &mut B {
        &mut self.device
    }

    /// Returns what was done so far.
    pub const fn counts(&self) -> QueueCounts {
        self.counts
    }

    /// Returns how many pending requests and commands the device does not have yet.
    pub fn waiting(&self) -> usize {
        self.streams.len().saturating_add(self.commands.len())
    }

    /// Takes a request, and gives the device what is certain to be full. The device learns of it by [`kick`](Self::kick),
    /// [`flush`](Self::flush) or [`poll`](Self::poll).
    ///
    /// # Errors
    /// The request back, with why. Where the device is behind and the table is full, that is backpressure: [`Retry::Later`].
    pub fn push(
        &mut self,
        request: Request<PhysAddr, O, C>,
    ) -> Result<(), Refused<Request<PhysAddr, O, C>, PushError>> {
        match self.admit(&request) {
            Ok((extent, load)) => {
                self.insert(Stream { request: request.into_shared(), extent, load });
                Ok(())
            }
            Err(error) => Err(Refused { request, retry: error.retry(), error }),
        }
    }

    /// As [`push`](Self::push), for a request whose completion is shared already.
    ///
    /// # Errors
    /// As there.
    pub fn push_shared(
        &mut self,
        request: BlockRequest<B>,
    ) -> Result<(), Refused<BlockRequest<B>, PushError>> {
        match self.admit(&request) {
            Ok((extent, load)) => {
                self.insert(Stream { request, extent, load });
                Ok(())
            }
            Err(error) => Err(Refused { request, retry: error.retry(), error }),
        }
    }

    /// Makes room for a request, and sees to the order. After this it can be inserted.
    fn admit<T>(&mut self, request: &Request<PhysAddr, O, T>) -> Result<(Extent, Load), PushError> {
        let extent = Extent::of(request)?;
        let (limits, policy) = (self.device.limits(), self.device.plan_policy());
        let list = request.lease().list();
        let mut commands = plan(list, request.position(), limits, policy);
        let load = match commands.next().transpose()? {
            Some(ready) if ready.len_bytes() < request.len_bytes() => Load::unplanned(),
            Some(ready) => Load::of(&ready, limits),
            None => Load::EMPTY,
        };
        let segments = list.len_segments();
        self.counts.planned_segments = self.counts.planned_segments.saturating_add(segments);
        if let Some(error) = commands.find_map(Result::err) {
            return Err(error.into());
        }
        self.pump();
        self.room()?;
        while let Some(index) = self.position(|stream| stream.conflicts(&extent)) {
            self.close(index);
            self.room()?;
        }
        // What this one does not merge with, though it ends where that starts, has to go as one command.
        if self.streams.len() >= self.options.streams_max
            && let Some(index) = self.position(|stream| extent.leads_to(stream))
        {
            self.settle(index);
            self.room()?;
        }
        let joins = |stream: &Extent| stream.leads_to(&extent) || extent.leads_to(stream);
        while self.position(joins).is_none() && self.streams.len() >= self.options.streams_max {
            self.room()?;
            self.close(0);
        }
        Ok((extent, load.as_new(segments)))
    }

    /// Makes one command of a pending request that may be more, as far as there is room for the others.
    fn settle(&mut self, index: usize) {
        let Some(mut stream) = self.streams.remove(index) else { return };
        if !stream.load.is_exact() {
            stream.load = stream.load.as_full();
        }
        if let Some(rest) = self.cut(stream, false) {
            self.streams.insert(index.min(self.streams.len()), rest);
        }
    }

    /// Makes sure of room for one command.
    fn room(&mut self) -> Result<(), PushError> {
        if self.commands.len() >= self.options.commands_max {
            self.send();
        }
        let (commands, max) = (self.commands.len(), self.options.commands_max);
        if commands < max { Ok(()) } else { Err(PushError::Full { commands, max }) }
    }

    fn position(&self, which: impl Fn(&Extent) -> bool) -> Option<usize> {
        self.streams.iter().position(|stream| which(&stream.extent))
    }

    /// Merges a request with what is pending, or keeps it beside. There is room for it.
    fn insert(&mut self, mut stream: Stream<BlockRequest<B>>) {
        self.counts.requests = self.counts.requests.saturating_add(1);
        let mut merged = false;
        if let Some(index) = self.position(|before| before.leads_to(&stream.extent)) {
            // Past the limits too: what is full is cut off below.
            (stream, merged) = self.join(index, stream, true, Limits::default());
        }
        if let Some(index) = self.position(|after| stream.extent.leads_to(after)) {
            // Commands are cut off the front, so growing there past a command would leave a rest at the end.
            let limits = *self.device.limits();
            let also;
            (stream, also) = self.join(index, stream, false, limits);
            merged |= also;
            if self.streams.len() >= self.options.streams_max {
                self.close(index);
            }
        }
        if merged {
            self.counts.merges = self.counts.merges.saturating_add(1);
        }
        if let Some(rest) = self.cut(stream, false) {
            self.streams.push_back(rest);
        }
        self.send();
    }

    /// Joins `stream` with the one at `index`, behind it or before it. Says whether they are one; if not, the other stays.
    fn join(
        &mut self,
        index: usize,
        stream: Stream<BlockRequest<B>>,
        behind: bool,
        limits: Limits,
    ) -> (Stream<BlockRequest<B>>, bool) {
        let Some(other) = self.streams.remove(index) else { return (stream, false) };
        let (first, second) = if behind { (other, stream) } else { (stream, other) };
        let (start, end) = (first.extent, second.extent);
        let (before, after) = (first.request.lease().list(), second.request.lease().list());
        let segments = before.len_segments().saturating_add(after.len_segments());
        let seam = Seam::of(before, after);
        match first.request.merge(second.request, &limits) {
            Ok(request) => {
                let seam = Seam { joined: request.lease().list().len_segments() < segments, ..seam };
                let bounces =
                    matches!(self.device.plan_policy(), Policy::SplitOrBounce | Policy::WholeOrBounce);
                let load = first.load.joined(&second.load, seam, self.device.limits(), bounces);
                (Stream { request, extent: Extent { end: end.end, ..start }, load }, true)
            }
            Err((one, two, _)) => {
                let first = Stream { request: one, extent: start, load: first.load };
                let second = Stream { request: two, extent: end, load: second.load };
                let (other, stream) = if behind { (first, second) } else { (second, first) };
                self.streams.insert(index, other);
                (stream, false)
            }
        }
    }

    /// Moves a pending request that is one command to the commands. There is room.
    fn close(&mut self, index: usize) {
        let Some(stream) = self.streams.remove(index) else { return };
        if let Some(rest) = self.cut(stream, true) {
            self.streams.insert(index.min(self.streams.len()), rest);
        }
    }

    /// Cuts full commands off the front of a stream while there is room for them; with `all`, and where the rest is as long as
    /// a stream may be, the last one too. Returns the rest. Where its load says that there is nothing to cut, nothing is planned.
    fn cut(&mut self, stream: Stream<BlockRequest<B>>, all: bool) -> Option<Stream<BlockRequest<B>>> {
        let Stream { mut request, mut extent, mut load } = stream;
        loop {
            let (limits, policy) = (self.device.limits(), self.device.plan_policy());
            let all = all || request.len_bytes() >= self.options.stream_bytes_max;
            if !all && !load.is_due(&request, limits) {
                return Some(Stream { request, extent, load });
            }
            if self.commands.len() >= self.options.commands_max {
                self.uncut = true;
                return Some(Stream { request, extent, load: load.as_full() });
            }
            let len = match plan(request.lease().list(), request.position(), limits, policy).next() {
                Some(Ok(ready)) if ready.len_bytes() < request.len_bytes() => ready.len_bytes(),
                Some(Ok(ready)) => {
                    load = if all { load } else { Load::of(&ready, limits) };
                    ready.len_bytes()
                }
                Some(Err(error)) => {
                    cancel(request);
                    self.wrong.get_or_insert(QueueError::Plan(error));
                    return None;
                }
                None => request.len_bytes(),
            };
            // Where that is all of it, there is no cut, and there may be room for more.
            let (command, rest) = match request.split_at(len) {
                Ok((command, rest)) => (command, Some(rest)),
                Err((last, _)) => (last, None),
            };
            let segments = command.lease().list().len_segments();
            self.counts.planned_segments = self.counts.planned_segments.saturating_add(segments);
            match rest {
                Some(rest) => {
                    self.commands.push_back(command);
                    extent.start = extent.start.saturating_add(len);
                    (request, load) = (rest, Load::unplanned());
                }
                None if all => {
                    self.commands.push_back(command);
                    return None;
                }
                None => return Some(Stream { request: command, extent, load }),
            }
        }
    }

    /// Does what can be done now: cuts what is full, and gives the device what it takes.
    fn pump(&mut self) {
        loop {
            // At most the streams that there are now, in their order.
            let streams =
                if core::mem::take(&mut self.uncut) || self.flushing { self.streams.len() } else { 0 };
            for _ in 0..streams {
                let Some(stream) = self.streams.pop_front() else { break };
                if let Some(rest) = self.cut(stream, self.flushing) {
                    self.streams.push_back(rest);
                }
            }
            let before = self.commands.len();
            self.send();
            // What the device took made room for more, if there was none.
            if before < self.options.commands_max || self.commands.len() == before {
                break;
            }
        }
        self.flushing &= !self.streams.is_empty();
    }

    /// Gives the device commands while it takes them.
    fn send(&mut self) {
        while let Some(command) = self.commands.pop_front() {
            match self.device.submit(command) {
                Ok(()) => {
                    self.counts.commands = self.counts.commands.saturating_add(1);
                    self.unkicked = true;
                    self.in_device = self.in_device.saturating_add(1);
                }
                // Where it has none, nothing that ends makes room.
                Err(Refused { request, retry: Retry::Later, .. }) if self.in_device > 0 => {
                    self.commands.push_front(request);
                    // What it has must end before there is room.
                    self.kick();
                    break;
                }
                Err(Refused { request, error, .. }) => {
                    cancel(request);
                    self.wrong.get_or_insert(QueueError::Refused(error));
                }
            }
        }
    }

    /// Tells the device of the commands that it got since the last time.
    pub fn kick(&mut self) {
        if core::mem::take(&mut self.unkicked) {
            self.device.kick();
        }
    }

    /// Gives everything that is pending to the device, full or not, and tells it. What the device does not take now it gets as
    /// it is polled. Returns how many requests and commands wait for that.
    pub fn flush(&mut self) -> usize {
        self.flushing = true;
        self.pump();
        self.kick();
        self.waiting()
    }

    /// Completes what the device gave back, and gives it what waits. Returns how many commands came back.
    ///
    /// # Errors
    /// [`QueueError`]: what is wrong with the device, else the first thing that went wrong since it was last told of.
    pub fn poll(&mut self) -> Result<usize, QueueErrorOf<B>> {
        let (commands, polled) = self.take_back(|device, back| device.poll_with(back).err());
        self.pump();
        self.kick();
        match polled {
            Some(error) => Err(QueueError::Device(error)),
            None => self.wrong.take().map_or(Ok(commands), Err),
        }
    }

    /// Completes what the device gives back while `how` works on it: a reset of its own, for one. Returns how many commands that were, and
    /// what `how` returned. What waits goes to the device with the next [`poll`](Self::poll).
    pub fn take_back<T>(
        &mut self,
        how: impl FnOnce(&mut B, &mut dyn FnMut(BlockRequest<B>, Outcome)) -> T,
    ) -> (usize, T) {
        // Counted one by one: what came back before something went wrong is back too, and a device may count what it had from others.
        let mut commands = 0_usize;
        let returned = how(&mut self.device, &mut |request, outcome| {
            commands = commands.saturating_add(1);
            drop(request.complete(outcome));
        });
        self.in_device = self.in_device.saturating_sub(commands);
        (commands, returned)
    }

    /// Returns the bytes that the device holds, or `u64::MAX` where it does not say.
    pub fn capacity_bytes(&self) -> u64 {
        self.device.limits().hard_value(LimitId::Capacity)
    }
}

/// Tells those who wait for a request that it will not be.
pub(super) fn cancel<O, C: Complete>(request: Request<PhysAddr, O, C>) {
    let asked = request.len_bytes();
    let fault = Some(Fault { at: 0, status: Status::Cancelled });
    drop(request.complete(Outcome { asked, done: 0, fault }));
}

impl<B: BlockDevice + fmt::Debug> fmt::Debug for MergeQueue<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeQueue")
            .field("device", &self.device)
            .field("streams", &self.streams.len())
            .field("commands", &self.commands.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
