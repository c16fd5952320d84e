//! A grabber in memory, for tests: it adjusts what it is asked for as drivers do, fails where it is told to, and remembers what is queued. It writes to no
//! memory, so frames have the bytes that their slots had.
#![expect(unsafe_code, reason = "a driver's word is unsafe to give")]

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use scatterlist::Addr;

use super::abi::{self, cap};
use super::driver::{Capability, Dequeued, Driver, Filled, Granted, Pixels, Place, RateAt, SizeAt, Wanted};
use super::facts::{FormatFacts, InputFacts, Sizes};
use super::format::Plane;
use super::fourcc::FourCc;
use super::mapped::Region;
use super::model::MemoryModel;
use super::rate::Rate;

pub(super) const YUYV: FourCc = FourCc(*b"YUYV");
pub(super) const NM12: FourCc = FourCc(*b"NM12");
pub(super) const MJPG: FourCc = FourCc(*b"MJPG");

/// What the device is and what happened to it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) caps: u32,
    pub(super) inputs: u32,
    pub(super) input: u32,
    pub(super) sizes: Vec<(u32, u32)>,
    pub(super) rates: Vec<Rate>,
    /// Whether it has everything between the first and the last size and rate.
    pub(super) in_steps: bool,
    pub(super) now: Wanted,
    pub(super) rate: Option<Rate>,
    /// The kinds of memory that its queue knows, `V4L2_BUF_CAP_*`.
    pub(super) supports: u32,
    /// What addresses must be multiples of.
    pub(super) align: u64,
    /// The fewest buffers that it makes, and the most.
    pub(super) buffers: (u32, u32),
    /// Answers of calls that fail, by the call's name; the first goes first.
    pub(super) errors: HashMap<&'static str, VecDeque<Errno>>,
    /// What it makes of a wish in place of it, once it is set and not tried.
    pub(super) sets_other: Option<(u32, u32)>,
    /// Whether closing ends everything.
    pub(super) close_ends: bool,
    closed: bool,
    /// Buffers of the queue, and which kind of memory they are for.
    count: u32,
    model: Option<MemoryModel>,
    /// Indices at the device, in order, with the first address of each.
    pub(super) queued: VecDeque<(u32, u64)>,
    done: VecDeque<Dequeued>,
    pub(super) is_on: bool,
    sequence: u32,
    /// Every call that changes something.
    pub(super) calls: Vec<String>,
}

/// The device; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    watch: Arc<OwnedFd>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let rate = |frames| Rate { frames, seconds: 1 };
        let state = State {
            caps: cap::VIDEO_CAPTURE | cap::STREAMING,
            inputs: 2,
            input: 0,
            sizes: vec![(320, 180), (640, 480)],
            rates: vec![rate(15), rate(30)],
            in_steps: false,
            now: Wanted { fourcc: YUYV, width: 640, height: 480 },
            rate: Some(rate(30)),
            supports: abi::SUPPORTS_MMAP | abi::SUPPORTS_USERPTR,
            align: 512,
            buffers: (2, 32),
            errors: HashMap::new(),
            sets_other: None,
            close_ends: true,
            closed: false,
            count: 0,
            model: None,
            queued: VecDeque::new(),
            done: VecDeque::new(),
            is_on: false,
            sequence: 0,
            calls: Vec::new(),
        };
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        Self { state: Arc::new(Mutex::new(state)), watch: Arc::new(reader) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The buffers of its queue.
    pub(super) fn buffers(&self) -> u32 {
        self.state().count
    }

    /// How many of them are at the device.
    pub(super) fn queued(&self) -> usize {
        self.state().queued.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Lets the next call of this name fail.
    pub(super) fn fail(&self, call: &'static str, errno: Errno) {
        self.state().errors.entry(call).or_default().push_back(errno);
    }

    /// Fills the buffer that was queued first; what it is filled with may be wrong.
    pub(super) fn fill(&self, is_error: bool) {
        let mut state = self.state();
        let (index, _) = state.queued.pop_front().expect("a buffer at the device");
        let planes = state.planes(state.now);
        let filled = planes.iter().map(|plane| Filled { start: 0, end: plane.size_bytes }).collect();
        let (sequence, timestamp) = (state.sequence, Duration::from_millis(u64::from(state.sequence) * 33));
        state.sequence += 1;
        state.done.push_back(Dequeued { index, planes: filled, sequence, timestamp, is_error });
    }

    /// A frame for which there is no memory.
    pub(super) fn lose(&self) {
        self.state().sequence += 1;
    }

    /// Gives back a buffer that nobody queued.
    pub(super) fn invent(&self, index: u32) {
        self.state().done.push_back(Dequeued {
            index,
            planes: vec![Filled::default()],
            sequence: 0,
            timestamp: Duration::ZERO,
            is_error: false,
        });
    }

    fn call(&self, call: &'static str) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.state();
        if state.closed {
            return Err(Errno::NODEV);
        }
        match state.errors.get_mut(call).and_then(VecDeque::pop_front) {
            Some(errno) => Err(errno),
            None => Ok(state),
        }
    }
}

impl State {
    fn planes(&self, wanted: Wanted) -> Vec<Plane> {
        let pixels = wanted.width * wanted.height;
        match wanted.fourcc {
            NM12 => vec![
                Plane { size_bytes: pixels, stride_bytes: wanted.width },
                Plane { size_bytes: pixels / 2, stride_bytes: wanted.width },
            ],
            MJPG => vec![Plane { size_bytes: pixels, stride_bytes: 0 }],
            _ => vec![Plane { size_bytes: pixels * 2, stride_bytes: wanted.width * 2 }],
        }
    }

    fn pixels(&self, wanted: Wanted) -> Pixels {
        let Wanted { fourcc, width, height } = wanted;
        Pixels { fourcc, width, height, field: 1, planes: self.planes(wanted) }
    }

    /// Makes of a wish what the device has.
    fn adjust(&self, wanted: Wanted) -> Wanted {
        let fourcc = if [YUYV, NM12, MJPG].contains(&wanted.fourcc) { wanted.fourcc } else { YUYV };
        let far = |size: &&(u32, u32)| size.0.abs_diff(wanted.width) + size.1.abs_diff(wanted.height);
        let (width, height) = *self.sizes.iter().min_by_key(far).expect("sizes");
        Wanted { fourcc, width, height }
    }

    fn empty(&mut self) {
        self.queued.clear();
        self.done.clear();
        self.is_on = false;
    }
}

// SAFETY: it writes to no memory at all.
unsafe impl Driver for Fake {
    fn capability(&mut self) -> Result<Capability, Errno> {
        let caps = self.call("querycap")?.caps;
        Ok(Capability { driver: "fake".into(), card: "A fake".into(), bus: "memory".into(), caps })
    }

    fn input(&mut self) -> Result<u32, Errno> {
        Ok(self.call("g_input")?.input)
    }

    fn set_input(&mut self, input: u32) -> Result<(), Errno> {
        let mut state = self.call("s_input")?;
        if input >= state.inputs {
            return Err(Errno::INVAL);
        }
        state.input = input;
        state.calls.push(format!("input {input}"));
        Ok(())
    }

    fn input_at(&mut self, index: u32) -> Result<InputFacts, Errno> {
        let state = self.call("enuminput")?;
        let there = index < state.inputs;
        let input = InputFacts { index, name: format!("Camera {index}"), status: 0 };
        there.then_some(input).ok_or(Errno::INVAL)
    }

    fn format_at(&mut self, index: u32) -> Result<FormatFacts, Errno> {
        let fourcc = *[YUYV, NM12, MJPG].get(index as usize).ok_or(Errno::INVAL)?;
        let compressed = fourcc == MJPG;
        Ok(FormatFacts {
            fourcc,
            description: fourcc.name(),
            compressed,
            emulated: false,
            sizes: Sizes::Unknown,
        })
    }

    fn size_at(&mut self, _fourcc: FourCc, index: u32) -> Result<SizeAt, Errno> {
        let state = self.call("enum_framesizes")?;
        if let (true, [min, .., max]) = (state.in_steps, &state.sizes[..]) {
            let steps = SizeAt::Steps { min: *min, max: *max, step: (2, 4) };
            return if index == 0 { Ok(steps) } else { Err(Errno::INVAL) };
        }
        state.sizes.get(index as usize).map(|size| SizeAt::Discrete(*size)).ok_or(Errno::INVAL)
    }

    fn rate_at(&mut self, _fourcc: FourCc, _size: (u32, u32), index: u32) -> Result<RateAt, Errno> {
        let state = self.call("enum_frameintervals")?;
        if let (true, [slowest, .., fastest]) = (state.in_steps, &state.rates[..]) {
            return Ok(RateAt::Steps { slowest: *slowest, fastest: *fastest });
        }
        state.rates.get(index as usize).map(|rate| RateAt::Discrete(*rate)).ok_or(Errno::INVAL)
    }

    fn format(&mut self) -> Result<Pixels, Errno> {
        let state = self.call("g_fmt")?;
        Ok(state.pixels(state.now))
    }

    fn try_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno> {
        let state = self.call("try_fmt")?;
        Ok(state.pixels(state.adjust(wanted)))
    }

    fn set_format(&mut self, wanted: Wanted) -> Result<Pixels, Errno> {
        let mut state = self.call("s_fmt")?;
        let mut made = state.adjust(wanted);
        if let Some((width, height)) = state.sets_other {
            made = Wanted { width, height, ..made };
        }
        state.now = made;
        state.calls.push(format!("format {} {}x{}", made.fourcc, made.width, made.height));
        Ok(state.pixels(made))
    }

    fn rate(&mut self) -> Result<Option<Rate>, Errno> {
        Ok(self.call("g_parm")?.rate)
    }

    fn set_rate(&mut self, rate: Rate) -> Result<Option<Rate>, Errno> {
        let mut state = self.call("s_parm")?;
        let Some(_has_rates) = state.rate else { return Ok(None) };
        let far = |known: &&Rate| known.frames.abs_diff(rate.frames / rate.seconds.max(1));
        state.rate = state.rates.iter().min_by_key(far).copied();
        Ok(state.rate)
    }

    fn request(&mut self, model: MemoryModel, count: u32) -> Result<Granted, Errno> {
        let mut state = self.call("reqbufs")?;
        let bit = match model {
            MemoryModel::UserPointer => abi::SUPPORTS_USERPTR,
            MemoryModel::DmaBuf => abi::SUPPORTS_DMABUF,
            MemoryModel::Mapped => abi::SUPPORTS_MMAP,
        };
        if state.supports & bit == 0 {
            return Err(Errno::INVAL);
        }
        state.empty();
        let (least, most) = state.buffers;
        state.count = if count == 0 { 0 } else { count.clamp(least, most) };
        state.model = Some(model);
        Ok(Granted { count: state.count, supports: state.supports })
    }

    fn map(&mut self, index: u32) -> Result<Region, Errno> {
        let state = self.call("mmap")?;
        if index >= state.count {
            return Err(Errno::INVAL);
        }
        let planes: Vec<_> = state.planes(state.now).iter().map(|plane| plane.size_bytes).collect();
        Region::anonymous(&planes)
    }

    unsafe fn queue(&mut self, model: MemoryModel, index: u32, places: &[Place<'_>]) -> Result<(), Errno> {
        let mut state = self.call("qbuf")?;
        let is_there = state
            .queued
            .iter()
            .chain(state.done.iter().map(|done| (done.index, 0)).collect::<Vec<_>>().iter())
            .any(|(queued, _)| *queued == index);
        let planes = state.planes(state.now);
        if is_there || index >= state.count || state.model != Some(model) || places.len() != planes.len() {
            return Err(Errno::INVAL);
        }
        let mut first = 0;
        for (place, plane) in places.iter().zip(&planes).rev() {
            first = match place {
                Place::Own => 0,
                Place::Memory { addr, len } if addr.raw() % state.align == 0 && *len >= plane.size_bytes => {
                    addr.raw()
                }
                Place::Shared { len, .. } if *len >= plane.size_bytes => 0,
                _ => return Err(Errno::INVAL),
            };
        }
        state.queued.push_back((index, first));
        Ok(())
    }

    fn dequeue(&mut self, model: MemoryModel, _planes: usize) -> Result<Dequeued, Errno> {
        let mut state = self.call("dqbuf")?;
        if !state.is_on || state.model != Some(model) {
            return Err(Errno::INVAL);
        }
        state.done.pop_front().ok_or(Errno::AGAIN)
    }

    fn stream(&mut self, on: bool) -> Result<(), Errno> {
        let mut state = self.call(if on { "streamon" } else { "streamoff" })?;
        if on {
            state.is_on = true
        } else {
            state.empty()
        }
        Ok(())
    }

    fn close(&mut self) -> bool {
        let mut state = self.state();
        state.closed = true;
        state.close_ends
    }

    fn watch(&self) -> &Arc<OwnedFd> {
        &self.watch
    }
}
