//! Mistakes of a driver that syncs parts of what it keeps mapped.

use alloc::vec::Vec;

use scatterlist::map::DmaDirection::{self, FromDevice, ToDevice};
use scatterlist::map::checked::{Finding, SyncFor};

use super::raw::Raw;
use super::{Bench, Failure, ended};
use crate::memory::FRAME_LEN;

/// Maps one frame, syncs it whole as told, and unmaps.
fn synced(
    bench: &Bench<'_>,
    mapped: DmaDirection,
    sync_for: SyncFor,
    direction: DmaDirection,
) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let raw = Raw::map(device, bench.lease(FRAME_LEN)?, mapped)?;
    raw.sync(sync_for, direction, &raw.list(), 0..FRAME_LEN);
    drop(raw.unmapped());
    Ok(ended(device))
}

/// Another direction, where there is still something to hand over.
pub(super) fn turned(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    synced(bench, ToDevice, SyncFor::Device, FromDevice)
}

/// Its direction is another than that of the mapping, which is told too: else there is nothing wrong to see.
pub(super) fn for_the_cpu_what_is_only_read(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    synced(bench, ToDevice, SyncFor::Cpu, FromDevice)
}

/// As [`for_the_cpu_what_is_only_read`].
pub(super) fn for_the_device_what_it_only_writes(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    synced(bench, FromDevice, SyncFor::Device, ToDevice)
}

pub(super) fn after_the_unmapping(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let raw = Raw::map(device, bench.lease(FRAME_LEN)?, FromDevice)?.unmapped();
    raw.sync(SyncFor::Cpu, FromDevice, &raw.list(), 0..FRAME_LEN);
    Ok(ended(device))
}

pub(super) fn past_the_end(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let raw = Raw::map(device, bench.lease(FRAME_LEN)?, FromDevice)?;
    raw.sync(SyncFor::Cpu, FromDevice, &raw.list(), 512..FRAME_LEN.saturating_add(512));
    drop(raw.unmapped());
    Ok(ended(device))
}

pub(super) fn part_of_the_list(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let raw = Raw::map(device, bench.lease(FRAME_LEN.saturating_mul(2))?, FromDevice)?;
    let list = raw.list();
    raw.sync(SyncFor::Cpu, FromDevice, list.get(..1).unwrap_or_default(), 0..FRAME_LEN);
    drop(raw.unmapped());
    Ok(ended(device))
}
