//! Every door of a disk in use: block node, partition, commands to the block node, `sg`, `bsg`, NVMe generic node. Whoever uses the disk
//! or a partition of it, each copy to a door of it is refused, and nothing is written. What of a disk that is not used
//! is refused all the same: one that is not the disk that was expected.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::command::{assert_exits, bulkio, said};
use crate::common::{Swap, storage_dir};
use crate::or_skip;
use crate::support::{Mapper, fill, in_lab, wait_until};

/// What a copy would write, at the start of a door.
const SOURCE_LEN: usize = 64 << 10;

/// What is compared from the start of the disk: both partitions and what lies before them.
const SEEN_LEN: usize = 12 << 20;

/// The two partitions, in sectors: their start, and their length. The second is nobody's.
const PARTITIONS: [(u64, u64); 2] = [(2048, 16_384), (20_480, 2048)];

/// A disk with its doors.
#[derive(Debug)]
struct Disk {
    node: PathBuf,
    /// The doors of the whole disk, each with the words that it takes.
    doors: Vec<(PathBuf, Vec<&'static str>)>,
    serial: String,
    folder: TempDir,
}

impl Disk {
    /// The disk of `scsi_debug`.
    fn scsi() -> Self {
        let mut disks = fs::read_dir("/sys/block").unwrap().flatten();
        let disk = disks.find(|disk| disk.file_name().to_str().unwrap().starts_with("sd")).unwrap().path();
        let node = Path::new("/dev").join(disk.file_name().unwrap());
        let beside = |folder: &str| {
            let mut names = fs::read_dir(disk.join("device").join(folder)).unwrap().flatten();
            names.next().unwrap().file_name()
        };
        let doors = vec![
            (node.clone(), vec![]),
            (node.clone(), vec!["--passthrough", "destination"]),
            (Path::new("/dev").join(beside("scsi_generic")), vec![]),
            (Path::new("/dev/bsg").join(beside("bsg")), vec![]),
        ];
        // SPC-4, "Unit Serial Number VPD page": four bytes, then the number.
        let page = fs::read(disk.join("device/vpd_pg80")).unwrap();
        let serial = String::from_utf8(page[4..].to_vec()).unwrap().trim().to_owned();
        Self::new(node, doors, serial)
    }

    /// The NVMe disk, whose serial number the lab has given it.
    fn nvme() -> Self {
        let (node, generic) = (PathBuf::from("/dev/nvme0n1"), PathBuf::from("/dev/ng0n1"));
        wait_until("the NVMe disk is there", || node.exists() && generic.exists());
        Self::new(node.clone(), vec![(node, vec![]), (generic, vec![])], "DOOR7".to_owned())
    }

    fn new(node: PathBuf, doors: Vec<(PathBuf, Vec<&'static str>)>, serial: String) -> Self {
        let folder = storage_dir().unwrap();
        fs::write(folder.path().join("from"), vec![0xa5; SOURCE_LEN]).unwrap();
        Self { node, doors, serial, folder }
    }

    /// Empties it, and gives it its partitions.
    fn partitioned(&self) -> Partitions<'_> {
        fill(&self.node, 0, &vec![0; SEEN_LEN]);
        for (at, (start, sectors)) in PARTITIONS.into_iter().enumerate() {
            let numbers = [at as u64 + 1, start, sectors].map(|number| number.to_string());
            run(Command::new("addpart").arg(&self.node).args(numbers));
            wait_until("the partition has a node", || self.partition(at as u32 + 1).exists());
        }
        Partitions(self)
    }

    fn partition(&self, number: u32) -> PathBuf {
        let name = self.node.to_str().unwrap();
        let middle = if name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        PathBuf::from(format!("{name}{middle}{number}"))
    }

    /// Copies to a door of it.
    fn copy(&self, door: &Path, words: &[&str]) -> Output {
        bulkio(&self.folder).args(["copy", "from"]).arg(door).args(words).output().unwrap()
    }

    /// What the disk itself holds, whatever the page cache says.
    fn bytes(&self) -> Vec<u8> {
        let mut command = Command::new("dd");
        command.arg(format!("if={}", self.node.display()));
        command.args(["iflag=direct", "bs=64k", &format!("count={}", SEEN_LEN >> 16), "status=none"]);
        let output = command.output().unwrap();
        assert!(
            output.status.success() && output.stdout.len() == SEEN_LEN,
            "{command:?}: {:?}",
            output.status
        );
        output.stdout
    }

    /// Tries every door of the whole disk and these others, while somebody uses it.
    fn refuses(&self, user: &str, others: &[PathBuf]) {
        let before = self.bytes();
        let others = others.iter().map(|node| (node.clone(), vec![]));
        for (door, words) in self.doors.iter().cloned().chain(others) {
            let what = format!("{user}: {} {words:?}", door.display());
            let output = self.copy(&door, &words);
            assert_eq!(output.status.code(), Some(3), "{what}: {}", said(&output));
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("is in use: ") && text.contains(user), "{what}: {text}");
            assert!(self.bytes() == before, "{what}: the disk has other contents");
        }
    }
}

/// The partitions of a disk; they go when this is dropped.
struct Partitions<'a>(&'a Disk);

impl Drop for Partitions<'_> {
    fn drop(&mut self) {
        for number in [1, 2].into_iter().filter(|number| self.0.partition(*number).exists()) {
            let done = Command::new("delpart").arg(&self.0.node).arg(number.to_string()).status();
            if !done.is_ok_and(|status| status.success()) {
                eprintln!("cleanup failed: partition {number} of {} stays", self.0.node.display());
            }
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

/// A mount that writes nothing, so that contents can be compared.
struct Mount(TempDir);

impl Mount {
    fn on(node: &Path) -> Self {
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "used"]).arg(node));
        let point = storage_dir().unwrap();
        run(Command::new("mount").args(["-t", "ext4", "-o", "ro"]).arg(node).arg(point.path()));
        Self(point)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// An array of one disk, whose superblock lies at its end.
struct Raid;

const RAID: &str = "/dev/md7";

impl Raid {
    fn on(node: &Path) -> Self {
        let words = ["--create", RAID, "--run", "--force", "--level=1", "--raid-devices=1", "--metadata=1.0"];
        run(Command::new("mdadm").args(words).arg(node));
        Self
    }
}

impl Drop for Raid {
    fn drop(&mut self) {
        let stopped = Command::new("mdadm").args(["--stop", RAID]).output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!("cleanup failed: {RAID} stays");
        }
    }
}

fn mapper(node: &Path) -> Mapper {
    Mapper::new("door", &format!("0 2048 linear {} 0\n", node.display()))
}

/// Begins to use a disk or a partition.
type Use = fn(&Path) -> Box<dyn Held>;

/// Uses a whole disk and then a partition of it, in every way, and tries every door.
fn every_door_of_a_disk_in_use(disk: &Disk) {
    for whole in [true, false] {
        let uses: [(&str, Use); 4] = [
            ("is mounted at ", |node| Box::new(Mount::on(node))),
            ("the system swaps to ", |node| Box::new(Swap::on(node).unwrap())),
            ("md7 is made of ", |node| Box::new(Raid::on(node))),
            ("dm-", |node| Box::new(mapper(node))),
        ];
        for (user, start) in uses {
            let partitions = disk.partitioned();
            let used = if whole { disk.node.clone() } else { disk.partition(1) };
            let held = start(&used);
            // Where the whole disk is used, so are its partitions; where the first is, the second is not.
            let others: Vec<_> = if whole { vec![1, 2] } else { vec![1] };
            let others = others.into_iter().map(|number| disk.partition(number));
            // A disk that becomes a member of an array loses its partitions.
            let others: Vec<_> = others.filter(|node| node.exists()).collect();
            assert!(
                others.len() == if whole { 2 } else { 1 } || user.starts_with("md7"),
                "{user}: {others:?}"
            );
            disk.refuses(user, &others);
            if !whole {
                let output = disk.copy(&disk.partition(2), &[]);
                assert_exits(&output, 0);
                let start = PARTITIONS[1].0 as usize * 512;
                assert!(disk.bytes()[start..start + SOURCE_LEN].iter().all(|&byte| byte == 0xa5));
            }
            drop(held);
            drop(partitions);
        }
    }
}

/// Anything that is undone when it is dropped.
trait Held {}

impl<T> Held for T {}

#[test]
fn every_door_of_a_scsi_disk_in_use_is_refused() {
    const NAME: &str = "doors::every_door_of_a_scsi_disk_in_use_is_refused";
    or_skip!(NAME, in_lab("doors"));
    every_door_of_a_disk_in_use(&Disk::scsi());
}

#[test]
fn every_door_of_an_nvme_disk_in_use_is_refused() {
    const NAME: &str = "doors::every_door_of_an_nvme_disk_in_use_is_refused";
    or_skip!(NAME, in_lab("doors"));
    every_door_of_a_disk_in_use(&Disk::nvme());
}

#[test]
fn every_door_of_a_disk_that_nobody_uses_says_what_it_is_and_what_it_held() {
    const NAME: &str = "doors::every_door_of_a_disk_that_nobody_uses_says_what_it_is_and_what_it_held";
    or_skip!(NAME, in_lab("doors"));
    for disk in [Disk::scsi(), Disk::nvme()] {
        for (door, words) in &disk.doors {
            fill(&disk.node, 0, &vec![0; SEEN_LEN]);
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "held"]).arg(&disk.node));
            run(Command::new("blockdev").arg("--flushbufs").arg(&disk.node));
            let before = disk.bytes();
            let copy =
                |flag: &str, value: &str| disk.copy(door, &[words, &[flag, value, "--json"][..]].concat());
            for (flag, value, found) in
                [("--expect-serial", "another", &*disk.serial), ("--expect-size", "4M", "16777216 bytes")]
            {
                let output = copy(flag, value);
                assert_exits(&output, 3);
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(text.contains("is not the disk that was expected") && text.contains(found), "{text}");
                assert!(disk.bytes() == before, "{}: the disk has other contents", door.display());
            }
            let output = disk.copy(
                door,
                &[words, &["--expect-serial", &disk.serial, "--expect-size", "16M", "--json"][..]].concat(),
            );
            assert_exits(&output, 0);
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains(r#"overwrote: ext4 \"held\""#), "{}: {text}", door.display());
            assert!(disk.bytes()[..SOURCE_LEN].iter().all(|&byte| byte == 0xa5), "{}", door.display());
        }
    }
}
