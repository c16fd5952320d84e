//! What the kernel does in QEMU: one scenario a boot, named by the command line.
//!
//! A scenario does its work and states facts, lines of `fact key=value`; the host judges by those, by the images of the disks and by
//! what the sound device played. An error ends the machine with a failure.

mod arguments;
mod board;
mod channels;
mod disks;
mod drive;
mod failing;
mod heap;
mod masked;
mod merged;
mod patience;
mod planted;
mod play;
mod stack;
mod stalled;
mod told;
mod transfer;
mod waiting;

pub use arguments::{ArgumentError, Arguments};

use alloc::boxed::Box;
use alloc::string::String;

use crate::machine::{Machine, say};
use crate::registers::Clock as _;

/// Why a scenario failed.
pub type Failure = Box<dyn core::error::Error>;

/// States a fact that the host judges by.
macro_rules! fact {
    ($key:literal, $value:expr) => {
        $crate::machine::say!("fact {}={}", $key, $value)
    };
}
use fact;

/// Runs the scenario that the command line names.
///
/// # Errors
/// Whatever went wrong in it, or that there is none such.
pub fn run(machine: Machine) -> Result<(), Failure> {
    let machine: &'static Machine = Box::leak(Box::new(machine));
    let arguments = Arguments::new(&machine.command_line);
    let name = arguments.text("scenario")?;
    say!("scenario {name}");
    let scenario: fn(&'static Machine, &Arguments<'_>) -> Result<(), Failure> = match name {
        "channels" => channels::run,
        "failing" => failing::run,
        "heap" => heap::run,
        "masked" => masked::run,
        "merged" => merged::run,
        "planted" => planted::run,
        "play" => play::run,
        "stalled" => stalled::run,
        "striped" => merged::striped,
        "transfer" => transfer::run,
        other => return Err(failure(alloc::format!("there is no scenario `{other}`"))),
    };
    scenario(machine, &arguments)?;
    // QEMU names the devices of its `microvm` to every scenario, asked or not.
    drop(arguments.all(disks::VIRTIO_PLACES));
    arguments.all_were_asked()?;
    fact!("leaked", machine.memory.leaked_bytes());
    fact!("ns", machine.clock.now_ns());
    Ok(())
}

/// Makes a failure of a sentence.
fn failure(what: impl Into<String>) -> Failure {
    Failure::from(what.into())
}
