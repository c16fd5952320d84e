//! What a device with a clock did, in a report: what was agreed on, what was lost and where, how near it came to losing more.

use std::fmt::Write as _;
use std::time::Duration;

use bulkio::copy::{Loss, LossReason, Side, SideReport, StreamReport};
use serde::Serialize;

use crate::progress::seconds;

/// Losses that people are shown; the object has more of them, the sidecar all.
const SHOWN_MAX: usize = 5;

#[derive(Serialize)]
pub(super) struct JsonStream<'a> {
    format: &'a str,
    memory: &'a str,
    /// Why it is no better one; empty where there is nothing to say.
    memory_reason: &'a str,
    /// 0 where frames differ.
    frame_bytes: u64,
    frames: u64,
    dropped: u64,
    errored: u64,
    xruns: u64,
    losses: Vec<JsonLoss>,
    losses_unlisted: u64,
    /// Buffers of a grabber, bytes of a sound device's ring.
    buffers: u64,
    waiting_max: u64,
    latency_max_seconds: f64,
}

#[derive(Serialize)]
struct JsonLoss {
    reason: &'static str,
    at_frame: u64,
    sequence: u64,
    /// `null` where the device does not say.
    count: Option<u64>,
    /// Of `CLOCK_MONOTONIC`, in seconds.
    time: f64,
}

impl<'a> JsonStream<'a> {
    pub(super) fn of(stream: &'a StreamReport) -> Self {
        let loss = |loss: &Loss| JsonLoss {
            reason: loss.reason.name(),
            at_frame: loss.at_frame,
            sequence: loss.sequence,
            count: loss.count,
            time: loss.time.as_secs_f64(),
        };
        Self {
            format: &stream.format,
            memory: &stream.memory,
            memory_reason: &stream.memory_reason,
            frame_bytes: stream.frame_len,
            frames: stream.frames,
            dropped: stream.dropped,
            errored: stream.errored,
            xruns: stream.xruns,
            losses: stream.losses.iter().map(loss).collect(),
            losses_unlisted: stream.losses_unlisted,
            buffers: stream.buffers,
            waiting_max: stream.waiting_max,
            latency_max_seconds: stream.latency_max.as_secs_f64(),
        }
    }
}

/// Returns lines for people about one side, without indentation; none where it has no clock.
pub(super) fn lines(which: Side, side: &SideReport) -> Vec<String> {
    let Some(stream) = &side.stream else { return Vec::new() };
    let is_sound = side.class == "audio";
    let len = match stream.frame_len {
        0 => String::new(),
        len => format!(" of {len} bytes"),
    };
    let mut lines = vec![format!("{}: {}{len}", stream.format, frames(stream.frames))];
    lines.push(if stream.memory_reason.is_empty() {
        format!("memory: {}", stream.memory)
    } else {
        format!("memory: {}; {}", stream.memory, stream.memory_reason)
    });
    lines.push(match sums(stream) {
        Some(sums) => format!("lost: {sums}"),
        None => "nothing was lost".to_owned(),
    });
    lines.extend(stream.losses.iter().take(SHOWN_MAX).map(|loss| loss_line(which, loss)));
    let more = stream.losses.len().saturating_sub(SHOWN_MAX);
    let more = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(stream.losses_unlisted);
    if more > 0 {
        lines.push(format!("and at {more} more places"));
    }
    let mut words = format!(
        "at most {} of {} {} waited",
        stream.waiting_max,
        stream.buffers,
        if is_sound { "bytes" } else { "buffers" },
    );
    if stream.latency_max > Duration::ZERO {
        let transfer = if which == Side::Source { "write" } else { "read" };
        let _ = write!(words, "; the longest {transfer} took {}", seconds(stream.latency_max));
    }
    lines.push(words);
    lines
}

/// What was lost on either side, in words; `None` where nothing was.
pub(super) fn lost(source: &SideReport, destination: &SideReport) -> Option<String> {
    let sides: Vec<String> = [source, destination]
        .into_iter()
        .filter_map(|side| Some(format!("{} lost {}", side.path, sums(side.stream.as_ref()?)?)))
        .collect();
    (!sides.is_empty()).then(|| sides.join("; "))
}

/// The counts of what was lost; `None` where nothing was.
fn sums(stream: &StreamReport) -> Option<String> {
    if !stream.lost() {
        return None;
    }
    let StreamReport { dropped, errored, xruns, .. } = *stream;
    let mut sums = Vec::new();
    if dropped > 0 {
        sums.push(format!("{} dropped by the device", frames(dropped)));
    }
    if errored > 0 {
        sums.push(format!("{} that came damaged", frames(errored)));
    }
    if xruns > 0 {
        sums.push(if xruns == 1 { "sound by 1 xrun".to_owned() } else { format!("sound by {xruns} xruns") });
    }
    Some(sums.join(", "))
}

fn loss_line(which: Side, loss: &Loss) -> String {
    let Loss { reason, at_frame, sequence, count, time } = *loss;
    let place = match at_frame.checked_sub(1) {
        Some(last) => format!("after frame {last} at {}", seconds(time)),
        None => format!("before the first frame at {}", seconds(time)),
    };
    let known = count.map_or_else(|| "an unknown number of frames".to_owned(), frames);
    match (reason, count) {
        (LossReason::Xrun, count) => {
            let ran = if which == Side::Source { "over" } else { "dry" };
            let lost = count.map_or_else(
                || "how much is lost is not known".to_owned(),
                |count| format!("lost {}", frames(count)),
            );
            format!("the ring ran {ran} {place}; {lost}")
        }
        (LossReason::Errored, _) => format!("{known} came damaged (sequence {sequence}) {place}"),
        (LossReason::Short, _) => format!("{known} came short (sequence {sequence}) {place}"),
        (_, Some(count @ 2..)) => {
            let last = sequence.saturating_add(count.saturating_sub(1));
            format!("lost {known} (sequence {sequence} to {last}) {place}")
        }
        _ => format!("lost {known} (sequence {sequence}) {place}"),
    }
}

fn frames(count: u64) -> String {
    if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") }
}

#[cfg(test)]
mod tests {
    use bulkio::copy::{CopyOptions, End, Report, Silent, copy};
    use serde_json::{Value, json};

    use super::super::{human_lines, json as object_of, lost_line};
    use super::*;
    use crate::exit::Exit;

    /// The report of a copy of a file, as if its source were something else.
    fn report(class: &'static str, stream: StreamReport) -> Report {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, b"12 bytes...").expect("a file");
        let options = CopyOptions { sync: false, ..CopyOptions::default() };
        let mut report = copy(End::Path(&from), End::Path(&to), &options, &mut Silent).expect("copied");
        (report.source.class, report.source.path) = (class, "/dev/it".to_owned());
        report.source.stream = Some(stream);
        report
    }

    fn loss(reason: LossReason, at_frame: u64, sequence: u64, count: Option<u64>) -> Loss {
        Loss { reason, at_frame, sequence, count, time: Duration::from_millis(12_345) }
    }

    fn video(losses: Vec<Loss>, dropped: u64, errored: u64) -> StreamReport {
        let mut stream = StreamReport::default();
        stream.format = "YUYV 1280x720 30/1".to_owned();
        stream.memory = "mapped".to_owned();
        stream.memory_reason = "the driver takes no user pointers".to_owned();
        (stream.frame_len, stream.frames) = (1_843_200, 600);
        (stream.losses, stream.dropped, stream.errored) = (losses, dropped, errored);
        (stream.buffers, stream.waiting_max) = (64, 5);
        stream.latency_max = Duration::from_millis(78);
        stream
    }

    #[test]
    fn people_read_what_was_agreed_and_that_nothing_was_lost() {
        let report = report("video", video(Vec::new(), 0, 0));
        let text = human_lines(&report, None);
        for line in [
            "YUYV 1280x720 30/1: 600 frames of 1843200 bytes",
            "memory: mapped; the driver takes no user pointers",
            "nothing was lost",
            "at most 5 of 64 buffers waited; the longest write took 0.078 s",
        ] {
            assert!(text.lines().any(|found| found.trim_start() == line), "no {line:?} in {text}");
        }
        assert_eq!(lost_line(&report), None);
    }

    #[test]
    fn people_read_where_frames_were_lost() {
        let losses = vec![
            loss(LossReason::Dropped, 17, 17, Some(3)),
            loss(LossReason::Dropped, 0, 0, Some(1)),
            loss(LossReason::Errored, 20, 25, Some(1)),
            loss(LossReason::Short, 20, 26, Some(1)),
            loss(LossReason::Dropped, 21, 28, None),
            loss(LossReason::Dropped, 22, 30, Some(1)),
        ];
        let mut stream = video(losses, 5, 2);
        stream.losses_unlisted = 7;
        let report = report("video", stream);
        let text = human_lines(&report, None);
        for line in [
            "lost: 5 frames dropped by the device, 2 frames that came damaged",
            "lost 3 frames (sequence 17 to 19) after frame 16 at 12.345 s",
            "lost 1 frame (sequence 0) before the first frame at 12.345 s",
            "1 frame came damaged (sequence 25) after frame 19 at 12.345 s",
            "1 frame came short (sequence 26) after frame 19 at 12.345 s",
            "lost an unknown number of frames (sequence 28) after frame 20 at 12.345 s",
            "and at 8 more places",
        ] {
            assert!(text.lines().any(|found| found.trim_start() == line), "no {line:?} in {text}");
        }
        assert!(!text.contains("sequence 30"), "{text}");
        assert_eq!(
            lost_line(&report).as_deref(),
            Some(
                "data was lost: /dev/it lost 5 frames dropped by the device, 2 frames that came damaged; the report lists where"
            )
        );
    }

    #[test]
    fn people_read_about_xruns() {
        let mut stream = StreamReport::default();
        stream.losses =
            vec![loss(LossReason::Xrun, 48_000, 0, Some(512)), loss(LossReason::Xrun, 96_000, 0, None)];
        (stream.xruns, stream.buffers, stream.waiting_max) = (2, 65_536, 60_000);
        let mut report = report("audio", stream.clone());
        let lines = lines(Side::Source, &report.source);
        assert!(lines.contains(&"lost: sound by 2 xruns".to_owned()), "{lines:?}");
        assert!(
            lines.contains(&"the ring ran over after frame 47999 at 12.345 s; lost 512 frames".to_owned()),
            "{lines:?}"
        );
        assert_eq!(lines.last().expect("some"), "at most 60000 of 65536 bytes waited");
        let dry = super::lines(Side::Destination, &report.source);
        let line = "the ring ran dry after frame 95999 at 12.345 s; how much is lost is not known";
        assert!(dry.contains(&line.to_owned()), "{dry:?}");
        stream.xruns = 1;
        report.destination.stream = Some(stream);
        report.destination.path = "hw:0,0".to_owned();
        let line = lost_line(&report).expect("lost");
        assert!(line.contains("/dev/it lost sound by 2 xruns; hw:0,0 lost sound by 1 xrun;"), "{line}");
    }

    #[test]
    fn programs_read_the_same() {
        let report = report("video", video(vec![loss(LossReason::Dropped, 17, 17, Some(3))], 3, 0));
        let object: Value =
            serde_json::from_str(&object_of(Exit::Lost, Some(&report), None, None)).expect("an object");
        assert_eq!(
            object["source"]["stream"],
            json!({
                "format": "YUYV 1280x720 30/1", "memory": "mapped", "memory_reason": "the driver takes no user pointers",
                "frame_bytes": 1_843_200, "frames": 600, "dropped": 3, "errored": 0, "xruns": 0,
                "losses": [{"reason": "dropped", "at_frame": 17, "sequence": 17, "count": 3, "time": 12.345}],
                "losses_unlisted": 0, "buffers": 64, "waiting_max": 5, "latency_max_seconds": 0.078
            })
        );
        assert_eq!(object["destination"]["stream"], Value::Null);
    }
}
