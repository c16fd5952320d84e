//! Futures whose read is held at the gate: dropped, cancelled, their file closed. The memory belongs to the driver until the device
//! has answered, and to nobody afterwards.

use std::time::{Duration, Instant};

use crate::faulty::{FaultyFs, Quarantine, Rule};
use crate::or_skip;
use crate::support::{BOUNCE_LEN, block_on, content, descriptors, each, lease, poll_once, round_trip};

const LEN: usize = 1 << 20;

/// Pieces of memory: on page boundaries, congruent with the position 100, and neither.
const PLACES: [(u64, usize, usize); 3] = [(0, 0, 65_536), (100, 100, 65_536), (100, 101, 65_536)];

/// A file to hold reads of, and one for everything else.
fn two_files() -> Result<FaultyFs, String> {
    FaultyFs::new(vec![content(LEN), content(LEN)])
}

#[test]
fn a_dropped_future_leaves_its_memory_with_the_driver() {
    const NAME: &str = "held::a_dropped_future_leaves_its_memory_with_the_driver";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (driver, quarantine, held) = (kind.driver(), Quarantine::default(), fs.file(0));
        let (file, free) = (kind.open_with(&driver, held.path()), kind.open_with(&driver, fs.file(1).path()));
        held.add(Rule::reads().hold());
        let mut reads: Vec<_> = PLACES
            .iter()
            .map(|&(offset, at, len)| file.read(lease(&quarantine.take(2 * len), &[(at, len)]), offset))
            .collect();
        assert!(reads.iter_mut().all(|read| poll_once(read).is_pending()));
        held.wait_held(3);
        drop(reads);
        round_trip(&free);
        assert_eq!((quarantine.alive(), quarantine.freed(), held.held()), (3, 0, 3));
        held.open_gate();
        drop((driver, file, free));
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 3));
        quarantine.check();
    });
}

/// Where the device can be asked to give up, the read ends, and the memory is free, with the gate closed.
#[test]
fn a_dropped_future_ends_a_read_that_the_device_gives_up() {
    const NAME: &str = "held::a_dropped_future_ends_a_read_that_the_device_gives_up";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (driver, quarantine, held) = (kind.driver(), Quarantine::default(), fs.file(0));
        let (file, free) = (kind.open_with(&driver, held.path()), kind.open_with(&driver, fs.file(1).path()));
        held.add(Rule::reads().hold());
        let mut read = file.read(lease(&quarantine.take(4096), &[(0, 4096)]), 0);
        assert!(poll_once(&mut read).is_pending());
        held.wait_held(1);
        drop(read);
        held.refuse_held(libc::EINTR);
        // An interrupted operation of a job that is to end is not begun again.
        round_trip(&free);
        assert_eq!(held.held(), 0);
        drop((driver, file, free));
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
        quarantine.check();
        held.open_gate();
    });
}

#[test]
fn a_cancelled_read_issues_nothing_more() {
    const NAME: &str = "held::a_cancelled_read_issues_nothing_more";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let driver = kind.driver_with(|options| options.bounce_len = 16 << 10);
        let (quarantine, held) = (Quarantine::default(), fs.file(0));
        let small = |file: &crate::faulty::FaultyFile| {
            let mut options = kind.options();
            options.bounce_len = 16 << 10;
            let io = bulkio::direct::Io::new(options).unwrap();
            driver.file(crate::support::open(&io, file.path())).unwrap()
        };
        let (file, free) = (small(held), small(fs.file(1)));
        held.take_seen();
        held.add(Rule::reads().hold());
        // Copied, in 32 operations, of which as many are under way as there are slots.
        let memory = quarantine.take(LEN);
        let mut read = file.read(lease(&memory, &[(1, 32 * (16 << 10))]), 0);
        assert!(poll_once(&mut read).is_pending());
        held.wait_held(4);
        drop((read, memory));
        let (result, _) = block_on(free.read(lease(&quarantine.take(4096), &[(0, 4096)]), 0));
        assert_eq!(result.unwrap().bytes, 4096);
        held.open_gate();
        drop((driver, file, free));
        assert_eq!(held.take_seen().len(), 4);
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 2));
        quarantine.check();
    });
}

#[test]
fn a_file_closed_in_flight_is_open_until_the_read_is_over() {
    const NAME: &str = "held::a_file_closed_in_flight_is_open_until_the_read_is_over";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        for (offset, at, len) in PLACES {
            let (driver, quarantine, held) = (kind.driver(), Quarantine::default(), fs.file(0));
            let file = kind.open_with(&driver, held.path());
            held.add(Rule::reads().hold());
            let memory = quarantine.take(2 * len);
            let mut read = file.read(lease(&memory, &[(at, len)]), offset);
            assert!(poll_once(&mut read).is_pending());
            held.wait_held(1);
            drop(file);
            assert!(descriptors(held) > 0);
            held.open_gate();
            let (result, lent) = block_on(read);
            assert_eq!(result.unwrap().bytes, len as u64);
            let from = offset as usize;
            assert!(memory.bytes()[at..at + len] == content(LEN)[from..from + len]);
            drop((lent, memory));
            assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
            quarantine.check();
            // The driver keeps nothing of a file that nobody has.
            drop(driver);
            assert_eq!(descriptors(held), 0);
        }
    });
}

/// As above, and the future is gone too: the driver is the last to know the file.
#[test]
fn a_file_that_only_the_driver_knows_is_closed_by_it() {
    const NAME: &str = "held::a_file_that_only_the_driver_knows_is_closed_by_it";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (driver, quarantine, held) = (kind.driver(), Quarantine::default(), fs.file(0));
        let (file, free) = (kind.open_with(&driver, held.path()), kind.open_with(&driver, fs.file(1).path()));
        held.add(Rule::reads().hold());
        let mut read = file.read(lease(&quarantine.take(4096), &[(0, 4096)]), 0);
        assert!(poll_once(&mut read).is_pending());
        held.wait_held(1);
        drop((file, read));
        round_trip(&free);
        assert!(descriptors(held) > 0);
        held.open_gate();
        // The thread that has the answer, the kernel's own for a ring, may need a moment to let go: ask until it has.
        let deadline = Instant::now() + Duration::from_secs(20);
        while descriptors(held) > 0 || quarantine.alive() > 0 {
            round_trip(&free);
            assert!(Instant::now() < deadline, "the file stays open, or its memory");
        }
        assert_eq!((quarantine.alive(), quarantine.freed()), (0, 1));
        drop(driver);
        quarantine.check();
    });
}

/// A read in many pieces that was completed by the device in the wrong order.
#[test]
fn answers_in_the_wrong_order_put_every_byte_in_its_place() {
    const NAME: &str = "held::answers_in_the_wrong_order_put_every_byte_in_its_place";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (driver, quarantine, held) = (kind.driver(), Quarantine::default(), fs.file(0));
        let file = kind.open_with(&driver, held.path());
        held.add(Rule::reads().hold());
        let memory = quarantine.take(LEN);
        let len = 3 * BOUNCE_LEN - 777;
        let mut read = file.read(lease(&memory, &[(1, len)]), 300);
        assert!(poll_once(&mut read).is_pending());
        held.wait_held(3);
        for _ in 0..3 {
            let last = held.held_at().into_iter().max().unwrap();
            held.free_at(last);
        }
        held.open_gate();
        let (result, _lent) = block_on(read);
        assert_eq!(result.unwrap().bytes, len as u64);
        assert!(memory.bytes()[1..=len] == content(LEN)[300..300 + len]);
        assert!(memory.bytes()[0] == 0 && memory.bytes()[len + 1..].iter().all(|byte| *byte == 0));
    });
}
