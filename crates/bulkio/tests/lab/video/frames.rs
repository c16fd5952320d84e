//! Frames come by every kind of memory that a device takes, are those that another program gets, and no kernel copies them for us.

use std::sync::Arc;
use std::time::Duration;

use bulkio::device::video::{MemoryModel, VideoOptions};
use bulkio::engine::Completion;
use bulkio::pages::{PageKindRequest, PagePool, PoolOptions};
use scatterlist::Direction;

use super::support::{CONTIGUOUS, NODES, PAGES, PLANES, Running, compare, open, pattern, reference, small};
use crate::or_skip;
use crate::oracle::Oracle;
use crate::support::{ENGINES, engine, in_lab};

const FRAMES: usize = 60;

/// Options, and the numbers of planes that frames have then.
fn kinds(node: &str) -> Vec<(VideoOptions, usize)> {
    let of = |format: &str| VideoOptions { format: Some(format.parse().unwrap()), ..slow() };
    match node {
        PLANES => vec![(of("YUYV"), 1), (of("NM16"), 2), (of("YM12"), 3)],
        CONTIGUOUS => vec![(of("YUYV"), 1)],
        _ => vec![(of("YUYV"), 1), (of("NV12"), 1)],
    }
}

/// A rate that the emulated machine keeps up with, nearly.
fn slow() -> VideoOptions {
    VideoOptions { rate: Some("15".parse().unwrap()), ..small() }
}

#[test]
fn frames_are_those_that_another_program_gets() {
    const NAME: &str = "video::frames::frames_are_those_that_another_program_gets";
    or_skip!(NAME, in_lab("video"));
    for node in NODES {
        pattern(node);
        for (options, planes) in kinds(node) {
            let capture = open(node, &options);
            let (format, reports) = (capture.format().clone(), capture.models().to_vec());
            assert_eq!(format.planes.len(), planes, "{node} {format}");
            drop(capture);
            let expected = reference(node, FRAMES + 10);
            for report in reports.iter().filter(|report| report.works()) {
                let what = format!("{node} {format} by {}", report.model);
                let start = || Running::start(open(node, &options), report.model).unwrap();
                let fill = |running: &mut Running, _| running.fill().unwrap();
                let (same, pictures) = compare(&what, FRAMES, &expected, start, fill);
                println!("{what}: {same} frames compared, {pictures} pictures");
                assert!(same >= FRAMES / 2, "{what}: only {same} frames were seen by both");
                assert!(pictures > same / 2, "{what}: the picture stands still");
            }
        }
    }
}

#[test]
fn the_kinds_of_memory_are_found_out() {
    const NAME: &str = "video::frames::the_kinds_of_memory_are_found_out";
    or_skip!(NAME, in_lab("video"));
    use MemoryModel::{DmaBuf, Mapped, UserPointer};
    let models = |node| {
        let capture = open(node, &small());
        let reports = capture.models().iter();
        reports.map(|report| (report.model, report.works(), report.is_direct())).collect::<Vec<_>>()
    };
    let all = [(UserPointer, true, true), (DmaBuf, true, true), (Mapped, true, true)];
    assert_eq!((models(PAGES), models(PLANES)), (all.to_vec(), all.to_vec()));
    // Contiguous memory can be filled and looked at, but no other device takes it.
    let contiguous = [(UserPointer, false, false), (DmaBuf, true, true), (Mapped, true, false)];
    assert_eq!(models(CONTIGUOUS), contiguous);
}

#[test]
fn slots_are_used_by_the_device_itself() {
    const NAME: &str = "video::frames::slots_are_used_by_the_device_itself";
    or_skip!(NAME, in_lab("video"));
    let functions =
        ["vb2_vmalloc_get_userptr", "pin_user_pages_fast", "vb2_vmalloc_attach_dmabuf", "udmabuf_create"];
    let taken = |model| {
        let capture = open(PAGES, &small());
        let oracle = Oracle::watch(&functions);
        let mut running = Running::start(capture, model).unwrap();
        for _ in 0..12 {
            let frame = running.next().unwrap();
            running.capture.give_back(frame.memory).unwrap();
        }
        functions.map(|function| oracle.hits(function))
    };
    let [user, pinned, attached, made] = taken(MemoryModel::UserPointer);
    assert!(user > 0 && pinned >= user, "{user} places, {pinned} pins");
    assert_eq!((attached, made), (0, 0));
    let [user, _, attached, made] = taken(MemoryModel::DmaBuf);
    // Eight slots in turn under four buffers: each becomes a dma-buf once.
    assert!(attached >= made && (4..=8).contains(&made), "{attached} times, {made} dma-bufs");
    assert_eq!(user, 0);
    assert_eq!(taken(MemoryModel::Mapped), [0; 4]);
}

#[test]
fn frames_begin_anywhere_that_the_report_allows() {
    const NAME: &str = "video::frames::frames_begin_anywhere_that_the_report_allows";
    or_skip!(NAME, in_lab("video"));
    pattern(PAGES);
    let options = VideoOptions { format: Some("YUYV".parse().unwrap()), ..slow() };
    drop(open(PAGES, &options));
    let expected = reference(PAGES, 40);
    let align = open(PAGES, &options).model(MemoryModel::UserPointer).unwrap().align;
    assert_eq!(align, 64);
    let start = || Running::start(open(PAGES, &options), MemoryModel::UserPointer).unwrap();
    let queue = |running: &mut Running, at: usize| {
        let offset = align * u64::try_from(at % 5).unwrap();
        running.capture.queue(running.pool.take().unwrap(), offset).unwrap();
    };
    let (same, _) = compare("any place", 20, &expected, start, queue);
    assert!(same >= 10, "only {same} frames were seen by both");
}

#[test]
fn an_engine_waits_for_frames() {
    const NAME: &str = "video::frames::an_engine_waits_for_frames";
    or_skip!(NAME, in_lab("video"));
    for kind in ENGINES {
        let mut running = Running::start(open(PAGES, &small()), MemoryModel::UserPointer).unwrap();
        let mut engine = engine(kind);
        let file = engine.add_file(Arc::clone(running.capture.fd())).unwrap();
        let (mut frames, mut waits) = (0, 0);
        while frames < 20 {
            if let Some(frame) = running.capture.dequeue().unwrap() {
                running.capture.give_back(frame.memory).unwrap();
                running.fill().unwrap();
                frames += 1;
                continue;
            }
            let token = engine.watch(file, Direction::FromDevice).unwrap();
            waits += 1;
            match engine.wait_timeout(Duration::from_secs(60)).unwrap() {
                Some(Completion::Ready { token: ready, fault: None, .. }) => {
                    assert_eq!(ready, token, "{kind:?}")
                }
                other => panic!("{kind:?}: {:?}", other.map(|completion| completion.token())),
            }
        }
        // Each wait ended because there was a frame, not at once.
        assert!(waits > 0 && waits <= frames, "{kind:?}: {waits} waits for {frames} frames");
    }
}

#[test]
fn pools_of_all_pages_are_filled_or_refused() {
    const NAME: &str = "video::frames::pools_of_all_pages_are_filled_or_refused";
    or_skip!(NAME, in_lab("video"));
    std::fs::write("/proc/sys/vm/nr_hugepages", "4").unwrap();
    pattern(PAGES);
    let options = VideoOptions { format: Some("YUYV".parse().unwrap()), ..slow() };
    drop(open(PAGES, &options));
    let expected = reference(PAGES, 40);
    for kind in [PageKindRequest::Small, PageKindRequest::Transparent, PageKindRequest::Huge] {
        for model in [MemoryModel::UserPointer, MemoryModel::DmaBuf] {
            let what = format!("{kind:?} {model}");
            let start = || {
                let pool =
                    Arc::new(PagePool::new(PoolOptions::uniform(256 << 10, 8).with_kind(kind)).unwrap());
                let mut capture = open(PAGES, &options);
                capture.start(model, 4, Some(&pool)).unwrap();
                let mut running = Running { capture, pool, model };
                running.fill().unwrap_or_else(|error| panic!("{what}: {error}"));
                running.capture.stream_on().unwrap();
                running
            };
            if model == MemoryModel::DmaBuf && kind != PageKindRequest::Small {
                // Frames would land in the first page of each large one.
                let pool =
                    Arc::new(PagePool::new(PoolOptions::uniform(256 << 10, 8).with_kind(kind)).unwrap());
                let error = open(PAGES, &options).start(model, 4, Some(&pool)).unwrap_err();
                assert!(error.to_string().contains("the pool has pages of 2097152 bytes"), "{error}");
                continue;
            }
            let fill = |running: &mut Running, _| running.fill().unwrap();
            let (same, _) = compare(&what, 16, &expected, start, fill);
            assert!(same >= 8, "{what}: only {same} frames were seen by both");
        }
    }
    std::fs::write("/proc/sys/vm/nr_hugepages", "0").unwrap();
}
