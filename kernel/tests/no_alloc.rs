//! The data path of the virtio driver allocates nothing for requests of up to four segments: counted by a global allocator of
//! this test's own, from the submit to the request that comes back. One notification for all of them.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "an allocator that counts, and a device that reaches memory")]

mod common;
#[path = "virtio_blk/device.rs"]
mod device;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{LOW, Memory, Ram, Ticks, runs};
use device::{Disk, Setup};
use kernel::block::BlockDevice as _;
use kernel::driver::virtio_blk::{Options, VirtioBlk};
use scatterlist::fake::{DeviceMemory as _, FakeOwner};
use scatterlist::map::{Direct, Offset};
use scatterlist::{Addr as _, Direction, Limits, Outcome, PhysAddr, Position, Request};

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

/// Memory that a device reaches without a bus that takes notes.
struct Bare<'m>(&'m Memory);

impl Ram for Bare<'_> {
    fn get(&self, addr: u64, into: &mut [u8]) -> bool {
        // SAFETY: the driver says only what is in flight or coherent; all is of one thread.
        unsafe { self.0.device_read(PhysAddr::new(addr), into) }
    }

    fn put(&self, addr: u64, from: &[u8]) -> bool {
        // SAFETY: as above.
        unsafe { self.0.device_write(PhysAddr::new(addr), from) }
    }
}

#[test]
fn the_data_path_of_the_virtio_driver_allocates_nothing() {
    let memory = common::memory();
    let device = &Direct::new(&memory, Offset::NONE, &Limits::default()).unwrap();
    for options in [Options::default(), Options { indirect: false, ..Options::default() }] {
        let disk = Disk::new(Bare(&memory), Setup::default());
        // SAFETY: the disk reaches the memory that the device is of.
        let driver = unsafe { VirtioBlk::new(&disk, Ticks::default(), device, options) };
        let mut driver: VirtioBlk<_, _, _, FakeOwner, ()> = driver.unwrap();
        for round in 0..50_u64 {
            let mut requests = Vec::new();
            for slot in 0..8 {
                let lease = runs(&memory, LOW + (1 << 20) + slot * (64 << 10), 8192, 4096, 1 + slot % 4);
                let direction = if round % 2 == 0 { Direction::FromDevice } else { Direction::ToDevice };
                requests.push(Request::new(lease, direction, Position::At(slot * 16384), ()));
            }
            let mut back = Vec::with_capacity(8);
            let before = (ALLOCATIONS.get(), disk.notified());
            for request in requests {
                driver.submit(request).unwrap();
            }
            driver.kick();
            let submitted = ALLOCATIONS.get() - before.0;
            disk.run(8);
            let between = ALLOCATIONS.get();
            driver.poll_with(&mut |request, outcome| back.push((request, outcome))).unwrap();
            let polled = ALLOCATIONS.get() - between;
            // The pool allocates its slabs in the first round.
            if round > 0 {
                assert_eq!((submitted, polled), (0, 0), "round {round}");
            }
            assert_eq!((back.len(), disk.notified() - before.1), (8, 1));
            assert!(back.iter().all(|(request, outcome)| *outcome == Outcome::whole(request.len_bytes())));
        }
    }
}
