//! Faults that `vivid` injects: typed errors, nothing hangs, and every slot is back.

use bulkio::device::video::{Capture, MemoryModel, Sequence, VideoError};

use super::support::{LOST, NODES, PAGES, Running, next, open, set, small};
use crate::or_skip;
use crate::support::in_lab;

/// All kinds of memory that work on a node.
fn models(node: &str) -> Vec<MemoryModel> {
    let capture = open(node, &small());
    capture.models().iter().filter(|report| report.works()).map(|report| report.model).collect()
}

fn start(node: &str, model: MemoryModel) -> Running {
    Running::start(open(node, &small()), model).unwrap_or_else(|error| panic!("{node} {model}: {error}"))
}

#[test]
fn dropped_frames_are_counted() {
    const NAME: &str = "video::faults::dropped_frames_are_counted";
    or_skip!(NAME, in_lab("video"));
    set(PAGES, &[("percentage_of_dropped_buffers", 50)]);
    for model in models(PAGES) {
        let mut running = start(PAGES, model);
        let (mut sequence, mut missing, mut first, mut last) = (Sequence::new(), 0, None, 0);
        for _ in 0..40 {
            let frame = running.next().unwrap();
            missing += u64::from(sequence.next(frame.sequence));
            first.get_or_insert(frame.sequence);
            last = frame.sequence;
            running.capture.give_back(frame.memory).unwrap();
        }
        // What did not come of all that the device counted.
        let counted = u64::from(last - first.unwrap()) + 1;
        assert_eq!(counted + sequence.repeated(), 40 + missing, "{model}");
        assert_eq!(sequence.missing(), missing);
        // Of a chance of one half each: 2 or fewer of 40 would be one case in a thousand million.
        assert!(missing > 2, "{model}: {missing} missing");
    }
    set(PAGES, &[("percentage_of_dropped_buffers", 0)]);
}

#[test]
fn numbers_that_go_round_lose_nothing() {
    const NAME: &str = "video::faults::numbers_that_go_round_lose_nothing";
    or_skip!(NAME, in_lab("video"));
    // The device begins 128 frames before the numbers go round.
    set(PAGES, &[("wrap_sequence_number", 1)]);
    let mut running = start(PAGES, MemoryModel::UserPointer);
    let (mut sequence, mut frames, mut first) = (Sequence::new(), 0_u32, None);
    let last = loop {
        let frame = running.next().unwrap();
        sequence.next(frame.sequence);
        frames += 1;
        first.get_or_insert(frame.sequence);
        if frame.sequence < u32::MAX / 2 && frame.sequence >= 3 {
            break frame.sequence;
        }
        assert!(frames < 1000, "frame {}", frame.sequence);
    };
    set(PAGES, &[("wrap_sequence_number", 0)]);
    let first = first.unwrap();
    assert!(first >= u32::MAX - 127, "{first}");
    let counted = u64::from(last.wrapping_sub(first)) + 1;
    assert_eq!(sequence.missing() + u64::from(frames), counted + sequence.repeated());
}

#[test]
fn a_frame_that_may_be_wrong_says_so() {
    const NAME: &str = "video::faults::a_frame_that_may_be_wrong_says_so";
    or_skip!(NAME, in_lab("video"));
    for model in models(PAGES) {
        let mut running = start(PAGES, model);
        let frame = running.next().unwrap();
        assert!(!frame.is_error);
        running.capture.give_back(frame.memory).unwrap();
        set(PAGES, &[("inject_v4l2_buf_flag_error", 1)]);
        // It is the next that is filled; some are filled already.
        let wrong = (0..60).position(|_| {
            let frame = running.next().unwrap();
            let is_error = frame.is_error;
            running.capture.give_back(frame.memory).unwrap();
            is_error
        });
        assert!(wrong.is_some(), "{model}");
    }
}

#[test]
fn calls_that_fail_are_named_and_leave_nothing_behind() {
    const NAME: &str = "video::faults::calls_that_fail_are_named_and_leave_nothing_behind";
    or_skip!(NAME, in_lab("video"));
    for model in models(PAGES) {
        let named = |error: &VideoError| match error {
            VideoError::Call { call, errno, .. } => Some((*call, errno.raw_os_error())),
            _ => None,
        };
        // The device is opened first, since trying is calls, too.
        let mut capture = open(PAGES, &small());
        set(PAGES, &[("inject_vidioc_reqbufs_error", 1)]);
        let error = capture.start(model, 4, Some(&super::support::pool(&capture, model))).unwrap_err();
        assert_eq!(named(&error), Some(("VIDIOC_REQBUFS", libc::EINVAL)), "{error}");

        let (pool, mut capture) = (super::support::pool(&capture, model), capture);
        capture.start(model, 4, Some(&pool)).unwrap();
        set(PAGES, &[("inject_vidioc_qbuf_error", 1)]);
        let error = if model.takes_slots() {
            let (slot, error) = capture.queue(pool.take().unwrap(), 0).unwrap_err();
            capture.queue(slot, 0).map_err(|(_, error)| error).unwrap();
            error
        } else {
            capture.stream_on().unwrap_err()
        };
        assert_eq!(named(&error), Some(("VIDIOC_QBUF", libc::EINVAL)), "{error}");

        set(PAGES, &[("inject_vidioc_streamon_error", 1)]);
        let error = capture.stream_on().unwrap_err();
        assert_eq!(named(&error), Some(("VIDIOC_STREAMON", libc::EINVAL)), "{error}");
        // And then it works.
        capture.stream_on().unwrap();
        next(&mut capture).unwrap();
        capture.stream_off().unwrap();
        assert_eq!(pool.free_slots(), pool.slots(), "{model}");
    }
}

#[test]
fn a_device_that_gives_up_ends_the_stream_and_can_be_started_again() {
    const NAME: &str = "video::faults::a_device_that_gives_up_ends_the_stream_and_can_be_started_again";
    or_skip!(NAME, in_lab("video"));
    for node in NODES {
        for model in models(node) {
            let mut running = start(node, model);
            running.next().unwrap();
            set(node, &[("inject_fatal_streaming_error", 1)]);
            let error = until_error(&mut running);
            assert!(matches!(error, VideoError::Stopped { .. }), "{node} {model}: {error}");
            running.capture.stream_off().unwrap();
            let pool = &running.pool;
            assert_eq!(pool.free_slots(), pool.slots(), "{node} {model}");
            let Running { capture, model, .. } = running;
            let mut again = Running::start(capture, model).unwrap();
            again.next().unwrap();
        }
    }
}

/// Takes frames until there is an error; they go back.
fn until_error(running: &mut Running) -> VideoError {
    for _ in 0..100 {
        match running.next() {
            Ok(frame) => drop(frame),
            Err(error) => return error,
        }
    }
    panic!("no error within 100 frames");
}

#[test]
fn a_device_that_is_unplugged_gives_every_slot_back() {
    const NAME: &str = "video::faults::a_device_that_is_unplugged_gives_every_slot_back";
    or_skip!(NAME, in_lab("video"));
    for model in models(LOST) {
        let mut running = start(LOST, model);
        let kept = running.next().unwrap();
        set(LOST, &[("disconnect", 1)]);
        let error = until_error(&mut running);
        assert!(matches!(error, VideoError::Disconnected { .. }), "{model}: {error}");
        let slots = running.pool.slots();
        let error = running.capture.stream_off().unwrap_err();
        assert!(
            matches!(error, VideoError::Disconnected { call: "VIDIOC_STREAMOFF", .. }),
            "{model}: {error}"
        );
        let kept_slots = usize::from(model.takes_slots());
        assert_eq!(running.pool.free_slots(), slots - kept_slots, "{model}");
        // A frame that was taken before is still there to be read.
        let len = kept.memory.as_slice().unwrap().len();
        assert!(len >= usize::try_from(kept.len).unwrap());
        let pool = running.pool.clone();
        drop(running);
        drop(kept);
        assert_eq!(pool.free_slots(), slots, "{model}");
        // The emulated device comes back when its last user has gone.
        let capture: Capture = open(LOST, &small());
        assert!(capture.model(model).unwrap().works());
    }
}

#[test]
fn a_capture_that_is_dropped_in_the_middle_gives_every_slot_back() {
    const NAME: &str = "video::faults::a_capture_that_is_dropped_in_the_middle_gives_every_slot_back";
    or_skip!(NAME, in_lab("video"));
    for node in NODES {
        for model in models(node) {
            let mut running = start(node, model);
            let frame = running.next().unwrap();
            let pool = running.pool.clone();
            drop(running);
            let away = usize::from(model.takes_slots());
            assert_eq!(pool.free_slots(), pool.slots() - away, "{node} {model}");
            // What was taken keeps its bytes, also where another stream fills the device's memory.
            let before = frame.memory.as_slice().unwrap().to_vec();
            let mut other = start(node, model);
            (0..6).for_each(|_| drop(other.next().unwrap()));
            assert!(*frame.memory.as_slice().unwrap() == before[..], "{node} {model}");
        }
    }
}
