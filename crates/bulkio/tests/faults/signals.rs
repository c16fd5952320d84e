//! What a signal does to a call that waits for a device: the kernel asks the device to give up, and waits for its answer.
#![expect(unsafe_code, reason = "sends signals to a thread, reads into raw memory")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

use crate::faulty::{Answer, Rule};
use crate::or_skip;
use crate::support::{content, files};

extern "C" fn nothing(_: libc::c_int) {}

#[test]
fn an_interrupted_call_ends_when_the_device_says_so() {
    const NAME: &str = "signals::an_interrupted_call_ends_when_the_device_says_so";
    let fs = or_skip!(NAME, files(4096));
    // SAFETY: all zero is a valid action: no flags, so that calls are interrupted, and no mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) }, 0);
    for gives_up in [true, false] {
        let file = fs.file(0);
        file.on_interrupt(gives_up.then_some(libc::EINTR));
        file.add(Rule::reads().hold());
        let fd = file.open(libc::O_RDONLY);
        let (sender, threads) = mpsc::channel();
        let reader = thread::spawn(move || {
            // SAFETY: no conditions.
            sender.send(unsafe { libc::pthread_self() }).unwrap();
            let mut bytes = vec![0_u8; 4096];
            // SAFETY: as long as the vector.
            let read = unsafe { libc::pread(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), 4096, 0) };
            if read < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap()) } else { Ok(bytes) }
        });
        let thread = threads.recv().unwrap();
        file.wait_held(1);
        // SAFETY: the thread is joined below.
        assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0);
        file.wait_seen(|seen| seen.interrupted);
        if gives_up {
            assert_eq!(reader.join().unwrap(), Err(libc::EINTR));
            file.open_gate();
        } else {
            assert_eq!(file.held(), 1);
            file.open_gate();
            assert!(reader.join().unwrap() == Ok(content(4096)));
        }
        let seen = file.take_seen();
        let answer = if gives_up { Answer::Errno(libc::EINTR) } else { Answer::Bytes(4096) };
        assert_eq!((seen.len(), seen[0].answer), (1, answer));
    }
}
