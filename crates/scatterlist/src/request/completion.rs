//! What happens when a request ends: [`Outcome`], [`Complete`], and [`Shared`], one completion behind
//! several requests.

use core::fmt;

use crate::sync::{Arc, AtomicU64, Ordering};

/// How a transfer failed: the kernel's error number or the device's own status, never mixed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Status {
    /// An error number of the operating system.
    Errno(u32),
    /// A status of the device itself (SCSI sense, NVMe status), in its class's own encoding.
    Device(u32),
    /// The request was cancelled before it was done.
    Cancelled,
    /// A source ended early, or a device took less than was asked, for no stated reason.
    Short,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(number) => write!(f, "errno {number}"),
            Self::Device(status) => write!(f, "device status {status:#x}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Short => f.write_str("short transfer"),
        }
    }
}

/// Where in a request a transfer failed, and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fault {
    /// Byte of the request, counted from its start, at which the failing transfer began.
    pub at: u64,
    /// How it failed.
    pub status: Status,
}

/// How a request ended: a partial completion is a value, not an error string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Outcome {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes that were moved, exactly.
    pub done: u64,
    /// The first failure, if there was one.
    pub fault: Option<Fault>,
}

impl Outcome {
    /// Returns the outcome of a transfer of `bytes` that moved all of them.
    #[must_use]
    pub const fn whole(bytes: u64) -> Self {
        Self { asked: bytes, done: bytes, fault: None }
    }
}

/// What is told how a request ended. Called exactly once for each request.
pub trait Complete {
    /// Takes the outcome.
    fn complete(self, outcome: Outcome);
}

/// Nobody is told; the consumer of the request reports by other means.
impl Complete for () {
    fn complete(self, _: Outcome) {}
}

/// A boxed function is told.
impl<F: FnOnce(Outcome) + ?Sized> Complete for alloc::boxed::Box<F> {
    fn complete(self, outcome: Outcome) {
        self(outcome);
    }
}

/// A share in one completion that several requests stand for.
///
/// The completion behind it fires once, when the last share is done: with the exact sum of bytes done and
/// the fault that came first in time. A share that is dropped without an outcome counts as cancelled, so the completion
/// always fires.
#[derive(Debug)]
pub struct Shared<C: Complete> {
    state: Option<Arc<State<C>>>,
    /// Bytes of the whole, from its start, at which this share begins.
    at: u64,
    /// Bytes that this share stands for.
    len: u64,
}

#[derive(Debug)]
struct State<C> {
    /// Bytes of the whole; an open-ended completion learns them at its end.
    asked: AtomicU64,
    done: AtomicU64,
    /// 0, or the first fault's status, packed.
    status: AtomicU64,
    /// That fault's place. Written once, by the share that set `status`, before it lets go.
    at: AtomicU64,
    completion: C,
}

impl<C: Complete> Shared<C> {
    /// Makes the one share of a completion for `bytes`.
    #[must_use]
    pub fn new(bytes: u64, completion: C) -> Self {
        let (done, status, at) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let state = State { asked: AtomicU64::new(bytes), done, status, at, completion };
        Self { state: Some(Arc::new(state)), at: 0, len: bytes }
    }

    /// Makes the one share of a completion whose bytes are not known yet; [`Shared::end`] tells.
    pub(crate) fn open(completion: C) -> Self {
        Self::new(u64::MAX, completion)
    }

    /// Ends an open-ended completion at this share, which stands for no bytes.
    pub(crate) fn end(mut self) {
        if let Some(state) = &self.state {
            state.asked.store(self.at, Ordering::Relaxed);
        }
        self.len = 0;
        self.finish(Outcome::whole(0));
    }

    /// Splits off the share of what lies past `at` bytes of this share.
    #[must_use]
    pub fn fork(&mut self, at: u64) -> Self {
        let at = at.min(self.len);
        let back = Self {
            state: self.state.clone(),
            at: self.at.saturating_add(at),
            len: self.len.saturating_sub(at),
        };
        self.len = at;
        back
    }

    fn finish(&mut self, outcome: Outcome) {
        let Some(state) = self.state.take() else { return };
        state.done.fetch_add(outcome.done, Ordering::Relaxed);
        if let Some(fault) = outcome.fault {
            let packed = pack(fault.status);
            if state.status.compare_exchange(0, packed, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                state.at.store(self.at.saturating_add(fault.at), Ordering::Relaxed);
            }
        }
        // The last share out sees what all others wrote: dropping an `Arc` releases, taking it apart acquires.
        if let Some(state) = Arc::into_inner(state) {
            let at = state.at.into_inner();
            let fault = unpack(state.status.into_inner()).map(|status| Fault { at, status });
            let done = state.done.into_inner();
            let asked = state.asked.into_inner();
            state.completion.complete(Outcome { asked, done, fault });
        }
    }
}

impl<C: Complete> Complete for Shared<C> {
    fn complete(mut self, outcome: Outcome) {
        self.finish(outcome);
    }
}

impl<C: Complete> Drop for Shared<C> {
    fn drop(&mut self) {
        let fault = (self.len > 0).then_some(Fault { at: 0, status: Status::Cancelled });
        self.finish(Outcome { asked: self.len, done: 0, fault });
    }
}

const KIND_SHIFT: u32 = 32;

fn pack(status: Status) -> u64 {
    let (kind, code) = match status {
        Status::Errno(number) => (1_u64, number),
        Status::Device(status) => (2, status),
        Status::Cancelled => (3, 0),
        Status::Short => (4, 0),
    };
    kind.wrapping_shl(KIND_SHIFT) | u64::from(code)
}

fn unpack(packed: u64) -> Option<Status> {
    let code = u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(0);
    match packed.wrapping_shr(KIND_SHIFT) {
        1 => Some(Status::Errno(code)),
        2 => Some(Status::Device(code)),
        3 => Some(Status::Cancelled),
        4 => Some(Status::Short),
        _ => None,
    }
}
