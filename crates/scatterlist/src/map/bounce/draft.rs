//! [`draft`]: a plan with bounced pieces, turned into a list of memory that the device can use.
//!
//! Direct pieces stay as they are. A bounced piece becomes one run of bounce memory, or several where it is longer than
//! any run and its limits let it be cut. Barriers keep runs apart from their neighbours, so that what was planned is what
//! is mapped. No byte is copied here.

use alloc::vec::Vec;

use super::super::backend::Backend;
use super::super::bytes::visible;
use super::super::error::{MapError, Resource};
use super::place::{Rules, Wanted};
use super::slots::Run;
use crate::plan::{BouncedPiece, Piece, Policy, Ready, Why, plan};
use crate::{Addr, CpuAddr, Limits, Position, ScatterList, Segment, Segments};

/// Bytes of the list and the bounce memory that stands for them, both contiguous.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The first of the bytes, counted from the start of the list.
    pub(super) start: u64,
    pub(super) len: u64,
    /// Where the CPU sees them in the list's memory.
    pub(super) list: CpuAddr,
    /// Where the CPU sees them in the pool.
    pub(super) pool: CpuAddr,
    /// The limit that they break where they are.
    pub(super) why: Why,
}

impl Span {
    pub(super) const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// What a list becomes.
#[derive(Debug)]
pub(super) struct Draft<A: Addr> {
    /// The same bytes where the device can use them.
    pub(super) list: ScatterList<A>,
    /// The bytes to copy, in order.
    pub(super) spans: Vec<Span>,
}

/// Memory for one piece, or for its first bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) addr: u64,
    pub(super) cpu: CpuAddr,
    pub(super) len: u64,
}

/// Where bounce memory comes from: the pool, or a region that was set aside.
pub(super) trait Source {
    /// Takes memory for the first bytes of `len`, as many as one run can hold, at an address with these low bits.
    fn take(&mut self, rules: &Rules, bits: u64, len: u64) -> Option<Grant>;
}

/// Plans `list` as one request.
pub(super) fn whole<'a, S>(list: &'a S, limits: &'a Limits) -> Result<Ready<'a, S>, MapError>
where
    S: Segments + ?Sized,
{
    let ready = plan(list, Position::Stream, limits, Policy::WholeOrBounce).next();
    ready.ok_or(MapError::Empty)?.map_err(MapError::Limit)
}

/// Says that there is too little memory for `need` bytes; how much there is, the caller knows.
pub(super) const fn short(need: u64) -> MapError {
    MapError::Shortage { what: Resource::BounceMemory, need, have: 0 }
}

/// Builds the list that stands for `list` under `limits`, with memory from `source`.
pub(super) fn draft<D, S, T>(
    device: &D,
    list: &S,
    limits: &Limits,
    slot_len: u64,
    source: &mut T,
) -> Result<Draft<D::Addr>, MapError>
where
    D: Backend,
    S: Segments<Addr = D::Addr> + ?Sized,
    T: Source,
{
    let rules = Rules::new(limits.hard(), slot_len);
    let mut drawing = Drawing {
        device,
        rest: None,
        segments: list.segments(),
        draft: Draft { list: ScatterList::new(), spans: Vec::new() },
        bounced: false,
        cut: 0,
    };
    for piece in whole(list, limits)?.pieces() {
        match piece {
            Piece::Direct(segment) => drawing.direct(segment)?,
            Piece::Bounce(piece) => drawing.bounce(piece, &rules, source)?,
        }
    }
    let Drawing { draft, cut, .. } = drawing;
    if cut > 0 {
        // More runs than were planned: they must still be one transfer.
        let kept = limits.with_copy_below(0);
        if let Some(Err(_)) = plan(&draft.list, Position::Stream, &kept, Policy::WholeOrError).next() {
            return Err(short(cut));
        }
    }
    Ok(draft)
}

/// A draft that grows piece by piece.
struct Drawing<'a, D: Backend, I> {
    device: &'a D,
    /// The list's segments that no piece has used, the first of them maybe in part.
    segments: I,
    rest: Option<Segment<D::Addr>>,
    draft: Draft<D::Addr>,
    /// The last piece was bounced.
    bounced: bool,
    /// The longest piece that was cut.
    cut: u64,
}

impl<D: Backend, I: Iterator<Item = Segment<D::Addr>>> Drawing<'_, D, I> {
    /// Takes the next bytes of the list that are contiguous, at most `most`.
    fn part(&mut self, most: u64) -> Option<Segment<D::Addr>> {
        let segment = self.rest.take().or_else(|| self.segments.next())?;
        let (part, rest) = segment.split(most).map_or((segment, None), |(part, rest)| (part, Some(rest)));
        self.rest = rest;
        Some(part)
    }

    fn append(&mut self, segment: Segment<D::Addr>) -> Result<(), MapError> {
        self.draft.list.append(segment).map_err(|error| MapError::TooLong { bytes: error.bytes })?;
        Ok(())
    }

    fn direct(&mut self, segment: Segment<D::Addr>) -> Result<(), MapError> {
        let mut left = segment.len();
        while left > 0 {
            // A plan's pieces are the bytes of its list, so they do not run out.
            let Some(part) = self.part(left) else { break };
            left = left.saturating_sub(part.len());
        }
        let after_run = core::mem::take(&mut self.bounced);
        self.append(if after_run { segment.with_barrier() } else { segment })
    }

    fn bounce<T: Source>(
        &mut self,
        piece: BouncedPiece,
        rules: &Rules,
        source: &mut T,
    ) -> Result<(), MapError> {
        self.bounced = true;
        let (mut bits, mut left) = (piece.start_bits, piece.len);
        while left > 0 {
            let grant = source.take(rules, bits, left).ok_or(short(piece.len))?;
            let run = Segment::new(D::Addr::new(grant.addr), grant.len).map_err(|_| short(piece.len))?;
            self.spans(grant, piece.why)?;
            self.append(run.with_barrier())?;
            bits = bits.saturating_add(run.len());
            left = left.saturating_sub(run.len());
            if left > 0 {
                self.cut = self.cut.max(piece.len);
            }
        }
        Ok(())
    }

    /// Notes which bytes of the list a run stands for.
    fn spans(&mut self, grant: Grant, why: Why) -> Result<(), MapError> {
        let mut done = 0_u64;
        while done < grant.len {
            let Some(part) = self.part(grant.len.saturating_sub(done)) else { break };
            let list = visible(self.device, part)?;
            let pool = grant.cpu.checked_add(done).ok_or(short(grant.len))?;
            let start = self.draft.list.len_bytes().saturating_add(done);
            self.draft.spans.push(Span { start, len: part.len(), list, pool, why });
            done = done.saturating_add(part.len());
        }
        Ok(())
    }
}

/// A region that was set aside, used from its start on.
#[derive(Debug)]
pub(super) struct FromRegion<'a> {
    runs: &'a [Run],
    slot_len: u64,
    /// The next slot of the first run.
    next: u64,
}

impl<'a> FromRegion<'a> {
    pub(super) const fn new(runs: &'a [Run], slot_len: u64) -> Self {
        Self { runs, slot_len, next: 0 }
    }

    /// Takes a run of `len` bytes within the first run left.
    fn within(&mut self, run: &Run, wanted: &Wanted<'_>) -> Option<Grant> {
        let mut at = wanted.candidate(run.addr, self.next);
        while let Some(first) = at
            && first.saturating_add(wanted.slots()) <= run.slots
        {
            let slot_addr = run.addr.saturating_add(first.saturating_mul(self.slot_len));
            if let Some(addr) = wanted.data_addr(slot_addr) {
                self.next = first.saturating_add(wanted.slots());
                let cpu = run.cpu.checked_add(addr.checked_sub(run.addr)?)?;
                return Some(Grant { addr, cpu, len: wanted.len });
            }
            at = wanted.candidate(run.addr, first.saturating_add(1));
        }
        None
    }
}

impl Source for FromRegion<'_> {
    fn take(&mut self, rules: &Rules, bits: u64, len: u64) -> Option<Grant> {
        while let Some((run, rest)) = self.runs.split_first() {
            let wanted = Wanted { rules, len, bits };
            if let Some(grant) = self.within(run, &wanted) {
                return Some(grant);
            }
            if self.next == 0 {
                // Not even a whole run holds it: this one holds what it can.
                let room = run.slots.saturating_mul(self.slot_len);
                let first = wanted.candidate(run.addr, 0)?.saturating_mul(self.slot_len);
                let most = room.saturating_sub(first).saturating_sub(rules.offset(bits));
                let cut = rules.cut(bits, most.min(len));
                let grant = Some(cut).filter(|cut| *cut > 0);
                if let Some(grant) = grant.and_then(|len| self.within(run, &Wanted { rules, len, bits })) {
                    return Some(grant);
                }
            }
            (self.runs, self.next) = (rest, 0);
        }
        None
    }
}
