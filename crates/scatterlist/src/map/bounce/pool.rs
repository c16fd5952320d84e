//! [`State`]: what is free and what is set aside, behind the lock; and how memory is divided into sets.

use alloc::vec::Vec;

use lock_api::{Mutex, RawMutex};

use super::super::backend::Backend;
use super::draft::{Grant, Source};
use super::place::{Rules, Wanted};
use super::reserve::Region;
use super::slots::{Run, Set, Slots};
use super::{BounceError, BounceLayout};
use crate::{Addr as _, ScatterList};

#[derive(Debug)]
pub(super) struct State {
    pub(super) slots: Slots,
    /// Regions that no mapping uses; there is room for all.
    pub(super) regions: Vec<Region>,
    pub(super) regions_all: u64,
}

/// The general pool as a source of memory.
pub(super) struct FromPool<'a, R: RawMutex> {
    pub(super) state: &'a Mutex<R, State>,
    pub(super) runs: &'a mut Vec<Run>,
    pub(super) layout: BounceLayout,
}

impl<R: RawMutex> Source for FromPool<'_, R> {
    fn take(&mut self, rules: &Rules, bits: u64, len: u64) -> Option<Grant> {
        let mut most = len.min(self.layout.set_len().saturating_sub(rules.offset(bits)));
        loop {
            let now = if most == len { len } else { rules.cut(bits, most) };
            // A part that does not even fill a slot is not worth a segment.
            if now == 0 || (now < len && now < self.layout.slot_len) {
                return None;
            }
            let wanted = Wanted { rules, len: now, bits };
            let found = self.state.lock().slots.take(&wanted);
            if let Some((run, addr)) = found {
                self.runs.push(run);
                let cpu = run.cpu.checked_add(addr.checked_sub(run.addr)?)?;
                return Some(Grant { addr, cpu, len: now });
            }
            most = now / 2;
        }
    }
}

/// Divides memory into sets, after a look at whether device and CPU reach it.
pub(super) fn divide<D: Backend>(
    inner: &D,
    memory: &ScatterList<D::Addr>,
    layout: BounceLayout,
) -> Result<Vec<Set>, BounceError> {
    let hard = inner.reach().list_memory().hard();
    let (min, max) = (hard.addr_min, hard.addr_max);
    let slot_mask = layout.slot_len.wrapping_sub(1);
    let (mut sets, mut seen) = (Vec::new(), Vec::new());
    for segment in memory {
        let (addr, len) = (segment.addr().raw(), segment.len());
        if addr < min || segment.end().saturating_sub(1) > max {
            return Err(BounceError::OutOfReach { addr, len, min, max });
        }
        let end = segment.end() & !slot_mask;
        let mut start = addr.saturating_add(slot_mask) & !slot_mask;
        while start < end {
            let len = end.saturating_sub(start).min(layout.set_len());
            let unseen = BounceError::NotVisible { addr: start, len };
            let cpu = inner.cpu_addr(D::Addr::new(start), len).ok_or(unseen)?;
            seen.push((cpu.raw(), start, len));
            sets.push(Set::new(start, cpu, len.checked_div(layout.slot_len).unwrap_or(0)));
            start = start.saturating_add(len);
        }
    }
    if sets.is_empty() {
        return Err(BounceError::NoSlot { bytes: memory.len_bytes(), slot_len: layout.slot_len });
    }
    // A lease may name bytes twice; a slot is one mapping's alone.
    seen.sort_unstable();
    for ((before, _, before_len), (cpu, addr, len)) in seen.iter().zip(seen.iter().skip(1)) {
        if before.saturating_add(*before_len) > *cpu {
            return Err(BounceError::Twice { addr: *addr, len: *len });
        }
    }
    Ok(sets)
}
