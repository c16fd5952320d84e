//! What a copy says before it overwrites a disk that holds something, and what it notes about it.
//!
//! Neighbours: `guard::contents` looks, `ends` and `target` call this last, when nothing else refuses the copy. The disk is held by then,
//! so what is shown is what is overwritten. Files are never in the way.

use std::path::Path;

use super::super::CopyError;
use super::super::options::{Control, Observer};
use crate::device::Device;
use crate::device::guard::contents::Unseen;
use crate::device::guard::{Contents, Identity, Refusal};

/// A disk that is about to be overwritten and holds something, or may.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Overwrite<'a> {
    /// Its name.
    pub path: &'a Path,
    /// Its model and serial numbers.
    pub identity: &'a Identity,
    /// Its bytes, where they are known.
    pub len: Option<u64>,
    /// What it holds, or why nobody can say.
    pub contents: Result<&'a Contents, Unseen>,
}

/// Tells the observer what a destination holds, and hears whether to go on.
pub(in super::super) fn ask(
    device: &dyn Device,
    observer: &mut dyn Observer,
    notes: &mut Vec<String>,
) -> Result<(), CopyError> {
    use std::os::fd::AsFd as _;
    if !device.class().is_disk() {
        return Ok(());
    }
    let contents = Contents::of(device);
    let (holds, note) = match &contents {
        Ok(contents) if contents.is_empty() => return Ok(()),
        Ok(contents) => (contents.to_string(), format!("overwrote: {contents}")),
        Err(unseen) => (format!("what nobody knows ({unseen})"), format!("what was overwritten {unseen}")),
    };
    let identity = Identity::of(device.routes().buffered().as_fd());
    let overwrite = Overwrite {
        path: device.path(),
        identity: &identity,
        len: device.len_bytes(),
        contents: contents.as_ref().map_err(|&unseen| unseen),
    };
    if observer.overwrite(&overwrite) == Control::Stop {
        return Err(Refusal::Kept { path: device.path().to_owned(), holds }.into());
    }
    notes.push(note);
    Ok(())
}
