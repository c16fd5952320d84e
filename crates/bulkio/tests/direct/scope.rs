//! Borrowed memory: whatever happens inside a scope, its end waits for the device, and what failed is told.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bulkio::direct::{File, ScopeError, TransferErrorKind};

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{ALL, ENGINES, io};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

#[test]
fn all_memory_of_a_scope_is_there_at_its_end() {
    const NAME: &str = "all_memory_of_a_scope_is_there_at_its_end";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    let whole = pattern(300_000);
    fs::write(&path, &whole).expect("written");
    for engine in ALL {
        let io = io(engine);
        let file = File::options().read(true).io(&io).open(&path).expect("opens");
        // More than a channel takes at a time, so that starting waits for others.
        let mut parts: Vec<Vec<u8>> = (0..150).map(|_| vec![0; 1999]).collect();
        let (mut one, mut two) = (vec![0; 3000], vec![0; 70]);
        let first = io.scope(|scope| {
            let mut all: Vec<_> = Vec::new();
            for (part, offset) in parts.iter_mut().zip((0..).step_by(1999)) {
                all.push(scope.read(&file, part, offset));
            }
            let _ = scope.read_list(&file, [&mut *one, &mut *two], 100);
            // One is waited for, the rest are not.
            all.remove(0).wait().expect("reads")
        });
        assert_eq!(first.expect("no fault").bytes, 1999);
        assert!(parts.concat() == whole[..150 * 1999], "{engine}");
        assert!([one, two].concat() == whole[100..3170], "{engine}");
    }
}

#[test]
fn writes_of_a_scope_that_touch_one_block_keep_each_others_bytes() {
    const NAME: &str = "writes_of_a_scope_that_touch_one_block_keep_each_others_bytes";
    let folder = or_skip!(NAME, storage_dir());
    for engine in ALL {
        let path = folder.path().join(format!("{engine}"));
        fs::write(&path, vec![0; 8192]).expect("written");
        let io = io(engine);
        let file = File::options().write(true).io(&io).open(&path).expect("opens");
        let whole = pattern(8192);
        io.scope(|scope| {
            for (number, piece) in whole.chunks(100).enumerate() {
                let _ = scope.write(&file, piece, number as u64 * 100);
            }
        })
        .expect("writes");
        assert!(fs::read(&path).expect("others read") == whole, "{engine}");
    }
}

#[test]
fn a_failure_that_nobody_waited_for_is_the_scopes() {
    const NAME: &str = "a_failure_that_nobody_waited_for_is_the_scopes";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    fs::write(&path, [1; 4096]).expect("written");
    let io = io(ENGINES[0]);
    let file = File::options().read(true).io(&io).open(&path).expect("opens");
    let bytes = [0; 10];
    let result = io.scope(|scope| drop(scope.write(&file, &bytes, 0)));
    let Err(ScopeError::Transfer(error)) = result else { panic!("{result:?}") };
    assert_eq!(error.kind, TransferErrorKind::NotWritable);
    // One that was waited for was told there.
    let result = io.scope(|scope| scope.write(&file, &bytes, 0).wait().expect_err("not writable").kind);
    assert_eq!(result.expect("told before"), TransferErrorKind::NotWritable);
}

#[test]
fn a_panic_inside_waits_too_and_leaves_the_engine_usable() {
    const NAME: &str = "a_panic_inside_waits_too_and_leaves_the_engine_usable";
    let folder = or_skip!(NAME, storage_dir());
    let path = folder.path().join("file");
    let whole = pattern(1 << 20);
    fs::write(&path, &whole).expect("written");
    for engine in ALL {
        let io = io(engine);
        let file = File::options().read(true).io(&io).open(&path).expect("opens");
        let mut buf = vec![0; 1 << 20];
        let body = || {
            io.scope(|scope| {
                let _ = scope.read(&file, &mut buf, 0);
                panic!("on purpose");
            })
        };
        catch_unwind(AssertUnwindSafe(body))
            .expect_err("it panicked")
            .downcast::<&str>()
            .expect("the panic above");
        drop(buf);
        let mut again = vec![0; 1 << 20];
        assert_eq!(file.read(&mut again, 0).expect("reads").bytes, 1 << 20);
        assert!(again == whole);
    }
}
