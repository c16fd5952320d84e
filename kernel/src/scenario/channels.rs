//! Two producers on one controller: one by its target, one by a channel with a tighter mask.
//!
//! Both read through the same queue at the same time, into memory on both sides of the mask. The target takes all of it as it is; what
//! the channel's producer has above the mask bounces, and only that. A channel that would be looser than its target is refused.

use alloc::format;
use alloc::vec::Vec;

use nvme_driver::{Finished, Options};
use scatterlist::map::DmaDevice;
use scatterlist::plan::plan;
use scatterlist::{Direction, LimitId, Limits, Outcome, PhysAddr, Position, Request, Shared};

use super::board::{Board, Note};
use super::drive::{Job, drive, whole};
use super::patience::{IDLE_NS, Look, patiently};
use super::stack::{no_limits, on_device};
use super::{Arguments, Failure, disks, fact, failure};
use crate::driver::nvme::NvmeDisk;
use crate::machine::Machine;
use crate::memory::{Buffer, Choice, Owner};

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    on_device!(machine, arguments, &no_limits(), |device| on(machine, arguments, device))
}

fn on<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let bits = u32::try_from(arguments.number("mask")?)?;
    let mask = u64::MAX.wrapping_shr(u64::BITS.saturating_sub(bits));
    let (requests, len) = (arguments.number("requests")?, arguments.number("len")?);
    let options = Options { queues: 2, ..Options::default() };
    let (mut controller, _, told) =
        disks::controller::<_, Owner, Shared<Note>>(machine, arguments, device, options)?;
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([source, other, ..], [queue, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 2));
    };
    let tighter = Limits::builder().hard(LimitId::AddrMax, mask).build()?;
    let channel = source.channel(&tighter)?;
    // A channel of the channel cannot take the mask back.
    let looser = Limits::builder().hard(LimitId::AddrMax, mask.saturating_mul(2)).build()?;
    match channel.channel(&looser) {
        Ok(_) => return Err(failure(format!("a channel may reach past {mask:#x}, where its target ends"))),
        Err(error) => fact!("looser", error),
    }

    let board = Board::new();
    let (low, high) = (Choice::SCATTERED.up_to(mask), Choice::SCATTERED.from(mask.saturating_add(1)));
    let mut owners = Vec::new();
    let mut bounced = [0_u64; 2];
    let (mut above, mut below) = (0_u64, 0_u64);
    for number in 0..requests.saturating_mul(2) {
        let position = Position::At(number.saturating_mul(len));
        let buffer = Buffer::in_turn(machine.memory, len, 512, &[low, high, high])?;
        let tight = number.is_multiple_of(2);
        if tight {
            above = above.saturating_add(buffer.bytes_above(mask));
            below = below.saturating_add(len.saturating_sub(buffer.bytes_above(mask)));
        }
        let namespace = if tight { &channel } else { source };
        let lease = buffer.lease()?;
        let (limits, policy) = (namespace.target().list_limits(), namespace.target().plan_policy());
        let first = plan(lease.list(), position, limits, policy)
            .next()
            .ok_or_else(|| failure(format!("{len} bytes are no command")))??;
        if first.len_bytes() != len {
            return Err(failure(format!(
                "a request of {len} bytes is cut at {}: {:?}",
                first.len_bytes(),
                first.cut()
            )));
        }
        if let Some(bytes) = bounced.get_mut(usize::from(tight)) {
            *bytes = bytes.saturating_add(first.bounced_bytes());
        }
        owners.push(Owner::clone(lease.owner()));
        let note = Shared::new(len, board.note(usize::try_from(number)?));
        queue.submit(namespace, Request::new(lease, Direction::FromDevice, position, note))?;
    }
    queue.ring();
    let mut in_flight = queue.in_flight();
    patiently(machine, &format!("{in_flight} reads of two producers"), IDLE_NS, |_| {
        queue.poll(|done| {
            if let Finished::Transfer(request) = done.finished {
                drop(request.complete(done.outcome));
            }
        })?;
        let now = queue.in_flight();
        Ok(if now == 0 { Look::Done } else { Look::at(&mut in_flight, now) })
    })?;
    let outcomes = board.take();
    if outcomes.len() != owners.len() || outcomes.iter().any(|(_, outcome)| *outcome != Outcome::whole(len)) {
        return Err(failure(format!("not all was read: {outcomes:?}")));
    }
    fact!("above", above);
    fact!("below", below);
    let [wide, tight] = bounced;
    fact!("bounced_wide", wide);
    fact!("bounced_channel", tight);

    let mut destination = NvmeDisk::new(other, queue);
    let write = (0_u64..).zip(owners).map(|(number, owner)| {
        let held = || failure(format!("somebody still holds the memory of read {number}"));
        let buffer = Owner::into_inner(owner).ok_or_else(held)?;
        Ok(Job { buffer, direction: Direction::ToDevice, position: number.saturating_mul(len) })
    });
    let (written, _) = drive(machine, &mut destination, write.collect::<Result<_, Failure>>()?)?;
    whole(written)?;
    told.state()?;
    Ok(controller.shut_down()?)
}
