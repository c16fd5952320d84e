//! Bad sectors, injected faults, disks that go away: where they are told, and in which words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulkio::device::scsi::{HostStatus, SamStatus};

use super::*;

#[test]
fn a_bad_sector_is_located_exactly() {
    const NAME: &str = "scsi_generic::faults::a_bad_sector_is_located_exactly";
    const SECTORS: usize = 64;
    or_skip!(NAME, in_lab("scsi"));
    let first = BAD - 20;
    let bytes = content(SECTORS * 512);
    fill(&node(DISK, NodeKind::Block), first * 512, &bytes);
    // With and without the address in the sense data: the driver has it in the fixed format only.
    for dsense in ["0", "1"] {
        let _setting = Setting::new("dsense", dsense);
        for way in WAYS {
            let disk = way.open();
            let mut engine = engine(4);
            let file = disk.add_to(&mut engine).unwrap();
            let (read, outcome) = read(&mut engine, file, &disk, first * 512, SECTORS * 512);
            let done = 20 * 512;
            let asked = SECTORS as u64 * 512;
            assert_eq!(outcome, Outcome { asked, done, fault: fault(done, MEDIUM) }, "{way:?} {dsense}");
            assert!(read[..20 * 512] == bytes[..20 * 512], "{way:?} {dsense}");
            let searches = disk.counts().searches;
            assert!(if dsense == "0" { searches == 1 } else { (2..=6).contains(&searches) }, "{searches}");
        }
    }
}

#[test]
fn every_bad_sector_is_found_and_no_other() {
    const NAME: &str = "scsi_generic::faults::every_bad_sector_is_found_and_no_other";
    or_skip!(NAME, in_lab("scsi"));
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(4);
        let file = disk.add_to(&mut engine).unwrap();
        let is_bad = |sector: &u64| {
            let (_, outcome) = read(&mut engine, file, &disk, sector * 512, 512);
            match outcome.fault {
                None => assert_eq!(outcome.done, 512),
                found => assert_eq!((found, outcome.done), (fault(0, MEDIUM), 0)),
            }
            outcome.fault.is_some()
        };
        let bad: Vec<u64> = (BAD - 8..BAD + 24).filter(is_bad).collect();
        assert_eq!(bad, (BAD..BAD + BAD_SECTORS).collect::<Vec<_>>(), "{way:?}");
    }
}

/// What the kernel or the device may get over by itself, or by another try.
#[test]
fn faults_that_pass_are_sent_again() {
    const NAME: &str = "scsi_generic::faults::faults_that_pass_are_sent_again";
    or_skip!(NAME, in_lab("scsi"));
    let rules = [
        // Sense: unit attention, aborted command, becoming ready. Type 2: host, driver, status, key, code, qualifier.
        ("2 -1 0x28 0 0 2 6 0x29 2", true),
        ("2 -2 0x28 0 0 2 0xb 0x4b 0", true),
        ("2 -1 0x28 0 0 2 2 0x04 1", true),
        // Busy, and what the host adapter wants to have again: the kernel sends some of them itself.
        ("2 -2 0x28 0 0 8 0 0 0", false),
        ("2 -1 0x28 0xb 0 0 0 0 0", false),
        ("2 -1 0x28 0xc 0 0 0 0 0", false),
        // Type 1: the driver does not take the command, `SCSI_MLQUEUE_HOST_BUSY`.
        ("1 -2 0x28 0x1055", false),
    ];
    let bytes = content(64 * 512);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        for (rule, is_ours) in rules {
            let disk = way.open();
            let mut engine = engine(4);
            let file = disk.add_to(&mut engine).unwrap();
            let _injected = Injected::new(DISK, rule);
            let (read, outcome) = read(&mut engine, file, &disk, FREE, bytes.len());
            assert_eq!(outcome, Outcome::whole(bytes.len() as u64), "{way:?} {rule}");
            assert!(read == bytes, "{way:?} {rule}");
            assert!(!is_ours || disk.counts().retries > 0, "{way:?} {rule}");
        }
    }
}

/// Faults that come to every third command, whatever it is, by the driver's own switches: `opts` of scsi_debug.
#[test]
fn faults_of_every_third_command_are_got_over() {
    const NAME: &str = "scsi_generic::faults::faults_of_every_third_command_are_got_over";
    or_skip!(NAME, in_lab("scsi"));
    // Recovered error, transport error (aborted command), short transfer, full queue, busy host adapter.
    const OPTS: [&str; 5] = ["0x8", "0x10", "0x100", "0x800", "0x8000"];
    let bytes = content(64 * 4096);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        for opts in OPTS {
            let disk = way.open();
            // One at a time: so the next try is never a third command again.
            let mut engine = engine(1);
            let file = disk.add_to(&mut engine).unwrap();
            let short = disk.limits().to_builder().hard(LimitId::TransferLenMax, 4096).build().unwrap();
            let memory = Quarantine::default().take(bytes.len());
            let _opts = Setting::new("opts", opts);
            let _often = Setting::new("every_nth", "3");
            let request = memory.request(&[(0, bytes.len())], FromDevice, At(FREE));
            engine.submit(file, request, &short).unwrap();
            assert_eq!(next(&mut engine).1, Outcome::whole(bytes.len() as u64), "{way:?} {opts}");
            assert!(memory.bytes() == bytes, "{way:?} {opts}");
            // Those that the library sees, it sends again, or goes on with.
            let sent_again = disk.counts().commands > 64;
            assert!(sent_again || !matches!(opts, "0x10" | "0x100"), "{way:?} {opts}");
        }
    }
}

/// The same transfers as planned, and as one command each: what planning is for. Counts, by the limits and by the kernel.
#[test]
fn faults_that_stay_are_told_in_the_devices_words() {
    const NAME: &str = "scsi_generic::faults::faults_that_stay_are_told_in_the_devices_words";
    or_skip!(NAME, in_lab("scsi"));
    let rules = [
        ("2 -1 OP 0 0 2 7 0x27 0", sense(SenseKey::DataProtect, 0x27, 0)),
        ("2 -1 OP 0 0 2 4 0x44 0", sense(SenseKey::Hardware, 0x44, 0)),
        ("2 -1 OP 0 0 2 5 0x24 0", sense(SenseKey::IllegalRequest, 0x24, 0)),
        ("2 -1 OP 0 0 2 2 0x3a 0", sense(SenseKey::NotReady, 0x3a, 0)),
        ("2 -1 OP 0 0 0x18 0 0 0", ScsiStatus::Status(SamStatus::RESERVATION_CONFLICT)),
        ("2 -1 OP 1 0 0 0 0 0", ScsiStatus::Host(HostStatus::NO_CONNECT)),
        ("2 20 OP 0 0 2 0xb 0x4b 0", sense(SenseKey::Aborted, 0x4b, 0)),
    ];
    for way in WAYS {
        for (rule, status) in rules {
            for (opcode, direction) in [("0x28", FromDevice), ("0x2a", ToDevice)] {
                let disk = way.open();
                let mut engine = engine(4);
                let file = disk.add_to(&mut engine).unwrap();
                let rule = rule.replace("OP", opcode);
                let injected = Injected::new(DISK, &rule);
                let memory = Quarantine::default().take(PAGE);
                let request = memory.request(&[(0, PAGE)], direction, At(FREE));
                engine.submit(file, request, disk.limits()).unwrap();
                let outcome = next(&mut engine).1;
                let expected = Outcome { asked: PAGE as u64, done: 0, fault: fault(0, status) };
                assert_eq!(outcome, expected, "{way:?} {rule}");
                drop(injected);
                assert_eq!(
                    read(&mut engine, file, &disk, FREE, PAGE).1,
                    Outcome::whole(PAGE as u64),
                    "{way:?} {rule}"
                );
            }
        }
    }
}

#[test]
fn a_flush_that_fails_says_so() {
    const NAME: &str = "scsi_generic::faults::a_flush_that_fails_says_so";
    or_skip!(NAME, in_lab("scsi"));
    for way in WAYS {
        let disk = way.open();
        let mut engine = engine(4);
        let file = disk.add_to(&mut engine).unwrap();
        let injected = Injected::new(DISK, "2 -1 0x35 0 0 2 4 0x44 0");
        let broken = sense(SenseKey::Hardware, 0x44, 0);
        assert_eq!(flush(&mut engine, file), fault(0, broken), "{way:?}");
        drop(injected);
        assert_eq!(flush(&mut engine, file), None, "{way:?}");
        // The unit was switched off between a write and its flush.
        let memory = Quarantine::default().take(PAGE);
        engine.submit(file, memory.request(&[(0, PAGE)], ToDevice, At(FREE)), disk.limits()).unwrap();
        assert_eq!(next(&mut engine).1, Outcome::whole(PAGE as u64));
        let power = sense(SenseKey::UnitAttention, 0x29, 1);
        let injected = Injected::new(DISK, "2 -1 0x28 0 0 2 6 0x29 1");
        assert_eq!(read(&mut engine, file, &disk, FREE, PAGE).1, Outcome::whole(PAGE as u64), "{way:?}");
        drop(injected);
        assert_eq!(flush(&mut engine, file), fault(0, power), "{way:?}");
        assert_eq!(flush(&mut engine, file), None, "{way:?}");
    }
}

#[test]
fn a_command_that_takes_too_long_is_aborted() {
    const NAME: &str = "scsi_generic::faults::a_command_that_takes_too_long_is_aborted";
    or_skip!(NAME, in_lab("scsi"));
    for way in WAYS {
        let options = DiskOptions { timeout: Duration::from_secs(2), ..DiskOptions::default() };
        let disk = way.open_with(DISK, options);
        let mut engine = engine(4);
        let file = disk.add_to(&mut engine).unwrap();
        // Type 0: the command is never answered.
        let injected = Injected::new(DISK, "0 -1 0x28");
        let begun = Instant::now();
        let (_, outcome) = read(&mut engine, file, &disk, FREE, PAGE);
        let status = ScsiStatus::Host(HostStatus::TIME_OUT);
        assert_eq!(outcome.fault, fault(0, status), "{way:?}");
        assert!(begun.elapsed() >= options.timeout && status.is_timeout(), "{way:?}");
        drop(injected);
        assert_eq!(read(&mut engine, file, &disk, FREE, PAGE).1, Outcome::whole(PAGE as u64), "{way:?}");
    }
}

#[test]
fn a_disk_that_is_taken_away_ends_its_transfers() {
    const NAME: &str = "scsi_generic::faults::a_disk_that_is_taken_away_ends_its_transfers";
    const LEN: usize = 8 * MIB;
    or_skip!(NAME, in_lab("scsi"));
    let bytes = content(LEN);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        let disk = way.open_with(OTHER, DiskOptions::default());
        let mut engine = engine(16);
        let file = disk.add_to(&mut engine).unwrap();
        let memory = Quarantine::default().take(LEN);
        // A sector a command: thousands, of which each takes some milliseconds.
        let _late = Setting::new("ndelay", "5000000");
        let short = disk.limits().to_builder().hard(LimitId::TransferLenMax, 512).build().unwrap();
        engine.submit(file, memory.request(&[(0, LEN)], FromDevice, At(FREE)), &short).unwrap();
        engine.start().unwrap();
        let folder = device(OTHER);
        let taken = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                wait_until("the read is under way", || disk.counts().commands > 20);
                fs::write(folder.join("delete"), "1").unwrap();
                taken.store(true, Ordering::SeqCst);
            });
            next(&mut engine).1
        });
        assert!(taken.into_inner());
        let found = outcome.fault.unwrap_or_else(|| panic!("{way:?}: {outcome:?}"));
        assert!(ScsiStatus::fault_is_gone(&found.status), "{way:?}: {found:?}");
        assert!(outcome.done < LEN as u64 && found.at == outcome.done, "{way:?}: {outcome:?}");
        let done = usize::try_from(outcome.done).unwrap();
        assert!(memory.bytes()[..done] == bytes[..done], "{way:?}");
        // Nothing hangs later either.
        let (_, outcome) = read(&mut engine, file, &disk, FREE, PAGE);
        assert!(
            outcome.fault.is_some_and(|fault| ScsiStatus::fault_is_gone(&fault.status)),
            "{way:?}: {outcome:?}"
        );
        assert!(flush(&mut engine, file).is_some());
        drop(engine);
        drop(disk);
        fs::write("/sys/class/scsi_host/host0/scan", "0 3 0").unwrap();
        device(OTHER);
    }
}

/// `SG_IO` of `/dev/sg` would leave its command behind at a signal, and the device would write to memory that is somebody else's.
#[test]
fn a_signal_leaves_no_command_behind() {
    const NAME: &str = "scsi_generic::faults::a_signal_leaves_no_command_behind";
    or_skip!(NAME, in_lab("scsi"));
    let bytes = content(PAGE);
    fill(&node(DISK, NodeKind::Block), FREE, &bytes);
    for way in WAYS {
        let disk = way.open();
        let _late = Setting::new("ndelay", "500000000");
        let answered = crate::signalled::while_signalled(|| {
            let mut memory = vec![0; PAGE];
            let cdb = bulkio::device::scsi::Cdb::read(FREE / 512, 8);
            let door = disk.door();
            let came = bulkio::device::scsi::ask(&**door, &cdb, &mut memory, PAGE, Duration::from_secs(30));
            (came, memory)
        });
        assert_eq!(answered.0, Ok(PAGE), "{way:?}");
        assert!(answered.1 == bytes, "{way:?}");
    }
}

#[test]
fn a_disk_that_is_write_protected_is_not_opened_for_writing() {
    const NAME: &str = "scsi_generic::faults::a_disk_that_is_write_protected_is_not_opened_for_writing";
    or_skip!(NAME, in_lab("scsi"));
    let protect = |on: &str| fs::write("/sys/module/scsi_debug/parameters/wp", on).unwrap();
    for way in WAYS {
        let writing = way.open();
        let node = node(DISK, way.kind());
        protect("1");
        let refused = Disk::open(&node, &DiskOptions { writes: true, ..DiskOptions::default() });
        let reading = Disk::open(&node, &DiskOptions::default());
        // One that is open already is told by the device.
        let mut engine = engine(4);
        let file = writing.add_to(&mut engine).unwrap();
        let memory = Quarantine::default().take(PAGE);
        engine.submit(file, memory.request(&[(0, PAGE)], ToDevice, At(FREE)), writing.limits()).unwrap();
        let outcome = next(&mut engine).1;
        protect("0");
        assert_eq!(refused.unwrap_err(), OpenError::WriteProtected { path: node });
        assert_eq!(reading.unwrap().facts().is_write_protected, Some(true), "{way:?}");
        let status = outcome.fault.and_then(|fault| ScsiStatus::of_fault(&fault.status)).unwrap();
        assert!(status.is_write_protected() && outcome.done == 0, "{way:?}: {status}");
    }
}
