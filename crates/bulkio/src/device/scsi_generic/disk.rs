//! [`Disk`]: an open disk: the door that was chosen, the facts, the limits.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use scatterlist::{Limits, Source};

use super::admit::admit;
use super::commands::DiskCommands;
use super::counts::Counts;
use super::error::OpenError;
use super::facts::DiskFacts;
use super::limits::{DoorFacts, limits};
use super::options::{CopyReason, DiskOptions, DoorChoice, SgDirect};
use crate::device::DirectMode;
use crate::device::scsi::door::{Door, MapRule, Mapping};
use crate::device::scsi::folder::{Folder, Node, NodeKind};
use crate::engine::{CommandSet, Engine, FileError, FileId, FileOptions};
use crate::probe::host::{Host, read_number};

/// The doors in the order of preference.
const DOORS: [NodeKind; 3] = [NodeKind::Block, NodeKind::Bsg, NodeKind::Generic];

/// A disk, open for commands.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    folder: Folder,
    door: Arc<Door>,
    commands: Arc<DiskCommands>,
    facts: DiskFacts,
    limits: Limits,
    direct: Result<(), CopyReason>,
}

impl Disk {
    /// Opens the disk behind a node: a whole disk's block node, bsg, or `/dev/sg`; another of its nodes where the options say so.
    ///
    /// It claims nothing: see [`block_sibling`] for what to hold exclusively. Nothing is written.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: &DiskOptions) -> Result<Self, OpenError> {
        let not_scsi = || OpenError::NotScsi { path: path.to_owned() };
        // Looked at before it is opened: some nodes act when they are.
        let (folder, named) = Folder::at(path).ok_or_else(not_scsi)?;
        let node = |kind| folder.node(kind).map(|node| (kind, node.path));
        let no_door = |kind| OpenError::NoDoor { path: path.to_owned(), kind };
        let (kind, path) = match options.door {
            DoorChoice::Named => (named, path.to_owned()),
            DoorChoice::Only(kind) if kind == named => (named, path.to_owned()),
            DoorChoice::Only(kind) => node(kind).ok_or_else(|| no_door(kind))?,
            DoorChoice::Auto => DOORS.into_iter().find_map(node).ok_or_else(|| no_door(NodeKind::Block))?,
        };
        let fd = open(&path, options.writes)?;
        // The name may lead elsewhere by now.
        match Folder::of(&fd) {
            Some((found, found_kind)) if found.address() == folder.address() && found_kind == kind => {}
            _ => return Err(OpenError::NotScsi { path }),
        }
        Self::make(path, Arc::new(fd), folder, kind, options)
    }

    /// Takes an open node, which is used as it is: [`DiskOptions::door`] is not looked at. `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_fd(fd: Arc<OwnedFd>, path: &Path, options: &DiskOptions) -> Result<Self, OpenError> {
        let (folder, kind) = Folder::of(&fd).ok_or_else(|| OpenError::NotScsi { path: path.to_owned() })?;
        Self::make(path.to_owned(), fd, folder, kind, options)
    }

    fn make(
        path: PathBuf,
        fd: Arc<OwnedFd>,
        folder: Folder,
        kind: NodeKind,
        options: &DiskOptions,
    ) -> Result<Self, OpenError> {
        let stated = rule_of(&folder);
        let (mapping, direct) = match kind {
            NodeKind::Generic => sg_mapping(options.sg_direct),
            _ => (Mapping::Rule(stated.0), Ok(())),
        };
        if let (DirectMode::Require, Err(reason)) = (options.direct, direct) {
            return Err(OpenError::Copies { path, reason });
        }
        let not_scsi = |_| OpenError::NotScsi { path: path.clone() };
        let door = Arc::new(Door::new(fd, kind, mapping).map_err(not_scsi)?);
        let facts = admit(&*door, &path, options)?;
        let door_facts = door_facts(&door, &folder, stated, direct.is_ok());
        let limits =
            limits(&door_facts, &facts).map_err(|source| OpenError::Limits { path: path.clone(), source })?;
        if kind == NodeKind::Generic && direct.is_err() {
            reserve(&door, &limits);
        }
        let transport = Arc::clone(&door);
        let commands = DiskCommands::new(transport, facts.block_bytes, options.timeout);
        let commands = Arc::new(commands.with_folder(folder.clone()));
        Ok(Self { path, folder, door, commands, facts, limits, direct })
    }

    /// Returns the node that is used.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the device in sysfs, which knows its other nodes.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Returns the door that is used: for small commands, and for its kind.
    #[must_use]
    pub const fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Says whether the device reaches the memory itself, where that suits the limits.
    ///
    /// # Errors
    /// [`CopyReason`]: why the kernel copies.
    pub const fn direct(&self) -> Result<(), CopyReason> {
        self.direct
    }

    /// Returns what the disk says of itself.
    #[must_use]
    pub const fn facts(&self) -> &DiskFacts {
        &self.facts
    }

    /// Returns what a command may be.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the bytes that the disk holds.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.facts.len_bytes()
    }

    /// Returns what went through the door so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.commands.counts()
    }

    /// Returns how transfers become commands.
    #[must_use]
    pub const fn commands(&self) -> &Arc<DiskCommands> {
        &self.commands
    }

    /// Adds the disk to an engine. Its requests are submitted with [`limits`](Self::limits), at positions in bytes.
    ///
    /// # Errors
    /// As [`Engine::add_commands`].
    pub fn add_to<O: 'static, C>(&self, engine: &mut Engine<O, C>) -> Result<FileId, FileError> {
        let commands: Arc<dyn CommandSet> = Arc::clone(&self.commands) as _;
        // No ring carries these commands.
        let options = FileOptions { registered: false, ..FileOptions::default() };
        engine.add_commands(Arc::clone(self.door.fd()), commands, options)
    }
}

/// Returns the block node of the device behind any of its nodes, which is what other users of the disk hold: to write to a disk through
/// another door, open this one with `O_EXCL`, and keep it open. `None` where there is none: a tape, or a disk without a driver.
#[must_use]
pub fn block_sibling(path: &Path) -> Option<Node> {
    Folder::at(path)?.0.node(NodeKind::Block)
}

fn open(path: &Path, writes: bool) -> Result<OwnedFd, OpenError> {
    let failed = |error: io::Error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        OpenError::Open { path: path.to_owned(), writes, errno }
    };
    // A drive without a medium, and an sg node that somebody holds, answer at once.
    let file = File::options().read(true).write(writes).custom_flags(libc::O_NONBLOCK).open(path);
    file.map(OwnedFd::from).map_err(failed)
}

/// By which rule the kernel maps memory for the device, and who says so.
fn rule_of(folder: &Folder) -> (MapRule, Source) {
    let gap_mask = folder.queue_number("virt_boundary_mask").unwrap_or(0);
    match folder.queue_number("dma_alignment") {
        Some(align_mask) => (MapRule { align_mask, gap_mask }, Source::Sysfs),
        None => (MapRule { gap_mask, ..MapRule::UNKNOWN }, Source::Default),
    }
}

/// Whether `/dev/sg` may map (`drivers/scsi/sg.c`, `allow_dio`), and is asked to.
fn sg_mapping(promise: Option<SgDirect>) -> (Mapping, Result<(), CopyReason>) {
    if promise.is_none() {
        return (Mapping::Never, Err(CopyReason::MayOutlive));
    }
    match read_number(&Host::default().sys.join("module/sg/parameters/allow_dio")) {
        Some(0) => (Mapping::Never, Err(CopyReason::NotAllowed)),
        Some(_) => (Mapping::Asked, Ok(())),
        None => (Mapping::Never, Err(CopyReason::Unknown)),
    }
}

fn door_facts(door: &Door, folder: &Folder, stated: (MapRule, Source), is_direct: bool) -> DoorFacts {
    let in_bytes = |attribute| folder.queue_number(attribute).and_then(|kb| kb.checked_mul(1024));
    let is_generic = door.kind() == NodeKind::Generic;
    DoorFacts {
        kind: door.kind(),
        is_direct,
        rule: stated.0,
        rule_source: stated.1,
        queue_bytes_max: in_bytes("max_hw_sectors_kb"),
        queue_bytes_soft: in_bytes("max_sectors_kb"),
        segments_max: folder.queue_number("max_segments").or_else(|| folder.host_number("sg_tablesize")),
        segment_len_max: folder.queue_number("max_segment_size"),
        sg_bytes_max: if is_generic { door.sg_transfer_bytes_max().ok() } else { None },
        sg_segments_max: if is_generic { door.sg_segments_max().ok() } else { None },
        // Lossless: Linux has no sizes beyond 64 bits.
        page_bytes: rustix::param::page_size() as u64,
    }
}

/// Asks for a buffer as long as the longest command. Whatever is given will do: the kernel finds memory for each command that it does not
/// suit.
fn reserve(door: &Door, limits: &Limits) {
    let longest = limits.hard_value(scatterlist::LimitId::TransferLenMax);
    let _given = door.sg_reserve(u32::try_from(longest).unwrap_or(u32::MAX));
}
