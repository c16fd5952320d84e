//! One mistake of each class, made on this machine: the checker around the device must tell exactly that.
//!
//! `bug=CLASS` makes one, `bug=all` each in turn, every one with a fresh device and fresh memory. The scenario passes whatever was
//! found and states it, `planted-CLASS=FINDINGS`; the host judges. By theme: [`disk`], mistakes around real transfers of a virtio block
//! device; [`mapping`] and [`syncing`], by calls of the device's own; [`answering`], of a back end; [`told`], those that
//! Rust has no call for, by a record that a driver of another language keeps.

mod answering;
mod disk;
mod mapping;
mod mistaken;
mod raw;
mod syncing;
mod told;
mod watched;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use scatterlist::map::Backend;
use scatterlist::map::checked::{Checked, Finding};
use scatterlist::{Lease, PhysAddr};

use super::stack::{self, Plain};
use super::{Arguments, Failure, fact, failure};
use crate::machine::{Machine, say};
use crate::memory::{Buffer, Choice, Owner};
use crate::misuse::{CLASSES, class_of};

/// A device in its checker.
type Device = &'static Checked<Plain>;

/// What a mistake is made on.
struct Bench<'a> {
    machine: &'static Machine,
    arguments: &'a Arguments<'a>,
    /// What an honest driver reads from the start of the disk.
    honest: Vec<u8>,
}

impl Bench<'_> {
    /// Makes a device without limits in a checker.
    fn device(&self) -> Result<Device, Failure> {
        Ok(stack::checked(stack::plain(self.machine, &stack::no_limits())?))
    }

    /// Takes memory from all over the machine, of which no two frames touch.
    fn buffer(&self, len: u64) -> Result<Buffer, Failure> {
        Ok(Buffer::new(self.machine.memory, len, 0, Choice::SCATTERED)?)
    }

    fn lease(&self, len: u64) -> Result<Lease<PhysAddr, Owner>, Failure> {
        Ok(self.buffer(len)?.lease()?)
    }
}

/// Ends the record of a device, and takes what was found.
fn ended<D: Backend>(device: &Checked<D>) -> Vec<Finding> {
    device.release();
    device.take_findings()
}

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    let wanted = arguments.text("bug")?;
    let mut bench = Bench { machine, arguments, honest: Vec::new() };
    let (found, honest) = disk::honest(&bench)?;
    fact!("honest", names(&found)?);
    bench.honest = honest;
    let mut planted = 0_u64;
    for class in CLASSES.iter().filter(|class| wanted == "all" || wanted == class.name) {
        let found = plant(&bench, class.name)?;
        for finding in &found {
            say!("{}: {finding}", class.name);
        }
        let names = names(&found)?;
        say!("fact planted-{}={names}", class.name);
        if wanted == class.name {
            fact!("findings", found.len());
            fact!("finding", names);
        }
        planted = planted.saturating_add(1);
    }
    fact!("planted", planted);
    if planted == 0 { Err(failure(format!("there is no class `{wanted}`"))) } else { Ok(()) }
}

/// The classes of findings, joined by `+`.
fn names(found: &[Finding]) -> Result<String, Failure> {
    let mut names = String::new();
    for finding in found {
        let class = class_of(finding).ok_or_else(|| failure(format!("no class has this: {finding}")))?;
        if !names.is_empty() {
            names.push('+');
        }
        names.push_str(class);
    }
    Ok(names)
}

/// Makes the mistake of a class, and returns what was found.
fn plant(bench: &Bench<'_>, class: &str) -> Result<Vec<Finding>, Failure> {
    let bug: fn(&Bench<'_>) -> Result<Vec<Finding>, Failure> = match class {
        "span-unsound" => told::an_empty_entry,
        "map-empty" => answering::no_address,
        "map-bytes" => answering::half_of_it,
        "map-region" => mapping::the_stack,
        "map-limit" => mapping::too_long_a_segment,
        "map-offset" => answering::other_low_bits,
        "line-shared" => disk::two_requests_for_the_same_memory,
        "line-overlaps" => mapping::nine_times_the_same,
        "record-full" => mapping::more_than_the_record_holds,
        "unmap-error" => mapping::frees_what_it_was_refused,
        "unmap-unknown" => disk::unmaps_twice,
        "unmap-len" => disk::frees_another_length,
        "unmap-kind" => mapping::frees_what_was_mapped,
        "unmap-cpu-addr" => disk::frees_another_address,
        "unmap-entries" => told::the_count_of_the_bus,
        "unmap-direction" => disk::unmaps_turned,
        "error-unchecked" => told::never_looks,
        "leaked" => disk::never_unmaps,
        "other-memory" => disk::unmaps_other_memory,
        "dropped-in-flight" => mapping::drops_a_flight,
        "sync-unknown" => syncing::after_the_unmapping,
        "sync-range" => syncing::past_the_end,
        "sync-direction" => syncing::turned,
        "sync-read-only" => syncing::for_the_cpu_what_is_only_read,
        "sync-write-only" => syncing::for_the_device_what_it_only_writes,
        "sync-entries" => syncing::part_of_the_list,
        "device-unmapped" => disk::tells_what_is_gone,
        "device-outside" => disk::maps_half,
        "device-direction" => disk::maps_turned,
        "cpu-wrote" => disk::writes_after_the_submit,
        "cpu-read-unsynced" => disk::reads_before_the_end,
        other => return Err(failure(format!("nobody makes the mistake of class `{other}`"))),
    };
    bug(bench)
}
