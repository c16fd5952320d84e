//! The probe over made-up sysfs trees: partitions, missing attributes, nonsense, large numbers.

use scatterlist::{Force, LimitId, Limits, Source};

use super::assemble::{self, DeviceFacts, DirectFacts, Facts, QueueLimits, Stated};
use super::fake::FakeHost;
use super::pieces::PieceProbe;
use super::sysfs::{BlockFolder, DeviceNumber};
use super::{DEFAULT_ALIGN_BYTES, DEFAULT_TRANSFER_BYTES, kind};

const NVME: &[(&str, &str)] = &[
    ("size", "2000409264"),
    ("queue/logical_block_size", "512"),
    ("queue/physical_block_size", "4096"),
    ("queue/max_segments", "127"),
    ("queue/max_segment_size", "4294967295"),
    ("queue/virt_boundary_mask", "4095"),
    ("queue/dma_alignment", "3"),
    ("queue/max_sectors_kb", "128"),
    ("queue/chunk_sectors", "256"),
    ("queue/optimal_io_size", "0"),
];

fn number(major: u32, minor: u32) -> DeviceNumber {
    DeviceNumber { major, minor }
}

fn nvme() -> FakeHost {
    let fake = FakeHost::new();
    fake.device("259:70000", "pci/nvme0n1", NVME);
    let part = [("partition", "1"), ("start", "2048"), ("size", "4096")];
    fake.device("259:70001", "pci/nvme0n1/nvme0n1p1", &part);
    fake
}

fn queue_of(fake: &FakeHost, number: DeviceNumber) -> QueueLimits {
    QueueLimits::read(&BlockFolder::find(&fake.host, number).expect("a device"))
}

fn device_limits(queue: &QueueLimits, device: DeviceFacts) -> Limits {
    assemble::storage_limits(&Facts { direct: None, device: Some(device), queue }).expect("good limits")
}

#[test]
fn a_partition_has_its_disks_queue_and_its_own_place() {
    let fake = nvme();
    let part = BlockFolder::find(&fake.host, number(259, 70_001)).expect("a partition");
    let described = kind::block_device(number(259, 70_001), Some(&part));
    assert_eq!(described.name.as_deref(), Some("nvme0n1p1"));
    assert_eq!(described.disk_name.as_deref(), Some("nvme0n1"));
    assert_eq!(described.partition_start, Some(1 << 20));
    assert_eq!(part.disk().number(), Some(number(259, 70_000)));
    assert_eq!(part.size_bytes(), Some(2 << 20));
    assert_eq!(part.queue_number("logical_block_size"), Some(512));
    assert_eq!(queue_of(&fake, number(259, 70_001)), queue_of(&fake, number(259, 70_000)));
    let disk = BlockFolder::find(&fake.host, number(259, 70_000)).expect("a disk");
    assert_eq!(disk.partition_span(), None);
    assert_eq!(disk.partitions().len(), 1);
}

#[test]
fn queue_attributes_become_soft_limits() {
    let queue = queue_of(&nvme(), number(259, 70_000));
    for (id, value) in [
        (LimitId::SegmentsMax, 127),
        (LimitId::SegmentLenMax, 4_294_967_295),
        (LimitId::GapBoundary, 4096),
        (LimitId::AddrAlign, 4),
        (LimitId::TransferLenMax, 128 << 10),
        (LimitId::TransferLenOpt, 128 << 10),
        (LimitId::ChunkLen, 128 << 10),
        (LimitId::PositionAlignOpt, 4096),
    ] {
        let limit = queue.get(id).unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!((limit.value, limit.source, limit.force), (value, Source::Sysfs, Force::Soft), "{id}");
    }
    assert_eq!(queue.iter().count(), 8);
}

#[test]
fn an_optimal_size_wins_over_the_queues_maximum() {
    let fake = nvme();
    fake.attributes("pci/nvme0n1", &[("queue/optimal_io_size", "65536")]);
    let queue = queue_of(&fake, number(259, 70_000));
    assert_eq!(queue.get(LimitId::TransferLenOpt).expect("stated").value, 65_536);
}

#[test]
fn soft_limits_never_replace_hard_ones() {
    let queue = queue_of(&nvme(), number(259, 70_000));
    let stated = |value, source| Some(Stated::new(value, source));
    let direct = DirectFacts::with_defaults(stated(512, Source::Ioctl), stated(8, Source::Statx));
    let device = DeviceFacts {
        physical_block: stated(4096, Source::Ioctl),
        capacity: stated(2 << 20, Source::Ioctl),
        partition_start: Some(1 << 20),
    };
    let facts = Facts { direct: Some(direct), device: Some(device), queue: &queue };
    let limits = assemble::storage_limits(&facts).expect("good limits");
    let limit = |id| {
        let limit = limits.get(id);
        (limit.value, limit.source, limit.force)
    };
    assert_eq!(limit(LimitId::AddrAlign), (8, Source::Statx, Force::Hard));
    assert_eq!(limit(LimitId::TransferLenMax), (0x7fff_f000, Source::Interface, Force::Hard));
    assert_eq!(limit(LimitId::PiecesMax), (1024, Source::Interface, Force::Hard));
    assert_eq!(limit(LimitId::PositionAlign), (512, Source::Ioctl, Force::Hard));
    assert_eq!(limit(LimitId::TotalLenAlign), (512, Source::Ioctl, Force::Hard));
    assert_eq!(limit(LimitId::PieceLenAlign), (512, Source::Default, Force::Hard));
    assert_eq!(limit(LimitId::SegmentsMax), (127, Source::Sysfs, Force::Soft));
    assert_eq!(limit(LimitId::ChunkLen), (128 << 10, Source::Sysfs, Force::Soft));
    assert_eq!(limit(LimitId::PositionOffset), (1 << 20, Source::Sysfs, Force::Hard));
    assert_eq!(limit(LimitId::Capacity), (2 << 20, Source::Ioctl, Force::Hard));
    assert_eq!(limit(LimitId::PositionAlignOpt), (4096, Source::Ioctl, Force::Soft));
}

#[test]
fn chunks_of_the_disk_are_none_of_a_files() {
    let queue = queue_of(&nvme(), number(259, 70_000));
    let limits = |direct| {
        assemble::storage_limits(&Facts { direct, device: None, queue: &queue }).expect("good limits")
    };
    let direct = limits(Some(DirectFacts::with_defaults(None, None)));
    assert_eq!(direct.get(LimitId::ChunkLen).value, 0);
    assert_eq!(direct.get(LimitId::SegmentsMax).value, 127);
    // And through the page cache, no rule for memory is left.
    let buffered = limits(None);
    assert_eq!(buffered.get(LimitId::SegmentsMax).value, u64::MAX);
    assert_eq!(buffered.get(LimitId::AddrAlign).value, 1);
    assert_eq!(buffered.get(LimitId::TransferLenOpt).source, Source::Sysfs);
}

#[test]
fn missing_attributes_leave_the_stated_defaults() {
    let fake = FakeHost::new();
    fake.device("8:0", "sda", &[("size", "100")]);
    let queue = queue_of(&fake, number(8, 0));
    assert!(queue.is_empty());
    let nothing = DeviceFacts { physical_block: None, capacity: None, partition_start: None };
    let limits = device_limits(&queue, nothing);
    for (id, value) in
        [(LimitId::TransferLenOpt, DEFAULT_TRANSFER_BYTES), (LimitId::PositionAlignOpt, DEFAULT_ALIGN_BYTES)]
    {
        let limit = limits.get(id);
        assert_eq!((limit.value, limit.source, limit.force), (value, Source::Default, Force::Soft));
    }
    assert!(BlockFolder::find(&fake.host, number(8, 16)).is_none());
}

#[test]
fn nonsense_is_left_out_and_never_panics() {
    let garbage =
        ["", " ", "-1", "yes", "18446744073709551615", "99999999999999999999", "0", "3", "\u{fe0f}", "1 2"];
    for text in garbage {
        let fake = FakeHost::new();
        let attributes: Vec<_> = NVME.iter().map(|&(name, _)| (name, text)).collect();
        fake.device("8:0", "sda", &attributes);
        fake.device(
            "8:1",
            "sda/sda1",
            &[("partition", text), ("start", text), ("size", text), ("dev", text)],
        );
        for minor in [0, 1] {
            let folder = BlockFolder::find(&fake.host, number(8, minor)).expect("a device");
            let queue = QueueLimits::read(&folder);
            let nothing = DeviceFacts { physical_block: None, capacity: None, partition_start: None };
            let limits = device_limits(&queue, nothing);
            assert!(limits.get(LimitId::PositionAlignOpt).value > 0, "{text:?}");
            let _ = (folder.partition_span(), folder.size_bytes(), folder.number(), folder.disk().number());
            let _ = kind::block_device(number(8, minor), Some(&folder));
        }
    }
}

#[test]
fn pieces_follow_what_the_read_proved() {
    let queue = QueueLimits::default();
    let stated = |value| Some(Stated::new(value, Source::Statx));
    let with = |block, mem, pieces| {
        let direct = DirectFacts { pieces, ..DirectFacts::with_defaults(stated(block), stated(mem)) };
        let facts = Facts { direct: Some(direct), device: None, queue: &queue };
        let limit = assemble::storage_limits(&facts).expect("good limits").get(LimitId::PieceLenAlign);
        assert_eq!(limit.force, Force::Hard);
        (limit.value, limit.source)
    };
    let (accepted, refused) =
        (PieceProbe::Accepted { piece_bytes: 4 }, PieceProbe::Refused { piece_bytes: 4 });
    assert_eq!(with(4096, 4, accepted), (4, Source::ProbingRead));
    assert_eq!(with(4096, 4, refused), (4096, Source::ProbingRead));
    assert_eq!(with(512, 4096, accepted), (512, Source::ProbingRead));
    assert_eq!(with(4096, 4, PieceProbe::Inconclusive), (4096, Source::Default));
}

#[test]
fn what_nobody_states_is_a_default_and_says_so() {
    let facts = DirectFacts::with_defaults(None, None);
    let default = Stated::new(DEFAULT_ALIGN_BYTES, Source::Default);
    assert_eq!((facts.block, facts.mem_align), (default, default));
    // A block that is larger than the default takes the memory's alignment with it.
    let large = DirectFacts::with_defaults(Some(Stated::new(65_536, Source::Ioctl)), None);
    assert_eq!(large.mem_align, Stated::new(65_536, Source::Default));
}
