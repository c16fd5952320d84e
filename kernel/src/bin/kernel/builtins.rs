//! The functions on memory that the compiler calls and that elsewhere a C library has.
//!
//! By string instructions, so that the compiler does not turn a loop into a call of the very function that it is in.
#![expect(unsafe_code, reason = "functions by raw pointers that the compiler calls")]

use core::arch::asm;
use core::ffi::c_int;

/// # Safety
/// As in C: both are valid for `len` bytes and do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C: both are valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's promise; copying upwards, no byte is overwritten before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    let last = len.wrapping_sub(1);
    // SAFETY: the caller's promise; `len` is not 0 here; downwards, and upwards again afterwards.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _, inout("rdi") to.wrapping_add(last) => _,
            inout("rsi") from.wrapping_add(last) => _, options(nostack));
    }
    to
}

/// # Safety
/// As in C: valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: c_int, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("eax") value,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C: both are valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    for index in 0..len {
        // SAFETY: the caller's promise: the index is below `len`.
        let a = unsafe { one.wrapping_add(index).read_volatile() };
        // SAFETY: as above.
        let b = unsafe { other.wrapping_add(index).read_volatile() };
        if a != b {
            return c_int::from(a).wrapping_sub(c_int::from(b));
        }
    }
    0
}

/// # Safety
/// As in C: both are valid for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { memcmp(one, other, len) }
}

/// The precompiled libraries name it, since they can unwind; this kernel cannot, and nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above: what a landing pad of the precompiled libraries would end with.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    super::fail(format_args!("a panic was to unwind"))
}
