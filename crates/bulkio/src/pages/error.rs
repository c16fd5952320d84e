//! Why a pool could not be made.

use thiserror::Error;

use super::kind::{OsError, PageKindRequest, Refusal};
use super::mapping::CallError;
use super::numa::NodeError;

/// Why [`PagePool::new`](super::PagePool::new) made no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No class of slots was asked for, or too many.
    #[error("a pool has 1 to {classes_max} classes of slots, and {classes} were asked for")]
    Classes {
        /// The number of classes asked for.
        classes: usize,
        /// Most classes.
        classes_max: usize,
    },
    /// No slots, or slots of no bytes, were asked for.
    #[error("a pool of {slots} slots of {slot_len} bytes holds nothing")]
    Empty {
        /// The length asked for each slot, in bytes.
        slot_len: usize,
        /// The number of slots asked for.
        slots: usize,
    },
    /// A slot would not fit one registered buffer.
    #[error("a slot of {slot_len} bytes is longer than the {slot_len_max} that io_uring registers at once")]
    SlotTooLong {
        /// The length asked for each slot, in bytes.
        slot_len: usize,
        /// The longest slot, in bytes.
        slot_len_max: usize,
    },
    /// The size overflows what can be addressed. The numbers are those of the class with which it did.
    #[error(
        "{slots} slots of {slot_len} bytes, with the pool's other slots, are more than this machine can address"
    )]
    TooLarge {
        /// The length asked for each slot, in bytes.
        slot_len: usize,
        /// The number of slots asked for.
        slots: usize,
    },
    /// There is not that much memory.
    #[error(
        "a pool of {bytes} bytes was asked for, and {bytes_available} bytes are available (/proc/meminfo): \
         use fewer or smaller slots"
    )]
    NotEnoughMemory {
        /// Length of the pool, in bytes.
        bytes: u64,
        /// `MemAvailable`, in bytes.
        bytes_available: u64,
    },
    /// The kind of page that was demanded could not be had.
    #[error("no pool of {bytes} bytes in the pages demanded ({kind:?}): {refusal}")]
    KindRefused {
        /// The kind demanded.
        kind: PageKindRequest,
        /// Length of the pool, in bytes.
        bytes: u64,
        /// Why not.
        refusal: Refusal,
    },
    /// The memory node that was demanded could not be had.
    #[error("no pool on the memory node demanded: {0}")]
    Node(#[from] NodeError),
    /// The system refused ordinary memory.
    #[error("{call} for a pool of {bytes} bytes: {}{}", OsError(*errno), advice(*errno))]
    System {
        /// The call that failed.
        call: &'static str,
        /// Length of the pool, in bytes.
        bytes: u64,
        /// Its error number.
        errno: i32,
    },
}

impl PoolError {
    /// Makes the error of a failed `call` on ordinary memory.
    pub(super) fn system(failed: CallError, bytes: u64) -> Self {
        Self::System { call: failed.call, bytes, errno: failed.errno.raw_os_error() }
    }
}

/// What to do about an error number, where that is not obvious.
const fn advice(errno: i32) -> &'static str {
    match errno {
        libc::EFBIG => {
            "; the limit on file sizes (ulimit -f) holds for the pool's memory file too: raise it, or use smaller requests"
        }
        libc::EMFILE => "; too many files are open (ulimit -n)",
        _ => "",
    }
}
