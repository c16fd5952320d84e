//! The flags of what needs not be read: `--sparse` and `--offload`.

use bulkio::copy::{Offload, Sparse};
use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
#[command(next_help_heading = "Holes and offload")]
pub(super) struct SparseFlags {
    /// Whether zeros stay holes, or become some: those that the file system of SRC names (from 32K on), also those found in what is read, or none
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    sparse: When,
    /// From file to file, let the file system share blocks or the kernel copy; where it refuses, copy as always, and say why
    #[arg(long)]
    offload: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum When {
    Auto,
    Always,
    Never,
}

impl SparseFlags {
    pub(super) const fn offload(&self) -> Offload {
        if self.offload { Offload::Try } else { Offload::Never }
    }

    pub(super) const fn sparse(&self) -> Sparse {
        match self.sparse {
            When::Auto => Sparse::Auto,
            When::Always => Sparse::Always,
            When::Never => Sparse::Never,
        }
    }
}
