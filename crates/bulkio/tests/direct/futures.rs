//! The asynchronous front: one driver thread, futures that no executor needs to know.

use std::fs;
use std::future::Future;

use scatterlist::{CpuAddr, Lease};

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{ENGINES, block_on, driver, open};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

#[test]
fn what_is_written_is_read_back_with_any_executor() {
    const NAME: &str = "what_is_written_is_read_back_with_any_executor";
    let folder = or_skip!(NAME, storage_dir());
    let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for engine in ENGINES {
        let driver = driver(engine, 8);
        assert_eq!(driver.engine().kind.name(), engine.name());
        let file = open(&driver, &folder.path().join(format!("{engine}")), engine);
        let work = |from: u64| {
            let file = file.clone();
            async move {
                let (moved, sent) = file.write(pattern(70_001), from).await;
                assert_eq!(moved.expect("writes").bytes, 70_001);
                file.sync_data().await.expect("durable");
                let (moved, got) = file.read(vec![0_u8; 70_001].into_boxed_slice(), from).await;
                assert_eq!(moved.expect("reads").bytes, 70_001);
                assert!(*sent == *got);
            }
        };
        block_on(work(3));
        tokio.block_on(work(100_000));
    }
}

#[test]
fn many_futures_share_a_driver_that_is_shallower() {
    const NAME: &str = "many_futures_share_a_driver_that_is_shallower";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    let whole = pattern(2_000_000);
    fs::write(&path, &whole).expect("written");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    for engine in ENGINES {
        let driver = driver(engine, 4);
        let file = open(&driver, &path, engine);
        // More than jobs, more than the queue takes.
        let tasks: Vec<_> = (0..1000_u64)
            .map(|number| {
                let file = file.clone();
                tokio.spawn(async move {
                    let (moved, bytes) = file.read(vec![0; 1777], number * 1999).await;
                    (moved.expect("reads").bytes, bytes)
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            let (bytes, got) = tokio.block_on(task).expect("no panic");
            let there = &whole[number * 1999..][..1777];
            assert_eq!(bytes, 1777);
            assert!(got == there, "{engine}: read {number}");
        }
    }
}

#[test]
fn a_lease_of_more_pieces_than_a_vector_takes_is_split() {
    const NAME: &str = "a_lease_of_more_pieces_than_a_vector_takes_is_split";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    let pages = 3000;
    let whole = pattern(pages * 4096);
    fs::write(&path, &whole).expect("written");
    for engine in ENGINES {
        let driver = driver(engine, 8);
        let file = open(&driver, &path, engine);
        let mut lease: Option<Lease<CpuAddr, _>> = None;
        for _ in 0..pages {
            let one = Lease::from_vec(vec![0; 4096]).expect("bytes");
            lease = Some(match lease {
                None => one,
                Some(front) => front.join(one).expect("the sum fits"),
            });
        }
        let lease = lease.expect("pages");
        let pieces = lease.list().len_segments();
        assert!(pieces > 1024, "{pieces}");
        let (moved, lease) = block_on(file.read(lease, 0));
        let moved = moved.expect("reads");
        assert_eq!(moved.bytes, whole.len() as u64);
        let got: Vec<u8> = lease.into_vecs().flatten().collect();
        assert!(got == whole, "{engine}");
    }
}

#[test]
fn a_dropped_future_gives_the_memory_back_when_the_read_is_over() {
    const NAME: &str = "a_dropped_future_gives_the_memory_back_when_the_read_is_over";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    fs::write(&path, pattern(1 << 20)).expect("written");
    for engine in ENGINES {
        let driver = driver(engine, 4);
        let file = open(&driver, &path, engine);
        for number in 0..200_u64 {
            let mut read = Box::pin(file.read(vec![0; 100_000], number * 4096));
            block_on(std::future::poll_fn(|context| {
                let _ = read.as_mut().poll(context);
                std::task::Poll::Ready(())
            }));
        }
        // The driver works on, and ends with nothing left.
        let (moved, _) = block_on(file.read(vec![0; 4096], 0));
        assert_eq!(moved.expect("reads").bytes, 4096);
    }
}
