//! What a person sees while a copy runs: a bar on a terminal, a status line when SIGUSR1 asks for one.
//!
//! [`Watcher`] hears from the library, and leaves what it hears in the [`Watch`], where the thread that hears
//! signals finds it. Contract: a stop that was asked for is passed on with the library's next call.

use std::io::{IsTerminal as _, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkio::copy::{Control, Observer, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;

/// The bar where the length is known, and where it is not.
const BAR: &str = "{bar:30} {percent:>3}% {bytes:>11}/{total_bytes} {bytes_per_sec:>13} {eta:>4} left  {msg}";
const SPINNER: &str = "{spinner} {bytes:>11} {bytes_per_sec:>13} {elapsed}  {msg}";

/// What is known of the copy at the moment, for both threads.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    started: Instant,
    /// What the library said last; `None` before the copy has begun.
    pub(crate) progress: Option<Progress>,
    /// The signal that asked for an end.
    pub(crate) stopped_by: Option<u8>,
    /// The copy has returned, and its outcome is being told.
    pub(crate) over: bool,
}

impl Watch {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { started: Instant::now(), progress: None, stopped_by: None, over: false };
        Arc::new(Self { state: Mutex::new(state), told: Condvar::new() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the library has said something or the copy is over, at most this long.
    pub(crate) fn wait_for_begin(&self, time_max: Duration) -> MutexGuard<'_, State> {
        let waits = |state: &mut State| state.progress.is_none() && !state.over;
        let waited = self.told.wait_timeout_while(self.lock(), time_max, waits);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state)
    }

    /// Marks the end, and returns the signal that asked for it, if one did.
    pub(crate) fn end(&self) -> Option<u8> {
        let mut state = self.lock();
        state.over = true;
        self.told.notify_all();
        state.stopped_by
    }
}

impl State {
    /// One line that says how far the copy is.
    pub(crate) fn line(&self) -> String {
        let Some(progress) = &self.progress else {
            let waited = seconds(self.started.elapsed());
            return format!("bulkio: opening source and destination, for {waited}; copied 0 bytes");
        };
        status_line(progress)
    }
}

/// Watches a copy for the library.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Arc<Watch>,
    screen: Arc<Screen>,
    wants_bar: bool,
    bar: Option<ProgressBar>,
    knows_total: bool,
}

impl Watcher {
    pub(crate) fn new(watch: Arc<Watch>, screen: Arc<Screen>, quiet: bool) -> Self {
        let wants_bar = !quiet && stderr().is_terminal();
        Self { watch, screen, wants_bar, bar: None, knows_total: false }
    }

    fn show(&mut self, progress: &Progress) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            style(&bar, SPINNER);
            self.screen.show_bar(bar.clone());
            bar
        });
        // A stream tells its length when it ends.
        if let Some(total) = progress.total_bytes
            && !self.knows_total
        {
            self.knows_total = true;
            bar.set_length(total);
            style(bar, BAR);
        }
        bar.set_position(progress.done_bytes);
        bar.set_message(match progress.phase {
            Phase::Copying => depth_in_use(progress),
            Phase::Flushing => "flushing".to_owned(),
            Phase::Done => String::new(),
        });
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl Observer for Watcher {
    fn progress(&mut self, progress: &Progress) -> Control {
        let control = {
            let mut state = self.watch.lock();
            state.progress = Some(*progress);
            self.watch.told.notify_all();
            if state.stopped_by.is_some() { Control::Stop } else { Control::Go }
        };
        if self.wants_bar {
            self.show(progress);
        }
        control
    }

    fn warning(&mut self, text: &str) {
        self.screen.say(&format!("bulkio: warning: {text}"));
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
    format!(
        "bulkio: {phase} {done}{of} bytes in {}, {}, {}",
        seconds(progress.elapsed),
        rate(per_second(done, progress.elapsed)),
        depth_in_use(progress),
    )
}

fn depth_in_use(progress: &Progress) -> String {
    format!("depth {}+{}", progress.reads_in_flight, progress.writes_in_flight)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(phase: Phase, done_bytes: u64, total_bytes: Option<u64>) -> Progress {
        let elapsed = Duration::from_secs(2);
        Progress { phase, done_bytes, total_bytes, elapsed, reads_in_flight: 3, writes_in_flight: 8 }
    }

    #[test]
    fn the_status_line_says_how_far_it_is() {
        assert_eq!(
            status_line(&progress(Phase::Copying, 1 << 20, Some(4 << 20))),
            "bulkio: copied 1048576 of 4194304 bytes in 2.000 s, 0.5 MiB/s, depth 3+8"
        );
        assert_eq!(
            status_line(&progress(Phase::Flushing, 7, None)),
            "bulkio: flushing 7 bytes in 2.000 s, 0.0 MiB/s, depth 3+8"
        );
    }

    #[test]
    fn a_stop_is_passed_on_with_the_next_call() {
        let watch = Watch::new();
        assert!(watch.lock().line().contains("opening source and destination"));
        let mut watcher = Watcher::new(Arc::clone(&watch), Arc::default(), true);
        let progress = progress(Phase::Copying, 0, None);
        assert_eq!(watcher.progress(&progress), Control::Go);
        watch.lock().stopped_by = Some(2);
        assert_eq!(watcher.progress(&progress), Control::Stop);
        assert_eq!(watch.end(), Some(2));
    }
}
