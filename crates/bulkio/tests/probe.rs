//! The probe on real storage: files on a disk's file system, loop devices with both block sizes, partitions,
//! streams that must not be opened.

mod common;

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use bulkio::probe::{
    DEFAULT_ALIGN_BYTES, DirectIo, Kind, NoDirectIo, NotTried, PieceProbe, Probe, ProbeError, probe_fd,
    probe_path,
};
use common::{LoopDevice, file_with_data, is_root, skip, storage_dir};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use scatterlist::{Force, LimitId, Source};

fn limit(probe: &Probe, id: LimitId) -> (u64, Source, Force) {
    let limit = probe.limits.get(id);
    (limit.value, limit.source, limit.force)
}

fn check_interface(probe: &Probe) {
    assert_eq!(limit(probe, LimitId::PiecesMax), (1024, Source::Interface, Force::Hard));
    assert_eq!(limit(probe, LimitId::TransferLenMax), (0x7fff_f000, Source::Interface, Force::Hard));
    assert_eq!(probe.buffered_limits().get(LimitId::AddrAlign).value, 1);
    assert_eq!(probe.buffered_limits().get(LimitId::PositionAlign).value, 1);
}

/// Reads one block in two halves that lie apart, as the probe should have.
fn halves_are_taken(path: &Path, block: usize) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).expect("a direct open");
    let mut memory = vec![0; 8 * 65_536];
    let base = memory.as_ptr().align_offset(65_536);
    let (first, second) = memory[base..].split_at_mut(65_536);
    let mut pieces = [IoSliceMut::new(&mut first[..block / 2]), IoSliceMut::new(&mut second[..block / 2])];
    match rustix::io::preadv2(file, &mut pieces, 0, ReadWriteFlags::empty()) {
        Ok(len) => len == block,
        Err(Errno::INVAL) => false,
        Err(errno) => panic!("an unexpected answer: {errno}"),
    }
}

#[test]
fn a_file_on_a_disk_states_its_alignment_and_a_read_proves_its_pieces() {
    let test = "a_file_on_a_disk_states_its_alignment_and_a_read_proves_its_pieces";
    let folder = or_skip!(test, storage_dir());
    let path = folder.path().join("data");
    file_with_data(&path, 256 << 10);
    let probe = probe_path(&path).expect("a probe");
    if probe.direct != DirectIo::Supported {
        return skip(test, "no direct I/O on this file system");
    }
    check_interface(&probe);
    assert_eq!(probe.size, Some(256 << 10));
    let (mem, source, force) = limit(&probe, LimitId::AddrAlign);
    assert_eq!((source, force), (Source::Statx, Force::Hard));
    let (block, source, force) = limit(&probe, LimitId::PositionAlign);
    assert_eq!((source, force), (Source::Statx, Force::Hard));
    assert_eq!(limit(&probe, LimitId::TotalLenAlign), (block, Source::Statx, Force::Hard));
    match probe.pieces {
        PieceProbe::Refused { .. } => {
            assert_eq!(limit(&probe, LimitId::PieceLenAlign), (block, Source::ProbingRead, Force::Hard));
        }
        PieceProbe::Accepted { .. } => {
            assert_eq!(
                limit(&probe, LimitId::PieceLenAlign),
                (mem.min(block), Source::ProbingRead, Force::Hard)
            );
        }
        other => panic!("the read was not made: {other:?}"),
    }
    if mem >= block {
        let taken = halves_are_taken(&path, usize::try_from(block).expect("a small block"));
        assert_eq!(matches!(probe.pieces, PieceProbe::Accepted { .. }), taken);
    }
    let Kind::File(file) = &probe.kind else { panic!("{:?}", probe.kind) };
    assert!(file.file_system.is_some() && file.mount_point.is_some(), "{file:?}");
    if file.block_device.is_some() {
        assert_eq!(probe.limits.get(LimitId::TransferLenOpt).source, Source::Sysfs);
        assert!(!probe.queue.is_empty());
        assert!(probe.queue.iter().all(|(_, limit)| limit.force == Force::Soft));
    }
}

#[test]
fn holes_and_short_files_prove_nothing() {
    let test = "holes_and_short_files_prove_nothing";
    let folder = or_skip!(test, storage_dir());
    let hole = folder.path().join("hole");
    File::create_new(&hole).expect("a file").set_len(1 << 20).expect("a hole");
    let short = folder.path().join("short");
    file_with_data(&short, 100);
    let written_late = folder.path().join("late");
    fs::write(&written_late, []).expect("an empty file");
    for path in [&hole, &short, &written_late] {
        let probe = probe_path(path).expect("a probe");
        if probe.direct != DirectIo::Supported {
            return skip(test, "no direct I/O on this file system");
        }
        let block = probe.limits.get(LimitId::PositionAlign).value;
        assert_eq!(limit(&probe, LimitId::PieceLenAlign), (block, Source::Default, Force::Hard));
        assert!(
            matches!(
                probe.pieces,
                PieceProbe::Inconclusive | PieceProbe::NotTried(NotTried::TooShort { .. })
            ),
            "{:?}",
            probe.pieces
        );
    }
}

#[test]
fn data_behind_a_hole_is_found() {
    let test = "data_behind_a_hole_is_found";
    let folder = or_skip!(test, storage_dir());
    let path = folder.path().join("sparse");
    let file = File::options().write(true).create_new(true).open(&path).expect("a file");
    file.set_len(8 << 20).expect("a hole");
    rustix::io::pwrite(&file, &[7; 65_536], 4 << 20).expect("data");
    file.sync_all().expect("data synced");
    let probe = probe_path(&path).expect("a probe");
    if probe.direct != DirectIo::Supported {
        return skip(test, "no direct I/O on this file system");
    }
    assert_eq!(probe.limits.get(LimitId::PieceLenAlign).source, Source::ProbingRead, "{:?}", probe.pieces);
}

#[test]
fn the_callers_descriptor_keeps_position_and_flags() {
    let test = "the_callers_descriptor_keeps_position_and_flags";
    let folder = or_skip!(test, storage_dir());
    let path = folder.path().join("data");
    let mut file = file_with_data(&path, 64 << 10);
    file.seek(SeekFrom::Start(1001)).expect("a position");
    let flags = rustix::fs::fcntl_getfl(&file).expect("flags");
    let probe = probe_fd(file.as_fd(), &path).expect("a probe");
    assert_eq!(probe.size, Some(64 << 10));
    assert_eq!(file.stream_position().expect("a position"), 1001);
    assert_eq!(rustix::fs::fcntl_getfl(&file).expect("flags"), flags);
    let mut byte = [0];
    file.read_exact(&mut byte).expect("a byte");
    assert_eq!(usize::from(byte[0]), 1001 % 251);
}

#[test]
fn a_descriptor_for_writing_and_a_renamed_file_are_probed_all_the_same() {
    let test = "a_descriptor_for_writing_and_a_renamed_file_are_probed_all_the_same";
    let folder = or_skip!(test, storage_dir());
    let path = folder.path().join("data");
    file_with_data(&path, 64 << 10);
    let file = File::options().write(true).open(&path).expect("for writing");
    fs::rename(&path, folder.path().join("elsewhere")).expect("a new name");
    let probe = probe_fd(file.as_fd(), &path).expect("a probe");
    assert_eq!(probe.size, Some(64 << 10));
    if probe.direct == DirectIo::Supported {
        assert_eq!(
            probe.limits.get(LimitId::PieceLenAlign).source,
            Source::ProbingRead,
            "{:?}",
            probe.pieces
        );
    }
}

#[test]
fn a_file_that_may_not_be_read_gets_what_can_be_known() {
    let test = "a_file_that_may_not_be_read_gets_what_can_be_known";
    if is_root() {
        return skip(test, "root may read everything");
    }
    let folder = or_skip!(test, storage_dir());
    let path = folder.path().join("secret");
    file_with_data(&path, 64 << 10);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("new permissions");
    let probe = probe_path(&path).expect("a probe");
    assert_eq!(probe.limits.get(LimitId::PieceLenAlign).source, Source::Default);
    if probe.direct == DirectIo::Supported {
        assert_eq!(probe.pieces, PieceProbe::NotTried(NotTried::Unopened(Errno::ACCESS)));
    }
}

#[test]
fn tmpfs_says_nothing_and_gets_the_stated_defaults() {
    let test = "tmpfs_says_nothing_and_gets_the_stated_defaults";
    let file = or_skip!(test, tempfile::NamedTempFile::new_in("/dev/shm"));
    fs::write(file.path(), vec![1; 65_536]).expect("data");
    let probe = probe_path(file.path()).expect("a probe");
    if probe.direct != DirectIo::Unknown {
        return skip(test, "this kernel states the alignment of tmpfs");
    }
    check_interface(&probe);
    for id in [LimitId::AddrAlign, LimitId::PositionAlign, LimitId::TotalLenAlign, LimitId::PieceLenAlign] {
        assert_eq!(limit(&probe, id), (DEFAULT_ALIGN_BYTES, Source::Default, Force::Hard), "{id}");
    }
    assert!(probe.queue.is_empty());
    assert_eq!(probe.limits.get(LimitId::TransferLenOpt).source, Source::Default);
}

#[test]
fn streams_are_named_and_never_opened() {
    let test = "streams_are_named_and_never_opened";
    let folder = or_skip!(test, storage_dir());
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).expect("a FIFO");
    let socket = folder.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    // Opening the FIFO would wait for ever: that this returns is the test.
    assert_eq!(probe_path(&fifo).expect("a probe").kind, Kind::Pipe);
    assert_eq!(probe_path(&socket).expect("a probe").kind, Kind::Socket);
    assert_eq!(probe_path(folder.path()).expect("a probe").kind, Kind::Directory);
    let null = probe_path(Path::new("/dev/null")).expect("a probe");
    let Kind::CharDevice { number, .. } = null.kind else { panic!("{:?}", null.kind) };
    assert_eq!((number.major, number.minor), (1, 3));
    assert_eq!(null.direct, DirectIo::Unsupported { reason: NoDirectIo::NotStorage });
    assert_eq!(null.size, None);
    check_interface(&null);
    let (read, _write) = std::io::pipe().expect("a pipe");
    assert_eq!(probe_fd(read.as_fd(), Path::new("pipe")).expect("a probe").kind, Kind::Pipe);
}

#[test]
fn a_missing_path_says_what_to_do() {
    let error = probe_path(Path::new("/nowhere/at all")).expect_err("nothing is there");
    assert!(matches!(error, ProbeError::NotFound { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("/nowhere/at all") && text.contains("check the spelling"), "{text}");
}

#[test]
fn loop_devices_with_both_block_sizes() {
    let test = "loop_devices_with_both_block_sizes";
    for block in [512, 4096] {
        let device = or_skip!(test, LoopDevice::new(8 << 20, block));
        let probe = probe_path(device.node()).expect("a probe");
        check_interface(&probe);
        let block = u64::from(block);
        assert_eq!(probe.direct, DirectIo::Supported);
        assert_eq!(probe.size, Some(8 << 20));
        assert_eq!(limit(&probe, LimitId::PositionAlign), (block, Source::Ioctl, Force::Hard));
        assert_eq!(limit(&probe, LimitId::TotalLenAlign), (block, Source::Ioctl, Force::Hard));
        assert_eq!(limit(&probe, LimitId::Capacity), (8 << 20, Source::Ioctl, Force::Hard));
        let (physical, source, force) = limit(&probe, LimitId::PositionAlignOpt);
        assert_eq!((source, force), (Source::Ioctl, Force::Soft));
        assert!(physical >= block && physical % block == 0, "{physical}");
        let (mem, _, _) = limit(&probe, LimitId::AddrAlign);
        let (pieces, source, _) = limit(&probe, LimitId::PieceLenAlign);
        assert_eq!(source, Source::ProbingRead, "{:?}", probe.pieces);
        match probe.pieces {
            PieceProbe::Accepted { .. } => assert_eq!(pieces, mem.min(block)),
            _ => assert_eq!(pieces, block),
        }
        let queue_max = probe.queue.get(LimitId::TransferLenMax).expect("max_sectors_kb");
        assert_eq!((queue_max.source, queue_max.force), (Source::Sysfs, Force::Soft));
        assert_eq!(probe.limits.get(LimitId::SegmentsMax).force, Force::Soft);
        let Kind::BlockDevice(found) = &probe.kind else { panic!("{:?}", probe.kind) };
        assert_eq!(found.name.as_deref(), Some(device.name()));
        assert_eq!(found.disk_name.as_deref(), Some(device.name()));
        assert_eq!(found.loop_backing.as_deref(), Some(device.backing()));
        assert_eq!(found.partition_start, None);
    }
}

#[test]
fn a_partition_has_its_own_place_and_its_disks_queue() {
    let test = "a_partition_has_its_own_place_and_its_disks_queue";
    let mut device = or_skip!(test, LoopDevice::new(16 << 20, 512));
    let node = or_skip!(test, device.add_partition(1, 2048, 8192));
    let probe = probe_path(&node).expect("a probe");
    assert_eq!(probe.size, Some(4 << 20));
    assert_eq!(limit(&probe, LimitId::Capacity), (4 << 20, Source::Ioctl, Force::Hard));
    assert_eq!(limit(&probe, LimitId::PositionOffset), (1 << 20, Source::Sysfs, Force::Hard));
    let Kind::BlockDevice(found) = &probe.kind else { panic!("{:?}", probe.kind) };
    assert_eq!(found.partition_start, Some(1 << 20));
    assert_eq!(found.disk_name.as_deref(), Some(device.name()));
    assert_eq!(found.name.as_deref(), node.file_name().and_then(|name| name.to_str()));
    assert_eq!(found.loop_backing.as_deref(), Some(device.backing()));
    let disk = probe_path(device.node()).expect("a probe");
    assert_eq!(probe.queue, disk.queue);
    assert_eq!(disk.limits.get(LimitId::PositionOffset).value, 0);
}

#[test]
fn a_device_that_may_not_be_opened_is_described_by_sysfs() {
    let test = "a_device_that_may_not_be_opened_is_described_by_sysfs";
    // Any block device will do: a user who may open none still sees them all.
    let mut nodes = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let closed = |node: &Path| File::options().read(true).open(node).is_err();
    let node = nodes.find_map(|entry| {
        let node = Path::new("/dev").join(entry.file_name());
        let has_size = fs::read_to_string(entry.path().join("size")).is_ok_and(|size| size.trim() != "0");
        (node.exists() && has_size && closed(&node)).then_some(node)
    });
    let Some(node) = node else { return skip(test, "every block device here may be opened") };
    let probe = probe_path(&node).expect("a probe");
    assert_eq!(probe.limits.get(LimitId::Capacity).source, Source::Sysfs);
    assert!(probe.size.is_some_and(|size| size > 0));
    assert!(matches!(probe.pieces, PieceProbe::NotTried(NotTried::Unopened(_))), "{:?}", probe.pieces);
    assert_eq!(probe.limits.get(LimitId::PositionAlign).force, Force::Hard);
    assert_ne!(probe.limits.get(LimitId::PositionAlign).source, Source::Ioctl);
}
