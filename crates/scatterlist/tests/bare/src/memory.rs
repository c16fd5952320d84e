//! The functions that compiled code calls to copy, fill and compare memory, which a C library has elsewhere; and the
//! name of the function that would unwind, which nothing calls.
#![expect(unsafe_code, reason = "the functions are named and called by the compiler")]

/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    for at in 0..len {
        // SAFETY: `at` is below `len`.
        let byte = unsafe { from.add(at) };
        // SAFETY: readable, by the caller.
        let byte = unsafe { byte.read() };
        // SAFETY: `at` is below `len`.
        let place = unsafe { to.add(at) };
        // SAFETY: writable, by the caller.
        unsafe { place.write(byte) };
    }
    to
}

/// # Safety
/// `from` is readable and `to` writable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: as the caller's; bytes are read before they are overwritten, for the copy goes upwards.
        return unsafe { memcpy(to, from, len) };
    }
    for at in (0..len).rev() {
        // SAFETY: `at` is below `len`.
        let byte = unsafe { from.add(at) };
        // SAFETY: readable, by the caller.
        let byte = unsafe { byte.read() };
        // SAFETY: `at` is below `len`.
        let place = unsafe { to.add(at) };
        // SAFETY: writable, by the caller.
        unsafe { place.write(byte) };
    }
    to
}

/// # Safety
/// `to` is writable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let [byte, ..] = byte.to_le_bytes();
    for at in 0..len {
        // SAFETY: `at` is below `len`.
        let place = unsafe { to.add(at) };
        // SAFETY: writable, by the caller.
        unsafe { place.write(byte) };
    }
    to
}

/// # Safety
/// Both are readable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, two: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: `at` is below `len`.
        let first = unsafe { one.add(at) };
        // SAFETY: readable, by the caller.
        let first = unsafe { first.read() };
        // SAFETY: `at` is below `len`.
        let second = unsafe { two.add(at) };
        // SAFETY: readable, by the caller.
        let second = unsafe { second.read() };
        if first != second {
            return i32::from(first) - i32::from(second);
        }
    }
    0
}

/// # Safety
/// As [`memcmp`].
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, two: *const u8, len: usize) -> i32 {
    // SAFETY: as the caller's.
    unsafe { memcmp(one, two, len) }
}

/// The library `core` was built to unwind and names this; with `panic = "abort"` nobody calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
