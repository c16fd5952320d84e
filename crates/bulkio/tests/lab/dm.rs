//! Block devices that are late (dm-delay) and that fail in a window (dm-flakey), over RAM disks.
//!
//! A late device is a gate: it holds what it gets for longer than any test runs, and lets it go when it is suspended. So nothing here
//! depends on how fast the machine is.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bulkio::copy::{CopyOptions, End, Silent, copy};
use bulkio::direct::{File, TransferErrorKind};
use bulkio::engine::EngineOptions;
use scatterlist::Direction::FromDevice;
use scatterlist::Outcome;
use scatterlist::Position::At;

use crate::faulty::Quarantine;
use crate::or_skip;
use crate::support::{
    ENGINES, Mapper, TestEngine, add, content, direct_of, engine, engine_with, errno, fault, fill, in_lab,
    next,
};

/// Bytes and sectors of each device.
const LEN: usize = 1 << 18;
const SECTORS: u64 = (LEN as u64) / 512;

/// Longer than a group may take.
const HELD_MS: u64 = 3_600_000;

const DISK: &str = "/dev/ram0";

/// A part of the RAM disk that no other test has, with content: its first sector.
fn part() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let start = NEXT.fetch_add(SECTORS, Ordering::Relaxed);
    fill(Path::new(DISK), start * 512, &content(LEN));
    start
}

/// A device that holds reads until it is suspended.
fn gate(name: &str) -> Mapper {
    Mapper::new(name, &format!("0 {SECTORS} delay {DISK} {} {HELD_MS}\n", part()))
}

/// Submits three reads of 4 KiB, and returns when the device has them.
fn read_held(engine: &mut TestEngine, gate: &Mapper, quarantine: &Quarantine) {
    let id = add(engine, &gate.node());
    let memory = quarantine.take(LEN);
    for at in [0, 8192, 65_536] {
        let request = memory.request(&[(at, 4096)], FromDevice, At(at as u64));
        engine.submit(id, request, &direct_of(4096)).unwrap();
    }
    engine.start().unwrap();
    gate.wait_held(3);
}

#[test]
fn a_copy_between_late_devices_keeps_both_sides_at_depth() {
    const NAME: &str = "dm::a_copy_between_late_devices_keeps_both_sides_at_depth";
    or_skip!(NAME, in_lab("dm"));
    let late = |name: &str, disk: &str| Mapper::new(name, &format!("0 32768 delay {disk} 0 20\n"));
    let bytes = content(16 << 20);
    fill(Path::new("/dev/ram2"), 0, &bytes);
    let (from, to) = (late("busy-from", "/dev/ram2"), late("busy-to", "/dev/ram3"));
    let options = CopyOptions { depth: 3.into(), block_len: (256 << 10).into(), ..CopyOptions::default() };
    let report = copy(End::Path(&from.node()), End::Path(&to.node()), &options, &mut Silent).unwrap();
    assert_eq!((report.source.in_flight_max, report.destination.in_flight_max), (3, 3), "{report:?}");
    assert!(std::fs::read("/dev/ram3").unwrap() == bytes);
}

#[test]
fn cancelled_reads_keep_their_memory_until_the_device_answers() {
    const NAME: &str = "dm::cancelled_reads_keep_their_memory_until_the_device_answers";
    or_skip!(NAME, in_lab("dm"));
    for kind in ENGINES {
        let (gate, quarantine) = (gate(&format!("cancelled-{kind}")), Quarantine::default());
        let mut engine = engine(kind);
        read_held(&mut engine, &gate, &quarantine);
        engine.cancel();
        assert!(engine.poll().unwrap().is_none(), "{kind}: the device did not answer yet");
        assert_eq!(quarantine.alive(), 1);
        gate.suspend();
        for _ in 0..3 {
            let (request, outcome) = next(&mut engine);
            let At(position) = request.position() else { panic!("no position") };
            assert_eq!(outcome, Outcome::whole(4096), "{kind}");
            let at = usize::try_from(position).unwrap();
            let memory = request.complete(outcome).into_owners().next().unwrap();
            assert!(memory.bytes()[at..at + 4096] == content(LEN)[at..][..4096], "{kind}");
        }
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
        quarantine.check();
    }
}

#[test]
fn an_engine_dropped_with_reads_in_flight_waits_for_the_device() {
    const NAME: &str = "dm::an_engine_dropped_with_reads_in_flight_waits_for_the_device";
    or_skip!(NAME, in_lab("dm"));
    for kind in ENGINES {
        let (gate, quarantine) = (gate(&format!("dropped-{kind}")), Quarantine::default());
        let mut engine = engine_with(EngineOptions {
            kind,
            drain_max: Duration::from_secs(120),
            ..EngineOptions::default()
        });
        read_held(&mut engine, &gate, &quarantine);
        let shelf = quarantine.clone();
        let (dropping, told) = mpsc::channel();
        let opener = std::thread::spawn(move || {
            told.recv().unwrap();
            // However far the drop has come.
            let before = shelf.alive();
            gate.suspend();
            (before, gate)
        });
        dropping.send(()).unwrap();
        drop(engine);
        let (before, _gate) = opener.join().unwrap();
        assert_eq!((before, quarantine.alive(), quarantine.freed()), (1, 0, 1), "{kind}");
        quarantine.check();
    }
}

#[test]
fn memory_of_reads_past_the_drain_bound_is_leaked_and_not_freed() {
    const NAME: &str = "dm::memory_of_reads_past_the_drain_bound_is_leaked_and_not_freed";
    or_skip!(NAME, in_lab("dm"));
    for kind in ENGINES {
        let (gate, quarantine) = (gate(&format!("leaked-{kind}")), Quarantine::default());
        let mut engine = engine_with(EngineOptions {
            kind,
            drain_max: Duration::from_millis(50),
            ..EngineOptions::default()
        });
        read_held(&mut engine, &gate, &quarantine);
        drop(engine);
        assert_eq!((quarantine.alive(), quarantine.freed()), (1, 0), "{kind}");
        // The bytes go somewhere: into memory that is still owned.
        gate.suspend();
        quarantine.check();
        assert_eq!((quarantine.alive(), quarantine.freed()), (1, 0), "{kind}");
    }
}

/// The first sector that fails, and how many.
const BAD: u64 = 100;
const BAD_SECTORS: u64 = 8;

/// A device that fails from [`BAD`] on, and the table by which it does not.
fn flawed(name: &str) -> (Mapper, String) {
    let start = part();
    let (after, rest) = (BAD + BAD_SECTORS, SECTORS - BAD - BAD_SECTORS);
    let table = format!(
        "0 {BAD} linear {DISK} {start}\n\
         {BAD} {BAD_SECTORS} flakey {DISK} {} 0 3600\n\
         {after} {rest} linear {DISK} {}\n",
        start + BAD,
        start + after
    );
    (Mapper::new(name, &table), format!("0 {SECTORS} linear {DISK} {start}\n"))
}

#[test]
fn a_window_of_errors_is_told_with_its_position() {
    const NAME: &str = "dm::a_window_of_errors_is_told_with_its_position";
    const ASKED: u64 = 65_536;
    or_skip!(NAME, in_lab("dm"));
    for kind in ENGINES {
        let (device, good) = flawed(&format!("window-{kind}"));
        let memory = Quarantine::default().take(LEN);
        let read = |len: u64| {
            let mut engine = engine(kind);
            let id = add(&mut engine, &device.node());
            let request = memory.request(&[(0, ASKED as usize)], FromDevice, At(0));
            engine.submit(id, request, &direct_of(len)).unwrap();
            next(&mut engine).1
        };
        // An operation fails as a whole, so the position is as exact as operations are short.
        for (len, done) in [(512, BAD * 512), (4096, BAD * 512 / 4096 * 4096), (ASKED, 0)] {
            let outcome = read(len);
            assert_eq!(
                outcome,
                Outcome { asked: ASKED, done, fault: fault(done, libc::EIO) },
                "{kind}, {len}"
            );
            let done = usize::try_from(done).unwrap();
            assert!(memory.bytes()[..done] == content(LEN)[..done], "{kind}");
        }
        device.replace(&good);
        assert_eq!(read(4096), Outcome::whole(ASKED), "{kind}: the window is over");
        assert!(memory.bytes()[..ASKED as usize] == content(LEN)[..ASKED as usize], "{kind}");
    }
}

#[test]
fn direct_reads_tell_the_operation_that_failed() {
    const NAME: &str = "dm::direct_reads_tell_the_operation_that_failed";
    or_skip!(NAME, in_lab("dm"));
    let (device, _) = flawed("direct");
    let file = Arc::new(File::open(device.node()).unwrap());
    let mut bad = Vec::new();
    for sector in BAD - 4..BAD + BAD_SECTORS + 4 {
        let (mut bytes, at) = ([0; 512], sector * 512);
        match file.read(&mut bytes, at) {
            Ok(moved) => {
                assert_eq!(moved.bytes, 512);
                let at = usize::try_from(at).unwrap();
                assert!(bytes == content(LEN)[at..at + 512]);
            }
            Err(error) => {
                let kind = TransferErrorKind::Fault { status: errno(libc::EIO), at, bytes: 512, done: 0 };
                assert_eq!(error.kind, kind);
                bad.push(sector);
            }
        }
    }
    assert_eq!(bad, (BAD..BAD + BAD_SECTORS).collect::<Vec<_>>());
}
