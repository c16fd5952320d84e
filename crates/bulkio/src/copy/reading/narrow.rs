//! A read that failed, narrowed to the block: read again in halves, as a copy does.

use super::super::options::Phase;
use super::super::watch::Watch;
use super::super::{CopyError, Side};
use super::lane::Read;
use super::{Failed, Reading};

impl<const N: usize> Reading<'_, N> {
    /// Returns the error of a failed read, which names the block where one cannot be read and the observer does not stop it.
    pub(super) fn narrow(&mut self, failed: Failed, watch: &mut Watch<'_>) -> CopyError {
        let found = self.first_bad(&failed, watch);
        self.error(&failed, found)
    }

    /// Returns the first block that cannot be read: its byte of the end, and its bytes.
    fn first_bad(&mut self, failed: &Failed, watch: &mut Watch<'_>) -> Option<(u64, u64)> {
        let Read { lane: index, at, len } = failed.read;
        let lane = self.lanes.get_mut(index)?;
        let (device, start) = (lane.part.device, lane.part.start);
        if device.is_stream() || !device.is_bad_block(failed.fault.status) {
            return None;
        }
        // What was read before is in the slots; all are free for this.
        self.lanes.iter_mut().for_each(|lane| lane.ready.clear());
        let block = self.lanes.get(index)?.part.unit().end.max(512);
        let (mut good, mut bad) = (at, at.saturating_add(len));
        let end_of_block = |at: u64| {
            let position = start.saturating_add(at);
            let rest = block.saturating_sub(position.checked_rem(block).unwrap_or(0));
            at.saturating_add(rest)
        };
        while bad > end_of_block(good) {
            if watch.tell(Phase::Verifying, (1, 0)) {
                return None;
            }
            let first = end_of_block(good);
            let blocks = bad.saturating_sub(first).div_ceil(block).saturating_div(2);
            let middle = first.saturating_add(blocks.saturating_mul(block)).min(bad);
            let middle = if middle == bad { first } else { middle };
            let read = Read { lane: index, at: good, len: middle.saturating_sub(good) };
            let (_, outcome) = self.read_alone(read, watch).ok()??;
            match outcome.fault {
                None => good = middle,
                Some(_) => bad = middle,
            }
        }
        let position = start.saturating_add(good);
        let position = position.saturating_sub(position.checked_rem(block).unwrap_or(0));
        Some((position, block))
    }

    /// Makes the error of a failed read; `found` is the block that cannot be read.
    pub(super) fn error(&self, failed: &Failed, found: Option<(u64, u64)>) -> CopyError {
        let Failed { read, outcome, fault } = *failed;
        let Some(lane) = self.lanes.get(read.lane) else { return CopyError::WorkThread };
        let device = lane.part.device;
        let position = lane.position(read);
        let mut error = CopyError::of_fault(Side::Source, device, position, outcome.asked, fault, read.at);
        if let (Some((start, bytes)), CopyError::Transfer { at, len, block, .. }) = (found, &mut error) {
            (*at, *len, *block) = (start, bytes, Some(bytes));
        }
        error
    }
}
