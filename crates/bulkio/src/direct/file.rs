//! [`Inner`]: what is known of an open file or device: its two routes, its limits, and where a range of bytes may lie.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use scatterlist::{Direction, LimitId, Limits, LimitsError};

use super::cover::Cover;
use super::memory::Memory;
use super::range_lock::{LockKey, RangeLocks};
use super::{Moved, OpenError, TransferError, TransferErrorKind};
use crate::device::{DirectRefused, Routes};
use crate::probe::{Kind, Probe};

/// The last position that a file can have: the greatest `loff_t`.
const POSITION_MAX: u64 = i64::MAX.unsigned_abs();

/// The longest operation that nothing of is copied, in bytes: as many pages as one vector names.
const OPERATION_LEN_MAX: u64 = 4 << 20;

/// Which way an operation takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Target {
    /// Past the page cache.
    Direct,
    /// Through the page cache.
    Cached,
}

/// An open file or device.
#[derive(Debug)]
pub(super) struct Inner {
    path: PathBuf,
    routes: Routes,
    readable: bool,
    writable: bool,
    edge_readable: bool,
    block: u64,
    /// Bytes of a device; a file has what it has.
    capacity: Option<u64>,
    lock_granule: u64,
    bounce_len: u64,
    /// For memory that is aligned, for memory that is not, and for the page cache.
    direct_limits: Limits,
    bounce_limits: Limits,
    cached_limits: Limits,
    locks: Arc<RangeLocks>,
}

impl Inner {
    /// Puts together what a probe and an open found. Bounced operations are at most `bounce_len` bytes long.
    pub(super) fn new(
        probe: &Probe,
        routes: Routes,
        (readable, writable): (bool, bool),
        bounce_len: u64,
    ) -> Result<Self, OpenError> {
        let path = probe.path.clone();
        let limits = probe.limits;
        let block = match routes.direct() {
            Ok(_) => {
                let total = limits.hard_value(LimitId::TotalLenAlign);
                let longer = limits.hard_value(LimitId::PositionAlign).max(total);
                // One is a multiple of the other on every device that there is; where not, the planner says so.
                longer.max(1)
            }
            Err(_) => 1,
        };
        if block > bounce_len {
            return Err(OpenError::Block { path, block_bytes: block, slot_bytes: bounce_len });
        }
        let key = match &probe.kind {
            Kind::File(file) => {
                LockKey::File { device: (file.device.major, file.device.minor), inode: file.inode }
            }
            Kind::BlockDevice(device) => {
                LockKey::Device { number: (device.number.major, device.number.minor) }
            }
            _ => return Err(OpenError::NotPositioned { path, what: "stream" }),
        };
        let capacity = matches!(probe.kind, Kind::BlockDevice(_)).then_some(probe.size).flatten();
        let limit = |limits: &Limits, len: u64| capped(limits, len, block);
        let built = (|| {
            let direct = limit(&limits, OPERATION_LEN_MAX)?;
            let bounce = limit(&limits, bounce_len)?;
            Ok((direct, bounce, limit(probe.buffered_limits(), OPERATION_LEN_MAX)?))
        })();
        let (direct_limits, bounce_limits, cached_limits) =
            built.map_err(|error| OpenError::Limits { path: path.clone(), error })?;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        Ok(Self {
            path,
            readable,
            writable,
            edge_readable: routes.direct().is_ok_and(|fd| may_read(fd)),
            block,
            capacity,
            lock_granule: block.max(page),
            bounce_len: bounce_len - bounce_len % block,
            direct_limits,
            bounce_limits,
            cached_limits,
            locks: RangeLocks::shared(key),
            routes,
        })
    }

    pub(super) const fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(super) fn direct(&self) -> Result<(), DirectRefused> {
        self.routes.direct().map(|_| ())
    }

    pub(super) fn descriptor(&self, target: Target) -> &Arc<OwnedFd> {
        match (target, self.routes.direct()) {
            (Target::Direct, Ok(fd)) => fd,
            _ => self.routes.buffered(),
        }
    }

    pub(super) fn best_limits(&self) -> &Limits {
        self.routes.limits()
    }

    /// Returns the way that transfers take, and the length of a block on it.
    pub(super) fn route(&self) -> (Target, u64) {
        if self.routes.direct().is_ok() { (Target::Direct, self.block) } else { (Target::Cached, 1) }
    }

    /// Returns the length of a block of the direct way, in bytes.
    pub(super) const fn block(&self) -> u64 {
        self.block
    }

    /// Returns the longest operation that is copied, in bytes.
    pub(super) const fn bounce_len(&self) -> u64 {
        self.bounce_len
    }

    /// Says whether blocks can be read back past the page cache.
    pub(super) const fn is_edge_readable(&self) -> bool {
        self.edge_readable
    }

    pub(super) const fn locks(&self) -> &Arc<RangeLocks> {
        &self.locks
    }

    /// Returns the limits for an operation on the first bytes of `memory`.
    pub(super) fn limits(&self, target: Target, memory: &Memory) -> &Limits {
        if target == Target::Cached {
            return &self.cached_limits;
        }
        let totals = memory.list().totals();
        let align = self.direct_limits.hard_value(LimitId::AddrAlign);
        let piece = self.direct_limits.hard_value(LimitId::PieceLenAlign);
        let over = |bits: u64, align: u64| bits.checked_rem(align).unwrap_or(0) != 0;
        let crooked = over(totals.start_bits, align) || over(totals.len_bits, piece);
        if crooked { &self.bounce_limits } else { &self.direct_limits }
    }

    /// Returns the direct way for a read that is one operation as it is: whole blocks into memory that suits them.
    pub(super) fn plain_read(&self, buf: &[u8], offset: u64) -> Option<&OwnedFd> {
        let fd = self.routes.direct().ok().filter(|_| self.readable)?;
        let len = u64::try_from(buf.len()).ok().filter(|len| *len > 0)?;
        let suits = |value: u64, limit| value.checked_rem(self.direct_limits.hard_value(limit)) == Some(0);
        let whole = offset.checked_rem(self.block) == Some(0) && len.checked_rem(self.block) == Some(0);
        let suited =
            suits(buf.as_ptr().addr() as u64, LimitId::AddrAlign) && suits(len, LimitId::PieceLenAlign);
        let short = len <= self.direct_limits.hard_value(LimitId::TransferLenMax);
        let inside = offset.checked_add(len).is_some_and(|end| end <= POSITION_MAX);
        (whole && suited && short && inside).then_some(&**fd)
    }

    /// Returns the blocks that a transfer touches; `None` where a read has nothing to read.
    pub(super) fn cover(
        &self,
        direction: Direction,
        offset: u64,
        len: u64,
        block: u64,
    ) -> Result<Option<Cover>, TransferErrorKind> {
        match direction {
            Direction::FromDevice if !self.readable => return Err(TransferErrorKind::NotReadable),
            Direction::ToDevice if !self.writable => return Err(TransferErrorKind::NotWritable),
            _ => {}
        }
        let last = POSITION_MAX - POSITION_MAX.checked_rem(block).unwrap_or(0);
        let max =
            if direction == Direction::ToDevice { self.capacity.unwrap_or(last).min(last) } else { last };
        let end = offset.checked_add(len).filter(|end| *end <= max);
        let Some(end) = end else { return Err(TransferErrorKind::Position { max }) };
        // What ends past a device is read up to there.
        let end = end.min(self.capacity.unwrap_or(last));
        Ok(Cover::new(offset, end.saturating_sub(offset), block))
    }

    /// Returns the range that a write of these blocks locks: whole pages, since the page cache works in these.
    pub(super) fn lock_range(&self, cover: &Cover) -> (u64, u64) {
        let granule = self.lock_granule;
        let over = cover.lo.checked_rem(granule).unwrap_or(0);
        (cover.lo.saturating_sub(over), cover.hi.checked_next_multiple_of(granule).unwrap_or(u64::MAX))
    }

    /// Asks for the size, in bytes.
    pub(super) fn size(&self) -> Result<u64, u32> {
        if let Some(capacity) = self.capacity {
            return Ok(capacity);
        }
        let stat = rustix::fs::fstat(self.routes.buffered());
        let stat = stat.map_err(|errno| errno.raw_os_error().unsigned_abs())?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    pub(super) fn transfer_error(
        &self,
        direction: Direction,
        offset: u64,
        len: u64,
        moved: Moved,
        kind: TransferErrorKind,
    ) -> TransferError {
        TransferError { path: self.path.clone(), direction, offset, len, moved, kind }
    }
}

/// Returns limits whose operations are at most `len` bytes long, in whole blocks.
fn capped(limits: &Limits, len: u64, block: u64) -> Result<Limits, LimitsError> {
    let len = len.min(limits.hard_value(LimitId::TransferLenMax));
    let over = len.checked_rem(block).unwrap_or(0);
    limits.to_builder().hard(LimitId::TransferLenMax, len.saturating_sub(over).max(block)).build()
}

fn may_read(fd: &OwnedFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| !flags.contains(OFlags::WRONLY))
}
