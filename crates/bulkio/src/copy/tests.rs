//! Direct against bounced, by what was handed to the kernel: descriptors, positions, addresses.

use std::os::unix::fs::FileExt as _;

use scatterlist::{Addr as _, Position};

use super::options::{CopyOptions, End, Silent};
use super::pipeline::Pipeline;
use super::{DirectMode, ends};
use crate::engine::{LogEntry, LoggedKind};

/// A copy of `len` bytes with its log, the pool's addresses and which entries went to a direct descriptor.
struct Logged {
    log: Vec<LogEntry>,
    pool: std::ops::Range<u64>,
    direct_bytes: u64,
    bounced_bytes: u64,
}

fn run(len: usize, direct: DirectMode, skip: u64, seek: u64) -> Logged {
    let folder = ["/var/tmp".into(), std::env::temp_dir()]
        .into_iter()
        .find_map(|parent| tempfile::tempdir_in(parent).ok())
        .expect("a folder for files");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 253).expect("below 253")).collect();
    std::fs::write(&from, &bytes).expect("a source");
    let options = CopyOptions { direct, skip, seek, block_len: (64 << 10).into(), ..CopyOptions::default() };
    let ends = ends::open(End::Path(&from), &[End::Path(&to)], &options, &mut Silent).expect("both ends");
    let mut pipeline = Pipeline::new(&ends, &options).expect("a pipeline");
    pipeline.prepare(&options).expect("a prepared destination");
    pipeline.transfer(&mut Silent);
    pipeline.write_edges(&mut Silent);
    pipeline.finish(&options, &mut Silent);
    let report = pipeline.report();
    let mut found = vec![0; len - usize::try_from(skip).expect("small")];
    std::fs::File::open(&to).expect("a copy").read_exact_at(&mut found, seek).expect("all of it");
    assert!(found == bytes[bytes.len() - found.len()..], "the copy differs");
    let (start, pool_len) = pipeline.pool.first().range();
    Logged {
        log: pipeline.engine.take_log(),
        pool: start.raw()..start.raw() + pool_len,
        direct_bytes: report.source.direct_bytes + report.destination.direct_bytes,
        bounced_bytes: report.source.bounced_bytes + report.destination.bounced_bytes,
    }
}

fn transfers(logged: &Logged) -> impl Iterator<Item = &LogEntry> {
    logged.log.iter().filter(|entry| !matches!(entry.kind, LoggedKind::Flush(_)))
}

#[test]
fn an_aligned_copy_reads_into_and_writes_from_the_very_same_addresses() {
    let logged = run(1 << 20, DirectMode::Auto, 0, 0);
    if logged.direct_bytes == 0 {
        // The folder's file system has no direct I/O; the tests on loop devices cover what this one cannot.
        assert_eq!(logged.bounced_bytes, 2 << 20);
        return;
    }
    assert_eq!((logged.direct_bytes, logged.bounced_bytes), (2 << 20, 0));
    let pieces = |kind| -> Vec<(Position, u64, u64)> {
        let entries = transfers(&logged).filter(|entry| entry.kind == kind);
        let mut pieces: Vec<_> = entries
            .flat_map(|entry| entry.pieces.iter().map(|(addr, len)| (entry.position, addr.raw(), *len)))
            .collect();
        pieces.sort_by_key(|(position, ..)| match position {
            Position::At(at) => *at,
            Position::Stream => u64::MAX,
        });
        pieces
    };
    let reads = pieces(LoggedKind::Read);
    assert_eq!(reads, pieces(LoggedKind::Write), "written from where it was read to");
    for (_, addr, len) in reads {
        assert!(logged.pool.contains(&addr) && addr + len <= logged.pool.end, "only the pool's memory");
        assert_eq!((addr % 512, len % 512), (0, 0));
    }
}

#[test]
fn a_ragged_range_bounces_one_block_at_each_end_and_no_more() {
    let logged = run(300_001, DirectMode::Auto, 100, 612);
    let other = run(300_001, DirectMode::Never, 100, 612);
    assert_eq!(other.direct_bytes, 0);
    assert_eq!(other.bounced_bytes, 2 * (300_001 - 100));
    if logged.direct_bytes > 0 {
        assert!(logged.bounced_bytes < 2 * 512, "{} bytes bounced", logged.bounced_bytes);
        for entry in transfers(&logged) {
            let Position::At(at) = entry.position else { panic!("files have positions") };
            let len: u64 = entry.pieces.iter().map(|(_, len)| len).sum();
            assert_eq!((at % 512, len % 512), (0, 0), "{entry:?}");
        }
    }
}

#[test]
fn positions_that_differ_modulo_the_block_go_through_the_page_cache_on_the_source_side() {
    let logged = run(200_000, DirectMode::Auto, 1, 0);
    if logged.direct_bytes > 0 {
        assert_eq!(logged.bounced_bytes, 199_999, "every byte that was read");
        assert_eq!(logged.direct_bytes, 199_999, "every byte that was written");
    }
}
