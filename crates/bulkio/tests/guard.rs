//! The guard on real files, nodes, loop devices, partitions and mounts: what is refused, why, and that nothing
//! was touched.

mod common;

use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bulkio::device::guard::{
    Access, Claim, ClaimPolicy, Create, DestinationOptions, EndKind, Place, Refusal, Role, Warning,
    check_fits, check_overlap, open_destination, open_source,
};
use common::{LoopDevice, Mounted, Swap, file_with_data, is_absent, skip, storage_dir};
use rustix::fs::{CWD, FileType, Mode, OFlags};

const MIB: u64 = 1 << 20;
const ALL: Range<u64> = 0..u64::MAX;

fn usual() -> DestinationOptions {
    DestinationOptions::default()
}

fn forced() -> DestinationOptions {
    let mut options = usual();
    options.claim = ClaimPolicy::Forced;
    options
}

fn place(path: &Path) -> Place {
    let file = File::open(path).expect("it opens");
    Place::of(file.as_fd(), path).expect("a place")
}

fn meets(source: (&Path, Range<u64>), destination: (&Path, Range<u64>)) -> bool {
    match check_overlap(&place(source.0), source.1, &place(destination.0), destination.1) {
        Ok(()) => false,
        Err(Refusal::Overlap { source_path, destination: destination_path, .. }) => {
            assert_eq!((source_path.as_path(), destination_path.as_path()), (source.0, destination.0));
            true
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_missing_device_node_is_refused_and_not_created() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let link = folder.path().join("disk");
    symlink("/dev/bulkio-no-such-disk", &link).expect("a link to nothing");
    let chain = folder.path().join("chain");
    symlink("disk", &chain).expect("a link to a link");
    let missing = [
        Path::new("/dev/bulkio-no-such-disk"),
        Path::new("/dev/../dev/./bulkio-no-such-disk"),
        Path::new("/dev/bulkio-no-such-folder/disk"),
        &link,
        &chain,
    ];
    for path in missing {
        for options in [usual(), forced()] {
            let refusal = open_destination(path, &options).expect_err("must be refused");
            let Refusal::MissingDeviceNode { path: named, folder } = &refusal else { panic!("{refusal:?}") };
            assert_eq!((named.as_path(), folder.as_path()), (path, Path::new("/dev")));
            assert!(refusal.to_string().contains("plugged in"), "{refusal}");
        }
    }
    assert!(is_absent(Path::new("/dev/bulkio-no-such-disk")));
}

#[test]
fn what_exists_in_the_device_folder_is_fine() {
    let null = open_destination(Path::new("/dev/null"), &usual()).expect("the null device");
    assert_eq!((null.kind, null.created), (EndKind::CharDevice, false));
    let (_read, write) = std::io::pipe().expect("a pipe");
    let by_number = PathBuf::from(format!("/dev/fd/{}", write.as_raw_fd()));
    assert_eq!(open_destination(&by_number, &usual()).expect("an open pipe").kind, EndKind::Pipe);
}

#[test]
fn plain_files_in_shared_memory_are_fine() {
    let test = "plain_files_in_shared_memory_are_fine";
    let folder = or_skip!(test, tempfile::TempDir::new_in("/dev/shm"));
    let path = folder.path().join("file");
    let opened = open_destination(&path, &usual()).expect("a new file");
    assert_eq!((opened.kind, opened.created), (EndKind::File, true));
}

#[test]
fn files_are_created_when_allowed_and_never_truncated() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("file");
    let with = |create| {
        let mut options = usual();
        options.create = create;
        options
    };
    let refusal = open_destination(&path, &with(Create::Never)).expect_err("must not be created");
    assert_eq!(refusal, Refusal::Missing { path: path.clone(), role: Role::Destination });
    assert!(is_absent(&path));
    let opened = open_destination(&path, &with(Create::Always)).expect("a new file");
    assert!(opened.created);
    assert_eq!(opened.kind, EndKind::File);
    // The umask of this process is not to be changed by a test: another file shows it.
    let plain = folder.path().join("plain");
    File::create_new(&plain).expect("a plain file");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").mode();
    assert_eq!(mode(&path), mode(&plain));
    let flags = rustix::io::fcntl_getfd(&opened.fd).expect("flags");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert!(!rustix::fs::fcntl_getfl(&opened.fd).expect("flags").contains(OFlags::DIRECT));
    let refusal = open_destination(&path, &with(Create::Always)).expect_err("it exists");
    assert_eq!(refusal, Refusal::Exists { path: path.clone() });
    fs::write(&path, "kept").expect("content");
    for access in [Access::Write, Access::ReadWrite] {
        let mut options = usual();
        options.access = access;
        let opened = open_destination(&path, &options).expect("it opens");
        assert!(!opened.created && opened.warnings.is_empty());
        let mut byte = [0];
        assert_eq!(rustix::io::pread(&opened.fd, &mut byte, 0).is_ok(), access == Access::ReadWrite);
    }
    assert_eq!(fs::read_to_string(&path).expect("content"), "kept");
    // A link to nothing in an ordinary folder becomes that file, as everywhere.
    let link = folder.path().join("link");
    symlink("target", &link).expect("a link");
    assert!(open_destination(&link, &usual()).expect("a new file").created);
    assert!(folder.path().join("target").is_file());
}

#[test]
fn directories_sockets_and_missing_sources_are_refused() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let directory = |role| Refusal::Directory { path: folder.path().to_owned(), role };
    assert_eq!(open_source(folder.path()).expect_err("refused"), directory(Role::Source));
    let refusal = open_destination(folder.path(), &usual()).expect_err("refused");
    assert_eq!(refusal, directory(Role::Destination));
    assert!(refusal.to_string().contains("name a file in it"), "{refusal}");
    let refusal = open_source(&socket).expect_err("refused");
    assert_eq!(refusal, Refusal::Socket { path: socket.clone(), role: Role::Source });
    let refusal = open_destination(&socket, &usual()).expect_err("refused");
    assert_eq!(refusal, Refusal::Socket { path: socket, role: Role::Destination });
    let missing = folder.path().join("missing");
    let refusal = open_source(&missing).expect_err("refused");
    assert_eq!(refusal, Refusal::Missing { path: missing, role: Role::Source });
    let below_a_file = folder.path().join("socket/x");
    assert!(matches!(open_destination(&below_a_file, &usual()), Err(Refusal::Open { .. })));
    let no_folder = folder.path().join("none/x");
    let refusal = open_destination(&no_folder, &usual()).expect_err("refused");
    assert!(refusal.to_string().contains("a folder of its path is missing"), "{refusal}");
}

#[test]
fn fifos_open_at_both_ends() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).expect("a FIFO");
    // Somebody is at both ends already, so that neither open has to wait.
    let _other = rustix::fs::open(&fifo, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("both ends");
    assert_eq!(open_source(&fifo).expect("it opens").kind, EndKind::Pipe);
    let mut options = usual();
    options.access = Access::ReadWrite;
    let opened = open_destination(&fifo, &options).expect("it opens");
    assert_eq!(opened.kind, EndKind::Pipe);
    // A stream that is also open for reading would never see its reader leave.
    let mode = rustix::fs::fcntl_getfl(&opened.fd).expect("flags") & OFlags::RWMODE;
    assert_eq!(mode, OFlags::WRONLY);
}

#[test]
fn sizes_are_compared_with_the_numbers_in_the_refusal() {
    let path = Path::new("/dev/x");
    assert_eq!(check_fits(Some(10), 0, 10, path), Ok(()));
    assert_eq!(check_fits(Some(0), 10, 10, path), Ok(()));
    assert_eq!(check_fits(None, 10, 10, path), Ok(()));
    let refusal = check_fits(Some(10), 3, 10, path).expect_err("too small");
    assert_eq!(
        refusal.to_string(),
        "/dev/x holds 10 bytes, but 10 bytes from position 3 on are to be written: 3 bytes too few; use a \
         larger device, or copy less (count, seek)"
    );
    let refusal = check_fits(None, 12, 10, path).expect_err("too small");
    assert!(refusal.to_string().contains("2 bytes past its end"), "{refusal}");
    let refusal = check_fits(Some(u64::MAX), u64::MAX, 0, path).expect_err("too small");
    assert!(matches!(refusal, Refusal::TooSmall { shortfall: u64::MAX, .. }));
}

#[test]
fn a_disk_is_held_exclusively_and_opens_beside_itself() {
    let test = "a_disk_is_held_exclusively_and_opens_beside_itself";
    let device = or_skip!(test, LoopDevice::new(4 << 20, 512));
    let mut options = usual();
    options.access = Access::ReadWrite;
    let held = open_destination(device.node(), &options).expect("nobody uses it");
    assert_eq!((held.kind, held.created), (EndKind::BlockDevice, false));
    let refusal = open_destination(device.node(), &usual()).expect_err("held");
    let Refusal::Claimed { claims, .. } = &refusal else { panic!("{refusal:?}") };
    assert!(claims.is_empty());
    assert!(refusal.to_string().contains("another program holds it exclusively"), "{refusal}");
    // The second descriptor of the same copy, for direct I/O.
    let beside = format!("/proc/self/fd/{}", held.fd.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    rustix::fs::open(beside, flags, Mode::empty()).expect("a direct descriptor");
    drop(held);
    let again = open_destination(device.node(), &forced()).expect("released");
    assert!(again.warnings.is_empty(), "nothing was overruled");
}

#[test]
fn a_mounted_disk_is_refused_by_name_and_only_force_lifts_it() {
    let test = "a_mounted_disk_is_refused_by_name_and_only_force_lifts_it";
    let device = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let mounted = or_skip!(test, Mounted::ext4(device.node()));
    let refusal = open_destination(device.node(), &usual()).expect_err("mounted");
    let Refusal::Claimed { claims, .. } = &refusal else { panic!("{refusal:?}") };
    let named = |claim: &Claim| match claim {
        Claim::Mounted { device: name, point } => name == device.name() && point == mounted.path(),
        _ => false,
    };
    assert!(claims.iter().any(named), "{refusal}");
    assert!(refusal.to_string().contains("unmount"), "{refusal}");
    let kept = mounted.path().join("kept");
    file_with_data(&kept, 4096);
    match open_destination(device.node(), &forced()) {
        Ok(opened) => {
            let [Warning::ClaimOverridden { claims, .. }] = opened.warnings.as_slice() else {
                panic!("{:?}", opened.warnings)
            };
            assert!(claims.iter().any(named));
            assert!(opened.warnings[0].to_string().contains("although it is in use"));
            // Force lifts the claim, not the overlap with a source that lives there.
            let source = place(&kept);
            let destination = Place::of(opened.as_fd(), device.node()).expect("a place");
            let refusal = check_overlap(&source, ALL, &destination, ALL).expect_err("an overlap");
            assert!(matches!(refusal, Refusal::Overlap { .. }), "{refusal}");
        }
        // Kernels that let nobody write to mounted disks.
        Err(refusal) => assert!(matches!(refusal, Refusal::ClaimedForGood { .. }), "{refusal}"),
    }
}

#[test]
fn a_loop_device_over_a_disk_in_use_is_one_more_door_to_it() {
    let test = "a_loop_device_over_a_disk_in_use_is_one_more_door_to_it";
    let disk = or_skip!(test, LoopDevice::new(8 << 20, 512));
    let door = or_skip!(test, LoopDevice::over(disk.node(), 0, 512));
    let further = or_skip!(test, LoopDevice::over(door.node(), 1 << 20, 512));
    let mounted = or_skip!(test, Mounted::ext4(disk.node()));
    for node in [door.node(), further.node()] {
        let refused = open_destination(node, &usual()).expect_err("the disk below is mounted");
        assert!(matches!(&refused, Refusal::Claimed { path, .. } if path == node), "{refused}");
        let says = format!("{} is mounted at {}", disk.name(), mounted.path().display());
        assert!(refused.to_string().contains(&says), "{refused}");
        let forced = open_destination(node, &forced()).expect("force lifts it");
        assert!(matches!(forced.warnings[..], [Warning::ClaimOverridden { .. }]), "{:?}", forced.warnings);
    }
    drop(mounted);
    for node in [door.node(), further.node()] {
        assert_eq!(open_destination(node, &usual()).expect("nobody uses it").warnings, []);
    }
}

#[test]
fn what_loop_devices_stand_on_is_held_with_them() {
    let test = "what_loop_devices_stand_on_is_held_with_them";
    let disk = or_skip!(test, LoopDevice::new(8 << 20, 512));
    let door = or_skip!(test, LoopDevice::over(disk.node(), 0, 512));
    let further = or_skip!(test, LoopDevice::over(door.node(), 1 << 20, 512));
    // Another program holds the disk at the bottom: no mount tells of it.
    let held = open_destination(disk.node(), &usual()).expect("nobody uses it");
    for node in [door.node(), further.node()] {
        let refused = open_destination(node, &usual()).expect_err("the disk below is held");
        assert!(matches!(&refused, Refusal::Claimed { path, .. } if path == node), "{refused}");
        let forced = open_destination(node, &forced()).expect("force lifts it");
        assert!(matches!(forced.warnings[..], [Warning::ClaimOverridden { .. }]), "{:?}", forced.warnings);
    }
    drop(held);
    // And the other way round, for as long as the destination is open.
    let top = open_destination(further.node(), &usual()).expect("nobody uses it");
    assert_eq!((top.below.len(), top.warnings.len()), (2, 0));
    for node in [door.node(), disk.node()] {
        let refused = open_destination(node, &usual()).expect_err("held");
        assert!(matches!(&refused, Refusal::Claimed { path, .. } if path == node), "{refused}");
    }
    drop(top);
    assert!(open_destination(disk.node(), &usual()).is_ok());
}

#[test]
fn a_mounted_partition_claims_its_disk_but_not_its_sibling() {
    let test = "a_mounted_partition_claims_its_disk_but_not_its_sibling";
    let mut device = or_skip!(test, LoopDevice::new(32 << 20, 512));
    let first = or_skip!(test, device.add_partition(1, 2048, 16 * 2048));
    let second = or_skip!(test, device.add_partition(2, 20 * 2048, 4 * 2048));
    let mounted = or_skip!(test, Mounted::ext4(&first));
    let refusal = open_destination(device.node(), &usual()).expect_err("a partition is mounted");
    let Refusal::Claimed { claims, .. } = &refusal else { panic!("{refusal:?}") };
    assert!(
        claims.iter().any(|claim| matches!(claim, Claim::Mounted { point, .. } if point == mounted.path())),
        "{refusal}"
    );
    assert!(open_destination(&first, &usual()).is_err());
    assert!(open_destination(&second, &usual()).is_ok());
    let kept = mounted.path().join("kept");
    file_with_data(&kept, 4096);
    assert!(meets((&kept, ALL), (device.node(), ALL)));
    assert!(meets((&kept, ALL), (&first, ALL)));
    assert!(!meets((&kept, ALL), (&second, ALL)));
    assert!(meets((&kept, ALL), (device.backing(), ALL)));
}

#[test]
fn a_swap_device_is_refused_as_swap() {
    let test = "a_swap_device_is_refused_as_swap";
    let device = or_skip!(test, LoopDevice::new(1 << 20, 512));
    let _swap = or_skip!(test, Swap::on(device.node()));
    let refusal = open_destination(device.node(), &usual()).expect_err("swapped to");
    let Refusal::Claimed { claims, .. } = &refusal else { panic!("{refusal:?}") };
    assert!(claims.iter().any(|claim| matches!(claim, Claim::Swap { .. })), "{refusal}");
}

#[test]
fn one_file_by_any_name_meets_itself_where_the_ranges_do() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("file");
    file_with_data(&path, 8192);
    let hard = folder.path().join("hard");
    fs::hard_link(&path, &hard).expect("a hard link");
    let soft = folder.path().join("soft");
    symlink(&path, &soft).expect("a symbolic link");
    for name in [&path, &hard, &soft] {
        assert!(meets((&path, ALL), (name, ALL)));
        assert!(meets((&path, 0..4097), (name, 4096..8192)));
        assert!(!meets((&path, 0..4096), (name, 4096..8192)));
    }
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).expect("a copy");
    assert!(!meets((&path, ALL), (&copy, ALL)));
    assert!(!meets((Path::new("/dev/null"), ALL), (Path::new("/dev/null"), ALL)));
}

#[test]
fn one_disk_by_two_nodes_is_one_disk() {
    let test = "one_disk_by_two_nodes_is_one_disk";
    let device = or_skip!(test, LoopDevice::new(4 << 20, 512));
    let folder = or_skip!(test, storage_dir());
    let second = folder.path().join("second-node");
    let number = fs::metadata(device.node()).expect("metadata").rdev();
    or_skip!(
        test,
        rustix::fs::mknodat(CWD, &second, FileType::BlockDevice, Mode::from_raw_mode(0o600), number)
    );
    assert!(fs::metadata(&second).expect("metadata").file_type().is_block_device());
    or_skip!(test, File::open(&second));
    assert!(meets((device.node(), ALL), (&second, ALL)));
    assert!(!meets((device.node(), 0..MIB), (&second, MIB..2 * MIB)));
}

#[test]
fn partitions_meet_their_disk_and_not_each_other() {
    let test = "partitions_meet_their_disk_and_not_each_other";
    let mut device = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let first = or_skip!(test, device.add_partition(1, 2048, 2048));
    let second = or_skip!(test, device.add_partition(2, 4096, 2048));
    assert!(!meets((&first, ALL), (&second, ALL)));
    assert!(meets((&first, ALL), (device.node(), ALL)));
    assert!(meets((device.node(), ALL), (&second, ALL)));
    assert!(!meets((device.node(), 0..MIB), (&first, ALL)));
    assert!(!meets((&second, ALL), (device.node(), 3 * MIB..16 * MIB)));
    // Down to the file behind the disk, at the partition's own place.
    assert!(meets((&second, ALL), (device.backing(), 2 * MIB..2 * MIB + 1)));
    assert!(!meets((&second, ALL), (device.backing(), 0..2 * MIB)));
}

#[test]
fn a_loop_device_is_its_file_from_its_offset_on() {
    let test = "a_loop_device_is_its_file_from_its_offset_on";
    let folder = or_skip!(test, storage_dir());
    let image = folder.path().join("image");
    file_with_data(&image, 4 << 20);
    let device = or_skip!(test, LoopDevice::over(&image, MIB, 512));
    // The name no longer leads there; the kernel still knows the file itself.
    let moved = folder.path().join("moved");
    fs::rename(&image, &moved).expect("a new name");
    file_with_data(&image, 4096);
    assert!(!meets((&image, ALL), (device.node(), ALL)));
    assert!(meets((&moved, ALL), (device.node(), ALL)));
    assert!(meets((device.node(), ALL), (&moved, ALL)));
    assert!(!meets((&moved, 0..MIB), (device.node(), ALL)));
    assert!(meets((&moved, 0..MIB + 1), (device.node(), 0..1)));
    // A second loop device over the first one.
    let upper = or_skip!(test, LoopDevice::over(device.node(), MIB, 512));
    assert!(meets((upper.node(), ALL), (device.node(), ALL)));
    assert!(meets((&moved, ALL), (upper.node(), ALL)));
    assert!(!meets((&moved, 0..2 * MIB), (upper.node(), ALL)));
    assert!(meets((upper.node(), 0..1), (&moved, 2 * MIB..2 * MIB + 1)));
}

#[test]
fn loops_over_files_on_loops_are_followed_to_the_bottom() {
    let test = "loops_over_files_on_loops_are_followed_to_the_bottom";
    let outer = or_skip!(test, LoopDevice::new(64 << 20, 512));
    let mounted = or_skip!(test, Mounted::ext4(outer.node()));
    let image = mounted.path().join("image");
    file_with_data(&image, 16 << 20);
    let inner = or_skip!(test, LoopDevice::over(&image, 0, 512));
    let deep = or_skip!(test, Mounted::ext4(inner.node()));
    let kept = deep.path().join("kept");
    file_with_data(&kept, 4096);
    for below in [inner.node(), &image, outer.node(), outer.backing()] {
        assert!(meets((&kept, ALL), (below, ALL)), "{}", below.display());
    }
    assert!(meets((inner.node(), ALL), (outer.node(), ALL)));
    assert!(meets((inner.node(), ALL), (outer.backing(), ALL)));
    let other = mounted.path().join("other");
    file_with_data(&other, 4096);
    assert!(!meets((&kept, ALL), (&other, ALL)));
    assert!(!meets((&other, ALL), (inner.node(), ALL)));
    // An image of the mounted disk may be kept on it: nothing that was stored is lost.
    assert!(!meets((outer.node(), ALL), (&other, ALL)));
}

#[test]
fn a_disk_that_may_not_be_opened_says_so() {
    let test = "a_disk_that_may_not_be_opened_says_so";
    if common::is_root() {
        return skip(test, "root may open every disk");
    }
    let disk = ["/dev/loop0", "/dev/vda", "/dev/sda", "/dev/nvme0n1"].into_iter().map(Path::new);
    let closed = |disk: &&Path| File::options().write(true).open(disk).is_err() && disk.exists();
    let Some(disk) = disk.into_iter().find(closed) else {
        return skip(test, "no disk here is closed to this user");
    };
    for options in [usual(), forced()] {
        let refusal = open_destination(disk, &options).expect_err("not permitted");
        assert!(matches!(refusal, Refusal::Open { role: Role::Destination, .. }), "{refusal:?}");
        assert!(refusal.to_string().contains("permission"), "{refusal}");
    }
}
