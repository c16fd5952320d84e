//! A plan holds what a copy does: its transfers are those that the copy hands to the kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use scatterlist::Position;

use super::super::pipeline::Pipeline;
use super::super::{DirectMode, Setting, Silent, ends as opened};
use super::*;
use crate::engine::LoggedKind;

/// A transfer: whether it writes, where, and how long.
type Call = (bool, u64, u64);

fn folder() -> tempfile::TempDir {
    let parents = ["/var/tmp".into(), std::env::temp_dir()];
    parents.into_iter().find_map(|parent| tempfile::tempdir_in(parent).ok()).expect("a folder for files")
}

/// Copies, and returns what was handed to the kernel: where in its slot each call begins, by the call.
fn copied(from: &Path, to: &Path, options: &CopyOptions) -> BTreeMap<Call, u64> {
    let ends = opened::open(End::Path(from), &[End::Path(to)], options, &mut Silent).expect("both ends");
    let mut pipeline = Pipeline::new(&ends, options).expect("a pipeline");
    pipeline.prepare(options).expect("a prepared destination");
    pipeline.transfer(&mut Silent);
    pipeline.write_edges(&mut Silent);
    pipeline.finish(options, &mut Silent);
    assert!(pipeline.state.take_error().is_none());
    let (start, _) = pipeline.pool.first().range();
    let slot_len = ends.geometry.slot_len;
    let mut calls = BTreeMap::new();
    let mut reached: BTreeMap<_, u64> = BTreeMap::new();
    for entry in pipeline.engine.take_log() {
        let writes = match entry.kind {
            LoggedKind::Read => false,
            LoggedKind::Write => true,
            LoggedKind::Flush(_) => continue,
        };
        let Position::At(at) = entry.position else { panic!("files have positions") };
        let len: u64 = entry.pieces.iter().map(|(_, len)| len).sum();
        let end = reached.entry(entry.token).or_insert(0);
        // What came short at the end of a file is asked for once more.
        if at < *end || (*end > 0 && at == *end && at + len == *end) {
            continue;
        }
        *end = at + len;
        let addr = entry.pieces.first().expect("memory").0;
        let slot_offset = (scatterlist::Addr::raw(addr) - scatterlist::Addr::raw(start)) % slot_len;
        calls.insert((writes, at, len), slot_offset);
    }
    calls
}

/// The same, as planned: every chunk, and the ragged ends.
fn planned(from: &Path, to: &Path, options: &CopyOptions) -> BTreeMap<Call, u64> {
    let ends::Planned { device, .. } = ends::destination(End::Path(to), options).expect("a destination");
    let source = ends::source(End::Path(from), options).expect("a source");
    let len = range_len(&*source, options).expect("a range");
    let ends = assemble(source, Fan::one((device, None)), options, len, Vec::new()).expect("a layout");
    let len = len.expect("files have a length");
    let walk = Walk::new(&ends, len);
    let chunks = (0..ends.geometry.chunks(len)).flat_map(|number| walk.chunk(number));
    let mut calls = BTreeMap::new();
    for transfer in chunks.chain(walk.edges()) {
        let writes = matches!(transfer.step, Step::Write | Step::EdgeWrite);
        let mut slot_offset = transfer.slot_offset;
        for call in transfer.calls {
            calls.insert((writes, call.position.expect("files have positions"), call.len), slot_offset);
            slot_offset += call.len;
        }
    }
    calls
}

fn file(path: &Path, len: u64) {
    std::fs::write(path, vec![7; usize::try_from(len).expect("short")]).expect("a file");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the range, the requests and the file that is there, the plan is what happens.
    #[test]
    fn the_plan_is_what_the_copy_does(
        (len, before) in (1..400_000_u64, prop_oneof![Just(None), (0..300_000_u64).prop_map(Some)]),
        (skip, seek) in (0..9000_u64, 0..9000_u64),
        agree in any::<bool>(),
        count in prop_oneof![Just(None), (1..300_000_u64).prop_map(Some)],
        block_len in prop_oneof![Just(Setting::Auto), (1..100_000_u64).prop_map(Setting::Fixed)],
        direct in prop_oneof![3 => Just(DirectMode::Auto), 1 => Just(DirectMode::Never)],
        truncate in any::<bool>(),
    ) {
        let folder = folder();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let skip = skip.min(len - 1);
        let seek = if agree { seek / 4096 * 4096 + skip % 4096 } else { seek };
        file(&from, len);
        if let Some(before) = before {
            file(&to, before);
        }
        let options = CopyOptions { skip, seek, count, block_len, direct, truncate, ..CopyOptions::default() };
        let plan = planned(&from, &to, &options);
        prop_assert_eq!(to.exists(), before.is_some(), "a plan creates nothing");
        prop_assert_eq!(plan, copied(&from, &to, &options));
    }
}

#[test]
fn what_is_bounced_is_what_the_copy_reports() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (len, skip, seek, direct) in [
        (1 << 20, 0, 0, DirectMode::Auto),
        (300_001, 100, 612, DirectMode::Auto),
        (300_001, 1, 0, DirectMode::Auto),
        (300_001, 0, 0, DirectMode::Never),
    ] {
        file(&from, len);
        file(&to, 500_000);
        let options = CopyOptions { skip, seek, direct, truncate: false, ..CopyOptions::default() };
        let plan = plan(End::Path(&from), End::Path(&to), &options).expect("a plan");
        assert!(plan.refusals.is_empty() && plan.layout.is_some(), "{plan:?}");
        let report =
            super::super::copy(End::Path(&from), End::Path(&to), &options, &mut Silent).expect("a copy");
        for (planned, copied) in [(plan.source, report.source), (plan.destination, report.destination)] {
            assert_eq!(planned.bounced, copied.bounces, "{}", copied.path);
            assert_eq!(planned.not_direct.is_none(), copied.direct);
        }
    }
}

#[test]
fn a_plan_names_everything_that_refuses() {
    let folder = folder();
    let path = folder.path().join("file");
    file(&path, 10_000);
    let options = CopyOptions { skip: 20_000, direct: DirectMode::Auto, ..CopyOptions::default() };
    let end = End::Path(&path);
    let plan = plan(end, end, &options).expect("a plan");
    assert!(matches!(plan.refusals.first(), Some(CopyError::SkipPastEnd { .. })), "{:?}", plan.refusals);
    let onto = super::plan(end, end, &CopyOptions::default()).expect("a plan");
    assert!(matches!(onto.refusals.as_slice(), [CopyError::Refused(_)]), "{:?}", onto.refusals);
    let layout = onto.layout.expect("a layout all the same");
    assert_eq!((layout.len, layout.requests), (Some(10_000), Some(1)));
    let mut bytes = [0; 4];
    std::fs::File::open(&path).expect("it is there").read_exact_at(&mut bytes, 9996).expect("all of it");
    assert_eq!(bytes, [7; 4]);
}

#[test]
fn streams_are_planned_as_far_as_they_are_known() {
    let zero = Path::new("/dev/zero");
    let options = CopyOptions { count: Some(3 << 20), ..CopyOptions::default() };
    let plan = plan(End::Path(zero), End::Path(Path::new("/dev/null")), &options).expect("a plan");
    assert!(plan.refusals.is_empty(), "{plan:?}");
    let layout = plan.layout.expect("a layout");
    assert_eq!((layout.len, layout.requests, layout.last.len()), (None, None, 0));
    assert!(layout.first.iter().all(|transfer| transfer.position.is_none() && !transfer.direct));
    assert!(plan.source.not_direct.is_some_and(|why| why.contains("stream")));
}
