//! Mistakes around real transfers: a virtio block device reads its first blocks into memory, and something goes wrong.
//!
//! The driver is the honest one. Between it and the checked device stands a bus that makes the mistake, or the one who owns
//! the memory makes it; what the device does is told from its rings. Where it read at all, the bytes are the right ones.
#![expect(unsafe_code, reason = "brings a device up; the mistakes that safe code cannot make")]

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use scatterlist::map::Memory as _;
use scatterlist::map::checked::{Finding, Touched};
use scatterlist::{
    Addr as _, CpuAddr, Direction, Lease, Outcome, PhysAddr, Position, Request, ScatterList, Segments as _,
};

use super::mistaken::{Mistake, Mistaken};
use super::watched::Watched;
use super::{Bench, Device, Failure, ended, failure};
use crate::block::BlockDevice as _;
use crate::driver::virtio_blk::{Options, VirtioBlk};
use crate::machine::{Mmio, Tsc};
use crate::memory::{Buffer, Owner};
use crate::scenario::disks;
use crate::scenario::patience::{IDLE_NS, Look, patiently};

/// Bytes of a transfer: one block, so one run of memory.
const LEN: u64 = 512;

/// Memory of a transfer.
type Memory = Lease<PhysAddr, Owner>;

/// The disk behind a bus that makes mistakes.
type Disk<'a> = VirtioBlk<&'a Mistaken<Device>, &'a Watched<Mmio>, Tsc, Owner, ()>;

/// Brings the disk up on a bus with this mistake, uses it, shuts it down, and returns what was found.
fn with_disk(
    bench: &Bench<'_>,
    mistake: Mistake,
    work: impl FnOnce(&mut Disk<'_>, Device) -> Result<(), Failure>,
) -> Result<Vec<Finding>, Failure> {
    let device = bench.device()?;
    let bus = Mistaken::new(device, mistake);
    let place = bench.arguments.all(disks::VIRTIO_PLACES).next();
    let place = place.ok_or_else(|| failure("the command line names 0 virtio devices, 1 is needed"))?;
    // SAFETY: QEMU names its own devices; for the driver below.
    let registers = unsafe { disks::mmio(bench.machine, place) }?;
    let registers = Watched::new(registers, bench.machine.memory, device);
    // SAFETY: the machine has a transport there, which nobody else uses meanwhile; it reaches memory where it is.
    let mut disk = unsafe { VirtioBlk::new(&registers, bench.machine.clock, &bus, Options::default()) }?;
    work(&mut disk, device)?;
    drop(disk);
    if registers.requests().map_err(failure)? == 0 {
        return Err(failure("the device was told of 0 requests, 1 is needed"));
    }
    Ok(ended(device))
}

/// Takes memory for a transfer, filled with what the disk does not hold.
fn memory(bench: &Bench<'_>) -> Result<Memory, Failure> {
    let mut buffer = bench.buffer(LEN)?;
    let fill: Vec<u8> = bench.honest.iter().map(|byte| !byte).collect();
    buffer.write(0, &fill)?;
    Ok(buffer.lease()?)
}

/// Gives the first block to be read to the driver.
fn submit(disk: &mut Disk<'_>, memory: Memory) -> Result<(), Failure> {
    let request = Request::new(memory, Direction::FromDevice, Position::At(0), ());
    disk.submit(request).map_err(|refused| Failure::from(refused.error))
}

/// Kicks, and waits until `count` requests are done well.
fn finish(bench: &Bench<'_>, disk: &mut Disk<'_>, count: usize) -> Result<Vec<Memory>, Failure> {
    disk.kick();
    let mut back = Vec::new();
    patiently(bench.machine, &format!("{count} transfers of a disk"), IDLE_NS, |_| {
        let (mut wrong, mut before) = (None, back.len());
        disk.poll_with(&mut |request, outcome| {
            if outcome != Outcome::whole(LEN) {
                wrong = Some(outcome);
            }
            back.push(request.complete(outcome));
        })?;
        match wrong {
            Some(outcome) => Err(failure(format!("a transfer ended with {outcome:?}"))),
            None if back.len() >= count => Ok(Look::Done),
            None => Ok(Look::at(&mut before, back.len())),
        }
    })?;
    Ok(back)
}

/// Returns the bytes of memory that came back.
fn bytes(memory: Memory) -> Result<Vec<u8>, Failure> {
    let buffer = Buffer::from_lease(memory);
    let held = || failure(format!("somebody still holds the {LEN} bytes of a transfer"));
    let mut buffer = buffer.ok_or_else(held)?;
    let mut bytes = vec![0; usize::try_from(LEN)?];
    buffer.read(0, &mut bytes)?;
    Ok(bytes)
}

/// Fails unless the memory holds what the disk does.
fn is_read(bench: &Bench<'_>, memory: Memory) -> Result<(), Failure> {
    let read = bytes(memory)?;
    let wrong = read.iter().zip(&bench.honest).filter(|(read, honest)| read != honest).count();
    if read == bench.honest {
        Ok(())
    } else {
        Err(failure(format!("{wrong} of {LEN} bytes were read wrongly")))
    }
}

/// Reads one block without any mistake: what was found, and the bytes.
pub(super) fn honest(bench: &Bench<'_>) -> Result<(Vec<Finding>, Vec<u8>), Failure> {
    let mut read = Vec::new();
    let found = with_disk(bench, Mistake::None, |disk, _| {
        submit(disk, bench.lease(LEN)?)?;
        for memory in finish(bench, disk, 1)? {
            read = bytes(memory)?;
        }
        Ok(())
    })?;
    Ok((found, read))
}

/// Reads one block on a bus with this mistake.
fn read(bench: &Bench<'_>, mistake: Mistake) -> Result<Vec<Finding>, Failure> {
    with_disk(bench, mistake, |disk, _| {
        submit(disk, memory(bench)?)?;
        finish(bench, disk, 1)?.into_iter().try_for_each(|memory| is_read(bench, memory))
    })
}

pub(super) fn unmaps_twice(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::UnmapTwice)
}

pub(super) fn unmaps_turned(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::UnmapTurned)
}

pub(super) fn unmaps_other_memory(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    let other = bench.lease(LEN)?;
    read(bench, Mistake::UnmapOther(place(bench, &other)?.0))
}

pub(super) fn never_unmaps(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::UnmapNever)
}

/// The first of the coherent memory that the driver frees. It is not freed then, and stays taken.
pub(super) fn frees_another_length(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::FreeLen)
}

/// As [`frees_another_length`].
pub(super) fn frees_another_address(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::FreeCpuAddr)
}

pub(super) fn tells_what_is_gone(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::MapGone)
}

pub(super) fn maps_half(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::MapHalf)
}

pub(super) fn maps_turned(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    read(bench, Mistake::MapTurned)
}

/// Has the same block read twice at a time, to the same memory.
pub(super) fn two_requests_for_the_same_memory(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    with_disk(bench, Mistake::None, |disk, _| {
        let first = memory(bench)?;
        let list = ScatterList::from_segments(first.list().segments())?;
        // SAFETY: none; the leases share their bytes, which is the mistake.
        let second = unsafe { Lease::from_raw(list, Owner::clone(first.owner())) };
        submit(disk, first)?;
        submit(disk, second)?;
        let mut back = finish(bench, disk, 2)?;
        back.truncate(1);
        back.into_iter().try_for_each(|memory| is_read(bench, memory))
    })
}

/// Where the first run of memory is, for devices and for the CPU.
fn place(bench: &Bench<'_>, memory: &Memory) -> Result<(PhysAddr, CpuAddr), Failure> {
    let run = memory.list().segments().next().ok_or_else(|| failure("a lease of nothing"))?;
    let cpu = bench.machine.memory.cpu_addr(run.addr(), run.len());
    Ok((run.addr(), cpu.ok_or_else(|| failure(format!("the CPU does not see {}", run.addr())))?))
}

/// Reads a byte by its address, as somebody who kept a pointer.
fn peek(at: CpuAddr, offset: usize) -> u8 {
    // SAFETY: none; the memory may be a device's. It is memory, at least.
    unsafe { at.as_ptr().wrapping_add(offset).read_volatile() }
}

/// Keeps a pointer, and writes a byte after the request was submitted. Who compares the memory at the submit and at the kick
/// sees it.
pub(super) fn writes_after_the_submit(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    with_disk(bench, Mistake::None, |disk, device| {
        let memory = memory(bench)?;
        let (addr, cpu) = place(bench, &memory)?;
        submit(disk, memory)?;
        let seen = || (0..bench.honest.len()).map(|offset| peek(cpu, offset)).collect::<Vec<_>>();
        let before = seen();
        // SAFETY: none; the device owns the memory, this is the mistake.
        unsafe { cpu.as_ptr().wrapping_add(100).write_volatile(!peek(cpu, 100)) };
        for (offset, (was, is)) in before.iter().zip(seen()).enumerate() {
            if *was != is {
                device.cpu_wrote_while_device_owned(Touched::Cpu(addr.raw()), u64::try_from(offset)?);
            }
        }
        finish(bench, disk, 1)?.into_iter().try_for_each(|memory| is_read(bench, memory))
    })
}

/// Keeps a pointer, and waits for the data to change instead of for the request to end: what it sees was synced by nobody.
pub(super) fn reads_before_the_end(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    with_disk(bench, Mistake::None, |disk, device| {
        let memory = memory(bench)?;
        let (addr, cpu) = place(bench, &memory)?;
        submit(disk, memory)?;
        disk.kick();
        patiently(bench.machine, "the first byte of a read", IDLE_NS, |_| {
            Ok(if bench.honest.first() == Some(&peek(cpu, 0)) { Look::Done } else { Look::Same })
        })?;
        // The mapping lives: this is told by the one who read.
        device.cpu_read_without_sync(Touched::Cpu(addr.raw()), 0);
        finish(bench, disk, 1)?.into_iter().try_for_each(|memory| is_read(bench, memory))
    })
}
