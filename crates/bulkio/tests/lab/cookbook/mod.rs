//! The recipes of `COOKBOOK.md`, run as they stand: first the old commands, then ours, each in a new folder and on devices that were made anew. The
//! same check holds for both, so the old commands are what the text says that they are.
//!
//! A recipe is found by its heading. One without a check fails, and so does a check without a recipe.

mod disks;
mod others;

use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::command::said;
use crate::common::storage_dir;
use crate::or_skip;
use crate::recipes::{Block, COOKBOOK, Kind, recipes};
use crate::support::{fill, in_lab};

/// The bytes of each disk.
const LEN: usize = 16 << 20;

/// What recipes read, and what they write to. `lab/cookbook.sh` gives them these names.
const OWN: &str = "/dev/sda";
const DISK: &str = "/dev/sdb";
const STICK: &str = "/dev/sdc";
const FAILING: &str = "/dev/sdd";

/// What a block of a recipe left.
struct Stage<'a> {
    folder: &'a Path,
    /// Which block of ours it was, from 0; `None` for the old commands.
    ours: Option<usize>,
    code: i32,
    printed: String,
}

impl Stage<'_> {
    fn file(&self, name: &str) -> Vec<u8> {
        let file = self.folder.join(name);
        fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}: {}", file.display(), self.printed))
    }

    /// Holds if a block of ours printed this.
    #[track_caller]
    fn assert_said(&self, text: &str) {
        assert!(self.ours.is_none() || self.printed.contains(text), "no `{text}` in {}", self.printed);
    }
}

/// What a disk itself holds, whatever the page cache says.
fn disk(node: &str) -> Vec<u8> {
    let mut command = Command::new("dd");
    command.arg(format!("if={node}")).args(["iflag=direct", "bs=1M", "status=none"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    output.stdout
}

/// Bytes of which no two sectors are alike, other ones for each seed: noise that repeats itself, so that emulation is not busy with making or
/// packing it, with the number of the sector at the start of each.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    const NOISE_LEN: usize = 16 << 10;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        // Marsaglia, "Xorshift RNGs": 13, 7, 17.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let noise: Vec<u8> = (0..NOISE_LEN / 8).flat_map(|_| word()).collect();
    let mut bytes = noise.repeat(len.div_ceil(NOISE_LEN));
    for (number, sector) in (0_u64..).zip(bytes.chunks_exact_mut(512)) {
        sector[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn disk_with(node: &str, seed: u64) {
    fill(Path::new(node), 0, &bytes(seed, LEN));
}

/// What a recipe needs while it runs, such as a program in the background.
type Kept = Option<Box<dyn Any>>;

fn run(block: &Block, folder: &TempDir, programs: &str) -> (i32, String) {
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &block.script]).current_dir(folder.path()).env("PATH", programs);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let printed = said(&output);
    let code = output.status.code().unwrap_or_else(|| panic!("line {}: {printed}", block.line));
    assert!(block.codes.contains(&code), "line {} says {:?}: {printed}", block.line, block.codes);
    (code, printed)
}

/// Runs a recipe: its old commands and its check, and then its commands of ours, each with the check.
fn cook(heading: &str, prepare: fn(&Path) -> Kept, check: fn(&Stage<'_>)) {
    let recipes = recipes(COOKBOOK).unwrap();
    let recipe = recipes.iter().find(|recipe| recipe.heading == heading);
    let recipe = recipe.unwrap_or_else(|| panic!("COOKBOOK.md has no recipe `{heading}`"));
    // The name that the command has where it is installed.
    let installed = storage_dir().unwrap();
    let command = PathBuf::from(std::env::var_os("BULKIO_BIN").expect("the lab says where the command is"));
    std::os::unix::fs::symlink(command, installed.path().join("bulkio")).unwrap();
    let programs = format!("{}:{}", installed.path().display(), std::env::var("PATH").unwrap());
    for kind in [Kind::Old, Kind::Ours] {
        let folder = storage_dir().unwrap();
        let _kept = prepare(folder.path());
        for (at, block) in recipe.blocks.iter().filter(|block| block.kind == kind).enumerate() {
            let (code, printed) = run(block, &folder, &programs);
            let ours = (kind == Kind::Ours).then_some(at);
            check(&Stage { folder: folder.path(), ours, code, printed });
        }
    }
    assert!(disk(OWN).iter().all(|byte| *byte == 0), "a disk was written that no recipe names");
}

macro_rules! cookbook {
    ($($name:ident: $heading:literal, $prepare:path, $check:path;)*) => {
        const HEADINGS: &[&str] = &[$($heading),*];

        $(#[test]
        fn $name() {
            or_skip!(concat!("cookbook::", stringify!($name)), in_lab("cookbook"));
            cook($heading, $prepare, $check);
        })*
    };
}

cookbook! {
    image: "Make an image of a disk", disks::source, disks::image;
    stick: "Write an image to a stick", disks::stick_image, disks::stick;
    compressed: "Keep a disk as a compressed image", disks::both, disks::compressed;
    rescue: "Rescue a disk that fails", disks::failing, disks::rescued;
    clone: "Clone a disk", disks::both, disks::cloned;
    scsi: "Read a disk by SCSI commands", disks::source, disks::by_scsi;
    nvme: "Read an NVMe namespace by commands", disks::namespace, disks::by_nvme;
    tape: "Stream an archive to a tape", others::photos, others::archived;
    tapes: "Take a tape to files, and back to another tape", others::tape, others::taken;
    difference: "Find out where two disks differ", disks::alike, disks::differences;
    part: "Copy a part of a disk into a part of another", disks::both, disks::part;
    wipe: "Wipe a disk", disks::both, disks::wiped;
    look: "Look before you copy", disks::stick_and_image, disks::looked;
    several: "Write several disks at once", disks::stick_image, disks::several;
    sparse: "Copy a sparse image", others::images, others::thin;
    sound: "Record sound", others::player, others::recorded;
}

#[test]
fn every_recipe_has_a_check_and_every_check_a_recipe() {
    let recipes = recipes(COOKBOOK).unwrap();
    let written: BTreeSet<_> = recipes.iter().map(|recipe| recipe.heading.as_str()).collect();
    assert_eq!(written.len(), recipes.len(), "a heading is there twice");
    assert_eq!(written, HEADINGS.iter().copied().collect());
}
