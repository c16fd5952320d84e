//! [`TapeSide`]: a tape in use, and what is counted of it, by whichever thread has it.

use super::super::SideReport;
use crate::device::Class;
use crate::device::tape::{NotDirect, Position, Tape, TapeError};

/// A tape and its counts.
#[derive(Debug)]
pub(super) struct TapeSide {
    pub(super) tape: Tape,
    report: SideReport,
    from: Position,
    records: u64,
    pub(super) filemarks: u64,
    pub(super) starts: u64,
    pub(super) at_end_of_data: bool,
}

/// What happened on a tape.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TapeReport {
    /// Bytes of a block in fixed mode; 0 in variable mode.
    pub block_len: u32,
    /// Blocks read or written.
    pub records: u64,
    /// Filemarks read or written.
    pub filemarks: u64,
    /// How often the tape was started, as far as the copy stopped it.
    pub starts: u64,
    /// Where it stood before.
    pub from: Position,
    /// Where it stands.
    pub to: Position,
    /// Whether it was read to the end of its data.
    pub at_end_of_data: bool,
}

/// How a tape's thread ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) report: SideReport,
    pub(super) error: Option<TapeError>,
    /// What was written is on the medium.
    pub(super) synced: bool,
    pub(super) notes: Vec<String>,
}

impl TapeSide {
    pub(super) fn new(tape: Tape) -> Self {
        let report =
            SideReport::new(tape.path().display().to_string(), Class::Tape.name(), tape.direct_rule().tried);
        let from = tape.position();
        Self { tape, report, from, records: 0, filemarks: 0, starts: 0, at_end_of_data: false }
    }

    /// Counts one call.
    pub(super) fn count(&mut self, bytes: usize, records: u32, direct: Result<(), NotDirect>) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.report.requests = self.report.requests.saturating_add(1);
        self.records = self.records.saturating_add(records.into());
        match direct {
            Ok(()) => self.report.count_direct(bytes),
            Err(why) => self.report.count_bounced(bytes, &why.to_string()),
        }
    }

    /// Ends it: `synced` says that the last filemark waited for the medium.
    pub(super) fn ended(mut self, error: Option<TapeError>, synced: bool) -> Ended {
        self.report.tape = Some(TapeReport {
            block_len: self.tape.mode().bytes(),
            records: self.records,
            filemarks: self.filemarks,
            starts: self.starts,
            from: self.from,
            to: self.tape.position(),
            at_end_of_data: self.at_end_of_data,
        });
        let synced = synced && error.is_none() && !self.tape.has_open_file();
        Ended { report: self.report, error, synced, notes: self.tape.notes().to_vec() }
    }
}
