//! The `edu` DMA engine: memory above its 28-bit mask bounces, and only that.
//!
//! Blocks go from one disk into memory on both sides of the mask, from there through the engine into its buffer, out of it into other
//! memory on both sides, and to the other disk. How much lies above is counted from the addresses; how much was bounced, by the
//! driver's mappings; how much was copied, by the pool. Without a pool the engine refuses what lies above.

use alloc::format;
use alloc::vec::Vec;

use scatterlist::map::DmaDevice;
use scatterlist::{Direction, LimitId, PhysAddr, Position, Request, Shared};

use super::board::{Board, Note};
use super::disks::{self, Work};
use super::drive::{Disk, Job, drive, whole};
use super::stack::{self, Copies};
use super::{Arguments, Failure, fact, failure};
use crate::block::{BlockDevice as _, Retry};
use crate::driver::edu::Edu;
use crate::fixed::masked::{BLOCK_LEN, BLOCKS};
use crate::machine::{Machine, Mmio, Tsc};
use crate::memory::{Buffer, Choice, Owner};

/// Bytes of the bounce pool.
const POOL_LEN: u64 = 64 << 10;

type Engine<D> = Edu<D, Mmio, Tsc, Owner, Shared<Note>>;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    disks::with(machine, arguments, Masked { machine, checked: arguments.number_or("checked", 0)? != 0 })
}

struct Masked {
    machine: &'static Machine,
    checked: bool,
}

impl Work for Masked {
    fn work<B: Disk>(self, source: &mut B, destination: &mut B, _: disks::Facts) -> Result<(), Failure> {
        let no_limits = stack::no_limits();
        let bare = stack::plain(self.machine, &no_limits)?;
        let pooled = stack::bounced(self.machine, &no_limits, POOL_LEN)?;
        if self.checked {
            let (bare, pooled) = (stack::checked(bare), stack::checked(pooled));
            refused(self.machine, bare)?;
            fact!("findings_bare", stack::released(bare)?);
            moved(self.machine, source, destination, pooled)?;
            fact!("findings_edu", stack::released(pooled)?);
            Ok(())
        } else {
            refused(self.machine, stack::kept(bare))?;
            moved(self.machine, source, destination, stack::kept(pooled))
        }
    }
}

/// Without a pool: what lies above the mask does not go, and comes back.
fn refused<D: DmaDevice<Addr = PhysAddr>>(machine: &'static Machine, device: D) -> Result<(), Failure> {
    let mut engine: Engine<D> = disks::edu(machine, device)?;
    let mask = engine.limits().hard_value(LimitId::AddrMax);
    let above = Choice::ANY.from(mask.saturating_add(1));
    let lease = Buffer::new(machine.memory, BLOCK_LEN, 0, above)?.lease()?;
    let note = Shared::new(BLOCK_LEN, Board::new().note(0));
    let request = Request::new(lease, Direction::ToDevice, Position::At(0), note);
    match engine.submit(request) {
        Err(refused) if refused.retry == Retry::Never => {
            fact!("refused", refused.error);
            Ok(())
        }
        Err(refused) => Err(refused.error.into()),
        Ok(()) => Err(failure(format!("the engine took memory above its mask, {mask:#x}"))),
    }
}

fn moved<B: Disk, D>(
    machine: &'static Machine,
    source: &mut B,
    destination: &mut B,
    device: D,
) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr> + Copies,
{
    let mut engine: Engine<D> = disks::edu(machine, device.clone())?;
    let mask = engine.limits().hard_value(LimitId::AddrMax);
    let (low, high) = (Choice::SCATTERED.up_to(mask), Choice::SCATTERED.from(mask.saturating_add(1)));
    let (mut above, mut below) = ([0_u64; 2], 0_u64);
    for block in 0..BLOCKS {
        let position = block.saturating_mul(BLOCK_LEN);
        // Every other block in two frames, so that one transfer has a part on each side.
        let offset = if block.is_multiple_of(2) { 0 } else { 3072 };
        let sides = |first: u64| if first & 2 == 0 { [low, high] } else { [high, low] };
        let mut memory = |side: usize, choices: [Choice; 2]| -> Result<Buffer, Failure> {
            let buffer = Buffer::in_turn(machine.memory, BLOCK_LEN, offset, &choices)?;
            let here = buffer.bytes_above(mask);
            if let Some(above) = above.get_mut(side) {
                *above = above.saturating_add(here);
            }
            below = below.saturating_add(BLOCK_LEN.saturating_sub(here));
            Ok(buffer)
        };
        let (into, out_of) = (memory(0, sides(block))?, memory(1, sides(block.saturating_add(1)))?);
        let buffer = one(machine, source, into, Direction::FromDevice, position)?;
        one(machine, &mut engine, buffer, Direction::ToDevice, 0)?;
        let buffer = one(machine, &mut engine, out_of, Direction::FromDevice, 0)?;
        one(machine, destination, buffer, Direction::ToDevice, position)?;
    }
    let [to_device, from_device] = above;
    fact!("above_to_device", to_device);
    fact!("above_from_device", from_device);
    fact!("below", below);
    fact!("bounced", engine.bounced_bytes());
    fact!("copied_edu", device.copied_bytes());
    Ok(())
}

/// Moves one buffer, which comes back.
fn one<B: Disk>(
    machine: &Machine,
    disk: &mut B,
    buffer: Buffer,
    direction: Direction,
    position: u64,
) -> Result<Buffer, Failure> {
    let (done, _) = drive(machine, disk, Vec::from([Job { buffer, direction, position }]))?;
    whole(done)?.pop().ok_or_else(|| failure(format!("the job at {position} gave no answer")))
}
