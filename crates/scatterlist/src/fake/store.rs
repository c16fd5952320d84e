//! [`Store`]: the arenas of the fake memory, who has which bytes, and what the device sees of them.
//!
//! Beneath [`FakeMemory`](super::FakeMemory). Addresses are plain numbers here, of the kind that leases hold.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::finding::{FakeError, FakeFinding};
use super::ram::Ram;
use crate::{Addr as _, CpuAddr};

/// What the device sees of leased memory before anything was cleaned.
pub(super) const STALE: u8 = 0xEE;
/// Findings kept; later ones are counted nowhere.
const FINDINGS_MAX: usize = 4096;
/// Set in a byte of `handed` that the device owns.
const HANDED: u16 = 0x100;

/// Who has a run of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Leased,
    Coherent,
    Quarantined,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    len: u64,
    kind: Kind,
}

#[derive(Debug)]
struct Arena {
    base: u64,
    len: u64,
    ram: Ram,
    /// What the device sees, where that is not the bytes themselves.
    shadow: Vec<u8>,
    /// The bytes as they were handed over, for those that the device owns.
    handed: Vec<u16>,
}

impl Arena {
    fn end(&self) -> u64 {
        self.base.saturating_add(self.len)
    }

    /// Returns where a run starts in this arena, when all of it is here.
    fn at(&self, addr: u64, len: u64) -> Option<(usize, usize)> {
        let at = addr.checked_sub(self.base)?;
        (at.checked_add(len)? <= self.len).then_some(())?;
        Some((usize::try_from(at).ok()?, usize::try_from(len).ok()?))
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read(at, &mut bytes);
        bytes
    }

    fn shadow_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        self.shadow.get_mut(at..at.saturating_add(len)).unwrap_or_default()
    }

    fn handed_mut(&mut self, at: usize, len: usize) -> &mut [u16] {
        self.handed.get_mut(at..at.saturating_add(len)).unwrap_or_default()
    }

    /// Remembers the bytes as they are.
    fn hand_over(&mut self, at: usize, len: usize) {
        let bytes = self.bytes(at, len);
        for (handed, byte) in self.handed_mut(at, len).iter_mut().zip(bytes) {
            *handed = HANDED | u16::from(byte);
        }
    }

    /// Remembers other bytes for what the device owns.
    fn note(&mut self, at: usize, bytes: &[u8]) {
        let handed = self.handed_mut(at, bytes.len()).iter_mut().zip(bytes);
        for (handed, byte) in handed.filter(|(handed, _)| **handed != 0) {
            *handed = HANDED | u16::from(*byte);
        }
    }

    fn forget_handed(&mut self, at: usize, len: usize) {
        self.handed_mut(at, len).fill(0);
    }

    /// Compares with what was handed over: the index of the first byte that differs, and how many do.
    fn written(&mut self, at: usize, len: usize) -> Option<(usize, usize)> {
        let bytes = self.bytes(at, len);
        let differs = |(handed, byte): (&mut u16, &u8)| *handed != 0 && *handed != HANDED | u16::from(*byte);
        first_and_count(self.handed_mut(at, len).iter_mut().zip(&bytes).map(differs))
    }
}

fn first_and_count(differs: impl Iterator<Item = bool>) -> Option<(usize, usize)> {
    let mut found = None;
    for (index, differs) in differs.enumerate() {
        if differs {
            let (first, count) = found.unwrap_or((index, 0_usize));
            found = Some((first, count.saturating_add(1)));
        }
    }
    found
}

/// The canary of an address.
fn canary(addr: u64) -> u8 {
    let [a, b, c, ..] = addr.to_le_bytes();
    a.wrapping_mul(31) ^ b ^ c ^ 0xA5
}

fn canaries(addr: u64, len: usize) -> Vec<u8> {
    (addr..=u64::MAX).take(len).map(canary).collect()
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Arenas and their state.
#[derive(Debug)]
pub(super) struct Store {
    /// Whether the device sees a shadow.
    synced: bool,
    /// A power of two.
    line_len: u64,
    arenas: Vec<Arena>,
    taken: BTreeMap<u64, Taken>,
    /// Oldest first.
    quarantine: VecDeque<(u64, u64)>,
    quarantined: u64,
    quarantine_max: u64,
    findings: Vec<FakeFinding>,
    /// How many of them were asked for.
    told: usize,
}

impl Store {
    pub(super) const fn new(synced: bool) -> Self {
        Self {
            synced,
            line_len: 1,
            arenas: Vec::new(),
            taken: BTreeMap::new(),
            quarantine: VecDeque::new(),
            quarantined: 0,
            quarantine_max: 1 << 20,
            findings: Vec::new(),
            told: 0,
        }
    }

    pub(super) fn set_quarantine_max(&mut self, bytes: u64) {
        self.quarantine_max = bytes;
        self.release();
    }

    pub(super) const fn set_line_len(&mut self, bytes: u64) {
        self.line_len = if bytes.is_power_of_two() { bytes } else { 1 };
    }

    /// Adds an arena at `base`, or where its bytes are.
    pub(super) fn add_arena(&mut self, base: Option<u64>, len: u64) -> Result<u64, FakeError> {
        let error = FakeError::Arena { base: base.unwrap_or(0), len };
        let ram = Ram::new(base.unwrap_or(0), len).ok_or(error)?;
        let base = base.unwrap_or_else(|| ram.cpu_addr().raw());
        let end = base.checked_add(len).ok_or(error)?;
        if self.arenas.iter().any(|arena| base <= arena.end() && arena.base <= end) {
            return Err(error);
        }
        let count = usize::try_from(len).map_err(|_| error)?;
        let shadow = if self.synced { vec![0; count] } else { Vec::new() };
        self.arenas.push(Arena { base, len, ram, shadow, handed: vec![0; count] });
        Ok(base)
    }

    pub(super) fn find(&mut self, finding: FakeFinding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub(super) fn findings(&mut self) -> Vec<FakeFinding> {
        self.told = self.findings.len();
        self.findings.clone()
    }

    pub(super) fn taken_bytes(&self, kind: Kind) -> u64 {
        self.taken.values().filter(|taken| taken.kind == kind).fold(0, |sum, run| sum.saturating_add(run.len))
    }

    fn arena(&mut self, addr: u64, len: u64) -> Option<(&mut Arena, usize, usize)> {
        self.arenas.iter_mut().find_map(|arena| {
            let (at, len) = arena.at(addr, len)?;
            Some((arena, at, len))
        })
    }

    pub(super) fn cpu_addr(&self, addr: u64, len: u64) -> Option<CpuAddr> {
        self.arenas.iter().find_map(|arena| {
            let (at, _) = arena.at(addr, len)?;
            arena.ram.cpu_addr().checked_add(number(at))
        })
    }

    /// Returns the address that stands for a CPU address, and the bytes of its arena from there on.
    pub(super) fn behind(&self, cpu: CpuAddr) -> Option<(u64, u64)> {
        self.arenas.iter().find_map(|arena| {
            let at = cpu.checked_offset_from(arena.ram.cpu_addr())?;
            let rest = arena.len.checked_sub(at).filter(|rest| *rest > 0)?;
            Some((arena.base.checked_add(at)?, rest))
        })
    }

    fn is_free(&self, addr: u64, len: u64) -> bool {
        let end = addr.saturating_add(len);
        let before = self.taken.range(..end).next_back();
        before.is_none_or(|(start, taken)| start.saturating_add(taken.len) <= addr)
    }

    /// Finds a free run, from `from` on.
    pub(super) fn free_run(&self, len: u64, align: u64, from: u64, addr_max: u64) -> Option<u64> {
        let up = |addr: u64| addr.checked_next_multiple_of(align.max(1));
        let mut bases: Vec<_> = self.arenas.iter().map(|arena| (arena.base, arena.end())).collect();
        bases.sort_unstable();
        bases.into_iter().find_map(|(base, arena_end)| {
            let mut addr = up(base.max(from))?;
            loop {
                let end = addr.checked_add(len)?;
                if end > arena_end || end.saturating_sub(1) > addr_max {
                    return None;
                }
                match self.taken.range(..end).next_back() {
                    Some((start, taken)) if start.saturating_add(taken.len) > addr => {
                        addr = up(start.saturating_add(taken.len))?;
                    }
                    _ => return Some(addr),
                }
            }
        })
    }

    /// Takes a free run; its bytes are zero, and stale for the device.
    pub(super) fn take(&mut self, addr: u64, len: u64, kind: Kind) -> Result<(), FakeError> {
        let error = FakeError::NotFree { addr, len };
        if len == 0 || !self.is_free(addr, len) {
            return Err(error);
        }
        let (arena, at, count) = self.arena(addr, len).ok_or(error)?;
        arena.ram.write(at, &vec![0; count]);
        arena.shadow_mut(at, count).fill(STALE);
        arena.forget_handed(at, count);
        self.taken.insert(addr, Taken { len, kind });
        Ok(())
    }

    /// Gives a run back: into the quarantine, and the oldest out of it.
    pub(super) fn give_back(&mut self, addr: u64) {
        let Some(taken) = self.taken.get_mut(&addr) else { return };
        taken.kind = Kind::Quarantined;
        let len = taken.len;
        self.fill_canaries(addr, len);
        self.quarantine.push_back((addr, len));
        self.quarantined = self.quarantined.saturating_add(len);
        self.release();
    }

    fn fill_canaries(&mut self, addr: u64, len: u64) {
        let Some((arena, at, count)) = self.arena(addr, len) else { return };
        let canaries = canaries(addr, count);
        arena.ram.write(at, &canaries);
        for (byte, canary) in arena.shadow_mut(at, count).iter_mut().zip(&canaries) {
            *byte = *canary;
        }
        arena.forget_handed(at, count);
    }

    /// Frees the oldest of the quarantine until it is within its bound.
    fn release(&mut self) {
        while self.quarantined > self.quarantine_max {
            let Some((addr, len)) = self.quarantine.pop_front() else { return };
            self.check_canaries(addr, len);
            self.quarantined = self.quarantined.saturating_sub(len);
            self.taken.remove(&addr);
        }
    }

    pub(super) fn check_quarantine(&mut self) {
        for (addr, len) in self.quarantine.clone() {
            self.check_canaries(addr, len);
        }
    }

    fn check_canaries(&mut self, addr: u64, len: u64) {
        let Some((arena, at, count)) = self.arena(addr, len) else { return };
        let canaries = canaries(addr, count);
        let bytes = arena.bytes(at, count);
        let shadow = arena.shadow_mut(at, count);
        // A coherent device writes the bytes themselves.
        let seen = if shadow.is_empty() { &bytes[..] } else { shadow };
        let differs = canaries
            .iter()
            .zip(&bytes)
            .zip(seen)
            .map(|((canary, byte), seen)| canary != byte || canary != seen);
        let Some((first, differ)) = first_and_count(differs) else { return };
        let (offset, bytes) = (number(first), number(differ));
        self.find(FakeFinding::QuarantineWrite { addr: addr.saturating_add(offset), offset, bytes });
        self.fill_canaries(addr, len);
    }

    /// Returns the runs that make up a range, each with who has it; `None` where nobody has a byte of it.
    fn pieces(&self, addr: u64, len: u64) -> Option<Vec<(u64, u64, Kind)>> {
        let end = addr.checked_add(len)?;
        let mut pieces = Vec::new();
        let mut at = addr;
        while at < end {
            let (start, taken) = self.taken.range(..=at).next_back()?;
            let stop = start.saturating_add(taken.len).min(end);
            let len = stop.checked_sub(at).filter(|len| *len > 0)?;
            pieces.push((at, len, taken.kind));
            at = stop;
        }
        Some(pieces)
    }

    /// Returns the leased runs within a range, whoever has the rest.
    fn leased(&self, addr: u64, len: u64) -> Vec<(u64, u64)> {
        let end = addr.saturating_add(len);
        let within = |(start, taken): (&u64, &Taken)| {
            let (from, to) = (addr.max(*start), end.min(start.saturating_add(taken.len)));
            let len = to.checked_sub(from).filter(|len| *len > 0)?;
            (taken.kind == Kind::Leased).then_some((from, len))
        };
        let runs =
            self.taken.range(..end).rev().map_while(|(start, taken)| {
                (start.saturating_add(taken.len) > addr).then_some((start, taken))
            });
        runs.filter_map(within).collect()
    }

    /// Rounds a range out to whole cache lines.
    fn lines(&self, addr: u64, len: u64) -> (u64, u64) {
        let mask = self.line_len.wrapping_sub(1);
        let end = addr.saturating_add(len).checked_next_multiple_of(self.line_len).unwrap_or(u64::MAX);
        (addr & !mask, end.saturating_sub(addr & !mask))
    }

    /// CPU to shadow.
    pub(super) fn clean(&mut self, addr: u64, len: u64) {
        let (start, lines_len) = self.lines(addr, len);
        for (addr, len) in self.leased(start, lines_len) {
            let Some((arena, at, count)) = self.arena(addr, len) else { continue };
            let bytes = arena.bytes(at, count);
            for (seen, byte) in arena.shadow_mut(at, count).iter_mut().zip(&bytes) {
                *seen = *byte;
            }
        }
        self.hand_over(addr, len);
    }

    /// Shadow to CPU.
    pub(super) fn invalidate(&mut self, addr: u64, len: u64) {
        self.compare(addr, len);
        let (start, lines_len) = self.lines(addr, len);
        for (addr, len) in self.leased(start, lines_len) {
            let Some((arena, at, count)) = self.arena(addr, len) else { continue };
            let seen = arena.shadow_mut(at, count).to_vec();
            arena.ram.write(at, &seen);
            // Still the device's where it was: the CPU reads.
            arena.note(at, &seen);
        }
    }

    pub(super) fn hand_over(&mut self, addr: u64, len: u64) {
        for (addr, len) in self.leased(addr, len) {
            if let Some((arena, at, count)) = self.arena(addr, len) {
                arena.hand_over(at, count);
            }
        }
    }

    pub(super) fn take_back(&mut self, addr: u64, len: u64) {
        self.compare(addr, len);
        self.forget_handed(addr, len);
    }

    pub(super) fn forget_handed(&mut self, addr: u64, len: u64) {
        if let Some((arena, at, count)) = self.arena(addr, len) {
            arena.forget_handed(at, count);
        }
    }

    /// Tells of a write by the CPU to what the device owns.
    fn compare(&mut self, addr: u64, len: u64) {
        let Some((arena, at, count)) = self.arena(addr, len) else { return };
        let Some((first, differ)) = arena.written(at, count) else { return };
        // Told once.
        let bytes = arena.bytes(at, count);
        arena.note(at, &bytes);
        let (offset, bytes) = (number(first), number(differ));
        self.find(FakeFinding::CpuWrite { addr: addr.saturating_add(offset), offset, bytes });
    }

    /// Reads bytes that somebody has, as the CPU sees them.
    pub(super) fn cpu_read(&mut self, addr: u64, into: &mut [u8]) -> bool {
        let len = number(into.len());
        self.pieces(addr, len).is_some()
            && self.arena(addr, len).is_some_and(|(arena, at, _)| arena.ram.read(at, into))
    }

    /// Writes leased bytes, as the CPU.
    pub(super) fn cpu_write(&mut self, addr: u64, from: &[u8]) -> bool {
        let len = number(from.len());
        self.forget_handed(addr, len);
        self.pieces(addr, len).is_some()
            && self.arena(addr, len).is_some_and(|(arena, at, _)| arena.ram.write(at, from))
    }

    /// Reads as the device; `false`, with nothing certain in `into`, where nobody has the bytes.
    pub(super) fn device_read(&mut self, addr: u64, into: &mut [u8]) -> bool {
        let Some(pieces) = self.pieces(addr, number(into.len())) else { return false };
        let mut rest = into;
        for (addr, len, kind) in pieces {
            let Some((arena, at, count)) = self.arena(addr, len) else { return false };
            let Some((here, after)) = rest.split_at_mut_checked(count) else { return false };
            if arena.shadow.is_empty() || kind == Kind::Coherent {
                arena.ram.read(at, here);
            } else {
                here.copy_from_slice(arena.shadow_mut(at, count));
            }
            rest = after;
        }
        true
    }

    /// Writes as the device; `false`, with nothing written, where nobody has the bytes.
    pub(super) fn device_write(&mut self, addr: u64, from: &[u8]) -> bool {
        let Some(pieces) = self.pieces(addr, number(from.len())) else { return false };
        if pieces.iter().any(|(addr, len, _)| self.arena(*addr, *len).is_none()) {
            return false;
        }
        let mut rest = from;
        for (addr, len, kind) in pieces {
            let Some((arena, at, count)) = self.arena(addr, len) else { return false };
            let Some((here, after)) = rest.split_at_checked(count) else { return false };
            if arena.shadow.is_empty() || kind == Kind::Coherent {
                arena.ram.write(at, here);
                // The bytes change by the device's hand, not the CPU's.
                arena.note(at, here);
            } else {
                arena.shadow_mut(at, count).copy_from_slice(here);
            }
            rest = after;
        }
        true
    }
}

impl Drop for Store {
    /// Says what nobody asked for. Coherent memory that is out is leaked: a device may hold it.
    fn drop(&mut self) {
        self.check_quarantine();
        #[cfg(feature = "std")]
        for finding in self.findings.iter().skip(self.told) {
            std::eprintln!("scatterlist: {finding}");
        }
        if self.taken_bytes(Kind::Coherent) > 0 {
            core::mem::forget(core::mem::take(&mut self.arenas));
        }
    }
}
