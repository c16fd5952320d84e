//! What a fake controller remembers: registers, queues, contents, faults, complaints.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::fault::{Aborts, Condition, Fault};
use super::setup::{FakeNamespace, Setup};

/// A submission queue, as the controller knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission {
    pub(super) base: u64,
    pub(super) entries: u16,
    pub(super) head: u16,
    pub(super) tail: u16,
    pub(super) completion: u16,
}

/// A completion queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completions {
    pub(super) base: u64,
    pub(super) entries: u16,
    /// Where the next one goes; the head that the driver told.
    pub(super) tail: u16,
    pub(super) head: u16,
    pub(super) phase: bool,
    pub(super) vector: u16,
}

/// A namespace and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) setup: FakeNamespace,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) cc: u32,
    pub(super) aqa: u32,
    pub(super) asq: u64,
    pub(super) acq: u64,
    /// When CC.EN changed last.
    pub(super) changed_ns: u64,
    pub(super) shut_down: bool,
    pub(super) submission: BTreeMap<u16, Submission>,
    pub(super) completion: BTreeMap<u16, Completions>,
    pub(super) spaces: Vec<Space>,
    /// Commands that stalled: queue and identifier.
    pub(super) stalled: BTreeSet<(u16, u16)>,
    /// I/O commands since it was made, and the faults of those to come.
    pub(super) commands: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// Namespace and block of media errors, with the status field.
    pub(super) bad_blocks: BTreeMap<(u32, u64), u16>,
    pub(super) condition: Option<Condition>,
    pub(super) aborts: Aborts,
    pub(super) flushes: u64,
    pub(super) complaints: Vec<String>,
}

impl State {
    pub(super) fn new(setup: &Setup) -> Self {
        let space = |setup: &FakeNamespace| {
            let bytes = setup.blocks.checked_shl(u32::from(setup.block_len_log2)).unwrap_or(0);
            // A namespace of many bytes that nobody uses has none.
            let bytes = if bytes > 1 << 32 { 0 } else { bytes };
            Space { setup: setup.clone(), bytes: vec![0; usize::try_from(bytes).unwrap_or(0)] }
        };
        Self { spaces: setup.namespaces.iter().map(space).collect(), ..Self::default() }
    }

    /// Forgets all queues and commands.
    pub(super) fn reset(&mut self) {
        self.submission.clear();
        self.completion.clear();
        self.stalled.clear();
    }

    pub(super) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    pub(super) fn space(&mut self, id: u32) -> Option<&mut Space> {
        self.spaces.iter_mut().find(|space| space.setup.id == id)
    }
}
