//! A block device with faults beneath it. The kernel's block layer is coarse: under `O_DIRECT` an operation succeeds or fails
//! as a whole.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use bulkio::engine::{Completion, FileId, FlushKind};
use scatterlist::Direction::{FromDevice, ToDevice};
use scatterlist::Position::At;
use scatterlist::{Limits, Outcome};

use crate::faulty::{FaultyDisk, Quarantine, Rule};
use crate::or_skip;
use crate::support::{TestEngine, content, direct, direct_of, each, each_ahead, fault, next, over, run};

const LEN: usize = 1 << 18;

fn disk() -> Result<FaultyDisk, String> {
    FaultyDisk::new(content(LEN), 512)
}

fn add(engine: &mut TestEngine, disk: &FaultyDisk, flags: i32) -> FileId {
    let file = File::options().read(true).write(true).custom_flags(flags).open(disk.node()).unwrap();
    engine.add_file(Arc::new(file.into())).unwrap()
}

#[test]
fn one_bad_block_fails_its_operation_and_no_other() {
    const NAME: &str = "disk::one_bad_block_fails_its_operation_and_no_other";
    const BAD: u64 = 201 * 512;
    let disk = or_skip!(NAME, disk());
    each(NAME, |kind| {
        for errno in [libc::EIO, libc::ENODATA] {
            for direction in [FromDevice, ToDevice] {
                let memory = Quarantine::default().take(LEN);
                memory.write(0, &content(LEN));
                let mut engine = kind.engine();
                let id = add(&mut engine, &disk, libc::O_DIRECT);
                disk.file().add(Rule::any().touching(BAD..BAD + 512).errno(errno));
                let request = memory.request(&[(0, LEN)], direction, At(0));
                let outcome = run(&mut engine, id, request, &direct_of(8192));
                let done = BAD / 8192 * 8192;
                assert_eq!(outcome, Outcome { asked: LEN as u64, done, fault: fault(done, errno) });
                disk.file().clear_rules();
                // The blocks beside it are as good as ever.
                let request = memory.request(&[(0, LEN)], direction, At(0));
                assert_eq!(run(&mut engine, id, request, &direct()), Outcome::whole(LEN as u64));
                assert!(memory.bytes() == content(LEN) && disk.file().content() == content(LEN));
            }
        }
    });
}

#[test]
fn short_answers_to_reads_go_on_in_the_kernel() {
    const NAME: &str = "disk::short_answers_to_reads_go_on_in_the_kernel";
    let disk = or_skip!(NAME, disk());
    each(NAME, |kind| {
        let memory = Quarantine::default().take(LEN);
        let mut engine = kind.engine();
        let id = add(&mut engine, &disk, libc::O_DIRECT);
        disk.file().take_seen();
        disk.file().add(Rule::reads().short(20_480));
        let outcome = run(&mut engine, id, memory.request(&[(0, LEN)], FromDevice, At(0)), &direct());
        assert_eq!(outcome, Outcome::whole(LEN as u64));
        assert!(memory.bytes() == content(LEN));
        assert!(disk.file().take_seen().len() > LEN / 20_480);
        assert_eq!(engine.stats().operations, 1);
        disk.file().clear_rules();
    });
}

#[test]
fn through_the_page_cache_a_read_stops_at_the_bad_page() {
    const NAME: &str = "disk::through_the_page_cache_a_read_stops_at_the_bad_page";
    const BAD: u64 = 25 * 4096;
    each(NAME, |kind| {
        // A new one each time: nothing of it is in the cache.
        let disk = or_skip!(NAME, disk());
        let memory = Quarantine::default().take(LEN);
        let mut engine = kind.engine();
        let id = add(&mut engine, &disk, 0);
        disk.file().add(Rule::reads().touching(BAD + 512..BAD + 1024).errno(libc::EIO));
        let request = memory.request(&[(0, LEN)], FromDevice, At(0));
        let outcome = run(&mut engine, id, request, &Limits::default());
        // The cache may hold the page together with those before it, as one folio that is there or not.
        let done = outcome.done;
        assert!(done <= BAD && BAD - done < 64 << 10 && done.is_multiple_of(4096), "{outcome:?}");
        assert_eq!(outcome, Outcome { asked: LEN as u64, done, fault: fault(done, libc::EIO) });
        assert!(memory.bytes()[..done as usize] == content(done as usize));
    });
}

#[test]
fn through_the_page_cache_a_write_fails_when_it_is_flushed() {
    const NAME: &str = "disk::through_the_page_cache_a_write_fails_when_it_is_flushed";
    each(NAME, |kind| {
        let disk = or_skip!(NAME, disk());
        let memory = Quarantine::default().take(LEN);
        let mut engine = kind.engine();
        let id = add(&mut engine, &disk, 0);
        disk.file().add(Rule::writes().touching(4096..8192).errno(libc::EIO));
        let request = memory.request(&[(0, LEN)], ToDevice, At(0));
        assert_eq!(run(&mut engine, id, request, &Limits::default()), Outcome::whole(LEN as u64));
        engine.flush(id, FlushKind::Data).unwrap();
        let Completion::Flush { fault: found, .. } = over(&mut engine) else { panic!("not a flush") };
        assert_eq!(found, fault(0, libc::EIO));
    });
}

/// The one short write that every kernel interface has: the part before the end of a disk.
#[test]
fn a_write_across_the_end_is_short_then_refused() {
    const NAME: &str = "disk::a_write_across_the_end_is_short_then_refused";
    let disk = or_skip!(NAME, disk());
    each(NAME, |kind| {
        let memory = Quarantine::default().take(8192);
        let mut engine = kind.engine();
        let id = add(&mut engine, &disk, libc::O_DIRECT);
        let request = memory.request(&[(0, 8192)], ToDevice, At(LEN as u64 - 4608));
        let outcome = run(&mut engine, id, request, &direct());
        assert_eq!(outcome, Outcome { asked: 8192, done: 4608, fault: fault(4608, libc::ENOSPC) });
        assert!(engine.stats().operations_resumed > 0);
        assert!(disk.file().content()[LEN - 4608..] == [0; 4608]);
    });
}

#[test]
fn a_slow_disk_keeps_its_memory() {
    const NAME: &str = "disk::a_slow_disk_keeps_its_memory";
    let disk = or_skip!(NAME, disk());
    each_ahead(NAME, |kind| {
        let (mut engine, quarantine) = (kind.engine(), Quarantine::default());
        let id = add(&mut engine, &disk, libc::O_DIRECT);
        disk.file().add(Rule::reads().hold());
        let request = quarantine.take(4096).request(&[(0, 4096)], FromDevice, At(8192));
        engine.submit(id, request, &direct()).unwrap();
        engine.start().unwrap();
        disk.file().wait_held(1);
        engine.cancel();
        assert!(engine.poll().unwrap().is_none());
        assert_eq!(quarantine.alive(), 1);
        disk.file().open_gate();
        let (request, outcome) = next(&mut engine);
        assert_eq!(outcome, Outcome::whole(4096));
        let memory = request.complete(outcome).into_owners().next().unwrap();
        assert!(memory.bytes() == disk.file().content()[8192..12288]);
        drop(memory);
        assert_eq!(quarantine.freed(), 1);
        quarantine.check();
    });
}
