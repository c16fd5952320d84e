//! The program that QEMU boots.
//!
//! Everything it does is in the library; here is what cannot be: the entry, the functions that the compiler calls, the allocator and
//! the panic handler. Whatever goes wrong ends QEMU with a failure.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the first call from assembly, and the allocator's memory")]

extern crate alloc;

mod boot;
mod builtins;

use core::panic::PanicInfo;

use kernel::machine::{Exit, Machine, say};
use linked_list_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Called once by the entry: the start info of the loader, and where the image ends.
extern "C" fn kernel_main(start_info: u64, image_end: u64) -> ! {
    let give_heap = |start: *mut u8, len: usize| {
        // SAFETY: called once, with memory that is mapped for good and nobody else's.
        unsafe { HEAP.lock().init(start, len) };
    };
    // SAFETY: called once, on the only CPU, with the loader's start info, while the boot tables map 4 GiB one to one.
    let machine = match unsafe { Machine::start(start_info, image_end, give_heap) } {
        Ok(machine) => machine,
        Err(error) => fail(format_args!("the machine does not start: {error}")),
    };
    match kernel::scenario::run(machine) {
        Ok(()) => Exit::Passed.leave(),
        Err(error) => fail(format_args!("{error}")),
    }
}

fn fail(why: core::fmt::Arguments<'_>) -> ! {
    say!("FAILED {why}");
    Exit::Failed.leave()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail(format_args!("{info}"))
}
