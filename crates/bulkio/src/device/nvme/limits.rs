//! The [`Limits`] of commands on a namespace: what the controller states, and what the driver takes. All that could refuse is hard, since
//! nobody below splits a passthrough command, and the driver copies in silence where memory breaks the rules of its queue.

use scatterlist::{Force, LimitId, Limits, LimitsBuilder, LimitsError, Source};

use super::command::BLOCKS_MAX;
use super::error::OpenError;
use super::identify::{Controller, Format};
use super::sibling::Queue;

/// Most entries of a vector: `UIO_MAXIOV` of `include/uapi/linux/uio.h`.
const PIECES_MAX: u64 = 1024;

/// Everything that the limits follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) controller: &'a Controller,
    pub(super) format: &'a Format,
    pub(super) queue: Queue,
    /// The kernel's page: nothing is known of how pages lie, so each is a segment.
    pub(super) page_len: u64,
}

/// What cannot be guessed: the numbers of the queue that a command is refused by.
#[derive(Clone, Copy, Debug)]
struct Stated {
    transfer_len_max: u64,
    segments_max: u64,
    gap_boundary: u64,
    align: u64,
}

impl Facts<'_> {
    fn stated(&self) -> Result<Stated, &'static str> {
        let queue = self.queue;
        Ok(Stated {
            transfer_len_max: queue.transfer_len_max.ok_or("max_hw_sectors_kb")?,
            segments_max: queue.segments_max.filter(|count| *count > 0).ok_or("max_segments")?,
            gap_boundary: queue.gap_boundary.ok_or("virt_boundary_mask")?,
            align: queue.align.ok_or("dma_alignment")?,
        })
    }

    /// Returns the limits; an error names what sysfs does not state, or what contradicts itself.
    pub(super) fn limits(&self) -> Result<Limits, FactsError> {
        let stated = self.stated().map_err(FactsError::Missing)?;
        self.build(stated).map_err(FactsError::Contradiction)
    }

    fn build(&self, stated: Stated) -> Result<Limits, LimitsError> {
        let format = self.format;
        let hard = |builder: LimitsBuilder, id, value, source| builder.set(id, value, source, Force::Hard);
        let mut builder = Limits::builder();
        builder = hard(builder, LimitId::PositionAlign, format.block_len, Source::Identify);
        builder = hard(builder, LimitId::Capacity, format.len_bytes(), Source::Identify);
        builder = hard(builder, LimitId::AddrAlign, stated.align, Source::Sysfs);
        // The driver looks at the bits of addresses and lengths alike.
        builder = hard(builder, LimitId::PieceLenAlign, stated.align, Source::Sysfs);
        builder = hard(builder, LimitId::SegmentsMax, stated.segments_max, Source::Sysfs);
        builder = hard(builder, LimitId::PageLen, self.page_len, Source::Interface);
        builder = hard(builder, LimitId::PiecesMax, PIECES_MAX, Source::Interface);
        if stated.gap_boundary > 1 {
            builder = hard(builder, LimitId::GapBoundary, stated.gap_boundary, Source::Sysfs);
        }
        if let Some(len) = self.queue.segment_len_max.filter(|len| *len > 0) {
            builder = hard(builder, LimitId::SegmentLenMax, len, Source::Sysfs);
        }
        let (longest, source) = self.longest(stated);
        builder = hard(builder, LimitId::TransferLenMax, longest, source);
        let hint = |builder: LimitsBuilder, id, value| builder.set(id, value, Source::Identify, Force::Soft);
        builder = builder.set(LimitId::TransferLenOpt, longest, source, Force::Soft);
        if format.boundary_blocks > 0 {
            let chunk = u64::from(format.boundary_blocks).saturating_mul(format.block_len);
            builder = hint(builder, LimitId::ChunkLen, chunk);
        }
        if format.write_blocks > 0 {
            let unit = u64::from(format.write_blocks).saturating_mul(format.block_len);
            builder = hint(builder, LimitId::PositionAlignOpt, unit);
        }
        builder.build()
    }

    /// Returns the longest transfer and who states it, of whole blocks.
    fn longest(&self, stated: Stated) -> (u64, Source) {
        let block = self.format.block_len;
        let command = (BLOCKS_MAX.saturating_mul(block), Source::DescriptorFormat);
        let controller = self.controller.transfer_len_max().map(|len| (len, Source::Identify));
        let queue = (stated.transfer_len_max, Source::Sysfs);
        // A command is told of its bytes with 32 bits.
        let all = [Some(queue), controller, Some(command), Some((u32::MAX.into(), Source::Interface))];
        let (len, source) = all.into_iter().flatten().min_by_key(|(len, _)| *len).unwrap_or(command);
        (len.saturating_sub(len.checked_rem(block).unwrap_or(0)), source)
    }
}

/// Why there are no limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum FactsError {
    /// An attribute that sysfs does not state.
    Missing(&'static str),
    Contradiction(LimitsError),
}

impl FactsError {
    pub(super) fn of(self, path: &std::path::Path, name: &str) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Missing(attribute) => OpenError::NoQueue { path, name: name.to_owned(), attribute },
            Self::Contradiction(source) => OpenError::Contradiction { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> (Controller, Format, Queue) {
        let mut bytes = vec![0; 4096];
        bytes[77] = 5;
        let controller = Controller::parse(&bytes);
        let mut bytes = vec![0; 4096];
        bytes[..8].copy_from_slice(&0x2_0000_u64.to_le_bytes());
        bytes[130] = 9;
        let queue = Queue {
            transfer_len_max: Some(512 << 10),
            segments_max: Some(33),
            segment_len_max: Some(u32::MAX.into()),
            gap_boundary: Some(4096),
            align: Some(4),
        };
        (controller, Format::parse(&bytes).unwrap(), queue)
    }

    fn limits(controller: &Controller, format: &Format, queue: Queue) -> Result<Limits, FactsError> {
        Facts { controller, format, queue, page_len: 4096 }.limits()
    }

    #[test]
    fn each_limit_has_its_source() {
        let (controller, format, queue) = facts();
        let found = limits(&controller, &format, queue).unwrap();
        for (id, value, source) in [
            (LimitId::PositionAlign, 512, Source::Identify),
            (LimitId::Capacity, 64 << 20, Source::Identify),
            // The shorter of the two.
            (LimitId::TransferLenMax, 128 << 10, Source::Identify),
            (LimitId::SegmentsMax, 33, Source::Sysfs),
            (LimitId::GapBoundary, 4096, Source::Sysfs),
            (LimitId::AddrAlign, 4, Source::Sysfs),
            (LimitId::PiecesMax, 1024, Source::Interface),
            (LimitId::PageLen, 4096, Source::Interface),
        ] {
            let limit = found.get(id);
            assert_eq!((limit.value, limit.source, limit.force), (value, source, Force::Hard), "{id}");
        }
        let shorter = Queue { transfer_len_max: Some(130_000), ..queue };
        let limit = limits(&controller, &format, shorter).unwrap().get(LimitId::TransferLenMax);
        assert_eq!((limit.value, limit.source), (130_000 / 512 * 512, Source::Sysfs));
        // No limit of the controller, and a queue that takes anything: what a command can say.
        let (endless, any) = (
            Controller { mdts: 0, ..controller.clone() },
            Queue { transfer_len_max: Some(u64::MAX), ..queue },
        );
        let limit = limits(&endless, &format, any).unwrap().get(LimitId::TransferLenMax);
        assert_eq!((limit.value, limit.source), (512 << 16, Source::DescriptorFormat));
        // With SGLs there is no rule for gaps.
        let sgl = limits(&controller, &format, Queue { gap_boundary: Some(1), ..queue }).unwrap();
        assert_eq!(sgl.hard_value(LimitId::GapBoundary), 0);
    }

    #[test]
    fn what_is_not_stated_is_not_guessed() {
        let (controller, format, queue) = facts();
        let missing = |queue| limits(&controller, &format, queue).unwrap_err();
        assert_eq!(missing(Queue { segments_max: None, ..queue }), FactsError::Missing("max_segments"));
        assert_eq!(missing(Queue { gap_boundary: None, ..queue }), FactsError::Missing("virt_boundary_mask"));
        let odd = missing(Queue { align: Some(3), ..queue });
        assert!(matches!(odd, FactsError::Contradiction(LimitsError::NotPowerOfTwo { value: 3, .. })));
    }
}
