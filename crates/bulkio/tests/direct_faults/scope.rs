//! Scopes whose transfers are held: the end of the scope waits for the device, however the closure ended and whatever nobody waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use bulkio::direct::Io;

use crate::faulty::{FaultyFile, FaultyFs, Rule};
use crate::or_skip;
use crate::support::{Kind, content, each, open};

const LEN: usize = 1 << 20;

fn two_files() -> Result<FaultyFs, String> {
    FaultyFs::new(vec![content(LEN), content(LEN)])
}

/// Opens a gate when it goes: a test that fails must not wait for it.
struct OpensAtLast(FaultyFile);

impl Drop for OpensAtLast {
    fn drop(&mut self) {
        self.0.open_gate();
    }
}

/// How the closure of a scope ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Returns,
    Panics,
    ClosesItsFile,
}

fn held_scope(kind: Kind, fs: &FaultyFs, end: End) {
    let (held, io) = (fs.file(0), kind.io());
    let (opened, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    // Opening looks at a file, and is not what is to be held.
    let file = open(&io, held.path());
    held.add(Rule::reads().hold());
    let other = open(&io, fs.file(1).path());
    thread::scope(|threads| {
        let _gate = OpensAtLast(held.clone());
        let (opened, ended, io, other) = (&opened, &ended, &io, &other);
        let scope_thread = threads.spawn(move || {
            let mut file = Some(file);
            let (mut one, mut two, mut three) = (vec![0_u8; 70_001], vec![0_u8; 8192], [0; 100]);
            let result = catch_unwind(AssertUnwindSafe(|| {
                io.scope(|scope| {
                    let file = &mut file;
                    let _ = scope.read(file.as_ref().unwrap(), &mut one, 4097);
                    let _ = scope.read(file.as_ref().unwrap(), &mut two, 0);
                    // Waiting for another one has everything begun.
                    assert_eq!(scope.read(other, &mut three, 0).wait().unwrap().bytes, 100);
                    tell.send(()).unwrap();
                    match end {
                        End::Returns => {}
                        End::Panics => panic!("on purpose"),
                        End::ClosesItsFile => *file = None,
                    }
                })
            }));
            // The gate was open before this thread could come here.
            assert!(opened.load(Ordering::SeqCst), "{end:?}: the scope ended before the device");
            ended.store(true, Ordering::SeqCst);
            assert_eq!(result.is_err(), end == End::Panics);
            if let Ok(result) = result {
                result.expect("both reads");
                assert!(one == content(LEN)[4097..4097 + 70_001] && two == content(8192), "{end:?}");
            }
        });
        held.wait_held(2);
        told.recv().expect("the closure comes to its end while both reads are held");
        // Time for a scope that does not wait: other work, done by the same engines.
        for at in 0..200 {
            assert_eq!(other.read(&mut [0; 1000], at * 1000).unwrap().bytes, 1000);
        }
        assert!(!ended.load(Ordering::SeqCst), "{end:?}: the scope ended before the device");
        assert_eq!(held.held(), 2);
        opened.store(true, Ordering::SeqCst);
        held.open_gate();
        scope_thread.join().unwrap();
    });
    assert!(ended.load(Ordering::SeqCst));
    // Both channels are good for more.
    reads_all(&io, fs);
}

fn reads_all(io: &Io, fs: &FaultyFs) {
    let mut whole = vec![0; LEN];
    assert_eq!(open(io, fs.file(0).path()).read(&mut whole, 0).unwrap().bytes, LEN as u64);
    assert!(whole == content(LEN));
}

#[test]
fn the_end_of_a_scope_waits_for_the_device() {
    const NAME: &str = "scope::the_end_of_a_scope_waits_for_the_device";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| held_scope(kind, &fs, End::Returns));
}

#[test]
fn a_panic_in_a_scope_waits_for_the_device() {
    const NAME: &str = "scope::a_panic_in_a_scope_waits_for_the_device";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| held_scope(kind, &fs, End::Panics));
}

#[test]
fn a_file_dropped_in_a_scope_stays_open_in_flight() {
    const NAME: &str = "scope::a_file_dropped_in_a_scope_stays_open_in_flight";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| held_scope(kind, &fs, End::ClosesItsFile));
}

/// Transfers of a scope run beside each other, small ones too, also where single calls are plain ones. As many as there are
/// slots, where they are copied.
#[test]
fn small_reads_of_a_scope_are_in_flight_together() {
    const NAME: &str = "scope::small_reads_of_a_scope_are_in_flight_together";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (held, io) = (fs.file(0), kind.io());
        let file = open(&io, held.path());
        held.add(Rule::reads().hold());
        let (together, beside) = (AtomicBool::new(false), held.clone());
        let mut parts: Vec<Vec<u8>> = (0..4).map(|_| vec![0; 4096]).collect();
        thread::scope(|threads| {
            threads.spawn(|| {
                let came = catch_unwind(AssertUnwindSafe(|| beside.wait_held(4)));
                together.store(came.is_ok(), Ordering::SeqCst);
                beside.open_gate();
            });
            io.scope(|scope| {
                for (part, at) in parts.iter_mut().zip((0..).step_by(4096)) {
                    let _ = scope.read(&file, part, at);
                }
            })
            .expect("reads");
        });
        assert!(together.load(Ordering::SeqCst), "{}: one after the other", kind.name);
        assert!(parts.concat() == content(4 * 4096));
    });
}

/// A failed one among several: the error is the scope's, the others are whole.
#[test]
fn a_bad_block_fails_its_own_transfer_of_a_scope() {
    const NAME: &str = "scope::a_bad_block_fails_its_own_transfer_of_a_scope";
    let fs = or_skip!(NAME, two_files());
    each(NAME, |kind| {
        let (bad, io) = (fs.file(0), kind.io());
        let file = open(&io, bad.path());
        bad.add(Rule::reads().touching(8192..8193).errno(libc::EIO));
        let mut parts: Vec<Vec<u8>> = (0..4).map(|_| vec![0; 4096]).collect();
        let result = io.scope(|scope| {
            for (part, at) in parts.iter_mut().zip((0..).step_by(4096)) {
                let _ = scope.read(&file, part, at);
            }
        });
        bad.clear_rules();
        let Err(bulkio::direct::ScopeError::Transfer(error)) = result else { panic!("{result:?}") };
        assert_eq!((error.offset, error.kind.errno()), (8192, Some(libc::EIO)));
        for (number, part) in parts.iter().enumerate().filter(|(number, _)| *number != 2) {
            assert!(*part == content(LEN)[number * 4096..][..4096]);
        }
    });
}
