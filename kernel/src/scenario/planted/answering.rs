//! Mistakes of a back end: what it answers is not what it was asked to map.
//!
//! The checker is around it, and the driver is right. No device is told of the answer.

use alloc::vec::Vec;

use scatterlist::map::checked::Finding;
use scatterlist::map::{DmaDevice as _, FromDevice};
use scatterlist::{Addr as _, BusAddr, LimitId, Limits, PhysAddr, Segments as _};

use super::mistaken::{Mistake, Mistaken};
use super::{Bench, Failure, ended, failure};
use crate::memory::{Buffer, Choice, FRAME_LEN};
use crate::scenario::stack;

/// Where in its frame the memory starts.
const OFFSET: u64 = 512;

/// Maps memory through a back end that makes this mistake, and unmaps it.
fn answered(bench: &Bench<'_>, limits: &Limits, mistake: Mistake) -> Result<Vec<Finding>, Failure> {
    let beneath = Mistaken::new(stack::plain(bench.machine, limits)?, mistake);
    let device = stack::checked(beneath);
    let memory = Buffer::new(bench.machine.memory, 1024, OFFSET, Choice::SCATTERED)?;
    let mapped = device.map(memory.lease()?, FromDevice).map_err(|failed| Failure::from(failed.error))?;
    drop(mapped.unmap());
    Ok(ended::<Mistaken<stack::Plain>>(device))
}

pub(super) fn no_address(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    answered(bench, &Limits::default(), Mistake::AnswerNone)
}

pub(super) fn half_of_it(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    answered(bench, &Limits::default(), Mistake::AnswerHalf)
}

/// The device needs the offset in a page kept; a pool that copies to the start of a frame loses it.
pub(super) fn other_low_bits(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let limits = Limits::builder().hard(LimitId::BounceOffsetMask, FRAME_LEN.saturating_sub(1)).build()?;
    let elsewhere = bench.lease(FRAME_LEN)?;
    let frame = elsewhere.list().segments().next().ok_or_else(|| failure("a lease of nothing"))?;
    let addr: PhysAddr = frame.addr();
    answered(bench, &limits, Mistake::AnswerElsewhere(BusAddr::new(addr.raw())))
}
