//! The flags that keep from overwriting the wrong disk, and those that overrule what does.

use bulkio::device::guard::{Expectations, Serial};
use clap::Args;

use super::values;
use crate::size;

#[derive(Args, Debug)]
#[command(next_help_heading = "Guards")]
pub(super) struct GuardFlags {
    /// Refuse a DST that is not the disk with this serial number or world-wide name
    #[arg(long, value_name = "TEXT", value_parser = values::serial)]
    expect_serial: Option<Serial>,
    /// Refuse a DST that is not a disk of exactly this capacity
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    expect_size: Option<u64>,
    /// Do not ask before a disk is overwritten that holds something, nor say so before; without it, and without --json, whoever sits
    /// at the terminal is asked, also where SRC is a pipe, and where there is no terminal it is only said
    #[arg(long, short)]
    pub(super) yes: bool,
    /// Write to a disk although it is mounted or in use; lifts no other check
    #[arg(long)]
    pub(super) force: bool,
}

impl GuardFlags {
    pub(super) const fn expectations(&self) -> Expectations {
        Expectations { serial: self.expect_serial, size: self.expect_size }
    }
}
