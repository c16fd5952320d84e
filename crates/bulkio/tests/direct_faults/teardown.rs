//! A driver that goes while operations are held: it waits for them as long as it may, and past that it leaks what the device may still
//! write to, and says so.
#![expect(unsafe_code, reason = "ends a process without looking for leaks")]

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use scatterlist::Direction::FromDevice;

use crate::faulty::{Answer, Child, FaultyFs, Quarantine, Rule};
use crate::or_skip;
use crate::support::{Place, block_on, content, each, failed, files, lease, poll_once};

const LEN: usize = 3 << 20;

/// Aligned, congruent, crooked: position, place in the memory, bytes.
const READS: [(usize, usize, usize); 3] = [(0, 0, 65_536), (100, 100, 65_536), (300_100, 101, 65_536)];

/// One that is not wholly under way before its first part has come, from a ragged block on.
const LONG: (usize, usize, usize) = (500_100, 101, 2 << 20);

fn one_file() -> Result<FaultyFs, String> {
    files(LEN)
}

#[test]
fn a_dropped_driver_waits_for_the_device_and_tells_what_came() {
    const NAME: &str = "teardown::a_dropped_driver_waits_for_the_device_and_tells_what_came";
    let fs = or_skip!(NAME, one_file());
    each(NAME, |kind| {
        // Four jobs, and one that never starts.
        let driver = kind.driver_with(|options| options.depth = 4);
        let (quarantine, held) = (Quarantine::default(), fs.file(0));
        let file = kind.open_with(&driver, held.path());
        held.add(Rule::reads().hold());
        let reads = [READS[0], READS[1], READS[2], LONG];
        let memories = reads.map(|(_, at, len)| quarantine.take(at + len));
        let mut futures: Vec<_> = reads
            .iter()
            .zip(&memories)
            .map(|(&(offset, at, len), memory)| file.read(lease(memory, &[(at, len)]), offset as u64))
            .collect();
        assert!(futures.iter_mut().all(|read| poll_once(read).is_pending()));
        held.wait_held(4);
        let mut fifth = file.read(vec![0_u8; 512], 0);
        assert!(poll_once(&mut fifth).is_pending());
        let (dropping, told) = mpsc::channel();
        let (gate, shelf) = (held.clone(), quarantine.clone());
        let opener = thread::spawn(move || {
            told.recv().unwrap();
            // Refused when the driver goes: it asks that all others end, next.
            block_on(fifth).0.unwrap_err();
            // However far the drop has come: the memory is there until the answers are.
            let before = (shelf.alive(), shelf.freed());
            gate.open_gate();
            before
        });
        dropping.send(()).unwrap();
        drop(driver);
        assert_eq!(opener.join().unwrap(), (4, 0));
        // Each future is over, and what it says was moved is there.
        for ((read, memory), (offset, at, len)) in futures.into_iter().zip(&memories).zip(reads) {
            let (result, lent) = block_on(read);
            let moved = match result {
                Ok(moved) => {
                    assert_eq!(moved.bytes, len as u64);
                    moved
                }
                // What was wholly under way ends as if nobody had asked.
                Err(error) => {
                    assert_eq!(error.kind.errno(), Some(libc::ECANCELED), "{error}");
                    assert_eq!(offset, LONG.0, "{error}");
                    error.moved
                }
            };
            let done = moved.bytes as usize;
            assert!(
                memory.bytes()[at..at + done] == content(LEN)[offset..offset + done],
                "{done} of {len} bytes at {offset} were moved, it says"
            );
            drop(lent);
        }
        drop(memories);
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 4));
        quarantine.check();
    });
}

/// A fault that comes while the driver waits is told as any other.
#[test]
fn a_fault_during_the_drain_is_told() {
    const NAME: &str = "teardown::a_fault_during_the_drain_is_told";
    let fs = or_skip!(NAME, one_file());
    each(NAME, |kind| {
        let (driver, held) = (kind.driver(), fs.file(0));
        let file = kind.open_with(&driver, held.path());
        held.add(Rule::reads().hold());
        let mut read = file.read(vec![0_u8; 4096], 0);
        assert!(poll_once(&mut read).is_pending());
        held.wait_held(1);
        held.add(Rule::reads().errno(libc::EIO));
        let gate = held.clone();
        let opener = thread::spawn(move || gate.refuse_held(libc::EIO));
        drop(driver);
        opener.join().unwrap();
        let (result, bytes) = block_on(read);
        let error = result.unwrap_err();
        let place = Place { offset: 0, len: 4096, shift: 0 };
        assert_eq!(failed_or_cancelled(&error, place), 0);
        assert_eq!(bytes.len(), 4096);
        held.clear_rules();
    });
}

/// Returns where the read ended.
fn failed_or_cancelled(error: &bulkio::direct::TransferError, place: Place) -> usize {
    if error.kind.errno() == Some(libc::ECANCELED) {
        return error.moved.bytes as usize;
    }
    let failed = failed(error, FromDevice, place);
    assert_eq!(failed.errno, libc::EIO);
    failed.at
}

#[test]
fn memory_past_the_drain_bound_is_a_leak_and_not_freed() {
    const NAME: &str = "teardown::memory_past_the_drain_bound_is_a_leak_and_not_freed";
    let fs = or_skip!(NAME, one_file());
    if let Some(child) = Child::of(NAME) {
        let ended = child.end();
        assert!(ended.status.success(), "{}", ended.status);
        let mut said = ended.said.lines().filter(|line| line.starts_with("bulkio: "));
        each(NAME, |kind| {
            let line = said.next().expect("a driver that leaks says so");
            assert!(line.contains("did not end within 20ms"), "{}: {line}", kind.name);
            assert!(line.contains("are leaked"), "{}: {line}", kind.name);
        });
        assert_eq!(said.next(), None);
        return;
    }
    each(NAME, |kind| {
        let (quarantine, held) = (Quarantine::default(), fs.file(0));
        let driver = kind.driver_with(|options| options.drain_max = Duration::from_millis(20));
        let file = kind.open_with(&driver, held.path());
        held.add(Rule::reads().hold());
        let mut reads: Vec<_> = READS
            .iter()
            .map(|&(offset, at, len)| {
                file.read(lease(&quarantine.take(at + len), &[(at, len)]), offset as u64)
            })
            .collect();
        assert!(reads.iter_mut().all(|read| poll_once(read).is_pending()));
        held.wait_held(3);
        drop(driver);
        assert_eq!((quarantine.alive(), quarantine.freed(), held.held()), (3, 0, 3));
        assert!(reads.iter_mut().all(|read| poll_once(read).is_pending()));
        drop((reads, file));
        assert_eq!((quarantine.alive(), quarantine.freed()), (3, 0));
        held.open_gate();
        // The answers went somewhere: into memory that is still owned, for there is no other.
        quarantine.check();
        assert_eq!((quarantine.alive(), quarantine.freed()), (3, 0));
        let seen = held.take_seen();
        let answered =
            seen.iter().filter(|seen| matches!(seen.answer, Answer::Bytes(bytes) if bytes >= 65_536));
        assert!(answered.count() >= 3, "{seen:?}");
    });
    // What the driver's thread made and leaked has no name of this test in its history.
    // SAFETY: no conditions; everything that was to be seen has been.
    unsafe { libc::_exit(0) };
}
