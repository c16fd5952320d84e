//! [`Tuner`]: finds out while a copy runs how many requests each side should have in flight.
//!
//! Pure logic: the pipeline says what is done by when ([`Sample`]), and asks for the depth. One depth serves both sides: the slower
//! side decides, and what the faster one may have in flight costs it nothing. The search is a climb: the depth is doubled
//! while that pays. Where that gains little, a quarter of it is tried, then halves. Devices that do their work while they are asked, in the thread
//! that asks, get next to no queue; where that is slower they are not taken for such again. A quarter is believed the second time only, since speeds
//! waver, and too deep a queue costs less than one that is not deep enough. What is under way at a change passes before anything is measured, and
//! whole turns of the queue are measured, since late devices answer in bursts; what is clear is not measured for longer. Afterwards the search is
//! repeated more and more rarely.

use std::time::Duration;

/// The depth that a search begins with, and that of copies that do not search.
pub(in super::super) const DEPTH_START: u32 = 8;

/// The deepest that is tried: 64 requests of 1 MiB are 3 GiB/s of a device that answers after 20 ms.
pub(in super::super) const DEPTH_TRIED_MAX: u32 = 64;

/// What another depth must be faster by, in percent.
const RISE_PERCENT: u64 = 3;

/// The same for a much smaller one.
const FALL_PERCENT: u64 = 5;

/// The part of the depth that is tried then.
const FALL: u32 = 4;

/// A climb that gained more than this, in percent, shows that depth is what the device needs.
const CLIMB_PERCENT: u64 = 30;

/// The depth where devices do their work while they are asked, such as memory: there is no queue, and what is asked for
/// ahead falls out of the processor's caches.
const INLINE_DEPTH: u32 = 2;

/// What a deeper queue must be faster by for such a device not to be one, in percent.
const INLINE_PERCENT: u64 = 10;

/// Such a device has nothing left when it is looked at, but for one operation in so many.
const INLINE_PART: u64 = 16;

/// The thread that asks it is busy for this part of the time at least, on a machine that does other work too; one that waits for a disk, for a
/// twentieth.
const BUSY_PART: u32 = 4;

/// Fewer operations say nothing about that.
const INLINE_OPERATIONS_MIN: u64 = 16;

/// The least time of a measurement: shorter ones are noise.
const MEASURE_MIN: Duration = Duration::from_millis(120);

/// The least where the result is clear.
const CLEAR_MIN: Duration = Duration::from_millis(40);

/// By this a depth is clearly better, or clearly worse than the best, in percent: that of a late device.
const CLEAR_PERCENT: u64 = 60;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Sample {
    /// Time since the start.
    pub(in super::super) at: Duration,
    /// Bytes written.
    pub(in super::super) done: u64,
    /// Chunks being read, waiting to be written, and being written.
    pub(in super::super) under_way: u32,
    /// Operations of the engine, and those behind which the kernel had nothing left ([`Stats`](crate::engine::Stats)).
    pub(in super::super) operations: u64,
    pub(in super::super) at_once: u64,
    /// Processor time of the thread that asks.
    pub(in super::super) busy: Duration,
}

impl Sample {
    /// Says whether since `from` devices did their work while they were asked: nothing was left of it, and the thread that asked was busy. A device
    /// that tells of a whole queue at a time leaves nothing either, but lets the thread sleep.
    fn is_inline_since(&self, from: &Self) -> bool {
        let (time, busy) = (self.at.saturating_sub(from.at), self.busy.saturating_sub(from.busy));
        let all = self.operations.saturating_sub(from.operations);
        let at_once = self.at_once.saturating_sub(from.at_once);
        all >= INLINE_OPERATIONS_MIN
            && at_once >= all.saturating_sub(all / INLINE_PART)
            && busy >= time / BUSY_PART
    }
}

/// What was measured at one depth.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Bytes in a second.
    rate: u64,
    is_inline: bool,
}

/// The depth of a copy, and the search for it.
#[derive(Debug)]
pub(in super::super) struct Tuner {
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
    /// Its bytes in a second, once they are known.
    base_rate: Option<u64>,
    /// These devices have a queue: next to none was clearly slower.
    has_queue: bool,
    /// What the last search reached by much more depth, in bytes a second: as long as that lasts, less depth is not tried.
    climbed_rate: Option<u64>,
    /// A smaller depth that seemed to pay, and is measured once more when the best one was.
    doubted: Option<u32>,
    /// The best depth of this search, and its bytes in a second.
    best: Option<(u32, u64)>,
    steps: u32,
    found_after: Option<Duration>,
    keep: Duration,
}

/// What a search is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// What was under way at the change passes: until so many bytes are done. The first change is the first sample, whenever it comes.
    Settling { since: Option<Duration>, until: u64 },
    /// From here on bytes count; whole turns are over at so many done.
    Measuring { from: Sample, until: u64 },
    /// The depth is kept until then.
    Keeping { until: Duration },
    /// Everything is read: nothing more is to be found.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Deeper,
    Shallower,
    /// The devices seem to have no queue: [`INLINE_DEPTH`] is tried, and kept where it is hardly slower.
    Inline,
}

impl Tuner {
    /// Keeps the depth that the user wants.
    pub(in super::super) const fn fixed(depth: u32, block_len: u64) -> Self {
        Self { depth, depth_max: depth, block_len, search: None }
    }

    /// Searches up to `depth_max`, beginning with [`DEPTH_START`] or that, where it is less.
    pub(in super::super) fn searching(depth_max: u32, block_len: u64) -> Self {
        let depth_max = depth_max.clamp(1, DEPTH_TRIED_MAX);
        let depth = DEPTH_START.min(depth_max);
        // The first writes end when both sides have answered.
        let until = u64::from(depth).saturating_mul(block_len);
        let search = Search {
            stage: Stage::Settling { since: None, until },
            way: Way::Deeper,
            base: depth,
            base_rate: None,
            has_queue: false,
            climbed_rate: None,
            doubted: None,
            best: None,
            steps: 0,
            found_after: None,
            keep: KEEP_MIN,
        };
        Self { depth, depth_max, block_len, search: Some(search) }
    }

    /// Returns how many requests each side should have in flight.
    pub(in super::super) const fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the deepest that may come.
    pub(in super::super) const fn depth_max(&self) -> u32 {
        self.depth_max
    }

    /// Returns what was found, where it was searched for.
    pub(in super::super) fn tuned(&self) -> Option<Tuned> {
        let search = self.search.as_ref()?;
        // A depth that was only tried when the copy ended is no answer.
        let depth = search.best.map_or(self.depth, |(depth, _)| depth);
        Some(Tuned { depth, block_len: self.block_len, found_after: search.found_after, steps: search.steps })
    }

    /// Takes `depth` for the deepest that there is memory for.
    pub(in super::super) fn bound(&mut self, depth: u32) {
        self.depth_max = depth.clamp(1, self.depth_max);
        self.depth = self.depth.min(self.depth_max);
    }

    /// Says whether a sample taken now would change anything.
    pub(in super::super) fn listens(&self, at: Duration) -> bool {
        self.search.as_ref().is_some_and(|search| match search.stage {
            Stage::Settling { .. } | Stage::Measuring { .. } => true,
            Stage::Keeping { until } => at >= until,
            Stage::Over => false,
        })
    }

    /// The depth, or the memory for it, is another one from now on: what is under way passes before anything is measured.
    pub(in super::super) fn settle(&mut self, sample: &Sample) {
        let under_way = u64::from(sample.under_way).saturating_mul(self.block_len);
        if let Some(search) = &mut self.search {
            search.settle(sample, under_way);
        }
    }

    /// Hears how far the copy is. Says whether the depth is another one now.
    pub(in super::super) fn hear(&mut self, sample: &Sample) -> bool {
        let (before, turn) = (self.depth, u64::from(self.depth).saturating_mul(self.block_len));
        let Some(search) = &mut self.search else { return false };
        match search.stage {
            Stage::Settling { since, until } => {
                let begun = since.unwrap_or(sample.at);
                search.stage = Stage::Settling { since: Some(begun), until };
                if sample.done >= until || sample.at.saturating_sub(begun) >= STEP_MAX {
                    search.stage = Stage::measuring(sample, turn);
                }
            }
            // A slot is free only for as long as it takes to fill it, while there is something to read.
            Stage::Measuring { .. } if sample.under_way.saturating_add(1) < self.depth => {
                self.depth = search.best.map_or(self.depth, |(depth, _)| depth);
                search.stage = Stage::Over;
            }
            Stage::Measuring { from, until } => {
                let (time, bytes) =
                    (sample.at.saturating_sub(from.at), sample.done.saturating_sub(from.done));
                let rate = per_second(bytes, time);
                let is_inline = sample.is_inline_since(&from);
                let is_clear = search.is_clear(rate) || (is_inline && search.tries_inline(self.depth));
                let time_min = if is_clear { CLEAR_MIN } else { MEASURE_MIN };
                let is_slow = time >= STEP_MAX && bytes >= REQUESTS_MIN.saturating_mul(self.block_len);
                if is_slow || (sample.done >= until && time >= time_min) {
                    let found = Measured { rate, is_inline };
                    self.depth = search.measured(self.depth, found, self.depth_max, sample);
                    if self.depth != before {
                        self.settle(sample);
                    }
                } else if sample.done >= until {
                    search.stage = Stage::Measuring { from, until: until.saturating_add(turn) };
                }
            }
            Stage::Keeping { until } if sample.at >= until => {
                (search.way, search.base, search.best) = (Way::Deeper, self.depth, None);
                search.base_rate = None;
                search.stage = Stage::measuring(sample, turn);
            }
            Stage::Keeping { .. } | Stage::Over => {}
        }
        self.depth != before
    }
}

impl Search {
    /// Says whether more time would not change what a rate means.
    fn is_clear(&self, rate: u64) -> bool {
        self.best.is_some_and(|(_, best_rate)| match self.way {
            Way::Deeper => is_faster(rate, best_rate, CLEAR_PERCENT),
            // A deeper queue is never that much slower: it would be a bad moment.
            Way::Shallower | Way::Inline => is_faster(best_rate, rate, CLEAR_PERCENT),
        })
    }

    /// Says whether devices that seem to do their work while they are asked at this depth get next to no queue.
    const fn tries_inline(&self, depth: u32) -> bool {
        !self.has_queue && self.best.is_none() && depth > INLINE_DEPTH
    }

    /// Takes what was measured at `depth`, and returns the depth to go on with: another one to try, or the best.
    fn measured(&mut self, depth: u32, found: Measured, depth_max: u32, sample: &Sample) -> u32 {
        let Measured { rate, is_inline } = found;
        self.steps = self.steps.saturating_add(1);
        if self.way == Way::Inline {
            if self.best.is_none_or(|(_, best_rate)| !is_faster(best_rate, rate, INLINE_PERCENT)) {
                self.best = Some((depth, rate));
                return self.found(depth, sample);
            }
            // The search goes on where it stood. One bad moment is no proof.
            self.has_queue |=
                self.best.is_some_and(|(_, best_rate)| is_faster(best_rate, rate, CLEAR_PERCENT));
            self.way = Way::Deeper;
            let next = self.base.saturating_mul(2).min(depth_max);
            return if next > self.base { next } else { self.found(self.base, sample) };
        }
        if is_inline && self.tries_inline(depth) {
            self.best = Some((depth, rate));
            self.base_rate = Some(rate);
            self.way = Way::Inline;
            return INLINE_DEPTH;
        }
        self.base_rate.get_or_insert(rate);
        if let Some(doubted) = self.doubted.filter(|doubted| *doubted != depth) {
            // The better of two figures is what the smaller depth must beat.
            self.best = self.best.map(|(best, best_rate)| (best, best_rate.max(rate)));
            return doubted;
        }
        let is_fall = self.way == Way::Shallower && self.best.is_some_and(|(best, _)| best >= self.base);
        let pays = self.best.is_none_or(|(_, best_rate)| {
            let percent = if is_fall { FALL_PERCENT } else { RISE_PERCENT };
            is_faster(rate, best_rate, percent)
        });
        if let Some((best, _)) = self.best.filter(|_| pays && is_fall && self.doubted.is_none()) {
            self.doubted = Some(depth);
            return best;
        }
        self.doubted = None;
        if pays {
            self.best = Some((depth, rate));
        }
        if let Some(next) = self.next(pays, depth_max) {
            return next;
        }
        self.found(self.best.map_or(depth, |(best, _)| best), sample)
    }

    /// Ends the search at a depth.
    fn found(&mut self, depth: u32, sample: &Sample) -> u32 {
        self.doubted = None;
        self.found_after.get_or_insert(sample.at);
        self.stage = Stage::Keeping { until: sample.at.saturating_add(self.keep) };
        self.keep = self.keep.saturating_mul(2).min(KEEP_MAX);
        depth
    }

    /// Returns the depth to try after one that did pay, or did not; `None` where the search is over.
    fn next(&mut self, pays: bool, depth_max: u32) -> Option<u32> {
        let (best, rate) = self.best?;
        match self.way {
            Way::Deeper if pays && best < depth_max => return Some(best.saturating_mul(2).min(depth_max)),
            Way::Deeper if is_faster(rate, self.base_rate?, CLIMB_PERCENT) => {
                self.climbed_rate = Some(rate);
                return None;
            }
            Way::Deeper if self.base < 2 => return None,
            Way::Deeper
                if self.climbed_rate.is_some_and(|climbed| !is_faster(climbed, rate, CLIMB_PERCENT)) =>
            {
                return None;
            }
            Way::Deeper => {
                let next = (self.base / FALL).max(1);
                self.way = Way::Shallower;
                // Next to none was slower before.
                return Some(next).filter(|next| !self.has_queue || *next > INLINE_DEPTH);
            }
            Way::Shallower | Way::Inline if !pays => return None,
            Way::Shallower | Way::Inline => {}
        }
        Some(best / 2).filter(|depth| *depth > 0)
    }

    /// Waits until what is under way has passed, unless nothing is searched for now.
    fn settle(&mut self, sample: &Sample, under_way: u64) {
        if !matches!(self.stage, Stage::Keeping { .. } | Stage::Over) {
            let until = sample.done.saturating_add(under_way);
            self.stage = Stage::Settling { since: Some(sample.at), until };
        }
    }
}

impl Stage {
    /// Measures from here on, whole turns of `turn` bytes.
    fn measuring(sample: &Sample, turn: u64) -> Self {
        let until = sample.done.saturating_add(turn.saturating_mul(TURNS_MIN));
        Self::Measuring { from: *sample, until }
    }
}

/// Says whether a rate is better than another one by more than `percent`.
fn is_faster(rate: u64, than: u64, percent: u64) -> bool {
    u128::from(rate) * 100 > u128::from(than) * u128::from(100_u64.saturating_add(percent))
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(bytes).saturating_mul(1_000_000_000) / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
