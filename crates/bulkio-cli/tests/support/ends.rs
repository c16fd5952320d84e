//! The four kinds of end, each as a source with data and as a destination with older data in it, and a model
//! of what a copy leaves there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{assert_same, pattern};
use crate::common::LoopDevice;

/// The kinds of end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    Loop512,
    Loop4096,
    Pipe,
}

pub const KINDS: [Kind; 4] = [Kind::File, Kind::Loop512, Kind::Loop4096, Kind::Pipe];

impl Kind {
    pub fn is_device(self) -> bool {
        matches!(self, Self::Loop512 | Self::Loop4096)
    }
}

/// One end with bytes in it.
#[derive(Debug)]
pub struct End {
    pub kind: Kind,
    /// What stands on the command line.
    pub word: PathBuf,
    /// The bytes in it: to be read, or there before.
    pub bytes: Vec<u8>,
    _device: Option<LoopDevice>,
}

impl End {
    /// Makes an end that holds `len` bytes; a device holds at least that many, rounded up to 64 KiB.
    pub fn new(kind: Kind, folder: &Path, name: &str, len: usize, seed: u64) -> Result<Self, String> {
        let block = match kind {
            Kind::Loop512 => 512,
            Kind::Loop4096 => 4096,
            Kind::File => {
                let (word, bytes) = (folder.join(name), pattern(len, seed));
                fs::write(&word, &bytes).map_err(|error| error.to_string())?;
                return Ok(Self { kind, word, bytes, _device: None });
            }
            Kind::Pipe => {
                return Ok(Self { kind, word: "-".into(), bytes: pattern(len, seed), _device: None });
            }
        };
        let bytes = pattern(len.next_multiple_of(64 << 10), seed);
        let device = LoopDevice::new(bytes.len() as u64, block)?;
        let mut end = Self { kind, word: device.node().to_owned(), bytes: Vec::new(), _device: Some(device) };
        end.fill(bytes);
        Ok(end)
    }

    /// Puts other bytes into the end, as many as it holds where it is a device.
    pub fn fill(&mut self, bytes: Vec<u8>) {
        match self.kind {
            Kind::Pipe => {}
            Kind::File => fs::write(&self.word, &bytes).expect("the file takes them"),
            Kind::Loop512 | Kind::Loop4096 => {
                let file = fs::File::options().write(true).open(&self.word).expect("the device opens");
                file.write_all_at(&bytes, 0).expect("the device takes them");
                // So that reads past the page cache see them, and later ones through it see the medium.
                file.sync_all().expect("synced");
                let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
            }
        }
        self.bytes = bytes;
    }

    /// What a destination holds now; for a pipe what came out of it.
    pub fn contents(&self, stdout: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::Pipe => stdout.to_vec(),
            _ => fs::read(&self.word).expect("the destination is read"),
        }
    }

    /// Compares the whole destination with what it must hold after `data` was written at `seek`.
    #[track_caller]
    pub fn check(&self, stdout: &[u8], data: &[u8], seek: usize, truncate: bool, what: &str) {
        let expected = match self.kind {
            Kind::Pipe => data.to_vec(),
            kind => model(&self.bytes, data, seek, truncate && kind == Kind::File),
        };
        assert_same(&self.contents(stdout), &expected, what);
    }
}

/// What a file or device holds after `data` was written over `before` at `seek`; like dd, truncation keeps
/// what lies in front.
pub fn model(before: &[u8], data: &[u8], seek: usize, truncate: bool) -> Vec<u8> {
    let mut after = before.to_vec();
    if truncate {
        after.resize(seek, 0);
    }
    if data.is_empty() {
        return after;
    }
    if after.len() < seek + data.len() {
        after.resize(seek + data.len(), 0);
    }
    after[seek..seek + data.len()].copy_from_slice(data);
    after
}

/// Writes a file with data and brings it to the disk.
pub fn synced_file(path: &Path, bytes: &[u8]) {
    let mut file = fs::File::create(path).expect("a new file");
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
}
