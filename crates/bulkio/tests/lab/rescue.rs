//! Going around bad sectors, by the command: through every door of a SCSI disk, over the device mapper, where errors come and go,
//! and where the disk goes away in the middle and comes back. Beside GNU ddrescue.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkio::copy::{
    Control, CopyError, CopyFailure, CopyOptions, End, MapOptions, Observer, OnError, Progress,
    RescueOptions, Silent, copy,
};
use tempfile::TempDir;

use crate::command::{assert_exits, bulkio, number, said};
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{Mapper, content, fill, in_lab};

/// Linux, drivers/scsi/scsi_debug.c: `OPT_MEDIUM_ERR_ADDR` and `OPT_MEDIUM_ERR_NUM`.
const BAD: u64 = 4660;
const BAD_SECTORS: u64 = 10;

const LEN: usize = 16 << 20;

/// The nodes of disk `target`, and the flags that make each take commands.
fn doors(target: u32) -> Vec<(PathBuf, &'static [&'static str])> {
    let device = PathBuf::from(format!("/sys/bus/scsi/devices/0:0:{target}:0"));
    let name = |folder: &str| {
        let names = fs::read_dir(device.join(folder)).unwrap();
        names.flatten().next().unwrap().file_name().into_string().unwrap()
    };
    let disk = Path::new("/dev").join(name("block"));
    vec![
        (disk.clone(), &[]),
        (disk, &["--passthrough", "source"]),
        (Path::new("/dev/bsg").join(name("bsg")), &[]),
        (Path::new("/dev").join(name("scsi_generic")), &[]),
    ]
}

fn zeroed(first: u64, sectors: u64) -> Vec<u8> {
    let mut bytes = content(LEN);
    let place = |sector: u64| usize::try_from(sector * 512).unwrap();
    bytes[place(first)..place(first + sectors)].fill(0);
    bytes
}

/// The lines of a map that are areas.
fn areas(map: &Path) -> Vec<String> {
    let text = fs::read_to_string(map).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).skip(1).map(str::to_owned).collect()
}

fn ddrescue(words: &[&str], from: &Path, image: &Path, map: &Path) {
    let mut command = Command::new("ddrescue");
    command.args(["--quiet", "--idirect", "--force"]).args(words).arg(from).arg(image).arg(map);
    let output = command.output().expect("the lab has ddrescue");
    assert!(output.status.success(), "{}", said(&output));
}

fn rescued(folder: &TempDir, node: &Path, words: &[&str]) -> std::process::Output {
    let mut command = bulkio(folder);
    command.args(["copy", "--json", "--map", "map", "--on-error"]).args(words);
    command.arg(node).arg("image").output().unwrap()
}

#[test]
fn exactly_the_bad_sectors_are_zero_through_every_door() {
    const NAME: &str = "rescue::exactly_the_bad_sectors_are_zero_through_every_door";
    or_skip!(NAME, in_lab("rescue"));
    let doors = doors(0);
    let disk = doors[0].0.clone();
    fill(&disk, 0, &content(LEN));
    let folder = storage_dir().unwrap();
    let (theirs, their_image) = (folder.path().join("theirs"), folder.path().join("their image"));
    ddrescue(&[], &disk, &their_image, &theirs);
    for (node, flags) in doors {
        let folder = storage_dir().unwrap();
        let (image, map) = (folder.path().join("image"), folder.path().join("map"));
        let output = rescued(&folder, &node, &[&["skip"], flags].concat());
        assert_exits(&output, 4);
        let said = said(&output);
        assert!(said.contains("data was lost: 5120 bytes in 1 range cannot be read"), "{said}");
        assert_eq!((number(&said, "lost_bytes"), number(&said, "untried_bytes")), (BAD_SECTORS * 512, 0));
        assert!(fs::read(&image).unwrap() == zeroed(BAD, BAD_SECTORS), "{said}");
        assert_eq!(areas(&map), areas(&theirs), "{said}");
        // Each goes on where the other ended: nothing gets better, nothing gets lost.
        ddrescue(&["--retry-passes=1"], &disk, &image, &map);
        let output = rescued(&folder, &node, &[&["retry", "--retries", "1", "--resume"], flags].concat());
        assert_exits(&output, 4);
        assert!(fs::read(&image).unwrap() == zeroed(BAD, BAD_SECTORS));
        assert_eq!(areas(&map), areas(&theirs));
    }
    assert!(fs::read(&their_image).unwrap() == zeroed(BAD, BAD_SECTORS));
}

#[test]
fn what_the_device_mapper_refuses_is_zero() {
    const NAME: &str = "rescue::what_the_device_mapper_refuses_is_zero";
    or_skip!(NAME, in_lab("rescue"));
    let disk = doors(1)[0].0.clone();
    let disk = disk.to_str().unwrap();
    // The first part is the whole disk but for its bad sectors, which dm-flakey stands in for elsewhere.
    let (sectors, bad, count) = (4608_u64, 3000_u64, 77_u64);
    let bytes = content(LEN);
    fill(Path::new(disk), 0, &bytes);
    let behind = bad + count;
    let flakey = format!(
        "0 {bad} linear {disk} 0\n{bad} {count} flakey {disk} {bad} 0 3600\n{behind} {} linear {disk} {behind}\n",
        sectors - behind
    );
    let mapper = Mapper::new("rescue-flakey", &flakey);
    let folder = storage_dir().unwrap();
    let output = rescued(&folder, &mapper.node(), &["skip"]);
    assert_exits(&output, 4);
    let place = |sector: u64| usize::try_from(sector * 512).unwrap();
    let mut expected = bytes[..place(sectors)].to_vec();
    expected[place(bad)..place(behind)].fill(0);
    assert!(fs::read(folder.path().join("image")).unwrap() == expected, "{}", said(&output));
    // The errors go away, and retries heal them.
    mapper.replace(&format!("0 {sectors} linear {disk} 0\n"));
    let output = rescued(&folder, &mapper.node(), &["retry", "--resume"]);
    assert_exits(&output, 0);
    assert_eq!(number(&said(&output), "healed_bytes"), count * 512);
    assert!(fs::read(folder.path().join("image")).unwrap() == bytes[..place(sectors)]);
}

#[test]
fn errors_that_come_and_go_are_healed_by_retries() {
    const NAME: &str = "rescue::errors_that_come_and_go_are_healed_by_retries";
    or_skip!(NAME, in_lab("rescue"));
    let disk = doors(2)[0].0.clone();
    let bytes = content(LEN);
    fill(&disk, 0, &bytes);
    // The next twelve reads end with an unrecovered read error (drivers/scsi/scsi_debug.c: type 2 is a failed command, a negative number
    // that many times; READ(10); check condition, medium error, 11h).
    fs::write("/sys/kernel/debug/scsi_debug/0:0:2:0/error", "2 -12 0x28 0 0 2 3 0x11 0").unwrap();
    let folder = storage_dir().unwrap();
    let words = ["retry", "--retries", "3", "--bs", "128K", "--depth", "2", "--count", "2M"];
    let output = rescued(&folder, &disk, &words);
    assert_exits(&output, 0);
    assert!(number(&said(&output), "failed_reads") > 0, "{}", said(&output));
    assert!(fs::read(folder.path().join("image")).unwrap() == bytes[..2 << 20]);
}

/// Takes a disk away when so much is copied.
struct TakeAway {
    state: PathBuf,
    at_bytes: u64,
    is_away: bool,
}

impl Observer for TakeAway {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.done_bytes >= self.at_bytes && !self.is_away {
            fs::write(&self.state, "offline\n").unwrap();
            self.is_away = true;
        }
        Control::Go
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn a_disk_that_goes_away_and_comes_back_is_read_whole() {
    const NAME: &str = "rescue::a_disk_that_goes_away_and_comes_back_is_read_whole";
    or_skip!(NAME, in_lab("rescue"));
    let (disk, _) = doors(3).swap_remove(0);
    fill(&disk, 0, &content(LEN));
    let state = PathBuf::from("/sys/bus/scsi/devices/0:0:3:0/state");
    let folder = storage_dir().unwrap();
    let (image, path) = (folder.path().join("image"), folder.path().join("map"));
    let options = |resume| {
        let map = MapOptions { path: path.clone(), resume, command: String::new(), every: MapOptions::EVERY };
        let rescue = RescueOptions { on_error: OnError::Skip, map: Some(map), ..RescueOptions::default() };
        CopyOptions { block_len: (16 << 10).into(), depth: 2.into(), rescue, ..CopyOptions::default() }
    };
    let mut away = TakeAway { state: state.clone(), at_bytes: 4 << 20, is_away: false };
    let copied = copy(End::Path(&disk), End::Path(&image), &options(false), &mut away);
    assert!(away.is_away, "{copied:?}");
    let CopyFailure { error, report } = copied.expect_err("the disk is gone");
    let gone = matches!(error, CopyError::SourceGone { .. } | CopyError::Transfer { .. });
    assert!(gone, "{error}");
    let rescue = report.unwrap().rescue.unwrap();
    assert!(rescue.untried_bytes > 0, "{rescue:?}");
    fs::write(&state, "running\n").unwrap();
    let report = copy(End::Path(&disk), End::Path(&image), &options(true), &mut Silent).unwrap();
    let rescue = report.rescue.unwrap();
    assert!(rescue.resumed_bytes >= 1 << 20, "{rescue:?}");
    assert_eq!((rescue.lost_bytes, rescue.lost[0].position), (BAD_SECTORS * 512, BAD * 512));
    assert!(fs::read(&image).unwrap() == zeroed(BAD, BAD_SECTORS));
}
