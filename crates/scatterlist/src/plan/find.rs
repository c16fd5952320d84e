//! [`find`]: how far the next request goes, and why it ends there.
//!
//! Scans forward; where a limit stops the scan, it cuts at the last legal place. Where there is none (a cut
//! would round to nothing, or the whole must stay one) and the policy allows, it bounces the head of the request past the
//! trouble and scans again; that happens a bounded number of times.

use super::cursor::Cursor;
use super::fit::budget;
use super::scan::{Rules, Scan};
use super::why::Stop;
use super::{PlanError, Policy, Why};
use crate::limits::{Hard, rem};
use crate::{Addr, LimitId, Limits, Position, Segment};

/// One request, found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) len: u64,
    /// Where the scan that found it would have ended: the pieces are found by the same scan.
    pub(super) scan_end: u64,
    /// The first bytes are bounced whatever they are.
    pub(super) bounce_head: Option<(u64, Stop)>,
    /// Why the request ends before the list does.
    pub(super) cut: Option<Why>,
}

/// How much of the list there is to plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Bytes from the cursor on that may be walked.
    pub(super) visible: u64,
    /// Bytes left to plan in all; `None` while more may come.
    pub(super) left: Option<u64>,
}

/// Finds the next request from `cursor` on. Returns it, the bytes that the cursor walked, and the scan at that place.
pub(super) fn find<A: Addr, I: Iterator<Item = Segment<A>> + Clone>(
    cursor: &mut Cursor<I, A>,
    position: Position,
    span: Span,
    limits: &Limits,
    policy: Policy,
) -> Result<(Found, u64, Scan), PlanError> {
    let hard = limits.hard();
    let start = cursor.clone();
    let (room, room_stop) = room(position, span, hard, policy).map_err(|stop| PlanError::Unsatisfiable {
        at: 0,
        fits: 0,
        why: stop.why(limits),
    })?;
    let mut bounce_head: Option<(u64, Stop)> = None;
    let scan_end = span.visible.min(room);
    let mut tries = 0_u32;
    loop {
        let rules = Rules { hard, bounces: policy.bounces(), bounce_head };
        let (scan, stop) = walk(cursor, scan_end, &rules);
        let full = room_stop.filter(|_| stop.is_none() && scan.taken == room && room < span.visible);
        let Some(stop) = stop.or(full) else {
            return Ok((Found { len: scan.taken, scan_end, bounce_head, cut: None }, scan.taken, scan));
        };
        let cut = match policy.splits() {
            false => 0,
            true if full.is_some() => block_cut(scan.taken, position, span, hard),
            true => legal_cut(scan.taken, span, hard),
        };
        if cut > 0 {
            let found = Found { len: cut, scan_end, bounce_head, cut: Some(stop.why(limits)) };
            return Ok((found, scan.taken, scan));
        }
        let head = bounce_head.map_or(0, |(head, _)| head);
        let longer = longer_head(head, scan.taken, room, policy, hard, tries);
        tries = tries.saturating_add(1);
        if !policy.bounces() || longer <= head {
            let why = stop.why(limits);
            return Err(PlanError::Unsatisfiable { at: 0, fits: scan.taken, why });
        }
        bounce_head = Some((longer, bounce_head.map_or(stop, |(_, first)| first)));
        *cursor = start.clone();
    }
}

/// Scans until the list, the room or a rule ends it.
#[inline]
fn walk<A: Addr, I: Iterator<Item = Segment<A>>>(
    cursor: &mut Cursor<I, A>,
    end: u64,
    rules: &Rules<'_>,
) -> (Scan, Option<Stop>) {
    let mut scan = Scan::new();
    while scan.taken < end {
        let Some(rest) = cursor.rest() else { break };
        let left = end.saturating_sub(scan.taken);
        match scan.take(rest.addr().raw(), rest.len(), left, rules) {
            Ok(taken) => cursor.advance(taken.len()),
            Err(stop) => return (scan, Some(stop)),
        }
    }
    (scan, None)
}

/// Returns the bytes that the size limits leave for this request, and the limit if that is not all.
fn room(position: Position, span: Span, hard: &Hard, policy: Policy) -> Result<(u64, Option<Stop>), Stop> {
    // While more may come, a size limit counts only once the bytes in sight pass it.
    let left = span.left.unwrap_or(span.visible);
    let size_max = budget(position, hard);
    let room = size_max.saturating_sub(rem(size_max, hard.cut_align));
    let limit = if size_max < hard.transfer_len_max { LimitId::ChunkLen } else { LimitId::TransferLenMax };
    if left <= room {
        return Ok((left, None));
    }
    let stop = Stop::new(limit, left, size_max);
    if !policy.splits() {
        return Err(stop);
    }
    if legal_cut(room, span, hard) == 0 { Err(stop) } else { Ok((room, Some(stop))) }
}

/// Returns the last legal place to cut at or before `taken`; 0 where there is none.
fn legal_cut(taken: u64, span: Span, hard: &Hard) -> u64 {
    let down = |bytes: u64| bytes.saturating_sub(rem(bytes, hard.cut_align));
    let mut cut = down(taken);
    if let Some(left) = span.left {
        let rest = left.saturating_sub(cut);
        if rest > 0 && rest < hard.transfer_len_min {
            cut = down(left.saturating_sub(hard.transfer_len_min));
        }
    }
    if cut < hard.transfer_len_min { 0 } else { cut }
}

/// Returns where to cut a request that a size limit ends: at the end of a physical block if it reaches one.
fn block_cut(taken: u64, position: Position, span: Span, hard: &Hard) -> u64 {
    let Position::At(at) = position else { return legal_cut(taken, span, hard) };
    let past_block = rem(at.saturating_add(taken), hard.position_align_opt);
    match legal_cut(taken.saturating_sub(past_block), span, hard) {
        0 => legal_cut(taken, span, hard),
        cut => cut,
    }
}

/// Returns how much of the request's head to bounce, so that what stopped the scan after `taken` bytes is
/// behind it: after a few tries everything, so that the number of scans is bounded.
fn longer_head(head: u64, taken: u64, room: u64, policy: Policy, hard: &Hard, tries: u32) -> u64 {
    if tries >= HEAD_TRIES_MAX {
        return room;
    }
    if !policy.splits() {
        return if head == 0 && taken > 0 { taken } else { room };
    }
    let least = taken.saturating_add(1).max(hard.transfer_len_min);
    let blocks = least.saturating_sub(rem(least, hard.cut_align));
    let up = if blocks < least { blocks.saturating_add(hard.cut_align) } else { blocks };
    up.min(room)
}

/// How often the bounced head of a request grows by as little as may help.
const HEAD_TRIES_MAX: u32 = 3;
