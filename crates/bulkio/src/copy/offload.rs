//! Offload: a file is copied by its file system, and no byte comes here.
//!
//! First the blocks of the whole file are shared (`FICLONE`), then the kernel copies the parts (`copy_file_range`), which on some file systems shares blocks
//! as well, without saying so. What neither takes is read and written as always, and a note says why. Bytes that went this way are counted by no side: they are in
//! [`OffloadReport`].

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::fan::Peer;
use super::options::{CopyOptions, Observer, Phase};
use super::pipeline::Pipeline;
use super::pipeline::feed::Feed;
use super::{CopyError, Sparse};
use crate::device::{Class, Device, DirectMode};

/// Whether the kernel is asked to copy by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offload {
    /// No.
    #[default]
    Never,
    /// From file to file; where it refuses, bytes move as always, and a note says why.
    Try,
}

/// How a file system copied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OffloadKind {
    /// Both files share their blocks until one of them is written to.
    Reflink,
    /// The kernel copied; it may have shared blocks, which it does not tell.
    InKernel,
}

impl OffloadKind {
    /// Returns the stable name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::InKernel => "in_kernel",
        }
    }
}

/// What went without this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct OffloadReport {
    /// How.
    pub kind: OffloadKind,
    /// Bytes of the range.
    pub bytes: u64,
}

/// The most that one call copies, in bytes: a stop is heard between two.
const STEP_LEN: u64 = 64 << 20;

/// Says why a copy is not offloaded; `None` where it may be.
fn refused(source: &dyn Device, destination: &dyn Device, options: &CopyOptions) -> Option<&'static str> {
    let is_file = |device: &dyn Device| device.class() == Class::File && !device.is_stream();
    if !is_file(source) || !is_file(destination) {
        return Some("both ends must be regular files that state their length");
    }
    let reasons = [
        (options.hash.is_some(), "--hash needs the bytes here"),
        (options.verify, "--verify needs the bytes here"),
        (options.rescue.wanted(), "going around bad blocks needs reads of its own"),
        (options.direct == DirectMode::Require, "--direct require is about reads and writes"),
        (
            options.sparse == Sparse::Never,
            "--sparse never wants everything written, and a file system may keep holes",
        ),
        (options.sparse == Sparse::Always, "--sparse always needs the bytes here"),
    ];
    reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

/// How far the file system is asked.
#[derive(Debug, Default)]
pub(super) struct Offloading {
    wanted: bool,
    /// The whole of the source is wanted at the start of an empty destination.
    whole: bool,
    done: Option<OffloadReport>,
}

impl Offloading {
    /// Says whether the destination needs no space yet: the file system shares it, or takes it itself.
    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) const fn report(&self) -> Option<OffloadReport> {
        self.done
    }

    pub(super) fn bytes(&self) -> u64 {
        self.done.map_or(0, |done| done.bytes)
    }
}

impl Pipeline<'_> {
    /// Finds out whether the kernel is to be asked, and puts down why not.
    pub(super) fn plan_offload(&mut self, options: &CopyOptions) {
        if options.offload == Offload::Never {
            return;
        }
        let source = &*self.ends.source;
        if let Some(why) = refused(source, &*self.ends.destinations.first().device, options) {
            self.state.notes.push(format!("nothing was offloaded: {why}"));
            return;
        }
        let whole = options.skip == 0 && options.seek == 0 && options.truncate;
        self.offload.wanted = true;
        self.offload.whole = whole && source.len_bytes() == self.state.len;
    }

    /// Shares the blocks of the whole source, where that is what is wanted and can be done. The destination is empty.
    pub(super) fn reflink(&mut self) {
        let Some(len) = self.state.len.filter(|_| self.offload.whole) else { return };
        let (from, to) = self.files();
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => {
                // What grew meanwhile is cut off at the end; what shrank is not there.
                let there = rustix::fs::fstat(to).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
                let bytes = there.min(len);
                self.state.wrote(0, 0, bytes);
                self.holes.forget();
                self.offload.done = Some(OffloadReport { kind: OffloadKind::Reflink, bytes });
                self.feed = Feed::forwards(Some(bytes..len));
            }
            Err(errno) => {
                self.state
                    .notes
                    .push(format!("the file system shares no blocks between these files: {errno}"));
            }
        }
    }

    /// Lets the kernel copy what is to be read, until it refuses; the rest stays to be read. Holes are made.
    pub(super) fn copy_in_kernel(&mut self, observer: &mut dyn Observer) {
        if !self.offload.wanted {
            return;
        }
        let (skip, seek) = (self.ends.geometry.skip, self.ends.geometry.seek);
        let mut moved = 0_u64;
        while !self.state.stopped
            && let Some((at, left)) = self.feed.front(self.state.len)
        {
            let (from, to) = self.files();
            let (mut position, mut target) = (skip.saturating_add(at), seek.saturating_add(at));
            let step = usize::try_from(left.min(STEP_LEN)).unwrap_or(usize::MAX);
            let copied = rustix::fs::copy_file_range(from, Some(&mut position), to, Some(&mut target), step);
            let done = match copied {
                // The source ended before; reading what is left tells where.
                Ok(0) => break,
                Ok(done) => u64::try_from(done).unwrap_or(0),
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    self.state.notes.push(format!(
                        "the kernel copied {moved} bytes from file to file, and refused at byte {at} of the range: {errno}"
                    ));
                    break;
                }
            };
            self.state.wrote(0, at, done);
            self.feed.leave_out(done);
            moved = moved.saturating_add(done);
            self.state.tell(observer, Phase::Copying, false);
        }
        if moved > 0 {
            self.offload.done = Some(OffloadReport { kind: OffloadKind::InKernel, bytes: moved });
        }
    }

    /// Takes the space of what the kernel refused, which is written as always.
    pub(super) fn reserve_rest(&mut self, options: &CopyOptions) {
        let Some(len) = self.state.len.filter(|_| self.offload.wanted && !self.state.stopped) else { return };
        let device = &*self.ends.destinations.first().device;
        let of_range = |at: u64| options.seek.saturating_add(at);
        let reserved = self
            .feed
            .areas(Some(len))
            .into_iter()
            .try_for_each(|area| device.prepare(of_range(area.start), Some(of_range(area.end)), false));
        if let Err(why) = reserved {
            let path = device.path().to_owned();
            self.fail(Peer::Destination(0), self.state.front(), CopyError::Prepare { path, why });
        }
    }

    fn files(&self) -> (&OwnedFd, &OwnedFd) {
        (self.ends.source.routes().buffered(), self.ends.destinations.first().device.routes().buffered())
    }
}
