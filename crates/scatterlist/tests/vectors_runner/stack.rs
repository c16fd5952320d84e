//! `STACK`: the limits of layered devices. The record on top is stacked on each device below in turn.
//!
//! A record of Linux has three maxima for the length of a transfer, ours has one: so each case is run three
//! times, once for each.

use scatterlist::{LimitId, Limits, LimitsError};
use serde_json::Value;

use super::fields::{Fields, items};
use super::{Verdict, same};

pub(super) const LEFT_OUT: &str = "alignment_offset, misaligned (with start_sector and rets, which only report \
    it), bounce, io_min, physical_block_size and the dropping of chunk_sectors and io_opt that are no multiple \
    of it, rounding max_*_sectors up to a page";

const SECTOR: u64 = 512;
const MAXIMA: [&str; 3] = ["max_hw_sectors", "max_dev_sectors", "max_sectors"];

/// One record of Linux, in the units of the file. 0 means unset.
struct Record {
    maxima: [u64; 3],
    chunk_sectors: u64,
    segments: u64,
    segment_size: u64,
    boundary_mask: u64,
    virt_mask: u64,
    align_mask: u64,
    logical_block: u64,
    physical_block: u64,
    io_opt: u64,
    misaligned: bool,
}

impl Record {
    fn read(mut fields: Fields) -> Result<Self, String> {
        let mut maxima = [0; 3];
        for (maximum, name) in maxima.iter_mut().zip(MAXIMA) {
            *maximum = fields.number(name)?;
        }
        let record = Self {
            maxima,
            chunk_sectors: fields.number("chunk_sectors")?,
            segments: fields.number("max_segments")?,
            segment_size: fields.number("max_segment_size")?,
            boundary_mask: fields.number("seg_boundary_mask")?,
            virt_mask: fields.number("virt_boundary_mask")?,
            align_mask: fields.number("dma_alignment")?,
            logical_block: fields.number("logical_block_size")?,
            physical_block: fields.number("physical_block_size")?,
            io_opt: fields.number("io_opt")?,
            misaligned: fields.number("misaligned")? != 0,
        };
        for left_out in ["io_min", "alignment_offset", "bounce"] {
            fields.value(left_out)?;
        }
        fields.finish()?;
        Ok(record)
    }

    /// Our record, with one of the three maxima.
    fn limits(&self, maximum: usize) -> Result<Limits, LimitsError> {
        let most = |value: u64| if value == 0 { u64::MAX } else { value };
        let granule = |mask: u64| if mask == 0 { 0 } else { mask.wrapping_add(1) };
        let sectors = self.maxima.get(maximum).copied().unwrap_or(0);
        Limits::builder()
            .hard(LimitId::TransferLenMax, most(sectors.saturating_mul(SECTOR)))
            .hard(LimitId::ChunkLen, self.chunk_sectors.saturating_mul(SECTOR))
            .hard(LimitId::SegmentsMax, most(self.segments))
            .hard(LimitId::SegmentLenMax, most(self.segment_size))
            .hard(LimitId::SegmentBoundary, granule(self.boundary_mask))
            .hard(LimitId::GapBoundary, granule(self.virt_mask))
            .hard(LimitId::AddrAlign, self.align_mask.saturating_add(1))
            .hard(LimitId::PositionAlign, self.logical_block.max(1))
            .hard(LimitId::TransferLenOpt, self.io_opt)
            .build()
    }
}

pub(super) fn stack(mut case: Fields, page: u64) -> Verdict {
    let top = Record::read(case.object("top")?)?;
    let mut bottoms = Vec::new();
    for value in items("bottoms", case.value("bottoms")?)? {
        let mut bottom = Fields::new("a bottom", value)?;
        bottom.number("start_sector")?;
        bottoms.push(Record::read(bottom.object("limits")?)?);
        bottom.finish()?;
    }
    let rets = items("rets", case.value("rets")?)?;
    let expected = Record::read(case.object("result")?)?;
    case.finish()?;
    same("number of rets", &rets.len(), &bottoms.len())?;
    if let Some(ret) = rets.iter().find(|ret| !matches!(ret.as_i64(), Some(0 | -1))) {
        return Err(format!("a ret of {ret} is not understood"));
    }
    let misaligned = rets.contains(&Value::from(-1));
    for (index, name) in MAXIMA.into_iter().enumerate() {
        let all = std::iter::once(&top).chain(&bottoms);
        let smallest = all.filter_map(|record| record.maxima.get(index).filter(|max| **max != 0)).min();
        let below_block = smallest.is_some_and(|max| max.saturating_mul(SECTOR) < expected.logical_block);
        match (stacked(&top, &bottoms, index), below_block) {
            (Err(_), true) => {}
            (Err(error), false) if misaligned && is_about_chunk(&error) && expected.chunk_sectors == 0 => {}
            (Err((error, _)), false) => return Err(format!("{name}: expected a record, got {error}")),
            (Ok(_), true) => {
                return Err(format!("{name}: expected a refusal, as {smallest:?} sectors are below a block"));
            }
            (Ok(limits), false) => compare(&limits, &expected, index, name, page)?,
        }
    }
    Ok(())
}

type Refusal = (String, Option<LimitId>);

fn is_about_chunk(refusal: &Refusal) -> bool {
    refusal.1 == Some(LimitId::ChunkLen)
}

fn stacked(top: &Record, bottoms: &[Record], maximum: usize) -> Result<Limits, Refusal> {
    let about = |error: &LimitsError| match error {
        LimitsError::NotMultiple { limit, .. } => Some(*limit),
        _ => None,
    };
    let built = |record: &Record| record.limits(maximum).map_err(|error| (error.to_string(), about(&error)));
    let mut stacked = built(top)?;
    for bottom in bottoms {
        stacked = stacked.stack(&built(bottom)?).map_err(|error| {
            let limit = match &error {
                scatterlist::StackError::Contradiction(inner) => about(inner),
                _ => None,
            };
            (error.to_string(), limit)
        })?;
    }
    Ok(stacked)
}

fn compare(limits: &Limits, expected: &Record, maximum: usize, name: &str, page: u64) -> Verdict {
    let value = |id: LimitId| limits.get(id).value;
    let unset = |value: u64| if value == u64::MAX { 0 } else { value };
    let sectors = unset(value(LimitId::TransferLenMax)) / SECTOR;
    let max = expected.maxima.get(maximum).copied().unwrap_or(0);
    let rounded_up_to_page = sectors != 0 && sectors * SECTOR < page && max * SECTOR == page;
    if !rounded_up_to_page {
        same(name, &sectors, &max)?;
    }
    // Linux drops what is no multiple of a physical block, and reports the devices as misaligned.
    let dropped = |ours: u64, theirs: u64| {
        expected.misaligned && theirs == 0 && !ours.is_multiple_of(expected.physical_block.max(1))
    };
    let chunk = value(LimitId::ChunkLen);
    if !dropped(chunk, expected.chunk_sectors) {
        same("chunk_sectors", &(chunk / SECTOR), &expected.chunk_sectors)?;
    }
    let optimal = value(LimitId::TransferLenOpt);
    if !dropped(optimal, expected.io_opt) {
        same("io_opt", &optimal, &expected.io_opt)?;
    }
    same("max_segments", &unset(value(LimitId::SegmentsMax)), &expected.segments)?;
    same("max_segment_size", &unset(value(LimitId::SegmentLenMax)), &expected.segment_size)?;
    same("seg_boundary_mask", &value(LimitId::SegmentBoundary).saturating_sub(1), &expected.boundary_mask)?;
    same("virt_boundary_mask", &value(LimitId::GapBoundary).saturating_sub(1), &expected.virt_mask)?;
    same("dma_alignment", &(value(LimitId::AddrAlign) - 1), &expected.align_mask)?;
    same("logical_block_size", &value(LimitId::PositionAlign), &expected.logical_block)
}
