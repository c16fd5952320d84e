//! Overlaps over made-up hosts: what needs device mapper, RAID or a disk with partitions.

use super::*;
use crate::probe::DeviceNumber;
use crate::probe::fake::FakeHost;

const MIB: u64 = 1 << 20;
const ALL: Range<u64> = 0..u64::MAX;

fn block(major: u32, minor: u32) -> Place {
    let number = DeviceNumber { major, minor };
    Place::made_up(&format!("/dev/block/{number}"), Layer::Block { number, backing: None })
}

fn file(device: (u32, u32), inode: u64) -> Place {
    let device = DeviceNumber { major: device.0, minor: device.1 };
    Place::made_up(&format!("/mnt/{inode}"), Layer::File { device, inode, mount_id: None })
}

/// One disk of 64 MiB with partitions of 16 MiB at 1 MiB and at 17 MiB, and one more disk.
fn disks() -> FakeHost {
    let fake = FakeHost::new();
    let part = |start: &'static str| [("partition", "1"), ("start", start), ("size", "32768")];
    fake.device("8:0", "sda", &[("size", "131072")])
        .device("8:1", "sda/sda1", &part("2048"))
        .device("8:2", "sda/sda2", &part("34816"))
        .device("8:16", "sdb", &[("size", "131072")]);
    fake
}

fn meets(fake: &FakeHost, source: (&Place, Range<u64>), destination: (&Place, Range<u64>)) -> bool {
    match check_on(&fake.host, source.0, source.1, destination.0, destination.1) {
        Ok(()) => false,
        Err(Refusal::Overlap { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_partition_and_its_disk_meet_where_the_partition_lies() {
    let fake = disks();
    let (disk, first, second) = (block(8, 0), block(8, 1), block(8, 2));
    assert!(meets(&fake, (&disk, ALL), (&first, ALL)));
    assert!(meets(&fake, (&second, ALL), (&disk, ALL)));
    assert!(!meets(&fake, (&disk, 0..MIB), (&first, ALL)));
    assert!(meets(&fake, (&disk, 0..MIB + 1), (&first, ALL)));
    assert!(!meets(&fake, (&first, ALL), (&disk, 17 * MIB..64 * MIB)));
    assert!(meets(&fake, (&first, ALL), (&disk, 17 * MIB - 1..64 * MIB)));
    assert!(!meets(&fake, (&first, ALL), (&second, ALL)));
    assert!(!meets(&fake, (&disk, ALL), (&block(8, 16), ALL)));
}

#[test]
fn the_refusal_names_both_ends_the_disk_and_the_bytes() {
    let fake = disks();
    let error = check_on(&fake.host, &block(8, 0), 0..2 * MIB, &block(8, 1), ALL).expect_err("an overlap");
    assert_eq!(
        error.to_string(),
        "writing /dev/block/8:1 would overwrite what is read from /dev/block/8:0: both reach bytes 1048576 to \
         2097152 of the disk sda (8:0); choose another destination, or ranges that do not meet"
    );
}

#[test]
fn empty_ranges_and_disjoint_ranges_of_one_disk_do_not_meet() {
    let fake = disks();
    let disk = block(8, 0);
    assert!(!meets(&fake, (&disk, 0..MIB), (&disk, MIB..2 * MIB)));
    assert!(meets(&fake, (&disk, 0..MIB), (&disk, MIB - 1..2 * MIB)));
    assert!(!meets(&fake, (&disk, 5..5), (&disk, ALL)));
    assert!(!meets(&fake, (&disk, 64 * MIB..u64::MAX), (&disk, ALL)));
}

#[test]
fn a_file_meets_the_device_of_its_file_system_only_as_source() {
    let fake = disks();
    let kept = file((8, 1), 12);
    assert!(meets(&fake, (&kept, 0..1), (&block(8, 1), ALL)));
    assert!(meets(&fake, (&kept, 0..1), (&block(8, 0), ALL)));
    assert!(!meets(&fake, (&kept, ALL), (&block(8, 0), 0..MIB)));
    assert!(!meets(&fake, (&kept, ALL), (&block(8, 2), ALL)));
    // An image of a disk may be kept on that disk: it is a moving picture, but nothing stored is lost.
    assert!(!meets(&fake, (&block(8, 0), ALL), (&kept, ALL)));
    assert!(!meets(&fake, (&kept, ALL), (&file((8, 1), 13), ALL)));
    assert!(meets(&fake, (&kept, ALL), (&file((8, 1), 12), ALL)));
    assert!(!meets(&fake, (&kept, 0..10), (&file((8, 1), 12), 10..20)));
    // The same inode number on another file system is another file.
    assert!(!meets(&fake, (&kept, ALL), (&file((8, 2), 12), ALL)));
}

#[test]
fn stacked_devices_meet_their_members_but_not_their_siblings() {
    let fake = disks();
    fake.device("253:0", "dm-0", &[("size", "1000")]).device("253:1", "dm-1", &[("size", "1000")]);
    fake.stack("dm-0", "sda/sda2").stack("dm-1", "sda/sda2").stack("dm-1", "sdb");
    let (root, data) = (block(253, 0), block(253, 1));
    for member in [block(8, 2), block(8, 0)] {
        assert!(meets(&fake, (&root, ALL), (&member, ALL)));
        assert!(meets(&fake, (&member, ALL), (&root, ALL)));
    }
    assert!(meets(&fake, (&data, ALL), (&block(8, 16), ALL)));
    assert!(!meets(&fake, (&root, ALL), (&block(8, 16), ALL)));
    assert!(!meets(&fake, (&root, ALL), (&block(8, 1), ALL)));
    assert!(!meets(&fake, (&root, ALL), (&data, ALL)));
    assert!(meets(&fake, (&root, ALL), (&root, ALL)));
    // Two volumes of one group: a file of one may be copied over the other.
    assert!(!meets(&fake, (&file((253, 0), 12), ALL), (&data, ALL)));
    assert!(meets(&fake, (&file((253, 0), 12), ALL), (&block(8, 2), ALL)));
}

#[test]
fn a_loop_without_a_node_is_followed_by_the_name_in_sysfs() {
    let fake = disks();
    let image = tempfile::NamedTempFile::new().expect("a file");
    let name = image.path().to_str().expect("a plain name");
    fake.device("7:0", "loop0", &[("size", "131072"), ("loop/backing_file", name), ("loop/offset", "4096")]);
    let backing = Place::of(std::os::fd::AsFd::as_fd(image.as_file()), image.path()).expect("a place");
    let device = block(7, 0);
    assert!(meets(&fake, (&backing, ALL), (&device, ALL)));
    assert!(meets(&fake, (&device, ALL), (&backing, ALL)));
    assert!(!meets(&fake, (&backing, 0..4096), (&device, ALL)));
    assert!(meets(&fake, (&backing, 0..4097), (&device, 0..1)));
}

#[test]
fn a_device_that_stands_on_itself_is_too_deep_instead_of_endless() {
    let fake = FakeHost::new();
    fake.device("253:0", "dm-0", &[("size", "8")]);
    fake.attributes("dm-0", &[("slaves/.keep", "")]);
    std::os::unix::fs::symlink(
        fake.host.sys.join("devices/dm-0"),
        fake.host.sys.join("devices/dm-0/slaves/dm-0"),
    )
    .expect("a link");
    let error = check_on(&fake.host, &block(253, 0), ALL, &block(8, 0), ALL).expect_err("too deep");
    assert!(matches!(error, Refusal::TooDeep { .. }), "{error}");
}

#[test]
fn a_device_that_sysfs_does_not_know_still_meets_itself() {
    let fake = FakeHost::new();
    assert!(meets(&fake, (&block(9, 9), 0..2), (&block(9, 9), 1..3)));
    assert!(!meets(&fake, (&block(9, 9), 0..1), (&block(9, 9), 1..3)));
}
