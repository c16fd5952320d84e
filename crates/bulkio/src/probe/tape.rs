//! The limits of a tape drive, as far as they are known without opening it: what a command can count, and what the driver `st` moves without a
//! copy.
//!
//! The blocks that the drive takes are known only to the drive (READ BLOCK LIMITS), and their mode only to the driver: `bulkio tape status` asks.

use scatterlist::{Force, LimitId, Limits, LimitsBuilder, Source};

use super::host::Host;
use super::kind::TapeNode;
use crate::device::tape::{BlockLimits, direct_rule};

/// Returns the limits of one call.
pub(super) fn limits(host: &Host, node: &TapeNode) -> LimitsBuilder {
    let rule = direct_rule(host, node.number);
    let len_max = u64::from(BlockLimits::COMMAND.len_max);
    let builder = Limits::builder()
        // A read or write of several pieces is a block for each of them.
        .set(LimitId::PiecesMax, 1, Source::Interface, Force::Hard)
        .set(LimitId::TransferLenMax, len_max, Source::Interface, Force::Hard)
        // Past these the driver copies.
        .set(LimitId::AddrAlign, rule.addr_align, Source::Default, Force::Soft);
    builder.set(LimitId::SegmentsMax, rule.pages_max, Source::Sysfs, Force::Soft)
}
