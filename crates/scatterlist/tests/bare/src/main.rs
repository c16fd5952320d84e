//! Plans transfers without a standard library, checks the plans and says so.
//!
//! Without `alloc` a borrowed slice of segments is planned, a borrowed buffer mapped and its descriptors encoded; with it a chain, an appender and a completion behind
//! several requests. Exit status 0: all as it must be; 101: a panic; another number: the check that failed.
#![no_std]
#![no_main]
// Else the loops of `memory` would become calls of themselves.
#![no_builtins]

#[cfg(feature = "alloc")]
mod chain;
#[cfg(feature = "alloc")]
mod heap;
mod map;
mod memory;
mod slice;
mod system;

/// The number of the check that failed.
pub(crate) type Checked = Result<(), u8>;

/// Fails with `number` unless `good`.
pub(crate) const fn check(number: u8, good: bool) -> Checked {
    if good { Ok(()) } else { Err(number) }
}

/// Called by the start code, never again.
extern "C" fn run() -> ! {
    let checked = slice::check_all().and_then(|()| map::check_all());
    #[cfg(feature = "alloc")]
    let checked = checked.and_then(|()| chain::check_all());
    match checked {
        Ok(()) => {
            system::print(b"the core runs without std: ");
            system::print(if cfg!(feature = "alloc") {
                b"slices, mapping, chain, appender\n"
            } else {
                b"slices, mapping\n"
            });
            system::exit(0)
        }
        Err(number) => {
            system::print(b"a check failed; its number is the exit status\n");
            system::exit(number)
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    system::print(b"a panic\n");
    system::exit(101)
}
