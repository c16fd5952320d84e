//! Tape drives through the Linux driver `st`: `/dev/nstN`.
//!
//! A tape is records and filemarks in a row, and a position. [`Tape`] reads and writes records (`read`, `write`), writes marks and
//! moves (`position`), and tells after each call where it stands. Beneath it is the trait [`Drive`], one command a call: [`Node`] is the
//! driver, the tests' `fake` a tape in memory. [`direct`] knows which memory the driver moves without a copy, `ask` how much to read.
//!
//! Contract: a call that is refused changed nothing on the tape; every error has the position. A drive takes one command at a time, so nothing here
//! overlaps: `copy` keeps a thread and a buffer between a tape and the other end.

mod ask;
pub mod direct;
pub mod drive;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod limits;
mod mtio;
mod node;
mod position;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

pub use direct::{DirectRule, NotDirect};
pub use drive::{BlockLimits, BlockMode, Drive, Op, Position, Status};
pub use error::TapeError;
pub use node::Node;
pub use read::Record;
pub use write::Written;

pub use node::is_tape;

pub(crate) use node::direct_rule;

use ask::Asker;

use crate::probe::host::Host;

/// What a tape is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Reading and moving.
    #[default]
    Read,
    /// Writing, too.
    Write,
}

/// How a tape is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TapeOptions {
    /// What for.
    pub access: Access,
    /// Whether a node that rewinds when it is closed is used as it is, and not the one beside it that does not.
    pub rewinding: bool,
    /// Which lengths of blocks the drive takes, where that is known better than by asking it.
    pub block_limits: Option<BlockLimits>,
}

/// An open drive with a tape in it.
///
/// ```no_run
/// use std::path::Path;
///
/// use bulkio::device::tape::{Record, Tape, TapeOptions};
///
/// let mut tape = Tape::open(Path::new("/dev/nst0"), &TapeOptions::default())?;
/// let mut block = vec![0; 1 << 20];
/// while let Record::Data { bytes, .. } = tape.read(&mut block)? {
///     println!("a block of {bytes} bytes; now at {}", tape.position());
/// }
/// # Ok::<(), bulkio::device::tape::TapeError>(())
/// ```
#[derive(Debug)]
pub struct Tape {
    drive: Box<dyn Drive>,
    path: PathBuf,
    access: Access,
    mode: BlockMode,
    limits: Option<BlockLimits>,
    /// Where the tape stands: asked for at the start and after each movement, counted in between.
    at: Position,
    asker: Asker,
    /// The drive moves one block of the fixed mode in a call, as it turned out.
    one_block: bool,
    /// Data was written, and no filemark behind it yet.
    open_file: bool,
    notes: Vec<String>,
}

impl Tape {
    /// Opens a drive. `/dev/stN` stands for `/dev/nstN` unless the options say otherwise, and a note says so.
    ///
    /// # Errors
    /// [`TapeError`]: no drive, in use, no tape, not ready, write-protected where it is to be written.
    pub fn open(path: &Path, options: &TapeOptions) -> Result<Self, TapeError> {
        let host = Host::default();
        let found = node::find(&host, path, options.rewinding)?;
        let node = Node::open(&host, &found, options.access == Access::Write, options.block_limits)?;
        let mut tape = Self::new(Box::new(node), &found.path, options.access)?;
        tape.notes.extend(found.note);
        Ok(tape)
    }

    /// Takes a drive, whatever it is; `path` is its name for messages.
    ///
    /// # Errors
    /// [`TapeError`]: no tape, not ready, write-protected where it is to be written.
    pub fn new(mut drive: Box<dyn Drive>, path: &Path, access: Access) -> Result<Self, TapeError> {
        let status = drive.status().map_err(|errno| TapeError::Ask {
            path: path.to_owned(),
            what: "status",
            errno,
        })?;
        let path = path.to_owned();
        if status.has_no_tape() {
            return Err(TapeError::NoTape { path });
        }
        if !status.is_online() {
            return Err(TapeError::NotReady { path, flags: status.flags });
        }
        if access == Access::Write && status.is_write_protected() {
            return Err(TapeError::WriteProtected { path, position: status.position });
        }
        let limits = drive.block_limits();
        let rule = drive.direct_rule();
        let asker = Asker::new(limits.unwrap_or(BlockLimits::COMMAND).len_max.into(), rule.len_max());
        Ok(Self {
            drive,
            path,
            access,
            mode: status.mode,
            limits,
            at: status.position,
            asker,
            one_block: false,
            open_file: false,
            notes: Vec::new(),
        })
    }

    /// Loads a tape into a drive that has none ready, where the drive can.
    ///
    /// # Errors
    /// [`TapeError`]: no drive, in use, or the drive refuses.
    pub fn load(path: &Path) -> Result<(), TapeError> {
        let host = Host::default();
        let found = node::find(&host, path, false)?;
        let mut node = Node::open(&host, &found, false, None)?;
        node.control(Op::Load, 1).map_err(|errno| match errno {
            rustix::io::Errno::NOMEDIUM => TapeError::NoTape { path: found.path.clone() },
            errno => TapeError::Control {
                path: found.path.clone(),
                op: Op::Load,
                count: 1,
                position: Position::default(),
                errno,
            },
        })
    }

    /// Returns the node that is used.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the tape stands.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.at
    }

    /// Returns how blocks are made.
    #[must_use]
    pub const fn mode(&self) -> BlockMode {
        self.mode
    }

    /// Returns the lengths of blocks that the drive states, where it was asked.
    #[must_use]
    pub const fn block_limits(&self) -> Option<BlockLimits> {
        self.limits
    }

    /// Returns which memory moves without a copy.
    #[must_use]
    pub fn direct_rule(&self) -> DirectRule {
        self.drive.direct_rule()
    }

    /// Returns what the user should know about the node and the drive.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Asks the driver how things are.
    ///
    /// # Errors
    /// [`TapeError::Ask`].
    pub fn status(&mut self) -> Result<Status, TapeError> {
        let status = self.drive.status();
        status.map_err(|errno| TapeError::Ask { path: self.path.clone(), what: "status", errno })
    }

    /// Asks the drive for the number of the block from the beginning of the tape.
    ///
    /// # Errors
    /// [`TapeError::Ask`]: many drives cannot tell.
    pub fn tell(&mut self) -> Result<u64, TapeError> {
        let told = self.drive.tell();
        told.map_err(|errno| TapeError::Ask { path: self.path.clone(), what: "position", errno })
    }

    /// Takes the position from the driver after a movement, and returns the status, where it answers.
    fn look(&mut self) -> Option<Status> {
        let status = self.drive.status().ok();
        self.at = status.map_or(Position::default(), |status| status.position);
        status
    }
}

/// A length as the interfaces count it.
fn bytes_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
