//! [`Store`]: the table pages, numbered, and the walks through them. It knows entries, not what a page may be.
//!
//! An entry is 0, or the number of a table of the level below with the bit [`TABLE`], or anything else: a page. Table 0 is the root, of level 3; level 0 is
//! the lowest. Each table counts its entries that are not 0. A table that has none waits in a queue (those just made too), and what
//! leaves the queue and is still empty is freed. Ranges are given by their first and last address, below 2^48.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::super::align_down;
use super::super::page_table::{PageMapError, Unmapped};

/// Empty table pages that a flush leaves in place.
pub const EMPTY_TABLES_MAX: usize = 64;

/// Bytes of a table page.
pub const TABLE_BYTES: u64 = 4096;

const FAN: usize = 512;
const FAN_BITS: u32 = 9;
const PAGE_BITS: u32 = 12;
const ROOT: u32 = 0;
const ROOT_LEVEL: u32 = 3;

/// An entry of nothing.
pub(super) const EMPTY: u64 = 0;

/// The bit that makes an entry a table; its number stands above [`PAGE_BITS`].
const TABLE: u64 = 1 << 2;

type Entries = [u64; FAN];

#[derive(Debug)]
struct Table {
    /// `None`: the number is vacant.
    entries: Option<Box<Entries>>,
    /// Entries that are not empty.
    used: u32,
    /// Whether it waits in the queue of those that may be empty.
    queued: bool,
    /// The entry that holds this table.
    parent: u32,
    index: usize,
}

/// The end of a walk: an entry that is no table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) table: u32,
    pub(super) level: u32,
    pub(super) entry: u64,
}

/// The lowest table that was walked to last.
#[derive(Clone, Copy, Debug)]
struct Recent {
    /// The addresses that it translates, divided by how many they are.
    block: u64,
    table: u32,
}

const NO_RECENT: Recent = Recent { block: u64::MAX, table: ROOT };

#[derive(Debug)]
pub(super) struct Store {
    all: Vec<Table>,
    vacant: Vec<u32>,
    maybe_empty: VecDeque<u32>,
    recent: Recent,
    tables: u64,
    tables_max: u64,
}

/// Bytes that one entry of `level` stands for.
#[inline]
pub(super) const fn level_bytes(level: u32) -> u64 {
    1_u64.wrapping_shl(shift(level))
}

#[inline]
const fn shift(level: u32) -> u32 {
    PAGE_BITS.wrapping_add(FAN_BITS.wrapping_mul(level))
}

/// The index of the entry for `iova` in its table of `level`.
#[inline]
pub(super) fn fan_index(iova: u64, level: u32) -> usize {
    usize::try_from(iova.wrapping_shr(shift(level))).unwrap_or(usize::MAX) & FAN.wrapping_sub(1)
}

/// The table that an entry stands for, if it does.
#[inline]
fn child(entry: u64) -> Option<u32> {
    if entry & TABLE == 0 { None } else { u32::try_from(entry.wrapping_shr(PAGE_BITS)).ok() }
}

impl Store {
    pub(super) fn new(tables_max: u32) -> Self {
        Self {
            all: Vec::new(),
            vacant: Vec::new(),
            maybe_empty: VecDeque::new(),
            recent: NO_RECENT,
            tables: 0,
            tables_max: u64::from(tables_max),
        }
    }

    pub(super) const fn tables(&self) -> u64 {
        self.tables
    }

    #[inline]
    fn get(&self, table: u32) -> Option<&Table> {
        self.all.get(usize::try_from(table).ok()?)
    }

    #[inline]
    fn get_mut(&mut self, table: u32) -> Option<&mut Table> {
        self.all.get_mut(usize::try_from(table).ok()?)
    }

    /// An entry; what is not there is empty.
    #[inline]
    fn entry(&self, table: u32, index: usize) -> u64 {
        let entries = self.get(table).and_then(|table| table.entries.as_deref());
        entries.and_then(|entries| entries.get(index)).copied().unwrap_or(EMPTY)
    }

    /// Goes down to the entry that decides about `iova`.
    #[inline]
    pub(super) fn walk(&self, iova: u64) -> Walk {
        let (mut table, mut level) = (ROOT, ROOT_LEVEL);
        loop {
            let entry = self.entry(table, fan_index(iova, level));
            match child(entry) {
                Some(below) if level > 0 => (table, level) = (below, level.wrapping_sub(1)),
                _ => return Walk { table, level, entry },
            }
        }
    }

    /// The first page that has an address in `from..=last`: where it starts, and its entry.
    pub(super) fn first_page(&self, from: u64, last: u64) -> Option<(u64, Walk)> {
        let mut at = from;
        while at <= last {
            let walk = self.walk(at);
            let bytes = level_bytes(walk.level);
            if walk.entry != EMPTY {
                return Some((align_down(at, bytes), walk));
            }
            if walk.level == 0 {
                // On along the lowest table, without a walk.
                let index = fan_index(at, 0);
                let entries = self.get(walk.table).and_then(|table| table.entries.as_deref());
                let rest = entries.and_then(|entries| entries.get(index..)).unwrap_or_default();
                let empty = rest.iter().take_while(|entry| **entry == EMPTY).count();
                at = at.saturating_add(bytes.saturating_mul(u64::try_from(empty.max(1)).unwrap_or(1)));
            } else {
                at = align_down(at, bytes).saturating_add(bytes);
            }
        }
        None
    }

    /// The lowest table around `iova`, if it is the one that was walked to last.
    #[inline]
    pub(super) const fn recent(&self, iova: u64) -> Option<u32> {
        if self.recent.block == iova.wrapping_shr(shift(1)) { Some(self.recent.table) } else { None }
    }

    /// The lowest table around `iova`, if there is one. It is remembered.
    pub(super) fn lowest_at(&mut self, iova: u64) -> Option<u32> {
        let Walk { table, level, .. } = self.walk(iova);
        if level != 0 {
            return None;
        }
        self.recent = Recent { block: iova.wrapping_shr(shift(1)), table };
        Some(table)
    }

    /// The table of `level` around `iova`, made if need be. No page may be mapped around `iova` above it. Empty
    /// tables below the entry for `iova` are freed, so that a page can stand there.
    pub(super) fn table_at(&mut self, iova: u64, level: u32) -> Result<u32, PageMapError> {
        if level == 0
            && let Some(table) = self.recent(iova)
        {
            return Ok(table);
        }
        if self.all.is_empty() {
            self.make(ROOT, 0)?;
        }
        let (mut table, mut at) = (ROOT, ROOT_LEVEL);
        while at > level {
            let index = fan_index(iova, at);
            table = match child(self.entry(table, index)) {
                Some(below) => below,
                None => self.make(table, index)?,
            };
            at = at.wrapping_sub(1);
        }
        if level == 0 {
            self.recent = Recent { block: iova.wrapping_shr(shift(1)), table };
        }
        Ok(table)
    }

    /// Makes a table and hangs it into its parent. The first one is the root, which is its own parent.
    fn make(&mut self, parent: u32, index: usize) -> Result<u32, PageMapError> {
        if self.tables >= self.tables_max {
            return Err(PageMapError::TablesMax { tables: self.tables, tables_max: self.tables_max });
        }
        let no_memory = PageMapError::NoMemory { bytes: TABLE_BYTES, tables: self.tables };
        let entries = empty_entries().ok_or(no_memory)?;
        let table = Table { entries: Some(entries), used: 0, queued: true, parent, index };
        let is_root = self.all.is_empty();
        let reserved = self.all.try_reserve(1).and_then(|()| self.maybe_empty.try_reserve(1));
        reserved.map_err(|_| no_memory)?;
        let number = match self.vacant.pop() {
            Some(number) => {
                if let Some(place) = self.get_mut(number) {
                    *place = table;
                }
                number
            }
            None => {
                let number = u32::try_from(self.all.len()).map_err(|_| no_memory)?;
                self.all.push(table);
                number
            }
        };
        self.tables = self.tables.saturating_add(1);
        if !is_root {
            self.maybe_empty.push_back(number);
            self.set(parent, index, u64::from(number).wrapping_shl(PAGE_BITS) | TABLE);
        }
        Ok(number)
    }

    /// Puts a value other than [`EMPTY`] where there was [`EMPTY`].
    fn set(&mut self, table: u32, index: usize, value: u64) {
        if let Some(table) = self.get_mut(table)
            && let Some(place) = table.entries.as_deref_mut().and_then(|entries| entries.get_mut(index))
        {
            *place = value;
            table.used = table.used.wrapping_add(1);
        }
    }

    /// Puts a page into an empty entry of the lowest level; says `false` if it is not empty.
    #[inline]
    pub(super) fn put_page(&mut self, table: u32, index: usize, value: u64) -> bool {
        let Some(table) = self.get_mut(table) else { return false };
        let Some(place) = table.entries.as_deref_mut().and_then(|entries| entries.get_mut(index)) else {
            return false;
        };
        if *place != EMPTY {
            return false;
        }
        *place = value;
        table.used = table.used.wrapping_add(1);
        true
    }

    /// Fills entries of one table from that of `iova` on, up to `count` and to the end of the table, each with an
    /// address that is one page further on. No page may be mapped there. Returns how many were filled.
    pub(super) fn fill(&mut self, table: u32, iova: u64, level: u32, count: u64, first: u64) -> u64 {
        let index = fan_index(iova, level);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(FAN.wrapping_sub(index));
        if level > 0 {
            for index in index..index.wrapping_add(count) {
                self.free_below(table, index);
            }
        }
        let Some(table) = self.get_mut(table) else { return 0 };
        let end = index.wrapping_add(count);
        let Some(places) = table.entries.as_deref_mut().and_then(|entries| entries.get_mut(index..end))
        else {
            return 0;
        };
        let mut value = first;
        for place in places {
            *place = value;
            value = value.wrapping_add(level_bytes(level));
        }
        let count = u32::try_from(count).unwrap_or(0);
        table.used = table.used.wrapping_add(count);
        u64::from(count)
    }

    /// Takes away all pages that start in `from..=last`, within one lowest table that is remembered.
    #[inline]
    pub(super) fn clear_within_leaf(&mut self, from: u64, last: u64) -> Option<Unmapped> {
        let table = self.recent(from)?;
        if from.wrapping_shr(shift(1)) != last.wrapping_shr(shift(1)) {
            return None;
        }
        let (cleared, until) = self.clear_leaves(table, fan_index(from, 0), fan_index(last, 0));
        Some(unmapped(cleared.wrapping_mul(level_bytes(0)), align_down(from, level_bytes(1)), until, from))
    }

    /// Takes away all pages that start in `from..=last`; `from` lies inside none.
    pub(super) fn clear(&mut self, from: u64, last: u64) -> Unmapped {
        let mut at = from;
        let mut sum = Unmapped::default();
        while at <= last {
            let walk = self.walk(at);
            let bytes = level_bytes(walk.level);
            let (block, step) = match walk.level {
                0 => (align_down(at, level_bytes(1)), level_bytes(1)),
                _ => (align_down(at, bytes), bytes),
            };
            let next = block.saturating_add(step);
            if walk.level == 0 {
                let end = last.min(next.wrapping_sub(1));
                let (cleared, until) = self.clear_leaves(walk.table, fan_index(at, 0), fan_index(end, 0));
                let part = unmapped(cleared.wrapping_mul(bytes), block, until, from);
                sum.bytes = sum.bytes.saturating_add(part.bytes);
                sum.span_bytes = sum.span_bytes.max(part.span_bytes);
            } else if walk.entry != EMPTY {
                self.clear_entry(walk.table, fan_index(at, walk.level));
                sum.bytes = sum.bytes.saturating_add(bytes);
                sum.span_bytes = next.saturating_sub(from);
            }
            at = next;
        }
        sum
    }

    /// Empties entries of a lowest table. Returns how many were not empty, and the index behind the last of them.
    #[inline]
    fn clear_leaves(&mut self, number: u32, first: usize, last: usize) -> (u64, usize) {
        let Some(table) = self.get_mut(number) else { return (0, 0) };
        let entries = table.entries.as_deref_mut().and_then(|entries| entries.get_mut(first..=last));
        let Some(entries) = entries else { return (0, 0) };
        let behind = entries.iter().rposition(|entry| *entry != EMPTY).map_or(0, |last| last.wrapping_add(1));
        let cleared: u32 = entries.iter().map(|entry| u32::from(*entry != EMPTY)).sum();
        entries.fill(EMPTY);
        table.used = table.used.wrapping_sub(cleared);
        if table.used == 0 {
            self.queue(number);
        }
        (u64::from(cleared), first.wrapping_add(behind))
    }

    /// Empties an entry that is not empty.
    fn clear_entry(&mut self, number: u32, index: usize) {
        let Some(table) = self.get_mut(number) else { return };
        if let Some(place) = table.entries.as_deref_mut().and_then(|entries| entries.get_mut(index)) {
            *place = EMPTY;
            table.used = table.used.wrapping_sub(1);
        }
        if table.used == 0 {
            self.queue(number);
        }
    }

    /// Lets an empty table wait to be freed. The root stays.
    #[inline]
    fn queue(&mut self, number: u32) {
        if let Some(table) = self.get_mut(number)
            && !table.queued
            && number != ROOT
        {
            table.queued = true;
            self.maybe_empty.push_back(number);
        }
    }

    /// Frees empty tables, the oldest first, until [`EMPTY_TABLES_MAX`] wait.
    #[inline]
    pub(super) fn trim(&mut self) {
        while self.maybe_empty.len() > EMPTY_TABLES_MAX {
            self.free_oldest();
        }
    }

    #[cold]
    fn free_oldest(&mut self) {
        let Some(number) = self.maybe_empty.pop_front() else { return };
        let Some(table) = self.get_mut(number) else { return };
        if !table.queued {
            return;
        }
        table.queued = false;
        if table.used == 0 {
            let (parent, index) = (table.parent, table.index);
            self.free(number);
            self.clear_entry(parent, index);
        }
    }

    /// Frees the tables below an entry, which hold no page, and empties it.
    fn free_below(&mut self, table: u32, index: usize) {
        let Some(below) = child(self.entry(table, index)) else { return };
        for index in 0..FAN {
            self.free_below(below, index);
        }
        self.free(below);
        self.clear_entry(table, index);
    }

    fn free(&mut self, number: u32) {
        let Some(table) = self.get_mut(number) else { return };
        table.entries = None;
        table.queued = false;
        self.vacant.push(number);
        self.tables = self.tables.saturating_sub(1);
        if self.recent.table == number {
            self.recent = NO_RECENT;
        }
    }
}

/// What was unmapped within the table whose addresses start at `block`: pages up to the index `until`.
#[inline]
fn unmapped(bytes: u64, block: u64, until: usize, from: u64) -> Unmapped {
    let end = u64::try_from(until).unwrap_or(0).wrapping_shl(PAGE_BITS).wrapping_add(block);
    Unmapped { bytes, span_bytes: if bytes == 0 { 0 } else { end.wrapping_sub(from) } }
}

/// An empty table page, or `None` where there is no memory.
fn empty_entries() -> Option<Box<Entries>> {
    let mut entries: Vec<u64> = Vec::new();
    entries.try_reserve_exact(FAN).ok()?;
    entries.resize(FAN, EMPTY);
    entries.into_boxed_slice().try_into().ok()
}
