//! Tests of devices that development machines lack. They run in the guest that `cargo xtask lab` boots: each module in the group of its
//! name. Anywhere else they skip themselves.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

mod audio;
mod audio_command;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod cookbook;
mod depth;
mod dm;
mod doors;
#[path = "../faulty/mod.rs"]
mod faulty;
mod latency;
mod matrix;
mod nvme;
mod nvme_commands;
mod nvme_fio;
mod nvme_removed;
mod oracle;
#[path = "../recipes/mod.rs"]
mod recipes;
mod rescue;
#[path = "../../../bulkio-cli/tests/residency/mod.rs"]
mod residency;
mod scsi;
mod scsi_copy;
mod scsi_generic;
mod signalled;
mod support;
mod tape;
mod video;
mod video_command;
mod video_copy;
