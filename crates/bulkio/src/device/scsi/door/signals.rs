//! [`NoSignals`]: keeps signals from a thread for the time of a call.
//!
//! `SG_IO` of `/dev/sg` returns when a signal comes, and leaves its command running (`sg_ioctl_common` of `drivers/scsi/sg.c`): the device
//! would write to memory that is somebody else's by then.
#![expect(unsafe_code, reason = "changes the signal mask of its thread")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;

/// While there is one, the thread takes no signal but SIGKILL and SIGSTOP.
///
/// # Invariants
/// 1. `before` is the mask that the thread had; a `NoSignals` is dropped by the thread that made it.
pub(super) struct NoSignals {
    before: libc::sigset_t,
    of_one_thread: PhantomData<*const ()>,
}

impl NoSignals {
    pub(super) fn new() -> Result<Self, Errno> {
        let mut all = MaybeUninit::uninit();
        // SAFETY: the set is valid for writes.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        let mut before = MaybeUninit::uninit();
        // SAFETY: the first set was filled above; the second is valid for writes.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        if failed != 0 {
            return Err(Errno::from_raw_os_error(failed));
        }
        // SAFETY: the call filled it, since it succeeded.
        let before = unsafe { before.assume_init() };
        Ok(Self { before, of_one_thread: PhantomData })
    }
}

impl Drop for NoSignals {
    fn drop(&mut self) {
        // SAFETY: (1): a valid set; no second one is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: libc::c_int) -> bool {
        let mut now = MaybeUninit::uninit();
        // SAFETY: no new mask is given; the place is valid for writes.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr()) };
        assert_eq!(failed, 0);
        // SAFETY: filled by the call above.
        unsafe { libc::sigismember(now.as_ptr(), signal) == 1 }
    }

    #[test]
    fn signals_are_back_afterwards() {
        assert!(!blocked(libc::SIGINT));
        let quiet = NoSignals::new().unwrap();
        assert!(blocked(libc::SIGINT) && blocked(libc::SIGALRM));
        drop(quiet);
        assert!(!blocked(libc::SIGINT));
    }
}
