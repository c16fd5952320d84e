//! The whole way of a request, through every back end: planned for its target, cut, mapped, encoded, read by the
//! device as its controller would, and given back.
//!
//! What the walker collects through the fake device are the bytes of the list, in order; what the device writes
//! through the same descriptors is what the CPU reads afterwards, and nothing else changed. Whatever the list, the
//! limits and the back end: an offset, an IOMMU, a bounce pool on top of either, a checker around all.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod machine;
mod ways;

use proptest::prelude::*;

use machine::{Case, Stack};
use ways::{Format, PAGE};

fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    // Within a page, whole pages, and ragged in any way; with holes or adjacent.
    let len = prop_oneof![
        Just(4096_u64),
        Just(8192),
        (1_u64..9000),
        (1_u64..16).prop_map(|n| n * 512),
        (1_u64..2000).prop_map(|n| n * 4),
    ];
    let gap = prop_oneof![Just(0_u64), Just(4096), (0_u64..5000), (0_u64..16).prop_map(|n| n * 512)];
    prop::collection::vec((gap, len), 1..14)
}

prop_compose! {
    fn case()(
        runs in runs(),
        first in prop_oneof![Just(0_u64), (0_u64..4096), (0_u64..1024).prop_map(|n| n * 4)],
        // High memory is out of reach for a 32-bit device.
        high in 0_u64..3,
        to_device in any::<bool>(),
        synced in any::<bool>(),
        checked in any::<bool>(),
        format in prop_oneof![
            (1_u64..4).prop_map(|lists| Format::Prp { lists }),
            (1_u64..4).prop_map(|segments| Format::Sgl { segments }),
        ],
        addr_max in prop_oneof![Just(u64::MAX), Just(0xffff_ffff_u64)],
        boundary in prop_oneof![Just(0_u64), Just(1 << 16), Just(1 << 20)],
        longest in prop_oneof![Just(u64::MAX), Just(1 << 16), Just(12_288_u64)],
        align in prop_oneof![Just(1_u64), Just(4), Just(512)],
        offset_mask in prop_oneof![Just(0_u64), Just(511), Just(4095)],
        transfer in prop_oneof![Just(u64::MAX), Just(1 << 15), Just(4096_u64)],
    ) -> Case {
        Case {
            runs, first, arena_len: 1 << 18, high, to_device, synced, checked, format, addr_max, boundary, longest, align, offset_mask, transfer,
        }
    }
}

/// A list of so many pages in three runs of which the first starts at `first`, told by PRPs.
fn pages(count: u64, first: u64, to_device: bool, checked: bool) -> Case {
    let third = count / 3 * PAGE;
    Case {
        runs: vec![(0, third - first), (PAGE, third), (PAGE, count * PAGE - 2 * third - 100)],
        first,
        arena_len: 8 << 20,
        high: 2,
        to_device,
        synced: true,
        checked,
        format: Format::Prp { lists: 3 },
        addr_max: u64::MAX,
        boundary: 0,
        longest: u64::MAX,
        align: 4,
        offset_mask: 4095,
        transfer: u64::MAX,
    }
}

/// A list page holds 512 entries, the last of them a link where more than one is left.
#[test]
fn lists_of_one_to_three_pages_arrive() {
    for (turn, count) in [3, 513, 514, 1023, 1024, 1025, 1400].into_iter().enumerate() {
        let first = [0, 512, 4092][turn % 3];
        let case = pages(count, first, turn % 2 == 0, turn % 3 == 0);
        for stack in [Stack::Up, Stack::Iommu, Stack::Bounce, Stack::BounceIommu] {
            case.run(stack).unwrap_or_else(|error| panic!("{count} pages, {stack:?}: {error}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_through_an_offset(case in case(), up in any::<bool>()) {
        case.run(if up { Stack::Up } else { Stack::Direct })?;
    }

    #[test]
    fn every_byte_arrives_through_an_iommu(case in case()) {
        case.run(Stack::Iommu)?;
    }

    #[test]
    fn every_byte_arrives_through_a_bounce_pool(case in case(), up in any::<bool>()) {
        case.run(if up { Stack::BounceUp } else { Stack::Bounce })?;
    }

    #[test]
    fn every_byte_arrives_through_a_bounce_pool_behind_an_iommu(case in case()) {
        case.run(Stack::BounceIommu)?;
    }
}
