//! A copy while it runs: the bar, the status line, and the [`Watch`] that the signals' thread reads.
//!
//! [`Watcher`] is what the library calls; it passes everything on to the watch and the bar. The bar shows only
//! on a terminal. Contract: a stop that was asked for is passed on with the next call.

use std::io::{IsTerminal as _, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkio::copy::{Control, Observer, Phase, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::screen::Screen;
use crate::size;

/// What is known of the copy at the moment, for both threads.
#[derive(Debug)]
pub(crate) struct Watch {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    started: Instant,
    /// What the library said last; `None` before it has begun.
    pub(crate) progress: Option<Progress>,
    /// The signal that asked for an end.
    pub(crate) stopped_by: Option<i32>,
    /// The copy has returned: what is to be said about it is being said.
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
    pub(crate) fn end(&self) -> Option<i32> {
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
            let seconds = self.started.elapsed().as_secs_f64();
            return format!("bulkio: opening both ends, since {seconds:.1} s; 0 bytes copied");
        };
        let done = progress.done_bytes;
        let seconds = progress.elapsed.as_secs_f64();
        let total = match progress.total_bytes {
            Some(total) => format!(" of {total} bytes ({}%)", percent(done, total)),
            None => " bytes".to_owned(),
        };
        let rate = rate(progress).map_or(String::new(), |rate| format!(", {}", size::show_rate(rate)));
        let left = time_left(progress).map_or(String::new(), |left| format!(", {left:.0} s left"));
        let phase = phase_name(progress.phase);
        format!(
            "bulkio: {phase}: {done}{total} in {seconds:.1} s{rate}{left}; in flight: {}",
            depth_in_use(progress)
        )
    }
}

/// Watches a copy for the library.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Arc<Watch>,
    screen: Arc<Screen>,
    wants_bar: bool,
    bar: Option<Bar>,
}

impl Watcher {
    pub(crate) fn new(watch: Arc<Watch>, screen: Arc<Screen>, quiet: bool) -> Self {
        let wants_bar = !quiet && stderr().is_terminal();
        Self { watch, screen, wants_bar, bar: None }
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
            let screen = &self.screen;
            let bar = self.bar.get_or_insert_with(|| Bar::new(progress.total_bytes, screen));
            bar.show(progress);
        }
        control
    }

    fn warning(&mut self, text: &str) {
        self.screen.say(&format!("bulkio: warning: {text}"));
    }
}

/// The bar on the terminal.
#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    knows_total: bool,
}

impl Bar {
    fn new(total: Option<u64>, screen: &Screen) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        screen.show_bar(bar.clone());
        let bar = Self { bar, knows_total: total.is_some() };
        bar.style();
        bar
    }

    fn style(&self) {
        let template = if self.knows_total {
            "{bar:24} {percent:>3}% {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left, {msg}"
        } else {
            "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}, {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn show(&mut self, progress: &Progress) {
        // A stream tells its length when it ends.
        if let Some(total) = progress.total_bytes
            && !self.knows_total
        {
            self.knows_total = true;
            self.bar.set_length(total);
            self.style();
        }
        self.bar.set_position(progress.done_bytes);
        self.bar.set_message(match progress.phase {
            Phase::Copying => depth_in_use(progress),
            phase => phase_name(phase).to_owned(),
        });
    }
}

fn depth_in_use(progress: &Progress) -> String {
    format!("{} reads, {} writes", progress.reads_in_flight, progress.writes_in_flight)
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Copying => "copying",
        Phase::Flushing => "flushing",
        Phase::Done => "done",
    }
}

fn percent(done: u64, total: u64) -> u64 {
    let percent = u128::from(done).saturating_mul(100).checked_div(u128::from(total)).unwrap_or(100);
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// Bytes per second up to now; `None` while there are none.
fn rate(progress: &Progress) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
    let done = progress.done_bytes as f64;
    let seconds = progress.elapsed.as_secs_f64();
    (seconds > 0.0 && done > 0.0).then(|| done / seconds)
}

fn time_left(progress: &Progress) -> Option<f64> {
    let rest = progress.total_bytes?.checked_sub(progress.done_bytes)?;
    #[expect(clippy::cast_precision_loss, reason = "a guess, shown in whole seconds")]
    let rest = rest as f64;
    Some(rest / rate(progress)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(done_bytes: u64, total_bytes: Option<u64>, phase: Phase) -> State {
        let progress = Progress {
            phase,
            done_bytes,
            total_bytes,
            elapsed: Duration::from_secs(2),
            reads_in_flight: 3,
            writes_in_flight: 8,
        };
        State { started: Instant::now(), progress: Some(progress), stopped_by: None, over: false }
    }

    #[test]
    fn the_status_line_says_how_far_it_is() {
        assert_eq!(
            state(1 << 20, Some(4 << 20), Phase::Copying).line(),
            "bulkio: copying: 1048576 of 4194304 bytes (25%) in 2.0 s, 512 KiB/s, 6 s left; \
             in flight: 3 reads, 8 writes"
        );
        assert_eq!(
            state(7, None, Phase::Flushing).line(),
            "bulkio: flushing: 7 bytes in 2.0 s, 3 bytes/s; in flight: 3 reads, 8 writes"
        );
        assert!(state(0, Some(0), Phase::Copying).line().contains("0 of 0 bytes (100%)"));
    }

    #[test]
    fn before_the_copy_the_status_line_says_so() {
        let mut state = state(0, None, Phase::Copying);
        state.progress = None;
        assert!(state.line().contains("opening both ends"), "{}", state.line());
    }

    #[test]
    fn a_stop_is_passed_on_with_the_next_call() {
        let watch = Watch::new();
        let mut watcher = Watcher::new(Arc::clone(&watch), Arc::default(), true);
        let progress = state(0, None, Phase::Copying).progress.expect("some");
        assert_eq!(watcher.progress(&progress), Control::Go);
        watch.lock().stopped_by = Some(2);
        assert_eq!(watcher.progress(&progress), Control::Stop);
        assert_eq!(watch.end(), Some(2));
    }
}
