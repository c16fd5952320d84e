//! What a device does not give is refused, with what it gives; nodes that give no frames are refused by what they are.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bulkio::device::video::{Capture, FourCc, Rates, Sizes, VideoError, VideoOptions, describe};
use bulkio::probe::{CharClass, Kind};

use super::support::{NODES, OTHERS, PAGES, open, small};
use crate::or_skip;
use crate::support::in_lab;

fn refused(node: &str, options: &VideoOptions) -> VideoError {
    Capture::open(Path::new(node), options).expect_err("not there")
}

#[test]
fn formats_sizes_and_rates_are_as_asked_or_refused_with_what_there_is() {
    const NAME: &str = "video::refusals::formats_sizes_and_rates_are_as_asked_or_refused_with_what_there_is";
    or_skip!(NAME, in_lab("video"));
    let grey: FourCc = "GREY".parse().unwrap();
    for node in NODES {
        let options = VideoOptions { input: Some(0), format: Some(grey), ..small() };
        let capture = open(node, &options);
        let format = capture.format();
        assert_eq!((format.fourcc, format.width, format.height), (grey, 320, 180), "{node}");
        assert_eq!((format.frame_len, format.planes.len()), (320 * 180, 1));
        assert_eq!(format.rate, small().rate);
        assert_eq!(capture.driver(), "vivid");
        drop(capture);
        let before = describe(Path::new(node)).unwrap().format;
        let none = VideoOptions::default();
        let error = refused(node, &VideoOptions { format: Some("ABCD".parse().unwrap()), ..none });
        assert!(error.to_string().contains("does not give ABCD; it gives YUYV, UYVY, "), "{error}");
        let error = refused(node, &VideoOptions { size: Some((321, 180)), ..none });
        let expected =
            "does not give 321x180 in GREY; the nearest is 320x180, and it gives 320x180, 640x360, 640x480, ";
        assert!(error.to_string().contains(expected), "{error}");
        let error = refused(node, &VideoOptions { rate: Some("29.97".parse().unwrap()), ..none });
        assert!(
            error.to_string().contains("does not give 30000/1001 frames per second at 320x180 in GREY"),
            "{error}"
        );
        assert!(error.to_string().contains("25/1, 30/1, 40/1, "), "{error}");
        let error = refused(node, &VideoOptions { input: Some(9), ..none });
        assert!(
            error.to_string().contains("has no input 9") && error.to_string().contains("1 (TV"),
            "{error}"
        );
        assert!(error.is_refusal());
        let after = describe(Path::new(node)).unwrap().format;
        assert_eq!((after.fourcc, after.width, after.height), (before.fourcc, before.width, before.height));
    }
}

#[test]
fn a_grabber_is_described_without_a_change() {
    const NAME: &str = "video::refusals::a_grabber_is_described_without_a_change";
    or_skip!(NAME, in_lab("video"));
    drop(open(PAGES, &small()));
    let facts = describe(Path::new(PAGES)).unwrap();
    assert_eq!((facts.driver.as_str(), facts.card.as_str()), ("vivid", "vivid"));
    assert!(facts.bus.starts_with("platform:vivid"), "{}", facts.bus);
    assert_eq!((facts.inputs.len(), facts.input), (4, Some(0)));
    assert!(facts.formats.len() > 50, "{}", facts.formats.len());
    let yuyv = facts.formats.iter().find(|format| format.fourcc.name() == "YUYV").unwrap();
    let Sizes::Discrete(sizes) = &yuyv.sizes else { panic!("{:?}", yuyv.sizes) };
    let small = sizes.iter().find(|size| (size.width, size.height) == (320, 180)).unwrap();
    let Rates::Discrete(rates) = &small.rates else { panic!("{:?}", small.rates) };
    assert!(rates.contains(&"60".parse().unwrap()) && rates.contains(&"1".parse().unwrap()));
    let models = facts.models.iter().map(|report| report.works()).collect::<Vec<_>>();
    assert_eq!(models, [true, true, true]);
    assert_eq!(describe(Path::new(PAGES)).unwrap(), facts);
    let kind = bulkio::probe::probe_path(Path::new(PAGES)).unwrap().kind;
    assert!(matches!(kind, Kind::CharDevice { class: CharClass::Video, .. }), "{kind:?}");
}

#[test]
fn nodes_that_give_no_frames_are_refused_by_what_they_are() {
    const NAME: &str = "video::refusals::nodes_that_give_no_frames_are_refused_by_what_they_are";
    or_skip!(NAME, in_lab("video"));
    for (name, words, is_video) in OTHERS {
        let node = super::support::node_named(name);
        assert_eq!(Capture::is_capture(&node), is_video, "{name}");
        let error = Capture::open(&node, &VideoOptions::default()).expect_err("no grabber");
        assert!(matches!(error, VideoError::NotCapture { .. }), "{error}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
}

#[test]
fn a_device_in_use_names_its_user() {
    const NAME: &str = "video::refusals::a_device_in_use_names_its_user";
    or_skip!(NAME, in_lab("video"));
    drop(open(PAGES, &small()));
    // One number for the shell and for what it becomes.
    let words = format!(
        "exec v4l2-ctl -d {PAGES} --stream-mmap=3 --stream-count=100000 --stream-to=/dev/null --verbose 2>&1"
    );
    let mut user = Command::new("sh").args(["-c", &words]).stdout(Stdio::piped()).spawn().unwrap();
    let holder = format!("v4l2-ctl (pid {})", user.id());
    let mut lines = BufReader::new(user.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("cap dqbuf")), "v4l2-ctl gets no frames");
    let found = Capture::open(Path::new(PAGES), &small()).err();
    let facts = describe(Path::new(PAGES)).unwrap();
    drop(lines);
    user.kill().unwrap();
    user.wait().unwrap();
    let error = found.unwrap();
    assert!(matches!(error, VideoError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&holder), "{error}");
    // It can be described all the same, but for what would have to be tried.
    assert!(facts.models.iter().all(|report| !report.works()), "{:?}", facts.models);
    assert!(
        facts.models.iter().all(|report| report.refusal.as_ref().unwrap().to_string().contains("in use"))
    );
    drop(open(PAGES, &small()));
}
