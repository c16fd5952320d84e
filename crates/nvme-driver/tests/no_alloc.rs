//! The data path allocates nothing: counted by a global allocator of this test's own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "an allocator that counts, and a controller that reaches the heap")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use nvme_driver::fake::{FakeController, HeapBus, Setup};
use nvme_driver::{Controller, DataFormat, Finished, Options};
use scatterlist::map::{Direct, HeapMemory, Offset};
use scatterlist::{Addr as _, CpuAddr, Direction, Lease, Limits, Position, Request, ScatterList, Segment};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The thread may be at its end; what it allocates then is not what is measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and returns how often it allocated.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let value = work();
    (ALLOCATIONS.get() - before, value)
}

/// Pages of one arena, every other one.
fn list(arena: &[u8], first: usize, pages: usize) -> ScatterList<CpuAddr> {
    let base = CpuAddr::from_ptr(arena.as_ptr()).raw().next_multiple_of(4096);
    let page = |index: usize| CpuAddr::new(base + u64::try_from(first + 2 * index).unwrap() * 4096);
    ScatterList::from_segments((0..pages).map(|index| Segment::new(page(index), 4096).unwrap())).unwrap()
}

#[test]
fn the_data_path_allocates_nothing() {
    let arena = vec![0_u8; 4096 * 400];
    let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
    for format in [DataFormat::Prp, DataFormat::Sgl] {
        // SAFETY: the driver is the only one who tells the controller of memory, and polls on this thread.
        let fake = &FakeController::new(unsafe { HeapBus::new() }, Setup::default());
        let options = Options { format, ..Options::default() };
        // SAFETY: the heap is what both see, and nobody else drives it.
        let mut controller =
            unsafe { Controller::<_, _, _, (), ()>::new(fake, fake, device, options) }.unwrap();
        let (spaces, queues) = controller.parts_mut();
        let (space, queue) = (&spaces[0], &mut queues[0]);
        let mut requests = Vec::with_capacity(16);
        for index in 0..16 {
            let list = list(&arena, index * 20, 1 + index % 4);
            // SAFETY: the arena outlives the controller, and nobody looks at it.
            let lease = unsafe { Lease::from_raw(list, ()) };
            requests.push(Request::new(lease, Direction::FromDevice, Position::At(0), ()));
        }
        for round in 0..10 {
            let (count, ()) = allocations(|| {
                for request in requests.drain(..) {
                    queue.submit(space, request).unwrap();
                }
                queue.submit_flush(space, ()).unwrap();
                queue.submit_write_zeroes(space, 0, 4096, ()).unwrap();
                queue.submit_deallocate(space, &[0..512, 1024..4096], ()).unwrap();
                queue.ring();
            });
            assert_eq!(count, 0, "submitting, {format:?}, round {round}");
            assert_eq!(fake.run(), 19);
            let (count, polled) = allocations(|| {
                queue.poll(|done| match done.finished {
                    Finished::Transfer(request) => requests.push(request),
                    Finished::Control(..) => {}
                })
            });
            assert_eq!((count, polled), (0, Ok(19)), "polling, {format:?}, round {round}");
        }
        drop(requests);
        drop(controller);
        assert_eq!(fake.complaints(), Vec::<String>::new());
    }
    drop(arena);
}
