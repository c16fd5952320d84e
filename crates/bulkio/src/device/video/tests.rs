//! What a capture does, over a grabber in memory.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::abi::{self, cap};
use super::fake::{Fake, MJPG, NM12};
use super::negotiate::{self, Opened};
use super::*;
use crate::pages::{PagePool, PoolOptions};

fn admit(fake: &Fake) -> Result<Opened, VideoError> {
    negotiate::admit(Path::new("fake"), None, Box::new(fake.clone()))
}

fn open(fake: &Fake, options: &VideoOptions) -> Result<Capture, VideoError> {
    Capture::new(admit(fake)?, options)
}

fn small() -> VideoOptions {
    VideoOptions { size: Some((320, 180)), ..VideoOptions::default() }
}

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

/// Bytes of a small frame.
const FRAME: u64 = 320 * 180 * 2;

fn pool(slots: usize) -> Arc<PagePool> {
    Arc::new(PagePool::new(PoolOptions::uniform(120_000, slots)).expect("a pool"))
}

/// A stream with slots under all of its two buffers.
fn streaming(fake: &Fake, pool: &PagePool) -> Capture {
    let mut capture = open(fake, &small()).expect("a capture");
    assert_eq!(capture.start(MemoryModel::UserPointer, 2, None), Ok(2));
    while capture.free_indices() > 0 {
        capture.queue(pool.take().expect("a slot"), 0).expect("queued");
    }
    capture.stream_on().expect("on");
    capture
}

#[test]
fn what_is_asked_for_is_what_frames_are() {
    let fake = Fake::new();
    let options =
        VideoOptions { input: Some(1), format: Some(MJPG), size: Some((320, 180)), rate: Some(rate("15")) };
    let capture = open(&fake, &options).expect("a capture");
    let format = capture.format();
    assert_eq!((format.fourcc, format.width, format.height), (MJPG, 320, 180));
    assert_eq!((format.rate, format.frame_len), (Some(rate("15")), 320 * 180));
    assert!(format.compressed && !format.field.is_interlaced());
    assert_eq!(format.to_string(), "MJPG 320x180 at 15/1");
    assert_eq!(fake.state().calls, ["input 1", "format MJPG 320x180"]);
}

#[test]
fn nothing_is_changed_where_nothing_is_asked_for() {
    let fake = Fake::new();
    let capture = open(&fake, &VideoOptions::default()).expect("a capture");
    assert_eq!(capture.format().frame_len, 640 * 480 * 2);
    assert!(fake.state().calls.is_empty());
}

#[test]
fn what_a_device_does_not_have_is_refused_with_what_it_has_and_changes_nothing() {
    let fake = Fake::new();
    let refused = |options: VideoOptions| open(&fake, &options).expect_err("not there").to_string();
    let none = VideoOptions::default();
    assert_eq!(
        refused(VideoOptions { format: Some(FourCc(*b"GREY")), ..none }),
        "fake does not give GREY; it gives YUYV, NM12, MJPG"
    );
    assert_eq!(
        refused(VideoOptions { size: Some((600, 400)), ..none }),
        "fake does not give 600x400 in YUYV; the nearest is 640x480, and it gives 320x180, 640x480"
    );
    assert_eq!(
        refused(VideoOptions { input: Some(7), ..none }),
        "fake has no input 7: Invalid argument (os error 22); it has 0 (Camera 0), 1 (Camera 1)"
    );
    assert!(fake.state().calls.is_empty());
    assert_eq!(
        refused(VideoOptions { rate: Some(rate("29.97")), ..none }),
        "fake does not give 30000/1001 frames per second at 640x480 in YUYV; the driver makes it 30/1, and it gives 15/1, 30/1"
    );
    fake.state().rate = None;
    assert!(refused(VideoOptions { rate: Some(rate("30")), ..none }).contains("the driver makes it none"));
}

#[test]
fn ranges_are_told_as_ranges() {
    let fake = Fake::new();
    fake.state().in_steps = true;
    let none = VideoOptions::default();
    let error =
        open(&fake, &VideoOptions { size: Some((600, 400)), ..none }).expect_err("not there").to_string();
    assert!(error.ends_with("and it gives 320x180 to 640x480 in steps of 2x4"), "{error}");
    let error =
        open(&fake, &VideoOptions { rate: Some(rate("60")), ..none }).expect_err("not there").to_string();
    assert!(error.ends_with("the driver makes it 30/1, and it gives 15/1 to 30/1"), "{error}");
    let mut opened = admit(&fake).expect("a grabber");
    let sizes = facts::sizes(&mut *opened.driver, MJPG);
    let rates = Rates::Steps { slowest: rate("15"), fastest: rate("30") };
    assert_eq!(sizes, Sizes::Steps { min: (320, 180), max: (640, 480), step: (2, 4), rates });
}

#[test]
fn a_driver_that_breaks_its_word_is_caught() {
    let fake = Fake::new();
    fake.state().sets_other = Some((640, 480));
    let error = open(&fake, &small()).expect_err("another size");
    assert!(matches!(error, VideoError::Size { wanted: (320, 180), nearest: (640, 480), .. }), "{error}");
    // A driver without the trial is held by what it sets.
    fake.state().sets_other = None;
    fake.fail("try_fmt", Errno::NOTTY);
    assert_eq!(open(&fake, &small()).expect("a capture").format().frame_len, FRAME);
    fake.fail("try_fmt", Errno::NOTTY);
    let options = VideoOptions { size: Some((321, 180)), ..VideoOptions::default() };
    assert!(matches!(open(&fake, &options), Err(VideoError::Size { .. })));
}

#[test]
fn what_gives_no_frames_is_refused_by_name() {
    for (caps, word) in [
        (cap::VIDEO_OUTPUT | cap::STREAMING, "a video output"),
        (cap::VIDEO_CAPTURE | cap::VIDEO_M2M | cap::STREAMING, "a converter from memory to memory"),
        (cap::VIDEO_M2M_MPLANE | cap::STREAMING, "a converter from memory to memory"),
        (cap::META_CAPTURE | cap::STREAMING, "a node for metadata"),
        (cap::RADIO, "a radio"),
        (0, "a V4L2 device without video capture"),
        (cap::VIDEO_CAPTURE | cap::TOUCH | cap::STREAMING, "a touch device"),
    ] {
        let fake = Fake::new();
        fake.state().caps = caps;
        let error = admit(&fake).expect_err("no grabber");
        assert!(error.is_refusal() && error.to_string().contains(word), "{error}");
    }
    let fake = Fake::new();
    fake.state().caps = cap::VIDEO_CAPTURE;
    assert!(matches!(admit(&fake), Err(VideoError::NoStreaming { .. })));
    let error = Capture::open(Path::new("/dev/null"), &VideoOptions::default()).expect_err("no grabber");
    assert_eq!(error.to_string(), "/dev/null is no video grabber: it is a character device of another class");
    assert!(!Capture::is_capture(Path::new("/dev/null")));
}

#[test]
fn memory_is_tried_and_the_trial_leaves_nothing() {
    let fake = Fake::new();
    let capture = open(&fake, &small()).expect("a capture");
    let works: Vec<_> =
        capture.models().iter().map(|report| (report.model, report.works(), report.align)).collect();
    let expected = [
        (MemoryModel::UserPointer, true, 512),
        (MemoryModel::DmaBuf, false, 1),
        (MemoryModel::Mapped, true, 1),
    ];
    assert_eq!(works, expected);
    let user = capture.model(MemoryModel::UserPointer).expect("a report");
    assert!(user.is_direct() && user.together && user.room_bytes == FRAME);
    let shared = capture.model(MemoryModel::DmaBuf).expect("a report");
    assert_eq!(shared.refusal, Some(ModelRefusal::NotTaken));
    assert_eq!((fake.buffers(), fake.queued()), (0, 0));
    // Memory that the driver takes from no address at all.
    fake.state().align = 1 << 40;
    let capture = open(&fake, &small()).expect("a capture");
    let user = capture.model(MemoryModel::UserPointer).expect("a report");
    assert_eq!(user.refusal, Some(ModelRefusal::Queue { errno: Errno::INVAL }));
    let mut capture = capture;
    let error = capture.start(MemoryModel::UserPointer, 4, None).expect_err("refused");
    assert!(
        error.to_string().contains("does not fill user pointers: the driver takes no pages of this process"),
        "{error}"
    );
}

#[test]
fn planes_lie_together_where_the_driver_takes_that_and_on_pages_else() {
    let fake = Fake::new();
    let options = VideoOptions { format: Some(NM12), ..small() };
    fake.state().align = 256;
    let user =
        open(&fake, &options).expect("a capture").model(MemoryModel::UserPointer).expect("a report").clone();
    // 320 x 180 bytes are a multiple of 256, so the second plane begins at one.
    assert_eq!((user.together, user.align, user.room_bytes), (true, 256, 57_600 + 28_800));
    fake.state().align = 1024;
    let mut capture = open(&fake, &options).expect("a capture");
    let user = capture.model(MemoryModel::UserPointer).expect("a report").clone();
    assert_eq!((user.together, user.align, user.room_bytes), (false, 1024, 61_440 + 32_768));
    let pool = pool(2);
    capture.start(MemoryModel::UserPointer, 2, None).expect("started");
    capture.queue(pool.take().expect("a slot"), 1024).expect("queued");
    capture.stream_on().expect("on");
    fake.fill(false);
    let frame = capture.dequeue().expect("a frame").expect("a frame");
    let expected = [Span { offset: 1024, len: 57_600 }, Span { offset: 1024 + 61_440, len: 28_800 }];
    assert_eq!((&frame.spans[..], frame.len, frame.spans.contiguous()), (&expected[..], 86_400, None));
}

#[test]
fn a_device_that_is_used_by_somebody_else_says_so() {
    let fake = Fake::new();
    for _ in 0..3 {
        fake.fail("reqbufs", Errno::BUSY);
    }
    fake.state().supports |= abi::SUPPORTS_DMABUF;
    let error = open(&fake, &VideoOptions::default()).expect_err("in use");
    assert!(matches!(error, VideoError::InUse { call: "VIDIOC_REQBUFS", .. }), "{error}");
    fake.fail("s_fmt", Errno::BUSY);
    let error = open(&fake, &small()).expect_err("in use");
    assert!(matches!(error, VideoError::InUse { call: "VIDIOC_S_FMT", .. }), "{error}");
}

#[test]
fn slots_go_round_and_more_of_them_than_buffers() {
    let (fake, pool) = (Fake::new(), pool(4));
    let mut capture = streaming(&fake, &pool);
    let (slot, error) = capture.queue(pool.take().expect("a slot"), 0).expect_err("full");
    assert_eq!(error.to_string(), "all 2 buffers of fake are queued");
    drop(slot);
    assert!(capture.dequeue().expect("no error").is_none());
    fake.fill(false);
    fake.lose();
    fake.fill(true);
    let first = capture.dequeue().expect("a frame").expect("a frame");
    assert_eq!((first.sequence, first.len, first.is_error), (0, FRAME, false));
    let FrameMemory::Slot(first) = first.memory else { panic!("no slot") };
    // The first one is still away, to a disk, and another takes its buffer.
    capture.queue(pool.take().expect("a slot"), 512).expect("queued");
    let second = capture.dequeue().expect("a frame").expect("a frame");
    assert_eq!((second.sequence, second.is_error), (2, true));
    capture.give_back(second.memory).expect("back");
    fake.fill(false);
    let third = capture.dequeue().expect("a frame").expect("a frame");
    assert_eq!(third.spans.contiguous(), Some(Span { offset: 512, len: FRAME }));
    assert_eq!(pool.free_slots(), 2);
    drop((first, third));
    assert_eq!((pool.free_slots(), capture.free_indices()), (4, 2));
}

#[test]
fn a_slot_goes_to_the_buffer_that_had_it_last() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = streaming(&fake, &pool);
    let places = fake.state().queued.clone();
    fake.fill(false);
    fake.fill(false);
    let slots: Vec<_> =
        (0..2).map(|_| capture.dequeue().expect("a frame").expect("a frame").memory).collect();
    // In the other order.
    for memory in slots.into_iter().rev() {
        capture.queue(memory.into_slot().expect("a slot"), 0).map_err(|(_, error)| error).expect("queued");
    }
    assert_eq!(fake.state().queued.iter().rev().copied().collect::<Vec<_>>(), Vec::from(places));
}

#[test]
fn slots_that_do_not_fit_come_back_with_the_numbers() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = open(&fake, &small()).expect("a capture");
    let (slot, error) = capture.queue(pool.take().expect("a slot"), 0).expect_err("not started");
    assert!(matches!(error, VideoError::State { .. }), "{error}");
    capture.start(MemoryModel::UserPointer, 2, None).expect("started");
    let (slot, error) = capture.queue(slot, 100).expect_err("misaligned");
    let have = 122_880 - 100;
    assert_eq!(error, VideoError::Slot { path: "fake".into(), need: FRAME, align: 512, have, offset: 100 });
    let (slot, error) = capture.queue(slot, 8192).expect_err("too short");
    assert!(matches!(error, VideoError::Slot { have: 114_688, need: FRAME, .. }), "{error}");
    fake.fail("qbuf", Errno::INVAL);
    let (_slot, error) = capture.queue(slot, 0).expect_err("injected");
    assert!(matches!(error, VideoError::Call { call: "VIDIOC_QBUF", errno: Errno::INVAL, .. }), "{error}");
    assert_eq!((pool.free_slots(), capture.free_indices()), (1, 2));
}

#[test]
fn calls_out_of_order_are_refused() {
    let fake = Fake::new();
    let mut capture = open(&fake, &small()).expect("a capture");
    assert!(matches!(capture.stream_on(), Err(VideoError::State { .. })));
    assert!(matches!(capture.dequeue(), Err(VideoError::State { .. })));
    assert_eq!((capture.stream_off(), capture.free_indices()), (Ok(()), 0));
    capture.start(MemoryModel::Mapped, 1, None).expect("started");
    assert!(matches!(capture.dequeue(), Err(VideoError::State { .. })));
    let (_, error) = capture.queue(pool(1).take().expect("a slot"), 0).expect_err("no slots here");
    assert!(matches!(error, VideoError::State { .. }), "{error}");
    fake.fail("streamon", Errno::INVAL);
    assert!(matches!(capture.stream_on(), Err(VideoError::Call { call: "VIDIOC_STREAMON", .. })));
    assert_eq!(capture.stream_on(), Ok(()));
}

#[test]
fn stopping_gives_all_slots_back() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = streaming(&fake, &pool);
    fake.fill(false);
    capture.stream_off().expect("off");
    assert_eq!((pool.free_slots(), capture.free_indices(), fake.state().is_on), (2, 2, false));
    // And again, with other memory.
    capture.start(MemoryModel::Mapped, 2, None).expect("started");
    assert_eq!(capture.free_indices(), 2);
}

#[test]
fn dropping_gives_all_slots_back_and_the_buffers_too() {
    let (fake, pool) = (Fake::new(), pool(2));
    drop(streaming(&fake, &pool));
    assert_eq!((pool.free_slots(), fake.buffers(), fake.is_closed()), (2, 0, false));
}

#[test]
fn a_device_that_is_gone_gives_slots_back_by_being_closed() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = streaming(&fake, &pool);
    fake.fail("dqbuf", Errno::NODEV);
    assert_eq!(
        capture.dequeue().expect_err("gone"),
        VideoError::Disconnected { path: "fake".into(), call: "VIDIOC_DQBUF" }
    );
    assert_eq!(pool.free_slots(), 0);
    fake.fail("streamoff", Errno::NODEV);
    assert!(matches!(capture.stream_off(), Err(VideoError::Disconnected { .. })));
    assert_eq!((pool.free_slots(), fake.is_closed()), (2, true));
    drop(capture);
    assert_eq!(pool.free_slots(), 2);
}

#[test]
fn slots_that_a_device_may_still_write_to_are_leaked() {
    let (fake, three) = (Fake::new(), pool(3));
    let mut capture = streaming(&fake, &three);
    fake.state().close_ends = false;
    fake.fail("streamoff", Errno::NODEV);
    assert!(capture.stream_off().is_err());
    drop(capture);
    assert_eq!((three.free_slots(), fake.is_closed()), (1, true));
    // Any other failure: closing ends it.
    let fake = Fake::new();
    let other = pool(2);
    let mut capture = streaming(&fake, &other);
    fake.fail("streamoff", Errno::IO);
    assert!(matches!(capture.stream_off(), Err(VideoError::Call { call: "VIDIOC_STREAMOFF", .. })));
    assert_eq!((other.free_slots(), fake.is_closed()), (0, false));
    fake.fail("streamoff", Errno::IO);
    drop(capture);
    assert_eq!((other.free_slots(), fake.is_closed()), (2, true));
}

#[test]
fn a_device_that_gives_up_says_so() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = streaming(&fake, &pool);
    fake.fail("dqbuf", Errno::IO);
    let error = capture.dequeue().expect_err("stopped");
    assert_eq!(
        error.to_string(),
        "fake stopped with an error: Input/output error (os error 5) (VIDIOC_DQBUF); nothing more comes until the stream is \
         started again"
    );
    fake.fill(false);
    let memory = capture.dequeue().expect("a frame").expect("a frame").memory;
    fake.fail("qbuf", Errno::IO);
    let (slot, error) = capture.queue(memory.into_slot().expect("a slot"), 0).expect_err("stopped");
    assert!(matches!(error, VideoError::Stopped { call: "VIDIOC_QBUF", .. }), "{error}");
    drop(slot);
    capture.stream_off().expect("off");
    assert_eq!(pool.free_slots(), 2);
}

#[test]
fn a_driver_that_gives_back_what_it_does_not_have_is_caught() {
    let (fake, pool) = (Fake::new(), pool(2));
    let mut capture = streaming(&fake, &pool);
    for index in [0, 2, u32::MAX] {
        fake.invent(index);
        if index == 0 {
            // This one is at the device in truth: the driver takes it back.
            assert!(capture.dequeue().expect("a frame").is_some());
            fake.invent(0);
        }
        let error = capture.dequeue().expect_err("nonsense");
        assert_eq!(error, VideoError::Nonsense { path: "fake".into(), index, count: 2 });
    }
}

#[test]
fn mapped_buffers_are_queued_again_when_their_frames_drop_and_not_before() {
    let fake = Fake::new();
    let mut capture = open(&fake, &small()).expect("a capture");
    assert_eq!(capture.start(MemoryModel::Mapped, 3, None), Ok(3));
    assert_eq!(fake.queued(), 0);
    capture.stream_on().expect("on");
    assert_eq!((fake.queued(), capture.free_indices()), (3, 0));
    fake.fill(false);
    fake.fill(false);
    let first = capture.dequeue().expect("a frame").expect("a frame");
    let second = capture.dequeue().expect("a frame").expect("a frame");
    assert_eq!(
        (first.spans.contiguous(), first.memory.len_bytes()),
        (Some(Span { offset: 0, len: FRAME }), 118_784)
    );
    assert_eq!((fake.queued(), capture.free_indices()), (1, 2));
    capture.give_back(first.memory).expect("back");
    assert_eq!(fake.queued(), 2);
    drop(second);
    assert!(capture.dequeue().expect("no error").is_none());
    assert_eq!(fake.queued(), 3);
    // One that cannot be queued is queued later.
    fake.fill(false);
    let third = capture.dequeue().expect("a frame").expect("a frame");
    fake.fail("qbuf", Errno::INVAL);
    assert!(capture.give_back(third.memory).is_err());
    assert_eq!(fake.queued(), 2);
    assert!(capture.dequeue().expect("no error").is_none());
    assert_eq!(fake.queued(), 3);
}

#[test]
fn mapped_frames_outlive_their_stream_and_do_not_come_back_to_another() {
    let fake = Fake::new();
    let mut capture = open(&fake, &small()).expect("a capture");
    capture.start(MemoryModel::Mapped, 2, None).expect("started");
    capture.stream_on().expect("on");
    fake.fill(false);
    let frame = capture.dequeue().expect("a frame").expect("a frame");
    capture.stream_off().expect("off");
    // The same buffers: this one is still outside.
    capture.stream_on().expect("on");
    assert_eq!(fake.queued(), 1);
    capture.start(MemoryModel::Mapped, 2, None).expect("started");
    capture.stream_on().expect("on");
    assert_eq!(fake.queued(), 2);
    capture.give_back(frame.memory).expect("nowhere");
    assert_eq!(fake.queued(), 2);
    fake.fill(false);
    let frame = capture.dequeue().expect("a frame").expect("a frame");
    drop(capture);
    assert_eq!(frame.memory.as_slice().expect("bytes").iter().filter(|byte| **byte != 0).count(), 0);
}
