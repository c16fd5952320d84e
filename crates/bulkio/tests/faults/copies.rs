//! Whole copies between files that are late or broken: the bytes arrive, or the error says where.

use std::thread;

use bulkio::copy::{CopyError, CopyOptions, End, Side, Silent, copy};
use scatterlist::Status;

use crate::faulty::{FaultyFile, FaultyFs, Op, Rule};
use crate::or_skip;
use crate::support::{Kind, content, each};

const BLOCK: usize = 1 << 16;
const BLOCKS: usize = 16;

/// A source with the pattern, and a destination of zeros.
fn ends() -> Result<FaultyFs, String> {
    FaultyFs::new(vec![content(BLOCKS * BLOCK), vec![0; BLOCKS * BLOCK]])
}

fn run(fs: &FaultyFs, kind: Kind) -> Result<u64, CopyError> {
    let (from, to) = (fs.file(0).path(), fs.file(1).path());
    let options = CopyOptions {
        engine: kind.choice,
        block_len: (BLOCK as u64).into(),
        truncate: false,
        ..CopyOptions::default()
    };
    let done = copy(End::Path(&from), End::Path(&to), &options, &mut Silent);
    done.map(|report| report.bytes).map_err(|failure| failure.error)
}

/// Lets operations go one at a time, the one at the end of those that are held first.
fn let_go_backwards(file: &FaultyFile, count: usize, at_once: usize) -> thread::JoinHandle<()> {
    let file = file.clone();
    thread::spawn(move || {
        for left in (1..=count).rev() {
            file.wait_held(left.min(at_once));
            file.free_at(file.held_at().into_iter().max().unwrap());
        }
        file.open_gate();
    })
}

#[test]
fn answers_in_the_wrong_order_make_the_right_copy() {
    const NAME: &str = "copies::answers_in_the_wrong_order_make_the_right_copy";
    each(NAME, |kind| {
        let fs = or_skip!(NAME, ends());
        // The first block is for those who look at the files before.
        let rest = BLOCK as u64..u64::MAX;
        fs.file(0).add(Rule::reads().touching(rest.clone()).hold());
        fs.file(1).add(Rule::writes().touching(rest).hold());
        let reads = let_go_backwards(fs.file(0), BLOCKS - 1, if kind.works_ahead { 4 } else { 1 });
        let writes = let_go_backwards(fs.file(1), BLOCKS - 1, 1);
        assert_eq!(run(&fs, kind).unwrap(), (BLOCKS * BLOCK) as u64);
        reads.join().unwrap();
        writes.join().unwrap();
        assert!(fs.file(1).content() == content(BLOCKS * BLOCK));
        let seen = fs.file(1).seen();
        let writes: Vec<u64> = seen.iter().filter(|seen| seen.op == Op::Write).map(|seen| seen.at).collect();
        assert_eq!(writes.is_sorted(), !kind.works_ahead, "{writes:?}");
    });
}

#[test]
fn a_fault_on_either_side_is_named_with_its_place() {
    const NAME: &str = "copies::a_fault_on_either_side_is_named_with_its_place";
    const BAD: u64 = 5 * BLOCK as u64;
    each(NAME, |kind| {
        for (index, errno) in [(0, libc::EIO), (0, libc::ENODATA), (1, libc::ENOSPC), (1, libc::EIO)] {
            let fs = or_skip!(NAME, ends());
            fs.file(index).add(Rule::any().touching(BAD + 512..BAD + 1024).errno(errno));
            let error = run(&fs, kind).unwrap_err();
            let CopyError::Transfer { side, at, status, .. } = &error else { panic!("{error}") };
            let expected = if index == 0 { Side::Source } else { Side::Destination };
            assert_eq!((*side, *at, *status), (expected, BAD, Status::Errno(errno.unsigned_abs())));
        }
    });
}

#[test]
fn a_copy_that_cannot_be_made_durable_is_an_error() {
    const NAME: &str = "copies::a_copy_that_cannot_be_made_durable_is_an_error";
    each(NAME, |kind| {
        let fs = or_skip!(NAME, ends());
        fs.file(1).add(Rule::syncs().errno(libc::EIO));
        let error = run(&fs, kind).unwrap_err();
        assert!(matches!(error, CopyError::Flush { .. }), "{error}");
    });
}

/// A disk whose answers are cut short where no block ends, and which then refuses the rest.
#[test]
fn a_source_that_stops_in_the_middle_of_a_block_is_never_a_whole_copy() {
    const NAME: &str = "copies::a_source_that_stops_in_the_middle_of_a_block_is_never_a_whole_copy";
    each(NAME, |kind| {
        for bad in [5 * BLOCK as u64 + 24 * 512, 5 * BLOCK as u64 + 1001] {
            let fs = or_skip!(NAME, ends());
            fs.file(0).add(Rule::reads().touching(bad..bad + 512).bad(libc::EIO));
            run(&fs, kind).unwrap_err();
        }
    });
}
