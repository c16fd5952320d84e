//! What a plan makes of transfers, and what the kernel does with each command; nodes, limits, claims.

use super::*;

#[test]
fn a_disk_states_its_limits_and_their_sources() {
    const NAME: &str = "scsi_generic::transfers::a_disk_states_its_limits_and_their_sources";
    or_skip!(NAME, in_lab("scsi"));
    for way in WAYS {
        let disk = way.open();
        let facts = disk.facts();
        assert_eq!((facts.blocks, facts.block_bytes, facts.protection), (32768, 512, 0));
        assert_eq!((&*facts.inquiry.vendor, &*facts.inquiry.product), ("Linux", "scsi_debug"));
        assert_eq!((facts.is_write_protected, facts.knows_16), (Some(false), true));
        assert!(facts.serial.is_some() && facts.wwid.as_ref().is_some_and(|wwid| wwid.starts_with("naa.")));
        let limit = |id| disk.limits().get(id);
        let hard = |id, value, source| {
            let limit = limit(id);
            assert_eq!(
                (limit.value, limit.source, limit.force),
                (value, source, Force::Hard),
                "{way:?} {id}"
            );
        };
        hard(LimitId::PositionAlign, 512, Source::Identify);
        hard(LimitId::Capacity, 16 << 20, Source::Identify);
        let pieces = if matches!(way, Way::Block | Way::SgCopies) { 1024 } else { 1 };
        hard(LimitId::PiecesMax, pieces, Source::Interface);
        if way.copies() {
            assert_eq!(limit(LimitId::AddrAlign).value, 1);
        } else {
            hard(LimitId::AddrAlign, 4, Source::Sysfs);
            hard(LimitId::SegmentsMax, 2048, Source::Sysfs);
            hard(LimitId::PageLen, PAGE as u64, Source::Default);
        }
        match way.kind() {
            // Its block limits page, 32768 blocks: the queue would take more.
            NodeKind::Block | NodeKind::Bsg => hard(LimitId::TransferLenMax, 16 << 20, Source::Vpd),
            _ => hard(LimitId::TransferLenMax, 1280 << 10, Source::Ioctl),
        }
    }
}

#[test]
fn nodes_lead_to_each_other() {
    const NAME: &str = "scsi_generic::transfers::nodes_lead_to_each_other";
    or_skip!(NAME, in_lab("scsi"));
    let block = node(DISK, NodeKind::Block);
    for kind in [NodeKind::Block, NodeKind::Bsg, NodeKind::Generic] {
        let own = node(DISK, kind);
        assert_eq!(block_sibling(&own).unwrap().path, block);
        let auto = DiskOptions { door: DoorChoice::Auto, ..DiskOptions::default() };
        assert_eq!(Disk::open(&own, &auto).unwrap().path(), block);
        let bsg = DiskOptions { door: DoorChoice::Only(NodeKind::Bsg), ..DiskOptions::default() };
        assert_eq!(Disk::open(&own, &bsg).unwrap().path(), node(DISK, NodeKind::Bsg));
    }
    let refused = Disk::open(Path::new("/dev/null"), &DiskOptions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::NotScsi { .. }), "{refused}");
    let tape = DiskOptions { door: DoorChoice::Only(NodeKind::Tape), ..DiskOptions::default() };
    let refused = Disk::open(&block, &tape).unwrap_err();
    assert!(matches!(refused, OpenError::NoDoor { kind: NodeKind::Tape, .. }), "{refused}");
}

#[test]
fn a_door_that_copies_is_refused_where_that_was_demanded() {
    const NAME: &str = "scsi_generic::transfers::a_door_that_copies_is_refused_where_that_was_demanded";
    or_skip!(NAME, in_lab("scsi"));
    let require = DiskOptions { direct: DirectMode::Require, ..DiskOptions::default() };
    let promised = DiskOptions { sg_direct: Some(sg_direct()), ..require };
    let node = node(DISK, NodeKind::Generic);
    let copies = |reason| OpenError::Copies { path: node.clone(), reason };
    allow_dio(false);
    assert_eq!(Disk::open(&node, &promised).unwrap_err(), copies(CopyReason::NotAllowed));
    allow_dio(true);
    Disk::open(&node, &promised).unwrap();
    assert_eq!(Disk::open(&node, &require).unwrap_err(), copies(CopyReason::MayOutlive));
}

#[test]
fn scattered_pages_take_as_few_commands_as_the_limits_allow() {
    const NAME: &str = "scsi_generic::transfers::scattered_pages_take_as_few_commands_as_the_limits_allow";
    or_skip!(NAME, in_lab("scsi"));
    let oracle = Oracle::watch(&[MAPS]);
    for (turn, way) in WAYS.into_iter().enumerate() {
        let disk = way.open();
        let mut engine = engine(16);
        let file = disk.add_to(&mut engine).unwrap();
        assert_eq!(engine.file_report(file).unwrap().carrier, Carrier::Calls);
        let pages = MIB / PAGE;
        let expected = commands_for_pages(pages, disk.limits());
        assert_eq!(expected, if matches!(way, Way::Block | Way::SgCopies) { 1 } else { 256 });
        // Written this way, read this way and by the block node's own reads.
        let mut bytes = content(MIB);
        bytes.rotate_left(1000 * (turn + 1));
        let (memory, pieces) = scattered(MIB);
        scatter(&memory, &pieces, &bytes);
        oracle.reset();
        engine.submit(file, memory.request(&pieces, ToDevice, At(FREE)), disk.limits()).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(MIB as u64), "{way:?}");
        assert_eq!(flush(&mut engine, file), None);
        let (memory, pieces) = scattered(MIB);
        engine.submit(file, memory.request(&pieces, FromDevice, At(FREE)), disk.limits()).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(MIB as u64), "{way:?}");
        assert!(gather(&memory, &pieces) == bytes, "{way:?}");
        let mapped = oracle.hits(MAPS);
        let (direct, copied) = if way.copies() { (0, 2 * MIB as u64) } else { (2 * MIB as u64, 0) };
        let counts = disk.counts();
        assert_eq!(counts.commands, 2 * expected, "{way:?}");
        assert_eq!((counts.direct_bytes, counts.copied_bytes), (direct, copied), "{way:?}");
        assert_eq!((counts.retries, counts.searches), (0, 0), "{way:?}");
        assert_eq!(
            (counts.direct_commands, engine.stats().operations),
            (mapped, 2 * expected + 1),
            "{way:?}"
        );
        assert_eq!(mapped, if way.copies() { 0 } else { 2 * expected }, "{way:?}");
        assert!(read_direct(&node(DISK, NodeKind::Block), FREE, MIB) == bytes, "{way:?}");
    }
}

/// Reads as anybody does, past the page cache, which knows nothing of commands.
fn read_direct(node: &Path, at: u64, len: usize) -> Vec<u8> {
    let file = bulkio::direct::File::open(node).unwrap();
    file.direct().unwrap();
    let mut bytes = vec![0; len];
    file.read(&mut bytes, at).unwrap();
    bytes
}

/// Longer than any command, in one piece and in many.
#[test]
fn what_is_too_long_for_a_command_is_split() {
    const NAME: &str = "scsi_generic::transfers::what_is_too_long_for_a_command_is_split";
    const LEN: usize = 10 * MIB;
    or_skip!(NAME, in_lab("scsi"));
    let bytes = content(LEN);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(16);
        let file = disk.add_to(&mut engine).unwrap();
        let value = |id| disk.limits().hard_value(id);
        let (read, outcome) = read(&mut engine, file, &disk, FREE, LEN);
        assert_eq!(outcome, Outcome::whole(LEN as u64), "{way:?}");
        assert!(read == bytes, "{way:?}");
        let most =
            value(LimitId::SegmentsMax).saturating_mul(PAGE as u64).min(value(LimitId::TransferLenMax));
        let expected = (LEN as u64).div_ceil(most);
        assert!(expected >= 2);
        assert_eq!(disk.counts().commands, expected, "{way:?}");
        let (memory, pieces) = scattered(LEN);
        engine.submit(file, memory.request(&pieces, FromDevice, At(FREE)), disk.limits()).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(LEN as u64), "{way:?}");
        assert!(gather(&memory, &pieces) == bytes, "{way:?}");
        let all = expected + commands_for_pages(LEN / PAGE, disk.limits());
        assert_eq!(disk.counts().commands, all, "{way:?}");
    }
}

/// Memory that does not suit the queue is bounced by whoever submits, and the kernel is never asked to copy.
#[test]
fn memory_that_does_not_suit_is_refused_and_not_copied() {
    const NAME: &str = "scsi_generic::transfers::memory_that_does_not_suit_is_refused_and_not_copied";
    or_skip!(NAME, in_lab("scsi"));
    let oracle = Oracle::watch(&[MAPS]);
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(4);
        let file = disk.add_to(&mut engine).unwrap();
        let memory = Quarantine::default().take(2 * PAGE);
        let request = memory.request(&[(2, 512)], FromDevice, At(FREE));
        if way.copies() {
            engine.submit(file, request, disk.limits()).unwrap();
            assert_eq!(next(&mut engine).1, Outcome::whole(512));
        } else {
            engine.submit(file, request, disk.limits()).unwrap_err();
            // Against the advice of the limits: the kernel copies, and the counts say so.
            let request = memory.request(&[(2, 512)], FromDevice, At(FREE));
            let loose = Limits::builder().hard(LimitId::PositionAlign, 512).hard(LimitId::PiecesMax, 1);
            oracle.reset();
            engine.submit(file, request, &loose.build().unwrap()).unwrap();
            assert_eq!(next(&mut engine).1, Outcome::whole(512));
            assert_eq!(oracle.hits(MAPS), 0, "{way:?}");
        }
        let counts = disk.counts();
        assert_eq!((counts.direct_bytes, counts.copied_bytes), (0, 512), "{way:?}");
    }
}

#[test]
fn without_a_plan_doors_refuse_or_copy() {
    const NAME: &str = "scsi_generic::transfers::without_a_plan_doors_refuse_or_copy";
    or_skip!(NAME, in_lab("scsi"));
    let errno = |number: i32| Err(Status::Errno(number.unsigned_abs()));
    // What becomes of 1 MiB of scattered pages, and of 10 MiB in one piece: the bytes copied, or how it is refused.
    let (mib, ten) = (MIB as u64, 10 * MIB as u64);
    let unplanned = [
        (Way::Block, Ok(0), errno(libc::EINVAL)),
        (Way::Bsg, errno(libc::EOPNOTSUPP), errno(libc::EINVAL)),
        (Way::SgDirect, Ok(mib), errno(libc::EINVAL)),
        (Way::SgCopies, Ok(mib), errno(libc::EINVAL)),
    ];
    for (way, scattered_pages, one_piece) in unplanned {
        let (memory, pieces) = scattered(MIB);
        let long = Quarantine::default().take(10 * MIB);
        let cases = [(&memory, &pieces[..], mib, scattered_pages), (&long, &[(0, 10 * MIB)], ten, one_piece)];
        for (memory, pieces, len, expected) in cases {
            let disk = way.open();
            let mut engine = engine(16);
            let file = disk.add_to(&mut engine).unwrap();
            let off = Limits::builder().hard(LimitId::PositionAlign, 512).build().unwrap();
            engine.submit(file, memory.request(pieces, FromDevice, At(FREE)), &off).unwrap();
            let outcome = next(&mut engine).1;
            let copied = disk.counts().copied_bytes;
            let found = outcome.fault.map_or(Ok(copied), |fault| Err(fault.status));
            assert_eq!((found, engine.stats().operations), (expected, 1), "{way:?} {len}, no plan");
            let before = disk.counts();
            engine.submit(file, memory.request(pieces, FromDevice, At(FREE)), disk.limits()).unwrap();
            assert_eq!(next(&mut engine).1, Outcome::whole(len), "{way:?} {len}");
            let after = disk.counts();
            let copied = after.copied_bytes - before.copied_bytes;
            assert_eq!(copied, if way.copies() { len } else { 0 }, "{way:?} {len}");
            println!(
                "{way:?}, {len} bytes: no plan {found:?}; planned {} commands",
                after.commands - before.commands
            );
        }
    }
}

#[test]
fn many_commands_are_in_flight() {
    const NAME: &str = "scsi_generic::transfers::many_commands_are_in_flight";
    const DEPTH: u32 = 24;
    or_skip!(NAME, in_lab("scsi"));
    let bytes = content(DEPTH as usize * PAGE);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(DEPTH);
        let file = disk.add_to(&mut engine).unwrap();
        // Each takes three seconds (of 250 jiffies), so that they can be counted meanwhile (`Documentation/ABI/testing/sysfs-bus-scsi`,
        // device_busy), although emulation takes long to send them.
        let _late = Setting::new("delay", "750");
        let memory = Quarantine::default().take(bytes.len());
        for at in (0..bytes.len()).step_by(PAGE) {
            let request = memory.request(&[(at, PAGE)], FromDevice, At(FREE + at as u64));
            engine.submit(file, request, disk.limits()).unwrap();
        }
        engine.start().unwrap();
        // /dev/sg takes no more of one descriptor.
        let most = if way.kind() == NodeKind::Generic { 16 } else { u64::from(DEPTH) };
        let busy = device(DISK).join("device_busy");
        wait_until("the device has as many commands as it may", || {
            let now: u64 = fs::read_to_string(&busy).unwrap().trim().parse().unwrap();
            assert!(now <= most, "{way:?}: {now}");
            now == most
        });
        for _ in 0..DEPTH {
            assert_eq!(next(&mut engine).1, Outcome::whole(PAGE as u64), "{way:?}");
        }
        assert!(memory.bytes() == bytes, "{way:?}");
        assert_eq!(disk.counts().in_flight_max, DEPTH.into(), "{way:?}");
    }
}

/// A disk that is taken away in the middle of a long read: the read ends, with the exact bytes that were there.
/// Held exclusively by somebody else through the block node: what a copy does before it opens another door.
#[test]
fn the_block_sibling_is_what_can_be_held() {
    const NAME: &str = "scsi_generic::transfers::the_block_sibling_is_what_can_be_held";
    or_skip!(NAME, in_lab("scsi"));
    let sibling = block_sibling(&node(DISK, NodeKind::Generic)).unwrap();
    let hold = || fs::File::options().read(true).custom_flags(libc::O_EXCL).open(&sibling.path);
    let held = hold().unwrap();
    assert_eq!(hold().unwrap_err().raw_os_error(), Some(libc::EBUSY));
    // The other doors work all the same, for whoever holds it.
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(4);
        let file = disk.add_to(&mut engine).unwrap();
        assert_eq!(read(&mut engine, file, &disk, FREE, PAGE).1, Outcome::whole(PAGE as u64), "{way:?}");
    }
    drop(held);
    hold().unwrap();
}

#[test]
fn nothing_is_counted_before_the_first_transfer() {
    const NAME: &str = "scsi_generic::transfers::nothing_is_counted_before_the_first_transfer";
    or_skip!(NAME, in_lab("scsi"));
    for way in WAYS {
        assert_eq!(way.open().counts(), Counts::default(), "{way:?}");
    }
}
