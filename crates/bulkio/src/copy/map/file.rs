//! [`MapFile`]: a map on disk, replaced as a whole, so that a crash leaves the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{AREAS_MAX, MapEnds, MapTextError, RecoveryMap};

/// Longest text that is read: what [`AREAS_MAX`] areas take, with room for comments.
const TEXT_LEN_MAX: u64 = AREAS_MAX as u64 * 64;

/// Names that are tried for a new map.
const NAMES_MAX: u32 = 100;

/// A map that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapFileError {
    /// The work that a map records would be begun anew.
    #[error("the map {} exists: go on from it (--resume), or name another", .path.display())]
    Exists {
        /// The map.
        path: PathBuf,
    },
    /// It is no regular file.
    #[error("the map {} is no regular file", .path.display())]
    NoFile {
        /// The map.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the map {} cannot be read: {why}", .path.display())]
    Read {
        /// The map.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// It is longer than any map that is read.
    #[error("the map {} has more than {max} bytes; is it a map?", .path.display())]
    Long {
        /// The map.
        path: PathBuf,
        /// Most bytes that are read.
        max: u64,
    },
    /// It is no map.
    #[error("{}: {why}", .path.display())]
    Text {
        /// The map.
        path: PathBuf,
        /// Why.
        why: MapTextError,
    },
    /// It cannot be written.
    #[error("the map {} cannot be written ({operation}): {why}", .path.display())]
    Write {
        /// The map.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// Why.
        why: io::Error,
    },
}

/// A map on disk.
#[derive(Clone, Debug)]
pub(in crate::copy) struct MapFile {
    path: PathBuf,
    folder: PathBuf,
    name: OsString,
    command: String,
    /// The ends that it is of, where they are known.
    ends: Option<MapEnds>,
}

/// A map that was read, and the ends that it says it is of.
type Found = (RecoveryMap, Option<MapEnds>);

impl MapFile {
    /// Opens the place of a map; `command` goes to its header. The map itself, if it is there: it must be with `resume`, and must not be
    /// without.
    pub(in crate::copy) fn open(
        path: &Path,
        resume: bool,
        command: &str,
    ) -> Result<(Self, Option<Found>), MapFileError> {
        // A link stays one.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let found = match fs::metadata(&place) {
            Ok(found) if !found.is_file() => return Err(MapFileError::NoFile { path: path.to_owned() }),
            Ok(found) => found.len() > 0,
            Err(_) => false,
        };
        let map = match (resume, found) {
            (false, true) => return Err(MapFileError::Exists { path: path.to_owned() }),
            (false, false) => None,
            (true, _) => Some(read(&place)?),
        };
        let name = place.file_name().ok_or_else(|| MapFileError::NoFile { path: path.to_owned() })?;
        let name = name.to_owned();
        let folder = match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let file = Self { folder, name, path: place, command: command.to_owned(), ends: None };
        Ok((file, map))
    }

    pub(in crate::copy) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on the map says which ends it is of.
    pub(in crate::copy) fn name_ends(&mut self, ends: MapEnds) {
        self.ends = Some(ends);
    }

    /// The text of a map, with the comment about its ends behind the first line, which says whose map it is.
    fn text_of(&self, map: &RecoveryMap) -> String {
        let text = map.to_text(&self.command);
        match (&self.ends, text.split_once('\n')) {
            (Some(ends), Some((first, rest))) => format!("{first}\n{}\n{rest}", ends.to_line()),
            _ => text,
        }
    }

    /// Writes the map, durably, in place of the one that is there.
    pub(in crate::copy) fn save(&self, map: &RecoveryMap) -> Result<(), MapFileError> {
        let failed = |operation| {
            let path = self.path.clone();
            move |why| MapFileError::Write { path, operation, why }
        };
        let (mut file, beside) = self.make().map_err(failed("making a new one beside it"))?;
        let text = self.text_of(map);
        let written = file.write_all(text.as_bytes()).map_err(failed("writing a new one beside it"));
        let durable = written.and_then(|()| file.sync_all().map_err(failed("making a new one durable")));
        let moved = durable.and_then(|()| {
            fs::rename(&beside, &self.path).map_err(failed("putting the new one in its place"))
        });
        if moved.is_err() {
            // The old one is still there; the new one is of no use.
            let _ = fs::remove_file(&beside);
        }
        moved?;
        let folder = File::open(&self.folder).map_err(failed("opening its folder"))?;
        folder.sync_all().map_err(failed("making its name durable"))
    }

    /// Makes a file that nobody has, in the folder of the map.
    fn make(&self) -> io::Result<(File, PathBuf)> {
        let mut number = 0;
        loop {
            let mut name = OsString::from(".");
            name.push(&self.name);
            name.push(format!(".{}-{number}", std::process::id()));
            let beside = self.folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < NAMES_MAX => {
                    number += 1
                }
                made => return made.map(|file| (file, beside)),
            }
        }
    }
}

fn read(path: &Path) -> Result<Found, MapFileError> {
    let failed = |why| MapFileError::Read { path: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(TEXT_LEN_MAX.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > TEXT_LEN_MAX {
        return Err(MapFileError::Long { path: path.to_owned(), max: TEXT_LEN_MAX });
    }
    let map = RecoveryMap::from_text(&text);
    let map = map.map_err(|why| MapFileError::Text { path: path.to_owned(), why })?;
    Ok((map, MapEnds::in_text(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::AreaStatus;
    use crate::copy::map::MapEnd;

    #[test]
    fn a_map_is_kept_and_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map");
        let (file, none) = MapFile::open(&path, false, "a command").expect("a new map");
        assert_eq!(none, None);
        let mut map = RecoveryMap::new(1 << 20);
        for good in [4096, 8192] {
            map.set(0..good, AreaStatus::Good);
            file.save(&map).expect("saved");
        }
        let (mut file, read) = MapFile::open(&path, true, "a command").expect("the map");
        assert_eq!(read, Some((map.clone(), None)));
        // Only a comment comes to it.
        let ends = MapEnds { skip: 1, seek: 2, source: MapEnd::File, destination: MapEnd::File };
        file.name_ends(ends.clone());
        let lines = || fs::read_to_string(&path).expect("the map").lines().map(str::to_owned).collect();
        let mut before: Vec<String> = lines();
        file.save(&map).expect("saved");
        before.insert(1, ends.to_line());
        let after: Vec<String> = lines();
        assert_eq!(after, before);
        let (_, read) = MapFile::open(&path, true, "a command").expect("the map");
        assert_eq!(read, Some((map, Some(ends))));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
        let error = MapFile::open(&path, false, "").expect_err("it exists").to_string();
        assert!(error.contains("exists: go on from it (--resume)"), "{error}");
    }

    #[test]
    fn what_cannot_be_a_map_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map");
        let error = |path: &Path, resume| MapFile::open(path, resume, "").expect_err("refused").to_string();
        assert!(error(&path, true).contains("cannot be read: No such file"), "{}", error(&path, true));
        assert!(error(folder.path(), false).ends_with("is no regular file"));
        assert!(error(Path::new("/dev/null"), true).ends_with("is no regular file"));
        fs::write(&path, "0 + 1\n0 5 %\n").expect("written");
        assert!(error(&path, true).contains("line 2 of the map is `0 5 %`"), "{}", error(&path, true));
        // An empty file is a place for a map, as for other programs.
        fs::write(&path, "").expect("written");
        assert!(MapFile::open(&path, false, "").is_ok());
        let (file, _) =
            MapFile::open(&folder.path().join("no/such/map"), false, "").expect("not looked at yet");
        let error = file.save(&RecoveryMap::new(1)).expect_err("no folder").to_string();
        assert!(error.contains("(making a new one beside it): No such file"), "{error}");
    }
}
