//! The flags of what is done about bytes that cannot be read: `--on-error` and what belongs to it, `--map`, `--resume`.

use std::path::PathBuf;

use bulkio::copy::{self, MapOptions, RescueOptions};
use clap::{Args, ValueEnum};

/// All of them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Bad blocks")]
pub(super) struct RescueFlags {
    /// What to do where SRC cannot be read: stop there, skip (go on, and find exactly which blocks are bad), or retry (skip, and
    /// try those again at the end)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnError::Stop)]
    on_error: OnError,
    /// How often bad blocks are tried again
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// Read from the end to the start first
    #[arg(long)]
    reverse: bool,
    /// What DST gets where SRC cannot be read: zeros, or what it has
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Lost::Zero)]
    lost: Lost,
    /// Keep a map of what is copied and what is bad, in the format of GNU ddrescue
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// Go on from the map, with the same --skip and --seek; DST is not cut
    #[arg(long, requires = "map")]
    resume: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum OnError {
    Stop,
    Skip,
    Retry,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Lost {
    Zero,
    Keep,
}

impl RescueFlags {
    pub(super) fn options(&self) -> RescueOptions {
        RescueOptions {
            on_error: match self.on_error {
                OnError::Stop => copy::OnError::Stop,
                OnError::Skip => copy::OnError::Skip,
                OnError::Retry => copy::OnError::Retry,
            },
            retries: self.retries,
            reverse: self.reverse,
            lost: match self.lost {
                Lost::Zero => copy::LostBytes::Zero,
                Lost::Keep => copy::LostBytes::Keep,
            },
            map: self.map.as_ref().map(|path| MapOptions {
                path: path.clone(),
                resume: self.resume,
                command: command_line(),
                every: MapOptions::EVERY,
            }),
        }
    }
}

/// The words of the command, for who reads the map.
fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}
