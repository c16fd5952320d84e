//! What a copy does about bytes that cannot be read.

use std::path::PathBuf;
use std::time::Duration;

use crate::copy::CopyError;

/// What happens when a block cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnError {
    /// The copy ends there, with every good byte before it.
    #[default]
    Stop,
    /// The copy goes on behind it, and comes back at the end to find exactly what cannot be read.
    Skip,
    /// As [`Skip`](Self::Skip), and then tries every bad block again, [`RescueOptions::retries`] times.
    Retry,
}

/// What becomes of the destination where the source cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum LostBytes {
    /// Zeros are written.
    #[default]
    Zero,
    /// What is there stays.
    Keep,
}

/// A map beside the copy, so that it can be ended at any moment and gone on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapOptions {
    /// The file.
    pub path: PathBuf,
    /// Whether it exists and the copy goes on from it; without, it must not exist.
    pub resume: bool,
    /// What its header says about where it is from: the command line.
    pub command: String,
    /// How often it is saved at most; each time, the destination is flushed. That may take a twentieth of the time, and with zero all of it: then it is
    /// saved whenever something is done.
    pub every: Duration,
}

impl MapOptions {
    /// How often a map is saved where nothing else is wanted.
    pub const EVERY: Duration = Duration::from_secs(1);
}

/// What a copy does about bytes that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RescueOptions {
    /// What happens when a block cannot be read.
    pub on_error: OnError,
    /// How often every bad block is tried again, for [`OnError::Retry`].
    pub retries: u32,
    /// Whether the first pass goes from the end to the start.
    pub reverse: bool,
    /// What becomes of the destination where the source cannot be read.
    pub lost: LostBytes,
    /// The map, if there is to be one.
    pub map: Option<MapOptions>,
}

/// Most times that a bad block is tried again.
const RETRIES_MAX: u32 = 1000;

impl Default for RescueOptions {
    fn default() -> Self {
        Self { on_error: OnError::Stop, retries: 3, reverse: false, lost: LostBytes::Zero, map: None }
    }
}

impl RescueOptions {
    /// Says whether the copy keeps account of each area of the source.
    #[must_use]
    pub const fn wanted(&self) -> bool {
        self.map.is_some() || !matches!(self.on_error, OnError::Stop) || self.reverse
    }

    /// Says whether the copy goes on from a map.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.resume)
    }

    pub(in crate::copy) fn check(&self) -> Result<(), CopyError> {
        let (what, value, max) = ("retries", u64::from(self.retries), u64::from(RETRIES_MAX));
        if self.on_error == OnError::Retry && !(1..=max).contains(&value) {
            return Err(CopyError::Option { what, value, min: 1, max });
        }
        Ok(())
    }
}
