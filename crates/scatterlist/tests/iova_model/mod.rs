//! The allocator of bus addresses beside a set of granules.
//!
//! Used by the property tests of the allocator and by the fuzz target `iommu`. [`iova_keeps_its_promises`] does any calls to
//! both: ranges are disjoint, within bounds and aligned, a refusal means that there is no place, and in the end everything
//! is back.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use scatterlist::map::iommu::{IovaAllocator, IovaError, IovaFreeError, IovaRange, IovaRequest};
use scatterlist::{Addr as _, BusAddr};

/// What is asked of the allocator.
#[derive(Clone, Debug)]
pub(crate) enum IovaCall {
    Alloc {
        bytes: u64,
        limit: u64,
        align: u64,
        boundary: u64,
    },
    /// Gives back one of those that are out, or once more one that came back.
    Free {
        which: usize,
        again: bool,
    },
    FlushCache,
}

/// The free granules as a set: whether some aligned place has room below the limit.
fn has_room(free: &BTreeSet<u64>, size: u64, align: u64, end: u64) -> bool {
    let starts = free.iter().filter(|start| **start % align == 0 && **start + size <= end);
    starts.into_iter().any(|start| (*start..start + size).all(|granule| free.contains(&granule)))
}

/// Makes an allocator of the granules from `first` on, and does all calls to it and to a set of granules.
pub(crate) fn iova_keeps_its_promises(granule: u64, first: u64, granules: u64, calls: &[IovaCall]) {
    let (lowest, last) = (first * granule, (first + granules) * granule - 1);
    let mut iova = IovaAllocator::new(granule, BusAddr::new(lowest), BusAddr::new(last)).unwrap();
    let whole: BTreeSet<u64> = (first..first + granules).collect();
    let mut free = whole.clone();
    let mut out: Vec<IovaRange> = Vec::new();
    let mut back: Vec<IovaRange> = Vec::new();
    for call in calls {
        match *call {
            IovaCall::Alloc { bytes, limit, align, boundary } => {
                let request = IovaRequest::new(bytes).limit(limit).align(align).boundary(boundary);
                let size = bytes.div_ceil(granule);
                let natural = size.next_power_of_two().max(align / granule);
                let end = limit.saturating_add(1) / granule;
                match iova.alloc(&request) {
                    Ok(range) => {
                        let (start, len) = (range.addr().raw(), range.len_bytes());
                        assert!(
                            len >= bytes
                                && len.is_multiple_of(granule)
                                && len <= (size * granule).next_power_of_two()
                        );
                        assert!(start >= lowest && start + (len - 1) <= last.min(limit));
                        assert!(start.is_multiple_of(natural * granule));
                        assert!(boundary == 0 || start / boundary == (start + len - 1) / boundary);
                        for granule in start / granule..(start + len) / granule {
                            assert!(free.remove(&granule), "{granule} was out already");
                        }
                        out.push(range);
                    }
                    Err(IovaError::Exhausted { largest_free, free: free_bytes, .. }) => {
                        assert!(!has_room(&free, size, natural, end), "{call:?} was refused");
                        assert_eq!(free_bytes, u64::try_from(free.len()).unwrap() * granule);
                        let fits = |order: &u32| has_room(&free, 1 << order, 1 << order, end);
                        let largest = (0..10).rev().find(fits).map_or(0, |order| granule << order);
                        assert_eq!(largest_free, largest);
                    }
                    Err(IovaError::Boundary { .. }) => assert!(boundary != 0 && size * granule > boundary),
                    Err(error) => panic!("{error}"),
                }
            }
            IovaCall::Free { which, again: false } if !out.is_empty() => {
                let range = out.swap_remove(which % out.len());
                iova.free(range).unwrap();
                let start = range.addr().raw();
                free.extend(start / granule..(start + range.len_bytes()) / granule);
                back.push(range);
            }
            IovaCall::Free { which, again: true } if !back.is_empty() => {
                let range = back[which % back.len()];
                let (addr, bytes) = (range.addr().raw(), range.len_bytes());
                assert_eq!(iova.free(range), Err(IovaFreeError::Twice { addr, bytes }));
            }
            IovaCall::Free { .. } => {}
            IovaCall::FlushCache => iova.flush_cache(),
        }
        assert_eq!(iova.bytes_free(), u64::try_from(free.len()).unwrap() * granule);
        assert_eq!(iova.bytes_free() + iova.bytes_out(), granules * granule);
        assert_eq!(iova.ranges_out(), u64::try_from(out.len()).unwrap());
    }
    for range in out {
        iova.free(range).unwrap();
    }
    // Everything came back: one range takes all that is aligned, granules take all.
    iova.flush_cache();
    for _ in 0..granules {
        iova.alloc(&IovaRequest::new(granule)).unwrap();
    }
    assert!(matches!(
        iova.alloc(&IovaRequest::new(1)),
        Err(IovaError::Exhausted { largest_free: 0, free: 0, .. })
    ));
}
