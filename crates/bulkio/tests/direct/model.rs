//! A file and a vector of bytes: random reads, writes, truncations and reopenings on both, equal after every step.
//!
//! What everybody else sees of the file, its contents through the page cache and its size, is compared too, and what each call says that
//! it copied is held against the addresses and positions of the call.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bulkio::device::DirectMode;
use bulkio::device::guard::Refusal;
use bulkio::direct::{File, Io, Moved, OpenError, Reason};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use scatterlist::LimitId;

use crate::common::LoopDevice;
use crate::or_skip;
use crate::support::{ALL, BLOCKS, Ext4, Memory, io};

const FILE_MAX: u64 = 96 << 10;
const LEN_MAX: usize = 40 << 10;

#[derive(Clone, Debug)]
enum Act {
    Read(Span),
    Write(Span, u8),
    Truncate(u64),
    Reopen,
}

/// A range of the file and the memory for it.
#[derive(Clone, Debug)]
struct Span {
    offset: u64,
    len: usize,
    shift: usize,
    /// Where the memory is cut into pieces, each elsewhere.
    cuts: Vec<usize>,
}

/// Numbers as users have them: multiples of blocks and pages, their neighbours, and any.
fn place(max: u64) -> impl Strategy<Value = u64> + Clone {
    let near = |unit: u64| {
        (0..=max / unit, -1_i64..=1).prop_map(move |(n, by)| (n * unit).saturating_add_signed(by).min(max))
    };
    prop_oneof![
        3 => (0..=max / 4096).prop_map(|n| n * 4096),
        2 => (0..=max / 512).prop_map(|n| n * 512),
        1 => near(4096),
        1 => near(512),
        3 => 0..=max,
    ]
}

fn span() -> impl Strategy<Value = Span> {
    let len = place(LEN_MAX as u64).prop_map(|len| len as usize);
    let cuts = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(place(LEN_MAX as u64), 1..5)];
    (place(FILE_MAX), len, place(4096), any::<bool>(), cuts).prop_map(
        |(offset, len, shift, congruent, cuts)| {
            let shift = if congruent { offset } else { shift };
            let mut cuts: Vec<usize> =
                cuts.into_iter().map(|cut| cut as usize).filter(|cut| *cut < len).collect();
            cuts.sort_unstable();
            Span { offset, len, shift: (shift % 4096) as usize, cuts }
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => span().prop_map(Act::Read),
        5 => (span(), 1_u8..=255).prop_map(|(span, fill)| Act::Write(span, fill)),
        1 => place(FILE_MAX).prop_map(Act::Truncate),
        1 => Just(Act::Reopen),
    ]
}

/// The file under test and the bytes that it should hold.
struct Pair<'a> {
    path: &'a Path,
    io: &'a Io,
    /// `None` only while it is opened again: a device is claimed by one at a time.
    file: Option<File>,
    model: Vec<u8>,
    /// A device keeps its size.
    device: bool,
}

/// Opens the file or device. A process that another test's thread is just starting holds every open file between its fork and its
/// exec, a claimed device too: that is waited out.
fn open(path: &Path, io: &Io) -> File {
    let options = File::options().read(true).write(true).create(true).direct(DirectMode::Require).io(io);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match options.open(path) {
            Err(OpenError::Refused(Refusal::Claimed { .. })) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.expect("opens"),
        }
    }
}

impl Pair<'_> {
    fn file(&self) -> &File {
        self.file.as_ref().expect("it is open")
    }

    fn run(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Read(span) => self.read(span)?,
            Act::Write(span, fill) => self.write(span, *fill)?,
            Act::Truncate(_) if self.device => {}
            Act::Truncate(len) => {
                self.file().set_len(*len).expect("truncates");
                self.model.resize(*len as usize, 0);
            }
            Act::Reopen => {
                self.file = None;
                self.file = Some(open(self.path, self.io));
            }
        }
        if !self.device {
            let size = fs::metadata(self.path).expect("is there").len();
            prop_assert_eq!(size, self.model.len() as u64, "the size as others see it, after {:?}", act);
        }
        let seen = fs::read(self.path).expect("others read");
        if let Some(at) = seen.iter().zip(&self.model).position(|(a, b)| a != b) {
            return Err(TestCaseError::fail(format!(
                "byte {at} is {} and not {} after {act:?}",
                seen[at], self.model[at]
            )));
        }
        prop_assert_eq!(seen.len(), self.model.len());
        Ok(())
    }

    fn read(&self, span: &Span) -> Result<(), TestCaseError> {
        let mut pieces = memory(span, 0);
        let there = self.model.get(span.offset as usize..).unwrap_or_default();
        let there = &there[..there.len().min(span.len)];
        let mut slices: Vec<_> = pieces.iter_mut().map(|piece| IoSliceMut::new(piece.bytes_mut())).collect();
        let moved = match &mut *slices {
            [one] => self.file().read(one, span.offset),
            many => self.file().read_vectored(many, span.offset),
        };
        let moved = moved.expect("reads");
        prop_assert_eq!(moved.bytes, there.len() as u64, "bytes read by {:?}", span);
        let got: Vec<u8> =
            pieces.iter().flat_map(|piece| piece.bytes().iter().copied()).take(there.len()).collect();
        prop_assert!(got == there, "wrong bytes read by {:?}", span);
        pieces.iter().for_each(Memory::assert_guarded);
        self.judge(span, &pieces, &moved)
    }

    fn write(&mut self, span: &Span, fill: u8) -> Result<(), TestCaseError> {
        let end = span.offset as usize + span.len;
        let mut pieces = memory(span, fill);
        for (number, byte) in pieces.iter_mut().flat_map(|piece| piece.bytes_mut()).enumerate() {
            *byte = fill.wrapping_add((number % 251) as u8);
        }
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece.bytes())).collect();
        let moved = match &*slices {
            [one] => self.file().write(one, span.offset),
            many => self.file().write_vectored(many, span.offset),
        };
        if self.device && end > self.model.len() {
            let error = moved.expect_err("a device does not grow");
            prop_assert_eq!(error.moved.bytes, 0);
            return Ok(());
        }
        let moved = moved.expect("writes");
        prop_assert_eq!(moved.bytes, span.len as u64);
        if span.len > 0 {
            if self.model.len() < end {
                self.model.resize(end, 0);
            }
            let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes().iter().copied()).collect();
            self.model[span.offset as usize..end].copy_from_slice(&bytes);
        }
        self.judge(span, &pieces, &moved)
    }

    /// Holds what a call says that it copied against what it was given.
    fn judge(&self, span: &Span, pieces: &[Memory], moved: &Moved) -> Result<(), TestCaseError> {
        let limits = self.file().limits();
        let limit = |id| limits.hard_value(id);
        let (block, align, piece_len) =
            (limit(LimitId::PositionAlign), limit(LimitId::AddrAlign), limit(LimitId::PieceLenAlign));
        let bounced = moved.bounced_bytes();
        prop_assert!(bounced <= moved.bytes, "{moved:?}");
        prop_assert_eq!(bounced, moved.reasons().map(|(_, bytes)| bytes).sum::<u64>());
        let addr = |piece: &Memory| piece.bytes().as_ptr().addr() as u64;
        let lens_fit = pieces.iter().all(|piece| (piece.bytes().len() as u64).is_multiple_of(piece_len));
        let whole = span.offset.is_multiple_of(block) && (span.len as u64).is_multiple_of(block);
        if whole && lens_fit && pieces.iter().all(|piece| addr(piece) % align == 0) {
            prop_assert_eq!(bounced, 0, "an aligned call was copied: {:?} {:?}", span, moved);
        }
        if let [piece] = pieces
            && addr(piece) % align == span.offset % align
        {
            prop_assert_eq!(moved.misaligned_bytes, 0, "{:?} {:?}", span, moved);
            prop_assert!(bounced < 2 * block, "more than two edge blocks: {:?} {:?}", span, moved);
        }
        let misaligned = moved.reasons().find(|(reason, _)| matches!(reason, Reason::Misaligned(_)));
        if let Some((Reason::Misaligned(why), _)) = misaligned {
            prop_assert!(why.is_some(), "a copy without a reason: {:?}", moved);
        }
        Ok(())
    }
}

/// Makes the memory of a span: pieces one after the other, none next to the last.
fn memory(span: &Span, fill: u8) -> Vec<Memory> {
    let mut pieces = Vec::new();
    let ends = span.cuts.iter().copied().chain([span.len]);
    let mut start = 0;
    for (number, end) in ends.enumerate() {
        // The later ones at addresses that suit their place or not, as it comes.
        let shift = span.shift + if number % 2 == 0 { start } else { number * 40 };
        pieces.push(Memory::new(shift, end - start, fill));
        start = end;
    }
    pieces
}

fn exercise(io: &Io, path: &Path, device: bool, cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let acts = prop::collection::vec(act(), 1..30);
    let result = runner.run(&acts, |acts| {
        if !device {
            let _ = fs::remove_file(path);
        }
        let file = Some(open(path, io));
        let mut pair = Pair { path, io, file, model: Vec::new(), device };
        if device {
            pair.model = fs::read(path).expect("the device is read");
        }
        acts.iter().try_for_each(|act| pair.run(act))
    });
    if let Err(error) = result {
        panic!("{}: {error}", io.engine().kind);
    }
}

#[test]
fn files_equal_the_model_after_every_step() {
    const NAME: &str = "files_equal_the_model_after_every_step";
    for block in BLOCKS {
        let ext4 = or_skip!(NAME, Ext4::new(block));
        for engine in ALL {
            let io = io(engine);
            exercise(&io, &ext4.mounted.path().join(format!("{engine}")), false, 60);
        }
    }
}

#[test]
fn devices_equal_the_model_after_every_step() {
    const NAME: &str = "devices_equal_the_model_after_every_step";
    for block in BLOCKS {
        // Its end lies amidst the positions that are tried.
        let device = or_skip!(NAME, LoopDevice::new(64 << 10, block));
        for engine in ALL {
            exercise(&io(engine), device.node(), true, 40);
        }
    }
}
