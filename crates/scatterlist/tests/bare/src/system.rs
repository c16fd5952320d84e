//! The start of the program and the two calls of Linux that it makes.
#![expect(unsafe_code, reason = "there is nothing below this but the kernel")]

use core::arch::{asm, global_asm};

// The kernel jumps here with the stack as it likes; `run` wants it as a call leaves it (System V ABI, 3.2.2 and 3.4.1).
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {run}", "ud2", run = sym crate::run);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x30, xzr", "b {run}", run = sym crate::run);

/// Writes to standard output, whatever becomes of it.
pub(crate) fn print(text: &[u8]) {
    // write(2).
    const WRITE: usize = if cfg!(target_arch = "x86_64") { 1 } else { 64 };
    // SAFETY: the call reads `text`, which is borrowed while it does.
    unsafe { call(WRITE, 1, text.as_ptr().addr(), text.len()) };
}

/// Ends the program.
pub(crate) fn exit(status: u8) -> ! {
    // exit_group(2).
    const EXIT_GROUP: usize = if cfg!(target_arch = "x86_64") { 231 } else { 94 };
    loop {
        // SAFETY: the call ends the process and touches no memory of it.
        unsafe { call(EXIT_GROUP, status.into(), 0, 0) };
    }
}

/// Calls the kernel; what it answers is not looked at.
///
/// # Safety
/// The arguments are what that call takes, and memory that they name lasts as long as the kernel uses it.
unsafe fn call(number: usize, first: usize, second: usize, third: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller answers for the call; it changes these registers and no others.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => _,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first => _,
            in("x1") second,
            in("x2") third,
            options(nostack),
        );
    }
}
