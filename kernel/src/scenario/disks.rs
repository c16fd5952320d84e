//! Two disks of one kind, found on their bus, for a scenario's [`Work`].
//!
//! `disk=virtio`: two virtio block devices over MMIO, whose places the command line names as QEMU's `microvm` writes them.
//! `disk=nvme`: two namespaces of one controller, each with a queue of its own, polled or with `interrupts=1` interrupted.
#![expect(unsafe_code, reason = "says that registers are those of a device")]

use alloc::format;

use nvme_driver::{Controller, DataFormat, IoQueue};
use scatterlist::map::DmaDevice;
use scatterlist::{Addr as _, Complete, LimitId, PhysAddr, Shared};

use super::board::Note;
use super::drive::Disk;
use super::stack::{self, no_limits, on_device};
use super::told::Told;
use super::waiting::{self, Waiting};
use super::{ArgumentError, Arguments, Failure, fact, failure};
use crate::driver::ac97::{self, Ac97};
use crate::driver::edu::Edu;
use crate::driver::nvme::{NvmeDisk, Window};
use crate::driver::virtio_blk::{Options, VirtioBlk};
use crate::machine::{Machine, Mmio, Ports, Tsc, say};
use crate::memory::Owner;

/// Vendor and device of QEMU's NVMe controller.
const NVME: (u16, u16) = (0x1b36, 0x0010);

/// Vendor and device of the AC'97 controller of an 82801AA, which QEMU has.
const AC97: (u16, u16) = (0x8086, 0x2415);

/// Vendor and device of QEMU's educational device.
const EDU: (u16, u16) = (0x1234, 0x11e8);

/// The word by which QEMU's `microvm` names the place of a virtio device.
pub(super) const VIRTIO_PLACES: &str = "virtio_mmio.device";

/// What a scenario does with two disks.
pub(super) trait Work {
    fn work<B: Disk>(self, source: &mut B, destination: &mut B, facts: Facts) -> Result<(), Failure>;
}

/// What both disks are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Bytes of a block.
    pub(super) block_len: u64,
    /// Bytes of a disk.
    pub(super) capacity: u64,
}

impl Facts {
    /// Reads them from the limits of a disk.
    fn of<B: Disk>(disk: &B) -> Self {
        let value = |id| disk.limits().hard_value(id);
        Self { block_len: value(LimitId::PositionAlign), capacity: value(LimitId::Capacity) }
    }
}

/// Brings the disks up that the arguments name, and does the work.
pub(super) fn with<W: Work>(
    machine: &'static Machine,
    arguments: &Arguments<'_>,
    work: W,
) -> Result<(), Failure> {
    match arguments.text("disk")? {
        "virtio" => {
            on_device!(machine, arguments, &no_limits(), |device| virtio(machine, arguments, device, work))
        }
        "nvme" => {
            on_device!(machine, arguments, &no_limits(), |device| nvme(machine, arguments, device, work))
        }
        other => Err(no_disk(other).into()),
    }
}

/// The error of a disk that there is not.
pub(super) fn no_disk(kind: &str) -> ArgumentError {
    Arguments::bad_value("disk", kind, "`virtio` or `nvme`")
}

fn virtio<D, W>(
    machine: &'static Machine,
    arguments: &Arguments<'_>,
    device: D,
    work: W,
) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
    W: Work,
{
    let [mut source, mut destination] = virtio_pair::<_, Owner, Shared<Note>>(machine, arguments, device)?;
    let facts = Facts::of(&source);
    work.work(&mut source, &mut destination, facts)?;
    state_virtio(&source, &destination);
    Ok(())
}

/// States what two disks were told, as [`Told::state`] does, and how.
pub(super) fn state_virtio<D, O, C>(source: &Virtio<D, O, C>, destination: &Virtio<D, O, C>)
where
    D: DmaDevice<Addr = PhysAddr>,
    C: Complete,
{
    let (read, written) = (source.told(), destination.told());
    fact!("told_reads", read.reads.saturating_add(written.reads));
    fact!("told_writes", read.writes.saturating_add(written.writes));
    fact!("told_segments", read.segments.saturating_add(written.segments));
    fact!("indirect", u8::from(source.facts().has_indirect() && destination.facts().has_indirect()));
    let entries = |disk: &Virtio<D, O, C>| disk.facts().queue_size().get();
    fact!("queue_entries", entries(source).min(entries(destination)));
    fact!("requests_max", source.target().pool().layout().objects_max);
}

/// The driver of an NVMe controller of this machine.
pub(super) type Nvme<D, O, C> = Controller<Window<Seen>, Waiting, D, O, C>;

/// Its registers, and what it is told by them.
pub(super) type Seen = &'static Told<Mmio>;

/// One of its queues.
pub(super) type Queue<D> = IoQueue<Window<Seen>, Waiting, D, Owner, Shared<Note>>;

/// The driver of the sound device of this machine.
pub(super) type Sound<D> = Ac97<D, Ports, Ports, Tsc, Owner, Shared<Note>>;

/// The error of a device that is not there.
fn no_function(name: &str, (vendor, device): (u16, u16)) -> Failure {
    failure(format!("bus 0 has no {name} device, vendor {vendor:#06x} and device {device:#06x}"))
}

/// The error of a device whose base address `bar` names no registers of the kind that is needed.
fn no_registers(name: &str, bar: impl core::fmt::Display) -> Failure {
    failure(format!("base address {bar} of the {name} device names none of its registers"))
}

/// Brings the sound device up.
pub(super) fn sound<D>(machine: &'static Machine, device: D) -> Result<Sound<D>, Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let function = machine.pci().find(AC97.0, AC97.1, 0).ok_or_else(|| no_function("AC97", AC97))?;
    // SAFETY: for the driver of this function, below.
    let ports = |bar| unsafe { function.ports(bar) }.ok_or_else(|| no_registers("AC97", bar));
    let (mixer, bus_master) = (ports(0)?, ports(1)?);
    // What is compared are samples, which must stay as they are.
    let options = ac97::Options { pcm_out: ac97::PcmOut::MostGain, ..ac97::Options::default() };
    // SAFETY: both base addresses of one AC'97 function; nobody else uses them.
    Ok(unsafe { Ac97::new(mixer, bus_master, machine.clock, device, options) }?)
}

/// Brings the DMA engine of the `edu` device up.
pub(super) fn edu<D>(
    machine: &'static Machine,
    device: D,
) -> Result<Edu<D, Mmio, Tsc, Owner, Shared<Note>>, Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let function = machine.pci().find(EDU.0, EDU.1, 0).ok_or_else(|| no_function("edu", EDU))?;
    // SAFETY: for the driver of this function, below.
    let registers = unsafe { function.memory(0) }.ok_or_else(|| no_registers("edu", 0))?;
    // SAFETY: base address 0 of an edu function; nobody else uses it.
    Ok(unsafe { Edu::new(registers, machine.clock, device) }?)
}

/// A controller, how its driver waits, and what it is told.
pub(super) type Brought<D, O, C> = (Nvme<D, O, C>, Waiting, Seen);

/// Brings the NVMe controller up. Returns how its driver waits, and what it is told, too.
pub(super) fn controller<D, O, C>(
    machine: &'static Machine,
    arguments: &Arguments<'_>,
    device: D,
    options: nvme_driver::Options,
) -> Result<Brought<D, O, C>, Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
    C: Complete,
{
    match arguments.text("disk")? {
        "nvme" => {}
        other => return Err(Arguments::bad_value("disk", other, "`nvme` in this scenario").into()),
    }
    let mut function = machine.pci().find(NVME.0, NVME.1, 0).ok_or_else(|| no_function("NVMe", NVME))?;
    let waiting = Waiting::of(machine, arguments, &mut function, options.queues)?;
    let options = nvme_driver::Options { vectors: waiting.vectors(), ..options };
    // SAFETY: for the driver of this function, below.
    let registers = unsafe { function.memory(0) }.ok_or_else(|| no_registers("NVMe", 0))?;
    let told = stack::kept(Told::new(registers, machine.memory));
    // SAFETY: base address 0 of an NVMe function; nobody else uses it.
    let window = unsafe { Window::new(told) };
    // SAFETY: the function reaches memory where it is, as the device says; `find` gave it to nobody else.
    let controller = unsafe { Controller::new(window, waiting, device, options) }?;
    say!("{controller:?}");
    for refused in controller.refused() {
        say!("refused: {refused}");
    }
    if let [namespace, ..] = controller.namespaces() {
        told.set_block_len(namespace.block_len());
    }
    Ok((controller, waiting, told))
}

fn nvme<D, W>(machine: &'static Machine, arguments: &Arguments<'_>, device: D, work: W) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
    W: Work,
{
    let options = nvme_driver::Options {
        queues: 2,
        queue_entries: u16::try_from(arguments.number_or("queue", 64)?)?,
        list_pages: u32::try_from(arguments.number_or("pages", 0)?)?,
        format: match arguments.text("format") {
            Ok("sgl") => DataFormat::Sgl,
            Ok("prp") => DataFormat::Prp,
            Ok(other) => return Err(Arguments::bad_value("format", other, "`sgl` or `prp`").into()),
            Err(_) => DataFormat::Auto,
        },
        ..nvme_driver::Options::default()
    };
    let (mut controller, waiting, told) = controller(machine, arguments, device, options)?;
    fact!("list_pages", controller.target().pool().layout().objects_max);
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([one, other, ..], [first, second, ..]) = (namespaces, queues) else {
        return Err(too_few(have, 2));
    };
    let (mut source, mut destination) = (NvmeDisk::new(one, first), NvmeDisk::new(other, second));
    let facts = Facts::of(&source);
    work.work(&mut source, &mut destination, facts)?;
    told.state()?;
    waiting.state(machine, waiting::vectors(controller.queues_mut()));
    Ok(controller.shut_down()?)
}

/// The error of a controller with too few namespaces or queues.
pub(super) fn too_few((namespaces, queues): (usize, usize), need: usize) -> Failure {
    failure(format!("there are {namespaces} namespaces and {queues} queues, {need} of each are needed"))
}

/// A driver of a virtio block device of this machine.
pub(super) type Virtio<D, O, C> = VirtioBlk<D, Mmio, Tsc, O, C>;

/// Brings the two virtio block devices up.
pub(super) fn virtio_pair<D, O, C>(
    machine: &'static Machine,
    arguments: &Arguments<'_>,
    device: D,
) -> Result<[Virtio<D, O, C>; 2], Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
    C: Complete,
{
    let options = Options::default();
    let number = |key, otherwise: u16| -> Result<u16, Failure> {
        Ok(u16::try_from(arguments.number_or(key, u64::from(otherwise))?)?)
    };
    let options = Options {
        queue_size_max: number("queue", options.queue_size_max)?,
        requests_max: number("requests", options.requests_max)?,
        segments_max: number("segments", options.segments_max)?,
        indirect: arguments.number_or("indirect", 1)? != 0,
    };
    let count = arguments.all(VIRTIO_PLACES).count();
    let mut places = arguments.all(VIRTIO_PLACES);
    let mut open = || -> Result<_, Failure> {
        let too_few = || failure(format!("the command line names {count} virtio devices, 2 are needed"));
        let place = places.next().ok_or_else(too_few)?;
        // SAFETY: QEMU names its own devices, each once; for the driver below.
        let registers = unsafe { mmio(machine, place) }?;
        // SAFETY: the machine has a transport there, which nobody else uses; it reaches memory where it is.
        Ok(unsafe { VirtioBlk::new(registers, machine.clock, device.clone(), options) }?)
    };
    Ok([open()?, open()?])
}

/// Reads `512@0xfeb00000:5`: the bytes of the registers, where they are, the interrupt.
///
/// # Safety
/// Where memory is not, these are the registers of a device, and for its driver alone.
pub(super) unsafe fn mmio(machine: &Machine, word: &str) -> Result<Mmio, Failure> {
    let bad = || failure(format!("`{word}` is no place of a virtio device"));
    let (len, rest) = word.split_once('@').ok_or_else(bad)?;
    let (base, _) = rest.split_once(':').ok_or_else(bad)?;
    let base = u64::from_str_radix(base.trim_start_matches("0x"), 16)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { machine.registers(PhysAddr::new(base), len.parse()?) }?)
}
