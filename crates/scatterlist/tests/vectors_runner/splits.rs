//! `BSPLIT` and `NSPLIT`: transfers that are split where a device cannot take them whole.

use scatterlist::plan::{PlanError, Policy, plan};
use scatterlist::{LimitId, Limits, LimitsBuilder, LimitsError, PhysAddr, Position, ScatterList};
use scatterlist::{Segment, Segments};
use serde_json::Value;

use super::fields::{Fields, pairs};
use super::{Verdict, same, segment};

const SECTOR: u64 = 512;

/// A length that is a multiple of every block and longer than every transfer of 2^32 sectors.
const ENDLESS: u64 = 1 << 45;

/// The limits of a block queue, in the units of the file.
struct Queue {
    max_sectors: u64,
    chunk_sectors: u64,
    segments: u64,
    segment_size: u64,
    boundary_mask: u64,
    virt_mask: u64,
    logical_block: u64,
    physical_block: u64,
}

impl Queue {
    fn read(mut fields: Fields) -> Result<Self, String> {
        let queue = Self {
            max_sectors: fields.number("max_sectors")?,
            chunk_sectors: fields.number("chunk_sectors")?,
            segments: fields.number("max_segments")?,
            segment_size: fields.number("max_segment_size")?,
            boundary_mask: fields.number("seg_boundary_mask")?,
            virt_mask: fields.number("virt_boundary_mask")?,
            logical_block: fields.number("logical_block_size")?,
            physical_block: fields.number("physical_block_size")?,
        };
        fields.finish()?;
        Ok(queue)
    }

    /// The rules for sizes alone.
    fn sizes(&self) -> Result<Limits, LimitsError> {
        Limits::builder()
            .hard(LimitId::TransferLenMax, self.max_sectors.saturating_mul(SECTOR))
            .hard(LimitId::ChunkLen, self.chunk_sectors.saturating_mul(SECTOR))
            .hard(LimitId::PositionAlign, self.logical_block)
            .hard(LimitId::PositionAlignOpt, self.physical_block)
            .build()
    }

    /// The rules for memory, and a size cap.
    fn memory(&self, max_bytes: u64) -> LimitsBuilder {
        let granule = if self.virt_mask == 0 { 0 } else { self.virt_mask.saturating_add(1) };
        Limits::builder()
            .hard(LimitId::TransferLenMax, max_bytes)
            .hard(LimitId::SegmentsMax, self.segments)
            .hard(LimitId::SegmentLenMax, self.segment_size)
            .hard(LimitId::SegmentBoundary, self.boundary_mask.wrapping_add(1))
            .hard(LimitId::GapBoundary, granule)
    }
}

/// The first request of a plan.
#[derive(Debug, PartialEq)]
struct Front {
    bytes: u64,
    segments: u64,
    /// Whether the plan goes on behind it, or fails.
    split: bool,
    /// Bytes that fit, where no legal request starts.
    fits: Option<u64>,
}

fn front<S: Segments + ?Sized>(list: &S, position: Position, limits: &Limits) -> Result<Front, String> {
    match plan(list, position, limits, Policy::SplitOrError).next() {
        Some(Ok(ready)) => {
            let segments = u64::try_from(ready.pieces().count()).unwrap_or(u64::MAX);
            Ok(Front { bytes: ready.len_bytes(), segments, split: ready.cut().is_some(), fits: None })
        }
        Some(Err(PlanError::Unsatisfiable { fits, .. })) => {
            Ok(Front { bytes: 0, segments: 0, split: true, fits: Some(fits) })
        }
        Some(Err(error)) => Err(error.to_string()),
        None => Err("an empty plan".to_owned()),
    }
}

/// As Linux does it: first the size cap at this position, then the front that memory allows within it, then
/// that front rounded down to blocks.
pub(super) fn bsplit(mut case: Fields, _page: u64) -> Verdict {
    let queue = Queue::read(case.object("limits")?)?;
    let at = case.number("sector")?.checked_mul(SECTOR).ok_or("a sector past 64 bits")?;
    let position = Position::At(at);
    let bvecs = case.pairs("bvecs")?;
    let max_bytes = case.number("max_bytes")?;
    let split = case.flag("split")?;
    let front_bytes = case.number("front_bytes")?;
    let before = case.number("front_bytes_before_block_align")?;
    let segments = case.number("front_nsegs")?;
    case.finish()?;

    let mut list = ScatterList::new();
    for (addr, len) in bvecs {
        // Linux counts each entry by itself, adjacent or not.
        list.append(segment(addr, len)?.with_barrier()).map_err(|error| error.to_string())?;
    }
    let endless = [segment(0, ENDLESS)?];
    let cap = match queue.sizes() {
        Ok(sizes) => front(&endless[..], position, &sizes)?.bytes,
        // Less than one block.
        Err(LimitsError::TooSmall { limit: LimitId::TransferLenMax, .. }) => 0,
        Err(error) => return Err(error.to_string()),
    };
    same("max_bytes", &cap, &max_bytes)?;
    if cap == 0 {
        return same("front", &(front_bytes, before, segments), &(0, 0, 0));
    }

    let bytewise = queue.memory(cap).build().map_err(|error| error.to_string())?;
    let unrounded = front(&list, position, &bytewise)?;
    same("front_bytes_before_block_align", &unrounded.bytes, &before)?;
    same("front_nsegs", &unrounded.segments, &segments)?;
    let blocks = queue.memory(cap).hard(LimitId::PositionAlign, queue.logical_block);
    let blocks = blocks.build().map_err(|error| error.to_string())?;
    let rounded = front(&list, position, &blocks)?;
    same("front_bytes", &rounded.bytes, &front_bytes)?;
    same("split", &rounded.split, &split)?;
    same("bytes that fit", &rounded.fits, &(front_bytes == 0).then_some(before))
}

/// The most that one command moves, by the suite's semantics.
const NVME_TRANSFER_MAX: u64 = 128 << 10;

/// Where the memory lies when the case does not say: one page-aligned buffer.
const NVME_BUFFER: u64 = 0x1000_0000;

pub(super) fn nsplit(mut case: Fields, page: u64) -> Verdict {
    let (lba, blocks) = (case.number("lba")?, case.number("blocks")?);
    let stripe = case.optional_number("stripe_blocks")?.unwrap_or(0);
    let iov = case.optional("iov").map(|value| pairs("iov", value)).transpose()?;
    let sgl = case.optional_flag("sgl")?.unwrap_or(false);
    let sges_max = case.optional_number("max_sges")?;
    let merge = case.optional_flag("merge")?.unwrap_or(true);
    let expected = match case.value("expect")? {
        Value::String(word) if word == "error" => None,
        value => Some(pairs("expect", value)?),
    };
    case.finish()?;

    let at = lba.checked_mul(SECTOR).ok_or("a position past 64 bits")?;
    let bytes = blocks.checked_mul(SECTOR).ok_or("a length past 64 bits")?;
    let mut list = ScatterList::new();
    for (addr, len) in iov.unwrap_or_else(|| vec![(NVME_BUFFER, bytes)]) {
        let segment: Segment<PhysAddr> = segment(addr, len)?;
        let segment = if merge { segment } else { segment.with_barrier() };
        list.append(segment).map_err(|error| error.to_string())?;
    }
    // Memory past the blocks stays unused; too little cannot be expressed.
    list.split_off(bytes).map_err(|error| error.to_string())?;

    let mut limits = Limits::builder()
        .hard(LimitId::TransferLenMax, NVME_TRANSFER_MAX)
        .hard(LimitId::PositionAlign, SECTOR)
        .hard(LimitId::ChunkLen, stripe.saturating_mul(SECTOR));
    if !sgl {
        limits = limits.hard(LimitId::GapBoundary, page).hard(LimitId::AddrAlign, 4);
    }
    if let Some(most) = sges_max {
        limits = limits.hard(LimitId::SegmentsMax, most);
    }
    let limits = limits.build().map_err(|error| error.to_string())?;
    let got: Result<Vec<(u64, u64)>, PlanError> =
        plan(&list, Position::At(at), &limits, Policy::SplitOrError)
            .map(|ready| {
                let ready = ready?;
                let Position::At(at) = ready.position() else { return Ok((u64::MAX, 0)) };
                Ok((at / SECTOR, ready.len_bytes() / SECTOR))
            })
            .collect();
    match (got, expected) {
        (Ok(got), Some(expected)) => same("children", &got, &expected),
        (Err(PlanError::Unsatisfiable { .. }), None) => Ok(()),
        (Ok(got), None) => Err(format!("expected an error, got {got:?}")),
        (Err(error), expected) => Err(format!("expected {expected:?}, got {error}")),
    }
}
