//! What a person sees while a copy runs: a bar on a terminal, a status line when SIGUSR1 asks for one.

use std::io::IsTerminal as _;
use std::time::Duration;

use bulkio::copy::{Control, Observer, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::signals::Signals;

/// The bar where the length is known, and where it is not.
const BAR: &str = "{bar:30} {percent:>3}% {bytes:>11}/{total_bytes} {bytes_per_sec:>13} {eta:>4} left  {msg}";
const SPINNER: &str = "{spinner} {bytes:>11} {bytes_per_sec:>13} {elapsed}  {msg}";

pub(crate) struct Watcher<'a> {
    signals: &'a Signals,
    bar: ProgressBar,
    quiet: bool,
    known: bool,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(signals: &'a Signals, quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let target =
            if shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        style(&bar, SPINNER);
        Self { signals, bar, quiet, known: false }
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Observer for Watcher<'_> {
    fn progress(&mut self, progress: &Progress) -> Control {
        if let Some(total) = progress.total_bytes
            && !self.known
        {
            self.known = true;
            self.bar.set_length(total);
            style(&self.bar, BAR);
        }
        self.bar.set_position(progress.done_bytes);
        self.bar.set_message(match progress.phase {
            Phase::Copying => format!("depth {}+{}", progress.reads_in_flight, progress.writes_in_flight),
            Phase::Flushing => "flushing".to_owned(),
            Phase::Done => String::new(),
        });
        if self.signals.take_status() {
            self.bar.suspend(|| eprintln!("{}", status_line(progress)));
        }
        if self.signals.stop().is_some() { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("bulkio: warning: {text}"));
        }
    }
}

fn status_line(progress: &Progress) -> String {
    let done = progress.done_bytes;
    let of = progress.total_bytes.map_or_else(String::new, |total| format!(" of {total}"));
    let phase = match progress.phase {
        Phase::Copying => "copied",
        Phase::Flushing => "flushing",
        Phase::Done => "done",
    };
    let Progress { reads_in_flight, writes_in_flight, .. } = progress;
    format!(
        "bulkio: {phase} {done}{of} bytes in {}, {}, depth {reads_in_flight}+{writes_in_flight}",
        seconds(progress.elapsed),
        rate(per_second(done, progress.elapsed)),
    )
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// A rate in one unit whatever its size, so that two lines compare at a glance.
pub(crate) fn rate(bytes_per_second: u64) -> String {
    let tenths = u128::from(bytes_per_second).saturating_mul(10) >> 20;
    format!("{}.{} MiB/s", tenths / 10, tenths % 10)
}

pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes).saturating_mul(1_000_000_000) / nanos).unwrap_or(u64::MAX)
}
