//! [`Lane`]: an engine and the files that jobs have open with it.

use core::ops::DerefMut;
use std::sync::Arc;

use super::channel::JobEngine;
use super::file::{Inner, Target};
use crate::engine::{FileError, FileId, FileOptions};

/// What a job has open: one number for each target.
pub(super) type Ids = [Option<FileId>; 2];

/// A file that jobs use.
#[derive(Debug)]
struct Open {
    file: Arc<Inner>,
    target: Target,
    id: FileId,
    jobs: u32,
}

/// An engine and its open files.
#[derive(Debug)]
pub(super) struct Lane<E: DerefMut<Target = JobEngine>> {
    pub(super) engine: E,
    files: Vec<Open>,
}

impl<E: DerefMut<Target = JobEngine>> Lane<E> {
    pub(super) const fn new(engine: E) -> Self {
        Self { engine, files: Vec::new() }
    }

    /// Returns the engine's number of a job's file; `ids` are those that the job has.
    ///
    /// # Errors
    /// Why the engine does not take the file.
    pub(super) fn open(
        &mut self,
        file: &Arc<Inner>,
        target: Target,
        ids: &mut Ids,
    ) -> Result<FileId, FileError> {
        let place = match target {
            Target::Direct => &mut ids[0],
            Target::Cached => &mut ids[1],
        };
        if let Some(id) = *place {
            return Ok(id);
        }
        let known = |open: &&mut Open| Arc::ptr_eq(&open.file, file) && open.target == target;
        let id = match self.files.iter_mut().find(known) {
            Some(open) => {
                open.jobs = open.jobs.saturating_add(1);
                open.id
            }
            None => {
                // Registering is worth it for files that stay.
                let options =
                    FileOptions { registered: false, always_ready: Some(true), ..FileOptions::default() };
                // Twice as many files as there can be jobs fit.
                let id = self.engine.add_file_with(Arc::clone(file.descriptor(target)), options)?;
                self.files.push(Open { file: Arc::clone(file), target, id, jobs: 1 });
                id
            }
        };
        *place = Some(id);
        Ok(id)
    }

    /// Gives a job's files back, and lets go those that no other job has. The job is over.
    pub(super) fn close(&mut self, ids: Ids) {
        for id in ids.into_iter().flatten() {
            let Some(place) = self.files.iter().position(|open| open.id == id) else { continue };
            let Some(open) = self.files.get_mut(place) else { continue };
            open.jobs = open.jobs.saturating_sub(1);
            if open.jobs == 0 {
                self.files.swap_remove(place);
                // It cannot be busy: no job has it.
                let _ = self.engine.remove_file(id);
            }
        }
    }
}
