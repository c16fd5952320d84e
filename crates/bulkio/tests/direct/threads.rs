//! Several threads on one file: each call has what it needs for itself, and writes that touch the same block keep each other's bytes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bulkio::direct::File;

use crate::or_skip;
use crate::support::{ALL, BLOCKS, Ext4, io};

#[test]
fn threads_write_parts_of_the_same_blocks() {
    const NAME: &str = "threads_write_parts_of_the_same_blocks";
    const WRITERS: u64 = 6;
    const STRIPE: u64 = 100;
    for block in BLOCKS {
        let ext4 = or_skip!(NAME, Ext4::new(block));
        for engine in ALL {
            let path = ext4.mounted.path().join(format!("{engine}"));
            let len = WRITERS * STRIPE * 20;
            fs::write(&path, vec![0xff; len as usize]).expect("written");
            let io = io(engine);
            let shared = File::options().write(true).io(&io).open(&path).expect("opens");
            thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let (io, path, shared) = (&io, &path, &shared);
                    scope.spawn(move || {
                        // Some over one file, some over their own: the lock is the inode's.
                        let own = File::options().write(true).io(io).open(path).expect("opens");
                        let file = if writer % 2 == 0 { shared } else { &own };
                        for round in 1..=5_u8 {
                            for stripe in (writer..len / STRIPE).step_by(WRITERS as usize) {
                                let bytes = [round * 10 + writer as u8; STRIPE as usize];
                                file.write_all_at(&bytes, stripe * STRIPE).expect("writes");
                            }
                        }
                    });
                }
            });
            let seen = fs::read(&path).expect("others read");
            for (number, stripe) in seen.chunks(STRIPE as usize).enumerate() {
                let writer = (number as u64 % WRITERS) as u8;
                assert!(
                    stripe.iter().all(|byte| *byte == 50 + writer),
                    "{engine}, block {block}: stripe {number}"
                );
            }
        }
    }
}

#[test]
fn nobody_sees_a_size_that_is_too_long() {
    const NAME: &str = "nobody_sees_a_size_that_is_too_long";
    for block in BLOCKS {
        let ext4 = or_skip!(NAME, Ext4::new(block));
        for engine in ALL {
            let path = ext4.mounted.path().join(format!("{engine}"));
            let file = File::options().write(true).create(true).io(&io(engine)).open(&path).expect("opens");
            // The end of the write that is under way: set before it begins.
            let (end, over) = (AtomicU64::new(0), AtomicBool::new(false));
            thread::scope(|scope| {
                let observer = scope.spawn(|| {
                    let mut looks = 0_u64;
                    while !over.load(Ordering::SeqCst) {
                        let size = fs::metadata(&path).expect("is there").len();
                        let allowed = end.load(Ordering::SeqCst);
                        assert!(
                            size <= allowed,
                            "{engine}, block {block}: {size} bytes, written were {allowed}"
                        );
                        looks += 1;
                    }
                    looks
                });
                let mut at = 0;
                for number in 0..300_u64 {
                    let bytes = vec![1; 1 + (number * 977 % 9000) as usize];
                    end.store(at + bytes.len() as u64, Ordering::SeqCst);
                    file.write_all_at(&bytes, at).expect("writes");
                    at += bytes.len() as u64;
                    assert_eq!(file.len().expect("is asked"), at);
                }
                over.store(true, Ordering::SeqCst);
                assert!(observer.join().expect("no size was too long") > 0);
            });
        }
    }
}
