//! [`Board`]: where completions of requests note how they ended.

use alloc::sync::Arc;
use alloc::vec::Vec;

use lock_api::Mutex;
use scatterlist::sync::Spin;
use scatterlist::{Complete, Outcome};

/// Outcomes of requests, in the order in which they ended.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<Mutex<Spin, Vec<(usize, Outcome)>>>);

/// The completion of one request.
#[derive(Debug)]
pub(super) struct Note {
    board: Board,
    number: usize,
}

impl Board {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    /// Makes the completion of request `number`.
    pub(super) fn note(&self, number: usize) -> Note {
        Note { board: self.clone(), number }
    }

    /// Returns how many outcomes are noted.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Takes the outcomes that were noted.
    pub(super) fn take(&self) -> Vec<(usize, Outcome)> {
        core::mem::take(&mut self.0.lock())
    }
}

impl Complete for Note {
    fn complete(self, outcome: Outcome) {
        self.board.0.lock().push((self.number, outcome));
    }
}
