//! A record of what was handed to the kernel: the oracle by which tests tell direct from bounced transfers.

use scatterlist::{CpuAddr, Position};

use super::{FileId, FlushKind, Stats, Token};

/// Most entries kept between two calls of [`Engine::take_log`](super::Engine::take_log).
const LOG_MAX: usize = 1 << 16;

/// What a logged operation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoggedKind {
    /// Read into memory.
    Read,
    /// Wrote from memory.
    Write,
    /// Made what was written durable.
    Flush(FlushKind),
}

/// One operation as it was handed to the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// The request that it is a part of.
    pub token: Token,
    /// What it did.
    pub kind: LoggedKind,
    /// The file.
    pub file: FileId,
    /// Where on the file.
    pub position: Position,
    /// The memory: addresses and lengths in bytes.
    pub pieces: Vec<(CpuAddr, u64)>,
    /// The registered buffer that it went through, by index.
    pub fixed: Option<u16>,
}

/// Counts, and the log when it is wanted.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) stats: Stats,
    log: Option<Vec<LogEntry>>,
}

impl Journal {
    pub(super) fn new(log: bool) -> Self {
        Self { stats: Stats::default(), log: log.then(Vec::new) }
    }

    pub(super) fn enter(&mut self, entry: impl FnOnce() -> LogEntry) {
        let Some(log) = &mut self.log else { return };
        if log.len() < LOG_MAX {
            log.push(entry());
        } else {
            self.stats.log_dropped = self.stats.log_dropped.saturating_add(1);
        }
    }

    pub(super) fn take(&mut self) -> Vec<LogEntry> {
        self.log.as_mut().map(core::mem::take).unwrap_or_default()
    }
}
