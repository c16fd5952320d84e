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
    /// How often --on-error retry tries bad blocks again; 3 times without this
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Read from the end to the start first
    #[arg(long)]
    reverse: bool,
    /// What DST gets where --on-error skip or retry finds that SRC cannot be read: zeros, as without this, or what it has
    #[arg(long, value_enum, value_name = "WHAT")]
    lost: Option<Lost>,
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
    /// Refuses flags that would do nothing.
    pub(super) fn check(&self) -> Result<(), String> {
        let on_error = name(self.on_error);
        if let Some(retries) = self.retries.filter(|retries| *retries > 0)
            && self.on_error != OnError::Retry
        {
            return Err(format!(
                "--retries {retries} needs --on-error retry: --on-error {on_error} tries no block again"
            ));
        }
        if let Some(lost @ Lost::Keep) = self.lost
            && self.on_error == OnError::Stop
        {
            return Err(format!(
                "--lost {} needs --on-error skip or --on-error retry: --on-error {on_error} ends the copy where the source cannot be read",
                name(lost)
            ));
        }
        Ok(())
    }

    pub(super) fn options(&self) -> RescueOptions {
        let defaults = RescueOptions::default();
        RescueOptions {
            on_error: match self.on_error {
                OnError::Stop => copy::OnError::Stop,
                OnError::Skip => copy::OnError::Skip,
                OnError::Retry => copy::OnError::Retry,
            },
            retries: self.retries.unwrap_or(defaults.retries),
            reverse: self.reverse,
            lost: match self.lost {
                None => defaults.lost,
                Some(Lost::Zero) => copy::LostBytes::Zero,
                Some(Lost::Keep) => copy::LostBytes::Keep,
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

/// The name of a value, as it is written behind its flag.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The words of the command, for who reads the map.
fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}
