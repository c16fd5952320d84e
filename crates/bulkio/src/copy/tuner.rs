//! [`Tuner`]: finds out while a copy runs how many requests each side should have in flight.
//!
//! Pure logic: the pipeline says what is done by when ([`Sample`]), and asks for the depth. One depth serves both sides: the slower
//! side decides, and what the faster one may have in flight costs it nothing. The search is a climb: the depth is doubled
//! while that pays, then gone back to, and halved where that pays. What is under way at a change passes before anything is measured, and whole turns of the
//! queue are measured, since late devices answer in bursts. Afterwards the search is repeated more and more rarely.

use std::time::Duration;

/// The depth that a search begins with where requests are not long, and that of copies that do not search.
pub(super) const DEPTH_START: u32 = 8;

/// The same where they are longer than [`LONG`].
const DEPTH_START_LONG: u32 = 4;
const LONG: u64 = 2 << 20;

/// The deepest that is tried: 64 requests of 1 MiB are 3 GiB/s of a device that answers after 20 ms.
pub(super) const DEPTH_TRIED_MAX: u32 = 64;

/// What a greater depth must be faster by, in percent; a smaller one by three times as much, since too deep a queue costs less than one that is
/// not deep enough.
const RISE_PERCENT: u64 = 3;

/// The least time of a measurement: shorter ones are noise.
const MEASURE_MIN: Duration = Duration::from_millis(120);

/// The turns of the queue that are measured at least.
const TURNS_MIN: u64 = 2;

/// How long a slow device is waited for, where it has moved a few requests.
const STEP_MAX: Duration = Duration::from_secs(1);

/// These few.
const REQUESTS_MIN: u64 = 4;

/// How long a depth is kept before the search is repeated: at first, and at most.
const KEEP_MIN: Duration = Duration::from_secs(2);
const KEEP_MAX: Duration = Duration::from_secs(32);

/// What was found about the depth of a copy that was told to find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tuned {
    /// Requests in flight on each side, at the end.
    pub depth: u32,
    /// Bytes of one request.
    pub block_len: u64,
    /// Time from the start until the first search was over; `None` where the copy was over before.
    pub found_after: Option<Duration>,
    /// Depths that were measured.
    pub steps: u32,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Time since the start.
    pub(super) at: Duration,
    /// Bytes written.
    pub(super) done: u64,
    /// Chunks being read, waiting to be written, and being written.
    pub(super) under_way: u32,
}

/// The depth of a copy, and the search for it.
#[derive(Debug)]
pub(super) struct Tuner {
    depth: u32,
    depth_max: u32,
    block_len: u64,
    /// `None` where the depth is the user's.
    search: Option<Search>,
}

#[derive(Debug)]
struct Search {
    stage: Stage,
    way: Way,
    /// The depth that this search began with.
    base: u32,
    /// The best depth of this search, and its bytes in a second.
    best: Option<(u32, u64)>,
    steps: u32,
    found_after: Option<Duration>,
    keep: Duration,
}

/// What a search is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// What was under way at the change passes: until so many bytes are done.
    Settling { since: Duration, until: u64 },
    /// From here on bytes count; whole turns are over at so many done.
    Measuring { since: Duration, from: u64, until: u64 },
    /// The depth is kept until then.
    Keeping { until: Duration },
    /// Everything is read: nothing more is to be found.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Deeper,
    Shallower,
}

impl Tuner {
    /// Keeps the depth that the user wants.
    pub(super) const fn fixed(depth: u32, block_len: u64) -> Self {
        Self { depth, depth_max: depth, block_len, search: None }
    }

    /// Searches up to `depth_max`, beginning with [`DEPTH_START`], [`DEPTH_START_LONG`] or that, where it is less.
    pub(super) fn searching(depth_max: u32, block_len: u64) -> Self {
        let depth_max = depth_max.clamp(1, DEPTH_TRIED_MAX);
        let depth = if block_len > LONG { DEPTH_START_LONG } else { DEPTH_START }.min(depth_max);
        // The first writes end when both sides have answered.
        let until = u64::from(depth).saturating_mul(block_len);
        let search = Search {
            stage: Stage::Settling { since: Duration::ZERO, until },
            way: Way::Deeper,
            base: depth,
            best: None,
            steps: 0,
            found_after: None,
            keep: KEEP_MIN,
        };
        Self { depth, depth_max, block_len, search: Some(search) }
    }

    /// Returns how many requests each side should have in flight.
    pub(super) const fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the deepest that may come.
    pub(super) const fn depth_max(&self) -> u32 {
        self.depth_max
    }

    /// Returns what was found, where it was searched for.
    pub(super) fn tuned(&self) -> Option<Tuned> {
        let search = self.search.as_ref()?;
        // A depth that was only tried when the copy ended is no answer.
        let depth = search.best.map_or(self.depth, |(depth, _)| depth);
        Some(Tuned { depth, block_len: self.block_len, found_after: search.found_after, steps: search.steps })
    }

    /// Takes `depth` for the deepest that there is memory for.
    pub(super) fn bound(&mut self, depth: u32) {
        self.depth_max = depth.clamp(1, self.depth_max);
        self.depth = self.depth.min(self.depth_max);
    }

    /// Hears how far the copy is. Says whether the depth is another one now.
    pub(super) fn hear(&mut self, sample: &Sample) -> bool {
        let (before, turn) = (self.depth, u64::from(self.depth).saturating_mul(self.block_len));
        let Some(search) = &mut self.search else { return false };
        match search.stage {
            Stage::Settling { since, until } => {
                if sample.done >= until || sample.at.saturating_sub(since) >= STEP_MAX {
                    search.stage = Stage::measuring(sample, turn);
                }
            }
            // A slot is free only for as long as it takes to fill it, while there is something to read.
            Stage::Measuring { .. } if sample.under_way.saturating_add(1) < self.depth => {
                self.depth = search.best.map_or(self.depth, |(depth, _)| depth);
                search.stage = Stage::Over;
            }
            Stage::Measuring { since, from, until } => {
                let (time, bytes) = (sample.at.saturating_sub(since), sample.done.saturating_sub(from));
                let is_slow = time >= STEP_MAX && bytes >= REQUESTS_MIN.saturating_mul(self.block_len);
                if is_slow || (sample.done >= until && time >= MEASURE_MIN) {
                    self.depth = search.measured(self.depth, per_second(bytes, time), self.depth_max, sample);
                    if self.depth != before {
                        let under_way = u64::from(sample.under_way).saturating_mul(self.block_len);
                        search.settle(sample, under_way);
                    }
                } else if sample.done >= until {
                    let until = until.saturating_add(turn);
                    search.stage = Stage::Measuring { since, from, until };
                }
            }
            Stage::Keeping { until } if sample.at >= until => {
                (search.way, search.base, search.best) = (Way::Deeper, self.depth, None);
                search.stage = Stage::measuring(sample, turn);
            }
            Stage::Keeping { .. } | Stage::Over => {}
        }
        self.depth != before
    }
}

impl Search {
    /// Takes what was measured at `depth`, and returns the depth to go on with: another one to try, or the best.
    fn measured(&mut self, depth: u32, rate: u64, depth_max: u32, sample: &Sample) -> u32 {
        self.steps = self.steps.saturating_add(1);
        let (best, pays) = match self.best {
            Some((best, best_rate)) if !pays(best, best_rate, depth, rate) => (best, false),
            _ => (depth, true),
        };
        if pays {
            self.best = Some((depth, rate));
        }
        if let Some(next) = self.next(best, pays, depth_max) {
            return next;
        }
        self.found_after.get_or_insert(sample.at);
        self.stage = Stage::Keeping { until: sample.at.saturating_add(self.keep) };
        self.keep = self.keep.saturating_mul(2).min(KEEP_MAX);
        best
    }

    /// Returns the depth to try after one that did pay, or did not; `None` where the search is over.
    fn next(&mut self, best: u32, pays: bool, depth_max: u32) -> Option<u32> {
        match self.way {
            Way::Deeper if pays && best < depth_max => return Some(best.saturating_mul(2).min(depth_max)),
            Way::Deeper if best != self.base => return None,
            Way::Shallower if !pays => return None,
            Way::Deeper | Way::Shallower => self.way = Way::Shallower,
        }
        Some(best / 2).filter(|depth| *depth > 0)
    }

    /// Waits until what is under way has passed, unless the search is over.
    fn settle(&mut self, sample: &Sample, under_way: u64) {
        if !matches!(self.stage, Stage::Keeping { .. }) {
            let until = sample.done.saturating_add(under_way);
            self.stage = Stage::Settling { since: sample.at, until };
        }
    }
}

impl Stage {
    /// Measures from here on, whole turns of `turn` bytes.
    fn measuring(sample: &Sample, turn: u64) -> Self {
        let until = sample.done.saturating_add(turn.saturating_mul(TURNS_MIN));
        Self::Measuring { since: sample.at, from: sample.done, until }
    }
}

/// Says whether `depth` is worth leaving the best one so far for.
fn pays(best: u32, best_rate: u64, depth: u32, rate: u64) -> bool {
    let percent = if depth > best { RISE_PERCENT } else { 3 * RISE_PERCENT };
    u128::from(rate) * 100 > u128::from(best_rate) * u128::from(100 + percent)
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes).saturating_mul(1_000_000_000) / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
