//! [`Sink`]: what a device fills, piece by piece, becomes one run of bytes at the destination.
//!
//! Pieces rarely end where the destination has a block. A piece goes from where the device left it, all of it but its ragged edges: what is
//! left over behind its last whole block waits in a slot, and goes in front of the next piece, in the same write (`cut`). So no byte is
//! copied twice, and those in the middle never. Where the memory does not lie as the blocks do, the whole piece is copied, counted with the
//! limit that forbids the other way.
//!
//! Marks follow pieces; one is passed when all bytes before it are written. After a fault a file is cut at the last that was: no half frame.
//! `over` is what ends, writes and waits; how all of it ends is in `settle`.

mod over;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scatterlist::plan::PlanError;
use scatterlist::{Addr, CpuAddr, Direction, Lease, LimitId, Limits, Position, Request};

use super::super::ends::target::Target;
use super::super::options::CopyOptions;
use super::super::pipeline::add;
use super::super::{CopyError, Side, SideReport};
use super::cut::Cut;
use super::held::{Copied, Held, lease_filled, lease_slot};
use crate::device::filled::Filled;
use crate::engine::{Engine, EngineOptions, FileId, FixedRegion, SubmitReason, Token};
use crate::pages::{PagePool, PoolOptions, Slot};

pub(super) const EDGE: &str = "frames end within a block: their edges are put together";
const PAD: &str = "frames end within a block: the last one of each is filled with zeros";

/// Slots that whole pieces are copied to where their memory does not fit.
const BOUNCE_SLOTS: usize = 2;

/// Operations beside writes: the watch of the device, a flush.
const EXTRA_DEPTH: u32 = 2;

/// A write in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) at: u64,
    /// Bytes that go from where the device left them.
    direct: u64,
    pub(super) begun: Instant,
}

/// What the device is watched by.
#[derive(Debug)]
struct Watched {
    file: FileId,
    direction: Direction,
    token: Option<Token>,
}

/// What ended a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The device has something.
    Ready,
    /// A write is over.
    Written,
    /// A signal, or the time is over.
    Nothing,
}

/// Adds the slots that a sink needs beside those of its user, for pieces of at most `piece_len_max` bytes.
pub(super) fn add_slots(pool: PoolOptions, unit: u64, piece_len_max: u64, depth: u32) -> PoolOptions {
    let usable = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    // One for each write, one that waits, one that is being filled.
    let edges = usable(u64::from(depth)).saturating_add(2);
    pool.and(usable(bounce_len(unit, piece_len_max)), BOUNCE_SLOTS).and(usable(unit), edges)
}

/// A piece with a block in front and one behind.
const fn bounce_len(unit: u64, piece_len_max: u64) -> u64 {
    piece_len_max.saturating_add(unit.saturating_mul(2))
}

/// Where pieces go.
#[derive(Debug)]
pub(super) struct Sink<F, M> {
    pub(super) engine: Engine<Held<F>, Op>,
    pool: Arc<PagePool>,
    pub(super) target: Target,
    pub(super) to: FileId,
    pub(super) to_buffered: FileId,
    limits: Limits,
    /// Why writes are no direct I/O, if they are not.
    refused: Option<String>,
    watched: Option<Watched>,
    depth: u32,
    writes: u32,
    piece_len_max: u64,
    /// Bytes of a block; 1 where the destination has none.
    pub(super) unit: u64,
    pub(super) start: u64,
    pub(super) position: u64,
    /// The bytes behind the last whole block, and how many they are.
    pub(super) carry: Option<(Slot, u64)>,
    marks: VecDeque<(u64, M)>,
    passed: VecDeque<M>,
    /// The last mark that was passed.
    pub(super) whole: u64,
    /// Up to where it is written without a gap, and what is written behind it.
    front: u64,
    written: BTreeMap<u64, u64>,
    returned: VecDeque<F>,
    pub(super) error: Option<CopyError>,
    pub(super) report: SideReport,
    pub(super) latency: Duration,
    pub(super) latency_max: Duration,
    pub(super) is_new: bool,
    /// Since when a stop waits for a stream whose other side takes nothing.
    stopping: Option<Instant>,
    /// What such a stream did not take was cancelled.
    gave_up: bool,
}

impl Op {
    /// A write of bytes that were copied.
    pub(super) fn copied(at: u64) -> Self {
        Self { at, direct: 0, begun: Instant::now() }
    }
}

impl<F: Filled, M> Sink<F, M> {
    /// Makes a sink of an open destination. `pool` has what [`add_slots`] asks for. Nothing is written before [`begin`](Self::begin).
    pub(super) fn new(
        target: Target,
        pool: Arc<PagePool>,
        piece_len_max: u64,
        options: &CopyOptions,
    ) -> Result<Self, CopyError> {
        let mut engine = Engine::new(EngineOptions {
            kind: options.engine,
            depth: options.plain_depth().saturating_add(EXTRA_DEPTH),
            fixed: vec![FixedRegion::from_pool(Arc::clone(&pool))],
            ..EngineOptions::default()
        })?;
        let device = &*target.device;
        let routes = device.routes();
        let to_buffered = add(&mut engine, device, routes.buffered())?;
        let (to, limits, refused) = match (routes.direct(), &target.bounce) {
            (Ok(direct), None) => (engine.add_file(Arc::clone(direct))?, *routes.limits(), None),
            (Ok(_), Some(why)) => (to_buffered, *routes.buffered_limits(), Some(why.clone())),
            (Err(why), _) => (to_buffered, *routes.buffered_limits(), Some(why.to_string())),
        };
        let is_new = target.created.is_some();
        let path = device.path().display().to_string();
        let report = SideReport::new(path, device.class().name(), refused.is_none());
        let unit = if refused.is_none() { target.unit } else { 1 };
        Ok(Self {
            engine,
            pool,
            to,
            to_buffered,
            limits,
            refused,
            watched: None,
            depth: options.plain_depth(),
            writes: 0,
            piece_len_max,
            unit,
            start: options.seek,
            position: options.seek,
            carry: None,
            marks: VecDeque::new(),
            passed: VecDeque::new(),
            whole: options.seek,
            front: options.seek,
            written: BTreeMap::new(),
            returned: VecDeque::new(),
            error: None,
            report,
            latency: Duration::ZERO,
            latency_max: Duration::ZERO,
            is_new,
            stopping: None,
            gave_up: false,
            target,
        })
    }

    /// Makes the destination ready: a file is emptied, and one that was created stays from now on.
    pub(super) fn begin(&mut self, options: &CopyOptions) -> Result<(), CopyError> {
        let device = &*self.target.device;
        let failed = |why| CopyError::Prepare { path: device.path().to_owned(), why };
        device.prepare(options.seek, None, options.truncate).map_err(failed)?;
        if let Some(created) = self.target.created.take() {
            created.keep();
        }
        Ok(())
    }

    /// Says whether another piece can be taken now.
    pub(super) fn has_room(&self) -> bool {
        let free = |len: u64| self.pool.free_slots_of(usize::try_from(len).unwrap_or(usize::MAX));
        let has_slots = || free(self.unit) > 1 && free(bounce_len(self.unit, self.piece_len_max)) > 0;
        self.error.is_none() && self.writes < self.depth && (self.unit == 1 || has_slots())
    }

    /// Returns how far behind a multiple of the alignment, by address, a piece should begin that goes `ahead` bytes behind the next one, so
    /// that its middle need not be copied.
    pub(super) fn offset_for(&self, ahead: u64) -> u64 {
        if self.unit == 1 {
            return 0;
        }
        let align = self.limits.hard_value(LimitId::AddrAlign);
        self.position.saturating_add(ahead).checked_rem(align).unwrap_or(0)
    }

    /// Says whether the middle of the next piece can be written from where it lies, if it begins at this address.
    pub(super) fn suits(&self, addr: CpuAddr) -> bool {
        self.unit == 1
            || addr.raw().checked_rem(self.limits.hard_value(LimitId::AddrAlign)) == Some(self.offset_for(0))
    }

    /// Returns a piece whose bytes are needed no more.
    pub(super) fn take_returned(&mut self) -> Option<F> {
        self.returned.pop_front()
    }

    /// Returns the next mark that was passed.
    pub(super) fn take_passed(&mut self) -> Option<M> {
        self.passed.pop_front()
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the bytes up to the last mark that was passed.
    pub(super) const fn whole_bytes(&self) -> u64 {
        self.whole.saturating_sub(self.start)
    }

    pub(super) const fn writes(&self) -> u32 {
        self.writes
    }

    pub(super) const fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Takes a piece, and a mark behind it. There is [room](Self::has_room). With `pad` zeros follow up to a block.
    ///
    /// A fault is kept, and told at the end; after one nothing more is taken.
    pub(super) fn put(&mut self, piece: F, mark: M, pad: bool) {
        if let Err(error) = self.put_piece(piece, mark, pad) {
            self.error.get_or_insert(error);
        }
    }

    /// Takes bytes that no device filled, such as a header; as [`put`](Self::put).
    pub(super) fn put_bytes(&mut self, bytes: &[u8], mark: M) -> Result<(), CopyError>
    where
        F: From<Copied>,
    {
        let slot = self.pool.take_len(bytes.len().max(1));
        let Some(mut slot) = slot else { return Err(self.no_slot()) };
        if let Some(to) = slot.as_mut_slice().get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.put(Copied { slot, offset: 0, len }.into(), mark, false);
        Ok(())
    }

    fn put_piece(&mut self, piece: F, mark: M, pad: bool) -> Result<(), CopyError> {
        let len = piece.len_bytes();
        let device = &*self.target.device;
        if device.class().is_disk()
            && let Some(capacity) = device.len_bytes()
            && self.position.saturating_add(len) > capacity
        {
            self.returned.push_back(piece);
            return Err(CopyError::DestinationFull { path: device.path().to_owned(), capacity });
        }
        let (mut front, filled) = match self.carry.take() {
            Some((slot, filled)) => (Some(slot), filled),
            None => (None, 0),
        };
        let cut = Cut::new(self.position, filled, len, self.unit, pad);
        let mut tail = None;
        if cut.tail > 0 {
            let mut slot = self.edge()?;
            fill(&piece, len.saturating_sub(cut.tail), &mut slot, 0, cut.tail);
            zero(&mut slot, cut.tail, cut.fill);
            tail = Some(slot);
        }
        if let Some(slot) = &mut front {
            fill(&piece, 0, slot, filled, cut.head);
        }
        self.position = self.position.saturating_add(len).saturating_add(cut.fill);
        self.marks.push_back((self.position, mark));
        let why = if cut.fill > 0 { PAD } else { EDGE };
        self.report.count_bounced(cut.head.saturating_add(cut.tail), why);
        let mut padding = None;
        if cut.fill > 0 {
            padding = tail.take();
        } else if let Some(slot) = tail {
            self.carry = Some((slot, cut.tail));
        }
        if cut.write_len() == 0 {
            // It went into the block that waits, or is the beginning of one.
            if let Some(slot) = front {
                self.carry = Some((slot, filled.saturating_add(cut.head)));
            }
            self.returned.push_back(piece);
            return Ok(());
        }
        self.write(piece, &cut, front, padding)
    }

    /// Writes the whole blocks of a piece, with the block that was begun before and the one that is filled up.
    fn write(
        &mut self,
        piece: F,
        cut: &Cut,
        front: Option<Slot>,
        padding: Option<Slot>,
    ) -> Result<(), CopyError> {
        let op = Op { at: cut.at, direct: cut.middle, begun: Instant::now() };
        let front = front.map(|slot| lease_slot(slot, 0, self.unit).map_err(drop));
        let middle = if cut.middle > 0 {
            let lease = lease_filled(piece, cut.head, cut.middle);
            Some(lease.map_err(|piece| self.returned.push_back(piece)))
        } else {
            self.returned.push_back(piece);
            None
        };
        let padding = padding.map(|slot| lease_slot(slot, 0, self.unit).map_err(drop));
        let parts = [front, middle, padding].into_iter().flatten();
        let joined = parts.reduce(|before, next| {
            before.and_then(|before| next.and_then(|next| before.join(next).map_err(drop)))
        });
        let Some(Ok(lease)) = joined else {
            return Err(self.refused(SubmitReason::Empty { position: Position::At(op.at) }));
        };
        match self.submit(lease, op) {
            Ok(()) => Ok(()),
            Err((lease, why)) => self.bounce(lease, cut, op, &why),
        }
    }

    /// Copies what cannot be written from where it lies to a slot, and writes that.
    fn bounce(
        &mut self,
        lease: Lease<CpuAddr, Held<F>>,
        cut: &Cut,
        op: Op,
        why: &SubmitReason,
    ) -> Result<(), CopyError> {
        let slot = self.pool.take_len(usize::try_from(cut.write_len()).unwrap_or(usize::MAX));
        let Some(mut slot) = slot else {
            self.give_back(lease);
            return Err(self.no_slot());
        };
        let mut at = 0_u64;
        for owner in lease.into_owners() {
            match owner {
                Held::Slot(part) => {
                    fill(&Copied { slot: part, offset: 0, len: self.unit }, 0, &mut slot, at, self.unit);
                    at = at.saturating_add(self.unit);
                }
                Held::Given(piece) => {
                    fill(&piece, cut.head, &mut slot, at, cut.middle);
                    at = at.saturating_add(cut.middle);
                    self.returned.push_back(piece);
                }
            }
        }
        self.report.count_bounced(cut.middle, &in_words(why));
        let Ok(lease) = lease_slot(slot, 0, cut.write_len()) else { return Err(self.refused(*why)) };
        self.submit(lease, Op { direct: 0, ..op }).map_err(|(lease, why)| {
            self.give_back(lease);
            self.refused(why)
        })
    }

    fn submit(
        &mut self,
        lease: Lease<CpuAddr, Held<F>>,
        op: Op,
    ) -> Result<(), (Lease<CpuAddr, Held<F>>, SubmitReason)> {
        let is_stream = self.target.device.is_stream();
        let position = if is_stream { Position::Stream } else { Position::At(op.at) };
        let request = Request::new(lease, Direction::ToDevice, position, op);
        if let Err(error) = self.engine.submit(self.to, request, &self.limits) {
            let (lease, _) = error.request.into_parts();
            return Err((lease, error.reason));
        }
        self.count_write();
        Ok(())
    }

    pub(super) fn count_write(&mut self) {
        self.writes = self.writes.saturating_add(1);
        self.report.count_request(self.writes);
    }

    fn give_back(&mut self, lease: Lease<CpuAddr, Held<F>>) {
        let given = lease.into_owners().filter_map(|owner| match owner {
            Held::Given(piece) => Some(piece),
            Held::Slot(_) => None,
        });
        self.returned.extend(given);
    }

    fn edge(&self) -> Result<Slot, CopyError> {
        let slot = self.pool.take_len(usize::try_from(self.unit).unwrap_or(usize::MAX));
        slot.ok_or_else(|| self.no_slot())
    }

    /// [`has_room`](Self::has_room) was not asked, or the pool is another than it should be.
    fn no_slot(&self) -> CopyError {
        self.refused(SubmitReason::Full { in_flight: self.writes, depth: self.depth })
    }

    pub(super) fn refused(&self, why: SubmitReason) -> CopyError {
        CopyError::Submit { side: Side::Destination, path: self.target.device.path().to_owned(), why }
    }
}

/// Copies a part of a piece to a slot.
fn fill(piece: &impl Filled, from: u64, slot: &mut Slot, at: u64, len: u64) {
    if let Some(to) = part(slot, at, len) {
        piece.read_at(from, to);
    }
}

fn zero(slot: &mut Slot, at: u64, len: u64) {
    if let Some(to) = part(slot, at, len) {
        to.fill(0);
    }
}

/// Returns bytes of a slot; `None` where there are none.
fn part(slot: &mut Slot, at: u64, len: u64) -> Option<&mut [u8]> {
    let start = usize::try_from(at).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    slot.as_mut_slice().get_mut(start..end).filter(|part| !part.is_empty())
}

/// Why memory cannot go as it is: the limit, not the address, which would be another one each time.
fn in_words(why: &SubmitReason) -> String {
    match why {
        SubmitReason::Plan(PlanError::Refused { why, .. } | PlanError::Unsatisfiable { why, .. }) => {
            format!(
                "the device's memory does not lie as the destination's blocks do ({} {}, from {})",
                why.limit, why.need, why.source
            )
        }
        SubmitReason::TooManyPieces { max, .. } => format!("a frame has more than {max} pieces"),
        other => other.to_string(),
    }
}
