//! What is registered with a ring: memory, anew or as a clone of another ring's registration, and a table of files.
//!
//! Where the system takes less than was given, the front of it is registered, and the reason goes into the report.
#![expect(unsafe_code, reason = "registers memory")]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, cqueue, squeue};
use rustix::process::{Resource, getrlimit};
use scatterlist::{Addr, CpuAddr};

use super::fixed::{BUFFERS_MAX, Fixed, FixedRegion, SharedRegistration};
use super::options::EngineOptions;
use super::report::{Registration, Sharing};

/// Slots of the table of registered files.
const FILE_SLOTS: u32 = 16;

/// What keeps the registered memory of a ring mapped: its regions, or the registration that they came with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keepers {
    regions: Vec<FixedRegion>,
    share: Option<SharedRegistration>,
}

/// What came of the registration of memory.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) fixed: Fixed,
    pub(super) registration: Registration,
    pub(super) sharing: Sharing,
    pub(super) keepers: Keepers,
}

/// Registers the memory that the options name.
pub(super) fn memory<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
    ring: &IoUring<S, C>,
    options: &EngineOptions,
) -> Registered {
    let Some(share) = &options.share else {
        return anew(ring, &options.fixed, Sharing::NotAsked);
    };
    let source = match share.ring() {
        Ok(source) => source,
        Err(reason) => return anew(ring, share.regions(), Sharing::Anew { reason: reason.to_owned() }),
    };
    if let Err(error) = ring.submitter().register_buffers_clone(source.as_raw_fd()) {
        return anew(ring, share.regions(), Sharing::Anew { reason: no_clone(&error) });
    }
    let bytes = share.len_bytes();
    let of = share.regions().iter().fold(0, |sum, region| region.len_bytes().saturating_add(sum));
    let registration = if bytes == of {
        Registration::Whole { bytes }
    } else {
        Registration::Partial { bytes, of, reason: "the registration that is shared has no more".to_owned() }
    };
    let keepers = Keepers { regions: Vec::new(), share: Some(share.clone()) };
    Registered { fixed: share.fixed().clone(), registration, sharing: Sharing::Shared, keepers }
}

/// Returns what is registered with a ring in a form that others can clone: a ring for one thread lends nothing to
/// other threads (Linux 6.17 refuses with `EEXIST`), so one more ring gets a clone and lends that.
pub(super) fn share<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
    ring: &IoUring<S, C>,
    fixed: &Fixed,
    keepers: &Keepers,
) -> Option<SharedRegistration> {
    if fixed.is_empty() {
        return None;
    }
    if let Some(share) = &keepers.share {
        return Some(share.clone());
    }
    let donor = IoUring::new(1)
        .map_err(|error| format!("making a ring for what is shared failed: {error}"))
        .and_then(|donor| {
            let cloned = donor.submitter().register_buffers_clone(ring.as_raw_fd());
            cloned.map(|()| donor).map_err(|error| no_clone(&error))
        });
    Some(SharedRegistration::new(donor, fixed.clone(), keepers.regions.clone()))
}

fn no_clone(error: &io::Error) -> String {
    format!("cloning the registration failed: {error}; it takes Linux 6.12 or newer")
}

/// Registers the regions, or as much of their front as the system takes: half, a quarter, down to nothing.
fn anew<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
    ring: &IoUring<S, C>,
    regions: &[FixedRegion],
    sharing: Sharing,
) -> Registered {
    let nothing = |reason| {
        let registration = Registration::None { reason };
        Registered {
            fixed: Fixed::default(),
            registration,
            sharing: sharing.clone(),
            keepers: Keepers::default(),
        }
    };
    let mut all: Vec<(CpuAddr, u64)> = regions.iter().flat_map(FixedRegion::buffers).collect();
    let of = sum(&all);
    if of == 0 {
        return nothing("no region was given, or none with bytes".to_owned());
    }
    let mut reason = String::new();
    if all.len() > BUFFERS_MAX {
        reason = format!("the regions have {} buffers, and a ring takes {BUFFERS_MAX}", all.len());
        all.truncate(BUFFERS_MAX);
    }
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut bytes = sum(&all);
    while bytes > 0 {
        let buffers = front(&all, bytes);
        let Some(vectors) = vectors(&buffers) else {
            return nothing(format!("a region of {of} bytes does not fit the address space"));
        };
        // SAFETY: the regions stay mapped while their keepers live, which the back end keeps longer than the ring,
        // as a part of `keepers`.
        match unsafe { ring.submitter().register_buffers(&vectors) } {
            Ok(()) => {
                let whole = Registration::Whole { bytes };
                let registration =
                    if bytes == of { whole } else { Registration::Partial { bytes, of, reason } };
                let fixed = Fixed::new(&buffers);
                let keepers = Keepers { regions: regions.to_vec(), share: None };
                return Registered { fixed, registration, sharing, keepers };
            }
            Err(error) => {
                reason = refusal(bytes, &error);
                if error.raw_os_error() != Some(libc::ENOMEM) {
                    break;
                }
                bytes = bytes / 2 / page * page;
            }
        }
    }
    nothing(reason)
}

fn refusal(bytes: u64, error: &io::Error) -> String {
    let limit = getrlimit(Resource::Memlock).current;
    match limit.filter(|_| error.raw_os_error() == Some(libc::ENOMEM)) {
        Some(limit) => format!(
            "registering {bytes} bytes failed: {error}; RLIMIT_MEMLOCK is {limit} bytes: raise it (ulimit -l, \
             LimitMEMLOCK=)"
        ),
        None => format!("registering {bytes} bytes failed: {error}"),
    }
}

fn sum(buffers: &[(CpuAddr, u64)]) -> u64 {
    buffers.iter().fold(0, |sum, (_, len)| len.saturating_add(sum))
}

/// Returns the first `bytes` of the buffers.
fn front(buffers: &[(CpuAddr, u64)], bytes: u64) -> Vec<(CpuAddr, u64)> {
    let mut left = bytes;
    let mut front = Vec::new();
    for (start, len) in buffers {
        let len = left.min(*len);
        left = left.saturating_sub(len);
        if len > 0 {
            front.push((*start, len));
        }
    }
    front
}

fn vectors(buffers: &[(CpuAddr, u64)]) -> Option<Vec<libc::iovec>> {
    let vector = |(start, len): &(CpuAddr, u64)| {
        let pointer = start.as_ptr();
        let fits = !pointer.is_null() && start.checked_add(*len).is_some();
        let iov_len = usize::try_from(*len).ok().filter(|_| fits)?;
        Some(libc::iovec { iov_base: pointer.cast(), iov_len })
    };
    buffers.iter().map(vector).collect()
}

/// Registers an empty table of files; returns its slots, 0 where the kernel refuses.
pub(super) fn files<S: squeue::EntryMarker, C: cqueue::EntryMarker>(ring: &IoUring<S, C>) -> u32 {
    let submitter = ring.submitter();
    let sparse = submitter.register_files_sparse(FILE_SLOTS);
    // Kernels before 5.19 take the long form.
    match sparse.or_else(|_| submitter.register_files(&[-1; FILE_SLOTS as usize])) {
        Ok(()) => FILE_SLOTS,
        Err(_) => 0,
    }
}
