//! The thread that waits for pipes, terminals and sockets to be ready, all at once, on behalf of the workers.
//!
//! It polls files by number and holds none of them: one that was closed after its job was cancelled is no longer
//! among those watched, and an answer about it finds no job.
#![expect(unsafe_code, reason = "poll(2) on descriptors that the jobs keep open")]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use scatterlist::Direction;

use super::super::backend::Act;
use super::pool::{Job, Pool};

/// The life of the watcher. It ends with the pool.
pub(super) fn watch(pool: &Arc<Pool>) {
    let (mut files, mut serials, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        files.clear();
        serials.clear();
        ready.clear();
        files.push(libc::pollfd { fd: pool.changed.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        let state = pool.lock();
        if state.stop {
            return;
        }
        for job in &state.watched {
            files.push(libc::pollfd { fd: job.operation.fd, events: events(job), revents: 0 });
            serials.push(job.serial);
        }
        drop(state);
        let count = libc::nfds_t::try_from(files.len()).unwrap_or(libc::nfds_t::MAX);
        // SAFETY: the records are valid for the call.
        let polled = unsafe { libc::poll(files.as_mut_ptr(), count, -1) };
        if polled <= 0 {
            // Signals are blocked here, so this is a lack of memory: it goes by.
            std::thread::yield_now();
            continue;
        }
        let Some((changed, watched)) = files.split_first() else { continue };
        if changed.revents != 0 {
            // It fails where the eventfd was read already.
            let _ = rustix::io::read(&pool.changed, &mut [0_u8; 8]);
        }
        // An error or a hang-up is an answer too: the call will say which.
        let answered = watched.iter().zip(&serials).filter(|(file, _)| file.revents != 0);
        ready.extend(answered.map(|(_, serial)| *serial));
        if !ready.is_empty() {
            pool.add_ready(pool.lock(), &ready);
        }
    }
}

const fn events(job: &Job) -> libc::c_short {
    match job.operation.act {
        Act::Transfer { direction: Direction::ToDevice, .. } | Act::Poll(Direction::ToDevice) => {
            libc::POLLOUT
        }
        _ => libc::POLLIN,
    }
}
