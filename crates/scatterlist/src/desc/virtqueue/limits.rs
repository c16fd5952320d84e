//! The limits that the format implies, so that a plan made for them always encodes.

use super::QueueSize;
use super::format::CHAIN_BYTES_MAX;
use crate::{Force, LimitId, Limits, LimitsError, Source};

/// Where the descriptors of a request stand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shape {
    /// As a chain in the table of the queue.
    Direct,
    /// In an indirect table (`VIRTIO_F_INDIRECT_DESC`).
    Indirect {
        /// How many descriptors that table has room for.
        descriptors: u64,
    },
}

/// What a driver puts around the list of every request: the header and the status of a block device, say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Frame {
    /// Segments.
    pub segments: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Returns what a list may be, so that it and its `frame` fit an empty queue as one request.
///
/// The fewest of: the queue size (no chain is longer, sections 2.7.5 and 2.7.5.3.1), the indirect table; less the
/// frame. A chain holds at most 2^32 bytes (section 2.7.5.2), a descriptor 2^32 - 1. What the device says
/// of its own (such as `seg_max` and `size_max` of a block device) is to be [stacked](Limits::stack) on this.
///
/// # Errors
/// A [`LimitsError`] where the frame leaves no segment or no byte.
pub fn limits(size: QueueSize, shape: Shape, frame: Frame) -> Result<Limits, LimitsError> {
    let chain = u64::from(size.get());
    let chain = match shape {
        Shape::Direct => chain,
        Shape::Indirect { descriptors } => descriptors.min(chain),
    };
    let segments = chain.saturating_sub(frame.segments);
    let set = [
        (LimitId::SegmentsMax, segments),
        // Each piece takes a descriptor, also where two pieces touch.
        (LimitId::PiecesMax, segments),
        (LimitId::SegmentLenMax, u64::from(u32::MAX)),
        (LimitId::TransferLenMax, CHAIN_BYTES_MAX.saturating_sub(frame.bytes)),
    ];
    let rules = set.into_iter().fold(Limits::builder(), |rules, (id, value)| {
        rules.set(id, value, Source::DescriptorFormat, Force::Hard)
    });
    rules.build()
}
