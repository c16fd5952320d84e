//! [`BlockSibling`]: the block device of the same namespace, found in sysfs.
//!
//! The generic node `ngXnY` and the block node `nvmeXnY` are two doors to one namespace: children of one controller, or of one subsystem where
//! there are several paths (`drivers/nvme/host/core.c`, `multipath.c`). A claim is held on the block node, and its queue states what
//! the driver takes, which is what passthrough is refused by: nobody splits it.

use crate::probe::chars::CharFolder;
use crate::probe::host::Host;
use crate::probe::sysfs::BlockFolder;
use crate::probe::{CharClass, DeviceNumber};

/// The block device of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BlockSibling {
    /// Its name, as its node under `/dev` is called.
    pub name: String,
    /// Its number.
    pub number: DeviceNumber,
}

/// What the queue of a namespace takes in a command, as sysfs states it (`Documentation/ABI/stable/sysfs-block`). Bytes, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Queue {
    /// `max_hw_sectors_kb`.
    pub(super) transfer_len_max: Option<u64>,
    /// `max_segments`, a count.
    pub(super) segments_max: Option<u64>,
    /// `max_segment_size`.
    pub(super) segment_len_max: Option<u64>,
    /// `virt_boundary_mask` and 1; 1 for no rule.
    pub(super) gap_boundary: Option<u64>,
    /// `dma_alignment` and 1.
    pub(super) align: Option<u64>,
}

/// Says whether the character device is a generic node of an NVMe namespace.
pub(super) fn is_generic(host: &Host, number: DeviceNumber) -> bool {
    CharFolder::find(host, number).is_some_and(|folder| folder.class() == CharClass::NvmeGeneric)
}

/// Finds the block device beside a generic node, by the number of that; `None` where sysfs knows none.
#[must_use]
pub fn block_sibling(generic: DeviceNumber) -> Option<BlockSibling> {
    find(&Host::default(), generic)
}

pub(super) fn find(host: &Host, generic: DeviceNumber) -> Option<BlockSibling> {
    let number = CharFolder::find(host, generic)?.block_sibling()?;
    let name = BlockFolder::find(host, number)?.name()?;
    Some(BlockSibling { name, number })
}

impl Queue {
    /// Reads the queue of a block device; what is missing stays so.
    pub(super) fn read(host: &Host, number: DeviceNumber) -> Self {
        let Some(folder) = BlockFolder::find(host, number) else { return Self::default() };
        let number = |attribute| folder.queue_number(attribute);
        let granule = |attribute| number(attribute)?.checked_add(1);
        Self {
            transfer_len_max: number("max_hw_sectors_kb").and_then(|kib| kib.checked_mul(1024)),
            segments_max: number("max_segments"),
            segment_len_max: number("max_segment_size"),
            gap_boundary: granule("virt_boundary_mask"),
            align: granule("dma_alignment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::fake::FakeHost;

    fn number(text: &str) -> DeviceNumber {
        text.parse().unwrap()
    }

    #[test]
    fn the_block_device_stands_beside_the_generic_node() {
        let fake = FakeHost::new();
        let disk = "pci0/nvme/nvme3/nvme3n2";
        fake.device(
            "259:7",
            disk,
            &[
                ("queue/max_hw_sectors_kb", "128"),
                ("queue/max_segments", "33"),
                ("queue/max_segment_size", "4294967295"),
                ("queue/virt_boundary_mask", "4095"),
                ("queue/dma_alignment", "3"),
            ],
        );
        fake.char_device("241:5", "pci0/nvme/nvme3/ng3n2", "nvme-generic");
        assert!(is_generic(&fake.host, number("241:5")) && !is_generic(&fake.host, number("241:6")));
        let sibling = find(&fake.host, number("241:5")).unwrap();
        assert_eq!((&*sibling.name, sibling.number), ("nvme3n2", number("259:7")));
        let queue = Queue::read(&fake.host, sibling.number);
        assert_eq!((queue.transfer_len_max, queue.segments_max), (Some(128 << 10), Some(33)));
        assert_eq!((queue.gap_boundary, queue.align), (Some(4096), Some(4)));
        assert_eq!(find(&fake.host, number("241:6")), None);
        assert_eq!(Queue::read(&fake.host, number("259:8")), Queue::default());
    }
}
