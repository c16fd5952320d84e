//! What a person sees while a copy runs: a bar on a terminal, a status line when SIGUSR1 asks for one.
//!
//! [`Watcher`] hears from the library, and leaves what it hears in the [`Watch`], where the thread that hears
//! signals finds it. Contract: a stop that was asked for is passed on with the library's next call.

use std::io::{IsTerminal as _, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkio::copy::{
    Control, LostRange, Observer, Overwrite, Phase, Progress, ReadFailure, Start, StreamEvent,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::events::Events;
use crate::pace::{Pace, Waiting};
use crate::question::Question;
use crate::screen::Screen;
use crate::sidecar::{Sidecar, Written};

/// The bar where the length is known, and where it is not.
const BAR: &str = "{bar:30} {percent:>3}% {bytes:>11}/{total_bytes} {bytes_per_sec:>13} {eta:>4} left  {msg}";
const SPINNER: &str = "{spinner} {bytes:>11} {bytes_per_sec:>13} {elapsed}  {msg}";

/// The same of a stream with a clock, which counts in frames.
const FRAMES_BAR: &str = "{bar:12} {percent:>3}%  {msg}";
const FRAMES_SPINNER: &str = "{spinner} {elapsed}  {msg}";

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
    /// How fast frames come, where they do.
    pace: Pace,
    /// The signal that asked for an end.
    pub(crate) stopped_by: Option<u8>,
    /// The copy has returned, and its outcome is being told.
    pub(crate) over: bool,
}

impl Watch {
    /// `waiting` is what waits for the other end where one end is a device with a clock.
    pub(crate) fn new(waiting: Waiting) -> Arc<Self> {
        let pace = Pace::new(waiting);
        let state = State { started: Instant::now(), progress: None, pace, stopped_by: None, over: false };
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
        status_line(progress, &self.pace)
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
    sidecar: Sidecar,
    events: Arc<Events>,
    question: Question,
}

impl Watcher {
    pub(crate) fn new(
        watch: Arc<Watch>,
        screen: Arc<Screen>,
        quiet: bool,
        sidecar: Sidecar,
        events: Arc<Events>,
        question: Question,
    ) -> Self {
        let wants_bar = !quiet && stderr().is_terminal();
        Self { watch, screen, wants_bar, bar: None, knows_total: false, sidecar, events, question }
    }

    /// Ends the sidecar, and says what became of it.
    pub(crate) fn finish(self) -> Written {
        self.sidecar.finish()
    }

    fn show(&mut self, progress: &Progress, pace: &Pace) {
        let (position, total, templates) = match &progress.stream {
            Some(stream) => (stream.frames, stream.frames_total, (FRAMES_SPINNER, FRAMES_BAR)),
            None => (progress.done_bytes, progress.total_bytes, (SPINNER, BAR)),
        };
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            style(&bar, templates.0);
            self.screen.show_bar(bar.clone());
            bar
        });
        // A stream tells its length when it ends.
        if let Some(total) = total
            && !self.knows_total
        {
            self.knows_total = true;
            bar.set_length(total);
            style(bar, templates.1);
        }
        bar.set_position(position);
        bar.set_message(match progress.phase {
            Phase::Copying => match &progress.stream {
                Some(stream) => pace.words(progress.elapsed, stream),
                None => depth_in_use(progress),
            },
            Phase::Flushing => "flushing".to_owned(),
            Phase::Verifying => "verifying".to_owned(),
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
    fn overwrite(&mut self, disk: &Overwrite<'_>) -> Control {
        self.question.ask(disk, &self.screen)
    }

    fn started(&mut self, start: &Start<'_>) {
        self.events.start(start);
    }

    fn read_failed(&mut self, failure: &ReadFailure) {
        self.events.error(failure);
    }

    fn lost(&mut self, range: &LostRange) {
        self.events.lost(range);
    }

    fn progress(&mut self, progress: &Progress) -> Control {
        let (control, pace) = {
            let mut state = self.watch.lock();
            state.progress = Some(*progress);
            if let Some(stream) = &progress.stream {
                state.pace.hear(progress.elapsed, stream.frames);
            }
            self.watch.told.notify_all();
            (if state.stopped_by.is_some() { Control::Stop } else { Control::Go }, state.pace)
        };
        self.events.progress(progress);
        if self.wants_bar {
            self.show(progress, &pace);
        }
        if let Some(text) = self.sidecar.flush_now_and_then() {
            self.warning(&text);
        }
        control
    }

    fn event(&mut self, event: &StreamEvent<'_>) {
        if let Some(text) = self.sidecar.event(event) {
            self.warning(&text);
        }
    }

    fn warning(&mut self, text: &str) {
        self.screen.say(&format!("bulkio: warning: {text}"));
        self.events.warning(text);
    }
}

fn status_line(progress: &Progress, pace: &Pace) -> String {
    let done = progress.done_bytes;
    let of = progress.total_bytes.map_or_else(String::new, |total| format!(" of {total}"));
    let phase = match progress.phase {
        Phase::Copying => "copied",
        Phase::Flushing => "flushing",
        Phase::Verifying => "verified",
        Phase::Done => "done",
    };
    let frames = progress.stream.as_ref().map(|stream| format!(", {}", pace.words(progress.elapsed, stream)));
    format!(
        "bulkio: {phase} {done}{of} bytes in {}, {}, {}{}",
        seconds(progress.elapsed),
        rate(per_second(done, progress.elapsed)),
        depth_in_use(progress),
        frames.unwrap_or_default(),
    )
}

fn depth_in_use(progress: &Progress) -> String {
    let of = progress.depth.map_or_else(String::new, |depth| format!(" of {depth}"));
    format!("depth {}+{}{of}", progress.reads_in_flight, progress.writes_in_flight)
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
    use bulkio::copy::{End, StreamProgress};

    use super::*;
    use crate::args::SidecarChoice;

    fn progress(phase: Phase, done_bytes: u64, total_bytes: Option<u64>) -> Progress {
        let elapsed = Duration::from_secs(2);
        Progress {
            phase,
            done_bytes,
            total_bytes,
            elapsed,
            reads_in_flight: 3,
            writes_in_flight: 8,
            depth: None,
            stream: None,
            rescue: None,
        }
    }

    fn nowhere() -> Sidecar {
        Sidecar::new(SidecarChoice::Nowhere, End::Stdin, End::Stdout, true)
    }

    fn watcher(watch: Arc<Watch>, sidecar: Sidecar) -> Watcher {
        let events = Arc::new(Events::new(false, false, Arc::default()));
        Watcher::new(watch, Arc::default(), true, sidecar, events, Question::Nobody)
    }

    #[test]
    fn the_status_line_says_how_far_it_is() {
        let line = |progress| status_line(&progress, &Pace::new(Waiting::Buffers));
        assert_eq!(
            line(progress(Phase::Copying, 1 << 20, Some(4 << 20))),
            "bulkio: copied 1048576 of 4194304 bytes in 2.000 s, 0.5 MiB/s, depth 3+8"
        );
        assert_eq!(
            line(progress(Phase::Flushing, 7, None)),
            "bulkio: flushing 7 bytes in 2.000 s, 0.0 MiB/s, depth 3+8"
        );
        let deep = Progress { depth: Some(16), ..progress(Phase::Copying, 0, None) };
        assert_eq!(line(deep), "bulkio: copied 0 bytes in 2.000 s, 0.0 MiB/s, depth 3+8 of 16");
        let stream = StreamProgress { frames: 60, buffers: 64, waiting: 3, ..StreamProgress::default() };
        let progress = Progress { stream: Some(stream), ..progress(Phase::Copying, 1 << 20, None) };
        assert_eq!(
            line(progress),
            "bulkio: copied 1048576 bytes in 2.000 s, 0.5 MiB/s, depth 3+8, 60 frames, 30.00/s, 0 lost, \
             3 of 64 buffers waiting, disk 0.0 ms"
        );
    }

    #[test]
    fn a_stop_is_passed_on_with_the_next_call() {
        let watch = Watch::new(Waiting::Buffers);
        assert!(watch.lock().line().contains("opening source and destination"));
        let mut watcher = watcher(Arc::clone(&watch), nowhere());
        let progress = progress(Phase::Copying, 0, None);
        assert_eq!(watcher.progress(&progress), Control::Go);
        watch.lock().stopped_by = Some(2);
        assert_eq!(watcher.progress(&progress), Control::Stop);
        assert_eq!(watch.end(), Some(2));
    }

    #[test]
    fn events_reach_the_sidecar() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events");
        let choice = SidecarChoice::At(path.clone());
        let sidecar = Sidecar::new(choice, End::Stdin, End::Stdout, false);
        let mut watcher = watcher(Watch::new(Waiting::Buffers), sidecar);
        watcher.event(&StreamEvent::Ended { frames: 1, dropped: 0, errored: 0, xruns: 0 });
        assert_eq!(
            watcher.finish(),
            Written { path: Some(path.clone()), lines: 1, error: None, told: false }
        );
        assert!(std::fs::read_to_string(path).expect("text").starts_with("{\"event\":\"end\""));
    }
}
