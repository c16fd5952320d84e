//! [`FakeFinding`]: what the fake machine saw go wrong, as values that a test can assert.

use core::fmt;
use core::panic::Location;

use crate::map::checked::{Touched, Watch};
use crate::map::{DmaDirection, Leak};
use crate::plan::PlanError;
use crate::{Addr as _, BusAddr};

/// What went wrong. Addresses of memory are in the kind that its leases hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FakeFinding {
    /// The CPU wrote bytes that the device owned.
    CpuWrite {
        /// Address of the first such byte.
        addr: u64,
        /// Bytes from the start of the range that was handed back to that byte.
        offset: u64,
        /// How many bytes of that range differ.
        bytes: u64,
    },
    /// Memory was written after it was given back.
    QuarantineWrite {
        /// Address of the first such byte.
        addr: u64,
        /// Bytes from the start of the memory that was given back to that byte.
        offset: u64,
        /// How many bytes differ.
        bytes: u64,
    },
    /// Memory stays taken because a device may hold it.
    Leaked(Leak),
    /// The device was refused an access.
    Refused(Refusal),
}

impl FakeFinding {
    /// Tells `watch`, the checker, what the memory found, so that it stands with the mapping: only that the CPU wrote what
    /// the device owned. Of refusals it knows from [`Device::watched`](super::Device::watched), of leaks from the driver's own handle.
    #[track_caller]
    pub fn tell(&self, watch: &dyn Watch) {
        if let Self::CpuWrite { addr, offset, .. } = self {
            let start = Touched::Cpu(addr.saturating_sub(*offset));
            watch.cpu_wrote_while_device_owned(start, *offset, Location::caller());
        }
    }
}

impl fmt::Display for FakeFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CpuWrite { addr, offset, bytes } => write!(
                f,
                "the CPU wrote {bytes} bytes that the device owned, the first at {addr:#x}, byte {offset} of what was handed back"
            ),
            Self::QuarantineWrite { addr, offset, bytes } => write!(
                f,
                "{bytes} bytes were written after they were given back, the first at {addr:#x}, byte {offset} of that memory"
            ),
            Self::Leaked(leak) => leak.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// Why the fake device could not do something. Nothing was moved then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing is mapped there: never, or not any more.
    #[error("the device cannot reach {len} bytes at {addr}: nothing is mapped there", addr = BusAddr::new(*addr))]
    Unmapped {
        /// The first bus address that is not mapped.
        addr: u64,
        /// Bytes of the access from there on.
        len: u64,
    },
    /// Mapped for the other direction.
    #[error("the device may not {what} {len} bytes at {addr}: they are mapped {direction:?}", what = if *writes { "write" } else { "read" }, addr = BusAddr::new(*addr))]
    Direction {
        /// The first such bus address.
        addr: u64,
        /// Bytes of the access from there on.
        len: u64,
        /// Whether the device would have written.
        writes: bool,
        /// The direction of the mapping.
        direction: DmaDirection,
    },
    /// Out of the addresses that the device can name.
    #[error("{len} bytes at {addr} are out of the device's window {min:#x} to {max:#x}", addr = BusAddr::new(*addr))]
    Window {
        /// The bus address of the access.
        addr: u64,
        /// Its bytes.
        len: u64,
        /// The lowest address.
        min: u64,
        /// The highest address, inclusive.
        max: u64,
    },
    /// A transfer whose segments break the device's limits.
    #[error("the segments break a limit of the device: {0}")]
    Limit(#[source] PlanError),
    /// Mapped, but the back end leads to no memory.
    #[error("{len} bytes at {addr} are mapped, but no memory stands behind them", addr = BusAddr::new(*addr))]
    Nowhere {
        /// The first such bus address.
        addr: u64,
        /// Bytes of the access from there on.
        len: u64,
    },
    /// More bytes than the segments hold.
    #[error("{given} bytes do not fit segments of {have}")]
    Length {
        /// Bytes given.
        given: u64,
        /// Bytes of the segments.
        have: u64,
    },
    /// The device was told to refuse.
    #[error("the device refuses transfer {count}, as it was told to")]
    Demanded {
        /// Which transfer since it was made, from 1.
        count: u64,
    },
    /// The queue of the device is full.
    #[error("{pending} transfers are pending, the queue takes {max}")]
    Full {
        /// Transfers that are pending.
        pending: u64,
        /// The most that can be.
        max: u64,
    },
}

/// Memory that the fake machine does not have, or not for the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FakeError {
    /// An arena that cannot be.
    #[error(
        "an arena of {len} bytes at {base:#x} cannot be: it is empty, passes 64 bits or the heap, or touches another"
    )]
    Arena {
        /// Where it would start.
        base: u64,
        /// Its bytes.
        len: u64,
    },
    /// There is no free run such as this.
    #[error("no {len} free bytes at a multiple of {align} up to {addr_max:#x}")]
    Full {
        /// Bytes wanted.
        len: u64,
        /// Alignment wanted.
        align: u64,
        /// The highest address wanted.
        addr_max: u64,
    },
    /// The bytes are taken, quarantined, or in no arena.
    #[error("{len} bytes at {addr:#x} are not free")]
    NotFree {
        /// Where they start.
        addr: u64,
        /// How many.
        len: u64,
    },
    /// A lease without bytes, or past 64 bits of them.
    #[error("a lease of {runs} runs and {bytes} bytes cannot be")]
    Runs {
        /// Runs of bytes.
        runs: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The lease is of another memory, or ends before the range.
    #[error("bytes {start} to {end} are not within this memory's lease of {bytes} bytes")]
    OutOfRange {
        /// First byte.
        start: u64,
        /// Byte just past the last.
        end: u64,
        /// Bytes of the lease, 0 for one of another memory.
        bytes: u64,
    },
}
