//! A call on a thread that gets signals all the time, with a handler that ends calls in the kernel.
#![expect(unsafe_code, reason = "installs a handler and sends signals to a thread")]

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

extern "C" fn nothing(_: libc::c_int) {}

/// Runs a call on a thread of its own, to which a signal is sent again and again until it returns.
pub(crate) fn while_signalled<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    // SAFETY: all zeroes is a valid record: no flags, so SA_RESTART is not among them.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which is safe at any time.
    let failed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) };
    assert_eq!(failed, 0);
    let over = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let over = &over;
        let worker = scope.spawn(move || {
            // SAFETY: takes nothing.
            tell.send(unsafe { libc::pthread_self() }).unwrap();
            let result = call();
            over.store(true, Ordering::SeqCst);
            // The thread is there as long as signals are sent to it.
            may_leave.recv().unwrap_err();
            result
        });
        let thread = told.recv().unwrap();
        while !over.load(Ordering::SeqCst) {
            // SAFETY: the thread waits for us before it ends.
            let failed = unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            assert_eq!(failed, 0);
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(leave);
        worker.join().unwrap()
    })
}
