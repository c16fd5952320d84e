//! The bounded queue in front of a driver: what waits in it, what waits for it, and what becomes of both when somebody leaves.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bulkio::direct::{AsyncFile, Driver, TransferErrorKind};

use crate::faulty::{FaultyFs, Quarantine, Rule};
use crate::or_skip;
use crate::support::{Kind, block_on, content, each, files, lease, poll_once};

const LEN: usize = 1 << 20;

/// Jobs that wait in front of a driver, at most.
const QUEUE_MAX: usize = 256;

const PATIENCE: Duration = Duration::from_secs(20);

/// A driver for one job at a time.
fn narrow(kind: Kind, fs: &FaultyFs) -> (Driver, AsyncFile) {
    let driver = kind.driver_with(|options| options.depth = 1);
    let file = kind.open_with(&driver, fs.file(0).path());
    fs.file(0).take_seen();
    fs.file(0).add(Rule::reads().hold());
    (driver, file)
}

#[test]
fn a_future_that_never_started_gives_its_memory_back_when_it_is_dropped() {
    const NAME: &str = "queue::a_future_that_never_started_gives_its_memory_back_when_it_is_dropped";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let ((driver, file), quarantine) = (narrow(kind, &fs), Quarantine::default());
        let read = |at: u64| file.read(lease(&quarantine.take(4096), &[(0, 4096)]), at);
        let mut first = read(0);
        assert!(poll_once(&mut first).is_pending());
        fs.file(0).wait_held(1);
        let mut queued: Vec<_> = (1..6).map(|number| read(number * 4096)).collect();
        assert!(queued.iter_mut().all(|read| poll_once(read).is_pending()));
        let never_polled = read(0);
        assert_eq!(quarantine.alive(), 7);
        drop(never_polled);
        queued.drain(1..4);
        // Nobody waited for the device.
        assert_eq!((quarantine.alive(), quarantine.freed(), fs.file(0).held()), (3, 4, 1));
        fs.file(0).open_gate();
        for read in [first].into_iter().chain(queued) {
            assert_eq!(block_on(read).0.unwrap().bytes, 4096);
        }
        let mut seen: Vec<u64> = fs.file(0).take_seen().iter().map(|seen| seen.at).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 4096, 5 * 4096]);
        drop(driver);
        assert_eq!(quarantine.alive(), 0);
        quarantine.check();
    });
}

#[test]
fn a_driver_dropped_with_queued_futures_gives_their_memory_back() {
    const NAME: &str = "queue::a_driver_dropped_with_queued_futures_gives_their_memory_back";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let ((driver, file), quarantine) = (narrow(kind, &fs), Quarantine::default());
        let read = || file.read(lease(&quarantine.take(512), &[(0, 512)]), 0);
        let mut first = read();
        assert!(poll_once(&mut first).is_pending());
        fs.file(0).wait_held(1);
        let mut queued: Vec<_> = (0..QUEUE_MAX).map(|_| read()).collect();
        assert!(queued.iter_mut().all(|read| poll_once(read).is_pending()));
        // These find no room.
        let (tell, told) = mpsc::channel();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (mut read, tell) = (read(), tell.clone());
                assert!(poll_once(&mut read).is_pending());
                thread::spawn(move || tell.send(block_on(read).0))
            })
            .collect();
        let dropping = thread::spawn(move || drop(driver));
        // Those that wait for room or in the queue are told at once, whatever the device does.
        for _ in &waiting {
            let result = told.recv_timeout(PATIENCE).expect("whoever waits for room is woken");
            assert_eq!(result.unwrap_err().kind, TransferErrorKind::Closed);
        }
        for read in queued {
            let (result, lent) = block_on(read);
            assert_eq!(result.unwrap_err().kind, TransferErrorKind::Closed);
            assert_eq!(lent.list().len_bytes(), 512);
        }
        waiting.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        assert_eq!((quarantine.alive(), fs.file(0).held()), (1, 1));
        assert!(poll_once(&mut first).is_pending());
        fs.file(0).open_gate();
        dropping.join().unwrap();
        let (result, lent) = block_on(first);
        assert!(result.is_ok() || result.unwrap_err().kind.errno() == Some(libc::ECANCELED));
        drop(lent);
        assert_eq!(fs.file(0).take_seen().len(), 1);
        assert_eq!(block_on(read()).0.unwrap_err().kind, TransferErrorKind::Closed);
        assert_eq!(quarantine.alive(), 0);
        quarantine.check();
    });
}

/// Room goes to somebody who is still there.
#[test]
fn futures_that_waited_for_room_and_left_keep_nobody_else_waiting() {
    const NAME: &str = "queue::futures_that_waited_for_room_and_left_keep_nobody_else_waiting";
    let fs = or_skip!(NAME, files(LEN));
    each(NAME, |kind| {
        let (driver, file) = narrow(kind, &fs);
        let read = || file.read(vec![0_u8; 512], 0);
        let mut running: Vec<_> = (0..=QUEUE_MAX).map(|_| read()).collect();
        assert!(poll_once(&mut running[0]).is_pending());
        fs.file(0).wait_held(1);
        assert!(running.iter_mut().all(|read| poll_once(read).is_pending()));
        // More than there will ever be room for in one go, each with a waker of its own.
        for _ in 0..2 * QUEUE_MAX {
            let mut gone = read();
            let _ = block_on(std::future::poll_fn(|context| {
                std::task::Poll::Ready(std::pin::Pin::new(&mut gone).poll(context).is_pending())
            }));
        }
        let (tell, told) = mpsc::channel();
        let (began, begun) = mpsc::channel();
        let mut last = read();
        let waiting = thread::spawn(move || {
            let mut first = true;
            let result = block_on(std::future::poll_fn(|context| {
                let poll = std::pin::Pin::new(&mut last).poll(context);
                if std::mem::take(&mut first) {
                    began.send(poll.is_pending()).unwrap();
                }
                poll
            }));
            tell.send(result.0.map(|moved| moved.bytes))
        });
        assert!(begun.recv_timeout(PATIENCE).unwrap(), "there is no room");
        fs.file(0).open_gate();
        assert_eq!(told.recv_timeout(PATIENCE).expect("it is woken").unwrap(), 512);
        waiting.join().unwrap().unwrap();
        for read in running {
            let (result, bytes) = block_on(read);
            assert_eq!(result.unwrap().bytes, 512);
            assert!(bytes == content(512));
        }
        drop(driver);
    });
}
