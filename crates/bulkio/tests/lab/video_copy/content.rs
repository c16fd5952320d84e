//! What is in the file, and which bytes were copied on the way.

use std::fs::{self, File};
use std::path::Path;

use bulkio::copy::Report;
use bulkio::device::video::MemoryModel;

use super::{
    Recorder, assert_lost_nothing_for_want_of_memory, by, capture, frame_of_another_reader, large, options,
    small, still, stream,
};
use crate::common::storage_dir;
use crate::or_skip;
use crate::oracle::Oracle;
use crate::residency::cached_pages;
use crate::support::in_lab;
use crate::video::support::{CONTIGUOUS, PAGES, PLANES};

/// Asserts that a file is so many of this frame, one behind the other.
fn assert_frames(file: &Path, frame: &[u8], frames: usize, what: &str) {
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes.len(), frame.len() * frames, "{what}");
    for (number, found) in bytes.chunks(frame.len()).enumerate() {
        assert!(found == frame, "{what}: frame {number} differs from what another reader sees");
    }
}

fn bounced(report: &Report) -> (u64, u64) {
    (report.source.bounced_bytes, report.destination.bounced_bytes)
}

#[test]
fn three_hundred_frames_go_from_where_the_grabber_left_them() {
    const NAME: &str = "video_copy::content::three_hundred_frames_go_from_where_the_grabber_left_them";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    for (node, model, frames) in [
        (PAGES, MemoryModel::UserPointer, 300),
        (CONTIGUOUS, MemoryModel::DmaBuf, 300),
        (PAGES, MemoryModel::DmaBuf, 20),
        (PAGES, MemoryModel::Mapped, 20),
    ] {
        let what = format!("{node} by {model}");
        still(node);
        let video = large();
        let frame = frame_of_another_reader(node, &video, folder.path());
        let to = folder.path().join("clip.raw");
        // The kernel's functions that copy a caller's bytes to the page cache.
        let oracle = Oracle::watch(&["ext4_buffered_write_iter", "iomap_dio_rw"]);
        let mut recorder = Recorder::default();
        let report = capture(node, &to, &options(by(video, model), frames), &mut recorder).unwrap();
        let stream = stream(&report);
        println!("{what}: {} in {:?}, {stream:?}", report.bytes, report.elapsed);
        assert_eq!(stream.frames, frames, "{what}");
        assert_lost_nothing_for_want_of_memory(&report, &recorder, &what);
        assert_eq!((recorder.started, recorder.ended, recorder.frames.len() as u64), (1, 1, frames));
        assert_eq!(bounced(&report), (0, 0), "{what}: {report:?}");
        let bytes = frames * frame.len() as u64;
        assert_eq!((report.bytes, report.durable_bytes), (bytes, bytes));
        assert_eq!((report.source.direct_bytes, report.destination.direct_bytes), (bytes, bytes));
        // Not one write went through the page cache, and nothing is in it.
        assert_eq!(oracle.hits("ext4_buffered_write_iter"), 0, "{what}");
        assert!(oracle.hits("iomap_dio_rw") >= frames, "{what}");
        assert!(cached_pages(&File::open(&to).unwrap()).unwrap() < 16, "{what}");
        // Frames lie one behind the other, in the order in which the grabber took them. It gives a number twice where it is late.
        for pair in recorder.frames.windows(2) {
            assert!(pair[1].sequence >= pair[0].sequence && pair[1].time > pair[0].time, "{what}: {pair:?}");
            assert_eq!(pair[1].position, pair[0].position + pair[0].len, "{what}");
        }
        assert_frames(&to, &frame, frames as usize, &what);
    }
}

#[test]
fn frames_that_end_within_a_block_cost_their_edges() {
    const NAME: &str = "video_copy::content::frames_that_end_within_a_block_cost_their_edges";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let frames = 41;
    for (node, model) in
        [(PAGES, MemoryModel::UserPointer), (PAGES, MemoryModel::DmaBuf), (CONTIGUOUS, MemoryModel::DmaBuf)]
    {
        let what = format!("{node} by {model}");
        still(node);
        let frame = frame_of_another_reader(node, &small(), folder.path());
        assert_eq!(frame.len(), 57_600);
        let to = folder.path().join("clip.raw");
        let report =
            capture(node, &to, &options(by(small(), model), frames), &mut Recorder::default()).unwrap();
        println!("{what}: {:?}", report.destination);
        assert_frames(&to, &frame, frames as usize, &what);
        let side = &report.destination;
        assert_eq!(side.direct_bytes + side.bounced_bytes, report.bytes, "{what}");
        if model == MemoryModel::UserPointer {
            // Half a block at the end of each second frame, and half a block at the beginning of the next.
            assert_eq!(side.bounced_bytes, 41 * 256, "{what}: {side:?}");
            assert_eq!(report.source.bounced_bytes, 0);
        } else {
            // A dma-buf begins on a page: each second frame does not lie as the blocks do, and the report says why.
            assert!(side.bounces.iter().any(|(why, _)| why.contains("addr_align")), "{what}: {side:?}");
        }
    }
}

#[test]
fn padded_frames_begin_at_blocks() {
    const NAME: &str = "video_copy::content::padded_frames_begin_at_blocks";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    still(CONTIGUOUS);
    let mut frame = frame_of_another_reader(CONTIGUOUS, &small(), folder.path());
    frame.resize(frame.len().next_multiple_of(512), 0);
    let to = folder.path().join("clip.raw");
    let video = bulkio::copy::VideoCopy { pad: true, ..small() };
    let report = capture(CONTIGUOUS, &to, &options(video, 10), &mut Recorder::default()).unwrap();
    assert_frames(&to, &frame, 10, "padded");
    assert_eq!(report.destination.bounced_bytes, 10 * 256, "{:?}", report.destination);
}

#[test]
fn memory_that_cannot_be_pinned_is_copied_and_said_so() {
    const NAME: &str = "video_copy::content::memory_that_cannot_be_pinned_is_copied_and_said_so";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    still(CONTIGUOUS);
    let video = large();
    let frame = frame_of_another_reader(CONTIGUOUS, &video, folder.path());
    let to = folder.path().join("clip.raw");
    let options = options(by(video, MemoryModel::Mapped), 10);
    let report = capture(CONTIGUOUS, &to, &options, &mut Recorder::default()).unwrap();
    assert_frames(&to, &frame, 10, "copied");
    let (source, destination) = bounced(&report);
    assert_eq!((source, destination), (report.bytes, 0), "once, and once only");
    assert!(report.source.bounces[0].0.contains("pin"), "{:?}", report.source.bounces);
    // User pointers are not for contiguous memory.
    let options = super::options(by(large(), MemoryModel::UserPointer), 10);
    let error = capture(CONTIGUOUS, &to, &options, &mut Recorder::default()).unwrap_err();
    assert!(error.to_string().contains("user pointers"), "{error}");
    assert_frames(&to, &frame, 10, "a refused copy changes nothing");
}

#[test]
fn several_planes_are_one_run_of_bytes() {
    const NAME: &str = "video_copy::content::several_planes_are_one_run_of_bytes";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    still(PLANES);
    let video = bulkio::copy::VideoCopy { format: Some("NM12".parse().unwrap()), ..small() };
    let frame = frame_of_another_reader(PLANES, &video, folder.path());
    for model in [MemoryModel::UserPointer, MemoryModel::DmaBuf, MemoryModel::Mapped] {
        let to = folder.path().join("clip.raw");
        let report = capture(PLANES, &to, &options(by(video, model), 12), &mut Recorder::default()).unwrap();
        assert_frames(&to, &frame, 12, model.name());
        assert_eq!(stream(&report).frames, 12);
    }
}
