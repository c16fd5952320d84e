//! [`IovaAllocator`]: hands out ranges of bus addresses of a device behind an IOMMU.
//!
//! Whole granules, from the top down, each range on a multiple of its size rounded up to a power of two. So it crosses no
//! boundary that is at least as long, and pages of the largest size fit. Ranges of up to [`CACHED_GRANULES_MAX`] granules are rounded
//! up to a power of two and come back to a stack of their size, from which the next request takes them in a few
//! nanoseconds; longer ones go back to the free runs. When nothing fits, the stacks are emptied into the runs, and small requests are tried
//! unrounded; only then is it an error. Devices with a window above 4 GiB get addresses below it as long as there are any.
//!
//! One caller at a time (`&mut self`): a lock around it is the back end's business. Nothing here is a page table.

mod request;
mod runs;

use alloc::vec::Vec;

pub use self::request::{IovaError, IovaFreeError, IovaRequest};
use self::runs::Runs;
use super::{align_up, is_aligned};
use crate::{Addr, BusAddr};

/// Longest range that is cached, in granules.
pub const CACHED_GRANULES_MAX: u64 = 32;

/// Ranges of one size that are cached at most; more go back to the free runs.
pub const CACHED_RANGES_MAX: usize = 64;

/// Sizes that are cached: 1, 2, 4, ... up to [`CACHED_GRANULES_MAX`].
const CLASSES: usize = 6;
const _: () = assert!(1 << (CLASSES - 1) == CACHED_GRANULES_MAX);

/// Just past what one 32-bit address cycle reaches: addresses beyond cost more on PCI, and some devices get them wrong.
const LOW_END: u64 = 1 << 32;

/// A range that an [`IovaAllocator`] handed out. It may be copied; it is given back once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IovaRange {
    addr: u64,
    bytes: u64,
    slot: u32,
    /// Tells this range from earlier and later ones in the same slot.
    serial: u32,
}

impl IovaRange {
    /// Returns the first address.
    #[must_use]
    pub fn addr(&self) -> BusAddr {
        BusAddr::new(self.addr)
    }

    /// Returns the bytes: whole granules, at least what was asked.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.bytes
    }
}

/// One range, out or cached, in granules.
#[derive(Clone, Copy, Debug)]
struct Record {
    start: u64,
    len: u64,
    serial: u32,
    out: bool,
}

/// A range in a stack of its size.
#[derive(Clone, Copy, Debug)]
struct Cached {
    start: u64,
    slot: u32,
}

/// A request in granules.
#[derive(Clone, Copy)]
struct Ask {
    size: u64,
    align: u64,
    end: u64,
}

/// Hands out ranges of bus addresses.
#[derive(Debug)]
pub struct IovaAllocator {
    granule: u64,
    shift: u32,
    /// First granule past the window.
    end: u64,
    runs: Runs,
    cache: [Vec<Cached>; CLASSES],
    records: Vec<Record>,
    vacant: Vec<u32>,
    /// Granules in ranges that are out.
    out: u64,
    ranges: u64,
}

impl IovaAllocator {
    /// Hands out the whole granules between `lowest` and `highest` (inclusive). The last granule of the 64-bit space
    /// is left out, as the end of a range is an address.
    ///
    /// # Errors
    /// [`IovaError::NotPowerOfTwo`] unless `granule` is one of at least 2, [`IovaError::NoWindow`] if no granule lies between.
    pub fn new(granule: u64, lowest: BusAddr, highest: BusAddr) -> Result<Self, IovaError> {
        if !granule.is_power_of_two() || granule < 2 {
            return Err(IovaError::NotPowerOfTwo { what: "granule", value: granule, min: 2 });
        }
        let shift = granule.trailing_zeros();
        let (lowest, highest) = (lowest.raw(), highest.raw());
        let end = granules_below(highest, shift);
        let start = align_up(lowest, granule).map_or(u64::MAX, |start| start.wrapping_shr(shift));
        if start >= end {
            return Err(IovaError::NoWindow { lowest, highest, granule });
        }
        let mut runs = Runs::new();
        runs.give(start, end.saturating_sub(start));
        let cache = core::array::from_fn(|_| Vec::with_capacity(CACHED_RANGES_MAX));
        Ok(Self {
            granule,
            shift,
            end,
            runs,
            cache,
            records: Vec::new(),
            vacant: Vec::new(),
            out: 0,
            ranges: 0,
        })
    }

    /// Returns the granule in bytes.
    #[must_use]
    pub const fn granule(&self) -> u64 {
        self.granule
    }

    /// Returns the bytes in ranges that are out.
    #[must_use]
    pub const fn bytes_out(&self) -> u64 {
        self.bytes(self.out)
    }

    /// Returns how many ranges are out.
    #[must_use]
    pub const fn ranges_out(&self) -> u64 {
        self.ranges
    }

    /// Returns the free bytes, cached ones among them.
    #[must_use]
    pub fn bytes_free(&self) -> u64 {
        let cached = self.cache.iter().zip(0_u32..).fold(0_u64, |sum, (stack, class)| {
            let count = u64::try_from(stack.len()).unwrap_or(u64::MAX);
            sum.saturating_add(count.wrapping_shl(class))
        });
        self.bytes(self.runs.free().saturating_add(cached))
    }

    /// Hands out a range.
    ///
    /// # Errors
    /// [`IovaError`]: the request is none ([`IovaError::Empty`], [`IovaError::NotPowerOfTwo`], [`IovaError::Boundary`]), or nothing fits
    /// ([`IovaError::Exhausted`]).
    #[inline]
    pub fn alloc(&mut self, request: &IovaRequest) -> Result<IovaRange, IovaError> {
        let ask = self.ask(request)?;
        if let Some(range) = self.pop(ask) {
            return Ok(range);
        }
        self.alloc_uncached(ask, request)
    }

    /// Takes a range back.
    ///
    /// # Errors
    /// [`IovaFreeError`] if the range is not out: given back already, or not of this allocator.
    #[inline]
    pub fn free(&mut self, range: IovaRange) -> Result<(), IovaFreeError> {
        let IovaRange { addr, bytes, slot, serial } = range;
        let start = addr.wrapping_shr(self.shift);
        let len = bytes.wrapping_shr(self.shift);
        let record = usize::try_from(slot).ok().and_then(|slot| self.records.get_mut(slot));
        let Some(record) = record else { return Err(IovaFreeError::Unknown { addr, bytes }) };
        if !record.out || record.serial != serial || record.start != start || record.len != len {
            return Err(refuse(record, &range));
        }
        record.out = false;
        self.out = self.out.wrapping_sub(len);
        self.ranges = self.ranges.wrapping_sub(1);
        if let Some(stack) = class(len).and_then(|class| self.cache.get_mut(class))
            && stack.len() < CACHED_RANGES_MAX
        {
            stack.push(Cached { start, slot });
            return Ok(());
        }
        self.runs.give(start, len);
        self.vacant.push(slot);
        Ok(())
    }

    /// Gives everything that is cached back to the free runs. An exhausted allocator does so by itself.
    pub fn flush_cache(&mut self) {
        for (stack, class) in self.cache.iter_mut().zip(0_u32..) {
            for cached in stack.drain(..) {
                self.runs.give(cached.start, 1_u64.wrapping_shl(class));
                self.vacant.push(cached.slot);
            }
        }
    }

    const fn bytes(&self, granules: u64) -> u64 {
        granules.wrapping_shl(self.shift)
    }

    #[inline]
    fn ask(&self, request: &IovaRequest) -> Result<Ask, IovaError> {
        let &IovaRequest { bytes, limit, align, boundary } = request;
        if bytes == 0 {
            return Err(IovaError::Empty);
        }
        if !align.is_power_of_two() {
            return Err(IovaError::NotPowerOfTwo { what: "align", value: align, min: 1 });
        }
        // Rounding up as granules cannot pass 64 bits.
        let size = bytes.wrapping_sub(1).wrapping_shr(self.shift).wrapping_add(1);
        if boundary != 0 {
            if !boundary.is_power_of_two() {
                return Err(IovaError::NotPowerOfTwo { what: "boundary", value: boundary, min: 1 });
            }
            // A range on a multiple of its size, rounded up to a power of two, crosses nothing that is as long.
            if boundary.wrapping_shr(self.shift) < size {
                return Err(IovaError::Boundary { bytes: size.saturating_mul(self.granule), boundary });
            }
        }
        // Past half of the space there is no power of two, and nothing that long is ever free.
        let natural = size.checked_next_power_of_two().unwrap_or(1 << 63);
        let align = natural.max(align.wrapping_shr(self.shift));
        let end = granules_below(limit, self.shift).min(self.end);
        Ok(Ask { size, align, end })
    }

    /// Takes a range from the stack of its size: the last one given back that suits the request.
    #[inline]
    fn pop(&mut self, ask: Ask) -> Option<IovaRange> {
        let size = ask.size.checked_next_power_of_two()?;
        let stack = self.cache.get_mut(class(size)?)?;
        let suits = |cached: &Cached| {
            cached.start.wrapping_add(size) <= ask.end && is_aligned(cached.start, ask.align)
        };
        // The last one nearly always suits.
        let index = stack.iter().rposition(suits)?;
        let cached = stack.swap_remove(index);
        let record = usize::try_from(cached.slot).ok().and_then(|slot| self.records.get_mut(slot))?;
        record.serial = record.serial.wrapping_add(1);
        record.out = true;
        let serial = record.serial;
        self.out = self.out.wrapping_add(size);
        self.ranges = self.ranges.wrapping_add(1);
        Some(IovaRange { addr: self.bytes(cached.start), bytes: self.bytes(size), slot: cached.slot, serial })
    }

    #[cold]
    fn alloc_uncached(&mut self, ask: Ask, request: &IovaRequest) -> Result<IovaRange, IovaError> {
        let rounded = match ask.size.checked_next_power_of_two() {
            Some(size) if size <= CACHED_GRANULES_MAX => Ask { size, ..ask },
            _ => ask,
        };
        let mut found = self.take(rounded);
        if found.is_none() && self.cache.iter().any(|stack| !stack.is_empty()) {
            self.flush_cache();
            found = self.take(rounded);
        }
        let found = found.or_else(|| if rounded.size == ask.size { None } else { self.take(ask) });
        let Some((start, len)) = found else {
            return Err(IovaError::Exhausted {
                bytes: ask.size.saturating_mul(self.granule),
                align: ask.align.saturating_mul(self.granule),
                limit: request.limit,
                largest_free: self.bytes(self.runs.largest_block(ask.end)),
                free: self.bytes(self.runs.free()),
            });
        };
        self.hand_out(start, len)
    }

    /// Looks below 4 GiB first.
    fn take(&mut self, ask: Ask) -> Option<(u64, u64)> {
        let Ask { size, align, end } = ask;
        let low = LOW_END.wrapping_shr(self.shift);
        let below = if end > low { self.runs.take(size, align, low) } else { None };
        let start = below.or_else(|| self.runs.take(size, align, end))?;
        Some((start, size))
    }

    /// Makes or reuses a record.
    fn hand_out(&mut self, start: u64, len: u64) -> Result<IovaRange, IovaError> {
        let mut record = Record { start, len, serial: 0, out: true };
        let slot = if let Some(slot) = self.vacant.pop() {
            if let Some(old) = usize::try_from(slot).ok().and_then(|slot| self.records.get_mut(slot)) {
                record.serial = old.serial.wrapping_add(1);
                *old = record;
            }
            slot
        } else {
            let Ok(slot) = u32::try_from(self.records.len()) else {
                self.runs.give(start, len);
                return Err(IovaError::TooManyRanges { ranges: self.ranges });
            };
            self.records.push(record);
            slot
        };
        self.out = self.out.saturating_add(len);
        self.ranges = self.ranges.saturating_add(1);
        Ok(IovaRange { addr: self.bytes(start), bytes: self.bytes(len), slot, serial: record.serial })
    }
}

/// The granules that end at or below `limit` (inclusive).
#[inline]
const fn granules_below(limit: u64, shift: u32) -> u64 {
    limit.saturating_add(1).wrapping_shr(shift)
}

/// The stack for ranges of `len` granules.
#[inline]
fn class(len: u64) -> Option<usize> {
    if len.is_power_of_two() && len <= CACHED_GRANULES_MAX {
        usize::try_from(len.trailing_zeros()).ok()
    } else {
        None
    }
}

#[cold]
fn refuse(record: &Record, range: &IovaRange) -> IovaFreeError {
    let &IovaRange { addr, bytes, serial, .. } = range;
    // Serial numbers only grow, so an earlier one was handed out once, and came back.
    let earlier = record.serial.wrapping_sub(serial) < 1 << 31;
    let here = record.serial != serial || (!record.out);
    if earlier && here {
        IovaFreeError::Twice { addr, bytes }
    } else {
        IovaFreeError::Unknown { addr, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use std::vec;

    fn window(lowest: u64, highest: u64) -> IovaAllocator {
        IovaAllocator::new(4096, BusAddr::new(lowest), BusAddr::new(highest)).unwrap()
    }

    #[test]
    fn top_down_on_a_multiple_of_the_size() {
        let mut iova = window(0x1000, 0xffff_ffff);
        let at = |iova: &mut IovaAllocator, granules: u64| {
            iova.alloc(&IovaRequest::new(granules * 4096)).unwrap().addr().raw()
        };
        assert_eq!(at(&mut iova, 16), 0xffff_0000);
        assert_eq!(at(&mut iova, 1), 0xfffe_f000);
        assert_eq!(at(&mut iova, 64), 0xfff8_0000);
        assert_eq!(at(&mut iova, 100), 0xfff0_0000);
    }

    #[test]
    fn addresses_above_4_gib_come_last() {
        let mut iova = window(0xffff_e000, u64::MAX);
        let low: Vec<u64> = (0..3).map(|_| iova.alloc(&IovaRequest::new(1)).unwrap().addr().raw()).collect();
        assert_eq!(low, vec![0xffff_f000, 0xffff_e000, 0xffff_ffff_ffff_e000]);
    }

    #[test]
    fn a_device_with_a_low_limit_gets_no_cached_range_above_it() {
        let mut iova = window(0x1000, 0xffff_ffff);
        let high = iova.alloc(&IovaRequest::new(4096)).unwrap();
        iova.free(high).unwrap();
        let low = iova.alloc(&IovaRequest::new(4096).limit(0x00ff_ffff)).unwrap();
        assert_eq!(low.addr().raw(), 0x00ff_f000);
        assert_eq!(iova.alloc(&IovaRequest::new(4096)).unwrap().addr(), high.addr());
    }

    #[test]
    fn a_range_comes_back_once() {
        let mut iova = window(0x1000, 0xffff_ffff);
        for bytes in [4096, 64 * 4096] {
            let range = iova.alloc(&IovaRequest::new(bytes)).unwrap();
            iova.free(range).unwrap();
            let (addr, bytes) = (range.addr().raw(), range.len_bytes());
            assert_eq!(iova.free(range), Err(IovaFreeError::Twice { addr, bytes }));
            // The next owner of the same addresses is safe from the old one.
            let next = iova.alloc(&IovaRequest::new(bytes)).unwrap();
            assert_eq!(next.addr(), range.addr());
            assert_eq!(iova.free(range), Err(IovaFreeError::Twice { addr, bytes }));
            iova.free(next).unwrap();
        }
        assert_eq!((iova.ranges_out(), iova.bytes_out()), (0, 0));
        let foreign = window(0, 0xffff).alloc(&IovaRequest::new(8192)).unwrap();
        let error = window(0, 0xffff).free(foreign).unwrap_err();
        assert_eq!(error.to_string(), "8192 bytes at bus address 0xe000 were never handed out here");
    }

    #[test]
    fn exhaustion_empties_the_cache_first_and_then_tells_numbers() {
        let mut iova = window(0, 0xffff);
        let ranges: Vec<IovaRange> = (0..16).map(|_| iova.alloc(&IovaRequest::new(4096)).unwrap()).collect();
        let full = iova.alloc(&IovaRequest::new(8192).limit(0x7fff)).unwrap_err();
        assert_eq!(
            full.to_string(),
            "no 8192 bytes of bus addresses at a multiple of 8192 up to 0x7fff: the largest aligned block free there is \
             0 bytes, of 0 free in all"
        );
        for range in ranges {
            iova.free(range).unwrap();
        }
        assert_eq!(iova.bytes_free(), 65536);
        let whole = iova.alloc(&IovaRequest::new(65536)).unwrap();
        assert_eq!(whole.addr().raw(), 0);
    }

    #[test]
    fn rounding_never_makes_a_request_fail() {
        let mut iova = window(0, 0x6fff);
        iova.alloc(&IovaRequest::new(4 * 4096)).unwrap();
        let range = iova.alloc(&IovaRequest::new(3 * 4096)).unwrap();
        assert_eq!((range.addr().raw(), range.len_bytes()), (0x4000, 3 * 4096));
        iova.free(range).unwrap();
        assert_eq!(iova.bytes_free(), 3 * 4096);
    }

    #[test]
    fn bad_requests_tell_numbers() {
        let error = |granule, low, high| {
            IovaAllocator::new(granule, BusAddr::new(low), BusAddr::new(high)).unwrap_err().to_string()
        };
        assert_eq!(error(4095, 0, 9), "granule is 4095, it must be a power of two of at least 2");
        assert_eq!(error(4096, 1, 8190), "addresses 0x1 to 0x1ffe hold no whole granule of 4096 bytes");
        let mut iova = window(0x1000, u64::MAX);
        let mut error = |request: IovaRequest| iova.alloc(&request).unwrap_err().to_string();
        assert_eq!(error(IovaRequest::new(0)), "0 bytes of bus addresses were asked for");
        assert_eq!(
            error(IovaRequest::new(1).align(3)),
            "align is 3, it must be a power of two of at least 1"
        );
        assert_eq!(
            error(IovaRequest::new(4097).boundary(4096)),
            "8192 bytes, in whole granules, always cross a multiple of 4096"
        );
        assert!(error(IovaRequest::new(u64::MAX)).contains("no 18446744073709551615 bytes"));
        assert!(error(IovaRequest::new(1).align(1 << 63).limit(1 << 62)).contains("9223372036854775808"));
    }
}
