//! Where something runs out, or would wait for itself: an error with numbers, or patience, and never a wait without end.

use std::fs;
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use bulkio::direct::{Driver, File, Io, IoOptions, TransferErrorKind};
use scatterlist::Status;

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{ALL, ENGINES, block_on, io};

#[test]
fn a_scope_refuses_files_whose_copies_are_longer_than_its_slots() {
    const NAME: &str = "a_scope_refuses_files_whose_copies_are_longer_than_its_slots";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    fs::write(&path, vec![3; 1 << 20]).expect("written");
    for engine in ENGINES {
        let mut options = IoOptions::default();
        options.engine = engine;
        let long = Io::new(options).expect("an engine");
        let short = io(engine);
        let file = File::options().read(true).io(&long).open(&path).expect("opens");
        let mut bytes = vec![0; 1 << 20];
        let error = short.scope(|scope| scope.read(&file, &mut bytes[1..], 0).wait()).expect("told there");
        let kind = error.expect_err("its slots are too short").kind;
        assert_eq!(kind, TransferErrorKind::Slots { needed: 256 << 10, there: 16 << 10 });
        // The other way round they are long enough.
        let file = File::options().read(true).io(&short).open(&path).expect("opens");
        let moved = long.scope(|scope| scope.read(&file, &mut bytes[1..], 0).wait()).expect("no fault");
        assert_eq!(moved.expect("reads").bytes, (1 << 20) - 1);
    }
}

#[test]
fn a_write_to_what_the_own_scope_writes_is_refused_and_not_waited_for() {
    const NAME: &str = "a_write_to_what_the_own_scope_writes_is_refused_and_not_waited_for";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let path = folder.path().join(format!("{engine}"));
        fs::write(&path, vec![0; 20_000]).expect("written");
        let io = io(engine);
        let file = File::options().write(true).io(&io).open(&path).expect("opens");
        let other = File::options().write(true).io(&io).open(&path).expect("opens");
        let bytes = [7; 100];
        io.scope(|scope| {
            // A ragged one: it has its block at least until the scope is used again.
            let first = scope.write(&file, &bytes, 100);
            let error = other.write(&bytes, 300).expect_err("it would wait for itself");
            let deadlock = Status::Errno(libc::EDEADLK.unsigned_abs());
            assert!(
                matches!(error.kind, TransferErrorKind::Fault { status, .. } if status == deadlock),
                "{error}"
            );
            assert_eq!(other.set_len(5).expect_err("so would this").kind(), ErrorKind::Deadlock);
            // Elsewhere, and in the scope itself, all is well.
            other.write_all_at(&bytes, 9000).expect("another page");
            let second = scope.write(&file, &bytes, 300);
            assert_eq!(first.wait().expect("writes").bytes, 100);
            assert_eq!(second.wait().expect("writes").bytes, 100);
            other.write_all_at(&bytes, 500).expect("the blocks are free");
        })
        .expect("no fault");
        let seen = fs::read(&path).expect("others read");
        let ones = seen.iter().filter(|byte| **byte == 7).count();
        assert_eq!((seen.len(), ones), (20_000, 400), "{engine}");
    }
}

#[test]
fn a_thread_that_has_the_only_channel_is_told_so() {
    const NAME: &str = "a_thread_that_has_the_only_channel_is_told_so";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    fs::write(&path, [1; 100]).expect("written");
    let mut options = IoOptions::default();
    options.channels_max = 1;
    let io = Io::new(options).expect("an engine");
    let file = File::options().read(true).io(&io).open(&path).expect("opens");
    let error =
        io.scope(|_| file.read(&mut [0; 7], 3).expect_err("it has the channel itself")).expect("no fault");
    assert_eq!(error.kind, TransferErrorKind::NoChannel { channels_max: 1, held: 1 });
    // Another thread's calls only take turns.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(file.read_at(&mut [0; 7], 3).expect("reads"), 7);
                }
            });
        }
    });
}

/// More ragged reads than there are slots for: each job takes the two that it needs or none, and none is lost.
#[test]
fn more_ragged_ends_than_slots_take_turns() {
    const NAME: &str = "more_ragged_ends_than_slots_take_turns";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    let whole: Vec<u8> = (0..4_u32 << 20).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &whole).expect("written");
    for engine in ENGINES {
        let mut options = IoOptions::default();
        options.engine = engine;
        options.depth = 64;
        options.bounce_len = 16 << 10;
        let driver = Driver::new(options).expect("a driver");
        let file = File::options().read(true).io(&io(engine)).open(&path).expect("opens");
        let file = driver.file(file).expect("its blocks fit");
        for round in 0..20_usize {
            // A third with one ragged end, the others with two, some of them misaligned.
            let starts: Vec<usize> =
                (0..64).map(|n| n * 40_960 + if (n + round).is_multiple_of(3) { 0 } else { 100 }).collect();
            let mut reads: Vec<_> = starts
                .iter()
                .map(|at| Running::Pending(Box::pin(file.read(vec![0; 30_000], *at as u64))))
                .collect();
            block_on(std::future::poll_fn(|context| poll_all(&mut reads, context)));
            let results = reads.into_iter().map(Running::output);
            for (at, (moved, bytes)) in starts.iter().zip(results) {
                assert_eq!(moved.expect("reads").bytes, 30_000, "{engine}");
                assert!(bytes == whole[*at..*at + 30_000], "{engine}, round {round}: the read at {at}");
            }
        }
    }
}

/// A future, or what came of it.
enum Running<F: Future> {
    Pending(Pin<Box<F>>),
    Over(F::Output),
}

impl<F: Future> Running<F> {
    fn output(self) -> F::Output {
        match self {
            Self::Over(output) => output,
            Self::Pending(_) => panic!("it is not over"),
        }
    }
}

/// Polls all that are not over; ready when all are.
fn poll_all<F: Future>(all: &mut [Running<F>], context: &mut Context<'_>) -> Poll<()> {
    let mut pending = false;
    for one in all {
        if let Running::Pending(future) = one {
            match future.as_mut().poll(context) {
                Poll::Ready(output) => *one = Running::Over(output),
                Poll::Pending => pending = true,
            }
        }
    }
    if pending { Poll::Pending } else { Poll::Ready(()) }
}

#[test]
fn an_opening_that_empties_the_file_waits_for_writes_under_way() {
    const NAME: &str = "an_opening_that_empties_the_file_waits_for_writes_under_way";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ENGINES {
        let path = folder.path().join(format!("{engine}"));
        let io = io(engine);
        let options = File::options().write(true).create(true).io(&io);
        let file = options.open(&path).expect("opens");
        for _ in 0..300 {
            thread::scope(|scope| {
                scope.spawn(|| file.write_all_at(&[9; 100], 50).expect("writes"));
                scope.spawn(|| drop(options.clone().truncate(true).open(&path).expect("opens")));
            });
            // One before the other, whichever: nothing of both.
            let seen = fs::read(&path).expect("others read");
            let written = [vec![0; 50], vec![9; 100]].concat();
            assert!(seen.is_empty() || seen == written, "{engine}: {} bytes", seen.len());
        }
    }
}
