//! What the command refuses: exit code 3, a message that says what to do, and nothing written.
//!
//! Every refused destination is compared with its bytes of before; what did not exist must not exist afterwards.

#[path = "../../bulkio/tests/common/mod.rs"]
mod common;
mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use common::{LoopDevice, Mounted, is_absent, storage_dir};
use rustix::fs::{CWD, FileType, Mode};
use support::{Ended, Fifo, Running, bulkio, copy, mib, pattern, same};

/// What a path leads to holds, if it is there. A file or a disk, not a stream.
fn holds(path: &Path) -> Option<Vec<u8>> {
    path.exists().then(|| fs::read(path).expect("it can be read"))
}

fn run(from: &Path, to: &Path, options: &[&str]) -> Ended {
    copy([from.as_os_str(), to.as_os_str()].into_iter().chain(options.iter().map(OsStr::new)))
}

/// Checks a refusal: its exit code, its message, that the message is all there is, and that nothing was written.
#[track_caller]
fn refused(from: &Path, to: &Path, options: &[&str], says: &[&str]) {
    let before = holds(to);
    let ended = run(from, to, options);
    ended.exits(3).says(says);
    assert_eq!(ended.stdout, "", "{ended:#?}");
    match (holds(to), before) {
        (Some(after), Some(before)) => same(&after, &before),
        (after, before) => assert_eq!(after.is_some(), before.is_some(), "{} came or went", to.display()),
    }
}

fn file(path: &Path, len: usize) {
    fs::write(path, pattern(len, 11)).expect("a file");
}

#[test]
fn a_missing_device_node_is_not_made_a_file() {
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    file(&from, 4096);
    let link = folder.path().join("link");
    let missing = Path::new("/dev/bulkio-cli-no-such-disk");
    symlink(missing, &link).expect("a link to nothing");
    for options in [&[][..], &["--force"]] {
        refused(&from, missing, options, &["does not exist", "device folder", "check the device's name"]);
        refused(&from, &link, options, &["does not exist", "device folder"]);
        refused(&from, Path::new("/dev/bulkio-cli-no-such-folder/x"), options, &["does not exist"]);
    }
    assert!(is_absent(missing));
    assert!(is_absent(Path::new("/dev/bulkio-cli-no-such-folder")));
}

#[test]
fn a_missing_source_creates_no_destination() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    refused(&from, &to, &[], &["source", "does not exist"]);
    file(&to, 100);
    refused(&from, &to, &[], &["source", "does not exist"]);
}

#[test]
fn a_refusal_leaves_a_link_to_nothing_as_it_was() {
    let folder = storage_dir().expect("a folder");
    let (from, link) = (folder.path().join("from"), folder.path().join("link"));
    file(&from, 5000);
    fs::create_dir(folder.path().join("below")).expect("a folder");
    symlink("below/second", &link).expect("a link");
    symlink("target", folder.path().join("below/second")).expect("a link");
    let target = folder.path().join("below/target");
    for _ in 0..2 {
        refused(&from, &link, &["--skip", "5001"], &["smaller --skip"]);
        assert_eq!(fs::read_link(&link).expect("the link stays"), Path::new("below/second"));
        assert!(folder.path().join("below/second").is_symlink() && is_absent(&target));
    }
    // What is not refused goes where the links lead.
    run(&from, &link, &[]).exits(0);
    same(&fs::read(&target).expect("the copy"), &pattern(5000, 11));
}

#[test]
fn folders_are_refused_on_both_sides() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, 4096);
    refused(folder.path(), &to, &[], &["source", "is a directory", "name a file in it"]);
    let ended = run(&from, folder.path(), &[]);
    ended.exits(3).says(&["destination", "is a directory", "name a file in it"]);
    let ended = run(&from, &folder.path().join("none/to"), &[]);
    ended.exits(3).says(&["a folder of its path is missing"]);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "something was created");
}

#[test]
fn a_mounted_disk_is_refused_with_its_mount_point() {
    let test = "a_mounted_disk_is_refused_with_its_mount_point";
    let disk = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let mounted = or_skip!(test, Mounted::ext4(disk.node()));
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    file(&from, 4096);
    let point = mounted.path().to_str().expect("a plain name");
    // Its own journal may write to a mounted disk: the first block, which the copy would hit, stays.
    let first = |node: &Path| fs::read(node).expect("the disk")[..4096].to_vec();
    let before = first(disk.backing());
    run(&from, disk.node(), &[]).exits(3).says(&["in use", point, "unmount", "--force"]);
    same(&first(disk.backing()), &before);
    // Force lifts the claim only: what is read from the disk would still be overwritten.
    let kept = mounted.path().join("kept");
    file(&kept, 8192);
    File::open(&kept).expect("the file").sync_all().expect("synced");
    run(&kept, disk.node(), &["--force"]).exits(3);
    same(&fs::read(&kept).expect("the file"), &pattern(8192, 11));
}

#[test]
fn a_disk_as_standard_output_is_to_be_named() {
    let test = "a_disk_as_standard_output_is_to_be_named";
    let disk = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    file(&from, mib(1));
    file(disk.node(), mib(2));
    let before = fs::read(disk.node()).expect("the disk");
    let node = disk.node().to_str().expect("a plain name");
    let run = |command: &str, options: &[&str], to: &Path| {
        let output = File::options().write(true).create(true).truncate(false).open(to).expect("it opens");
        let mut bulkio = bulkio();
        bulkio.arg(command).arg(&from).arg("-").args(options).stdin(Stdio::null()).stdout(output);
        let ended = bulkio.output().expect("it runs");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for options in [&[][..], &["--force"]] {
        let (code, said) = run("copy", options, disk.node());
        assert_eq!(code, Some(3), "{said}");
        for part in ["standard output is the disk", node, "name it as DST"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        same(&fs::read(disk.node()).expect("the disk"), &before);
    }
    // A file stays what standard output is for.
    let to = folder.path().join("to");
    let (code, said) = run("copy", &[], &to);
    assert_eq!(code, Some(0), "{said}");
    same(&fs::read(&to).expect("the copy"), &pattern(mib(1), 11));
}

#[test]
fn a_claimed_disk_is_refused_and_only_force_lifts_it() {
    let test = "a_claimed_disk_is_refused_and_only_force_lifts_it";
    let disk = or_skip!(test, LoopDevice::new(4 << 20, 512));
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    file(&from, mib(1));
    file(disk.node(), mib(4));
    let mut holder = File::options();
    holder.read(true).custom_flags(libc::O_EXCL);
    let held = or_skip!(test, holder.open(disk.node()));
    refused(&from, disk.node(), &[], &["in use", "release it first", "--force"]);
    refused(&from, disk.node(), &["--quiet"], &["in use"]);
    let ended = run(&from, disk.node(), &["--force"]);
    if ended.status.code() == Some(3) {
        // This kernel lets nobody write to a disk in use; then the message must say so.
        ended.says(&["this kernel refuses"]);
    } else {
        ended.exits(0).says(&["warning", "although it is in use"]);
        same(&fs::read(disk.node()).expect("the disk")[..mib(1)], &pattern(mib(1), 11));
    }
    drop(held);
    let ended = run(&from, disk.node(), &["--force"]);
    ended.exits(0);
    assert!(!ended.stderr.contains("in use"), "nothing was overruled: {ended:#?}");
    run(&from, disk.node(), &[]).exits(0);
}

#[test]
fn one_file_by_two_names_is_not_copied_over_itself() {
    let folder = storage_dir().expect("a folder");
    let path = folder.path().join("file");
    file(&path, 20_000);
    let hard = folder.path().join("hard");
    fs::hard_link(&path, &hard).expect("a hard link");
    let soft = folder.path().join("soft");
    symlink("hard", &soft).expect("a symbolic link");
    for name in [&path, &hard, &soft] {
        for options in [
            &[][..],
            &["--force"],
            &["--no-truncate"],
            &["--no-truncate", "--seek", "1"],
            &["--no-truncate", "--skip", "4096", "--count", "4097", "--seek", "0"],
            // The ranges do not meet, but truncation takes what is read.
            &["--skip", "8192", "--count", "4096", "--seek", "4096"],
        ] {
            refused(&path, name, options, &["would overwrite what is read", "choose another destination"]);
        }
    }
}

#[test]
fn ranges_of_one_file_that_do_not_meet_are_fine_without_truncation() {
    let folder = storage_dir().expect("a folder");
    let path = folder.path().join("file");
    let hard = folder.path().join("hard");
    for (skip, count, seek) in [(0, 4096, 8192), (8192, 4096, 0), (100, 1000, 1100), (5000, 333, 4667)] {
        let mut expected = pattern(20_000, 11);
        file(&path, 20_000);
        let _ = fs::remove_file(&hard);
        fs::hard_link(&path, &hard).expect("a hard link");
        let numbers = [skip, count, seek].map(|number: usize| number.to_string());
        let [skip_text, count_text, seek_text] = numbers.each_ref().map(String::as_str);
        let options = ["--no-truncate", "--skip", skip_text, "--count", count_text, "--seek", seek_text];
        run(&path, &hard, &options).exits(0);
        expected.copy_within(skip..skip + count, seek);
        same(&fs::read(&path).expect("the file"), &expected);
    }
    // Appending what the file holds: it ends where the copy begins.
    file(&path, 20_000);
    run(&path, &path, &["--seek", "20000", "--no-truncate", "--count", "20000"]).exits(0);
    same(&fs::read(&path).expect("the file"), &[pattern(20_000, 11), pattern(20_000, 11)].concat());
}

#[test]
fn a_loop_device_and_the_file_under_it_are_one() {
    let test = "a_loop_device_and_the_file_under_it_are_one";
    let folder = storage_dir().expect("a folder");
    let image = folder.path().join("image");
    file(&image, mib(4));
    let disk = or_skip!(test, LoopDevice::over(&image, 1 << 20, 512));
    let overlap = ["would overwrite what is read"];
    for options in [&[][..], &["--force"]] {
        refused(&image, disk.node(), options, &overlap);
        refused(disk.node(), &image, options, &overlap);
    }
    refused(&image, disk.node(), &["--count", "1M", "--skip", "1M"], &overlap);
    // What lies before the device's part of the file does not meet it.
    run(&image, disk.node(), &["--count", "1M"]).exits(0);
    let mut expected = pattern(mib(4), 11);
    expected.copy_within(..mib(1), mib(1));
    same(&fs::read(disk.node()).expect("the disk"), &expected[mib(1)..]);
}

#[test]
fn one_disk_by_two_nodes_is_one_disk() {
    let test = "one_disk_by_two_nodes_is_one_disk";
    let disk = or_skip!(test, LoopDevice::new(4 << 20, 512));
    file(disk.node(), mib(4));
    let folder = storage_dir().expect("a folder");
    let second = folder.path().join("second-node");
    let number = fs::metadata(disk.node()).expect("the node").rdev();
    or_skip!(
        test,
        rustix::fs::mknodat(CWD, &second, FileType::BlockDevice, Mode::from_raw_mode(0o600), number)
    );
    or_skip!(test, File::open(&second));
    for (from, to) in [(disk.node(), second.as_path()), (&second, disk.node()), (disk.node(), disk.node())] {
        for options in [&[][..], &["--force"], &["--count", "1M", "--seek", "1048575"]] {
            refused(from, to, options, &["would overwrite what is read", disk.name()]);
        }
    }
    run(disk.node(), &second, &["--count", "1M", "--seek", "2M"]).exits(0);
    let mut expected = pattern(mib(4), 11);
    expected.copy_within(..mib(1), mib(2));
    same(&fs::read(disk.node()).expect("the disk"), &expected);
}

#[test]
fn partitions_meet_their_disk_and_not_each_other() {
    let test = "partitions_meet_their_disk_and_not_each_other";
    let mut disk = or_skip!(test, LoopDevice::new(8 << 20, 512));
    file(disk.node(), mib(8));
    let first = or_skip!(test, disk.add_partition(1, 2048, 2048));
    let second = or_skip!(test, disk.add_partition(2, 4096, 2048));
    refused(disk.node(), &first, &["--count", "1048577"], &["would overwrite what is read"]);
    refused(&first, disk.node(), &["--seek", "1048575"], &["would overwrite what is read"]);
    run(&first, &second, &[]).exits(0);
    let mut expected = pattern(mib(8), 11);
    expected.copy_within(mib(1)..mib(2), mib(2));
    same(&fs::read(&second).expect("the partition"), &expected[mib(2)..mib(3)]);
    same(&fs::read(disk.backing()).expect("the file below"), &expected);
}

#[test]
fn a_device_that_is_too_small_is_refused_with_the_numbers() {
    let test = "a_device_that_is_too_small_is_refused_with_the_numbers";
    let disk = or_skip!(test, LoopDevice::new(1 << 20, 512));
    file(disk.node(), mib(1));
    let folder = storage_dir().expect("a folder");
    let from = folder.path().join("from");
    file(&from, mib(1) + 1);
    let numbers = ["holds 1048576 bytes", "1048577 bytes", "1 bytes too few", "use a larger device"];
    for options in [&[][..], &["--force"]] {
        refused(&from, disk.node(), options, &numbers);
    }
    refused(
        &from,
        disk.node(),
        &["--count", "4096", "--seek", "1044481"],
        &["position 1044481", "1 bytes too few"],
    );
    // A pipe does not say how much it has; where it would start is known.
    let ended = bulkio()
        .args(["copy", "-", "--seek", "1048577"])
        .arg(disk.node())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    same(&fs::read(disk.node()).expect("the disk"), &pattern(mib(1), 11));
    // What fits exactly is copied.
    run(&from, disk.node(), &["--skip", "1"]).exits(0);
    same(&fs::read(disk.node()).expect("the disk"), &pattern(mib(1) + 1, 11)[1..]);
}

#[test]
fn positions_that_do_not_exist_are_refused() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, 5000);
    let past = ["holds 5000 bytes", "byte 5001", "smaller --skip"];
    refused(&from, &to, &["--skip", "5001"], &past);
    file(&to, 300);
    refused(&from, &to, &["--skip", "5001"], &past);
    let empty = folder.path().join("empty");
    file(&empty, 0);
    refused(&empty, &to, &["--skip", "1"], &["holds 0 bytes", "smaller --skip"]);
    // At the end there is nothing, and no mistake.
    run(&from, &to, &["--skip", "5000"]).exits(0);
    assert_eq!(holds(&to), Some(Vec::new()));

    let mut pipe = Fifo::to_read(folder.path().join("pipe"));
    run(&from, pipe.path(), &["--seek", "1"]).exits(3).says(&["is a stream", "leave --seek out"]);
    assert_eq!(pipe.drain_now(), b"");
    let (running, stdout) =
        Running::copy_read([from.as_os_str(), "-".as_ref(), "--seek".as_ref(), "1".as_ref()]);
    drop(stdout);
    running.wait(support::LIMIT).exits(3).says(&["is a stream", "leave --seek out"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, 5000);
    for (options, says) in [
        (["--bs", "0"], "block length"),
        (["--bs", "2G"], "block length"),
        (["--depth", "0"], "depth"),
        (["--depth", "1000000"], "depth"),
        (["--skip", "9223372036854775808"], "skip"),
        (["--seek", "9223372036854775808"], "seek"),
    ] {
        refused(&from, &to, &options, &[says, "must be from"]);
    }
}

#[test]
fn a_command_line_that_means_nothing_is_exit_code_2() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, 5000);
    file(&to, 77);
    for (option, value) in [
        ("--bs", "1X"),
        ("--bs", ""),
        ("--bs", "K"),
        ("--bs", "1.5M"),
        ("--skip", "99999999999999999999"),
        ("--seek", "17000000T"),
        ("--depth", "many"),
        ("--engine", "steam"),
        ("--direct", "perhaps"),
    ] {
        let ended = run(&from, &to, &[option, value]);
        ended.exits(2).says(&[option]);
        same(&fs::read(&to).expect("the destination"), &pattern(77, 11));
    }
    run(&from, &to, &["--bs", "1X"]).exits(2).says(&["'1X' is not a size", "K, M, G, T"]);
    run(&from, &to, &["--count", "-1"]).exits(2);
    copy([&from]).exits(2);
    run(&from, &to, &["--no-such-flag"]).exits(2).says(&["--no-such-flag"]);
    let none: [&str; 0] = [];
    copy(none).exits(2);
    same(&fs::read(&to).expect("the destination"), &pattern(77, 11));
}

#[test]
fn operands_of_dd_are_explained() {
    let folder = storage_dir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    file(&from, 5000);
    let operands = |name: &str, path: &Path| format!("{name}={}", path.display());
    copy([operands("if", &from), operands("of", &to)]).exits(2).says(&["dd", "SRC"]);
    copy([from.as_os_str(), to.as_os_str(), "bs=1M".as_ref()]).exits(2).says(&["dd", "--bs"]);
    copy([from.as_os_str(), to.as_os_str(), "count=3".as_ref()]).exits(2).says(&["dd", "--count"]);
    copy([from.as_os_str(), to.as_os_str(), "conv=notrunc".as_ref()]).exits(2).says(&["dd", "--no-truncate"]);
    assert!(is_absent(&to));
}
