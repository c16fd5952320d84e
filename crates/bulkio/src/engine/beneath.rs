//! Native AIO beneath a ring, for disks that cannot say "later" (`RWF_NOWAIT`).
//!
//! A ring hands each of their transfers to a thread of the kernel; `io_submit` starts it in line, as the disk is built to
//! be used, for less time on the processor. While native AIO has operations it is the place to wait; what the ring
//! has ends that wait through an eventfd. Laid beneath [`Uring`](super::uring::Uring) when the first such file comes.

use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, cqueue, squeue};

use super::aio::Queue;
use super::wake::Bell;

#[derive(Debug)]
pub(super) struct Beneath {
    pub(super) queue: Queue,
    /// Its eventfd is written to for each result of the ring, once `announced`.
    bell: Bell,
    announced: bool,
}

impl Beneath {
    /// Makes native AIO for `depth` operations ready, or says why it is not to be had.
    pub(super) fn new(depth: u32) -> Result<Self, String> {
        let bell = Bell::new().map_err(|errno| {
            format!("making an eventfd failed: {errno}; too many files may be open (ulimit -n)")
        })?;
        Ok(Self { queue: Queue::new(depth)?, bell, announced: false })
    }

    /// Lets results that the ring has from now on end the sleep of the queue.
    ///
    /// The other way round, every operation of the queue would have to write to an eventfd.
    pub(super) fn announce<S, C>(&mut self, ring: &IoUring<S, C>) -> Result<(), u32>
    where
        S: squeue::EntryMarker,
        C: cqueue::EntryMarker,
    {
        if !self.announced {
            let registered = ring.submitter().register_eventfd(self.bell.as_fd().as_raw_fd());
            registered.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs())?;
            self.announced = true;
        }
        if self.queue.watches() {
            return Ok(());
        }
        // Of results that were taken already.
        self.bell.quiet();
        self.queue.watch(&self.bell)
    }

    /// Makes the eventfd unready again, once its watch has ended.
    pub(super) fn quiet(&self) {
        self.bell.quiet();
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "pushes a poll, which names no memory")]
mod tests {
    use std::time::Duration;

    use io_uring::{Builder, opcode, types::Fd};
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::super::backend::Woken;
    use super::*;

    /// What nobody writes to for longer than this is not going to be written to.
    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    fn ring(with: impl Fn(&mut Builder) -> &mut Builder) -> Option<IoUring> {
        let mut builder = IoUring::builder();
        with(&mut builder);
        builder.build(8).ok()
    }

    #[test]
    fn a_result_of_the_ring_ends_the_sleep_of_the_queue() {
        // Rings that are not to be had here are left out; one of these is what engines get.
        let deferred =
            ring(|builder| builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag());
        let rings = [
            deferred,
            ring(|builder| builder.setup_coop_taskrun().setup_taskrun_flag()),
            ring(|builder| builder),
        ];
        for mut ring in rings.into_iter().flatten() {
            let Ok(mut beneath) = Beneath::new(4) else { return };
            for round in 0..3 {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                let poll = opcode::PollAdd::new(Fd(reader.as_raw_fd()), 1).build().user_data(round);
                beneath.announce(&ring).unwrap();
                // SAFETY: a poll names no memory, and the file stays open until it has a result.
                unsafe { ring.submission().push(&poll) }.unwrap();
                ring.submit().unwrap();
                let thread = std::thread::spawn(move || rustix::io::write(&writer, b"x").map(|_| writer));
                let woken = beneath.queue.sleep(LONG).unwrap();
                assert_ne!(woken, Woken::TimedOut);
                // Work that is deferred is done when the kernel is entered.
                ring.submit().unwrap();
                let keys: Vec<u64> = ring.completion().map(|entry| entry.user_data()).collect();
                assert_eq!(keys, [round]);
                thread.join().unwrap().unwrap();
                let mut none = Vec::new();
                if beneath.queue.reap(&mut none) {
                    beneath.quiet();
                }
                assert_eq!(none, []);
            }
        }
    }
}
