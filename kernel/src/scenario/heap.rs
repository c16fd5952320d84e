//! The kernel's own memory: vectors on the heap, contiguous to the CPU and scattered to devices.
//!
//! A vector becomes a lease of CPU addresses; the page tables say where in physical memory they lie (`Translate`), and the list that
//! this makes goes to the disk. The CPU inverts every byte between the read and the write, so that the host sees that what the disk
//! wrote is what the CPU sees.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use nvme_driver::Options;
use scatterlist::map::DmaDevice;
use scatterlist::plan::plan;
use scatterlist::{Direction, Lease, Outcome, OwnedBytes, PhysAddr, Position, Request};

use super::board::{Board, Note};
use super::patience::{IDLE_NS, Look, patiently};
use super::stack::{no_limits, on_device};
use super::{Arguments, Failure, disks, fact, failure};
use crate::block::BlockDevice;
use crate::driver::nvme::NvmeDisk;
use crate::machine::Machine;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    match arguments.text("disk")? {
        "nvme" => on_device!(machine, arguments, &no_limits(), |device| nvme(machine, arguments, device)),
        "virtio" => on_device!(machine, arguments, &no_limits(), |device| virtio(machine, arguments, device)),
        other => Err(disks::no_disk(other).into()),
    }
}

fn nvme<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let options = Options { queues: 2, ..Options::default() };
    let (mut controller, _, told) =
        disks::controller::<_, OwnedBytes, Note>(machine, arguments, device, options)?;
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([one, other, ..], [first, second, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 2));
    };
    let (mut source, mut destination) = (NvmeDisk::new(one, first), NvmeDisk::new(other, second));
    inverted(machine, arguments, &mut source, &mut destination)?;
    told.state()?;
    Ok(controller.shut_down()?)
}

fn virtio<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let [mut source, mut destination] = disks::virtio_pair(machine, arguments, device)?;
    inverted(machine, arguments, &mut source, &mut destination)?;
    disks::state_virtio(&source, &destination);
    Ok(())
}

/// Copies the first requests of a disk to the other, every byte inverted.
fn inverted<B>(
    machine: &'static Machine,
    arguments: &Arguments<'_>,
    source: &mut B,
    destination: &mut B,
) -> Result<(), Failure>
where
    B: BlockDevice<Owner = OwnedBytes, Completion = Note>,
{
    let (requests, len) = (arguments.number("requests")?, arguments.number("len")?);
    let (mut segments, mut bytes_of_last) = (0_u64, Vec::new());
    for number in 0..requests {
        let position = number.saturating_mul(len);
        let bytes = vec![0; usize::try_from(len)?];
        let (mut bytes, count) = one(machine, source, bytes, Direction::FromDevice, position)?;
        segments = segments.saturating_add(count);
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        (bytes_of_last, _) = one(machine, destination, bytes, Direction::ToDevice, position)?;
    }
    fact!("segments", segments);
    fact!("bytes", bytes_of_last.len());
    Ok(())
}

/// Moves one vector, which comes back, with how many segments it had for the disk.
fn one<B>(
    machine: &'static Machine,
    disk: &mut B,
    bytes: Vec<u8>,
    direction: Direction,
    position: u64,
) -> Result<(Vec<u8>, u64), Failure>
where
    B: BlockDevice<Owner = OwnedBytes, Completion = Note>,
{
    let len = u64::try_from(bytes.len())?;
    let lease = Lease::from_vec(bytes).map_err(|(_, error)| error)?;
    let lease = lease.translate(&machine.space).map_err(|(_, error)| error)?;
    let segments = lease.list().len_segments();
    let mut commands = plan(lease.list(), Position::At(position), disk.limits(), disk.plan_policy());
    let first = commands.next().ok_or_else(|| failure(format!("{len} bytes are no command")))??.len_bytes();
    if first != len {
        return Err(failure(format!("a vector of {len} bytes is cut at {first}, it must be one command")));
    }
    let board = Board::new();
    let request = Request::new(lease, direction, Position::At(position), board.note(0));
    disk.submit(request).map_err(|refused| refused.error)?;
    disk.kick();
    let mut back = None;
    patiently(machine, &format!("a vector of {len} bytes"), IDLE_NS, |_| {
        disk.poll_with(&mut |request, outcome| back = Some(request.complete(outcome)))?;
        Ok(if back.is_some() { Look::Done } else { Look::Same })
    })?;
    let outcomes = board.take();
    if outcomes != [(0, Outcome::whole(len))] {
        return Err(failure(format!("a vector of {len} bytes was not moved as a whole: {outcomes:?}")));
    }
    let owner = back.and_then(|lease| lease.into_owners().next());
    let bytes = owner
        .map(OwnedBytes::into_vec)
        .ok_or_else(|| failure(format!("the lease of {len} bytes has no owner")))?;
    Ok((bytes, segments))
}
