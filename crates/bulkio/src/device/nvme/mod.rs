//! NVMe namespaces by passthrough: the generic nodes `/dev/ngXnY`, whose transfers are commands.
//!
//! Nobody splits, merges or repeats a command on its way to the controller, and nothing lies in a page cache. So the limits are hard:
//! a command past them is refused with `EINVAL`, or its data copied in silence. [`Namespace::limits`] has them from the controller and from
//! the driver's queue, and a request that is planned by them meets neither.
//!
//! A [`Namespace`] is added to an engine ([`Namespace::add_to`]): a ring with room for commands
//! ([`EngineOptions::commands`](crate::engine::EngineOptions::commands)) carries them, elsewhere threads make ioctls. What a controller says of a
//! failed one is [`CommandStatus`]; it does not say how much of the command was done before, so nothing of it counts. Formats with metadata are
//! refused. `command` encodes, `abi` calls, `set` is what the engine sees, `identify`, `sibling` and `limits` say what
//! there is.

mod abi;
mod command;
mod error;
mod identify;
mod limits;
mod set;
mod sibling;
mod status;

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use scatterlist::{Limits, Status};

use crate::engine::{CommandSet, Engine, FileError, FileId, FileOptions};
use crate::probe::DeviceNumber;
use crate::probe::host::Host;
use command::{Asked, BLOCKS_MAX, Blocks};
use identify::CommandLimits;
use limits::Facts;
use set::Commands;
use sibling::Queue;

pub use error::{CommandError, CommandFault, OpenError};
pub use identify::{Controller, Format, FormatError};
pub use sibling::{BlockSibling, block_sibling};
pub use status::CommandStatus;

/// Most ranges of a deallocation: NR has 8 bits and counts from 0 (NVM Command Set Specification 1.0, section 3.2.3).
const RANGES_MAX: usize = 256;

/// An open NVMe namespace.
///
/// ```no_run
/// use std::path::Path;
///
/// use bulkio::device::nvme::Namespace;
/// use bulkio::engine::{Engine, EngineOptions};
/// use scatterlist::{Direction, Lease, Position, Request};
///
/// let namespace = Namespace::open(Path::new("/dev/ng0n1"), false)?;
/// println!("{}: {} bytes", namespace.controller().model, namespace.len_bytes());
/// let mut engine = Engine::new(EngineOptions { commands: true, ..EngineOptions::default() })?;
/// let file = namespace.add_to(&mut engine)?;
/// let lease = Lease::from_vec(vec![0_u8; 1 << 20]).map_err(|(_, error)| error)?;
/// let request = Request::new(lease, Direction::FromDevice, Position::At(0), ());
/// // As many commands as it takes.
/// engine.submit(file, request, namespace.limits())?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Namespace {
    file: Arc<OwnedFd>,
    path: PathBuf,
    commands: Commands,
    controller: Controller,
    format: Format,
    sibling: BlockSibling,
    limits: Limits,
}

impl Namespace {
    /// Opens the generic node of a namespace, for reading, or for writing too. It claims nothing: hold the
    /// [`block_sibling`](Self::block_sibling) for that.
    ///
    /// The format is read once. Whoever formats a namespace with other blocks while it is open takes all data from under its users, and
    /// makes their commands move other lengths than their memory has.
    ///
    /// # Errors
    /// [`OpenError`]: the node cannot be opened or is another one, its format has metadata or protection information, or what it
    /// takes is not known.
    pub fn open(path: &Path, writes: bool) -> Result<Self, OpenError> {
        let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
        let opened = rustix::fs::open(path, access | OFlags::CLOEXEC, Mode::empty());
        let file = opened.map_err(|errno| OpenError::Open { path: path.to_owned(), errno })?;
        Self::over(Arc::new(file), path, writes)
    }

    /// Takes an open generic node; `path` is its name for messages, `writes` says whether it is open for writing.
    ///
    /// # Errors
    /// As [`Namespace::open`].
    pub fn over(file: Arc<OwnedFd>, path: &Path, writes: bool) -> Result<Self, OpenError> {
        let host = Host::default();
        let not_generic = || OpenError::NotGeneric { path: path.to_owned() };
        let stat =
            rustix::fs::fstat(&*file).map_err(|errno| OpenError::Open { path: path.to_owned(), errno })?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let number = DeviceNumber { major, minor };
        let is_char = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !is_char || !sibling::is_generic(&host, number) {
            return Err(not_generic());
        }
        let sibling = sibling::find(&host, number).ok_or_else(not_generic)?;
        let asked = |what| {
            let path = path.to_owned();
            move |status: Status| OpenError::Asked { path, what, why: CommandFault::of(status) }
        };
        let fd = file.as_fd();
        let nsid = abi::namespace_id(fd).map_err(asked("the identifier of its namespace"))?;
        let bytes = abi::identify(fd, nsid, Asked::Controller).map_err(asked("its controller"))?;
        let controller = Controller::parse(&*bytes);
        let bytes = abi::identify(fd, nsid, Asked::Namespace).map_err(asked("its namespace"))?;
        let format =
            Format::parse(&*bytes).map_err(|source| OpenError::Format { path: path.to_owned(), source })?;
        refuse_metadata(path, &format)?;
        let queue = Queue::read(&host, sibling.number);
        let page_len = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let facts = Facts { controller: &controller, format: &format, queue, page_len };
        let limits = facts.limits().map_err(|error| error.of(path, &sibling.name))?;
        let commands = Commands { nsid, block_len: format.block_len, writes };
        Ok(Self { file, path: path.to_owned(), commands, controller, format, sibling, limits })
    }

    /// Returns the name of the node, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open node.
    #[must_use]
    pub const fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Returns the identifier of the namespace.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.commands.nsid
    }

    /// Returns what the controller says of itself.
    #[must_use]
    pub const fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Returns the format and the size in blocks.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Returns the bytes that it holds.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.format.len_bytes()
    }

    /// Returns the block device of the same namespace, on which a claim is held.
    #[must_use]
    pub const fn block_sibling(&self) -> &BlockSibling {
        &self.sibling
    }

    /// Returns what one command takes. Each page counts as a segment; where more is known of the memory,
    /// [`Contiguity::refine`](crate::pages::Contiguity::refine) makes longer commands of it.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns how transfers become commands.
    #[must_use]
    pub fn commands(&self) -> Arc<dyn CommandSet> {
        Arc::new(self.commands)
    }

    /// Adds the namespace to an engine: its transfers and flushes are commands from there on.
    ///
    /// # Errors
    /// As [`Engine::add_commands`].
    pub fn add_to<O: 'static, C>(&self, engine: &mut Engine<O, C>) -> Result<FileId, FileError> {
        engine.add_commands(Arc::clone(&self.file), self.commands(), FileOptions::default())
    }

    /// Makes durable what was written, and waits.
    ///
    /// # Errors
    /// [`CommandError::Failed`].
    pub fn flush(&self) -> Result<(), CommandError> {
        let flushed = abi::flush(self.file.as_fd(), self.id());
        flushed.map_err(failed("a flush", 0, 0))
    }

    /// Writes zeros to `bytes` bytes from `position` on, without sending them, and waits. `deallocates` lets the controller give the blocks up
    /// for that, if they still read as zeros.
    ///
    /// # Errors
    /// [`CommandError`]: it is open for reading only, the controller has no such command, the range is not of whole blocks or ends past
    /// the namespace, or a command failed; the error says where, and what comes before is done.
    pub fn write_zeroes(&self, position: u64, bytes: u64, deallocates: bool) -> Result<(), CommandError> {
        const WHAT: &str = "a write of zeros";
        self.check_writes(WHAT)?;
        self.check_command(WHAT, self.controller.has_write_zeroes(), 3)?;
        self.check_range(WHAT, position, bytes)?;
        let block = self.format.block_len;
        let stated = self.command_limits();
        // Without a statement for this command it is that for all (NVM Command Set Specification 1.0, section 4.1.5.2).
        let longest = match stated {
            Some(CommandLimits { zeroes_len_max: 0, .. }) => u64::MAX,
            Some(CommandLimits { zeroes_len_max, .. }) => zeroes_len_max,
            None => self.controller.transfer_len_max().unwrap_or(u64::MAX),
        };
        let longest = longest.min(BLOCKS_MAX.saturating_mul(block)).max(block);
        let longest = longest.saturating_sub(longest.checked_rem(block).unwrap_or(0));
        let end = position.saturating_add(bytes);
        let mut at = position;
        while at < end {
            let len = end.saturating_sub(at).min(longest);
            let unaligned =
                CommandError::Unaligned { what: WHAT, position: at, bytes: len, block_len: block };
            let blocks = Blocks::of(at, len, block).ok_or(unaligned)?;
            let written = abi::write_zeroes(self.file.as_fd(), self.id(), blocks, deallocates);
            written.map_err(failed(WHAT, at, len))?;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    /// Tells the controller that nobody wants the bytes of these ranges any more, and waits. What reads of them give then is the controller's
    /// choice; it may also do nothing.
    ///
    /// # Errors
    /// As [`Namespace::write_zeroes`].
    pub fn deallocate(&self, ranges: &[Range<u64>]) -> Result<(), CommandError> {
        const WHAT: &str = "a deallocation";
        self.check_writes(WHAT)?;
        self.check_command(WHAT, self.controller.has_deallocate(), 2)?;
        let stated = self.command_limits().unwrap_or_default();
        let or_none = |value: u64| if value == 0 { u64::MAX } else { value };
        let block = self.format.block_len;
        let blocks_max = or_none(stated.range_blocks_max.into()).min(u32::MAX.into());
        let blocks_max = blocks_max.min(or_none(stated.blocks_max));
        let mut pieces = Vec::new();
        for range in ranges {
            // One that ends before it begins is no range of the namespace.
            let bytes = range.end.checked_sub(range.start).unwrap_or(u64::MAX);
            self.check_range(WHAT, range.start, bytes)?;
            let (mut first, mut left) = (range.start / block, bytes / block);
            while left > 0 {
                let blocks = left.min(blocks_max);
                pieces.push((first, blocks));
                first = first.saturating_add(blocks);
                left = left.saturating_sub(blocks);
            }
        }
        let ranges_max = if stated.ranges_max == 0 { RANGES_MAX } else { stated.ranges_max.into() };
        let mut rest = &*pieces;
        while let Some(&(first, _)) = rest.first() {
            let (mut count, mut sum) = (0_usize, 0_u64);
            for (_, blocks) in rest.iter().take(ranges_max) {
                sum = sum.saturating_add(*blocks);
                if count > 0 && sum > or_none(stated.blocks_max) {
                    sum = sum.saturating_sub(*blocks);
                    break;
                }
                count = count.saturating_add(1);
            }
            let (now, later) = rest.split_at(count);
            let encode = |(first, blocks): &(u64, u64)| {
                command::range(*first, u32::try_from(*blocks).unwrap_or(u32::MAX))
            };
            let encoded: Vec<_> = now.iter().map(encode).collect();
            let done = abi::deallocate(self.file.as_fd(), self.id(), &encoded);
            let (at, bytes) = (first.saturating_mul(block), sum.saturating_mul(block));
            done.map_err(failed(WHAT, at, bytes))?;
            rest = later;
        }
        Ok(())
    }

    /// Returns the limits of commands without data; `None` where the controller does not state them.
    fn command_limits(&self) -> Option<CommandLimits> {
        let bytes = abi::identify(self.file.as_fd(), self.id(), Asked::ControllerNvm).ok()?;
        Some(CommandLimits::parse(&*bytes))
    }

    fn check_writes(&self, what: &'static str) -> Result<(), CommandError> {
        if self.commands.writes {
            Ok(())
        } else {
            Err(CommandError::ReadOnly { what, path: self.path.clone() })
        }
    }

    fn check_command(&self, what: &'static str, has: bool, bit: u8) -> Result<(), CommandError> {
        let (path, oncs) = (self.path.clone(), self.controller.oncs);
        if has { Ok(()) } else { Err(CommandError::Unsupported { what, path, oncs, bit }) }
    }

    fn check_range(&self, what: &'static str, position: u64, bytes: u64) -> Result<(), CommandError> {
        let (block_len, capacity) = (self.format.block_len, self.len_bytes());
        let whole = |value: u64| value.checked_rem(block_len) == Some(0);
        if !whole(position) || !whole(bytes) {
            return Err(CommandError::Unaligned { what, position, bytes, block_len });
        }
        if position.checked_add(bytes).is_none_or(|end| end > capacity) {
            return Err(CommandError::PastEnd { what, position, bytes, capacity });
        }
        Ok(())
    }
}

fn failed(what: &'static str, position: u64, bytes: u64) -> impl FnOnce(Status) -> CommandError {
    move |status| CommandError::Failed { what, position, bytes, why: CommandFault::of(status) }
}

fn refuse_metadata(path: &Path, format: &Format) -> Result<(), OpenError> {
    let (path, &Format { index, block_len, metadata_len, protection, .. }) = (path.to_owned(), format);
    match (metadata_len, protection) {
        (0, 0) => Ok(()),
        (0, _) => Err(OpenError::Protection { path, protection }),
        _ => Err(OpenError::Metadata { path, index, block_len, metadata_len }),
    }
}
