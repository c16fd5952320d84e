//! A destination file that a copy has created, and removes again when it is refused before it begins.
//!
//! What is removed is the file, by the name that it was created under: a symbolic link that led to nothing stays, its target goes. A
//! name that leads to something else by now is left alone. Contract: the file is held open as long as that is open, so that its inode
//! number is nobody else's.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags};

use super::super::CopyError;
use super::duplicate;

/// A destination file that did not exist before.
#[derive(Debug)]
pub(in super::super) struct Created {
    /// `None` once the file is to stay.
    file: Option<(PathBuf, OwnedFd)>,
}

impl Created {
    /// Remembers a file that was created as `path`, links followed.
    pub(in super::super) fn new(path: PathBuf, file: &impl AsFd) -> Result<Self, CopyError> {
        match duplicate(file, "the new destination") {
            Ok(held) => Ok(Self { file: Some((path, held)) }),
            Err(error) => {
                remove(&path, file);
                Err(error)
            }
        }
    }

    /// The copy begins: the file stays, whatever happens.
    pub(in super::super) fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some((path, file)) = &self.file {
            remove(path, file);
        }
    }
}

/// Removes a file that nothing was written to, if the name is still its own.
fn remove(path: &Path, file: &impl AsFd) {
    let asked = StatxFlags::BASIC_STATS;
    let named = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, asked);
    let opened = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, asked);
    let id = |found: Statx| (found.stx_dev_major, found.stx_dev_minor, found.stx_ino);
    if let (Ok(named), Ok(opened)) = (named, opened)
        && id(named) == id(opened)
    {
        // If it cannot be removed, an empty file stays, and the refusal is told anyway.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_the_file_itself_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let created = || {
            let file = File::create(&path).expect("a file");
            Created::new(path.clone(), &file).expect("a descriptor")
        };
        drop(created());
        assert!(!path.exists(), "it was refused");
        created().keep();
        assert!(path.exists(), "it is kept");
        fs::remove_file(&path).expect("it is there");
        // Another file by the same name, and a link to the file itself.
        let (held, other) = (created(), folder.path().join("other"));
        fs::write(&other, "another's").expect("a file");
        fs::rename(&other, &path).expect("renamed");
        drop(held);
        assert_eq!(fs::read(&path).expect("it stays"), b"another's");
        let held = created();
        fs::rename(&path, &other).expect("renamed");
        std::os::unix::fs::symlink("other", &path).expect("a link");
        drop(held);
        assert!(path.is_symlink() && other.exists());
        fs::remove_file(&path).expect("it is there");
        let held = created();
        fs::remove_file(&path).expect("it is there");
        drop(held);
    }
}
