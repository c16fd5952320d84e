//! The page pool as its users see it: slots, the seal, and what may outlive what; `classes` has slots
//! of several lengths, `kinds` the kinds of page, `contiguity` what is known of where pages lie.
#![expect(unsafe_code, reason = "an allocator that counts, the exported descriptor, and a ring")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod classes;
mod contiguity;
mod kinds;
mod nobody;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::thread;

use bulkio::pages::{PageKindRequest, PagePool, PoolError, PoolOptions, REGISTERED_LEN_MAX, Slot};
use io_uring::IoUring;
use rustix::fs::SealFlags;
use scatterlist::Addr;

const MIB: usize = 1 << 20;

fn pool(slot_len: usize, slots: usize, kind: PageKindRequest) -> PagePool {
    PagePool::new(PoolOptions::uniform(slot_len, slots).with_kind(kind)).unwrap()
}

fn refused(slot_len: usize, slots: usize, kind: PageKindRequest) -> PoolError {
    PagePool::new(PoolOptions::uniform(slot_len, slots).with_kind(kind)).unwrap_err()
}

fn take_all(pool: &PagePool) -> Vec<Slot> {
    std::iter::from_fn(|| pool.take()).collect()
}

fn page_len() -> usize {
    rustix::param::page_size()
}

fn skipped(name: &str, reason: &str) {
    eprintln!("SKIPPED {name}: {reason}");
    if let Some(path) = env::var_os("BULKIO_SKIP_LOG") {
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(log, "{name}: {reason}").unwrap();
    }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting the calls of each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn slots_run_out_and_come_back() {
    let pool = pool(page_len(), 4, PageKindRequest::Small);
    let mut slots = take_all(&pool);
    assert_eq!(slots.iter().map(Slot::index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((pool.slots(), pool.free_slots()), (4, 0));
    assert!(pool.take().is_none());
    drop(slots.remove(2));
    assert_eq!(pool.take().unwrap().index(), 2);
    drop(slots);
    assert_eq!(pool.free_slots(), 4);
}

#[test]
fn slots_are_aligned_disjoint_and_in_range() {
    let pool = pool(3 * page_len() - 7, 5, PageKindRequest::Auto);
    assert_eq!(pool.slot_len(), 3 * page_len());
    assert_eq!(pool.bytes(), 15 * page_len() as u64);
    let (start, len) = pool.range();
    assert_eq!(len, pool.bytes());
    for (index, slot) in take_all(&pool).iter().enumerate() {
        assert_eq!(slot.addr().raw() % page_len() as u64, 0);
        let offset = slot.addr().checked_offset_from(start).unwrap();
        assert_eq!(offset, (index * pool.slot_len()) as u64);
        assert_eq!(slot.as_slice().as_ptr(), slot.addr().as_ptr().cast_const());
        assert_eq!(slot.len(), pool.slot_len());
        assert!(!slot.is_empty());
    }
}

#[test]
fn contents_stay_in_their_slot() {
    let pool = pool(page_len(), 3, PageKindRequest::Small);
    let mut slots = take_all(&pool);
    assert!(slots.iter().all(|slot| slot.as_slice().iter().all(|&byte| byte == 0)));
    for (value, slot) in (1..).zip(&mut slots) {
        slot.as_mut_slice().fill(value);
    }
    for (value, slot) in (1..).zip(&slots) {
        assert!(slot.as_slice().iter().all(|&byte| byte == value));
    }
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let kind = PageKindRequest::Auto;
    assert_eq!(refused(0, 4, kind), PoolError::Empty { slot_len: 0, slots: 4 });
    assert_eq!(refused(1, 0, kind), PoolError::Empty { slot_len: 1, slots: 0 });
    let slot_len_max = REGISTERED_LEN_MAX;
    let slot_len = slot_len_max + 1;
    assert_eq!(refused(slot_len, 1, kind), PoolError::SlotTooLong { slot_len, slot_len_max });
    assert!(matches!(refused(usize::MAX, 1, kind), PoolError::SlotTooLong { .. }));
    assert!(matches!(refused(slot_len_max, usize::MAX, kind), PoolError::TooLarge { .. }));
    assert!(matches!(refused(slot_len_max, 1 << 33, kind), PoolError::TooLarge { .. }));
    // 1 PiB: more than any machine that runs this has.
    let error = refused(slot_len_max, 1 << 20, PageKindRequest::Small);
    assert!(matches!(error, PoolError::NotEnoughMemory { .. }), "{error}");
    assert!(error.to_string().contains("/proc/meminfo"), "{error}");
}

fn seals(pool: &PagePool) -> SealFlags {
    // SAFETY: the descriptor is asked for its seals and dropped; no byte is touched.
    let file = unsafe { pool.as_fd() };
    rustix::fs::fcntl_get_seals(file).unwrap()
}

#[test]
fn the_file_cannot_shrink_and_has_the_size_of_the_pool() {
    let pool = pool(3 * page_len(), 2, PageKindRequest::Small);
    assert!(seals(&pool).contains(SealFlags::SHRINK));
    // A device that speaks dma-buf refuses memory that is sealed against writing.
    assert!(!seals(&pool).intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE));
    // SAFETY: the file is asked for its size and told to shrink, which the seal forbids; no byte is touched.
    let file = unsafe { pool.as_fd() };
    assert_eq!(rustix::fs::ftruncate(file, 0), Err(rustix::io::Errno::PERM));
    assert_eq!(u64::try_from(rustix::fs::fstat(file).unwrap().st_size), Ok(pool.bytes()));
    assert!(rustix::io::fcntl_getfd(file).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_slot_outlives_its_pool_and_a_forgotten_slot_keeps_the_memory() {
    let pool = pool(page_len(), 2, PageKindRequest::Small);
    let mut kept = pool.take().unwrap();
    let lost = pool.take().unwrap();
    let lost_addr = lost.addr();
    std::mem::forget(lost);
    assert!(pool.take().is_none());
    drop(pool);
    kept.as_mut_slice().fill(9);
    assert!(kept.as_slice().iter().all(|&byte| byte == 9));
    drop(kept);
    assert!(mapping_flags(lost_addr.raw()).is_some(), "a forgotten slot may still be in flight");
}

#[test]
fn the_mapping_goes_with_the_last_slot_and_no_child_gets_it() {
    // A length that no other test uses, so that nothing else begins and ends where this does.
    let len = 17 * page_len();
    let pool = pool(len, 1, PageKindRequest::Small);
    let slot = pool.take().unwrap();
    let addr = slot.addr().raw();
    let entry = format!("{addr:x}-{:x} ", addr + len as u64);
    let is_mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains(&entry);
    drop(pool);
    assert!(is_mapped());
    let flags = mapping_flags(addr).unwrap();
    assert!(flags.split(' ').any(|flag| flag == "dc"), "MADV_DONTFORK is missing: {flags}");
    drop(slot);
    assert!(!is_mapped());
}

/// The `VmFlags` of the mapping that holds `addr`.
fn mapping_flags(addr: u64) -> Option<String> {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split_ascii_whitespace().next().and_then(|word| word.split_once('-'));
        if let Some((first, last)) = range {
            let bound = |text| u64::from_str_radix(text, 16).unwrap_or(0);
            inside = (bound(first)..bound(last)).contains(&addr);
        } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
            return Some(flags.to_owned());
        }
    }
    None
}

#[test]
fn taking_and_returning_allocate_nothing() {
    let pool = pool(page_len(), 64, PageKindRequest::Small);
    let mut held = Vec::with_capacity(64);
    let before = ALLOCATIONS.get();
    for _ in 0..3 {
        held.extend(std::iter::from_fn(|| pool.take()));
        held.clear();
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(pool.free_slots(), 64);
}

#[test]
fn threads_never_hold_the_same_slot() {
    let pool = Arc::new(pool(page_len(), 3, PageKindRequest::Small));
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for value in 1..=4_u8 {
            let (pool, start) = (Arc::clone(&pool), &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..500 {
                    let Some(mut slot) = pool.take() else { continue };
                    slot.as_mut_slice().fill(value);
                    thread::yield_now();
                    assert!(slot.as_slice().iter().all(|&byte| byte == value));
                    // Some are dropped on another thread.
                    if slot.index() == 0 {
                        scope.spawn(move || drop(slot));
                    }
                }
            });
        }
    });
    assert_eq!(pool.free_slots(), 3);
}

#[test]
fn a_small_pool_is_one_range() {
    let pool = pool(page_len(), 6, PageKindRequest::Small);
    let ranges: Vec<_> = pool.ranges().collect();
    assert_eq!(ranges.len(), 1);
    assert_eq!((ranges[0].addr, ranges[0].len), pool.range());
    assert_eq!(ranges[0].len, pool.range_len());
}

#[test]
fn a_ring_registers_the_ranges() {
    let pool = PagePool::new(PoolOptions::uniform(MIB, 5).and(page_len(), 8)).unwrap();
    let ring = match IoUring::new(2) {
        Ok(ring) => ring,
        Err(error) => return skipped("a_ring_registers_the_ranges", &format!("io_uring_setup: {error}")),
    };
    let buffers: Vec<_> = pool
        .ranges()
        .map(|range| libc::iovec {
            iov_base: range.addr.as_ptr().cast(),
            iov_len: usize::try_from(range.len).unwrap(),
        })
        .collect();
    // SAFETY: the memory is that of the pool, which outlives the registration; no request uses it.
    match unsafe { ring.submitter().register_buffers(&buffers) } {
        Ok(()) => ring.submitter().unregister_buffers().unwrap(),
        // Not root, and the limit on locked memory is small.
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
            skipped("a_ring_registers_the_ranges", &format!("IORING_REGISTER_BUFFERS: {error}"));
        }
        Err(error) => panic!("{error}"),
    }
}
