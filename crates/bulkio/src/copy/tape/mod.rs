//! Copies with a tape at one end or both.
//!
//! A tape takes one command at a time and must not stand still, so it has a thread of its own, and a buffer of slots between it and
//! the other end: `ring`, with the marks of `gate`. `writer` and `reader` are what such a thread does. The other end is any
//! [`Device`](crate::device::Device), read (`feed`) or written (`drain`) through an engine at a depth, as in every copy; or a second tape.
//! `checks` come before, `ending` after; `layout` lays tape blocks and disk blocks over slots, `side` counts.
//!
//! Contract: everything that can be known is checked before anything is written; what was written before an error is whole, closed by a filemark or
//! settled, and told with its place.

mod checks;
mod drain;
mod ending;
mod feed;
mod layout;
mod options;
mod reader;
mod ring;
mod side;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

pub use options::{TapeCopy, TapeFiles};
pub use side::TapeReport;

use super::ends::target::Target;
use super::gate::Marks;
use super::options::{CopyOptions, End, Observer, Phase};
use super::pipeline::finish::told;
use super::pipeline::{WAIT, wants_command_ring};
use super::watch::Watch;
use super::{CopyError, CopyFailure, Report, Side, SideReport, ends};
use crate::device::Class;
use crate::device::tape::{self, Access, BlockMode, Tape, TapeOptions};
use crate::engine::{Engine, EngineChoice, EngineOptions, FixedRegion};
use crate::pages::{PagePool, PoolOptions};
use checks::{block_len, check_blocks, check_direct, check_no_bytes, name_of_files, read_slot_len};
use drain::{Drain, Targets};
use ending::{Summary, finish};
use feed::Feed;
use layout::Layout;
use reader::Reading;
use ring::{Ring, StopAtEnd};
use side::Ended;
use writer::Writing;

/// Bytes of a slot that blocks of unknown length are read into.
const READ_SLOT_LEN: u64 = 4 << 20;

/// An end of a copy with a tape.
#[derive(Debug)]
pub(super) enum TapeEnd<'a> {
    /// A tape, open.
    Tape(Tape),
    /// Something else, not yet open.
    Other(End<'a>),
}

/// Copies where one end is a tape; `None` where none is.
pub(super) fn copy(
    source: End<'_>,
    destination: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Option<Result<Report, CopyFailure>> {
    let is_tape = |end| matches!(end, End::Path(path) if tape::is_tape(path));
    if !is_tape(source) && !is_tape(destination) {
        let what = options.tape.needs_tape()?;
        return Some(Err(CopyError::TapeOption { what }.into()));
    }
    let not_plain = options.check_plain("is for files, disks and pipes, and one end is a tape");
    if let Err(error) = not_plain {
        return Some(Err(error.into()));
    }
    let open = |end, access| match end {
        End::Path(path) if is_tape(end) => {
            let tape = Tape::open(path, &TapeOptions { access, ..TapeOptions::default() });
            tape.map(TapeEnd::Tape).map_err(CopyError::TapeRefused)
        }
        other => Ok(TapeEnd::Other(other)),
    };
    let opened =
        open(source, Access::Read).and_then(|source| Ok((source, open(destination, Access::Write)?)));
    Some(match opened {
        Ok((source, destination)) => copy_between(source, destination, options, observer),
        Err(error) => Err(error.into()),
    })
}

/// Copies between ends of which one is a tape.
pub(super) fn copy_between(
    source: TapeEnd<'_>,
    destination: TapeEnd<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    options.tape.check()?;
    super::rescue::check_kind(options, "a tape")?;
    match (source, destination) {
        (TapeEnd::Tape(from), TapeEnd::Tape(to)) => tape_to_tape(from, to, options, observer),
        (TapeEnd::Tape(from), TapeEnd::Other(to)) => tape_to_device(from, to, options, observer),
        (TapeEnd::Other(from), TapeEnd::Tape(to)) => device_to_tape(from, to, options, observer),
        (TapeEnd::Other(from), TapeEnd::Other(to)) => super::copy(from, to, options, observer),
    }
}

fn device_to_tape(
    from: End<'_>,
    to: Tape,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    check_no_bytes(&to, [("--seek", Some(options.seek)), ("", None)])?;
    let source = ends::open_source_end(from, options)?;
    let len = ends::range_len(&*source, options)?;
    let block = block_len(&to, options)?;
    check_blocks(&to, block, len, options)?;
    check_direct(&to, Side::Destination, Some(block), options)?;
    let unit = ends::direct_unit(&*source);
    let layout = Layout::new(block, unit, options.skip, options.plain_block_len());
    ends::require_direct_of(Side::Source, &*source, layout.bounce.as_deref(), options)?;

    let slots = layout::slots(layout.slot_len, options.tape.buffer_len, len.or(options.count));
    let pool = pool(layout.slot_len, slots)?;
    let mut engine =
        engine(options.engine, options.plain_depth(), Some(&pool), wants_command_ring(&*source))?;
    let engine_report = engine.report().clone();
    let ring = Ring::new(Some(engine.remote().map_err(CopyError::Wake)?));
    let (done_bytes, marks) = (AtomicU64::new(0), marks(options, slots));
    let mut watch = Watch::new(observer, &done_bytes, len);
    let slot_len = layout.slot_len;
    let mut feed = Feed {
        report: SideReport::new(
            source.path().display().to_string(),
            source.class().name(),
            layout.unit.is_some(),
        ),
        source: &*source,
        engine,
        pool: &pool,
        ring: &ring,
        layout,
        block,
        pad: options.tape.pad,
        fixed: to.mode() != BlockMode::Variable,
        skip: options.skip,
        len,
        len_max: options.count,
        depth: options.plain_depth(),
    };
    let tape = SideReport::new(to.path().display().to_string(), Class::Tape.name(), false);
    watch.begin(&feed.report, &tape, slot_len, options.plain_depth());
    watch.tell(Phase::Copying, (0, 0));
    let writing = Writing { ring: &ring, marks, sync: options.sync, done_bytes: &done_bytes };
    let (fed, ended) = thread::scope(|scope| {
        let _stop = StopAtEnd(&ring);
        let tape = scope.spawn(|| writer::write(to, writing));
        let fed = feed.run(&mut watch);
        ring.end();
        while !ring.wait_done(WAIT) {
            if watch.tell(Phase::Copying, (0, 0)) {
                ring.stop();
            }
        }
        (fed, joined(tape.join()))
    });
    let ended = ended?;
    let summary = Summary {
        engine: engine_report,
        pool: &pool,
        block_len: slot_len,
        synced: ended.synced,
        notes: Vec::new(),
    };
    let source_report = told(&feed.report, &*source);
    finish(&mut watch, options, summary, (source_report, Ok(fed)), Side::Destination, ended)
}

fn tape_to_device(
    from: Tape,
    to: End<'_>,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    check_no_bytes(&from, [("--skip", Some(options.skip)), ("--count", options.count)])?;
    check_direct(&from, Side::Source, None, options)?;
    let (done_bytes, read_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut watch = Watch::new(observer, &done_bytes, None);
    let mut notes = Vec::new();
    let targets = match (options.tape.files, to) {
        (TapeFiles::One, end) => {
            Targets::One(Some(Target::open(end, options, watch.observer(), &mut notes)?))
        }
        (_, End::Path(path)) => Targets::Numbered { name: name_of_files(path), files: 0 },
        (_, End::Stdin | End::Stdout) => {
            let path = PathBuf::from("standard output");
            return Err(CopyError::TapeFilesToOne { path }.into());
        }
    };
    if let (Targets::Numbered { .. }, End::Path(path)) = (&targets, to)
        && std::fs::metadata(path).is_ok_and(|found| !found.is_dir())
    {
        return Err(CopyError::TapeFilesToOne { path: path.to_owned() }.into());
    }
    let unit = match &targets {
        Targets::One(target) => target.as_ref().map_or(1, |target| target.unit),
        Targets::Numbered { .. } => crate::probe::DEFAULT_ALIGN_BYTES,
    };
    let path = match &targets {
        Targets::One(Some(target)) => target.device.path().display().to_string(),
        Targets::One(None) => String::new(),
        Targets::Numbered { name, .. } => format!("{}.*", name.display()),
    };
    let class = match &targets {
        Targets::One(Some(target)) => target.device.class(),
        _ => Class::File,
    };
    let slot_len = read_slot_len(&from, options, unit);
    let slots = layout::slots(slot_len, options.tape.buffer_len, None);
    let pool = pool(slot_len, slots)?;
    let commands = matches!(&targets, Targets::One(Some(target)) if wants_command_ring(&*target.device));
    let mut engine = engine(options.engine, options.plain_depth().saturating_add(1), Some(&pool), commands)?;
    let engine_report = engine.report().clone();
    let ring = Ring::new(Some(engine.remote().map_err(CopyError::Wake)?));
    let report = SideReport::new(path, class.name(), false);
    let tape = SideReport::new(from.path().display().to_string(), Class::Tape.name(), false);
    watch.begin(&tape, &report, slot_len, options.plain_depth());
    watch.tell(Phase::Copying, (0, 0));
    let mut drain = Drain::new(engine, &ring, options, targets, unit, report, &done_bytes);
    drain.notes = notes;
    let reading = Reading {
        ring: &ring,
        pool: &pool,
        marks: marks(options, slots),
        unit,
        block_align: 1,
        files: options.tape.files,
        double_filemark_ends: options.tape.double_filemark_ends,
        done_bytes: &read_bytes,
    };
    let (drained, ended) = thread::scope(|scope| {
        let _stop = StopAtEnd(&ring);
        let tape = scope.spawn(|| reader::read(from, reading));
        let drained = drain.run(&mut watch);
        // Whatever happened here, the tape need not read on.
        ring.stop();
        (drained, joined(tape.join()))
    });
    let ended = ended?;
    let mut notes = std::mem::take(&mut drain.notes);
    if matches!(drain.targets, Targets::Numbered { .. }) {
        notes.push(format!("{} files", drain.files()));
    }
    let synced = drain.is_synced();
    let summary = Summary { engine: engine_report, pool: &pool, block_len: slot_len, synced, notes };
    let report = drain.report.clone();
    finish(&mut watch, options, summary, (report, Ok(drained)), Side::Source, ended)
}

fn tape_to_tape(
    from: Tape,
    to: Tape,
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    check_no_bytes(&from, [("--skip", Some(options.skip)), ("--count", options.count)])?;
    check_no_bytes(&to, [("--seek", Some(options.seek)), ("", None)])?;
    check_direct(&from, Side::Source, None, options)?;
    check_direct(&to, Side::Destination, None, options)?;
    if let (BlockMode::Fixed(source), BlockMode::Fixed(block)) = (from.mode(), to.mode())
        && source != block
    {
        to.check_write(source.get().into()).map_err(CopyError::TapeRefused)?;
    }
    let slot_len = read_slot_len(&from, options, 1);
    let slots = layout::slots(slot_len, options.tape.buffer_len, None);
    let pool = pool(slot_len, slots)?;
    // Tapes need no engine: theirs are plain calls, on a thread for each.
    let engine_report = engine::<(), ()>(EngineChoice::Threads, 1, None, false)?.report().clone();
    let ring = Ring::new(None);
    let (done_bytes, read_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut watch = Watch::new(observer, &done_bytes, None);
    let side = |tape: &Tape| SideReport::new(tape.path().display().to_string(), Class::Tape.name(), false);
    watch.begin(&side(&from), &side(&to), slot_len, options.plain_depth());
    watch.tell(Phase::Copying, (0, 0));
    let marks = marks(options, slots);
    let reading = Reading {
        ring: &ring,
        pool: &pool,
        marks,
        unit: 1,
        block_align: to.direct_rule().addr_align,
        files: options.tape.files,
        double_filemark_ends: options.tape.double_filemark_ends,
        done_bytes: &read_bytes,
    };
    let writing = Writing { ring: &ring, marks, sync: options.sync, done_bytes: &done_bytes };
    let (read, ended) = thread::scope(|scope| {
        let _stop = StopAtEnd(&ring);
        let reader = scope.spawn(|| reader::read(from, reading));
        let writer = scope.spawn(|| writer::write(to, writing));
        while !writer.is_finished() || !reader.is_finished() {
            ring.wait_changed(WAIT / 4);
            if watch.tell(Phase::Copying, (0, 0)) {
                ring.stop();
            }
        }
        (joined(reader.join()), joined(writer.join()))
    });
    let (read, ended) = (read?, ended?);
    let summary = Summary {
        engine: engine_report,
        pool: &pool,
        block_len: slot_len,
        synced: ended.synced,
        notes: read.notes,
    };
    finish(&mut watch, options, summary, (read.report, Err(read.error)), Side::Destination, ended)
}

fn pool(slot_len: u64, slots: usize) -> Result<Arc<PagePool>, CopyError> {
    let slot_len = usize::try_from(slot_len).unwrap_or(usize::MAX);
    Ok(Arc::new(PagePool::new(PoolOptions::uniform(slot_len, slots))?))
}

fn engine<O: 'static, C>(
    kind: EngineChoice,
    depth: u32,
    pool: Option<&Arc<PagePool>>,
    commands: bool,
) -> Result<Engine<O, C>, CopyError> {
    let fixed = pool.map(|pool| FixedRegion::from_pool(Arc::clone(pool)));
    let fixed = fixed.into_iter().collect();
    Ok(Engine::new(EngineOptions { kind, depth, fixed, commands, ..EngineOptions::default() })?)
}

fn marks(options: &CopyOptions, slots: usize) -> Marks {
    Marks::new(slots, options.tape.start_percent, options.tape.pause_percent)
}

/// A thread that panicked has told why already.
fn joined(result: thread::Result<Ended>) -> Result<Ended, CopyError> {
    result.map_err(|_| CopyError::TapeThread)
}
