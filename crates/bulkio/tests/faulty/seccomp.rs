//! System calls that this process may not make any more, as in a container: they fail with `EPERM`.
//!
//! There is no way back, so use it in a [`Child`](super::child::Child).
#![expect(unsafe_code, reason = "the filter is given by address")]

/// A family of system calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// `io_uring_setup`.
    Uring,
    /// `io_setup`.
    Aio,
}

impl Family {
    const fn number(self) -> i64 {
        match self {
            Self::Uring => libc::SYS_io_uring_setup,
            Self::Aio => libc::SYS_io_setup,
        }
    }
}

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Forbids families of system calls to this thread and those that it starts from now on.
///
/// # Errors
/// That no filter can be set here.
pub fn refuse(families: &[Family]) -> Result<(), String> {
    // The number of the call is the first word of `struct seccomp_data` (seccomp(2)). The architecture is not looked
    // at: nobody here wants to get around it.
    let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for family in families {
        let number = u32::try_from(family.number()).map_err(|error| error.to_string())?;
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number));
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
        filter.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, refuse));
    }
    filter.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let len = u16::try_from(filter.len()).map_err(|error| error.to_string())?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let failed = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    // SAFETY: takes no memory.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return failed("no_new_privs");
    }
    // SAFETY: the program and its steps are valid for the call, which copies them.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } != 0 {
        return failed("no filter of system calls");
    }
    Ok(())
}
