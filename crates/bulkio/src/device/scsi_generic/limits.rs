//! From the facts of a disk and its door to [`Limits`]: which statement becomes which limit, with its source. Pure: everything is in
//! [`DoorFacts`] and [`DiskFacts`].
//!
//! Nobody below splits a command, so what would be soft for the block node's own reads is hard here: a longer command is refused with
//! `EIO` or `EINVAL` (`drivers/scsi/scsi_ioctl.c`, `block/blk-map.c`).

use scatterlist::{Force, LimitId, Limits, LimitsError, Source};

use super::facts::DiskFacts;
use crate::device::scsi::Cdb;
use crate::device::scsi::door::{MapRule, PIECES_MAX_V3};
use crate::device::scsi::folder::NodeKind;

/// Longest transfer where neither queue nor driver states one: `SCSI_DEFAULT_MAX_SECTORS` of `include/scsi/scsi_host.h`, in sectors of 512.
const TRANSFER_BYTES_DEFAULT: u64 = 1024 * 512;

/// Most segments where nobody states any: `SG_CHUNK_SIZE` of `include/linux/scatterlist.h`, which every adapter's table has room for.
const SEGMENTS_DEFAULT: u64 = 128;

/// Bytes of each element of the buffers that `/dev/sg` copies through: `SG_SCATTER_SZ` of `include/scsi/sg.h`.
const SG_ELEMENT_BYTES: u64 = 8 * 4096;

/// Most bytes that the records of `SG_IO` tell of: 32 bits (`include/scsi/sg.h`, `dxfer_len`).
const RECORD_BYTES_MAX: u64 = u32::MAX as u64;

/// What is known of a door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DoorFacts {
    pub(super) kind: NodeKind,
    /// Whether the device reaches the memory itself.
    pub(super) is_direct: bool,
    /// The rule by which the kernel maps.
    pub(super) rule: MapRule,
    /// Whether the queue states that rule.
    pub(super) rule_source: Source,
    /// `max_hw_sectors_kb` of the queue, in bytes.
    pub(super) queue_bytes_max: Option<u64>,
    /// `max_sectors_kb` of the queue, in bytes.
    pub(super) queue_bytes_soft: Option<u64>,
    /// `max_segments` of the queue, or the adapter's `sg_tablesize`.
    pub(super) segments_max: Option<u64>,
    /// `max_segment_size` of the queue.
    pub(super) segment_len_max: Option<u64>,
    /// `BLKSECTGET` of `/dev/sg`.
    pub(super) sg_bytes_max: Option<u64>,
    /// `SG_GET_SG_TABLESIZE` of `/dev/sg`.
    pub(super) sg_segments_max: Option<u64>,
    /// Bytes of a page of memory.
    pub(super) page_bytes: u64,
}

/// A value and who stated it.
type Stated = (u64, Source);

fn least(statements: impl IntoIterator<Item = Option<Stated>>) -> Option<Stated> {
    statements.into_iter().flatten().filter(|(value, _)| *value > 0).min_by_key(|(value, _)| *value)
}

/// Returns the limits of transfers through a door.
pub(super) fn limits(door: &DoorFacts, disk: &DiskFacts) -> Result<Limits, LimitsError> {
    let block = u64::from(disk.block_bytes);
    let in_bytes = |blocks: u64| blocks.saturating_mul(block);
    let hard = |builder: scatterlist::LimitsBuilder, id, (value, source): Stated| {
        builder.set(id, value, source, Force::Hard)
    };
    let stated = least([
        Some(in_bytes(disk.block_limits.transfer_blocks_max.into())).map(|bytes| (bytes, Source::Vpd)),
        door.queue_bytes_max.map(|bytes| (bytes, Source::Sysfs)),
        door.sg_bytes_max.map(|bytes| (bytes, Source::Ioctl)),
        // Its own buffers have as many elements as a command has segments.
        door.sg_segments_max
            .filter(|_| !door.is_direct)
            .map(|count| (count.saturating_mul(SG_ELEMENT_BYTES), Source::Ioctl)),
    ]);
    let command = if disk.knows_16 { RECORD_BYTES_MAX } else { in_bytes(Cdb::blocks_max_short().into()) };
    let most = least([
        Some(stated.unwrap_or((TRANSFER_BYTES_DEFAULT, Source::Default))),
        Some((command.min(RECORD_BYTES_MAX), Source::Interface)),
    ]);
    let (most, most_source) = most.unwrap_or((TRANSFER_BYTES_DEFAULT, Source::Default));
    // A device that takes less than one block is asked for one block all the same.
    let most = most.saturating_sub(most.checked_rem(block).unwrap_or(0)).max(block);
    let mut builder = Limits::builder();
    builder = hard(builder, LimitId::PositionAlign, (block, Source::Identify));
    builder = hard(builder, LimitId::Capacity, (disk.len_bytes(), Source::Identify));
    builder = hard(builder, LimitId::TransferLenMax, (most, most_source));
    builder = hard(builder, LimitId::PiecesMax, (pieces_max(door), Source::Interface));
    if door.is_direct {
        let align = door.rule.align_mask.saturating_add(1);
        builder = hard(builder, LimitId::AddrAlign, (align, door.rule_source));
        builder = hard(builder, LimitId::PieceLenAlign, (align, door.rule_source));
        if door.rule.gap_mask != 0 {
            let gap = door.rule.gap_mask.saturating_add(1);
            builder = hard(builder, LimitId::GapBoundary, (gap, door.rule_source));
        }
        let segments = least([
            door.segments_max.map(|count| (count, Source::Sysfs)),
            door.sg_segments_max.map(|count| (count, Source::Ioctl)),
        ]);
        builder =
            hard(builder, LimitId::SegmentsMax, segments.unwrap_or((SEGMENTS_DEFAULT, Source::Default)));
        // Nothing is known of how pages lie: each counts as a segment. So no segment is longer than one.
        builder = hard(builder, LimitId::PageLen, (door.page_bytes, Source::Default));
        if let Some(len) = door.segment_len_max.filter(|len| *len > 0) {
            builder = builder.set(LimitId::SegmentLenMax, len, Source::Sysfs, Force::Soft);
        }
    }
    if disk.physical_block_bytes > disk.block_bytes {
        let physical = disk.physical_block_bytes.into();
        builder = builder.set(LimitId::PositionAlignOpt, physical, Source::Identify, Force::Soft);
    }
    let best = least([
        Some((in_bytes(disk.block_limits.transfer_blocks_opt.into()), Source::Vpd)),
        door.queue_bytes_soft.map(|bytes| (bytes, Source::Sysfs)),
    ]);
    if let Some((best, source)) = best {
        builder = builder.set(LimitId::TransferLenOpt, best.min(most), source, Force::Soft);
    }
    builder.build()
}

/// Returns how many pieces a command takes: bsg knows no vectors, and `/dev/sg` copies those.
const fn pieces_max(door: &DoorFacts) -> u64 {
    match (door.kind, door.is_direct) {
        (NodeKind::Block, _) | (NodeKind::Generic, false) => PIECES_MAX_V3,
        (NodeKind::Bsg | NodeKind::Tape, _) | (NodeKind::Generic, true) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::scsi::Inquiry;
    use crate::device::scsi_generic::facts::BlockLimits;

    fn door(kind: NodeKind) -> DoorFacts {
        DoorFacts {
            kind,
            is_direct: true,
            rule: MapRule { align_mask: 3, gap_mask: 0 },
            rule_source: Source::Sysfs,
            queue_bytes_max: Some(1280 << 10),
            queue_bytes_soft: Some(512 << 10),
            segments_max: Some(2048),
            segment_len_max: Some(65536),
            sg_bytes_max: None,
            sg_segments_max: None,
            page_bytes: 4096,
        }
    }

    fn disk() -> DiskFacts {
        DiskFacts {
            inquiry: Inquiry::parse(&[0; 36]).unwrap(),
            serial: None,
            wwid: None,
            blocks: 32768,
            block_bytes: 512,
            physical_block_bytes: 4096,
            protection: 0,
            knows_16: true,
            block_limits: BlockLimits::default(),
            is_write_protected: Some(false),
        }
    }

    #[test]
    fn each_limit_has_its_source() {
        let limits = limits(&door(NodeKind::Block), &disk()).unwrap();
        let expected = [
            (LimitId::PositionAlign, 512, Source::Identify, Force::Hard),
            (LimitId::Capacity, 16 << 20, Source::Identify, Force::Hard),
            (LimitId::TransferLenMax, 1280 << 10, Source::Sysfs, Force::Hard),
            (LimitId::PiecesMax, 1024, Source::Interface, Force::Hard),
            (LimitId::AddrAlign, 4, Source::Sysfs, Force::Hard),
            (LimitId::PieceLenAlign, 4, Source::Sysfs, Force::Hard),
            (LimitId::SegmentsMax, 2048, Source::Sysfs, Force::Hard),
            (LimitId::PageLen, 4096, Source::Default, Force::Hard),
            (LimitId::SegmentLenMax, 65536, Source::Sysfs, Force::Soft),
            (LimitId::PositionAlignOpt, 4096, Source::Identify, Force::Soft),
            (LimitId::TransferLenOpt, 512 << 10, Source::Sysfs, Force::Soft),
        ];
        for (id, value, source, force) in expected {
            assert_eq!(limits.get(id), scatterlist::Limit { value, source, force }, "{id}");
        }
        assert_eq!(limits.get(LimitId::GapBoundary).value, 0);
    }

    #[test]
    fn the_least_of_all_statements_rules() {
        let most = |door: &DoorFacts, disk: &DiskFacts| {
            let limit = limits(door, disk).unwrap().get(LimitId::TransferLenMax);
            (limit.value, limit.source)
        };
        let block_limits = BlockLimits { transfer_blocks_max: 100, ..BlockLimits::default() };
        assert_eq!(most(&door(NodeKind::Block), &DiskFacts { block_limits, ..disk() }), (51200, Source::Vpd));
        let sg = DoorFacts { sg_bytes_max: Some(64 << 10), ..door(NodeKind::Generic) };
        assert_eq!(most(&sg, &disk()), (64 << 10, Source::Ioctl));
        let copies = DoorFacts { is_direct: false, sg_segments_max: Some(4), ..sg };
        assert_eq!(
            most(&DoorFacts { sg_bytes_max: Some(1 << 20), ..copies }, &disk()),
            (128 << 10, Source::Ioctl)
        );
        // Whole blocks, and at least one.
        let odd = DoorFacts { queue_bytes_max: Some(5000), ..door(NodeKind::Bsg) };
        assert_eq!(most(&odd, &disk()).0, 4608);
        let large = DiskFacts { block_bytes: 8192, physical_block_bytes: 8192, ..disk() };
        assert_eq!(most(&odd, &large).0, 8192);
        // Nobody says anything: the driver's default, and what fits into 16 bits.
        let silent = DoorFacts { queue_bytes_max: None, ..door(NodeKind::Bsg) };
        assert_eq!(most(&silent, &disk()), (512 << 10, Source::Default));
        let huge = DoorFacts { queue_bytes_max: Some(1 << 40), ..door(NodeKind::Bsg) };
        assert_eq!(most(&huge, &DiskFacts { knows_16: false, ..disk() }), (65535 * 512, Source::Interface));
        assert_eq!(most(&huge, &disk()).0, u64::from(u32::MAX) / 512 * 512);
    }

    #[test]
    fn doors_differ_in_pieces_and_rules() {
        let of = |door: &DoorFacts| limits(door, &disk()).unwrap();
        let pieces = |door: &DoorFacts| of(door).get(LimitId::PiecesMax).value;
        assert_eq!(pieces(&door(NodeKind::Bsg)), 1);
        assert_eq!(pieces(&door(NodeKind::Generic)), 1);
        let copies = DoorFacts { is_direct: false, ..door(NodeKind::Generic) };
        assert_eq!(pieces(&copies), 1024);
        // What is copied lies as it likes.
        assert_eq!(
            (of(&copies).get(LimitId::AddrAlign).value, of(&copies).get(LimitId::SegmentsMax).value),
            (1, u64::MAX)
        );
        let gaps = DoorFacts { rule: MapRule { align_mask: 511, gap_mask: 4095 }, ..door(NodeKind::Block) };
        assert_eq!(of(&gaps).get(LimitId::GapBoundary).value, 4096);
    }
}
