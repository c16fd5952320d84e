//! How a stream with a clock is doing, in one line: frames, frames a second, losses, what waits, and how late the other end is.
//!
//! [`Pace`] measures over the last second or so: an average since the start would hide a device that has just slowed down.

use std::time::Duration;

use bulkio::copy::StreamProgress;

/// How long frames are counted before their rate is told.
const WINDOW: Duration = Duration::from_secs(1);

/// How long none may be there before that is told as a rate: sound is written in pieces of seconds.
const PAUSE: Duration = Duration::from_secs(5);

/// What waits for the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// Buffers of a grabber.
    Buffers,
    /// Bytes of a sound device's ring.
    Bytes,
}

/// Measures frames a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    waiting: Waiting,
    /// Where the window began: the time, and the frames before.
    from: (Duration, u64),
    /// Frames a second of the last window.
    last: Option<f64>,
}

impl Pace {
    pub(crate) const fn new(waiting: Waiting) -> Self {
        Self { waiting, from: (Duration::ZERO, 0), last: None }
    }

    /// Hears how many frames there are after `elapsed`.
    pub(crate) fn hear(&mut self, elapsed: Duration, frames: u64) {
        let (since, before) = self.from;
        let time = elapsed.saturating_sub(since);
        if time >= PAUSE || time >= WINDOW && frames > before {
            self.last = Some(a_second(frames.saturating_sub(before), time));
            self.from = (elapsed, frames);
        }
    }

    /// One line for people.
    pub(crate) fn words(&self, elapsed: Duration, stream: &StreamProgress) -> String {
        let of = stream.frames_total.map_or_else(String::new, |total| format!(" of {total}"));
        let fps = self.last.unwrap_or_else(|| a_second(stream.frames, elapsed));
        let StreamProgress { frames, lost, xruns, waiting, buffers, latency, .. } = *stream;
        let unit = match self.waiting {
            Waiting::Buffers => "buffers",
            Waiting::Bytes => "bytes",
        };
        let late = latency.as_secs_f64() * 1000.0;
        let mut losses = Vec::new();
        // A grabber has no ring that could run over, and a ring drops no single frames.
        if self.waiting == Waiting::Buffers || lost > 0 {
            losses.push(format!("{lost} lost"));
        }
        if self.waiting == Waiting::Bytes || xruns > 0 {
            losses.push(format!("{xruns} xruns"));
        }
        format!(
            "{frames}{of} frames, {fps:.2}/s, {}, {waiting} of {buffers} {unit} waiting, disk {late:.1} ms",
            losses.join(", ")
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn a_second(frames: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { frames as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: u64, frames_total: Option<u64>) -> StreamProgress {
        let latency = Duration::from_micros(12_340);
        StreamProgress { frames, frames_total, lost: 2, xruns: 0, waiting: 3, buffers: 64, latency }
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        let mut pace = Pace::new(Waiting::Buffers);
        let half = Duration::from_millis(500);
        pace.hear(half, 15);
        assert_eq!(
            pace.words(half, &stream(15, Some(600))),
            "15 of 600 frames, 30.00/s, 2 lost, 3 of 64 buffers waiting, disk 12.3 ms"
        );
        pace.hear(2 * half, 30);
        // Then half as many come.
        pace.hear(3 * half, 37);
        assert!(pace.words(3 * half, &stream(37, None)).starts_with("37 frames, 30.00/s"));
        pace.hear(4 * half, 45);
        assert!(pace.words(4 * half, &stream(45, None)).starts_with("45 frames, 15.00/s"));
    }

    #[test]
    fn pieces_of_seconds_do_not_look_like_a_pause() {
        let mut pace = Pace::new(Waiting::Bytes);
        let words = |pace: &Pace, seconds: u64, frames: u64| {
            let words = pace.words(Duration::from_secs(seconds), &stream(frames, None));
            words.split(", ").nth(1).expect("a rate").to_owned()
        };
        for (seconds, frames, rate) in [
            (3, 144_000, "48000.00/s"),
            (4, 144_000, "48000.00/s"),
            (6, 288_000, "48000.00/s"),
            (10, 288_000, "48000.00/s"),
            (11, 288_000, "0.00/s"),
        ] {
            pace.hear(Duration::from_secs(seconds), frames);
            assert_eq!(words(&pace, seconds, frames), rate, "after {seconds} s");
        }
    }

    #[test]
    fn nothing_has_come_yet() {
        let pace = Pace::new(Waiting::Bytes);
        let words = pace.words(Duration::ZERO, &StreamProgress::default());
        assert!(words == "0 frames, 0.00/s, 0 xruns, 0 of 0 bytes waiting, disk 0.0 ms", "{words}");
    }
}
